"""The page under load: what is counted, and what a failure is."""

import re
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice

import pytest
from tiny_inferencer import write_talks, write_tiny_model
from tool_processes import load_tool, run_here

from reloclnet_mm.errors import InputError
from reloclnet_mm.profiling.load import put_under_load, serving

STUB = 'import time; print("is served at http://x/", flush=True); time.sleep(60)'
ANSWER = '{"query": "%s", "hits": [1], "seconds": 0.001}'


@contextmanager
def answering(answer):
    """A server whose process runs on, and that answers a query with a status and a text."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self):
            status, text = answer(self.path.removeprefix('/api/search?q='))
            self.send_response(status)
            self.send_header('Content-Length', str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        with serving([sys.executable, '-c', STUB]) as server:
            yield replace(server, address=f'127.0.0.1:{http_server.server_address[1]}')
        http_server.shutdown()


def ask(server, queries, clients=2, seconds=0.5):
    return put_under_load(server, queries, clients=clients, seconds=seconds)


@pytest.mark.slow
def test_a_tiny_index_is_searched_by_several_clients_without_a_failure(tmp_path):
    model = write_tiny_model(tmp_path)
    write_talks(tmp_path / 'talks')
    run_here(tmp_path, 'index', 'talks', '--out', 'my.index', *model)
    printed = run_here(
        tmp_path,
        'analysis_tools/load_test',
        *('my.index', '--clients', 3, '--minutes', 0.03, '--warm-up', 0.5, *model),
    )
    assert re.match(r'3 clients, \d+ s after 0\.5 s of warm-up\n', printed)
    rows = {x[0]: x[1] for x in re.findall(r'^(\S.*?)  +(\S+)$', printed, re.MULTILINE)}
    assert int(rows['requests']) > 10
    assert rows['failed'] == '0'
    assert 0 < float(rows['of that searching, p50, ms']) < float(rows['p50, ms'])
    assert float(rows['p50, ms']) <= float(rows['p90, ms']) <= float(rows['p99, ms'])
    begin, end = (float(rows[f'memory {x}, MB']) for x in ('after the warm-up', 'in the end'))
    assert begin > 50
    assert float(rows['growth, MB']) == pytest.approx(end - begin, abs=0.11)


def test_all_queries_are_asked_in_turn_and_all_answers_counted():
    asked = []
    with answering(lambda query: asked.append(query) or (200, ANSWER % query)) as server:
        report = ask(server, ['a', 'b', 'c'], clients=1)
    assert len(asked) > 3
    assert asked == [*islice(cycle('abc'), len(asked))]
    assert len(report.answers) == len(asked)
    assert report.failures == ()
    assert report.percentile(50, 'searching') == 0.001
    assert report.percentile(0) <= report.percentile(50) <= report.percentile(100)
    assert len(report.memory) == 11


@pytest.mark.parametrize(
    ('answer', 'message'),
    [
        ((500, 'broken'), 'ValueError: status 500, broken'),
        ((200, 'no JSON'), 'JSONDecodeError: '),
        ((200, ANSWER % 'another query'), "ValueError: no moments for 'a'"),
        ((200, (ANSWER % 'a').replace('1', '')), "ValueError: no moments for 'a'"),
    ],
)
def test_what_is_no_answer_is_a_failure(answer, message):
    with answering(lambda _: answer) as server:
        report = ask(server, ['a'])
    assert report.answers == ()
    assert len(report.failures) >= 2
    assert all(x.startswith(message) for x in report.failures)


def test_a_server_that_ends_is_a_failure_and_ends_the_test():
    with answering(lambda query: (200, ANSWER % query)) as server:
        killing = threading.Timer(0.5, server.process.kill)
        killing.start()
        report = ask(server, ['a'], seconds=60)
        killing.join()
    assert report.seconds < 30
    assert report.failures == ('the server ended with status -9',)


def test_a_failed_search_is_told_by_the_exit_status(tmp_path, monkeypatch):
    tool = load_tool('analysis_tools/load_test')
    with answering(lambda query: (503, 'busy')) as server:

        @contextmanager
        def found(command):
            yield server

        monkeypatch.setattr(tool, 'serving', found)
        with pytest.raises(SystemExit) as ended:
            tool.main(['my.index', '--minutes', '0.05', '--warm-up', '0.1'])
    assert re.match(r'error: \d+ searches failed, of the warm-up too:\n', ended.value.code)
    assert ended.value.code.count('status 503, busy') == 5


def test_a_server_that_cannot_begin_is_one_message():
    with (
        pytest.raises(InputError, match='-c: ended with status 3 before it served'),
        serving([sys.executable, '-c', 'raise SystemExit(3)']),
    ):
        pass


@pytest.mark.slow
def test_an_index_that_cannot_be_served_is_one_message(tmp_path):
    printed = run_here(tmp_path, 'analysis_tools/load_test', 'gone.index', status=1)
    assert 'serve.py: ended with status 1 before it served; what it printed above' in printed


def test_queries_come_from_a_file(tmp_path):
    tool = load_tool('analysis_tools/load_test')
    path = tmp_path / 'queries.txt'
    path.write_text('a dog\n\n a cat \n')
    assert tool.read_queries(path) == ['a dog', 'a cat']
    assert len(tool.read_queries(None)) == 240
    path.write_text('\n')
    with pytest.raises(InputError, match='holds no query, expected one a line'):
        tool.read_queries(path)
