import numpy as np
import pytest

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.pooling import pool_sentences
from reloclnet_mm.structures.clips import clip_membership, count_clips


def naive_pooling(token_features, moments, clip_length, num_clips, mode, width):
    """Clip by clip, sentence by sentence, over the concatenated rows."""
    out = np.zeros((num_clips, width))
    for clip in range(num_clips):
        begin, finish = clip * clip_length, (clip + 1) * clip_length
        rows = []
        for features, (start, end) in zip(token_features, moments, strict=True):
            if start == end:
                last = clip == num_clips - 1 and start == finish
                said_here = begin <= start < finish or last
            else:
                said_here = min(end, finish) - max(start, begin) > 0
            if said_here:
                rows.extend(features)
        if rows:
            out[clip] = np.max(rows, 0) if mode == 'max' else np.mean(rows, 0)
    return out


@pytest.mark.parametrize('mode', ['max', 'mean'])
@pytest.mark.parametrize('seed', range(20))
def test_pooling_equals_the_naive_loop(mode, seed):
    rng = np.random.default_rng(seed)
    num_sentences, num_clips = rng.integers(1, 8), rng.integers(1, 12)
    # quarters of seconds meet the edges of clips often
    moments = np.sort(rng.integers(0, 4 * 1.5 * num_clips + 5, (num_sentences, 2)) / 4, 1)
    tokens = [rng.normal(size=(rng.integers(1, 6), 3)).astype('f4') for _ in moments]
    pooled = pool_sentences(tokens, clip_membership(moments, 1.5, num_clips), mode, 3)
    expected = naive_pooling(tokens, moments, 1.5, num_clips, mode, 3)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, expected, rtol=1e-6, atol=1e-6)


def test_mean_is_over_tokens_not_over_sentences():
    tokens = [np.array([[1.0], [2.0], [3.0]]), np.array([[10.0]])]
    members = np.array([[True, True], [False, True]])
    assert pool_sentences(tokens, members, 'mean', 1).ravel().tolist() == [4.0, 10.0]


def test_maximum_of_negative_numbers_is_negative():
    tokens = [np.array([[-1.0, -5.0], [-2.0, -3.0]])]
    assert pool_sentences(tokens, np.array([[True]]), 'max', 2).tolist() == [[-1.0, -3.0]]


@pytest.mark.parametrize('mode', ['max', 'mean'])
def test_pooling_of_a_clip_without_text_gives_zeros(mode):
    members = clip_membership(np.array([[2.0, 3.0]]), 1.0, 4)
    pooled = pool_sentences([np.ones((2, 5))], members, mode, 5)
    assert pooled.any(1).tolist() == [False, False, True, False]


@pytest.mark.parametrize('mode', ['max', 'mean'])
def test_pooling_of_a_video_without_sentences_gives_zeros(mode):
    members = clip_membership(np.zeros((0, 2)), 1.0, 3)
    pooled = pool_sentences([], members, mode, 7)
    assert pooled.shape == (3, 7)
    assert not pooled.any()


def test_sentence_that_ends_on_the_edge_of_a_clip_is_not_in_the_next():
    assert clip_membership(np.array([[1.5, 3.0]]), 1.5, 4).T.tolist() == [
        [False, True, False, False]
    ]


def test_sentence_without_length_counts_for_the_clip_it_lies_in():
    moments = np.array([[0.0, 0.0], [1.5, 1.5], [4.4, 4.4], [4.5, 4.5], [4.6, 4.6]])
    members = clip_membership(moments, 1.5, 3)
    # The fourth is at the very end, the fifth after it.
    assert members.T.astype(int).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 1],
        [0, 0, 0],
    ]


def test_sentence_after_the_video_is_in_no_clip():
    assert not clip_membership(np.array([[4.5, 9.0]]), 1.5, 3).any()


def test_sentence_that_runs_past_the_video_counts_for_its_last_clips():
    assert clip_membership(np.array([[3.5, 90.0]]), 1.5, 3).T.tolist() == [[False, False, True]]


@pytest.mark.parametrize(
    ('duration', 'clip_length', 'expected'),
    [
        (6.0, 1.5, 4),
        (6.01, 1.5, 5),
        (0.2, 1.5, 1),
        (6.3, 2.1, 3),
        (0.3, 0.1, 3),
        (211.53, 2.0, 106),
    ],
)
def test_clips_cover_the_video(duration, clip_length, expected):
    assert count_clips(duration, clip_length) == expected


def test_unknown_pool_is_refused():
    with pytest.raises(InputError, match="pool 'median', expected one of max, mean"):
        pool_sentences([np.ones((1, 2))], np.array([[True]]), 'median', 2)
