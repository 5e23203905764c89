import contextlib
import importlib.util
import sys
import types
from pathlib import Path

import pickle_files
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from reloclnet_mm.engine.checkpointing import loading as checkpoint
from reloclnet_mm.errors import InputError

TOOL = Path(__file__).parents[2] / 'tools/model_converters/official_to_mm.py'
LIVE = sorted(pickle_files.live_pickles(Path('x')))
INERT = sorted(pickle_files.inert_pickles())
FILES = {
    'write_legacy': 'posix.system',
    'write_legacy_header': 'posix.system',
    'write_legacy_keys': 'posix.system',
    'write_bare_pickle': 'cannot be read',
    'write_array': 'cannot be read',
    'write_tar': 'tar format',
    'write_nested_zip': 'cannot be read',
    'write_torchscript': 'carries code',
}


def read_by_mmengine(path):
    checkpoint.install()
    CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def read_by_converter(path):
    spec = importlib.util.spec_from_file_location('official_to_mm', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.convert(str(path))


@pytest.fixture(params=[read_by_mmengine, read_by_converter])
def read(request):
    return request.param


@pytest.fixture
def sentinel(tmp_path):
    return tmp_path / 'sentinel'


@pytest.fixture
def full_reading(monkeypatch):
    """What payloads need or spoil when they are let run: easydict, HistoryBuffer's table."""
    table = dict(HistoryBuffer._statistics_methods)
    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', table)
    module = types.ModuleType('easydict')
    module.EasyDict = type('EasyDict', (dict,), {'__module__': 'easydict'})
    monkeypatch.setitem(sys.modules, 'easydict', module)


def assert_refused(read, path, sentinel, finding=''):
    allowed = set(torch.serialization.get_safe_globals())
    statistics = dict(HistoryBuffer._statistics_methods)
    with pytest.raises(InputError, match=path.name) as caught:
        read(path)
    assert finding in str(caught.value)
    assert not sentinel.exists()
    assert 'weights_only' not in str(caught.value)
    assert set(torch.serialization.get_safe_globals()) == allowed
    assert HistoryBuffer._statistics_methods == statistics


@pytest.mark.usefixtures('full_reading')
@pytest.mark.parametrize('kind', LIVE)
def test_the_payload_runs_where_the_file_is_read_in_full(kind, tmp_path, sentinel):
    path = tmp_path / 'model.ckpt'
    pickle_files.write_pickle(path, pickle_files.live_pickles(sentinel)[kind])
    # What the payload returned need not fit where the file puts it.
    with contextlib.suppress(TypeError, AttributeError):
        torch.load(path, weights_only=False)
    assert sentinel.exists()


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('write', ['write_legacy', 'write_legacy_header', 'write_legacy_keys'])
def test_the_payload_runs_where_a_legacy_file_is_read_in_full(write, tmp_path, sentinel):
    path = tmp_path / 'model.ckpt'
    getattr(pickle_files, write)(path, sentinel)
    # What the payload returned is not what torch expects there.
    with contextlib.suppress(TypeError, AttributeError):
        torch.load(path, weights_only=False)
    assert sentinel.exists()


@pytest.mark.parametrize('kind', LIVE)
def test_a_payload_is_refused_and_does_not_run(kind, read, tmp_path, sentinel):
    path = tmp_path / 'model.ckpt'
    pickle_files.write_pickle(path, pickle_files.live_pickles(sentinel)[kind])
    assert_refused(read, path, sentinel)


@pytest.mark.parametrize('kind', INERT)
def test_what_is_not_plain_data_is_refused(kind, read, tmp_path, sentinel):
    path = tmp_path / 'model.ckpt'
    content, finding = pickle_files.inert_pickles()[kind]
    pickle_files.write_pickle(path, content)
    assert_refused(read, path, sentinel, finding)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('write', FILES)
def test_a_payload_in_another_file_format_is_refused(write, read, tmp_path, sentinel):
    path = tmp_path / 'model.ckpt'
    getattr(pickle_files, write)(path, sentinel)
    assert_refused(read, path, sentinel, FILES[write])


def test_the_message_names_the_file_and_the_global_that_was_asked_for(tmp_path, sentinel):
    path = tmp_path / 'model.ckpt'
    pickle_files.write_pickle(path, pickle_files.in_dict(pickle_files.touch(sentinel)))
    with pytest.raises(InputError) as caught:
        checkpoint.load_weights_only(path)
    assert str(caught.value).startswith(f'{path}: refused: it asks for `posix.system`')


def test_deep_nesting_is_refused(tmp_path):
    path = tmp_path / 'model.ckpt'
    pickle_files.write_pickle(path, b'\x80\x02' + b']' * 100_000 + b'a' * 99_999 + b'.')
    with pytest.raises(InputError, match='RecursionError'):
        checkpoint.load_weights_only(path)


def test_tuples_shared_over_and_over_are_read_in_linear_time(tmp_path):
    path = tmp_path / 'model.ckpt'
    doubled = b''.join(b'q' + bytes([i]) + b'h' + bytes([i]) + b'\x86' for i in range(100))
    pickle_files.write_pickle(path, b'\x80\x02)' + doubled + b'.')
    assert len(checkpoint.load_weights_only(path)) == 2


def test_a_config_that_resuming_would_run_is_left_out(tmp_path, sentinel):
    path = tmp_path / 'epoch_1.pth'
    code = f'import pathlib\npathlib.Path({str(sentinel)!r}).touch()'
    torch.save({'meta': {'config': code, 'epoch': 1}, 'state_dict': {}}, path)
    checkpoint.install()
    loaded = CheckpointLoader.load_checkpoint(str(path))
    assert loaded['meta'] == {'epoch': 1}
