from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from reloclnet_mm.extraction import extraction
from reloclnet_mm.extraction.extraction import count_outside, extract_queries, extract_sentences
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.features.writer import FeatureWriter


def rows_of(text):
    """A row a word: its length and the number of its vowels."""
    return np.array(
        [[len(word), sum(word.count(v) for v in 'aeiou')] for word in text.split()], np.float32
    )


@pytest.fixture
def encoder():
    calls = []

    def encode(texts):
        calls.append(list(texts))
        return [rows_of(text) for text in texts]

    return SimpleNamespace(encode=encode, width=2, calls=calls)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(extraction, 'TEXTS_PER_CHUNK', 3)


def writer(tmp_path):
    return FeatureWriter(tmp_path / 'out.h5', {'encoder': 'words'}, 'float32')


def read_all(tmp_path):
    with h5py.File(tmp_path / 'out.h5') as file:
        return {key: file[key][()].tolist() for key in file}


def test_queries_are_written_by_id_whatever_the_chunks(encoder, small_chunks, tmp_path):
    texts = {str(i): 'word ' * (i % 3 + 1) + 'end' for i in range(8)}
    done = []
    extract_queries(texts, encoder, writer(tmp_path), done.append)
    assert read_all(tmp_path) == {key: rows_of(text).tolist() for key, text in texts.items()}
    assert done == [3, 3, 2]


def test_queries_that_are_there_are_not_encoded_again(encoder, tmp_path):
    extract_queries({'1': 'one'}, encoder, writer(tmp_path), lambda count: None)
    extract_queries({'1': 'one', '2': 'two'}, encoder, writer(tmp_path), lambda count: None)
    assert encoder.calls == [['one'], ['two']]
    assert sorted(read_all(tmp_path)) == ['1', '2']


def test_sentences_are_pooled_over_the_clips_of_their_own_video(encoder, small_chunks, tmp_path):
    subtitles = {
        'a': [TimedSentence('to sea', 0.0, 2.5), TimedSentence('go', 2.0, 3.0)],
        'b': [TimedSentence('rhythm', 1.0, 2.0)],
        'not in the index': [TimedSentence('lost', 0.0, 1.0)],
        'silent': [],
    }
    done = []
    extract_sentences(
        subtitles,
        {'silent': 2.0, 'a': 4.5, 'b': 1.9, 'unknown': 0.5},
        encoder,
        writer(tmp_path),
        clip_length=2.0,
        pool='mean',
        advance=done.append,
    )
    # to [2, 1], sea [3, 2], go [2, 1], rhythm [6, 0]
    assert read_all(tmp_path) == {
        'a': [[2.5, 1.5], [np.float32(7 / 3), np.float32(4 / 3)], [0, 0]],
        'b': [[6, 0]],
        'silent': [[0, 0]],
        'unknown': [[0, 0]],
    }
    assert sum(done) == 3


def test_many_videos_without_text_still_come_in_chunks(encoder, small_chunks, tmp_path):
    out = writer(tmp_path)
    durations = {f'v{i}': 1.0 for i in range(7)}
    extract_sentences(
        {}, durations, encoder, out, clip_length=1.0, pool='max', advance=lambda count: None
    )
    assert encoder.calls == [[], [], []]
    assert len(read_all(tmp_path)) == 7


def test_sentences_after_the_end_of_their_video_are_counted():
    subtitles = {
        'a': [TimedSentence('in', 0.0, 9.0), TimedSentence('out', 4.0, 9.0)],
        'b': [TimedSentence('out', 50.0, 50.0)],
        'not in the index': [TimedSentence('x', 99.0, 100.0)],
    }
    assert count_outside(subtitles, {'a': 3.5, 'b': 3.5, 'c': 1.0}, 2.0) == 2
