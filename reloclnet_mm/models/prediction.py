"""From scores and logits to the ranked lists that metrics read."""

from dataclasses import dataclass

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from reloclnet_mm.models.ranking import rank_moments, temporal_nms
from reloclnet_mm.structures import VideoCorpus


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
    """

    num_videos: int = 100
    alpha: float = 30.0
    min_span: int = 2
    max_span: int = 16
    num_moments: int = 100
    nms_iou: float | None = None
    num_candidates: int = 200

    def __post_init__(self) -> None:
        if not 0 <= self.min_span < self.max_span:
            raise ValueError(
                f'test_cfg: min_span {self.min_span} and max_span {self.max_span} leave no span; '
                'expected 0 <= min_span < max_span'
            )
        for name in ('num_videos', 'num_moments', 'num_candidates'):
            if getattr(self, name) < 1:
                raise ValueError(f'test_cfg: {name} is {getattr(self, name)}, expected 1 or more')


def video_predictions(corpus: VideoCorpus, scores: Tensor, rows: Tensor) -> list[InstanceData]:
    """Ranked videos, a list for each query.

    Args:
        corpus: The corpus that was ranked.
        scores: (Q, K), descending.
        rows: (Q, K) rows of the corpus.

    Returns:
        Q elements with ``video_ids`` (K,) and ``scores`` (K,), on the CPU.
    """
    video_ids = corpus.video_ids[rows.cpu()]
    return [
        InstanceData(video_ids=ids, scores=score)
        for ids, score in zip(video_ids, scores.cpu(), strict=True)
    ]


def moment_predictions(
    start_logits: Tensor,
    end_logits: Tensor,
    corpus: VideoCorpus,
    rows: Tensor,
    video_weights: Tensor,
    options: RankingOptions,
) -> list[InstanceData]:
    """Ranked moments over the given videos of each query together.

    Args:
        start_logits: (Q, V, L).
        end_logits: (Q, V, L).
        corpus: The corpus that ``rows`` index.
        rows: (Q, V) rows of the corpus.
        video_weights: (Q, V), the factor of all spans of a video.
        options: How many, how long, with or without suppression.

    Returns:
        Q elements with ``video_ids`` (K,), ``moments`` (K, 2) float32 seconds and ``scores`` (K,),
        on the CPU; K differs where videos are short.
    """
    with_nms = options.nms_iou is not None
    scores, columns, spans = rank_moments(
        start_logits.softmax(-1),
        end_logits.softmax(-1),
        corpus.clip_mask[rows],
        video_weights,
        min_span=options.min_span,
        max_span=options.max_span,
        num_moments=options.num_candidates if with_nms else options.num_moments,
    )
    rows = rows.gather(1, columns).cpu()
    moments = spans.cpu() * corpus.seconds_per_clip[rows][..., None]
    lists = zip(corpus.video_ids[rows], moments, scores.cpu(), strict=True)
    return [_one_list(*ranked, options) for ranked in lists]


def _one_list(
    video_ids: Tensor, moments: Tensor, scores: Tensor, options: RankingOptions
) -> InstanceData:
    keep = (scores >= 0).nonzero().squeeze(1)
    if options.nms_iou is not None:
        kept = temporal_nms(
            moments[keep], scores[keep], video_ids[keep], options.nms_iou, options.num_moments
        )
        keep = keep[kept]
    return InstanceData(video_ids=video_ids[keep], moments=moments[keep], scores=scores[keep])


def own_rows(corpus: VideoCorpus, video_ids: list[int]) -> Tensor:
    """(Q, 1) rows of the corpus, each query's own video."""
    return torch.tensor([[corpus.row_of(v)] for v in video_ids], device=corpus.clip_mask.device)
