"""Loading features."""

from pathlib import Path
from typing import Any

from mmcv.transforms import BaseTransform

from reloclnet_mm.datasets.transforms.processing import PooledSeconds, clip_counts
from reloclnet_mm.errors import InputError
from reloclnet_mm.features import FeatureReader, open_features, recorded_clip_length
from reloclnet_mm.registry import TRANSFORMS
from reloclnet_mm.utils.checks import check_choice


class LoadFeatures(BaseTransform):
    """Base of the transforms that read feature files."""

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
class LoadQueryFeatures(LoadFeatures):
    """Load a query's token features, the first ``max_tokens`` of them.

    Required keys: ``feature_files``, ``channels``, ``max_tokens``, ``query_id``.
    Added: ``query_tokens`` (T, channels).
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``query_tokens``."""
        file = self._file(results, 'query')
        results['query_tokens'] = file.read(str(results['query_id']), results['max_tokens'])
        return results


class _LoadStreams(LoadFeatures):
    def __init__(self) -> None:
        super().__init__()
        self._clip_lengths: dict[Path, float | None] = {}

    def _stream_files(self, results: dict[str, Any]) -> dict[str, FeatureReader]:
        """Open the files of all streams, and note the ``clip_length`` that each carries, if any."""
        names = [name for name in results['feature_files'] if name != 'query']
        if not names:
            raise InputError(
                f'{type(self).__name__}: the data set has feature_files for '
                f'{sorted(results["feature_files"])}, expected a stream among them, video or '
                'subtitle; add it in the config'
            )
        files = {name: self._file(results, name) for name in names}
        results['recorded_clip_lengths'] = {
            str(file.path): length
            for file in files.values()
            if (length := self._clip_length(file)) is not None
        }
        return files

    def _clip_length(self, file: FeatureReader) -> float | None:
        if file.path not in self._clip_lengths:
            self._clip_lengths[file.path] = recorded_clip_length(file)
        return self._clip_lengths[file.path]


@TRANSFORMS.register_module()
class LoadClipFeatures(_LoadStreams):
    """Load the clip features of all streams that the data set has files of.

    Required keys: ``feature_files``, ``channels``, ``video_name``.
    Added: ``clips``, stream name to (L, channels); ``recorded_clip_lengths``, path to seconds,
    of the files that tell how long a clip is.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``clips``.

        Raises:
            InputError: The features cannot be read, or streams have different numbers of clips.
        """
        files = self._stream_files(results)
        clips = {name: file.read(results['video_name']) for name, file in files.items()}
        lengths = {name: len(x) for name, x in clips.items()}
        if len(set(lengths.values())) > 1:
            paths = {name: results['feature_files'][name] for name in lengths}
            raise InputError(
                f'video {results["video_name"]!r}: found {lengths} clips in {paths}, expected as '
                'many in each stream; extract both with the same clip length'
            )
        results['clips'] = clips
        return results


@TRANSFORMS.register_module()
class CountClips(_LoadStreams):
    """Note how many clips a video has after pooling, and how long one is, reading no features.

    For :class:`~reloclnet_mm.models.data_preprocessors.ResidentDataPreprocessor`, which gives
    clips to samples that have passed here. The number is that of the first stream's file.

    Required keys: as of :class:`LoadClipFeatures` and
    :class:`~reloclnet_mm.datasets.transforms.processing.PoolClips`, but ``clips``.
    Added: ``seconds_per_clip``, ``num_clips``, as PoolClips adds them.

    Args:
        pooled_seconds: As for PoolClips.
    """

    def __init__(self, pooled_seconds: PooledSeconds = 'true') -> None:
        super().__init__()
        check_choice('CountClips: pooled_seconds', pooled_seconds, ('true', 'official'))
        self.pooled_seconds = pooled_seconds

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the numbers; the checks are those of PoolClips."""
        first = next(iter(self._stream_files(results).values()))
        length = first.num_rows(results['video_name'])
        results.update(clip_counts(length, results, self.pooled_seconds))
        return results
