"""Training samples of queries with several right moments."""

import numpy as np
import pytest

from reloclnet_mm.datasets.readers import AnnotationReader, Moment, Query, Video
from reloclnet_mm.datasets.transforms import MomentToSpan, PackMomentInputs
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import DATASETS, TASK_UTILS

# Relevance, video and moment; in the order of the annotation.
MOMENTS = [
    *[(2.0, 'a', 0, 2), (4.0, 'b', 4, 8), (2.0, 'a', 6, 9), (1.0, 'c', 0, 1), (3.0, 'b', 1, 3)],
    *[(0.0, 'b', 0, 9), (0.0, 'a', 0, 9)],
]


@TASK_UTILS.register_module(force=True)
class GradedReader(AnnotationReader):
    """One query with moments of many videos and none of its own, one in its own, one unanswered."""

    def __init__(self, *, graded=True, **others):
        super().__init__(ann_file='x', **others)
        self.graded = graded

    def _read_videos(self):
        for number, name in enumerate('abc'):
            yield Video(name, 10.0, 20 + number, source_id=7 if name == 'c' else None)

    def _read_queries(self):
        moments = [
            Moment(start, end, video, relevance=relevance if self.graded else None)
            for relevance, video, start, end in MOMENTS
        ]
        yield Query(1, 'many', 'line 1', moments=moments)
        yield Query(2, 'own', 'line 2', video_name='b', moments=[Moment(0, 5), Moment(2, 9)])
        yield Query(3, 'none', 'line 3', video_name='a')


def note_clips(results):
    """Stand for the loading of five clips of two seconds."""
    return results | dict(seconds_per_clip=2.0, num_clips=5)


def build(graded=True, **settings):
    reader = dict(type='reloclnet_mm.GradedReader', graded=graded)
    return DATASETS.build(
        dict(type='reloclnet_mm.QueryDataset', reader=reader, feature_files={}, **settings)
    )


def records(**settings):
    dataset = build(**settings)
    return [dataset[i] for i in range(len(dataset))]


def chosen(found):
    """Query, video, and place of the moment among the query's."""
    return [(x['query_id'], x.get('video_name'), x.get('target')) for x in found]


def test_a_query_is_one_record_by_default():
    assert chosen(records()) == [(1, None, None), (2, 'b', None), (3, 'a', None)]


def test_the_most_relevant_moments_are_a_record_each_in_the_order_of_the_annotation_if_equal():
    found = records(max_positives=4)
    assert chosen(found) == [
        *[(1, 'b', 1), (1, 'b', 4), (1, 'a', 0), (1, 'a', 2)],
        *[(2, 'b', 0), (2, 'b', 1)],
        (3, 'a', None),
    ]
    # Each knows all right moments, those that it does not train on too.
    assert all(len(x['gt']['moments']) == 7 for x in found[:4])
    assert found[0]['gt']['source_ids'].tolist() == [20, 21, 20, 7, 21, 21, 20]
    assert (found[0]['video_id'], found[0]['source_id']) == (21, 21)


def test_without_relevance_the_first_moments_are_taken():
    assert chosen(records(graded=False, max_positives=2))[:2] == [(1, 'a', 0), (1, 'b', 1)]


def test_one_positive_of_a_query_is_its_most_relevant_moment():
    assert chosen(records(max_positives=1)) == [(1, 'b', 1), (2, 'b', 0), (3, 'a', None)]


def test_the_target_is_the_samples_own_moment_and_all_of_the_video_are_known():
    # Two of the seven moments of the first query have relevance 0.
    found = [MomentToSpan()(note_clips(x)) for x in records(max_positives=9)[:7]]
    assert [x['gt_span'] for x in found] == [(2, 4), (0, 2), (0, 1), (3, 4), (0, 1), (0, 3), (1, 4)]
    in_b, in_a = [(2, 4), (0, 2)], [(0, 1), (3, 4)]
    expected = [in_b, in_b, in_a, in_a, [(0, 1)], [(0, 3), (1, 4)], [(0, 3), (1, 4)]]
    assert [x['right_spans'] for x in found] == expected


def test_a_query_without_a_video_of_its_own_needs_positives():
    with pytest.raises(InputError, match=r'query 1 has no moment.*max_positives of QueryDataset'):
        MomentToSpan()(records()[0])


def test_a_packed_sample_carries_what_the_losses_need():
    pipeline = [note_clips, MomentToSpan(), PackMomentInputs()]
    sample = build(max_positives=5, pipeline=pipeline)[3]['data_samples']
    assert sample.gt_span.tolist() == [3, 4]
    assert sample.right_spans.tolist() == [[0, 1], [3, 4]]
    assert sample.gt.source_ids.tolist() == [20, 21, 20, 7, 21, 21, 20]
    assert (sample.video_id, sample.source_id, sample.query_id) == (20, 20, 1)


@pytest.mark.parametrize('wrong', [0, -1, 1.5, '3', np.nan])
def test_a_number_of_positives_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match='QueryDataset: max_positives is'):
        records(max_positives=wrong)


def test_positives_are_for_training_only():
    with pytest.raises(ValueError, match='max_positives is 3 beside test_mode=True'):
        records(max_positives=3, test_mode=True)
