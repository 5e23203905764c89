"""Indexes in shards on a head and three nodes of Ray, each a process of its own."""

import random

import pytest
from tiny_inferencer import tiny_config, tiny_inferencer

pytest.importorskip('ray', reason='the extra "cluster" is not installed')

from ray_clusters import ray_cluster

from reloclnet_mm.cluster import building
from reloclnet_mm.cluster.cluster_inferencer import ClusterInferencer
from reloclnet_mm.cluster.jobs import ModelSource
from reloclnet_mm.cluster.ray_jobs import run_on_ray
from reloclnet_mm.cluster.ray_session import Resources
from reloclnet_mm.indexing.store import VideoIndex

WORDS = (
    'the a man dog woman cat climbs runs paints jumps throws washes wall home fence red ball car'
)
QUERIES = ['a man climbs the wall', 'the dog runs home', 'red fence', 'a woman washes the car']
SHARDS = 3


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
    with ray_cluster(SHARDS) as cluster:
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
    return run_on_ray(jobs, advance, Resources(1.0))


@pytest.fixture(scope='module')
def built(nodes, place, source):
    """An index in shards of the same videos, built by tasks on the nodes."""
    cluster = building.begin(place / 'many.index', source, SHARDS)
    report = building.add(cluster, [place / 'talks'], source, on_ray)
    assert len(report.added) == 12
    assert not report.failed
    return place / 'many.index'


def opened(folder, source, **settings):
    settings = dict(timeout=5.0, num_cpus=0.1) | settings
    return ClusterInferencer(folder, source.model, source.weights, 'cpu', **settings)


@pytest.fixture(scope='module')
def many(built, source):
    inferencer = opened(built, source)
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
