"""Models without training, evaluated on the data of a loop and by its metrics."""

import copy
import os.path as osp
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner

from reloclnet_mm.engine.loops.corpus_loops import CorpusLoopMixin
from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.table import Cell
from reloclnet_mm.features import open_features
from reloclnet_mm.registry import LOOPS, MODELS
from reloclnet_mm.utils.models import bare_model

Kind = Literal['nearest_clip', 'nearest_sentence']
TIMES = 'times'

_MODELS = dict(nearest_clip='NearestClip', nearest_sentence='NearestSentence')
_COUNTING = dict(nearest_clip='PoolClips', nearest_sentence='CountTimedRows')


def evaluate_baseline(
    runner: Runner, loop: CorpusLoopMixin, kind: Kind, changes: Mapping[str, Any]
) -> dict[str, float]:
    """Evaluate a model without training in the place of the runner's.

    It sees the features as the files have them, without what the pipelines of the trained model add
    to them, such as the position. They are read once more.

    Args:
        runner: The runner, whose config has the data and the training annotation.
        loop: Its loop of validation or of test, after its run.
        kind: Which model.
        changes: Settings that its data sets have in the place of those of the loop's. The file of
            the queries need not be among ``feature_files``.

    Returns:
        What the metrics of the loop return that have cells in the table.

    Raises:
        InputError: The data has nothing that this model could compare.
    """
    loop_cfg, queries, videos = _configs_of(runner, loop)
    names = loop.corpus_dataloader.dataset.video_ids().values()
    settings, streams = _features(queries['dataset'], changes, {*names})
    load_query = [dict(type='reloclnet_mm.LoadQueryFeatures')]
    load_clips = [
        dict(type='reloclnet_mm.LoadClipFeatures'),
        dict(type=f'reloclnet_mm.{_COUNTING[kind]}'),
    ]
    for loader, pipeline in ((queries, load_query), (videos, load_clips)):
        loader['persistent_workers'] = False
        loader['dataset'] |= settings
        loader['dataset']['pipeline'] = [*pipeline, dict(type='reloclnet_mm.PackMomentInputs')]
    # Not encoded_corpus, the folder of the trained model's.
    kept = {name: loop_cfg[name] for name in ('type', 'shard_corpus') if name in loop_cfg}
    own = dict(
        runner=_WithModel(runner, build_baseline(runner, kind, streams, len(names))),
        dataloader=queries,
        corpus_dataloader=videos,
        evaluator=Evaluator([copy.deepcopy(metric) for metric in metrics_with_cells(loop)]),
    )
    return LOOPS.build(kept, default_args=own).run()


def metrics_with_cells(loop: CorpusLoopMixin) -> list[BaseMetric]:
    """Return the metrics of a loop by which models are compared in the table."""
    return [metric for metric in loop.evaluator.metrics if compared_cells(metric)]


def compared_cells(metric: BaseMetric) -> list[Cell]:
    """Return the cells of a metric that are not shown behind those of others."""
    return [cell for cell in getattr(metric, 'table_cells', list)() if not cell.in_brackets]


def _configs_of(runner: Runner, loop: CorpusLoopMixin) -> tuple[dict, dict, dict]:
    """Return copies of the configs of a loop and its dataloaders of queries and of videos."""
    stage = loop.corpus_key.partition('_')[0]
    loop_cfg = runner.cfg.get(f'{stage}_cfg') or {}
    queries = runner.cfg.get(f'{stage}_dataloader')
    videos = loop_cfg.get('corpus_dataloader') or runner.cfg.get(loop.corpus_key)
    if not (isinstance(queries, Mapping) and isinstance(videos, Mapping)):
        raise InputError(
            f'found no {stage}_dataloader and {loop.corpus_key} in the config, expected both'
        )
    return copy.deepcopy((loop_cfg, queries, videos))


class _WithModel:
    """A runner with another model, and without hooks."""

    def __init__(self, runner: Runner, model: BaseModel) -> None:
        self._runner = runner
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def call_hook(self, name: str, **arguments: Any) -> None:
        """Call none."""


def build_baseline(
    runner: Runner, kind: Kind, streams: Mapping[str, int], num_videos: int
) -> BaseModel:
    """Build a model without training that ranks as the runner's model does.

    Args:
        runner: Runner of the trained model.
        kind: Which baseline.
        streams: Stream name to the width of its features.
        num_videos: Number of videos of the corpus.
    """
    trained = bare_model(runner.model)
    # A search of few videos is a model's own economy.
    ranking = asdict(trained.ranking) | dict(moment_videos=None)
    ranking['num_videos'] = min(ranking['num_videos'], num_videos)
    settings = dict(type=f'reloclnet_mm.{_MODELS[kind]}', streams=streams, test_cfg=ranking)
    if kind == 'nearest_clip':
        settings['reader'] = _training_reader(runner)
    return MODELS.build(settings).to(trained.data_preprocessor.device)


def _training_reader(runner: Runner) -> dict[str, Any]:
    dataset = (runner.cfg.get('train_dataloader') or {}).get('dataset', {})
    while 'reader' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']  # within a wrapper, such as RepeatDataset
    if 'reader' not in dataset:
        raise InputError(
            'found no reader in train_dataloader.dataset, expected that of the training '
            'annotation, whose median moment is needed'
        )
    return dict(dataset['reader'], data_root=dataset.get('data_root', ''))


def _features(
    dataset: Mapping[str, Any], changes: Mapping[str, Any], videos: set[str]
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the settings of the data sets, and the widths of the streams that are compared."""
    files = {**changes.get('feature_files', dataset['feature_files'])}
    files['query'] = dataset['feature_files']['query']
    root = dataset.get('data_root', '')
    widths = {name: _width(osp.join(root, file), name, videos) for name, file in files.items()}
    wide = widths.pop('query')
    timed = {TIMES: files[TIMES]} if widths.pop(TIMES, None) else {}
    streams = {name: width for name, width in widths.items() if width == wide}
    if not streams:
        raise InputError(f'found queries {wide} wide and {widths}, expected a stream as wide')
    files = {name: files[name] for name in ('query', *streams)} | timed
    settings = dict(feature_files=files, channels=None, normalize=None, second_stage=None)
    return changes | settings, streams


def _width(path: str, name: str, videos: set[str]) -> int:
    reader = open_features(path)
    keys = reader.keys()
    missing = sorted(videos - {*keys}) if name != 'query' else []
    if missing or not keys:
        raise InputError(f'{path}: found no features of {len(missing)} videos, {missing[:1]} first')
    return reader.read(keys[0], 1).shape[1]
