"""The windows that are searched, and hits of what is found in them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.hits import Hit, Hits, is_mostly_latin
from reloclnet_mm.indexing.null_queries import null_rate
from reloclnet_mm.indexing.records import VideoRecord
from reloclnet_mm.indexing.windows import FoundMoment, distinct_moments
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import MomentDataSample

# Two moments that share more of the shorter one are the same to a person.
_MOST_SHARED = 0.5


@dataclass(frozen=True)
class Searched:
    """Windows of videos, ready for queries.

    Attributes:
        ready: What the model made of them, to hand to its ``predict``.
        first: The index of the stage that ranks all windows.
        owners: Window id to its video and its begin in seconds.
        sentences: Tells what is said in a video.
        language: Language of the encoder; see :class:`~reloclnet_mm.extraction.FeatureRecipe`.
        null_scores: Best scores of queries about other things; None: not known.
    """

    ready: Any
    first: CorpusIndex
    owners: Mapping[int, tuple[VideoRecord, float]]
    sentences: Callable[[str], Sequence[TimedSentence]]
    language: str | None
    null_scores: Sequence[float] | None

    def hits(self, sample: MomentDataSample, queries: Mapping[str, Tensor], top_k: int) -> Hits:
        """Make hits of the ranked lists of a query.

        Args:
            sample: The query with ``pred_vcmr``.
            queries: Stream name to the query's vector (d,), of the first stage.
            top_k: Most hits.
        """
        moments = list(distinct_moments(self._moments(sample), _MOST_SHARED))
        total = sum(moment.score for moment in moments)
        rate = None
        if self.null_scores is not None:
            # Of one stage the best score is in the list already.
            best = float(sample.pred_vr.scores[0])
            if self.first is not self.ready:
                (best,) = self.best_scores({name: x[None] for name, x in queries.items()})
            rate = null_rate(best, self.null_scores)
        hits = (self._hit(moment, total, queries) for moment in moments[:top_k])
        language = None if is_mostly_latin(sample.query) else self.language
        return Hits(hits, sample.query, rate, language)

    def best_scores(self, queries: Mapping[str, Tensor]) -> list[float]:
        """Score the best window of each query, by the mean over streams of the largest cosine.

        Args:
            queries: Stream name to (Q, d).
        """
        found, _ = self.first.videos.search(queries, 1)
        return found[:, 0].tolist()

    def _moments(self, sample: MomentDataSample) -> Iterator[FoundMoment]:
        ranked = sample.pred_vcmr
        for window, (start, end), score in zip(
            ranked.video_ids.tolist(), ranked.moments.tolist(), ranked.scores.tolist(), strict=True
        ):
            record, begin = self.owners[window]
            # The last clip may go beyond the end of the video.
            end = min(begin + end, record.duration)
            yield FoundMoment(record.name, begin + start, end, score, window)

    def _hit(self, moment: FoundMoment, total: float, queries: Mapping[str, Tensor]) -> Hit:
        record, _ = self.owners[moment.window]
        return Hit(
            video=moment.video,
            path=record.path,
            start=moment.start,
            end=moment.end,
            score=moment.score / total if total else 0.0,
            text=' '.join(said_in(moment, self.sentences(moment.video))),
            stream_scores=self._stream_scores(moment.window, queries),
            has_pictures=record.has_video,
        )

    def _stream_scores(self, window: int, queries: Mapping[str, Tensor]) -> dict[str, float]:
        corpus = self.first.corpus
        place = torch.tensor([corpus.place_of(window)], device=corpus.device)
        rows, _ = corpus.layout.rows_of(place)
        return {
            name: float(F.cosine_similarity(x[rows], queries[name][None], dim=1).max())
            for name, x in corpus.rows['retrieval'].items()
        }


def said_in(moment: FoundMoment, sentences: Sequence[TimedSentence]) -> list[str]:
    """List the sentences of which half or more is in a moment; if there are none, any part.

    Args:
        moment: The moment.
        sentences: Those of its video.
    """
    shares = []
    for sentence in sentences:
        overlap = min(sentence.end, moment.end) - max(sentence.start, moment.start)
        length = sentence.end - sentence.start
        if overlap > 0 or overlap == length == 0:
            shares.append((sentence.text, overlap / length if length else 1.0))
    return [text for text, share in shares if share >= 0.5] or [text for text, _ in shares]
