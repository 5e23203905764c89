"""Weights alone, small and without anything that could run: safetensors files."""

import errno
import os

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.fileio import replace_file


def save_published(model: nn.Module, path: str | os.PathLike, dtype: torch.dtype) -> None:
    """Write the weights of a model.

    Args:
        model: The model.
        path: File to write.
        dtype: Type of the floating-point weights in the file.
    """
    weights = {
        name: (x.to(dtype) if x.is_floating_point() else x).contiguous()
        for name, x in model.state_dict().items()
    }
    with replace_file(path) as temporary:
        try:
            save_file(weights, temporary)
        except SafetensorError as error:  # as safetensors has it where it cannot write
            raise OSError(errno.EIO, str(error), str(temporary)) from error


def load_published(model: nn.Module, path: str | os.PathLike) -> None:
    """Read weights into a model, in the types that the model has.

    Args:
        model: The model.
        path: File that :func:`save_published` wrote.

    Raises:
        InputError: The file cannot be read, or its weights are those of another model.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f'{path}: cannot be read as weights ({error}); check the file') from error
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise InputError(
            f'{path}: has weights of another model than the config: {reason}'
        ) from error
