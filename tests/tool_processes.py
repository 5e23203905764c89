"""Running the command-line tools as a user does, in processes of their own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def load_tool(name):
    """The module `tools/<name>.py`, to call its functions in this process."""
    path = REPOSITORY / f'tools/{name}.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules.setdefault(spec.name, module)
    spec.loader.exec_module(module)
    return module


def tool_process(folder, tool, *args, packages=()):
    """Start `tools/<tool>.py` in `folder`, a process group of its own.

    What stands in the folders `packages` is imported before what is installed.
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
    )


def run_tool(folder, tool, *args, status=0, packages=()):
    """What `tools/<tool>.py` prints, run in `folder`; it must end with `status`."""
    process = tool_process(folder, tool, *args, packages=packages)
    printed = process.communicate()[0]
    assert process.returncode == status, printed
    return printed
