"""Items that a thread makes while the caller works."""

import threading

import pytest

from reloclnet_mm.utils.background import made_ahead


def test_items_come_whole_and_in_order():
    assert list(made_ahead(range(5))) == [0, 1, 2, 3, 4]
    assert list(made_ahead([])) == []


def test_no_more_than_one_item_is_made_ahead():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    ahead = []
    for number in made_ahead(items()):
        ahead.append(len(made) - (number + 1))
    assert max(ahead) <= 1
    assert made == list(range(10))


def test_the_next_item_is_made_while_the_caller_works():
    made = threading.Event()

    def items():
        yield 'first'
        made.set()
        yield 'second'

    assert [item for item in made_ahead(items()) if made.wait(timeout=10)] == ['first', 'second']


def test_what_is_raised_in_the_thread_reaches_the_caller():
    def items():
        yield 1
        raise ValueError('the second is damaged')

    ahead = made_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match='the second is damaged'):
        next(ahead)


def test_the_thread_ends_when_the_caller_stops():
    before = {*threading.enumerate()}
    ahead = made_ahead(iter(int, 1))
    next(ahead)
    assert len({*threading.enumerate()} - before) == 1
    ahead.close()
    assert {*threading.enumerate()} <= before
