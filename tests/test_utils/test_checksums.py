"""Checksums of weights."""

import hashlib

import torch

from reloclnet_mm.utils.checksums import state_checksum


def test_it_is_the_sha256_of_names_types_shapes_and_values():
    text = b'w torch.float32 (2,)' + bytes.fromhex('0000803f00000040')
    text += b'n torch.int16 ()' + bytes.fromhex('0300')
    state = {'w': torch.tensor([1.0, 2.0]), 'n': torch.tensor(3, dtype=torch.int16)}
    assert state_checksum(state) == hashlib.sha256(text).hexdigest()


def test_the_order_in_memory_does_not_matter():
    x = torch.arange(6.0).view(2, 3)
    assert state_checksum({'w': x.t()}) == state_checksum({'w': x.t().contiguous()})
    assert state_checksum({'w': x.t()}) != state_checksum({'w': x.reshape(3, 2)})
