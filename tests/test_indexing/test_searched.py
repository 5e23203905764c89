"""Hits of what is found."""

from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.searched import said_in
from reloclnet_mm.indexing.windows import FoundMoment

SENTENCES = [TimedSentence('a', 0, 4), TimedSentence('b', 4, 8), TimedSentence('c', 8, 20)]


def said(start, end):
    return said_in(FoundMoment('x', start, end, 1.0, 0), SENTENCES)


def test_sentences_are_said_in_a_moment_that_has_half_of_them():
    assert said(0, 8) == ['a', 'b']
    assert said(2, 7) == ['a', 'b']
    assert said(3, 9) == ['b']
    assert said(5, 14) == ['b', 'c']


def test_a_moment_within_a_sentence_has_that_one():
    assert said(9, 10) == ['c']
    assert said(3.5, 5) == ['a', 'b']
    assert said(20, 30) == []


def test_a_sentence_without_length_is_said_where_it_stands():
    sentences = [TimedSentence('now', 3.0, 3.0)]
    assert said_in(FoundMoment('x', 2.0, 4.0, 1.0, 0), sentences) == ['now']
    assert said_in(FoundMoment('x', 4.0, 6.0, 1.0, 0), sentences) == []
