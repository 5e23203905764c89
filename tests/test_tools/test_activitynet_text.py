"""The two annotations of the same videos as a retrieval task."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from reloclnet_mm.extraction.annotations import read_query_texts, read_video_durations
from reloclnet_mm.extraction.subtitles import TimedSentence, read_subtitles

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / 'tools/dataset_converters/activitynet_text.py'
REAL = REPOSITORY / '../shared/data/activitynet_captions'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('activitynet_text', TOOL)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up there
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def convert(tool, monkeypatch, tmp_path):
    """Run the tool on two annotations and give the folder it wrote."""

    def run(first, second, *options):
        paths = [tmp_path / 'val_1.json', tmp_path / 'val_2.json']
        for path, content in zip(paths, (first, second), strict=True):
            path.write_text(json.dumps(content))
        out = tmp_path / 'out'
        monkeypatch.setattr(sys, 'argv', [str(a) for a in (TOOL, *paths, out, *options)])
        tool.main()
        return out

    return run


def description(speaker, video, duration=20.0):
    """Two sentences that tell who speaks of which video."""
    return {
        'duration': duration,
        'timestamps': [[0, 8.5], [7.25, 20]],
        'sentences': [f' {speaker} on {video}, one. ', f'{speaker} on {video}, two.'],
    }


def annotation(speaker, num_videos=10):
    return {f'v{i}': description(speaker, f'v{i}') for i in range(num_videos)}


def one_video(**changes):
    """Ten videos of which v3 is described otherwise."""
    return {**annotation('ann'), 'v3': {**description('ann', 'v3'), **changes}}


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_queries_come_from_the_first_file_and_subtitles_from_the_second(convert):
    out = convert(annotation('ann'), annotation('bob'))
    for split in ('train', 'val'):
        for line in read_lines(out / f'{split}.jsonl'):
            assert line['desc'].startswith(f'ann on {line["vid_name"]}, ')
    subtitles = read_subtitles(out / 'subtitles.jsonl')
    assert subtitles == {
        f'v{i}': [
            TimedSentence(f'bob on v{i}, one.', 0.0, 8.5),
            TimedSentence(f'bob on v{i}, two.', 7.25, 20.0),
        ]
        for i in range(10)
    }


def test_annotation_has_tvrs_layout(convert):
    out = convert(annotation('ann'), annotation('bob'))
    first = read_lines(out / 'train.jsonl')[0]
    name = first['vid_name']
    assert first == {
        'vid_name': name,
        'duration': 20.0,
        'ts': [0, 8.5],
        'desc': f'ann on {name}, one.',
        'type': 't',
        'desc_id': 0,
    }


def test_split_is_by_video_and_ids_are_unique(convert):
    out = convert(annotation('ann'), annotation('bob'), '--both-directions')
    index = json.loads((out / 'video2dur_idx.json').read_text())
    assert len(index['val']) == 2
    assert len(index['train']) == 2 * 8
    entries = [*index['train'].values(), *index['val'].values()]
    assert sorted(entry[1] for entry in entries) == list(range(18))
    for name, (_, number, *source) in index['train'].items():
        twin = index['train'][name.removesuffix('@reversed')][1]
        assert source == ([] if '@' not in name else [twin])
        assert (twin == number) == ('@' not in name)
    assert read_video_durations(out / 'video2dur_idx.json').keys() == {
        *index['train'],
        *index['val'],
    }
    # reads all and refuses a query id that occurs twice
    queries = read_query_texts([out / 'train.jsonl', out / 'val.jsonl'])
    assert sorted(map(int, queries)) == list(range(2 * 18))
    for split in ('train', 'val'):
        assert {line['vid_name'] for line in read_lines(out / f'{split}.jsonl')} == {*index[split]}


def test_both_directions_adds_every_training_video_with_roles_exchanged(convert):
    out = convert(annotation('ann'), annotation('bob'), '--both-directions')
    index = json.loads((out / 'video2dur_idx.json').read_text())
    forward = {name for name in index['train'] if '@' not in name}
    assert {name for name in index['train'] if '@' in name} == {f'{n}@reversed' for n in forward}
    subtitles = read_subtitles(out / 'subtitles.jsonl')
    assert subtitles.keys() == {*index['train'], *index['val']}
    for line in read_lines(out / 'train.jsonl'):
        video, _, direction = line['vid_name'].partition('@')
        speakers = ('bob', 'ann') if direction else ('ann', 'bob')
        assert line['desc'].startswith(f'{speakers[0]} on {video}, ')
        assert subtitles[line['vid_name']][0].text == f'{speakers[1]} on {video}, one.'


def test_both_directions_leaves_the_forward_part_as_it_is(convert):
    forward = convert(annotation('ann'), annotation('bob'))
    before = {path.name: path.read_text() for path in forward.iterdir()}
    both = convert(annotation('ann'), annotation('bob'), '--both-directions')
    assert (both / 'val.jsonl').read_text() == before['val.jsonl']
    for name in ('train.jsonl', 'subtitles.jsonl'):
        assert (both / name).read_text().startswith(before[name])
    index = json.loads((both / 'video2dur_idx.json').read_text())
    for split, videos in json.loads(before['video2dur_idx.json']).items():
        assert videos.items() <= index[split].items()


def test_a_talk_says_the_descriptions_of_its_recordings_one_after_another(convert):
    out = convert(annotation('ann', 40), annotation('bob', 40), '--talks')
    subtitles = read_subtitles(out / 'subtitles.jsonl')
    lines = read_lines(out / 'train.jsonl') + read_lines(out / 'val.jsonl')
    for name, said in subtitles.items():
        recordings = [x.text.split()[2].strip(',') for x in said]
        assert recordings == [x for x in dict.fromkeys(recordings) for _ in range(2)]
        # Sentences of four words at 2.5 a second, pauses of 0.4 s, of 1.2 s between recordings.
        starts = [4.8 * (i // 2) + 2.0 * (i % 2) for i in range(len(said))]
        assert [x.start for x in said] == pytest.approx(starts)
        assert [x.end for x in said] == pytest.approx([x + 1.6 for x in starts])
        queries = [line for line in lines if line['vid_name'] == name]
        assert len(queries) == len(said)
        for line in queries:
            first = recordings.index(line['desc'].split()[2].strip(','))
            assert line['ts'] == pytest.approx([starts[first], starts[first] + 3.6])
            assert line['duration'] == pytest.approx(said[-1].end)
    counts = [len(said) // 2 for said in subtitles.values()]
    assert sum(counts) == 40
    assert max(counts) <= 7
    assert sorted(counts)[2] >= 3, 'but for the last of each split'


def test_talks_of_the_splits_share_no_recording(convert):
    out = convert(annotation('ann', 40), annotation('bob', 40), '--talks', '--both-directions')
    index = json.loads((out / 'video2dur_idx.json').read_text())
    subtitles = read_subtitles(out / 'subtitles.jsonl')
    spoken = {
        split: {x.text.split()[2] for name in names for x in subtitles[name]}
        for split, names in index.items()
    }
    assert len(spoken['train']) == 32
    assert len(spoken['val']) == 8
    assert not spoken['train'] & spoken['val']


def test_seed_decides_the_split_and_the_order_of_the_file_does_not(convert):
    def val_videos(first, *options):
        out = convert(first, annotation('bob'), *options)
        return [*json.loads((out / 'video2dur_idx.json').read_text())['val']]

    backwards = dict(reversed(annotation('ann').items()))
    same = val_videos(annotation('ann'))
    assert val_videos(backwards) == same
    assert any(val_videos(annotation('ann'), '--seed', seed) != same for seed in range(5))
    assert len(val_videos(annotation('ann'), '--val-fraction', 0.5)) == 5


def test_videos_of_one_file_alone_are_left_out_and_counted(convert, capsys):
    out = convert(annotation('ann', 12), annotation('bob', 10))
    assert len(read_subtitles(out / 'subtitles.jsonl')) == 10
    printed = capsys.readouterr().out
    assert 'val_1.json: 12 videos, 2 of them in this file only' in printed
    assert 'val_2.json: 10 videos, 0 of them in this file only' in printed


def test_moments_are_clipped_and_swapped_and_counted(convert, capsys):
    out = convert(one_video(timestamps=[[8.5, 2], [7.25, 20.05]]), annotation('bob'))
    lines = read_lines(out / 'train.jsonl') + read_lines(out / 'val.jsonl')
    assert [line['ts'] for line in lines if line['vid_name'] == 'v3'] == [[2, 8.5], [7.25, 20.0]]
    printed = capsys.readouterr().out
    assert 'left out; start and end of a moment were swapped: 1; a moment past the end' in printed
    assert 'val_2.json: 10 videos, 0 of them in this file only and left out\n' in printed


def test_table_counts_what_was_written(convert, capsys):
    convert(annotation('ann'), annotation('bob'), '--both-directions')
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows == [['train', '16', '32', '32'], ['val', '2', '4', '4']]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'timestamps': [[0, 8], [7, 21.06]]},
            r'sentence 1: the moment \[7\.0, 21\.06\] lies outside',
        ),
        (
            {'timestamps': [[-0.01, 8], [7, 20]]},
            r'sentence 0: the moment \[-0\.01, 8\.0\] lies outside',
        ),
        ({'timestamps': [[0, 8], [7, 7]]}, r'sentence 1: the moment at 7\.0 s has no length'),
        (
            {'timestamps': [[0, 8], [20.01, 20.02]]},
            r'sentence 1: the moment \[20\.01, 20\.02\] lies outside',
        ),
        (
            {'timestamps': [[0, 8], [7]]},
            r"found \[7\] at timestamps\[1\]: expected 'array' of length 2",
        ),
        (
            {'timestamps': [[0, 8], [7, None]]},
            r"found None at timestamps\[1\]\[1\]: expected 'float'",
        ),
        ({'timestamps': [[0, 8]]}, r'found 1 timestamps and 2 sentences'),
        ({'timestamps': [], 'sentences': []}, r'found 0 timestamps and 0 sentences'),
        ({'sentences': ['x', ' \n']}, r"sentence 1: query 'val_1#v3#1' has no words"),
        ({'duration': 0}, r"found 0 at duration: expected 'float' > 0\.0"),
        ({'duration': 20.2}, r' lasts 20\.0 s, but 20\.2 s in .*val_1\.json'),
    ],
)
def test_unusable_description_names_file_video_and_sentence(convert, changes, message):
    with pytest.raises(SystemExit, match=rf"error: .*val_.\.json: video '?v3.*{message}") as error:
        convert(one_video(**changes), annotation('bob'))
    assert str(error.value).count('\n') == 0


def test_video_without_its_keys_is_refused(convert):
    with pytest.raises(
        SystemExit, match=r"video 'v3': found .*missing required field 'timestamps'"
    ):
        convert({**annotation('ann'), 'v3': {'duration': 20.0}}, annotation('bob'))


def test_file_that_is_no_annotation_is_refused(convert):
    with pytest.raises(SystemExit, match=r"val_2\.json: found \['bob'\]: expected 'object'"):
        convert(annotation('ann'), ['bob'])


@pytest.mark.parametrize('fraction', [0, 0.01, 1])
def test_split_without_videos_is_refused(convert, fraction):
    with pytest.raises(SystemExit, match='expected some in both splits'):
        convert(annotation('ann'), annotation('bob'), '--val-fraction', fraction)


def test_real_annotation_gives_the_task_of_known_size(tool, monkeypatch, tmp_path, capsys):
    if not REAL.is_dir():
        pytest.skip('the annotation of ActivityNet Captions is not beside the repository')
    paths = [REAL / 'val_1.json', REAL / 'val_2.json']
    monkeypatch.setattr(sys, 'argv', [str(a) for a in (TOOL, *paths, tmp_path)])
    tool.main()
    index = json.loads((tmp_path / 'video2dur_idx.json').read_text())
    assert {split: len(videos) for split, videos in index.items()} == {'train': 3908, 'val': 977}
    num_queries = sum(len(read_lines(tmp_path / f'{split}.jsonl')) for split in index)
    assert num_queries == 17398
    assert sum(map(len, read_subtitles(tmp_path / 'subtitles.jsonl').values())) == 17031
    printed = capsys.readouterr().out
    assert 'a moment past the end of its video was cut: 134' in printed
    assert 'a moment past the end of its video was cut: 111' in printed
