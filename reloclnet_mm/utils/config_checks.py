"""Checking the names in a config before anything is built from it."""

import ast
import inspect
import re
import reprlib
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from mmengine import registry as mm
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry, build_from_cfg
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from reloclnet_mm.errors import InputError


class _Place(NamedTuple):
    """Where classes of a registry are named; `passed` are arguments that mmengine adds itself."""

    registry: Registry
    passed: tuple[str, ...] = ()
    default: str | None = None


_LOOP = ('runner', 'dataloader', 'evaluator')
_PLACES = dict(
    model=_Place(mm.MODELS),
    train_cfg=_Place(mm.LOOPS, (*_LOOP, 'by_epoch'), 'EpochBasedTrainLoop'),
    val_cfg=_Place(mm.LOOPS, _LOOP, 'ValLoop'),
    test_cfg=_Place(mm.LOOPS, _LOOP, 'TestLoop'),
    optim_wrapper=_Place(
        mm.OPTIM_WRAPPERS, ('optimizer', 'constructor', 'paramwise_cfg'), 'OptimWrapper'
    ),
    param_scheduler=_Place(mm.PARAM_SCHEDULERS, ('optimizer', 'convert_to_iter_based')),
    val_evaluator=_Place(mm.METRICS),
    test_evaluator=_Place(mm.METRICS),
    custom_hooks=_Place(mm.HOOKS, ('priority',)),
    visualizer=_Place(mm.VISUALIZERS, ('name',), 'Visualizer'),
    log_processor=_Place(mm.LOG_PROCESSORS, (), 'LogProcessor'),
)
_INSIDE = dict(
    data_preprocessor=_Place(mm.MODELS),
    init_cfg=_Place(mm.WEIGHT_INITIALIZERS, ('override',)),
    dataset=_Place(mm.DATASETS),
    datasets=_Place(mm.DATASETS),
    reader=_Place(mm.TASK_UTILS, ('data_root',)),
    pipeline=_Place(mm.TRANSFORMS),
    sampler=_Place(mm.DATA_SAMPLERS, ('dataset', 'seed')),
    batch_sampler=_Place(mm.DATA_SAMPLERS, ('sampler', 'batch_size')),
    collate_fn=_Place(mm.FUNCTIONS, ('samples', 'data_batch')),
    optimizer=_Place(mm.OPTIMIZERS, ('params',)),
    vis_backends=_Place(mm.VISBACKENDS, ('save_dir',)),
)
_LOADER = (*inspect.signature(DataLoader).parameters, 'num_batch_per_epoch')
_PLAIN = dict(
    auto_scale_lr=('enable', 'base_batch_size'),
    env_cfg=('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    randomness=tuple(inspect.signature(Runner.set_randomness).parameters)[1:],
)
_KNOWN = {
    *inspect.signature(Runner).parameters,
    # read from the config beside a Runner's arguments
    *('activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval'),
    *('find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'sync_bn'),
    *('val_corpus_dataloader', 'test_corpus_dataloader'),
} - {'cfg'}
_READ_OF_BASE = re.compile(r'_base_\W+(?:get\W+)?(\w+)')


def check_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Refuse overrides that reach nothing.

    Args:
        cfg: The config before they are merged into it.
        options: Values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        InputError: A key is unknown, or names a variable that was read while the file was.
    """
    for key, value in options.items():
        top, dot, rest = key.partition('.')
        if top not in _KNOWN and top not in cfg:
            raise InputError(
                f'--cfg-options {key}: the config has no {top!r}; '
                f'use {_nearest(top, {*cfg, *_KNOWN}, 3)}'
            )
        if top not in _KNOWN:
            places = [f'{path}{dot}{rest}={value}' for path in _places_of(cfg, top)]
            raise InputError(
                f'--cfg-options {key}: {top!r} is a variable of the config file, which nothing '
                f'reads any more; set {", ".join(places) or "it in the file"} instead'
            )


def check_variables(path: str | Path) -> None:
    """Refuse variables of a config file, or of its bases, that reach nothing.

    mmengine reads the base first, so the settings that the base made of its variables stay what
    they are when a derived file assigns the variables anew. The texts of the files are looked at;
    bases of other packages (``mmaction::…``) and files that are not Python are passed over.

    Args:
        path: A config that mmengine has read without an error.

    Raises:
        InputError: A file assigns a variable that its base assigns too, or that is named as a
            setting of its base is, and neither that file nor one derived from it reads it.
    """
    _check_variables(Path(path), set())


def check_settings(cfg: Config) -> None:
    """Compare all names in a config with those that mmengine and the named classes know.

    Raises:
        InputError: A name is unknown, or one is missing. It says where in the config.
    """
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
            for key, value in cfg.items():
                _check_top(key, value)
    except InputError as error:
        raise InputError(f'{cfg.filename}: {error}; correct or remove it') from error


@contextmanager
def building_errors_are_input_errors(cfg: Config) -> Iterator[None]:
    """Turn what a constructor says of its arguments into an error of the config.

    Raises:
        InputError: In the place of an error inside mmengine's ``build_from_cfg`` only.
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        built = [frame.f_locals for frame in frames if frame.f_code is build_from_cfg.__code__]
        if not built or not error.args:
            raise
        given = dict(built[-1]['cfg'])
        name = getattr(built[-1].get('obj_cls'), '__name__', given.get('type'))
        paths = [
            path
            for path, node in _walk('', cfg)
            if 'type' in node and all(k in given and given[k] == x for k, x in node.items())
        ]
        where = f'{paths[0]} ({name})' if paths else name
        raise InputError(f'{cfg.filename}: {where}: {error.args[0]}; correct it') from error


def _check_variables(path: Path, read_below: Collection[str]) -> None:
    """Check a file; ``read_below`` are the variables that the files derived from it read."""
    names = Config._get_base_files(str(path))
    if path.suffix != '.py' or not names:
        return
    bases = [Path(Config._get_cfg_path(name, str(path))[0]) for name in names]
    text = path.read_text(encoding='utf-8')
    unread = sorted(_unread_variables(text) - _KNOWN - {*read_below})
    lines = []
    for base in bases if unread else ():
        cfg = Config.fromfile(base, import_custom_modules=False)
        for name in unread:
            places = _places_of(cfg, name)
            if name in cfg or places:
                advice = f'set {", ".join(places)} instead' if places else 'use or remove it'
                lines.append(
                    f'{path}: {name!r} is a variable that nothing reads, and the settings of its '
                    f'base {base.name} keep their values; {advice}'
                )
    if lines:
        raise InputError('\n'.join(lines))
    for name, base in zip(names, bases, strict=True):
        if '::' not in name:
            _check_variables(base, {*read_below, *_READ_OF_BASE.findall(text)})


def _unread_variables(text: str) -> set[str]:
    """Return the names that a config file assigns and does not read."""
    tree = ast.parse(text)
    assignments = [x for x in tree.body if isinstance(x, ast.Assign | ast.AnnAssign)]
    assigned = {name for x in assignments for name in _names(x, ast.Store)}
    return assigned - _names(tree, ast.Load | ast.Del) - {'_base_'}


def _names(tree: ast.AST, context: Any) -> set[str]:
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, context)
    }


def _check_top(key: str, value: Any) -> None:
    if key not in _KNOWN:
        close = [known for known in _KNOWN if _is_misspelt(key, known)]
        if close:
            raise InputError(f'{key} is no setting, expected {_nearest(key, close)}')
    elif isinstance(value, Mapping) and key in _PLAIN:
        _check_names(key, value, _PLAIN[key], key)
    elif isinstance(value, Mapping) and key == 'default_hooks':
        for name, hook in value.items():
            if isinstance(hook, Mapping) and 'type' not in hook:
                near = _nearest(name, [other for other in value if other != name])
                raise InputError(f'{key}.{name}: has no type; did you mean {near}?')
            _check_nodes(f'{key}.{name}', hook, _PLACES['custom_hooks'])
    elif key.endswith('_dataloader'):
        _check_children('', {key: value}, None)
    elif isinstance(value, Mapping) and 'metrics' in value:
        _check_nodes(f'{key}.metrics', value['metrics'], _PLACES[key])
    elif key in _PLACES:
        _check_nodes(key, value, _PLACES[key])


def _check_nodes(path: str, value: Any, place: _Place) -> None:
    """Check what is built from a dict, or from a list of them."""
    for where, node in _items(path, value):
        if isinstance(node, str | int | float):
            raise InputError(f"{where}={node!r}: expected dict(type='…', …)")
        if not isinstance(node, Mapping):
            continue
        default = place.default if node.get('by_epoch', True) else 'IterBasedTrainLoop'
        kind = node.get('type', default)
        if kind is None:
            raise InputError(f'{where}: found {sorted(node)}, expected type as well')
        cls = _look_up(where, place.registry, kind, node.get('_scope_'))
        names, needed, is_open = _parameters(cls)
        given = {key: x for key, x in node.items() if key not in ('type', '_scope_')}
        # A model gives some arguments to its parts itself.
        needed = () if where.startswith('model.') else [n for n in needed if n not in place.passed]
        _check_names(
            where, given, given if is_open else [*names, *place.passed], cls.__name__, needed
        )
        ours = cls.__module__.startswith(__name__.partition('.')[0])
        _check_children(where, given, place if ours else None)


def _check_children(path: str, node: Mapping, place: _Place | None) -> None:
    """Check the dicts inside; one with a `type` belongs to `place` if to no place of its own."""
    for key, value in node.items():
        if key.endswith('_dataloader') and isinstance(value, Mapping):
            where = f'{path}.{key}'.removeprefix('.')
            _check_names(where, value, _LOADER, 'a data loader', ['dataset', 'sampler'])
            _check_children(where, value, None)
        inner = _INSIDE.get(key, place)
        for where, child in _items(f'{path}.{key}', value) if inner else ():
            if isinstance(child, Mapping) and (key in _INSIDE or 'type' in child):
                _check_nodes(where, child, inner)


def _check_names(
    path: str, node: Mapping, known: Collection[str], owner: str, needed: Collection[str] = ()
) -> None:
    for key, value in node.items():
        if key not in known:
            raise InputError(
                f'{path}.{key}={reprlib.repr(value)}: {owner} has no such setting, expected '
                f'{_nearest(key, known)}'
            )
    missing = [name for name in needed if name not in node]
    if missing:
        raise InputError(
            f'{path}: found {sorted(node)}, expected {", ".join(missing)} for {owner} as well'
        )


def _look_up(path: str, registry: Registry, kind: Any, scope: str | None) -> Any:
    """Return what a `type` names."""
    if callable(kind):
        return kind
    with registry.switch_scope_and_registry(scope) as current:
        found, names = current.get(str(kind)), []
        while found is None and current is not None:
            names, current = [*names, *current.module_dict], current.parent
    if found is None:
        raise InputError(f'{path}.type={kind!r}: no such class, expected {_nearest(kind, names)}')
    return found


def _parameters(cls: Any) -> tuple[list[str], list[str], bool]:
    """Return all names, those that must be given, and whether more are taken.

    A constructor with ``**kwargs`` is followed to the constructor of the next class, if it is ours
    or mmengine's; others may drop what they get, as mmaction2's DRN does.
    """
    makers = [cls]
    if inspect.isclass(cls):
        makers = [vars(c)['__init__'] for c in cls.__mro__[:-1] if '__init__' in vars(c)]
    found: dict[str, inspect.Parameter] = {}
    needed: list[str] = []
    for maker in makers:
        parameters = list(inspect.signature(maker).parameters.values())[inspect.isclass(cls) :]
        named = {
            p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        needed = needed or [] if found else [n for n, p in named.items() if p.default is p.empty]
        found = named | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return list(found), needed, False
        if maker.__module__.partition('.')[0] not in ('reloclnet_mm', 'mmengine'):
            break
    return list(found), needed, bool(makers)


def _places_of(cfg: Config, name: str) -> list[str]:
    """Return the settings of a name and of its value if it is a variable, else those of either."""
    value = cfg.get(name, object())
    groups: dict[tuple[bool, bool], list[str]] = {}
    for path, node in _walk('', cfg):
        for key, other in node.items() if path.partition('.')[0] in _KNOWN else ():
            equal = type(other) is type(value) and other == value
            groups.setdefault((key == name, equal), []).append(f'{path}.{key}')
    return groups.get((True, True)) or groups.get((True, False)) or groups.get((False, True)) or []


def _walk(path: str, value: Any) -> Iterator[tuple[str, Mapping]]:
    """Yield every dict with its path."""
    if isinstance(value, Mapping | Config):
        yield path, value
        for key, inner in value.items():
            yield from _walk(f'{path}.{key}' if path else key, inner)
    elif isinstance(value, list | tuple):
        for where, inner in _items(path, value):
            yield from _walk(where, inner)


def _items(path: str, value: Any) -> list[tuple[str, Any]]:
    """Return the members of a list with their paths, or the value itself; nothing of None."""
    if isinstance(value, list | tuple):
        return [(f'{path}.{i}', item) for i, item in enumerate(value)]
    return [] if value is None else [(path, value)]


def _is_misspelt(name: str, known: str) -> bool:
    """Whether letters differ, not words: `dataloader` and `image_dataloader` are variables."""
    words, others = name.split('_'), known.split('_')
    alike = len(words) != len(others) or min(map(_ratio, words, others)) >= 0.6
    return alike and _ratio(name, known) >= 0.8 and not known.endswith(f'_{name}')


def _ratio(a: str, b: str) -> float:
    return SequenceMatcher(None, str(a), b).ratio()


def _nearest(name: str, names: Collection[str], most: int = 6) -> str:
    """Return the names most like ``name``, nearest first."""
    ordered = sorted({*names}, key=lambda other: (-_ratio(name, other), other))
    return ', '.join(ordered[:most] + ['…'] * (len(ordered) > most)) or 'none'
