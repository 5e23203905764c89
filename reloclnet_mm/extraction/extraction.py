"""Text features of whole annotation and subtitle files, chunk by chunk."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reloclnet_mm.extraction.pooling import PoolMode, pool_sentences
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.extraction.text import TextEncoder
from reloclnet_mm.features.writer import FeatureWriter
from reloclnet_mm.structures.clips import clip_membership, clip_ranges, count_clips

# large enough to sort texts by length, small enough that a kill costs little
TEXTS_PER_CHUNK = 512
# what is computed of so many clips does not grow with the length of the video
_CLIPS_AT_ONCE = 1024


def extract_queries(
    texts: Mapping[str, str],
    encoder: TextEncoder,
    out: FeatureWriter,
    advance: Callable[[int], object],
) -> None:
    """Write the token features (tokens, width) of queries.

    Args:
        texts: By query id; those that ``out`` has are passed over.
        encoder: Of the texts.
        out: Where to write.
        advance: Called with the number of texts done since the last call.
    """
    for query_ids in _chunks(out.missing(texts), lambda _: 1):
        features = encoder.encode([texts[query_id] for query_id in query_ids])
        out.write(dict(zip(query_ids, features, strict=True)))
        advance(len(query_ids))
    out.finish()


def extract_sentences(
    subtitles: Mapping[str, Sequence[TimedSentence]],
    durations: Mapping[str, float],
    encoder: TextEncoder,
    out: FeatureWriter,
    *,
    clip_length: float | None,
    pool: PoolMode,
    advance: Callable[[int], object],
) -> None:
    """Write the features (rows, width) of each video's timed sentences.

    A row is pooled over the tokens of a clip, or of a sentence. A clip, or a whole video, without
    text is a row of zeros.

    Args:
        subtitles: Sentences by video name; a video may have none.
        durations: Seconds by video name, for all videos to write; those that ``out`` has are
            passed over.
        encoder: Of the sentences.
        out: Where to write.
        clip_length: Seconds; None: a row is a sentence; :func:`sentence_times` tells its times.
        pool: Over the tokens of a row.
        advance: Called with the number of sentences done since the last call.
    """
    names = out.missing(durations)
    for chunk in _chunks(names, lambda name: len(subtitles.get(name, ()))):
        sentences = [sentence for name in chunk for sentence in subtitles.get(name, ())]
        features = iter(encoder.encode([sentence.text for sentence in sentences]))
        pooled = {}
        for name in chunk:
            said = subtitles.get(name, ())
            known = {id(sentence): next(features) for sentence in said}
            pooled[name] = pool_video(
                said,
                lambda some, known=known: [known[id(sentence)] for sentence in some],
                durations[name],
                clip_length,
                pool,
                encoder.width,
            )
        out.write(pooled)
        advance(len(sentences))
    out.finish()


def pool_video(
    sentences: Sequence[TimedSentence],
    features_of: Callable[[Sequence[TimedSentence]], Sequence[NDArray]],
    duration: float,
    clip_length: float | None,
    pool: PoolMode,
    width: int,
) -> NDArray[np.float32]:
    """Pool the token features of a video's sentences, some clips at a time.

    Args:
        sentences: Those of the video.
        features_of: Makes the features (tokens, width) of some of them.
        duration: Seconds of the video.
        clip_length: Seconds; None: a row is a sentence.
        pool: Over the tokens of a row.
        width: Of the features.

    Returns:
        (rows, width) float32; zeros where nothing is said.
    """
    if clip_length is None:
        members = _members(sentences, duration, None)
        return pool_sentences(features_of(sentences), members, pool, width)
    count = count_clips(duration, clip_length)
    first, after = clip_ranges(_times(sentences), clip_length, count)
    blocks = []
    for begin in range(0, count, _CLIPS_AT_ONCE):
        clips = np.arange(begin, min(begin + _CLIPS_AT_ONCE, count))
        said = np.flatnonzero((first <= clips[-1]) & (after > begin))
        members = (first[said] <= clips[:, None]) & (clips[:, None] < after[said])
        features = features_of([sentences[i] for i in said])
        blocks.append(pool_sentences(features, members, pool, width))
    return np.concatenate(blocks)


def sentence_times(sentences: Sequence[TimedSentence], duration: float) -> NDArray[np.float64]:
    """Return the times of a video's rows where a row is a sentence.

    Args:
        sentences: S sentences of the video.
        duration: Seconds of the video.

    Returns:
        (S, 2) start and end in seconds; without a sentence the whole video, (1, 2).
    """
    return np.array([(s.start, s.end) for s in sentences] or [(0, duration)], np.float64)


def count_outside(
    subtitles: Mapping[str, Sequence[TimedSentence]],
    durations: Mapping[str, float],
    clip_length: float | None,
) -> int:
    """How many sentences of the videos in ``durations`` lie in none of their video's rows."""
    return sum(
        int((~_members(subtitles.get(name, ()), duration, clip_length).any(0)).sum())
        for name, duration in durations.items()
    )


def _members(
    sentences: Sequence[TimedSentence], duration: float, clip_length: float | None
) -> NDArray[np.bool_]:
    """Tell which sentences (S) belong to which rows (R), (R, S) bool."""
    if clip_length is None:
        return np.eye(max(1, len(sentences)), len(sentences), dtype=bool)
    return clip_membership(_times(sentences), clip_length, count_clips(duration, clip_length))


def _times(sentences: Sequence[TimedSentence]) -> NDArray[np.float64]:
    return np.array([(s.start, s.end) for s in sentences], np.float64).reshape(-1, 2)


def _chunks(keys: Iterable[str], count_texts: Callable[[str], int]) -> Iterator[list[str]]:
    """Runs of keys that reach ``TEXTS_PER_CHUNK`` texts, or as many keys without text."""
    chunk: list[str] = []
    num_texts = 0
    for key in keys:
        chunk.append(key)
        num_texts += count_texts(key)
        if max(num_texts, len(chunk)) >= TEXTS_PER_CHUNK:
            yield chunk
            chunk, num_texts = [], 0
    if chunk:
        yield chunk
