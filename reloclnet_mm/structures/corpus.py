"""The videos that queries are ranked against, encoded."""

import errno
import hashlib
import json
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.structures.packed_rows import Block, RowLayout
from reloclnet_mm.structures.row_files import RowFile
from reloclnet_mm.utils.fileio import replace_file, write_json

RowSets = Mapping[str, Mapping[str, Tensor]]
"""What rows are for, to stream name, to (R, d)."""

_FORMAT, _VERSION = 'reloclnet_mm encoded corpus', 1
_INDEX = 'corpus.json'
_ROW_TYPES = (torch.float32, torch.float16)


def map_rows(rows: RowSets, function: Callable[[Tensor], Tensor]) -> dict[str, dict[str, Tensor]]:
    """Apply a function to each distinct tensor once: names that share one go on sharing it.

    Args:
        rows: The row sets.
        function: What to compute of a tensor.
    """
    done: dict[int, Tensor] = {}

    def once(x: Tensor) -> Tensor:
        if id(x) not in done:
            done[id(x)] = function(x)
        return done[id(x)]

    return {use: {name: once(x) for name, x in streams.items()} for use, streams in rows.items()}


@dataclass(frozen=True)
class CorpusInfo:
    """A corpus without its rows; metrics find it in ``dataset_meta['corpus']``.

    Attributes:
        video_names: The names of the N videos.
        video_ids: N numbers by which predictions name a video.
        num_clips: N counts of valid clips.
        seconds_per_clip: N lengths of a row in seconds.
    """

    video_names: tuple[str, ...]
    video_ids: tuple[int, ...]
    num_clips: tuple[int, ...]
    seconds_per_clip: tuple[float, ...]


@dataclass(frozen=True)
class EncodedCorpus:
    """Videos encoded by a model, sorted by length, without padding, each once.

    Attributes:
        video_names: The names of the N videos.
        video_ids: (N,) int64, the numbers by which predictions name a video.
        seconds_per_clip: (N,) floating, the length of one row in seconds.
        positions: (N,) int64, the position of each video in the corpus data set.
        layout: Layout of the R rows; a video takes as many as it has clips (where the authors'
            padding is imitated, some more).
        rows: What rows are for (``retrieval``: scoring videos, ``localization``: predicting
            spans, ``interaction``: meeting the words of a query), to stream name, to (R, d). Two
            names may share a tensor. On disk they may be float16; what computes with them makes
            float32 of those that it needs.
    """

    video_names: tuple[str, ...]
    video_ids: Tensor
    seconds_per_clip: Tensor
    positions: Tensor
    layout: RowLayout
    rows: RowSets

    def __len__(self) -> int:
        return len(self.video_names)

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams."""
        return tuple(next(iter(self.rows.values())))

    @property
    def device(self) -> torch.device:
        """Device of the rows."""
        return next(iter(next(iter(self.rows.values())).values())).device

    def place_of(self, video_id: int) -> int:
        """Find the place of a video in the corpus.

        Raises:
            KeyError: The corpus has no video of this id.
        """
        return self._places[video_id]

    @cached_property
    def _places(self) -> dict[int, int]:
        return {video_id: i for i, video_id in enumerate(self.video_ids.tolist())}

    def to(self, device: torch.device | str) -> 'EncodedCorpus':
        """Copy the rows to another device."""
        rows = map_rows(self.rows, lambda x: x.to(device))
        return replace(self, rows=rows, layout=self.layout.to(device))

    def half(self) -> 'EncodedCorpus':
        """Round the rows to float16, in which they are kept on disk where there are many."""
        return replace(self, rows=map_rows(self.rows, Tensor.half))

    def float(self) -> 'EncodedCorpus':
        """Give the rows as float32, in which scores are computed."""
        return replace(self, rows=map_rows(self.rows, Tensor.float))

    def retrieval_rows(self, places: Tensor, stream: str) -> tuple[Tensor, Tensor]:
        """Take the rows by which some videos are scored.

        Args:
            places: (V,) int64.
            stream: Name of the stream.

        Returns:
            Valid rows (T, d) float32, and of each the index (T,) int64 of its video into
            ``places``.
        """
        rows, owner = self.layout.rows_of(places)
        valid = self.layout.positions[rows] < self.layout.lengths[places][owner]
        return self.rows['retrieval'][stream][rows[valid]].float(), owner[valid]

    def describe(self) -> CorpusInfo:
        """Tell what metrics need to know of the corpus."""
        return CorpusInfo(
            self.video_names,
            tuple(self.video_ids.tolist()),
            tuple(self.layout.lengths.tolist()),
            tuple(self.seconds_per_clip.tolist()),
        )

    def without_rows(self) -> 'EncodedCorpus':
        """Keep the videos and the names of the row sets, with rows of width 0."""
        # A view would take all rows along where it is sent.
        return replace(self, rows=map_rows(self.rows, lambda x: x.new_empty(len(x), 0)))

    def select(self, chosen: Sequence[int]) -> 'EncodedCorpus':
        """Take some of the videos, in the order given, which must be by length.

        Args:
            chosen: Their places.
        """
        return _assemble([self], chosen)

    def select_ids(self, video_ids: Collection[int]) -> 'EncodedCorpus':
        """Take the videos of some ids, in the order that they have here."""
        chosen = [i for i, x in enumerate(self.video_ids.tolist()) if x in video_ids]
        return self.select(chosen)

    @staticmethod
    def merge(parts: Sequence['EncodedCorpus']) -> 'EncodedCorpus':
        """Join corpora into one, sorted by length, each video once.

        Parts may overlap, as they do where a sampler pads its shards. Of videos of equal length
        the one that is first in the data set is first.
        """
        lengths = torch.cat([part.layout.lengths for part in parts]).tolist()
        num_rows = torch.cat([part.layout.rows_of_each for part in parts]).tolist()
        positions = torch.cat([part.positions for part in parts]).tolist()
        distinct = {position: i for i, position in enumerate(positions)}.values()
        key = {i: (num_rows[i], lengths[i], positions[i]) for i in distinct}
        return _assemble(parts, sorted(distinct, key=key.__getitem__))

    def save(self, folder: str | Path, *, model_checksum: str) -> None:
        """Write the corpus to a folder; a reader finds the old one or this one, never a mixture.

        Args:
            folder: Folder of ``corpus.json`` and a safetensors file.
            model_checksum: Checksum of the model that encoded it.

        Raises:
            InputError: The folder cannot be written.
        """
        folder, file = Path(folder), f'rows-{secrets.token_hex(8)}.safetensors'
        keys: dict[int, str] = {}
        names = {
            use: {name: keys.setdefault(id(x), f'{use}.{name}') for name, x in streams.items()}
            for use, streams in self.rows.items()
        }
        tensors = {
            names[use][name]: x.cpu().contiguous()
            for use, streams in self.rows.items()
            for name, x in streams.items()
        }
        tensors['seconds_per_clip'] = self.seconds_per_clip.double().cpu()
        with replace_file(folder / file) as partial:
            try:
                save_file(tensors, partial)
            except SafetensorError as error:  # as safetensors has it where it cannot write
                raise OSError(errno.EIO, str(error), str(partial)) from error
            checksum = _checksum_of(partial)
        index = dict(
            format=_FORMAT,
            version=_VERSION,
            model=model_checksum,
            file=file,
            sha256=checksum,
            rows=names,
            video_names=list(self.video_names),
            video_ids=self.video_ids.tolist(),
            positions=self.positions.tolist(),
            lengths=self.layout.lengths.tolist(),
            blocks=[list(block) for block in self.layout.blocks],
        )
        write_json(folder / _INDEX, index)
        for old in folder.glob('rows-*.safetensors'):
            if old.name != file:
                old.unlink()

    @staticmethod
    def load(
        folder: str | Path, *, model_checksum: str | None = None, verify: bool = False
    ) -> 'EncodedCorpus':
        """Read a corpus; its rows are mapped into memory, not copied.

        Args:
            folder: Folder that :meth:`save` wrote.
            model_checksum: Checksum that the encoding model must have; None: any.
            verify: Whether to read all rows and compare them with their checksum.

        Raises:
            InputError: There is no such corpus, it is damaged, or another model encoded it.
        """
        folder = Path(folder)
        index = _read_index(folder / _INDEX)
        if model_checksum is not None and index['model'] != model_checksum:
            raise InputError(
                f'{folder}: found a corpus encoded by the model {index["model"][:16]}…, expected '
                f'{model_checksum[:16]}…; give the checkpoint that encoded it, or another folder'
            )
        path = folder / index['file']
        if not path.is_file():
            raise _damaged(path, 'no such file')
        if verify and _checksum_of(path) != index['sha256']:
            raise _damaged(path, 'rows that are not those that were written')
        try:
            with safe_open(path, 'pt') as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as e:
            raise _damaged(path, f'a file that cannot be read ({e})') from e
        return _from_index(path, index, tensors)


@dataclass(frozen=True)
class SavedRows:
    """The rows of a saved corpus, to read a few of them.

    Attributes:
        file: The file that holds them.
        keys: What rows are for, to stream name, to the key in the file.
    """

    file: RowFile
    keys: Mapping[str, Mapping[str, str]]

    @staticmethod
    def open(folder: str | Path) -> 'SavedRows':
        """Open the rows of a folder that :meth:`EncodedCorpus.save` wrote.

        Raises:
            InputError: There is no such corpus, or it is damaged.
        """
        folder = Path(folder)
        index = _read_index(folder / _INDEX)
        return SavedRows(RowFile.open(folder / index['file']), index['rows'])


def _checksum_of(path: str | Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        f'{path}: found {found}, expected an encoded corpus of this package; remove the folder and '
        'encode the corpus again'
    )


_KINDS: dict[str, type] = dict(
    model=str,
    file=str,
    sha256=str,
    rows=dict,
    video_names=list,
    video_ids=list,
    positions=list,
    lengths=list,
    blocks=list,
)


def _read_index(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise OSError('no such file')
        index = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as e:
        raise _damaged(path, f'no index that can be read ({e})') from e
    found = index if isinstance(index, dict) else {}
    if (found.get('format'), found.get('version')) != (_FORMAT, _VERSION):
        raise _damaged(path, f'format {found.get("format")!r}, version {found.get("version")!r}')
    wrong = [key for key, kind in _KINDS.items() if type(found.get(key)) is not kind]
    if wrong:
        raise _damaged(path, f'no usable {wrong[0]!r}')
    if Path(found['file']).name != found['file']:
        raise _damaged(path, f'rows outside of the folder ({found["file"]!r})')
    return found


def _from_index(path: Path, index: dict[str, Any], tensors: dict[str, Tensor]) -> EncodedCorpus:
    numbers = [*index['video_ids'], *index['positions'], *index['lengths']]
    blocks = index['blocks']
    names, count = index['video_names'], len(index['video_names'])
    pairs = all(type(block) is list and len(block) == 2 for block in blocks)
    numbers += [x for block in blocks for x in block] if pairs else []
    if not pairs or not all(type(x) is int and abs(x) < 2**62 for x in numbers):
        raise _damaged(path, 'numbers that are not whole')
    layout = RowLayout(torch.tensor(index['lengths']), tuple(Block(*block) for block in blocks))
    fits = (
        count > 0
        and all(type(name) is str for name in names)
        and {len(index[key]) for key in ('video_ids', 'positions', 'lengths')} == {count}
        and len(set(index['video_ids'])) == count
        and sum(block.count for block in layout.blocks) == count
        and all(block.count > 0 and block.num_rows > 0 for block in layout.blocks)
        and min(index['lengths']) > 0
        and bool((layout.lengths <= layout.rows_of_each).all())
    )
    if not fits:
        raise _damaged(path, 'counts of videos and rows that disagree')
    rows = {
        use: _rows_of(path, use, found, tensors, layout) for use, found in index['rows'].items()
    }
    seconds = tensors.get('seconds_per_clip')
    if seconds is None or seconds.shape != (count,) or not bool((seconds > 0).all()):
        raise _damaged(path, 'no usable lengths of clips')
    if len({tuple(x) for x in rows.values()}) != 1:
        raise _damaged(path, f'the row sets {sorted(rows)}')
    return EncodedCorpus(
        video_names=tuple(names),
        video_ids=torch.tensor(index['video_ids']),
        seconds_per_clip=seconds,
        positions=torch.tensor(index['positions']),
        layout=layout,
        rows=rows,
    )


def _rows_of(
    path: Path, use: str, found: Any, tensors: dict[str, Tensor], layout: RowLayout
) -> dict[str, Tensor]:
    streams = found if isinstance(found, dict) else {}
    shapes = [
        tensors[x].shape if isinstance(x, str) and x in tensors else () for x in streams.values()
    ]
    if not shapes or not all(len(shape) == 2 and shape[0] == layout.num_rows for shape in shapes):
        raise _damaged(path, f'rows of {use!r} that are not the {layout.num_rows} of the videos')
    if not all(tensors[x].dtype in _ROW_TYPES for x in streams.values()):
        raise _damaged(path, f'rows of {use!r} that are neither float32 nor float16')
    return {name: tensors[x] for name, x in streams.items()}


def _assemble(parts: Sequence[EncodedCorpus], chosen: Sequence[int]) -> EncodedCorpus:
    """Make a corpus of some of the videos of several, which are counted through."""
    chosen = list(chosen)
    lengths = torch.cat([part.layout.lengths for part in parts]).tolist()
    num_rows = torch.cat([part.layout.rows_of_each for part in parts]).tolist()
    names = [name for part in parts for name in part.video_names]
    layout = RowLayout.stack([lengths[i] for i in chosen], [num_rows[i] for i in chosen])
    others = {
        id(x): [part.rows[use][name] for part in parts]
        for use, streams in parts[0].rows.items()
        for name, x in streams.items()
    }

    def join(x: Tensor) -> Tensor:
        pieces = [
            piece
            for part, rows in zip(parts, others[id(x)], strict=True)
            for piece in rows.split(part.layout.rows_of_each.tolist())
        ]
        return torch.cat([pieces[i] for i in chosen])

    return EncodedCorpus(
        video_names=tuple(names[i] for i in chosen),
        video_ids=torch.cat([part.video_ids for part in parts])[chosen],
        seconds_per_clip=torch.cat([part.seconds_per_clip for part in parts])[chosen],
        positions=torch.cat([part.positions for part in parts])[chosen],
        layout=layout.to(parts[0].device),
        rows=map_rows(parts[0].rows, join),
    )
