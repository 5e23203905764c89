"""tools/train.py and tools/test.py on a corpus of seconds."""

import json
import os
import pickle
import re
import signal
import time

import numpy as np
import pytest
import torch
from tool_processes import REPOSITORY, run_here, tool_process

CONFIG = REPOSITORY / 'configs/relocl_planted.py'
CORPUS = [
    *('--num-train-videos', 12, '--num-val-videos', 8, '--num-test-videos', 3),
    *('--queries-per-video', 4, '--mean-clips', 12),
]
STEPS_PER_EPOCH = 3
SMALL = ['train_dataloader.batch_size=16', 'model.embed_dims=32', 'default_hooks.logger.interval=1']
EARLY_STOPPING = 'custom_hooks.1'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder in which the config finds its corpus."""
    folder = tmp_path_factory.mktemp('workspace')
    run_here(folder, 'make_planted_corpus', 'data/planted', *CORPUS)
    return folder


@pytest.fixture(scope='module')
def trained(folder):
    """Work dir and output of a training of two epochs."""
    printed = train(folder, 'run', 'train_cfg.max_epochs=2')
    return folder / 'run', printed


@pytest.fixture(scope='module')
def resumed(trained, folder):
    """Work dir and output of the same training, resumed for a third epoch."""
    work_dir, _ = trained
    before = {path.name for path in work_dir.iterdir()}
    printed = train(folder, 'run', 'train_cfg.max_epochs=3', resume=True)
    return work_dir, printed, before


@pytest.fixture(scope='module')
def tested(resumed, folder):
    """Output, dump and submission of a test of the last checkpoint."""
    work_dir, *_ = resumed
    args = [CONFIG, work_dir / 'epoch_3.pth', '--dump', 'dump.pkl', '--submission', 'val.json']
    printed = run_here(folder, 'test', *args, '--cfg-options', 'model.embed_dims=32')
    dump = pickle.loads((folder / 'dump.pkl').read_bytes())
    return printed, dump, json.loads((folder / 'val.json').read_text())


def train_args(work_dir, *options, resume=False, validate=True):
    flags = ['--resume'] * resume + ['--no-validate'] * (not validate)
    return [CONFIG, '--work-dir', work_dir, *flags, '--cfg-options', *SMALL, *options]


def train(folder, work_dir, *options, **flags):
    return run_here(folder, 'train', *train_args(work_dir, *options, **flags))


def epochs_trained(printed):
    return sorted({int(epoch) for epoch in re.findall(r'Epoch\(train\)\s+\[(\d+)\]', printed)})


def epochs_validated(printed):
    return re.findall(r'Epoch\(val\) \[(\d+)\]\[1/1\]\s+VR/R1', printed)


def logged(work_dir):
    """The lines of all scalars.json files, oldest first."""
    paths = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def last_checkpoint(work_dir):
    return os.path.basename((work_dir / 'last_checkpoint').read_text())


def recall(samples, right):
    """Recall in percent of a predicate over samples, as reports round it."""
    return f'{100 * np.mean([right(sample) for sample in samples]):.2f}'


def test_a_training_logs_every_epoch_and_keeps_checkpoints(resumed):
    work_dir, _, before = resumed
    assert {'epoch_1.pth', 'epoch_2.pth', 'last_checkpoint'} <= before
    assert any(re.fullmatch(r'best_VCMR_R1@0\.5\+0\.7_epoch_[12]\.pth', name) for name in before)
    lines = logged(work_dir)
    steps = [line['step'] for line in lines if 'loss' in line]
    assert steps == list(range(1, 3 * STEPS_PER_EPOCH + 1))
    assert [line['step'] for line in lines if 'VR/R1' in line] == [1, 2, 3]
    assert len(list(work_dir.glob('*/vis_data/events.out.tfevents.*'))) == 2


def test_settings_on_the_command_line_reach_the_training(trained):
    work_dir, printed = trained
    assert epochs_trained(printed) == [1, 2]
    weights = torch.load(work_dir / 'epoch_2.pth', weights_only=False)['state_dict']
    assert weights['span_head.query_maps.video.weight'].shape == (32, 32)


def test_the_best_checkpoint_is_of_the_epoch_with_the_best_vcmr(resumed):
    work_dir, *_ = resumed
    scores = [line['VCMR/R1@0.5+0.7'] for line in logged(work_dir) if 'VR/R1' in line]
    (best,) = work_dir.glob('best_*.pth')
    assert best.name == f'best_VCMR_R1@0.5+0.7_epoch_{1 + int(np.argmax(scores))}.pth'


def test_a_resumed_training_goes_on_after_the_last_epoch(resumed):
    work_dir, printed, _ = resumed
    assert 'resumed epoch: 2, iter: 6' in printed
    assert epochs_trained(printed) == [3]
    assert (work_dir / 'epoch_3.pth').is_file()
    assert last_checkpoint(work_dir) == 'epoch_3.pth'


def test_a_test_prints_the_recalls_of_the_predictions_beside_chance(tested):
    printed, dump, _ = tested
    assert len(dump) == 4 * 8
    vr = recall(dump, lambda s: s['pred_vr']['video_ids'][0] == s['video_id'])
    row = next(line for line in printed.splitlines() if line.split()[:1] == ['R@1'])
    # one of eight videos is right
    assert row.split()[1:3] == [vr, '(12.50)']
    assert 'recalls in percent' in printed
    assert len(re.findall(r'\d+\.\d\d \(\d+\.\d\d\)', row)) == 5


def test_a_test_gives_the_recalls_that_the_validation_gave(tested, resumed):
    printed, *_ = tested
    work_dir, *_ = resumed
    validated = [line for line in logged(work_dir) if 'VR/R1' in line][-1]
    for name in ('VR/R5', 'SVMR/R1@0.5', 'VCMR/R10@0.7'):
        assert f' {name}: {validated[name]:.4f} ' in printed


def test_the_submission_holds_the_dumped_predictions(tested, folder):
    _, dump, submission = tested
    index = json.loads((folder / 'data/planted/tvr_video2dur_idx.json').read_text())
    assert submission['video2idx'] == {name: i for name, (_, i) in index['val'].items()}
    assert set(submission) == {'video2idx', 'VR', 'SVMR', 'VCMR'}
    for task in ('SVMR', 'VCMR'):
        assert [entry['desc_id'] for entry in submission[task]] == [s['query_id'] for s in dump]
        for entry, sample in zip(submission[task], dump, strict=True):
            predicted = sample[f'pred_{task.lower()}']
            expected = np.column_stack(
                [predicted['video_ids'], predicted['moments'], predicted['scores']]
            )
            np.testing.assert_allclose(entry['predictions'], expected, rtol=1e-6)


def test_a_split_without_answers_is_ranked_for_submission(resumed, folder):
    work_dir, *_ = resumed
    options = [
        'model.embed_dims=32',
        'test_dataloader.dataset.reader.ann_file=tvr_test_public_release.jsonl',
        'test_dataloader.dataset.reader.split=test_public',
        'test_corpus_dataloader.dataset.reader.split=test_public',
        'test_evaluator=[]',
    ]
    args = [CONFIG, work_dir / 'epoch_3.pth', '--submission', 'public.json']
    run_here(folder, 'test', *args, '--cfg-options', *options)
    submission = json.loads((folder / 'public.json').read_text())
    assert set(submission) == {'video2idx', 'VR', 'VCMR'}
    annotation = (folder / 'data/planted/tvr_test_public_release.jsonl').read_text().splitlines()
    expected = [(r['desc_id'], r['desc']) for r in map(json.loads, annotation)]
    for task in ('VR', 'VCMR'):
        assert [(e['desc_id'], e['desc']) for e in submission[task]] == expected
        for entry in submission[task]:
            ids = {prediction[0] for prediction in entry['predictions']}
            assert ids <= set(submission['video2idx'].values())


@pytest.mark.slow
def test_a_killed_training_without_validation_goes_on_to_its_end(folder):
    work_dir = folder / 'killed'
    # the first run would take hours
    process = tool_process(
        folder, 'train', *train_args('killed', 'train_cfg.max_epochs=9999', validate=False)
    )
    try:
        while not (work_dir / 'last_checkpoint').exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    done = int(re.fullmatch(r'epoch_(\d+)\.pth', last_checkpoint(work_dir))[1])

    total = done + 2
    printed = train(folder, 'killed', f'train_cfg.max_epochs={total}', resume=True, validate=False)
    assert f'resumed epoch: {done}, iter: {done * STEPS_PER_EPOCH}' in printed
    assert epochs_trained(printed) == [done + 1, total]
    assert last_checkpoint(work_dir) == f'epoch_{total}.pth'
    assert epochs_validated(printed) == []
    assert not list(work_dir.glob('best_*'))


def test_a_training_that_does_not_get_better_stops_early(folder):
    # at a learning rate of zero the first epoch stays the best
    options = ['optim_wrapper.optimizer.lr=0.0', f'{EARLY_STOPPING}.patience=1']
    printed = train(folder, 'stopped', *options, 'train_cfg.max_epochs=4')
    assert epochs_trained(printed) == [1, 2]
    assert epochs_validated(printed) == ['1', '2']
    (best,) = (folder / 'stopped').glob('best_*.pth')
    assert best.name.endswith('_epoch_1.pth')


@pytest.fixture
def untrained(folder):
    """A config of a model without weights, on the planted corpus."""
    path = folder / 'chance_planted.py'
    path.write_text(
        f"_base_ = '{CONFIG}'\nmodel = dict(_delete_=True, type='Chance')\n"
        'train_dataloader = None\ntrain_cfg = None\noptim_wrapper = None\n'
        'param_scheduler = None\n'
    )
    return path


def test_a_model_without_weights_is_tested_without_a_checkpoint(untrained, folder):
    printed = run_here(folder, 'test', untrained)
    # Each video is ranked among all eight.
    assert re.search(r'R@10 *\| +100\.00 \(100\.00\)|R@10 +100\.00 \(100\.00\)', printed)


def test_a_model_with_weights_is_not_tested_without_a_checkpoint(folder):
    printed = run_here(folder, 'test', CONFIG, status=1)
    assert 'ReLoCLNet has weights and there is no checkpoint of them; give one' in printed


def test_a_model_without_weights_is_not_trained(untrained, folder):
    printed = run_here(folder, 'train', untrained, status=1)
    assert 'chance_planted.py: has no train_cfg, so there is nothing to train' in printed
    with_schedule = folder / 'chance_with_schedule.py'
    with_schedule.write_text(f"_base_ = '{CONFIG}'\nmodel = dict(_delete_=True, type='Chance')\n")
    printed = run_here(folder, 'train', with_schedule, status=1)
    assert 'Chance has no weights to train; evaluate it with tools/test.py' in printed


def test_missing_files_end_with_one_message_and_status_one(tmp_path):
    printed = run_here(tmp_path, 'test', 'absent.py', 'absent.pth', status=1)
    assert printed == ('error: absent.py: no such file; expected a config, such as relocl_tvr.py\n')
    printed = run_here(tmp_path, 'train', CONFIG, status=1)
    assert re.match(r'error: data/planted/\S+: ', printed.splitlines()[-1])
    assert 'Traceback' not in printed
