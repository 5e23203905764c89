"""One forward and backward pass of CONQUER against the authors' program."""

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
from official_config import conquer_config

from reloclnet_mm.models.official import convert_state_dict
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample
from reloclnet_mm.structures.packed_rows import PackedRows

LOSS_NAMES = dict(loss_span='moment_ce_loss', loss_video='video_ce_loss')


def as_tensors(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope='module')
def passed(conquer_golden):
    """The golden, the model with its weights, and the inputs."""
    golden = np.load(conquer_golden)
    model = MODELS.build(conquer_config(read_meta(golden), dropout=0.0))
    model.load_state_dict(convert_state_dict(as_tensors(arrays_below(golden, 'w/'))))
    return golden, model, inputs_of(golden, model)


def inputs_of(golden, model, cut=False):
    """The batch, padded as it is; cut: with no more padding than it needs."""
    raw = as_tensors(arrays_below(golden, 'in/'))
    query_mask, video_mask = raw['query_mask'].bool(), raw['video_mask'].flatten(0, 1).bool()
    tokens, clips = (int(mask.sum(1).max()) if cut else None for mask in (query_mask, video_mask))
    streams = {
        name: raw[f'{theirs}_feat'].flatten(0, 1)[:, :clips]
        for name, theirs in (('video', 'video'), ('subtitle', 'sub'))
        if name in model.context_encoder.in_channels
    }
    query = {'query': raw['query_feat'][:, :tokens]}
    packed = PackedRows.padded(streams, video_mask[:, :clips])
    places = packed.places.view(raw['video_mask'].shape[:2])
    return dict(
        query=PackedRows.padded(query, query_mask[:, :tokens]),
        clips=PackedRows(packed.features, packed.layout, places),
    )


def samples(golden):
    spans = torch.from_numpy(golden['in/st_ed_indices'])
    return [MomentDataSample(gt_span=span) for span in spans]


def expected_losses(golden):
    """Those of parts that the model has, by our names."""
    losses = {ours: float(golden[f'loss/{theirs}']) for ours, theirs in LOSS_NAMES.items()}
    return {name: loss for name, loss in losses.items() if loss}


def test_logits_and_video_scores_equal_the_original(passed):
    golden, model, inputs = passed
    found = model(inputs, mode='tensor')
    valid = golden['in/video_mask'].astype(bool)
    for name in ('start_logits', 'end_logits'):
        logits = found[name].detach().numpy()[valid]
        assert relative_error(logits, golden[f'out/{name}'][valid]) < OUTPUT_TOLERANCE
    assert ('video_scores' in found) == ('out/video_scores' in golden.files)
    if 'video_scores' in found:
        scores = found['video_scores'].detach().numpy()
        assert relative_error(scores, golden['out/video_scores']) < OUTPUT_TOLERANCE


def test_losses_equal_the_original(passed):
    golden, model, inputs = passed
    losses = {name: x.item() for name, x in model(inputs, samples(golden), mode='loss').items()}
    assert losses == pytest.approx(expected_losses(golden), rel=OUTPUT_TOLERANCE)
    overall = golden['loss/loss_overall'].item()
    assert sum(losses.values()) == pytest.approx(overall, rel=OUTPUT_TOLERANCE)


def test_gradients_of_every_parameter_equal_the_original(passed):
    golden, model, inputs = passed
    model.zero_grad()
    sum(model(inputs, samples(golden), mode='loss').values()).backward()
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


def test_with_independent_padding_how_far_the_original_pads_changes_nothing(passed):
    golden, model, inputs = passed
    config = conquer_config(read_meta(golden), dropout=0.0) | dict(padding='independent')
    independent = MODELS.build(config)
    independent.load_state_dict(model.state_dict())
    found, cut = (independent(x) for x in (inputs, inputs_of(golden, independent, cut=True)))
    for name, x in cut.items():
        y = found[name][..., : x.shape[2]] if x.dim() == 3 else found[name]
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)
