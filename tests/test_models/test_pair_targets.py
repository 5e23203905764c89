"""What is right for the queries of a batch, against naive loops."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from reloclnet_mm.models.pair_targets import PairTargets, right_clip_mask, right_video_matrix
from reloclnet_mm.structures import MomentDataSample


def ragged(lists):
    """Lists one after the other, and their lengths."""
    return torch.tensor([x for row in lists for x in row]), torch.tensor([len(x) for x in lists])


def test_a_video_is_right_for_its_own_query_and_those_that_know_it():
    known, counts = ragged([[7, 9], [], [9, 9, 4], [1]])
    found = right_video_matrix(torch.tensor([7, 8, 9, 7]), known, counts)
    assert found.int().tolist() == [[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]]


@pytest.mark.parametrize('seed', range(5))
def test_right_videos_equal_a_naive_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randint(-3, 12, (20,), generator=generator)
    sizes = torch.randint(0, 5, (20,), generator=generator).tolist()
    lists = [torch.randint(-5, 14, (n,), generator=generator).tolist() for n in sizes]
    found = right_video_matrix(sources, *ragged(lists))
    own = sources.tolist()
    assert found.tolist() == [
        [other == source or other in known for other in own]
        for source, known in zip(own, lists, strict=True)
    ]


def test_clips_of_all_right_moments_of_a_pair():
    spans = torch.tensor([[0, 1], [1, 3], [2, 2]])
    found = right_clip_mask(spans, torch.tensor([2, 0, 1]), 5)
    assert found.int().tolist() == [[1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0]]


def sample(span, video_id, *, right=(), spans=None, **meta):
    found = MomentDataSample(metainfo=dict(video_id=video_id, **meta), gt_span=np.array(span))
    if right:
        ids = np.array(right)
        found.gt = InstanceData(video_ids=ids)
        if 'source_id' in meta:
            found.gt.source_ids = 10 * ids
    if spans:
        found.right_spans = np.array(spans)
    return found


def test_targets_are_collected_from_samples_with_and_without_further_answers():
    samples = [
        sample([1, 2], 3, source_id=30, right=[3, 5], spans=[[1, 2], [4, 4]]),
        sample([0, 0], 5, source_id=50),
        sample([2, 3], 6, source_id=50, right=[6, 3, 1]),
    ]
    targets = PairTargets.of(samples, torch.device('cpu'))
    assert targets.spans.tolist() == [[1, 2], [0, 0], [2, 3]]
    # Videos 5 and 6 are of one recording.
    assert targets.right_videos.int().tolist() == [[1, 1, 1], [0, 1, 1], [1, 1, 1]]
    assert targets.right_clips(5).int().tolist() == [
        [0, 1, 1, 0, 1],
        [1, 0, 0, 0, 0],
        [0, 0, 1, 1, 0],
    ]


def test_videos_of_moments_that_are_not_relevant_are_wrong():
    samples = [sample([0, 0], 4, right=[4, 2]), sample([0, 0], 2)]
    for relevance, expected in (([3.0, 0.0], False), ([3.0, 1.0], True)):
        samples[0].gt.relevance = np.array(relevance)
        found = PairTargets.of(samples, torch.device('cpu')).right_videos
        assert found.tolist() == [[True, expected], [False, True]]


def test_truth_may_be_tensors():
    whole = sample([1, 2], 3, right=[3, 5], spans=[[1, 2], [4, 4]])
    tensors = whole.to_tensor()
    tensors.gt.relevance, whole.gt.relevance = torch.tensor([2, 0]), np.array([2, 0])
    found, expected = (PairTargets.of([x], torch.device('cpu')) for x in (tensors, whole))
    for field in fields(PairTargets):
        assert torch.equal(getattr(found, field.name), getattr(expected, field.name))


def test_videos_without_a_recording_are_told_apart_by_their_ids():
    samples = [sample([0, 0], video_id) for video_id in (4, 2, 4)]
    found = PairTargets.of(samples, torch.device('cpu')).right_videos
    assert found.int().tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
