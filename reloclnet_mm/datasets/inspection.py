"""What is in a folder of own data: the numbers that a config needs, and what will hurt."""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reloclnet_mm.datasets.readers import AnnotationReader, Query, Video
from reloclnet_mm.errors import InputError
from reloclnet_mm.features import FeatureReader, open_features, recorded_clip_length
from reloclnet_mm.structures.clips import SpanEnd, goes_with_duration, moment_to_span


@dataclass(frozen=True)
class Split:
    """What a reader lists.

    Attributes:
        videos: Videos by name.
        queries: Queries.
    """

    videos: dict[str, Video]
    queries: list[Query]

    @classmethod
    def read(cls, reader: AnnotationReader) -> 'Split':
        """Read videos and queries; errors as of the reader."""
        videos = reader.videos()
        return cls(videos, reader.queries(videos))

    @property
    def queries_of_videos(self) -> list[int]:
        """Number of queries of each video that has one."""
        names = (query.first_video for query in self.queries)
        return list(Counter(name for name in names if name).values())

    def moments(self) -> Iterator[tuple[Video, float, float]]:
        """Yield the first right moment of each query that has one: its video, start and end."""
        for query in self.queries:
            if query.moments:
                first = query.moments[0]
                yield self.videos[first.video_name], first.start, first.end

    def moment_lengths(self) -> NDArray[np.float64]:
        """Return the lengths of :meth:`moments`, (N, 2): seconds and share of the video."""
        moments = [(end - start, video.duration) for video, start, end in self.moments()]
        seconds, durations = np.array(moments, np.float64).reshape(-1, 2).T
        return np.stack([seconds, seconds / durations], 1)


@dataclass(frozen=True)
class Features:
    """What a feature file holds.

    Attributes:
        path: The file.
        width: Numbers in a row.
        num_rows: Rows by key.
        clip_length: Seconds, where the file tells.
    """

    path: Path
    width: int
    num_rows: dict[str, int]
    clip_length: float | None

    @classmethod
    def read(cls, path: Path) -> 'Features':
        """Look at all keys of a file, without reading their rows.

        Raises:
            InputError: There is none, a key has no rows, or rows of another width, or the length of
                a clip is no length.
        """
        reader: FeatureReader = open_features(path)
        keys = reader.keys()
        if not keys:
            raise InputError(f'{path}: found no keys, expected features; extract them again')
        reader.channels = reader.read(keys[0], 1).shape[1]
        num_rows = {key: reader.num_rows(key) for key in keys}
        return cls(path, reader.channels, num_rows, recorded_clip_length(reader))


def clip_length_of(
    streams: Mapping[str, Features], durations: Mapping[str, float]
) -> tuple[float | str, str]:
    """Find how long a clip is: by the files, else by rows and durations.

    Args:
        streams: Stream name to its features.
        durations: Seconds by video.

    Returns:
        Seconds, or ``even`` where no single length goes with all durations; and how it was found,
        in words.

    Raises:
        InputError: The files say different lengths, or have none of the videos.
    """
    recorded = {x.path: x.clip_length for x in streams.values() if x.clip_length is not None}
    if len({*recorded.values()}) > 1:
        raise InputError(
            f'found the clip lengths {[*recorded.values()]} s in {[*map(str, recorded)]}, expected '
            'one; extract all streams with the same clip length'
        )
    if recorded:
        return next(iter(recorded.values())), 'written in the feature files'
    rows = next(iter(streams.values())).num_rows
    pairs = [(rows[name], durations[name]) for name in durations.keys() & rows.keys()]
    if not pairs:
        raise InputError(
            f'{next(iter(streams.values())).path}: has features of no video of the annotation; '
            'give it the names of the videos as keys'
        )
    # The last clip of a video is half full on average.
    mean = sum(duration for _, duration in pairs) / sum(length - 0.5 for length, _ in pairs)
    for digits in range(3):
        seconds = round(mean, digits)
        if seconds > 0 and all(goes_with_duration(n, seconds, duration) for n, duration in pairs):
            return seconds, 'estimated from rows and durations'
    return 'even', 'no single length goes with the durations: rows are spread evenly over a video'


def span_lengths(
    split: Split,
    num_rows: Mapping[str, int],
    clip_length: float | str,
    max_clips: int,
    span_end: SpanEnd = 'official',
) -> NDArray[np.int64]:
    """Return how long the span of each training target is, in rows after pooling.

    Args:
        split: The training split.
        num_rows: Rows by video.
        clip_length: Seconds or ``even``.
        max_clips: Rows that longer videos are pooled to.
        span_end: Which clip the end of a target is.
    """
    lengths = []
    for video, start, end in split.moments():
        if video.name not in num_rows:
            continue
        length = num_rows[video.name]
        seconds = video.duration / length if clip_length == 'even' else clip_length
        kept = min(length, max_clips)
        first, last = moment_to_span([start, end], seconds * length / kept, kept, span_end)
        lengths.append(last - first + (span_end == 'inclusive'))
    return np.array(lengths, np.int64)


def findings(
    splits: Mapping[str, Split],
    streams: Mapping[str, Features],
    query: Features,
    *,
    clip_length: float | str,
    max_clips: int,
    max_tokens: int,
    batch_size: int | None,
    counts_others_as_negatives: bool,
) -> Iterator[str]:
    """Yield what will stop or hurt a training or a test, in words.

    Args:
        splits: ``train`` and ``val``.
        streams: Stream name to its features.
        query: Features of the queries.
        clip_length: Seconds or ``even``.
        max_clips: Rows that longer videos are pooled to.
        max_tokens: Tokens of a query that are used.
        batch_size: Queries of a batch of training; None: nothing is trained, and ``val`` alone
            needs features.
        counts_others_as_negatives: Whether the losses take other queries of a video for negatives.
    """
    used = [splits['val']] if batch_size is None else [*splits.values()]
    videos = {name: video for split in splits.values() for name, video in split.videos.items()}
    ids = {str(query.query_id) for split in splits.values() for query in split.queries}
    used_videos = {name for split in used for name in split.videos}
    used_ids = {str(query.query_id) for split in used for query in split.queries}
    for stream in streams.values():
        yield from _missing(stream, used_videos, 'videos')
        yield from _unused(stream, videos.keys())
    yield from _missing(query, used_ids, 'queries')
    yield from _unused(query, ids)
    yield from _lengths(videos, streams, clip_length)
    longest = max(stream.num_rows.get(name, 0) for stream in streams.values() for name in videos)
    if longest > max_clips:
        yield (
            f'the longest video has {longest} rows and is pooled to {max_clips}, by a factor of '
            f'{longest / max_clips:.1f}; a larger max_clips keeps finer moments and takes more time'
        )
    cut = sum(count > max_tokens for key, count in query.num_rows.items() if key in ids)
    if cut:
        yield f'{cut} queries have more than {max_tokens} tokens and are cut'
    train = splits['train']
    if clip_length != 'even':
        short = int((train.moment_lengths()[:, 0] < clip_length).sum())
        if short:
            yield (
                f'{short} training moments are shorter than a clip of {clip_length:g} s; extract '
                'features with shorter clips to find them exactly'
            )
    if batch_size is not None and counts_others_as_negatives:
        yield from _others_of_a_video(train, batch_size)


def _others_of_a_video(train: Split, batch_size: int) -> Iterator[str]:
    counts = np.array(train.queries_of_videos)
    pairs, total = (counts * (counts - 1)).sum(), counts.sum()
    others = min(batch_size - 1, total - 1) * pairs / max(total * (total - 1), 1)
    if others >= 0.1:
        yield (
            f'a batch of {batch_size} holds {others:.1f} other queries of the same video for each '
            'query, which count as negatives; '
            "other_positives='ignored' of the losses leaves them out"
        )


def _missing(features: Features, keys: Set[str], what: str) -> Iterator[str]:
    without = keys - features.num_rows.keys()
    if without:
        yield (
            f'{len(without)} of {len(keys)} {what}, such as {min(without)!r}, have no features in '
            f'{features.path}; training or test will stop there'
        )


def _unused(features: Features, keys: Set[str]) -> Iterator[str]:
    unused = features.num_rows.keys() - keys
    if unused:
        yield (
            f'{features.path} has {len(unused)} keys, such as {min(unused)!r}, that the annotation '
            'does not name'
        )


def _lengths(
    videos: Mapping[str, Video], streams: Mapping[str, Features], clip_length: float | str
) -> Iterator[str]:
    rows = [stream.num_rows for stream in streams.values()]
    there = [name for name in videos if all(name in x for x in rows)]
    unequal = [name for name in there if len({x[name] for x in rows}) > 1]
    if unequal:
        yield (
            f'{len(unequal)} videos, such as {unequal[0]!r}, have different numbers of clips in '
            'the streams; training or test will stop there'
        )
    if clip_length != 'even':
        wrong = [
            name
            for name in there
            if not goes_with_duration(rows[0][name], clip_length, videos[name].duration)
        ]
        if wrong:
            yield (
                f'{len(wrong)} videos, such as {wrong[0]!r}, have clips of {clip_length:g} s that '
                'do not go with their duration; training or test will stop there'
            )
