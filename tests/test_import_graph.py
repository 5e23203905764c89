"""Imports between the folders of the package go down only, so that there is no loop."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / 'reloclnet_mm'
FLOORS = (
    {'errors', 'registry', 'version', 'utils', 'compat'},
    {'structures'},
    {'features', 'evaluation'},
    {'extraction', 'datasets', 'retrieval'},
    {'models'},
    {'indexing'},
    {'visualization'},
    {'engine'},
    {'apis', 'profiling', 'benchmarking'},
    {'cluster'},
    {'serving'},
)
# Puts the safe checkpoint loader and mmaction2's missing modules in place.
FACE = PACKAGE / '__init__.py'


def floor_of(name):
    (floor,) = [number for number, names in enumerate(FLOORS) if name in names]
    return floor


def imports_of(path):
    """First names below ``reloclnet_mm`` that a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            if module.startswith('reloclnet_mm.'):
                yield module.split('.')[1]


def edges():
    """(importing folder or module, imported one) of the first level of the package."""
    found = set()
    for path in PACKAGE.rglob('*.py'):
        own = path.relative_to(PACKAGE).parts[0].removesuffix('.py')
        if path != FACE:
            found |= {(own, other) for other in imports_of(path) if other != own}
    return found


def test_an_import_never_goes_up():
    assert {(a, b) for a, b in edges() if floor_of(a) < floor_of(b)} == set()


def test_folders_import_each_other_in_no_circle():
    remaining = edges()
    while remaining:
        free = {b for _, b in remaining} - {a for a, _ in remaining}
        assert free, f'a circle among {sorted(remaining)}'
        remaining = {(a, b) for a, b in remaining if b not in free}


def test_folders_of_one_floor_that_may_not_meet_do_not():
    together = edges()
    for pair in (('models', 'datasets'), ('engine', 'models')):
        assert pair not in together
