"""Checks of the state to resume from against the config as a whole."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor

# Of torch.optim.Adafactor: means over the rows and over the columns of a weight.
_FACTORED = {'row_var', 'col_var'}


def resume_difference(checkpoint: Mapping[str, Any], runner: Runner) -> str:
    """Return where a checkpoint to resume from differs from what the config builds.

    Args:
        checkpoint: Content of the file.
        runner: A runner about to train: its loop, optimizer and schedules are built.

    Returns:
        What differs, in words; empty where nothing does.
    """
    return (
        _difference_of_parts(checkpoint, runner)
        or _difference_of_progress(checkpoint['meta'], runner)
        or _difference_by_name(
            checkpoint['optimizer'], runner.optim_wrapper, 'optimizers', _difference_of_optimizer
        )
        or _difference_by_name(
            checkpoint.get('param_schedulers', []),
            runner.param_schedulers or [],
            'param_schedulers',
            lambda found, expected: _difference_of_schedules(found, expected, checkpoint['meta']),
        )
    )


def _difference_of_parts(checkpoint: Mapping[str, Any], runner: Runner) -> str:
    for name in ('meta', 'message_hub', 'optimizer'):
        if not isinstance(checkpoint.get(name), dict):
            return (
                f'has no {name!r} to go on with, as checkpoints of weights alone and the best one '
                'have none; give it as load_from to begin a new training with its weights'
            )
    hub = checkpoint['message_hub']
    for name in ('log_scalars', 'runtime_info', 'resumed_keys'):
        if not isinstance(hub.get(name), dict):
            return f'message_hub.{name} is {hub.get(name)!r}, expected a dict'
    for name, value in hub['runtime_info'].items():
        if str(name).startswith('best_score') and not _is_number(value):
            return f'message_hub.runtime_info.{name} is {value!r}, expected a finite number'
    return ''


def _difference_of_progress(meta: Mapping[str, Any], runner: Runner) -> str:
    """Compare epoch and iteration with each other and with the length of the training."""
    for name in ('epoch', 'iter'):
        if type(meta.get(name)) is not int or meta[name] < 0:
            return f'meta.{name} is {meta.get(name)!r}, expected a whole number from 0'
    if meta.get('seed') is not None and type(meta['seed']) is not int:
        return f'meta.seed is {meta["seed"]!r}, expected a whole number'
    loop, epoch, iteration = runner.train_loop, meta['epoch'], meta['iter']
    if isinstance(loop, IterBasedTrainLoop) and iteration > loop.max_iters:
        return f'meta.iter is {iteration}, but the config trains {loop.max_iters} iterations'
    if not isinstance(loop, EpochBasedTrainLoop):
        return ''
    if epoch > loop.max_epochs:
        return f'meta.epoch is {epoch}, but the config trains {loop.max_epochs} epochs'
    # Earlier epochs may have had other batch sizes: one sample a batch, or all in one.
    least, most = epoch, (epoch + 1) * max(len(loop.dataloader.dataset), len(loop.dataloader))
    if not least <= iteration <= most:
        return (
            f'meta.iter is {iteration} at meta.epoch {epoch}, expected {least} to {most} for '
            f'{len(loop.dataloader.dataset)} training samples'
        )
    return ''


def _difference_by_name(found: Any, expected: Any, what: str, compare: Any) -> str:
    """Compare one optimizer (or list of schedules), or several by name."""
    if not isinstance(expected, dict) and not hasattr(expected, 'optim_wrappers'):
        return compare(found, expected)
    expected = dict(expected.items())
    if not isinstance(found, dict) or found.keys() != expected.keys():
        return f'found {what} other than {sorted(expected)}, which the config has'
    return next(filter(None, (compare(found[name], expected[name]) for name in expected)), '')


def _difference_of_schedules(found: Any, expected: list[_ParamScheduler], meta: Mapping) -> str:
    if not isinstance(found, list) or len(found) != len(expected):
        count = len(found) if isinstance(found, list) else 'no list of'
        return f'found {count} param_schedulers, the config has {len(expected)}'
    for place, (state, scheduler) in enumerate(zip(found, expected, strict=True)):
        name = f'param_schedulers[{place}]'
        known = scheduler.state_dict()
        if not isinstance(state, dict) or state.keys() != known.keys():
            return f'found another kind of {name} than {type(scheduler).__name__} of the config'
        for key, value in known.items():
            if not _is_like(state[key], value):
                return f'{name}.{key} is {state[key]!r}, expected a value such as {value!r}'
        done = meta['epoch' if scheduler.by_epoch else 'iter']
        # One that needs the metrics counts validations.
        counts = not getattr(scheduler, 'need_val_args', False)
        if state['by_epoch'] != scheduler.by_epoch or (counts and state['_global_step'] != done):
            return (
                f'{name} has counted {state["_global_step"]} steps, but the checkpoint is of '
                f'epoch {meta["epoch"]} and iteration {meta["iter"]}'
            )
    return ''


def _difference_of_optimizer(found: Any, wrapper: OptimWrapper) -> str:
    groups, state = (
        (found.get('param_groups'), found.get('state')) if isinstance(found, dict) else (None, None)
    )
    expected = wrapper.optimizer.param_groups
    if not isinstance(groups, list) or not isinstance(state, dict):
        return "found an optimizer without 'state' and 'param_groups'"
    if len(groups) != len(expected):
        return f'found {len(groups)} param_groups of the optimizer, the config has {len(expected)}'
    parameters: dict[int, Tensor] = {}
    for place, (group, own) in enumerate(zip(groups, expected, strict=True)):
        name = f'param_groups[{place}]'
        numbers = group.get('params') if isinstance(group, dict) else None
        if not isinstance(numbers, list) or len(numbers) != len(own['params']):
            return f'found a {name} of the optimizer that is not of {len(own["params"])} parameters'
        parameters.update(zip(numbers, own['params'], strict=True))
        for key, value in own.items():
            # Flags, which later versions of torch add, are filled in.
            if key == 'params' or (key not in group and not _has_numbers(value)):
                continue
            if not _is_like(group.get(key), value):
                return f'{name}.{key} is {group.get(key)!r}, expected a value such as {value!r}'
    return _difference_of_state(state, parameters)


def _difference_of_state(state: dict, parameters: Mapping[int, Tensor]) -> str:
    """Compare what an optimizer keeps of each parameter with the parameter."""
    for number, kept in state.items():
        if number not in parameters or not isinstance(kept, dict):
            return f'found a state of the optimizer for {number!r}, which is none of its parameters'
        parameter = parameters[number]
        for name, value in kept.items():
            if not isinstance(value, Tensor):
                continue
            shaped = value.shape == parameter.shape and value.dtype == parameter.dtype
            if not shaped and value.dim() and name not in _FACTORED:
                return (
                    f'the state {name!r} of parameter {number} is {value.dtype} of shape '
                    f'{tuple(value.shape)}, expected {parameter.dtype} of {tuple(parameter.shape)}'
                )
            if not torch.isfinite(value).all():
                return f'the state {name!r} of parameter {number} has NaN or infinite numbers'
    return ''


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dim() == 0 and bool(torch.isfinite(value))
    try:
        return not isinstance(value, bool | str) and math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _has_numbers(value: Any) -> bool:
    return _is_number(value) or (isinstance(value, list | tuple) and any(map(_has_numbers, value)))


def _is_like(found: Any, expected: Any) -> bool:
    """Return whether a setting is of the kind of another; numbers must be finite."""
    if _is_number(expected) or expected is None:
        return found is None or _is_number(found) if expected is None else _is_number(found)
    if isinstance(expected, list | tuple) and _has_numbers(expected):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(expected)
            and all(map(_is_like, found, expected))
        )
    return isinstance(found, type(expected))
