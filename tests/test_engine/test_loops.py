"""Validation and test over a corpus that is encoded inside the run."""

import copy
import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tiny_corpus import read_lines, tiny_config, tiny_model, tiny_runner, write_lines

from reloclnet_mm.engine.checkpointing.loading import load_weights_only
from reloclnet_mm.engine.loops.corpus_loops import CorpusValLoop
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import MODELS


class Recorder(Hook):
    """Keeps the scores of predictions, and what the loop and the evaluator hold."""

    priority = 'LOWEST'

    def __init__(self):
        self.scores = []
        self.corpora = []
        self.held_before = []

    def before_test_epoch(self, runner):
        self.held_before.append(runner.test_loop._corpus)

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.corpora.append(runner.test_loop._corpus)
        self.scores += [sample.pred_vr.scores for sample in outputs]

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.scores += [sample.pred_vr.scores for sample in outputs]


def recorded(runner, run):
    recorder = Recorder()
    runner.register_hook(recorder)
    run(runner)
    recorder.scores = torch.stack(recorder.scores)
    return recorder


def test_the_corpus_lives_from_the_first_batch_to_the_end_of_the_run(corpus_folder, tmp_path):
    runner = tiny_runner(corpus_folder, tmp_path, test_dataloader=dict(batch_size=3))
    seen = recorded(runner, lambda r: r.test())
    assert seen.held_before == [None]
    assert len(seen.corpora) == 3
    assert all(corpus is seen.corpora[0] for corpus in seen.corpora)
    # Of 1, 6, 8 and 8 clips.
    assert seen.corpora[0].corpus.video_names == ('g', 'e', 'f', 'h')
    assert runner.test_loop._corpus is None


def test_metrics_find_a_description_of_the_corpus(corpus_folder, tmp_path):
    runner = tiny_runner(corpus_folder, tmp_path)
    metrics = runner.test()
    (corpus,) = {metric.dataset_meta['corpus'] for metric in runner.test_loop.evaluator.metrics}
    assert corpus.video_names == ('g', 'e', 'f', 'h')
    assert corpus.video_ids == (12, 10, 11, 13)
    assert corpus.num_clips == (1, 6, 8, 8)
    assert corpus.seconds_per_clip == (1.5, 1.5, 1.5, 1.5 * 13 / 8)
    assert metrics['chance/VR/R1'] == 25.0
    assert metrics['VR/R5'] == metrics['VR/R100']


def test_the_corpus_is_dropped_where_a_run_breaks_off(corpus_folder, tmp_path):
    class Interrupt(Hook):
        def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            raise KeyboardInterrupt

    runner = tiny_runner(corpus_folder, tmp_path)
    runner.register_hook(Interrupt())
    with pytest.raises(KeyboardInterrupt):
        runner.test()
    assert runner.test_loop._corpus is None


def test_a_corpus_in_small_batches_and_shuffled_gives_the_same_answers(corpus_folder, tmp_path):
    def scores(**corpus):
        torch.manual_seed(0)
        path = tmp_path / 'weights.pth'
        torch.save(MODELS.build(tiny_model()).state_dict(), path)
        runner = tiny_runner(
            corpus_folder,
            tmp_path,
            load_from=str(path),
            test_corpus_dataloader=corpus,
        )
        return recorded(runner, lambda r: r.test()).scores

    whole = scores(batch_size=100)
    torch.testing.assert_close(scores(batch_size=1), whole)
    torch.testing.assert_close(scores(batch_size=3, sampler=dict(shuffle=True)), whole)


def test_averaged_weights_encode_the_corpus_too(corpus_folder, tmp_path):
    """Validation under an EMAHook equals a test of the averaged weights, not of the last ones."""
    runner = tiny_runner(
        corpus_folder,
        tmp_path / 'run',
        custom_hooks=[dict(type='EMAHook', momentum=0.3)],
        optim_wrapper=dict(optimizer=dict(lr=0.05)),
    )
    found = recorded(runner, lambda r: r.train()).scores

    def tested(path):
        other = tiny_runner(corpus_folder, tmp_path / 'test', load_from=str(path))
        return recorded(other, lambda r: r.test()).scores

    last = tmp_path / 'last.pth'
    torch.save(runner.model.state_dict(), last)
    # EMAHook saves the averaged weights as the checkpoint's.
    torch.testing.assert_close(found, tested(tmp_path / 'run' / 'epoch_1.pth'))
    assert (found - tested(last)).abs().max() > 1e-3


class Validations(Hook):
    """Shifts a weight before training, and keeps what each validation sees."""

    def __init__(self):
        self.epochs = []
        self.weights = []

    def before_train(self, runner):
        torch.nn.init.constant_(runner.model.query_encoder.projection.linear.bias, 7)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.epochs.append(runner.epoch)
        self.weights.append(copy.deepcopy(runner.model.state_dict()))


def validated(*args, **settings):
    settings = dict(train_cfg=dict(val_untrained=True), **settings)
    runner = tiny_runner(*args, **settings, val_dataloader=dict(batch_size=100))
    seen = Validations()
    runner.register_hook(seen)
    runner.train()
    return seen


def test_the_model_as_it_begins_is_epoch_0_and_kept_where_training_makes_it_no_better(
    corpus_folder, tmp_path
):
    seen = validated(
        corpus_folder,
        tmp_path,
        # No recall changes.
        optim_wrapper=dict(optimizer=dict(lr=0.0)),
        custom_hooks=[dict(type='EMAHook', momentum=0.3)],
    )
    assert seen.epochs == [0, 1]
    assert (seen.weights[0]['query_encoder.projection.linear.bias'] == 7).all()
    (best,) = tmp_path.glob('best*_epoch_0.pth')
    found = load_weights_only(best)['state_dict']
    assert all(torch.equal(found[key], x) for key, x in seen.weights[0].items())


def test_a_training_that_is_resumed_is_not_validated_as_it_began(corpus_folder, tmp_path):
    assert validated(corpus_folder, tmp_path).epochs == [0, 1]
    assert validated(corpus_folder, tmp_path, epochs=2, resume=True).epochs == [2]


def test_a_training_with_averaged_weights_resumes(corpus_folder, tmp_path):
    hooks = [dict(type='EMAHook', momentum=0.3)]
    tiny_runner(corpus_folder, tmp_path, custom_hooks=hooks).train()
    runner = tiny_runner(corpus_folder, tmp_path, custom_hooks=hooks, epochs=2, resume=True)
    runner.train()
    assert runner.epoch == 2


def test_a_video_outside_the_corpus_stops_a_training_before_anything_is_computed(
    corpus_folder, tmp_path
):
    corpus = dict(dataset=dict(reader=dict(split='train')))
    runner = tiny_runner(corpus_folder, tmp_path, val_corpus_dataloader=corpus)
    with pytest.raises(InputError, match='are not in the corpus'):
        runner.train()
    assert runner.iter == 0
    assert not list(tmp_path.glob('*.pth'))


def test_a_loop_of_the_config_is_ours(corpus_folder, tmp_path):
    cfg = tiny_config(corpus_folder, tmp_path)
    assert cfg.val_cfg.type == 'CorpusValLoop'
    assert isinstance(tiny_runner(corpus_folder, tmp_path).val_loop, CorpusValLoop)


def test_queries_without_answers_are_ranked_and_written(corpus_folder, tmp_path):
    path = corpus_folder / 'val.jsonl'
    write_lines(path, [dict(desc=x['desc'], desc_id=x['desc_id']) for x in read_lines(path)])
    out = tmp_path / 'submission.json'
    cfg = tiny_config(corpus_folder, tmp_path)
    cfg.test_evaluator = [dict(type='TVRSubmission', out_file=str(out))]
    assert Runner.from_cfg(cfg).test() == {}
    written = json.loads(out.read_text())
    assert set(written) == {'video2idx', 'VR', 'VCMR'}
    assert [entry['desc_id'] for entry in written['VR']] == list(range(8, 16))
    assert all(len(entry['predictions']) == 3 for entry in written['VR'])
