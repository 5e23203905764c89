"""The learning rate's schedule in BERT."""

import logging

from mmengine.logging import print_log
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from torch.optim import Optimizer

from reloclnet_mm.registry import PARAM_SCHEDULERS
from reloclnet_mm.utils.checks import check_count, check_number


def warmup_linear(progress: float, warmup: float) -> float:
    """Compute the multiplier: from 0 to 1 during warm-up, then in a line to 0, where it stays.

    Args:
        progress: Share of all steps that is done, from 0.
        warmup: Share of all steps that warm-up takes.
    """
    if progress < warmup:
        return progress / warmup
    return max((progress - 1) / (warmup - 1), 0.0)


@PARAM_SCHEDULERS.register_module()
class BertLinearLR(LRSchedulerMixin, _ParamScheduler):
    """Warm up linearly from 0, decay linearly to 0 at the end, and stay there.

    mmengine's LinearLR cannot start from 0, and the end of warm-up need not fall on an iteration,
    so the multiplier is computed from its formula. Use it with ``by_epoch=True,
    convert_to_iter_based=True``; the length of training is then filled in.

    A training resumed with another ``max_epochs`` follows the schedule over its new length from
    there on, as if that had been its length from the start. (mmengine's schedules keep the old
    length.)

    Args:
        optimizer: Optimizer or wrapper.
        warmup: Share of training that warm-up takes, in [0, 1).
        begin: Step at which the schedule begins.
        end: Step from which on the rate is 0.
        last_step: Passed to mmengine's scheduler.
        by_epoch: Whether steps are epochs.
        verbose: Whether to print each rate.

    Raises:
        ValueError: An argument is out of range, or ``end`` is missing.
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
        check_number('BertLinearLR: warmup', warmup, low=0, below=1)
        check_count('BertLinearLR: begin', begin, low=0)
        check_count('BertLinearLR: end', end)
        if end >= INF:
            raise ValueError(
                'BertLinearLR: end is missing, expected the number of steps in training; give '
                'convert_to_iter_based=True, or end'
            )
        self.warmup = warmup
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
            *args: Passed to the class.
            begin: First epoch.
            end: Last epoch.
            by_epoch: Must be true.
            epoch_length: Iterations in an epoch.
            **kwargs: Passed to the class.
        """
        if not by_epoch or not epoch_length:
            raise ValueError(
                'BertLinearLR: convert_to_iter_based needs by_epoch=True and an epoch with a '
                f'length, found by_epoch={by_epoch}, epoch_length={epoch_length}'
            )
        iterations = dict(begin=begin * epoch_length, end=end * epoch_length)
        return cls(*args, **iterations, by_epoch=False, **kwargs)

    def step(self) -> None:
        """Take one step."""
        super().step()
        # mmengine's schedules leave the last rate in place from their end on.
        if self._global_step >= self.end:
            self._set_rates()

    def load_state_dict(self, state_dict: dict) -> None:
        """Continue from the step of a state, over the length that the config gives.

        Args:
            state_dict: What :meth:`state_dict` returned.
        """
        shape = dict(begin=self.begin, end=self.end, warmup=self.warmup)
        found = {name: state_dict[name] for name in shape}
        super().load_state_dict(state_dict)
        if found != shape:
            print_log(
                f'the schedule of the checkpoint was {found}; from here on it is {shape}, as the '
                'config says',
                logger='current',
                level=logging.WARNING,
            )
            self.__dict__.update(shape)
        if self._global_step >= self.begin:
            self._set_rates()

    def _set_rates(self) -> None:
        self.last_step = min(self._global_step, self.end) - self.begin
        for group, value in zip(self.optimizer.param_groups, self._get_value(), strict=True):
            group[self.param_name] = value
        self._last_value = [group[self.param_name] for group in self.optimizer.param_groups]

    def _get_value(self) -> list[float]:
        multiplier = warmup_linear(self.last_step / (self.end - self.begin), self.warmup)
        return [base * multiplier for base in self.base_values]
