"""Checks of checkpoints that are read and saved."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor, nn

from reloclnet_mm.engine.checkpointing.resume_check import resume_difference
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import HOOKS
from reloclnet_mm.utils.models import bare_model


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Refuses a checkpoint that does not fit the model or, on resuming, the training.

    mmengine only warns of weights that are absent or of another shape, and goes on with the random
    ones that the model began with. Weights with NaN or infinite numbers are neither read nor saved.
    Which clip the weights predict an end at is saved with them, as ``meta.span_end``.
    """

    # Before EMAHook copies the weights.
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare, before the weights go into the model.

        Raises:
            InputError: The weights, or what a training is to go on with, differ.
        """
        expected = bare_model(runner.model).state_dict()
        difference = (
            weights_difference(checkpoint, expected)
            or not_finite(checkpoint)
            or span_end_difference(checkpoint, bare_model(runner.model))
        )
        if difference:
            raise InputError(
                f'{_checkpoint_path(runner)}: {difference}; use the config that the checkpoint was '
                'trained with, set the sizes of the model in the config to those of the '
                'checkpoint, or use another checkpoint'
            )
        difference = runner._resume and resume_difference(checkpoint, runner)
        if difference:
            raise InputError(
                f'{_checkpoint_path(runner)}: cannot be resumed from: {difference}; resume with '
                'the config that it was written with, or from another checkpoint'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save no weights that would be refused, and what they predict.

        Raises:
            InputError: There are some.
        """
        finding = not_finite(checkpoint)
        if finding:
            raise InputError(
                f'epoch {runner.epoch + 1}, iteration {runner.iter}: {finding}; no checkpoint is '
                'saved. Lower the learning rate, and check the features for NaN'
            )
        ranking = getattr(bare_model(runner.model), 'ranking', None)
        if ranking is not None:
            checkpoint['meta']['span_end'] = ranking.span_end


def weights_difference(checkpoint: Mapping[str, Any], expected: Mapping[str, Tensor]) -> str:
    """Return where the weights of a checkpoint differ from a model's in name, shape or kind.

    Args:
        checkpoint: Weights by name, by themselves or under ``state_dict``; the prefix
            ``module.`` of distributed training does not count.
        expected: The model's weights by name.

    Returns:
        What differs, in words; empty where nothing does.
    """
    found = {
        name.removeprefix('module.'): weight
        for name, weight in checkpoint.get('state_dict', checkpoint).items()
        if isinstance(weight, Tensor)
    }
    for name, weight in expected.items():
        if name not in found:
            return f'has no weights {name!r}, which the model expects'
        if found[name].shape != weight.shape:
            return (
                f'found the weights {name!r} of shape {tuple(found[name].shape)}, '
                f'the model expects {tuple(weight.shape)}'
            )
        if found[name].is_floating_point() != weight.is_floating_point():
            return f'found the weights {name!r} of {found[name].dtype}, expected {weight.dtype}'
    unknown = sorted(set(found) - set(expected))
    return f'found the weights {unknown[0]!r}, which the model does not have' if unknown else ''


def not_finite(checkpoint: Mapping[str, Any]) -> str:
    """Return which weights of a checkpoint have NaN or infinite numbers, in words; or nothing.

    Args:
        checkpoint: As :func:`weights_difference` takes it; averaged weights are looked at too.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    averaged = checkpoint.get('ema_state_dict', {})
    for name, weight in [*weights.items(), *averaged.items()]:
        if isinstance(weight, Tensor) and not torch.isfinite(weight).all():
            return f'the weights {name!r} have NaN or infinite numbers'
    return ''


def span_end_difference(checkpoint: Mapping[str, Any], model: nn.Module) -> str:
    """Return whether a checkpoint predicts ends at other clips than a model's answers have them.

    Args:
        checkpoint: One that was saved in training; with ``meta`` and without ``span_end`` there it
            is of the authors' programs or of an older version, and so ``official``. Weights
            without ``meta`` do not tell.
        model: The model; one without :class:`RankingOptions` has no spans.
    """
    meta, ranking = checkpoint.get('meta'), getattr(model, 'ranking', None)
    if not isinstance(meta, Mapping) or ranking is None:
        return ''
    found = meta.get('span_end', 'official')
    if found == ranking.span_end:
        return ''
    return f'was trained with span_end={found!r}, and model.test_cfg has {ranking.span_end!r}'


def _checkpoint_path(runner: Runner) -> str | None:
    # mmengine hands a hook the content of the checkpoint only.
    return runner._load_from or find_latest_checkpoint(runner.work_dir)
