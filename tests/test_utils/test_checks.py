"""Checks of arguments: what passes, what is refused, and what the message says."""

import math

import numpy as np
import pytest

from reloclnet_mm.utils.checks import check_choice, check_count, check_number


@pytest.mark.parametrize('value', [0, 0.0, 1, 0.5, np.float32(0.5), np.int64(1)])
def test_a_number_within_its_limits_passes(value):
    check_number('x', value, low=0, high=1)


@pytest.mark.parametrize(
    'value', [math.nan, math.inf, -math.inf, '0.5', None, True, 1j, [0.5], -0.1, 1.1, np.nan]
)
def test_what_is_no_finite_number_within_limits_is_refused(value):
    with pytest.raises(ValueError, match='expected a finite number ≥ 0 and ≤ 1') as error:
        check_number('Loss: margin', value, low=0, high=1)
    assert str(error.value).startswith(f'Loss: margin is {value!r}, expected')


def test_open_limits_are_left_out():
    check_number('x', 0.5, above=0, below=1)
    for value in (0, 1):
        with pytest.raises(ValueError, match=r'expected a finite number > 0 and < 1$'):
            check_number('x', value, above=0, below=1)


def test_a_number_without_limits_may_be_any_finite_one():
    check_number('x', -1e300)
    with pytest.raises(ValueError, match=r'x is nan, expected a finite number$'):
        check_number('x', math.nan)


@pytest.mark.parametrize('value', [0, -1, 1.5, 2.0, '3', True, None, math.nan])
def test_what_is_no_count_is_refused(value):
    with pytest.raises(ValueError, match='expected a whole number ≥ 1') as error:
        check_count('embed_dims', value)
    assert str(error.value).startswith(f'embed_dims is {value!r}')


def test_a_count_of_at_least_its_least_passes():
    check_count('x', 1)
    check_count('x', np.int64(0), low=0)


@pytest.mark.parametrize('value', ['hing', None, [], {}])
def test_what_is_no_choice_is_refused(value):
    with pytest.raises(ValueError, match="kind is .*, expected 'hinge' or 'lse'"):
        check_choice('kind', value, ('hinge', 'lse'))


def test_a_choice_passes():
    check_choice('kind', 'lse', ('hinge', 'lse'))
