"""A runner whose ranks need no GPU."""

import datetime
import os
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.dist import is_distributed
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import RUNNERS


@RUNNERS.register_module()
class AnyDeviceRunner(Runner):
    """mmengine's ``Runner``, with the same arguments, for ranks with and without a GPU.

    mmengine's asks CUDA for a device for every rank, whatever the backend. Where there is none,
    this one makes the process group itself, with gloo, and wraps the model without a device. On
    GPUs, and without ranks, it is mmengine's.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment, process group included."""
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            init_gloo(self.launcher, **env_cfg.get('dist_cfg', {}))
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for ranks."""
        if self.distributed and not torch.cuda.is_available() and not is_model_wrapper(model):
            unused = self.cfg.get('find_unused_parameters', False)
            defaults = dict(broadcast_buffers=False, find_unused_parameters=unused)
            # DistributedDataParallel takes no device ids for a model on a CPU.
            model_wrapper_cfg = {**defaults, **(model_wrapper_cfg or {}), 'device_ids': None}
        return super().wrap_model(model_wrapper_cfg, model)


def init_gloo(launcher: str, *, timeout: float | None = None, **dist_cfg: Any) -> None:
    """Join the process group of ranks without GPUs.

    Args:
        launcher: What started the ranks; ``pytorch`` only.
        timeout: Seconds that a rank waits for the others before it fails; None: torch's choice.
        **dist_cfg: Further settings of ``env_cfg.dist_cfg``, for ``init_process_group``. A
            ``backend`` that needs GPUs is left out.

    Raises:
        InputError: Another launcher.
    """
    if launcher != 'pytorch':
        raise InputError(
            f'launcher {launcher!r} gives each rank a GPU, and there is none; start the ranks with '
            'torchrun and --launcher pytorch, inside of srun or mpirun if need be'
        )
    missing = [name for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE') if name not in os.environ]
    if missing:
        raise InputError(
            f'--launcher pytorch: {", ".join(missing)} not in the environment; start the ranks '
            'with torchrun, mim or tools/dist_train.sh'
        )
    if timeout is not None:
        dist_cfg['timeout'] = datetime.timedelta(seconds=timeout)
    torch_dist.init_process_group(**{**dist_cfg, 'backend': 'gloo'})
