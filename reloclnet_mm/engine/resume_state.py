"""What a rank must know, beside weights and optimizer, to go on as if it had not stopped.

All of it is plain data (tensors, numbers, lists), which a checkpoint read with weights only admits.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def random_state() -> dict[str, Any]:
    """The states of this process's random number generators.

    Returns:
        ``python``: as ``random.getstate``; ``numpy``: name, (624,) int64 tensor of keys, position,
        and the two of a stored normal number; ``torch``: uint8 tensor; ``cuda``: one such tensor,
        of the current device, or None.
    """
    name, keys, *others = np.random.get_state()
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return dict(
        python=random.getstate(),
        numpy=[name, torch.from_numpy(keys.astype(np.int64)), *others],
        torch=torch.get_rng_state(),
        cuda=cuda,
    )


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators into the states that :func:`random_state` returned.

    Args:
        state: What it returned.
    """
    name, keys, *others = state['numpy']
    random.setstate(state['python'])
    np.random.set_state((name, keys.numpy(force=True).astype(np.uint32), *others))
    # A checkpoint may have been read onto a GPU; states of generators are kept in main memory.
    torch.set_rng_state(state['torch'].cpu())
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def open_gradients(model: nn.Module) -> dict[str, Tensor]:
    """Gradients that wait for more to be added, by the names of their parameters.

    Args:
        model: The bare model. After an update mmengine leaves no gradients, so there are some only
            within a window of gradient accumulation.
    """
    return {
        name: parameter.grad.cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def set_open_gradients(model: nn.Module, gradients: Mapping[str, Tensor]) -> None:
    """Give the parameters the gradients of :func:`open_gradients`.

    Args:
        model: The bare model.
        gradients: By name.
    """
    for name, parameter in model.named_parameters():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter, copy=True)
