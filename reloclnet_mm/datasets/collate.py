"""From the samples of a batch to what a worker sends."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import get_worker_info

from reloclnet_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def join_rows(samples: Sequence[Any]) -> Any:
    """Collate as mmengine's ``pseudo_collate``, the rows of a feature in one memory.

    A worker sends each memory through a file descriptor of its own, which takes longer than to load
    a short sequence, and stays open until the sequence is gone.

    Args:
        samples: What a data set returns.

    Returns:
        What ``pseudo_collate`` returns. In a worker, sequences (rows, …) of one feature, alike in
        all but the number of rows, are views of one tensor.
    """
    batch = pseudo_collate(samples)
    return batch if get_worker_info() is None else _joined(batch)


def _joined(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {name: _joined(x) for name, x in batch.items()}
    if not (isinstance(batch, list) and all(isinstance(x, Tensor) and x.dim() for x in batch)):
        return batch
    alike = len({(x.dtype, x.shape[1:]) for x in batch}) == 1
    return list(torch.cat(batch).split([len(x) for x in batch])) if alike else batch
