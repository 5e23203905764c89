"""Models that come with the package: their configs, and weights of a few megabytes."""

from pathlib import Path

from mmengine.config import Config

import reloclnet_mm
from reloclnet_mm.errors import InputError

_PACKAGE = Path(reloclnet_mm.__file__).parent
_WEIGHTS = _PACKAGE / 'pretrained'
_CONFIGS = _PACKAGE / '.mim' / 'configs'


def shipped_models() -> list[str]:
    """List the names of the models that come with weights."""
    return sorted(path.stem for path in _WEIGHTS.glob('*.safetensors'))


def find_model(
    model: str | Path | Config, weights: str | Path | None
) -> tuple[Config, str | None, str | None]:
    """Find the config and the weights of a model.

    Args:
        model: Name of a model that comes with the package, a config or its file.
        weights: Weights of another model.

    Returns:
        Config, weights, and the name if the model comes with the package.

    Raises:
        InputError: There is no such model or config.
    """
    if isinstance(model, Config):
        return model, _as_text(weights), None
    name = str(model)
    if name in shipped_models():
        cfg = Config.fromfile(_CONFIGS / f'{name}.py')
        if weights is None:
            return cfg, str(_WEIGHTS / f'{name}.safetensors'), name
        return cfg, str(weights), None
    if not Path(name).is_file():
        raise InputError(
            f'{name}: no such model, expected {" or ".join(shipped_models())}, or the file of a '
            'config'
        )
    try:
        return Config.fromfile(name), _as_text(weights), None
    except (SyntaxError, OSError) as error:
        raise InputError(f'{name}: cannot be read as a config ({error}); correct it') from error


def _as_text(weights: str | Path | None) -> str | None:
    return None if weights is None else str(weights)
