"""What is shown of a long computation where the output is no terminal."""

from reloclnet_mm.utils import progress as module
from reloclnet_mm.utils.progress import counted, progress


def test_the_end_is_a_line_of_its_own(capsys):
    assert list(progress(['a', 'b', 'c'], 'videos')) == ['a', 'b', 'c']
    with counted(1200, 'queries') as advance:
        advance(1000)
        advance(200)
    printed = capsys.readouterr()
    assert printed.err == '3 of 3 videos\n1,200 of 1,200 queries\n'
    assert printed.out == ''


def test_a_line_comes_every_few_seconds(capsys, monkeypatch):
    seconds = iter([0.0, 4.0, 6.0, 6.0, 9.0, 12.0, 12.0])
    monkeypatch.setattr(module.time, 'monotonic', lambda: next(seconds))
    with counted(100, 'videos') as advance:
        for _ in range(4):
            advance(10)
    assert capsys.readouterr().err == '20 of 100 videos\n40 of 100 videos\n'
