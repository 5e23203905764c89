"""What a folder of own data says of the spans of a config."""

import pytest

from reloclnet_mm.datasets.inspection import Split, span_lengths
from reloclnet_mm.datasets.readers import Moment, Query, Video


@pytest.mark.parametrize(
    ('span_end', 'lengths'), [('official', [3, 11, 1, 1]), ('inclusive', [3, 12, 1, 2])]
)
def test_the_lengths_of_training_spans_worked_by_hand(span_end, lengths):
    """In clips of 5 s: 2 to 5, the whole video, a part of a clip, the last clip and a half."""
    moments = [(10, 25), (0, 60), (1, 4), (52, 60)]
    queries = [
        Query(i, 'words', '', video_name='cat', moments=[Moment(*times, 'cat')])
        for i, times in enumerate(moments)
    ]
    split = Split(dict(cat=Video('cat', 60.0)), queries)
    assert span_lengths(split, dict(cat=12), 5.0, 20, span_end).tolist() == lengths
