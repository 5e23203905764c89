import pytest
from small_benchmark import write_entry
from tiny_corpus import write_corpus

from reloclnet_mm.benchmarking.lists import read_lists
from reloclnet_mm.benchmarking.reference import read_reference
from reloclnet_mm.benchmarking.worker import LISTS, Job, config_of, evaluate


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """A corpus that tests leave as it is."""
    return write_corpus(tmp_path_factory.mktemp('data') / 'corpus')


@pytest.fixture(scope='session')
def entry(data, tmp_path_factory):
    return write_entry(data, tmp_path_factory.mktemp('entry') / 'first')


@pytest.fixture(scope='session')
def reference(entry):
    return read_reference(config_of(entry))


@pytest.fixture(scope='session')
def evaluated(entry, tmp_path_factory):
    """What is found of the entry: the record and the lists."""
    folder, counts = tmp_path_factory.mktemp('row'), []
    record = evaluate(Job(entry, folder, hours=0.01, threads=None), counts.append)
    assert sum(counts) == 8
    return record, read_lists(folder / LISTS)
