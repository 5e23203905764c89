"""What an inferencer reads of a config beside the model."""

from mmengine.config import Config
from mmengine.registry import DefaultScope

from reloclnet_mm.datasets.base import FeatureDataset
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.recipe import FeatureRecipe
from reloclnet_mm.indexing.windows import Windows
from reloclnet_mm.registry import DATASETS, EXTRACTORS
from reloclnet_mm.utils.config_checks import building_errors_are_input_errors


def recipe_of(cfg: Config, device: str) -> FeatureRecipe:
    """Build the recipe of a config.

    Args:
        cfg: The config.
        device: Device of the extractors.

    Raises:
        InputError: It has none, or one that cannot be built.
    """
    missing = [key for key in ('recipe', 'windows') if key not in cfg]
    if missing:
        raise InputError(
            f'{cfg.filename}: has no {" and no ".join(missing)}, which say how own videos become '
            'features; copy them from configs/relocl_speech.py and adapt them'
        )
    with building_errors_are_input_errors(cfg):
        return EXTRACTORS.build(dict(cfg.recipe, device=device))


def windows_of(cfg: Config) -> Windows:
    """Read how videos are divided.

    Args:
        cfg: The config.

    Raises:
        InputError: It says something else.
    """
    if {*cfg.windows} != {*Windows._fields}:
        raise InputError(
            f'{cfg.filename}: windows has {sorted(cfg.windows)}, expected {list(Windows._fields)}'
        )
    return Windows(**cfg.windows).check()


def dataset_of(cfg: Config, loader: str) -> FeatureDataset:
    """Build the data set of a dataloader, whose annotation is not read.

    Args:
        cfg: The config.
        loader: Name of the dataloader.
    """
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        return DATASETS.build(dict(cfg[loader].dataset, lazy_init=True))


def check_recipe(cfg: Config, recipe: FeatureRecipe, data: FeatureDataset) -> None:
    """Refuse a recipe whose features are others than those of training.

    Args:
        cfg: The config.
        recipe: Its recipe.
        data: Its data set of videos.

    Raises:
        InputError: Clips or streams differ.
    """
    if data.clip_length != recipe.clip_length:
        raise InputError(
            f'{cfg.filename}: recipe.clip_length is {recipe.clip_length} s, and the data set has '
            f'clip_length={data.clip_length!r}; give both the same'
        )
    if {*data.streams} != {*recipe.streams}:
        raise InputError(
            f'{cfg.filename}: recipe.streams has {sorted(recipe.streams)}, and the data set '
            f'{sorted(data.streams)}; give both the same'
        )
