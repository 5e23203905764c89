"""Checksums of weights and files."""

import hashlib
import os
from collections.abc import Mapping

import torch
from torch import Tensor


def state_checksum(state: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of weights: of their names, types, shapes and values.

    Args:
        state: State dict of a model.
    """
    digest = hashlib.sha256()
    for name, x in state.items():
        digest.update(f'{name} {x.dtype} {tuple(x.shape)}'.encode())
        digest.update(x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def file_checksum(path: str | os.PathLike) -> str:
    """Compute the SHA-256 of a file's content."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
