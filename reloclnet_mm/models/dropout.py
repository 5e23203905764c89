"""Dropout whose random numbers do not dominate a step on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

# A draw of 64 bits decides of four elements, with 15 bits each.
_BITS = 15
_LEVELS = 2**_BITS
# Elements at a time, a multiple of four: what is computed on the way stays in a CPU's cache.
_AT_ONCE = 2**17
_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def drop(
    x: Tensor, probability: float, residual: Tensor | None = None, *, inplace: bool = False
) -> Tensor:
    """Zero each element with a probability and scale the others to keep the mean.

    On a CPU, torch's own takes several times as long, and its random numbers alone a fifth of a
    training step. The probability is rounded to a multiple of 2⁻¹⁵, and the scale is that of the
    rounded one. Randomness comes from torch's default generator.

    Args:
        x: Any shape, floating.
        probability: Of zeroing, in [0, 1).
        residual: Of the same shape, is added to the result.
        inplace: Whether ``x`` itself may be changed.
    """
    if x.device.type != 'cpu':
        dropped = F.dropout(x, probability, inplace=inplace)
        return dropped if residual is None else dropped + residual
    dropped = round(probability * _LEVELS)
    drop_with = _DropInPlace if inplace and x.is_contiguous() else _Drop
    return drop_with.apply(x, dropped, residual)


def keep_words(words: Tensor, dropped: int) -> None:
    """Fill with words of which all bits are 0 with probability dropped / 2¹⁵, all are 1 otherwise.

    Args:
        words: (4n,) int16, becomes 0 or −1.
        dropped: Of 2¹⁵ draws.
    """
    words.view(torch.int64).random_(-(2**63), None)
    words.bitwise_right_shift_(1)
    # Negative, and all ones after a shift of its sign, where the draw is large enough to keep.
    words.neg_().add_(dropped - _LEVELS // 2 - 1).bitwise_right_shift_(_BITS)


def mask_into(out: Tensor, x: Tensor, words: Tensor, scale: float) -> None:
    """Write ``x`` times the scale, with zeros where the words are 0.

    Args:
        out: As ``x``, contiguous; may be ``x``.
        x: Any shape, contiguous.
        words: (numel,) int16: 0 or −1.
        scale: Of what is kept.
    """
    bits = _WORDS[x.element_size()]
    parts = (out.view(-1).split(_AT_ONCE), x.view(-1).split(_AT_ONCE), words.split(_AT_ONCE))
    for to, source, keep in zip(*parts, strict=True):
        torch.bitwise_and(source.view(bits), keep.to(bits), out=to.view(bits))
        to.mul_(scale)


def _draw_words(count: int, dropped: int) -> Tensor:
    words = torch.empty(-(-count // 4) * 4, dtype=torch.int16)
    for part in words.split(_AT_ONCE):
        keep_words(part, dropped)
    return words[:count]


class _Drop(torch.autograd.Function):
    """Keeps two bytes an element for the gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, dropped: int, residual: Tensor | None) -> Tensor:
        kept = torch.empty_like(x, memory_format=torch.contiguous_format)
        _drop_into(ctx, kept, x.contiguous(), dropped)
        return kept if residual is None else kept.add_(residual)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, Tensor | None]:
        (words,) = ctx.saved_tensors
        of_x = torch.empty_like(gradient, memory_format=torch.contiguous_format)
        mask_into(of_x, gradient.contiguous(), words, ctx.scale)
        return of_x, None, gradient if ctx.needs_input_grad[2] else None


class _DropInPlace(_Drop):
    """:class:`_Drop` in the memory of what is dropped from."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, dropped: int, residual: Tensor | None) -> Tensor:
        _drop_into(ctx, x, x, dropped)
        ctx.mark_dirty(x)
        return x if residual is None else x.add_(residual)


def _drop_into(ctx: FunctionCtx, out: Tensor, x: Tensor, dropped: int) -> None:
    words = _draw_words(x.numel(), dropped)
    ctx.save_for_backward(words)
    ctx.scale = _LEVELS / (_LEVELS - dropped)
    mask_into(out, x, words, ctx.scale)


class Dropout(nn.Module):
    """:func:`drop` in training, nothing otherwise.

    Args:
        probability: Of zeroing, in [0, 1).
        inplace: Whether the input itself may be changed.
    """

    def __init__(self, probability: float, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f'Dropout: probability is {probability}, expected 0 <= p < 1')
        self.probability = probability
        self.inplace = inplace

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """As :func:`drop`."""
        if self.training and self.probability:
            return drop(x, self.probability, residual, inplace=self.inplace)
        return x if residual is None else x + residual

    def extra_repr(self) -> str:
        """For printing."""
        return f'p={self.probability}'
