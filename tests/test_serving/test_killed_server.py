"""kill -9 of the page's server."""

import hashlib
import json
import os
import re
import signal
import threading
import urllib.request
from http.client import HTTPException

import pytest
from tiny_inferencer import write_talks, write_tiny_model
from tool_processes import run_here, tool_process

from reloclnet_mm.structures import EncodedCorpus


def answer_of(address):
    with urllib.request.urlopen(f'{address}api/search?q=a%20dog%20runs', timeout=60) as response:
        found = json.load(response)
    del found['seconds']
    return found


def serve(folder, *options):
    """Start the server, and return its process and its address."""
    process = tool_process(folder, 'serve', 'my.index', '--port', 0, *options)
    printed = ''
    for line in process.stdout:
        printed += line
        if found := re.search(r'is served at (\S+)', line):
            return process, found[1]
    raise AssertionError(printed)


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def checksums(folder):
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.mark.slow
def test_an_index_is_whole_after_its_server_was_killed_while_it_answered(tmp_path):
    model = write_tiny_model(tmp_path)
    write_talks(tmp_path / 'talks')
    run_here(tmp_path, 'index', 'talks', '--out', 'my.index', *model)
    before = checksums(tmp_path / 'my.index')

    process, address = serve(tmp_path, *model, '--requests-per-minute', 10**6)
    first, cut = answer_of(address), threading.Event()

    def ask_until_killed():
        try:
            while True:
                answer_of(address)
        except (OSError, ValueError, HTTPException):
            cut.set()

    asking = [threading.Thread(target=ask_until_killed) for _ in range(2)]
    for thread in asking:
        thread.start()
    kill(process)
    for thread in asking:
        thread.join(60)
    assert cut.is_set()

    assert checksums(tmp_path / 'my.index') == before
    for segment in (tmp_path / 'my.index/segments').iterdir():
        assert len(EncodedCorpus.load(segment, verify=True)) == 5
    process, address = serve(tmp_path, *model)
    assert answer_of(address) == first
    kill(process)
