"""Times for people."""

import pytest

from reloclnet_mm.utils.times import clock


@pytest.mark.parametrize(
    ('seconds', 'digits', 'text'),
    [
        (0, 0, '0:00'),
        (59.4, 0, '0:59'),
        (59.6, 0, '1:00'),
        (59.97, 1, '1:00.0'),
        (61.25, 1, '1:01.2'),
        (3665, 0, '61:05'),
    ],
)
def test_seconds_are_rounded_before_they_are_divided(seconds, digits, text):
    assert clock(seconds, digits) == text
