from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption(
        '--goldens',
        type=Path,
        default=REPOSITORY / 'tests' / 'data' / 'goldens',
        help='folder of golden numbers that tests/parity compares with',
    )


@pytest.fixture(scope='session')
def repository():
    return REPOSITORY
