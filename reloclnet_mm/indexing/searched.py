"""The windows that are searched, and hits of what is found in them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def owners_of(videos: Iterable[VideoRecord]) -> dict[int, tuple[VideoRecord, float]]:
    """Map the id of each window to its video and its begin in seconds.

    Args:
        videos: Videos, of which no two share an id of a window.
    """
    return {
        window: (record, start)
        for record in videos
        for window, start in zip(record.windows, record.starts, strict=True)
    }


@dataclass(frozen=True)
class Searched:
    """Windows of videos, ready for queries.

    Attributes:
        ready: What the model made of them, to hand to its ``predict``.
        first: The index of the stage that ranks all windows.
        owners: Window id to its video and its begin in seconds.
        sentences: Tells what is said in videos, by their names.
        language: Language of the encoder; see :class:`~reloclnet_mm.extraction.FeatureRecipe`.
        null_scores: Best scores of queries about other things; None: not known.
    """

    ready: Any
    first: CorpusIndex
    owners: Mapping[int, tuple[VideoRecord, float]]
    sentences: Callable[[Collection[str]], Mapping[str, Sequence[TimedSentence]]]
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
                (best,) = self.first.best_scores({name: x[None] for name, x in queries.items()})
            rate = null_rate(best, self.null_scores)
        moments = moments[:top_k]
        said = self.sentences({moment.video for moment in moments})
        places = [self.first.corpus.place_of(moment.window) for moment in moments]
        scores = self.first.stream_scores(places, queries)
        hits = (
            self._hit(moment, total, said.get(moment.video, ()), streams)
            for moment, streams in zip(moments, scores, strict=True)
        )
        language = None if is_mostly_latin(sample.query) else self.language
        return Hits(hits, sample.query, rate, language)

    def _moments(self, sample: MomentDataSample) -> Iterator[FoundMoment]:
        ranked = sample.pred_vcmr
        for window, (start, end), score in zip(
            ranked.video_ids.tolist(), ranked.moments.tolist(), ranked.scores.tolist(), strict=True
        ):
            record, begin = self.owners[window]
            # The last clip may go beyond the end of the video.
            end = min(begin + end, record.duration)
            yield FoundMoment(record.name, begin + start, end, score, window)

    def _hit(
        self,
        moment: FoundMoment,
        total: float,
        said: Sequence[TimedSentence],
        stream_scores: Mapping[str, float],
    ) -> Hit:
        record, _ = self.owners[moment.window]
        return Hit(
            video=moment.video,
            path=record.path,
            start=moment.start,
            end=moment.end,
            score=moment.score / total if total else 0.0,
            text=' '.join(said_in(moment, said)),
            stream_scores=stream_scores,
            has_pictures=record.has_video,
        )


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
