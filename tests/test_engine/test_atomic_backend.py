import os
import stat

import pytest
from mmengine.fileio import get_file_backend, put

from reloclnet_mm.engine.checkpointing.atomic_backend import AtomicLocalBackend


@pytest.fixture
def backend():
    return AtomicLocalBackend()


def interrupt(monkeypatch, function):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, function, stop)


def test_the_backend_is_registered_by_name(tmp_path):
    args = dict(backend='atomic_local')
    assert isinstance(get_file_backend(str(tmp_path), backend_args=args), AtomicLocalBackend)
    put(b'abc', tmp_path / 'a', backend_args=args)
    assert (tmp_path / 'a').read_bytes() == b'abc'


def test_bytes_and_text_are_written_in_new_folders(backend, tmp_path):
    backend.put(b'\x00\xff', tmp_path / 'x/y/a')
    backend.put_text('é\n', tmp_path / 'x/z/b')
    assert (tmp_path / 'x/y/a').read_bytes() == b'\x00\xff'
    assert (tmp_path / 'x/z/b').read_bytes() == 'é\n'.encode()


@pytest.mark.parametrize('moment', ['fsync', 'replace'])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    moment, backend, tmp_path, monkeypatch
):
    backend.put(b'old', tmp_path / 'a')
    interrupt(monkeypatch, moment)
    with pytest.raises(KeyboardInterrupt):
        backend.put(b'new', tmp_path / 'a')
    assert [path.name for path in tmp_path.iterdir()] == ['a']
    assert (tmp_path / 'a').read_bytes() == b'old'


def test_the_data_is_on_the_disk_before_it_takes_the_name(backend, tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda file: calls.append('fsync') or fsync(file))
    monkeypatch.setattr(os, 'replace', lambda *paths: calls.append('replace') or replace(*paths))
    backend.put(b'abc', tmp_path / 'a')
    assert calls == ['fsync', 'replace']


def test_a_file_gets_the_permissions_of_any_new_file(backend, tmp_path):
    (tmp_path / 'plain').touch()
    backend.put(b'abc', tmp_path / 'a')
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_link_keeps_pointing_to_the_file_that_is_replaced(backend, tmp_path):
    backend.put(b'old', tmp_path / 'target')
    (tmp_path / 'link').symlink_to('target')
    backend.put(b'new', tmp_path / 'link')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'target').read_bytes() == b'new'
