"""Sequences of unequal length in one matrix, with little or no padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor


class Block(NamedTuple):
    """Neighbouring sequences that take the same number of rows.

    Attributes:
        count: Sequences.
        num_rows: Rows of each, padding included.
    """

    count: int
    num_rows: int


@dataclass(frozen=True)
class RowLayout:
    """Where the rows of N sequences are in a matrix of R rows.

    Sequences follow each other; those of one block are padded to the same number of rows, so that
    a block is a view (count, num_rows, …) of the matrix. What treats each row by itself works on
    the whole matrix, what treats a sequence as a whole works block by block.

    Attributes:
        lengths: (N,) int64, valid rows of each sequence.
        blocks: The blocks, in the order of their rows.
    """

    lengths: Tensor
    blocks: tuple[Block, ...]

    @staticmethod
    def pack(lengths: Sequence[int], slack: float) -> tuple['RowLayout', list[int]]:
        """A layout of sequences, sorted by length.

        Args:
            lengths: N lengths, each 1 or more.
            slack: Part of a block's rows that a sequence may leave to padding: 0 makes a block for
                each length, 1 a single block.

        Returns:
            The layout and the N sequences in its order.
        """
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        blocks: list[Block] = []
        for i in order:
            if blocks and lengths[i] >= blocks[-1].num_rows * (1 - slack):
                blocks[-1] = blocks[-1]._replace(count=blocks[-1].count + 1)
            else:
                blocks.append(Block(1, lengths[i]))
        return RowLayout(torch.tensor([lengths[i] for i in order]), tuple(blocks)), order

    @staticmethod
    def stack(lengths: Sequence[int], num_rows: Sequence[int]) -> 'RowLayout':
        """The layout of sequences as they are, with so many rows each.

        Args:
            lengths: N lengths.
            num_rows: N numbers of rows, none smaller than the length.
        """
        return RowLayout(torch.tensor(lengths), _blocks_of(num_rows))

    @staticmethod
    def concatenate(layouts: Sequence['RowLayout']) -> 'RowLayout':
        """The layout of matrices one below another.

        Args:
            layouts: Of each.
        """
        blocks = tuple(block for layout in layouts for block in layout.blocks)
        return RowLayout(torch.cat([layout.lengths for layout in layouts]), blocks)

    @staticmethod
    def padded(mask: Tensor) -> 'RowLayout':
        """The layout of a padded batch.

        Args:
            mask: (N, L) bool, true where a row is valid; valid rows come first.
        """
        return RowLayout(mask.sum(1), (Block(*mask.shape),))

    def chosen(self, places: Tensor) -> 'RowLayout':
        """The layout of some sequences, one after another, as :meth:`rows_of` lists their rows.

        Args:
            places: (B,) int64, sequences of this layout.
        """
        num_rows = self.rows_of_each[places].tolist()
        return RowLayout(self.lengths[places], _blocks_of(num_rows))

    def repeated(self, times: int) -> 'RowLayout':
        """The layout in which each sequence, padding included, follows itself so many times.

        All of its rows count as valid: where there is padding, use masks of one's own.
        """
        blocks = tuple(Block(block.count, times * block.num_rows) for block in self.blocks)
        return RowLayout(times * self.rows_of_each, blocks)

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device | str) -> 'RowLayout':
        """The same layout with its tensors on another device."""
        return RowLayout(self.lengths.to(device), self.blocks)

    @property
    def num_rows(self) -> int:
        """The number R of rows."""
        return sum(count * num_rows for count, num_rows in self.blocks)

    @cached_property
    def rows_of_each(self) -> Tensor:
        """(N,) int64, rows that each sequence takes."""
        counts, rows = torch.tensor(self.blocks, device=self.lengths.device).unbind(1)
        return rows.repeat_interleave(counts)

    @cached_property
    def first_rows(self) -> Tensor:
        """(N,) int64, the row at which each sequence begins."""
        return self.rows_of_each.cumsum(0) - self.rows_of_each

    @cached_property
    def positions(self) -> Tensor:
        """(R,) int64, the position of each row in its sequence."""
        ranges = [
            torch.arange(num_rows, device=self.lengths.device).repeat(count)
            for count, num_rows in self.blocks
        ]
        return torch.cat(ranges)

    @cached_property
    def masks(self) -> tuple[Tensor | None, ...]:
        """Of each block (count, num_rows) bool, true where a row is valid; None where all are."""
        masks = []
        for lengths, (_, num_rows) in zip(
            self.lengths.split([block.count for block in self.blocks]), self.blocks, strict=True
        ):
            mask = torch.arange(num_rows, device=lengths.device) < lengths[:, None]
            masks.append(None if mask.all() else mask)
        return tuple(masks)

    def split(self, x: Tensor) -> list[Tensor]:
        """The blocks of a matrix: of (R, …), a view (count, num_rows, …) each."""
        parts = x.split([count * num_rows for count, num_rows in self.blocks])
        return [part.unflatten(0, block) for part, block in zip(parts, self.blocks, strict=True)]

    def join(self, blocks: Sequence[Tensor]) -> Tensor:
        """The matrix (R, …) of blocks (count, num_rows, …)."""
        return torch.cat([block.flatten(0, 1) for block in blocks])

    def largest(self, x: Tensor) -> Tensor:
        """The largest valid row of each sequence, in each column.

        Args:
            x: (R, Q).

        Returns:
            (N, Q).
        """
        best = []
        for block, mask in zip(self.split(x), self.masks, strict=True):
            if mask is not None:
                block = block.masked_fill(~mask[..., None], float('-inf'))
            best.append(block.amax(1))
        return torch.cat(best)

    def mean(self, x: Tensor) -> Tensor:
        """The mean of the valid rows of each sequence, (R, d) → (N, d)."""
        sums = []
        for block, mask in zip(self.split(x), self.masks, strict=True):
            if mask is not None:
                block = block.masked_fill(~mask[..., None], 0)
            sums.append(block.sum(1))
        return torch.cat(sums) / self.lengths[:, None]

    def rows_of(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """List the rows of some sequences, one after another.

        Args:
            places: (B,) int64, sequences of this layout.

        Returns:
            Row numbers (T,) int64, and for each the index (T,) int64 into ``places``.
        """
        counts = self.rows_of_each[places]
        owner = torch.arange(len(places), device=places.device).repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        offset = self.first_rows[places] - before
        return torch.arange(len(owner), device=places.device) + offset[owner], owner

    def pad(self, places: Tensor, length: int | None = None) -> tuple[Tensor, Tensor]:
        """Row numbers that make a padded batch of some sequences.

        Args:
            places: (B,) int64, sequences of this layout.
            length: L; None: the most rows that a sequence of the layout takes.

        Returns:
            Rows (B, L) int64, and the mask (B, L) bool of those that are valid. Beyond a sequence's
            rows its last one is repeated.
        """
        if length is None:
            length = max(block.num_rows for block in self.blocks)
        positions = torch.arange(length, device=places.device)
        last = self.rows_of_each[places, None] - 1
        rows = self.first_rows[places, None] + torch.minimum(positions, last)
        return rows, positions < self.lengths[places, None]


def _blocks_of(num_rows: Sequence[int]) -> tuple[Block, ...]:
    return tuple(Block(len(list(same)), rows) for rows, same in groupby(num_rows))


@dataclass(frozen=True)
class PackedRows:
    """The sequences of a batch, in one matrix for each kind of feature.

    Attributes:
        features: Name to (R, channels).
        layout: Of the R rows.
        places: (B,) int64, which sequence of the layout each sample has; samples may share one.
            (B, V) where each has several.
    """

    features: dict[str, Tensor]
    layout: RowLayout
    places: Tensor

    @staticmethod
    def padded(features: dict[str, Tensor], mask: Tensor) -> 'PackedRows':
        """A padded batch as it is.

        Args:
            features: Name to (B, L, channels).
            mask: (B, L) bool, true where a row is valid; valid rows come first.
        """
        return PackedRows(
            {name: x.flatten(0, 1) for name, x in features.items()},
            RowLayout.padded(mask),
            torch.arange(len(mask), device=mask.device),
        )
