"""Targets, answers and checkpoints have the same end of a span, or there is an error."""

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from tiny_corpus import CLIP_LENGTH, tiny_config

from reloclnet_mm.apis import init_model
from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.chance import candidate_spans
from reloclnet_mm.retrieval.results import RankingOptions


def config(corpus_folder, work_dir, targets='official', answers='official', **settings):
    cfg = tiny_config(corpus_folder, work_dir)
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    steps['MomentToSpan'].span_end = targets
    cfg.model.test_cfg.span_end = answers
    cfg.merge_from_dict(settings)
    return cfg


@pytest.mark.parametrize('ends', [('official', 'inclusive'), ('inclusive', 'official')])
def test_a_training_whose_targets_are_not_those_of_its_answers_does_not_begin(
    corpus_folder, tmp_path, ends
):
    runner = Runner.from_cfg(config(corpus_folder, tmp_path, *ends))
    with pytest.raises(
        InputError, match=f"targets have span_end='{ends[0]}', and the answers .* '{ends[1]}'"
    ):
        runner.train()
    assert runner.iter == 0


def test_a_trained_model_is_tested_as_it_was_trained_and_answers_the_last_clip(
    corpus_folder, tmp_path
):
    inclusive = dict(targets='inclusive', answers='inclusive')
    Runner.from_cfg(config(corpus_folder, tmp_path / 'run', **inclusive)).train()
    path = str(tmp_path / 'run' / 'epoch_1.pth')
    message = r"epoch_1\.pth: was trained with span_end='inclusive', and model\.test_cfg has 'offi"
    other = config(corpus_folder, tmp_path / 'other', load_from=path)
    with pytest.raises(InputError, match=message):
        Runner.from_cfg(other).test()
    with pytest.raises(InputError, match=message):
        init_model(other, path)

    cfg = config(corpus_folder, tmp_path / 'test', **inclusive, load_from=path)
    cfg.model.test_cfg.num_moments = 100
    init_model(cfg, path)
    runner, samples = Runner.from_cfg(cfg), []
    runner.test_loop.evaluator.process = lambda data_samples, data_batch: samples.extend(
        data_samples
    )
    runner.test_loop.evaluator.evaluate = lambda size: {}
    runner.test()
    # Three videos are not pooled: of 6, 8 and 1 clips.
    assert len(samples) == 8
    for sample in samples:
        if sample.video_name != 'h':
            num_clips = round(sample.duration / CLIP_LENGTH)
            spans = np.asarray(sample.pred_svmr.moments) / CLIP_LENGTH
            expected = candidate_spans(num_clips, 1, 5, 'inclusive')
            assert {tuple(x) for x in spans.tolist()} == {tuple(x) for x in expected.tolist()}
            assert spans[:, 1].max() == num_clips


def test_a_checkpoint_that_does_not_tell_is_the_authors_way(corpus_folder, tmp_path):
    """A converted one, or one of an older version."""
    weights = init_model(config(corpus_folder, tmp_path)).state_dict()
    path = str(tmp_path / 'converted.pth')
    torch.save(dict(state_dict=weights, meta=dict(official={})), path)
    init_model(config(corpus_folder, tmp_path), path)
    with pytest.raises(InputError, match="was trained with span_end='official'"):
        init_model(config(corpus_folder, tmp_path, answers='inclusive'), path)


def test_an_inclusive_answer_has_a_clip_at_least():
    with pytest.raises(ValueError, match='test_cfg: min_span is 0, expected a whole number ≥ 1'):
        RankingOptions(min_span=0, span_end='inclusive')
    with pytest.raises(ValueError, match="test_cfg: span_end is 'last', expected 'official' or"):
        RankingOptions(span_end='last')
