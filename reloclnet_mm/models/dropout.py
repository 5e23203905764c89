"""Dropout whose random numbers do not dominate a step on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

# A draw of 64 bits decides of four elements, with 15 bits each.
_BITS = 15
_LEVELS = 2**_BITS
_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def drop(x: Tensor, probability: float, residual: Tensor | None = None) -> Tensor:
    """Zero each element with a probability and scale the others to keep the mean.

    On a CPU, torch's own takes several times as long, and its random numbers alone a fifth of a
    training step. The probability is rounded to a multiple of 2⁻¹⁵, and the scale is that of the
    rounded one. Randomness comes from torch's default generator.

    Args:
        x: Any shape, floating.
        probability: Of zeroing, in [0, 1).
        residual: Of the same shape, is added to the result.
    """
    if x.device.type != 'cpu':
        dropped = F.dropout(x, probability)
        return dropped if residual is None else dropped + residual
    return _Drop.apply(x, round(probability * _LEVELS), residual)


def keep_words(count: int, dropped: int) -> Tensor:
    """Words of which all bits are 0 with probability dropped / 2¹⁵ and all are 1 otherwise.

    Args:
        count: How many.
        dropped: Of 2¹⁵ draws.

    Returns:
        (count,) int16: 0 or −1.
    """
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    words = draws.view(torch.int16)[:count].bitwise_right_shift_(1)
    # Negative, and all ones after a shift of its sign, where the draw is large enough to keep.
    return words.neg_().add_(dropped - _LEVELS // 2 - 1).bitwise_right_shift_(_BITS)


def mask(x: Tensor, words: Tensor) -> Tensor:
    """A copy of ``x`` (contiguous) with zeros where the words are 0."""
    bits = _WORDS[x.element_size()]
    return (x.view(bits) & words.view(x.shape).to(bits)).view(x.dtype)


class _Drop(torch.autograd.Function):
    """Keeps two bytes an element for the gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, dropped: int, residual: Tensor | None) -> Tensor:
        words = keep_words(x.numel(), dropped)
        ctx.save_for_backward(words)
        ctx.scale = _LEVELS / (_LEVELS - dropped)
        kept = mask(x.contiguous(), words).mul_(ctx.scale)
        return kept if residual is None else kept.add_(residual)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, Tensor | None]:
        (words,) = ctx.saved_tensors
        of_x = mask(gradient.contiguous(), words).mul_(ctx.scale)
        return of_x, None, gradient if ctx.needs_input_grad[2] else None


class Dropout(nn.Module):
    """:func:`drop` in training, nothing otherwise.

    Args:
        probability: Of zeroing, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f'Dropout: probability is {probability}, expected 0 <= p < 1')
        self.probability = probability

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """As :func:`drop`."""
        if self.training and self.probability:
            return drop(x, self.probability, residual)
        return x if residual is None else x + residual

    def extra_repr(self) -> str:
        """For printing."""
        return f'p={self.probability}'
