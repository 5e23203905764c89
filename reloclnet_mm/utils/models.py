"""Models as runners hold them."""

from mmengine.model import is_model_wrapper
from torch import nn


def bare_model(model: nn.Module) -> nn.Module:
    """Return the model itself, without the wrapper of distributed training.

    Args:
        model: The model, with or without a wrapper.
    """
    return model.module if is_model_wrapper(model) else model
