"""Published weights by name; the download is a copy of a local file."""

import shutil
import sys
import types

import mmengine
import pickle_files
import pytest
import torch
from mmengine.runner import CheckpointLoader

from reloclnet_mm.engine.checkpointing import loading as checkpoint
from reloclnet_mm.errors import InputError

# As mmengine's lists have them.
MMLAB = 'https://download.openmmlab.com'
ADDRESSES = {
    'torchvision://resnet50': 'https://download.pytorch.org/models/resnet50-0676ba61.pth',
    'modelzoo://resnet50': 'https://download.pytorch.org/models/resnet50-0676ba61.pth',
    'open-mmlab://vgg16_caffe': f'{MMLAB}/pretrain/third_party/vgg16_caffe-292e1171.pth',
    'openmmlab://resnet50_caffe': f'{MMLAB}/pretrain/third_party/resnet50_caffe-788b5fa3.pth',
    'mmcls://vgg11': f'{MMLAB}/mmclassification/v0/vgg/'
    'vgg11_batch256_imagenet_20210208-4271cd6c.pth',
}


@pytest.fixture(autouse=True)
def installed(monkeypatch, tmp_path):
    """The loaders, an empty cache, and no more of torchvision than mmengine asks for."""
    checkpoint.install()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path / 'mmengine'))
    models = types.SimpleNamespace(list_models=lambda module: [], get_model_weights=None)
    torchvision = types.ModuleType('torchvision')
    torchvision.__version__, torchvision.models = '0.20.0', models
    monkeypatch.setitem(sys.modules, 'torchvision', torchvision)


@pytest.fixture
def published(tmp_path):
    """The file that is behind every address."""
    return tmp_path / 'published.pth'


@pytest.fixture
def asked(monkeypatch, published):
    """The addresses that were asked for."""
    urls = []

    def download(url, target, progress):
        urls.append(url)
        shutil.copy(published, target)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    return urls


@pytest.mark.parametrize('name', ADDRESSES)
def test_weights_are_read_from_the_address_that_mmengine_lists(name, published, asked):
    torch.save({'backbone.w': torch.ones(2), 'head.w': torch.zeros(2)}, published)
    loaded = CheckpointLoader.load_checkpoint(name, map_location='cpu')
    assert asked == [ADDRESSES[name]]
    if name.startswith('mmcls'):
        assert loaded.keys() == {'state_dict'}
        assert loaded['state_dict'].keys() == {'w'}
        assert loaded['state_dict']['w'].tolist() == [1, 1]
    else:
        assert loaded.keys() == {'backbone.w', 'head.w'}


@pytest.mark.parametrize('name', ADDRESSES)
def test_a_payload_behind_a_name_does_not_run(name, published, asked, tmp_path):
    sentinel = tmp_path / 'sentinel'
    torch.save(pickle_files.Touch(sentinel), published)
    with pytest.raises(InputError, match=r'posix\.system'):
        CheckpointLoader.load_checkpoint(name, map_location='cpu')
    assert asked
    assert not sentinel.exists()


@pytest.mark.parametrize('name', ['torchvision://a', 'openmmlab://a', 'mmcls://a'])
def test_a_name_that_the_list_does_not_have_is_told(name, asked):
    with pytest.raises(InputError, match=rf"{name}: found no address of 'a' in the list of"):
        CheckpointLoader.load_checkpoint(name)
    assert asked == []


def test_a_file_in_a_list_of_the_users_own_is_to_be_given_by_its_path(tmp_path, asked):
    mmengine.mkdir_or_exist(tmp_path / 'mmengine')
    mmengine.dump({'mine': 'mine.pth'}, tmp_path / 'mmengine/open_mmlab.json')
    with pytest.raises(InputError, match=r'download the file and give its path'):
        CheckpointLoader.load_checkpoint('openmmlab://mine')
    assert asked == []


def test_without_torchvision_its_names_say_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    with pytest.raises(InputError, match=r'torchvision://resnet50: .*install torchvision, or'):
        CheckpointLoader.load_checkpoint('torchvision://resnet50')
