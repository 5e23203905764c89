"""Running the command-line tools as a user does, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def tool_process(folder, tool, *args):
    """Start `tools/<tool>.py` in `folder`, a process group of its own."""
    threads = {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / f'tools/{tool}.py'), *map(str, args)],
        cwd=folder,
        env={**os.environ, **threads, 'PYTHONPATH': str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_tool(folder, tool, *args, status=0):
    """What `tools/<tool>.py` prints, run in `folder`; it must end with `status`."""
    process = tool_process(folder, tool, *args)
    printed = process.communicate()[0]
    assert process.returncode == status, printed
    return printed
