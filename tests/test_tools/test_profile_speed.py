"""The benchmark at sizes of seconds: it measures what it says, and its two sides agree."""

import json

import pytest
import torch
from mmengine.config import Config
from tool_processes import run_tool

from reloclnet_mm.profiling import reranking
from reloclnet_mm.profiling.evaluation import same_lists
from reloclnet_mm.profiling.harness import Subject, Timing, measure
from reloclnet_mm.profiling.training import (
    Products,
    products_alone,
    products_of_step,
    random_batch,
)

SIZES = ['--videos', 30, '--mean-clips', 8, '--max-clips', 16, '--width', 32]


def sleeper(seconds):
    import time

    return lambda: time.sleep(seconds) or seconds


def breaking():
    raise ValueError('cannot be prepared')


def hungry(megabytes):
    block = torch.ones(megabytes, 250_000)
    return lambda: float(block[0, 0])


def test_subjects_are_timed_side_by_side_and_give_their_results():
    subjects = [Subject(str(s), sleeper, dict(seconds=s)) for s in (0.05, 0.2)]
    short, long = measure(subjects, trials=3, warm_ups=1)
    assert len(short.seconds) == len(long.seconds) == 3
    assert 0.05 <= short.median < 0.2 <= long.median
    assert (short.result, long.result) == (0.05, 0.2)


def test_the_memory_of_each_subject_is_its_own():
    held_by_the_parent = torch.ones(800, 250_000)
    small, large = measure(
        [Subject(str(mb), hungry, dict(megabytes=mb)) for mb in (1, 400)], trials=1
    )
    assert held_by_the_parent.nbytes / 1e6 > small.peak_rss_mb
    assert 300 < large.peak_rss_mb - small.peak_rss_mb < 600


def test_a_subject_that_breaks_is_named(capfd):
    with pytest.raises(RuntimeError, match="the process of 'broken' ended"):
        measure([Subject('broken', breaking)], trials=1)
    assert 'cannot be prepared' in capfd.readouterr().err


def test_percentiles_of_known_times():
    timing = Timing('x', tuple(range(1, 101)), 0.0, None)
    assert timing.median == 50.5
    assert [timing.percentile(p) for p in (0, 50, 100)] == [1, 50.5, 100]
    assert timing.percentile(99) == pytest.approx(99.01)


def lists(scores, items):
    both = dict(scores=torch.tensor([scores]), items=torch.tensor([items]))
    moments = torch.tensor([[[i, 0, 2] for i in items]])
    return dict(
        video_scores=both['scores'],
        videos=both['items'],
        moment_scores=both['scores'],
        moments=moments,
        own_scores=both['scores'],
        own_moments=moments,
    )


def test_lists_are_the_same_but_for_the_order_of_equal_scores():
    expected = lists([4.0, 3.0, 3.0, 1.0], [7, 8, 9, 5])
    assert same_lists(lists([4.0, 3.0, 3.0, 1.0], [7, 9, 8, 5]), expected) == (True, 0.0)
    assert not same_lists(lists([4.0, 3.0, 3.0, 1.0], [8, 7, 9, 5]), expected)[0]
    same, difference = same_lists(lists([4.0, 3.0, 2.0, 1.0], [7, 8, 9, 5]), expected)
    assert same
    assert difference == 0.25


@pytest.mark.slow
def test_the_evaluation_is_measured_and_both_ways_agree(tmp_path):
    out = tmp_path / 'evaluation.json'
    options = ['--queries', 20, *SIZES, '--plain-queries', 20, '--trials', 1, '--out', out]
    printed = run_tool(tmp_path, 'analysis_tools/profile_speed', 'evaluation', *options)
    assert 'lists of 20 queries identical' in printed
    record = json.loads(out.read_text())
    assert record['identical'] is True
    assert record['score_difference'] < 1e-5
    assert [timing['name'] for timing in record['timings']] == [
        'ours',
        'products alone',
        'straightforward',
    ]
    assert all(timing['peak_rss_mb'] > 50 for timing in record['timings'])
    assert record['settings']['videos'] == 30


@pytest.mark.slow
def test_a_single_query_is_measured(tmp_path):
    options = ['--queries', 20, *SIZES, '--trials', 5]
    printed = run_tool(tmp_path, 'analysis_tools/profile_speed', 'query', *options)
    assert 'p99' in printed


@pytest.mark.slow
def test_growth_is_measured_and_drawn(tmp_path):
    options = ['--queries', 20, *SIZES, '--trials', 1, '--plot', tmp_path / 'growth.png']
    printed = run_tool(tmp_path, 'analysis_tools/profile_speed', 'growth', *options)
    assert '240 videos' in printed
    assert (tmp_path / 'growth.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.slow
def test_loading_is_measured(tmp_path):
    options = ['--videos', 8, '--channels', 16, '--batch-size', 4, '--trials', 2]
    printed = run_tool(tmp_path, 'analysis_tools/profile_speed', 'loading', *options)
    assert all(kind in printed for kind in ('h5 float32', 'packed float32', 'packed float16'))


@pytest.mark.slow
@pytest.mark.parametrize('amp', [[], ['--amp']])
def test_a_training_step_is_measured(tmp_path, amp, repository):
    config = tmp_path / 'small.py'
    config.write_text(
        f"_base_ = '{repository / 'configs' / 'relocl_tvr.py'}'\n"
        'model = dict(streams=dict(video=34, subtitle=18), query_channels=16, embed_dims=32)\n'
    )
    options = ['--config', config, '--batch-size', 4, '--mean-clips', 8, '--trials', 1, *amp]
    printed = run_tool(tmp_path, 'analysis_tools/profile_speed', 'training', *options)
    assert 'times as fast as the padded step' in printed
    assert 'times the products alone' in printed
    assert 'GB/s' in printed


@pytest.fixture
def two_stages(tmp_path, repository):
    """A config of a small second stage."""
    config = tmp_path / 'conquer.py'
    config.write_text(
        f"_base_ = '{repository / 'configs' / 'conquer_planted.py'}'\n"
        'model = dict(second_stage=dict(embed_dims=16, num_heads=2))\n'
    )
    return config


def test_each_way_of_reranking_gives_the_same_scores_to_every_query(two_stages):
    sizes = reranking.Sizes(queries=3, videos=12, reranked=5, mean_clips=8)
    ours, *others = (x.make(**x.settings) for x in reranking.subjects(two_stages, sizes))
    seen = []
    for _ in range(3):
        expected = ours()
        assert expected['start_logits'].shape[:2] == (1, 5)
        for other in others:
            assert reranking.largest_difference(other(), expected) < 1e-5
        seen.append(expected['start_logits'])
    assert not any(torch.equal(seen[0], x) for x in seen[1:])
    assert torch.equal(ours()['start_logits'], seen[0])


def test_scores_that_differ_or_are_of_other_clips_are_told():
    least = torch.finfo(torch.float32).min
    expected = dict(start_logits=torch.tensor([[[1.0, -4.0, least]]]))
    found = dict(start_logits=torch.tensor([[[1.5, -4.0, least]]]))
    assert reranking.largest_difference(found, expected) == 0.5 / 4
    found = dict(start_logits=torch.tensor([[[1.0, least, least]]]))
    with pytest.raises(ValueError, match='other clips are valid'):
        reranking.largest_difference(found, expected)


@pytest.mark.slow
def test_a_second_stage_is_measured_without_each_of_its_steps(tmp_path, two_stages):
    out = tmp_path / 'second_stage.json'
    options = ['--config', two_stages, '--videos', 12, '--reranked', 4, '--mean-clips', 8]
    printed = run_tool(
        tmp_path, 'analysis_tools/profile_speed', 'second_stage', *options, '--out', out
    )
    assert 'one by one: ' in printed
    record = json.loads(out.read_text())
    assert set(record['times_ours']) == {'padded', 'one by one', 'video part for each query'}
    assert record['score_difference'] < 1e-5


def test_the_products_of_a_step_are_those_counted_by_hand(tmp_path, repository):
    config = tmp_path / 'small.py'
    config.write_text(
        f"_base_ = '{repository / 'configs' / 'relocl_tvr.py'}'\n"
        'model = dict(\n'
        '    streams=dict(_delete_=True, video=10), query_channels=6, embed_dims=8,\n'
        '    data_preprocessor=dict(slack=0))\n'
    )
    batch = random_batch(Config.fromfile(config).model, 3, 5)['inputs']
    clips, tokens = ([len(x) for x in batch[name]] for name in ('video', 'query'))
    # A projection and three blocks of four maps; of queries a projection, two blocks and the
    # scores of pooling; three products of all queries with all clips, and the map of queries.
    maps = sum(clips) * 8 * (10 + 12 * 8) + sum(tokens) * 8 * (6 + 8 * 8 + 1)
    maps += 3 * sum(clips) * 3 * 8 + 3 * 8 * 8
    # Starts and ends are convolved by a matrix, whose gradient is needed as well.
    maps += 3 * max(clips) * 2 * max(clips)
    # Two operations each, and twice again backward.
    products = products_of_step(config, 3, 5)
    assert products.gflop == pytest.approx(6 * maps / 1e9)
    work = products_alone(config, 3, 5)
    with Products() as alone:
        work()
    assert alone.found == products.found
