"""Corpora in parts, beside the same videos in one."""

from dataclasses import replace

import pytest
import torch

from reloclnet_mm.errors import InputError
from reloclnet_mm.structures import EncodedCorpus, RowLayout
from reloclnet_mm.structures.parted_corpus import CorpusPart, PartedCorpus

LENGTHS = ([2, 3, 3, 5], [1, 4], [3, 3, 6])


def part_of(lengths, first_id, dtype, generator):
    ids = torch.arange(first_id, first_id + len(lengths))
    rows = dict(
        video=torch.randn(sum(lengths), 4, generator=generator).to(dtype),
        subtitle=torch.randn(sum(lengths), 4, generator=generator).to(dtype),
    )
    own = dict(video=rows['video'], subtitle=-rows['subtitle'])
    return EncodedCorpus(
        video_names=tuple(f'v{i}' for i in ids.tolist()),
        video_ids=ids,
        seconds_per_clip=1.0 + ids.double(),
        positions=ids,
        layout=RowLayout.stack(lengths, lengths),
        rows=dict(retrieval=rows, localization=own),
    )


@pytest.fixture(
    params=[(torch.float32, False), (torch.float16, False), (torch.float16, True)],
    ids=['float32', 'float16', 'saved'],
)
def corpora(request, tmp_path):
    """The parts as they are, of the second one without its first video, and all in one."""
    generator, (dtype, saved) = torch.Generator().manual_seed(0), request.param
    firsts = (40, 20, 60)
    parts = [part_of(x, i, dtype, generator) for x, i in zip(LENGTHS, firsts, strict=True)]
    kept = [torch.arange(4), torch.tensor([1]), torch.arange(3)]
    parted = PartedCorpus(
        {f'p{i}': CorpusPart(*x) for i, x in enumerate(zip(parts, kept, strict=True))}
    )
    if saved:
        for name, part in parted.parts.items():
            part.corpus.save(tmp_path / name, model_checksum='x')
        opened = {name: CorpusPart.load(tmp_path / name) for name in parted.parts}
        parted = PartedCorpus(
            {name: replace(opened[name], kept=part.kept) for name, part in parted.parts.items()}
        )
    whole = EncodedCorpus.merge([parts[0].float(), parts[1].select([1]).float(), parts[2].float()])
    return parted, whole


def test_it_names_the_videos_that_count(corpora):
    parted, whole = corpora
    assert len(parted) == 8
    assert parted.video_ids.tolist() == [40, 41, 42, 43, 21, 60, 61, 62]
    assert parted.video_names == tuple(f'v{i}' for i in parted.video_ids.tolist())
    assert parted.num_clips.tolist() == [2, 3, 3, 5, 4, 3, 3, 6]
    assert parted.seconds_per_clip.tolist() == [1 + i for i in parted.video_ids.tolist()]
    assert sorted(parted.describe().video_ids) == sorted(whole.describe().video_ids)


def test_places_are_those_of_the_ids(corpora):
    parted, _ = corpora
    assert parted.places_of(torch.tensor([[21, 20], [62, 99]])).tolist() == [[4, -1], [7, -1]]
    assert parted.place_of(43) == 3
    with pytest.raises(KeyError):
        parted.place_of(20)


@pytest.mark.parametrize('places', [[0], [7, 0, 4], [5, 4, 3, 2, 1], list(range(8))])
def test_videos_are_read_as_they_are_and_sorted_by_length(corpora, places):
    parted, whole = corpora
    taken, at = parted.take(torch.tensor(places))
    assert torch.equal(taken.video_ids, parted.video_ids[torch.tensor(places)[at]])
    assert taken.layout.lengths.tolist() == sorted(taken.layout.lengths.tolist())
    for here, video in enumerate(taken.video_ids.tolist()):
        there = whole.place_of(video)
        assert taken.video_names[here] == whole.video_names[there]
        assert taken.seconds_per_clip[here] == whole.seconds_per_clip[there]
        for use, streams in whole.rows.items():
            for name, rows in streams.items():
                found = taken.rows[use][name][taken.layout.rows_of(torch.tensor([here]))[0]]
                expected = rows[whole.layout.rows_of(torch.tensor([there]))[0]]
                assert found.dtype == torch.float32
                assert torch.equal(found, expected)


def test_rows_to_score_by_are_those_of_the_videos(corpora):
    parted, whole = corpora
    places = torch.tensor([1, 4, 7])
    rows, owner = parted.retrieval_rows(places, 'subtitle')
    there = torch.tensor([whole.place_of(x) for x in parted.video_ids[places].tolist()])
    expected, expected_owner = whole.retrieval_rows(there, 'subtitle')
    assert torch.equal(owner, expected_owner)
    assert torch.equal(rows, expected)


def test_videos_are_selected_by_id(corpora):
    parted, whole = corpora
    found, expected = (x.select_ids({62, 21, 40}) for x in (parted, whole))
    assert found.video_names == expected.video_names
    assert all(
        torch.equal(found.rows[use][name], rows)
        for use, streams in expected.rows.items()
        for name, rows in streams.items()
    )


def test_rows_that_are_shared_stay_shared():
    rows = dict(video=torch.ones(3, 2))
    corpus = part_of([3], 0, torch.float32, torch.Generator())
    corpus = EncodedCorpus(**{**vars(corpus), 'rows': dict(retrieval=rows, localization=rows)})
    taken, _ = PartedCorpus({'p': CorpusPart.whole(corpus)}).take(torch.tensor([0]))
    assert taken.rows['retrieval']['video'] is taken.rows['localization']['video']


def test_without_rows_it_is_small_and_names_the_same_videos(corpora):
    parted, _ = corpora
    described = parted.without_rows()
    assert described.video_names == parted.video_names
    assert described.layout.lengths.tolist() == parted.num_clips.tolist()
    assert {x.shape for x in described.rows['retrieval'].values()} == {(29, 0)}


def test_a_file_that_has_become_shorter_is_told(tmp_path):
    part_of([3], 0, torch.float16, torch.Generator()).save(tmp_path, model_checksum='x')
    part = CorpusPart.load(tmp_path)
    (path,) = tmp_path.glob('rows-*')
    with open(path, 'r+b') as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(InputError, match=r'rows-.*: ends within its rows'):
        part.rows(torch.tensor([0]), 'localization', 'subtitle')


def test_selected_videos_are_in_the_order_that_they_have_without_rows(corpora):
    """The front of a cluster knows places from there, and a shard answers with its own."""
    parted, _ = corpora
    for chosen in ({62, 21, 40}, {43, 61, 60}):
        described = parted.without_rows().select_ids(chosen)
        assert torch.equal(parted.select_ids(chosen).video_ids, described.video_ids)


def test_rows_of_padding_are_not_scored():
    generator = torch.Generator().manual_seed(0)
    corpus = replace(
        part_of([3, 3], 0, torch.float32, generator),
        layout=RowLayout.stack([2, 3], [3, 3]),
    )
    parted = PartedCorpus({'p': CorpusPart.whole(corpus)})
    rows = corpus.rows['retrieval']['video']
    for one in (corpus, parted):
        found, owner = one.retrieval_rows(torch.tensor([0, 1]), 'video')
        assert owner.tolist() == [0, 0, 1, 1, 1]
        assert torch.equal(found, rows[[0, 1, 3, 4, 5]])
