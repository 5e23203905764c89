"""Windows of long videos, and moments of windows as moments of videos."""

import itertools

import numpy as np
import pytest

from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.windows import FoundMoment, Windows, distinct_moments, shared_part


def moment(start, end, score=1.0, video='a'):
    return FoundMoment(video, start, end, score, 0)


@pytest.mark.parametrize(
    ('num_clips', 'starts'),
    [(1, [0]), (8, [0]), (9, [0, 1]), (12, [0, 4]), (13, [0, 4, 5]), (20, [0, 4, 8, 12])],
)
def test_windows_begin_each_stride_and_the_last_ends_with_the_video(num_clips, starts):
    assert Windows(8, 4).starts(num_clips) == starts


def test_a_moment_as_long_as_a_window_less_its_stride_is_whole_in_one():
    for clips, stride, length in itertools.product((5, 8), (1, 3, 5), (1, 9, 40)):
        windows = Windows(clips, stride)
        starts = windows.starts(length)
        whole = min(clips - stride + 1, length)
        for first in range(length - whole + 1):
            assert any(s <= first and first + whole <= s + clips for s in starts)
        covered = {clip for s in starts for clip in range(s, min(s + clips, length))}
        assert covered == {*range(length)}


@pytest.mark.parametrize('stride', [0, 9])
def test_a_stride_that_leaves_clips_out_is_refused(stride):
    with pytest.raises(InputError, match='expected 1 <= stride <= clips'):
        Windows(8, stride).check()


def test_the_shared_part_is_that_of_the_shorter_moment():
    assert shared_part(moment(0, 10), moment(5, 9)) == 1
    assert shared_part(moment(0, 10), moment(8, 12)) == 0.5
    assert shared_part(moment(0, 10), moment(10, 20)) == 0
    assert shared_part(moment(3, 3), moment(0, 10)) == 1
    assert shared_part(moment(30, 30), moment(0, 10)) == 0


def test_moments_are_distinct_as_a_plain_loop_has_them():
    rng = np.random.default_rng(0)
    moments = []
    for score in range(60, 0, -1):
        start, length = rng.uniform(0, 50), rng.uniform(0.5, 20)
        moments.append(moment(start, start + length, score, rng.choice(['a', 'b'])))
    expected = []
    for one in moments:
        rivals = [x for x in expected if x.video == one.video]
        if not any(shared_part(one, x) > 0.5 for x in rivals):
            expected.append(one)
    found = list(distinct_moments(moments, 0.5))
    assert found == expected
    assert 2 < len(found) < len(moments)
