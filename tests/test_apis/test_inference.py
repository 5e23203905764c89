"""Asking a trained model from Python."""

import h5py
import numpy as np
import pytest
import torch
from tiny_corpus import FILES, tiny_config, tiny_runner

from reloclnet_mm.apis import index_corpus, init_model, search
from reloclnet_mm.errors import InputError


@pytest.fixture
def asked(corpus_folder, tmp_path):
    """A model from a config and a checkpoint, its corpus, and the checkpoint."""
    cfg = tiny_config(corpus_folder, tmp_path)
    torch.manual_seed(3)
    path = tmp_path / 'weights.pth'
    torch.save(init_model(cfg).state_dict(), path)
    model = init_model(cfg, str(path))
    return model, index_corpus(model), path


def test_a_search_finds_what_a_test_of_the_same_query_ranks(asked, corpus_folder, tmp_path):
    model, corpus, path = asked
    runner = tiny_runner(corpus_folder, tmp_path / 'test', load_from=str(path))
    samples = []
    runner.test_loop.evaluator.process = lambda data_samples, data_batch: samples.extend(
        data_samples
    )
    runner.test_loop.evaluator.evaluate = lambda size: {}
    runner.test()
    with h5py.File(corpus_folder / FILES['query']) as file:
        for sample in samples:
            found = search(model, corpus, file[str(sample.query_id)][:], top_k=3)
            ranked = sample.pred_vcmr
            names = [corpus.corpus.place_of(i) for i in ranked.video_ids[:3].tolist()]
            assert [m.video_name for m in found] == [corpus.corpus.video_names[i] for i in names]
            assert [[m.start, m.end] for m in found] == ranked.moments[:3].tolist()
            shares = (ranked.scores / ranked.scores.sum())[:3]
            np.testing.assert_allclose([m.score for m in found], shares, rtol=1e-5)
    assert len(samples) == 8


@pytest.mark.parametrize('query', [np.zeros((0, 4)), np.zeros(4), np.full((2, 4), np.nan)])
def test_features_that_are_no_query_are_refused(asked, query):
    model, corpus, _ = asked
    with pytest.raises(InputError, match=r'expected \(tokens, channels\) of finite numbers'):
        search(model, corpus, query)
