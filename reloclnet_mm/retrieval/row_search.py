"""The best moments in videos where each row of a video is a moment of its own.

Letters of shapes: Q queries, V videos searched for each, R rows of the corpus, d width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from reloclnet_mm.retrieval.moment_search import (
    RankedMoments,
    SpanRange,
    products_by_video,
    sort_by_video,
)
from reloclnet_mm.structures import EncodedCorpus


class RowSearch:
    """Answers with the moments of those rows that are most similar to a query.

    The score of a moment is (1 + c) / 2, where c is the cosine of the query and the row, mean over
    streams. The score of its video has no part in it.

    Args:
        corpus: The encoded videos; their ``localization`` rows are unit vectors.
        spans: (R, 2) float64, the moment of each row, in clips.
    """

    def __init__(self, corpus: EncodedCorpus, spans: Tensor) -> None:
        self.layout = corpus.layout
        counts = self.layout.rows_of_each.tolist()
        streams = corpus.rows['localization']
        self.rows_by_video = {name: x.split(counts) for name, x in streams.items()}
        self.spans = spans.to(corpus.device)

    @torch.no_grad()
    def rank(
        self, queries: Mapping[str, Tensor], places: Tensor, weights: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of some videos of each query together.

        Args:
            queries: Stream name to (Q, d), unit vectors.
            places: (Q, V) int64, videos of the corpus.
            weights: (Q, V); below 0: none of the video's moments is wanted.
            spans: How many moments.
        """
        length = max(block.num_rows for block in self.layout.blocks)
        scores = weights.new_full((*places.shape, length), -1)
        positions = torch.arange(length, device=places.device)
        for pairs, columns in sort_by_video(places, weights >= 0):
            cosines = [
                products_by_video(x, self.rows_by_video[name], pairs, length)
                for name, x in queries.items()
            ]
            found = (1 + torch.stack(cosines).mean(0)) / 2
            found.masked_fill_(positions >= self.layout.lengths[pairs.videos, None], -1)
            scores[pairs.queries, columns] = found
        ranked = RankedMoments.none(len(places), spans.num_moments, places.device)
        best, chosen = scores.flatten(1).topk(min(spans.num_moments, scores[0].numel()), dim=1)
        count = best.shape[1]
        videos = places.gather(1, chosen // length)
        rows = self.layout.first_rows[videos] + chosen % length
        ranked.scores[:, :count], ranked.places[:, :count] = best, videos
        # The rows of absent moments may lie behind the last one.
        ranked.spans[:, :count] = self.spans[rows.clamp(max=len(self.spans) - 1)]
        return ranked

    def rank_in_one_video(
        self, queries: Mapping[str, Tensor], places: Tensor, spans: SpanRange
    ) -> RankedMoments:
        """Rank the moments of one video of each query (SVMR).

        Args:
            queries: Stream name to (Q, d), unit vectors.
            places: (Q,) int64, the video of each.
            spans: How many moments.
        """
        weights = torch.ones(len(places), 1, device=places.device)
        return self.rank(queries, places[:, None], weights, spans)

    def span_probabilities(self, queries: Mapping[str, Tensor], places: Tensor) -> None:
        """Return None: moments are rows, and have no probabilities of start and end."""
