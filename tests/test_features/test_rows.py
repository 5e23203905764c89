"""Arithmetic of feature rows; pooling and positions are tested with the transforms."""

import numpy as np
import pytest

from reloclnet_mm.features.rows import resample_rows


def test_rows_of_a_video_averaged_by_hand():
    # Four rows of 2.5 s each into clips of 4 s: [0, 4], [4, 8], [8, 10].
    rows = np.array([[0.0], [8.0], [16.0], [40.0]], np.float32)
    clips = resample_rows(rows, 10.0, 4.0)
    assert clips.dtype == np.float32
    assert clips[:, 0].tolist() == [
        (2.5 * 0 + 1.5 * 8) / 4,
        (1.0 * 8 + 2.5 * 16 + 0.5 * 40) / 4,
        40.0,
    ]


@pytest.mark.parametrize(
    ('num_rows', 'duration', 'clip_length'),
    [(100, 55.15, 2.0), (7, 73.1, 1.5), (1, 10.0, 3.0), (500, 30.0, 30.0), (3, 0.5, 2.0)],
)
def test_rows_averaged_as_over_many_instants(num_rows, duration, clip_length):
    rows = np.random.default_rng(0).standard_normal((num_rows, 3)).astype(np.float32)
    found = resample_rows(rows, duration, clip_length)
    instants = (np.arange(200_000) + 0.5) / 200_000 * duration
    values = rows[(instants / duration * num_rows).astype(int)]
    clips = (instants / clip_length).astype(int)
    expected = [values[clips == clip].mean(0) for clip in range(clips.max() + 1)]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_rows_that_are_clips_already_stay_as_they_are():
    rows = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    # 10 clips of 2.1 s are 21 s, and 21 / 2.1 is not 10 in floating point everywhere.
    np.testing.assert_allclose(resample_rows(rows, 10 * 2.1, 2.1), rows, rtol=1e-5)
