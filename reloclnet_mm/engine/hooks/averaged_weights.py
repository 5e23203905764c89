"""Averaged weights that begin where the training begins."""

from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.runner import Runner

from reloclnet_mm.registry import HOOKS
from reloclnet_mm.utils.models import bare_model


@HOOKS.register_module()
class EMAHook(MMEngineEMAHook):
    """mmengine's ``EMAHook``, with the same arguments, whose average begins with the first weights.

    mmengine's copies the model before its weights are initialized or loaded, which a validation
    before the first step (``val_untrained`` of
    :class:`~reloclnet_mm.engine.loops.resumable_loop.ResumableTrainLoop`) would see.
    """

    # After the hooks that set buffers before training, before AtomicCheckpointHook.
    priority = 'LOW'

    def before_train(self, runner: Runner) -> None:
        """Copy the weights of a training that begins."""
        super().before_train(runner)
        if runner.iter == 0:
            self.ema_model.module.load_state_dict(bare_model(runner.model).state_dict())
