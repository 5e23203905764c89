"""Indexes in shards on a head and three nodes of Ray, each a process of its own."""

import json
import random
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from fastapi.testclient import TestClient
from tiny_inferencer import tiny_config, tiny_inferencer
from tool_processes import run_here

pytest.importorskip('ray', reason='the extra "cluster" is not installed')

from ray_clusters import NODE, kill, ray_cluster, wait_until, workers_named

from reloclnet_mm.cluster import building
from reloclnet_mm.cluster.cluster_inferencer import ClusterInferencer
from reloclnet_mm.cluster.folder import ClusterFolder
from reloclnet_mm.cluster.jobs import ModelSource
from reloclnet_mm.cluster.ray_jobs import run_on_ray
from reloclnet_mm.cluster.ray_session import Resources
from reloclnet_mm.errors import UnavailableError
from reloclnet_mm.indexing.store import VideoIndex, read_records
from reloclnet_mm.serving import server
from reloclnet_mm.serving.app import create_app

WORDS = (
    'the a man dog woman cat climbs runs paints jumps throws washes wall home fence red ball car'
)
QUERIES = ['a man climbs the wall', 'the dog runs home', 'red fence', 'a woman washes the car']
NODES, SHARDS = 3, 4


def write_videos(folder, count, first=0):
    """Subtitles of unlike sentences, so that no two windows score the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        draw = random.Random(number)
        cues = [
            f'{i + 1}\n00:00:{4 * i:02},000 --> 00:00:{4 * i + 4:02},000\n'
            + ' '.join(draw.sample(WORDS.split(), 6))
            for i in range(draw.randint(3, 12))
        ]
        (folder / f'talk_{number:02}.srt').write_text('\n\n'.join(cues) + '\n')
    return folder


@pytest.fixture(scope='module')
def nodes():
    with ray_cluster(NODES) as cluster:
        yield cluster


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with a tiny model, videos, and an index of all of them in one folder."""
    folder = tmp_path_factory.mktemp('place')
    inferencer = tiny_inferencer(folder)
    tiny_config(folder).dump(folder / 'tiny.py')
    inferencer.add(write_videos(folder / 'talks', 12))
    inferencer.save(folder / 'one.index')
    return folder


@pytest.fixture(scope='module')
def source(place):
    return ModelSource.of(place / 'tiny.py', place / 'weights.safetensors', 'cpu')


@pytest.fixture(scope='module')
def one(place):
    """The index in one folder."""
    inferencer = tiny_inferencer(place)
    inferencer.use(VideoIndex.load(place / 'one.index'))
    return inferencer


def on_ray(jobs, advance):
    return run_on_ray(jobs, advance, Resources(0.5))


def made_here(place, name, source, num_shards):
    """An index in shards of the videos, made by this process."""
    cluster = building.begin(place / name, source, num_shards, default=1)
    report = building.add(cluster, [place / 'talks'], source, building.run_here)
    assert len(report.added) == 12
    return cluster


def opened(folder, source, **settings):
    settings = dict(timeout=30.0, num_cpus=0.1) | settings
    return ClusterInferencer(folder, source.model, source.weights, 'cpu', **settings)


@pytest.fixture(scope='module')
def many(nodes, place, source):
    """An index of four shards, each held by a process on the nodes."""
    inferencer = opened(made_here(place, 'many.index', source, SHARDS).folder, source)
    yield inferencer
    inferencer.close()


def assert_same(found, expected):
    """The same moments, with the same scores but for rounding."""
    assert [(x.video, x.start, x.end, x.text) for x in found] == [
        (x.video, x.start, x.end, x.text) for x in expected
    ]
    for x, y in zip(found, expected, strict=True):
        assert x.score == pytest.approx(y.score, abs=1e-6)
        assert x.stream_scores == pytest.approx(y.stream_scores, abs=1e-6)
    assert found.null_rate == expected.null_rate


def test_lists_are_those_of_one_index(many, one):
    assert [x.name for x in many.videos] == [x.name for x in one.videos]
    for found, expected in zip(many(QUERIES, 10), one(QUERIES, 10), strict=True):
        assert len(found) == 10
        assert_same(found, expected)
        assert found.notes() == expected.notes()


def test_lists_of_some_videos_are_those_of_one_index(many, one):
    names = [x.name for x in one.videos][1:8:2]
    found, expected = many(QUERIES[0], 10, videos=names), one(QUERIES[0], 10, videos=names)
    assert {x.video for x in found} <= {*names}
    assert_same(found, expected)
    assert found.null_rate is None


def test_the_timeline_and_what_is_said_are_those_of_one_index(many, one):
    for name in [x.name for x in one.videos][:4]:
        assert many.sentences(name) == one.sentences(name)
        found, expected = (x.timeline(QUERIES[0], name, 10.0) for x in (many, one))
        assert (found.start, found.clip_seconds) == (expected.start, expected.clip_seconds)
        assert found.begins == pytest.approx(expected.begins, abs=1e-6)
        assert found.ends == pytest.approx(expected.ends, abs=1e-6)


def test_a_process_that_is_killed_is_missed_in_the_answer_and_then_whole_again(nodes, many, one):
    client = TestClient(create_app(many, allowed_hosts=['testserver']))
    kill(workers_named(nodes, 'ShardReplica')[0])
    begin = time.monotonic()
    found = many(QUERIES[0], 10)
    assert time.monotonic() - begin < many.timeout + 1
    (missing,) = found.missing
    name, count = re.fullmatch(r'(shard-\d{4}), (3 of 12 videos), does not .*', missing).groups()
    assert found.null_rate is None
    assert found
    lost = {x.name for x in read_records(many.folder / 'shards' / name)}
    assert not lost & {x.video for x in found}
    notes = client.get('/api/search', params=dict(q=QUERIES[0])).json()['notes']
    assert notes[0].startswith(f'Not everything was searched: {name}, {count}, ')
    wait_until(lambda: not many(QUERIES[0], 10).missing)
    assert_same(many(QUERIES[0], 10), one(QUERIES[0], 10))


def test_a_node_that_is_added_takes_its_share_and_lists_stay(nodes, many, one):
    wait_until(lambda: not many(QUERIES[0]).missing)
    assert sorted(many.nodes().values()) == [1, 1, 2]
    added = nodes.add_node(wait=False, **NODE)
    nodes.wait_for_nodes(timeout=180)
    try:
        wait_until(lambda: many.rebalance() == 1)
        assert [*many.nodes().values()] == [1, 1, 1, 1]
        assert many.nodes()[added.node_id] == 1
        assert_same(many(QUERIES[1], 10), one(QUERIES[1], 10))
        assert many.rebalance() == 0
    finally:
        nodes.remove_node(added)
    # What was on it is started elsewhere.
    wait_until(lambda: not many(QUERIES[1]).missing)
    assert_same(many(QUERIES[1], 10), one(QUERIES[1], 10))


@pytest.fixture(scope='module')
def pair(nodes, place, source):
    """An index of two shards."""
    return made_here(place, 'pair.index', source, 2)


def test_another_process_answers_for_one_that_was_killed(nodes, pair, source, one):
    before = {*workers_named(nodes, 'ShardReplica')}
    inferencer = opened(pair.folder, source, replicas=2, timeout=60.0)
    try:
        new = {*workers_named(nodes, 'ShardReplica')} - before
        assert len(new) == 4
        kill(min(new))
        for _ in range(4):
            found = inferencer(QUERIES[0], 10)
            assert found.missing == ()
            assert_same(found, one(QUERIES[0], 10))
    finally:
        inferencer.close()


def test_a_damaged_shard_is_named_and_the_others_answer(pair, source, tmp_path):
    shutil.copytree(pair.folder, tmp_path / 'damaged')
    shard = tmp_path / 'damaged/shards/shard-0001'
    (rows,) = shard.glob('segments/*/rows-*.safetensors')
    rows.write_bytes(rows.read_bytes()[:100])
    inferencer = opened(tmp_path / 'damaged', source)
    try:
        found = inferencer(QUERIES[0], 10)
        (missing,) = found.missing
        assert missing.startswith('shard-0001, 6 of 12 videos, does not answer (')
        assert str(rows) in missing
        there = {x.name for x in read_records(tmp_path / 'damaged/shards/shard-0000')}
        assert {x.video for x in found} <= there
        assert len(inferencer.videos) == 12
        lost = next(x.name for x in inferencer.videos if x.name not in there)
        with pytest.raises(UnavailableError, match='shard-0001 is not open'):
            inferencer.timeline(QUERIES[0], lost, 0.0)
        with pytest.raises(UnavailableError, match='no shard can be searched'):
            inferencer(QUERIES[0], videos=[lost])
    finally:
        inferencer.close()


def test_a_process_that_is_killed_while_it_indexes_loses_nothing(nodes, place, source):
    videos = write_videos(place / 'more', 40, first=100)
    whole = building.begin(place / 'whole.index', source, 1, default=1)
    building.add(whole, [videos], source, building.run_here)
    broken = building.begin(place / 'broken.index', source, 1, default=1)
    shard = broken.path_of('shard-0000')
    with ThreadPoolExecutor(1) as thread:
        adding = thread.submit(building.add, broken, [videos], source, on_ray, save_every=0.0)
        wait_until(lambda: len(read_records(shard)) >= 2)
        (worker,) = workers_named(nodes, 'index_shard')
        kill(worker)
        assert len(read_records(shard)) < 40
        report = adding.result(timeout=300)
    assert len(report.added) == 40
    assert report.unchanged == []
    found, expected = VideoIndex.load(shard), VideoIndex.load(whole.path_of('shard-0000'))
    assert [*found.videos] == [*expected.videos]
    assert found.null_scores == pytest.approx(expected.null_scores, abs=1e-6)
    corpora = found.corpus(), expected.corpus()
    assert corpora[0].video_ids.tolist() == corpora[1].video_ids.tolist()
    for use, streams in corpora[1].rows.items():
        for name, rows in streams.items():
            torch.testing.assert_close(corpora[0].rows[use][name], rows)
    assert ClusterFolder.load(broken.folder).planned == ()


def test_the_tools_work_on_an_index_in_shards(nodes, place, one, monkeypatch):
    made_by = '--model', 'tiny.py', '--weights', 'weights.safetensors', '--device', 'cpu'
    ray = '--ray', 'auto'
    videos = write_videos(place / 'tools', 4)

    def index(*args, status=0):
        return run_here(place, 'index', *args, '--out', 'tool.index', *made_by, status=status)

    cpus = '--cpus-per-shard', '0.5'
    printed = index('tools', *ray, '--shards', '2', *cpus)
    assert '4 added, 0 updated, 0 unchanged, 0 failed' in printed
    assert '4 of 4 videos' in printed
    assert 'tool.index: 4 videos, ' in printed
    write_videos(videos, 1, first=4)
    assert '1 added, 0 updated, 4 unchanged, 0 failed' in index('tools', *ray, *cpus)
    shutil.copy(videos / 'talk_03.srt', videos / 'talk_02.srt')
    assert '0 added, 1 updated, 4 unchanged, 0 failed' in index('--update')
    assert 'tool.index: 4 videos, ' in index('--remove', 'talk_04')
    assert 'say --ray ADDRESS to add videos' in index('tools', status=1)
    names = ['talk_00', 'talk_01', 'talk_03']
    printed = run_here(
        *(place, 'search', 'tool.index', QUERIES[0], '--json', *made_by, *ray),
        *('--videos', *names),
    )
    (answer,) = json.loads(printed[printed.index('[\n') :])
    expected = one(QUERIES[0], 5, videos=names)
    assert [(x['video'], x['start']) for x in answer['hits']] == [
        (x.video, x.start) for x in expected
    ]
    assert answer['missing'] == []
    ends_at_once = SimpleNamespace(run=lambda sockets: None)
    monkeypatch.setattr(server, 'make_server', lambda app: ends_at_once)
    printed = run_here(place, 'serve', 'tool.index', '--port', 0, *made_by, *ray)
    assert 'tool.index is served at http://127.0.0.1:' in printed


@pytest.mark.parametrize(
    ('tool', 'args', 'message'),
    [
        ('search', ('pair.index', 'a dog'), 'is an index in shards, expected one in a single'),
        ('search', ('one.index', 'a dog', '--ray', 'auto'), 'holds no cluster.json, expected an'),
        ('serve', ('pair.index', '--port', '0'), 'say --ray ADDRESS to work on it'),
        ('index', ('talks', '--out', 'one.index', '--ray', 'auto'), 'an index in a single folder'),
        ('index', ('--update', '--out', 'new.index', '--ray', 'auto'), 'give videos to make one'),
        ('index', ('talks', '--out', 'pair.index', '--ray', 'auto', '--shards', '1'), 'at least 2'),
    ],
)
def test_an_index_of_the_other_kind_is_one_message(nodes, pair, place, tool, args, message):
    made_by = '--model', 'tiny.py', '--weights', 'weights.safetensors'
    printed = run_here(place, tool, *args, *made_by, status=1)
    assert message in printed
    assert 'Traceback' not in printed
