"""BERT's Adam, and training in bfloat16."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from reloclnet_mm.registry import OPTIMIZERS

_SETTINGS = ('lr', 'betas', 'eps', 'weight_decay', 'max_grad_norm')


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

    # There is nothing to gain for torch.compile, and it cannot follow the groups of parameters.
    @torch.compiler.disable
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
        for settings, parameters in self._alike():
            _update(parameters, [self._state_of(p) for p in parameters], *settings)
        return loss

    def _alike(self) -> Iterable[tuple[tuple, list[Tensor]]]:
        """Parameters with gradients, those with the same settings together.

        mmengine makes a group for each parameter where settings depend on its name.
        """
        alike: dict[tuple, list[Tensor]] = {}
        for group in self.param_groups:
            settings = tuple(group[name] for name in _SETTINGS)
            parameters = [p for p in group['params'] if p.grad is not None]
            alike.setdefault(settings, []).extend(parameters)
        return ((settings, parameters) for settings, parameters in alike.items() if parameters)

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state['mean'] = torch.zeros_like(parameter)
            state['square'] = torch.zeros_like(parameter)
        return state


def _update(
    parameters: list[Tensor],
    states: list[dict[str, Tensor]],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    max_grad_norm: float | None,
) -> None:
    gradients = [parameter.grad for parameter in parameters]
    if max_grad_norm is not None:
        gradients = clip_norms(gradients, max_grad_norm)
    means = [state['mean'] for state in states]
    squares = [state['square'] for state in states]
    beta1, beta2 = betas
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
    updates = torch._foreach_sqrt(squares)
    torch._foreach_add_(updates, eps)
    updates = torch._foreach_div(means, updates)
    torch._foreach_add_(updates, parameters, alpha=weight_decay)
    torch._foreach_add_(parameters, updates, alpha=-lr)


def clip_norms(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    """Each gradient scaled down to a norm, as ``torch.nn.utils.clip_grad_norm_`` scales one.

    Args:
        gradients: Any shapes.
        max_norm: Largest norm of each.
    """
    scales = torch.stack(torch._foreach_norm(gradients)).add_(1e-6).reciprocal_().mul_(max_norm)
    return torch._foreach_mul(gradients, list(scales.clamp_(max=1.0).unbind()))
