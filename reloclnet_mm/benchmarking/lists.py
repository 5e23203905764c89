"""Ranked lists of a row, kept in a file.

A file holds arrays of some queries at a time, so that a process that writes them needs no memory
for the lists of all.
"""

import zipfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.metrics.grounding import as_answer
from reloclnet_mm.utils.fileio import replace_file

TASKS = ('VR', 'SVMR', 'VCMR')

NO_VIDEO = np.iinfo(np.int64).min
"""Video id where a list is shorter than others."""

Arrays = dict[str, NDArray]
"""Arrays of Q queries by name.

``query_ids`` (Q,) and, for the tasks that were answered, ``{task}.video_ids`` (Q, K) int64 and
``{task}.moments`` (Q, K, 2) float32 in seconds. Of models that find moments in a given video:
``video_names`` (Q,), ``truth`` (Q, 2) float64 in seconds and ``SVMR.moments``, padded with NaN. Of
models that propose moments of a video without a query: the same without ``truth``, a row a video.
"""


class ListWriter(BaseMetric):
    """Write the ranked lists of each batch; reports no number.

    Args:
        file: Where to write, as :func:`writing_lists` opens it.
    """

    default_prefix = 'lists'

    def __init__(self, file: zipfile.ZipFile) -> None:
        super().__init__()
        self.file = file
        self.count = 0

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the lists of a batch.

        Raises:
            InputError: The results are of no kind that can be compared.
        """
        for name, array in arrays_of(data_batch, data_samples).items():
            with self.file.open(f'{self.count:06}.{name}.npy', 'w') as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        self.count += 1
        self.results.append(len(data_samples))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Return nothing."""
        return {}


@contextmanager
def writing_lists(path: Path) -> Any:
    """Open a file for the lists of a row; it is there as a whole or not at all."""
    with replace_file(path) as temporary, zipfile.ZipFile(temporary, 'w') as file:
        yield file


def read_lists(path: Path) -> Arrays:
    """Read what was written; a list is padded to the longest.

    A task whose lists are all empty was not answered, and is left out.

    Raises:
        InputError: The file cannot be read.
    """
    parts: dict[str, list[NDArray]] = {}
    try:
        with zipfile.ZipFile(path) as file:
            for name in sorted(file.namelist()):
                with file.open(name) as member:
                    array = _read_array(member)
                parts.setdefault(name.removesuffix('.npy').partition('.')[2], []).append(array)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f'{path}: damaged ({error}); remove its folder and run again') from error
    arrays = {name: _stack(arrays) for name, arrays in parts.items()}
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise InputError(
            f'{path}: damaged, it has {counts} queries; remove its folder and run again'
        )
    for task in TASKS:
        if f'{task}.video_ids' in arrays and not arrays[f'{task}.video_ids'].shape[1]:
            arrays.pop(f'{task}.video_ids')
            arrays.pop(f'{task}.moments', None)
    return arrays


def arrays_of(data_batch: Any, data_samples: Sequence[dict]) -> Arrays:
    """Return the lists of a batch of results.

    Args:
        data_batch: What the data loader gave.
        data_samples: Results as metrics get them.

    Raises:
        InputError: The results are of no kind that can be compared.
    """
    keys = set(data_samples[0])
    if 'query_id' in keys:
        return _lists_of_queries(data_samples)
    if {'vid_name', 'gt', 'predictions'} <= keys:
        durations = [float(x.metainfo['duration']) for x in data_batch['data_samples']]
        return _grounded(data_samples, durations)
    if {'video_name', 'proposal_list'} <= keys:
        return _proposals(data_samples)
    raise InputError(
        f'a result holds {sorted(keys)}, expected ranked lists of a query (query_id), moments of '
        'mmaction2 such as those of DRN (vid_name, gt, predictions) or proposals such as those of '
        'BMN (video_name, proposal_list); a model of another kind can be compared by its '
        'predictions in a JSON file'
    )


def _lists_of_queries(samples: Sequence[Mapping[str, Any]]) -> Arrays:
    arrays = dict(query_ids=np.array([str(sample['query_id']) for sample in samples]))
    for task in TASKS:
        found = [sample.get(f'pred_{task.lower()}') for sample in samples]
        ids = [
            np.zeros(0, np.int64) if one is None else np.asarray(one['video_ids']) for one in found
        ]
        arrays[f'{task}.video_ids'] = pad(ids, NO_VIDEO, np.int64)
        if task != 'VR':
            moments = [
                np.zeros((0, 2)) if one is None else np.asarray(one['moments']) for one in found
            ]
            arrays[f'{task}.moments'] = pad(moments, np.nan, np.float32)
    return arrays


def _grounded(results: Sequence[Mapping[str, Any]], durations: Sequence[float]) -> Arrays:
    answers = [as_answer(x, duration) for x, duration in zip(results, durations, strict=True)]
    return {
        'video_names': np.array([result['vid_name'] for result in results]),
        'truth': np.concatenate([answer['gt']['moments'] for answer in answers]),
        'SVMR.moments': pad([x['pred_svmr']['moments'] for x in answers], np.nan, np.float32),
    }


def _proposals(results: Sequence[Mapping[str, Any]]) -> Arrays:
    lists = [sorted(result['proposal_list'], key=lambda x: -x['score'])[:100] for result in results]
    moments = [np.array([x['segment'] for x in one]).reshape(-1, 2) for one in lists]
    return {
        'video_names': np.array([result['video_name'] for result in results]),
        'SVMR.moments': pad(moments, np.nan, np.float32),
    }


def pad(lists: Sequence[NDArray], value: float, dtype: type) -> NDArray:
    """Put arrays (K, …) of different K into one, (lists, longest K, …)."""
    longest = max(len(one) for one in lists)
    matrix = np.full((len(lists), longest, *lists[0].shape[1:]), value, dtype)
    for row, one in zip(matrix, lists, strict=True):
        row[: len(one)] = one
    return matrix


def _stack(arrays: Sequence[NDArray]) -> NDArray:
    if arrays[0].ndim == 1 or len({array.shape[1] for array in arrays}) == 1:
        return np.concatenate(arrays)
    value = NO_VIDEO if arrays[0].dtype == np.int64 else np.nan
    return pad([row for array in arrays for row in array], value, arrays[0].dtype.type)


def _read_array(member: IO[bytes]) -> NDArray:
    return np.lib.format.read_array(member, allow_pickle=False)
