"""The search by inverted lists beside the search that scores every clip."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from search_cases import CASES, WIDTH, corpus_of, head_of, mixed_lengths, normal, plain

from reloclnet_mm.errors import InputError
from reloclnet_mm.retrieval.moment_search import MomentSearch
from reloclnet_mm.retrieval.results import RankingOptions
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.retrieval.video_search import ExactVideoSearch
from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.structures.parted_corpus import CorpusPart, PartedCorpus

pytest.importorskip('faiss', reason='faiss is not installed: pip install "reloclnet_mm[index]"')

import faiss

from reloclnet_mm.retrieval import faiss_search
from reloclnet_mm.retrieval.faiss_search import (
    FaissVideoSearch,
    exact_scores,
    recall_of,
    search_exactly,
)
from reloclnet_mm.retrieval.inverted_lists import Effort, ListSettings, TrainedLists

# It has threads of its own, which would wait for those of other tests.
faiss.omp_set_num_threads(1)

BOTH = ('video', 'subtitle')
# All lists are looked into and all videos found are scored: nothing is left out.
EVERYTHING = Effort(num_lists=1000, num_candidates=1000)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def in_parts(corpus, count):
    """The videos of a corpus, dealt out to some parts."""
    numbers = range(len(corpus))
    chosen = [[i for i in numbers if i % count == part] for part in range(count)]
    return PartedCorpus(
        {f'p{i}': CorpusPart.whole(corpus.select(x)) for i, x in enumerate(chosen) if x}
    )


def with_effort(search, effort):
    search.info = search.info.__class__(**{**_fields(search.info), 'effort': effort})
    return search


def _fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def ids_of(corpus, places):
    return corpus.video_ids[places]


def assert_same_videos(found, corpus, expected, whole):
    """Equal scores, and the same videos but for those whose scores are equal."""
    scores, places = found
    exact, exact_places = expected
    assert torch.allclose(scores, exact, atol=2e-6)
    ids, exact_ids = ids_of(corpus, places), ids_of(whole, exact_places)
    for i in range(len(scores)):
        clear = exact[i] > exact[i, -1] + 4e-6
        assert {*exact_ids[i][clear].tolist()} <= {*ids[i].tolist()}


def clustered(generator, num_queries):
    """Videos around a few centres, clips around their video; queries beside clips."""
    centres = normal(generator, 6, 2 * WIDTH)
    videos = []
    for i, length in enumerate(mixed_lengths(generator, 300)):
        own = centres[i % 6] + 0.4 * normal(generator, 1, 2 * WIDTH)
        videos.append(own + 0.2 * normal(generator, length, 2 * WIDTH))
    near = torch.stack([videos[7 * i + 3][0] for i in range(num_queries)])
    queries = near + 0.3 * normal(generator, num_queries, 2 * WIDTH)
    return plain(generator, num_queries, videos=videos, queries=queries)


KINDS = {**CASES, 'clustered': clustered}


@pytest.mark.parametrize('streams', [BOTH, BOTH[:1]], ids=['two streams', 'one stream'])
@pytest.mark.parametrize(
    ('name', 'code'),
    [*((name, 'SQ8') for name in KINDS), ('clustered', 'PQ4'), ('clustered', 'PQ8x4')],
)
def test_lists_of_everything_are_those_of_the_exact_search(
    name, streams, code, generator, tmp_path
):
    case = KINDS[name](generator, 5)
    whole, queries, _ = case.by_stream(streams)
    parted = in_parts(whole, 3)
    settings = ListSettings(num_lists=4, code=code)
    search = with_effort(FaissVideoSearch.build(parted, tmp_path, settings), EVERYTHING)
    expected = ExactVideoSearch(whole).search(queries, case.num_videos)
    assert_same_videos(search.search(queries, case.num_videos), parted, expected, whole)


@pytest.mark.parametrize('name', KINDS)
def test_the_search_of_parts_without_lists_is_exact(name, generator):
    case = KINDS[name](generator, 5)
    whole, queries, _ = case.by_stream(BOTH)
    parted = in_parts(whole, 3)
    expected = ExactVideoSearch(whole).search(queries, case.num_videos)
    found = search_exactly(parted, queries, case.num_videos)
    assert_same_videos(found, parted, expected, whole)


def test_each_score_is_exact_though_few_lists_are_looked_into(generator, tmp_path):
    whole, queries, _ = clustered(generator, 8).by_stream(BOTH)
    parted = in_parts(whole, 2)
    search = FaissVideoSearch.build(parted, tmp_path, ListSettings(num_lists=16))
    scores, places = with_effort(search, Effort(1, 1.0)).search(queries, 20)
    for i in range(8):
        units = {name: F.normalize(x[i], dim=0) for name, x in queries.items()}
        assert torch.allclose(scores[i], exact_scores(parted, places[i], units), atol=1e-6)
    assert (scores[:, 1:] <= scores[:, :-1]).all()


def test_more_effort_finds_more(generator, tmp_path):
    whole, queries, _ = clustered(generator, 40).by_stream(BOTH)
    parted = in_parts(whole, 2)
    search = FaissVideoSearch.build(parted, tmp_path, ListSettings(num_lists=32))
    _, expected = search_exactly(parted, queries, 20)
    recalls = [
        recall_of(with_effort(search, effort).search(queries, 20)[1], expected)
        for effort in (Effort(1, 1.0), Effort(8, 2.0), Effort(32, 20.0))
    ]
    assert recalls[0] < recalls[1] <= recalls[2] == 1


def test_tuning_reaches_its_target_on_its_queries_and_is_kept(generator, tmp_path):
    whole, queries, _ = clustered(generator, 40).by_stream(BOTH)
    parted = in_parts(whole, 2)
    search = FaissVideoSearch.build(parted, tmp_path, ListSettings(num_lists=32))
    tuned = search.tune(queries, 0.9, 20)
    again = FaissVideoSearch.open(parted, tmp_path)
    assert again.info.tuned == tuned
    assert again.info.effort == search.info.effort
    # One query at a time, as users ask.
    rows = [{n: x[i : i + 1] for n, x in queries.items()} for i in range(40)]
    places = torch.cat([again.search(x, 20)[1] for x in rows])
    assert recall_of(places, search_exactly(parted, queries, 20)[1]) == tuned.recall >= 0.9


def test_a_target_that_is_not_reached_is_refused(generator, tmp_path):
    whole, queries, _ = clustered(generator, 10).by_stream(BOTH)
    search = FaissVideoSearch.build(in_parts(whole, 1), tmp_path, ListSettings(num_lists=8))
    with pytest.raises(InputError, match='was the most'):
        search.tune(queries, 1.1, 20)


def test_recall_is_the_share_of_expected_videos():
    found = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert recall_of(found, torch.tensor([[3, 1, 9], [6, 5, 4]])) == 5 / 6


def test_videos_come_and_go_as_in_a_fresh_build(generator, tmp_path):
    whole, queries, _ = clustered(generator, 5).by_stream(BOTH)
    first, second, third = (whole.select(range(i, len(whole), 3)) for i in range(3))
    before = PartedCorpus({'a': CorpusPart.whole(first), 'b': CorpusPart.whole(second)})
    settings = ListSettings(num_lists=8)
    FaissVideoSearch.build(before, tmp_path / 'grown', settings)
    kept = torch.arange(0, len(second), 2)
    after = PartedCorpus({'b': CorpusPart(second, kept), 'c': CorpusPart.whole(third)})
    old = {path.name for path in (tmp_path / 'grown').glob('b-*')}
    grown = FaissVideoSearch.build(after, tmp_path / 'grown')
    fresh = FaissVideoSearch.build(after, tmp_path / 'fresh', settings)
    # What was there is not written again, and what is gone is removed.
    names = {path.name for path in (tmp_path / 'grown').iterdir()}
    assert old <= names
    assert not [name for name in names if name.startswith('a-')]
    for k in (1, 10, 200):
        found, expected = (with_effort(x, EVERYTHING).search(queries, k) for x in (grown, fresh))
        assert torch.equal(found[0], expected[0])
        assert_same_videos(found, after, search_exactly(after, queries, k), after)
    gone = {*first.video_ids.tolist(), *second.video_ids[1::2].tolist()}
    assert not gone & {*ids_of(after, found[1]).flatten().tolist()}


def test_a_part_without_lists_is_searched_too(generator, tmp_path):
    whole, queries, _ = clustered(generator, 5).by_stream(BOTH)
    parted = in_parts(whole, 2)
    FaissVideoSearch.build(
        PartedCorpus({'p0': parted.parts['p0']}), tmp_path, ListSettings(num_lists=8)
    )
    search = with_effort(FaissVideoSearch.open(parted, tmp_path), EVERYTHING)
    expected = ExactVideoSearch(whole).search(queries, 30)
    assert_same_videos(search.search(queries, 30), parted, expected, whole)


@pytest.mark.parametrize('inclusive', [False, True])
def test_moments_are_those_of_the_exact_search(inclusive, generator, tmp_path):
    case = clustered(generator, 6)
    whole, queries, _ = case.by_stream(BOTH)
    parted = in_parts(whole.half(), 3)
    whole = whole.half().float()
    head = head_of(case.kernels, BOTH)
    options = RankingOptions(
        num_videos=10,
        min_span=1,
        max_span=5,
        num_moments=20,
        alpha=5.0,
        span_end='inclusive' if inclusive else 'official',
    )
    search = with_effort(
        FaissVideoSearch.build(parted, tmp_path, ListSettings(num_lists=4)), EVERYTHING
    )

    def moment_search(corpus):
        return MomentSearch(corpus, head)

    exact = CorpusIndex.build(whole, moment_search)
    lists = CorpusIndex.of_parts(parted, search, moment_search, torch.device('cpu'))
    own = torch.tensor([5, -1, 17, 0, -1, 200])
    video_ids = torch.where(own >= 0, whole.video_ids[own], -1)
    expected = exact.rank(queries, own, options)
    found = lists.rank(queries, parted.places_of(video_ids), options)
    for name in ('moments', 'own_moments'):
        one, other = getattr(found, name), getattr(expected, name)
        assert torch.allclose(one.scores, other.scores, atol=1e-5, rtol=1e-4)
        assert torch.equal(ids_of(parted, one.places), ids_of(whole, other.places))
        assert torch.equal(one.spans.double(), other.spans.double())
    places = torch.tensor([3, 250, 0])
    part = {name: x[:3] for name, x in queries.items()}
    probabilities = zip(
        lists.span_probabilities(part, parted.places_of(whole.video_ids[places])),
        exact.span_probabilities(part, places),
        strict=True,
    )
    for one, other in probabilities:
        assert torch.allclose(one.float(), other[:, : one.shape[1]].float(), atol=1e-5)


def test_equal_neighbours_are_stored_once(generator, tmp_path):
    videos = [x.repeat_interleave(4, 0) for x in clustered(generator, 1).videos]
    corpus = in_parts(corpus_of(videos, BOTH), 1)
    once = FaissVideoSearch.build(corpus, tmp_path / 'once', ListSettings(4, same=0.999))
    each = FaissVideoSearch.build(corpus, tmp_path / 'each', ListSettings(4, same=2.0))
    for stream in BOTH:
        stored = [x.info.parts['p0'][stream].num_clips for x in (once, each)]
        assert stored[1] == 4 * stored[0] == sum(map(len, videos))


def test_many_equal_clips_do_not_hide_other_videos(generator, tmp_path):
    """A hundred clips of one video are nearer to the query than those of all others."""
    query = normal(generator, 1, 2 * WIDTH)
    near = query + 0.1 * normal(generator, 2000, 2 * WIDTH)
    videos = [near, *(normal(generator, 3, 2 * WIDTH) for _ in range(60))]
    whole = corpus_of(videos, BOTH)
    parted = in_parts(whole, 1)
    queries = dict(zip(BOTH, query.chunk(2, 1), strict=True))
    search = FaissVideoSearch.build(parted, tmp_path, ListSettings(16, same=2.0))
    _, places = with_effort(search, Effort(1, 1.0)).search(queries, 30)
    assert len({*places[0].tolist()}) == 30
    assert ids_of(parted, places[0])[0] == whole.video_ids[-1]


def test_lists_that_the_graph_does_not_lead_to_do_not_keep_it_waiting(
    generator, tmp_path, monkeypatch
):
    whole, queries, _ = clustered(generator, 3).by_stream(BOTH)
    parted = in_parts(whole, 2)
    search = FaissVideoSearch.build(parted, tmp_path, ListSettings(8))
    nothing = np.full((3, 5), -1)
    monkeypatch.setattr(TrainedLists, 'find', lambda *args: (np.zeros((3, 5), 'f4'), nothing))
    expected = ExactVideoSearch(whole).search(queries, 30)
    assert_same_videos(search.search(queries, 30), parted, expected, whole)


def test_settings_follow_from_the_size():
    assert ListSettings.choose(10, 384) == ListSettings(1, 'SQ8')
    assert ListSettings.choose(1_000_000, 384) == ListSettings(4096, 'SQ8')
    assert ListSettings.choose(10_000_000, 384) == ListSettings(16384, 'SQ8')
    assert ListSettings.choose(50_000_000, 384) == ListSettings(32768, 'PQ64')


def damage(folder, how):
    if how == 'no search.json':
        (folder / 'search.json').unlink()
    elif how == 'search.json':
        (folder / 'search.json').write_text('{')
    elif how == 'version':
        text = json.loads((folder / 'search.json').read_text())
        (folder / 'search.json').write_text(json.dumps(text | dict(version=99)))
    elif how == 'outside':
        text = json.loads((folder / 'search.json').read_text())
        text['trained']['video']['name'] = '../x.faiss'
        (folder / 'search.json').write_text(json.dumps(text))
    else:
        (path,) = folder.glob(f'{how.split()[0]}-video-*.faiss')
        if how.endswith('gone'):
            path.unlink()
        elif how.endswith('short'):
            path.write_bytes(path.read_bytes()[:-1])
        elif how.endswith('garbage'):
            path.write_bytes(b'\0' * path.stat().st_size)


@pytest.mark.parametrize(
    ('how', 'named'),
    [
        ('no search.json', 'search.json'),
        ('search.json', 'search.json'),
        ('version', 'version 99'),
        ('outside', '../x.faiss'),
        ('trained gone', 'trained-video'),
        ('trained garbage', 'trained-video'),
        ('p0 gone', 'p0-video'),
        ('p0 short', 'p0-video'),
        ('p0 garbage', 'p0-video'),
    ],
)
def test_damage_is_told_with_the_file(how, named, generator, tmp_path):
    parted = in_parts(corpus_of(clustered(generator, 1).videos, BOTH), 1)
    FaissVideoSearch.build(parted, tmp_path, ListSettings(4))
    damage(tmp_path, how)
    with pytest.raises(InputError, match=named.replace('.', r'\.')):
        FaissVideoSearch.open(parted, tmp_path)


def test_changed_content_is_found_when_asked_for(generator, tmp_path):
    parted = in_parts(corpus_of(clustered(generator, 1).videos, BOTH), 1)
    FaissVideoSearch.build(parted, tmp_path, ListSettings(4))
    (path,) = tmp_path.glob('p0-video-*.faiss')
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    FaissVideoSearch.open(parted, tmp_path)
    with pytest.raises(InputError, match='p0-video'):
        FaissVideoSearch.open(parted, tmp_path, verify=True)


def test_lists_of_other_streams_are_refused(generator, tmp_path):
    videos = clustered(generator, 1).videos
    FaissVideoSearch.build(in_parts(corpus_of(videos, BOTH), 1), tmp_path, ListSettings(4))
    other = in_parts(corpus_of([x[:, :WIDTH] for x in videos], BOTH[:1]), 1)
    with pytest.raises(InputError, match='video, subtitle of width 16, expected video of width 16'):
        FaissVideoSearch.open(other, tmp_path)


BUILD = """
import sys
from pathlib import Path
from reloclnet_mm.retrieval.faiss_search import FaissVideoSearch
from reloclnet_mm.retrieval.inverted_lists import ListSettings
from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.structures.parted_corpus import CorpusPart, PartedCorpus

folder = Path(sys.argv[1])
parts = {x.name: CorpusPart.whole(EncodedCorpus.load(x)) for x in sorted(folder.glob('p*'))}
FaissVideoSearch.build(
    PartedCorpus(parts),
    folder / 'lists',
    ListSettings(8),
    advance=lambda count: print(count, flush=True),
)
"""


def build_in_process(folder, *, until=None):
    """Build lists in another process; kill it after so many parts."""
    process = subprocess.Popen(
        [sys.executable, '-c', BUILD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    if until is not None:
        for _ in range(until):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    process.stdout.read()
    return process.wait()


@pytest.mark.slow
def test_a_killed_build_goes_on_and_ends_as_an_unbroken_one(generator, tmp_path):
    whole, queries, _ = clustered(generator, 6).by_stream(BOTH)
    parts = in_parts(whole, 6).parts
    for folder in ('killed', 'unbroken'):
        for name, part in parts.items():
            part.corpus.save(tmp_path / folder / name, model_checksum='x')
    assert build_in_process(tmp_path / 'killed', until=2) == -signal.SIGKILL
    info = json.loads((tmp_path / 'killed/lists/search.json').read_text())
    assert 2 <= len(info['parts']) < 6
    assert build_in_process(tmp_path / 'killed') == 0
    assert build_in_process(tmp_path / 'unbroken') == 0
    parted = PartedCorpus(parts)
    found, expected = (
        FaissVideoSearch.open(parted, tmp_path / x / 'lists', verify=True).search(queries, 20)
        for x in ('killed', 'unbroken')
    )
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_opening_reads_no_row(generator, tmp_path):
    """Rows come from files that are mapped, and are read when a video is scored."""
    corpus = corpus_of([normal(generator, 50, 2 * WIDTH) for _ in range(400)], BOTH)
    corpus.half().save(tmp_path / 'p', model_checksum='x')
    parted = PartedCorpus({'p': CorpusPart.whole(EncodedCorpus.load(tmp_path / 'p'))})
    rows = parted.parts['p'].corpus.rows['retrieval']['video']
    assert rows.dtype == torch.float16
    maps = Path('/proc/self/maps').read_text().splitlines()
    mapped = [line for line in maps if str(tmp_path) in line]
    address = rows.data_ptr()
    ranges = [tuple(int(x, 16) for x in line.split()[0].split('-')) for line in mapped]
    assert any(begin <= address < end for begin, end in ranges)
    FaissVideoSearch.build(parted, tmp_path / 'lists', ListSettings(8))
    begin = time.perf_counter()
    FaissVideoSearch.open(parted, tmp_path / 'lists')
    assert time.perf_counter() - begin < 1


def test_short_lists_begin_as_long_ones(generator, tmp_path):
    whole, queries, _ = clustered(generator, 30).by_stream(BOTH)
    search = FaissVideoSearch.build(in_parts(whole, 2), tmp_path, ListSettings(num_lists=32))
    search.tune(queries, 0.95, 50)
    long, short = (search.search(queries, k) for k in (50, 1))
    assert torch.equal(long[0][:, :1], short[0])
    assert torch.equal(long[1][:, :1], short[1])


def test_a_reader_finds_the_lists_that_a_writer_puts_in_their_place(
    generator, tmp_path, monkeypatch
):
    whole, queries, _ = clustered(generator, 3).by_stream(BOTH)
    parted = in_parts(whole, 2)
    FaissVideoSearch.build(parted, tmp_path, ListSettings(num_lists=4))
    read, was = faiss_search.read_info, []

    def read_and_replace(folder, verify):
        info = read(folder, verify=verify)
        if not was:
            was.append(info)
            FaissVideoSearch.build(parted, folder, ListSettings(num_lists=8))
        return info

    monkeypatch.setattr(faiss_search, 'read_info', read_and_replace)
    search = with_effort(FaissVideoSearch.open(parted, tmp_path), EVERYTHING)
    assert search.info.settings == ListSettings(num_lists=8)
    expected = ExactVideoSearch(whole).search(queries, 30)
    assert_same_videos(search.search(queries, 30), parted, expected, whole)


def test_too_few_clips_for_the_lists_are_one_message(generator, tmp_path):
    parted = in_parts(corpus_of([normal(generator, 3, 2 * WIDTH)], BOTH), 1)
    with pytest.raises(InputError, match='cannot be trained on 3 clips'):
        FaissVideoSearch.build(parted, tmp_path, ListSettings(num_lists=8))
