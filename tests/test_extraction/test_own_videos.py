"""Files of videos, and the subtitles beside them."""

import pytest
from small_videos import grey, tone, write_video
from tiny_inferencer import write_srt

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.own_videos import find_videos, read_content, subtitles_of
from reloclnet_mm.extraction.subtitles import TimedSentence


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('')
    return folder


def names_of(found, root):
    return [str(path.relative_to(root)) for path, _ in found]


def test_media_are_found_and_subtitles_that_belong_to_none(tmp_path):
    touch(
        tmp_path, 'a.mp4', 'a.srt', 'b/c.MKV', 'b/c.en.vtt', 'b/alone.srt', '.hidden.mp4', 'x.txt'
    )
    assert names_of(find_videos([tmp_path]), tmp_path) == ['a.mp4', 'b/alone.srt', 'b/c.MKV']


def test_a_file_that_is_named_may_have_any_ending_and_is_listed_once(tmp_path):
    touch(tmp_path, 'video.bin', 'd/e.mp4')
    found = find_videos([tmp_path / 'video.bin', tmp_path / 'd', tmp_path / 'd/e.mp4'])
    assert names_of(found, tmp_path) == ['d/e.mp4', 'video.bin']
    assert [root for _, root in found] == [tmp_path / 'd', tmp_path]


@pytest.mark.parametrize('name', ['it\'s "a" talk.mp4', 'обучение 教程.mp4', '-rf.mp4', 'a..b.mp4'])
def test_names_may_have_blanks_quotes_and_any_letters(tmp_path, name):
    touch(tmp_path, name)
    assert names_of(find_videos([tmp_path]), tmp_path) == [name]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match='absent: no such file or folder'):
        find_videos([tmp_path / 'absent'])
    with pytest.raises(InputError, match='found no video'):
        find_videos([tmp_path])


@pytest.mark.parametrize('name', ['talk.srt', 'talk.vtt', 'talk.en.srt', 'talk.SRT'])
def test_subtitles_have_the_name_of_their_video(tmp_path, name):
    touch(tmp_path, 'talk.mp4', name, 'talk2.srt', 'other.vtt')
    assert subtitles_of(tmp_path / 'talk.mp4') == tmp_path / name


def test_subtitles_of_another_video_whose_name_is_longer_are_not_taken(tmp_path):
    touch(tmp_path, 'talk.mp4', 'talk.2.mp4', 'talk.2.srt', 'talk.en.mp4', 'talk.en.srt')
    assert subtitles_of(tmp_path / 'talk.mp4') is None
    assert subtitles_of(tmp_path / 'talk.2.mp4') == tmp_path / 'talk.2.srt'
    assert subtitles_of(tmp_path / 'talk.en.mp4') == tmp_path / 'talk.en.srt'


def test_subtitles_of_the_same_name_come_before_those_of_a_language(tmp_path):
    touch(tmp_path, 'talk.mp4', 'talk.srt', 'talk.de.srt')
    assert subtitles_of(tmp_path / 'talk.mp4') == tmp_path / 'talk.srt'


def test_files_that_are_named_each_are_listed_as_their_folder_is(tmp_path):
    touch(tmp_path, 'a.mp4', 'a.srt', 'b.srt')
    assert find_videos(sorted(tmp_path.iterdir())) == find_videos([tmp_path])


def test_a_link_keeps_its_name_and_its_subtitles(tmp_path):
    touch(tmp_path, 'store/x1.mp4', 'links/talk.srt')
    (tmp_path / 'links/talk.mp4').symlink_to(tmp_path / 'store/x1.mp4')
    assert names_of(find_videos([tmp_path / 'links']), tmp_path) == ['links/talk.mp4']
    assert subtitles_of(tmp_path / 'links/talk.mp4') == tmp_path / 'links/talk.srt'


@pytest.mark.parametrize('time', ['9999:59:59,000', '99999999999999:00:01,000', '00:00:00,000'])
def test_times_that_cannot_be_are_refused(tmp_path, time):
    path = tmp_path / 'talk.srt'
    path.write_text(f'1\n00:00:00,000 --> {time}\na dog\n')
    with pytest.raises(InputError, match=r'talk.srt'):
        read_content(path, None)


def test_two_subtitles_of_a_video_are_refused(tmp_path):
    touch(tmp_path, 'talk.mp4', 'talk.en.srt', 'talk.de.vtt')
    with pytest.raises(InputError, match=r'talk.de.vtt, talk.en.srt, expected one file'):
        subtitles_of(tmp_path / 'talk.mp4')


class Recognizer:
    """Hears the same in every file, beyond its end too."""

    def transcribe(self, path):
        return [
            TimedSentence('one', 0.0, 0.5),
            TimedSentence('two', 0.5, 9),
            TimedSentence('three', 8, 9),
        ]


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / 'talk.mp4', [grey(x) for x in range(0, 100, 10)], sound=tone(1.0))


def test_subtitles_come_before_speech(tmp_path, video):
    write_srt(tmp_path / 'talk.srt', 1, seconds=0.5)
    content = read_content(video, Recognizer())
    assert [x.text for x in content.sentences] == ['the man climbs a wall']
    assert content.has_pictures


def test_sentences_end_with_the_video(video):
    content = read_content(video, Recognizer())
    assert content.duration == pytest.approx(1.0, abs=0.1)
    assert [(x.text, x.start) for x in content.sentences] == [('one', 0.0), ('two', 0.5)]
    assert content.sentences[1].end == content.duration


def test_a_video_without_sound_or_a_recognizer_has_no_sentences(tmp_path, video):
    silent = write_video(tmp_path / 'silent.mp4', [grey(9)] * 10)
    assert read_content(silent, Recognizer()).sentences == []
    assert read_content(video, None).sentences == []


def test_sound_without_pictures_is_heard(tmp_path):
    sound = write_video(tmp_path / 'talk.m4a', sound=tone(1.0), container_format='mp4')
    content = read_content(sound, Recognizer())
    assert not content.has_pictures
    assert len(content.sentences) == 2


def test_subtitles_alone_last_as_long_as_what_is_said(tmp_path):
    content = read_content(write_srt(tmp_path / 'talk.srt', 3), None)
    assert (content.duration, content.has_pictures, len(content.sentences)) == (12.0, False, 3)
