"""Comparing runs: which belong together, which epoch counts, and the numbers of the table."""

import json

import matplotlib.image
import pytest
from tool_processes import load_tool

CONFIG = """
model = dict(type='Model', width=4)
randomness = dict(seed={seed})
train_cfg = dict(max_epochs=3)
work_dir = 'runs/{seed}'
"""


@pytest.fixture(scope='module')
def tool():
    return load_tool('analysis_tools/compare_runs')


def write_run(work_dir, vr, vcmr, config=None, timestamp='20260101_100000'):
    """A run with one value an epoch."""
    folder = work_dir / timestamp / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'config.py').write_text(config or CONFIG.format(seed=work_dir.name[-1]))
    lines = [
        {'VR/R1': a, 'VCMR/R1@0.5+0.7': b, 'time': 1.0, 'step': epoch}
        for epoch, (a, b) in enumerate(zip(vr, vcmr, strict=True), 1)
    ]
    (folder / 'scalars.json').write_text(''.join(json.dumps(x) + '\n' for x in lines))
    return work_dir


@pytest.fixture
def runs(tmp_path):
    """Two seeds of a config, and a run of another."""
    return [
        write_run(tmp_path / 'seed0', [10.0, 30.0, 40.0], [1.0, 5.0, 4.0]),
        write_run(tmp_path / 'wide', [7.0], [8.0], CONFIG.replace('width=4', 'width=8')),
        write_run(tmp_path / 'seed1', [20.0, 34.0, 50.0], [2.0, 3.0, 3.0]),
    ]


def printed(tool, capsys, *args):
    tool.main([*map(str, args), '--keys', 'VR/R1'])
    return [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[3:]]


def test_seeds_of_a_config_are_a_row_of_their_mean_and_deviation(tool, runs, capsys):
    # Best by VCMR, where two epochs are equal the first: 30 and 34, √(2² + 2²) = 2.83.
    assert printed(tool, capsys, *runs) == [
        ['seed{0,1}', '2,2', '32.00 ± 2.83'],
        ['wide', '1', '7.00'],
    ]


def test_the_last_epoch_counts_where_it_is_asked_for(tool, runs, capsys):
    # 40 and 50, √(5² + 5²) = 7.07
    assert printed(tool, capsys, *runs, '--epoch', 'last')[0][1:] == ['3,3', '45.00 ± 7.07']


def test_another_recall_can_make_an_epoch_the_best(tool, runs, capsys):
    assert printed(tool, capsys, *runs, '--by', 'VR/R1')[0][1:] == ['3,3', '45.00 ± 7.07']


def test_each_run_is_a_row_where_it_is_asked_for_and_needs_no_config(tool, runs, capsys):
    for path in runs[0].rglob('config.py'):
        path.unlink()
    rows = printed(tool, capsys, *runs, '--each')
    assert rows == [['seed0', '2', '30.00'], ['wide', '1', '7.00'], ['seed1', '2', '34.00']]


def test_the_config_is_that_of_the_training_resumed_last_and_not_of_a_test(tool, runs, capsys):
    write_run(runs[0], [], [], timestamp='20260102_100000')
    other = CONFIG.replace('width=4', 'width=8').format(seed=0)
    folder = runs[0] / '20260103_100000/vis_data'
    folder.mkdir(parents=True)
    (folder / 'config.py').write_text(other)
    assert printed(tool, capsys, *runs)[0][0] == 'seed{0,1}'
    write_run(runs[0], [], [], other, timestamp='20260104_100000')
    assert printed(tool, capsys, *runs)[0][0] == '{seed0,wide}'


def test_a_config_is_read_and_not_run(tool, runs, tmp_path):
    sentinel = tmp_path / 'sentinel'
    code = f'open({str(sentinel)!r}, "w")\n'
    write_run(tmp_path / 'evil', [1.0], [1.0], code)
    with pytest.raises(SystemExit, match=r'config\.py:1: found .open\(.*expected only settings'):
        tool.main([str(tmp_path / 'evil'), '--keys', 'VR/R1'])
    write_run(tmp_path / 'sly', [1.0], [1.0], f'x = {code}')
    tool.main([str(tmp_path / 'sly'), '--keys', 'VR/R1'])
    assert not sentinel.exists()


@pytest.mark.parametrize('text', ['x = (', 'x\0', 'x = ' + '(' * 999 + ')' * 999])
def test_a_config_that_cannot_be_read_is_named(tool, tmp_path, text):
    write_run(tmp_path / 'run', [1.0], [1.0], text)
    with pytest.raises(SystemExit, match=r'error: .*config\.py: .*; mend it, or compare'):
        tool.main([str(tmp_path / 'run'), '--keys', 'VR/R1'])


def test_names_of_a_group_keep_their_numbers_whole(tool):
    assert tool.group_label(['run1', 'run10', 'run12']) == 'run{1,10,12}'
    assert tool.group_label(['a/run', 'b/run']) == '{a/run,b/run}'
    assert tool.group_label(['run1']) == 'run1'


def test_every_run_is_a_dot_and_every_group_has_its_mean_and_deviation(tool, runs):
    results = [
        tool.Result(name, 1, {'VR/R1': x}) for name, x in (('a0', 1.0), ('b', 9.0), ('a1', 3.0))
    ]
    figure = tool.draw(tool.rows_of(results, ['a', 'b', 'a']), ['VR/R1'])
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.get_yticklabels()] == ['a{0,1}', 'b']
    dots = [x.get_xydata().tolist() for x in panel.get_lines() if x.get_marker() == 'o']
    assert dots == [[[1, 0], [3, 0]], [[9, 1]]]
    (bar,) = panel.containers
    assert bar.lines[0].get_xydata().tolist() == [[2, 0]]
    ends = bar.lines[2][0].get_segments()[0][:, 0]
    assert ends.tolist() == pytest.approx([2 - 2**0.5, 2 + 2**0.5])


def test_an_image_is_written_if_asked(tool, runs, tmp_path, capsys):
    out = tmp_path / 'images/compared.png'
    tool.main([*map(str, runs), '--keys', 'VR/R1', 'VCMR/R1@0.5+0.7', '--out', str(out)])
    assert min(matplotlib.image.imread(out).shape[:2]) > 100
    assert capsys.readouterr().out.endswith(f'wrote {out}\n')


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--keys', 'VR/R7'], r"seed0: 'VR/R7' was never logged; .* VR/R1, VCMR/R1@0.5\+0.7$"),
        (['--keys', 'VR/R1', '--by', 'SVMR/R1'], r"seed0: 'SVMR/R1' was never logged"),
        (['--keys', 'VR/R1', '--out', 'a.txt'], r"a\.txt: the suffix is '\.txt', expected one of"),
    ],
)
def test_what_cannot_be_compared_is_named(tool, runs, args, message):
    with pytest.raises(SystemExit, match=f'error: {message}'):
        tool.main([str(runs[0]), *args])


def test_a_run_without_its_config_is_named(tool, runs):
    for path in runs[0].rglob('config.py'):
        path.unlink()
    with pytest.raises(SystemExit, match=r'error: .*config\.py: no such file; .* --each'):
        tool.main([*map(str, runs), '--keys', 'VR/R1'])


def test_a_training_that_never_came_to_a_validation_is_named(tool, tmp_path):
    folder = tmp_path / 'young/20260101_100000/vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('{"loss": 1.0, "iter": 1, "step": 1}\n')
    with pytest.raises(SystemExit, match='never came to a validation'):
        tool.main([str(tmp_path / 'young')])
