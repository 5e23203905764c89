"""Training in bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import Optimizer

from reloclnet_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """Computes in bfloat16 where ``torch.autocast`` does, on a CPU or a GPU.

    Weights, gradients and scores stay in float32. bfloat16 has float32's range, so the loss is not
    scaled. mmengine's ``AmpOptimWrapper`` refuses a CPU.

    Args:
        optimizer: The optimizer.
        accumulative_counts: Of mmengine's OptimWrapper.
        clip_grad: Of mmengine's OptimWrapper.
    """

    def __init__(
        self, optimizer: Optimizer, accumulative_counts: int = 1, clip_grad: dict | None = None
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
