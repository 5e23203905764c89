"""Settings that reach nothing, or that a class does not have, end with one message."""

import importlib.util
import itertools

import pytest
from mmengine.config import Config
from tiny_corpus import tiny_config
from tool_processes import REPOSITORY, load_tool

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.cli import run_with
from reloclnet_mm.utils.config_checks import check_settings, check_variables

CONFIGS = sorted((REPOSITORY / 'configs').glob('*.py'))
PLANTED = REPOSITORY / 'configs/relocl_planted.py'
ANET_TEXT = REPOSITORY / 'configs/relocl_anet_text.py'
MMACTION = importlib.util.find_spec('mmaction').submodule_search_locations[0]


@pytest.fixture(scope='module', params=['train', 'test'])
def run(request):
    """Run a tool in this process with a config; the checkpoint is never reached."""
    tool = load_tool(request.param)

    def run(config, *options):
        checkpoint = ['absent.pth'] * (request.param == 'test')
        tool.main([str(config), *checkpoint, *(['--cfg-options', *options] if options else [])])

    return run


def config_with(tmp_path, text):
    path = tmp_path / 'config.py'
    base = '' if '_base_' in text else f'_base_ = {str(PLANTED)!r}\n'
    path.write_text(base + text)
    return path


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('mdel.embed_dims=32', r"the config has no 'mdel'; use model,"),
        ('train_dataloadr.batch_size=4', r"no 'train_dataloadr'; use train_dataloader,"),
        ('max_epochs=2', r"'max_epochs' is a variable .* set train_cfg\.max_epochs=2 instead$"),
        ('batch_size=4', r"'batch_size' is a variable .*; set train_dataloader\.batch_size=4"),
        ('channels.video=9', r'set train_dataloader\.dataset\.channels\.video=9, val_data'),
        ('model.embed_dim=32', r'model\.embed_dim=32: ReLoCLNet has no such .* embed_dims,'),
        ('model.loss_span.weight=2', r'model\.loss_span\.weight=2: SpanLoss .* loss_weight;'),
        ('model.loss_span.type=SpanLos', r"type='SpanLos': no such class, expected SpanLoss,"),
        ('train_dataloader.datset.split=val', r'\.datset=.* a data loader .* expected dataset,'),
        ('train_dataloader.sampler.shufle=0', r'sampler\.shufle=0: SeededSampler .* shuffle,'),
        ('val_dataloader.dataset.reader.splt=val', r"reader\.splt='val': TVRReader .* split,"),
        ('custom_hooks.1.patince=3', r'custom_hooks\.1\.patince=3: EarlyStoppingHook .* patience,'),
        ('custom_hooks.9.patience=3', r'--cfg-options: Index 9 exceeds'),
        (
            'default_hooks.loger.interval=1',
            r'default_hooks\.loger: has no type; did you mean logger,',
        ),
        ('optim_wrapper.optimizer.lrr=1', r'optimizer\.lrr=1: BertAdam .* expected lr,'),
        ('param_scheduler.0.warmp=1', r'param_scheduler\.0\.warmp=1: BertLinearLR .* warmup,'),
        ('train_cfg.max_epoch=1', r'train_cfg\.max_epoch=1: ResumableTrainLoop .* max_epochs,'),
        (
            'visualizer.vis_backends.0.dir=a',
            r"vis_backends\.0\.dir='a': LocalVisBackend .* save_dir",
        ),
        ('randomness.sed=1', r'randomness\.sed=1: randomness has no such setting, expected seed,'),
        ('val_evaluator.0.by_typ=1', r'val_evaluator\.0\.by_typ=1: VideoRecall .* by_type,'),
        ('model=3', r"model=3: expected dict\(type='"),
        ('model.embed_dims.x=3', r'--cfg-options: '),
    ],
)
def test_an_override_that_reaches_nothing_is_named_with_what_exists(run, option, message):
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        run(PLANTED, option)


def test_a_new_key_that_the_class_has_is_no_error():
    read = load_tool('train')
    option = 'model.loss_ranking.other_positives=ignored'
    args = read.parse_args([str(PLANTED), '--cfg-options', option, 'env_cfg.mp_cfg.new=1'])
    assert read.read_config(args).model.loss_ranking.other_positives == 'ignored'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('resum = True', r'config\.py: resum is no setting, expected resume;'),
        ("loadfrom = 'a.pth'", r'loadfrom is no setting, expected load_from;'),
        ('mdel = dict(embed_dims=8)', r'mdel is no setting, expected model;'),
        ('custom_hooks = [dict(begin=2)]', r"custom_hooks\.0: found \['begin'\], expected type"),
        ("model = dict(data_preprocessor=dict(type='Moment'))", r'Moment.*MomentDataPreprocessor'),
        ('train_cfg = dict(', 'correct the file'),
        (
            'val_cfg = dict(corpus_dataloader=dict(datset=1))',
            r'val_cfg\.corpus_dataloader\.datset=1: a data loader .* expected dataset,',
        ),
        ("_base_ = ['absent.py']", 'absent.py.*; correct the file'),
    ],
)
def test_a_misspelt_setting_of_a_config_file_is_named(run, tmp_path, text, message):
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        run(config_with(tmp_path, text))


def test_each_variable_of_a_derived_config_that_reaches_nothing_is_named(run, tmp_path):
    config = config_with(
        tmp_path, f"_base_ = {str(ANET_TEXT)!r}\ndata_root = 'data/mine/'\nclip_length = 5.0"
    )
    with pytest.raises(SystemExit) as end:
        run(config)
    lines = str(end.value.code).removeprefix('error: ').splitlines()
    # In the base, clip_length is no variable, only a setting.
    assert [line.split("'")[1] for line in lines] == ['clip_length', 'data_root']
    for line, name in zip(lines, ('clip_length', 'data_root'), strict=True):
        loaders = ('train', 'val', 'val_corpus', 'test', 'test_corpus')
        places = ', '.join(f'{loader}_dataloader.dataset.{name}' for loader in loaders)
        assert line == (
            f'{config}: {name!r} is a variable that nothing reads, and the settings of its base '
            f'relocl_anet_text.py keep their values; set {places} instead'
        )


@pytest.mark.parametrize(
    ('text', 'place'),
    [
        ('channels = dict(video=9)', 'train_dataloader.dataset.channels'),
        ('max_epochs: int = 9', 'train_cfg.max_epochs'),
        ("train_reader = dict(ann_file='a')", 'train_dataloader.dataset.reader'),
        (
            'lr = alpha = 0.1\nmodel = dict(test_cfg=dict(alpha=alpha))',
            'optim_wrapper.optimizer.lr',
        ),
    ],
)
def test_a_variable_that_reaches_nothing_is_named_with_the_settings_of_the_base(
    tmp_path, text, place
):
    base = ANET_TEXT if 'max_epochs' not in text else PLANTED
    if 'reader' in text:
        base = REPOSITORY / 'configs/relocl_tvr.py'
    with pytest.raises(InputError, match=rf'nothing reads, .* set (.*, )?{place}[, ]') as error:
        check_variables(config_with(tmp_path, f'_base_ = {str(base)!r}\n{text}'))
    assert len(str(error.value).splitlines()) == 1


def test_a_variable_of_which_the_base_makes_no_setting_is_to_be_removed(tmp_path):
    base = REPOSITORY / 'configs/chance_anet_text.py'
    path = config_with(tmp_path, f"_base_ = {str(base)!r}\ntrain_reader = dict(ann_file='a')")
    with pytest.raises(InputError, match=r"'train_reader' is a variable .*; use or remove it$"):
        check_variables(path)


@pytest.mark.parametrize(
    'text',
    [
        'lr = 0.1\noptim_wrapper = dict(optimizer=dict(lr=lr))',
        'max_epochs = 2\ntrain_cfg = dict(max_epochs=[max_epochs for _ in range(1)][0])',
        "notes = 'of no setting'",
        'batch_size = 4\ndel batch_size',
        'resume = True',
    ],
)
def test_a_variable_that_is_read_or_of_no_setting_is_no_error(tmp_path, text):
    check_variables(config_with(tmp_path, text))


@pytest.mark.parametrize('read', ['_base_.alpha', "_base_['alpha']", '{{_base_.alpha}}', '3'])
def test_a_variable_of_a_base_may_be_read_by_a_derived_file(tmp_path, read):
    (tmp_path / 'middle.py').write_text(f'_base_ = {str(ANET_TEXT)!r}\nalpha = 3.0')
    text = f"_base_ = 'middle.py'\nmodel = dict(test_cfg=dict(alpha={read}))"
    path = config_with(tmp_path, text)
    assert float(Config.fromfile(path).model.test_cfg.alpha) == 3
    if 'alpha' in read:
        check_variables(path)
    else:
        with pytest.raises(InputError, match=r"middle\.py: 'alpha' .* model\.test_cfg\.alpha inst"):
            check_variables(path)


def test_variables_of_a_base_in_another_package_are_its_own(tmp_path):
    # Its ann_file_test, which its own base has too, is read by nothing.
    name = 'trn_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv1-rgb.py'
    with pytest.raises(InputError, match=r"'ann_file_test' is a variable .* keep their values"):
        check_variables(f'{MMACTION}/.mim/configs/recognition/trn/{name}')
    check_variables(config_with(tmp_path, f"_base_ = 'mmaction::recognition/trn/{name}'"))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_passes_with_variables_of_its_own(path, tmp_path):
    check_variables(path)
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(data_roots='x', dataloader={}, image_dataloader={}, my_pipeline=[]))
    check_settings(cfg)


@pytest.mark.parametrize(
    'name',
    [
        'localization/bmn/bmn_2xb8-400x100-9e_activitynet-feature.py',
        'recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py',
        'skeleton/stgcnpp/stgcnpp_8xb16-joint-u100-80e_ntu60-xsub-keypoint-2d.py',
    ],
)
def test_configs_of_mmaction2_pass(name):
    check_variables(f'{MMACTION}/.mim/configs/{name}')
    check_settings(Config.fromfile(f'{MMACTION}/.mim/configs/{name}'))


def typed_dicts(node, path=()):
    """Every dict with a `type`, with its path."""
    if isinstance(node, dict):
        if 'type' in node:
            yield path, node
        for key, value in node.items():
            yield from typed_dicts(value, (*path, key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from typed_dicts(value, (*path, i))


@pytest.mark.parametrize('name', ['relocl_anet_text', 'relocl_tvr_resident'])
def test_every_misspelt_name_in_a_config_is_found(name):
    cfg = Config.fromfile(REPOSITORY / f'configs/{name}.py')
    parts = [
        (where, node)
        for key in cfg.keys() - {'corpus_dataloader'}
        for where, node in typed_dicts(cfg[key], (key,))
        if where[0] in ('model', 'custom_hooks', 'optim_wrapper', 'param_scheduler', 'visualizer')
        or where[0].endswith(('_dataloader', '_cfg', '_evaluator'))
    ]
    assert len(parts) > 30
    for where, node in parts:
        for key, value in itertools.islice([*node.items()], 4):
            changed = {key: f'{value}x'} if key == 'type' else {f'{key}x': node.pop(key)}
            before = dict(node)
            node.update(changed)
            with pytest.raises(InputError, match=r'\.'.join(map(str, where))):
                check_settings(cfg)
            node.clear()
            node.update({**before, key: value})
    check_settings(cfg)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'model.num_heads': 5}, r'model\.query_encoder \(QueryEncoder\): .*num_heads'),
        ({'model.test_cfg.alhpa': 3.0}, r"model \(ReLoCLNet\): .*'alhpa'"),
        ({'model.loss_ranking.kind': 'soft'}, r'model\.loss_ranking \(RankingLoss\): .*soft'),
        ({'train_cfg.max_epochs': 'many'}, r'train_cfg \(ResumableTrainLoop\): .*many'),
    ],
)
def test_what_a_constructor_refuses_is_named_by_its_place(
    corpus_folder, tmp_path, settings, message
):
    cfg = tiny_config(corpus_folder, tmp_path / 'run')
    cfg.merge_from_dict(settings)
    with pytest.raises(InputError, match=message):
        run_with(cfg, 'train')


def test_an_error_while_training_keeps_its_traceback(corpus_folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError('a bug')

    monkeypatch.setattr('reloclnet_mm.models.losses.ranking.RankingLoss.forward', fail)
    with pytest.raises(ValueError, match='a bug') as caught:
        run_with(tiny_config(corpus_folder, tmp_path / 'run'), 'train')
    assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize('is_open', [True, False])
def test_a_class_of_others_may_drop_settings_if_it_says_so(monkeypatch, is_open):
    class Dropping:
        def __init__(self, width=1, **_):
            pass

    class Strict:
        def __init__(self, width=1):
            pass

    monkeypatch.setitem(MODELS.module_dict, 'Foreign', Dropping if is_open else Strict)
    cfg = Config(dict(default_scope='reloclnet_mm', model=dict(type='Foreign', depth=2)))
    if is_open:
        check_settings(cfg)
    else:
        with pytest.raises(InputError, match=r'model\.depth=2: Strict has no such setting'):
            check_settings(cfg)
