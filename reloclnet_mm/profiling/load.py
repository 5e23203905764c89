"""The page under load: searches of several clients at once, and the memory of the server."""

import http.client
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import numpy as np

from reloclnet_mm.errors import InputError
from reloclnet_mm.profiling.harness import memory_mb

_SEARCH_TIMEOUT, _STOP_TIMEOUT = 60.0, 10.0
# How long a client waits after a failure: a server that is gone refuses thousands a second.
_PAUSE = 0.5
# How often the memory is read while the clients ask.
_MEMORY_SAMPLES = 10


@dataclass(frozen=True)
class Server:
    """A running server of the page.

    Attributes:
        process: Its process.
        address: Host and port.
    """

    process: subprocess.Popen
    address: str

    def memory_mb(self) -> float:
        """Return the memory that its process holds in RAM, in megabytes; NaN: not known."""
        return memory_mb('VmRSS', self.process.pid)


class Answer(NamedTuple):
    """A search that was answered.

    Attributes:
        seconds: From the request to the last byte of the answer.
        searching: The part of it that the server searched, without waiting for its turn.
    """

    seconds: float
    searching: float


@dataclass(frozen=True)
class LoadReport:
    """What became of the searches.

    Attributes:
        seconds: How long the clients asked.
        answers: The searches that were answered.
        failures: Reasons of those that were not.
        memory: Memory of the server in megabytes at equal distances of time, NaN where unknown.
    """

    seconds: float
    answers: tuple[Answer, ...]
    failures: tuple[str, ...]
    memory: tuple[float, ...]

    def percentile(self, percent: float, part: str = 'seconds') -> float:
        """Return the seconds that so many percent of the answers take at most.

        Args:
            percent: 0 to 100.
            part: Attribute of :class:`Answer`.
        """
        values = [getattr(answer, part) for answer in self.answers]
        return float(np.percentile(values, percent)) if values else float('nan')


@contextmanager
def serving(command: Sequence[str]) -> Iterator[Server]:
    """Start ``tools/serve.py`` and stop it in the end.

    Args:
        command: The program and its arguments.

    Raises:
        InputError: The program ended without serving.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield Server(process, _address_printed(process))
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def put_under_load(
    server: Server, queries: Sequence[str], *, clients: int, seconds: float
) -> LoadReport:
    """Let clients search, each as soon as its last search is answered.

    Args:
        server: The server.
        queries: Sentences, which are asked in turn.
        clients: How many search at once.
        seconds: How long; less where the server ends before.
    """
    stop = threading.Event()
    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        running = [
            pool.submit(_ask, server.address, _from(queries, number / clients), stop)
            for number in range(clients)
        ]
        try:
            memory = _watch_memory(server, seconds)
        finally:
            stop.set()
    answers, failures = zip(*(client.result() for client in running), strict=True)
    ended = server.process.poll()
    reasons = [] if ended is None else [f'the server ended with status {ended}']
    return LoadReport(
        seconds=time.perf_counter() - begin,
        answers=tuple(x for part in answers for x in part),
        failures=(*reasons, *(x for part in failures for x in part)),
        memory=tuple(memory),
    )


def _address_printed(process: subprocess.Popen) -> str:
    for line in process.stdout:
        if found := re.search(r'is served at (http://\S+)', line):
            return urlsplit(found[1]).netloc
    raise InputError(
        f'{process.args[1]}: ended with status {process.wait()} before it served; what it printed '
        'above says why'
    )


def _watch_memory(server: Server, seconds: float) -> list[float]:
    memory = [server.memory_mb()]
    for _ in range(_MEMORY_SAMPLES):
        try:
            server.process.wait(seconds / _MEMORY_SAMPLES)
            break
        except subprocess.TimeoutExpired:
            memory.append(server.memory_mb())
    return memory


def _from(queries: Sequence[str], share: float) -> Iterator[str]:
    """Yield the queries in turn without end, beginning after a share of them."""
    return islice(cycle(queries), int(share * len(queries)), None)


def _ask(
    address: str, queries: Iterator[str], stop: threading.Event
) -> tuple[list[Answer], list[str]]:
    """Search on one connection until told to stop."""
    answers: list[Answer] = []
    failures: list[str] = []
    connection = http.client.HTTPConnection(address, timeout=_SEARCH_TIMEOUT)
    try:
        while not stop.is_set():
            try:
                answers.append(_search(connection, next(queries)))
            except (OSError, http.client.HTTPException, ValueError) as error:
                failures.append(f'{type(error).__name__}: {error}')
                connection.close()
                stop.wait(_PAUSE)
    finally:
        connection.close()
    return answers, failures


def _search(connection: http.client.HTTPConnection, query: str) -> Answer:
    begin = time.perf_counter()
    connection.request('GET', f'/api/search?q={quote(query)}')
    response = connection.getresponse()
    content = response.read()
    seconds = time.perf_counter() - begin
    if response.status != http.HTTPStatus.OK:
        raise ValueError(f'status {response.status}, {content[:200].decode(errors="replace")}')
    found = json.loads(content)
    if found.get('query') != query or not found.get('hits'):
        raise ValueError(f'no moments for {query!r}')
    return Answer(seconds, found['seconds'])
