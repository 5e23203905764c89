"""All features on the model's device, so that the data set yields only names and numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.features.h5 import FeatureFile, no_such_key
from reloclnet_mm.features.packed import PackedFeatures, open_features
from reloclnet_mm.features.rows import NORM_EPS, pool_rows, temporal_endpoints
from reloclnet_mm.models.data_preprocessors.packing import (
    MomentDataPreprocessor,
    arrange,
    video_numbers,
)
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample
from reloclnet_mm.structures.packed_rows import PackedRows, RowLayout

_ROWS_AT_ONCE = 1 << 13
# No stream can have this name in a config that anyone writes.
_POSITION = '(position)'

Shorten = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class ResidentRows:
    """The rows of all keys of a store, on a device.

    Attributes:
        name: Of the store, for messages.
        rows: (R + 1, channels) float16 or float32. The last is zeros: padding is taken from there.
        index: The N keys and their numbers.
        first_rows: (N,) int64, on the CPU: where the rows of each key begin.
        lengths: (N,) int64, on the CPU: how many it has.
    """

    name: str
    rows: Tensor
    index: dict[str, int] | dict[int, int]
    first_rows: Tensor
    lengths: Tensor

    def find(self, keys: Sequence[str] | Sequence[int]) -> Tensor:
        """The numbers (n,) int64 of n keys.

        Raises:
            InputError: The store does not have one.
        """
        missing = next((key for key in keys if key not in self.index), None)
        if missing is not None:
            raise no_such_key(Path(self.name), missing, self.index)
        return torch.tensor([self.index[key] for key in keys])

    def to(self, device: torch.device) -> 'ResidentRows':
        """The same rows on another device."""
        return replace(self, rows=self.rows.to(device))


def load_rows(
    path: str, channels: int | None, shorten: Shorten, max_rows: int, device: torch.device
) -> ResidentRows:
    """Bring a store to a device, some thousand rows at a time.

    Args:
        path: An h5 file, which becomes float32, or a packed store, whose dtype is kept.
        channels: Width that the rows must have; None: any.
        shorten: Makes ``max_rows`` rows of more.
        max_rows: Most rows that a key may keep.
        device: Where to.

    Raises:
        InputError: The store cannot be used, or the device has no room for it.
    """
    features = open_features(path, channels)
    keys = features.keys()
    if not keys:
        raise InputError(f'{path}: found no keys, expected features; extract them again')
    whole = [features.num_rows(key) for key in keys]
    lengths = torch.tensor(whole).clamp(max=max_rows)
    example = _read(features, keys[:1])[0]
    rows = _allocate(path, (int(lengths.sum()) + 1, example.shape[1]), example.dtype, device)
    end = 0
    for part in _parts(keys, whole):
        piece = np.concatenate([shorten(x, max_rows) for x in _read(features, part)])
        rows[end : end + len(piece)].copy_(torch.from_numpy(piece))
        end += len(piece)
    rows[end:] = 0
    features.close()
    print_log(f'{path}: {end:,} rows, {rows.nbytes / 1e9:.2f} GB on {device}', logger='current')
    index = {key: i for i, key in enumerate(keys)}
    return ResidentRows(path, rows, index, lengths.cumsum(0) - lengths, lengths)


def _allocate(path: str, shape: tuple[int, int], dtype: np.dtype, device: torch.device) -> Tensor:
    try:
        return torch.empty(shape, dtype=getattr(torch, dtype.name), device=device)
    except torch.OutOfMemoryError as e:
        raise InputError(
            f'{path}: found no room on {device} for its {shape[0]:,} rows of {shape[1]:,} '
            f'{dtype}, {shape[0] * shape[1] * dtype.itemsize / 1e9:.1f} GB; pack the features '
            'with --dtype float16, or load them batch by batch with MomentDataPreprocessor'
        ) from e


def _parts(keys: list[str], num_rows: list[int]) -> Iterator[list[str]]:
    """Neighbouring keys, some thousand rows of them at a time."""
    ends = np.cumsum(num_rows)
    for _, part in groupby(range(len(keys)), lambda i: ends[i] // _ROWS_AT_ONCE):
        yield [keys[i] for i in part]


def _read(features: FeatureFile | PackedFeatures, keys: list[str]) -> list[np.ndarray]:
    """The arrays of neighbouring keys, in the store's own dtype where it is a packed one."""
    if isinstance(features, FeatureFile):
        return [features.read(key) for key in keys]
    first = features.index_of(keys[0])
    bounds = features.offsets[first : first + len(keys) + 1]
    # A mapping for each call: its pages count as this process's memory for as long as it lives.
    return np.split(np.asarray(features.rows[bounds[0] : bounds[-1]]), bounds[1:-1] - bounds[0])


def cut_rows(rows: np.ndarray, max_rows: int) -> np.ndarray:
    """The first rows, as LoadQueryFeatures keeps them."""
    return rows[:max_rows]


def pool_in_float32(rows: np.ndarray, max_rows: int) -> np.ndarray:
    """What PoolClips leaves, in the dtype of the rows."""
    if len(rows) <= max_rows:
        return rows
    return pool_rows(rows.astype(np.float32), max_rows).astype(rows.dtype)


def position_rows(max_clips: int, device: torch.device) -> ResidentRows:
    """The position columns of videos of 1, 2, … ``max_clips`` clips; the key is that number."""
    sequences = [temporal_endpoints(length) for length in range(1, max_clips + 1)]
    rows = np.concatenate([*sequences, np.zeros((1, 2), np.float32)])
    lengths = torch.arange(1, max_clips + 1)
    index = {length: i for i, length in enumerate(lengths.tolist())}
    first_rows = lengths.cumsum(0) - lengths
    return ResidentRows('TEF', torch.from_numpy(rows).to(device), index, first_rows, lengths)


class ResidentFeatures:
    """Stores that are brought to a device when they are first asked for there.

    Copies of a model, such as the averaged one of mmengine's EMAHook, share them: a deep copy is
    the object itself. It is no module, so checkpoints do not have the features.

    Args:
        loaders: Name to what loads the store onto a device.
    """

    def __init__(self, loaders: Mapping[str, Callable[[torch.device], ResidentRows]]) -> None:
        self._loaders = dict(loaders)
        self._stores: dict[str, ResidentRows] = {}
        self._device: torch.device | None = None

    def on(self, device: torch.device) -> dict[str, ResidentRows]:
        """All stores by name, on a device."""
        if not self._stores:
            self._stores = {name: load(device) for name, load in self._loaders.items()}
        elif device != self._device:
            self._stores = {name: store.to(device) for name, store in self._stores.items()}
        self._device = device
        return self._stores

    def __deepcopy__(self, memo: dict) -> 'ResidentFeatures':
        return self


@MODELS.register_module()
class ResidentDataPreprocessor(MomentDataPreprocessor):
    """Keeps all features on the model's device and takes those of a batch from there.

    It does what LoadQueryFeatures, LoadClipFeatures, PoolClips, NormalizeFeatures and AppendTEF do,
    which the pipelines then leave out. What a sample gets follows from its pipeline: a ``query_id``
    brings the query's tokens, and ``num_clips``, which
    :class:`~reloclnet_mm.datasets.transforms.CountClips` notes, the clips of ``video_name``. So the
    pipelines of training and of the corpus have CountClips, that of validation queries has not.

    The features are loaded at the first batch, in the dtype of the store (h5: float32), with long
    videos pooled. Data samples stay where they are.

    Args:
        feature_files: ``query`` and stream names to packed stores or h5 files, below
            ``data_root``.
        normalize: Of these, those whose rows are L2-normalized.
        append_tef: Whether the position in the video is appended to each stream.
        data_root: Folder of the files.
        channels: ``query`` and stream names to the width that features must have; None: any.
        max_tokens: Tokens of a query that are kept.
        max_clips: Clips that are left of a video at most, as given to CountClips.
        slack: Of :class:`MomentDataPreprocessor`.
        pad_clips_to: Of :class:`MomentDataPreprocessor`.
    """

    def __init__(
        self,
        *,
        feature_files: Mapping[str, str],
        normalize: Sequence[str],
        append_tef: bool,
        data_root: str = '',
        channels: Mapping[str, int] | None = None,
        max_tokens: int = 30,
        max_clips: int = 128,
        slack: float = 0.125,
        pad_clips_to: int | None = None,
    ) -> None:
        super().__init__(slack, pad_clips_to)
        for name in ('query', *normalize):
            if name not in feature_files:
                raise ValueError(
                    f'ResidentDataPreprocessor: found feature_files for {sorted(feature_files)}, '
                    f'expected {name!r} among them'
                )
        self.streams = tuple(name for name in feature_files if name != 'query')
        self.normalize = frozenset(normalize)
        self.append_tef = append_tef
        self.max_clips = max_clips
        loaders = {}
        for name, file in feature_files.items():
            path, width = str(Path(data_root) / file), (channels or {}).get(name)
            limit = (cut_rows, max_tokens) if name == 'query' else (pool_in_float32, max_clips)
            loaders[name] = partial(load_rows, path, width, *limit)
        if append_tef:
            loaders[_POSITION] = partial(position_rows, max_clips)
        self.features = ResidentFeatures(loaders)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Take the features of a batch.

        Args:
            data: ``data_samples`` is a list; ``inputs`` is empty.
            training: Not used.

        Returns:
            ``inputs`` as those of :class:`MomentDataPreprocessor`; the rest as it came.

        Raises:
            InputError: Features are missing, or are not those that CountClips has seen.
        """
        if data['inputs']:
            raise InputError(
                f'ResidentDataPreprocessor: the pipeline has loaded {sorted(data["inputs"])}, '
                'expected nothing; leave the transforms out that load and change features, and '
                'put CountClips in place of those for clips'
            )
        samples = data['data_samples']
        inputs: dict[str, PackedRows] = {}
        if 'query_id' in samples[0]:
            inputs['query'] = self._queries(samples)
        if 'num_clips' in samples[0]:
            inputs['clips'] = self._clips(samples)
        return {**data, 'inputs': inputs}

    def _queries(self, samples: list[MomentDataSample]) -> PackedRows:
        store = self.features.on(self.device)['query']
        numbers = store.find([str(sample.query_id) for sample in samples])
        lengths = store.lengths[numbers].tolist()
        return self._take({'query': numbers}, lengths, range(len(samples)))

    def _clips(self, samples: list[MomentDataSample]) -> PackedRows:
        stores = self.features.on(self.device)
        names = [sample.video_name for sample in samples]
        counts = [sample.num_clips for sample in samples]
        numbers = {stream: stores[stream].find(names) for stream in self.streams}
        for stream, x in numbers.items():
            self._check_counts(stores[stream], x, names, counts)
        if self.append_tef:
            numbers[_POSITION] = stores[_POSITION].find(counts)
        packed = self._take(numbers, counts, video_numbers(samples), self.pad_clips_to)
        if not self.append_tef:
            return packed
        features = dict(packed.features)
        position = features.pop(_POSITION)
        appended = {stream: torch.cat([x, position], 1) for stream, x in features.items()}
        return replace(packed, features=appended)

    def _check_counts(
        self, store: ResidentRows, numbers: Tensor, names: list[str], counts: list[int]
    ) -> None:
        for name, found, count in zip(names, store.lengths[numbers].tolist(), counts, strict=True):
            if found != count:
                raise InputError(
                    f'{store.name}: key {name!r}: found {found} clips with max_clips='
                    f'{self.max_clips}, expected {count} as CountClips found; give both the same '
                    'max_clips, and extract all streams with the same clip length'
                )

    def _take(
        self,
        numbers: dict[str, Tensor],
        lengths: list[int],
        groups: Sequence[int],
        pad_to: int | None = None,
    ) -> PackedRows:
        """The rows of a batch.

        Args:
            numbers: Name of a store to the numbers (B,) of the samples' keys in it.
            lengths: Of the B samples' sequences.
            groups: Of :func:`~reloclnet_mm.models.data_preprocessors.packing.arrange`.
            pad_to: Likewise.
        """
        stores = self.features.on(self.device)
        layout, chosen, places = arrange(lengths, groups, self.slack, pad_to)
        rows = [row_numbers(layout, stores[name], x[chosen]) for name, x in numbers.items()]
        *rows, lengths_there, places_there = send(
            [*rows, layout.lengths, torch.tensor(places)], self.device
        )
        features = {}
        for name, x in zip(numbers, rows, strict=True):
            taken = stores[name].rows.index_select(0, x).float()
            features[name] = normalized(taken) if name in self.normalize else taken
        return PackedRows(features, RowLayout(lengths_there, layout.blocks), places_there)


def row_numbers(layout: RowLayout, store: ResidentRows, numbers: Tensor) -> Tensor:
    """Which row of a store goes into each row of a layout.

    Args:
        layout: Of R rows, on the CPU.
        store: Has as many rows of each key as the layout says.
        numbers: (N,) int64, the keys of the layout's sequences.

    Returns:
        (R,) int64; for padding the store's row of zeros.
    """
    each = layout.rows_of_each
    rows = store.first_rows[numbers].repeat_interleave(each) + layout.positions
    valid = layout.positions < layout.lengths.repeat_interleave(each)
    return rows.where(valid, len(store.rows) - 1)


def send(tensors: Sequence[Tensor], device: torch.device) -> tuple[Tensor, ...]:
    """Vectors of one dtype from the CPU to a device, in one copy that nothing waits for."""
    joined = torch.cat(list(tensors))
    if device.type == 'cuda':
        joined = joined.pin_memory()
    return joined.to(device, non_blocking=True).split([len(x) for x in tensors])


def normalized(rows: Tensor) -> Tensor:
    """Each row (…, channels) divided by its L2 norm + 1e-5, as NormalizeFeatures does."""
    return rows / (torch.linalg.vector_norm(rows, dim=-1, keepdim=True) + NORM_EPS)
