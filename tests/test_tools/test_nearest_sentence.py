"""The zero-shot baseline: hand-worked ranks, a naive ranking, and the command line."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import write_tiny_encoder

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / 'tools/analysis_tools/nearest_sentence.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('nearest_sentence', TOOL)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up there
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_recalls_of_a_hand_worked_ranking(tool):
    sentences = tool.Sentences(
        ['a0', 'a1', 'b0'], np.array([7, 7, 9]), np.array([[0.0, 10], [10, 20], [0, 10]])
    )
    queries = tool.Queries(
        ['x', 'y'], np.array([7, 9]), [np.array([[10.0, 16]]), np.array([[0.0, 10]])]
    )
    # x: b0, a1, a0: video 7 is second; its best sentence [10, 20] has IoU 0.6 with [10, 16]
    # y: a0, b0, a1: video 9 is second; its only sentence is right
    recalls = tool.nearest_sentence_recalls(
        np.array([[0.1, 0.5, 0.9], [0.9, 0.1, 0.5]]), sentences, queries
    )
    assert recalls == {
        **{'VR/R1': 0.0, 'VR/R5': 100.0, 'VR/R10': 100.0, 'VR/R100': 100.0},
        **{f'SVMR/R{k}@0.5': 100.0 for k in (1, 5, 10, 100)},
        **{f'SVMR/R{k}@0.7': 50.0 for k in (1, 5, 10, 100)},
        **{'VCMR/R1@0.5': 0.0, 'VCMR/R1@0.7': 0.0},
        **{f'VCMR/R{k}@0.5': 100.0 for k in (5, 10, 100)},
        **{f'VCMR/R{k}@0.7': 50.0 for k in (5, 10, 100)},
    }


def naive_recalls(similarity, sentences, queries):
    """Plain lists and sorting, a query at a time."""

    def iou(a, b):
        overlap = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
        return overlap / (max(a[1], b[1]) - min(a[0], b[0]))

    hits = {}
    for scores, video, (answer,) in zip(
        similarity, queries.video_ids, queries.moments, strict=True
    ):
        ranked = sorted(range(len(scores)), key=lambda s: -scores[s])
        best = {}
        for s in ranked:
            best.setdefault(sentences.video_ids[s], scores[s])
        videos = sorted(best, key=lambda v: -best[v])
        own = [s for s in ranked if sentences.video_ids[s] == video]
        for k in (1, 5, 10, 100):
            hits.setdefault(f'VR/R{k}', []).append(video in videos[:k])
            for task, found in (('SVMR', own), ('VCMR', ranked)):
                for t in (0.5, 0.7):
                    right = any(
                        sentences.video_ids[s] == video and iou(sentences.moments[s], answer) >= t
                        for s in found[:k]
                    )
                    hits.setdefault(f'{task}/R{k}@{t}', []).append(right)
    return {name: round(100 * sum(h) / len(h), 2) for name, h in hits.items()}


@pytest.mark.parametrize('seed', range(5))
def test_recalls_equal_the_naive_ranking(tool, seed):
    rng = np.random.default_rng(seed)
    videos = np.repeat(np.arange(30) + 100, rng.integers(0, 7, 30))  # some have no sentence
    moments = np.sort(rng.uniform(0, 60, (len(videos), 2)), 1)
    sentences = tool.Sentences([''] * len(videos), videos, moments)
    answers = [np.sort(rng.uniform(0, 60, (1, 2)), 1) for _ in range(40)]
    queries = tool.Queries([''] * 40, rng.integers(100, 130, 40), answers)
    similarity = rng.normal(size=(40, len(videos)))
    assert tool.nearest_sentence_recalls(similarity, sentences, queries) == naive_recalls(
        similarity, sentences, queries
    )


@pytest.fixture
def task(tmp_path):
    """Three videos; every query is, word for word, a sentence of its video with its times."""
    texts = {
        'a': ['a man climbs the wall', 'the dog runs home'],
        'b': ['woman paints red fence', 'cat jumps'],
        'c': ['car', 'the man throws a ball'],
    }
    times = ((0, 10), (10, 20))
    subtitles = [
        {
            'vid_name': name,
            'sub': [
                {'text': text, 'start': start, 'end': end}
                for text, (start, end) in zip(said, times, strict=True)
            ],
        }
        for name, said in texts.items()
    ]
    queries = [
        {
            'vid_name': line['vid_name'],
            'ts': [sentence['start'], sentence['end']],
            'desc': sentence['text'],
            'desc_id': 10 * number + position,
        }
        for number, line in enumerate(subtitles)
        for position, sentence in enumerate(line['sub'])
    ]
    index = {name: [20.0, number] for number, name in enumerate(texts)}
    (tmp_path / 'subtitles.jsonl').write_text('\n'.join(map(json.dumps, subtitles)))
    (tmp_path / 'val.jsonl').write_text('\n'.join(map(json.dumps, queries)))
    (tmp_path / 'video2dur_idx.json').write_text(json.dumps({'val': index, 'other': {}}))
    return tmp_path


@pytest.fixture
def run(tool, tmp_path_factory, monkeypatch):
    encoder = write_tiny_encoder(tmp_path_factory.mktemp('encoder'))

    def run_with(*args):
        command = [TOOL, *args, '--encoder', encoder, '--max-tokens', 40]
        monkeypatch.setattr(sys, 'argv', [str(word) for word in command])
        tool.main()

    return run_with


def test_queries_that_repeat_a_sentence_find_it(run, task, capsys):
    run(task, '--out', task / 'recalls.json')
    recalls = json.loads((task / 'recalls.json').read_text())
    assert len(recalls) == 20
    assert set(recalls.values()) == {100.0}
    printed = capsys.readouterr().out
    assert '6 queries, 6 sentences' in printed
    assert 'VCMR IoU 0.7' in printed


def test_split_without_sentences_ends_with_a_message(run, task):
    (task / 'subtitles.jsonl').write_text('{"vid_name": "z", "sub": []}\n')
    with pytest.raises(
        SystemExit, match=r"subtitles\.jsonl: no sentence for any of the 3 videos, such as 'a'"
    ):
        run(task)


def test_queries_without_answers_end_with_a_message(run, task):
    (task / 'val.jsonl').write_text('{"desc_id": 5, "desc": "a dog", "vid_name": "a"}\n')
    with pytest.raises(SystemExit, match=r'val\.jsonl:1: query 5 has no answer to compare with'):
        run(task)


def test_a_folder_of_another_layout_is_read_by_its_reader(run, task, capsys):
    captions = {
        line['vid_name']: dict(
            duration=20.0,
            timestamps=[[x['start'], x['end']] for x in line['sub']],
            sentences=[x['text'] for x in line['sub']],
        )
        for line in map(json.loads, (task / 'subtitles.jsonl').read_text().splitlines())
    }
    (task / 'captions.json').write_text(json.dumps(captions))
    run(task, '--reader', 'type=ActivityNetCaptionsReader', 'ann_file=captions.json')
    printed = capsys.readouterr().out
    assert '6 queries, 6 sentences' in printed
    assert '100.00' in printed
