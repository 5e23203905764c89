"""Evaluation computed the long way: what the fast one is measured against and must equal.

Everything is padded and everything is computed, as the authors' program does: for each batch of
queries all clips are normalized again, start and end probabilities are computed in all videos, and
all pairs of a start and an end in the best videos are sorted. No function here is shared with the
fast way.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.structures.clips import SpanEnd


@dataclass(frozen=True)
class PaddedCorpus:
    """A corpus with all videos padded to the longest.

    Attributes:
        clips: Stream name to (N, L, d).
        mask: (N, L) bool, true where a clip is valid.
    """

    clips: dict[str, Tensor]
    mask: Tensor

    @staticmethod
    def of(corpus: EncodedCorpus, length: int | None = None) -> 'PaddedCorpus':
        """Pad a corpus.

        Args:
            corpus: The corpus, without padding.
            length: Pad to this many rows; None: to the longest video's.
        """
        lengths = corpus.layout.lengths.tolist()
        clips = {}
        for name in corpus.streams:
            x = pad_sequence(corpus.rows['retrieval'][name].split(lengths), batch_first=True)
            clips[name] = F.pad(x, (0, 0, 0, (length or x.shape[1]) - x.shape[1]))
        positions = torch.arange(x.shape[1] if length is None else length)
        return PaddedCorpus(clips, positions < corpus.layout.lengths[:, None])


@dataclass(frozen=True)
class PlainLists:
    """Ranked lists of Q queries.

    Attributes:
        video_scores: (Q, K), descending.
        videos: (Q, K) int64, places in the corpus.
        moment_scores: (Q, M), descending; −1 where a query has no more moments.
        moments: (Q, M, 3) int64: video's place, start and end clip.
        own_scores: (Q, M), of the moments in each query's own video.
        own_moments: (Q, M, 3) int64.
    """

    video_scores: Tensor
    videos: Tensor
    moment_scores: Tensor
    moments: Tensor
    own_scores: Tensor
    own_moments: Tensor


def rank_plainly(
    queries: Mapping[str, Tensor],
    mapped: Mapping[str, Tensor],
    corpus: PaddedCorpus,
    own_videos: Tensor,
    kernels: Tensor,
    *,
    num_videos: int,
    alpha: float,
    min_span: int,
    max_span: int,
    num_moments: int,
    span_end: SpanEnd = 'official',
) -> PlainLists:
    """VR, VCMR and SVMR of one batch of queries.

    Args:
        queries: Stream name to (Q, d).
        mapped: The same, mapped by the span predictor.
        corpus: The corpus.
        own_videos: (Q,) int64, each query's own video.
        kernels: (2, 1, kernel size), the span predictor's.
        num_videos: Videos that are searched for moments.
        alpha: A moment's score is multiplied by exp(alpha · s).
        min_span: Smallest j − i of a span (i, j).
        max_span: Smallest j − i that is too long.
        num_moments: M.
        span_end: ``inclusive``: the end of a span (i, j) is predicted at clip j − 1, not at j.
    """
    scores = torch.stack(
        [
            torch.einsum('qd,nld->qnl', F.normalize(queries[name], dim=-1), F.normalize(x, dim=-1))
            .masked_fill(~corpus.mask, -torch.inf)
            .amax(2)
            for name, x in corpus.clips.items()
        ]
    ).mean(0)
    similarity = torch.stack(
        [torch.einsum('qd,nld->qnl', mapped[name], x) for name, x in corpus.clips.items()]
    ).mean(0)
    rows = similarity.masked_fill(~corpus.mask, 0).flatten(0, 1)[:, None]
    logits = F.conv1d(rows, kernels, padding=kernels.shape[2] // 2)
    logits = logits.unflatten(0, similarity.shape[:2]).masked_fill(
        ~corpus.mask[:, None], -torch.inf
    )
    start, end = logits.softmax(3).unbind(2)

    sorted_scores, videos = scores.sort(1, descending=True)
    sorted_scores, videos = sorted_scores[:, :num_videos], videos[:, :num_videos]
    query = torch.arange(len(videos))[:, None]
    options = dict(min_span=min_span, max_span=max_span, num_moments=num_moments, span_end=span_end)
    moment_scores, moments = _sort_spans(
        start[query, videos] * torch.exp(alpha * sorted_scores)[..., None],
        end[query, videos],
        corpus.mask[videos],
        videos,
        **options,
    )
    own = own_videos[:, None]
    own_scores, own_moments = _sort_spans(
        start[query, own], end[query, own], corpus.mask[own], own, **options
    )
    return PlainLists(sorted_scores, videos, moment_scores, moments, own_scores, own_moments)


def _sort_spans(
    start: Tensor,
    end: Tensor,
    mask: Tensor,
    videos: Tensor,
    *,
    min_span: int,
    max_span: int,
    num_moments: int,
    span_end: SpanEnd,
) -> tuple[Tensor, Tensor]:
    """All spans of the videos (Q, V) of each query, best first."""
    length = start.shape[2]
    position = torch.arange(length)
    behind = int(span_end == 'inclusive')
    width = position + behind - position[:, None]
    allowed = (width >= min_span) & (width < max_span)
    allowed = allowed & mask[..., None] & mask[..., None, :]
    # A video too short for any span has one, from its begin to its end.
    last = mask.sum(2) - 1
    is_whole = (last + behind < min_span)[..., None, None]
    from_begin_to_end = (position[:, None] == 0) & (position == last[..., None, None])
    allowed = torch.where(is_whole, from_begin_to_end, allowed)
    ends = is_whole.flatten(1).long().clamp(min=behind)
    products = torch.einsum('qvi,qvj->qvij', start, end).masked_fill(~allowed, -1)
    best, index = products.flatten(1).sort(1, descending=True)
    best, index = best[:, :num_moments], index[:, :num_moments]
    column = index // length**2
    end = index % length + ends.gather(1, column)
    return best, torch.stack([videos.gather(1, column), index // length % length, end], 2)
