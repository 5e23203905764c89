"""Write a made-up corpus in the layout and under the file names of the TVR release.

Queries and their moments share planted concepts, so that a model can learn to
retrieve them, and what it has learnt can be measured. With ``--val-annotation``
the validation queries are real ones, and only the features are made up.
"""

import argparse
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from tabulate import tabulate

from reloclnet_mm.datasets.readers import Query, TVRReader, Video
from reloclnet_mm.datasets.synthetic import (
    QUERY_TYPE_SHARES,
    PlantedCorpus,
    PlantedQuery,
    PlantedSettings,
    PlantedVideo,
    spread_evenly,
)
from reloclnet_mm.errors import InputError
from reloclnet_mm.features.h5_output import H5Output
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import write_json, write_jsonl, writing
from reloclnet_mm.utils.progress import progress

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
    'video_dim': 3072,
    'subtitle_dim': 768,
    'query_dim': 768,
    'num_concepts': 512,
}
LEAST = {
    'num_train_videos': 1,
    'num_val_videos': 1,
    'num_test_videos': 0,
    'queries_per_video': 1,
    'max_val_queries': 1,
}
HELP = {
    'video_dim': 'TVR: 3072',
    'subtitle_dim': 'TVR: 768',
    'query_dim': 'TVR: 768',
    'clip_length': 'seconds',
    'mean_clips': 'of a made-up video',
    'num_concepts': 'words of the planted world',
    'noise': 'norm of the noise beside a signal of 1',
    'seed': 'equal seeds, equal files',
}


@dataclass(frozen=True)
class Split:
    """The videos of a split, each with its queries, and the lines of its annotation."""

    videos: list[tuple[PlantedVideo, list[PlantedQuery]]]
    annotation: list[dict]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; ``--tvr-full`` changes the defaults, not what is given."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add('out_dir', type=Path, help='folder to write, new or empty')
    add('--num-train-videos', type=int, default=300, help='TVR: 17,435')
    add('--num-val-videos', type=int, default=100, help='TVR: 2,179; not with --val-annotation')
    add('--num-test-videos', type=int, default=20, help='TVR: 1,089')
    add('--queries-per-video', type=float, default=5.0, help='mean')
    for field in fields(PlantedSettings):
        option = '--' + field.name.replace('_', '-')
        add(option, type=field.type, default=field.default, help=HELP[field.name])
    add('--tvr-full', action='store_true', help="the TVR release's sizes: 16 GB in float32")
    add('--val-annotation', type=Path, help='real tvr_val_release.jsonl to plant features for')
    add('--video-index', type=Path, help='real tvr_video2dur_idx.json, with --val-annotation')
    add('--max-val-queries', type=int, help='only the first queries of --val-annotation')
    add('--dtype', choices=('float32', 'float16'), default='float32')
    add('--overwrite', action='store_true', help='replace the files of a corpus in out_dir')
    if parser.parse_args(argv).tvr_full:
        parser.set_defaults(**TVR_PRESET)
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """Refuse numbers that make no corpus, options that lack their partner, a folder in use.

    Raises:
        InputError: An argument cannot be used.
    """
    for name, least in LEAST.items():
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


def plan(corpus: PlantedCorpus, args: argparse.Namespace) -> dict[str, Split]:
    """Draw the videos and queries of all splits, numbered consecutively.

    With a real annotation its queries are the validation split, and the videos of the other
    splits are the first ones of the real index.

    Raises:
        InputError: The annotation or the index cannot be used.
    """
    counts = dict(
        train=args.num_train_videos, val=args.num_val_videos, test_public=args.num_test_videos
    )
    real_val = None if args.val_annotation is None else plan_real_val(corpus, args)
    next_query = 0 if real_val is None else 1 + max(r['desc_id'] for r in real_val.annotation)
    next_video, splits = 0, {}
    for split, count in counts.items():
        if real_val is None:
            indices = range(next_video, next_video := next_video + count)
            names = [f'planted_{split}_{i:05d}' for i in range(count)]
            videos = [corpus.draw_video(*video) for video in zip(names, indices, strict=True)]
        elif split == 'val':
            splits[split] = real_val
            continue
        else:
            videos = first_videos(args.video_index, split, count)
        groups = []
        for video, number in zip(videos, spread_evenly(args.queries_per_video, count), strict=True):
            groups.append((video, corpus.draw_queries(video, number, next_query)))
            next_query += number
        records = [to_record(query, split) for _, queries in groups for query in queries]
        splits[split] = Split(groups, records)
    return splits


def to_record(query: PlantedQuery, split: str = 'val') -> dict:
    """Return a query as a line of the TVR release, which has no answers of the public test."""
    if split == 'test_public':
        return {'desc': query.text, 'desc_id': query.query_id}
    return {
        'vid_name': query.video.name,
        'duration': query.video.duration,
        'ts': list(query.moment),
        'desc': query.text,
        'type': query.query_type,
        'desc_id': query.query_id,
    }


def plan_real_val(corpus: PlantedCorpus, args: argparse.Namespace) -> Split:
    """Read the queries of a real annotation, and choose their concepts.

    Raises:
        InputError: The annotation or the index cannot be used.
    """
    files = dict(ann_file=str(args.val_annotation), video_index=str(args.video_index))
    reader = TVRReader(**files, split='val')
    videos = reader.videos()
    queries = reader.queries(videos)
    for query in queries:
        check_query(query)
    groups: dict[str, list[Query]] = {name: [] for name in videos}
    for query in queries[: args.max_val_queries]:
        groups[query.video_name].append(query)
    planted = {
        name: corpus.adopt_queries(to_planted(videos[name]), group)
        for name, group in groups.items()
        if group
    }
    adopted = {query.query_id: query for group in planted.values() for query in group}
    records = [to_record(adopted[query.query_id]) for query in queries[: args.max_val_queries]]
    return Split([(to_planted(videos[name]), group) for name, group in planted.items()], records)


def check_query(query: Query) -> None:
    """Refuse a query that features cannot be planted for.

    Raises:
        InputError: It has no answer, no number or another type.
    """
    if not query.moments:
        raise InputError(
            f"{query.where}: found no 'ts', expected one; give an annotation with answers"
        )
    if not isinstance(query.query_id, int) or query.query_id < 0:
        raise InputError(
            f'{query.where}: found the desc_id {query.query_id!r}, expected a whole number; '
            'renumber the queries'
        )
    if query.query_type not in QUERY_TYPE_SHARES:
        raise InputError(
            f'{query.where}: found the type {query.query_type!r}, expected one of '
            f'{", ".join(QUERY_TYPE_SHARES)}; mend or remove the line'
        )


def to_planted(video: Video) -> PlantedVideo:
    """Return a video of an annotation as one of the planted corpus."""
    return PlantedVideo(video.name, video.video_id, video.duration)


def first_videos(path: Path, split: str, count: int) -> list[PlantedVideo]:
    """Read the first videos of a split of a TVR video index.

    Raises:
        InputError: The split has fewer.
    """
    reader = TVRReader(video_index=str(path), split=split)
    videos = [to_planted(video) for video in reader.videos().values()] if count else []
    if len(videos) < count:
        raise InputError(
            f'{path}: found {len(videos)} videos in split {split!r}, expected the {count} asked '
            'for; ask for fewer'
        )
    return videos[:count]


def write_corpus(
    corpus: PlantedCorpus, splits: dict[str, Split], folder: Path, dtype: str
) -> list[tuple[str, str, str]]:
    """Write all files of a corpus into an empty folder.

    Returns:
        Name, content and size of each file.
    """
    contents = {}
    for name, split in splits.items():
        file = f'tvr_{name}_release.jsonl'
        write_jsonl(folder / file, split.annotation)
        contents[file] = f'{len(split.annotation):,} queries'
    index = {
        name: {video.name: [video.duration, video.index] for video, _ in split.videos}
        for name, split in splits.items()
    }
    write_json(folder / INDEX_FILE, index)
    contents[INDEX_FILE] = ' + '.join(f'{len(videos):,}' for videos in index.values()) + ' videos'
    videos = [member for split in splits.values() for member in split.videos]
    num_queries = sum(len(queries) for _, queries in videos)
    for stream, file in FEATURE_FILES.items():
        arrays, width = num_queries if stream == 'query' else len(videos), f'{stream}_dim'
        contents[file] = f'{arrays:,} arrays of (rows, {getattr(corpus.settings, width)}) {dtype}'
    write_features(corpus, videos, folder, dtype)
    sizes = {file: (folder / file).stat().st_size for file in contents}
    return [(file, text, f'{sizes[file] / 1e6:,.1f} MB') for file, text in contents.items()]


def write_features(
    corpus: PlantedCorpus,
    videos: list[tuple[PlantedVideo, list[PlantedQuery]]],
    folder: Path,
    dtype: str,
) -> None:
    """Draw and write the features of one video, and of its queries, after the other."""
    with ExitStack() as stack:
        files = {}
        for stream, name in FEATURE_FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            files[stream] = stack.enter_context(H5Output(folder / name))
        for video, queries in progress(videos, 'videos'):
            for stream in ('video', 'subtitle'):
                rows = corpus.context_features(stream, video, queries)
                files[stream][video.name] = rows.astype(dtype)
            for query in queries:
                rows = corpus.query_features(query)
                files['query'][str(query.query_id)] = rows.astype(dtype)


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
        settings = {field.name: getattr(args, field.name) for field in fields(PlantedSettings)}
        corpus = PlantedCorpus(PlantedSettings(**settings))
        splits = plan(corpus, args)
        out_dir = args.out_dir.resolve()
        with writing(out_dir):
            out_dir.parent.mkdir(parents=True, exist_ok=True)
            prefix, parent = f'.{out_dir.name}.', out_dir.parent
            # An interrupted run leaves neither half a corpus nor a broken old one.
            with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as staging:
                summary = write_corpus(corpus, splits, Path(staging), args.dtype)
                publish(Path(staging), out_dir)
        print(f'wrote to {args.out_dir}:')
        print(tabulate(summary, headers=('file', 'content', 'size')))


if __name__ == '__main__':
    main()
