"""Loading features."""

from pathlib import Path
from typing import Any, Literal

from mmcv.transforms import BaseTransform

from reloclnet_mm.datasets.transforms.processing import PoolClips
from reloclnet_mm.errors import InputError
from reloclnet_mm.features import FeatureReader, open_features
from reloclnet_mm.registry import TRANSFORMS
from reloclnet_mm.utils.checks import check_count


class _LoadFeatures(BaseTransform):
    def __init__(self) -> None:
        self._files: dict[str, FeatureReader] = {}

    def _file(self, results: dict[str, Any], name: str) -> FeatureReader:
        paths = results['feature_files']
        if name not in paths:
            raise InputError(
                f'{type(self).__name__}: the data set has feature_files for {sorted(paths)}, '
                f'expected {name!r} among them; add it in the config'
            )
        path = paths[name]
        if path not in self._files:
            self._files[path] = open_features(path, results['channels'].get(name))
        return self._files[path]


@TRANSFORMS.register_module()
class LoadQueryFeatures(_LoadFeatures):
    """Load a query's token features.

    Required keys: ``feature_files``, ``channels``, ``query_id``.
    Added: ``query_tokens`` (T, channels).

    Args:
        max_tokens: Load the first so many tokens at most.
    """

    def __init__(self, max_tokens: int = 30) -> None:
        super().__init__()
        check_count('LoadQueryFeatures: max_tokens', max_tokens)
        self.max_tokens = max_tokens

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``query_tokens``."""
        file = self._file(results, 'query')
        results['query_tokens'] = file.read(str(results['query_id']), self.max_tokens)
        return results


class _LoadStream(_LoadFeatures):
    def __init__(self, stream: str) -> None:
        super().__init__()
        self.stream = stream
        self._clip_lengths: dict[Path, Any] = {}

    def _stream_file(self, results: dict[str, Any]) -> FeatureReader:
        """Open the stream's file, and note the ``clip_length`` that it carries, if any."""
        file = self._file(results, self.stream)
        if file.path not in self._clip_lengths:
            self._clip_lengths[file.path] = file.attributes.get('clip_length')
        recorded = self._clip_lengths[file.path]
        if isinstance(recorded, int | float):
            results.setdefault('recorded_clip_lengths', {})[str(file.path)] = recorded
        return file


@TRANSFORMS.register_module()
class LoadClipFeatures(_LoadStream):
    """Load the clip features of a stream.

    Required keys: ``feature_files``, ``channels``, ``video_name``.
    Added: ``clips[stream]`` (L, channels); ``recorded_clip_lengths[path]``, seconds, where the
    file tells how long a clip is.

    Args:
        stream: ``video`` or ``subtitle``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``clips[stream]``.

        Raises:
            InputError: The features cannot be read, or a stream loaded before has another number
                of clips.
        """
        rows = self._stream_file(results).read(results['video_name'])
        clips = results.setdefault('clips', {})
        clips[self.stream] = rows
        lengths = {name: len(x) for name, x in clips.items()}
        if len(set(lengths.values())) > 1:
            files = {name: results['feature_files'][name] for name in lengths}
            raise InputError(
                f'video {results["video_name"]!r}: found {lengths} clips in {files}, expected as '
                'many in each stream; extract both with the same clip length'
            )
        return results


@TRANSFORMS.register_module()
class CountClips(_LoadStream):
    """Note how many clips a video has after pooling, and how long one is, reading no features.

    For :class:`~reloclnet_mm.models.data_preprocessors.ResidentDataPreprocessor`, which gives
    clips to samples that have passed here.

    Required keys: ``feature_files``, ``channels``, ``video_name``.
    Added: ``seconds_per_clip``, ``num_clips``, as
    :class:`~reloclnet_mm.datasets.transforms.processing.PoolClips` adds them.

    Args:
        stream: ``video`` or ``subtitle``, whose file tells the number of clips.
        clip_length: Passed to PoolClips.
        max_clips: Passed to PoolClips.
        pooled_seconds: Passed to PoolClips.
    """

    def __init__(
        self,
        stream: str,
        clip_length: float = 1.5,
        max_clips: int = 128,
        pooled_seconds: Literal['true', 'official'] = 'true',
    ) -> None:
        super().__init__(stream)
        self._pooling = PoolClips(clip_length, max_clips, pooled_seconds)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the numbers; the checks are those of PoolClips."""
        length = self._stream_file(results).num_rows(results['video_name'])
        results.update(self._pooling.counts(length, results))
        return results
