"""Transforms against naive versions and numbers worked by hand."""

import math

import h5py
import numpy as np
import pytest
import torch
from tiny_corpus import CHANNELS, corpus_dataset, edit_features, query_dataset

from reloclnet_mm.datasets.transforms.loading import CountClips
from reloclnet_mm.datasets.transforms.processing import (
    CountTimedRows,
    MomentToSpan,
    NormalizeFeatures,
    PoolClips,
)
from reloclnet_mm.errors import InputError
from reloclnet_mm.features.rows import normalize_rows, pool_rows, temporal_endpoints
from reloclnet_mm.registry import DATASETS
from reloclnet_mm.structures.clips import moment_to_span


def naive_pool(rows, max_rows):
    length = len(rows)
    bounds = [min(round(i * length / max_rows), length - 1) for i in range(max_rows + 1)]
    return np.stack(
        [
            np.mean(rows[bounds[i] : bounds[i + 1]], 0)
            if bounds[i] < bounds[i + 1]
            else rows[bounds[i]]
            for i in range(max_rows)
        ]
    )


@pytest.mark.parametrize('length', [129, 130, 192, 200, 255, 256, 257, 1000])
def test_pooling_equals_the_naive_loop(length):
    rows = np.random.default_rng(length).standard_normal((length, 3)).astype(np.float32)
    found = pool_rows(rows, 128)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, naive_pool(rows, 128))


def test_boundaries_round_half_to_even():
    # i · 10 / 4 = 0, 2.5, 5, 7.5, 10: bounds 0, 2, 5, 8 and 9, the last row.
    rows = np.arange(10, dtype=np.float32)[:, None]
    assert pool_rows(rows, 4)[:, 0].tolist() == [0.5, 3.0, 6.0, 8.0]


def test_an_empty_range_takes_the_row_at_its_boundary():
    # i · 5 / 4 = 0, 1.25, 2.5, 3.75, 5: bounds 0, 1, 2, 4, 4. The last range is empty.
    rows = np.arange(5, dtype=np.float32)[:, None]
    assert pool_rows(rows, 4)[:, 0].tolist() == [0.0, 1.0, 2.5, 4.0]


@pytest.mark.parametrize('length', [1, 127, 128])
def test_short_videos_are_not_pooled(length):
    rows = np.random.default_rng(0).standard_normal((length, 3))
    assert pool_rows(rows, 128) is rows


def test_rows_are_divided_by_their_norm_and_a_little():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(normalize_rows(rows), [[3 / 5.00001, 4 / 5.00001], [0, 0]])


def test_the_temporal_endpoints_of_a_video_of_four_clips():
    assert temporal_endpoints(4).tolist() == [[0, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 1]]
    assert temporal_endpoints(4).dtype == np.float32


@pytest.mark.parametrize(
    ('moment', 'seconds_per_clip', 'num_clips', 'span'),
    [
        ([0.0, 3.0], 1.5, 10, (0, 2)),
        ([1.4, 3.1], 1.5, 10, (0, 3)),
        ([1.5, 1.5], 1.5, 10, (1, 1)),
        ([14.9, 15.0], 1.5, 10, (9, 9)),
        ([16.0, 17.0], 1.5, 10, (9, 9)),
        ([0.0, 9.0], 3.0, 1, (0, 0)),
    ],
)
def test_spans_worked_by_hand(moment, seconds_per_clip, num_clips, span):
    assert moment_to_span(np.array(moment), seconds_per_clip, num_clips) == span


@pytest.mark.parametrize(
    ('moment', 'seconds_per_clip', 'num_clips', 'span'),
    [
        ([0.0, 3.0], 1.5, 10, (0, 1)),
        ([1.4, 3.1], 1.5, 10, (0, 2)),
        # A moment without length is its clip.
        ([1.5, 1.5], 1.5, 10, (1, 1)),
        ([14.9, 15.0], 1.5, 10, (9, 9)),
        ([12.0, 15.0], 1.5, 10, (8, 9)),
        ([16.0, 17.0], 1.5, 10, (9, 9)),
        ([0.0, 9.0], 3.0, 1, (0, 0)),
    ],
)
def test_inclusive_spans_worked_by_hand(moment, seconds_per_clip, num_clips, span):
    assert moment_to_span(np.array(moment), seconds_per_clip, num_clips, 'inclusive') == span


def truth(video_ids, moments):
    return dict(video_ids=np.array(video_ids), moments=np.array(moments))


def test_the_target_is_the_first_moment_in_the_own_video():
    gt = truth([8, 3, 3], [[0.0, 1.0], [4.0, 10.0], [0.0, 2.0]])
    results = dict(query_id=1, video_id=3, gt=gt, seconds_per_clip=2.0, num_clips=9)
    assert MomentToSpan().transform(results)['gt_span'] == (2, 5)
    inclusive = MomentToSpan('inclusive').transform(results)
    assert (inclusive['gt_span'], inclusive['span_end']) == ((2, 4), 'inclusive')
    with pytest.raises(ValueError, match="MomentToSpan: span_end is 'exclusive'"):
        MomentToSpan('exclusive')
    with pytest.raises(InputError, match='query 1 has no moment'):
        MomentToSpan().transform(results | dict(video_id=4))


@pytest.mark.parametrize(
    ('pooled_seconds', 'seconds_per_clip', 'span'),
    # 12 clips of 1.5 s in 8 rows: a row covers 2.25 s. 4 s to 10 s is row 1.8 to 4.4, or, if rows
    # counted as 1.5 s, row 2.7 to 6.7.
    [('true', 2.25, (1, 5)), ('official', 1.5, (2, 7))],
)
def test_targets_of_pooled_videos_follow_the_seconds_of_a_row(
    pooled_seconds, seconds_per_clip, span
):
    results = PoolClips(pooled_seconds).transform(
        dict(
            clips=dict(video=np.zeros((12, 2))),
            clip_length=1.5,
            max_clips=8,
            video_id=3,
            gt=truth([3], [[4.0, 10.0]]),
        )
    )
    assert results['num_clips'] == 8
    assert results['seconds_per_clip'] == seconds_per_clip
    assert MomentToSpan().transform(results)['gt_span'] == span


@pytest.mark.parametrize('cls', [PoolClips, CountClips])
def test_an_unknown_way_of_counting_pooled_seconds_is_refused(cls):
    with pytest.raises(ValueError, match=f"{cls.__name__}: pooled_seconds is 'both'"):
        cls(pooled_seconds='both')


@pytest.mark.parametrize('pooled_seconds', ['true', 'official'])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_clips_are_counted_as_pooling_leaves_them(corpus_folder, split, pooled_seconds):
    load = dict(type='reloclnet_mm.LoadClipFeatures')
    pool = dict(type='reloclnet_mm.PoolClips', pooled_seconds=pooled_seconds)
    count = dict(type='reloclnet_mm.CountClips', pooled_seconds=pooled_seconds)
    pooled = DATASETS.build(corpus_dataset(corpus_folder, split, [load, pool]))
    counted = DATASETS.build(corpus_dataset(corpus_folder, split, [count]))
    assert len(counted) == 4
    for expected, found in zip(pooled, counted, strict=True):
        assert expected.keys() - found.keys() == {'clips'}
        assert found == {key: expected[key] for key in found}


def test_the_clips_of_a_video_without_features_cannot_be_counted(corpus_folder):
    edit_features(corpus_folder / 'video.h5', 'c', None)
    count = dict(type='reloclnet_mm.CountClips')
    dataset = DATASETS.build(query_dataset(corpus_folder, pipeline=[count]))
    with pytest.raises(InputError, match=r"video\.h5: no features under the key 'c'"):
        dataset[4]


PIPELINE = [
    dict(type='reloclnet_mm.LoadQueryFeatures'),
    dict(type='reloclnet_mm.LoadClipFeatures'),
    dict(type='reloclnet_mm.PoolClips'),
    dict(type='reloclnet_mm.NormalizeFeatures'),
    dict(type='reloclnet_mm.AppendTEF'),
    dict(type='reloclnet_mm.MomentToSpan'),
    dict(type='reloclnet_mm.PackMomentInputs'),
]


def test_a_training_sample_worked_out_from_the_files(corpus_folder):
    dataset = DATASETS.build(query_dataset(corpus_folder, pipeline=PIPELINE, max_tokens=3))
    packed = dataset[3]  # the second query of video b, 11 clips in 8 rows
    with (
        h5py.File(corpus_folder / 'query.h5') as query,
        h5py.File(corpus_folder / 'video.h5') as video,
        h5py.File(corpus_folder / 'sub.h5') as subtitle,
    ):
        tokens, frames, words = query['3'][:3], video['b'][:], subtitle['b'][:]
    position = np.array([[i / 8, (i + 1) / 8] for i in range(8)])
    words = np.array([row / (math.sqrt((row**2).sum()) + 1e-5) for row in naive_pool(words, 8)])
    expected = dict(
        query=np.array([row / (math.sqrt((row**2).sum()) + 1e-5) for row in tokens]),
        video=np.concatenate([naive_pool(frames, 8), position], 1),
        subtitle=np.concatenate([words, position], 1),
    )
    assert set(packed['inputs']) == set(expected)
    for name, rows in expected.items():
        assert packed['inputs'][name].dtype == torch.float32
        np.testing.assert_allclose(packed['inputs'][name], rows, atol=1e-6)
    sample = packed['data_samples']
    (moment,) = sample.gt.moments.tolist()
    assert sample.gt.video_ids.tolist() == [1]
    row_seconds = 1.5 * 11 / 8
    span = [math.floor(moment[0] / row_seconds), math.ceil(moment[1] / row_seconds)]
    assert sample.gt_span.tolist() == span
    assert sample.metainfo == dict(
        query_id=3,
        query='query 3 in video b',
        query_type='t',
        video_name='b',
        video_id=1,
        source_id=1,
        duration=16.5,
        num_clips=8,
        seconds_per_clip=row_seconds,
        span_end='official',
        sample_idx=3,
    )


def test_half_precision_features_are_packed_as_float32(corpus_folder):
    with h5py.File(corpus_folder / 'video.h5', 'r+') as file:
        rows = file['a'][:].astype(np.float16)
        del file['a']
        file['a'] = rows
    pipeline = [PIPELINE[1], PIPELINE[-1]]
    packed = DATASETS.build(query_dataset(corpus_folder, pipeline=pipeline))[0]
    assert packed['inputs']['video'].dtype == torch.float32
    np.testing.assert_array_equal(packed['inputs']['video'], rows.astype(np.float32))
    assert packed['inputs']['video'].shape == (5, CHANNELS['video'])


def timed(clips, **others):
    files = dict(times='t.h5', subtitle='s.h5')
    return dict(video_name='v', duration=9.0, feature_files=files, clips=clips, **others)


def test_rows_with_times_of_their_own_are_counted():
    clips = dict(times=np.array([[0, 2.5], [2, 8], [8, 8]]), subtitle=np.ones((3, 4)))
    results = CountTimedRows().transform(timed(clips))
    assert (results['num_clips'], results['seconds_per_clip']) == (3, 3.0)


@pytest.mark.parametrize(
    ('clips', 'found'),
    [
        (dict(subtitle=np.ones((3, 4))), 'no times'),
        (dict(times=np.ones((3, 4))), r'times \(3, 4\)'),
        (dict(times=np.array([[0.0, 1.0], [5.0, 4.0]])), r'times \(2, 2\)'),
    ],
)
def test_rows_without_usable_times_are_refused(clips, found):
    with pytest.raises(InputError, match=f"video 'v': found {found} .* expected 'times' with"):
        CountTimedRows().transform(timed(clips))


@pytest.mark.parametrize('row', [(3, 10.1), (-0.1, 2), (2000, 4000)])
def test_rows_outside_their_video_are_refused(row):
    clips = dict(times=np.array([[0, 9.9], row]))
    found = rf't\.h5: video .v.: found a row from {row[0]} to {row[1]} s, expected .* its 9 s'
    with pytest.raises(InputError, match=found):
        CountTimedRows().transform(timed(clips))


@pytest.mark.parametrize('order', [1, -1])
def test_times_are_never_normalized(order):
    steps = [CountTimedRows(), NormalizeFeatures()][::order]
    rows = np.array([[0, 2], [2, 4]], np.float32)

    def run(normalize):
        results = timed(dict(times=rows, subtitle=rows + 1), normalize=normalize)
        for step in steps:
            results = step.transform(results)
        return results['clips']

    clips = run(('subtitle',))
    np.testing.assert_array_equal(clips['times'], rows)
    np.testing.assert_array_equal(clips['subtitle'], normalize_rows(rows + 1))
    with pytest.raises(InputError, match=r't\.h5: found NormalizeFeatures .* set normalize'):
        run(('subtitle', 'times'))
