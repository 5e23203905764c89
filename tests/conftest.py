import os
from pathlib import Path

import pytest
import torch
from tiny_corpus import write_corpus

REPOSITORY = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption(
        '--goldens',
        type=Path,
        default=REPOSITORY / 'tests' / 'data' / 'goldens',
        help='folder of golden numbers that tests/parity compares with',
    )


def pytest_configure():
    """Divide the cores among the processes of pytest-xdist."""
    workers = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))


@pytest.fixture(scope='session')
def repository():
    return REPOSITORY


@pytest.fixture
def corpus_folder(tmp_path):
    """A corpus of a few videos that a test may damage."""
    return write_corpus(tmp_path / 'corpus')


@pytest.fixture
def warnings_logged(monkeypatch):
    """The messages that mmengine's print_log got at WARNING, in the package's modules."""
    messages = []

    def note(message, logger=None, level=None):
        messages.append(message)

    for module in ('datasets.readers.base', 'datasets.reranking', 'models.corpus_model'):
        monkeypatch.setattr(f'reloclnet_mm.{module}.print_log', note)
    return messages


@pytest.fixture(scope='session', autouse=True)
def configs_are_not_prettified():
    """Spare the seconds that a Runner takes to format its config, four times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, False))
        yield
