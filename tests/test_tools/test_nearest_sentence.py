"""From texts to the recalls of the nearest sentence, by the command lines of a user."""

import json
import sys

import pytest
from tiny_encoder import WIDTH, write_tiny_encoder
from tool_processes import REPOSITORY, load_tool, run_here

CONFIG = REPOSITORY / 'configs/nearest_sentence_anet_text.py'
DATA = 'data/anet_text'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Three videos; every query is, word for word, a sentence of its video with its times."""
    folder = tmp_path_factory.mktemp('workspace')
    data = folder / DATA
    data.mkdir(parents=True)
    texts = {
        'a': ['a man climbs the wall', 'the dog runs home'],
        'b': ['woman paints red fence', 'cat jumps'],
        'c': ['car', 'the man throws a ball', 'the cat'],
    }
    subtitles = [
        dict(
            vid_name=name,
            sub=[dict(text=x, start=9.5 * i, end=9.5 * i + 8) for i, x in enumerate(said)],
        )
        for name, said in texts.items()
    ]
    queries = [
        dict(
            vid_name=line['vid_name'],
            ts=[sentence['start'], sentence['end']],
            desc=sentence['text'],
            desc_id=10 * number + position,
        )
        for number, line in enumerate(subtitles)
        for position, sentence in enumerate(line['sub'])
    ]
    index = {name: [30.0, number] for number, name in enumerate(texts)}
    (data / 'subtitles.jsonl').write_text('\n'.join(map(json.dumps, subtitles)))
    (data / 'val.jsonl').write_text('\n'.join(map(json.dumps, queries)))
    (data / 'video2dur_idx.json').write_text(json.dumps({'val': index}))
    return folder


@pytest.fixture(scope='module')
def extracted(folder, tmp_path_factory):
    """The folder with features of queries and sentences."""
    tool, encoder = load_tool('extract_text_features'), tmp_path_factory.mktemp('encoder')
    common = ['--encoder', write_tiny_encoder(encoder), '--max-tokens', 40, '--device', 'cpu']
    data = folder / DATA
    index = ['--video-index', data / 'video2dur_idx.json']
    sentences = ['--out', data / 'sentences.h5', '--rows', 'sentences', '--pool', 'mean']
    for args in (
        ['queries', data / 'val.jsonl', '--out', data / 'query.h5'],
        ['sentences', data / 'subtitles.jsonl', *index, *sentences],
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', ['tool', *map(str, [*args, *common])])
            tool.main()
    return folder


def test_queries_that_repeat_a_sentence_find_it(extracted):
    loaders = 'test_dataloader', 'test_corpus_dataloader'
    options = [f'model.streams.subtitle={WIDTH}']
    for loader in loaders:
        options += [f'{loader}.dataset.channels.{name}={WIDTH}' for name in ('subtitle', 'query')]
        options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    args = ['--submission', 'found.json', '--cfg-options', *options]
    run_here(extracted, 'test', CONFIG, *args)
    found = json.loads((extracted / 'found.json').read_text())
    queries = [
        json.loads(line) for line in (extracted / DATA / 'val.jsonl').read_text().splitlines()
    ]
    for task in ('SVMR', 'VCMR'):
        for query, answer in zip(queries, found[task], strict=True):
            video, start, end, score = answer['predictions'][0]
            assert found['video2idx'][query['vid_name']] == video
            assert [start, end] == pytest.approx(query['ts'], abs=1e-5)
            assert score == pytest.approx(1, abs=1e-5)
    assert [len(answer['predictions']) for answer in found['VCMR']] == [7] * 7
    assert [len(answer['predictions']) for answer in found['SVMR']] == [2, 2, 2, 2, 3, 3, 3]


def test_sentences_that_are_not_extracted_are_named(folder, tmp_path):
    printed = run_here(tmp_path, 'test', CONFIG, status=1)
    assert 'video2dur_idx.json' in printed
