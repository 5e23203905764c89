"""Write features of videos for a training set, by the recipe of a config.

DIR gets an h5 file a stream, named as the stream, a key a video: its path below the folder, with
'__' for '/'. videos.jsonl lists the videos with their seconds, subtitles.jsonl what is said in
them. A run that was stopped goes on with the same command; a file that cannot be used does not stop
the others.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from mmengine.config import Config

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.annotations import read_query_texts
from reloclnet_mm.extraction.extraction import extract_queries
from reloclnet_mm.extraction.own_videos import find_videos
from reloclnet_mm.extraction.recipe import FeatureRecipe
from reloclnet_mm.extraction.training_sets import Extracted, extract_videos, name_videos
from reloclnet_mm.features.writer import FeatureWriter
from reloclnet_mm.registry import EXTRACTORS
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import write_jsonl
from reloclnet_mm.utils.json_files import read_jsonl
from reloclnet_mm.utils.progress import counted

VIDEOS_AT_ONCE = 16


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('videos', nargs='+', metavar='VIDEO', help='files and folders')
    parser.add_argument(
        '--recipe', required=True, type=Path, metavar='CONFIG', help='config with a recipe'
    )
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='folder to write')
    parser.add_argument(
        '--queries', nargs='+', default=[], type=Path, metavar='ANN', help='write query.h5 too'
    )
    parser.add_argument('--processes', type=int, help='(default: one, or one a GPU)')
    parser.add_argument('--dtype', choices=['float32', 'float16'], default='float32')
    args = parser.parse_args(argv)
    if args.processes is not None and args.processes < 1:
        parser.error(f'--processes {args.processes}, expected at least 1')
    return args


def devices_of(processes: int | None) -> list[str]:
    """Give each process a device."""
    gpus = [f'cuda:{i}' for i in range(torch.cuda.device_count())] or ['cpu']
    return [gpus[i % len(gpus)] for i in range(processes or len(gpus))]


def recipe_of(path: Path) -> dict:
    """Read the recipe of a config."""
    if not path.is_file():
        raise InputError(f'{path}: no such file; expected a config with a recipe')
    cfg = Config.fromfile(path)
    if 'recipe' not in cfg:
        raise InputError(f'{path}: has no recipe; copy that of configs/relocl_speech.py')
    return cfg.recipe.to_dict()


class TrainingSet:
    """The files that are written.

    Args:
        folder: Where.
        recipe: How features are made.
        dtype: Of the features.
    """

    def __init__(self, folder: Path, recipe: FeatureRecipe, dtype: str) -> None:
        self.folder = folder
        about = dict(clip_length=recipe.clip_length)
        self.streams = {
            name: FeatureWriter(folder / f'{name}.h5', about | flat(stream.identity()), dtype)
            for name, stream in recipe.streams.items()
        }
        self.lists = {name: self._read(name) for name in ('videos', 'subtitles')}

    def missing(self, names: Iterable[str]) -> list[str]:
        """List the videos that are not whole."""
        names = list(names)
        there = {*names} & {*self.lists['videos']} & {*self.lists['subtitles']}
        for writer in self.streams.values():
            there -= {*writer.missing(names)}
        return [name for name in names if name not in there]

    def write(self, done: Iterable[Extracted]) -> None:
        """Write some videos."""
        done = list(done)
        for stream, writer in self.streams.items():
            rows = {x.name: x.features.streams[stream] for x in done}
            new = {*writer.missing(rows)}
            writer.write({name: x for name, x in rows.items() if name in new})
        for name, features, _ in done:
            content = features.content
            said = [dict(text=x.text, start=x.start, end=x.end) for x in content.sentences]
            self.lists['videos'][name] = dict(vid_name=name, duration=content.duration)
            self.lists['subtitles'][name] = dict(vid_name=name, sub=said)
        for name, entries in self.lists.items():
            write_jsonl(self.folder / f'{name}.jsonl', entries.values())

    def finish(self) -> None:
        """Make the files whole."""
        for writer in self.streams.values():
            writer.finish()

    def _read(self, name: str) -> dict[str, dict]:
        path = self.folder / f'{name}.jsonl'
        if not path.exists():
            return {}
        return {entry['vid_name']: entry for _, entry in read_jsonl(path, dict)}


def flat(settings: dict) -> dict:
    """Make plain values of nested ones, as attributes of an h5 file."""
    return {
        name: x if isinstance(x, str | int | float) else json.dumps(x)
        for name, x in settings.items()
    }


def batches(items: Iterable[Extracted]) -> Iterator[list[Extracted]]:
    """Group what comes."""
    items = iter(items)
    while batch := [*islice(items, VIDEOS_AT_ONCE)]:
        yield batch


def extract(args: argparse.Namespace) -> None:
    """Make the features of the videos, and of the queries."""
    config = recipe_of(args.recipe)
    recipe = EXTRACTORS.build(config)
    videos = name_videos(find_videos(args.videos))
    out = TrainingSet(args.out, recipe, args.dtype)
    todo = {name: videos[name] for name in out.missing(videos)}
    print(f'{len(videos)} videos, {len(videos) - len(todo)} of them in {args.out} already')
    failed = 0
    with counted(len(todo), 'videos') as advance:
        for batch in batches(extract_videos(config, todo, devices_of(args.processes))):
            for video in batch:
                if video.features is None:
                    failed += 1
                    print(f'left out: {video.error}', file=sys.stderr)
            out.write(video for video in batch if video.features is not None)
            advance(len(batch))
    out.finish()
    print(f'{args.out}: {len(videos) - failed} videos, {failed} left out')
    if args.queries:
        texts = read_query_texts(args.queries)
        writer = FeatureWriter(args.out / 'query.h5', flat(recipe.query.identity()), args.dtype)
        with counted(len(writer.missing(texts)), 'queries') as advance:
            extract_queries(texts, recipe.query, writer, advance)
        print(f'{args.out / "query.h5"}: {len(texts)} queries')


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        extract(args)


if __name__ == '__main__':
    main()
