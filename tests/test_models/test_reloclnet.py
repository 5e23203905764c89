"""What ReLoCLNet alone computes; the contract suite has what all retrievers share."""

import copy
import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from retrievers import (
    BOTH,
    CLIPS,
    EXACT,
    TOKENS,
    encode,
    padded,
    pair_samples,
    sequences_of,
)
from retrievers import build as build_from
from tiny_corpus import MAX_CLIPS, packed, random_inputs, raw_inputs, tiny_model

from reloclnet_mm.models.data_preprocessors import MomentDataPreprocessor
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample


def build(**changes):
    return build_from('relocl_tvr.py', **changes)


@pytest.mark.parametrize('other_positives', ['negative', 'ignored'])
def test_queries_of_one_video_are_no_negatives_of_each_other_where_asked(other_positives):
    losses = {
        name: dict(type=f'reloclnet_mm.{kind}', other_positives=other_positives)
        for name, kind in (('loss_ranking', 'RankingLoss'), ('loss_video', 'VideoContrastiveLoss'))
    }
    model = build(**losses)
    raw = raw_inputs(2, clips=CLIPS, tokens=TOKENS)
    samples = [MomentDataSample(metainfo=dict(video_id=3)) for _ in range(2)]
    for sample in samples:
        sample.gt_span = np.array([0, 1])
    sequences = sequences_of(raw, range(2))
    for name in BOTH:
        sequences[name] = [sequences[name][0]] * 2
    inputs = MomentDataPreprocessor()(dict(inputs=sequences, data_samples=samples))['inputs']
    with torch.no_grad():
        found = model(inputs, samples, mode='loss')
    # Two equal scores in a row: the margin is missed by all of it.
    ignored = other_positives == 'ignored'
    assert float(found['loss_rank_query']) == pytest.approx(0 if ignored else 0.1)
    if ignored:
        assert float(found['loss_rank_video']) == 0
        assert float(found['loss_video_cl']) == pytest.approx(0.03 * math.log(2), rel=1e-5)
    else:
        assert float(found['loss_video_cl']) > 0.03 * math.log(3)


def test_the_official_mode_does_depend_on_padding_near_the_end_as_documented():
    model = build(padding='official')
    raw = raw_inputs(1, clips=[8], tokens=[4])
    with torch.no_grad():
        alone, longer = model(packed(raw)), model(packed(padded(raw, 3, 0)))
    difference = (longer['start_logits'][0, :8] - alone['start_logits'][0]).abs()
    assert difference[-1] > 1e-2
    # The convolution of width 5 reaches two clips back.
    assert difference[:6].max() < 1e-5


def test_an_encoded_corpus_holds_the_last_block_of_the_valid_clips_sorted_by_length():
    model = build()
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    corpus = encode(model, raw)
    assert corpus.positions.tolist() == [2, 3, 0, 1]
    assert corpus.video_names == ('v2', 'v3', 'v0', 'v1')
    assert corpus.layout.lengths.tolist() == [1, 3, 5, 8]
    assert corpus.layout.num_rows == sum(CLIPS)
    with torch.no_grad():
        blocks = model.encode_clips(packed(raw))
    for name, (_, _, last) in blocks.items():
        expected = torch.cat([last.view(4, 8, -1)[i, : CLIPS[i]] for i in (2, 3, 0, 1)])
        torch.testing.assert_close(corpus.rows['retrieval'][name], expected, **EXACT)
        assert corpus.rows['localization'][name] is corpus.rows['retrieval'][name]


def test_every_parameter_of_two_streams_is_trained():
    model = build().train()
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    losses = model(inputs, pair_samples(4), mode='loss')
    assert set(losses) == {
        'loss_rank_query',
        'loss_rank_video',
        'loss_span',
        'loss_frame_cl',
        'loss_video_cl',
    }
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_contrastive_losses_can_be_left_out():
    model = build(loss_frame=None, loss_video=None)
    inputs = random_inputs(2, clips=CLIPS, tokens=TOKENS)
    losses = model(inputs, pair_samples(2), mode='loss')
    assert set(losses) == {'loss_rank_query', 'loss_rank_video', 'loss_span'}


def test_the_longest_video_that_the_model_takes():
    inputs = random_inputs(1, clips=[MAX_CLIPS], tokens=[2])
    assert build(max_clips=MAX_CLIPS)(inputs)['start_logits'].shape == (1, MAX_CLIPS)


@pytest.fixture(scope='module')
def paper_model(request):
    cfg = Config.fromfile(request.config.rootpath / 'configs' / 'relocl_tvr.py')
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model)
    torch.manual_seed(0)
    model.init_weights()
    return model


def test_the_model_of_tvr_has_the_papers_number_of_parameters(paper_model):
    assert sum(p.numel() for p in paper_model.parameters()) == 7_765_650


def test_weights_begin_as_in_the_paper(paper_model):
    for name, module in paper_model.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
            # Five standard errors of a mean and of a standard deviation.
            error = 5 * 0.02 / math.sqrt(module.weight.numel())
            assert abs(module.weight.mean().item()) < error, name
            assert abs(module.weight.std().item() - 0.02) < error, name
            if getattr(module, 'bias', None) is not None:
                assert not module.bias.any(), name
        if isinstance(module, torch.nn.LayerNorm):
            assert (module.weight == 1).all(), name
            assert not module.bias.any(), name


def test_convolutions_begin_with_pytorchs_default():
    model = MODELS.build(tiny_model())
    before = copy.deepcopy(model.span_head.state_dict())
    model.init_weights()
    for side in ('start_conv', 'end_conv'):
        name = f'{side}.weight'
        assert torch.equal(model.span_head.state_dict()[name], before[name])
        # Uniform within 1 / sqrt(fan in) = 1 / sqrt(5).
        assert before[name].abs().max() <= 1 / math.sqrt(5)
