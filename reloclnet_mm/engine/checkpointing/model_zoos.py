"""Names of published weights, such as mmaction2's configs have, to their addresses."""

from collections.abc import Callable
from typing import Any

from mmengine.runner import (
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)

from reloclnet_mm.errors import InputError

_ADDRESSES: dict[str, Callable[[], dict[str, str]]] = {
    'torchvision': get_torchvision_models,
    'modelzoo': get_torchvision_models,
    'open-mmlab': get_external_models,
    'openmmlab': get_external_models,
    'mmcls': get_mmcls_models,
}
ZOO_SCHEMES = tuple(f'{scheme}://' for scheme in _ADDRESSES)


def address_in_zoo(filename: str) -> str:
    """The https address of weights that are named by zoo and model, from mmengine's lists.

    Args:
        filename: Such as ``torchvision://resnet50``.

    Raises:
        InputError: The zoo has no such model, or its list cannot be had.
    """
    scheme, _, name = filename.partition('://')
    try:
        addresses = _ADDRESSES[scheme]()
    except ImportError as e:
        raise InputError(
            f'{filename}: the address cannot be looked up ({e}); install torchvision, or download '
            'the file and give its path'
        ) from e
    if scheme in ('open-mmlab', 'openmmlab'):
        name = get_deprecated_model_names().get(name, name)
    address = addresses.get(name, '')
    if not address.startswith(('http://', 'https://')):
        raise InputError(
            f'{filename}: found no address of {name!r} in the list of {scheme}; check the name, or '
            'download the file and give its path'
        )
    return address


def backbone_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The backbone of a classifier under its own names, as mmengine gives out ``mmcls://``.

    Args:
        checkpoint: The classifier's weights by name, by themselves or under ``state_dict``.
    """
    weights = dict.get(checkpoint, 'state_dict', checkpoint)
    prefix = 'backbone.'
    return {
        'state_dict': {
            name.removeprefix(prefix): x
            for name, x in dict.items(weights)
            if name.startswith(prefix)
        }
    }
