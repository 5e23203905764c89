"""BERT's Adam."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from reloclnet_mm.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class BertAdam(Optimizer):
    """Adam as BERT was trained with (Devlin et al., NAACL 2019).

    It differs from :class:`torch.optim.AdamW` in two points: the running means are not corrected
    for their start from 0, and each parameter tensor's gradient is clipped to a norm of its own.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        betas: Of the running means of the gradient and its square.
        eps: Added to the root of the second.
        weight_decay: Decoupled.
        max_grad_norm: Norm that each tensor's gradient is clipped to; None: no clipping.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        max_grad_norm: float | None = 1.0,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f'BertAdam: found lr {lr}, betas {betas}, eps {eps}, weight_decay {weight_decay}; '
                'expected none negative and betas below 1'
            )
        super().__init__(
            params,
            dict(
                lr=lr,
                betas=tuple(betas),
                eps=eps,
                weight_decay=weight_decay,
                max_grad_norm=max_grad_norm,
            ),
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update the parameters.

        Args:
            closure: Computes the loss again, with gradients.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict) -> None:
        gradient = parameter.grad
        if group['max_grad_norm'] is not None:
            gradient = clip_norm(gradient, group['max_grad_norm'])
        state = self.state[parameter]
        if not state:
            state['mean'] = torch.zeros_like(parameter)
            state['square'] = torch.zeros_like(parameter)
        beta1, beta2 = group['betas']
        state['mean'].lerp_(gradient, 1 - beta1)
        state['square'].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        update = state['mean'] / state['square'].sqrt().add_(group['eps'])
        update.add_(parameter, alpha=group['weight_decay'])
        parameter.sub_(update, alpha=group['lr'])


def clip_norm(gradient: Tensor, max_norm: float) -> Tensor:
    """The gradient scaled down to a norm, as :func:`torch.nn.utils.clip_grad_norm_` scales.

    Args:
        gradient: Any shape.
        max_norm: Largest norm.
    """
    scale = max_norm / (torch.linalg.vector_norm(gradient) + 1e-6)
    return gradient * scale.clamp(max=1.0)
