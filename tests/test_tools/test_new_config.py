"""A folder of own data becomes a config that trains; what it says is worked by hand."""

import json

import h5py
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny_corpus import features, write_lines
from tool_processes import REPOSITORY, load_tool, run_here

from reloclnet_mm.engine.hooks.data_check import data_difference
from reloclnet_mm.registry import DATASETS, MODELS
from reloclnet_mm.utils.config_checks import check_settings

# Seconds and, in clips of 5 s, rows.
VIDEOS = dict(train={'cat': (60.0, 12), 'dog': (33.0, 7), 'cow': (18.0, 4)}, val={'hen': (41.0, 9)})
# Spans in clips: floor(start / 5), ceil(end / 5), the last at most the last clip.
MOMENTS = {
    'cat': [[10.0, 25.0], [0.0, 60.0]],  # (2, 5) and (0, 11)
    'dog': [[1.0, 4.0]],  # (0, 1), shorter than a clip
    'cow': [[5.0, 10.0]],  # (1, 2)
    'hen': [[20.0, 30.0], [2.0, 9.0]],
}
WIDTHS = dict(video=7, subtitle=5, query=5)
LOADERS = ('train', 'val', 'val_corpus', 'test', 'test_corpus')
SMALL = (
    *('model.embed_dims=16', 'model.num_heads=2', 'model.test_cfg.num_videos=1'),
    *('train_cfg.max_epochs=1', 'train_dataloader.batch_size=2'),
    *(f'{name}_dataloader.num_workers=0' for name in LOADERS),
    *(f'{name}_dataloader.persistent_workers=False' for name in ('train', 'val', 'test')),
)


@pytest.fixture
def data(tmp_path):
    """Annotation with durations in its lines, and one stream, as a user would write them."""
    folder, query_id = tmp_path / 'mine', 0
    folder.mkdir()
    for split, videos in VIDEOS.items():
        lines = []
        for name, (duration, _) in videos.items():
            for moment in MOMENTS[name]:
                record = dict(desc_id=query_id, desc=f'a {name}', vid_name=name)
                lines.append(dict(record, duration=duration, ts=moment))
                query_id += 1
        write_lines(folder / f'{split}.jsonl', lines)
    write_queries(folder)
    write_stream(folder, 'subtitle', clip_length=5.0)
    return folder


def write(path, name, lengths, **attributes):
    rng = np.random.default_rng(0)
    with h5py.File(path, 'w') as file:
        file.attrs.update(attributes)
        for key, rows in lengths.items():
            file[key] = features(rng, rows, WIDTHS[name])


def write_queries(folder, width='query'):
    """Write features of the six queries."""
    write(folder / 'queries.h5', width, {str(i): 3 + i for i in range(6)})


def write_sentences(folder, *, times=True):
    """Write sentences of the validation video and their times, as the extraction tool does."""
    write(folder / 'sentences.h5', 'subtitle', dict(hen=3), rows='sentences')
    if times:
        with h5py.File(folder / 'sentences_times.h5', 'w') as file:
            file.attrs['kind'] = 'sentence times'
            file['hen'] = np.float32([[0, 8], [10, 19], [21, 30]])


def write_stream(folder, name, rows=(), **attributes):
    """Write a stream of all videos, some with other numbers of rows."""
    lengths = {key: n for videos in VIDEOS.values() for key, (_, n) in videos.items()}
    write(folder / f'{name}s.h5', name, lengths | dict(rows), **attributes)


def validated_on_val(data, name):
    """The name of a config like another one, but for the videos that it holds out."""
    reader = 'dict(dataset=dict(reader=dict(_delete_=True, **_base_.val_reader)))'
    loaders = [f'{name} = {reader}\n' for name in ('val_dataloader', 'val_corpus_dataloader')]
    base = f"_base_ = '{REPOSITORY}/configs/{name}.py'\n"
    (data.parent / f'{name}_val.py').write_text(base + ''.join(loaders))
    return f'{name}_val.py'


def new_config(data, *options, status=0):
    """What the tool prints, and the config that it wrote; of ReLoCLNet where none is named."""
    if '--base' not in options:
        options = ('--base', validated_on_val(data, 'relocl_anet_text'), *options)
    printed = run_here(data.parent, 'new_config', 'mine', '--out', 'my.py', *options, status=status)
    return printed, None if status else Config.fromfile(data.parent / 'my.py')


def test_a_config_for_one_stream_worked_by_hand(data):
    printed, cfg = new_config(data)
    check_settings(cfg)
    for name in LOADERS:
        dataset = cfg[f'{name}_dataloader'].dataset
        assert dataset.data_root == 'mine'
        assert dataset.feature_files == dict(query='queries.h5', subtitle='subtitles.h5')
        assert dataset.channels == dict(query=5, subtitle=5)
        assert dataset.clip_length is None
        assert dataset.max_clips == 12
        assert dataset.max_tokens == 8
        split = 'train' if name == 'train' else 'val'
        assert dataset.reader == dict(type='TVRReader', ann_file=f'{split}.jsonl')
    model = cfg.model
    assert model.streams == dict(subtitle=7)
    assert model.query_channels == 5
    assert model.query_encoder.max_tokens == 8
    assert model.context_encoder.max_clips == 12
    assert '98 % of training moments are 1 to 11 rows long' in printed
    # The spans have 3, 11, 1 and 1 clips; max_span is the first length that is too long.
    assert (model.test_cfg.min_span, model.test_cfg.max_span) == (1, 12)
    assert 'a clip lasts: 5.0 (written in the feature files)' in printed
    rows = [line.split() for line in printed.splitlines()]
    # Training moments last 15, 60, 3 and 5 s: 25, 100, 9 and 28 % of their videos.
    assert ['train', '3', '60', 's', '4', '1.3', '10.0', 's', '26%'] in rows
    assert ['val', '1', '41', 's', '2', '2', '8.5', 's', '21%'] in rows
    assert ['query', 'queries.h5', '5', '6', '8'] in rows
    assert ['subtitle', 'subtitles.h5', '5', '4', '12', '5'] in rows
    warnings = [line for line in printed.splitlines() if line.startswith('warning')]
    assert len(warnings) == 2
    assert '1 training moments are shorter than a clip of 5 s' in warnings[0]
    # All four queries are in a batch; two of them have one other of their video: 0.5 on average.
    assert 'holds 0.5 other queries of the same video' in warnings[1]


@pytest.mark.parametrize('streams', [['subtitle'], ['video'], ['video', 'subtitle']])
@pytest.mark.parametrize(
    'base',
    [
        *('relocl_anet_text', 'relocl_tvr', 'xml_anet_text', 'xml_tvr', 'relocl_activitynet'),
        'relocl_plus_tvr',
    ],
)
def test_the_model_fits_the_data_whatever_the_base(data, base, streams, monkeypatch):
    (data / 'subtitles.h5').unlink()
    for stream in streams:
        write_stream(data, stream, clip_length=5.0)
    _, cfg = new_config(data, '--base', validated_on_val(data, base))
    check_settings(cfg)
    monkeypatch.chdir(data.parent)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model)
        for name in LOADERS:
            dataset = DATASETS.build(cfg[f'{name}_dataloader'].dataset)
            assert dataset.streams == [x for x in ('subtitle', 'video') if x in streams]
            assert data_difference(model, dataset) == ''
            dataset[0]
    if base.startswith('xml'):
        # XML's authors have three blocks and a span head a stream where there is one stream.
        blocks = model.context_encoder.streams[streams[0]].blocks
        assert len(blocks) == 4 - len(streams)
        kind = type(model.span_head).__name__
        assert kind == ('StreamSpanHead' if len(streams) == 1 else 'MergedSpanHead')


@pytest.mark.parametrize(
    ('base', 'streams'),
    [('relocl_tvr', ['subtitle']), ('xml_anet_text', ['video', 'subtitle'])],
)
def test_the_written_config_trains_and_tests_through_the_tools(data, base, streams):
    for stream in streams:
        write_stream(data, stream, clip_length=5.0)
    new_config(data, '--base', validated_on_val(data, base))
    run_here(data.parent, 'train', 'my.py', '--cfg-options', *SMALL)
    checkpoint = (data.parent / 'work_dirs/my/last_checkpoint').read_text()
    printed = run_here(data.parent, 'test', 'my.py', checkpoint, '--cfg-options', *SMALL)
    assert 'VCMR IoU 0.7' in printed


def test_without_a_base_it_is_relocl_plus_with_videos_held_out_and_small_batches(data):
    lines = (data / 'train.jsonl').read_text().replace('"cow"', '"pup"')
    (data / 'train.jsonl').write_text(lines)
    write_stream(data, 'subtitle', dict(pup=4), clip_length=5.0)
    printed = run_here(data.parent, 'new_config', 'mine', '--out', 'my.py')
    cfg = Config.fromfile(data.parent / 'my.py')
    check_settings(cfg)
    assert cfg.model.type == 'ReLoCLNetPlus'
    assert cfg.val_dataloader.dataset.reader.part == 'held_out'
    # Its losses know the other queries of a video.
    assert 'other queries of the same video' not in printed
    # 256 is halved until it is not above 16: three queries are fewer than twenty batches of it.
    assert cfg.train_dataloader.batch_size == 16
    run_here(data.parent, 'train', 'my.py', '--cfg-options', *SMALL)
    folder = data.parent / 'work_dirs/my'
    printed = run_here(
        *(data.parent, 'test', 'my.py', (folder / 'last_checkpoint').read_text()),
        *('--cfg-options', *SMALL),
    )
    assert 'R@1 nearest clip' in printed


@pytest.mark.parametrize(
    ('num_queries', 'batch_size'), [(9, 16), (600, 16), (640, 32), (5119, 128), (5120, 256)]
)
def test_an_epoch_has_twenty_steps_where_batches_stay_large_enough(num_queries, batch_size):
    tool = load_tool('new_config')
    base = tool.Base.read('relocl_plus_anet_text.py')
    assert tool.batch_size_of(base, num_queries) == batch_size
    # The recipe of a paper stays as it is.
    assert tool.batch_size_of(tool.Base.read('relocl_tvr.py'), num_queries) == 128


UNTRAINED = (
    'model.test_cfg.num_videos=1',
    *(f'{name}_dataloader.num_workers=0' for name in LOADERS[1:]),
    *(f'{name}_dataloader.persistent_workers=False' for name in ('val', 'test')),
)


def printed_by_a_test(data):
    """What a test of the written config prints; its name keeps it from the logger of another."""
    options = (f'experiment_name={data.parent.name}', *UNTRAINED)
    return run_here(data.parent, 'test', 'my.py', '--cfg-options', *options)


@pytest.mark.parametrize('base', ['nearest_clip_anet_text', 'nearest_clip_tvr'])
def test_a_config_for_the_nearest_clip_leaves_out_a_stream_of_another_width(data, base):
    write_stream(data, 'video', clip_length=5.0)
    printed, cfg = new_config(data, '--base', f'{base}.py')
    assert 'left out: video, 7 wide, while queries are 5 wide' in printed
    assert 'test with: python tools/test.py my.py' in printed
    assert 'other queries of the same video' not in printed
    assert cfg.train_dataloader is None
    assert cfg.model == dict(
        type='NearestClip',
        streams=dict(subtitle=5),
        reader=dict(type='TVRReader', ann_file='train.jsonl', data_root='mine'),
    )
    printed = printed_by_a_test(data)
    # Training moments take 25, 100, 9 and 28 % of their videos.
    assert 'the median moment takes 0.2639 of its video' in printed
    assert 'VCMR IoU 0.7' in printed


@pytest.mark.parametrize('base', ['chance_anet_text', 'chance_tvr'])
def test_a_config_for_chance_draws_spans_as_long_as_those_of_training(data, base):
    write_stream(data, 'video', clip_length=5.0)
    _, cfg = new_config(data, '--base', f'{base}.py')
    assert cfg.model == dict(type='Chance', test_cfg=dict(min_span=1, max_span=12))
    assert 'VCMR IoU 0.7' in printed_by_a_test(data)


@pytest.mark.parametrize('named', [False, True])
def test_a_config_for_the_nearest_sentence_needs_features_of_validation_alone(data, named):
    write_sentences(data)
    options = []
    if named:
        files = dict(query='queries', subtitle='sentences', times='sentences_times')
        options = ['--features', *(f'{name}={file}.h5' for name, file in files.items())]
    printed, cfg = new_config(data, '--base', 'nearest_sentence_anet_text.py', *options)
    assert 'warning' not in printed
    dataset = cfg.test_corpus_dataloader.dataset
    assert dataset.feature_files == dict(
        query='queries.h5', subtitle='sentences.h5', times='sentences_times.h5'
    )
    assert dataset.channels == dict(query=5, subtitle=5, times=2)
    assert dataset.clip_length is None
    assert cfg.model == dict(type='NearestSentence', streams=dict(subtitle=5))
    assert 'VCMR IoU 0.7' in printed_by_a_test(data)


def test_files_of_sentences_are_no_streams_of_clips(data):
    write_sentences(data)
    _, cfg = new_config(data)
    assert cfg.model.streams == dict(subtitle=7)


def test_an_index_of_videos_with_splits_is_used_where_there_is_one(data):
    index = {
        split: {name: [duration, i] for i, (name, (duration, _)) in enumerate(videos.items())}
        for split, videos in VIDEOS.items()
    }
    (data / 'video2dur_idx.json').write_text(json.dumps(index))
    _, cfg = new_config(data)
    assert cfg.val_corpus_dataloader.dataset.reader == dict(
        type='TVRReader', ann_file='val.jsonl', video_index='video2dur_idx.json', split='val'
    )


def test_a_list_of_videos_of_a_split_is_used_where_there_is_one(data):
    videos = [dict(vid_name='hen', duration=41.0), dict(vid_name='owl', duration=20.0)]
    write_lines(data / 'val_videos.jsonl', videos)
    write_stream(data, 'subtitle', dict(owl=4), clip_length=5.0)
    printed, cfg = new_config(data)
    dataset = cfg.val_corpus_dataloader.dataset
    assert dataset.reader == dict(
        type='TVRReader', ann_file='val.jsonl', video_index='val_videos.jsonl'
    )
    assert 'video_index' not in cfg.train_dataloader.dataset.reader
    assert ['val', '2', '41', 's', '2', '2', '8.5', 's', '21%'] in [
        line.split() for line in printed.splitlines()
    ]


def test_a_base_that_holds_videos_out_validates_on_them(data):
    """Three videos: a third is held out at most, of which the hashes of the names make one, pup."""
    lines = (data / 'train.jsonl').read_text().replace('"cow"', '"pup"')
    (data / 'train.jsonl').write_text(lines)
    write_stream(data, 'subtitle', dict(pup=4), clip_length=5.0)
    names = ('datasets/anet_text_held_out', 'models/reloclnet', 'schedules/bert_adam_short')
    files = [f'{REPOSITORY}/configs/_base_/{x}.py' for x in (*names, 'evaluation/corpus')]
    files.append(f'{REPOSITORY}/configs/_base_/default_runtime.py')
    (data.parent / 'base.py').write_text(
        f'_base_ = {files}\n'
        'model = dict(streams=_base_.streams, query_channels=_base_.channels.query,\n'
        '    query_encoder=dict(max_tokens=30), context_encoder=dict(max_clips=32))\n'
    )
    printed, cfg = new_config(data, '--base', 'base.py')
    check_settings(cfg)
    fit = dict(type='TVRReader', ann_file='train.jsonl', part='fit', held_out=0.33)
    readers = {name: cfg[f'{name}_dataloader'].dataset.reader for name in LOADERS}
    held_out, val = dict(fit, part='held_out'), dict(type='TVRReader', ann_file='val.jsonl')
    assert readers == dict(train=fit, val=held_out, val_corpus=held_out, test=val, test_corpus=val)
    rows = [line.split() for line in printed.splitlines()]
    assert ['held_out', '1', '18', 's', '1', '1', '5.0', 's', '28%'] in rows
    assert ['val', '1', '41', 's', '2', '2', '8.5', 's', '21%'] in rows
    # Those of cat and dog.
    assert '98 % of training moments are 1 to 11 rows long' in printed
    run_here(data.parent, 'train', 'my.py', '--cfg-options', *SMALL)


def test_a_reader_of_another_layout(data):
    lines = [f'{name} {a} {b}##a {name}.' for name, ms in MOMENTS.items() for a, b in ms]
    (data / 'train.txt').write_text('\n'.join(lines[:4]))
    (data / 'test.txt').write_text('\n'.join(lines[4:]))
    durations = {name: dict(duration=x) for v in VIDEOS.values() for name, (x, _) in v.items()}
    (data / 'durations.json').write_text(json.dumps(durations))
    ids = [f'{name}#{i}' for name, ms in MOMENTS.items() for i in range(len(ms))]
    write(data / 'queries.h5', 'query', dict.fromkeys(ids, 3))
    reader = ('type=CharadesSTAReader', 'ann_file=train.txt', 'video_index=durations.json')
    _, cfg = new_config(data, '--reader', *reader, '--val-reader', 'ann_file=test.txt')
    assert cfg.test_dataloader.dataset.reader == dict(
        type='CharadesSTAReader', ann_file='test.txt', video_index='durations.json'
    )
    printed, _ = new_config(data, '--overwrite', '--reader', *reader, status=1)
    assert 'found one of --reader and --val-reader, expected both' in printed


def test_a_clip_length_that_no_file_tells_is_estimated(data):
    write_stream(data, 'subtitle')
    printed, cfg = new_config(data)
    assert cfg.train_dataloader.dataset.clip_length == 5.0
    assert 'a clip lasts: 5.0 (estimated from rows and durations)' in printed


def test_rows_that_no_clip_length_goes_with_are_spread_evenly(data):
    write_stream(data, 'subtitle', dict(cat=200, cow=2))
    printed, cfg = new_config(data)
    assert cfg.train_dataloader.dataset.clip_length == 'even'
    assert 'rows are spread evenly over a video' in printed
    # (2, 5) of 12 rows of 5 s are (21, 54) of 128 rows of 60 / 128 s.
    assert cfg.model.test_cfg.max_span == 128
    assert 'the longest video has 200 rows and is pooled to 128, by a factor of 1.6' in printed


def test_what_will_hurt_is_said(data):
    write_stream(data, 'subtitle', dict(cow=40, ghost=3), clip_length=5.0)
    write_stream(data, 'video', dict(dog=6), clip_length=5.0)
    with h5py.File(data / 'videos.h5', 'a') as file:
        del file['hen']
    with h5py.File(data / 'queries.h5', 'a') as file:
        del file['5']
        file['6'] = np.ones((3, 5), np.float32)
    printed, _ = new_config(data, '--max-clips', '9', '--max-tokens', '6')
    for message in (
        "1 of 4 videos, such as 'hen', have no features in mine/videos.h5; training or test will",
        "mine/subtitles.h5 has 1 keys, such as 'ghost', that the annotation does not name",
        "1 of 6 queries, such as '5', have no features in mine/queries.h5; training",
        "mine/queries.h5 has 1 keys, such as '6'",
        "2 videos, such as 'dog', have different numbers of clips in the streams",
        "1 videos, such as 'cow', have clips of 5 s that do not go with their duration",
        'the longest video has 40 rows and is pooled to 9, by a factor of 4.4',
        '1 queries have more than 6 tokens and are cut',
    ):
        assert f'warning: {message}' in printed, printed


def test_a_config_that_is_there_is_kept(data):
    new_config(data)
    (data.parent / 'my.py').write_text('mine = 1\n')
    printed, _ = new_config(data, status=1)
    assert 'error: my.py: is there already; use another --out, or --overwrite' in printed
    assert (data.parent / 'my.py').read_text() == 'mine = 1\n'
    new_config(data, '--overwrite')
    assert 'mine = 1' not in (data.parent / 'my.py').read_text()


@pytest.mark.parametrize(
    ('spoil', 'options', 'message'),
    [
        (
            lambda data: (data / 'queries.h5').unlink(),
            (),
            r'expected a file with query ids as keys',
        ),
        (lambda data: (data / 'subtitles.h5').unlink(), (), 'one or two with names of videos'),
        (
            lambda data: (
                (data / 'subtitles.h5').rename(data / 'sub.h5') and write_stream(data, 'subtitle')
            ),
            (),
            "found sub.h5 and subtitles.h5 for 'subtitle', expected one",
        ),
        (lambda data: None, ('--base', 'absent.py'), '--base absent.py: no such config'),
        (
            lambda data: None,
            ('--base', 'relocl_tvr_resident.py'),
            'model.data_preprocessor has the settings append_tef, channels, data_root, '
            'feature_files, max_clips, max_tokens, normalize, which may be those of other data',
        ),
        (
            lambda data: None,
            ('--base', REPOSITORY / 'configs/_base_/datasets/tvr.py'),
            'found the model None, expected one with query_encoder and context_encoder',
        ),
        (
            lambda data: (data / 'bmn.py').write_text("model = dict(type='mmaction.BMN')"),
            ('--base', 'mine/bmn.py'),
            "found the model 'mmaction.BMN', expected one with query_encoder and context_encoder",
        ),
        (
            lambda data: (data / 'typo.py').write_text(
                f"_base_ = {str(REPOSITORY / 'configs/xml_tvr.py')!r}\nmodel = dict(type='XLM')"
            ),
            ('--base', 'mine/typo.py'),
            "found the model 'XLM', expected",
        ),
        (
            lambda data: (data / 'queries.h5').unlink() or write_queries(data, width='video'),
            ('--base', 'nearest_clip_anet_text.py'),
            'queries.h5: found queries 7 wide and dict(subtitle=5), expected a stream as wide',
        ),
        (
            lambda data: write_sentences(data, times=False),
            ('--base', 'nearest_sentence_anet_text.py'),
            'found no times of sentences, expected the file that',
        ),
        (lambda data: None, ('--features', 'query=queries.h5'), 'expected a file with query ids'),
        (
            lambda data: None,
            ('--features', 'query=queries.h5', 'video=subtitles.h5', 'audio=subtitles.h5'),
            "--features: found ['audio'], expected query, video, subtitle",
        ),
        (
            lambda data: write_stream(data, 'video', clip_length=2.0),
            (),
            'found the clip lengths [5.0, 2.0] s in',
        ),
        (lambda data: (data / 'val.jsonl').unlink(), (), 'val.jsonl: no such file'),
    ],
    ids=[
        *(
            'query',
            'stream',
            'two',
            'base',
            'resident',
            'no model',
            'bmn',
            'typo',
            'widths',
            'no times',
        ),
        *('named', 'audio', 'lengths', 'annotation'),
    ],
)
def test_what_cannot_be_used_is_named(data, spoil, options, message):
    spoil(data)
    printed, _ = new_config(data, *options, status=1)
    assert printed.splitlines()[-1].startswith('error: ')
    assert message in printed
    assert not (data.parent / 'my.py').exists()
