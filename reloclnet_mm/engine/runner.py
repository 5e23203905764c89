"""A runner with a quiet console, whose processes need no GPU."""

import atexit
import datetime
import logging
import os
from functools import cached_property
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import RUNNERS

# How messages begin that go to the log file alone: long, or nothing that a user could act on.
_FILE_ONLY = (
    f'\n{"-" * 60}\nSystem environment',
    'Config:\n',
    'Hooks will be executed in the following order',
    'paramwise_options -- ',
    'Distributed training is not used, all SyncBatchNorm',
    'Exp name: ',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


@RUNNERS.register_module()
class AnyDeviceRunner(Runner):
    """Runs as mmengine's ``Runner``, also in processes without a GPU, and with a quiet console.

    mmengine asks CUDA for a device for every process, whatever the backend. Where there is none,
    this runner makes the process group itself, with gloo, and wraps the model without a device.

    What is printed goes to the log file too; the environment, the config and the like go to the log
    file only. The text of the config, which takes seconds to format and is part of every
    checkpoint, is made once.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment and the process group."""
        text_once = ConfigWithTextOnce()
        text_once.__setstate__(self.cfg.__getstate__())
        self.cfg = text_once
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            init_gloo(self.launcher, **env_cfg.get('dist_cfg', {}))
        super().setup_env(env_cfg)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build a logger that keeps from the console what only belongs into the log file."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_for_the_console)
        return logger

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes, if it has anything that they train together."""
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        if self.distributed and not torch.cuda.is_available() and not is_model_wrapper(model):
            unused = self.cfg.get('find_unused_parameters', False)
            defaults = dict(broadcast_buffers=False, find_unused_parameters=unused)
            # DistributedDataParallel takes no device ids for a model on a CPU.
            model_wrapper_cfg = {**defaults, **(model_wrapper_cfg or {}), 'device_ids': None}
        return super().wrap_model(model_wrapper_cfg, model)

    def load_or_resume(self) -> None:
        """Load or resume a checkpoint; say so if there is nothing to resume."""
        last = os.path.join(self.work_dir, 'last_checkpoint')
        if self._resume and self._load_from is None and not os.path.exists(last):
            self.logger.info(
                f'nothing to resume in {self.work_dir}: training starts from the beginning'
            )
            return
        super().load_or_resume()

    def _log_env(self, env_cfg: dict) -> None:
        super()._log_env(env_cfg)
        self.logger.info(f'environment, config and all messages: {self.logger.log_file}')


class ConfigWithTextOnce(Config):
    """A config whose text is made once."""

    @cached_property
    def pretty_text(self) -> str:
        """The config as formatted Python."""
        return super().pretty_text


def init_gloo(launcher: str, *, timeout: float | None = None, **dist_cfg: Any) -> None:
    """Join the process group of processes without GPUs.

    Args:
        launcher: Name of what started the processes; ``pytorch`` only.
        timeout: Seconds that a process waits for the others before it fails; None: the default
            of torch.
        **dist_cfg: Further settings of ``env_cfg.dist_cfg``, passed to ``init_process_group``. A
            ``backend`` that needs GPUs is left out.

    Raises:
        InputError: Another launcher, or no launcher started this process.
    """
    if launcher != 'pytorch':
        raise InputError(
            f'launcher {launcher!r} gives each process a GPU, and there is none; start the '
            'processes with torchrun and --launcher pytorch, inside of srun or mpirun if need be'
        )
    missing = [name for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE') if name not in os.environ]
    if missing:
        raise InputError(
            f'--launcher pytorch: {", ".join(missing)} not in the environment; start the processes '
            'with torchrun, mim or tools/dist_train.sh'
        )
    if timeout is not None:
        dist_cfg['timeout'] = datetime.timedelta(seconds=timeout)
    torch_dist.init_process_group(**{**dist_cfg, 'backend': 'gloo'})
    # The threads of gloo must end before the interpreter does, or they can abort the program.
    atexit.register(_leave_group)


def _leave_group() -> None:
    if torch_dist.is_initialized():
        torch_dist.destroy_process_group()


def _is_for_the_console(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_FILE_ONLY)
