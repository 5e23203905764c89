"""The learning rate's schedule in BERT."""

import logging

from mmengine.logging import print_log
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from torch.optim import Optimizer

from reloclnet_mm.registry import PARAM_SCHEDULERS


def warmup_linear(progress: float, warmup: float) -> float:
    """The multiplier: from 0 up to 1 during warm-up, then down to 0 in a line.

    Args:
        progress: Share of all steps that is done, from 0.
        warmup: Share of all steps that warm-up takes.
    """
    if progress < warmup:
        return progress / warmup
    return max((progress - 1) / (warmup - 1), 0.0)


@PARAM_SCHEDULERS.register_module()
class BertLinearLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warm-up from 0, linear decay to 0, by iteration.

    mmengine's LinearLR cannot start from 0, and the end of warm-up need not fall on an iteration,
    so the multiplier is computed in closed form. Use it with ``by_epoch=True,
    convert_to_iter_based=True``; the length of training is then filled in.

    A training resumed with another ``max_epochs`` follows the schedule over its new length from
    there on, as if that had been its length from the start. (mmengine's schedules keep the old
    length; beyond it, the rate would stay at 0.)

    Args:
        optimizer: Optimizer or wrapper.
        warmup: Share of training that warm-up takes.
        begin: First step.
        end: Last step; what the schedule stretches over.
        last_step: Step to go on from.
        by_epoch: Whether steps are epochs.
        verbose: Whether to print each value.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: float = 0.01,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f'BertLinearLR: warmup is {warmup}, expected a share in [0, 1)')
        if end >= INF:
            raise ValueError(
                'BertLinearLR: end is missing, expected the number of steps in training; give '
                'convert_to_iter_based=True, or end'
            )
        self.warmup = warmup
        self.total_iters = end - begin
        super().__init__(
            optimizer,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: object,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: object,
    ) -> 'BertLinearLR':
        """Build from a configuration in epochs.

        Args:
            *args: Of the class.
            begin: First epoch.
            end: Last epoch.
            by_epoch: Must be true.
            epoch_length: Iterations in an epoch.
            **kwargs: Of the class.
        """
        if not by_epoch or not epoch_length:
            raise ValueError(
                'BertLinearLR: convert_to_iter_based needs by_epoch=True and an epoch with a '
                f'length, found by_epoch={by_epoch}, epoch_length={epoch_length}'
            )
        iterations = dict(begin=begin * epoch_length, end=end * epoch_length)
        return cls(*args, **iterations, by_epoch=False, **kwargs)

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from the step of a state, over the length that the config gives.

        Args:
            state_dict: Of :meth:`state_dict`.
        """
        shape = dict(
            begin=self.begin, end=self.end, total_iters=self.total_iters, warmup=self.warmup
        )
        found = {name: state_dict[name] for name in shape}
        super().load_state_dict(state_dict)
        if found == shape:
            return
        print_log(
            f'the schedule of the checkpoint was {found}; from here on it is {shape}, as the '
            'config says',
            logger='current',
            level=logging.WARNING,
        )
        self.__dict__.update(shape)
        if self._global_step >= self.begin:
            self.last_step = min(self._global_step, self.end - 1) - self.begin
            for group, value in zip(self.optimizer.param_groups, self._get_value(), strict=True):
                group[self.param_name] = value

    def _get_value(self) -> list[float]:
        multiplier = warmup_linear(self.last_step / self.total_iters, self.warmup)
        return [base * multiplier for base in self.base_values]
