"""The random numbers of a sample follow from seed, epoch and index."""

import pickle
import random

import numpy as np
import torch
from mmengine.dataset import DefaultSampler

from reloclnet_mm.datasets.samplers import SeededIndex, SeededSampler, seeded
from reloclnet_mm.utils.random_state import random_state, seed_generators, set_random_state


def draws():
    return random.random(), random.gauss(0, 1), np.random.normal(), torch.rand(()).item()


def draws_for(index):
    with seeded(index):
        return draws()


def test_random_states_survive_a_round_trip():
    seed_generators(5)
    draws()  # leaves half a pair of normal numbers in store
    state = random_state()
    expected = [draws() for _ in range(3)]
    seed_generators(6)
    set_random_state(state)
    assert [draws() for _ in range(3)] == expected


def test_the_order_is_that_of_mmengine():
    ours, theirs = (cls(range(10), seed=3) for cls in (SeededSampler, DefaultSampler))
    for sampler in (ours, theirs):
        sampler.set_epoch(4)
    assert list(ours) == list(theirs)
    assert {index.entropy for index in ours} == {(3, 4)}


def test_draws_depend_on_seed_epoch_and_index_alone():
    index = SeededIndex.of(7, (1, 2))
    expected = draws_for(index)
    assert draws_for(pickle.loads(pickle.dumps(index))) == expected
    others = [(8, (1, 2)), (7, (2, 2)), (7, (1, 3)), (7, (2, 1))]
    for other in others:
        assert not set(draws_for(SeededIndex.of(*other))) & set(expected)


def test_what_is_drawn_elsewhere_is_as_it_would_be():
    seed_generators(9)
    expected = [draws(), draws()]
    seed_generators(9)
    first = draws()
    draws_for(SeededIndex.of(7, (1, 2)))
    assert [first, draws()] == expected


def test_a_plain_index_changes_nothing():
    seed_generators(9)
    expected = draws()
    seed_generators(9)
    assert draws_for(7) == expected
