"""A training loop that goes on exactly where a checkpoint was written, also within an epoch."""

import logging
from collections import deque
from collections.abc import Mapping
from itertools import islice
from types import NoneType
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import LOOPS
from reloclnet_mm.utils.models import bare_model
from reloclnet_mm.utils.random_state import random_state, set_random_state

# The keys of what gather_state returns; a sampler may have no seed.
_TYPES = dict(
    processes=list,
    batches=int,
    epoch_length=int,
    validated=bool,
    loaders=list,
    sampler_seed=(int, NoneType),
)


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """Trains by epochs as mmengine's loop does, and resumes exactly, also within an epoch.

    :class:`~reloclnet_mm.engine.hooks.checkpoint_hook.AtomicCheckpointHook` saves what
    :meth:`gather_state` returns and hands it to :meth:`resume_from`. Then

    - the batches of the epoch that were trained on are loaded again and skipped;
    - a validation that was due, but not finished when the checkpoint was written, is made up for,
      so that the best score and early stopping miss none;
    - the random number generators of every process, and its gradients if an accumulation was
      under way, are restored.

    Args:
        runner: The runner.
        dataloader: Passed to mmengine's loop, as are all that follow.
        max_epochs: Number of epochs.
        val_begin: First epoch, from 1, that is validated.
        val_interval: Epochs from one validation to the next.
        dynamic_intervals: Other intervals from certain epochs on.
        val_untrained: Whether to validate before the first step too, so that the best checkpoint is
            the model as it begins, of epoch 0, where training makes it no better.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        val_untrained: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        self.val_untrained = val_untrained
        self._resumed: dict[str, Any] | None = None
        self._epoch_start = 0
        self._is_validating = False

    def run(self) -> nn.Module:
        """Train to the end."""
        self.runner.call_hook('before_train')
        if self._resumed is not None and not self._resumed['batches']:
            is_over = self._resumed['validated']
            self._restore()
            if not is_over:
                self._validate_if_due()
        if self.val_untrained and self._iter == 0:
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train an epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        batches = enumerate(self.dataloader)
        self._epoch_start = self._iter
        if self._resumed is not None:
            self._epoch_start -= self._resumed['batches']
            deque(islice(batches, self._resumed['batches']), maxlen=0)
            self._restore()
        for index, batch in batches:
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def gather_state(self, epoch: int, iteration: int) -> dict[str, Any]:
        """Collect from all processes what a checkpoint needs beside mmengine's own.

        Args:
            epoch: Number of finished epochs in the checkpoint.
            iteration: Number of finished iterations in the checkpoint.

        Returns:
            Plain data: the random states and open gradients of each process; the place in the
            epoch; whether the validation after it is finished.
        """
        own = dict(
            random=random_state(),
            cuda=torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
            gradients=open_gradients(bare_model(self.runner.model)),
        )
        is_in_epoch = epoch == self._epoch and not self._is_validating
        return dict(
            processes=all_gather_object(own),
            batches=iteration - self._epoch_start if is_in_epoch else 0,
            epoch_length=len(self.dataloader),
            validated=self._is_validating,
            loaders=[name for name, loader in self._loaders().items() if _is_under_way(loader)],
            sampler_seed=getattr(self.dataloader.sampler, 'seed', None),
        )

    def resume_from(self, state: dict[str, Any]) -> None:
        """Go on from a state when the loop is run.

        Args:
            state: Return value of :meth:`gather_state`.

        Raises:
            InputError: It is of another kind, or it is from the middle of an epoch of other
                batches.
        """
        if not _is_state(state):
            raise InputError(
                'the checkpoint to resume from holds a state of training that cannot be read; '
                'resume from another checkpoint'
            )
        found = (len(state['processes']), state['epoch_length'])
        here = (get_world_size(), len(self.dataloader))
        if state['batches'] and found != here:
            raise InputError(
                f'the checkpoint to resume from lies within an epoch of {found[1]} batches in each '
                f'of {found[0]} processes, but here it is {here[1]} batches in each of {here[0]} '
                'processes; expected the same. Restore batch size, data and number of processes, '
                'or resume from a checkpoint written at the end of an epoch'
            )
        if state['sampler_seed'] is not None:
            # A seed that was drawn at the start of the run would be drawn anew.
            self.dataloader.sampler.seed = state['sampler_seed']
        self._resumed = state

    def _restore(self) -> None:
        """Restore the state once all loaders have begun, as their beginning draws numbers."""
        state, self._resumed = self._resumed, None
        for name, loader in self._loaders().items():
            if name in state['loaders'] and loader.generator is None:
                # Persistent workers had been started before: starting them again must not draw
                # from the default generator.
                loader.generator = torch.Generator()
        if len(state['processes']) != get_world_size():
            print_log(
                f'the checkpoint is of {len(state["processes"])} processes, these are '
                f'{get_world_size()}: random numbers and batches are not those of a training '
                'without interruption',
                logger='current',
                level=logging.WARNING,
            )
            return
        own = state['processes'][get_rank()]
        try:
            set_random_state(own['random'])
            if own['cuda'] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(own['cuda'].cpu())
            set_open_gradients(bare_model(self.runner.model), own['gradients'])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                'the checkpoint to resume from holds random states or gradients that do not fit '
                f'({type(error).__name__}: {error}); resume from another checkpoint'
            ) from error

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        is_last = self._epoch == self._max_epochs
        if (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or is_last)
        ):
            self._validate()

    def _validate(self) -> None:
        self._is_validating = True
        self.runner.val_loop.run()
        self._is_validating = False

    def _loaders(self) -> dict[str, DataLoader]:
        """Return the data loaders that are used again and again, by name."""
        validation = self.runner.val_loop
        loaders = dict(
            train=self.dataloader,
            val=getattr(validation, 'dataloader', None),
            corpus=getattr(validation, 'corpus_dataloader', None),
        )
        return {name: loader for name, loader in loaders.items() if loader is not None}


def open_gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients that others will be added to, by the names of their parameters.

    After an update mmengine leaves none, so there are some only while gradients are accumulated.

    Args:
        model: The bare model.
    """
    return {
        name: parameter.grad.cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def set_open_gradients(model: nn.Module, gradients: Mapping[str, Tensor]) -> None:
    """Give parameters the gradients of :func:`open_gradients`.

    Args:
        model: The bare model.
        gradients: Gradients by name.

    Raises:
        ValueError: One is not of the shape and type of its parameter.
    """
    parameters = dict(model.named_parameters())
    for name, gradient in gradients.items():
        parameter = parameters[name]
        if gradient.shape != parameter.shape or gradient.dtype != parameter.dtype:
            raise ValueError(
                f'the gradient of {name!r} is {gradient.dtype} of shape {tuple(gradient.shape)}, '
                f'expected {parameter.dtype} of {tuple(parameter.shape)}'
            )
        parameter.grad = gradient.to(parameter, copy=True)


def _is_state(state: object) -> bool:
    return (
        isinstance(state, dict)
        and state.keys() == _TYPES.keys()
        and all(isinstance(state[key], types) for key, types in _TYPES.items())
        and 0 <= state['batches'] <= state['epoch_length']
    )


def _is_under_way(loader: DataLoader) -> bool:
    """Return whether a loader's persistent workers were started, now or before resuming."""
    return loader.persistent_workers and (
        loader._iterator is not None or loader.generator is not None
    )
