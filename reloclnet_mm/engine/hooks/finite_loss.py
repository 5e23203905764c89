"""The end of a training whose loss is not finite."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import HOOKS
from reloclnet_mm.utils.models import bare_model


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops a training at the first loss that is NaN or infinite, before it reaches the weights."""

    def before_train(self, runner: Runner) -> None:
        """Look at what the model returns in each iteration from here on."""
        self._runner = runner
        self._handle = bare_model(runner.model).register_forward_hook(self._check)

    def after_train(self, runner: Runner) -> None:
        """Look no more."""
        self._handle.remove()

    @torch.compiler.disable
    def _check(self, model: nn.Module, args: Any, losses: Any) -> None:
        if not model.training or not isinstance(losses, dict):
            return
        found = {name: x.detach() for name, x in losses.items() if _is_loss(name, x)}
        # One number is fetched from the device, as mmengine's log does with each loss.
        if not found or torch.isfinite(sum(x.float().mean() for x in found.values())):
            return
        for name, x in found.items():
            if not torch.isfinite(x).all():
                raise InputError(
                    f'epoch {self._runner.epoch + 1}, iteration {self._runner.iter + 1}: the loss '
                    f'{name!r} is {float(x.mean())}; the weights are still those of the iteration '
                    'before. Lower the learning rate, and check the features of this batch for '
                    'NaN and very large numbers'
                )


def _is_loss(name: str, value: Any) -> bool:
    # mmengine adds up those whose names have it in them.
    return 'loss' in name and isinstance(value, Tensor)
