"""Replace ``mmaction.models.multimodal.vindlu`` where timm is missing.

The models are only names, and building one says what to install, as mmaction2 itself does where
transformers is missing.
"""

from mmaction.registry import MODELS
from mmaction.utils.dependency import register_multimodal_placeholder

__all__: list[str] = []

register_multimodal_placeholder(['VindLUVQA', 'VindLURetrievalMC', 'VindLURetrieval'], MODELS)
