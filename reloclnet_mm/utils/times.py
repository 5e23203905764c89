"""Times for people."""


def clock(seconds: float, digits: int = 0) -> str:
    """Write a time as minutes and seconds, such as ``61:05``.

    Args:
        seconds: Seconds, 0 or more.
        digits: Digits behind the point of the seconds.
    """
    units = round(seconds * 10**digits)
    minutes, rest = divmod(units, 60 * 10**digits)
    return f'{minutes}:{rest / 10**digits:0{3 + digits if digits else 2}.{digits}f}'
