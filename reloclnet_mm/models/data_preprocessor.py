"""From lists of samples to padded batches on the model's device."""

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import MODELS


@MODELS.register_module()
class MomentDataPreprocessor(BaseDataPreprocessor):
    """Pads queries and clips to the batch's longest and adds masks.

    Args:
        pad_clips_to: Pad clips to this many rows instead. The authors' program pads to its
            maximum of 128, which its results depend on; ours do not.
    """

    def __init__(self, pad_clips_to: int | None = None) -> None:
        super().__init__()
        self.pad_clips_to = pad_clips_to

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack what the pipelines packed; other entries pass through.

        Args:
            data: ``inputs`` holds, by name, lists of (rows, channels) float tensors: ``query``
                and the streams, each where present. ``data_samples`` is a list.
            training: Not used.

        Returns:
            ``inputs`` with each list as one (B, longest, channels) tensor, ``query_mask`` and
            ``clip_mask`` (B, longest) bool beside them; the rest as it came.
        """
        data = self.cast_data(data)
        sequences = dict(data['inputs'])
        inputs: dict[str, Tensor] = {}
        if 'query' in sequences:
            inputs['query'], inputs['query_mask'] = pad(sequences.pop('query'))
        for stream, clips in sequences.items():
            inputs[stream], inputs['clip_mask'] = pad(clips, self.pad_clips_to)
        return {**data, 'inputs': inputs}


def pad(sequences: list[Tensor], length: int | None = None) -> tuple[Tensor, Tensor]:
    """Stack sequences of unequal length.

    Args:
        sequences: B tensors (rows, channels).
        length: Rows to pad to; None: the longest of them.

    Returns:
        (B, length, channels), zero-padded, and the mask (B, length) bool of valid rows.

    Raises:
        InputError: A sequence has more rows than ``length``.
    """
    rows = torch.tensor([len(x) for x in sequences], device=sequences[0].device)
    stacked = pad_sequence(sequences, batch_first=True)
    if length is not None:
        if stacked.shape[1] > length:
            raise InputError(
                f'a sequence of {stacked.shape[1]} rows is to be padded to pad_clips_to={length}; '
                'let PoolClips pool to at most as many clips'
            )
        stacked = torch.nn.functional.pad(stacked, (0, 0, 0, length - stacked.shape[1]))
    positions = torch.arange(stacked.shape[1], device=stacked.device)
    return stacked, positions < rows[:, None]
