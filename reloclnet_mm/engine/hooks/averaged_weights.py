"""Averaged weights that begin where the training begins."""

from inspect import signature
from typing import Any

from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.runner import Runner

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import HOOKS, MODELS
from reloclnet_mm.utils.models import bare_model


@HOOKS.register_module()
class EMAHook(MMEngineEMAHook):
    """mmengine's ``EMAHook``, whose average begins with the weights that training begins with.

    mmengine's copies the model before its weights are initialized or loaded, which a validation
    before the first step (``val_untrained`` of
    :class:`~reloclnet_mm.engine.loops.resumable_loop.ResumableTrainLoop`) would see.

    Args:
        ema_type: Kind of the average, as in mmengine.
        **settings: Passed to mmengine's EMAHook; those that are not its own to the average.

    Raises:
        InputError: There is no such average, or neither it nor the hook has such a setting.
    """

    # After the hooks that set buffers before training, before AtomicCheckpointHook.
    priority = 'LOW'

    def __init__(self, ema_type: str = 'ExponentialMovingAverage', **settings: Any) -> None:
        super().__init__(ema_type, **settings)
        average = MODELS.get(ema_type)
        if average is None:
            raise InputError(
                f'EMAHook: ema_type is {ema_type!r}, expected an average of mmengine, such as '
                "'ExponentialMovingAverage'; correct the name"
            )
        known = signature(average).parameters.keys()
        unknown = sorted(self.ema_cfg.keys() - known - {'type'})
        if unknown:
            raise InputError(
                f'EMAHook: unknown settings {unknown}, expected those of the hook and of '
                f'{ema_type}; correct the name or remove it'
            )

    def before_train(self, runner: Runner) -> None:
        """Copy the weights of a training that begins."""
        super().before_train(runner)
        if runner.iter == 0:
            self.ema_model.module.load_state_dict(bare_model(runner.model).state_dict())
