"""A part of an annotation: by the names of videos, whole recordings, nothing twice or lost."""

import hashlib
import json
import string

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny_corpus import REPOSITORY, write_lines

from reloclnet_mm.datasets.readers import (
    ActivityNetCaptionsReader,
    AnnotationReader,
    Moment,
    Query,
    TVRReader,
    Video,
)
from reloclnet_mm.datasets.readers.parts import is_held_out
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import DATASETS

# Letters c with int(sha256(c)[:16 hex digits], 16) < 0.1 · 2^64: printf c | sha256sum.
HELD_OUT = 'djpsu'
LETTERS = string.ascii_lowercase
REAL = REPOSITORY / '../shared/data/activitynet_captions/train.json'


@pytest.fixture
def folder(tmp_path):
    """Three queries in each of 26 videos; those of a video are not one after another."""
    lines = [
        dict(desc_id=f'{name}{i}', desc='words', vid_name=name, duration=9.0, ts=[1.0, 2.0])
        for i in range(3)
        for name in LETTERS
    ]
    write_lines(tmp_path / 'train.jsonl', lines)
    return tmp_path


def read(folder, **settings):
    reader = TVRReader(ann_file='train.jsonl', data_root=str(folder), **settings)
    videos = reader.videos()
    return videos, reader.queries(videos)


def test_the_hash_of_its_name_holds_a_video_out():
    assert {x for x in LETTERS if is_held_out(x, 0.1)} == {*HELD_OUT}
    assert {x for x in LETTERS if is_held_out(x, 0.2)} == {*HELD_OUT, *'cfnx'}


def test_both_parts_are_the_whole_and_keep_its_order_and_its_numbers(folder):
    whole_videos, whole_queries = read(folder)
    fit_videos, fit_queries = read(folder, part='fit')
    held_videos, held_queries = read(folder, part='held_out')
    assert ''.join(held_videos) == HELD_OUT
    assert {**fit_videos, **held_videos} == whole_videos
    assert not fit_videos.keys() & held_videos.keys()
    assert fit_queries == [x for x in whole_queries if x.video_name not in HELD_OUT]
    assert held_queries == [x for x in whole_queries if x.video_name in HELD_OUT]


def test_videos_that_are_added_move_no_other(folder):
    before, _ = read(folder, part='held_out')
    lines = (folder / 'train.jsonl').read_text().splitlines()
    added = [json.dumps(json.loads(x) | dict(desc_id=f'+{i}')) for i, x in enumerate(lines)]
    added = [line.replace('"vid_name": "', '"vid_name": "new ') for line in added]
    (folder / 'train.jsonl').write_text('\n'.join(added + lines[::-1]))
    after, _ = read(folder, part='held_out')
    assert {name for name in after if not name.startswith('new ')} == before.keys()


def test_videos_of_one_recording_stay_together(tmp_path):
    """A recording goes by the name of the video with its number; 99 is no video's."""
    index = {
        'p': [9.0, 0],
        'a': [9.0, 1],
        **{f'p, cut {i}': [9.0, 10 + i, 0] for i in range(20)},
        **{f'a, cut {i}': [9.0, 40 + i, 1] for i in range(20)},
        **{f'other {i}': [9.0, 70 + i, 99] for i in range(20)},
    }
    (tmp_path / 'index.json').write_text(json.dumps(dict(train=index)))
    settings = dict(video_index='index.json', split='train', data_root=str(tmp_path))
    fit, held_out = (TVRReader(**settings, part=part).videos() for part in ('fit', 'held_out'))
    assert {x.source_id for x in held_out.values()} == {0}
    assert {x.source_id for x in fit.values()} == {1, 99}
    assert len(held_out) == 21


def test_a_recording_is_read_once_with_the_queries_of_that_video(tmp_path):
    index = {'a': [9.0, 0], 'a, again': [9.0, 1, 0], 'b': [9.0, 2], 'c, cut': [9.0, 3, 7]}
    (tmp_path / 'index.json').write_text(json.dumps(dict(train=index)))
    lines = [dict(desc_id=x, desc='words', vid_name=x, duration=9.0, ts=[1, 2]) for x in index]
    write_lines(tmp_path / 'train.jsonl', lines)
    settings = dict(video_index='index.json', split='train', recordings_once=True)
    videos, queries = read(tmp_path, **settings)
    assert [*videos] == [query.video_name for query in queries] == ['a', 'b']
    videos, _ = read(tmp_path, **settings, part='fit', held_out=0.01)
    assert [*videos] == ['a', 'b']


class SeveralVideos(AnnotationReader):
    """Queries with moments in several videos, of which p and s are held out."""

    def _read_videos(self):
        yield from (Video(name, 9.0) for name in 'apbs')

    def _read_queries(self):
        yield Query('own', 'x', '', video_name='a', moments=[Moment(1, 2, 'p'), Moment(1, 3)])
        yield Query('first', 'x', '', moments=[Moment(1, 2, x) for x in 'sabp'])
        yield Query('only elsewhere', 'x', '', video_name='b', moments=[Moment(1, 2, 's')])
        yield Query('no moment', 'x', '', video_name='p')


def test_moments_in_videos_of_the_other_part_are_left_out_and_counted():
    found = {}
    for part in ('fit', 'held_out'):
        reader = SeveralVideos(ann_file='x', part=part)
        queries = reader.queries(reader.videos())
        found[part] = {x.query_id: [m.video_name for m in x.moments] for x in queries}
        assert reader.repairs == {'a moment in a video that is not read was left out': 2}
    assert found == dict(fit={'own': ['a']}, held_out={'first': ['s', 'p'], 'no moment': []})


def test_queries_and_corpus_of_a_part_go_together(folder):
    def build(kind, part):
        reader = dict(type='TVRReader', ann_file='train.jsonl', part=part)
        settings = dict(reader=reader, feature_files={}, data_root=str(folder))
        with DefaultScope.overwrite_default_scope('reloclnet_mm'):
            return DATASETS.build(dict(type=kind, **settings))

    queries, corpus = build('QueryDataset', 'held_out'), build('CorpusDataset', 'held_out')
    queries.check_corpus(corpus)
    assert (len(queries), len(corpus)) == (3 * len(HELD_OUT), len(HELD_OUT))
    # A part of the videos keeps the numbers that the whole gives them.
    queries.check_corpus(build('CorpusDataset', None))
    with pytest.raises(InputError, match='5 videos of its queries'):
        queries.check_corpus(build('CorpusDataset', 'fit'))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(part='train'), r"TVRReader: part is 'train', expected None or 'fit' or 'held_out'"),
        (dict(part='fit', held_out=1), r'TVRReader: held_out is 1, expected a finite number > 0'),
    ],
)
def test_settings_of_no_part_are_refused(folder, settings, message):
    with pytest.raises(ValueError, match=message):
        read(folder, **settings)


@pytest.mark.parametrize('part', ['fit', 'held_out'])
def test_a_part_without_a_video_is_an_error(folder, part):
    kept = [x for x in (folder / 'train.jsonl').read_text().splitlines() if '"vid_name": "p"' in x]
    (folder / 'train.jsonl').write_text('\n'.join(kept))
    empty = dict(fit=0.1, held_out=0.01)
    with pytest.raises(
        InputError,
        match=rf"none of its 1 videos is in the part '{part}' with held_out={empty[part]}",
    ):
        read(folder, part=part, held_out=empty[part])


def test_a_part_without_a_query_is_an_error(folder):
    kept = [x for x in (folder / 'train.jsonl').read_text().splitlines() if '"vid_name": "p"' in x]
    (folder / 'some.jsonl').write_text('\n'.join(kept))
    settings = dict(video_index='train.jsonl', data_root=str(folder), part='fit')
    reader = TVRReader(ann_file='some.jsonl', **settings)
    with pytest.raises(
        InputError, match=r"some\.jsonl: none of its 3 queries is in the part 'fit'"
    ):
        reader.queries(reader.videos())


def test_a_query_of_no_video_is_in_no_part(folder):
    with open(folder / 'train.jsonl', 'a') as file:
        file.write(json.dumps(dict(desc_id=1, desc='x')))
    reader = TVRReader(
        ann_file='train.jsonl', video_index='index.json', data_root=str(folder), part='fit'
    )
    (folder / 'index.json').write_text(
        json.dumps(dict(train={name: [9.0, i] for i, name in enumerate(LETTERS)}))
    )
    with pytest.raises(InputError, match=r'train\.jsonl:79: query 1 has no video and no moment'):
        reader.queries(reader.videos())


def test_models_are_chosen_on_training_videos_and_tested_on_the_others():
    cfg = Config.fromfile(REPOSITORY / 'configs/_base_/datasets/anet_text_held_out.py')
    plain = Config.fromfile(REPOSITORY / 'configs/_base_/datasets/anet_text.py')
    readers = {name: x.dataset.reader for name, x in cfg.items() if name.endswith('_dataloader')}
    train = plain.train_dataloader.dataset.reader
    held_out = dict(train, part='held_out', recordings_once=True, held_out=0.1)
    assert readers == dict(
        train_dataloader=dict(train, part='fit', held_out=0.1),
        val_dataloader=held_out,
        val_corpus_dataloader=held_out,
        test_dataloader=plain.test_dataloader.dataset.reader,
        test_corpus_dataloader=plain.test_corpus_dataloader.dataset.reader,
    )


@pytest.mark.skipif(not REAL.exists(), reason=f'no real annotation at {REAL}')
def test_the_parts_of_activitynet_captions():
    queries_of = {name: len(x['sentences']) for name, x in json.loads(REAL.read_text()).items()}
    limit = f'{round(0.1 * 2**64):016x}'
    held = {x for x in queries_of if hashlib.sha256(x.encode()).hexdigest()[:16] < limit}
    assert 0.09 < len(held) / len(queries_of) < 0.11
    for part, names in (('held_out', held), ('fit', queries_of.keys() - held)):
        reader = ActivityNetCaptionsReader(
            ann_file=REAL.name, data_root=str(REAL.parent), part=part
        )
        videos = reader.videos()
        assert videos.keys() == names
        assert len(reader.queries(videos)) == sum(queries_of[name] for name in names)
