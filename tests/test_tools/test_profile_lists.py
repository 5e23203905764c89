"""The measurement of inverted lists, on a corpus that is small enough for a test."""

import json

import pytest
import torch
import torch.nn.functional as F
from tool_processes import run_here

from reloclnet_mm.profiling.drawn_corpora import CorpusSource

pytest.importorskip('faiss', reason='faiss is not installed: pip install "reloclnet_mm[index]"')

import faiss

# It has threads of its own, which would wait for those of other tests.
faiss.omp_set_num_threads(1)

WIDTH = 16


@pytest.fixture(scope='module')
def source():
    """Videos of sentences in several clips each, in groups, and queries beside them."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 20, (60,), generator=generator)
    groups = 2 * torch.randn(6, 2 * WIDTH, generator=generator)
    videos = []
    for number, length in enumerate(lengths.tolist()):
        own = groups[number % 6] + 0.5 * torch.randn(2 * WIDTH, generator=generator)
        said = own + 0.3 * torch.randn(5, 2 * WIDTH, generator=generator)
        videos.append(said[torch.arange(length) // 4])
    clips = torch.cat([F.normalize(x, dim=1) for x in torch.cat(videos).chunk(2, 1)], 1)
    queries = clips[:, :WIDTH][torch.randint(len(clips), (300,), generator=generator)]
    queries = F.normalize(queries + 0.1 * torch.randn(300, WIDTH, generator=generator), dim=1)
    return CorpusSource(clips.half(), lengths, queries, 2)


def runs_of(rows):
    """The share of clips that differ from the one before them."""
    return float(((rows[1:] * rows[:-1]).sum(1) < 0.999).float().mean())


def test_a_drawn_corpus_lies_as_its_source(source):
    drawn = source.draw(3000, 0)
    assert {*drawn.layout.lengths.tolist()} <= {*source.lengths.tolist()}
    assert drawn.layout.lengths.tolist() == sorted(drawn.layout.lengths.tolist())
    for name, real in zip(source.stream_names, source.clips.float().chunk(2, 1), strict=True):
        rows = drawn.rows['retrieval'][name]
        assert rows.dtype == torch.float16
        rows = rows.float()
        assert torch.allclose(rows.norm(dim=1), torch.ones(len(rows)), atol=2e-3)
        assert runs_of(rows) == pytest.approx(runs_of(real), abs=0.05)
        one, other = (torch.linalg.eigvalsh(x.T @ x / len(x)) for x in (rows, real))
        assert torch.allclose(one, other, rtol=0.5, atol=0.02)
    again, other = source.draw(50, 7), source.draw(50, 8)
    assert torch.equal(
        source.draw(50, 7).rows['retrieval']['stream_0'], again.rows['retrieval']['stream_0']
    )
    assert again.layout.num_rows != other.layout.num_rows or not torch.equal(
        again.rows['retrieval']['stream_0'], other.rows['retrieval']['stream_0']
    )


def test_it_draws_builds_measures_and_plots(source, tmp_path):
    source.save(tmp_path / 'source.safetensors')

    def profile(*args):
        return run_here(tmp_path, 'analysis_tools/profile_lists', *args)

    profile('draw', 'source.safetensors', '--videos', 1200, '--parts', 3, '--out', 'corpus')
    assert '1200' in profile('build', 'corpus')
    profile('measure', 'corpus', 'source.safetensors', '--parts', 1, 3, '--out', 'measured.json')
    small, large = json.loads((tmp_path / 'measured.json').read_text())
    assert (small['videos'], large['videos']) == (400, 1200)
    for row in (small, large):
        assert row['tuned_recall'] >= 0.99
        assert row['recall'] > 0.95
        assert row['same_moments'] > 0.95
        assert 0 < row['stored_clips'] < 2 * row['clips']
        assert 0 < row['video_ms']['p50'] <= row['moment_ms']['p50']
    profile('plot', 'measured.json', '--out', 'growth.png')
    assert (tmp_path / 'growth.png').read_bytes().startswith(b'\x89PNG')


def test_no_corpus_is_told(tmp_path):
    printed = run_here(tmp_path, 'analysis_tools/profile_lists', 'build', 'nowhere', status=1)
    assert 'holds no drawn corpus' in printed
