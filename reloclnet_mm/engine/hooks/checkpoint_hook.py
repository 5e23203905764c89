"""A checkpoint hook that a kill at any moment leaves with a whole checkpoint."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from reloclnet_mm.engine.checkpointing.atomic_backend import PARTIAL_PATTERN, AtomicLocalBackend
from reloclnet_mm.engine.loops.resumable_loop import ResumableTrainLoop
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import HOOKS


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Saves checkpoints as mmengine's ``CheckpointHook`` does, made safe against interruption.

    - Checkpoints and ``last_checkpoint`` are written by :class:`AtomicLocalBackend`, unless
      ``out_dir`` or ``backend_args`` names a remote store.
    - An outdated checkpoint is removed when the new one is complete and ``last_checkpoint``
      points to it; mmengine removes it before. For a moment there is one file more than
      ``max_keep_ckpts``; if a kill leaves it, it is removed on resuming.
    - With a :class:`ResumableTrainLoop`, checkpoints to resume from hold what an exact
      continuation needs beside mmengine's own, under ``meta.training``, and the last one is
      written again after each validation, not only after the best: it says which are finished.
    - Only files in the folder of checkpoints are removed, as their names come from the
      checkpoint resumed from, which may be somebody else's or in a moved folder.

    Args:
        *args: Passed to mmengine's CheckpointHook.
        **kwargs: Passed to mmengine's CheckpointHook.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_updated = False
        # The parent keeps unknown arguments until they fail at the first save.
        if self.args:
            raise InputError(
                f'AtomicCheckpointHook: unknown settings {sorted(self.args)}; they are those of '
                "mmengine's CheckpointHook: correct the name or remove it"
            )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Hand the loop what it put into a checkpoint that is resumed from."""
        if not runner._resume or not isinstance(runner.train_loop, ResumableTrainLoop):
            return
        state = checkpoint.get('meta', {}).get('training')
        if state is not None:
            runner.train_loop.resume_from(state)
        else:
            runner.logger.warning(
                'The checkpoint holds no random states: the training goes on, but with other '
                'random numbers than one that was not interrupted.'
            )

    def before_train(self, runner: Runner) -> None:
        """Choose the backend, check what a resumed checkpoint says, clear leftovers."""
        local = '://' not in str(self.out_dir) and self.file_client_args is None
        if local and (self.backend_args or {'backend': 'local'}) == {'backend': 'local'}:
            self.backend_args = {'backend': 'atomic_local'}
        _check_kept_steps(runner)
        super().before_train(runner)
        self.last_ckpt = self._resumed_checkpoint(runner)
        if self._is_local() and is_main_process():
            for folder in {self.out_dir, runner.work_dir}:
                for partial in Path(folder).glob(PARTIAL_PATTERN):
                    partial.unlink()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the best checkpoint; note in the last one, too, that the validation is finished."""
        self._is_updated = False
        super().after_val_epoch(runner, metrics)
        step = runner.epoch if self.by_epoch else runner.iter
        name = self.last_ckpt and os.path.basename(self.last_ckpt)
        is_of_this_step = name == self.filename_tmpl.format(step)
        is_resumable = isinstance(runner.train_loop, ResumableTrainLoop)
        if is_of_this_step and is_resumable and not self._is_updated:
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)

    def _resumed_checkpoint(self, runner: Runner) -> str | None:
        """Return the last checkpoint, which mmengine forgets on resuming and does not update."""
        last = runner.message_hub.runtime_info.get('last_ckpt')
        if not isinstance(last, str):
            return None
        path = self.file_backend.join_path(self.out_dir, os.path.basename(last))
        return path if self.file_backend.isfile(path) else None

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        self._is_updated = True
        outdated = self._record_step(runner, step)
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        if isinstance(runner.train_loop, ResumableTrainLoop):
            meta = meta | dict(training=runner.train_loop.gather_state(meta['epoch'], meta['iter']))
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
        )
        if not is_main_process():
            return
        pointer = os.path.join(runner.work_dir, 'last_checkpoint')
        AtomicLocalBackend().put_text(self.last_ckpt, pointer)
        for old_step in outdated:
            name = self.filename_tmpl.format(old_step)
            self._remove(runner, self.file_backend.join_path(self.out_dir, name))

    def _record_step(self, runner: Runner, step: int) -> list[int]:
        """Note ``step`` as kept and return the steps that are outdated once it is saved.

        The checkpoint itself lists the outdated steps too: mmengine removes on resuming what a
        kill kept from being removed.
        """
        if self.max_keep_ckpts <= 0:
            return []
        earlier = [kept for kept in self.keep_ckpt_ids if kept != step]
        outdated = earlier[: max(len(earlier) + 1 - self.max_keep_ckpts, 0)]
        self.keep_ckpt_ids = deque([*earlier, step], self.max_keep_ckpts)
        runner.message_hub.update_info('keep_ckpt_ids', [*earlier, step])
        return outdated

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        if not self.save_best:
            return
        with self._best_paths_hidden() as before:
            super()._save_best_checkpoint(runner, metrics)
        after = self._best_paths()
        for key, path in before.items():
            if path and path != after[key] and is_main_process():
                self._remove(runner, path)

    @contextmanager
    def _best_paths_hidden(self) -> Iterator[dict[str, str | None]]:
        """Let the parent see no earlier best checkpoint, so that it removes none."""
        before = self._best_paths()
        self._set_best_paths(dict.fromkeys(before))
        try:
            yield before
        finally:
            now = self._best_paths()
            self._set_best_paths({key: now[key] or path for key, path in before.items()})

    def _best_paths(self) -> dict[str, str | None]:
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = paths

    def _is_local(self) -> bool:
        return isinstance(self.file_backend, AtomicLocalBackend)

    def _remove(self, runner: Runner, path: str) -> None:
        if self._is_local() and not _lies_in(path, self.out_dir):
            runner.logger.warning(
                f'{path} is outdated, but kept: it is outside of {self.out_dir}; remove it by hand'
            )
        elif self.file_backend.isfile(path):
            self.file_backend.remove(path)
            runner.logger.info(f'The outdated checkpoint {path} is removed.')


def _lies_in(path: str, folder: str) -> bool:
    return os.path.dirname(os.path.realpath(path)) == os.path.realpath(folder)


def _check_kept_steps(runner: Runner) -> None:
    # mmengine makes file names of these and removes the files.
    steps = runner.message_hub.runtime_info.get('keep_ckpt_ids', [])
    if not isinstance(steps, list) or not all(type(step) is int for step in steps):
        raise InputError(
            f'the checkpoint to resume from lists {steps!r} as the steps kept, expected whole '
            'numbers; resume from another checkpoint'
        )
