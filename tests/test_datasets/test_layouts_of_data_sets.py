"""Layouts of Charades-STA, DiDeMo, QVHighlights, TVR-Ranking and own data, in small files."""

import json
import math

import h5py
import numpy as np
import pytest
from small_layouts import (
    CHARADES_DURATIONS,
    CHARADES_LINES,
    DIDEMO_ENTRIES,
    OWN_LINES,
    QVHIGHLIGHTS_LINES,
    TVR_RANKING_CORPUS,
    TVR_RANKING_ENTRIES,
    ranked_moment,
    write_activitynet,
    write_charades,
    write_didemo,
    write_layout,
    write_own,
    write_qvhighlights,
    write_tvr_ranking,
)
from tiny_corpus import edit_line, features, write_lines

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.annotations import read_query_texts
from reloclnet_mm.registry import DATASETS, TASK_UTILS
from reloclnet_mm.structures.clips import count_clips

LAYOUTS = dict(
    activitynet=write_activitynet,
    charades=write_charades,
    didemo=write_didemo,
    own=write_own,
    qvhighlights=write_qvhighlights,
    tvr_ranking=write_tvr_ranking,
)


@pytest.fixture
def reader_of(tmp_path):
    """Build the reader of a layout, written beforehand, with some settings changed."""

    def build(layout, **changes):
        return TASK_UTILS.build(write_layout(LAYOUTS[layout], tmp_path) | changes)

    return build


def read(reader):
    """Videos as (name, duration, number), and queries, of a reader."""
    videos = reader.videos()
    listed = [(x.name, x.duration, x.video_id) for x in videos.values()]
    return listed, reader.queries(videos)


def moments_of(query):
    return [(x.video_name, x.start, x.end) for x in query.moments]


# Charades-STA.


def test_charades_videos_are_those_of_the_annotation_numbered_by_the_index(reader_of):
    videos, _ = read(reader_of('charades'))
    assert videos == [('AO8RW', 33.67, 0), ('Y6R7T', 30.0, 2)]


def test_the_index_of_charades_alone_lists_all_its_videos(reader_of):
    videos = reader_of('charades', ann_file='').videos()
    assert {x.name: x.duration for x in videos.values()} == CHARADES_DURATIONS
    assert [x.video_id for x in videos.values()] == [0, 1, 2]


def test_queries_of_charades_are_counted_within_their_video(reader_of):
    reader = reader_of('charades')
    _, queries = read(reader)
    assert [(x.query_id, x.text) for x in queries] == [
        ('AO8RW#0', 'a person is putting a book on a shelf.'),
        ('Y6R7T#0', 'person begins to play on a phone.'),
        ('Y6R7T#1', 'person start playing ## on their phone.'),
    ]
    assert [moments_of(x) for x in queries] == [
        [('AO8RW', 0.0, 6.9)],
        [('Y6R7T', 20.8, 30.0)],  # ends at 31.5 s in the file
        [('Y6R7T', 20.8, 30.0)],
    ]
    assert reader.repairs == {'a moment past the end of its video was cut': 1}


def test_durations_of_charades_from_its_own_table(reader_of, tmp_path):
    rows = ['id,subject,script,length', 'AO8RW,XY12,"Sits, then\nstands",33.67', 'Y6R7T,Z,x,30.00']
    (tmp_path / 'Charades_v1_train.csv').write_text('\n'.join(rows) + '\n')
    videos, queries = read(reader_of('charades', video_index='Charades_v1_train.csv'))
    assert videos == [('AO8RW', 33.67, 0), ('Y6R7T', 30.0, 1)]
    assert len(queries) == 3


@pytest.mark.parametrize(
    'line',
    [
        'AO8RW 0.0##a person',
        'AO8RW 0.0 6.9#a person',
        'AO8RW 0.0 6.9##',
        'AO8RW zero 6.9##a person',
        'AO8RW -1 6.9##a person',
        'AO8RW nan 6.9##a person',
        '0.0 6.9##a person',
    ],
)
def test_a_line_of_charades_in_another_form_is_named(reader_of, tmp_path, line):
    reader = reader_of('charades')
    (tmp_path / 'charades_sta_train.txt').write_text(f'{CHARADES_LINES[0]}\n\n{line}\n')
    with pytest.raises(InputError, match=r'charades_sta_train\.txt:3: found .* expected VIDEO'):
        read(reader)


def test_charades_needs_durations(reader_of):
    with pytest.raises(InputError, match=r'tells no durations of videos; set video_index'):
        reader_of('charades', video_index='').videos()


@pytest.mark.parametrize(
    'table', ['id,seconds\nAO8RW,3\n', 'id,length\nAO8RW,\n', 'id,length\nAO8RW\n', 'id,length\n\0']
)
def test_a_table_without_lengths_is_named(reader_of, tmp_path, table):
    (tmp_path / 'table.csv').write_text(table)
    with pytest.raises(InputError, match=r'table\.csv(:\d)?: .*(column length|no video)'):
        reader_of('charades', video_index='table.csv').videos()


def test_a_query_of_a_video_that_the_index_lacks_is_named(reader_of, tmp_path):
    reader = reader_of('charades')
    (tmp_path / 'charades_sta_train.txt').write_text('XXXXX 0.0 1.0##someone\nAO8RW 0 1##x\n')
    with pytest.raises(InputError, match=r"txt:1: video 'XXXXX' is not among the 1 videos of"):
        read(reader)


# DiDeMo.


def test_cells_of_didemo_are_five_seconds_each_and_keep_their_annotator(reader_of):
    videos, queries = read(reader_of('didemo'))
    first, second = (entry['video'] for entry in DIDEMO_ENTRIES)
    assert videos == [(first, 25.0, 0), (second, 30.0, 1)]
    assert [(x.query_id, x.text) for x in queries] == [
        (49158, 'camera stops panning right'),
        (40961, 'the baby is first shown.'),
    ]
    assert [(x.start, x.end, x.annotator) for x in queries[0].moments] == [
        (20.0, 25.0, 0),
        (15.0, 25.0, 1),
        (20.0, 25.0, 2),
        (0.0, 5.0, 3),
    ]
    assert [(x.start, x.end) for x in queries[1].moments] == [
        (5.0, 10.0),
        (5.0, 10.0),
        (5.0, 10.0),
        (0.0, 30.0),
        (5.0, 15.0),
    ]


@pytest.mark.parametrize('cells', [[2, 1], [-1, 0], [4, 5]])
def test_cells_that_a_video_of_didemo_has_not_are_named(reader_of, tmp_path, cells):
    reader = reader_of('didemo')
    wrong = [DIDEMO_ENTRIES[1], DIDEMO_ENTRIES[0] | dict(times=[[0, 0], cells])]
    (tmp_path / 'train_data.json').write_text(json.dumps(wrong))
    with pytest.raises(InputError, match=r'entry 1: found the cells .* of the cells 0 to 4; mend'):
        read(reader)


def test_a_video_of_didemo_with_two_lengths_is_named(reader_of, tmp_path):
    reader = reader_of('didemo')
    other = DIDEMO_ENTRIES[0] | dict(annotation_id=1, num_segments=6)
    (tmp_path / 'train_data.json').write_text(json.dumps([*DIDEMO_ENTRIES, other]))
    with pytest.raises(InputError, match=r'entry 2: video .* lasts 30\.0 s here and 25\.0 s in'):
        reader.videos()


# QVHighlights.


def test_each_window_of_qvhighlights_is_a_moment(reader_of):
    videos, queries = read(reader_of('qvhighlights'))
    first, second = (line['vid'] for line in QVHIGHLIGHTS_LINES)
    assert videos == [(first, 126.0, 0), (second, 150.0, 1)]
    assert [x.query_id for x in queries] == [8737, 10016]
    assert queries[0].text == QVHIGHLIGHTS_LINES[0]['query'].strip()
    assert moments_of(queries[0]) == [(first, 0.0, 4.0), (first, 100.0, 126.0)]
    assert moments_of(queries[1]) == [(second, 96.0, 114.0)]
    assert {(x.annotator, x.relevance) for x in queries[0].moments} == {(None, None)}


def test_the_test_split_of_qvhighlights_has_queries_without_moments(reader_of, tmp_path):
    fields = ('qid', 'query', 'duration', 'vid')
    lines = [{name: line[name] for name in fields} for line in QVHIGHLIGHTS_LINES]
    write_lines(tmp_path / 'test.jsonl', lines)
    _, queries = read(reader_of('qvhighlights', ann_file='test.jsonl'))
    assert [(x.video_name, list(x.moments)) for x in queries] == [(x['vid'], []) for x in lines]


def test_a_window_past_the_end_of_its_video_is_named(reader_of, tmp_path):
    reader = reader_of('qvhighlights')
    edit_line(tmp_path / 'highlight_train_release.jsonl', 2, relevant_windows=[[140, 152]])
    with pytest.raises(InputError, match=r'jsonl:2: the moment \[140\.0, 152\.0\] lies outside'):
        read(reader)


# TVR-Ranking.


def test_queries_of_tvr_ranking_have_moments_of_many_videos_with_a_relevance(reader_of):
    videos, queries = read(reader_of('tvr_ranking'))
    assert videos == [(name, x, i) for i, (name, x) in enumerate(TVR_RANKING_CORPUS.items())]
    assert [(x.query_id, x.video_name) for x in queries] == [(54251, None), (7, None)]
    assert [
        (*moment, x.relevance)
        for moment, x in zip(moments_of(queries[0]), queries[0].moments, strict=True)
    ] == [
        ('house_s07e03_seg02_clip_24', 63.47, 77.42, 4.0),
        ('castle_s01e01_seg02_clip_00', 1.5, 9.0, 1.5),
        ('house_s07e03_seg02_clip_24', 0.0, 5.0, 0.0),
    ]


def test_the_corpus_of_tvr_ranking_may_number_its_videos(reader_of, tmp_path):
    numbered = {name: [x, 2179 + i] for i, (name, x) in enumerate(TVR_RANKING_CORPUS.items())}
    (tmp_path / 'numbered.json').write_text(json.dumps(numbered))
    videos, _ = read(reader_of('tvr_ranking', video_index='numbered.json'))
    assert [number for _, _, number in videos] == [2179, 2180, 2181]


def test_without_a_corpus_the_videos_of_tvr_ranking_are_those_of_its_moments(reader_of):
    videos, _ = read(reader_of('tvr_ranking', video_index=''))
    names = ['house_s07e03_seg02_clip_24', 'castle_s01e01_seg02_clip_00']
    assert videos == [(name, TVR_RANKING_CORPUS[name], i) for i, name in enumerate(names)]


def test_moments_of_a_low_relevance_are_left_out_and_counted_on_demand(reader_of):
    reader = reader_of('tvr_ranking', min_relevance=1)
    _, (query,) = read(reader)
    assert [x.relevance for x in query.moments] == [4.0, 1.5]
    assert reader.repairs == {'a moment below min_relevance was left out': 2}
    with pytest.raises(ValueError, match='TVRRankingReader: min_relevance is -1'):
        reader_of('tvr_ranking', min_relevance=-1)


def test_training_moments_of_tvr_ranking_have_their_similarity_as_relevance(reader_of, tmp_path):
    entry = TVR_RANKING_ENTRIES[0] | dict(
        relevant_moment=[ranked_moment('castle_s01e01_seg02_clip_00', [1, 2], 96.03)]
    )
    (tmp_path / 'train_top01.json').write_text(json.dumps([entry]))
    _, (query,) = read(reader_of('tvr_ranking', ann_file='train_top01.json'))
    assert [x.relevance for x in query.moments] == [0.75]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(timestamp=[95, 99]), r'entry 0: the moment \[95\.0, 99\.0\] lies outside'),
        (dict(relevance=-1), r'entry 0: found -1 at relevant_moment\[0\]\.relevance: expected'),
        (dict(video_name='nobody'), r"entry 0: video 'nobody' is not among the 3 videos"),
        (dict(similarity=None, relevance=None), r'entry 0: .* has neither relevance nor similar'),
    ],
)
def test_a_moment_of_tvr_ranking_that_cannot_be_used_is_named(
    reader_of, tmp_path, changes, message
):
    reader = reader_of('tvr_ranking')
    moment = ranked_moment('castle_s01e01_seg02_clip_00', [1, 2], 96.03, relevance=1) | changes
    entry = TVR_RANKING_ENTRIES[0] | dict(relevant_moment=[moment])
    (tmp_path / 'val.json').write_text(json.dumps([entry]))
    with pytest.raises(InputError, match=message):
        read(reader)


# Own data.


def test_own_data_needs_no_index_of_videos(reader_of):
    videos, queries = read(reader_of('own'))
    assert videos == [('cat', 12.5, 0), ('dog', 60.0, 1)]
    assert [moments_of(x) for x in queries] == [
        [('cat', 1.0, 4.5)],
        [('dog', 3.0, 9.0), ('dog', 4.0, 10.0)],
        [('cat', 8.0, 12.5)],
    ]


def test_the_videos_of_own_data_may_be_a_file_of_lines(reader_of, tmp_path):
    lines = [dict(vid_name=name, duration=60) for name in ('distractor', 'dog', 'cat')]
    write_lines(tmp_path / 'videos.jsonl', lines)
    videos, queries = read(reader_of('own', video_index='videos.jsonl'))
    assert videos == [('distractor', 60.0, 0), ('dog', 60.0, 1), ('cat', 60.0, 2)]
    assert len(queries) == 3


def test_a_split_of_a_file_of_lines_is_refused(reader_of):
    with pytest.raises(ValueError, match=r"split is 'train', and .*own\.jsonl has a line a video"):
        reader_of('own', split='train')


@pytest.mark.parametrize('field', ['vid_name', 'duration'])
def test_a_line_that_names_no_video_or_duration_needs_an_index(reader_of, tmp_path, field):
    reader = reader_of('own')
    edit_line(tmp_path / 'own.jsonl', 2, **{field: None})
    with pytest.raises(InputError, match=r'own\.jsonl:2: found no vid_name or no duration'):
        reader.videos()


def test_a_line_without_an_id_is_named(reader_of, tmp_path):
    reader = reader_of('own')
    edit_line(tmp_path / 'own.jsonl', 3, desc_id=None)
    with pytest.raises(InputError, match=r"own\.jsonl:3: .*missing required field 'desc_id'"):
        read(reader)


def test_a_video_with_two_durations_is_named(reader_of, tmp_path):
    reader = reader_of('own')
    write_lines(tmp_path / 'own.jsonl', [*OWN_LINES, OWN_LINES[0] | dict(desc_id=9, duration=13)])
    with pytest.raises(InputError, match=r"own\.jsonl:4: video 'cat' lasts 13\.0 s here and 12\.5"):
        reader.videos()


# All of them.


@pytest.mark.parametrize('layout', LAYOUTS)
def test_texts_for_extraction_have_the_ids_of_the_queries(reader_of, tmp_path, layout):
    reader = reader_of(layout)
    queries = {str(x.query_id): x.text.strip() for x in reader.queries(reader.videos())}
    path = reader.ann_file
    assert read_query_texts([path], type(reader).__name__) == queries


WIDTHS = dict(
    activitynet=dict(video=500, query=768),  # C3D, PCA; RoBERTa
    charades=dict(video=1024, query=768),  # I3D
    didemo=dict(video=2048, query=1024),  # ResNet-152; RoBERTa large
    own=dict(video=4096, subtitle=768, query=768),  # C3D
    qvhighlights=dict(video=512 + 2304, query=512),  # CLIP + SlowFast; CLIP
    tvr_ranking=dict(video=1024, subtitle=768, query=768),
)
CLIP_LENGTH = 2.0
MAX_CLIPS = 32


def write_features(folder, reader, widths):
    """Random features of every video and query of a reader; their files by name."""
    rng = np.random.default_rng(0)
    clips = {x.name: count_clips(x.duration, CLIP_LENGTH) for x in reader.videos().values()}
    for name, width in widths.items():
        lengths = dict.fromkeys(reader.texts(), 5) if name == 'query' else clips
        with h5py.File(folder / f'{name}.h5', 'w') as file:
            for key, rows in lengths.items():
                file[key] = features(rng, rows, width)
    return {name: f'{name}.h5' for name in widths}


def transforms(*names):
    return [dict(type=f'reloclnet_mm.{name}') for name in names]


LOAD_CLIPS = ('LoadClipFeatures', 'PoolClips', 'AppendTEF')
PIPELINES = dict(
    QueryDataset=transforms('LoadQueryFeatures', *LOAD_CLIPS, 'MomentToSpan', 'PackMomentInputs'),
    CorpusDataset=transforms(*LOAD_CLIPS, 'PackMomentInputs'),
)


@pytest.mark.parametrize('layout', sorted(LAYOUTS.keys() - {'tvr_ranking'}))
def test_samples_with_features_of_the_usual_widths_pack(tmp_path, layout):
    config = write_layout(LAYOUTS[layout], tmp_path)
    widths = WIDTHS[layout]
    files = write_features(tmp_path, TASK_UTILS.build(config), widths)
    streams = files.keys() - {'query'}
    common = dict(
        data_root=str(tmp_path),
        feature_files=files,
        channels=widths,
        clip_length=CLIP_LENGTH,
        max_clips=MAX_CLIPS,
        reader=config,
    )
    queries, corpus = (
        DATASETS.build(dict(type=f'reloclnet_mm.{kind}', pipeline=steps, **common))
        for kind, steps in PIPELINES.items()
    )
    queries.check_corpus(corpus)
    for sample in queries:
        truth = sample['data_samples']
        assert sample['inputs']['query'].shape == (5, widths['query'])
        clips = min(count_clips(truth.duration, CLIP_LENGTH), MAX_CLIPS)
        for stream in streams:
            assert sample['inputs'][stream].shape == (clips, widths[stream] + 2)
        start, end = (truth.gt.moments[0] / truth.seconds_per_clip).tolist()
        first, last = truth.gt_span.tolist()
        assert first == math.floor(start)
        assert last == min(math.ceil(end), clips - 1)
    assert {x['data_samples'].video_name for x in corpus} == set(corpus.video_ids().values())


def test_queries_of_tvr_ranking_pack_without_a_video(tmp_path):
    config = write_layout(write_tvr_ranking, tmp_path)
    files = write_features(tmp_path, TASK_UTILS.build(config), WIDTHS['tvr_ranking'])
    dataset = DATASETS.build(
        dict(
            type='reloclnet_mm.QueryDataset',
            reader=config,
            data_root=str(tmp_path),
            feature_files=files,
            pipeline=transforms('LoadQueryFeatures', 'PackMomentInputs'),
        )
    )
    gt = dataset[0]['data_samples'].gt
    assert gt.video_ids.tolist() == [2, 0, 2]
    assert gt.relevance.tolist() == [4.0, 1.5, 0.0]
