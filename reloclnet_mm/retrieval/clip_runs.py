"""Runs of neighbouring clips that are nearly equal, of which a search may keep the first alone."""

import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.structures import RowLayout


def begins_of_runs(rows: Tensor, layout: RowLayout, least_cosine: float) -> Tensor:
    """Find the clips that differ from the clip before them, or from the first one of its run.

    The clips of a run have a cosine of ``least_cosine`` or more with its first one, so that their
    scores for any query differ from that of the first by √(2 − 2 · least_cosine) at most.

    Args:
        rows: (R, d) float32, unit vectors.
        layout: Layout of the R rows; a run does not go beyond a video.
        least_cosine: Up to 1; more than 1 makes a run of each clip.

    Returns:
        (R,) bool, true where a run begins.
    """
    begins = F.pad((rows[1:] * rows[:-1]).sum(1) < least_cosine, (1, 0), value=True)
    begins[layout.first_rows] = True
    numbers = torch.arange(len(rows))
    unchecked = ~begins
    # Slow changes add up: a clip may equal its neighbour and not the first clip of the run. Such a
    # run is divided at the first of these, and its rest compared with that.
    while True:
        others = unchecked.nonzero().squeeze(1)
        first = torch.where(begins, numbers, 0).cummax(0).values[others]
        different = (rows[others] * rows[first]).sum(1) < least_cosine
        others, first = others[different], first[different]
        if not len(others):
            return begins
        divided = F.pad(first[1:] != first[:-1], (1, 0), value=True)
        begins[others[divided]] = True
        unchecked = torch.zeros_like(begins)
        unchecked[others[~divided]] = True
        unchecked |= _is_behind(others[divided], begins, numbers)
        unchecked &= ~begins


def _is_behind(new: Tensor, begins: Tensor, numbers: Tensor) -> Tensor:
    """(R,) bool, true for the clips of the runs that begin at some new places."""
    is_new = torch.zeros_like(begins)
    is_new[new] = True
    return is_new[torch.where(begins, numbers, 0).cummax(0).values]
