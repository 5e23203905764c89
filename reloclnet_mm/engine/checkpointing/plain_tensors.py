"""Checks that a tensor from a file is memory of its own, and nothing else."""

import torch
from torch import Tensor, nn

from reloclnet_mm.errors import InputError

_DTYPES = frozenset(
    {
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    }
)


def check_plain(tensor: Tensor) -> None:
    """Refuse a tensor whose use could reach other memory or mean other numbers.

    A sparse tensor may carry indices out of range, elements that share an address are written
    twice, and attributes that a file sets on a tensor can be such tensors again.

    Raises:
        InputError: It is not a dense tensor of real numbers without overlap and attributes.
    """
    finding = _finding(tensor)
    if finding:
        raise InputError(
            f'it holds {finding}; only dense tensors of real numbers, each in a place of its own '
            'in memory, are read'
        )


def _finding(tensor: Tensor) -> str:
    if type(tensor) not in (Tensor, nn.Parameter):
        return f'a tensor of the class {type(tensor).__name__}'
    if tensor.is_nested:
        return 'a nested tensor'
    if tensor.layout != torch.strided:
        return f'a sparse tensor ({tensor.layout})'
    if tensor.is_quantized or tensor.dtype not in _DTYPES:
        return f'a tensor of {tensor.dtype}'
    if tensor.is_meta:
        return 'a tensor without data (on the device meta)'
    if tensor.is_conj() or tensor.is_neg():
        return 'a tensor that is conjugated or negated when it is read'
    if _overlaps(tensor):
        return f'a tensor whose elements overlap (shape {tuple(tensor.shape)})'
    if vars(tensor) or tensor.grad is not None or tensor._backward_hooks:
        return 'a tensor with attributes'
    return ''


def _overlaps(tensor: Tensor) -> bool:
    """Return whether two elements may have one address, from strides in ascending order."""
    if not tensor.numel():
        return False
    farthest = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= farthest:
                return True
            farthest += stride * (size - 1)
    return False
