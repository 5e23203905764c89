"""Training in bfloat16."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import Optimizer

from reloclnet_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """Compute in bfloat16 where ``torch.autocast`` does, on a GPU or on a CPU that can.

    Weights, gradients and scores stay in float32. bfloat16 has float32's range, so the loss is not
    scaled. mmengine's ``AmpOptimWrapper`` refuses a CPU. A CPU that has no instructions for
    products in bfloat16 computes in float32 after a warning: torch would imitate them, at many
    times the cost of float32.

    Args:
        optimizer: Passed to mmengine's ``OptimWrapper``.
        accumulative_counts: Passed to mmengine's ``OptimWrapper``.
        clip_grad: Passed to mmengine's ``OptimWrapper``.
    """

    def __init__(
        self, optimizer: Optimizer, accumulative_counts: int = 1, clip_grad: dict | None = None
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self._has_warned = False

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast for the forward pass."""
        device = next(model.parameters()).device.type
        enabled = device != 'cpu' or multiplies_bfloat16(cpu_capabilities())
        if not enabled and not self._has_warned:
            self._has_warned = True
            print_log(
                'Bfloat16OptimWrapper: this CPU has no instructions for products in bfloat16 '
                '(avx512_bf16, amx_bf16), so training computes in float32',
                logger='current',
                level=logging.WARNING,
            )
        with super().optim_context(model), torch.autocast(device, torch.bfloat16, enabled=enabled):
            yield


def cpu_capabilities() -> Mapping[str, object]:
    """Return what torch knows of the CPU; nothing where torch is too old to say."""
    return getattr(torch.cpu, 'get_capabilities', dict)()


def multiplies_bfloat16(capabilities: Mapping[str, object]) -> bool:
    """Return whether a CPU has instructions for products in bfloat16.

    Args:
        capabilities: Name of an instruction set to whether the CPU has it.
    """
    return any(capabilities.get(name) for name in ('avx512_bf16', 'amx_bf16', 'bf16'))
