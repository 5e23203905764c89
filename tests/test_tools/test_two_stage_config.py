"""A config of two stages, written from the configs of each."""

import pytest
from mmengine.config import Config
from tool_processes import REPOSITORY, run_here

from reloclnet_mm.utils.cli import read_config, run_parser

CONFIGS = REPOSITORY / 'configs'
SECOND = CONFIGS / 'conquer_anet_text.py'


def write(folder, first, second=SECOND, *args, status=0):
    return run_here(
        folder, 'two_stage_config', first, second, '--out', 'new.py', *args, status=status
    )


def read(folder):
    """As the tools read it, with their checks."""
    return read_config(run_parser('').parse_args([str(folder / 'new.py')]))


def test_the_first_stage_is_the_model_of_the_first_config(tmp_path):
    write(tmp_path, CONFIGS / 'xml_anet_text.py', SECOND, '--checkpoint', 'xml.pth')
    xml, conquer = (Config.fromfile(path) for path in (CONFIGS / 'xml_anet_text.py', SECOND))
    found = read(tmp_path)
    weights = dict(type='Pretrained', checkpoint='xml.pth')
    assert found.model.first_stage == dict(xml.model, init_cfg=weights)
    assert found.model.second_stage == conquer.model.second_stage
    for name in ('train_dataloader', 'test_dataloader', 'optim_wrapper', 'custom_hooks'):
        assert found[name] == conquer[name]


def test_with_its_own_first_stage_a_config_is_written_again(tmp_path):
    checkpoint = 'work_dirs/relocl_anet_text/epoch_4.pth'
    write(tmp_path, CONFIGS / 'relocl_anet_text.py', SECOND, '--checkpoint', checkpoint)
    assert read(tmp_path).model == Config.fromfile(SECOND).model


@pytest.mark.parametrize(
    ('first', 'second'),
    [('relocl_plus_anet_text', 'conquer_anet_text'), ('relocl_plus_tvr', 'conquer_tvr')],
)
def test_each_stage_reads_what_it_reads_in_its_own_config(tmp_path, first, second):
    write(tmp_path, CONFIGS / f'{first}.py', CONFIGS / f'{second}.py')
    found, first, second = (
        Config.fromfile(path)
        for path in (tmp_path / 'new.py', CONFIGS / f'{first}.py', CONFIGS / f'{second}.py')
    )
    for name in ('val_dataloader', 'val_corpus_dataloader', 'test_corpus_dataloader'):
        dataset = found[name].dataset.to_dict()
        read = dataset.pop('second_stage')
        assert dataset == first[name].dataset.to_dict()
        expected = second[name].dataset.get('second_stage', second[name].dataset).to_dict()
        assert read == {key: x for key, x in expected.items() if key in read}
        assert read != {key: dataset.get(key) for key in read}
    assert found.train_dataloader == second.train_dataloader


def test_scores_weigh_videos_as_in_the_config_of_two_stages(tmp_path):
    (tmp_path / 'first.py').write_text(
        f"_base_ = '{CONFIGS / 'relocl_anet_text.py'}'\nmodel = dict(test_cfg=dict(alpha=5.0))\n"
    )
    write(tmp_path, tmp_path / 'first.py')
    model = read(tmp_path).model
    assert model.test_cfg == Config.fromfile(SECOND).model.test_cfg
    assert 'init_cfg' not in model.first_stage


@pytest.mark.parametrize(
    ('first', 'second', 'message'),
    [
        ('conquer_anet_text', 'relocl_anet_text', 'give them in this order'),
        ('conquer_anet_text', 'conquer_anet_text', 'give them in this order'),
        ('relocl_planted', 'conquer_anet_text', 'val_dataloader.dataset differs from that of'),
        ('nearest_clip_tvr', 'conquer_anet_text', 'val_dataloader.dataset differs from that of'),
    ],
)
def test_configs_that_cannot_be_joined_are_an_error(tmp_path, first, second, message):
    printed = write(tmp_path, CONFIGS / f'{first}.py', CONFIGS / f'{second}.py', status=1)
    assert message in printed
    assert not (tmp_path / 'new.py').exists()
