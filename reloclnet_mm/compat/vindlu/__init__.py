"""Stands in for ``mmaction.models.multimodal.vindlu`` where timm is missing.

As mmaction2 does where transformers is: the models are names, and building one says what to
install.
"""

from mmaction.registry import MODELS
from mmaction.utils.dependency import register_multimodal_placeholder

__all__: list[str] = []

register_multimodal_placeholder(['VindLUVQA', 'VindLURetrievalMC', 'VindLURetrieval'], MODELS)
