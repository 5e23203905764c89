"""A warning when the ranking losses do not fall."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from reloclnet_mm.registry import HOOKS
from reloclnet_mm.utils.models import bare_model

_LOSSES = dict(query_weight='train/loss_rank_query', video_weight='train/loss_rank_video')


@HOOKS.register_module()
class CollapseWarningHook(Hook):
    """Warns after an epoch whose ranking losses are both at the margin.

    A hinge loss is at its margin where the scores of all videos are equal. The losses are the means
    over the last logged window.

    Args:
        tolerance: Distance from the margin, as a share of it, that counts as being at it.
    """

    def __init__(self, tolerance: float = 0.01) -> None:
        self.tolerance = tolerance

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Warn, once a validation."""
        ranking = getattr(bare_model(runner.model), 'loss_ranking', None)
        if getattr(ranking, 'kind', None) != 'hinge':
            return
        scalars = runner.message_hub.log_scalars
        losses = []
        for weight, name in _LOSSES.items():
            margin = ranking.margin * getattr(ranking, weight)
            if not margin or name not in scalars:
                return
            losses.append(scalars[name].mean(runner.log_processor.window_size))
            if abs(losses[-1] - margin) > self.tolerance * margin:
                return
        runner.logger.warning(
            f'epoch {runner.epoch}: both ranking losses ({losses[0]:.4f} and {losses[1]:.4f}) are '
            f'at the margin {ranking.margin}, as if the model scored all videos alike. If this '
            'lasts, let the learning rate rise for longer (param_scheduler.0.warmup=0.25), which '
            'short trainings need, lower it (optim_wrapper.optimizer.lr), or try '
            'model.loss_ranking.other_positives=ignored'
        )
