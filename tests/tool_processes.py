"""Running the command-line tools, in processes of their own or in this one."""

import importlib.util
import io
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from unittest import mock

REPOSITORY = Path(__file__).parents[1]


@contextmanager
def full_disk(size):
    """No file that this process writes may grow over so many bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def load_tool(name):
    """The module `tools/<name>.py`, to call its functions in this process."""
    path = REPOSITORY / f'tools/{name}.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules.setdefault(spec.name, module)
    spec.loader.exec_module(module)
    return module


def run_here(folder, tool, *args, status=0):
    """What `tools/<tool>.py` prints, run in `folder` and in this process, which spares seconds."""
    main, before, printed = load_tool(tool).main, os.getcwd(), io.StringIO()
    os.chdir(folder)
    try:
        with redirect_stdout(printed), redirect_stderr(printed), mock.patch.dict(os.environ):
            try:
                main([*map(str, args)])
                ended = 0
            except SystemExit as end:
                ended = end.code if isinstance(end.code, int) else 1
                print(end.code)
    finally:
        os.chdir(before)
    assert ended == status, printed.getvalue()
    return printed.getvalue()


def tool_process(folder, tool, *args, packages=()):
    """Start `tools/<tool>.py` in `folder`, a process group of its own.

    Modules in the folders `packages` are imported before installed ones.
    """
    threads = {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    path = os.pathsep.join(map(str, [*packages, REPOSITORY]))
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / f'tools/{tool}.py'), *map(str, args)],
        cwd=folder,
        env={**os.environ, **threads, 'PYTHONPATH': path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell ignores Ctrl-C in what it runs in the background, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def run_tool(folder, tool, *args, status=0, packages=()):
    """What `tools/<tool>.py` prints, run in `folder`; it must end with `status`."""
    process = tool_process(folder, tool, *args, packages=packages)
    printed = process.communicate()[0]
    assert process.returncode == status, printed
    return printed
