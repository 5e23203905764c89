"""Which shard has which video, without Ray."""

from dataclasses import replace

import pytest

from reloclnet_mm.cluster.folder import ClusterFolder, Planned
from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.records import Origin, VideoRecord

ORIGIN = Origin('model', 'weights', {}, 8, 4)


@pytest.fixture
def cluster(tmp_path):
    return ClusterFolder.create(tmp_path / 'my.index', ORIGIN, 3)


def files(folder, *names):
    """Files that are there, each found in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return [(folder / name, folder) for name in names]


def records_of(cluster, planned):
    """What the shards hold when all that was planned has been added."""
    found = {shard: [] for shard in cluster.shards}
    for x in planned:
        found[x.shard].append(VideoRecord(x.name, x.path, 1.0, False, 1, (), 0, (0.0,)))
    return found


def test_what_is_written_is_what_is_read(cluster):
    assert ClusterFolder.load(cluster.folder) == cluster
    assert cluster.shards == ('shard-0000', 'shard-0001', 'shard-0002')
    assert cluster.records() == {shard: [] for shard in cluster.shards}
    planned = (Planned('/a.mp4', 'a', 'shard-0001'),)
    replace(cluster, planned=planned).save()
    assert ClusterFolder.load(cluster.folder).planned == planned


def test_new_files_go_to_the_smallest_shards_and_all_others_stay(cluster, tmp_path):
    first = files(tmp_path, *(f'{i}.mp4' for i in range(7)))
    shares, planned, failed = cluster.assign(first, records_of(cluster, []))
    assert sorted(map(len, shares.values())) == [2, 2, 3]
    assert not failed
    # Two videos are removed from a shard, and three files are new.
    records = records_of(cluster, planned)
    (emptied,) = [x for x in cluster.shards if len(records[x]) == 3]
    removed = {x.path for x in records[emptied][:3]}
    records[emptied] = []
    kept = [x for x in first if str(x[0]) not in removed]
    again, new, _ = cluster.assign([*files(tmp_path, 'x.mp4', 'y.mp4'), *kept], records)
    before = {x.path: x.shard for x in planned}
    for shard, paths in again.items():
        for path in paths:
            assert before.get(path, emptied) == shard
    assert {(x.name, x.shard) for x in new} == {('x', emptied), ('y', emptied)}


def test_a_run_that_was_stopped_goes_on_with_the_same_shards(cluster, tmp_path):
    found = files(tmp_path, 'a.mp4', 'b.mp4', 'c.mp4')
    planned = tuple(Planned(str(path), path.stem, 'shard-0002') for path, _ in found)
    shares, again, _ = replace(cluster, planned=planned).assign(found, records_of(cluster, []))
    assert shares['shard-0002'] == [x.path for x in planned]
    assert tuple(again) == planned
    # What it has added is no longer new.
    records = records_of(cluster, planned[:2])
    _, again, _ = replace(cluster, planned=planned).assign(found, records)
    assert tuple(again) == planned[2:]


def test_a_name_is_that_of_one_video_in_all_shards(cluster, tmp_path):
    (one,) = files(tmp_path / 'one', 'talk.mp4')
    (other,) = files(tmp_path / 'two', 'talk.mp4')
    _, planned, _ = cluster.assign([one, other], records_of(cluster, []))
    assert [x.name for x in planned] == ['talk', 'two/talk']
    assert len({x.shard for x in planned}) == 2
    records = records_of(cluster, planned)
    (third,) = files(tmp_path / 'three', 'talk.mp4')
    _, new, _ = cluster.assign([third], records)
    assert [x.name for x in new] == ['three/talk']


def test_a_video_goes_to_the_shard_of_its_subtitles(cluster, tmp_path):
    found = files(tmp_path, 'a.srt', 'b.srt', 'c.srt')
    _, planned, _ = cluster.assign(found, records_of(cluster, []))
    (shard,) = [x.shard for x in planned if x.name == 'b']
    # It is no longer the smallest.
    records = records_of(cluster, [*planned, Planned('/x', 'x', shard)])
    _, new, _ = cluster.assign(files(tmp_path, 'b.mp4'), records)
    assert [x.shard for x in new] == [shard]


def test_shards_are_added_and_never_taken_away(cluster, tmp_path):
    grown = cluster.with_shards(4)
    assert grown.shards == (*cluster.shards, 'shard-0003')
    assert ClusterFolder.load(cluster.folder) == grown
    with pytest.raises(InputError, match='--shards 2, expected at least 4'):
        grown.with_shards(2)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'not a JSON file'),
        ('{"format": "other", "version": 1}', 'cluster.json'),
        ('', 'not a JSON file'),
    ],
)
def test_a_damaged_file_is_named(cluster, content, message):
    (cluster.folder / 'cluster.json').write_text(content)
    with pytest.raises(InputError, match=message):
        ClusterFolder.load(cluster.folder)


def test_a_shard_outside_of_the_folder_is_refused(cluster):
    path = cluster.folder / 'cluster.json'
    path.write_text(path.read_text().replace('"shard-0001"', '"../other"'))
    with pytest.raises(InputError, match=r"the shard '\.\./other', expected a name"):
        ClusterFolder.load(cluster.folder)


def test_another_version_is_refused(cluster):
    path = cluster.folder / 'cluster.json'
    path.write_text(path.read_text().replace('"version":1', '"version":2'))
    with pytest.raises(InputError, match=r'version 2, expected .*, version 1'):
        ClusterFolder.load(cluster.folder)


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(InputError, match=r"holds 'notes.txt' and no cluster.json"):
        ClusterFolder.create(tmp_path, ORIGIN, 2)
    assert [x.name for x in tmp_path.iterdir()] == ['notes.txt']


def test_a_video_in_two_shards_is_told(cluster, monkeypatch):
    video = VideoRecord('talk', '/talk.mp4', 1.0, False, 1, (), 0, (0.0,))
    monkeypatch.setattr('reloclnet_mm.cluster.folder.read_records', lambda folder: [video])
    with pytest.raises(InputError, match="'talk' is in shard-0000 and in shard-0001"):
        cluster.records()
