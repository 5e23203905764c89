"""Records of videos."""

import os

import pytest

from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.records import FileStamp, VideoRecord, difference, unique_name


def record(path):
    return VideoRecord('x', str(path), 1.0, True, 0, (), 0, (0.0,))


def test_a_file_is_current_until_its_content_changes(tmp_path):
    path = tmp_path / 'a'
    path.write_text('one')
    stamp = FileStamp.of(path)
    assert stamp.is_current()
    os.utime(path, ns=(1, 1))
    assert stamp.is_current(), 'touched, not changed'
    path.write_text('two')
    assert not stamp.is_current(), 'of the same size'
    path.write_text('three')
    assert not stamp.is_current()
    path.unlink()
    assert not stamp.is_current()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r'absent: cannot be read \(No such file'):
        FileStamp.of(tmp_path / 'absent')


def test_videos_of_one_name_get_more_of_their_paths(tmp_path):
    one, two, three = (tmp_path / x for x in ('a/talk.mp4', 'b/talk.mp4', 'b/talk.mkv'))
    taken = {}
    for path in (one, two, three):
        taken[unique_name(path, path.parent, taken)] = record(path)
    assert [*taken] == ['talk', 'b/talk', f'{tmp_path.name}/b/talk']
    assert unique_name(one, one.parent, taken) == 'talk', 'its own name'
    assert unique_name(tmp_path / 'c/d/e.mp4', tmp_path / 'c', taken) == 'd/e'


def test_the_first_difference_is_named():
    one = dict(a=1, b=dict(c=[1], d=2))
    assert difference(one, dict(one)) is None
    assert difference(one, dict(a=1, b=dict(c=[1], d=3)), 'recipe') == (
        'recipe.b.d 2 there, 3 here'
    )
    assert difference(dict(a=1), dict(a=1, b=2)) == 'b None there, 2 here'
    assert difference(dict(a=1, b=2), dict(a=1)) == 'b 2 there, None here'
