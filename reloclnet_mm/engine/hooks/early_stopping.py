"""Early stopping that survives interruption."""

from mmengine.hooks import EarlyStoppingHook as MMEngineEarlyStoppingHook
from mmengine.runner import Runner

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import HOOKS


@HOOKS.register_module()
class EarlyStoppingHook(MMEngineEarlyStoppingHook):
    """mmengine's ``EarlyStoppingHook``, with the same arguments, which survives interruption.

    - Its best score and its count of validations without a better one are in the checkpoints, by
      way of the message hub; mmengine's starts anew on resuming.
    - It looks at training only; mmengine's asks for the training loop in a test too, and so needs
      the training data there.
    """

    # Before AtomicCheckpointHook writes what is known after a validation.
    priority = 'LOW'

    def before_run(self, runner: Runner) -> None:
        """Leave a run that may be a test alone."""

    def before_train(self, runner: Runner) -> None:
        """Check that the training loop can be stopped, and go on counting after resuming.

        Raises:
            InputError: The checkpoint to resume from holds something else than a score and a count.
        """
        super().before_run(runner)
        known = runner.message_hub.runtime_info.get('early_stopping')
        if known is None:
            return
        try:
            self.best_score, self.wait_count = float(known['best_score']), int(known['wait_count'])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f'the checkpoint to resume from holds {known!r} for early stopping, expected a '
                'best_score and a wait_count; resume from another checkpoint'
            ) from error
        is_reached = self.stopping_threshold is not None and self.rule_map[self.rule](
            self.best_score, self.stopping_threshold
        )
        runner.train_loop.stop_training = is_reached or self.wait_count >= self.patience

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Decide whether to stop, and note what is known for the checkpoint."""
        super().after_val_epoch(runner, metrics)
        known = dict(best_score=float(self.best_score), wait_count=self.wait_count)
        runner.message_hub.update_info('early_stopping', known)
