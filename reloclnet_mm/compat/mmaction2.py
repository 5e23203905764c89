"""Make the models of mmaction2 1.2.0 importable where its release lacks something.

Its wheel has no ``mmaction.models.localizers.drn``, which ``mmaction.models.localizers`` imports:
the folder has no ``__init__.py``, so that packaging leaves it out (issue 2714 of mmaction2). Where
transformers is installed, it also imports ``mmaction.models.multimodal.vindlu``, which needs timm
without asking for it. Either way no model of mmaction2 can be imported, and with
``default_scope='mmaction'`` no model can be looked up in a registry.
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
    """Find a package of this one in place of a package of mmaction2.

    Args:
        replaced: Name of the package to replace.
        unless: Name of a package; where it is installed, nothing is replaced.
    """

    def __init__(self, replaced: str, unless: str | None = None) -> None:
        self.replaced = replaced
        self.unless = unless
        self._folder = Path(__file__).parent / replaced.rpartition('.')[2]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of the replacement for the one name, None for any other."""
        if fullname != self.replaced:
            return None
        if self.unless is not None and importlib.util.find_spec(self.unless) is not None:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self._folder / '__init__.py', submodule_search_locations=[str(self._folder)]
        )


def install() -> None:
    """Add the finders, once.

    The finder for DRN is last, so that it is asked only where DRN is missing. The package of VindLU
    is there but cannot be imported, so its finder is first.
    """
    if not any(isinstance(finder, StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(StandInFinder(DRN))
        sys.meta_path.insert(0, StandInFinder(VINDLU, unless='timm'))
