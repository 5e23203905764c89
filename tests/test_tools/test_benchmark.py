"""The benchmark from the command line: its messages, and a whole one on a generated corpus."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from small_benchmark import write_entry
from tiny_corpus import REPOSITORY, tiny_config
from tool_processes import run_here, run_tool, tool_process

from reloclnet_mm.benchmarking import rows
from reloclnet_mm.benchmarking.worker import evaluate

CORPUS = [
    *('--num-train-videos', 24, '--num-val-videos', 16, '--num-test-videos', 2),
    *('--queries-per-video', 4, '--mean-clips', 12),
]
SMALL = """
_base_ = {base!r}
model = dict(embed_dims=32, num_heads=4)
train_dataloader = dict(batch_size=16, num_workers=0, persistent_workers=False)
loading = dict(num_workers=0, persistent_workers=False)
val_dataloader = loading
test_dataloader = loading
val_corpus_dataloader = loading
test_corpus_dataloader = loading
train_cfg = dict(max_epochs=1)
"""
XML = """
_base_ = ['relocl.py']
model = dict(
    _delete_=True,
    type='XML',
    data_preprocessor=dict(type='MomentDataPreprocessor'),
    streams=_base_.model.streams,
    query_channels=_base_.model.query_channels,
    embed_dims=32,
    num_heads=4,
    query_encoder=dict(type='QueryEncoder', num_blocks=1, max_tokens=30),
    context_encoder=dict(type='ContextEncoder', num_blocks=2, max_clips=128),
    span_head=dict(type='MergedSpanHead', kernel_size=5),
    loss_ranking=dict(type='RankingLoss', kind='hinge', margin=0.1),
    loss_span=dict(type='SpanLoss', loss_weight=0.01),
    test_cfg=dict(alpha=20.0),
)
custom_hooks = []
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with a generated corpus, three trained models, and the lists of one."""
    folder = tmp_path_factory.mktemp('workspace')
    run_here(folder, 'make_planted_corpus', 'data/planted', *CORPUS)
    base = str(REPOSITORY / 'configs/relocl_planted.py')
    (folder / 'relocl.py').write_text(SMALL.format(base=base))
    (folder / 'xml.py').write_text(XML)
    for seed in (0, 1):
        options = ['--cfg-options', f'randomness.seed={seed}']
        run_tool(folder, 'train', 'relocl.py', '--work-dir', f'run_{seed}', *options)
    run_tool(folder, 'train', 'xml.py', '--work-dir', 'xml')
    run_tool(folder, 'test', 'xml.py', 'xml/epoch_1.pth', '--submission', 'lists.json')
    return folder


@pytest.fixture(scope='module')
def made(folder):
    """What the benchmark of all printed, and its report."""
    rows = ['relocl.py:run_*/epoch_1.pth', 'xml.py:xml/epoch_1.pth', 'untrained=xml.py']
    printed = run_tool(folder, 'benchmark', *rows, 'as file=lists.json', '--out', 'out')
    return printed, json.loads((folder / 'out/report.json').read_text())


@pytest.mark.slow
def test_three_models_are_trained_and_compared_from_the_command_line(folder, made):
    printed, report = made
    assert [row['name'] for row in report['rows']] == ['relocl', 'xml', 'untrained', 'as file']
    assert '256 of 256 queries' in printed
    assert printed.splitlines()[-1] == 'out/report.html'
    relocl, xml, untrained, as_file = report['rows']
    assert len(relocl['entries']) == 2
    for recall in relocl['recalls'].values():
        assert recall['value'] == pytest.approx(np.mean(recall['seeds']))
        assert recall['low'] <= recall['value'] + 0.01
        assert recall['value'] <= recall['high'] + 0.01
    assert xml['costs']['parameters'] == untrained['costs']['parameters'] > 0
    assert 'No checkpoint was given' in untrained['notes'][0]
    assert (as_file['recalls'], as_file['costs']) == (xml['recalls'], {})
    same = {
        x['measure']: x['p']
        for x in report['significance']
        if {x['a'], x['b']} == {'xml', 'as file'}
    }
    assert set(same.values()) == {1.0}
    assert report['made']['command'].endswith("'as file=lists.json' --out out")
    page = (folder / 'out/report.html').read_text()
    assert all(row['name'] in page for row in report['rows'])
    assert page.count('<svg') > 10
    assert f'{xml["recalls"]["VR/R1"]["value"]:.2f}' in page


@pytest.mark.slow
def test_a_second_run_evaluates_only_what_is_new(folder, made):
    rows = ['xml.py:xml/epoch_1.pth', 'relocl.py:run_0/epoch_1.pth', 'relocl again=relocl.py']
    printed = run_tool(folder, 'benchmark', *rows, '--out', 'out', '--differ', 'xml', 'relocl')
    assert '2 of 3 evaluations are finished already' in printed
    assert '64 of 64 queries' in printed
    report = json.loads((folder / 'out/report.json').read_text())
    assert report['differences']['names'] == ['xml', 'relocl']
    assert report['rows'][0]['recalls'] == made[1]['rows'][1]['recalls']


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished(folder, made):
    rows = ['xml.py:xml/epoch_1.pth', 'relocl.py:run_1/epoch_1.pth']
    process = tool_process(folder, 'benchmark', *rows, '--out', 'stopped')
    finished = folder / 'stopped/rows'
    deadline = time.monotonic() + 300
    while not list(finished.glob('xml-*/row.json')) and time.monotonic() < deadline:
        time.sleep(0.1)
    # To the whole group, as a terminal sends it.
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate()[0]
    assert process.returncode == 130
    assert 'the same command goes on' in printed
    assert 'Traceback' not in printed
    printed = run_tool(folder, 'benchmark', *rows, '--out', 'stopped')
    assert '1 of 2 evaluations are finished already' in printed


def fails(folder, *args):
    return run_here(folder, 'benchmark', *args, '--out', 'out', status=1)


@pytest.fixture
def models(corpus_folder, tmp_path):
    """Two entries, and the folder of commands."""
    write_entry(corpus_folder, tmp_path / 'a')
    write_entry(corpus_folder, tmp_path / 'b', model=dict(embed_dims=32))
    return tmp_path


def test_a_row_that_is_absent_is_an_error(models):
    assert 'c.py: no such file' in fails(models, 'c.py')


def test_without_a_config_of_ours_there_are_no_queries(models):
    (models / 'lists.json').write_text('{}')
    assert 'no row is a config with test_dataloader' in fails(models, 'lists.json')


def test_models_of_different_data_are_an_error_before_any_is_evaluated(models, corpus_folder):
    cfg = tiny_config(corpus_folder, models)
    cfg.merge_from_dict(dict(test_dataloader=dict(dataset=dict(indices=5))))
    cfg.dump(models / 'fewer.py')
    printed = fails(models, 'a/model.py:a/weights.pth', 'fewer.py')
    assert 'test on different queries: 5 and 8' in printed
    assert not (models / 'out').exists()


def test_predictions_of_another_split_are_an_error_before_any_model_is_evaluated(models):
    answer = dict(desc_id=999, desc='', predictions=[])
    (models / 'lists.json').write_text(json.dumps(dict(video2idx={}, VR=[answer])))
    printed = fails(models, 'a/model.py:a/weights.pth', 'lists.json')
    assert "query '999' is not among them" in printed
    assert not Path(models / 'out').exists()


def test_rows_to_show_that_do_not_exist_are_an_error(models):
    printed = fails(models, 'a/model.py', '--differ', 'a', 'model')
    assert '--differ a model: expected two of the rows model' in printed


def test_limits_protocols_and_the_command_reach_the_report(models, monkeypatch):
    # In this process, which spares seconds.
    monkeypatch.setattr(rows, '_run', evaluate)
    cfg = Config.fromfile(models / 'b/model.py')
    cfg.model.test_cfg.num_moments = 5
    for evaluator in cfg.test_evaluator:
        evaluator.top_k = [1, 5]
    cfg.dump(models / 'fewer.py')
    names = ['a/model.py:a/weights.pth', 'fewer.py:b/weights.pth']
    run_here(models, 'benchmark', *names, '--out', 'out')
    report = json.loads((models / 'out/report.json').read_text())
    served = [[x for x in row['recalls'] if x.startswith('VCMR')] for row in report['rows']]
    assert served == [
        [f'VCMR/R{k}@{iou}' for iou in (0.5, 0.7) for k in ks] for ks in ((1, 5, 10), (1, 5))
    ]
    assert 'SVMR 5, VCMR 5. Recalls beyond are unknown.' in report['rows'][1]['notes'][-1]
    (note,) = report['data']['notes']
    assert note.endswith('not by K 1, 5, IoU 0.5, 0.7 and 1 annotator(s) of fewer.py.')
    assert report['made']['command'].endswith(f'{" ".join(names)} --out out')


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_its_config_is_an_error(models):
    args = ['a/model.py:b/weights.pth', '--out', 'out']
    printed = run_tool(models, 'benchmark', *args, status=1)
    assert 'b/weights.pth: found the weights' in printed
    assert 'Traceback' not in printed
