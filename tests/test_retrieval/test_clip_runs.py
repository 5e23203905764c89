"""Runs of nearly equal clips, against the way without tensors."""

import pytest
import torch
import torch.nn.functional as F

from reloclnet_mm.retrieval.clip_runs import begins_of_runs
from reloclnet_mm.structures import RowLayout


def begins_one_by_one(rows, lengths, least_cosine):
    """Each clip beside the one before it and the first one of its run."""
    begins, row = [], 0
    for length in lengths:
        first = None
        for _ in range(length):
            new = first is None or any(
                float(rows[row] @ rows[other]) < least_cosine for other in (row - 1, first)
            )
            first = row if new else first
            begins.append(new)
            row += 1
    return torch.tensor(begins)


def drifting(generator, lengths):
    """Clips that differ a little from their neighbours and much from those far away."""
    steps = 0.2 * torch.randn(sum(lengths), 8, generator=generator)
    return F.normalize(1 + steps.cumsum(0), dim=1)


def in_steps(generator, lengths):
    """A few different clips, each several times."""
    kinds = F.normalize(torch.randn(5, 8, generator=generator), dim=1)
    return kinds[(torch.arange(sum(lengths)) // 3) % 5]


@pytest.mark.parametrize('least_cosine', [0.5, 0.9, 0.99, 1.1])
@pytest.mark.parametrize('kind', [drifting, in_steps])
@pytest.mark.parametrize('seed', range(5))
def test_runs_are_those_of_the_long_way(kind, least_cosine, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 30, (12,), generator=generator).tolist()
    rows = kind(generator, lengths)
    found = begins_of_runs(rows, RowLayout.stack(lengths, lengths), least_cosine)
    assert torch.equal(found, begins_one_by_one(rows, lengths, least_cosine))


def test_equal_clips_are_one_run_and_a_run_ends_with_its_video():
    rows = F.normalize(torch.ones(7, 4), dim=1)
    found = begins_of_runs(rows, RowLayout.stack([3, 4], [3, 4]), 0.999)
    assert found.tolist() == [True, False, False, True, False, False, False]


def test_no_score_in_a_run_differs_by_more_than_the_bound():
    generator = torch.Generator().manual_seed(0)
    lengths, least_cosine = [200], 0.95
    rows = drifting(generator, lengths)
    begins = begins_of_runs(rows, RowLayout.stack(lengths, lengths), least_cosine)
    first = torch.where(begins, torch.arange(200), 0).cummax(0).values
    queries = F.normalize(torch.randn(500, 8, generator=generator), dim=1)
    difference = ((rows - rows[first]) @ queries.T).abs().max()
    assert 0 < difference <= (2 - 2 * least_cosine) ** 0.5
