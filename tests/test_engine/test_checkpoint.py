import functools
import http.server
import os
import threading

import numpy as np
import pickle_files
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from toy_training import toy_runner

from reloclnet_mm.engine.checkpointing import loading as checkpoint
from reloclnet_mm.errors import InputError


@pytest.fixture(autouse=True)
def installed():
    checkpoint.install()


def saved_and_loaded(tmp_path, content):
    path = tmp_path / 'a.pth'
    torch.save(content, path)
    return checkpoint.load_weights_only(path)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A Runner after four epochs without interruption."""
    checkpoint.install()
    runner = toy_runner(tmp_path_factory.mktemp('whole') / 'run')
    runner.train()
    return runner


def histories(runner):
    """The histories of training, but for the times, by name."""
    logged = runner.message_hub.log_scalars
    return {k: v for k, v in logged.items() if k.startswith('train/') and 'time' not in k}


def test_a_resumed_training_ends_as_the_uninterrupted_one(trained, tmp_path):
    toy_runner(tmp_path / 'run', epochs=2).train()
    resumed = toy_runner(tmp_path / 'run', epochs=4, resume=True)
    resumed.train()

    last, expected = (
        checkpoint.load_weights_only(os.path.join(r.work_dir, 'epoch_4.pth'))
        for r in (resumed, trained)
    )
    assert_same(last['state_dict'], expected['state_dict'])
    assert_same(last['ema_state_dict'], expected['ema_state_dict'])
    assert_same(last['param_schedulers'], expected['param_schedulers'])
    assert_same(last['optimizer'], expected['optimizer'])
    assert histories(resumed).keys() == histories(trained).keys()
    for name, history in histories(trained).items():
        assert type(history) is HistoryBuffer
        assert_same(histories(resumed)[name].data, history.data)


def assert_same(found, expected):
    """Equal containers, types, tensors and arrays."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, (torch.Tensor, np.ndarray)):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    else:
        assert found == expected


def test_the_checkpoint_of_a_runner_is_what_a_full_reading_gives(trained):
    path = os.path.join(trained.work_dir, 'epoch_4.pth')
    full = torch.load(path, weights_only=False)
    ours = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    logged, expected = (c['message_hub'].pop('log_scalars') for c in (ours, full))
    assert_same(ours, full)
    assert list(logged) == list(expected)
    for name, history in logged.items():
        assert_same(history.data, expected[name].data)
        assert history.statistics('mean') == expected[name].mean()


def test_a_loaded_history_goes_on_and_is_saved_again(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 3])
    loaded = saved_and_loaded(tmp_path, history)
    loaded.update(4.0)
    assert saved_and_loaded(tmp_path, loaded).data[0].tolist() == [1.0, 2.0, 4.0]
    assert loaded.max() == 4.0


def test_an_empty_history_is_read(tmp_path):
    assert saved_and_loaded(tmp_path, HistoryBuffer()).data[0].shape == (0,)


@pytest.mark.parametrize(
    'value',
    [
        np.float64(0.25),
        np.float32(-1.5),
        np.int64(-3),
        np.bool_(True),
        np.complex64(1 + 2j),
        np.str_('clip'),
        np.array(['a', 'moment']),
        np.array([]),
        np.array(7, dtype='>i4'),
        np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
    ],
    ids=repr,
)
def test_numpy_values_come_back_as_they_were(value, tmp_path):
    loaded = saved_and_loaded(tmp_path, [value, (value,), {'key': value}])
    for found in (loaded[0], loaded[1][0], loaded[2]['key']):
        assert type(found) is type(value)
        assert found.dtype == value.dtype
        assert np.array_equal(found, value)


def test_a_loaded_array_can_be_written(tmp_path):
    loaded = saved_and_loaded(tmp_path, np.zeros(2))
    loaded[0] = 1
    assert loaded.tolist() == [1, 0]


def test_an_array_kept_twice_stays_one_array(tmp_path):
    array = np.zeros(2)
    loaded = saved_and_loaded(tmp_path, [array, (array,)])
    assert loaded[0] is loaded[1][0]


def test_a_dtype_comes_back(tmp_path):
    assert saved_and_loaded(tmp_path, {'dtype': np.dtype('float32')}) == {'dtype': np.float32}


@pytest.mark.parametrize('module', [b'numpy.core.multiarray', b'numpy._core.multiarray'])
def test_files_of_numpy_1_and_2_are_read(module, tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'scalar': np.float64(2), 'history': HistoryBuffer([1.0], [1])}, path)
    here = np.float64(2).__reduce__()[0].__module__.encode()
    pickle_files.edit_pickle(path, lambda data: data.replace(here, module))
    loaded = checkpoint.load_weights_only(path)
    assert loaded['scalar'] == 2
    assert loaded['history'].mean() == 1


def test_a_list_that_holds_itself_is_read(tmp_path):
    path = tmp_path / 'a.pth'
    pickle_files.write_pickle(path, b'\x80\x02]q\x00h\x00a.')
    loaded = checkpoint.load_weights_only(path)
    assert loaded[0] is loaded


def test_statistics_named_in_a_file_do_not_reach_the_class(tmp_path, monkeypatch):
    monkeypatch.setattr(
        HistoryBuffer, '_statistics_methods', dict(HistoryBuffer._statistics_methods)
    )
    path = tmp_path / 'a.pth'
    torch.save(HistoryBuffer([1.0, 3.0], [1, 1]), path)
    pickle_files.edit_pickle(path, lambda data: data.replace(b'mean', b'evil', 1))

    assert checkpoint.load_weights_only(path).statistics('mean') == 2
    assert 'evil' not in HistoryBuffer._statistics_methods
    torch.load(path, weights_only=False)
    assert 'evil' in HistoryBuffer._statistics_methods


def test_what_the_process_allows_stays_allowed_but_not_in_place_of_ours(tmp_path):
    mine = [HistoryBuffer, (dict, 'my.Settings')]
    before = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals(mine):
        loaded = saved_and_loaded(tmp_path, HistoryBuffer([1.0], [1]))
        assert loaded.mean() == 1
        pickle_files.write_pickle(tmp_path / 'b.pth', b'\x80\x02cmy\nSettings\n)R.')
        assert checkpoint.load_weights_only(tmp_path / 'b.pth') == {}
        assert set(torch.serialization.get_safe_globals()) == {*before, *mine}


def test_a_benign_file_of_the_format_before_torch_1_6_is_read(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'w': torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    assert checkpoint.load_weights_only(path)['w'].tolist() == [1, 1]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r'absent\.pth: there is no such checkpoint file'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'absent.pth'))


@pytest.mark.parametrize('keep', [0, 1, 100, 0.5, 0.99])
@pytest.mark.parametrize('zipped', [True, False])
def test_a_file_that_is_cut_off_is_an_input_error(keep, zipped, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save({'w': torch.ones(1000)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else keep])
    with pytest.raises(InputError, match=r'epoch_1\.pth: it cannot be read as a checkpoint'):
        checkpoint.load_weights_only(path)


def test_something_else_than_a_checkpoint_is_an_input_error(tmp_path):
    path = tmp_path / 'notes.txt'
    path.write_text('hello world\n')
    with pytest.raises(InputError, match=r'notes\.txt: it cannot be read as a checkpoint'):
        checkpoint.load_weights_only(path)


class TestUrl:
    @pytest.fixture
    def url(self, tmp_path, monkeypatch):
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
        (tmp_path / 'served').mkdir()
        handler = functools.partial(QuietHandler, directory=tmp_path / 'served')
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()
        server.server_close()

    def test_a_checkpoint_behind_a_url_is_read(self, url, tmp_path):
        torch.save({'w': torch.ones(2)}, tmp_path / 'served/a.pth')
        loaded = CheckpointLoader.load_checkpoint(f'{url}/a.pth', map_location='cpu')
        assert loaded['w'].tolist() == [1, 1]

    def test_a_payload_behind_a_url_does_not_run(self, url, tmp_path):
        sentinel = tmp_path / 'sentinel'
        torch.save(pickle_files.Touch(sentinel), tmp_path / 'served/a.pth')
        with pytest.raises(InputError, match=r'posix\.system'):
            CheckpointLoader.load_checkpoint(f'{url}/a.pth', map_location='cpu')
        assert not sentinel.exists()

    def test_a_url_without_a_file_is_an_input_error(self, url):
        with pytest.raises(InputError, match='cannot be downloaded'):
            CheckpointLoader.load_checkpoint(f'{url}/absent.pth')


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    'address', ['pavi://a', 's3://a/b.pth', 'cluster:s3://a/b.pth', 'petrel://a/b.pth']
)
def test_stores_that_mmengine_would_unpickle_from_are_refused(address):
    with pytest.raises(InputError, match='download the file and give its path'):
        CheckpointLoader.load_checkpoint(address)


def test_mmengine_has_no_scheme_that_is_left_to_it():
    checkpoint.install()
    loaders = CheckpointLoader._schemes.values()
    assert {loader.__module__ for loader in loaders} == {
        'reloclnet_mm.engine.checkpointing.loading'
    }
