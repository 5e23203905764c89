"""The Adam that BERT was trained with."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from reloclnet_mm.registry import OPTIMIZERS
from reloclnet_mm.utils.checks import check_number

_SETTINGS = ('lr', 'betas', 'eps', 'weight_decay', 'max_grad_norm')


@OPTIMIZERS.register_module()
class BertAdam(Optimizer):
    """Update parameters with Adam as BERT was trained with (Devlin et al., NAACL 2019).

    It differs from :class:`torch.optim.AdamW` in two points: the running means are not corrected
    for their start from 0, and each parameter tensor's gradient is clipped to a norm of its own.

    Args:
        params: Parameters or groups of them, each with settings of its own if it has any.
        lr: Learning rate, not negative.
        betas: Decay of the running means of the gradient and of its square, each in [0, 1).
        eps: Is added to the root of the second mean; not negative.
        weight_decay: Share of a parameter that is subtracted each step, times ``lr``; not negative.
        max_grad_norm: Norm that each tensor's gradient is clipped to, above 0; None: no clipping.

    Raises:
        ValueError: A setting is out of range.
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
        super().__init__(
            params,
            dict(
                lr=lr,
                betas=betas,
                eps=eps,
                weight_decay=weight_decay,
                max_grad_norm=max_grad_norm,
            ),
        )

    def add_param_group(self, param_group: dict) -> None:
        """Add a group of parameters after checking its settings."""
        check_settings(self.defaults | param_group)
        super().add_param_group(param_group)
        # A list, as JSON and command lines give it, would not be hashable.
        self.param_groups[-1]['betas'] = tuple(self.param_groups[-1]['betas'])

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


def check_settings(settings: dict) -> None:
    """Refuse settings of :class:`BertAdam` that are out of range; see there."""
    for name in ('lr', 'eps', 'weight_decay'):
        check_number(f'BertAdam: {name}', settings[name], low=0)
    betas = settings['betas']
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ValueError(f'BertAdam: betas is {betas!r}, expected two numbers')
    for i, beta in enumerate(betas):
        check_number(f'BertAdam: betas[{i}]', beta, low=0, below=1)
    if settings['max_grad_norm'] is not None:
        check_number('BertAdam: max_grad_norm', settings['max_grad_norm'], above=0)


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
    """Scale each gradient down to a norm, as ``torch.nn.utils.clip_grad_norm_`` scales one.

    Args:
        gradients: Any shapes.
        max_norm: Largest norm of each.
    """
    scales = torch.stack(torch._foreach_norm(gradients)).add_(1e-6).reciprocal_().mul_(max_norm)
    return torch._foreach_mul(gradients, list(scales.clamp_(max=1.0).unbind()))
