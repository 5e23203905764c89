"""Models as runners hold them."""

from mmengine.model import is_model_wrapper
from torch import nn


def bare_model(model: nn.Module) -> nn.Module:
    """The model itself, without the wrapper of distributed training.

    Args:
        model: With or without a wrapper.
    """
    return model.module if is_model_wrapper(model) else model
