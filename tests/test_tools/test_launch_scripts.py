"""dist_*.sh and slurm_*.sh call the launchers as mmaction2's scripts do."""

import os
import subprocess

import pytest
from tool_processes import REPOSITORY

TOOLS = REPOSITORY / 'tools'
# Of the environment of these tests, nothing may reach the scripts.
SETTINGS = (
    *('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'MASTER_PORT', 'PORT', 'PYTHONPATH'),
    *('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK', 'SRUN_ARGS', 'SEEDS', 'THREADS'),
)
RECORDER = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$RECORD.arguments"
echo "$PYTHONPATH" > "$RECORD.path"
echo "$MASTER_PORT" > "$RECORD.port"
exit "${RECORDED_STATUS:-0}"
"""


@pytest.fixture
def call(tmp_path):
    """Run a script with programs on the PATH that only note how they were called."""
    for program in ('python', 'srun'):
        path = tmp_path / 'bin' / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(RECORDER)
        path.chmod(0o755)

    def call(script, *args, status=0, **settings):
        env = {k: v for k, v in os.environ.items() if k not in SETTINGS}
        env |= {'PATH': f'{tmp_path / "bin"}:{env["PATH"]}', 'RECORD': str(tmp_path / 'record')}
        process = subprocess.run(
            [TOOLS / script, *args],
            cwd=tmp_path,
            env={**env, **settings},
            capture_output=True,
            text=True,
        )
        assert process.returncode == status, process.stderr
        return process.stderr

    return call


@pytest.fixture
def recorded(tmp_path):
    """What the program was given: its arguments, or another part of its surroundings."""

    def recorded(part='arguments'):
        lines = (tmp_path / f'record.{part}').read_text().splitlines()
        return lines if part == 'arguments' else lines[0]

    return recorded


def torchrun(gpus, nodes='1', rank='0', address='127.0.0.1', port='29500'):
    return [
        *('-m', 'torch.distributed.run', f'--nnodes={nodes}', f'--node_rank={rank}'),
        *(f'--master_addr={address}', f'--master_port={port}', f'--nproc_per_node={gpus}'),
    ]


def srun(job, gpus='8', per_node='8', cpus='5'):
    return [
        *('-p', 'night', f'--job-name={job}', f'--gres=gpu:{per_node}', f'--ntasks={gpus}'),
        *(f'--ntasks-per-node={per_node}', f'--cpus-per-task={cpus}', '--kill-on-bad-exit=1'),
    ]


def test_dist_train_starts_a_process_for_each_gpu_of_one_machine(call, recorded):
    call('dist_train.sh', 'my config.py', '2', '--amp', '--cfg-options', 'a=[1, 2]')
    tool = [f'{TOOLS}/train.py', 'my config.py', '--amp', '--cfg-options', 'a=[1, 2]']
    assert recorded() == [*torchrun('2'), *tool, '--launcher', 'pytorch']


def test_dist_test_takes_the_checkpoint_before_the_number_of_gpus(call, recorded):
    call('dist_test.sh', 'c.py', 'e.pth', '3', '--dump', 'd.pkl')
    tool = [f'{TOOLS}/test.py', 'c.py', 'e.pth', '--dump', 'd.pkl']
    assert recorded() == [*torchrun('3'), *tool, '--launcher', 'pytorch']


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_several_machines_meet_where_the_environment_says(call, recorded, script):
    where = {'NNODES': '2', 'NODE_RANK': '1', 'MASTER_ADDR': 'first', 'PORT': '1234'}
    call(script, 'c.py', *['e.pth'] * (script == 'dist_test.sh'), '4', **where)
    expected = torchrun('4', nodes='2', rank='1', address='first', port='1234')
    assert recorded()[: len(expected)] == expected


def test_slurm_train_asks_for_eight_gpus_of_one_machine(call, recorded):
    call('slurm_train.sh', 'night', 'first try', 'c.py', '--amp')
    tool = ['python', '-u', f'{TOOLS}/train.py', 'c.py', '--amp', '--launcher', 'slurm']
    assert recorded() == [*srun('first try'), *tool]


def test_slurm_test_asks_for_what_the_environment_says(call, recorded):
    settings = {'GPUS': '16', 'GPUS_PER_NODE': '4', 'CPUS_PER_TASK': '2'}
    settings['SRUN_ARGS'] = '--quotatype=spot --time=60'
    call('slurm_test.sh', 'night', 'j', 'c.py', 'e.pth', **settings)
    tool = ['python', '-u', f'{TOOLS}/test.py', 'c.py', 'e.pth', '--launcher', 'slurm']
    asked = [*srun('j', '16', '4', '2'), '--quotatype=spot', '--time=60']
    assert recorded() == [*asked, *tool]


def test_jobs_of_slurm_meet_at_a_port_of_their_own_or_a_given_one(call, recorded):
    job = ('slurm_train.sh', 'night', 'j', 'c.py')
    ports = set()
    for _ in range(3):
        call(*job)
        ports.add(int(recorded('port')))
    assert len(ports) > 1
    assert all(12000 <= port < 32000 for port in ports)
    call(*job, MASTER_PORT='4321')
    assert recorded('port') == '4321'


@pytest.mark.parametrize(('before', 'after'), [('', ''), ('/other', ':/other')])
def test_a_clone_need_not_be_installed(call, recorded, before, after):
    call('dist_train.sh', 'c.py', '1', PYTHONPATH=before)
    assert recorded('path') == f'{REPOSITORY}{after}'


@pytest.mark.parametrize(
    ('script', 'args', 'names'),
    [
        ('dist_train.sh', ['c.py'], 'CONFIG GPUS'),
        ('dist_test.sh', ['c.py', 'e.pth'], 'CONFIG CHECKPOINT GPUS'),
        ('slurm_train.sh', ['night', 'j'], 'PARTITION JOB_NAME CONFIG'),
        ('slurm_test.sh', ['night', 'j', 'c.py'], 'PARTITION JOB_NAME CONFIG CHECKPOINT'),
    ],
)
def test_a_missing_argument_ends_a_script_with_one_message(call, tmp_path, script, args, names):
    said = call(script, *args, status=1)
    expected = f'expected at least {len(names.split())}; call it as {TOOLS / script} {names}'
    assert said == f'error: {script}: {len(args)} arguments, {expected} [OPTION ...]\n'
    assert not list(tmp_path.glob('record*'))


@pytest.mark.parametrize('script', ['dist_train.sh', 'slurm_train.sh'])
def test_a_failure_of_the_launcher_is_the_scripts(call, script):
    call(script, 'c.py', '1', 'x', status=7, RECORDED_STATUS='7')


def test_the_script_of_the_results_trains_each_seed_and_compares_all_rows(call, tmp_path):
    recorder = RECORDER.replace('> "$RECORD.arguments"', '>> "$RECORD.arguments"')
    (tmp_path / 'bin' / 'python').write_text(recorder)
    call('reproduce_anet_text.sh', 'out')
    lines = (tmp_path / 'record.arguments').read_text().splitlines()
    train, benchmark = (str(TOOLS / name) for name in ('train.py', 'benchmark.py'))
    models = sorted({line for line in lines[: lines.index(benchmark)] if line.endswith('.py')})
    models.remove(train)
    assert lines.count(train) == 3 * len(models)
    rows = lines[lines.index(benchmark) + 1 :]
    names = [row.partition('.py')[0].rpartition('/')[2] for row in rows[:-2]]
    assert {model.rpartition('/')[2].removesuffix('.py') for model in models} < set(names)
    assert all((REPOSITORY / 'configs' / f'{name}.py').is_file() for name in names)
    assert rows[-2:] == ['--out', 'out/report']


def test_the_script_of_efficiency_trains_one_second_stage_for_all_first_ones(call, tmp_path):
    recorder = RECORDER.replace('> "$RECORD.arguments"', '>> "$RECORD.arguments"')
    (tmp_path / 'bin' / 'python').write_text(recorder)
    firsts = dict(First='a/first.py', Other='other.py')
    for run in ('first', 'other', 'second_over_first', 'second_over_other'):
        folder = tmp_path / 'out' / run / 'seed_7'
        folder.mkdir(parents=True)
        (folder / f'best_{run}.pth').touch()
    (tmp_path / 'out/second_over_other/seed_7/best_second_over_other.pth').unlink()
    named = [f'{name}={path}' for name, path in firsts.items()]
    call('reproduce_efficiency.sh', 'out', 'second.py', *named, SEEDS='7')
    lines = (tmp_path / 'record.arguments').read_text().splitlines()
    train, lists, join, benchmark, plot = (
        str(TOOLS / f'{name}.py')
        for name in (
            *('train', 'first_stage_lists', 'model_converters/join_stages', 'benchmark'),
            'analysis_tools/plot_efficiency',
        )
    )
    assert (lines.count(train), lines.count(lists), lines.count(join)) == (3, 1, 1)
    at = lines.index(lists)
    assert lines[at + 1 : at + 3] == ['a/first.py', 'out/first/seed_7/best_first.pth']
    at = lines.index(join)
    assert lines[at + 1 : at + 4] == [
        'out/other/seed_7/best_other.pth',
        'out/second_over_first/seed_7/best_second_over_first.pth',
        'out/second_over_other/seed_7/best_joined.pth',
    ]
    rows = lines[lines.index(benchmark) + 1 : lines.index(plot)]
    second = 'out/second_over_first.py:out/second_over_first/seed_*/best_*.pth'
    assert rows[:7] == [
        'First=a/first.py:out/first/seed_*/best_*.pth',
        *(
            f'First + CONQUER, top {n}={second} --cfg-options model.num_videos={n}'
            for n in (1, 5, 10, 20, 50, 100)
        ),
    ]
    assert rows[7] == 'Other=other.py:out/other/seed_*/best_*.pth'
    assert rows[14:] == ['--threads', '1', '--out', 'out/efficiency']
