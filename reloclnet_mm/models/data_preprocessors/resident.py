"""All features on the model's device, so that the data set yields only names and numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.features import open_features
from reloclnet_mm.features.reading import no_such_key
from reloclnet_mm.features.rows import NORM_EPS, pool_rows, temporal_endpoints
from reloclnet_mm.models.data_preprocessors.packing import MomentDataPreprocessor
from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.checks import check_count

Sequences = dict[str, Tensor] | dict[int, Tensor]
# No stream can have this name in a config that anyone writes.
_POSITION = '(position)'


class _Shared(dict):
    """Shared by copies of a model, such as that of mmengine's EMAHook, and in no checkpoint."""

    def __deepcopy__(self, memo: dict) -> '_Shared':
        return self


@MODELS.register_module()
class ResidentDataPreprocessor(MomentDataPreprocessor):
    """Keeps all features on the model's device and takes those of a batch from there.

    It does what LoadQueryFeatures, LoadClipFeatures, PoolClips, NormalizeFeatures and AppendTEF do,
    which the pipelines then leave out; its settings are those of the data sets. A sample with a
    ``query_id`` gets the query's tokens. A sample with ``num_clips``, which
    :class:`~reloclnet_mm.datasets.transforms.CountClips` adds, gets the clips of ``video_name``.
    So the pipelines of training and of the corpus have CountClips, that of validation queries has
    not.

    The features are loaded at the first batch, in the type of the file (h5: float32), with long
    videos pooled.

    Args:
        feature_files: ``query`` and stream names to packed stores or h5 files, below
            ``data_root``.
        append_tef: Whether the position in the video is appended to each stream.
        normalize: Names of those whose rows are L2-normalized; None: all.
        data_root: Folder of the files.
        channels: ``query`` and stream names to the width that features must have; None: any.
        max_tokens: Number of a query's first tokens to keep.
        max_clips: Number of rows that longer videos are pooled to.
        slack: Passed to :class:`MomentDataPreprocessor`.
        pad_clips_to: Passed to :class:`MomentDataPreprocessor`.
    """

    def __init__(
        self,
        *,
        feature_files: Mapping[str, str],
        append_tef: bool,
        normalize: Sequence[str] | None = None,
        data_root: str = '',
        channels: Mapping[str, int] | None = None,
        max_tokens: int = 30,
        max_clips: int = 128,
        slack: float = 0.125,
        pad_clips_to: int | None = None,
    ) -> None:
        super().__init__(slack, pad_clips_to)
        check_count('ResidentDataPreprocessor: max_tokens', max_tokens)
        check_count('ResidentDataPreprocessor: max_clips', max_clips)
        for name in ('query', *(normalize or ()), *(channels or ())):
            if name not in feature_files:
                raise ValueError(
                    f'ResidentDataPreprocessor: found feature_files for {sorted(feature_files)}, '
                    f'expected {name!r} among them'
                )
        self.files = {name: Path(data_root) / file for name, file in feature_files.items()}
        self.normalize = frozenset(feature_files if normalize is None else normalize)
        self.append_tef = append_tef
        self.channels = dict(channels or {})
        self.max_tokens = max_tokens
        self.max_clips = max_clips
        self.features: dict[torch.device, dict[str, Sequences]] = _Shared()

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Return the settings that a data set of the same features must have too."""
        return dict(
            feature_files={name: str(path) for name, path in self.files.items()},
            normalize=tuple(self.normalize),
            max_clips=self.max_clips,
            max_tokens=self.max_tokens,
            append_tef=self.append_tef,
        )

    def forward(self, data: dict, training: bool = False) -> dict:
        """Give a batch, whose ``inputs`` are empty, those of :class:`MomentDataPreprocessor`.

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
        found: dict[str, list[Tensor]] = {}
        if 'query_id' in samples[0]:
            found['query'] = [self._find('query', str(sample.query_id)) for sample in samples]
        if 'num_clips' in samples[0]:
            for stream in [name for name in self.files if name != 'query']:
                found[stream] = [self._find(stream, x.video_name, x.num_clips) for x in samples]
            if self.append_tef:
                found[_POSITION] = [self._find(_POSITION, x.num_clips) for x in samples]
        packed = self.pack_inputs({**data, 'inputs': found})
        for name, rows in packed['inputs'].items():
            packed['inputs'][name] = replace(rows, features=self._finish(rows.features))
        return packed

    def _find(self, name: str, key: str | int, num_clips: int | None = None) -> Tensor:
        if self.device not in self.features:
            self.features.clear()
            self.features[self.device] = {}
        loaded = self.features[self.device]
        if name not in loaded:
            loaded[name] = self._load(name)
        sequences = loaded[name]
        if key not in sequences:
            raise no_such_key(self.files[name], key, sequences)
        rows = sequences[key]
        if num_clips is not None and len(rows) != num_clips:
            raise InputError(
                f'{self.files[name]}: key {key!r}: found {len(rows)} clips with max_clips='
                f'{self.max_clips}, expected {num_clips} as CountClips found; give the data '
                'set the same max_clips, and extract all streams with the same clip length'
            )
        return rows

    def _load(self, name: str) -> Sequences:
        """Bring the sequences of all keys to the device, as views of one tensor."""
        if name == _POSITION:
            lengths = range(1, self.max_clips + 1)
            return {n: torch.from_numpy(temporal_endpoints(n)).to(self.device) for n in lengths}
        path, is_query = self.files[name], name == 'query'
        features = open_features(path, self.channels.get(name))
        keys = features.keys()
        if not keys:
            raise InputError(f'{path}: found no keys, expected features; extract them again')
        features.channels = features.read(keys[0]).shape[1]
        max_rows = self.max_tokens if is_query else self.max_clips
        lengths = [min(features.num_rows(key), max_rows) for key in keys]
        rows = _allocate(path, (sum(lengths), features.channels), features.dtype, self.device)
        sequences = dict(zip(keys, rows.split(lengths), strict=True))
        for key, target in sequences.items():
            source = features.read(key, max_rows if is_query else None)
            target.copy_(torch.from_numpy(pool_rows(source, max_rows)))
        features.close()
        print_log(f'{path}: {rows.nbytes / 1e9:.2f} GB on {self.device}', 'current')
        return sequences

    def _finish(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do with packed rows (R, channels) what NormalizeFeatures and AppendTEF do."""
        finished = {name: x.float() for name, x in features.items()}
        for name in finished.keys() & self.normalize:
            norms = torch.linalg.vector_norm(finished[name], dim=-1, keepdim=True)
            finished[name] = finished[name] / (norms + NORM_EPS)
        if _POSITION not in finished:
            return finished
        position = finished.pop(_POSITION)
        return {name: torch.cat([x, position], 1) for name, x in finished.items()}


def _allocate(path: Path, shape: tuple[int, int], dtype: np.dtype, device: torch.device) -> Tensor:
    try:
        return torch.empty(shape, dtype=getattr(torch, dtype.name), device=device)
    except torch.OutOfMemoryError as e:
        raise InputError(
            f'{path}: found no room on {device} for its {shape[0]:,} rows of {shape[1]:,} {dtype}, '
            f'{math.prod(shape) * dtype.itemsize / 1e9:.1f} GB; pack the features with --dtype '
            'float16, or load them batch by batch with MomentDataPreprocessor'
        ) from e
