"""What loading any pretrained encoder needs: its place, its device, all of its weights."""

from pathlib import Path
from typing import Any

import torch

from reloclnet_mm.errors import InputError


def check_folder(name: str) -> None:
    """Refuse what is meant as the folder of an encoder and is none.

    The hub would be asked for it, and answer with a misleading message.

    Args:
        name: Folder, or id on the hub.

    Raises:
        InputError: It is a path, and there is no encoder.
    """
    if Path(name).is_absolute() or name.startswith('.') or Path(name).exists():
        config = Path(name, 'config.json')
        if not config.is_file():
            raise InputError(f'encoder {name}: no {config}; expected the folder of an encoder')


def check_device(device: str) -> torch.device:
    """Return a device that can be used.

    Args:
        device: As PyTorch names it.

    Raises:
        InputError: It cannot be used.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f'device {device!r} cannot be used: {reason}; try cpu') from error


def load_model(name: str) -> tuple[Any, set[str]]:
    """Load a model by ``transformers``, in single precision and ready for use.

    Args:
        name: Folder of a model as ``transformers`` saves it, or its id on the hub.

    Returns:
        The model, and the names of weights of a pooler, which the checkpoint lacks and which are
        random.

    Raises:
        InputError: It cannot be loaded, or other weights are missing.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    check_folder(name)
    # A bar for a second's work would stand in the way of what a tool prints.
    logging.disable_progress_bar()
    try:
        model, info = AutoModel.from_pretrained(name, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise InputError(f'encoder {name}: cannot be loaded: {error}') from error
    # A mask token has a use in training alone.
    missing = {key for key in info['missing_keys'] if not key.endswith('mask_token')}
    pooler = {key for key in missing if 'pooler' in key.split('.')}
    if missing != pooler:
        raise InputError(
            f'encoder {name}: its files lack {len(missing)} weights, such as {min(missing)}; they '
            'would be random. Download it again, or choose another'
        )
    # A checkpoint stored in half precision would otherwise be run in it.
    return model.float().eval(), pooler
