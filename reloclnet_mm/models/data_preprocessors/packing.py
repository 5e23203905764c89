"""From lists of samples to packed batches on the model's device."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample
from reloclnet_mm.structures.packed_rows import PackedRows, RowLayout


@MODELS.register_module()
class MomentDataPreprocessor(BaseDataPreprocessor):
    """Packs queries and clips into matrices of rows, each video of a batch once.

    Sequences of similar length share a block of rows, so that little is computed on padding.

    Args:
        slack: Part of a block's rows that a sequence may leave to padding; 0 makes a block for each
            length, 1 a single one. Less padding costs more and smaller operations: on a GPU, where
            these count and padding hardly does, take 1.
        pad_clips_to: Pad clips to this many rows instead, all in one block. The authors' program
            pads to its maximum of 128, which its results depend on; ours do not.
    """

    def __init__(self, slack: float = 0.125, pad_clips_to: int | None = None) -> None:
        super().__init__()
        if not 0 <= slack <= 1:
            raise ValueError(f'MomentDataPreprocessor: slack is {slack}, expected 0 to 1')
        self.slack = slack
        self.pad_clips_to = pad_clips_to

    def forward(self, data: dict, training: bool = False) -> dict:
        """Pack what the pipelines loaded; other entries pass through.

        Args:
            data: ``inputs`` holds, by name, lists of (rows, channels) float tensors: ``query``
                and the streams, each where present. ``data_samples`` is a list.
            training: Not used.

        Returns:
            ``inputs`` with ``query`` and ``clips``, each where present, as
            :class:`~reloclnet_mm.structures.packed_rows.PackedRows`; the rest as it came.
        """
        data = self.cast_data(data)
        sequences = dict(data['inputs'])
        inputs: dict[str, PackedRows] = {}
        if 'query' in sequences:
            query = {'query': sequences.pop('query')}
            inputs['query'] = pack(query, range(len(query['query'])), self.slack)
        if sequences:
            videos = video_numbers(data['data_samples'])
            inputs['clips'] = pack(sequences, videos, self.slack, self.pad_clips_to)
        return {**data, 'inputs': inputs}


def video_numbers(samples: list[MomentDataSample]) -> list[int]:
    """A number for each sample, equal where samples have the same video."""
    return [sample.get('video_id', -1 - i) for i, sample in enumerate(samples)]


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
    layout, chosen, places = arrange([len(x) for x in one], groups, slack, pad_to)
    return PackedRows(
        {name: _join([x[i] for i in chosen], layout) for name, x in features.items()},
        layout.to(one[0].device),
        torch.tensor(places, device=one[0].device),
    )


class Arrangement(NamedTuple):
    """Which sequences of a batch stand where in a matrix of rows.

    Attributes:
        layout: Of the rows, on the CPU.
        chosen: For each of the layout's sequences a sample that has it.
        places: For each of the B samples, which of the layout's sequences it has.
    """

    layout: RowLayout
    chosen: list[int]
    places: list[int]


def arrange(
    lengths: Sequence[int], groups: Sequence[int], slack: float, pad_to: int | None = None
) -> Arrangement:
    """Where the sequences of a batch are to stand, those of a group once.

    Args:
        lengths: Of the B samples' sequences, in rows.
        groups: B numbers, equal where samples have the same sequence.
        slack: See :class:`MomentDataPreprocessor`.
        pad_to: Pad all to this many rows.

    Raises:
        InputError: A sequence has more rows than ``pad_to``.
    """
    first = {group: i for i, group in reversed(list(enumerate(groups)))}
    samples = sorted(first.values())
    distinct = [lengths[i] for i in samples]
    if pad_to is None:
        layout, order = RowLayout.pack(distinct, slack)
    else:
        layout, order = _padded_layout(distinct, pad_to), range(len(distinct))
    chosen = [samples[i] for i in order]
    place = {sample: i for i, sample in enumerate(chosen)}
    return Arrangement(layout, chosen, [place[first[group]] for group in groups])


def _padded_layout(lengths: list[int], pad_to: int) -> RowLayout:
    if max(lengths) > pad_to:
        raise InputError(
            f'a sequence of {max(lengths)} rows is to be padded to pad_clips_to={pad_to}; '
            'let PoolClips pool to at most as many clips'
        )
    return RowLayout.stack(lengths, [pad_to] * len(lengths))


def _join(sequences: list[Tensor], layout: RowLayout) -> Tensor:
    pieces = []
    for x, num_rows in zip(sequences, layout.rows_of_each.tolist(), strict=True):
        pieces.append(x)
        if len(x) < num_rows:
            pieces.append(x.new_zeros(num_rows - len(x), x.shape[1]))
    return torch.cat(pieces)
