"""The window of admitted requests, with a clock set by hand."""

import random

from reloclnet_mm.serving.limits import SlidingWindow


def test_the_next_request_waits_until_the_first_leaves_the_window():
    now = 0.0
    window = SlidingWindow(2, seconds=10, clock=lambda: now)
    assert window.wait('a') == 0
    now = 4.0
    assert window.wait('a') == 0
    now = 7.0
    # The first one, at 0, leaves at 10.
    assert window.wait('a') == 3
    assert window.wait('b') == 0
    now = 10.0
    assert window.wait('a') == 0
    assert window.wait('a') == 4


def test_no_span_of_time_holds_more_than_the_limit():
    draw = random.Random(0)
    now = 0.0
    window = SlidingWindow(5, seconds=3, clock=lambda: now)
    admitted = {client: [] for client in 'abc'}
    for _ in range(3000):
        now += draw.expovariate(4)
        client = draw.choice('abc')
        recent = [t for t in admitted[client] if t > now - 3]
        seconds = window.wait(client)
        assert (seconds == 0) == (len(recent) < 5)
        if seconds == 0:
            admitted[client].append(now)
        else:
            assert seconds == recent[0] + 3 - now


def test_silent_clients_are_forgotten():
    now = 0.0
    window = SlidingWindow(5, seconds=10, clock=lambda: now)
    for client in range(1000):
        window.wait(str(client))
    assert len(window) == 1000
    now = 10.0
    window.wait('new')
    assert len(window) == 1
