"""The example of docs/add_a_dataset.md: its reader reads its table."""

import re
import sys
import types

import pytest

from reloclnet_mm.datasets import CorpusDataset, QueryDataset
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import TASK_UTILS


@pytest.fixture
def blocks(repository):
    """The code blocks of the page as (language, text)."""
    page = (repository / 'docs' / 'add_a_dataset.md').read_text()
    return re.findall(r'^```(\w+)\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def table(blocks, tmp_path, monkeypatch):
    """The path of the table, with the reader registered."""
    module = types.ModuleType('table_reader')
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(next(text for language, text in blocks if language == 'python'), module.__dict__)
    path = tmp_path / 'train.csv'
    path.write_text(next(text for language, text in blocks if language == 'csv'))
    yield path
    TASK_UTILS.module_dict.pop('TableReader')


def settings(path):
    reader = dict(type='reloclnet_mm.TableReader', ann_file=path.name)
    return dict(reader=reader, data_root=str(path.parent), feature_files={})


def test_the_table_becomes_queries_and_a_corpus(table, warnings_logged):
    queries, corpus = QueryDataset(**settings(table)), CorpusDataset(**settings(table))
    queries.check_corpus(corpus)
    assert [(x['video_name'], x['video_id'], x['duration']) for x in corpus] == [
        ('kitchen', 0, 30.0),
        ('garden', 1, 12.0),
    ]
    assert [(x['query_id'], x['query'], x['video_name']) for x in queries] == [
        (0, 'a woman cuts an onion', 'kitchen'),
        (1, 'she washes the knife', 'kitchen'),
        (2, 'a dog digs a hole', 'garden'),
    ]
    assert [x['gt']['moments'].tolist() for x in queries] == [
        [[2.5, 8.0]],
        [[20.0, 30.0]],
        [[0.0, 6.0]],
    ]
    assert warnings_logged == [f'{table}: a moment past the end of its video was cut: 1']


@pytest.mark.parametrize(
    ('there', 'wrong', 'message'),
    [
        ('0.0,6.0', '13.0,14.0', r'train\.csv:4: the moment \[13\.0, 14\.0\] lies outside'),
        ('0.0,6.0', '0.0,six', r'train\.csv:4: Expected `float`, got `str`'),
        ('a dog digs a hole', '', r'train\.csv:4: query 2 has no words'),
        (',a dog digs a hole', '', r'train\.csv:4: Expected `str`, got `null`'),
        ('sentence', 'text', r'train\.csv:2: .* missing required field `sentence`'),
    ],
)
def test_a_row_that_cannot_be_used_is_named(table, there, wrong, message):
    table.write_text(table.read_text().replace(there, wrong))
    with pytest.raises(InputError, match=message):
        QueryDataset(**settings(table))


def test_the_config_on_the_page_names_the_reader(blocks, table):
    config = {}
    exec([text for language, text in blocks if language == 'python'][1], config)
    reader = TASK_UTILS.build(dict(config['reader'], data_root=str(table.parent)))
    assert list(reader.videos()) == ['kitchen', 'garden']
    assert config['custom_imports'] == dict(imports=['table_reader'])
