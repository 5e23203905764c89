"""States of the random number generators of a process, as plain data.

Tensors, numbers, lists and tuples only, which a checkpoint read with weights only admits.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's generators in main memory.

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
        state: Its return value, perhaps read from a file onto another device.

    Raises:
        ValueError: The position in NumPy's keys is none.
    """
    name, keys, position, *normal = state['numpy']
    # NumPy reads at any position, also outside of its keys.
    if type(position) is not int or not 0 <= position <= len(keys):
        raise ValueError(f"NumPy's position is {position!r}, expected 0 to {len(keys)}")
    random.setstate(state['python'])
    np.random.set_state((name, keys.numpy(force=True).astype(np.uint32), position, *normal))
    torch.set_rng_state(state['torch'].cpu())


def seed_generators(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators.

    Args:
        seed: Seed in [0, 2³²).
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
