"""An index of own videos in a Qdrant collection, by the command line."""

import re

import pytest
from tiny_inferencer import write_talks, write_tiny_model
from tool_processes import run_here

pytest.importorskip('qdrant_client', reason='needs reloclnet_mm[qdrant]')
from reloclnet_mm.retrieval.qdrant_search import open_qdrant

pytestmark = pytest.mark.filterwarnings('ignore:Local mode performs exact')
TO = ('--path', 'qdrant', '--collection', 'talks')


@pytest.fixture
def indexed(tmp_path):
    """A folder with an index of five windows, and the options that name its model."""
    model = write_tiny_model(tmp_path)
    write_talks(tmp_path / 'talks')
    run_here(tmp_path, 'index', 'talks', '--out', 'my.index', *model)
    return tmp_path, model


def export(folder, *args, status=0):
    return run_here(folder, 'export_qdrant', 'my.index', *args, status=status)


def test_windows_are_points_that_say_where_they_are(indexed):
    folder, _ = indexed
    assert 'talks: 5 windows of 3 videos in ' in export(folder, *TO, '--quantize', 'int8')
    client = open_qdrant(folder / 'qdrant')
    said = [point.payload for point in client.scroll('talks')[0]]
    client.close()
    assert {(x['name'], x['start']) for x in said} == {
        *(('short', 0.0), ('whole', 0.0), ('long', 0.0), ('long', 8.0), ('long', 16.0)),
    }
    assert {x['path'] for x in said} == {
        str(folder / f'talks/{name}.srt') for name in ('short', 'whole', 'long')
    }


def test_a_query_finds_the_windows_that_the_index_finds(indexed):
    folder, model = indexed
    query = ('--query', 'the woman paints the fence red', '--top-k', 2, *model)
    printed = export(folder, *TO, *query)
    found = re.findall(r'^(short|whole|long) +(\d:\d\d) +(0\.\d{4})$', printed, re.MULTILINE)
    assert len(found) == 2
    assert float(found[0][2]) >= float(found[1][2])
    again = export(folder, *TO, *query, '--search-only')
    assert 'windows of' not in again
    assert re.findall(r'^(short|whole|long) +(\d:\d\d) +(0\.\d{4})$', again, re.MULTILINE) == found


def test_an_index_that_changed_takes_the_place_of_the_old_one_if_that_is_said(indexed):
    folder, model = indexed
    export(folder, *TO)
    run_here(folder, 'index', '--remove', 'long', '--out', 'my.index', *model)
    printed = export(folder, *TO, status=1)
    assert "Qdrant collection 'talks': holds 5 videos already" in printed
    assert 'talks: 2 windows of 2 videos' in export(folder, *TO, '--update')


@pytest.mark.parametrize(
    ('args', 'status', 'message'),
    [
        ((), 2, 'one of the arguments --path --url is required'),
        ((*TO, '--search-only'), 2, '--search-only: give a --query'),
        ((*TO, '--query', 'a dog', '--top-k', 0), 2, '--top-k 0, expected at least 1'),
        (TO, 1, 'expected the folder of an index; make one with tools/index.py'),
    ],
)
def test_what_cannot_be_done_is_one_message(tmp_path, args, status, message):
    args = args or ('--collection', 'talks')
    printed = export(tmp_path, *args, status=status)
    assert message in printed
    assert 'Traceback' not in printed
