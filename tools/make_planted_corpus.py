"""Write a made-up corpus in the layout and under the file names of the TVR release.

Queries and their moments share planted concepts, so that a model can learn to
retrieve them, and what it has learnt can be measured. With ``--val-annotation``
the validation queries are real ones, and only the features are made up.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np
from mmengine.utils import ProgressBar
from tabulate import tabulate

from reloclnet_mm.datasets.annotation import (
    check_moment,
    read_json,
    read_jsonl,
    read_video_index,
)
from reloclnet_mm.datasets.base import UniqueQueryIds
from reloclnet_mm.datasets.synthetic import (
    QUERY_TYPE_SHARES,
    PlantedCorpus,
    PlantedQuery,
    PlantedSettings,
    PlantedVideo,
    spread_evenly,
)
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import write_jsonl, write_text

ANNOTATION_FILES = {
    'train': 'tvr_train_release.jsonl',
    'val': 'tvr_val_release.jsonl',
    'test_public': 'tvr_test_public_release.jsonl',
}
INDEX_FILE = 'tvr_video2dur_idx.json'
FEATURE_FILES = {
    'video': 'tvr_feature_release/video_feature/tvr_resnet152_rgb_max_i3d_rgb600_avg_cat_cl-1.5.h5',
    'subtitle': 'tvr_feature_release/bert_feature/sub_query/'
    'tvr_sub_pretrained_w_sub_query_max_cl-1.5.h5',
    'query': 'tvr_feature_release/bert_feature/sub_query/tvr_query_pretrained_w_sub_query.h5',
}
TVR_PRESET = {
    'num_train_videos': 17435,
    'num_val_videos': 2179,
    'num_test_videos': 1089,
    'queries_per_video': 5.0,
    'mean_clips': 50.0,
    'video_dim': 3072,
    'subtitle_dim': 768,
    'query_dim': 768,
    'num_concepts': 512,
}
REAL_KEYS = ('vid_name', 'ts', 'desc', 'type', 'desc_id')
END_TOLERANCE = 1.0


@dataclass(frozen=True)
class Split:
    """The videos of a split, and the queries of each, in the same order."""

    videos: list[PlantedVideo]
    queries: list[list[PlantedQuery]]
    annotation: list[dict]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; ``--tvr-full`` changes the defaults, not what is given."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out_dir', type=Path, help='folder to write, new or empty')
    add_size_arguments(parser)
    add_real_arguments(parser)
    parser.add_argument('--dtype', choices=('float32', 'float16'), default='float32')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the files of a corpus in out_dir'
    )
    if parser.parse_args(argv).tvr_full:
        parser.set_defaults(**TVR_PRESET)
    return parser.parse_args(argv)


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """How much to make up, and how hard it is to learn."""
    default = PlantedSettings()
    parser.add_argument('--num-train-videos', type=int, default=300, help='TVR: 17,435')
    parser.add_argument(
        '--num-val-videos', type=int, default=100, help='not used with --val-annotation; TVR: 2,179'
    )
    parser.add_argument('--num-test-videos', type=int, default=20, help='TVR: 1,089')
    parser.add_argument('--queries-per-video', type=float, default=5.0, help='mean')
    parser.add_argument('--mean-clips', type=float, default=default.mean_clips, help='of a video')
    parser.add_argument('--clip-length', type=float, default=default.clip_length, help='seconds')
    parser.add_argument('--video-dim', type=int, default=default.video_dim, help='TVR: 3072')
    parser.add_argument('--subtitle-dim', type=int, default=default.subtitle_dim, help='TVR: 768')
    parser.add_argument('--query-dim', type=int, default=default.query_dim, help='TVR: 768')
    parser.add_argument(
        '--num-concepts', type=int, default=default.num_concepts, help='words of the planted world'
    )
    parser.add_argument(
        '--noise', type=float, default=default.noise, help='norm of the noise beside a signal of 1'
    )
    parser.add_argument('--seed', type=int, default=default.seed, help='equal seeds, equal files')
    parser.add_argument(
        '--tvr-full', action='store_true', help="the TVR release's sizes: 16 GB in float32"
    )


def add_real_arguments(parser: argparse.ArgumentParser) -> None:
    """A real annotation to plant features for."""
    parser.add_argument(
        '--val-annotation', type=Path, help='real tvr_val_release.jsonl to plant features for'
    )
    parser.add_argument(
        '--video-index', type=Path, help='real tvr_video2dur_idx.json, with --val-annotation'
    )
    parser.add_argument(
        '--max-val-queries', type=int, help='only the first queries of --val-annotation'
    )


def check_args(args: argparse.Namespace) -> None:
    """Refuse numbers that make no corpus, options that lack their partner, a folder in use.

    Raises:
        InputError: An argument cannot be used.
    """
    for name, least in (
        ('num_train_videos', 1),
        ('num_val_videos', 1),
        ('num_test_videos', 0),
        ('queries_per_video', 1),
        ('max_val_queries', 1),
    ):
        value = getattr(args, name)
        if value is not None and value < least:
            option = '--' + name.replace('_', '-')
            raise InputError(f'{option} is {value}, expected at least {least}: choose another')
    if (args.val_annotation is None) != (args.video_index is None):
        raise InputError('--val-annotation and --video-index belong together: give both or none')
    if args.max_val_queries is not None and args.val_annotation is None:
        raise InputError('--max-val-queries limits --val-annotation, which is not given: give both')
    if args.out_dir.is_file():
        raise InputError(f'{args.out_dir} is a file, expected a folder: choose another name')
    if args.out_dir.is_dir() and any(args.out_dir.iterdir()) and not args.overwrite:
        raise InputError(
            f'{args.out_dir} is not empty: choose a new folder, or --overwrite to replace the '
            f'corpus in it'
        )


def plan_made_up(corpus: PlantedCorpus, args: argparse.Namespace) -> dict[str, Split]:
    """All splits made up, videos and queries numbered consecutively over them."""
    counts = {
        'train': args.num_train_videos,
        'val': args.num_val_videos,
        'test_public': args.num_test_videos,
    }
    videos: dict[str, list[PlantedVideo]] = {}
    next_index = 0
    for split, count in counts.items():
        videos[split] = [
            corpus.draw_video(f'planted_{split}_{i:05d}', next_index + i) for i in range(count)
        ]
        next_index += count
    return draw_splits(corpus, videos, args.queries_per_video, first_query_id=0)


def plan_real_val(corpus: PlantedCorpus, args: argparse.Namespace) -> dict[str, Split]:
    """The validation split from a real annotation, the others on videos of the real index.

    Raises:
        InputError: The annotation or the index cannot be used.
    """
    val_videos = read_videos(args.video_index, 'val')
    records = read_annotation(args.val_annotation, val_videos)[: args.max_val_queries]
    drawn = {
        'train': first_videos(args.video_index, 'train', args.num_train_videos),
        'test_public': first_videos(args.video_index, 'test_public', args.num_test_videos),
    }
    first_query_id = 1 + max(record['desc_id'] for record in records)
    made_up = draw_splits(corpus, drawn, args.queries_per_video, first_query_id)
    return {
        'train': made_up['train'],
        'val': adopt_split(corpus, records, val_videos),
        'test_public': made_up['test_public'],
    }


def first_videos(index: Path, split: str, count: int) -> list[PlantedVideo]:
    """The first videos of a split of a real index.

    Raises:
        InputError: The split has fewer.
    """
    if count == 0:
        return []
    videos = list(read_videos(index, split).values())
    if len(videos) < count:
        raise InputError(
            f'{index}: found {len(videos)} videos in split {split!r}, expected the {count} asked '
            'for; ask for fewer'
        )
    return videos[:count]


def draw_splits(
    corpus: PlantedCorpus,
    videos: dict[str, list[PlantedVideo]],
    queries_per_video: float,
    first_query_id: int,
) -> dict[str, Split]:
    """Made-up queries for given videos, numbered consecutively over the splits."""
    splits = {}
    for split, members in videos.items():
        queries = []
        for video, count in zip(
            members, spread_evenly(queries_per_video, len(members)), strict=True
        ):
            queries.append(corpus.draw_queries(video, count, first_query_id))
            first_query_id += count
        annotation = [to_record(query) for group in queries for query in group]
        if split == 'test_public':
            annotation = [{key: r[key] for key in ('desc', 'desc_id')} for r in annotation]
        splits[split] = Split(members, queries, annotation)
    return splits


def to_record(query: PlantedQuery) -> dict:
    """A query as a line of the TVR release."""
    return {
        'vid_name': query.video.name,
        'duration': query.video.duration,
        'ts': list(query.moment),
        'desc': query.text,
        'type': query.query_type,
        'desc_id': query.query_id,
    }


def adopt_split(
    corpus: PlantedCorpus, records: list[dict], videos: dict[str, PlantedVideo]
) -> Split:
    """The videos that a real annotation names, in the order of the index, and its queries."""
    groups: dict[str, list[dict]] = {}
    for record in records:
        groups.setdefault(record['vid_name'], []).append(record)
    named = [video for name, video in videos.items() if name in groups]
    queries = [corpus.adopt_queries(video, groups[video.name]) for video in named]
    return Split(named, queries, records)


def read_annotation(path: Path, videos: dict[str, PlantedVideo]) -> list[dict]:
    """The queries of a TVR annotation with answers.

    Raises:
        InputError: No such file, or a line that cannot be used.
    """
    records = []
    query_ids = UniqueQueryIds(str(path))
    for line, record in read_jsonl(path):
        check_record(f'{path}:{line}', record, videos)
        query_ids.add(record['desc_id'], line)
        records.append(record)
    if not records:
        raise InputError(f'{path}: no query in the file; expected one a line')
    return records


def check_record(where: str, record: dict, videos: dict[str, PlantedVideo]) -> None:
    """Refuse a query that features cannot be planted for.

    Raises:
        InputError: A key is missing or its value cannot be used.
    """
    missing = [key for key in REAL_KEYS if key not in record]
    if missing:
        raise InputError(
            f'{where}: found the keys {sorted(record)}, expected {missing[0]!r} among them; '
            'give an annotation with answers'
        )
    if not isinstance(record['desc_id'], int) or record['desc_id'] < 0:
        raise InputError(
            f'{where}: found the desc_id {record["desc_id"]!r}, expected a whole number; '
            'renumber the queries'
        )
    if record['type'] not in QUERY_TYPE_SHARES:
        raise InputError(
            f'{where}: found the type {record["type"]!r}, expected one of '
            f'{", ".join(QUERY_TYPE_SHARES)}; mend or remove the line'
        )
    if record['vid_name'] not in videos:
        raise InputError(
            f"{where}: video {record['vid_name']!r} is not in split 'val' of the video index; "
            'give the index of the same release'
        )
    check_moment(record['ts'], videos[record['vid_name']].duration, where, END_TOLERANCE)


def read_videos(path: Path, split: str) -> dict[str, PlantedVideo]:
    """The videos of a split of a TVR video index by name.

    Raises:
        InputError: No such file or split, or not of this layout.
    """
    return {
        name: PlantedVideo(name, info.video_id, info.duration)
        for name, info in read_video_index(path, split).items()
    }


def write_corpus(
    corpus: PlantedCorpus, splits: dict[str, Split], folder: Path, dtype: str
) -> list[list[str]]:
    """Write all files of a corpus into an empty folder.

    Returns:
        A row a file: name, content, width or nothing, size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, name in ANNOTATION_FILES.items():
        write_jsonl(folder / name, splits[split].annotation)
    index = {
        split: {video.name: [video.duration, video.index] for video in content.videos}
        for split, content in splits.items()
    }
    write_text(folder / INDEX_FILE, json.dumps(index))
    write_features(corpus, splits, folder, dtype)
    return [
        [name, *describe(folder / name), format_size((folder / name).stat().st_size)]
        for name in (*ANNOTATION_FILES.values(), INDEX_FILE, *FEATURE_FILES.values())
    ]


def write_features(
    corpus: PlantedCorpus, splits: dict[str, Split], folder: Path, dtype: str
) -> None:
    """Draw and write the features of one video, and of its queries, after the other."""
    for name in FEATURE_FILES.values():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    members = list(iterate_videos(splits))
    progress = ProgressBar(len(members), bar_width=30)
    with (
        h5py.File(folder / FEATURE_FILES['video'], 'w') as video_file,
        h5py.File(folder / FEATURE_FILES['subtitle'], 'w') as subtitle_file,
        h5py.File(folder / FEATURE_FILES['query'], 'w') as query_file,
    ):
        for video, queries in members:
            for stream, file in (('video', video_file), ('subtitle', subtitle_file)):
                file[video.name] = corpus.context_features(stream, video, queries).astype(dtype)
            for query in queries:
                query_file[str(query.query_id)] = corpus.query_features(query).astype(dtype)
            progress.update()
    sys.stdout.write('\n')


def iterate_videos(splits: dict[str, Split]) -> Iterator[tuple[PlantedVideo, list[PlantedQuery]]]:
    """Each video of all splits with its queries."""
    for split in splits.values():
        yield from zip(split.videos, split.queries, strict=True)


def describe(path: Path) -> tuple[str, str]:
    """What a written file holds, and the shape of its arrays."""
    if path.suffix == '.jsonl':
        return f'{sum(1 for _ in read_jsonl(path)):,} queries', ''
    if path.suffix == '.json':
        return ' + '.join(f'{len(videos):,}' for videos in read_json(path).values()) + ' videos', ''
    with h5py.File(path) as file:
        lengths = np.array([len(rows) for rows in file.values()])
        rows = next(iter(file.values()))
        shape = f'({lengths.min()}…{lengths.max()}, {rows.shape[1]}) {rows.dtype}'
        return f'{len(file):,} arrays of {lengths.mean():.1f} rows', shape


def format_size(num_bytes: int) -> str:
    """A file's size in words."""
    return f'{num_bytes / 1e6:,.1f} MB'


def publish(staging: Path, out_dir: Path) -> None:
    """Move complete files from a folder of the same file system into the corpus."""
    for path in sorted(p for p in staging.rglob('*') if p.is_file()):
        target = out_dir / path.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)


def main(argv: list[str] | None = None) -> None:
    """Make the corpus that the command line asks for."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        check_args(args)
        settings = PlantedSettings(
            **{field.name: getattr(args, field.name) for field in fields(PlantedSettings)}
        )
        corpus = PlantedCorpus(settings)
        plan = plan_made_up if args.val_annotation is None else plan_real_val
        splits = plan(corpus, args)
    out_dir = args.out_dir.resolve()
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    # an interrupted run must leave neither half a corpus nor a broken old one
    with tempfile.TemporaryDirectory(prefix=f'.{out_dir.name}.', dir=out_dir.parent) as staging:
        summary = write_corpus(corpus, splits, Path(staging), args.dtype)
        publish(Path(staging), out_dir)
    print(f'wrote to {args.out_dir}:')
    print(tabulate(summary, headers=('file', 'content', 'shape', 'size')))


if __name__ == '__main__':
    main()
