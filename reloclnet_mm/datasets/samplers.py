"""A sampler whose samples bring the seed of their transforms along.

Workers that load data draw from generators of their own, whose states no checkpoint can hold: which
worker loads what, and since when it runs, would have to be the same. So what a random transform
draws follows from the seed of the run, the epoch and the sample alone.
"""

from collections.abc import Iterator, Sized
from contextlib import contextmanager

import numpy as np
from mmengine.dataset import DefaultSampler

from reloclnet_mm.registry import DATA_SAMPLERS
from reloclnet_mm.utils.random_state import random_state, seed_generators, set_random_state


class SeededIndex(int):
    """The index of a sample, with the seed and the epoch that it is loaded for.

    Attributes:
        entropy: Seed and epoch.
    """

    entropy: tuple[int, int]

    @classmethod
    def of(cls, index: int, entropy: tuple[int, int]) -> 'SeededIndex':
        """An index that carries a seed and an epoch."""
        seeded = cls(index)
        seeded.entropy = entropy
        return seeded


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's ``DefaultSampler``, with the same arguments, order and padding.

    A data set that loads a sample within :func:`seeded` repeats what its transforms drew, in any
    worker, also after a training was interrupted.

    Args:
        dataset: Its length counts.
        shuffle: Whether to shuffle, anew in each epoch.
        seed: Of the order and of the samples; None: drawn.
        round_up: Whether processes get equally many samples, some of them twice.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True
    ) -> None:
        super().__init__(dataset, shuffle, seed, round_up)

    def __iter__(self) -> Iterator[SeededIndex]:
        """Yield the indices of this process in this epoch."""
        entropy = (self.seed, self.epoch)
        return (SeededIndex.of(index, entropy) for index in super().__iter__())


@contextmanager
def seeded(index: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's generators for a sample, and reset them afterwards.

    Args:
        index: Of the sample; a plain integer leaves the generators alone.
    """
    if not isinstance(index, SeededIndex):
        yield
        return
    before = random_state()
    seed_generators(int(np.random.SeedSequence((*index.entropy, index)).generate_state(1)[0]))
    try:
        yield
    finally:
        set_random_state(before)
