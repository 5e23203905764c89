"""Checks of the arguments of constructors."""

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any


def check_number(
    name: str,
    value: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse what is no finite number within limits; truth values are no numbers.

    Args:
        name: Name of the argument for the message, such as ``BertAdam: lr``.
        value: Value to check.
        low: Smallest allowed value.
        high: Largest allowed value.
        above: The value must be larger than this.
        below: The value must be smaller than this.

    Raises:
        ValueError: It is not finite, out of range or of another type.
    """
    limits = {'≥': low, '>': above, '≤': high, '<': below}
    expected = ' and '.join(f'{sign} {x:g}' for sign, x in limits.items() if x is not None)
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        raise ValueError(f'{name} is {value!r}, expected a finite number {expected}'.rstrip())


def check_count(name: str, value: Any, low: int = 1) -> None:
    """Refuse what is no whole number of at least ``low``; arguments as :func:`check_number`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
        raise ValueError(f'{name} is {value!r}, expected a whole number ≥ {low}')


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Refuse what is none of ``choices``; arguments as :func:`check_number`."""
    if not any(value is choice or value == choice for choice in choices):
        expected = ' or '.join(map(repr, choices))
        raise ValueError(f'{name} is {value!r}, expected {expected}')
