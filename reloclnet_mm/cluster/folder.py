"""The folder of an index in shards.

It holds ``cluster.json`` and a folder ``shards/NAME`` for each shard, an index as any other. A
video lies in one shard, with all of its windows, so that what is found in one shard does not
depend on the others. ``cluster.json`` is replaced in one step.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import Struct

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.own_videos import subtitles_of
from reloclnet_mm.indexing.records import Origin, VideoRecord, unique_name
from reloclnet_mm.indexing.store import CLUSTER_FILE, VideoIndex, read_records
from reloclnet_mm.utils.fileio import write_text
from reloclnet_mm.utils.json_files import read_json

_FORMAT, _VERSION = 'reloclnet_mm index in shards', 1
_SHARDS = 'shards'


class Planned(Struct, frozen=True):
    """A new file and the shard that it is to be added to.

    Attributes:
        path: The file.
        name: Its name in the index.
        shard: Name of the shard.
    """

    path: str
    name: str
    shard: str


class _Content(Struct):
    format: str
    version: int
    origin: Origin
    shards: list[str]
    planned: list[Planned]


@dataclass(frozen=True)
class ClusterFolder:
    """What ``cluster.json`` says.

    Attributes:
        folder: The folder.
        origin: What made the shards.
        shards: Their names.
        planned: New files of a run that has not ended. A run that was stopped goes on with the
            same shards, for a process of it may not have noticed yet.
    """

    folder: Path
    origin: Origin
    shards: tuple[str, ...]
    planned: tuple[Planned, ...] = ()

    @staticmethod
    def is_at(folder: str | os.PathLike) -> bool:
        """Tell whether a folder is that of an index in shards."""
        return (Path(folder) / CLUSTER_FILE).is_file()

    @staticmethod
    def create(folder: str | os.PathLike, origin: Origin, num_shards: int) -> 'ClusterFolder':
        """Begin an index in shards, without videos.

        Args:
            folder: A new folder, or an empty one.
            origin: What makes the shards.
            num_shards: How many.

        Raises:
            InputError: The folder holds something, or cannot be written.
        """
        folder = Path(folder).resolve()
        if folder.exists() and not folder.is_dir():
            raise InputError(f'{folder}: is a file, expected a folder; choose another name')
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if 'index.json' in names:
            raise InputError(
                f'{folder}: is an index in a single folder, expected one in shards or a new '
                'folder; work on it without --ray, or choose another folder'
            )
        # What a run left that was stopped while it began.
        names -= {'.lock', _SHARDS, *(x for x in names if x.startswith(f'.{CLUSTER_FILE}.'))}
        if names:
            raise InputError(
                f'{folder}: holds {min(names)!r} and no {CLUSTER_FILE}, expected an index in '
                'shards or a new folder; choose another folder'
            )
        return ClusterFolder(folder, origin, ()).with_shards(num_shards)

    @staticmethod
    def load(folder: str | os.PathLike) -> 'ClusterFolder':
        """Read ``cluster.json``.

        Raises:
            InputError: There is none, it is damaged, or of another version.
        """
        folder = Path(folder).resolve()
        path = folder / CLUSTER_FILE
        if not path.is_file():
            raise InputError(
                f'{folder}: holds no {CLUSTER_FILE}, expected an index in shards; make one with '
                'tools/index.py --ray ADDRESS --shards N, or open a single index without --ray'
            )
        content = read_json(path, _Content)
        if (content.format, content.version) != (_FORMAT, _VERSION):
            raise InputError(
                f'{path}: found format {content.format!r}, version {content.version}, expected '
                f'{_FORMAT!r}, version {_VERSION}; index the videos again with this version'
            )
        for name in content.shards:
            if not name or Path(name).name != name:
                raise InputError(f'{path}: found the shard {name!r}, expected a name; mend it')
        return ClusterFolder(folder, content.origin, tuple(content.shards), tuple(content.planned))

    def save(self) -> None:
        """Write ``cluster.json``.

        Raises:
            InputError: It cannot be written.
        """
        content = _Content(_FORMAT, _VERSION, self.origin, [*self.shards], [*self.planned])
        write_text(self.folder / CLUSTER_FILE, msgspec.json.encode(content).decode() + '\n')

    def path_of(self, shard: str) -> Path:
        """Return the folder of a shard."""
        return self.folder / _SHARDS / shard

    def with_shards(self, count: int) -> 'ClusterFolder':
        """Add empty shards, which new files go to first, and write that.

        Args:
            count: Shards that there are then.

        Raises:
            InputError: There are more already, or the folder cannot be written.
        """
        if count < max(1, len(self.shards)):
            raise InputError(
                f'{self.folder}: --shards {count}, expected at least {max(1, len(self.shards))}, '
                'for videos stay in their shards'
            )
        names = [f'shard-{number:04}' for number in range(count)]
        new = [name for name in names if name not in self.shards][: count - len(self.shards)]
        for name in new:
            # What a run left that was stopped here is an index without videos, too.
            if not (self.path_of(name) / 'index.json').exists():
                VideoIndex(self.origin).save(self.path_of(name))
        grown = replace(self, shards=(*self.shards, *new))
        grown.save()
        return grown

    def records(self) -> dict[str, list[VideoRecord]]:
        """Read the records of all shards, by the name of the shard.

        Raises:
            InputError: A shard is damaged, or two have a video of the same name.
        """
        found = {shard: read_records(self.path_of(shard)) for shard in self.shards}
        owners: dict[str, str] = {}
        for shard, videos in found.items():
            for video in videos:
                other = owners.setdefault(video.name, shard)
                if other != shard:
                    raise InputError(
                        f'{self.folder}: {video.name!r} is in {other} and in {shard}, expected '
                        'each video in one shard; remove it from one with tools/index.py'
                    )
        return found

    def assign(
        self, files: Iterable[tuple[Path, Path]], records: Mapping[str, list[VideoRecord]]
    ) -> tuple[dict[str, list[str]], list[Planned], dict[str, str]]:
        """Settle which files each shard looks at: its own, and new ones to the smallest shards.

        Args:
            files: Files, and the folder that each was found in.
            records: Videos of each shard.

        Returns:
            Files of each shard, those that are new, and the reasons why others have no place.
        """
        assignment = _Assignment(self, records)
        for path, root in files:
            assignment.add(path, root)
        return assignment.files, [*assignment.planned.values()], assignment.failed


class _Assignment:
    """Which shard has which file."""

    def __init__(self, cluster: ClusterFolder, records: Mapping[str, list[VideoRecord]]) -> None:
        self.files: dict[str, list[str]] = {shard: [] for shard in cluster.shards}
        self.failed: dict[str, str] = {}
        self._shards = {x.path: shard for shard, videos in records.items() for x in videos}
        self.planned = {x.path: x for x in cluster.planned if x.path not in self._shards}
        self._shards |= {path: x.shard for path, x in self.planned.items()}
        self._names = {x.name: x for videos in records.values() for x in videos}
        self._names |= {x.name: x for x in self.planned.values()}
        self._sizes = dict.fromkeys(cluster.shards, 0)
        for shard in self._shards.values():
            self._sizes[shard] += 1

    def add(self, path: Path, root: Path) -> None:
        shard = self._shards.get(str(path))
        if shard is None:
            try:
                shard = self._place(path, unique_name(path, root, self._names))
            except InputError as error:
                self.failed[str(path)] = str(error)
                return
        self.files[shard].append(str(path))

    def _place(self, path: Path, name: str) -> str:
        # A video takes the place of its subtitles that were indexed while it was not there.
        shard = self._shards.get(str(subtitles_of(path)))
        shard = shard or min(self._sizes, key=self._sizes.__getitem__)
        planned = Planned(str(path), name, shard)
        self.planned[planned.path] = self._names[name] = planned
        self._shards[planned.path] = shard
        self._sizes[shard] += 1
        return shard
