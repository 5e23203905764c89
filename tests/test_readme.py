import re

import pytest

from reloclnet_mm.datasets import readers


@pytest.fixture
def readme(repository):
    return (repository / 'README.md').read_text()


def test_the_check_of_a_clone_runs_the_command_of_the_readme(readme, repository):
    commands = re.findall(r'^\. tools/setup_env\.sh && ruff.*$', readme, re.MULTILINE)
    assert len(commands) == 1
    assert commands[0] in (repository / '.ci' / 'run').read_text().splitlines()


def documents_of(repository):
    """Path and text of all documents for users."""
    paths = [repository / 'README.md', repository / 'configs' / 'README.md']
    paths += sorted((repository / 'docs').rglob('*.md'))
    assert len(paths) > 10
    return {path: path.read_text() for path in paths}


def test_every_path_in_the_documents_exists(repository):
    folders = 'configs|tools|docs|reloclnet_mm|requirements|tests'
    for document, text in documents_of(repository).items():
        paths = re.findall(rf'\b(?:{folders})/[\w./]+\w', text)
        assert {path for path in paths if not (repository / path).exists()} == set(), document


def test_every_link_between_the_documents_leads_to_a_file(repository):
    for document, text in documents_of(repository).items():
        links = re.findall(r'\]\(([^):#]+)[^):]*\)', text)
        assert {x for x in links if not (document.parent / x).exists()} == set(), document


def test_every_option_in_the_documents_is_known(repository):
    pattern = r'python (tools/[\w/]+\.py)((?:[^\n]*\\\n)*[^\n]*)'
    texts = documents_of(repository).values()
    commands = [command for text in texts for command in re.findall(pattern, text)]
    assert len(commands) > 20
    for tool, arguments in commands:
        source = (repository / tool).read_text()
        source += (repository / 'reloclnet_mm' / 'utils' / 'cli.py').read_text()
        for option in re.findall(r'(?<=\s)--[\w-]+', arguments):
            assert f"'{option}'" in source, (tool, option)


def test_the_pages_of_data_sets_name_all_readers_and_no_other(repository):
    known = {name for name in readers.__all__ if name.endswith('Reader')} - {'AnnotationReader'}
    pages = (repository / 'docs' / 'data').glob('*.md')
    named = {name for page in pages for name in re.findall(r'\b\w+Reader\b', page.read_text())}
    assert named == known
