"""An entry evaluated as the benchmark does it: recalls of tools/test.py, and its costs."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import pytest
import torch
from mmengine.config import Config
from second_stages import Stages, build_two_stage
from small_benchmark import write_checkpoint, write_config, write_entry
from tiny_corpus import CHANNELS, FILES
from tool_processes import run_here

from reloclnet_mm.apis import index_corpus, init_model, search
from reloclnet_mm.benchmarking.answers import answers_of
from reloclnet_mm.benchmarking.costs import (
    counting_flops,
    held_bytes,
    one_by_one,
    peak_gpu_memory,
    query_costs,
    spread,
)
from reloclnet_mm.benchmarking.entries import Entry
from reloclnet_mm.benchmarking.scores import measures_of, recalls, score
from reloclnet_mm.benchmarking.worker import Job, config_of, evaluate
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import build_runner


def test_recalls_are_those_that_the_test_tool_reports(entry, evaluated, reference, tmp_path):
    run_here(tmp_path, 'test', entry.path, entry.checkpoint, '--work-dir', tmp_path / 'tested')
    (logged,) = (tmp_path / 'tested').glob('*/*.json')
    tested = json.loads(logged.read_text())
    scores = score(
        answers_of(evaluated[1], evaluated[0]['limits'], reference, reference, 'row'), reference
    )
    found = recalls([scores], measures_of(reference.protocol), reference.clusters)
    # Its test_cfg asks for 3 videos and 10 moments: the tool's R@100 is its R@10.
    assert evaluated[0]['limits'] == dict(VR=3, SVMR=10, VCMR=10)
    assert len(found) == 1 + 3 * 4
    assert 'VCMR/R100@0.5' in tested
    assert {name: round(x['value'], 2) for name, x in found.items()} == {
        name: tested[name] for name in found
    }
    assert evaluated[0]['metrics'] == pytest.approx(
        {name: x for name, x in tested.items() if name in evaluated[0]['metrics']}
    )


def test_costs_are_those_of_the_model_and_its_index(entry, evaluated):
    costs = evaluated[0]['costs']
    model = init_model(entry.path, str(entry.checkpoint))
    assert costs['parameters'] == sum(x.numel() for x in model.parameters())
    assert costs['latency_p99_ms'] >= costs['latency_p50_ms'] > 0
    index = index_corpus(model)
    hours, streams, widths = 0.01, 2, 16 * 4
    # Each row of each stream in float32; masks, lengths and norms beside them are small.
    rows = index.corpus.layout.num_rows * streams * widths / hours
    assert rows < costs['index_bytes_per_hour'] < 2.5 * rows


@pytest.mark.parametrize(('threads', 'told'), [(1, True), (2, False)])
def test_the_share_of_a_core_is_told_of_one_thread_alone(entry, monkeypatch, threads, told):
    model = init_model(entry.path, str(entry.checkpoint))
    runner = build_runner(Config.fromfile(entry.path))
    queries = one_by_one(runner.test_loop.dataloader, 2)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    assert ('cpu_share' in query_costs(model, queries, index_corpus(model))) == told


def test_the_memory_of_a_gpu_is_that_of_torch_and_absent_without_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert peak_gpu_memory() == {}
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 5_000_000)
    assert peak_gpu_memory() == dict(peak_gpu_memory_mb=5)


def test_a_checkpoint_of_another_config_is_an_error(data, tmp_path):
    config = write_config(data, tmp_path / 'model.py')
    wider = write_config(data, tmp_path / 'wider.py', model=dict(embed_dims=32))
    checkpoint = write_checkpoint(wider, tmp_path / 'wider.pth')
    with pytest.raises(InputError, match=r'wider\.pth: found the weights .* of shape'):
        evaluate(Job(Entry(config, checkpoint), tmp_path, 1, None), lambda count: None)
    assert not (tmp_path / 'lists.npz').exists()


def test_flops_of_products_are_two_for_each_pair_of_numbers():
    x, weight = torch.randn(3, 32), torch.randn(5, 32)
    with counting_flops() as counter:
        x @ weight.T
    assert counter.get_total_flops() == 2 * 3 * 5 * 32
    values, scales = weight.to(torch.int8), torch.ones(5, dtype=torch.bfloat16)
    with counting_flops() as counter:
        torch._weight_int8pack_mm(x.bfloat16(), values, scales)
    assert counter.get_total_flops() == 2 * 3 * 5 * 32


@pytest.mark.parametrize('mask', [None, torch.zeros(2, 1, 5, 7)])
def test_flops_of_attention_are_those_of_its_two_products(mask):
    q, k, v = (torch.randn(2, 3, rows, 8) for rows in (5, 7, 7))
    with counting_flops() as counter:
        torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert counter.get_total_flops() == 2 * (2 * 2 * 3 * 5 * 7 * 8)


def test_the_passes_of_a_query_are_the_videos_that_a_second_stage_scores():
    stages = Stages('relocl_tvr.py')
    asked = [stages.queries([i], known=False) for i in range(3)]
    costs = {}
    for count in (1, 3):
        model = build_two_stage(num_videos=count)
        index = model.index_corpus(model.encode_corpus(stages.corpus()))
        costs[count] = query_costs(model, asked, index)
        assert costs[count]['passes_per_query'] == count
        assert 'score_pairs' not in vars(model.second_stage)
    alone = model.first_stage
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alone, 'data_preprocessor', model.data_preprocessor)
        assert query_costs(alone, asked, index.first)['passes_per_query'] == 0
    # Each video that is re-ranked costs work; how much follows from its length.
    assert costs[3]['flops_per_query'] > costs[1]['flops_per_query'] > 0


def test_settings_of_an_entry_override_its_config(entry):
    changed = replace(entry, options=('model.test_cfg.num_videos=2', 'model.test_cfg.alpha=7.5'))
    model, other = (config_of(x).model for x in (entry, changed))
    assert other.test_cfg == dict(model.test_cfg, num_videos=2, alpha=7.5)
    wrong = replace(entry, options=('model.embed_dim=2',))
    with pytest.raises(InputError, match='embed_dim'):
        config_of(wrong)


def test_memory_that_is_shared_is_counted_once():
    x, numbers = torch.zeros(10, 4), np.zeros(6)
    held = dict(a=[x, x[:2]], b=(x.view(-1), numbers[1:]), c=torch.nn.Linear(100, 100), d='text')
    assert held_bytes(held, without=torch.nn.Module) == 10 * 4 * 4 + 6 * 8


def test_samples_are_spread_evenly():
    assert spread(5, 10) == [0, 1, 2, 3, 4]
    assert spread(101, 3) == [0, 50, 100]


@pytest.fixture(scope='module')
def large(tmp_path_factory):
    """An entry whose model is large enough for its work to outweigh that of the calls around."""
    folder = tmp_path_factory.mktemp('large')
    from tiny_corpus import write_corpus

    data = write_corpus(folder / 'corpus')
    return write_entry(data, folder / 'entry', model=dict(embed_dims=512, num_heads=4))


@pytest.mark.slow
def test_the_latency_is_that_of_a_plain_loop_over_the_search(large, tmp_path):
    cfg = Config.fromfile(large.path)
    cfg.load_from, cfg.work_dir = str(large.checkpoint), str(tmp_path)
    runner = build_runner(cfg)
    runner.load_or_resume()
    queries = one_by_one(runner.test_loop.dataloader, 200)
    model = runner.model.eval()
    index = model.index_corpus(model.encode_corpus(runner.test_loop.corpus_dataloader))
    with h5py.File(cfg.test_dataloader.dataset.data_root + '/' + FILES['query']) as file:
        tokens = [file[key][()] for key in file]
    assert tokens[0].shape[1] == CHANNELS['query']
    by_api = init_model(large.path, str(large.checkpoint))
    corpus = index_corpus(by_api)

    def timed_loop():
        seconds = []
        for i in range(200):
            begin = time.perf_counter()
            search(by_api, corpus, tokens[i % len(tokens)])
            seconds.append(time.perf_counter() - begin)
        return 1e3 * median(seconds)

    # Interleaved, so that other load on the machine slows both.
    pairs = [(query_costs(model, queries, index)['latency_p50_ms'], timed_loop()) for _ in range(3)]
    ratio = median(ours / plain for ours, plain in pairs)
    # The loop also runs the pipeline of the query, and reads the answers.
    assert 0.3 < ratio < 1.2


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc').is_dir(), reason='reads /proc')
def test_the_peak_memory_is_that_seen_from_outside(large, tmp_path):
    import multiprocessing

    from reloclnet_mm.benchmarking.worker import work

    context = multiprocessing.get_context('spawn')
    here, there = context.Pipe()
    job = Job(large, tmp_path, 1, None)
    process = context.Process(target=work, args=(job, there))
    process.start()
    page, most, record = os.sysconf('SC_PAGE_SIZE'), 0, None
    while record is None:
        resident = int(Path(f'/proc/{process.pid}/statm').read_text().split()[1])
        most = max(most, resident * page / 1e6)
        if here.poll(0.005):
            kind, content = here.recv()
            record = content if kind != 'queries' else None
    process.join()
    # What the measurement of costs needs comes after the peak that is reported.
    assert record['costs']['peak_memory_mb'] == pytest.approx(most, rel=0.1)
