"""From scores and logits to the ranked lists that metrics read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from reloclnet_mm.retrieval.index import CoarseDtype, CorpusIndex
from reloclnet_mm.retrieval.moment_search import (
    RankedMoments,
    SpanRange,
    rank_moments_in_own_video,
    rank_videos_and_moments,
)
from reloclnet_mm.retrieval.similarity import temporal_nms
from reloclnet_mm.structures import MomentDataSample, VideoCorpus


@dataclass(frozen=True)
class RankingOptions:
    """How ranked lists are made; the defaults are the paper's for TVR.

    Attributes:
        num_videos: Videos that are ranked and searched for moments for each query.
        alpha: Sharpness of the video score: a moment's score is multiplied by exp(alpha · s).
        min_span: Smallest j − i of a span (i, j) in clips.
        max_span: Smallest j − i that is too long.
        num_moments: Moments in a list.
        nms_iou: Suppress moments of a video that overlap a better one by more; None: keep all.
        num_candidates: Best moments that suppression starts from.
        coarse_dtype: See :data:`~reloclnet_mm.retrieval.index.CoarseDtype`.
    """

    num_videos: int = 100
    alpha: float = 30.0
    min_span: int = 2
    max_span: int = 16
    num_moments: int = 100
    nms_iou: float | None = None
    num_candidates: int = 200
    coarse_dtype: CoarseDtype = 'auto'

    def __post_init__(self) -> None:
        if not 0 <= self.min_span < self.max_span:
            raise ValueError(
                f'test_cfg: min_span {self.min_span} and max_span {self.max_span} leave no span; '
                'expected 0 <= min_span < max_span'
            )
        for name in ('num_videos', 'num_moments', 'num_candidates'):
            if getattr(self, name) < 1:
                raise ValueError(f'test_cfg: {name} is {getattr(self, name)}, expected 1 or more')
        if self.coarse_dtype not in get_args(CoarseDtype):
            raise ValueError(
                f'test_cfg: coarse_dtype is {self.coarse_dtype!r}, expected one of '
                f'{get_args(CoarseDtype)}'
            )

    @property
    def spans(self) -> SpanRange:
        """The moments to find before suppression."""
        count = self.num_moments if self.nms_iou is None else self.num_candidates
        return SpanRange(self.min_span, self.max_span, count)


@dataclass(frozen=True)
class RankedLists:
    """The lists of Q queries, as tensors.

    Attributes:
        video_scores: (Q, K), descending.
        videos: (Q, K) int64, places in the corpus.
        moments: VCMR.
        own_moments: SVMR, of the queries that know their video; None where none does.
    """

    video_scores: Tensor
    videos: Tensor
    moments: RankedMoments
    own_moments: RankedMoments | None


def rank_corpus(
    queries: Mapping[str, Tensor],
    mapped: Mapping[str, Tensor],
    index: CorpusIndex,
    own_videos: Tensor,
    options: RankingOptions,
) -> RankedLists:
    """VR, VCMR and SVMR of encoded queries.

    Args:
        queries: Stream name to (Q, d).
        mapped: The same, mapped by the span predictor.
        index: The corpus.
        own_videos: (Q,) int64, the place of each query's own video, −1 where it is not known.
        options: How many, how long.
    """
    scores, places, moments = rank_videos_and_moments(
        queries,
        mapped,
        index,
        num_videos=options.num_videos,
        alpha=options.alpha,
        spans=options.spans,
    )
    known = own_videos >= 0
    own_moments = None
    if known.any():
        own_moments = rank_moments_in_own_video(
            {name: x[known] for name, x in mapped.items()},
            index,
            own_videos[known],
            options.spans,
        )
    return RankedLists(scores, places, moments, own_moments)


def own_places(corpus: VideoCorpus, samples: Sequence[MomentDataSample]) -> Tensor:
    """(Q,) int64, the place of each query's own video in the corpus, −1 where it is not known."""
    return torch.tensor(
        [corpus.place_of(sample.video_id) if 'video_id' in sample else -1 for sample in samples]
    )


def add_predictions(
    samples: Sequence[MomentDataSample],
    ranked: RankedLists,
    own_videos: Tensor,
    corpus: VideoCorpus,
    options: RankingOptions,
) -> None:
    """Put ranked lists into data samples, on the CPU.

    Args:
        samples: Q samples; they get ``pred_vr``, ``pred_vcmr`` and, where their own video is known,
            ``pred_svmr``.
        ranked: Their lists.
        own_videos: What they were ranked with.
        corpus: The corpus that was ranked.
        options: With or without suppression.
    """
    video_ids = corpus.video_ids[ranked.videos.cpu()]
    moments = _moment_lists(ranked.moments, corpus, options)
    for sample, ids, scores, found in zip(
        samples, video_ids, ranked.video_scores.cpu(), moments, strict=True
    ):
        sample.pred_vr = InstanceData(video_ids=ids, scores=scores)
        sample.pred_vcmr = found
    if ranked.own_moments is None:
        return
    known = (own_videos >= 0).nonzero().squeeze(1).tolist()
    own = _moment_lists(ranked.own_moments, corpus, options)
    for i, found in zip(known, own, strict=True):
        samples[i].pred_svmr = found


def _moment_lists(
    ranked: RankedMoments, corpus: VideoCorpus, options: RankingOptions
) -> list[InstanceData]:
    places = ranked.places.cpu()
    seconds = ranked.spans.cpu() * corpus.seconds_per_clip[places][..., None]
    lists = zip(corpus.video_ids[places], seconds, ranked.scores.cpu(), strict=True)
    return [_one_list(*one, options) for one in lists]


def _one_list(
    video_ids: Tensor, moments: Tensor, scores: Tensor, options: RankingOptions
) -> InstanceData:
    count = int((scores >= 0).sum())
    video_ids, moments, scores = video_ids[:count], moments[:count], scores[:count]
    if options.nms_iou is not None:
        kept = temporal_nms(moments, scores, video_ids, options.nms_iou, options.num_moments)
        video_ids, moments, scores = video_ids[kept], moments[kept], scores[kept]
    return InstanceData(video_ids=video_ids, moments=moments, scores=scores)
