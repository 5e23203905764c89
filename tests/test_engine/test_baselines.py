"""Models without training beside a test and at the end of a training."""

import logging
import re
from dataclasses import replace

import pytest
from generated_data import small, write_data
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_corpus import REPOSITORY, tiny_runner

from reloclnet_mm.engine.baselines import build_baseline, evaluate_baseline
from reloclnet_mm.engine.hooks.baselines import BaselineHook, baseline_cells, cells_below
from reloclnet_mm.evaluation.table import Cell, result_table
from reloclnet_mm.registry import HOOKS

CONFIGS = REPOSITORY / 'configs'
CELLS = [
    Cell(1, 'R@1', 'VR', 'VR/R1'),
    Cell(5, 'R@5', 'VR', 'VR/R5'),
    Cell(1, 'R@1', 'VR', 'chance/VR/R1', in_brackets=True),
]
RESULTS = {'VR/R1': 20.0, 'VR/R5': 50.0, 'chance/VR/R1': 2.0}
BASELINE = {'VR/R1': 25.0, 'VR/R5': 50.0}


@pytest.fixture
def messages(monkeypatch):
    """What any logger of mmengine gets."""
    noted = []
    monkeypatch.setattr(
        logging.Logger, '_log', lambda self, level, text, *args, **kwargs: noted.append(str(text))
    )
    return noted


def config(name, folder, **changes):
    """A config that reads its data, which this writes, from a folder."""
    cfg = small(Config.fromfile(CONFIGS / f'{name}.py'), folder / name)
    if cfg.get('train_dataloader'):
        cfg.model.update(embed_dims=16, num_heads=2)
    write_data(cfg, folder)
    cfg.merge_from_dict(changes)
    return cfg


def test_a_baseline_has_the_results_of_its_own_config_on_the_same_data(tmp_path):
    """Without the position, which the trained model gets."""
    names = ('nearest_clip', 'nearest_sentence')
    configs = [config(f'{name}_anet_text', tmp_path) for name in names]
    # The median is that of the videos that are trained on, here of all as in the own configs.
    everything = {'train_dataloader.dataset.reader.part': None}
    configs.append(config('relocl_anet_text', tmp_path, **everything))
    *alone, found = [Runner.from_cfg(cfg).test() for cfg in configs]
    for name, results in zip(names, alone, strict=True):
        beside = {k.removeprefix(f'{name}/'): x for k, x in found.items() if k.startswith(name)}
        assert beside == {k: x for k, x in results.items() if not k.startswith('chance')}
        assert beside['VR/R100'] == 100
    assert alone[0] != alone[1]


def test_a_baseline_ranks_as_the_model_but_searches_all_of_its_videos_for_moments(tmp_path):
    changes = {'model.test_cfg.moment_videos': 1, 'model.test_cfg.num_moments': 7}
    runner = Runner.from_cfg(config('relocl_anet_text', tmp_path, **changes))
    found = build_baseline(runner, 'nearest_sentence', dict(subtitle=8), num_videos=3).ranking
    assert runner.model.ranking.moment_videos == 1
    assert found == replace(runner.model.ranking, moment_videos=None, num_videos=3)
    assert found.num_moments == 7


def test_a_line_says_why_there_is_nothing_to_compare_with(corpus_folder, tmp_path, messages):
    found = tiny_runner(corpus_folder, tmp_path, log_level='INFO').test()
    assert not [name for name in found if name.startswith('nearest')]
    clip, sentence = [x for x in messages if x.startswith('without the nearest')]
    assert "the nearest clip to compare with: found queries 4 wide and {'video': 6, 'subti" in clip
    assert 'sentences.h5: no such file' in sentence


def test_a_test_without_the_training_annotation_leaves_the_nearest_clip_out(tmp_path, messages):
    reader = 'train_dataloader.dataset.reader.ann_file'
    cfg = config('relocl_anet_text', tmp_path, log_level='INFO', **{reader: 'absent.jsonl'})
    found = Runner.from_cfg(cfg).test()
    assert found['VR/R100'] == 100
    assert not [name for name in found if name.startswith('nearest')]
    (clip,) = [x for x in messages if x.startswith('without the nearest clip')]
    assert 'absent.jsonl: no such file' in clip


def test_a_training_that_ends_below_a_baseline_says_so_once(tmp_path, messages, monkeypatch):
    monkeypatch.setattr(
        'reloclnet_mm.engine.hooks.baselines.evaluate_baseline',
        lambda *args: {name: 101 + x for name, x in evaluate_baseline(*args).items()},
    )
    cfg = config('relocl_anet_text', tmp_path, train_cfg=dict(max_epochs=2), log_level='INFO')
    Runner.from_cfg(cfg).train()
    (warning,) = [x for x in messages if 'which needs no training' in x]
    assert re.match(r'the validation of epoch [12]: below the nearest clip, which', warning)
    assert len(re.findall(r'(?:VR|SVMR|VCMR)[^,]* R@\d+ [\d.]+ \([12]\d\d\.\d\d\)', warning)) == 20
    (table,) = [x for x in messages if re.match(r'the validation of epoch [12], results', x)]
    rows = [line.split()[:3] for line in table.splitlines()]
    at = rows.index(['R@1', 'nearest', 'clip'])
    assert rows[at - 1][0] == 'R@1'


def test_rows_of_baselines_are_below_those_of_the_model():
    cells = [*CELLS, *baseline_cells(CELLS[:2], 'nearest_clip', 1)]
    results = RESULTS | {f'nearest_clip/{name}': x for name, x in BASELINE.items()}
    assert [line.split() for line in result_table(results, cells).splitlines()[2:]] == [
        ['R@1', '20.00', '(2.00)'],
        ['R@1', 'nearest', 'clip', '25.00'],
        ['R@5', '50.00'],
        ['R@5', 'nearest', 'clip', '50.00'],
    ]


def test_cells_that_are_lower_are_named_with_both_numbers():
    assert cells_below(CELLS[:2], RESULTS, BASELINE) == ['VR R@1 20.00 (25.00)']
    assert cells_below(CELLS[:2], dict(BASELINE), BASELINE) == []


class Run:
    """What the hook asks of a runner."""

    def __init__(self):
        self.message_hub = self
        self.runtime_info = {}
        self.epoch = 0

    def validate(self, hook, best=None):
        self.epoch += 1
        if best:
            self.runtime_info['best_ckpt'] = best
        hook.after_val_epoch(self, {'VR/R1': float(self.epoch)})
        return hook._validation[0]


def test_the_validation_of_the_best_checkpoint_is_kept():
    run, hook = Run(), HOOKS.build(dict(type='reloclnet_mm.BaselineHook'))
    assert isinstance(hook, BaselineHook)
    hook.before_train(run)
    assert [run.validate(hook, best) for best in ('a', None, 'b', None)] == [1, 1, 3, 3]
    resumed = BaselineHook()
    resumed.before_train(run)
    assert [run.validate(resumed, best) for best in (None, None, 'c', None)] == [5, 6, 7, 7]


def test_without_a_best_checkpoint_the_last_validation_is_kept():
    run, hook = Run(), BaselineHook()
    hook.before_train(run)
    assert [run.validate(hook) for _ in range(3)] == [1, 2, 3]
