"""Hooks for what changes during training, what a run loads, and what it prints."""

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import EarlyStoppingHook as MMEngineEarlyStoppingHook
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.table import recall_table
from reloclnet_mm.registry import HOOKS


@HOOKS.register_module()
class HardNegativeHook(Hook):
    """From an epoch on, draws the ranking loss's negatives from the hardest only.

    The setting follows from the epoch alone, so a resumed run needs no state of it.

    Args:
        begin: First epoch, from 0, with hard negatives.
        pool_size: How many of the best scored they are drawn from.
    """

    def __init__(self, begin: int = 20, pool_size: int = 20) -> None:
        self.begin = begin
        self.pool_size = pool_size

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the pool."""
        model = _bare_model(runner)
        model.loss_ranking.pool_size = self.pool_size if runner.epoch >= self.begin else None


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


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Refuses a checkpoint whose weights are not those of the model, by name and shape.

    mmengine only warns of them, and goes on with the random ones that the model began with.
    """

    # Before EMAHook copies the weights.
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare, before the weights go into the model.

        Raises:
            InputError: They differ.
        """
        difference = weights_difference(checkpoint, _bare_model(runner).state_dict())
        if difference:
            raise InputError(
                f'{_checkpoint_path(runner)}: {difference}; use the config that the checkpoint was '
                'trained with, or set the sizes of the model in the config to those of the '
                'checkpoint'
            )


def weights_difference(checkpoint: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Where the weights of a checkpoint and those of a model differ in name or shape.

    Args:
        checkpoint: Weights by name, by themselves or under ``state_dict``; the prefix
            ``module.`` of distributed training does not count.
        expected: The model's weights by name.

    Returns:
        What differs, in words; empty where nothing does.
    """
    found = {
        name.removeprefix('module.'): tuple(weight.shape)
        for name, weight in checkpoint.get('state_dict', checkpoint).items()
        if hasattr(weight, 'shape')
    }
    for name, weight in expected.items():
        if name not in found:
            return f'has no weights {name!r}, which the model expects'
        if found[name] != tuple(weight.shape):
            return (
                f'found the weights {name!r} of shape {found[name]}, '
                f'the model expects {tuple(weight.shape)}'
            )
    unknown = sorted(set(found) - set(expected))
    return f'found the weights {unknown[0]!r}, which the model does not have' if unknown else ''


def _bare_model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _checkpoint_path(runner: Runner) -> str | None:
    # mmengine hands a hook the content of the checkpoint only.
    return runner._load_from or find_latest_checkpoint(runner.work_dir)


@HOOKS.register_module()
class RecallTableHook(Hook):
    """Prints the recalls of a test as a table."""

    priority = 'VERY_LOW'

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Print."""
        if metrics:
            runner.logger.info('recalls in percent\n' + recall_table(metrics))
