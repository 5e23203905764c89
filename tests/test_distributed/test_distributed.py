"""Several processes compute what one does, and end together."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_corpus import REPOSITORY, tiny_model, write_corpus

from reloclnet_mm.engine.checkpointing.loading import load_weights_only
from reloclnet_mm.engine.runner import init_gloo
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.moment_search import RankedMoments
from reloclnet_mm.retrieval.sharding import merge_moments, merge_videos

HERE = Path(__file__).parent


def launch(processes, program, *args, status=0):
    """What a program prints in so many processes; all must end with `status`."""
    process = subprocess.run(
        [
            *(sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--standalone'),
            *('--nproc_per_node', str(processes), HERE / f'{program}.py', *map(str, args)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1'},
    )
    assert process.returncode == status, process.stdout
    return process.stdout


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp('corpus'))


@pytest.fixture(scope='module')
def of_processes(corpus, tmp_path_factory):
    """The results of tests with a number of processes, each computed once."""
    known = {}

    def results(processes):
        if processes not in known:
            out = tmp_path_factory.mktemp('processes')
            launch(processes, 'distributed_tests', corpus, out)
            known[processes] = json.loads((out / 'results.json').read_text())
        return known[processes]

    return results


def assert_same_lists(found, expected):
    assert [x['query'] for x in found] == [x['query'] for x in expected]
    for one, other in zip(found, expected, strict=True):
        for task in ('pred_vr', 'pred_vcmr', 'pred_svmr'):
            assert one[task]['video_ids'] == other[task]['video_ids']
            assert one[task].get('moments') == other[task].get('moments')
            assert one[task]['scores'] == pytest.approx(other[task]['scores'], rel=1e-5, abs=1e-9)


# Four videos and eight queries in batches of two: three processes have unequal shards, and four
# have more places in their batches than there are queries left.
@pytest.mark.slow
@pytest.mark.parametrize('processes', [2, 3, 4])
def test_recalls_and_lists_are_the_same_for_any_number_of_processes(processes, of_processes):
    one, several = of_processes(1), of_processes(processes)
    for setting, (metrics, lists) in one.items():
        assert 0 < metrics['VR/R1'] < 100
        assert several[setting][0] == metrics, setting
        assert_same_lists(several[setting][1], lists)


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2, 3, 4])
@pytest.mark.parametrize('setting', ['', ', nms', ', few videos', ', two stages', ', spans'])
def test_a_corpus_spread_over_processes_has_the_lists_of_a_whole_one(
    processes, setting, of_processes
):
    metrics, lists = of_processes(processes)[f'sharded{setting}']
    expected, expected_lists = of_processes(1)[f'whole{setting}']
    assert metrics == expected
    assert_same_lists(lists, expected_lists)


@pytest.mark.slow
def test_models_without_weights_have_the_same_lists_in_several_processes(tmp_path):
    found = {}
    for processes in (1, 2):
        launch(processes, 'untrained_processes', tmp_path / 'found.json')
        found[processes] = json.loads((tmp_path / 'found.json').read_text())
    assert found[1].keys() == found[2].keys()
    for config, lists in found[1].items():
        assert_same_lists(found[2][config], lists)


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [(3, 3), (5, 2), (3, 1, 2)])
def test_negatives_of_all_processes_have_the_losses_and_gradients_of_one_batch(sizes, tmp_path):
    launch(len(sizes), 'contrasted_processes', tmp_path / 'found.pth', *sizes)
    found = torch.load(tmp_path / 'found.pth')
    for name in ('negative', 'ignored', 'positive', 'plus'):
        (losses, gradients), (expected, expected_gradients) = (
            found[name][key] for key in ('several', 'one')
        )
        assert losses == pytest.approx(expected, rel=1e-5)
        assert gradients.keys() == expected_gradients.keys()
        scale = max(float(x.abs().max()) for x in expected_gradients.values())
        for key, x in gradients.items():
            # The gradient of a key's bias is 0, and rounding stands there in both.
            largest = max(float(expected_gradients[key].abs().max()), 1e-3 * scale)
            assert float((x - expected_gradients[key]).abs().max()) < 1e-5 * largest, key
    # Without the option each process contrasts within its own batch: these are others.
    losses = found['negative']['several'][0]
    assert all(alone['loss_video_cl'] < 0.9 * losses['loss_video_cl'] for alone in found['alone'])
    # Processes draw the same negatives, though their random states differ.
    assert all(drawn == found['drawn'][0] for drawn in found['drawn'])
    in_bfloat16 = found['bfloat16'][0]
    assert in_bfloat16 == pytest.approx(losses, rel=0.05, abs=0.01)


@pytest.mark.slow
def test_memory_of_a_process_falls_with_the_number_of_processes(tmp_path):
    # Of 3,600 videos, 60 clips each, two streams, 256 numbers of four bytes.
    corpus_mb = 3600 * 60 * 2 * 256 * 4 / 1e6
    used = {}
    for processes in (1, 2, 4):
        launch(processes, 'sharded_memory', tmp_path / 'used.json')
        used[processes] = max(json.loads((tmp_path / 'used.json').read_text()))
    print('megabytes of a process:', used)
    # Its share, and what the search of any corpus takes.
    assert all(corpus_mb / n < mb < corpus_mb / n + 90 for n, mb in used.items())


@pytest.mark.slow
def test_processes_that_were_killed_within_an_epoch_go_on_to_the_same_weights(corpus, tmp_path):
    launch(2, 'killed_processes', corpus, tmp_path / 'unbroken', 0)
    launch(2, 'killed_processes', corpus, tmp_path / 'killed', 3, status=1)
    assert (tmp_path / 'killed/iter_3.pth').is_file()
    launch(2, 'killed_processes', corpus, tmp_path / 'killed', 0)
    # Three epochs of two batches a process.
    expected, found = (
        load_weights_only(tmp_path / name / 'iter_6.pth')['state_dict']
        for name in ('unbroken', 'killed')
    )
    assert all(torch.equal(found[key], x) for key, x in expected.items())


@pytest.mark.slow
def test_processes_draw_different_numbers_and_share_the_order_of_the_samples(corpus, tmp_path):
    launch(2, 'drawing_processes', corpus, tmp_path)
    one, other = json.loads((tmp_path / 'drawn.json').read_text())
    assert all(x != y for x, y in zip(one['numbers'], other['numbers'], strict=True))
    assert one['seed'] == other['seed']
    assert one['weights'] == other['weights']
    # Eight queries in batches of two: each is trained on once, by one of the processes.
    trained = [query for process in (one, other) for batch in process['batches'] for query in batch]
    assert sorted(trained) == list(range(8))


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others_with_its_message(corpus, tmp_path):
    begin = time.monotonic()
    printed = launch(2, 'failing_processes', corpus, tmp_path, 'fail', status=1)
    assert 'this process has no more memory' in printed
    assert time.monotonic() - begin < 120


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_run_after_the_time_out(corpus, tmp_path):
    begin = time.monotonic()
    printed = launch(2, 'failing_processes', corpus, tmp_path, 'hang', status=1)
    assert 'Timed out' in printed or 'timed out' in printed
    assert time.monotonic() - begin < 120


def test_a_launcher_that_gives_out_gpus_is_refused_without_any():
    with pytest.raises(InputError, match="launcher 'slurm' gives each process a GPU"):
        init_gloo('slurm')


def test_processes_that_nobody_launched_are_an_error(monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    with pytest.raises(InputError, match=r'RANK.*not in the environment; start the processes with'):
        init_gloo('pytorch')


def test_negatives_of_all_processes_need_independent_padding():
    with pytest.raises(ValueError, match="gather_negatives=True needs padding='independent'"):
        MODELS.build(tiny_model(gather_negatives=True, padding='official'))


def test_the_best_videos_of_two_shards():
    scores = [torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[0.8, 0.5, -torch.inf]])]
    places = [torch.tensor([[4, 7, 0]]), torch.tensor([[2, 9, 2]])]
    best, found, counts = merge_videos(scores, places, 3)
    torch.testing.assert_close(best, torch.tensor([[0.9, 0.8, 0.5]]))
    # Of two equal ones that of the first shard.
    assert found.tolist() == [[4, 2, 7]]
    assert counts.tolist() == [[2], [1]]


def test_the_best_moments_of_two_shards():
    def moments(*rows):
        scores, places, begins = zip(*rows, strict=True)
        spans = torch.tensor([[[b, b + 2] for b in begins]])
        return RankedMoments(torch.tensor([scores]), torch.tensor([places]), spans)

    merged = merge_moments(
        [moments((0.7, 1, 0), (0.2, 1, 5)), moments((0.4, 3, 8), (-1.0, 0, 0))], 3
    )
    torch.testing.assert_close(merged.scores, torch.tensor([[0.7, 0.4, 0.2]]))
    assert merged.places.tolist() == [[1, 3, 1]]
    assert merged.spans.tolist() == [[[0, 2], [8, 10], [5, 7]]]
