"""The videos of an index, in memory and in a folder.

A folder holds ``index.json`` and a folder ``segments/NAME`` for each group of videos that was added
together: their encoded windows and ``sentences.jsonl``, a line a video. Files are never changed:
what is added comes as a new segment, and ``index.json``, which is replaced in one step, names the
segments that count. So a reader finds the old index or the new one.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch
from msgspec import Struct
from msgspec.structs import replace

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.records import FileStamp, Origin, VideoRecord
from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.structures.corpus import SavedRows
from reloclnet_mm.structures.parted_corpus import CorpusPart, PartedCorpus
from reloclnet_mm.structures.staged_corpus import StagedCorpus
from reloclnet_mm.utils.fileio import replace_file, write_text, writing

Corpus = EncodedCorpus | StagedCorpus

_FORMAT, _VERSION = 'reloclnet_mm index of videos', 1
_INDEX, _LOCK, _SEGMENTS, _SENTENCES = 'index.json', '.lock', 'segments', 'sentences.jsonl'
_LISTS = 'lists'
# What marks the folder of an index in shards, of reloclnet_mm.cluster.
CLUSTER_FILE = 'cluster.json'
# All segments are written anew as one where there are more, or where so much of them is of no use.
_MOST_SEGMENTS, _MOST_WASTE = 16, 0.5


class _Header(Struct):
    format: str = ''
    version: int = 0


class _Content(Struct):
    format: str
    version: int
    generation: str
    origin: Origin
    next_window: int
    null_scores: list[float] | None
    videos: list[VideoRecord]
    float16: bool = False


@dataclass
class _Added:
    """A video that is not saved yet."""

    windows: Corpus
    sentences: Sequence[TimedSentence]


@dataclass
class VideoIndex:
    """Encoded videos by name.

    Attributes:
        origin: What made it.
        videos: Records by name.
        null_scores: Best scores that queries about other things have, in the order of these
            queries; None: not measured since a video was added or removed.
        next_window: Id of the next window.
        folder: Where it is saved; None: nowhere yet.
        float16: Whether rows are rounded to float16 when they are saved.
    """

    origin: Origin
    videos: dict[str, VideoRecord] = field(default_factory=dict)
    null_scores: list[float] | None = None
    next_window: int = 0
    folder: Path | None = None
    float16: bool = False
    _generation: str = ''
    _added: dict[str, _Added] = field(default_factory=dict)
    _loaded: dict[str, '_Segment'] = field(default_factory=dict)
    _corpus: Corpus | None = None
    _is_changed: bool = False

    @property
    def generation(self) -> str:
        """What tells this state of the folder from others; empty: not saved yet."""
        return self._generation

    def add(self, record: VideoRecord, windows: Corpus, sentences: Sequence[TimedSentence]) -> None:
        """Add a video, or put it in the place of that of the same name.

        Args:
            record: Its record, whose ``first_window`` is ``next_window``.
            windows: Its encoded windows.
            sentences: What is said in it.
        """
        self.videos[record.name] = record
        self._added[record.name] = _Added(windows, sentences)
        self._is_changed = True
        self.next_window += len(record.starts)
        self._corpus = self.null_scores = None

    def remove(self, name: str) -> None:
        """Remove a video.

        Args:
            name: Its name.

        Raises:
            InputError: The index has no such video.
        """
        if name not in self.videos:
            raise unknown_video(name, self.videos)
        del self.videos[name]
        self._added.pop(name, None)
        self._is_changed = True
        self._corpus = self.null_scores = None

    def renew_stamps(self, name: str, files: tuple[FileStamp, ...]) -> None:
        """Note that the files of a video are the same as before at another time.

        Args:
            name: Name of the video.
            files: Their stamps.
        """
        self.videos[name] = replace(self.videos[name], files=files)

    def corpus(self) -> Corpus | None:
        """Return the windows of all videos, in memory; None: there is no video."""
        if self._corpus is None:
            parts = [part for _, part in self._live_segments()]
            parts += [added.windows for added in self._added.values()]
            if parts:
                merged = parts[0] if len(parts) == 1 else type(parts[0]).merge(parts)
                self._corpus = merged.float() if self.float16 else merged
        return self._corpus

    def parts(self) -> PartedCorpus:
        """Return the windows of all videos by segment, without reading them.

        Those of videos that are not saved are together in a part without a name.

        Raises:
            InputError: The model has two stages.
        """
        if any(isinstance(x.windows, StagedCorpus) for x in self._loaded.values()):
            raise InputError(
                f'{self.folder}: was made by a model of two stages, which inverted lists do not '
                'serve; index the videos with its first stage alone'
            )
        parts = {}
        for name, windows in self._live_windows().items():
            corpus = self._loaded[name].windows
            at = torch.isin(corpus.video_ids, torch.tensor(sorted(windows)))
            parts[name] = CorpusPart(corpus, at.nonzero().squeeze(1), self._loaded[name].saved)
        if self._added:
            added = [x.windows for x in self._added.values()]
            parts[''] = CorpusPart.whole(EncodedCorpus.merge(added))
        return PartedCorpus(parts)

    @property
    def has_changes(self) -> bool:
        """Whether videos were added or removed since it was read or saved."""
        return self._is_changed

    @property
    def has_lists(self) -> bool:
        """Whether there are inverted lists of the saved windows."""
        return self.folder is not None and (self.lists_folder / 'search.json').is_file()

    @property
    def lists_folder(self) -> Path:
        """Folder of the inverted lists."""
        return self.folder / _LISTS

    def sentences(self, name: str) -> list[TimedSentence]:
        """Return what is said in a video.

        Raises:
            InputError: The index has no such video, or is damaged.
        """
        if name not in self.videos:
            raise unknown_video(name, self.videos)
        if name in self._added:
            return list(self._added[name].sentences)
        record = self.videos[name]
        begin, length = record.text_at
        try:
            line = os.pread(self._loaded[record.segment].sentences.fileno(), length, begin)
            return msgspec.json.decode(line, type=_Line).sub
        except (OSError, msgspec.MsgspecError) as error:
            path = self._segment(record.segment) / _SENTENCES
            raise _damaged(path, f'no sentences of {name!r} ({error})') from error

    def check_target(self, folder: str | os.PathLike) -> None:
        """Refuse a folder in which the index could not be saved.

        Args:
            folder: Folder of the index, that it was read from or a new one.

        Raises:
            InputError: It holds something else, or has been changed since it was read.
        """
        folder = Path(folder).resolve()
        if folder == self.folder:
            self._check_unchanged(folder)
        else:
            _check_new(folder)

    def save(self, folder: str | os.PathLike, then: Callable[[], object] = lambda: None) -> None:
        """Write the index; a reader finds the old one or this one, never a mixture.

        Args:
            folder: Folder of the index, that it was read from or a new one.
            then: Called when it is written, before another process may write.

        Raises:
            InputError: The folder cannot be written, holds something else, or another process is
                writing it or has changed it since this one read it.
        """
        folder = Path(folder).resolve()
        self.check_target(folder)
        with locked(folder):
            # Another process may have been between.
            self.check_target(folder)
            anew = folder != self.folder or self._is_wasteful()
            token = secrets.token_hex(8)
            changed = dict(self._write_segment(folder, token, anew))
            videos = {name: changed.get(name, record) for name, record in self.videos.items()}
            content = _Content(
                _FORMAT,
                _VERSION,
                token,
                self.origin,
                self.next_window,
                self.null_scores,
                list(videos.values()),
                self.float16,
            )
            write_text(folder / _INDEX, msgspec.json.encode(content).decode() + '\n')
            self._take(folder, token, videos)
            _remove_unused(folder, {record.segment for record in videos.values()})
            then()

    @staticmethod
    def load(folder: str | os.PathLike) -> 'VideoIndex':
        """Read an index; its rows are mapped into memory.

        Raises:
            InputError: There is none, it is damaged, or of another version.
        """
        folder = Path(folder).resolve()
        while True:
            content = _read(folder)
            try:
                segments = {
                    name: _Segment.open(folder / _SEGMENTS / name, content.origin.weights)
                    for name in {record.segment for record in content.videos}
                }
            except InputError:
                # A writer may have put another index in its place, and removed the segments.
                if _read(folder).generation != content.generation:
                    continue
                raise
            return VideoIndex(
                origin=content.origin,
                videos={record.name: record for record in content.videos},
                null_scores=content.null_scores,
                next_window=content.next_window,
                folder=folder,
                float16=content.float16,
                _generation=content.generation,
                _loaded=segments,
            )

    def _segment(self, name: str) -> Path:
        return self.folder / _SEGMENTS / name

    def _live_windows(self) -> dict[str, set[int]]:
        """Return the ids of the windows that count of each saved segment."""
        live: dict[str, set[int]] = {}
        for record in self.videos.values():
            if record.segment:
                live.setdefault(record.segment, set()).update(record.windows)
        return live

    def _live_segments(self) -> Iterator[tuple[str, Corpus]]:
        """Yield the saved segments, each with those of its windows that count."""
        for name, windows in self._live_windows().items():
            corpus = self._loaded[name].windows
            ids = corpus.video_ids.tolist()
            if not windows <= {*ids}:
                raise _damaged(self._segment(name), 'windows that are not those of the index')
            if len(windows) < len(ids):
                corpus = corpus.select_ids(windows)
            yield name, corpus

    def _is_wasteful(self) -> bool:
        saved = [record for record in self.videos.values() if record.segment]
        segments = {record.segment for record in saved}
        used = sum(len(record.starts) for record in saved)
        kept = sum(len(self._loaded[name].windows) for name in segments)
        return len(segments) > _MOST_SEGMENTS or kept - used > _MOST_WASTE * kept

    def _write_segment(
        self, folder: Path, token: str, anew: bool
    ) -> Iterator[tuple[str, VideoRecord]]:
        """Write what is not saved, or everything, and yield the records of what was written."""
        names = list(self.videos if anew else self._added)
        if not names:
            return
        parts = [added.windows for added in self._added.values()]
        if anew:
            parts += [part for _, part in self._live_segments()]
        texts = {name: self.sentences(name) for name in names}
        target = folder / _SEGMENTS / token
        merged = type(parts[0]).merge(parts)
        merged = merged.half() if self.float16 else merged
        merged.save(target, model_checksum=self.origin.weights)
        at = 0
        with replace_file(target / _SENTENCES) as temporary, open(temporary, 'wb') as file:
            for name in names:
                line = msgspec.json.encode(_Line(name, texts[name])) + b'\n'
                file.write(line)
                yield name, replace(self.videos[name], segment=token, text_at=(at, len(line)))
                at += len(line)

    def _take(self, folder: Path, token: str, videos: dict[str, VideoRecord]) -> None:
        kept = self._loaded if folder == self.folder else {}
        self.folder, self._generation, self.videos = folder, token, videos
        self._added, self._is_changed = {}, False
        self._loaded = {
            name: kept.get(name) or _Segment.open(self._segment(name), self.origin.weights)
            for name in {record.segment for record in videos.values()}
        }

    def _check_unchanged(self, folder: Path) -> None:
        found = _read(folder).generation if (folder / _INDEX).exists() else None
        if found != self._generation:
            raise InputError(
                f'{folder}: has been {"changed" if found else "removed"} by another process since '
                'it was read; open it again and repeat what you added'
            )


@dataclass(frozen=True)
class _Segment:
    """A saved group of videos, whose files stay open: a writer may remove them."""

    windows: Corpus
    sentences: BinaryIO
    saved: SavedRows | None

    @staticmethod
    def open(folder: Path, weights: str) -> '_Segment':
        kind = StagedCorpus if (folder / 'first').is_dir() else EncodedCorpus
        windows = kind.load(folder, model_checksum=weights)
        try:
            saved = SavedRows.open(folder) if isinstance(windows, EncodedCorpus) else None
            return _Segment(windows, open(folder / _SENTENCES, 'rb'), saved)
        except OSError as error:
            raise _damaged(folder / _SENTENCES, f'a file that cannot be read ({error})') from error


class _Line(Struct):
    vid_name: str
    sub: list[TimedSentence]


def read_records(folder: str | os.PathLike) -> list[VideoRecord]:
    """Read which videos an index has, without opening it.

    Raises:
        InputError: There is none, it is damaged, or of another version.
    """
    return _read(Path(folder).resolve()).videos


def unknown_video(name: str, videos: Mapping[str, Any]) -> InputError:
    """Make the error of a name that is not in the index."""
    return InputError(
        f'{name!r}: the index has no such video; it has {len(videos)}'
        + (f', such as {next(iter(videos))!r}' if videos else '')
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to an index.

    Args:
        folder: Folder of the index; it is made if absent.

    Raises:
        InputError: Another process writes to it.
    """
    with writing(folder / _LOCK):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise InputError(
            f'{folder}: another process is writing this index; wait until it ends'
        ) from error
    try:
        yield
    finally:
        os.close(file)


def _check_new(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f'{folder}: is a file, expected a folder; choose another name')
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if _INDEX not in names:
        # What a first save left that was killed.
        names -= {_LOCK, _SEGMENTS, *(x for x in names if x.startswith(f'.{_INDEX}.'))}
    others = sorted(names)
    if others:
        what = 'an index' if _INDEX in others else f'other files, such as {others[0]}'
        raise InputError(f'{folder}: holds {what} already; choose another folder')


def _read(folder: Path) -> _Content:
    path = folder / _INDEX
    if (folder / CLUSTER_FILE).is_file():
        raise InputError(
            f'{folder}: is an index in shards, expected one in a single folder; say --ray ADDRESS '
            f'to work on it, or name one of its folders {folder.name}/shards/NAME'
        )
    if not path.is_file():
        raise InputError(
            f'{folder}: holds no {_INDEX}, expected the folder of an index; make one with '
            'tools/index.py'
        )
    try:
        text = path.read_bytes()
        header = msgspec.json.decode(text, type=_Header)
        if (header.format, header.version) != (_FORMAT, _VERSION):
            raise InputError(
                f'{path}: found format {header.format!r}, version {header.version}, expected '
                f'{_FORMAT!r}, version {_VERSION}; index the videos again with this version'
            )
        content = msgspec.json.decode(text, type=_Content)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _damaged(path, f'no index that can be read ({error})') from error
    for record in content.videos:
        if not record.segment or Path(record.segment).name != record.segment:
            raise _damaged(path, f'the segment {record.segment!r} of {record.name!r}')
    return content


def _remove_unused(folder: Path, used: set[str]) -> None:
    for segment in (folder / _SEGMENTS).glob('*'):
        if segment.name not in used:
            shutil.rmtree(segment, ignore_errors=True)
    for partial in folder.glob(f'.{_INDEX}.*.partial'):
        partial.unlink(missing_ok=True)


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        f'{path}: found {found}, expected an index of this package; index the videos again into '
        'another folder'
    )
