"""tools/serve.py: the address that it prints, its warning, and what it refuses."""

import re
import socket
import threading

import httpx
import pytest
from fake_inferencer import make_inferencer
from tool_processes import load_tool, run_here

from reloclnet_mm import apis
from reloclnet_mm.errors import InputError
from reloclnet_mm.serving import server


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The name of an index, which the tool finds to be the fake inferencer's."""
    loaded = []

    class Inferencer:
        @staticmethod
        def from_index(folder, model=None, weights=None, device=None):
            loaded.append((folder, model, weights))
            return make_inferencer(tmp_path)

    monkeypatch.setattr(apis, 'MomentInferencer', Inferencer, raising=False)
    Inferencer.loaded = loaded
    return Inferencer


@pytest.fixture
def stopped_at_once(monkeypatch):
    """Servers that answer one request and end."""
    answers = []

    def make(app):
        made = make_server(app)

        def ask(sockets):
            # Of a socket at 0.0.0.0, too, for it is at the loopback address as well.
            port = sockets[0].getsockname()[1]
            asking = threading.Thread(target=request, args=(f'http://127.0.0.1:{port}', made))
            asking.start()
            run(sockets=sockets)
            asking.join()

        run, made.run = made.run, ask
        return made

    def request(address, made):
        for host in ('localhost', 'evil.example'):
            answers.append(httpx.get(f'{address}/api/videos', headers=dict(host=host)).status_code)
        made.should_exit = True

    make_server = server.make_server
    monkeypatch.setattr(server, 'make_server', make)
    return answers


def test_the_printed_address_answers_to_this_computer_only(index, stopped_at_once, tmp_path):
    printed = run_here(tmp_path, 'serve', 'my.index', '--port', 0, '--weights', 'own.pth')
    assert re.search(r'my\.index is served at http://127\.0\.0\.1:[1-9]\d*/ ', printed)
    assert 'warning' not in printed
    assert index.loaded == [('my.index', None, 'own.pth')]
    assert stopped_at_once == [200, 400]


def test_a_host_that_others_reach_is_warned_of(index, stopped_at_once, tmp_path):
    printed = run_here(tmp_path, 'serve', 'my.index', '--port', 0, '--host', '0.0.0.0')
    assert 'warning: --host 0.0.0.0 lets everyone who reaches this computer watch' in printed
    assert stopped_at_once == [200, 200]


def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(index, tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        printed = run_here(tmp_path, 'serve', 'my.index', '--port', port, status=1)
    assert f'error: --host 127.0.0.1 --port {port}: cannot listen there (' in printed
    assert index.loaded == []


@pytest.mark.parametrize('port', ['-1', '65536'])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(SystemExit):
        load_tool('serve').parse_args(['my.index', f'--port={port}'])


def test_a_host_that_is_not_of_this_computer_is_refused():
    with pytest.raises(InputError, match=r'--host 203\.0\.113\.1 --port 0: cannot listen there'):
        server.listen('203.0.113.1', 0)


def test_small_answers_do_not_wait_for_a_confirmation():
    with (
        server.listen('127.0.0.1', 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_an_address_of_version_6_is_in_brackets():
    with server.listen('::1', 0) as listener:
        assert server.is_loopback(listener)
        assert server.address_of(listener) == f'http://[::1]:{listener.getsockname()[1]}/'
