"""Readers on the annotation that the owners of the data sets publish, where it is at hand."""

import json
from collections import Counter

import pytest
from tiny_corpus import REPOSITORY, read_lines

from reloclnet_mm.datasets.readers import (
    ActivityNetCaptionsReader,
    CharadesSTAReader,
    DiDeMoReader,
    QVHighlightsReader,
    TVRReader,
)
from reloclnet_mm.extraction.annotations import read_query_texts

REAL = REPOSITORY / '../shared/data'
CUT = 'a moment past the end of its video was cut'
SWAPPED = 'start and end of a moment were swapped'


def real(*parts):
    path = REAL.joinpath(*parts)
    if not path.exists():
        pytest.skip(f'no real annotation at {path}')
    return path


def read(kind, path, **others):
    """The videos, the queries and the repairs of a reader."""
    reader = kind(ann_file=path.name, data_root=str(path.parent), **others)
    videos = reader.videos()
    return videos, reader.queries(videos), +reader.repairs


def moments_by_id(queries):
    return {
        query.query_id: [(x.video_name, x.start, x.end) for x in query.moments] for query in queries
    }


def test_the_validation_split_of_tvr():
    path = real('tvr', 'tvr_val_release.jsonl')
    lines = read_lines(path)
    index = dict(video_index='tvr_video2dur_idx.json', split='val')
    videos, queries, repairs = read(TVRReader, path, **index)
    assert (len(videos), len(queries), repairs) == (2_179, 10_895, {})
    assert [(x.query_id, x.text, x.query_type) for x in queries] == [
        (line['desc_id'], line['desc'], line['type']) for line in lines
    ]
    assert moments_by_id(queries) == {
        line['desc_id']: [(line['vid_name'], *line['ts'])] for line in lines
    }


def test_the_validation_split_of_tvr_has_the_same_videos_without_an_index():
    path = real('tvr', 'tvr_val_release.jsonl')
    indexed, *_ = read(TVRReader, path, video_index='tvr_video2dur_idx.json', split='val')
    videos, queries, repairs = read(TVRReader, path)
    assert {name: x.duration for name, x in videos.items()} == {
        name: x.duration for name, x in indexed.items()
    }
    assert [x.video_id for x in videos.values()] == list(range(2_179))
    assert (len(queries), repairs) == (10_895, {})


def test_the_public_test_split_of_tvr_has_no_answers():
    path = real('tvr', 'tvr_test_public_release.jsonl')
    index = dict(video_index='tvr_video2dur_idx.json', split='test_public')
    videos, queries, _ = read(TVRReader, path, **index)
    assert (len(videos), len(queries)) == (1_089, 5_445)
    assert not any(x.moments or x.video_name for x in queries)


@pytest.mark.parametrize(
    ('name', 'videos', 'sentences', 'repairs'),
    [
        ('train', 10_009, 37_421, {SWAPPED: 2, CUT: 261}),
        ('val_1', 4_917, 17_505, {CUT: 134}),
        ('val_2', 4_885, 17_031, {CUT: 111}),
    ],
)
def test_the_files_of_activitynet_captions(name, videos, sentences, repairs):
    path = real('activitynet_captions', f'{name}.json')
    found, queries, repaired = read(ActivityNetCaptionsReader, path)
    assert (len(found), len(queries), repaired) == (videos, sentences, repairs)
    content = json.loads(path.read_text())
    assert {x.name: x.duration for x in found.values()} == {
        video: entry['duration'] for video, entry in content.items()
    }
    expected, counted = {}, Counter()
    for video, entry in content.items():
        for number, times in enumerate(entry['timestamps']):
            start, end = sorted(times)
            counted[SWAPPED] += [start, end] != times
            counted[CUT] += end > entry['duration']
            end = min(end, entry['duration'])
            expected[f'{name}#{video}#{number}'] = [(video, start, end)]
    assert moments_by_id(queries) == expected
    assert +counted == repairs


def test_ids_of_all_files_of_activitynet_captions_differ():
    paths = [real('activitynet_captions', f'{name}.json') for name in ('train', 'val_1', 'val_2')]
    texts = read_query_texts(paths, 'ActivityNetCaptionsReader')
    assert len(texts) == 37_421 + 17_505 + 17_031


def test_the_videos_of_val_1_are_a_corpus_of_the_queries_of_val_2_too():
    path = real('activitynet_captions', 'val_2.json')
    videos, queries, _ = read(ActivityNetCaptionsReader, path, video_index='val_1.json')
    assert (len(videos), len(queries)) == (4_917, 17_031)


@pytest.mark.parametrize(
    ('split', 'videos', 'sentences', 'cut'),
    [('train', 5_338, 12_408, 1_802), ('test', 1_334, 3_720, 562)],
)
def test_the_files_of_charades_sta(split, videos, sentences, cut):
    path = real('charades_sta', f'charades_sta_{split}.txt')
    found, queries, repairs = read(CharadesSTAReader, path, video_index='charades.json')
    assert (len(found), len(queries), repairs) == (videos, sentences, {CUT: cut})
    durations = {
        name: x['duration']
        for name, x in json.loads(real('charades_sta', 'charades.json').read_text()).items()
    }
    expected, counted, texts = {}, Counter(), []
    for line in path.read_text().splitlines():
        place, _, text = line.partition('##')
        video, start, end = place.split(' ')
        end = min(float(end), durations[video])
        expected[f'{video}#{counted[video]}'] = [(video, float(start), end)]
        counted[video] += 1
        texts.append(text)
    assert moments_by_id(queries) == expected
    assert [x.text for x in queries] == texts
    numbers = {name: number for number, name in enumerate(durations)}
    assert {x.name: x.video_id for x in found.values()} == {name: numbers[name] for name in counted}


@pytest.mark.parametrize(
    ('split', 'videos', 'queries', 'choices'),
    [('val', 1_094, 4_180, 16_765), ('test', 1_037, 4_021, 16_118)],
)
def test_the_files_of_didemo(split, videos, queries, choices):
    path = real('didemo', f'{split}_data.json')
    found, read_queries, repairs = read(DiDeMoReader, path)
    assert (len(found), len(read_queries), repairs) == (videos, queries, {})
    entries = json.loads(path.read_text())
    expected = {
        x['annotation_id']: [(x['video'], 5 * a, 5 * b + 5) for a, b in x['times']] for x in entries
    }
    assert moments_by_id(read_queries) == expected
    assert sum(map(len, expected.values())) == choices
    assert {x.duration for x in found.values()} == {25.0, 30.0}
    for query, entry in zip(read_queries, entries, strict=True):
        assert [x.annotator for x in query.moments] == list(range(len(entry['times'])))


@pytest.mark.parametrize(
    ('split', 'videos', 'queries', 'windows'),
    [('train', 7_100, 7_218, 12_803), ('val', 1_519, 1_550, 2_803)],
)
def test_the_files_of_qvhighlights(split, videos, queries, windows):
    path = real('qvhighlights', f'highlight_{split}_release.jsonl')
    found, read_queries, repairs = read(QVHighlightsReader, path)
    assert (len(found), len(read_queries), repairs) == (videos, queries, {})
    lines = read_lines(path)
    expected = {x['qid']: [(x['vid'], *w) for w in x['relevant_windows']] for x in lines}
    assert moments_by_id(read_queries) == expected
    assert sum(map(len, expected.values())) == windows
    assert {x.name: x.duration for x in found.values()} == {x['vid']: x['duration'] for x in lines}
