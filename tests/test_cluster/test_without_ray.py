"""What is said where Ray is not installed."""

import subprocess
import sys

import pytest
from tool_processes import REPOSITORY

WITHOUT_RAY = """
import runpy, sys
sys.modules['ray'] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ('tool', 'args'),
    [('search', ('my.index', 'a dog')), ('serve', ('my.index',)), ('index', ('.', '--out', 'x'))],
)
def test_the_tools_say_what_to_install(tmp_path, tool, args):
    command = [REPOSITORY / f'tools/{tool}.py', *args, '--ray', 'auto']
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT_RAY, *map(str, command)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert 'pip install "reloclnet_mm[cluster]"' in done.stderr
    assert 'Traceback' not in done.stderr
