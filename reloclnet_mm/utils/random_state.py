"""States of the random number generators of a process, as plain data.

Tensors, numbers, lists and tuples only, which a checkpoint read with weights only admits.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators in main memory.

    Returns:
        ``python``: as ``random.getstate``; ``numpy``: name, (624,) int64 tensor of keys, position,
        and the two of a stored normal number; ``torch``: uint8 tensor.
    """
    name, keys, *others = np.random.get_state()
    return dict(
        python=random.getstate(),
        numpy=[name, torch.from_numpy(keys.astype(np.int64)), *others],
        torch=torch.get_rng_state(),
    )


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators into the states that :func:`random_state` returned.

    Args:
        state: What it returned; its tensors may have been read onto another device since.
    """
    name, keys, *others = state['numpy']
    random.setstate(state['python'])
    np.random.set_state((name, keys.numpy(force=True).astype(np.uint32), *others))
    torch.set_rng_state(state['torch'].cpu())


def seed_generators(seed: int) -> None:
    """Seed the three.

    Args:
        seed: In [0, 2³²).
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
