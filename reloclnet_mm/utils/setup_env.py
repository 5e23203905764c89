"""Registering the classes of the package at once."""

import importlib

from mmengine.registry import init_default_scope as set_default_scope


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import all modules that register classes, as other mm packages offer it.

    The registries also do so themselves when the first name is looked up.

    Args:
        init_default_scope: Whether to make ``reloclnet_mm`` the default scope.
    """
    for name in ('datasets', 'datasets.transforms', 'engine', 'evaluation', 'models'):
        importlib.import_module(f'reloclnet_mm.{name}')
    if init_default_scope:
        set_default_scope('reloclnet_mm')
