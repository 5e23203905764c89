"""From ranked lists as tensors to what metrics read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from reloclnet_mm.retrieval.moment_search import RankedMoments, SpanRange
from reloclnet_mm.retrieval.similarity import temporal_nms
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample
from reloclnet_mm.structures.clips import SPAN_ENDS, SpanEnd
from reloclnet_mm.utils.checks import check_choice, check_count, check_number

TASKS = ('VR', 'SVMR', 'VCMR')


@dataclass(frozen=True)
class RankingOptions:
    """How ranked lists are made; the defaults are those of the paper for TVR.

    Attributes:
        num_videos: Videos that are ranked for each query.
        moment_videos: In how many of the best of these moments are searched for; None: in all.
        alpha: Sharpness of the video score: the score of a moment is multiplied by exp(alpha · s).
        min_span: Smallest j − i of a span (i, j) in clips.
        max_span: Smallest j − i that is too long.
        num_moments: Moments in a list.
        nms_iou: Suppress moments of a video that overlap a better one by more; None: keep all.
        num_candidates: Best moments that suppression starts from.
        span_end: Which clip the end of a moment is predicted at; that of ``MomentToSpan``.
        tasks: Which lists to make: ``VR``, always, ``SVMR`` and ``VCMR``.
    """

    num_videos: int = 100
    moment_videos: int | None = None
    alpha: float = 30.0
    min_span: int = 2
    max_span: int = 16
    num_moments: int = 100
    nms_iou: float | None = None
    num_candidates: int = 200
    span_end: SpanEnd = 'official'
    tasks: Sequence[str] = TASKS

    def __post_init__(self) -> None:
        for name in ('num_videos', 'num_moments', 'num_candidates', 'max_span'):
            check_count(f'test_cfg: {name}', getattr(self, name))
        if self.moment_videos is not None:
            check_count('test_cfg: moment_videos', self.moment_videos)
        for task in self.tasks:
            check_choice('test_cfg: tasks', task, TASKS)
        check_choice('test_cfg: span_end', self.span_end, SPAN_ENDS)
        # A clip at which both start and end are predicted is a moment of one clip then.
        check_count('test_cfg: min_span', self.min_span, low=int(self.span_end == 'inclusive'))
        check_number('test_cfg: alpha', self.alpha, low=0)
        if self.nms_iou is not None:
            check_number('test_cfg: nms_iou', self.nms_iou, low=0, high=1)
        if self.min_span >= self.max_span:
            raise ValueError(
                f'test_cfg: min_span {self.min_span} and max_span {self.max_span} leave no span; '
                'expected min_span < max_span'
            )

    @property
    def spans(self) -> SpanRange:
        """The moments to find before suppression."""
        count = self.num_moments if self.nms_iou is None else self.num_candidates
        return SpanRange(self.min_span, self.max_span, count, self.span_end)


@dataclass(frozen=True)
class RankedLists:
    """The lists of Q queries, as tensors.

    Attributes:
        video_scores: (Q, K), descending.
        videos: (Q, K) int64, places in the corpus.
        moments: VCMR; a score is p_st · p_ed · exp(alpha · (s − best s of the query)). None: not
            asked for.
        own_moments: SVMR, of the queries that know their video; None where none does, or where it
            is not asked for. A score is p_st · p_ed.
    """

    video_scores: Tensor
    videos: Tensor
    moments: RankedMoments | None
    own_moments: RankedMoments | None


def own_places(corpus: EncodedCorpus, samples: Sequence[MomentDataSample]) -> Tensor:
    """List the places (Q,) int64 of the queries' own videos, −1 where one is not known."""
    return torch.tensor(
        [corpus.place_of(sample.video_id) if 'video_id' in sample else -1 for sample in samples]
    )


def add_predictions(
    samples: Sequence[MomentDataSample],
    ranked: RankedLists,
    own_videos: Tensor,
    corpus: EncodedCorpus,
    options: RankingOptions,
) -> None:
    """Put ranked lists into data samples, on the CPU.

    Args:
        samples: Q samples; they get ``pred_vr`` and, as far as there are such lists, ``pred_vcmr``
            and, where their own video is known, ``pred_svmr``.
        ranked: Their lists.
        own_videos: (Q,) int64, with which they were ranked.
        corpus: The corpus that was ranked.
        options: With or without suppression.
    """
    video_ids = corpus.video_ids[ranked.videos.cpu()]
    for sample, ids, scores in zip(samples, video_ids, ranked.video_scores.cpu(), strict=True):
        sample.pred_vr = InstanceData(video_ids=ids, scores=scores)
    if ranked.moments is not None:
        moments = _moment_lists(ranked.moments, corpus, options)
        for sample, found in zip(samples, moments, strict=True):
            sample.pred_vcmr = found
    if ranked.own_moments is None:
        return
    known = (own_videos >= 0).nonzero().squeeze(1).tolist()
    own = _moment_lists(ranked.own_moments, corpus, options)
    for i, found in zip(known, own, strict=True):
        samples[i].pred_svmr = found


def _moment_lists(
    ranked: RankedMoments, corpus: EncodedCorpus, options: RankingOptions
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
