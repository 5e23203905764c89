"""One forward and backward pass, at every level, against the authors' programs."""

import numpy as np
import pytest
import torch
from goldens import (
    GRADIENT_TOLERANCE,
    OUTPUT_TOLERANCE,
    arrays_below,
    read_meta,
    relative_error,
)
from official_config import model_config

from reloclnet_mm.models.official import convert_state_dict
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample
from reloclnet_mm.structures.packed_rows import PackedRows

LOSS_NAMES = dict(
    loss_span='loss_st_ed',
    loss_frame_cl='loss_fcl',
    loss_video_cl='loss_vcl',
    loss_rank_query='loss_neg_ctx',
    loss_rank_video='loss_neg_q',
)


def as_tensors(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope='module')
def passed(model_golden):
    """The golden, the model with its weights, and the inputs."""
    golden = np.load(model_golden)
    model = MODELS.build(model_config(read_meta(golden)['config'], dropout=0.0))
    model.load_state_dict(convert_state_dict(as_tensors(arrays_below(golden, 'w/'))))
    raw = as_tensors(arrays_below(golden, 'in/'))
    streams = {
        stream: raw[f'{name}_feat']
        for stream, name in (('video', 'video'), ('subtitle', 'sub'))
        if stream in model.context_encoder.in_channels
    }
    clip_mask = next(raw[f'{name}_mask'] for name in ('video', 'sub') if f'{name}_mask' in raw)
    inputs = dict(
        query=PackedRows.padded({'query': raw['query_feat']}, raw['query_mask'].bool()),
        clips=PackedRows.padded(streams, clip_mask.bool()),
    )
    return golden, model, inputs, raw


def valid_clips(inputs):
    """(B, L) bool."""
    return inputs['clips'].layout.masks[0].numpy()


def needs(golden, name):
    """Skip a test of what the program of a golden did not put out."""
    if name not in golden.files:
        pytest.skip(f'the golden has no {name}')


def samples(raw):
    return [
        MomentDataSample(metainfo=dict(video_id=i), gt_span=span)
        for i, span in enumerate(raw['st_ed_indices'])
    ]


def test_every_block_of_the_context_encoder_equals_the_original(passed):
    golden, model, inputs, _ = passed
    valid = valid_clips(inputs)
    for stream, outputs in model.encode_clips(inputs).items():
        name = {'video': 'video', 'subtitle': 'sub'}[stream]
        levels = [x for x in golden.files if x.startswith(f'out/context_{name}_')]
        # XML of one stream has three blocks and puts out the first and the last.
        chosen = outputs if len(levels) == len(outputs) else (outputs[0], outputs[-1])
        for level, output in zip(sorted(levels), chosen, strict=True):
            expected = golden[level][valid]
            found = output.detach().numpy()[valid.flatten()]
            assert relative_error(found, expected) < OUTPUT_TOLERANCE


def test_pooled_queries_equal_the_original(passed):
    golden, model, inputs, _ = passed
    needs(golden, 'out/video_query')
    for stream, query in model.encode_query(inputs).items():
        name = {'video': 'video', 'subtitle': 'sub'}[stream]
        expected = golden[f'out/{name}_query']
        assert relative_error(query.detach().numpy(), expected) < OUTPUT_TOLERANCE


def test_video_scores_equal_the_original(passed):
    golden, model, inputs, _ = passed
    scores = model.retrieval_scores(model.encode_pair(inputs))
    expected = golden['out/query_video_scores']
    assert relative_error(scores.detach().numpy(), expected) < OUTPUT_TOLERANCE


def test_span_logits_of_each_query_in_its_own_video_equal_the_original(passed):
    golden, model, inputs, _ = passed
    outputs = model(inputs, mode='tensor')
    valid = valid_clips(inputs)
    for side in ('start', 'end'):
        found = outputs[f'{side}_logits'].detach().numpy()[valid]
        expected = golden[f'out/{side}_logits_paired'][valid]
        assert relative_error(found, expected) < OUTPUT_TOLERANCE


def test_span_logits_of_each_query_in_every_video_equal_the_original(passed):
    golden, model, inputs, _ = passed
    needs(golden, 'out/start_logits_all_pairs')
    encoded = model.encode_pair(inputs)
    clip_mask = encoded.layout.masks[0]
    size, length = clip_mask.shape
    mapped = model.span_head.map_queries(encoded.queries)
    similarity = {
        name: torch.einsum('qd,vld->qvl', mapped[name], rows.view(size, length, -1)).flatten(0, 1)
        for name, rows in encoded.rows['localization'].items()
    }
    logits = model.span_head(similarity, clip_mask.repeat(size, 1))
    valid = clip_mask.expand(size, size, length).numpy()
    for side, found in zip(('start', 'end'), logits, strict=True):
        by_query = found.detach().view(size, size, length).numpy()
        expected = golden[f'out/{side}_logits_all_pairs'][valid]
        assert relative_error(by_query[valid], expected) < OUTPUT_TOLERANCE


def test_losses_equal_the_original(passed):
    golden, model, inputs, raw = passed
    losses = model(inputs, samples(raw), mode='loss')
    expected = {theirs for theirs in arrays_below(golden, 'loss/') if theirs != 'loss_overall'}
    assert {LOSS_NAMES[name] for name in losses} == expected
    for ours, theirs in LOSS_NAMES.items():
        if ours not in losses:
            continue
        assert losses[ours].item() == pytest.approx(
            golden[f'loss/{theirs}'].item(), rel=OUTPUT_TOLERANCE
        )
    total = sum(losses.values()).item()
    assert total == pytest.approx(golden['loss/loss_overall'].item(), rel=OUTPUT_TOLERANCE)


def test_gradients_of_every_parameter_equal_the_original(passed):
    golden, model, inputs, raw = passed
    model.zero_grad()
    sum(model(inputs, samples(raw), mode='loss').values()).backward()
    expected = convert_state_dict(as_tensors(arrays_below(golden, 'grad/')))
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        scale = expected[name].abs().max()
        if name.endswith('key.bias'):
            # Softmax does not see what all keys have in common: this gradient is 0, and both
            # sides hold rounding. Its scale is that of the weight beside it.
            scale = expected[name.replace('bias', 'weight')].abs().max()
        error = (gradient - expected[name]).abs().max() / scale
        assert error < GRADIENT_TOLERANCE, name
