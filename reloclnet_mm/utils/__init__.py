"""Helpers that belong to no other part."""

from reloclnet_mm.utils.setup_env import register_all_modules

__all__ = ['register_all_modules']
