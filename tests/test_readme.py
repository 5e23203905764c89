import re

import pytest


@pytest.fixture
def readme(repository):
    return (repository / 'README.md').read_text()


def test_the_check_of_a_clone_runs_the_command_of_the_readme(readme, repository):
    commands = re.findall(r'^\. tools/setup_env\.sh && ruff.*$', readme, re.MULTILINE)
    assert len(commands) == 1
    assert commands[0] in (repository / '.ci' / 'run').read_text().splitlines()


def test_every_path_in_the_documents_exists(repository):
    for document in (
        'README.md',
        'configs/README.md',
        'docs/architecture.md',
        'docs/benchmark.md',
        'docs/performance.md',
        'docs/ecosystem.md',
    ):
        text = (repository / document).read_text()
        paths = re.findall(
            r'\b(?:configs|tools|docs|reloclnet_mm|requirements|tests)/[\w./]+\w', text
        )
        assert paths
        missing = {path for path in paths if not (repository / path).exists()}
        assert not missing


def test_every_option_in_the_documents_is_known(readme, repository):
    tools = dict(re.findall(r'python (tools/[\w/]+\.py)((?:[^\n]*\\\n)*[^\n]*)', readme))
    assert len(tools) >= 5
    for tool, arguments in tools.items():
        source = (repository / tool).read_text()
        source += (repository / 'reloclnet_mm' / 'utils' / 'cli.py').read_text()
        for option in re.findall(r'(?<=\s)--[\w-]+', arguments):
            assert f"'{option}'" in source, (tool, option)
