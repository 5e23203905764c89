"""What media files hold, against files that are written with known content."""

import builtins
import shutil
from fractions import Fraction

import numpy as np
import pytest
from small_videos import Pipe, grey, tone, write_video

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction import media
from reloclnet_mm.extraction.media import (
    MediaInfo,
    audio_chunks,
    join_sound,
    probe,
    quietest_cut,
)

av = pytest.importorskip('av', reason='needs reloclnet_mm[video]')

TWO_SECONDS = [grey(12 * number) for number in range(20)]
RATE = 16000


@pytest.fixture(scope='module')
def talk(tmp_path_factory):
    """Pictures of 2 s and sound of 3 s."""
    return write_video(
        tmp_path_factory.mktemp('talk') / 'talk.mp4', TWO_SECONDS, sound=tone(3, RATE)
    )


@pytest.fixture
def warnings_of_media(monkeypatch):
    messages = []
    monkeypatch.setattr(media, 'print_log', lambda message, *_: messages.append(message))
    return messages


# probe


def test_a_file_lasts_to_the_later_end_of_pictures_and_sound(talk):
    assert probe(talk) == MediaInfo(talk, 3.0, has_video=True, has_audio=True)


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'webm', 'avi', 'ts', 'mov'])
def test_pictures_without_sound(tmp_path, ending):
    path = write_video(tmp_path / f'silent.{ending}', TWO_SECONDS)
    assert probe(path) == MediaInfo(path, 2.0, has_video=True, has_audio=False)


@pytest.mark.parametrize('ending', ['m4a', 'mp4', 'mkv'])
def test_sound_without_pictures(tmp_path, ending):
    path = write_video(tmp_path / f'sound.{ending}', sound=tone(3))
    info = probe(path)
    assert (info.has_video, info.has_audio) == (False, True)
    # the codec begins with a frame of nothing, which some containers count
    assert info.duration == pytest.approx(3, abs=1024 / RATE + 1e-3)


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'webm', 'ts'])
def test_a_file_that_starts_late_lasts_from_its_start(tmp_path, ending):
    times = [5 + Fraction(number, 10) for number in range(20)]
    assert probe(write_video(tmp_path / f'late.{ending}', TWO_SECONDS, times)).duration == 2.0


def test_the_duration_of_a_fractional_rate_is_to_the_microsecond(tmp_path):
    path = write_video(tmp_path / 'film.mp4', TWO_SECONDS * 3, fps=Fraction(30000, 1001))
    assert probe(path).duration == pytest.approx(60 * 1001 / 30000, abs=1e-6)


def test_a_recording_that_states_no_length_is_read_to_its_end(tmp_path):
    pipe = Pipe()
    write_video(pipe, TWO_SECONDS, container_format='webm')
    path = tmp_path / 'recording.webm'
    path.write_bytes(pipe.content)
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe(path) == MediaInfo(path, 2.0, has_video=True, has_audio=False)


@pytest.mark.parametrize(
    'name',
    [
        'a talk.mp4',
        'it\'s "new".mp4',
        'día 日本.mp4',
        'http:talk.mp4',
        '%03d.mp4',
        'talk.txt',
        'talk',
    ],
)
def test_any_name_and_any_ending_will_do(talk, tmp_path, name, monkeypatch):
    shutil.copy(talk, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert probe(name).duration == 3.0


def test_the_cover_of_an_album_is_no_video(tmp_path):
    path = tmp_path / 'song.mp3'
    with av.open(str(path), 'w') as container:
        sound = container.add_stream('mp3', rate=RATE, layout='mono')
        cover = container.add_stream('png')
        cover.width, cover.height, cover.pix_fmt = 64, 48, 'rgb24'
        cover.disposition = av.stream.Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(tone(1)[None, :1152], format='fltp', layout='mono')
        samples.sample_rate = RATE
        container.mux(cover.encode(av.VideoFrame.from_ndarray(grey(9), format='rgb24')))
        container.mux(cover.encode())
        container.mux(sound.encode(samples))
        container.mux(sound.encode())
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    info = probe(path)
    assert (info.has_video, info.has_audio) == (False, True)


def write_encrypted(path):
    return write_video(
        path,
        TWO_SECONDS,
        container_options=dict(
            encryption_scheme='cenc-aes-ctr', encryption_key='7' * 32, encryption_kid='a' * 32
        ),
    )


def write_picture(path):
    from PIL import Image

    Image.fromarray(grey(3)).save(path, 'PNG')


def write_playlist(path):
    write_video(path.with_name('real.mp4'), TWO_SECONDS)
    path.write_text('ffconcat version 1.0\nfile real.mp4\n')


def write_cut_off(path):
    write_video(path, TWO_SECONDS)
    path.write_bytes(path.read_bytes()[:500])


def write_header_only(path):
    """The header first, and nothing of what it describes."""
    write_video(path, TWO_SECONDS, container_options={'movflags': 'faststart'})
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b'mdat') + 4])


def write_impossible_times(path):
    write_video(path, TWO_SECONDS[:2], [0, 10**6])


def write_without_length(path):
    """One picture, in a file that says neither its length nor that of a picture."""
    pipe = Pipe()
    write_video(pipe, TWO_SECONDS[:1], container_format='webm')
    of_a_picture = pipe.content.index(b'\x23\xe3\x83\x84')
    nothing = b'\xec\x86' + bytes(6)
    path.write_bytes(pipe.content[:of_a_picture] + nothing + pipe.content[of_a_picture + 8 :])


UNUSABLE = {
    'no such file': lambda path: None,
    r'is empty \(0 bytes\)': lambda path: path.touch(),
    'is not a regular file': lambda path: path.mkdir(),
    'cannot be read as video or sound': lambda path: path.write_text('hello ' * 500),
    r'cannot be read as video or sound \(': write_cut_off,
    'ends before its pictures and sound': write_header_only,
    'is encrypted': write_encrypted,
    'is a file of the kind png_pipe': write_picture,
    'is a file of the kind concat': write_playlist,
    'holds neither pictures nor sound': lambda path: path.write_text(
        '1\n00:00:01,000 --> 00:00:02,000\nhello\n\n'
    ),
    r'lasts 1e\+06 s by its times': write_impossible_times,
    'lasts 0 s by its times': write_without_length,
}


@pytest.mark.parametrize('reason', UNUSABLE)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path, reason):
    path = tmp_path / ('talk.mkv' if 'lasts 1' in reason else 'talk.mp4')
    UNUSABLE[reason](path)
    with pytest.raises(InputError, match=f'{path}: .*{reason}'):
        probe(path)


def test_a_missing_pyav_names_the_extra_to_install(talk, monkeypatch):
    real_import = builtins.__import__

    def without_av(name, *args, **kwargs):
        if name == 'av':
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_av)
    with pytest.raises(InputError, match=r'pip install "reloclnet_mm\[video\]"'):
        probe(talk)


# where sound is cut


def quietest_cut_by_sums(samples, rate):
    """The oracle: the energy of each window by itself."""
    window, within = round(0.2 * rate), min(15 * rate, len(samples) // 2)
    starts = range(len(samples) - within, len(samples) - window + 1)

    def energy(start):
        return sum(x * x for x in samples[start : start + window].tolist())

    return window // 2 + min(starts, key=lambda start: (energy(start), -start))


def test_sound_is_cut_in_the_middle_of_a_pause():
    samples = np.ones(3000, np.float32)
    samples[2000:2020] = 0
    # 100 samples a second: the pause of 0.2 s is between samples 2000 and 2020
    assert quietest_cut(samples, 100) == 2010


def test_of_several_pauses_the_last_is_cut_so_that_chunks_are_long():
    samples = np.ones(3000, np.float32)
    samples[1600:1700] = samples[2500:2600] = 0
    assert quietest_cut(samples, 100) == 2590


def test_a_pause_before_the_last_15_seconds_is_too_early():
    samples = np.ones(3000, np.float32)
    samples[1400:1480] = 0
    samples[2800:2830] = 0.5
    assert quietest_cut(samples, 100) == 2820


@pytest.mark.parametrize('length', [20, 41, 500, 4000])
def test_the_cut_is_where_the_sum_over_a_window_is_least(length):
    # Of whole numbers, sums are exact.
    samples = np.random.default_rng(length).integers(-3, 4, length).astype(np.float32)
    assert quietest_cut(samples, 50) == quietest_cut_by_sums(samples, 50)


def test_sound_shorter_than_two_windows_is_cut_at_its_end():
    assert quietest_cut(np.ones(39, np.float32), 100) == 39
    assert quietest_cut(np.ones(1, np.float32), 1) == 1


# how chunks are joined


def pieces_of(samples, rate, size=64, start=Fraction(0)):
    for begin in range(0, len(samples), size):
        yield start + Fraction(begin, rate), samples[begin : begin + size]


def test_chunks_are_whole_bounded_and_follow_each_other():
    samples = np.random.default_rng(1).normal(size=10_000).astype(np.float32)
    chunks = list(join_sound(pieces_of(samples, 100), 20.0, 100))
    np.testing.assert_array_equal(np.concatenate([x for _, x in chunks]), samples)
    assert max(len(x) for _, x in chunks) <= 2000
    ends = np.cumsum([len(x) for _, x in chunks])
    assert [start for start, _ in chunks] == pytest.approx([0, *(ends[:-1] / 100)])


def test_a_chunk_comes_before_the_rest_is_read():
    read = []

    def pieces():
        for number in range(100):
            read.append(number)
            yield Fraction(number), np.ones(100, np.float32)

    next(join_sound(pieces(), 5.0, 100))
    assert len(read) == 6


def test_a_pause_is_silence_of_its_length():
    one = np.ones(100, np.float32)
    ((start, samples),) = join_sound([(Fraction(3), one), (Fraction(6), one)], 60.0, 100)
    assert start == 3.0
    np.testing.assert_array_equal(samples, np.repeat([1, 0, 1], [100, 200, 100]))


def test_rounded_times_are_no_pause():
    one = np.ones(100, np.float32)
    pieces = [(Fraction(0), one), (Fraction(105, 100), one), (Fraction(195, 100), one)]
    ((_, samples),) = join_sound(pieces, 60.0, 100)
    np.testing.assert_array_equal(samples, np.ones(300))


def test_after_a_pause_longer_than_a_chunk_the_next_chunk_begins():
    one = np.ones(100, np.float32)
    chunks = list(join_sound([(Fraction(0), one), (Fraction(10**6), one)], 60.0, 100))
    assert [(start, len(x)) for start, x in chunks] == [(0.0, 100), (1e6, 100)]


# the sound of files


def loud_seconds(path, seconds):
    """Start and end in seconds of what is loud, over all chunks of a file."""
    times = [
        start + np.flatnonzero(np.abs(samples) > 0.1) / RATE
        for start, samples in audio_chunks(path, seconds)
    ]
    times = np.concatenate(times)
    return times[0], times[-1]


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'webm'])
@pytest.mark.parametrize('seconds', [300.0, 1.0])
def test_sound_keeps_its_times(tmp_path, ending, seconds):
    sound = np.concatenate([np.zeros(2 * 48000), tone(1, 48000), np.zeros(48000)])
    path = write_video(
        tmp_path / f'beep.{ending}', sound=sound.astype(np.float32), sound_rate=48000
    )
    assert loud_seconds(path, seconds) == pytest.approx((2, 3), abs=0.03)


def test_sound_that_begins_after_the_pictures_keeps_its_offset(tmp_path):
    path = write_video(tmp_path / 'late.mkv', TWO_SECONDS, sound=tone(1), sound_start=1.5)
    ((start, samples),) = audio_chunks(path)
    assert start == pytest.approx(1.5, abs=0.002)
    assert len(samples) == pytest.approx(RATE, abs=2048)


def test_sound_is_resampled_and_mixed_to_one_channel(tmp_path):
    path = tmp_path / 'stereo.wav'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('pcm_s16le', rate=44100, layout='stereo')
        left = (tone(1, 44100) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            np.stack([left, 0 * left], 1).reshape(1, -1), format='s16', layout='stereo'
        )
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    ((start, samples),) = audio_chunks(path)
    assert (start, samples.dtype, samples.ndim) == (0.0, np.float32, 1)
    assert len(samples) == pytest.approx(RATE, abs=2)
    # half of the left channel and none of the right
    np.testing.assert_allclose(samples[1000:-1000], tone(1)[1000 : RATE - 1000] / 2, atol=2e-3)


def test_a_file_without_sound_has_no_chunks(tmp_path):
    path = write_video(tmp_path / 'silent.mp4', TWO_SECONDS)
    with pytest.raises(InputError, match='has no sound'):
        next(audio_chunks(path))


def test_damaged_sound_is_left_out_and_counted_once(tmp_path, warnings_of_media):
    path = write_video(tmp_path / 'damaged.mp4', sound=tone(3))
    content = bytearray(path.read_bytes())
    begin = content.index(b'mdat') + 4
    content[begin + 2000 : begin + 4000] = b'\xff' * 2000
    path.write_bytes(content)
    heard = sum(len(samples) for _, samples in audio_chunks(path))
    assert RATE < heard <= 3.1 * RATE
    (message,) = warnings_of_media
    assert 'damaged packets of its audio stream left out' in message


def test_sound_of_which_nothing_can_be_decoded_is_refused(tmp_path):
    path = write_video(tmp_path / 'noise.mp4', sound=tone(1))
    content = bytearray(path.read_bytes())
    begin, end = content.index(b'mdat') + 4, content.index(b'moov') - 4
    content[begin:end] = b'\xff' * (end - begin)
    path.write_bytes(content)
    with pytest.raises(InputError, match='nothing of its audio stream can be decoded'):
        list(audio_chunks(path))


@pytest.mark.parametrize('ending', ['mp4', 'mkv'])
def test_a_file_that_was_cut_off_is_told_with_the_time_of_its_end(
    tmp_path, warnings_of_media, ending
):
    path = write_video(
        tmp_path / f'cut.{ending}', sound=tone(20), container_options={'movflags': 'faststart'}
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    heard = sum(len(samples) for _, samples in audio_chunks(path)) / RATE
    assert 5 < heard < 15
    (message,) = warnings_of_media
    assert f'its audio stream ends at {heard:.1f} s of 20.' in message


def test_a_whole_file_has_no_warnings(talk, warnings_of_media):
    assert len(list(audio_chunks(talk))) == 1
    assert warnings_of_media == []
