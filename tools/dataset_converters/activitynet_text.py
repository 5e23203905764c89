"""Turn the two annotations of ActivityNet Captions' validation videos into a retrieval task.

The videos were described twice, independently, with times. The sentences of one file become
the queries and their times the answers; those of the other become the video's subtitle stream.
"""

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from reloclnet_mm.datasets.readers import ActivityNetCaptionsReader
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import write_json, write_jsonl

REVERSED_SUFFIX = '@reversed'
SAME_DURATION = 0.05  # seconds by which the two files may differ
# Of talks: least and most parts, speed of speech, seconds between sentences and between parts.
PARTS, WORDS_PER_SECOND, PAUSE, PART_PAUSE = (3, 7), 2.5, 0.4, 1.2


@dataclass(frozen=True)
class Description:
    """One annotator's description of one video; the duration is in seconds."""

    duration: float
    sentences: list[TimedSentence]


@dataclass(frozen=True)
class CorpusVideo:
    """A video of the task: its name there, its queries and its subtitle stream.

    ``source`` is the name of the recording.
    """

    name: str
    source: str
    duration: float
    queries: list[TimedSentence]
    subtitles: list[TimedSentence]


def read_descriptions(path: Path) -> tuple[dict[str, Description], str]:
    """Read one annotator's descriptions, and say in words what was repaired.

    Raises:
        InputError: The file cannot be used.
    """
    reader = ActivityNetCaptionsReader(ann_file=str(path))
    videos = reader.videos()
    described = {name: Description(video.duration, []) for name, video in videos.items()}
    for query in reader.queries(videos):
        (moment,) = query.moments
        if moment.start == moment.end:
            raise InputError(
                f'{query.where}: the moment at {moment.start} s has no length; correct or remove it'
            )
        text = ' '.join(query.text.split())
        sentence = TimedSentence(text, moment.start, moment.end)
        described[query.video_name].sentences.append(sentence)
    return described, ''.join(f'; {what}: {count}' for what, count in reader.repairs.items())


def read_shared_videos(
    paths: tuple[Path, Path],
) -> tuple[dict[str, Description], dict[str, Description]]:
    """Read both annotators' descriptions of the videos that both described.

    Raises:
        InputError: A file cannot be used, or they differ about a duration.
    """
    (first, repairs_1), (second, repairs_2) = map(read_descriptions, paths)
    shared = [video for video in first if video in second]
    for path, described, repairs in zip(
        paths, (first, second), (repairs_1, repairs_2), strict=True
    ):
        print(
            f'{path}: {len(described)} videos, {len(described) - len(shared)} of them in this file '
            f'only and left out{repairs}'
        )
    for video in shared:
        durations = first[video].duration, second[video].duration
        if abs(durations[0] - durations[1]) > SAME_DURATION:
            raise InputError(
                f'{paths[1]}: video {video} lasts {durations[1]} s, '
                f'but {durations[0]} s in {paths[0]}; correct one of them'
            )
    return tuple({video: described[video] for video in shared} for described in (first, second))


def split_videos(videos: list[str], val_fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Return the training and the validation videos, each in the order of their names."""
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
    suffix: str = '',
) -> list[CorpusVideo]:
    """Pair each video's queries from one annotator with the subtitles from the other."""
    return [
        CorpusVideo(
            name + suffix,
            name,
            queries[name].duration,
            queries[name].sentences,
            subtitles[name].sentences,
        )
        for name in names
    ]


def make_talks(videos: list[CorpusVideo], seed: int) -> list[CorpusVideo]:
    """Chain descriptions into talks, as if they were read aloud one after another.

    Each part of a talk is the description of another recording. The queries of a recording, by the
    other annotator, have the whole part as their moment: as in speech, it has several sentences, of
    which a query paraphrases some, and ends where the talk turns to something else.

    Args:
        videos: Videos of the task, each the part of one talk.
        seed: Of their order and of the numbers of parts.
    """
    chosen = random.Random(seed)
    parts = [video for video in videos if video.subtitles]
    chosen.shuffle(parts)
    talks = []
    while parts:
        count = chosen.randint(*PARTS)
        talks.append(_talk(f'talk_{seed}_{len(talks)}', parts[:count]))
        parts = parts[count:]
    return talks


def _talk(name: str, parts: list[CorpusVideo]) -> CorpusVideo:
    """Lay the sentences of the parts one after another."""
    said, queries, time = [], [], 0.0
    for part in parts:
        begin = time
        for sentence in sorted(part.subtitles, key=lambda x: (x.start, x.end)):
            end = time + len(sentence.text.split()) / WORDS_PER_SECOND
            said.append(TimedSentence(sentence.text, time, end))
            time = end + PAUSE
        queries += [TimedSentence(x.text, begin, time - PAUSE) for x in part.queries]
        time += PART_PAUSE - PAUSE
    return CorpusVideo(name, name, said[-1].end, queries, said)


def write_task(
    out_dir: Path,
    train: list[CorpusVideo],
    val: list[CorpusVideo],
    extra: list[CorpusVideo],
) -> None:
    """Write annotation, corpus and subtitles in the layout that TVRReader reads.

    Ids and indices run over train, val, then the extra training entries, so that
    the forward part of the task is the same with and without them. An extra entry carries the
    index of the video that it is made of as a third number.
    """
    videos = [*train, *val, *extra]
    indices = {video.name: index for index, video in enumerate(videos)}
    pairs = [(video, query) for video in videos for query in video.queries]
    lines = [
        {
            'vid_name': video.name,
            'duration': video.duration,
            'ts': [query.start, query.end],
            'desc': query.text,
            'type': 't',
            'desc_id': query_id,
        }
        for query_id, (video, query) in enumerate(pairs)
    ]
    val_names = {video.name for video in val}
    index = {'train': {}, 'val': {}}
    for video in videos:
        source = [] if video.name == video.source else [indices[video.source]]
        split = 'val' if video.name in val_names else 'train'
        index[split][video.name] = [video.duration, indices[video.name], *source]
    subtitles = [
        {
            'vid_name': video.name,
            'sub': [{'text': x.text, 'start': x.start, 'end': x.end} for x in video.subtitles],
        }
        for video in videos
    ]
    for split, is_val in (('train', False), ('val', True)):
        chosen = [line for line in lines if (line['vid_name'] in val_names) is is_val]
        write_jsonl(out_dir / f'{split}.jsonl', chosen)
    write_jsonl(out_dir / 'subtitles.jsonl', subtitles)
    write_json(out_dir / 'video2dur_idx.json', index)


def convert(args: argparse.Namespace) -> None:
    """Read, split, write, report."""
    first, second = read_shared_videos((args.val_1, args.val_2))
    train_names, val_names = split_videos(list(first), args.val_fraction, args.seed)
    train = corpus_videos(train_names, first, second)
    val = corpus_videos(val_names, first, second)
    reversed_names = train_names if args.both_directions else []
    extra = corpus_videos(reversed_names, second, first, REVERSED_SUFFIX)
    if args.talks:
        train, val = make_talks(train + extra, args.seed), make_talks(val, args.seed + 1)
        extra = []
    write_task(args.out_dir, train, val, extra)
    rows = [
        (
            split,
            len(videos),
            sum(len(video.queries) for video in videos),
            sum(len(video.subtitles) for video in videos),
        )
        for split, videos in (('train', train + extra), ('val', val))
    ]
    print(tabulate(rows, headers=['split', 'videos', 'queries', 'subtitle sentences']))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
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
    parser.add_argument(
        '--talks',
        action='store_true',
        help='chain the descriptions into talks that are as fast as speech; the queries of a '
        'recording have its whole description as their moment',
    )
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with input_errors_end_the_program():
        convert(args)


if __name__ == '__main__':
    main()
