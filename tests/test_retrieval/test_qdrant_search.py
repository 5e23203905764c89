"""A corpus in a Qdrant collection, by the local mode of the client, beside the exact search."""

import math
import sys
from dataclasses import replace

import pytest
import torch
from search_cases import CASES, WIDTH, corpus_of

from reloclnet_mm.errors import InputError
from reloclnet_mm.retrieval.video_search import ExactVideoSearch
from reloclnet_mm.structures import RowLayout

qdrant_client = pytest.importorskip('qdrant_client', reason='needs reloclnet_mm[qdrant]')
from reloclnet_mm.retrieval import qdrant_search  # noqa: E402
from reloclnet_mm.retrieval.qdrant_search import (  # noqa: E402
    MAX_NUMBERS,
    QUANTIZATIONS,
    QdrantVideoSearch,
    open_qdrant,
    write_corpus,
)

pytestmark = pytest.mark.filterwarnings('ignore:Local mode performs exact')
BOTH = ('video', 'subtitle')


@pytest.fixture
def client(tmp_path):
    opened = open_qdrant(tmp_path / 'qdrant')
    yield opened
    opened.close()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def clustered(generator, num_queries):
    """Clips and queries around four directions."""
    case = CASES['plain'](generator, num_queries)
    centers = torch.randn(4, 2 * WIDTH, generator=generator)

    def near(x):
        return centers[torch.randint(4, (len(x),), generator=generator)] + 0.1 * x

    return replace(case, videos=[near(x) for x in case.videos], queries=near(case.queries))


def random_corpus(generator, lengths=(2, 3, 5, 7, 11), streams=BOTH):
    width = WIDTH * len(streams)
    return corpus_of([torch.randn(n, width, generator=generator) for n in lengths], streams)


def random_queries(generator, count, streams=BOTH):
    return {name: torch.randn(count, WIDTH, generator=generator) for name in streams}


def written(client, corpus, **settings):
    write_corpus(client, 'videos', corpus)
    return QdrantVideoSearch(client, 'videos', corpus.video_ids, **settings)


def exact_scores(corpus, queries):
    units = {name: torch.nn.functional.normalize(x, dim=1) for name, x in queries.items()}
    return ExactVideoSearch(corpus).scores(units)


def assert_scored_exactly(found, corpus, queries, k):
    """The scores are those of the videos at the places, descending, no video twice."""
    scores, places = found
    assert scores.shape == places.shape == (len(next(iter(queries.values()))), k)
    expected = exact_scores(corpus, queries).gather(1, places)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    assert (scores.diff(dim=1) <= 0).all()
    assert all(len(row.unique()) == k for row in places)


def assert_best(found, corpus, queries, k):
    assert_scored_exactly(found, corpus, queries, k)
    best = ExactVideoSearch(corpus).search(queries, k)[0]
    torch.testing.assert_close(found[0], best, rtol=0, atol=1e-5)


@pytest.mark.parametrize('streams', [BOTH, BOTH[:1]], ids=['two streams', 'one stream'])
@pytest.mark.parametrize('make', [*CASES.values(), clustered], ids=lambda make: make.__name__)
def test_with_all_videos_as_candidates_lists_are_those_of_the_exact_search(
    client, generator, make, streams
):
    case = make(generator, 5)
    corpus, queries, _ = case.by_stream(streams)
    search = written(client, corpus, num_candidates=len(corpus))
    k = min(case.num_videos, len(corpus))
    assert_best(search.search(queries, case.num_videos), corpus, queries, k)


def test_of_one_stream_as_many_candidates_as_are_asked_for_are_enough(client, generator):
    corpus = random_corpus(generator, [3] * 40, BOTH[:1])
    queries = random_queries(generator, 20, BOTH[:1])
    search = written(client, corpus, num_candidates=1)
    assert_best(search.search(queries, 7), corpus, queries, 7)


def test_of_two_streams_a_video_that_neither_prefers_needs_more_candidates(client):
    near, far, between = torch.eye(WIDTH)[0], torch.eye(WIDTH)[1], torch.ones(WIDTH)
    between[2:] = 0
    videos = [torch.cat(x)[None] for x in ((near, far), (far, near), (between, between))]
    corpus, queries = corpus_of(videos, BOTH), dict.fromkeys(BOTH, near[None])
    search = written(client, corpus, num_candidates=1)
    found = search.search(queries, 1)
    assert_scored_exactly(found, corpus, queries, 1)
    assert found[1].item() != 2
    search.num_candidates = 2
    assert_best(search.search(queries, 1), corpus, queries, 1)
    assert search.search(queries, 1)[1].item() == 2


def test_queries_are_asked_in_several_requests_and_may_be_none(client, generator):
    corpus, queries = random_corpus(generator), random_queries(generator, 40)
    search = written(client, corpus, num_candidates=2)
    assert_scored_exactly(search.search(queries, 3), corpus, queries, 3)
    scores, places = search.search({name: x[:0] for name, x in queries.items()}, 3)
    assert scores.shape == places.shape == (0, 3)


def test_places_are_those_of_the_corpus_whatever_the_ids(client, generator):
    corpus, queries = random_corpus(generator), random_queries(generator, 6)
    corpus = replace(corpus, video_ids=torch.tensor([90, 4, 70, 1, 30]))
    search = written(client, corpus)
    assert_best(search.search(queries, 3), corpus, queries, 3)
    alone = QdrantVideoSearch(client, 'videos')
    assert alone.video_ids.tolist() == [1, 4, 30, 70, 90]
    for one, other in zip(search.search(queries, 3)[1], alone.search(queries, 3)[1], strict=True):
        assert search.video_ids[one].tolist() == alone.video_ids[other].tolist()


def test_rows_of_padding_are_not_written(client, generator):
    corpus, queries = random_corpus(generator, [4, 4, 4]), random_queries(generator, 5)
    lengths = [2, 4, 1]
    padded = replace(corpus, layout=RowLayout.stack(lengths, [4, 4, 4]))
    for x in padded.rows['retrieval'].values():
        x.unflatten(0, (3, 4))[0, 2:] = queries['video'][0]
    assert_best(written(client, padded).search(queries, 2), padded, queries, 2)
    points, _ = client.scroll('videos', with_vectors=True)
    assert [len(point.vector['video']) for point in points] == lengths


def test_a_point_says_what_its_video_is(client, generator):
    corpus = random_corpus(generator, [2, 3])
    write_corpus(client, 'videos', corpus, payload={1: dict(path='b.mp4', start=64.0)})
    first, second = client.scroll('videos')[0]
    assert first.payload == dict(name='v0', seconds_per_clip=1.0, num_clips=2)
    assert second.payload == dict(
        name='v1', seconds_per_clip=1.0, num_clips=3, path='b.mp4', start=64.0
    )


def test_requests_are_of_bounded_size(client, generator, monkeypatch):
    monkeypatch.setattr(qdrant_search, '_NUMBERS_AT_ONCE', 2 * WIDTH * 6)
    corpus, queries = random_corpus(generator, [1, 2, 3, 4, 6, 9]), random_queries(generator, 4)
    sizes, upsert = [], client.upsert

    def note(collection, points):
        sizes.append([len(point.vector['video']) for point in points])
        upsert(collection, points)

    monkeypatch.setattr(client, 'upsert', note)
    assert_best(written(client, corpus).search(queries, 4), corpus, queries, 4)
    assert sizes == [[1, 2, 3], [4], [6], [9]]


@pytest.mark.parametrize('quantization', QUANTIZATIONS)
def test_a_quantization_is_a_setting_of_the_collection(client, generator, quantization):
    corpus, queries = random_corpus(generator), random_queries(generator, 4)
    write_corpus(client, 'videos', corpus, quantization=quantization)
    # The local mode compares in float32 whatever the setting is.
    search = QdrantVideoSearch(client, 'videos', corpus.video_ids)
    assert_best(search.search(queries, 3), corpus, queries, 3)
    with pytest.raises(InputError, match="quantization 'int3', expected one of int8, binary"):
        write_corpus(client, 'others', corpus, quantization='int3')


def test_a_collection_is_searched_after_it_was_closed(tmp_path, generator):
    corpus, queries = random_corpus(generator), random_queries(generator, 6)
    client = open_qdrant(tmp_path / 'qdrant')
    before = written(client, corpus).search(queries, 3)
    with pytest.raises(InputError, match=r'qdrant: not a folder that Qdrant can use \(.* already'):
        open_qdrant(tmp_path / 'qdrant')
    client.close()
    client = open_qdrant(tmp_path / 'qdrant')
    after = QdrantVideoSearch(client, 'videos', corpus.video_ids).search(queries, 3)
    client.close()
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


def test_a_video_that_is_too_long_is_refused_before_anything_is_written(client):
    most = MAX_NUMBERS // WIDTH
    corpus = corpus_of([torch.ones(n, WIDTH) for n in (2, most + 1)], BOTH[:1])
    with pytest.raises(InputError) as caught:
        write_corpus(client, 'videos', corpus)
    expected = 'v1: found 65,537 clips of width 16, expected at most 65,536, for Qdrant takes'
    assert str(caught.value).startswith(expected)
    assert not client.collection_exists('videos')


def test_a_corpus_that_is_no_set_of_points_is_refused(client, generator):
    corpus = random_corpus(generator, [2, 3])
    negative = replace(corpus, video_ids=torch.tensor([0, -3]))
    with pytest.raises(InputError, match='v1: found the id -3, expected 0 or more'):
        write_corpus(client, 'videos', negative)
    without = replace(corpus, rows=dict(localization=corpus.rows['localization']))
    with pytest.raises(InputError, match='has rows for localization, expected some for retrieval'):
        write_corpus(client, 'videos', without)


def test_a_collection_of_other_streams_is_refused(client, generator):
    write_corpus(client, 'videos', random_corpus(generator))
    with pytest.raises(InputError, match='found the streams subtitle of width 16, video of width'):
        write_corpus(client, 'videos', random_corpus(generator, streams=BOTH[:1]), update=True)
    models = qdrant_client.models
    plain = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection('plain', plain)
    with pytest.raises(InputError, match='found the streams none, expected'):
        write_corpus(client, 'plain', random_corpus(generator))
    with pytest.raises(InputError, match='found 0 points of 0 multivectors'):
        QdrantVideoSearch(client, 'plain')


def test_a_collection_with_videos_is_changed_only_if_that_is_said(client, generator):
    old, new = random_corpus(generator, [2] * 5), random_corpus(generator, [3] * 3)
    write_corpus(client, 'videos', old)
    with pytest.raises(InputError, match=r"'videos': holds 5 videos already; give another name"):
        write_corpus(client, 'videos', new)
    with pytest.raises(InputError, match=r'found 5 videos, which are not the 3 expected'):
        QdrantVideoSearch(client, 'videos', new.video_ids)
    write_corpus(client, 'videos', new, update=True)
    queries = random_queries(generator, 4)
    search = QdrantVideoSearch(client, 'videos', new.video_ids)
    assert_best(search.search(queries, 3), new, queries, 3)


def test_a_collection_of_other_points_is_refused(client, generator):
    corpus = random_corpus(generator, [1])
    write_corpus(client, 'videos', corpus)
    (point,), _ = client.scroll('videos', with_vectors=True)
    name = '12345678-1234-5678-1234-567812345678'
    client.upsert('videos', [qdrant_client.models.PointStruct(id=name, vector=point.vector)])
    for ask in (QdrantVideoSearch, lambda *x: write_corpus(*x, corpus, update=True)):
        with pytest.raises(InputError, match=f"found the id '{name}', expected numbers"):
            ask(client, 'videos')


def test_more_videos_than_a_page_of_ids_are_found(client, generator, monkeypatch):
    monkeypatch.setattr(qdrant_search, '_IDS_AT_ONCE', 2)
    corpus, queries = random_corpus(generator), random_queries(generator, 3)
    assert_best(written(client, corpus).search(queries, 5), corpus, queries, 5)


def test_what_is_not_there_is_one_message(client, tmp_path):
    with pytest.raises(InputError, match=r"'gone': does not exist; write one with tools/export"):
        QdrantVideoSearch(client, 'gone')
    with pytest.raises(InputError, match='num_candidates=0, expected at least 1'):
        QdrantVideoSearch(client, 'gone', num_candidates=0)
    with pytest.raises(InputError, match='expected one of both'):
        open_qdrant()
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='file: not a folder that Qdrant can use'):
        open_qdrant(tmp_path / 'file')


@pytest.mark.filterwarnings('ignore:Failed to obtain server version')
def test_a_server_that_does_not_answer_is_one_message(generator):
    client = open_qdrant(url='http://127.0.0.1:9')
    for ask in (QdrantVideoSearch, lambda *x: write_corpus(*x, random_corpus(generator))):
        with pytest.raises(InputError, match=r"'videos': no usable answer \(.*refused"):
            ask(client, 'videos')
    client.close()


def test_without_the_client_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'qdrant_client', None)
    monkeypatch.delitem(sys.modules, 'reloclnet_mm.retrieval.qdrant_search')
    with pytest.raises(InputError, match=r'pip install "reloclnet_mm\[qdrant\]"'):
        import reloclnet_mm.retrieval.qdrant_search  # noqa: F401


def test_a_multivector_is_scored_as_the_largest_cosine(client):
    video = torch.tensor([[1.0, 0, 0, 0], [0, 3, 4, 0]]).repeat(1, WIDTH // 4)
    corpus = corpus_of([video], BOTH[:1])
    queries = dict(video=torch.tensor([[0, 0, 2.0, 0]]).repeat(1, WIDTH // 4))
    ((score,),), ((place,),) = (x.tolist() for x in written(client, corpus).search(queries, 1))
    assert place == 0
    assert math.isclose(score, 0.8, abs_tol=1e-6)
