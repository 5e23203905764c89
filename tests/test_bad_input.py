"""Input that cannot be used stops with one message; what can be mended is counted in the log."""

import inspect
import json
import re

import numpy as np
import pytest
import torch
from mmengine.registry import Registry
from second_stages import conquer_settings
from tiny_corpus import (
    CHANNELS,
    FILES,
    INDEX,
    corpus_dataset,
    edit_features,
    edit_line,
    query_dataset,
    random_inputs,
    read_lines,
    tiny_config,
    tiny_model,
    tiny_runner,
    write_lines,
)
from tool_processes import full_disk, run_here

from reloclnet_mm import registry as registries
from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.metrics.submission import TVRSubmission
from reloclnet_mm.registry import DATASETS, MODELS

REMEDY = re.compile(
    r'\b(mend|remove|fetch|extract|put|set|use|renumber|check|give|add|evaluate|correct)\b', re.I
)
LOAD_QUERY = dict(type='reloclnet_mm.LoadQueryFeatures')
LOAD_CLIPS = dict(type='reloclnet_mm.LoadClipFeatures')


def assert_stops(action, *parts):
    """The action ends with a message that holds the parts and says what to do."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    for part in parts:
        assert str(part) in message, message
    assert REMEDY.search(message), message


def read_all(config):
    dataset = DATASETS.build(config)
    return [dataset[i] for i in range(len(dataset))]


def read_queries(folder, *pipeline, **others):
    return read_all(query_dataset(folder, pipeline=pipeline, **others))


def test_a_missing_annotation(corpus_folder):
    path = corpus_folder / 'train.jsonl'
    path.unlink()
    assert_stops(lambda: read_queries(corpus_folder), path, 'no such file', 'data_root')


def test_a_missing_video_index(corpus_folder):
    path = corpus_folder / INDEX
    path.unlink()
    assert_stops(lambda: read_queries(corpus_folder), path, 'no such file')
    assert_stops(lambda: read_all(corpus_dataset(corpus_folder)), path, 'no such file')


def test_a_missing_split(corpus_folder):
    assert_stops(
        lambda: read_all(corpus_dataset(corpus_folder, 'nowhere')),
        corpus_folder / INDEX,
        "found the splits ['train', 'val']",
        "expected a split 'nowhere'",
    )


def test_a_video_index_that_is_no_json(corpus_folder):
    path = corpus_folder / INDEX
    path.write_text(path.read_text()[:-5])
    assert_stops(lambda: read_queries(corpus_folder), path, 'not a JSON file')


@pytest.mark.parametrize('entry', [[5.0], 7, ['long', 1], None, [0.0, 1], [1.0, 2.5], [1.0, True]])
def test_a_wrong_entry_of_the_video_index(corpus_folder, entry):
    path = corpus_folder / INDEX
    index = json.loads(path.read_text())
    index['train']['b'] = entry
    path.write_text(json.dumps(index))
    assert_stops(lambda: read_queries(corpus_folder), path, "video 'b'", 'found', 'expected')


def test_two_videos_of_one_index(corpus_folder):
    path = corpus_folder / INDEX
    index = json.loads(path.read_text())
    index['val']['g'][1] = index['val']['e'][1]
    path.write_text(json.dumps(index))
    assert_stops(
        lambda: read_all(corpus_dataset(corpus_folder)), path, "'g'", "'e'", index['val']['e'][1]
    )


@pytest.mark.parametrize('stream', ['video', 'subtitle', 'query'])
def test_a_missing_feature_file(corpus_folder, stream):
    path = corpus_folder / FILES[stream]
    path.unlink()
    action = lambda: read_queries(corpus_folder, LOAD_QUERY, LOAD_CLIPS)  # noqa: E731
    assert_stops(action, path, 'no such file', 'feature_files')


def test_a_feature_file_that_is_no_h5(corpus_folder):
    path = corpus_folder / FILES['video']
    path.write_text('not h5')
    assert_stops(lambda: read_queries(corpus_folder, LOAD_CLIPS), path, 'not an h5 file')


@pytest.mark.parametrize(
    ('load', 'name', 'there', 'missing'),
    [
        (LOAD_CLIPS, 'LoadClipFeatures', 'query', 'a stream among them'),
        (LOAD_QUERY, 'LoadQueryFeatures', 'video', "'query' among them"),
    ],
)
def test_what_has_no_feature_file_in_the_config(corpus_folder, load, name, there, missing):
    settings = dict(feature_files={there: FILES[there]}, channels={}, normalize=[])
    assert_stops(
        lambda: read_queries(corpus_folder, load, **settings),
        f'{name}: the data set has feature_files for {[there]}, expected {missing}',
    )


def test_a_missing_key(corpus_folder):
    path = corpus_folder / FILES['video']
    edit_features(path, 'b', None)
    assert_stops(lambda: read_queries(corpus_folder, LOAD_CLIPS), path, "the key 'b'", '7 keys')


def test_features_of_another_width(corpus_folder):
    path = corpus_folder / FILES['subtitle']
    edit_features(path, 'b', np.ones((11, 9), np.float32))
    assert_stops(
        lambda: read_queries(corpus_folder, LOAD_CLIPS),
        path,
        "key 'b'",
        'found rows 9 wide',
        f'expected {CHANNELS["subtitle"]}',
    )


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('stream', ['video', 'query'])
def test_features_that_are_not_finite(corpus_folder, bad, stream):
    key, load = ('b', LOAD_CLIPS) if stream == 'video' else ('2', LOAD_QUERY)
    rows = np.ones((4, CHANNELS[stream]), np.float32)
    rows[2, 3] = bad
    edit_features(corpus_folder / FILES[stream], key, rows)
    assert_stops(
        lambda: read_queries(corpus_folder, load),
        corpus_folder / FILES[stream],
        f"key '{key}'",
        'NaN or infinity in row 2',
        'expected finite',
    )


@pytest.mark.parametrize('stream', ['video', 'query'])
def test_an_empty_video_and_a_query_without_tokens(corpus_folder, stream):
    key, load = ('b', LOAD_CLIPS) if stream == 'video' else ('2', LOAD_QUERY)
    edit_features(corpus_folder / FILES[stream], key, np.zeros((0, CHANNELS[stream]), np.float32))
    assert_stops(
        lambda: read_queries(corpus_folder, load),
        corpus_folder / FILES[stream],
        f"key '{key}'",
        'found no rows',
        'expected one a clip or token',
    )


@pytest.mark.parametrize('array', [np.float32(1.0), np.ones(6, np.float32), np.ones((2, 3, 6))])
def test_features_that_are_no_rows(corpus_folder, array):
    edit_features(corpus_folder / FILES['video'], 'b', array)
    assert_stops(
        lambda: read_queries(corpus_folder, LOAD_CLIPS),
        corpus_folder / FILES['video'],
        "key 'b'",
        f'shape {array.shape}',
        'expected (rows, channels)',
    )


def test_streams_of_unequal_length(corpus_folder):
    rows = np.ones((9, CHANNELS['subtitle']), np.float32)
    edit_features(corpus_folder / FILES['subtitle'], 'b', rows)
    assert_stops(
        lambda: read_queries(corpus_folder, LOAD_CLIPS),
        "video 'b'",
        "{'video': 11, 'subtitle': 9}",
        FILES['video'],
        FILES['subtitle'],
        'expected as many',
    )


def test_an_end_before_the_start(corpus_folder):
    edit_line(corpus_folder / 'train.jsonl', 3, ts=[5.0, 4.0])
    assert_stops(
        lambda: read_queries(corpus_folder), 'train.jsonl:3', '[5.0, 4.0]', 'ends before it starts'
    )


@pytest.mark.parametrize('moment', [[-1.0, 4.0], [17.0, 18.0], [3.0, 30.0], [16.5, 16.5]])
def test_a_moment_outside_its_video(corpus_folder, moment):
    edit_line(corpus_folder / 'train.jsonl', 3, ts=moment)  # in video b of 16.5 s
    assert_stops(
        lambda: read_queries(corpus_folder),
        'train.jsonl:3',
        f'[{moment[0]}, {moment[1]}]',
        'outside its video of 16.5 s',
    )


@pytest.mark.parametrize('moment', [[1.0], [], None, 'now', [1.0, 2.0, 3.0], [[1.0, 2.0], [3.0]]])
def test_a_moment_that_is_no_pair_of_numbers(corpus_folder, moment):
    lines = read_lines(corpus_folder / 'train.jsonl')
    lines[2]['ts'] = moment
    write_lines(corpus_folder / 'train.jsonl', lines)
    assert_stops(lambda: read_queries(corpus_folder), 'train.jsonl:3', 'ts', 'found', 'expected')


def test_a_moment_that_is_not_a_number_at_all(corpus_folder):
    edit_line(corpus_folder / 'train.jsonl', 3, ts=[float('nan'), 2.0])
    assert_stops(lambda: read_queries(corpus_folder), 'train.jsonl:3', 'NaN')


def test_moments_a_little_past_the_end_are_cut_and_counted(corpus_folder, warnings_logged):
    edit_line(corpus_folder / 'train.jsonl', 3, ts=[10.0, 17.5])
    edit_line(corpus_folder / 'train.jsonl', 4, ts=[3.0, 16.6])
    samples = read_queries(corpus_folder)
    np.testing.assert_array_equal(samples[2]['gt']['moments'], [[10.0, 16.5]])
    np.testing.assert_array_equal(samples[3]['gt']['moments'], [[3.0, 16.5]])
    path = corpus_folder / 'train.jsonl'
    assert warnings_logged == [f'{path}: a moment past the end of its video was cut: 2']


def test_a_clean_annotation_logs_no_repair(corpus_folder, warnings_logged):
    read_queries(corpus_folder)
    assert warnings_logged == []


def test_a_query_id_that_stands_twice(corpus_folder):
    edit_line(corpus_folder / 'train.jsonl', 4, desc_id=1)
    assert_stops(
        lambda: read_queries(corpus_folder), 'train.jsonl:4', 'query id 1', 'train.jsonl:2'
    )


def test_a_video_that_is_not_in_the_index(corpus_folder):
    edit_line(corpus_folder / 'train.jsonl', 4, vid_name='zz')
    assert_stops(
        lambda: read_queries(corpus_folder),
        'train.jsonl:4',
        "video 'zz'",
        "split 'train'",
        corpus_folder / INDEX,
        'the 4 videos',
    )


def test_a_moment_without_a_video(corpus_folder):
    edit_line(corpus_folder / 'train.jsonl', 4, vid_name=None)
    assert_stops(lambda: read_queries(corpus_folder), 'train.jsonl:4', 'a moment and no video')


@pytest.mark.parametrize('key', ['desc', 'desc_id'])
def test_a_line_without_a_needed_key(corpus_folder, key):
    edit_line(corpus_folder / 'train.jsonl', 4, **{key: None})
    assert_stops(lambda: read_queries(corpus_folder), 'train.jsonl:4', f'required field {key!r}')


@pytest.mark.parametrize('line', ['{"desc": "cut off', '[1, 2]', '7', 'plain text'])
def test_a_malformed_line(corpus_folder, line):
    path = corpus_folder / 'train.jsonl'
    path.write_text(path.read_text() + '\n' + line + '\n')
    number = len(path.read_text().splitlines())
    assert_stops(lambda: read_queries(corpus_folder), f'{path}:{number}:', 'expected', 'object')


def test_a_line_in_another_encoding(corpus_folder):
    path = corpus_folder / 'train.jsonl'
    path.write_bytes(path.read_bytes() + '{"desc": "é", "desc_id": 99}\n'.encode('latin-1'))
    assert_stops(lambda: read_queries(corpus_folder), f'{path}:9:', 'not a line of JSON')


def test_an_annotation_without_queries(corpus_folder):
    path = corpus_folder / 'train.jsonl'
    path.write_text('\n')
    with pytest.raises(InputError, match=f'{path}: no query in the file; give one with queries'):
        read_queries(corpus_folder)


def test_training_on_queries_without_answers(corpus_folder):
    edit_line(corpus_folder / 'train.jsonl', 2, ts=None)
    pipeline = [
        LOAD_CLIPS,
        dict(type='reloclnet_mm.PoolClips'),
        dict(type='reloclnet_mm.MomentToSpan'),
    ]
    assert_stops(lambda: read_queries(corpus_folder, *pipeline), 'query 1', 'MomentToSpan')


@pytest.mark.parametrize('setting', [dict(channels=dict(audio=3)), dict(normalize=['audio'])])
def test_a_setting_of_a_stream_that_has_no_file(corpus_folder, setting):
    (name,) = setting
    assert_stops(
        lambda: read_queries(corpus_folder, **setting),
        f"QueryDataset: {name} has ['audio'], which feature_files ['query', 'subtitle', 'video']",
    )


@pytest.mark.parametrize(
    ('videos', 'finding'),
    [
        ([], "expected 'object', got 'array'"),
        (3, "found 3: expected 'object', got 'int'"),
        ({}, 'no video in the file'),
        ({'v': dict(duration=9.0, timestamps=[[0, 1]])}, "required field 'sentences'"),
        ({'v': [1]}, "video 'v': found [1]: expected 'object', got 'array'"),
        ({'v': dict(duration='9', timestamps=[[0, 1]], sentences=['x'])}, "'9'"),
        (
            {'v': dict(duration=0.0, timestamps=[[0, 1]], sentences=['x'])},
            "found 0.0 at duration: expected 'float' > 0.0",
        ),
        ({'v': dict(duration=9.0, timestamps=[[0, 1], [1, 2]], sentences=['x'])}, '2 timestamps'),
        ({'v': dict(duration=9.0, timestamps=[[1]], sentences=['x'])}, '[1]'),
        (
            {'v': dict(duration=9.0, timestamps=[['0', 'a']], sentences=['x'])},
            "'0' at timestamps[0][0]",
        ),
        ({'v': dict(duration=9.0, timestamps=[[4, 30]], sentences=['x'])}, '[4.0, 30.0]'),
    ],
)
def test_a_wrong_entry_of_activitynet_captions(tmp_path, videos, finding):
    path = tmp_path / 'captions.json'
    path.write_text(json.dumps(videos))
    config = dict(
        type='reloclnet_mm.QueryDataset',
        reader=dict(type='reloclnet_mm.ActivityNetCaptionsReader', ann_file=str(path)),
        feature_files={},
    )
    with pytest.raises(InputError) as caught:
        read_all(config)
    assert str(path) in str(caught.value)
    assert finding in str(caught.value)


def test_a_video_of_the_queries_that_is_not_in_the_corpus(corpus_folder, tmp_path):
    corpus = dict(dataset=dict(reader=dict(split='train')))
    assert_stops(
        lambda: tiny_runner(corpus_folder, tmp_path / 'run', test_corpus_dataloader=corpus).test(),
        corpus_folder / 'val.jsonl',
        "4 videos of its queries, such as 'e' (id 10)",
        corpus_folder / INDEX,
    )


def test_a_corpus_without_a_video():
    with pytest.raises(InputError, match='the corpus has no video'):
        MODELS.build(tiny_model()).encode_corpus([])


def test_a_corpus_smaller_than_k_is_ranked_whole_and_said_so(
    corpus_folder, tmp_path, warnings_logged
):
    runner = tiny_runner(corpus_folder, tmp_path / 'run', model=dict(test_cfg=dict(num_videos=5)))
    runner.test()
    assert warnings_logged == [
        'the corpus has 4 videos, fewer than test_cfg.num_videos=5: all of them are ranked for '
        'each query'
    ]


def test_features_wider_than_the_model():
    model = MODELS.build(tiny_model(query_channels=7))
    inputs = random_inputs(2, clips=[3, 4], tokens=[2, 3])
    assert_stops(lambda: model(inputs), 'query features are 4 wide', 'built for 7')
    model = MODELS.build(tiny_model(streams=dict(video=6, subtitle=7)))
    assert_stops(lambda: model(inputs), 'video features are 8 wide', 'built for 6', 'AppendTEF')


def test_a_stream_of_the_model_that_the_batch_has_not():
    inputs = random_inputs(2, clips=[3, 4], tokens=[2, 3], streams=['video'])
    with pytest.raises(
        InputError, match="the model has a stream 'subtitle' and the batch has none"
    ):
        MODELS.build(tiny_model())(inputs)


def test_a_sequence_longer_than_the_position_table():
    inputs = random_inputs(1, clips=[9], tokens=[2])
    with pytest.raises(ValueError, match='9 rows meets a position table of 8; lower max_clips or'):
        MODELS.build(tiny_model())(inputs)


# Checkpoints of another size: mmengine alone only warns and goes on with random weights.


def save_weights(path, **changes):
    model = MODELS.build(tiny_model(**changes))
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.mark.parametrize('resume', [False, True])
def test_a_checkpoint_of_another_size(corpus_folder, tmp_path, resume):
    path = save_weights(tmp_path / 'wide.pth', embed_dims=32)
    runner = tiny_runner(corpus_folder, tmp_path / 'run', load_from=path, resume=resume)
    assert_stops(
        runner.train if resume else runner.test,
        path,
        "'query_encoder.projection.linear.weight'",
        'found the weights',
        'of shape (32, 4)',
        'expects (16, 4)',
        'the config that the checkpoint was trained with',
    )


def test_a_checkpoint_of_another_size_in_the_work_dir(corpus_folder, tmp_path):
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    path = save_weights(work_dir / 'epoch_1.pth', embed_dims=32)
    (work_dir / 'last_checkpoint').write_text(path)
    runner = tiny_runner(corpus_folder, work_dir, resume=True)
    assert_stops(runner.train, path, 'of shape (32, 4)')


def test_a_checkpoint_with_a_stream_less_and_one_with_a_stream_more(corpus_folder, tmp_path):
    video = dict(video=CHANNELS['video'] + 2)
    path = save_weights(tmp_path / 'video.pth', streams=video)
    runner = tiny_runner(corpus_folder, tmp_path / 'run', load_from=path)
    assert_stops(runner.test, path, "'query_encoder.pooling.weight'", '(1, 16)', '(2, 16)')
    weights = MODELS.build(tiny_model()).state_dict()
    weights.pop('span_head.start_conv.weight')
    torch.save(dict(state_dict=weights), path)
    runner = tiny_runner(corpus_folder, tmp_path / 'run2', load_from=path)
    assert_stops(runner.test, path, "has no weights 'span_head.start_conv.weight'")
    weights = MODELS.build(tiny_model()).state_dict()
    torch.save(weights | {'extra.weight': torch.ones(1)}, path)
    runner = tiny_runner(corpus_folder, tmp_path / 'run3', load_from=path)
    assert_stops(runner.test, path, "'extra.weight', which the model does not have")


def test_a_checkpoint_of_distributed_training_is_loaded(corpus_folder, tmp_path):
    weights = MODELS.build(tiny_model()).state_dict()
    path = tmp_path / 'distributed.pth'
    torch.save(dict(state_dict={f'module.{name}': x for name, x in weights.items()}), path)
    runner = tiny_runner(corpus_folder, tmp_path / 'run', load_from=str(path))
    runner.test()
    for name, weight in runner.model.state_dict().items():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=0)


# Settings.


def our_classes():
    """Every class that the package registers."""
    for registry in vars(registries).values():
        if isinstance(registry, Registry) and registry.scope == 'reloclnet_mm':
            registry.import_from_location()
            yield from filter(inspect.isclass, registry.module_dict.values())


NEEDED = dict(
    QueryDataset=dict(reader={}, feature_files={}),
    CorpusDataset=dict(reader={}, feature_files={}),
    BertLinearLR=dict(optimizer=None, end=3),
    CONQUER=conquer_settings(),
    MomentRecall=dict(task='SVMR'),
    NearestClip=dict(streams=dict(subtitle=4), moment_length=0.5),
    NearestSentence=dict(streams=dict(subtitle=4)),
    ReLoCLNet=tiny_model(),
    ReLoCLNetPlus=dict(query_channels=4, context_encoder={}),
    RerankingDataset=dict(lists='lists', reader={}, feature_files={}),
    TVRSubmission=dict(out_file='out.json'),
    XML={name: x for name, x in tiny_model().items() if name not in ('loss_frame', 'loss_video')},
)


@pytest.mark.parametrize('cls', sorted(our_classes(), key=lambda c: c.__name__))
def test_an_unknown_setting_is_an_error_that_names_class_and_key(cls):
    needed = {name: x for name, x in NEEDED.get(cls.__name__, {}).items() if name != 'type'}
    with pytest.raises((TypeError, InputError)) as caught:
        cls(**needed, misspelt=1)
    message = str(caught.value)
    # What a class passes on is refused by the constructor of its parent.
    assert any(c.__name__ in message for c in cls.__mro__[:-1])
    # Python does not repeat the key where a class has no settings at all.
    assert 'misspelt' in message or 'takes no arguments' in message


def test_unknown_settings_of_the_test_are_an_error():
    with pytest.raises(TypeError, match=r"RankingOptions\.__init__\(\).*'misspelt'"):
        MODELS.build(tiny_model(test_cfg=dict(misspelt=1)))


@pytest.mark.parametrize(
    ('config', 'parts'),
    [
        (tiny_model(padding='reflect'), ['ReLoCLNet', "'reflect'", "'independent' or 'official'"]),
        (dict(type='RankingLoss', kind='soft'), ['RankingLoss', "'soft'", "'hinge' or 'lse'"]),
        (
            dict(type='RankingLoss', pool_size=0),
            ['RankingLoss', 'pool_size is 0', 'a whole number ≥ 1'],
        ),
        (tiny_model(embed_dims=10, num_heads=3), ['embed_dims 10', 'num_heads 3']),
        (tiny_model(streams={}), ['expected one or two']),
        (tiny_model(test_cfg=dict(min_span=4, max_span=4)), ['min_span 4', 'max_span 4']),
        (tiny_model(test_cfg=dict(num_videos=0)), ['num_videos is 0', 'a whole number ≥ 1']),
    ],
)
def test_a_setting_out_of_its_range(config, parts):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        MODELS.build(config)
    for part in parts:
        assert part in str(caught.value)


# The command-line tools.


def assert_ends_with_one_message(printed, *parts):
    assert 'Traceback' not in printed
    last = printed.strip().splitlines()[-1]
    assert last.startswith('error: ')
    for part in parts:
        assert str(part) in last


def test_train_ends_with_one_message_for_an_error_in_a_loading_worker(corpus_folder, tmp_path):
    edit_features(corpus_folder / FILES['video'], 'b', np.full((11, 6), np.nan, np.float32))
    cfg = tiny_config(corpus_folder, tmp_path / 'run')
    cfg.train_dataloader.num_workers = 1
    cfg.dump(tmp_path / 'config.py')
    printed = run_here(tmp_path, 'train', 'config.py', status=1)
    assert_ends_with_one_message(printed, FILES['video'], "key 'b'", 'NaN or infinity in row 0')


def test_test_ends_with_one_message_for_a_checkpoint_of_another_size(corpus_folder, tmp_path):
    path = save_weights(tmp_path / 'wide.pth', embed_dims=32)
    tiny_config(corpus_folder, tmp_path / 'run').dump(tmp_path / 'config.py')
    printed = run_here(tmp_path, 'test', 'config.py', path, status=1)
    assert_ends_with_one_message(printed, path, 'of shape (32, 4)', 'expects (16, 4)')


def test_a_full_disk_ends_a_test_with_one_message_and_leaves_no_file(
    corpus_folder, tmp_path, monkeypatch
):
    compute = TVRSubmission.compute_metrics

    def compute_on_a_full_disk(metric, results):
        with full_disk(1000):
            return compute(metric, results)

    monkeypatch.setattr(TVRSubmission, 'compute_metrics', compute_on_a_full_disk)
    path = save_weights(tmp_path / 'weights.pth')
    tiny_config(corpus_folder, tmp_path / 'run').dump(tmp_path / 'config.py')
    args = ('config.py', path, '--submission', 'out/s.json')
    printed = run_here(tmp_path, 'test', *args, status=1)
    assert_ends_with_one_message(printed, 's.json: cannot be written (File too large)')
    assert list((tmp_path / 'out').iterdir()) == []
