"""The planted corpus: layout of the TVR release, determinism, and what was planted where."""

import json

import h5py
import numpy as np
import pytest
from tool_processes import REPOSITORY, full_disk, load_tool

from reloclnet_mm.datasets.readers import Moment, Query
from reloclnet_mm.datasets.synthetic import (
    QUERY_TYPE_SHARES,
    TOPICS_PER_VIDEO,
    PlantedCorpus,
    PlantedSettings,
    PlantedVideo,
    concept_word,
    spread_evenly,
    words_of,
)
from reloclnet_mm.errors import InputError
from reloclnet_mm.structures.clips import count_clips

REAL = REPOSITORY / '../shared/data/tvr'
VIDEO_FILE = 'tvr_feature_release/video_feature/tvr_resnet152_rgb_max_i3d_rgb600_avg_cat_cl-1.5.h5'
SUBTITLE_FILE = (
    'tvr_feature_release/bert_feature/sub_query/tvr_sub_pretrained_w_sub_query_max_cl-1.5.h5'
)
QUERY_FILE = 'tvr_feature_release/bert_feature/sub_query/tvr_query_pretrained_w_sub_query.h5'
SPLITS = ('train', 'val', 'test_public')
SMALL = [
    *('--num-train-videos', '12', '--num-val-videos', '6', '--num-test-videos', '2'),
    *('--video-dim', '96', '--subtitle-dim', '48', '--query-dim', '48'),
    *('--num-concepts', '24', '--mean-clips', '30', '--seed', '5'),
]
SMALL_SETTINGS = PlantedSettings(
    video_dim=96, subtitle_dim=48, query_dim=48, num_concepts=24, mean_clips=30, seed=5
)


@pytest.fixture(scope='module')
def tool():
    return load_tool('make_planted_corpus')


@pytest.fixture(scope='module')
def folder(tool, tmp_path_factory):
    path = tmp_path_factory.mktemp('planted') / 'corpus'
    tool.main([str(path), *SMALL])
    return path


def read_annotation(folder, split):
    return [json.loads(line) for line in (folder / f'tvr_{split}_release.jsonl').open()]


def read_arrays(path):
    with h5py.File(path) as file:
        return {name: rows[()] for name, rows in file.items()}


def make_video(index=3, duration=62.3):
    return PlantedVideo(f'video_{index}', index, duration)


def test_files_have_the_names_of_the_tvr_release_and_nothing_else_is_left(folder):
    found = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}
    annotations = {f'tvr_{split}_release.jsonl' for split in SPLITS}
    assert found == annotations | {
        'tvr_video2dur_idx.json',
        VIDEO_FILE,
        SUBTITLE_FILE,
        QUERY_FILE,
    }
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_every_video_of_the_index_has_clips_of_both_streams(folder):
    index = json.loads((folder / 'tvr_video2dur_idx.json').read_text())
    assert {split: len(videos) for split, videos in index.items()} == {
        'train': 12,
        'val': 6,
        'test_public': 2,
    }
    numbers = [number for videos in index.values() for _, number in videos.values()]
    assert sorted(numbers) == list(range(20))

    video, subtitle = read_arrays(folder / VIDEO_FILE), read_arrays(folder / SUBTITLE_FILE)
    durations = {name: d for videos in index.values() for name, (d, _) in videos.items()}
    assert set(video) == set(subtitle) == set(durations)
    for name, duration in durations.items():
        clips = len(video[name])
        assert (clips - 1) * 1.5 < duration <= clips * 1.5
        assert clips >= 4
        assert video[name].shape == (clips, 96)
        assert subtitle[name].shape == (clips, 48)
        assert video[name].dtype == subtitle[name].dtype == np.float32


def test_each_half_of_a_video_row_has_norm_one(folder):
    for rows in read_arrays(folder / VIDEO_FILE).values():
        np.testing.assert_allclose(np.linalg.norm(rows[:, :64], axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(rows[:, 64:], axis=1), 1, rtol=1e-5)


def test_every_query_has_one_feature_row_a_word(folder):
    features = read_arrays(folder / QUERY_FILE)
    records = [record for split in SPLITS for record in read_annotation(folder, split)]
    assert len(records) == 5 * 20
    assert set(features) == {str(record['desc_id']) for record in records}
    for record in records:
        assert features[str(record['desc_id'])].shape == (len(record['desc'].split()), 48)


def test_the_public_test_split_has_no_answers(folder):
    for record in read_annotation(folder, 'test_public'):
        assert set(record) == {'desc', 'desc_id'}


@pytest.mark.parametrize('split', ['train', 'val'])
def test_answers_lie_inside_their_video_and_off_the_clip_boundaries(folder, split):
    index = json.loads((folder / 'tvr_video2dur_idx.json').read_text())
    for record in read_annotation(folder, split):
        assert list(record) == ['vid_name', 'duration', 'ts', 'desc', 'type', 'desc_id']
        assert record['duration'] == index[split][record['vid_name']][0]
        start, end = record['ts']
        assert 0 <= start < end <= record['duration']
        assert abs(start / 1.5 - round(start / 1.5)) > 0.01
        assert abs(end / 1.5 - round(end / 1.5)) > 0.01
        first = int(start // 1.5)
        assert 3 <= int(end // 1.5) + 1 - first <= 12


def test_the_features_on_disk_carry_the_concepts_that_the_sentences_name(folder):
    directions = PlantedCorpus(SMALL_SETTINGS).directions
    words = [concept_word(c) for c in range(24)]
    context = {'v': read_arrays(folder / VIDEO_FILE), 't': read_arrays(folder / SUBTITLE_FILE)}
    space = {'v': directions['video'], 't': directions['subtitle']}
    tokens = read_arrays(folder / QUERY_FILE)
    means = []
    for record in read_annotation(folder, 'train') + read_annotation(folder, 'val'):
        named = [(i, words.index(w)) for i, w in enumerate(words_of(record['desc'])) if w in words]
        concepts = [concept for _, concept in named]
        assert len(concepts) in (2, 3)
        for position, concept in named:
            row = tokens[str(record['desc_id'])][position]
            assert np.argmax(directions['query'] @ row) == concept
        start, end = record['ts']
        for letter in record['type']:
            response = context[letter][record['vid_name']] @ space[letter][concepts].mean(0)
            inside = np.zeros(len(response), dtype=bool)
            inside[int(start // 1.5) : int(end // 1.5) + 1] = True
            # the rest is not zero: overlapping moments and background shots share concepts
            means.append((response[inside].mean(), response[~inside].mean()))
    inside, outside = np.array(means).T
    assert (inside > outside).mean() > 0.9
    assert inside.mean() > 2 * outside.mean()


def test_without_noise_a_clip_is_exactly_the_sum_of_its_concepts():
    corpus = PlantedCorpus(PlantedSettings(noise=0))
    video = make_video()
    real = Query(7, 'one two three four five', '', 'v', 'v', [Moment(10.0, 20.0)])
    (query,) = corpus.adopt_queries(video, [real])
    rows = corpus.context_features('video', video, [query])
    concepts = list(query.concepts)
    total = corpus.directions['video'][concepts].sum(0)
    halves = np.split(total, [171])
    expected = np.concatenate([half / np.linalg.norm(half) for half in halves])
    # 10 s lies in clip 6, 20 s in clip 13
    np.testing.assert_allclose(rows[6:14], np.tile(expected, (8, 1)), atol=1e-6)
    cosines = rows[[*range(6), *range(14, 42)]] @ expected / 2
    assert cosines.max() < 0.95


def test_a_query_about_subtitles_leaves_the_video_stream_as_it_is():
    corpus = PlantedCorpus(PlantedSettings())
    video = make_video()
    real = Query(7, 'one two three four five', '', 't', 'v', [Moment(10.0, 20.0)])
    queries = corpus.adopt_queries(video, [real])
    bare = {stream: corpus.context_features(stream, video, []) for stream in ('video', 'subtitle')}
    np.testing.assert_array_equal(corpus.context_features('video', video, queries), bare['video'])
    changed = (corpus.context_features('subtitle', video, queries) != bare['subtitle']).any(1)
    assert np.flatnonzero(changed).tolist() == list(range(6, 14))


def test_concepts_of_a_real_sentence_stand_among_the_tokens_that_a_model_reads():
    corpus = PlantedCorpus(PlantedSettings(noise=0))
    real = Query(7, ' '.join(['word'] * 60), 'here', 'v', moments=[Moment(1.0, 9.0)])
    (query,) = corpus.adopt_queries(make_video(), [real])
    rows = corpus.query_features(query)
    assert rows.shape == (60, 96)
    planted = np.flatnonzero(np.array(query.token_concepts) >= 0)
    assert len(planted) == len(query.concepts)
    assert planted.max() < 30
    np.testing.assert_array_equal(
        rows[planted], corpus.directions['query'][np.array(query.token_concepts)[planted]]
    )
    np.testing.assert_array_equal(rows[30:], np.tile(rows[59], (30, 1)))


def test_moments_of_a_video_differ_in_their_concepts_and_stay_with_its_topics():
    queries = PlantedCorpus(PlantedSettings()).draw_queries(make_video(), 40, 0)
    assert len({query.concepts for query in queries}) == 40
    assert len({c for query in queries for c in query.concepts}) <= TOPICS_PER_VIDEO


def test_query_types_have_the_shares_of_tvr():
    corpus = PlantedCorpus(PlantedSettings())
    types = [
        query.query_type
        for i in range(400)
        for query in corpus.draw_queries(make_video(i), 5, 5 * i)
    ]
    for query_type, share in QUERY_TYPE_SHARES.items():
        # four standard deviations of a share among 2,000 draws
        deviation = 4 * (share * (1 - share) / 2000) ** 0.5
        assert abs(types.count(query_type) / 2000 - share) < deviation


def test_lengths_have_the_mean_asked_for_and_a_tail_beyond_the_model_s_clips():
    corpus = PlantedCorpus(PlantedSettings())
    clips = np.array([count_clips(corpus.draw_video('', i).duration, 1.5) for i in range(2000)])
    assert abs(clips.mean() - 50) < 2.5
    assert 0 < (clips > 128).mean() < 0.03


def test_features_do_not_depend_on_the_order_of_generation():
    settings = PlantedSettings()
    one, other = PlantedCorpus(settings), PlantedCorpus(settings)
    first, second = make_video(1), make_video(2)
    queries = one.draw_queries(first, 3, 10)
    expected = [one.context_features('video', first, queries), one.query_features(queries[2])]

    other.draw_video('another', 9)
    other.context_features('subtitle', second, other.draw_queries(second, 5, 20))
    again = other.draw_queries(first, 3, 10)
    assert again == queries
    np.testing.assert_array_equal(other.query_features(again[2]), expected[1])
    np.testing.assert_array_equal(other.context_features('video', first, again), expected[0])


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another(tool, folder, tmp_path):
    few = ['--num-train-videos', '3', '--num-val-videos', '6', '--num-test-videos', '0']
    tool.main([str(tmp_path / 'same'), *SMALL, *few])
    tool.main([str(tmp_path / 'other'), *SMALL, *few, '--seed', '6'])
    same, other = (read_arrays(tmp_path / name / VIDEO_FILE) for name in ('same', 'other'))
    # fewer videos and no test split, and yet the shared ones are equal
    for name, rows in read_arrays(folder / VIDEO_FILE).items():
        if name in ('planted_train_00000', 'planted_train_00002'):
            np.testing.assert_array_equal(same[name], rows)
    assert read_annotation(tmp_path / 'same', 'train') == read_annotation(folder, 'train')[:15]
    assert read_annotation(tmp_path / 'other', 'train') != read_annotation(folder, 'train')[:15]
    assert not np.array_equal(same['planted_train_00000'][:4], other['planted_train_00000'][:4])
    assert read_annotation(tmp_path / 'same', 'test_public') == []


def test_half_precision_is_the_rounded_single_precision(tool, folder, tmp_path):
    tool.main([str(tmp_path / 'half'), *SMALL, '--dtype', 'float16'])
    for name in (VIDEO_FILE, SUBTITLE_FILE, QUERY_FILE):
        half = read_arrays(tmp_path / 'half' / name)
        for key, rows in read_arrays(folder / name).items():
            assert half[key].dtype == np.float16
            np.testing.assert_array_equal(half[key], rows.astype(np.float16))


def test_the_tvr_preset_has_the_release_s_sizes_and_yields_to_what_is_given(tool):
    args = tool.parse_args(['corpus', '--tvr-full', '--num-test-videos', '7'])
    assert (args.num_train_videos, args.num_val_videos, args.num_test_videos) == (17435, 2179, 7)
    assert (args.video_dim, args.subtitle_dim, args.query_dim) == (3072, 768, 768)
    per_video = [sum(spread_evenly(args.queries_per_video, n)) for n in (17435, 2179, 1089)]
    assert per_video == [87175, 10895, 5445]
    assert PlantedSettings(video_dim=3072).video_parts == (2048, 1024)


def test_queries_are_spread_evenly_over_the_videos():
    assert spread_evenly(2.5, 4) == [2, 3, 2, 3]
    assert spread_evenly(1.1, 10) == [1, 1, 1, 1, 1, 1, 1, 1, 1, 2]


def test_a_folder_with_files_is_refused_and_replaced_only_on_demand(tool, tmp_path):
    (tmp_path / 'mine.txt').write_text('mine')
    (tmp_path / 'tvr_train_release.jsonl').write_text('old')
    with pytest.raises(SystemExit, match='is not empty: choose a new folder, or --overwrite'):
        tool.main([str(tmp_path), *SMALL])
    assert (tmp_path / 'tvr_train_release.jsonl').read_text() == 'old'
    tool.main([str(tmp_path), *SMALL, '--overwrite'])
    assert len(read_annotation(tmp_path, 'train')) == 60
    assert (tmp_path / 'mine.txt').read_text() == 'mine'


def test_an_interrupted_run_leaves_the_old_corpus_whole(tool, tmp_path, monkeypatch):
    folder = tmp_path / 'corpus'
    tool.main([str(folder), *SMALL])
    before = {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(PlantedCorpus, 'query_features', stop)
    with pytest.raises(SystemExit) as caught:
        tool.main([str(folder), *SMALL, '--overwrite', '--seed', '6'])
    assert caught.value.code == 130
    assert {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()} == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--num-concepts', '3'], 'num_concepts is 3, expected a number from 8'),
        (['--noise', '-1'], r'noise is -1\.0, expected a number from 0'),
        (['--num-val-videos', '0'], '--num-val-videos is 0, expected at least 1'),
        (['--queries-per-video', '0.5'], r'--queries-per-video is 0\.5, expected at least 1'),
        (['--max-val-queries', '5'], '--max-val-queries limits --val-annotation'),
        (['--val-annotation', 'a.jsonl'], '--val-annotation and --video-index belong together'),
        (['--val-annotation', 'a.jsonl', '--video-index', 'i.json'], r'i\.json: no such file'),
    ],
)
def test_arguments_that_make_no_corpus_are_refused(tool, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        tool.main([str(tmp_path / 'corpus'), *arguments])
    assert list(tmp_path.iterdir()) == []


GOOD_LINE = {'vid_name': 'a', 'ts': [1, 2], 'desc': 'she opens a door', 'type': 'v', 'desc_id': 4}


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        ([{**GOOD_LINE, 'ts': None}], r"val\.jsonl:1: found None at ts: expected 'array'"),
        ([{**GOOD_LINE, 'ts': [3, 2]}], r'val\.jsonl:1: the moment \[3\.0, 2\.0\] ends before'),
        ([{**GOOD_LINE, 'ts': [8, 12]}], r'val\.jsonl:1: the moment .* lies outside its video'),
        ([{'desc': 'x', 'desc_id': 4}], r"val\.jsonl:1: found no 'ts', expected one"),
        ([{**GOOD_LINE, 'desc_id': 'x'}], r"val\.jsonl:1: found the desc_id 'x', expected a whole"),
        ([{**GOOD_LINE, 'type': 'x'}], r"val\.jsonl:1: found the type 'x', expected one of v, t,"),
        ([GOOD_LINE, GOOD_LINE], r'val\.jsonl:2: query id 4 is that of .*val\.jsonl:1 too'),
        (
            [{**GOOD_LINE, 'vid_name': 'b'}],
            r"val\.jsonl:1: video 'b' is not among the 1 videos of .*split 'val'",
        ),
        ([{**GOOD_LINE, 'desc': 'yes'}], r"query 4 has 1 words \('yes'\), expected at least"),
        ([], 'no query in the file'),
    ],
)
def test_a_real_annotation_that_cannot_be_planted_is_refused(tool, tmp_path, lines, message):
    annotation, index = tmp_path / 'val.jsonl', tmp_path / 'index.json'
    annotation.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    index.write_text(json.dumps({'train': {'c': [9.0, 1]}, 'val': {'a': [9.0, 0]}}))
    real = ['--val-annotation', str(annotation), '--video-index', str(index)]
    small = ['--num-train-videos', '1', '--num-test-videos', '0']
    with pytest.raises(SystemExit, match=message):
        tool.main([str(tmp_path / 'corpus'), *real, *small])


def test_a_real_index_with_fewer_videos_than_asked_for_is_refused(tool, tmp_path):
    annotation, index = tmp_path / 'val.jsonl', tmp_path / 'index.json'
    annotation.write_text(json.dumps(GOOD_LINE))
    index.write_text(json.dumps({'train': {'c': [9.0, 1]}, 'val': {'a': [9.0, 0]}}))
    real = ['--val-annotation', str(annotation), '--video-index', str(index)]
    with pytest.raises(SystemExit, match=r"found 1 videos in split 'train', expected the 300"):
        tool.main([str(tmp_path / 'corpus'), *real])


def test_an_index_of_another_layout_is_refused(tool, tmp_path):
    annotation, index = tmp_path / 'val.jsonl', tmp_path / 'index.json'
    annotation.write_text(json.dumps(GOOD_LINE))
    index.write_text(json.dumps({'val': {'a': 9.0}}))
    with pytest.raises(SystemExit, match=r"index\.json: video 'a' .*expected 'array', got 'float'"):
        tool.main(
            [
                *(str(tmp_path / 'corpus'), '--val-annotation', str(annotation)),
                *('--video-index', str(index)),
            ]
        )


@pytest.mark.skipif(not REAL.is_dir(), reason='needs ../shared/data/tvr')
def test_features_are_planted_for_the_real_validation_queries(tool, tmp_path):
    folder = tmp_path / 'corpus'
    real_files = REAL / 'tvr_val_release.jsonl', REAL / 'tvr_video2dur_idx.json'
    real = ['--val-annotation', str(real_files[0]), '--video-index', str(real_files[1])]
    tool.main([str(folder), *SMALL, *real, '--max-val-queries', '50'])

    expected = [json.loads(line) for line in real_files[0].open()][:50]
    assert read_annotation(folder, 'val') == expected
    real_index = json.loads(real_files[1].read_text())
    index = json.loads((folder / 'tvr_video2dur_idx.json').read_text())
    assert set(index['val']) == {record['vid_name'] for record in expected}
    assert [len(index['train']), len(index['test_public'])] == [12, 2]
    for split, videos in index.items():
        assert videos.items() <= real_index[split].items()

    video = read_arrays(folder / VIDEO_FILE)
    queries = read_arrays(folder / QUERY_FILE)
    assert set(video) == {name for videos in index.values() for name in videos}
    made_up = read_annotation(folder, 'train') + read_annotation(folder, 'test_public')
    assert set(queries) == {str(record['desc_id']) for record in expected + made_up}
    assert len(queries) == 50 + 5 * 14
    for record in expected:
        clips = len(video[record['vid_name']])
        assert (clips - 1) * 1.5 < record['duration'] <= clips * 1.5 + 1e-9
        assert len(queries[str(record['desc_id'])]) == len(record['desc'].split())


def test_settings_out_of_range_name_themselves():
    with pytest.raises(InputError, match=r'clip_length is 0, expected a number from 0\.1'):
        PlantedSettings(clip_length=0)


def test_the_words_of_all_concepts_differ():
    assert len({concept_word(c) for c in range(20_000)}) == 20_000


def test_a_full_disk_ends_with_one_message_and_leaves_the_old_corpus_whole(tool, tmp_path):
    folder = tmp_path / 'corpus'
    tool.main([str(folder), *SMALL])
    before = {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}
    with (
        full_disk(20_000),
        pytest.raises(SystemExit, match=r'^error: .*corpus: cannot be written \(File too large'),
    ):
        tool.main([str(folder), *SMALL, '--overwrite', '--seed', '6'])
    assert {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_the_command_prints_what_it_wrote(tool, tmp_path, capsys):
    tool.main([str(tmp_path / 'corpus'), *SMALL])
    printed = capsys.readouterr()
    assert '60 queries' in printed.out
    assert '12 + 6 + 2 videos' in printed.out
    assert '20 arrays of (rows, 96) float32' in printed.out
    assert printed.err == '20 of 20 videos\n'
