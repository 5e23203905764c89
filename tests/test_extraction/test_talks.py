"""The talks of the package: their text, their times, and the files made of them."""

import re
import shutil
import sys

import numpy as np
import pytest
from tool_processes import full_disk, run_here

from reloclnet_mm.datasets.readers import TVRReader
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.subtitles import read_cues
from reloclnet_mm.extraction.talks import (
    HEIGHT,
    SAMPLES_PER_SECOND,
    WIDTH,
    Talk,
    TalkQuery,
    draw_slide,
    is_complete,
    part_moments,
    place_sentences,
    read_talks,
    read_truth,
    speak,
    timed_sentences,
    truth_of,
    write_talk,
)

TALKS = read_talks().talks
QUERIES = [(talk, query) for talk in TALKS for query in talk.queries]
SMALL = Talk(
    name='small',
    title='A small talk',
    parts=[['one two three four five', 'a b c d e f g h i j'], ['here are the last five']],
    queries=[TalkQuery('the end', 1, None), TalkQuery('the beginning', 0, None)],
)
# 5, 10 and 5 words, 2.5 a second; pauses of 0.4 s and, between parts, of 1.2 s
SMALL_TIMES = [(0.0, 2.0), (2.4, 6.4), (7.6, 9.6)]
SMALL_DURATION = 10.8
needs_espeak = pytest.mark.skipif(
    shutil.which('espeak-ng') is None, reason='espeak-ng is not installed'
)


def words_of(text):
    return re.findall(r"[a-z']+", text.lower())


def runs_of(words, length):
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def decoded(path, kind):
    """Frames of the pictures, (N, rows, columns, 3), or samples of the sound, (N,)."""
    av = pytest.importorskip('av')
    with av.open(str(path)) as container:
        if kind == 'video':
            frames = container.decode(video=0)
            return np.stack([frame.to_ndarray(format='rgb24') for frame in frames]).astype(int)
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


@pytest.fixture(scope='module')
def silent(tmp_path_factory):
    """A folder with the small talk, and its video."""
    pytest.importorskip('av')
    folder = tmp_path_factory.mktemp('silent')
    return folder, write_talk(SMALL, folder, speech=False)


def test_there_are_twenty_talks_of_four_or_five_parts():
    assert len({talk.name for talk in TALKS}) == len({talk.title for talk in TALKS}) == 20
    assert all(re.fullmatch('[a-z]+(_[a-z]+)+', talk.name) for talk in TALKS)
    assert {len(talk.parts) for talk in TALKS} == {4, 5}
    assert {len(part) for talk in TALKS for part in talk.parts} == {3, 4, 5}


def test_sentences_have_eleven_to_eighteen_words_and_none_comes_twice():
    sentences = [text for talk in TALKS for part in talk.parts for text in part]
    lengths = [len(text.split()) for text in sentences]
    assert (len(sentences), min(lengths), max(lengths)) == (338, 11, 18)
    assert len(set(sentences)) == len(sentences)


def test_each_talk_has_two_queries_that_two_of_its_parts_answer():
    for talk in TALKS:
        first, second = talk.queries
        assert first.part != second.part
        assert {first.part, second.part} <= set(range(len(talk.parts)))
    assert len({query.text for _, query in QUERIES}) == 40


def test_queries_with_a_rival_name_another_talk():
    names = {talk.name for talk in TALKS}
    hard = [(talk.name, query.rival) for talk, query in QUERIES if query.rival]
    assert len(hard) == 15
    assert all(rival in names - {name} for name, rival in hard)


@pytest.mark.parametrize(('talk', 'query'), QUERIES, ids=[query.text for _, query in QUERIES])
def test_a_query_is_no_copy_of_the_part_that_answers_it(talk, query):
    asked, said = words_of(query.text), words_of(' '.join(talk.parts[query.part]))
    assert not runs_of(asked, 4) & runs_of(said, 4)
    assert len({word for word in asked if len(word) > 3} & set(said)) <= 2


def test_unrelated_queries_ask_for_no_subject_of_a_talk():
    unrelated = read_talks().unrelated
    assert len(set(unrelated)) == 20
    subjects = {word for talk in TALKS for word in words_of(talk.title) if len(word) > 4}
    assert not subjects & {word for text in unrelated for word in words_of(text)}


def test_times_follow_from_the_numbers_of_words():
    sentences = timed_sentences(SMALL)
    assert [(x.start, x.end) for x in sentences] == SMALL_TIMES
    assert [x.text for x in sentences] == [text for part in SMALL.parts for text in part]
    faster = timed_sentences(SMALL, words_per_second=5, pause=1, part_pause=2)
    assert [(x.start, x.end) for x in faster] == [(0, 1), (2, 4), (6, 7)]


def test_times_are_whole_milliseconds_and_rounding_does_not_add_up():
    sentences = place_sentences(SMALL, [1 / 3, 1 / 3, 1 / 3], pause=1 / 3, part_pause=1 / 3)
    assert [(x.start, x.end) for x in sentences] == [(0, 0.333), (0.667, 1), (1.333, 1.667)]


def test_a_length_too_few_or_too_many_is_no_talk():
    with pytest.raises(ValueError, match='zip'):
        place_sentences(SMALL, [1.0, 1.0])


def test_a_part_lasts_from_its_first_sentence_to_its_last():
    assert part_moments(SMALL, timed_sentences(SMALL)) == [(0.0, 6.4), (7.6, 9.6)]


def test_the_truth_of_a_query_is_the_moment_of_its_part():
    lines = truth_of(SMALL, timed_sentences(SMALL))
    assert [(x.desc, x.desc_id, x.ts) for x in lines] == [
        ('the end', 'small_0', (7.6, 9.6)),
        ('the beginning', 'small_1', (0.0, 6.4)),
    ]
    assert {(x.vid_name, x.duration) for x in lines} == {('small', SMALL_DURATION)}


def test_a_video_lasts_as_long_as_its_truth_says(silent):
    av = pytest.importorskip('av')
    with av.open(str(silent[1])) as container:
        assert container.duration / av.time_base == pytest.approx(SMALL_DURATION, abs=0.2)
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.pix_fmt) == (320, 180, 'yuv420p')
        assert (video.codec_context.name, audio.codec_context.name) == ('h264', 'aac')
        assert video.average_rate == 5


def test_a_browser_finds_the_index_of_a_video_before_its_data(silent):
    data = silent[1].read_bytes()
    assert data.index(b'moov') < data.index(b'mdat')


def test_the_slide_changes_when_the_next_sentence_begins(silent):
    frames = decoded(silent[1], 'video')
    changes = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    # 5 frames a second; sentences begin at 2.4 s and 7.6 s
    assert len(frames) == 54
    assert np.flatnonzero(changes > 1).tolist() == [11, 37]


def test_the_video_shows_the_slides(silent):
    frames = decoded(silent[1], 'video')
    for frame, place in ((0, (0, 0)), (12, (0, 1)), (53, (1, 0))):
        slide = np.asarray(draw_slide(SMALL, *place)).astype(int)
        assert np.abs(frames[frame] - slide).mean() < 6


def test_a_talk_without_speech_is_silent_and_has_its_sentences_beside_it(silent):
    assert np.abs(decoded(silent[1], 'audio')).max() < 1e-4
    assert read_cues(silent[0] / 'small.srt') == timed_sentences(SMALL)


def test_subtitles_of_all_talks_are_read_back_to_the_millisecond(tmp_path, monkeypatch):
    monkeypatch.setattr('reloclnet_mm.extraction.talks._encode', lambda path, *_: path.touch())
    for talk in TALKS:
        write_talk(talk, tmp_path, speech=False)
        assert read_cues(tmp_path / f'{talk.name}.srt') == timed_sentences(talk)


def test_the_reader_of_tvr_reads_the_truth(silent):
    reader = TVRReader(ann_file=str(silent[0] / 'truth.jsonl'))
    videos = reader.videos()
    assert {name: video.duration for name, video in videos.items()} == {'small': SMALL_DURATION}
    queries = reader.queries(videos)
    assert [(x.query_id, x.text) for x in queries] == [
        ('small_0', 'the end'),
        ('small_1', 'the beginning'),
    ]
    assert [(m.start, m.end) for x in queries for m in x.moments] == [(7.6, 9.6), (0.0, 6.4)]


def test_a_talk_is_complete_with_its_video_its_subtitles_and_its_truth(tmp_path, monkeypatch):
    monkeypatch.setattr('reloclnet_mm.extraction.talks._encode', lambda path, *_: path.touch())
    other = Talk('other', 'Another', SMALL.parts, [TalkQuery('the end', 1, None)])
    assert not is_complete(SMALL, tmp_path, speech=False)
    write_talk(SMALL, tmp_path, speech=False)
    write_talk(other, tmp_path, speech=False)
    assert is_complete(SMALL, tmp_path, speech=False)
    assert is_complete(other, tmp_path, speech=False)
    assert not is_complete(SMALL, tmp_path, speech=True)
    changed = Talk('small', 'A small talk', SMALL.parts, [TalkQuery('changed', 1, None)])
    assert not is_complete(changed, tmp_path, speech=False)
    for ending in ('mp4', 'srt'):
        (tmp_path / f'small.{ending}').unlink()
        assert not is_complete(SMALL, tmp_path, speech=False)
        write_talk(SMALL, tmp_path, speech=False)
        assert is_complete(SMALL, tmp_path, speech=False)
    assert len((tmp_path / 'truth.jsonl').read_text().splitlines()) == 3


def test_a_run_that_stops_in_a_video_leaves_no_truth_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr('reloclnet_mm.extraction.talks._encode', lambda path, *_: path.touch())
    write_talk(SMALL, tmp_path, speech=False)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('reloclnet_mm.extraction.talks._encode', stop)
    with pytest.raises(KeyboardInterrupt):
        write_talk(SMALL, tmp_path, speech=False)
    assert not is_complete(SMALL, tmp_path, speech=False)
    assert sorted(x.name for x in tmp_path.iterdir()) == ['small.mp4', 'small.srt', 'truth.jsonl']


def test_the_sentence_of_every_slide_stays_inside_its_card():
    pytest.importorskip('PIL')
    places = [
        (talk, part, index)
        for talk in TALKS
        for part, texts in enumerate(talk.parts)
        for index in range(len(texts))
    ]
    for place in places:
        pixels = np.asarray(draw_slide(*place))
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        background = pixels[0, 0]
        sides = (pixels[:, :16], pixels[:, -16:], pixels[36:42], pixels[-22:-17])
        assert all((side == background).all() for side in sides), place
        assert (pixels[42:-22] == 255).all(-1).any()


def test_white_text_is_legible_on_every_card():
    pytest.importorskip('PIL')
    for talk in TALKS:
        cards = [np.asarray(draw_slide(talk, part, 0))[0, 0] for part in range(len(talk.parts))]
        assert len({tuple(card) for card in cards}) == len(cards)
        for card in cards:
            # contrast as WCAG 2 defines it; 7 is its stricter limit
            share = card / 255
            linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
            assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) > 7


@needs_espeak
def test_speech_is_heard_when_the_truth_says(tmp_path):
    pytest.importorskip('av')
    write_talk(SMALL, tmp_path, speech=False)
    video = write_talk(SMALL, tmp_path, speech=True)
    assert not (tmp_path / 'small.srt').exists()
    assert is_complete(SMALL, tmp_path, speech=True)
    samples = decoded(video, 'audio')
    (start, end), (first_start, first_end) = (line.ts for line in read_truth(tmp_path))
    assert (first_start, start) == (0.0, pytest.approx(first_end + 1.2, abs=2e-3))

    def loudness(start, end):
        heard = samples[round(start * SAMPLES_PER_SECOND) : round(end * SAMPLES_PER_SECOND)]
        return np.sqrt(np.mean(heard**2))

    assert loudness(start, start + 0.3) > 0.02
    assert loudness(end - 0.5, end) > 0.02
    # a codec smears sound by a few hundredths of a second
    assert loudness(first_end + 0.1, start - 0.1) < 0.002
    assert loudness(end + 0.1, end + 1.0) < 0.002


@needs_espeak
def test_a_spoken_sentence_lasts_as_long_as_its_words_take():
    # 150 words a minute, about
    assert len(speak(' '.join(['seven'] * 20))) / SAMPLES_PER_SECOND == pytest.approx(8, rel=0.3)


def test_the_package_of_a_speaker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(InputError, match='apt-get install espeak-ng'):
        write_talk(SMALL, tmp_path / 'out', speech=True)
    assert not (tmp_path / 'out').exists()


def test_what_a_failing_speaker_says_is_passed_on(tmp_path, monkeypatch):
    program = tmp_path / 'espeak-ng'
    program.write_text('#!/bin/sh\necho no voice >&2\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(InputError, match=r'no voice \(status 3\)'):
        speak('hello')


@pytest.mark.parametrize(('module', 'extra'), [('av', 'video'), ('srt', 'text')])
def test_a_library_that_is_not_installed_is_named(module, extra, tmp_path, monkeypatch):
    pytest.importorskip('av')
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf'needs {module}; .*reloclnet_mm\[{extra}\]'):
        write_talk(SMALL, tmp_path, speech=False)


def test_a_disk_that_is_full_is_one_message(tmp_path):
    pytest.importorskip('av')
    with full_disk(4000), pytest.raises(InputError, match=r'small\.mp4: cannot be written'):
        write_talk(SMALL, tmp_path, speech=False)
    assert [x.name for x in tmp_path.iterdir()] == ['truth.jsonl']


def test_the_tool_goes_on_where_it_stopped(tmp_path):
    pytest.importorskip('av')
    first, second = (talk.name for talk in TALKS[:2])
    assert 'wrote 1 talks' in run_here(tmp_path, 'make_talks', 'out', '--count', 1)
    written = (tmp_path / f'out/{first}.mp4').stat().st_mtime_ns
    printed = run_here(tmp_path, 'make_talks', 'out', '--count', 2)
    assert re.search(r'wrote 1 talks in [\d.]+ s, 1 were there', printed)
    seconds = sum(timed_sentences(talk)[-1].end + 1.2 for talk in TALKS[:2])
    assert f'2 talks of {seconds / 60:.1f} minutes' in printed
    assert '4 queries in out/truth.jsonl' in printed
    assert (tmp_path / f'out/{first}.mp4').stat().st_mtime_ns == written
    names = {f'{name}.{ending}' for name in (first, second) for ending in ('mp4', 'srt')}
    assert {x.name for x in (tmp_path / 'out').iterdir()} == {
        *names,
        'truth.jsonl',
        'unrelated.txt',
    }


@pytest.mark.parametrize('count', [0, 21])
def test_the_tool_names_a_number_of_talks_that_cannot_be(count, tmp_path):
    printed = run_here(tmp_path, 'make_talks', 'out', '--count', count, status=1)
    assert f'--count is {count}, expected 1 to 20' in printed
