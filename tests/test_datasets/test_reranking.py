"""Training samples of a second stage, from lists of a first one."""

import h5py
import pytest
import torch
from tiny_corpus import NUM_CLIPS, edit_line, query_dataset

from reloclnet_mm.datasets.samplers import SeededIndex
from reloclnet_mm.errors import InputError
from reloclnet_mm.models.data_preprocessors import PairDataPreprocessor
from reloclnet_mm.registry import DATASETS
from reloclnet_mm.structures.clips import moment_to_span
from reloclnet_mm.structures.video_lists import VideoLists

MODEL = 'f' * 64
VIDEOS = {i: name for i, name in enumerate(NUM_CLIPS['train'])}
# What is ranked for the queries 2 i and 2 i + 1 of video i.
ORDERS = [[0, 1, 2, 3], [2, 1, 0, 3], [3, 1, 0, 2], [0, 1, 2, 3]]
PIPELINE = [
    dict(type='LoadQueryFeatures'),
    dict(
        type='ForEachVideo',
        transforms=[
            dict(type='LoadClipFeatures'),
            dict(type='PoolClips'),
            dict(type='NormalizeFeatures'),
            dict(type='AppendTEF'),
        ],
    ),
    dict(type='MomentToSpan', span_end='inclusive'),
    dict(type='PackMomentInputs'),
]
FILE = 'lists.safetensors'


def lists_of(orders=ORDERS, query_ids=range(8), videos=VIDEOS):
    """Lists in which two neighbouring queries have one order."""
    ids = [torch.tensor(orders[int(q) // 2]) for q in query_ids]
    scores = [torch.linspace(0.9, 0.1, len(x)) for x in ids]
    return VideoLists.of([str(q) for q in query_ids], ids, scores, videos, MODEL)


def build(folder, lists=None, **settings):
    (lists or lists_of()).save(folder / FILE)
    config = query_dataset(folder, pipeline=PIPELINE, lists=FILE, **settings)
    dataset = DATASETS.build(
        dict(config, type='reloclnet_mm.RerankingDataset', _scope_='reloclnet_mm')
    )
    dataset.full_init()
    return dataset


def drawn(dataset, place, draws=60):
    """All negatives of a sample in many draws, and how many come at once."""
    samples = [dataset[SeededIndex.of(place, (0, epoch))] for epoch in range(draws)]
    ids = [sample['data_samples'].candidate_ids for sample in samples]
    assert {x[0] for x in ids} == {place // 2}
    assert all(len({*x}) == len(x) for x in ids)
    return {i for x in ids for i in x[1:]}, {len(x) - 1 for x in ids}


def test_negatives_are_drawn_from_as_many_as_are_above_the_own_video_and_some_more(corpus_folder):
    dataset = build(corpus_folder, num_negatives=1, margin=1)
    # Of [0, 1, 2, 3] without 0 the first 0 + 1; of [2, 1, 0, 3] without 1 the first 1 + 1; …
    expected = [{1}, {2, 0}, {3, 1, 0}, {0, 1, 2}]
    for video, videos in enumerate(expected):
        assert drawn(dataset, 2 * video) == (videos, {1})


def test_a_sample_has_the_clips_of_its_videos_one_below_another(corpus_folder):
    dataset = build(corpus_folder, num_negatives=3)
    sample = dataset[2]
    info = sample['data_samples']
    clips = {0: 5, 1: 8, 2: 7, 3: 8}  # b has 11, pooled to 8
    assert info.candidate_ids[0] == 1
    assert sorted(info.candidate_ids) == [0, 1, 2, 3]
    assert info.candidate_clips == [clips[i] for i in info.candidate_ids]
    own = DATASETS.build(
        query_dataset(
            corpus_folder,
            pipeline=PIPELINE[1]['transforms'] + [PIPELINE[3]],
            _scope_='reloclnet_mm',
        )
    )[2]
    for name in ('video', 'subtitle'):
        rows = sample['inputs'][name]
        assert len(rows) == sum(info.candidate_clips)
        assert torch.equal(rows[:8], own['inputs'][name])
    packed = PairDataPreprocessor()(
        dict(inputs={name: [x] for name, x in sample['inputs'].items()}, data_samples=[info])
    )['inputs']['clips']
    assert packed.places.shape == (1, 4)
    assert packed.layout.lengths[packed.places[0]].tolist() == info.candidate_clips


def test_a_moment_ends_with_the_last_clip_inside_it(corpus_folder):
    # The query's video b has 11 clips of 1.5 s, pooled to 8 rows of 2.0625 s.
    edit_line(corpus_folder / 'train.jsonl', 3, ts=[2.0, 4.2])
    sample = build(corpus_folder)[2]['data_samples']
    assert sample.gt_span.tolist() == [0, 2]
    assert moment_to_span([3.0, 6.0], 1.5, 9, 'inclusive') == (2, 3)
    assert moment_to_span([3.0, 6.0], 1.5, 9) == (2, 4)
    assert moment_to_span([3.0, 3.0], 1.5, 9, 'inclusive') == (2, 2)
    assert moment_to_span([3.0, 99.0], 1.5, 9, 'inclusive') == (2, 8)


def test_draws_follow_from_the_seed_the_epoch_and_the_sample(corpus_folder):
    dataset = build(corpus_folder, num_negatives=2)

    def candidates(epoch):
        return [
            dataset[SeededIndex.of(i, (5, epoch))]['data_samples'].candidate_ids for i in range(8)
        ]

    assert candidates(0) == candidates(0)
    assert candidates(0) != candidates(1)


def test_queries_whose_video_is_missed_are_left_out_and_counted(corpus_folder, warnings_logged):
    dataset = build(corpus_folder, max_rank=2, num_negatives=1)
    assert [dataset.get_data_info(i)['query_id'] for i in range(len(dataset))] == [0, 1, 2, 3]
    (message,) = [x for x in warnings_logged if 'left out' in x]
    assert '4 of 8 queries are left out of training' in message
    assert 'among the first 2 of the lists' in message


def test_videos_of_the_same_recording_are_no_negatives(corpus_folder):
    dataset = build(corpus_folder, num_negatives=1)
    dataset._sources = torch.tensor([0, 0, 2, 3])
    assert drawn(dataset, 0)[0] == {2, 3}


def test_without_negatives_a_query_comes_with_its_own_video(corpus_folder):
    assert build(corpus_folder, num_negatives=0)[4]['data_samples'].candidate_ids == [2]


@pytest.mark.parametrize(
    ('lists', 'settings', 'message'),
    [
        (lists_of(orders=[[3, 2, 1, 0]] * 4), dict(max_rank=1), None),
        (lists_of(orders=[[1], [2], [3], [0]]), dict(max_rank=1), 'the own video of no query of'),
        (
            lists_of(query_ids=[0, 1, 2, 3, 4, 5, 6]),
            {},
            r"no list for 1 of the 8 queries of .*train\.jsonl, such as '7'; give the lists of the",
        ),
        (
            lists_of(orders=[[0, 1], [1, 2], [2, 0], [3, 0]]),
            dict(num_negatives=2),
            r'query 0 has 1 videos to draw from in a list of 2, expected 2; .*--num-videos',
        ),
        (
            lists_of(videos={10: 'e', 11: 'f', 12: 'g', 13: 'h'}, orders=[[10, 11, 12, 13]] * 4),
            {},
            r"corpus of 4 videos, expected the 4 of .*index\.json: 'a' is not in it\. Give the",
        ),
        (
            lists_of(videos=VIDEOS | {4: 'z'}),
            {},
            r"corpus of 5 videos, expected the 4 of .*: it has 'z' besides",
        ),
    ],
)
def test_lists_that_do_not_fit_the_queries_are_refused(corpus_folder, lists, settings, message):
    if message is None:
        assert len(build(corpus_folder, lists, num_negatives=1, **settings)) == 2
        return
    with pytest.raises(InputError, match=message):
        build(corpus_folder, lists, **settings)


def test_a_second_stage_sees_other_features_of_the_same_queries(corpus_folder):
    loading = [dict(type=f'Load{what}Features') for what in ('Query', 'Clip')]
    pipeline = [*loading, *PIPELINE[1]['transforms'][1:3], PIPELINE[3]]
    second = dict(
        feature_files=dict(subtitle='sub.h5', query='query.h5'),
        normalize=[],
        clip_length=1.5,
        max_clips=4,
        max_tokens=2,
        pipeline=pipeline,
    )
    config = query_dataset(corpus_folder, pipeline=pipeline, second_stage=second)
    inputs = DATASETS.build(dict(config, _scope_='reloclnet_mm'))[2]['inputs']
    other = inputs.pop('second_stage')
    assert {name: len(x) for name, x in inputs.items()} == dict(video=8, subtitle=8, query=4)
    assert {name: len(x) for name, x in other.items()} == dict(subtitle=4, query=2)
    with h5py.File(corpus_folder / 'query.h5') as file:
        assert torch.equal(other['query'], torch.from_numpy(file['2'][:2]))


def test_absent_and_damaged_files_are_refused(corpus_folder):
    with pytest.raises(InputError, match='no such file of first-stage lists'):
        VideoLists.load(corpus_folder / 'absent.safetensors')
    (corpus_folder / 'text').write_text('no lists')
    with pytest.raises(InputError, match=r'expected first-stage lists of this package; make it'):
        VideoLists.load(corpus_folder / 'text')
    lists = lists_of()
    for changed in (
        dict(places=lists.places[:3]),
        dict(places=lists.places + 4),
        dict(places=lists.places.float()),
        dict(scores=lists.scores[:, :0]),
    ):
        VideoLists(**(vars(lists_of()) | changed)).save(corpus_folder / FILE)
        with pytest.raises(InputError, match=r'lists\.safetensors: found'):
            VideoLists.load(corpus_folder / FILE)


def test_lists_are_read_as_they_were_written(corpus_folder):
    lists = lists_of()
    lists.save(corpus_folder / FILE)
    loaded = VideoLists.load(corpus_folder / FILE)
    assert loaded.places.dtype == torch.int16
    assert torch.equal(loaded.places, lists.places)
    assert torch.equal(loaded.scores, lists.scores)
    assert (loaded.query_ids, loaded.videos, loaded.model) == (
        lists.query_ids,
        lists.videos,
        MODEL,
    )
    assert loaded.video_ids[loaded.places[2].long()].tolist() == ORDERS[1]


def test_lists_of_another_model_are_stale():
    lists = lists_of()
    lists.check_model(MODEL, 'file')
    with pytest.raises(InputError, match=r'lists of the model ffff.*first stage is 0000'):
        lists.check_model('0' * 64, 'file')


def test_several_positives_are_refused(corpus_folder):
    with pytest.raises(ValueError, match='max_positives is given'):
        build(corpus_folder, max_positives=3)
