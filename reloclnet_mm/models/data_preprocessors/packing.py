"""From lists of samples to packed batches on the model's device."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample, PackedRows, RowLayout
from reloclnet_mm.utils.checks import check_count, check_number


@MODELS.register_module()
class MomentDataPreprocessor(BaseDataPreprocessor):
    """Packs queries and clips into matrices of rows, each video of a batch once.

    Sequences of similar length share a block of rows, so that little is computed on padding.

    Args:
        slack: Part of a block's rows that a sequence may leave to padding, from 0, which makes a
            block for each length, to 1, which makes a single block. Less padding takes more and
            smaller operations: use 1 on a GPU, where these cost more than padding.
        pad_clips_to: Pad clips to this many rows instead, all in one block. The authors' program
            pads to its maximum of 128, which its results depend on; ours do not.
    """

    def __init__(self, slack: float = 0.125, pad_clips_to: int | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        check_number(f'{name}: slack', slack, low=0, high=1)
        if pad_clips_to is not None:
            check_count(f'{name}: pad_clips_to', pad_clips_to)
        self.slack = slack
        self.pad_clips_to = pad_clips_to

    def forward(self, data: dict, training: bool = False) -> dict:
        """Pack what the pipelines loaded; other entries stay where they are.

        Args:
            data: ``inputs`` holds lists of (rows, channels) float tensors by name: ``query`` and
                the streams, each where present. ``data_samples`` is a list.
            training: Not used.

        Returns:
            ``inputs`` with ``query`` and ``clips``, each where present, as
            :class:`~reloclnet_mm.structures.packed_rows.PackedRows`; the rest as it came.
        """
        return self.pack_inputs({**data, 'inputs': self.cast_data(data['inputs'])})

    def pack_inputs(self, data: dict[str, Any]) -> dict[str, Any]:
        """Do what :meth:`forward` does with inputs that are on the model's device."""
        sequences = dict(data['inputs'])
        inputs: dict[str, PackedRows] = {}
        if 'query' in sequences:
            inputs['query'] = self.pack_queries(sequences.pop('query'))
        if sequences:
            inputs['clips'] = self.pack_clips(sequences, data['data_samples'])
        return {**data, 'inputs': inputs}

    def pack_queries(self, tokens: list[Tensor]) -> PackedRows:
        """Pack the tokens (T, channels) of B queries."""
        return pack({'query': tokens}, range(len(tokens)), self.slack)

    def pack_clips(
        self, clips: dict[str, list[Tensor]], samples: Sequence[MomentDataSample]
    ) -> PackedRows:
        """Pack the clips (L, channels) of the videos of B samples, stream by stream."""
        videos = [sample.get('video_id', -1 - i) for i, sample in enumerate(samples)]
        return pack(clips, videos, self.slack, self.pad_clips_to)


def pack(
    features: dict[str, list[Tensor]],
    groups: Sequence[int],
    slack: float,
    pad_to: int | None = None,
) -> PackedRows:
    """Pack sequences of unequal length, those of a group once.

    Args:
        features: Name to B tensors (rows, channels); as many rows in each.
        groups: B numbers, equal where samples have the same sequence.
        slack: See :class:`MomentDataPreprocessor`.
        pad_to: Pad all to this many rows.

    Raises:
        InputError: A sequence has more rows than ``pad_to``.
    """
    one = next(iter(features.values()))
    first = {group: i for i, group in reversed(list(enumerate(groups)))}
    samples = sorted(first.values())
    lengths = [len(one[i]) for i in samples]
    if pad_to is None:
        layout, order = RowLayout.pack(lengths, slack)
        samples = [samples[i] for i in order]
    else:
        layout = _padded_layout(lengths, pad_to)
    place = {sample: i for i, sample in enumerate(samples)}
    places = torch.tensor([place[first[group]] for group in groups])
    device = one[0].device
    return PackedRows(
        {name: _join([x[i] for i in samples], layout) for name, x in features.items()},
        RowLayout(_send(layout.lengths, device), layout.blocks),
        _send(places, device),
    )


def _padded_layout(lengths: list[int], pad_to: int) -> RowLayout:
    if max(lengths) > pad_to:
        raise InputError(
            f'a sequence of {max(lengths)} rows is to be padded to {pad_to}; set max_clips and '
            'max_tokens of the data set to at most what pad_clips_to and pad_tokens_to say'
        )
    return RowLayout.stack(lengths, [pad_to] * len(lengths))


def _join(sequences: list[Tensor], layout: RowLayout) -> Tensor:
    sizes = layout.rows_of_each.tolist()
    zeros = sequences[0].new_zeros(max(sizes), sequences[0].shape[1])
    pieces = []
    for x, num_rows in zip(sequences, sizes, strict=True):
        pieces += [x, zeros[len(x) : num_rows]] if len(x) < num_rows else [x]
    return torch.cat(pieces)


def _send(x: Tensor, device: torch.device) -> Tensor:
    """Copy from the CPU without waiting for what the device is doing."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == 'cuda' else x.to(device)
