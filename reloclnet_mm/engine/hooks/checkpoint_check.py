"""Checkpoints that do not fit the model."""

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import HOOKS
from reloclnet_mm.utils.models import bare_model


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
        difference = weights_difference(checkpoint, bare_model(runner.model).state_dict())
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


def _checkpoint_path(runner: Runner) -> str | None:
    # mmengine hands a hook the content of the checkpoint only.
    return runner._load_from or find_latest_checkpoint(runner.work_dir)
