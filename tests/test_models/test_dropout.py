"""Dropout of few random bits: its rate, its scale, its gradient and its independence."""

import math

import pytest
import torch

from reloclnet_mm.models.dropout import Dropout, drop

SIZE = 2**20 + 3
# The probability is rounded to a multiple of 2^-15.
LEVELS = 2**15


def rounded(probability):
    return round(probability * LEVELS) / LEVELS


def kept(size, probability, seed=0):
    torch.manual_seed(seed)
    return drop(torch.ones(size), probability) != 0


@pytest.mark.parametrize('probability', [0.5, 0.1, 0.001, 0.9])
def test_as_many_elements_are_dropped_as_asked_for(probability):
    dropped = SIZE - int(kept(SIZE, probability).sum())
    p = rounded(probability)
    assert abs(p - probability) <= 0.5 / LEVELS
    assert abs(dropped - SIZE * p) < 5 * math.sqrt(SIZE * p * (1 - p))


@pytest.mark.parametrize('probability', [0.5, 0.1, 0.001])
def test_elements_are_dropped_at_the_same_rate_at_each_place_of_a_draw(probability):
    columns = kept(2**20, probability).view(-1, 4).sum(0)
    p, count = rounded(probability), 2**18
    assert ((columns - count * (1 - p)).abs() < 5 * math.sqrt(count * p * (1 - p))).all()


@pytest.mark.parametrize('probability', [0.5, 0.1, 0.001])
def test_what_is_kept_is_scaled_to_keep_the_mean(probability):
    torch.manual_seed(1)
    x = torch.randn(1000, 7)
    y = drop(x, probability)
    scale = torch.tensor(1 / (1 - rounded(probability)))
    assert torch.equal(y, torch.where(y == 0, 0, x * scale))
    ones = drop(torch.ones(SIZE), probability).double()
    p = rounded(probability)
    assert abs(float(ones.mean()) - 1) < 5 * math.sqrt(p / (1 - p) / SIZE)


@pytest.mark.parametrize('shape', [(), (1,), (3,), (5, 7), (2, 3, 5), (4, 4), (0, 3)])
def test_any_shape_is_dropped_from(shape):
    torch.manual_seed(0)
    y = drop(torch.ones(shape), 0.5)
    assert y.shape == shape
    assert set(y.flatten().tolist()) <= {0, 2}


def test_the_gradient_is_the_mask_times_the_scale():
    torch.manual_seed(0)
    x = torch.randn(33, 5, requires_grad=True)
    weight = torch.randn(33, 5)
    y = drop(x, 0.25)
    (y * weight).sum().backward()
    expected = torch.where(y.detach() == 0, 0, weight / 0.75)
    torch.testing.assert_close(x.grad, expected)


def test_a_residual_is_added_after_dropping_and_has_the_whole_gradient():
    x, residual = (torch.randn(33, 5, requires_grad=True) for _ in range(2))
    torch.manual_seed(0)
    expected = drop(x, 0.25) + residual
    torch.manual_seed(0)
    found = drop(x, 0.25, residual)
    torch.testing.assert_close(found, expected)
    weight = torch.randn(33, 5)
    gradients = [torch.autograd.grad((y * weight).sum(), [x, residual]) for y in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert torch.equal(gradients[0][1], weight)


@pytest.mark.parametrize('shape', [(33, 5), (2**16, 3)])
@pytest.mark.parametrize('with_residual', [False, True])
def test_in_place_it_drops_the_same_and_has_the_same_gradients(shape, with_residual):
    x, other, weight = (torch.randn(shape) for _ in range(3))
    x.requires_grad_()
    found = []
    for inplace in (False, True):
        torch.manual_seed(0)
        to_drop = x * 3
        y = drop(to_drop, 0.25, other if with_residual else None, inplace=inplace)
        assert (y.data_ptr() == to_drop.data_ptr()) == inplace
        found.append((y.detach(), *torch.autograd.grad((y * weight).sum(), x)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_in_place_on_what_a_gradient_needs_is_an_error():
    y = torch.randn(9, requires_grad=True).exp()
    dropped = drop(y, 0.5, inplace=True)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        dropped.sum().backward()


def test_rows_that_are_not_contiguous_are_dropped_from():
    x = torch.ones(50, 8)[:, ::2]
    assert set(drop(x, 0.5, inplace=True).flatten().tolist()) == {0, 2}
    assert (x == 1).all()


def test_random_numbers_come_from_the_default_generator():
    assert torch.equal(kept(999, 0.5, seed=3), kept(999, 0.5, seed=3))
    assert not torch.equal(kept(999, 0.5, seed=3), kept(999, 0.5, seed=4))
    torch.manual_seed(3)
    first, second = (drop(torch.ones(999), 0.5) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize('distance', [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize('probability', [0.5, 0.1])
def test_neighbours_are_dropped_independently(distance, probability):
    p = rounded(probability)
    x = (kept(SIZE, probability).double() - (1 - p)) / math.sqrt(p * (1 - p))
    # The mean of n products of independent standard numbers deviates by 1 / sqrt(n).
    correlation = float((x[distance:] * x[:-distance]).mean())
    assert abs(correlation) < 5 / math.sqrt(SIZE - distance)


def test_bfloat16_is_dropped_from_as_it_is():
    torch.manual_seed(0)
    x = torch.randn(SIZE, dtype=torch.bfloat16, requires_grad=True)
    y = drop(x, 0.5)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, torch.where(y == 0, 0, 2 * x))
    assert abs(int((y == 0).sum()) - SIZE / 2) < 5 * math.sqrt(SIZE / 4)
    y.sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert torch.equal(x.grad, torch.where(y == 0, 0, 2).bfloat16())


def test_nothing_is_dropped_in_evaluation_or_at_probability_zero():
    x = torch.randn(50)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)
    assert torch.equal(drop(x, 0.0), x)
    assert torch.equal(Dropout(0.5).eval()(x, residual=x), 2 * x)


def test_the_module_drops_in_training():
    layer, x = Dropout(0.25).train(), torch.randn(50, 3)
    torch.manual_seed(0)
    found = layer(x)
    torch.manual_seed(0)
    assert torch.equal(found, drop(x, 0.25))
    assert repr(layer) == 'Dropout(p=0.25)'


@pytest.mark.parametrize('probability', [1, 1.5, -0.1, math.nan])
def test_a_probability_out_of_range_is_refused(probability):
    with pytest.raises(ValueError, match=f'probability is {probability}, expected 0 <= p < 1'):
        Dropout(probability)
