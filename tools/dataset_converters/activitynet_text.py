"""Turn the two annotations of ActivityNet Captions' validation videos into a retrieval task.

The videos were described twice, independently, with times. The sentences of one file become
the queries and their times the answers; those of the other become the video's subtitle stream.
"""

import argparse
import math
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from reloclnet_mm.datasets.annotation import read_json
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.subtitles import TimedSentence
<<<<<<< HEAD
from reloclnet_mm.utils.fileio import write_jsonl, write_text
=======
from reloclnet_mm.utils.fileio import write_json, write_jsonl
>>>>>>> h-tools

TOLERANCE = 0.05  # seconds that a time may lie past the end of its video
REVERSED_SUFFIX = '@reversed'


@dataclass
class Repairs:
    """How many moments were put right while reading."""

    clipped: int = 0
    swapped: int = 0


@dataclass(frozen=True)
class Description:
    """One annotator's description of one video; the duration is in seconds."""

    duration: float
    sentences: list[TimedSentence]


@dataclass(frozen=True)
class CorpusVideo:
    """A video of the task: its name there, its queries and its subtitle stream."""

    name: str
    duration: float
    queries: list[TimedSentence]
    subtitles: list[TimedSentence]


def repair_moment(
    place: str, timestamps: Any, duration: float, repairs: Repairs
) -> tuple[float, float]:
    """Start and end in seconds, in order and inside the video."""
    valid = isinstance(timestamps, list) and len(timestamps) == 2
    if not valid or not all(isinstance(t, int | float) and math.isfinite(t) for t in timestamps):
        raise InputError(f'{place}: timestamps {timestamps!r}, expected [start, end] in seconds')
    start, end = timestamps
    if end < start:
        start, end = end, start
        repairs.swapped += 1
    if start < 0 or end > duration + TOLERANCE:
        raise InputError(
            f'{place}: [{start}, {end}] s is outside the video of {duration} s; '
            'correct it or remove the sentence'
        )
    if end > duration:
        start, end = min(start, duration), duration
        repairs.clipped += 1
    if start == end:
        raise InputError(f'{place}: the moment at {start} s has no length; correct or remove it')
    return start, end


def read_description(place: str, entry: Any, repairs: Repairs) -> Description:
    """Check one video's entry of an ActivityNet Captions file."""
    keys = ('duration', 'timestamps', 'sentences')
    if not isinstance(entry, dict) or not all(key in entry for key in keys):
        raise InputError(f'{place}: expected an object with {", ".join(keys)}')
    duration, timestamps, sentences = (entry[key] for key in keys)
    if not isinstance(duration, int | float) or not 0 < duration < math.inf:
        raise InputError(f'{place}: duration {duration!r}, expected positive seconds')
    if len(timestamps) != len(sentences) or not sentences:
        raise InputError(
            f'{place}: {len(timestamps)} timestamps for {len(sentences)} sentences; '
            'expected one each and at least one'
        )
    described = []
    for number, (times, sentence) in enumerate(zip(timestamps, sentences, strict=True), start=1):
        where = f'{place}, sentence {number}'
        if not isinstance(sentence, str) or not sentence.strip():
            raise InputError(f'{where}: the text is {sentence!r}; expected words')
        start, end = repair_moment(where, times, duration, repairs)
        described.append(TimedSentence(' '.join(sentence.split()), start, end))
    return Description(duration, described)


def read_descriptions(path: Path, videos: Iterable[str], raw: dict) -> tuple[dict, Repairs]:
    """The named videos of one file, checked, and the repairs made."""
    repairs = Repairs()
    return {
        video: read_description(f'{path}: video {video}', raw[video], repairs) for video in videos
    }, repairs


def split_videos(videos: list[str], val_fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Training and validation videos, each in the order of their names."""
    shuffled = sorted(videos)
    random.Random(seed).shuffle(shuffled)
    num_val = round(len(shuffled) * val_fraction)
    if not 0 < num_val < len(shuffled):
        raise InputError(
            f'--val-fraction {val_fraction} leaves {num_val} of {len(shuffled)} videos for '
            'validation; expected some in both splits'
        )
    return sorted(shuffled[num_val:]), sorted(shuffled[:num_val])


def corpus_videos(
    names: list[str],
    queries: dict[str, Description],
    subtitles: dict[str, Description],
    suffix: str,
) -> list[CorpusVideo]:
    """Pair each video's queries from one annotator with the subtitles from the other."""
    return [
        CorpusVideo(
            name + suffix,
            queries[name].duration,
            queries[name].sentences,
            subtitles[name].sentences,
        )
        for name in names
    ]


def annotation_lines(videos: list[CorpusVideo], first_id: int) -> list[dict[str, Any]]:
    """TVR's annotation, a line a query."""
    pairs = [(video, query) for video in videos for query in video.queries]
    return [
        {
            'vid_name': video.name,
            'duration': video.duration,
            'ts': [query.start, query.end],
            'desc': query.text,
            'type': 't',
            'desc_id': query_id,
        }
        for query_id, (video, query) in enumerate(pairs, start=first_id)
    ]


def index_entries(videos: list[CorpusVideo], first_index: int) -> dict[str, list]:
    """TVR's corpus: ``{video name: [duration in seconds, index]}``."""
    return {
        video.name: [video.duration, index] for index, video in enumerate(videos, start=first_index)
    }


def subtitle_line(video: CorpusVideo) -> dict[str, Any]:
    """TVR's subtitles, a line a video."""
    sentences = [
        {'text': sentence.text, 'start': sentence.start, 'end': sentence.end}
        for sentence in video.subtitles
    ]
    return {'vid_name': video.name, 'sub': sentences}


def write_task(
    out_dir: Path, train: list[CorpusVideo], val: list[CorpusVideo], extra: list[CorpusVideo]
) -> None:
    """Write annotation, corpus and subtitles.

    Ids and indices run over train, val, then the extra training entries, so that
    the forward part of the task is the same with and without them.
    """
    train_lines = annotation_lines(train, 0)
    val_lines = annotation_lines(val, len(train_lines))
    extra_lines = annotation_lines(extra, len(train_lines) + len(val_lines))
    index = {
        'train': index_entries(train, 0) | index_entries(extra, len(train) + len(val)),
        'val': index_entries(val, len(train)),
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    write_jsonl(out_dir / 'train.jsonl', train_lines + extra_lines)
    write_jsonl(out_dir / 'val.jsonl', val_lines)
    write_jsonl(out_dir / 'subtitles.jsonl', map(subtitle_line, train + val + extra))
<<<<<<< HEAD
    write_text(out_dir / 'video2dur_idx.json', json.dumps(index))
=======
    write_json(out_dir / 'video2dur_idx.json', index)
>>>>>>> h-tools


def summary(splits: dict[str, list[CorpusVideo]]) -> str:
    """A table of what was written."""
    rows = [
        (
            name,
            len(videos),
            sum(len(video.queries) for video in videos),
            sum(len(video.subtitles) for video in videos),
        )
        for name, videos in splits.items()
    ]
    return tabulate(rows, headers=['split', 'videos', 'queries', 'subtitle sentences'])


def read_shared_videos(paths: tuple[Path, Path]) -> tuple[dict, dict]:
    """Both annotators' descriptions of the videos that both described."""
    raw = [read_json(path) for path in paths]
    for path, content in zip(paths, raw, strict=True):
        if not isinstance(content, dict):
            raise InputError(f'{path}: found {type(content).__name__}, expected {{video: …}}')
    shared = [video for video in raw[0] if video in raw[1]]
    descriptions = []
    for path, content in zip(paths, raw, strict=True):
        described, repairs = read_descriptions(path, shared, content)
        descriptions.append(described)
        print(
            f'{path}: {len(content)} videos, {len(content) - len(shared)} of them in this file '
            f'only and left out; {repairs.clipped} moments clipped to the end of their video, '
            f'{repairs.swapped} with start and end swapped'
        )
    for video in shared:
        durations = [described[video].duration for described in descriptions]
        if abs(durations[0] - durations[1]) > TOLERANCE:
            raise InputError(
                f'{paths[1]}: video {video} lasts {durations[1]} s, '
                f'but {durations[0]} s in {paths[0]}; correct one of them'
            )
    return descriptions[0], descriptions[1]


def convert(args: argparse.Namespace) -> None:
    """Read, split, write, report."""
    first, second = read_shared_videos((args.val_1, args.val_2))
    train_names, val_names = split_videos(list(first), args.val_fraction, args.seed)
    train = corpus_videos(train_names, first, second, '')
    val = corpus_videos(val_names, first, second, '')
    reversed_names = train_names if args.both_directions else []
    extra = corpus_videos(reversed_names, second, first, REVERSED_SUFFIX)
    write_task(args.out_dir, train, val, extra)
    print(summary({'train': train + extra, 'val': val}))


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('val_1', type=Path, help='val_1.json: queries and their answers')
    parser.add_argument('val_2', type=Path, help='val_2.json: the subtitle stream')
    parser.add_argument('out_dir', type=Path, help='folder for the task')
    parser.add_argument(
        '--val-fraction', type=float, default=0.2, help='share of the videos (default: %(default)s)'
    )
    parser.add_argument(
        '--seed', type=int, default=2018, help='of the split (default: %(default)s)'
    )
    parser.add_argument(
        '--both-directions',
        action='store_true',
        help=f'train also on VIDEO{REVERSED_SUFFIX}, with the roles of the two files exchanged',
    )
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    try:
        convert(parse_args())
    except InputError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
