"""Tensors in checkpoints: dense ones of real numbers are read, all others are refused."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from reloclnet_mm.engine.checkpointing.loading import load_weights_only
from reloclnet_mm.errors import InputError


def out_of_range():
    """A sparse vector of 4 numbers one of which is at place 1,000,000."""
    with torch.sparse.check_sparse_tensor_invariants(False):
        return torch.sparse_coo_tensor([[1_000_000]], [1.0], (4,), check_invariants=False)


def with_attribute():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.extra = torch.zeros(2).to_sparse()
    return parameter


REFUSED = {
    'sparse with indices out of range': out_of_range,
    'sparse': lambda: torch.eye(3).to_sparse(),
    'sparse by row': lambda: torch.eye(3).to_sparse_csr(),
    'nested': lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    'quantized': lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    'on meta': lambda: torch.empty(2, device='meta'),
    'complex': lambda: torch.zeros(2, dtype=torch.complex64),
    'conjugate': lambda: torch.zeros(2, dtype=torch.complex64).conj(),
    'negative bit': lambda: torch.ones(2, dtype=torch.complex64).conj().imag,
    'expanded': lambda: torch.zeros(1).expand(3),
    'overlapping': lambda: torch.zeros(4).as_strided((3, 2), (1, 1)),
    'with attributes': with_attribute,
}
READ = {
    'vector': torch.arange(3.0),
    'number': torch.tensor(2),
    'empty': torch.zeros(0, 4),
    'parameter': nn.Parameter(torch.ones(2)),
    'transposed': torch.arange(6.0).reshape(2, 3).T,
    'part of another': torch.arange(6.0).reshape(2, 3)[:, :2],
    'bfloat16': torch.ones(2, dtype=torch.bfloat16),
    'bytes': torch.zeros(3, dtype=torch.uint8),
    'one element expanded': torch.ones(1).expand(1, 1),
}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('place', ['dict', 'tuple', 'list', 'attribute', 'set', 'key'])
@pytest.mark.parametrize('kind', REFUSED)
def test_a_tensor_that_is_not_plain_is_refused_wherever_it_is(kind, place, tmp_path):
    tensor = REFUSED[kind]()
    path = tmp_path / 'a.pth'
    torch.save(nested(tensor, place), path)
    with pytest.raises(InputError, match=r'a\.pth: '):
        load_weights_only(path)


def nested(tensor, place):
    state = nn.Linear(1, 1).state_dict()
    if place == 'attribute':
        state._metadata['']['extra'] = tensor
        return state
    inner = dict(dict={'x': tensor}, tuple=(tensor,), list=[tensor], set={tensor}, key={tensor: 1})
    return {'meta': {'deep': inner[place]}, 'state_dict': state}


@pytest.mark.parametrize('kind', READ)
def test_a_dense_tensor_of_real_numbers_is_read(kind, tmp_path):
    torch.save({'x': [READ[kind]]}, tmp_path / 'a.pth')
    (found,) = load_weights_only(tmp_path / 'a.pth')['x']
    assert found.dtype == READ[kind].dtype
    assert torch.equal(found, READ[kind])


def test_sparse_tensors_are_checked_no_longer_than_a_file_is_read(tmp_path):
    torch.save({}, tmp_path / 'a.pth')
    before = torch.sparse.check_sparse_tensor_invariants.is_enabled()
    load_weights_only(tmp_path / 'a.pth')
    assert torch.sparse.check_sparse_tensor_invariants.is_enabled() == before


UNCHECKED = """
import sys, torch
path = sys.argv[1]
torch.save(torch.sparse_coo_tensor([[10**12]], [1.0], (4,), check_invariants=False), path)
torch.zeros(4).add_(torch.load(path, weights_only=True))
"""


def test_weights_only_reading_of_torch_lets_such_a_tensor_through(tmp_path):
    """What the check is for: to add that tensor reaches memory of the file's choosing."""
    done = subprocess.run([sys.executable, '-c', UNCHECKED, tmp_path / 'a.pth'], check=False)
    assert done.returncode < 0
