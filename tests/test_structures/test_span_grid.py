"""Spans of a video and their overlap."""

import torch

from reloclnet_mm.structures.span_grid import (
    hit_matrix,
    span_grid,
    span_iou,
    start_and_end,
    valid_spans,
)


def test_short_spans_are_all_there():
    expected = {(i, j) for i in range(10) for j in range(i + 2, min(i + 5, 10) + 1)}
    assert {tuple(x) for x in span_grid(10, 2, 5).tolist()} == expected | {(0, 1)}


def test_long_spans_come_in_steps_of_a_sixteenth_of_their_length():
    spans = span_grid(100, 1, 100).tolist()
    assert len(spans) == len({tuple(x) for x in spans})
    for first, end in spans:
        step = max(1, (end - first) // 16)
        assert first % step == (end - first) % step == 0
    # 50 clips: steps of 3, and 50 is no multiple of it; 48: 18 places from 0 to 51.
    sizes = [end - first for first, end in spans]
    assert sizes.count(50) == 0
    assert sizes.count(48) == 18


def test_the_number_of_spans_grows_with_that_of_clips():
    few, many = (len(span_grid(n, 1, n)) for n in (256, 1024))
    assert many < 4 * few + 4 * 1024 * 16


def test_a_video_has_the_spans_that_end_within_it():
    grid = span_grid(6, 3, 4)
    found = valid_spans(grid, torch.tensor([6, 3, 2]), 3)
    named = [[tuple(x) for x in grid[row].tolist()] for row in found]
    assert named[0] == [(0, 3), (1, 4), (2, 5), (3, 6), (0, 4), (1, 5), (2, 6)]
    assert named[1] == [(0, 3)]
    # Too short for any: its whole.
    assert named[2] == [(0, 2)]


def test_overlap_by_hand():
    iou = span_iou(torch.tensor([[0.0, 4.0], [1.0, 2.0]]), torch.tensor([[2.0, 6.0], [0.0, 4.0]]))
    torch.testing.assert_close(iou, torch.tensor([[1 / 3, 1.0], [0.0, 0.25]]))


def test_hits_are_the_share_of_thresholds_that_are_reached():
    # (0, 3) and (0, 5) overlap by 0.6: one of the two thresholds.
    found = hit_matrix(torch.tensor([[0, 3], [0, 5], [9, 10]]), (0.5, 0.7))
    assert found.tolist() == [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]


def test_sums_by_first_and_by_last_clip():
    grid = torch.tensor([[0, 1], [0, 3], [2, 3]])
    start, end = start_and_end(torch.tensor([[0.5, 0.3, 0.2]]), grid, 4)
    torch.testing.assert_close(start, torch.tensor([[0.8, 0, 0.2, 0]]))
    torch.testing.assert_close(end, torch.tensor([[0.5, 0, 0.5, 0]]))
