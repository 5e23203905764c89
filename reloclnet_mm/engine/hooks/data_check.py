"""Check that the sizes of a model are those of its data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import BaseLoop, Runner

from reloclnet_mm.datasets.base import FeatureDataset
from reloclnet_mm.datasets.reranking import RerankingDataset
from reloclnet_mm.datasets.transforms import AppendTEF, ForEachVideo, LoadClipFeatures
from reloclnet_mm.errors import InputError
from reloclnet_mm.features.checks import wrong_width
from reloclnet_mm.features.rows import TEF_CHANNELS
from reloclnet_mm.registry import HOOKS
from reloclnet_mm.utils.models import bare_model


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Refuses to begin with data sets whose sizes contradict those of the model.

    Compared are the streams, the widths of features as far as ``channels`` tells them,
    ``max_clips`` and ``max_tokens``, for which the model may have more positions, not fewer, and
    the settings of a data preprocessor that loads features itself. Of a wrapper, such as mmengine's
    RepeatDataset, the data sets within are compared. Of a model of two stages each is compared with
    what it gets, and first-stage lists are those of its first stage. A model without encoders of
    its own, such as :class:`~reloclnet_mm.models.NearestClip`, is not looked at.
    """

    def before_run(self, runner: Runner) -> None:
        """Compare the data sets of all loops that are built.

        Raises:
            InputError: A size differs.
        """
        model = bare_model(runner.model)
        for dataset in _feature_datasets(runner):
            for stage, seen in _stages(model, dataset):
                difference = data_difference(stage, seen)
                if difference:
                    raise InputError(
                        f'{type(dataset).__name__} of {dataset.ann_file}: {difference}'
                    )

    def before_train(self, runner: Runner) -> None:
        """Compare first-stage lists with the first stage, whose weights are there by now.

        Raises:
            InputError: The lists are of another model.
        """
        first = getattr(bare_model(runner.model), 'first_stage', None)
        for dataset in _within(runner.train_dataloader.dataset):
            if isinstance(dataset, RerankingDataset) and first is not None:
                dataset.full_init()
                dataset.lists.check_model(first.checksum(), dataset.lists_file)


def _stages(
    model: BaseModel, dataset: FeatureDataset
) -> Iterator[tuple[BaseModel, FeatureDataset]]:
    """Yield the models that get samples of a data set, each with the data set as it sees it."""
    stages = [(model, dataset)]
    if hasattr(model, 'second_stage'):
        other = dataset.second_stage
        stages = [(model.second_stage, dataset if other is None else other)]
        if not isinstance(dataset, RerankingDataset):
            stages.append((model.first_stage, dataset))
    for stage, seen in stages:
        if hasattr(stage, 'context_encoder') and hasattr(stage, 'query_encoder'):
            yield stage, seen


def data_difference(model: BaseModel, dataset: FeatureDataset) -> str:
    """Return how the settings of a data set contradict those of a model, and what to set.

    Args:
        model: A model, or a stage of one, with a context encoder and a query encoder.
        dataset: A data set whose samples it gets.

    Returns:
        The first difference, in words; empty where there is none.
    """
    streams = model.context_encoder.in_channels
    if {*dataset.streams} != {*streams}:
        return (
            f'has feature_files of the streams {sorted(dataset.streams)}, and model.streams is '
            f'{sorted(streams)}; name the same streams in both'
        )
    return (
        _width_difference(model, dataset)
        or _length_difference(model, dataset)
        or _resident_difference(model, dataset)
    )


def _feature_datasets(runner: Runner) -> Iterator[FeatureDataset]:
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        if isinstance(loop, BaseLoop):
            for name in ('dataloader', 'corpus_dataloader'):
                yield from _within(getattr(getattr(loop, name, None), 'dataset', None))


def _within(dataset: Any) -> Iterator[FeatureDataset]:
    """Yield a data set, or those that a wrapper such as mmengine's ConcatDataset has in it."""
    if isinstance(dataset, FeatureDataset):
        yield dataset
        return
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if inner is not None:
            yield from _within(inner)


def _width_difference(model: BaseModel, dataset: FeatureDataset) -> str:
    expected = dict(model.context_encoder.in_channels, query=model.query_encoder.in_channels)
    for name, width in _widths(model, dataset).items():
        if width != expected[name]:
            return f'its {wrong_width(name, width, expected[name])}'
    return ''


def _widths(model: BaseModel, dataset: FeatureDataset) -> dict[str, int]:
    """Return the widths that the model gets, as far as the data set tells them."""
    steps = list(_steps(dataset.pipeline))
    loads_clips, has_positions = (
        any(isinstance(step, kind) for step in steps) for kind in (LoadClipFeatures, AppendTEF)
    )
    resident = _resident_settings(model)
    if resident:
        loads_clips, has_positions = True, resident['append_tef']
    added = TEF_CHANNELS if has_positions else 0
    return {
        name: channels if name == 'query' else channels + added
        for name, channels in dataset.channels.items()
        if name == 'query' or loads_clips
    }


def _steps(pipeline: Compose) -> Iterator[Any]:
    """Yield the transforms of a pipeline, and those that one applies to each video."""
    for step in pipeline.transforms:
        yield step
        if isinstance(step, ForEachVideo):
            yield from _steps(step.transforms)


def _length_difference(model: BaseModel, dataset: FeatureDataset) -> str:
    encoders = dict(max_clips=model.context_encoder, max_tokens=model.query_encoder)
    for name, encoder in encoders.items():
        most, positions = getattr(dataset, name), getattr(encoder, name, None)
        if positions is not None and most > positions:
            return (
                f'has {name}={most}, and the encoder of the model has {positions} positions; give '
                f'both the same {name}'
            )
    return ''


def _resident_difference(model: BaseModel, dataset: FeatureDataset) -> str:
    there = dataset.feature_settings
    for name, here in _resident_settings(model).items():
        if name in there and _comparable(here) != _comparable(there[name]):
            return (
                f'has {name} {there[name]}, and the data preprocessor of the model {here}; give '
                f'both the same {name}'
            )
    return ''


def _resident_settings(model: BaseModel) -> dict[str, Any]:
    """Return the settings of a data preprocessor that loads features itself, else nothing."""
    return getattr(model.data_preprocessor, 'feature_settings', {})


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: Path(path) for name, path in value.items()}
    return {*value} if isinstance(value, tuple) else value
