"""Rows of saved corpora that are read from their files a few at a time.

Reading costs a copy, and mapping a file costs a fault for each piece that was not touched lately:
of a corpus that memory does not hold, rows of 150 videos took 9 ms to read and 18 to 54 ms mapped.
"""

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from reloclnet_mm.errors import InputError

_TYPES = {'F16': np.float16, 'F32': np.float32}


@dataclass(frozen=True)
class RowFile:
    """The tensors of a safetensors file, by key.

    Attributes:
        path: The file.
        file: It, open: it stays readable when a writer removes it.
        tensors: Key to where the tensor begins in bytes, its type and the width of its rows.
    """

    path: Path
    file: BinaryIO
    tensors: dict[str, tuple[int, type[np.number], int]]

    @staticmethod
    def open(path: Path) -> 'RowFile':
        """Open a file whose tensors were checked when it was loaded.

        Raises:
            InputError: It cannot be read.
        """
        try:
            file = open(path, 'rb')  # noqa: SIM115 (it stays open)
            (size,) = struct.unpack('<Q', file.read(8))
            header = json.loads(file.read(size))
        except (OSError, ValueError, struct.error) as error:
            raise InputError(
                f'{path}: cannot be read ({error}); encode the corpus again'
            ) from error
        tensors = {
            key: (8 + size + entry['data_offsets'][0], _TYPES[entry['dtype']], entry['shape'][1])
            for key, entry in header.items()
            if key != '__metadata__' and len(entry['shape']) == 2
        }
        return RowFile(path, file, tensors)

    def read(self, key: str, first: Sequence[int], counts: Sequence[int]) -> Tensor:
        """Read some rows, one range after another.

        Args:
            key: Key of the tensor.
            first: The first row of each range.
            counts: Rows of each.

        Returns:
            (T, d) float32 or float16, as the file has it.

        Raises:
            InputError: The file has become shorter, or cannot be read.
        """
        begin, kind, width = self.tensors[key]
        rows = np.empty((sum(counts), width), kind)
        row_bytes, at = rows.itemsize * width, 0
        space, number = memoryview(rows).cast('B') if rows.size else b'', self.file.fileno()
        for row, count in zip(first, counts, strict=True):
            last = at + count * row_bytes
            try:
                found = os.preadv(number, [space[at:last]], begin + row * row_bytes)
            except OSError as error:
                raise InputError(f'{self.path}: cannot be read ({error.strerror})') from error
            if found != last - at:
                raise InputError(
                    f'{self.path}: ends within its rows; restore it, or encode the corpus again'
                )
            at = last
        return torch.from_numpy(rows)
