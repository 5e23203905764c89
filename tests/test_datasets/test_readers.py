"""Readers: what holds for any layout, and files with anything wrong in them."""

import copy
import json
import math

import numpy as np
import pytest
from small_layouts import (
    write_charades,
    write_didemo,
    write_own,
    write_qvhighlights,
    write_tvr_ranking,
)
from tiny_corpus import (
    edit_line,
    query_dataset,
    read_lines,
    write_lines,
)

from reloclnet_mm.datasets.readers import (
    ActivityNetCaptionsReader,
    AnnotationReader,
    CharadesSTAReader,
    DiDeMoReader,
    Moment,
    Query,
    QVHighlightsReader,
    TVRRankingReader,
    TVRReader,
    Video,
)
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.annotations import read_query_texts, read_video_durations
from reloclnet_mm.extraction.subtitles import read_subtitles
from reloclnet_mm.registry import DATASETS, TASK_UTILS


@TASK_UTILS.register_module(force=True)
class RankedReader(AnnotationReader):
    """A layout whose queries have moments in several videos, with a relevance."""

    def _read_videos(self):
        yield Video('a', 10.0, 4)
        yield Video('b', 20.0, 7, source_id=4)

    def _read_queries(self):
        moments = [Moment(1, 2, 'b', relevance=3.0), Moment(3, 10.5, relevance=1.0)]
        yield Query('q', 'words', 'here', video_name='a', moments=moments)
        yield Query('r', 'words', 'there')


def ranked_dataset(kind, **settings):
    reader = dict(type='reloclnet_mm.RankedReader', ann_file='x', **settings)
    return DATASETS.build(dict(type=f'reloclnet_mm.{kind}', reader=reader, feature_files={}))


def test_a_query_has_moments_in_several_videos_with_a_relevance():
    dataset = ranked_dataset('QueryDataset')
    ranked, unanswered = dataset[0], dataset[1]
    assert ranked['video_id'] == 4
    assert {name: x.tolist() for name, x in ranked['gt'].items()} == dict(
        video_ids=[7, 4],
        moments=[[1.0, 2.0], [3.0, 10.0]],
        relevance=[3.0, 1.0],
        source_ids=[4, 4],
    )
    assert [ranked['gt'][name].dtype for name in ('video_ids', 'moments')] == [np.int64, np.float64]
    assert not {'gt', 'video_id'} & set(unanswered)
    assert dataset.video_ids() == {4: 'a', 7: 'b'}


def test_videos_of_one_recording_share_a_source_id():
    assert [x['source_id'] for x in ranked_dataset('CorpusDataset')] == [4, 4]


def test_a_third_number_in_the_index_names_the_recording(tmp_path):
    index = dict(train=dict(v=[9.0, 5]), val={'w': [9.0, 6], 'v@reversed': [9.0, 7, 5]})
    (tmp_path / 'index.json').write_text(json.dumps(index))
    reader = TVRReader(video_index='index.json', data_root=str(tmp_path), split='val')
    assert [(x.video_id, x.source_id) for x in reader.videos().values()] == [(6, 6), (7, 5)]


def test_a_tolerance_of_seconds_holds_for_every_layout():
    with pytest.raises(InputError, match=r'here: the moment \[3, 10\.5\] lies outside its video'):
        ranked_dataset('QueryDataset', end_tolerance=0.4)
    for wrong in (math.nan, -1, '1'):
        with pytest.raises(ValueError, match='RankedReader: end_tolerance is'):
            ranked_dataset('QueryDataset', end_tolerance=wrong)


def test_unusable_moments_are_left_out_and_counted_on_demand(corpus_folder, warnings_logged):
    edit_line(corpus_folder / 'train.jsonl', 3, ts=[30.0, 40.0])
    edit_line(corpus_folder / 'train.jsonl', 4, ts=[5.0, 4.0])
    settings = query_dataset(corpus_folder)
    settings['reader']['drop_unusable'] = True
    assert [x['query_id'] for x in DATASETS.build(settings)] == [0, 1, 4, 5, 6, 7]
    (message,) = warnings_logged
    assert message.endswith('train.jsonl: a moment that cannot be used was left out: 2')


# Data sets: names of streams, and the corpus of other queries.


def test_a_corpus_that_has_other_videos_under_the_same_ids_is_refused(tmp_path):
    entry = dict(duration=9.0, timestamps=[[0, 1]], sentences=['x'])
    found = []
    for kind, names in (('QueryDataset', 'abc'), ('CorpusDataset', 'acb')):
        path = tmp_path / f'{kind}.json'
        path.write_text(json.dumps({name: entry for name in names}))
        reader = dict(type='reloclnet_mm.ActivityNetCaptionsReader', ann_file=str(path))
        settings = dict(type=f'reloclnet_mm.{kind}', reader=reader, feature_files={})
        found.append(DATASETS.build(settings))
    queries, corpus = found
    queries.check_corpus(queries)
    with pytest.raises(InputError, match=r"2 videos .* such as 'b' \(id 1\).* has 'c' under that"):
        queries.check_corpus(corpus)


# Files with anything wrong in them.

ANSWERS = dict(
    tvr='val.jsonl',
    index='index.json',
    captions='captions.json',
    subtitles='subtitles.jsonl',
    charades='charades.json',
    didemo='train_data.json',
    qvhighlights='highlight_train_release.jsonl',
    ranked='val.json',
    ranked_index='video_corpus.json',
    own='own.jsonl',
)
# A moment lies outside its video where the index has another duration: the annotation is named.
ANNOTATION_OF = dict(
    index='val.jsonl', charades='charades_sta_train.txt', ranked_index=ANSWERS['ranked']
)
UNREAD = {'actions', 'caption', 'dl_link', 'pair_id', 'relevant_clip_ids', 'saliency_scores'}


@pytest.fixture
def files(corpus_folder):
    """A valid file of each layout."""
    captions = {
        'a': dict(duration=9.0, timestamps=[[0, 1.5], [2, 9]], sentences=['one', 'two']),
        'b': dict(duration=7, timestamps=[[1, 2]], sentences=['three']),
    }
    (corpus_folder / 'captions.json').write_text(json.dumps(captions))
    sentences = [dict(text='hi', start=0, end=1.5), dict(text='there', start=2, end=3)]
    write_lines(corpus_folder / 'subtitles.jsonl', [dict(vid_name='e', sub=sentences)])
    lines = read_lines(corpus_folder / 'val.jsonl')
    lines[1]['ts'] = [[0.0, 1.0], [1.0, 2.5]]
    write_lines(corpus_folder / 'val.jsonl', lines)
    for write in (write_charades, write_didemo, write_qvhighlights, write_tvr_ranking, write_own):
        write(corpus_folder)
    return {name: corpus_folder / file for name, file in ANSWERS.items()}


def read_everything(files):
    """Read the files as data sets, text extraction and tools do."""
    root = dict(data_root=str(files['tvr'].parent))
    readers = [
        TVRReader(ann_file='val.jsonl', video_index='index.json', split='val', **root),
        ActivityNetCaptionsReader(ann_file='captions.json', **root),
        CharadesSTAReader(ann_file='charades_sta_train.txt', video_index='charades.json', **root),
        DiDeMoReader(ann_file='train_data.json', **root),
        QVHighlightsReader(ann_file='highlight_train_release.jsonl', **root),
        TVRRankingReader(ann_file='val.json', video_index='video_corpus.json', **root),
        TVRReader(ann_file='own.jsonl', **root),
    ]
    for reader in readers:
        reader.queries(reader.videos())
    read_query_texts([files['tvr']])
    read_video_durations(files['index'])
    read_subtitles(files['subtitles'])


def test_valid_files_are_read(files):
    read_everything(files)


def paths_in(value, path=()):
    """Every place in a JSON value, the root included."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths_in(value[key], (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    changed = copy.deepcopy(value)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = new
    return changed


SWAPS = [None, True, -1, 2.5, 10**30, 'x', '', '\ud800', [], [1, 'x'], {}, {'a': [[]]}, math.nan]


@pytest.mark.parametrize('layout', ANSWERS)
def test_any_wrong_value_ends_in_a_message_that_names_the_file(files, layout):
    path = files[layout]
    is_jsonl = path.suffix == '.jsonl'
    valid = read_lines(path)[:2] if is_jsonl else json.loads(path.read_text())
    messages, total = [], 0
    for place in paths_in(valid):
        if (is_jsonl and not place) or UNREAD & set(place):
            continue
        for new in SWAPS:
            content = replaced(valid, place, new)
            text = '\n'.join(map(json.dumps, content)) if is_jsonl else json.dumps(content)
            path.write_text(text)
            total += 1
            try:
                read_everything(files)
            except InputError as error:
                messages.append(str(error))
    assert total > 50
    assert len(messages) > total / 2
    names = [path.name, ANNOTATION_OF.get(layout, path.name)]
    assert [x for x in messages if not any(name in x for name in names)] == []


@pytest.mark.parametrize('layout', ANSWERS)
@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'\n',
        b'\xff\xfe{}',
        b'{"desc": "\xe9"}',
        b'[' * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b'1' * 5_000 + b'}',
        b'{"a": 1e999}',
        b'{"a": {"duration": NaN}}',
        b'{"a": -Infinity}',
        b'{"a": [1, 2], "a": [1, 2]}',
        b'{"a": 1',
        b'\x00',
    ],
    ids=repr,
)
def test_a_file_that_is_not_what_it_should_be_ends_in_a_message(files, layout, data):
    files[layout].write_bytes(data)
    if layout == 'subtitles' and not data.strip():
        read_everything(files)  # a corpus without a word
        return
    with pytest.raises(InputError, match=files[layout].name) as caught:
        read_everything(files)
    assert len(str(caught.value)) < 1_000


def test_a_key_that_occurs_twice_is_named(files):
    files['index'].write_text('{"val": {"e": [1, 2], "e": [3, 4]}}')
    with pytest.raises(InputError, match=r"index\.json: .*the key 'e' occurs twice"):
        read_everything(files)


def test_a_byte_order_mark_is_no_error(files):
    for path in files.values():
        path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    read_everything(files)
