"""Which pictures are taken of a video, and their features, against videos of known pictures."""

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from small_videos import grey, tone, write_video
from tiny_image_encoder import IMAGE_SIZE, WIDTH, write_tiny_clip

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction import frames, media
from reloclnet_mm.extraction.content import VideoContent
from reloclnet_mm.extraction.frames import (
    FrameFeatures,
    clip_of,
    clip_times,
    exact,
    frame_at,
    frame_times,
    pair_with_times,
    sampled_frames,
)
from reloclnet_mm.extraction.images import ImageEncoder
from reloclnet_mm.extraction.media import probe
from reloclnet_mm.registry import EXTRACTORS
from reloclnet_mm.structures.clips import count_clips

av = pytest.importorskip('av', reason='needs reloclnet_mm[video]')
pytest.importorskip('PIL', reason='needs reloclnet_mm[video]')

# A picture's number is told by its level of grey, which codecs change by less than half a step.
STEP = 4
NTSC = Fraction(30000, 1001)


def numbered(count):
    return [grey(STEP * number) for number in range(count)]


def number_of(picture):
    return round(float(np.asarray(picture).mean()) / STEP)


def content(path):
    info = probe(path)
    return VideoContent(path, info.duration, info.has_video, [])


@pytest.fixture(scope='module')
def encoder_dir(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture(scope='module')
def encoder(encoder_dir):
    return ImageEncoder(encoder_dir)


@pytest.fixture
def video(tmp_path):
    """60 pictures at 10 a second, a keyframe at every fifth."""
    return write_video(tmp_path / 'v.mp4', numbered(60), codec_options={'g': '5'})


@pytest.fixture
def warnings_of_media(monkeypatch):
    messages = []
    monkeypatch.setattr(media, 'print_log', lambda message, *_: messages.append(message))
    return messages


# times


def times_by_clip(duration, clip_length, fps):
    """The oracle: all of k / fps, each put into the clip that it lies in; else the middle."""
    duration, length, fps = (Fraction(str(x)) for x in (duration, clip_length, fps))
    num_clips = count_clips(float(duration), float(length))
    clips = [[] for _ in range(num_clips)]
    number = 0
    while number / fps < duration:
        clips[min(int(number / fps // length), num_clips - 1)].append(number / fps)
        number += 1
    bounds = [clip * length for clip in range(num_clips)] + [duration]
    return [times or [(bounds[clip] + bounds[clip + 1]) / 2] for clip, times in enumerate(clips)]


def random_settings():
    generator = np.random.default_rng(0)
    for _ in range(100):
        length = float(generator.choice([0.5, 1.5, 2.0, 2.1, 1 / 3]))
        whole = int(generator.integers(1, 12))
        duration = [length * whole, round(float(generator.uniform(0.01, 20)), 6)]
        fps = float(generator.choice([0.1, 0.3, 1.0, 2.0, 2.5, 29.97, 240.0]))
        yield float(duration[generator.integers(2)]), length, fps


def test_times_are_those_of_exact_arithmetic_clip_by_clip():
    for duration, length, fps in random_settings():
        expected = times_by_clip(duration, length, fps)
        times = list(clip_times(duration, length, fps))
        assert times == [time for clip in expected for time in clip], (duration, length, fps)
        owners = [clip_of(time, length, len(expected)) for time in times]
        assert owners == [i for i, clip in enumerate(expected) for _ in clip], (duration, length)


def test_a_time_on_a_boundary_is_of_the_later_clip():
    # in floating point 6.3 // 2.1 is 2
    assert clip_of(exact(6.3), 2.1, 10) == 3


def test_a_clip_without_a_regular_time_has_its_middle():
    # at 0.2 pictures a second: 0 s and 5 s
    assert list(clip_times(7.0, 2.0, 0.2)) == [0, 3, 5, Fraction(13, 2)]


def test_regular_times_begin_at_whole_numbers_of_the_interval():
    times = frame_times(Fraction(1, 3), Fraction(2), Fraction(3))
    assert list(times) == [Fraction(k, 3) for k in range(1, 6)]


def test_frames_are_paired_with_the_times_at_which_they_are_shown():
    generator = np.random.default_rng(1)
    for _ in range(200):
        starts = sorted({Fraction(int(x), 7) for x in generator.integers(0, 60, 12)})
        times = [Fraction(int(x), 7) for x in sorted(generator.integers(0, 80, 15))]
        found = {
            frame: due for _, frame, due in pair_with_times(((x, x) for x in starts), iter(times))
        }
        shown = [max((x for x in starts if x <= time), default=starts[0]) for time in times]
        expected = {x: [t for t, y in zip(times, shown, strict=True) if x == y] for x in shown}
        assert found == expected


# pictures of files


def test_pictures_are_those_shown_at_whole_numbers_of_the_rate(video):
    found = [(time, number_of(picture)) for time, picture in sampled_frames(video, 4, 64)]
    assert found == [(k / 4, k * 10 // 4) for k in range(24)]


@pytest.mark.parametrize('fps', [NTSC, Fraction(24000, 1001), 240, 25])
def test_pictures_of_any_rate_are_told_by_exact_times(tmp_path, fps):
    path = write_video(tmp_path / 'v.mp4', numbered(60), fps=fps)
    rate = float(fps) / 2.5
    expected = [int(k / exact(rate) * fps) for k in range(24)]
    assert [number_of(picture) for _, picture in sampled_frames(path, rate, 64)] == expected


def test_at_the_very_time_of_a_picture_it_is_shown(tmp_path):
    # 29.97 a second, asked for each 1001 / 3000 s: every tenth picture and none beside it
    path = write_video(tmp_path / 'v.mp4', numbered(60), fps=NTSC)
    times = (Fraction(1001 * k, 3000) for k in range(6))
    found = [number_of(picture) for picture, _ in frames.shown_frames(path, times, 64)]
    assert found == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'webm'])
@pytest.mark.parametrize('start', [0, 5, Fraction(1, 3)])
def test_variable_rates_and_late_starts_keep_the_times_of_a_player(tmp_path, ending, start):
    # whole milliseconds, which all containers keep
    times = np.cumsum([0, 40, 400, 40, 1000, 200, 40, 40, 80, 700]) / 1000
    starts = [Fraction(round(1000 * time), 1000) for time in times]
    path = write_video(
        tmp_path / f'v.{ending}',
        numbered(10),
        [start + x for x in starts],
        fps=25,
        # With pictures out of order, the length that an mp4 states ends before the last.
        codec_options={'bf': '0'},
    )
    # The last is shown for 1 / 25 s.
    expected = [sum(x <= Fraction(k, 8) for x in starts) - 1 for k in range(21)]
    assert [number_of(picture) for _, picture in sampled_frames(path, 8, 64)] == expected


def test_pictures_that_begin_after_the_sound_are_shown_before_too(tmp_path):
    path = write_video(
        tmp_path / 'v.mkv', numbered(10), [1 + Fraction(k, 10) for k in range(10)], sound=tone(2)
    )
    found = [number_of(picture) for _, picture in sampled_frames(path, 5, 64)]
    assert found[:10] == [0, 0, 0, 0, 0, 0, 2, 4, 6, 8]


@pytest.mark.parametrize('rotation', [90, 180, -90])
def test_pictures_are_upright(tmp_path, rotation):
    picture = grey(0, 96, 48)
    picture[:16, :32] = 255
    path = write_video(tmp_path / 'v.mp4', [picture] * 3, rotation=rotation)
    expected = np.rot90(picture, rotation // 90)
    _, found = next(sampled_frames(path, 1, 96))
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 3
    small = np.asarray(frame_at(path, 0, 24))
    assert small.shape == ((12, 24, 3) if rotation == 180 else (48, 24, 3))


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    path = write_video(tmp_path / 'v.mp4', numbered(3), codec_options={'aspect': '2:1'})
    with av.open(str(path)) as container:
        aspect = container.streams.video[0].sample_aspect_ratio
    assert frame_at(path, 0, 640).size == (round(64 * aspect), 48)


def test_pictures_of_4k_are_made_smaller(tmp_path):
    path = write_video(tmp_path / 'v.mp4', [grey(80, 3840, 2160)] * 2)
    sizes = {picture.shape for _, picture in sampled_frames(path, 10, 128)}
    assert sizes == {(72, 128, 3)}


def test_small_pictures_are_not_made_larger(video):
    assert next(sampled_frames(video, 1, 1000))[1].shape == (48, 64, 3)


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'webm', 'ts', 'avi'])
def test_the_picture_at_a_time_is_the_one_shown(tmp_path, ending):
    # 25 a second, which has whole timestamps everywhere; in order, for AVI
    options = {'g': '7', 'bf': '0'}
    path = write_video(tmp_path / f'v.{ending}', numbered(60), fps=25, codec_options=options)
    for seconds in (0, 0.039, 0.04, 1.01, 1.5, 2.37):
        assert number_of(frame_at(path, seconds, 64)) == int(exact(seconds) * 25), seconds


def test_in_a_file_without_presentation_times_pictures_keep_their_order(tmp_path):
    path = write_video(tmp_path / 'v.avi', numbered(60), fps=25)
    found = [number_of(picture) for _, picture in sampled_frames(path, 5, 64)]
    assert found == sorted(found)
    assert np.abs(np.subtract(found, np.arange(len(found)) * 5)).max() <= 2


def test_the_picture_at_a_time_after_the_end_is_the_last(video):
    assert number_of(frame_at(video, 6.0, 64)) == 59
    assert number_of(frame_at(video, 1e6, 64)) == 59


def test_the_picture_of_a_video_that_starts_late(tmp_path):
    times = [5 + Fraction(k, 10) for k in range(20)]
    path = write_video(tmp_path / 'v.mp4', numbered(20), times)
    assert number_of(frame_at(path, 1.05, 64)) == 10


def test_the_picture_at_a_time_is_decoded_from_a_keyframe_near_it(video, monkeypatch):
    decoded = []

    def counting(*args):
        for time, frame in media.decode(*args):
            decoded.append(time)
            yield time, frame

    monkeypatch.setattr(frames, 'decode', counting)
    assert number_of(frame_at(video, 4.2, 64)) == 42
    assert decoded[0] >= 4
    assert len(decoded) < 10


def test_a_file_without_pictures_is_named(tmp_path):
    path = write_video(tmp_path / 'sound.m4a', sound=tone(1))
    with pytest.raises(InputError, match=r'sound\.m4a: has no pictures'):
        frame_at(path, 0, 64)
    with pytest.raises(InputError, match=r'sound\.m4a: has no pictures'):
        next(sampled_frames(path, 1, 64))


def damage(path, begin, end):
    """Overwrite a part of the packets of an mp4, given in fractions of all."""
    content = bytearray(path.read_bytes())
    first, last = content.index(b'mdat') + 4, content.rindex(b'moov') - 4
    first, last = (round(first + x * (last - first)) for x in (begin, end))
    content[first:last] = b'\xff' * (last - first)
    path.write_bytes(content)


def test_damaged_pictures_are_left_out_and_counted_once(video, warnings_of_media):
    damage(video, 0.6, 0.7)
    found = [number_of(picture) for _, picture in sampled_frames(video, 10, 64)]
    assert len(found) == 60
    assert (found[0], found[-1]) == (0, 59)
    (message,) = warnings_of_media
    assert 'damaged packets of its video stream left out' in message


def test_a_video_of_which_nothing_can_be_decoded_is_named(video):
    damage(video, 0, 1)
    for use in (lambda: list(sampled_frames(video, 1, 64)), lambda: frame_at(video, 3, 64)):
        with pytest.raises(InputError, match='nothing of its video stream can be decoded'):
            use()


# features


def mean_of_clips(path, encoder, clip_length, fps):
    """The oracle: each picture decoded, made smaller and encoded by itself."""
    with av.open(str(path)) as container:
        decoded = [
            (frame.pts * frame.time_base, frame.to_ndarray(format='rgb24'))
            for frame in container.decode(video=0)
        ]
    duration = probe(path).duration
    rows = []
    for times in times_by_clip(duration, clip_length, fps):
        shown = [[picture for start, picture in decoded if start <= time][-1] for time in times]
        rows.append(np.mean([encoder.encode([picture])[0] for picture in shown], axis=0))
    return np.stack(rows)


@pytest.mark.parametrize('fps', [0.3, 2.0, 7.5])
@pytest.mark.parametrize('clip_length', [2.0, 1.1])
def test_a_row_is_the_mean_over_the_pictures_of_its_clip(
    video, encoder_dir, encoder, fps, clip_length
):
    features = FrameFeatures(encoder=encoder_dir, fps=fps).extract(content(video), clip_length)
    assert features.dtype == np.float32
    assert features.shape == (count_clips(6.0, clip_length), WIDTH)
    expected = mean_of_clips(video, encoder, clip_length, fps)
    np.testing.assert_allclose(features, expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.01


def test_the_size_of_batches_does_not_change_the_features(video, encoder_dir):
    one, many = (
        FrameFeatures(encoder=encoder_dir, batch_size=size).extract(content(video), 2.0)
        for size in (1, 5)
    )
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_a_picture_shown_at_many_times_is_encoded_once(tmp_path, encoder_dir, monkeypatch):
    # the first picture is shown for 4 s, the second for 0.5 s
    path = write_video(tmp_path / 'v.mp4', numbered(3), [0, 4, Fraction(9, 2)], fps=2)
    made = FrameFeatures(encoder=encoder_dir, fps=8)
    sizes = []
    prepare = made._encoder.prepare
    monkeypatch.setattr(
        made._encoder, 'prepare', lambda x: prepare(x) if sizes.append(len(x)) is None else None
    )
    features = made.extract(content(path), 1.0)
    assert sum(sizes) == 3
    np.testing.assert_array_equal(features[0], features[3])


def test_it_is_built_from_a_config(encoder_dir):
    made = EXTRACTORS.build(dict(type='FrameFeatures', encoder=str(encoder_dir), fps=1.0))
    assert (made.width, made.reads) == (WIDTH, 'pictures')


def test_the_identity_tells_what_features_depend_on(encoder_dir, encoder):
    assert FrameFeatures(encoder=encoder_dir, batch_size=2).identity() == dict(
        type='FrameFeatures',
        encoder=str(encoder_dir),
        weights=encoder.checksum(),
        fps=2.0,
        max_side=2 * IMAGE_SIZE,
    )


def test_what_fails_while_decoding_reaches_the_caller_and_the_thread_ends(video, encoder_dir):
    made = FrameFeatures(encoder=encoder_dir)
    asked = content(video)
    damage(video, 0, 1)
    before = {*threading.enumerate()}
    with pytest.raises(InputError, match='nothing of its video stream can be decoded'):
        made.extract(asked, 2.0)
    assert {*threading.enumerate()} <= before


def test_the_thread_ends_when_the_model_fails(video, encoder_dir, monkeypatch):
    made = FrameFeatures(encoder=encoder_dir, batch_size=2)

    def fail(inputs):
        raise InputError('features are not finite')

    monkeypatch.setattr(made._encoder, 'features', fail)
    before = {*threading.enumerate()}
    with pytest.raises(InputError, match='not finite'):
        made.extract(content(video), 2.0)
    assert {*threading.enumerate()} <= before


@pytest.mark.parametrize('seed', range(40))
def test_a_corrupted_file_gives_features_or_one_message(tmp_path, whole, encoder_dir, seed):
    path = tmp_path / 'v.mp4'
    path.write_bytes(corrupted(whole.read_bytes(), np.random.default_rng(seed)))
    try:
        video = content(path)
        features = FrameFeatures(encoder=encoder_dir).extract(video, 2.0)
    except InputError as error:
        message = str(error)
    else:
        message = None
        assert features.shape == (count_clips(video.duration, 2.0), WIDTH)
        assert np.isfinite(features).all()
    assert message is None or str(path) in message


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp('whole') / 'v.mp4', numbered(40), sound=tone(4))


def corrupted(data, generator):
    """Overwrite some bytes, a run of bytes, or cut off the end."""
    data = np.frombuffer(data, np.uint8).copy()
    kind = generator.integers(3)
    if kind == 0:
        places = generator.integers(0, len(data), generator.integers(1, 60))
        data[places] = generator.integers(0, 256, len(places))
    elif kind == 1:
        begin = generator.integers(0, len(data))
        data[begin : begin + generator.integers(1, 2000)] = generator.integers(0, 256)
    else:
        data = data[: generator.integers(0, len(data))]
    return data.tobytes()


REAL = sorted((Path(__file__).parents[2] / '../shared/data/videos').glob('*.mp4'))


@pytest.mark.skipif(not REAL, reason='shared/data/videos is absent')
@pytest.mark.parametrize('path', REAL, ids=lambda path: path.stem)
def test_of_real_videos_the_pictures_shown_at_whole_seconds_are_taken(path):
    from PIL import Image

    with av.open(str(path)) as container:
        decoded = [(x.time, x.to_image()) for x in container.decode(video=0)]
    duration = probe(path).duration
    assert duration == pytest.approx(decoded[-1][0], abs=0.2)
    taken = list(sampled_frames(path, 1.0, 64))
    assert [time for time, _ in taken] == list(range(len(taken)))
    assert len(taken) == pytest.approx(duration, abs=1)
    for time, picture in taken:
        shown = [image for begin, image in decoded if begin <= time][-1]
        size = picture.shape[1], picture.shape[0]
        expected = np.asarray(shown.resize(size, Image.Resampling.BOX), float)
        assert np.abs(picture - expected).mean() < 6
