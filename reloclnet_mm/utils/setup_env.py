"""Setting up scripts that do not run through a Runner."""

import importlib

from mmengine.registry import init_default_scope as set_default_scope


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import everything that this package registers.

    The registries do so by themselves at the first look-up; this is for scripts that want it at
    once, as other mm packages offer it.

    Args:
        init_default_scope: Whether to make ``reloclnet_mm`` the default scope.
    """
    for name in ('datasets', 'datasets.transforms', 'engine', 'evaluation', 'models'):
        importlib.import_module(f'reloclnet_mm.{name}')
    if init_default_scope:
        set_default_scope('reloclnet_mm')
