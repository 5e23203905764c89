"""A name in place of DRN; building it says how to get the model."""

from typing import NoReturn

from mmaction.registry import MODELS

from reloclnet_mm.errors import InputError


@MODELS.register_module()
class DRN:
    """Hold the name of mmaction2's DRN, which its release on PyPI lacks.

    Raises:
        InputError: Always.
    """

    def __init__(self, **_: object) -> NoReturn:
        raise InputError(
            'DRN is not in this installation of mmaction2: the release on PyPI lacks '
            'mmaction/models/localizers/drn (open-mmlab/mmaction2 issue 2714). Clone '
            'https://github.com/open-mmlab/mmaction2 at v1.2.0, and install it with '
            '`pip install -e .` in the clone (a plain install leaves the folder out too); '
            'it needs torchvision and nltk. docs/ecosystem.md of reloclnet_mm describes another way'
        )
