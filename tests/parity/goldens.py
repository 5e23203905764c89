"""Finding goldens and comparing with them; tolerances are those of the goldens' README."""

import json
from pathlib import Path

import numpy as np
import pytest

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 1e-4
TRAINING_TOLERANCE = 1e-4

KINDS = {
    'model': ('relocl*.npz', 'xml*.npz'),
    'conquer': ('conquer*.npz',),
    'bert_adam': ('bert_adam*.npz',),
    'tvr_val_metrics': ('tvr_val_metrics*.npz',),
    'didemo_val_metrics': ('didemo_val_metrics*.npz',),
    'ndcg': ('ndcg*.npz',),
    'qvhighlights_metrics': ('qvhighlights_metrics*.npz',),
    'e2e': ('e2e*',),
}


def find_goldens(folder: Path, kind: str) -> list[Path]:
    """All goldens of a kind; a folder without any is an error, not an empty test."""
    paths = sorted(path for pattern in KINDS[kind] for path in folder.glob(pattern))
    found = [path for path in paths if path.is_dir() == (kind == 'e2e')]
    if not found:
        raise pytest.UsageError(f'{folder}: no golden of the kind {kind} ({KINDS[kind]})')
    return found


def parametrize_with_goldens(metafunc) -> None:
    """Run a test for each golden of the kind that its argument names."""
    for kind in KINDS:
        argument = f'{kind}_golden'
        if argument in metafunc.fixturenames:
            paths = find_goldens(metafunc.config.getoption('--goldens'), kind)
            metafunc.parametrize(argument, paths, ids=[path.stem for path in paths], scope='module')


def read_meta(golden: np.lib.npyio.NpzFile) -> dict:
    return json.loads(bytes(golden['meta']))


def arrays_below(golden: np.lib.npyio.NpzFile, prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: golden[name] for name in golden.files if name.startswith(prefix)}


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest magnitude of the expected array."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


def rename_recall(name: str, task: str) -> str:
    """``v-0.5-r10`` of VCMR to ``VCMR/v/R10@0.5``, ``r5`` of VR to ``VR/R5``."""
    *type_and_iou, rank = name.split('-')
    iou = [f'@{x}' for x in type_and_iou if x[0].isdigit()]
    query_type = [f'{x}/' for x in type_and_iou if not x[0].isdigit()]
    return f'{task}/{"".join(query_type)}R{rank[1:]}{"".join(iou)}'


def assert_recalls(found: dict[str, float], expected: dict[str, float], task: str) -> None:
    """Every recall is there and exactly equal."""
    renamed = {
        rename_recall(name, task): x for name, x in expected.items() if name != 'desc_type_ratio'
    }
    assert {name: found[name] for name in renamed} == renamed
