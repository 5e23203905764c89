"""Training curves: what is read from work dirs, and that an image comes of it."""

import json
from pathlib import Path

import matplotlib.image
import pytest
from tool_processes import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('analysis_tools/plot_curves')


def train_line(step, loss, **more):
    return {'loss': loss, 'time': 0.5, 'lr': 0.1, 'epoch': 1, 'iter': step, 'step': step, **more}


def val_line(epoch, recall):
    return {'VR/R1': recall, 'VCMR/R1@0.5': recall / 2, 'time': 0.5, 'step': epoch}


def log(work_dir, timestamp, *lines):
    path = work_dir / timestamp / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return path


@pytest.fixture
def resumed(tmp_path):
    """Killed after iteration 40, resumed from the checkpoint of epoch 1 at iteration 20."""
    work_dir = tmp_path / 'resumed'
    first = [train_line(10, 5.0), train_line(20, 4.0), val_line(1, 10.0)]
    log(work_dir, '20260101_100000', *first, train_line(30, 3.0), train_line(40, 2.0))
    log(work_dir, '20260101_120000', train_line(30, 3.5), val_line(2, 30.0))
    return work_dir


def test_a_resumed_training_replaces_what_it_repeats(tool, resumed):
    assert tool.read_scalars(resumed) == {
        'train': {'loss': {10: 5.0, 20: 4.0, 30: 3.5}, 'lr': {10: 0.1, 20: 0.1, 30: 0.1}},
        'val': {'VR/R1': {1: 10.0, 2: 30.0}, 'VCMR/R1@0.5': {1: 5.0, 2: 15.0}},
    }


def test_losses_and_recalls_are_drawn_at_their_steps_for_every_run(tool, resumed, tmp_path):
    log(tmp_path / 'other', '20260101_100000', train_line(15, 1.0), val_line(1, 50.0))
    runs = [tool.read_scalars(path) for path in (resumed, tmp_path / 'other')]
    keys = tool.choose_keys(runs, None)
    assert keys == {'train': ['loss'], 'val': ['VR/R1', 'VCMR/R1@0.5']}

    figure = tool.draw(runs, ['resumed', 'other'], keys)
    drawn = {
        panel.get_title(): [line.get_xydata().tolist() for line in panel.get_lines()]
        for panel in figure.axes
    }
    assert drawn == {
        'loss': [[[10, 5], [20, 4], [30, 3.5]], [[15, 1]]],
        'VR/R1 (%)': [[[1, 10], [2, 30]], [[1, 50]]],
        'VCMR/R1@0.5 (%)': [[[1, 5], [2, 15]], [[1, 25]]],
    }
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['resumed', 'other']


def test_an_image_is_written_and_nothing_beside_it(tool, resumed, tmp_path, capsys):
    out = tmp_path / 'images/curves.png'
    tool.main([str(resumed), '--out', str(out), '--keys', 'lr', 'VR/R1'])
    height, width, _ = matplotlib.image.imread(out).shape
    assert min(height, width) > 200
    assert list(out.parent.iterdir()) == [out]
    assert capsys.readouterr().out == f'wrote {out}\n'


def test_runs_of_the_same_folder_name_are_told_apart_by_their_paths(tool):
    paths = [Path('a/run'), Path('b/run')]
    assert tool.labels_of(paths) == ['a/run', 'b/run']
    assert tool.labels_of([Path('a/one'), Path('b/two')]) == ['one', 'two']


def test_a_last_line_cut_short_by_a_kill_is_reported_and_left_out(tool, tmp_path, capsys):
    path = log(tmp_path, '20260101_100000', train_line(10, 5.0))
    path.write_text(path.read_text() + '{"loss": 4.0, "st')
    assert tool.read_scalars(tmp_path)['train']['loss'] == {10: 5.0}
    assert f'{path}:2: the last line is cut short' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"loss": 4.0, "st\n', r'scalars\.json:1: not JSON .*; mend'),
        ('[1]\n', r"scalars\.json:1: found '\[1\]', expected an object with a whole number 'step'"),
        ('[' * 9999 + '\n', r'scalars\.json:1: not JSON .*; mend'),
        ('', 'nothing logged in .*scalars.json; expected the work dir of a training'),
    ],
)
def test_a_log_that_cannot_be_read_is_named(tool, tmp_path, text, message):
    log(tmp_path, '20260101_100000').write_text(text)
    with pytest.raises(SystemExit, match=f'error: {tmp_path}.*{message}'):
        tool.main([str(tmp_path), '--out', str(tmp_path / 'c.png')])


def test_an_absent_folder_is_named(tool, tmp_path):
    with pytest.raises(SystemExit, match=r'error: .*absent: no such folder; expected the work dir'):
        tool.main([str(tmp_path / 'absent')])


def test_a_folder_without_logs_is_named(tool, tmp_path):
    with pytest.raises(SystemExit, match=r'error: .*nothing logged'):
        tool.main([str(tmp_path)])


def test_an_unknown_key_is_answered_with_those_there_are(tool, resumed):
    with pytest.raises(SystemExit, match=r"error: 'VR/R7' was never logged; .* loss, lr, VR/R1,"):
        tool.main([str(resumed), '--keys', 'VR/R7'])


def test_a_suffix_that_is_no_image_is_refused(tool, resumed, tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*the suffix is '\.txt', expected one of .*png"):
        tool.main([str(resumed), '--out', str(tmp_path / 'curves.txt')])
