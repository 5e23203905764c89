"""What a model knows of the lengths of moments before it learns."""

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import HOOKS
from reloclnet_mm.utils.models import bare_model

# Moments that all have one length would leave no other probable.
_LEAST_DEVIATION = 0.3


@HOOKS.register_module()
class MomentLengthHook(Hook):
    """Tells the span head how long moments of the training set are, before training.

    The head gets the median and the standard deviation of the log of each moment's share of its
    video; see :class:`~reloclnet_mm.models.span_maps.SpanMapHead`. They are saved with the weights.
    """

    def before_train(self, runner: Runner) -> None:
        """Set the head's ``length_prior``.

        Raises:
            InputError: The training set has no moment with a length.
        """
        shares = moment_shares(runner.train_dataloader.dataset)
        if not len(shares):
            raise InputError(
                'MomentLengthHook: no query of the training set has a moment with a length in its '
                'own video, and their lengths are needed; correct the annotation'
            )
        logs = np.log(shares)
        prior = float(np.median(logs)), max(float(logs.std()), _LEAST_DEVIATION)
        bare_model(runner.model).span_head.length_prior.copy_(torch.tensor(prior))
        runner.logger.info(
            f'The median moment of training takes {np.median(shares):.3g} of its video, and two '
            f'thirds of them {np.exp(-prior[1]):.2g} to {np.exp(prior[1]):.2g} times as much.'
        )


def moment_shares(dataset: BaseDataset) -> np.ndarray:
    """Compute which share of its query's own video each moment takes.

    Args:
        dataset: Queries.

    Returns:
        (M,), each above 0.
    """
    shares = []
    for i in range(len(dataset)):
        sample = dataset.get_data_info(i)
        gt = sample.get('gt')
        if gt is None:
            continue
        moments = gt['moments'][gt['video_ids'] == sample['video_id']]
        shares.append((moments[:, 1] - moments[:, 0]) / sample['duration'])
    found = np.concatenate(shares) if shares else np.zeros(0)
    return found[found > 0]
