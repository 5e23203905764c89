"""Scores of pairs of a query and a video that were encoded apart and are compared word by clip.

Letters of shapes: Q queries, V videos asked for each, P pairs of the two, L clips, T tokens, S
streams, d width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from reloclnet_mm.retrieval.moment_search import VideoPairs, sort_by_video
from reloclnet_mm.structures import RowLayout


@dataclass(frozen=True)
class EncodedWords:
    """Queries of which every token is kept.

    Attributes:
        tokens: (Q, T, d).
        mask: (Q, T) bool, true where a token is valid.
        stream_weights: (Q, S), what each stream of a video counts for a query; their sum is 1.
    """

    tokens: Tensor
    mask: Tensor
    stream_weights: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> 'EncodedWords':
        """Apply a function to each tensor."""
        return EncodedWords(
            function(self.tokens), function(self.mask), function(self.stream_weights)
        )


@dataclass(frozen=True)
class PairScores:
    """What is read off pairs.

    Attributes:
        start_logits: (…, L), the minimum of the dtype at clips that are not valid.
        end_logits: (…, L).
        video_scores: (…), of each video as a whole; None: the model scores moments only.
    """

    start_logits: Tensor
    end_logits: Tensor
    video_scores: Tensor | None

    def map(self, function: Callable[[Tensor], Tensor]) -> 'PairScores':
        """Apply a function to each tensor."""
        videos = None if self.video_scores is None else function(self.video_scores)
        return PairScores(function(self.start_logits), function(self.end_logits), videos)


class PairScorer(Protocol):
    """What scores pairs: a :class:`~reloclnet_mm.models.second_stage.SecondStage`."""

    scores_videos: bool

    def score_pairs(
        self,
        words: EncodedWords,
        rows: Mapping[str, Tensor],
        layout: RowLayout,
        pairs: VideoPairs,
    ) -> PairScores:
        """Score P pairs, sorted by video; L is the most rows that one of their videos takes."""


def score_places(
    scorer: PairScorer,
    words: EncodedWords,
    rows: Mapping[str, Tensor],
    layout: RowLayout,
    places: Tensor,
    *,
    num_clips: int,
    pairs_at_once: int,
) -> PairScores:
    """Score some videos for each query.

    Args:
        scorer: Scores pairs.
        words: Q queries.
        rows: Stream name to (R, d), the clips of the videos.
        layout: Layout of the R rows.
        places: (Q, V) int64, videos of the layout; −1: none.
        num_clips: L, no smaller than the rows of any of the videos.
        pairs_at_once: How many pairs to score together.

    Returns:
        Scores (Q, V, L) and (Q, V); the minimum of float32 where no video is asked for.
    """
    least = torch.finfo(torch.float32).min
    start, end = (
        torch.full((*places.shape, num_clips), least, device=places.device) for _ in range(2)
    )
    videos = torch.full(places.shape, least, device=places.device)
    for pairs, columns in sort_by_video(places, places >= 0, pairs_at_once):
        found = scorer.score_pairs(words, rows, layout, pairs)
        length = found.start_logits.shape[1]
        start[pairs.queries, columns, :length] = found.start_logits.float()
        end[pairs.queries, columns, :length] = found.end_logits.float()
        if found.video_scores is not None:
            videos[pairs.queries, columns] = found.video_scores.float()
    return PairScores(start, end, videos if scorer.scores_videos else None)
