import argparse
import json
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from tool_processes import REPOSITORY, load_tool

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.official import OfficialLayout, convert_state_dict, parameter_names
from reloclnet_mm.registry import MODELS
from reloclnet_mm.utils.config_checks import check_settings

GOLDENS = REPOSITORY / 'tests/data/goldens'
CONQUER = sorted(GOLDENS.glob('conquer*.npz'))
CHECKPOINTS = sorted((GOLDENS / 'e2e').glob('*.ckpt'))


@pytest.fixture(scope='module')
def tool():
    return load_tool('model_converters/official_to_mm')


@pytest.fixture(scope='module')
def official():
    """The weights of one forward pass in the authors' names, as arrays."""
    with np.load(GOLDENS / 'relocl_tiny.npz') as arrays:
        return {k[2:]: torch.from_numpy(arrays[k]) for k in arrays if k.startswith('w/')}


def of_one_stream(official, prefix):
    other = {'video': 'sub_', 'sub': 'video_'}[prefix]
    rows = slice(0, 1) if prefix == 'video' else slice(1, 2)
    weights = {name: tensor for name, tensor in official.items() if not name.startswith(other)}
    weights['modular_vector_mapping.weight'] = weights['modular_vector_mapping.weight'][rows]
    return weights


def built_from(text, tmp_path):
    """The model of the printed config."""
    for base in ('relocl_tvr_official.py', 'xml_tvr.py'):
        text = text.replace(f"['{base}']", f"['{REPOSITORY}/configs/{base}']")
    (tmp_path / 'config.py').write_text(text)
    model = Config.fromfile(tmp_path / 'config.py').model
    return MODELS.build({**model, '_scope_': 'reloclnet_mm'})


@pytest.mark.parametrize('src', CHECKPOINTS, ids=lambda path: path.name)
def test_an_official_checkpoint_becomes_ours_and_fits_the_printed_config(
    src, tmp_path, capsys, tool
):
    dst = tmp_path / 'new/ours.pth'
    tool.main([str(src), str(dst)])
    text = capsys.readouterr().out.partition('\n\n')[2]

    model = built_from(text, tmp_path)
    loaded = load_checkpoint(model, str(dst), map_location='cpu', strict=True)
    source = read_official(src)
    ours = model.state_dict()
    assert sum(t.numel() for t in ours.values()) == sum(t.numel() for t in source.values())
    for theirs, name in parameter_names(OfficialLayout.of(source)).items():
        torch.testing.assert_close(ours[name], source[theirs], rtol=0, atol=0)
    assert loaded['meta']['official']['ctx_mode'] == 'video_sub_tef'
    assert model.context_encoder.streams['video'].blocks[0].attention.num_heads == 4


def read_official(src):
    with torch.serialization.safe_globals([(OrderedDict, 'easydict.EasyDict')]):
        return torch.load(src, weights_only=True)['model']


def test_the_settings_are_kept_as_plain_python(tool):
    meta = tool.convert(str(GOLDENS / 'e2e/model.ckpt'))['meta']
    assert type(meta['official']) is dict
    assert meta['official']['hidden_size'] == 32
    assert meta['official']['use_hard_negative'] is True
    assert meta['official_epoch'] == 5
    assert meta['span_end'] == 'official'


def test_names_are_renamed_one_to_one(official):
    names = parameter_names(OfficialLayout.of(official))
    assert set(names) == set(official)
    assert len(set(names.values())) == len(names)
    back = {ours: theirs for theirs, ours in names.items()}
    converted = convert_state_dict(official)
    assert {back[name] for name in converted} == set(official)
    assert all(converted[name] is official[back[name]] for name in converted)


def test_the_renaming_by_hand(official):
    converted = convert_state_dict(official)
    for theirs, ours in {
        'query_input_proj.net.1.weight': 'query_encoder.projection.linear.weight',
        'query_encoder1.self.key.bias': 'query_encoder.blocks.1.attention.key.bias',
        'query_encoder.output.LayerNorm.weight': 'query_encoder.blocks.0.norm.weight',
        'modular_vector_mapping.weight': 'query_encoder.pooling.weight',
        'ctx_pos_embed.position_embeddings.weight': 'context_encoder.position.embedding.weight',
        'sub_encoder3.output.dense.bias': 'context_encoder.streams.subtitle.blocks.2.output.bias',
        'video_cross_layernorm.bias': 'context_encoder.streams.video.cross_norm.bias',
        'sub_query_linear.weight': 'span_head.query_maps.subtitle.weight',
        'merged_ed_predictor.weight': 'span_head.end_conv.weight',
    }.items():
        assert converted[ours] is official[theirs]


@pytest.mark.parametrize(('prefix', 'stream'), [('video', 'video'), ('sub', 'subtitle')])
def test_a_checkpoint_of_one_stream_loses_only_what_nothing_used(
    prefix, stream, official, tmp_path, tool
):
    weights = of_one_stream(official, prefix)
    assert any('cross' in name for name in weights)
    state_dict = convert_state_dict(weights)
    model = built_from(tool.config_text(state_dict, {'n_heads': 4}), tmp_path)
    model.load_state_dict(state_dict, strict=True)
    assert list(model.context_encoder.streams) == [stream]

    without = {name: tensor for name, tensor in weights.items() if 'cross' not in name}
    assert convert_state_dict(without).keys() == state_dict.keys()


@pytest.mark.parametrize('name', ['xml_video_sub', 'xml_video'])
def test_a_checkpoint_of_xml_becomes_ours_and_fits_the_printed_config(name, tmp_path, capsys, tool):
    with np.load(GOLDENS / f'{name}.npz') as golden:
        weights = {k[2:]: torch.from_numpy(golden[k]) for k in golden if k.startswith('w/')}
    torch.save({'model': weights, 'model_cfg': {'n_heads': 4}}, tmp_path / 'a.ckpt')
    tool.main([str(tmp_path / 'a.ckpt'), str(tmp_path / 'b.pth')])
    text = capsys.readouterr().out.partition('\n\n')[2]
    model = built_from(text, tmp_path)
    assert type(model).__name__ == 'XML'
    load_checkpoint(model, str(tmp_path / 'b.pth'), map_location='cpu', strict=True)
    names = parameter_names(OfficialLayout.of(weights))
    for theirs, ours in names.items():
        assert torch.equal(model.state_dict()[ours], weights[theirs])
    assert set(names) == set(weights)


def test_missing_and_unknown_names_are_listed(official):
    weights = {**official, 'sub_encoder4.weight': torch.zeros(1)}
    del weights['video_encoder2.self.query.bias']
    with pytest.raises(
        InputError, match=r'missing .*video_encoder2.self.query.bias.*unknown .*sub_e'
    ):
        convert_state_dict(weights)


def test_a_stream_without_its_cross_attention_is_missing_something(official):
    weights = {name: tensor for name, tensor in official.items() if 'video_cross_att' not in name}
    with pytest.raises(InputError, match=r'video_cross_att.query.weight'):
        convert_state_dict(weights)


def test_weights_of_another_program_are_refused(tmp_path, tool):
    torch.save({'model': {'fc.weight': torch.zeros(1)}}, tmp_path / 'a.ckpt')
    with pytest.raises(InputError, match=r'a\.ckpt: the weights have neither'):
        tool.convert(str(tmp_path / 'a.ckpt'))


@pytest.mark.parametrize('content', [{'state_dict': {}}, [1], {'model': 3}])
def test_a_file_without_a_model_is_refused(content, tmp_path, tool):
    torch.save(content, tmp_path / 'a.ckpt')
    with pytest.raises(InputError, match=r'a\.ckpt: holds .* expected `model`'):
        tool.convert(str(tmp_path / 'a.ckpt'))


def test_settings_of_argparse_and_nested_ones_are_read(official, tmp_path, tool):
    settings = argparse.Namespace(n_heads=4, sizes=(1, 2), inner=argparse.Namespace(drop=0.5))
    torch.save({'model': official, 'model_cfg': settings}, tmp_path / 'a.ckpt')
    expected = {'n_heads': 4, 'sizes': [1, 2], 'inner': {'drop': 0.5}}
    assert tool.convert(str(tmp_path / 'a.ckpt'))['meta']['official'] == expected


@pytest.mark.parametrize(
    ('settings', 'message'),
    [({'x': torch.ones(1)}, r'`model_cfg\.x` holds a Tensor'), ('endless', 'nested more than')],
)
def test_settings_that_are_not_plain_are_refused(settings, message, official, tmp_path, tool):
    if settings == 'endless':
        settings = {}
        settings['self'] = settings
    torch.save({'model': official, 'model_cfg': settings}, tmp_path / 'a.ckpt')
    with pytest.raises(InputError, match=message):
        tool.convert(str(tmp_path / 'a.ckpt'))


def test_settings_without_heads_stop_before_anything_is_written(official, tmp_path, tool):
    torch.save({'model': official, 'model_cfg': {}}, tmp_path / 'a.ckpt')
    with pytest.raises(SystemExit, match=r'error: .*n_heads'):
        tool.main([str(tmp_path / 'a.ckpt'), str(tmp_path / 'b.pth')])
    assert not (tmp_path / 'b.pth').exists()


def test_an_existing_file_is_replaced_only_when_asked_to(tmp_path, tool):
    src, dst = str(CHECKPOINTS[0]), tmp_path / 'b.pth'
    dst.write_text('old')
    with pytest.raises(SystemExit, match=r'error: .*b\.pth: exists already'):
        tool.main([src, str(dst)])
    assert dst.read_text() == 'old'
    tool.main([src, str(dst), '--overwrite'])
    assert 'state_dict' in torch.load(dst, weights_only=True)


def test_the_source_is_never_replaced(tmp_path, tool):
    src = tmp_path / 'a.ckpt'
    src.write_bytes(CHECKPOINTS[0].read_bytes())
    with pytest.raises(SystemExit, match='is the source itself'):
        tool.main([str(src), str(tmp_path / '../' / tmp_path.name / 'a.ckpt'), '--overwrite'])


@pytest.mark.parametrize(
    ('dst', 'message'), [('.', 'is a folder'), ('a.ckpt/b.pth', 'cannot be written')]
)
def test_a_destination_that_cannot_be_written_is_named(dst, message, tmp_path, tool):
    (tmp_path / 'a.ckpt').write_bytes(CHECKPOINTS[0].read_bytes())
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        tool.main([str(CHECKPOINTS[1]), str(tmp_path / dst)])


def test_an_absent_checkpoint_is_named(tmp_path, tool):
    with pytest.raises(SystemExit, match=r'^error: \S+absent\.ckpt: there is no such '):
        tool.main([str(tmp_path / 'absent.ckpt'), str(tmp_path / 'b.pth')])


def conquer_checkpoint(golden, path):
    """A checkpoint as the authors' program writes it, from a golden."""
    with np.load(golden) as arrays:
        weights = {k[2:]: torch.from_numpy(arrays[k]) for k in arrays if k.startswith('w/')}
        meta = json.loads(bytes(arrays['meta']))
    torch.save(dict(model=weights, model_cfg=meta['config'], epoch=3), path)
    return weights


@pytest.mark.parametrize('golden', CONQUER, ids=lambda path: path.stem)
def test_a_checkpoint_of_conquer_fits_the_printed_config_behind_a_first_stage(
    golden, tmp_path, capsys, tool
):
    official = conquer_checkpoint(golden, tmp_path / 'model.ckpt')
    second, first, both = (str(tmp_path / name) for name in ('second.pth', 'first.pth', 'both.pth'))
    tool.main([str(tmp_path / 'model.ckpt'), second])
    text = capsys.readouterr().out.partition('\n\n')[2]
    text = text.replace("['conquer_tvr.py']", f"['{REPOSITORY}/configs/conquer_tvr.py']")
    (tmp_path / 'config.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'config.py')
    check_settings(cfg)
    cfg.model.first_stage.update(embed_dims=16, num_heads=2)
    model = MODELS.build({**cfg.model, '_scope_': 'reloclnet_mm'})
    torch.save(dict(state_dict=model.first_stage.state_dict()), first)
    load_tool('model_converters/join_stages').main([first, second, both])
    joined = load_checkpoint(model, both, map_location='cpu', strict=True)
    assert joined['meta'] == dict(span_end='inclusive')
    ours = model.second_stage.state_dict()
    assert len(ours) == len(official)
    assert ours.keys() == convert_state_dict(official).keys()
    assert model.second_stage.padding == 'official'
    assert model.second_stage.scores_videos == ('exclusive' in golden.stem)


def test_join_stages_takes_the_second_stage_of_two_and_refuses_two_as_the_first(tmp_path, capsys):
    join = load_tool('model_converters/join_stages')
    first, both, out = (str(tmp_path / name) for name in ('first.pth', 'both.pth', 'out.pth'))
    one, two, three = (torch.tensor([float(i)]) for i in range(3))
    torch.save(dict(state_dict={'x': one}), first)
    torch.save(dict(state_dict={'first_stage.x': two, 'second_stage.y': three}), both)
    join.main([first, both, out])
    found = torch.load(out, weights_only=True)['state_dict']
    assert found == {'first_stage.x': one, 'second_stage.y': three}
    with pytest.raises(SystemExit, match='has two stages itself'):
        join.main([both, both, out])
    torch.save([1], first)
    with pytest.raises(SystemExit, match='no `state_dict` of weights'):
        join.main([first, both, out])
