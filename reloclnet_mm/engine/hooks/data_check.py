"""Check that the sizes of a model are those of its data."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from reloclnet_mm.datasets.base import FeatureDataset
from reloclnet_mm.datasets.transforms import AppendTEF, LoadClipFeatures
from reloclnet_mm.errors import InputError
from reloclnet_mm.features.rows import TEF_CHANNELS
from reloclnet_mm.models.base import CorpusRetriever
from reloclnet_mm.models.data_preprocessors import ResidentDataPreprocessor
from reloclnet_mm.registry import HOOKS
from reloclnet_mm.utils.models import bare_model


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Refuses to begin with data sets whose sizes contradict those of the model.

    Compared are the streams, the widths of features as far as ``channels`` tells them,
    ``max_clips`` and ``max_tokens``, for which the model may have more positions, not fewer, and
    the settings of a :class:`~reloclnet_mm.models.data_preprocessors.ResidentDataPreprocessor`.
    """

    def before_run(self, runner: Runner) -> None:
        """Compare the data sets of all loops that are built.

        Raises:
            InputError: A size differs.
        """
        model = bare_model(runner.model)
        if not isinstance(model, CorpusRetriever):
            return
        for dataset in _feature_datasets(runner):
            difference = data_difference(model, dataset)
            if difference:
                raise InputError(f'{type(dataset).__name__} of {dataset.ann_file}: {difference}')


def data_difference(model: CorpusRetriever, dataset: FeatureDataset) -> str:
    """Return how the settings of a data set contradict those of a model, and what to set.

    Args:
        model: The model.
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
                dataset = getattr(getattr(loop, name, None), 'dataset', None)
                if isinstance(dataset, FeatureDataset):
                    yield dataset


def _width_difference(model: CorpusRetriever, dataset: FeatureDataset) -> str:
    expected = dict(model.context_encoder.in_channels, query=model.query_encoder.in_channels)
    for name, width in _widths(model, dataset).items():
        if width != expected[name]:
            setting = 'query_channels' if name == 'query' else f'streams.{name}'
            return (
                f'its {name} features are {width} wide, position columns included, and model.'
                f'{setting} is {expected[name]}; set channels of the data set and model.{setting} '
                'to the width of your features, two more where AppendTEF appends its columns'
            )
    return ''


def _widths(model: CorpusRetriever, dataset: FeatureDataset) -> dict[str, int]:
    """Return the widths that the model gets, as far as the data set tells them."""
    steps = {type(step) for step in dataset.pipeline.transforms}
    loads_clips, added = LoadClipFeatures in steps, TEF_CHANNELS * (AppendTEF in steps)
    if isinstance(model.data_preprocessor, ResidentDataPreprocessor):
        loads_clips, added = True, TEF_CHANNELS * model.data_preprocessor.append_tef
    return {
        name: channels if name == 'query' else channels + added
        for name, channels in dataset.channels.items()
        if name == 'query' or loads_clips
    }


def _length_difference(model: CorpusRetriever, dataset: FeatureDataset) -> str:
    encoders = dict(max_clips=model.context_encoder, max_tokens=model.query_encoder)
    for name, encoder in encoders.items():
        most, positions = getattr(dataset, name), getattr(encoder, name, None)
        if positions is not None and most > positions:
            return (
                f'has {name}={most}, and the encoder of the model has {positions} positions; give '
                f'both the same {name}'
            )
    return ''


def _resident_difference(model: CorpusRetriever, dataset: FeatureDataset) -> str:
    resident = model.data_preprocessor
    if not isinstance(resident, ResidentDataPreprocessor):
        return ''
    settings = dict(
        feature_files=(
            {name: str(path) for name, path in resident.files.items()},
            {name: str(Path(path)) for name, path in dataset.data_prefix.items()},
        ),
        normalize=({*resident.normalize}, {*dataset.normalize}),
        max_clips=(resident.max_clips, dataset.max_clips),
        max_tokens=(resident.max_tokens, dataset.max_tokens),
    )
    for name, (here, there) in settings.items():
        if here != there:
            return (
                f'has {name} {there}, and the data preprocessor of the model {here}; give both '
                f'the same {name}'
            )
    return ''
