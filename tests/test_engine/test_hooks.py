"""Hooks of ours; test_bad_input has what CheckpointCheckHook refuses."""

import logging
from types import SimpleNamespace

import pytest
from mmengine.evaluator import DumpResults, Evaluator
from mmengine.hooks import Hook
from tiny_corpus import tiny_model, tiny_runner

from reloclnet_mm.engine.hooks.checkpoint_check import weights_difference
from reloclnet_mm.engine.hooks.hard_negatives import HardNegativeHook
from reloclnet_mm.engine.hooks.recall_table import RecallTableHook
from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation import VideoRecall
from reloclnet_mm.registry import HOOKS, MODELS


class PoolSizes(Hook):
    """Notes the pool of each epoch's first step."""

    def __init__(self):
        self.by_epoch = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.by_epoch.setdefault(runner.epoch, runner.model.loss_ranking.pool_size)


def pool_sizes(*args, **settings):
    runner = tiny_runner(
        *args, custom_hooks=[dict(type='HardNegativeHook', begin=1, pool_size=2)], **settings
    )
    noted = PoolSizes()
    runner.register_hook(noted)
    runner.train()
    return noted.by_epoch


def test_hard_negatives_begin_at_their_epoch_and_are_there_after_resuming(corpus_folder, tmp_path):
    assert pool_sizes(corpus_folder, tmp_path, epochs=2) == {0: None, 1: 2}
    assert pool_sizes(corpus_folder, tmp_path, epochs=3, resume=True) == {2: 2}


@pytest.mark.parametrize(('epoch', 'pool_size'), [(0, None), (19, None), (20, 7), (99, 7)])
def test_the_pool_follows_from_the_epoch_alone(epoch, pool_size):
    model = MODELS.build(tiny_model())
    model.loss_ranking.pool_size = 5
    hook = HOOKS.build(dict(type='reloclnet_mm.HardNegativeHook', pool_size=7))
    assert isinstance(hook, HardNegativeHook)
    hook.before_train_epoch(SimpleNamespace(model=model, epoch=epoch))
    assert model.loss_ranking.pool_size == pool_size


def test_the_recalls_of_a_test_are_logged_as_a_table_and_other_metrics_below_it(caplog):
    evaluator = Evaluator([VideoRecall(top_k=(1,)), DumpResults('unused.pkl')])
    runner = SimpleNamespace(
        logger=logging.getLogger('of the test'),
        test_loop=SimpleNamespace(evaluator=evaluator),
        hooks=[],
    )
    with caplog.at_level(logging.INFO):
        RecallTableHook().after_test_epoch(runner, {'VR/R1': 12.5, 'VR/t/R1': 3.0, 'mAP': 0.5})
        RecallTableHook().after_test_epoch(runner, {})
    (message,) = caplog.messages
    assert [line.split() for line in message.splitlines()[1:]] == [
        ['VR'],
        ['---', '-----'],
        ['R@1', '12.50'],
        ['mAP:', '0.5000'],
    ]


def test_an_average_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="ema_type is 'Average', expected an average of mmengine"):
        HOOKS.build(dict(type='reloclnet_mm.EMAHook', ema_type='Average'))


def test_weights_of_the_model_itself_do_not_differ():
    weights = MODELS.build(tiny_model()).state_dict()
    distributed = {f'module.{name}': x for name, x in weights.items()}
    assert weights_difference(weights, weights) == ''
    assert weights_difference(dict(state_dict=weights, meta={}), weights) == ''
    assert weights_difference(dict(state_dict=distributed), weights) == ''


def test_a_test_needs_no_training_data_for_early_stopping(corpus_folder, tmp_path):
    (corpus_folder / 'train.jsonl').unlink()
    stopping = dict(type='EarlyStoppingHook', monitor='VCMR/R1@0.5+0.7', rule='greater')
    metrics = tiny_runner(corpus_folder, tmp_path, custom_hooks=[stopping]).test()
    assert 'VCMR/R1@0.5+0.7' in metrics
