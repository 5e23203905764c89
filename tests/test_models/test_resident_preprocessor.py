"""Features on the device, against the pipeline that loads them batch by batch."""

import copy
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from tiny_corpus import (
    CHANNELS,
    CONFIG,
    FILES,
    MAX_CLIPS,
    MAX_TOKENS,
    corpus_dataset,
    edit_features,
    pipelines_of,
    query_dataset,
    tiny_config,
)

from reloclnet_mm.errors import InputError
from reloclnet_mm.features import open_features
from reloclnet_mm.features.packed_writer import write_packed
from reloclnet_mm.models.data_preprocessors import resident
from reloclnet_mm.models.data_preprocessors.packing import MomentDataPreprocessor
from reloclnet_mm.models.data_preprocessors.resident import ResidentDataPreprocessor
from reloclnet_mm.registry import DATASETS

RESIDENT_CONFIG = CONFIG.with_name('relocl_tvr_resident.py')
PACKS = dict(video='video.pack', subtitle='subtitle.pack', query='query.pack')


def transforms(*names):
    return [dict(type=f'reloclnet_mm.{name}') for name in names]


LOAD_CLIPS = ('LoadClipFeatures', 'PoolClips', 'NormalizeFeatures', 'AppendTEF')
PACK = transforms('PackMomentInputs')
# What samples are, to the data set and the pipelines with and without loading.
KINDS = dict(
    train=(
        query_dataset,
        transforms('LoadQueryFeatures', *LOAD_CLIPS, 'MomentToSpan', 'PackMomentInputs'),
    ),
    queries=(
        query_dataset,
        transforms('LoadQueryFeatures', 'NormalizeFeatures', 'PackMomentInputs'),
    ),
    corpus=(corpus_dataset, transforms(*LOAD_CLIPS, 'PackMomentInputs')),
)
RESIDENT = dict(
    train=transforms('CountClips', 'MomentToSpan', 'PackMomentInputs'),
    queries=PACK,
    corpus=transforms('CountClips', 'PackMomentInputs'),
)


def pack_corpus(folder, dtype='float32'):
    """Packed stores beside the h5 files."""
    for name, target in PACKS.items():
        with h5py.File(folder / FILES[name]) as file:
            write_packed(folder / target, [(key, file[key][:]) for key in file], dtype)


def preprocessor(folder, files=PACKS, **settings):
    defaults = dict(
        feature_files=files,
        normalize=['query', 'subtitle'],
        append_tef=True,
        data_root=str(folder),
        channels=CHANNELS,
        max_tokens=MAX_TOKENS,
        max_clips=MAX_CLIPS,
    )
    return ResidentDataPreprocessor(**(defaults | settings))


def batch(folder, kind, pipeline, split='train', files=FILES):
    """The samples of a split, two of them twice."""
    make = KINDS[kind][0]
    config = make(folder, split=split, pipeline=pipeline, feature_files=files)
    dataset = DATASETS.build(config)
    return pseudo_collate([dataset[i % len(dataset)] for i in range(len(dataset) + 2)])


def both(folder, kind, split, files=PACKS, **settings):
    """What the standard preprocessor and the resident one make of the same samples."""
    standard = MomentDataPreprocessor(**settings)(batch(folder, kind, KINDS[kind][1], split))
    ours = preprocessor(folder, files, **settings)(
        batch(folder, kind, RESIDENT[kind], split, files)
    )
    return standard, ours


def assert_alike(found, expected, atol=1e-6):
    """The same inputs: layouts and what is not normalized bit for bit."""
    assert found.keys() == expected.keys()
    for name, there in expected.items():
        here = found[name]
        assert here.layout.blocks == there.layout.blocks
        assert torch.equal(here.layout.lengths, there.layout.lengths)
        assert torch.equal(here.places, there.places)
        assert here.features.keys() == there.features.keys()
        for stream, rows in there.features.items():
            assert here.features[stream].dtype == torch.float32
            torch.testing.assert_close(here.features[stream], rows, atol=atol, rtol=0)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('files', [PACKS, FILES], ids=['packed', 'h5'])
def test_batches_are_those_of_the_pipeline_that_loads(corpus_folder, kind, split, files):
    pack_corpus(corpus_folder)
    standard, ours = both(corpus_folder, kind, split, files)
    assert_alike(ours['inputs'], standard['inputs'])
    if 'clips' in ours['inputs']:
        # Pooled videos and position columns are equal bit for bit.
        clips = (x['inputs']['clips'].features for x in (ours, standard))
        assert torch.equal(*(features['video'] for features in clips))


@pytest.mark.parametrize('settings', [dict(slack=0), dict(slack=1), dict(pad_clips_to=11)])
def test_rows_of_padding_are_zeros_in_every_layout(corpus_folder, settings):
    pack_corpus(corpus_folder)
    standard, ours = both(corpus_folder, 'train', 'val', **settings)
    assert_alike(ours['inputs'], standard['inputs'])
    clips = ours['inputs']['clips']
    padding = clips.layout.positions >= clips.layout.lengths.repeat_interleave(
        clips.layout.rows_of_each
    )
    assert padding.any() == (settings != dict(slack=0))
    assert not clips.features['subtitle'][padding].any()


def test_samples_are_those_of_the_pipeline_that_loads(corpus_folder):
    pack_corpus(corpus_folder)
    standard, ours = both(corpus_folder, 'train', 'train')
    for here, there in zip(ours['data_samples'], standard['data_samples'], strict=True):
        assert here.metainfo == there.metainfo
        np.testing.assert_array_equal(here.gt_span, there.gt_span)


def test_a_store_in_half_precision_stays_so_and_errs_by_its_rounding(corpus_folder):
    pack_corpus(corpus_folder, 'float16')
    data = batch(corpus_folder, 'train', RESIDENT['train'], files=PACKS)
    ours = preprocessor(corpus_folder)
    found = ours(data)['inputs']
    assert {x.dtype for x in resident_rows(ours, 'video').values()} == {torch.float16}
    expected = MomentDataPreprocessor()(batch(corpus_folder, 'train', KINDS['train'][1]))['inputs']
    # Values are below 8, rounded when packed and, where pooled, once more.
    assert_alike(found, expected, atol=2 * 4 * 2**-11)
    error = found['clips'].features['video'] - expected['clips'].features['video']
    assert error.abs().max() > 0


def test_without_position_and_normalization_rows_are_as_in_the_file(corpus_folder):
    pack_corpus(corpus_folder)
    ours = preprocessor(corpus_folder, normalize=[], append_tef=False)
    data = batch(corpus_folder, 'train', RESIDENT['train'], files=PACKS)
    clips = ours(data)['inputs']['clips']
    first = clips.layout.first_rows[clips.places[0]]
    with h5py.File(corpus_folder / FILES['subtitle']) as file:
        rows = torch.from_numpy(file['a'][:])
    assert torch.equal(clips.features['subtitle'][first : first + 5], rows)


def resident_rows(made, name):
    """The sequences of a file on the device of a preprocessor, by key."""
    return made.features[made.device][name]


@pytest.fixture
def loads(monkeypatch):
    """The paths of the files that were loaded."""
    paths = []

    def note(path, *others):
        paths.append(Path(path).name)
        return open_features(path, *others)

    monkeypatch.setattr(resident, 'open_features', note)
    return paths


def test_features_are_loaded_at_the_first_batch_and_once(corpus_folder, loads):
    pack_corpus(corpus_folder)
    ours = preprocessor(corpus_folder)
    data = batch(corpus_folder, 'train', RESIDENT['train'], files=PACKS)
    assert loads == []
    ours(data)
    ours(data)
    assert sorted(loads) == sorted(PACKS.values())


def test_copies_made_before_and_after_loading_share_the_features(corpus_folder, loads):
    pack_corpus(corpus_folder)
    ours = preprocessor(corpus_folder)
    early = copy.deepcopy(ours)
    data = batch(corpus_folder, 'train', RESIDENT['train'], files=PACKS)
    expected = ours(data)['inputs']
    late = copy.deepcopy(ours)
    for other in (early, late):
        assert_alike(other(data)['inputs'], expected)
        rows = (resident_rows(x, 'video')['a'] for x in (ours, other))
        assert len({x.data_ptr() for x in rows}) == 1
    assert len(loads) == 3


def test_features_follow_the_model_to_another_device_before_and_after_the_first_batch(
    corpus_folder,
):
    pack_corpus(corpus_folder)
    data = batch(corpus_folder, 'train', RESIDENT['train'], files=PACKS)
    ours = preprocessor(corpus_folder).to('meta')
    assert ours(data)['inputs']['clips'].features['video'].device.type == 'meta'
    ours = preprocessor(corpus_folder)
    ours(data)
    ours.to('meta')
    assert ours(data)['inputs']['query'].features['query'].device.type == 'meta'


def test_checkpoints_do_not_have_the_features(corpus_folder):
    pack_corpus(corpus_folder)
    ours = preprocessor(corpus_folder)
    ours(batch(corpus_folder, 'train', RESIDENT['train'], files=PACKS))
    assert not ours.state_dict()
    assert not list(ours.buffers())


def runner(folder, work_dir, *, on_device, **settings):
    """A runner of the tiny corpus; on the device, with what its config says of data."""
    cfg = tiny_config(folder, work_dir, epochs=2)
    if on_device:
        theirs = Config.fromfile(RESIDENT_CONFIG)
        for pipeline, chosen in zip(pipelines_of(cfg), pipelines_of(theirs), strict=True):
            pipeline[:] = chosen
        for name in ('train', 'val', 'val_corpus', 'test', 'test_corpus'):
            cfg[f'{name}_dataloader'].dataset.feature_files = PACKS
        cfg.model.data_preprocessor = theirs.model.data_preprocessor
        cfg.model.data_preprocessor.update(
            data_root=str(folder), channels=CHANNELS, max_tokens=MAX_TOKENS, max_clips=MAX_CLIPS
        )
    cfg.model.data_preprocessor.slack = 0.125
    cfg.merge_from_dict(settings)
    return Runner.from_cfg(cfg)


def train_and_test(made, work_dir):
    """Losses of each step, the metrics of a test after training, and the last checkpoint."""
    made.train()
    scalars = made.message_hub.log_scalars
    losses = {name: x.data[0] for name, x in scalars.items() if 'loss' in name}
    checkpoint = torch.load(work_dir / 'epoch_2.pth', weights_only=False)
    return losses, made.test(), checkpoint


def test_training_and_test_are_those_of_the_pipeline_that_loads(corpus_folder, tmp_path):
    pack_corpus(corpus_folder)
    results = []
    for on_device in (False, True):
        work_dir = tmp_path / str(on_device)
        made = runner(corpus_folder, work_dir, on_device=on_device)
        results.append(train_and_test(made, work_dir))
    (losses, metrics, checkpoint), (ours, our_metrics, our_checkpoint) = results
    assert len(losses['train/loss']) == 6
    assert losses.keys() == ours.keys()
    for name, values in losses.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-6)
    assert json.dumps(metrics) == json.dumps(our_metrics)
    weights = {name: x.shape for name, x in checkpoint['state_dict'].items()}
    assert weights == {name: x.shape for name, x in our_checkpoint['state_dict'].items()}


def test_averaged_weights_load_the_features_once(corpus_folder, tmp_path, loads):
    pack_corpus(corpus_folder)
    made = runner(corpus_folder, tmp_path, on_device=True, custom_hooks=[dict(type='EMAHook')])
    _, _, checkpoint = train_and_test(made, tmp_path)
    (hook,) = [x for x in made.hooks if type(x).__name__ == 'EMAHook']
    averaged = hook.ema_model.module.data_preprocessor
    # A test copies the model again, and by then it has its features.
    assert averaged.features is made.model.data_preprocessor.features
    assert len(loads) == 3
    assert not [name for name in checkpoint['ema_state_dict'] if 'preprocessor' in name]


@pytest.mark.parametrize(
    ('name', 'key', 'kind'), [('query', '3', 'queries'), ('subtitle', 'b', 'corpus')]
)
def test_a_missing_key_is_named(corpus_folder, name, key, kind):
    edit_features(corpus_folder / FILES[name], key, None)
    pack_corpus(corpus_folder)
    data = batch(corpus_folder, kind, RESIDENT[kind], files=PACKS)
    with pytest.raises(InputError, match=rf"{PACKS[name]}: no features under the key '{key}'"):
        preprocessor(corpus_folder)(data)


def test_streams_with_different_numbers_of_clips_are_refused(corpus_folder):
    rows = np.ones((4, CHANNELS['subtitle']), np.float32)
    edit_features(corpus_folder / FILES['subtitle'], 'a', rows)
    pack_corpus(corpus_folder)
    data = batch(corpus_folder, 'train', RESIDENT['train'], files=PACKS)
    message = "subtitle.pack: key 'a': found 4 clips with max_clips=8, expected 5"
    with pytest.raises(InputError, match=message):
        preprocessor(corpus_folder)(data)


def test_another_max_clips_than_that_of_the_pipeline_is_refused(corpus_folder):
    pack_corpus(corpus_folder)
    data = batch(corpus_folder, 'corpus', RESIDENT['corpus'], files=PACKS)
    with pytest.raises(InputError, match='found 7 clips with max_clips=7, expected 8'):
        preprocessor(corpus_folder, max_clips=7)(data)


def test_a_pipeline_that_loads_features_is_refused(corpus_folder):
    pack_corpus(corpus_folder)
    data = batch(corpus_folder, 'queries', KINDS['queries'][1])
    with pytest.raises(InputError, match=r"the pipeline has loaded \['query'\], expected nothing"):
        preprocessor(corpus_folder)(data)


@pytest.mark.parametrize(
    'settings',
    [
        dict(normalize=['audio']),
        dict(channels=dict(audio=3)),
        dict(files=dict(audio='a.h5'), normalize=[], channels={}),
    ],
    ids=['normalize', 'channels', 'feature_files'],
)
def test_names_without_a_file_are_refused(corpus_folder, settings):
    with pytest.raises(ValueError, match=r"expected '(audio|query)' among them"):
        preprocessor(corpus_folder, **settings)


@pytest.mark.parametrize('name', ['max_tokens', 'max_clips', 'pad_clips_to'])
@pytest.mark.parametrize('value', [0, -1, 1.5, True, '8'])
def test_numbers_that_are_no_counts_are_refused(corpus_folder, name, value):
    message = f'ResidentDataPreprocessor: {name} is {value!r}, expected a whole number'
    with pytest.raises(ValueError, match=re.escape(message)):
        preprocessor(corpus_folder, **{name: value})


def test_h5_rows_of_several_widths_are_refused_though_no_width_is_set(corpus_folder):
    data = batch(corpus_folder, 'corpus', RESIDENT['corpus'])
    edit_features(corpus_folder / FILES['video'], 'b', np.ones((11, 1), np.float32))
    with pytest.raises(InputError, match=r"video\.h5: key 'b': found rows 1 wide, expected 6"):
        preprocessor(corpus_folder, FILES, channels=None)(data)


def test_a_width_other_than_the_config_says_is_refused(corpus_folder):
    pack_corpus(corpus_folder)
    data = batch(corpus_folder, 'corpus', RESIDENT['corpus'], files=PACKS)
    with pytest.raises(InputError, match='found rows 6 wide, expected 9'):
        preprocessor(corpus_folder, channels=dict(video=9))(data)


def test_a_file_without_keys_is_refused(corpus_folder):
    h5py.File(corpus_folder / 'empty.h5', 'w').close()
    pack_corpus(corpus_folder)
    ours = preprocessor(corpus_folder, dict(PACKS, query='empty.h5'))
    data = batch(corpus_folder, 'queries', PACK)
    with pytest.raises(InputError, match=r'empty\.h5: found no keys'):
        ours(data)


def test_a_device_without_room_is_named(corpus_folder, monkeypatch):
    pack_corpus(corpus_folder)
    data = batch(corpus_folder, 'queries', PACK)

    def no_room(*shape, **others):
        raise torch.OutOfMemoryError('out of memory')

    monkeypatch.setattr(resident.torch, 'empty', no_room)
    with pytest.raises(InputError, match=r'query\.pack: found no room on cpu for its 52 rows of 4'):
        preprocessor(corpus_folder)(data)
