"""An index that is searched by inverted lists, beside the same one that is scored whole."""

import pytest
from tiny_inferencer import SENTENCES, tiny_inferencer, write_srt, write_talks
from tool_processes import run_here

from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.store import VideoIndex

pytest.importorskip('faiss', reason='faiss is not installed: pip install "reloclnet_mm[index]"')

import faiss

from reloclnet_mm.retrieval.inverted_lists import ListSettings

# It has threads of its own, which would wait for those of other tests.
faiss.omp_set_num_threads(1)

QUERIES = [*SENTENCES, 'a dog and a cat']


@pytest.fixture(params=[False, True], ids=['float32', 'float16'])
def indexed(request, tmp_path):
    """An index that is saved, and what it answers without lists."""
    inferencer = tiny_inferencer(tmp_path / 'model')
    write_talks(tmp_path / 'talks')
    if request.param:
        inferencer.store_float16()
    inferencer.add(tmp_path / 'talks', save_to=tmp_path / 'index')
    return inferencer, tmp_path


def answers(inferencer, **settings):
    return [
        [(hit.video, round(hit.start, 3), round(hit.end, 3), hit.text) for hit in hits]
        for hits in inferencer(QUERIES, 20, **settings)
    ]


def reopened(inferencer, folder):
    fresh = tiny_inferencer(folder / 'model')
    fresh.use(VideoIndex.load(folder / 'index'))
    return fresh


def without_lists(folder):
    """The index scored whole, from the same files."""
    fresh = tiny_inferencer(folder / 'model')
    index = VideoIndex.load(folder / 'index')
    (folder / 'index/lists').rename(folder / 'index/.away')
    fresh.use(index)
    (folder / 'index/.away').rename(folder / 'index/lists')
    return fresh


def build(inferencer):
    return inferencer.build_lists(settings=ListSettings(1))


def test_it_answers_as_one_that_is_scored_whole(indexed):
    inferencer, folder = indexed
    expected = answers(reopened(inferencer, folder))
    tuned = build(inferencer)
    assert tuned.recall >= 0.99
    assert answers(inferencer) == expected
    again = reopened(inferencer, folder)
    assert answers(again) == expected
    one, other = again(QUERIES[0]), without_lists(folder)(QUERIES[0])
    assert [x.score for x in one] == pytest.approx([x.score for x in other], abs=1e-5)
    assert one.null_rate == other.null_rate
    for found, wanted in zip(one, other, strict=True):
        assert found.stream_scores == pytest.approx(wanted.stream_scores, abs=1e-6)


def test_some_videos_and_times_within_a_window_are_those_without_lists(indexed):
    inferencer, folder = indexed
    build(inferencer)
    whole = without_lists(folder)
    for videos in (['long'], ['short', 'whole']):
        assert answers(inferencer, videos=videos) == answers(whole, videos=videos)
    one, other = (x.timeline(QUERIES[0], 'long', 20.0) for x in (inferencer, whole))
    assert one.begins == pytest.approx(other.begins, abs=1e-5)
    assert one.ends == pytest.approx(other.ends, abs=1e-5)


def test_videos_are_added_and_removed_without_building_anew(indexed):
    inferencer, folder = indexed
    build(inferencer)
    lists = folder / 'index/lists'
    before = {path.name for path in lists.iterdir()}
    write_srt(folder / 'more/new.srt', 6, 1)
    inferencer.add(folder / 'more')
    # Before it is saved it is searched, too.
    assert 'new' in {video for hits in answers(inferencer) for video, *_ in hits}
    inferencer.remove('short')
    inferencer.save(folder / 'index')
    assert before <= {path.name for path in lists.iterdir()}
    found = {video for hits in answers(inferencer) for video, *_ in hits}
    assert found == {'long', 'whole', 'new'}
    assert answers(inferencer) == answers(without_lists(folder))
    assert answers(reopened(inferencer, folder)) == answers(inferencer)


def test_an_index_that_is_not_saved_has_no_lists(tmp_path):
    inferencer = tiny_inferencer(tmp_path / 'model')
    with pytest.raises(InputError, match='not saved'):
        inferencer.build_lists()
    inferencer.add(write_srt(tmp_path / 'a.srt', 3), save_to=tmp_path / 'index')
    inferencer.add(write_srt(tmp_path / 'b.srt', 3, 1))
    with pytest.raises(InputError, match='not saved'):
        inferencer.build_lists()


def test_an_index_changed_by_another_process_keeps_its_lists(indexed):
    inferencer, folder = indexed
    build(inferencer)
    other = reopened(inferencer, folder)
    write_srt(folder / 'more/new.srt', 6, 1)
    other.add(folder / 'more', save_to=folder / 'index')
    before = sorted(path.name for path in (folder / 'index/lists').iterdir())
    with pytest.raises(InputError, match='changed by another process'):
        build(inferencer)
    assert sorted(path.name for path in (folder / 'index/lists').iterdir()) == before


def test_an_index_in_float32_does_not_become_float16(tmp_path):
    inferencer = tiny_inferencer(tmp_path / 'model')
    inferencer.add(write_srt(tmp_path / 'a.srt', 3), save_to=tmp_path / 'index')
    with pytest.raises(InputError, match='float32 already'):
        inferencer.store_float16()


def test_damaged_lists_are_told_and_removing_them_helps(indexed):
    inferencer, folder = indexed
    expected = answers(inferencer)
    build(inferencer)
    for path in (folder / 'index/lists').glob('trained-*'):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r'remove the folder .*lists and build'):
        reopened(inferencer, folder)
    for path in (folder / 'index/lists').iterdir():
        path.unlink()
    (folder / 'index/lists').rmdir()
    assert answers(reopened(inferencer, folder)) == expected


def test_the_tool_builds_lists_and_says_what_they_find(indexed):
    inferencer, folder = indexed
    expected = answers(reopened(inferencer, folder))
    inferencer.cfg.dump(folder / 'model/config.py')
    (folder / 'queries.txt').write_text('\n'.join(SENTENCES) + '\n\n')
    model = ('--model', 'model/config.py', '--weights', 'model/weights.safetensors')
    options = ('--lists', '--queries', 'queries.txt', '--target-recall', 0.9)
    printed = run_here(folder, 'index', '--out', 'index', *model, *options)
    assert 'of the best 4 windows of 6 queries' in printed.replace('5 windows', '4 windows')
    assert (folder / 'index/lists/search.json').is_file()
    assert answers(reopened(inferencer, folder)) == expected
