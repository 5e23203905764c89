"""What the command line of the benchmark names."""

from pathlib import Path

import pytest

from reloclnet_mm.benchmarking.entries import Entry, Row, parse_rows
from reloclnet_mm.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        'a.py',
        'b.py',
        'lists.json',
        'x/one.pth',
        'run_0/lr=1.pth',
        'run_1/lr=1.pth',
        'run_1/lr=2.pth',
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()


def test_configs_checkpoints_and_predictions_become_rows():
    assert parse_rows(['a.py:x/one.pth', 'b.py', 'lists.json']) == [
        Row('a', (Entry(Path('a.py'), Path('x/one.pth')),)),
        Row('b', (Entry(Path('b.py')),)),
        Row('lists', (Entry(Path('lists.json')),)),
    ]


def test_files_of_a_pattern_are_the_seeds_of_one_row():
    (row,) = parse_rows(['Our model=a.py:run_*/lr=1.pth'])
    assert row.name == 'Our model'
    assert [str(entry) for entry in row.entries] == ['a.py:run_0/lr=1.pth', 'a.py:run_1/lr=1.pth']


def test_settings_of_a_row_are_those_of_all_its_entries():
    (row,) = parse_rows(
        ['top 5=a.py:run_0/*.pth --cfg-options model.num_videos=5 model.x="[1, 2]"']
    )
    expected = ('model.num_videos=5', 'model.x=[1, 2]')
    assert row == Row('top 5', (Entry(Path('a.py'), Path('run_0/lr=1.pth'), expected),))
    text = "a.py:run_0/lr=1.pth --cfg-options model.num_videos=5 'model.x=[1, 2]'"
    assert str(row.entries[0]) == text
    assert parse_rows([text])[0].entries == row.entries
    assert parse_rows(['a.py --cfg-options model.x=1'])[0].name == 'a'


def test_an_equal_sign_in_the_path_of_a_checkpoint_names_nothing():
    assert parse_rows(['a.py:run_0/lr=1.pth'])[0].name == 'a'


def test_rows_of_one_config_are_named_by_their_weights():
    rows = parse_rows(['a.py:run_0/lr=1.pth', 'a.py:run_1/lr=1.pth', 'first=a.py:x/one.pth'])
    assert [row.name for row in rows] == ['a (run_0/lr=1.pth)', 'a (run_1/lr=1.pth)', 'first']


@pytest.mark.parametrize(
    ('specs', 'message'),
    [
        (['c.py'], 'c.py: no such file'),
        (['a.py:x/two*.pth'], r'x/two\*\.pth: no such file, and as a pattern it matches none'),
        (['a.py --cfg-options x'], "found 'x' after --cfg-options, expected key=value"),
        (['lists.json --cfg-options x=1'], 'lists.json: has --cfg-options and is no config'),
        (['a.py:'], 'a.py:: expected CONFIG.py:CHECKPOINT'),
        (['x/one.pth'], 'expected CONFIG.py:CHECKPOINT, CONFIG.py for a model without weights'),
        (['a.py', 'a.py:x/one.pth', 'm=a.py', 'm=b.py'], "'m' is the name of two rows"),
        (['a.py', 'a.py'], "'a .*' is the name of two rows"),
        (['m=a.py', 'm=b.py', 'n=lists.json'], 'name them apart: NAME=a.py NAME2=b.py'),
        (
            ['a.py:run_*/*.pth'],
            r'run_\*/\*\.pth: matches run_1/lr=1.pth and run_1/lr=2.pth, two .* of one folder',
        ),
    ],
)
def test_what_cannot_be_found_or_told_apart_is_an_error(specs, message):
    with pytest.raises(InputError, match=message):
        parse_rows(specs)
