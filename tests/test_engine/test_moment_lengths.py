"""The lengths of the moments of training, told to the span head."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reloclnet_mm.engine.hooks import MomentLengthHook
from reloclnet_mm.engine.hooks.moment_lengths import moment_shares
from reloclnet_mm.errors import InputError
from reloclnet_mm.models import SpanMapHead


class Queries:
    """A data set of records of queries."""

    def __init__(self, *records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def get_data_info(self, i):
        return self.records[i]


def record(duration, *moments, video_ids=None):
    ids = video_ids or [7] * len(moments)
    gt = dict(moments=np.array(moments, float).reshape(-1, 2), video_ids=np.array(ids))
    return dict(video_id=7, duration=duration, gt=gt)


def run(dataset):
    model = torch.nn.Module()
    model.span_head = SpanMapHead(streams=('a',), embed_dims=4)
    loader = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(
        model=model, train_dataloader=loader, logger=logging.getLogger('moments')
    )
    MomentLengthHook().before_train(runner)
    return model.span_head.length_prior


def test_shares_are_those_of_moments_in_the_own_video_with_a_length():
    dataset = Queries(
        record(10, [2, 4], [0, 10]),
        record(100, [5, 5], [50, 60], video_ids=[7, 8]),
        dict(video_id=7, duration=5),
    )
    np.testing.assert_allclose(moment_shares(dataset), [0.2, 1.0])


def test_the_head_gets_the_median_and_the_deviation_of_logs():
    # Shares of e^-3, e^-1 and 1.
    moments = [[0, np.exp(-3)], [0, np.exp(-1)], [0, 1]]
    prior = run(Queries(*(record(1, x) for x in moments)))
    torch.testing.assert_close(prior, torch.tensor([-1.0, float(np.std([-3, -1, 0]))]))


def test_equal_lengths_leave_others_possible():
    torch.testing.assert_close(
        run(Queries(record(4, [0, 2]))), torch.tensor([np.log(0.5), 0.3]).float()
    )


def test_a_training_set_without_moments_is_refused():
    with pytest.raises(InputError, match='no query of the training set has a moment'):
        run(Queries(dict(video_id=7, duration=5), record(5, [1, 1])))
