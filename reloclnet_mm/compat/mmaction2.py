"""Lets the models of mmaction2 1.2.0 be imported where its release lacks something.

Its wheel has no ``mmaction.models.localizers.drn`` (its issue 2714: the folder has no
``__init__.py``, so that packaging leaves it out), which ``mmaction.models.localizers`` imports. And
where transformers is installed it imports ``mmaction.models.multimodal.vindlu``, which needs timm
without asking for it. With either, no model of it can be imported, and with
``default_scope='mmaction'`` no look-up in a registry of models works.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

DRN = 'mmaction.models.localizers.drn'
VINDLU = 'mmaction.models.multimodal.vindlu'


class StandInFinder(MetaPathFinder):
    """Finds a package of this one in the place of another.

    Args:
        replaced: Name of the package that is stood in for.
        unless: Name of a package with which it works, so that there is nothing to do.
    """

    def __init__(self, replaced: str, unless: str | None = None) -> None:
        self.replaced = replaced
        self.unless = unless
        self._folder = Path(__file__).parent / replaced.rpartition('.')[2]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The stand-in's specification for the one name, nothing for any other."""
        if fullname != self.replaced:
            return None
        if self.unless is not None and importlib.util.find_spec(self.unless) is not None:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self._folder / '__init__.py', submodule_search_locations=[str(self._folder)]
        )


def install() -> None:
    """Add the finders, once.

    DRN's stands last, and so is asked only where the package itself is missing. VindLU's package is
    there and cannot be imported, so that its finder stands first.
    """
    if not any(isinstance(finder, StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(StandInFinder(DRN))
        sys.meta_path.insert(0, StandInFinder(VINDLU, unless='timm'))
