"""A made-up corpus in which a query and its moment share planted concepts.

A concept has one random direction in each feature space and no two spaces have
anything in common, so that a query says nothing about a video until the
alignment of the spaces is learnt. All splits share the concepts, hence what is
learnt on one carries over to another. Every array is drawn from a generator
seeded by (seed, kind, index) alone: equal seeds give equal arrays, whatever
else is generated, and in whatever order.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import combinations, pairwise
from typing import Literal

import numpy as np

from reloclnet_mm.datasets.readers import Query
from reloclnet_mm.errors import InputError
from reloclnet_mm.structures.clips import clip_membership, count_clips

StreamName = Literal['video', 'subtitle']

QUERY_TYPE_SHARES = {'v': 0.74, 't': 0.09, 'vt': 0.17}
"""How often a query is about the video, the subtitles or both, as in TVR."""

TOPICS_PER_VIDEO = 8
MAX_QUERY_TOKENS = 30
NUM_FILLERS = 64
SILENT_SHARE = 0.15
LENGTH_SPREAD = 0.45
MIN_CLIPS = 4
MOMENT_CLIPS = (3, 12)
SHOT_CLIPS = (2, 6)

_STREAM_LETTER = {'video': 'v', 'subtitle': 't'}
_SYLLABLES = tuple(consonant + vowel for consonant in 'bdfgklmnprstvwz' for vowel in 'aiou')
_SENTENCES = {
    'v': (
        'Someone carries {} across the room.',
        'The door opens and we see {} in the light.',
        'A woman in a coat puts down {} next to the window.',
    ),
    't': (
        'Someone says that {} cannot wait until tomorrow.',
        'A man explains what happened to {} last night.',
    ),
    'vt': (
        'Someone points at {} while talking about the past.',
        'A friend asks about {} and then walks away.',
    ),
}


class _Kind(IntEnum):
    """What is drawn: the second part of a seed."""

    VOCABULARY = 0
    TOPICS = 1
    CONCEPT_SETS = 2
    LENGTH = 3
    MOMENT = 4
    SENTENCE = 5
    VIDEO = 6
    SUBTITLE = 7
    QUERY = 8


@dataclass(frozen=True)
class PlantedSettings:
    """Sizes and difficulty of a planted corpus.

    Attributes:
        video_dim: Width of a video row: two halves of 2 : 1, each of norm 1.
        subtitle_dim: Width of a subtitle row.
        query_dim: Width of a query token's row.
        clip_length: Seconds of a clip.
        mean_clips: Mean number of clips of a made-up video.
        num_concepts: Concepts in the vocabulary that all splits share.
        noise: Norm of the noise of a row, whose signal has norm 1.
        seed: Everything drawn follows from it.
    """

    video_dim: int = 256
    subtitle_dim: int = 96
    query_dim: int = 96
    clip_length: float = 1.5
    mean_clips: float = 50
    num_concepts: int = 64
    noise: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ('video_dim', 3, math.inf),
            ('subtitle_dim', 1, math.inf),
            ('query_dim', 1, math.inf),
            ('clip_length', 0.1, math.inf),
            ('mean_clips', MIN_CLIPS, math.inf),
            ('num_concepts', TOPICS_PER_VIDEO, len(_SYLLABLES) ** 3),
            ('noise', 0, math.inf),
            ('seed', 0, math.inf),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(
                    f'{name} is {value}, expected a number from {low} to {high}: choose another'
                )

    @property
    def video_parts(self) -> tuple[int, int]:
        """Widths of the two halves of a video row, 2048 and 1024 where video_dim is 3072."""
        first = round(self.video_dim * 2 / 3)
        return first, self.video_dim - first


@dataclass(frozen=True)
class PlantedVideo:
    """A video: its name, its number in the corpus and its length in seconds."""

    name: str
    index: int
    duration: float


@dataclass(frozen=True)
class PlantedQuery:
    """A sentence, the moment that it describes, and the concepts that both carry.

    Attributes:
        query_id: Its number, unique over all splits.
        video: The video of the moment.
        moment: Start and end in seconds.
        query_type: ``v``, ``t`` or ``vt``, the streams that carry the concepts.
        text: The sentence.
        token_concepts: Of each word its concept, or −1.
    """

    query_id: int
    video: PlantedVideo
    moment: tuple[float, float]
    query_type: str
    text: str
    token_concepts: tuple[int, ...]

    @property
    def concepts(self) -> tuple[int, ...]:
        """The concepts of the moment, in ascending order."""
        return tuple(sorted({c for c in self.token_concepts if c >= 0}))


def concept_word(concept: int) -> str:
    """A pronounceable word of three syllables, another one for each concept."""
    base = len(_SYLLABLES)
    # a factor without a common divisor with the base only permutes the words
    code = (concept * 7919 + 4321) % base**3
    return ''.join(_SYLLABLES[code // base**place % base] for place in (2, 1, 0))


def words_of(text: str) -> list[str]:
    """The words of a sentence in lower case, without punctuation around them."""
    return [word.strip('.,!?;:"\'').lower() for word in text.split()]


def spread_evenly(mean: float, count: int) -> list[int]:
    """``count`` whole numbers that differ by at most one, of the given mean."""
    ends = [math.floor(mean * i + 1e-9) for i in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]


class PlantedCorpus:
    """Draws the videos, queries and features of a planted corpus.

    Each video has a few topic concepts. A moment carries two or three of them,
    in a combination of its own as long as there are any, in the streams that
    its query is about. Elsewhere a video shows its topics one at a time, in
    shots of a few clips, and some shots have no subtitle.

    Args:
        settings: Sizes and difficulty.
    """

    def __init__(self, settings: PlantedSettings) -> None:
        self.settings = settings

    @cached_property
    def directions(self) -> dict[str, np.ndarray]:
        """Directions of norm 1, float32.

        ``video`` (C, video_dim; each half of norm 1), ``subtitle`` (C,
        subtitle_dim), ``query`` (C, query_dim), ``filler`` (F, query_dim).
        """
        rng = self._rng(_Kind.VOCABULARY, 0)
        s = self.settings
        halves = [_unit_rows(rng, s.num_concepts, dim) for dim in s.video_parts]
        return {
            'video': np.concatenate(halves, axis=1),
            'subtitle': _unit_rows(rng, s.num_concepts, s.subtitle_dim),
            'query': _unit_rows(rng, s.num_concepts, s.query_dim),
            'filler': _unit_rows(rng, NUM_FILLERS, s.query_dim),
        }

    def draw_video(self, name: str, index: int) -> PlantedVideo:
        """A video of log-normally distributed length, no less than four clips."""
        rng = self._rng(_Kind.LENGTH, index)
        mean = self.settings.mean_clips
        location = math.log(mean) - LENGTH_SPREAD**2 / 2
        clips = round(float(rng.lognormal(location, LENGTH_SPREAD)))
        clips = min(max(clips, MIN_CLIPS), round(4 * mean))
        duration = (clips - rng.uniform(0.05, 0.4)) * self.settings.clip_length
        return PlantedVideo(name, index, round(duration, 2))

    def draw_queries(
        self, video: PlantedVideo, count: int, first_query_id: int
    ) -> list[PlantedQuery]:
        """Queries about made-up moments of a video, numbered consecutively.

        Moments keep apart from each other where there is room.
        """
        spans: list[tuple[int, int]] = []
        queries = []
        concept_sets = self._concept_sets(video, count)
        for query_id, concepts in enumerate(concept_sets, start=first_query_id):
            rng = self._rng(_Kind.MOMENT, query_id)
            spans.append(self._draw_span(rng, video, spans))
            moment = self._draw_moment(rng, video, spans[-1])
            query_type = str(
                rng.choice(list(QUERY_TYPE_SHARES), p=list(QUERY_TYPE_SHARES.values()))
            )
            text, token_concepts = self._compose(query_id, query_type, concepts)
            queries.append(PlantedQuery(query_id, video, moment, query_type, text, token_concepts))
        return queries

    def adopt_queries(self, video: PlantedVideo, real: Sequence[Query]) -> list[PlantedQuery]:
        """Queries of a real annotation, with concepts in place of some of their words.

        Args:
            video: The video of all of them.
            real: Queries with one moment each and a type.

        Raises:
            InputError: A sentence has fewer words than its moment has concepts.
        """
        queries = []
        concept_sets = self._concept_sets(video, len(real))
        for query, concepts in zip(real, concept_sets, strict=True):
            query_id, text = query.query_id, query.text
            tokens = np.full(len(text.split()), -1)
            if len(tokens) < len(concepts):
                raise InputError(
                    f'query {query_id} has {len(tokens)} words ({text!r}), expected at least '
                    f'{len(concepts)} to plant concepts in: remove the query'
                )
            # a model reads no more than the first tokens: the concepts must be among them
            rng = self._rng(_Kind.SENTENCE, query_id)
            readable = min(len(tokens), MAX_QUERY_TOKENS)
            tokens[rng.choice(readable, len(concepts), replace=False)] = concepts
            moment = query.moments[0].start, query.moments[0].end
            concepts_of = tuple(tokens.tolist())
            queries.append(
                PlantedQuery(query_id, video, moment, query.query_type, text, concepts_of)
            )
        return queries

    def context_features(
        self, stream: StreamName, video: PlantedVideo, queries: list[PlantedQuery]
    ) -> np.ndarray:
        """Features of a video's clips in one stream.

        Args:
            stream: ``video`` or ``subtitle``.
            video: The video.
            queries: All queries whose moments lie in it.

        Returns:
            (L, video_dim) or (L, subtitle_dim) float32; a clip without a
            subtitle has a row of zeros.
        """
        kind = _Kind.VIDEO if stream == 'video' else _Kind.SUBTITLE
        rng = self._rng(kind, video.index)
        carried = self._background(rng, stream, video)
        planted = np.zeros_like(carried)
        for query in queries:
            if _STREAM_LETTER[stream] in query.query_type:
                planted[np.ix_(self._clips_of(query), query.concepts)] = True
        carried = np.where(planted.any(1, keepdims=True), planted, carried)
        rows = self._noisy_sum(rng, carried, self.directions[stream])
        if stream == 'video':
            return _normalize_parts(rows, self.settings.video_parts)
        return rows * carried.any(1, keepdims=True)

    def query_features(self, query: PlantedQuery) -> np.ndarray:
        """(words, query_dim) float32: a row a word, which is a concept's or a filler's."""
        fillers = [zlib.crc32(word.encode()) % NUM_FILLERS for word in words_of(query.text)]
        rows = self.directions['filler'][fillers]
        concepts = np.array(query.token_concepts)
        rows[concepts >= 0] = self.directions['query'][concepts[concepts >= 0]]
        return rows + self._noise(self._rng(_Kind.QUERY, query.query_id), rows.shape)

    def _rng(self, kind: _Kind, index: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, int(kind), index])

    def _topics(self, video: PlantedVideo) -> np.ndarray:
        """(TOPICS_PER_VIDEO,) the concepts that a video is about."""
        rng = self._rng(_Kind.TOPICS, video.index)
        return rng.choice(self.settings.num_concepts, TOPICS_PER_VIDEO, replace=False)

    def _concept_sets(self, video: PlantedVideo, count: int) -> list[tuple[int, ...]]:
        """Two or three topics for each of a video's moments, no set twice before all were used."""
        topics = self._topics(video).tolist()
        pairs, triples = list(combinations(topics, 2)), list(combinations(topics, 3))
        sets = pairs + triples
        shares = np.repeat([0.5 / len(pairs), 0.5 / len(triples)], [len(pairs), len(triples)])
        rng = self._rng(_Kind.CONCEPT_SETS, video.index)
        order = rng.choice(len(sets), len(sets), replace=False, p=shares)
        return [sets[order[i % len(sets)]] for i in range(count)]

    def _draw_span(
        self, rng: np.random.Generator, video: PlantedVideo, taken: list[tuple[int, int]]
    ) -> tuple[int, int]:
        """First clip and one past the last, of some random spans the one most apart."""
        clips = count_clips(video.duration, self.settings.clip_length)
        length = min(int(rng.integers(*MOMENT_CLIPS, endpoint=True)), clips)
        starts = rng.integers(0, clips - length, size=16, endpoint=True).tolist()

        def overlap(start: int) -> int:
            return sum(max(0, min(start + length, e) - max(start, s)) for s, e in taken)

        start = min(starts, key=overlap)
        return start, start + length

    def _draw_moment(
        self, rng: np.random.Generator, video: PlantedVideo, span: tuple[int, int]
    ) -> tuple[float, float]:
        """Seconds that begin inside the span's first clip and end inside its last."""
        clip_length = self.settings.clip_length
        last_clip_start = (span[1] - 1) * clip_length
        available = min(clip_length, video.duration - last_clip_start)
        first_clip = available if span[1] - span[0] == 1 else clip_length
        start = span[0] * clip_length + rng.uniform(0.1, 0.4) * first_clip
        end = last_clip_start + rng.uniform(0.6, 0.9) * available
        return round(start, 2), round(end, 2)

    def _compose(
        self, query_id: int, query_type: str, concepts: tuple[int, ...]
    ) -> tuple[str, tuple[int, ...]]:
        """A sentence that names the concepts, and the concept of each of its words or −1."""
        sentences = _SENTENCES[query_type]
        rng = self._rng(_Kind.SENTENCE, query_id)
        names = [f'the {concept_word(c)}' for c in rng.permutation(concepts).tolist()]
        text = sentences[rng.integers(len(sentences))].format(
            ', '.join(names[:-1]) + ' and ' + names[-1]
        )
        concept_of = {concept_word(c): c for c in concepts}
        return text, tuple(concept_of.get(word, -1) for word in words_of(text))

    def _clips_of(self, query: PlantedQuery) -> np.ndarray:
        """(L,) bool: the clips that the query's moment overlaps."""
        clip_length = self.settings.clip_length
        clips = count_clips(query.video.duration, clip_length)
        return clip_membership(np.array([query.moment]), clip_length, clips)[:, 0]

    def _background(
        self, rng: np.random.Generator, stream: StreamName, video: PlantedVideo
    ) -> np.ndarray:
        """(L, C) bool: one topic a shot, or none where a shot has no subtitle."""
        clips = count_clips(video.duration, self.settings.clip_length)
        lengths = rng.integers(*SHOT_CLIPS, endpoint=True, size=clips)
        topics = rng.choice(self._topics(video), size=clips)
        silent = (rng.random(clips) < SILENT_SHARE) & (stream == 'subtitle')
        shot_of_clip = np.repeat(np.arange(clips), lengths)[:clips]
        carried = np.zeros((clips, self.settings.num_concepts), dtype=bool)
        carried[np.arange(clips), topics[shot_of_clip]] = ~silent[shot_of_clip]
        return carried

    def _noisy_sum(
        self, rng: np.random.Generator, carried: np.ndarray, directions: np.ndarray
    ) -> np.ndarray:
        """(L, dim) float32: the carried concepts of (L, C) bool, scaled to norm 1, and noise."""
        counts = np.maximum(carried.sum(1, keepdims=True), 1)
        signal = (carried / np.sqrt(counts)).astype(np.float32) @ directions
        return signal + self._noise(rng, signal.shape)

    def _noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        scale = np.float32(self.settings.noise / math.sqrt(shape[1]))
        return rng.standard_normal(shape, dtype=np.float32) * scale


def _unit_rows(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    return _normalize_parts(rng.standard_normal((count, dim), dtype=np.float32), (dim,))


def _normalize_parts(rows: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """Rows of which each part of the given widths has norm 1."""
    parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    return np.concatenate([x / np.linalg.norm(x, axis=1, keepdims=True) for x in parts], axis=1)
