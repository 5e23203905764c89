"""Queries that come with videos which a first stage takes for theirs."""

import logging
import os.path as osp
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from numpy.typing import NDArray

from reloclnet_mm.datasets.base import QueryDataset
from reloclnet_mm.datasets.readers import AnnotationReader
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import DATASETS
from reloclnet_mm.structures.video_lists import VideoLists
from reloclnet_mm.utils.checks import check_count


@DATASETS.register_module()
class RerankingDataset(QueryDataset):
    """The queries that a second stage is trained on, each with its own video and some others.

    A sample has ``videos``: the record of its own video first, then ``num_negatives`` others,
    drawn without repetition from the best of the first stage's list without right videos: as many
    as it ranks above the own video, and ``margin`` more. Queries whose own video is not among the
    first ``max_rank`` of the list are left out and counted, as in the authors' program (Hou et
    al., 2021).

    Args:
        lists: File of first-stage lists of these queries and their corpus, below ``data_root``;
            ``tools/first_stage_lists.py`` makes it.
        num_negatives: Number of other videos.
        margin: Number of further videos that they are drawn from.
        max_rank: Number of a list's first videos that have to hold the own one.
        **others: Arguments of :class:`QueryDataset`, but ``max_positives``.

    Raises:
        InputError: The lists are of another corpus or split, lack a query or are too short, or no
            query is left.
    """

    def __init__(
        self,
        *,
        lists: str,
        num_negatives: int = 3,
        margin: int = 1000,
        max_rank: int = 100,
        **others: Any,
    ) -> None:
        check_count('RerankingDataset: num_negatives', num_negatives, low=0)
        check_count('RerankingDataset: margin', margin, low=0)
        check_count('RerankingDataset: max_rank', max_rank)
        if others.get('max_positives') is not None:
            raise ValueError(
                'RerankingDataset: max_positives is given, and a query is trained on with its own '
                'video; leave it out'
            )
        self.lists_file = osp.join(others.get('data_root', ''), lists)
        self.num_negatives = num_negatives
        self.margin = margin
        self.max_rank = max_rank
        super().__init__(**others)

    def _read(self, reader: AnnotationReader) -> tuple[str, list[dict[str, Any]]]:
        source, records = super()._read(reader)
        self.lists = VideoLists.load(self.lists_file)
        videos = {number: video['video_name'] for number, video in self._videos.items()}
        self.lists.check_corpus(videos, self.lists_file, reader.video_index)
        ids = [str(record['query_id']) for record in records]
        self.lists.check_queries(ids, self.lists_file, source)
        self._sources = torch.tensor(
            [self._videos[number]['source_id'] for number in self.lists.videos]
        )
        kept = [record for record in records if self._rank(record) is not None]
        if len(kept) < len(records):
            print_log(
                f'{source}: {len(records) - len(kept)} of {len(records)} queries are left out of '
                f'training, for their video is not among the first {self.max_rank} of the lists '
                f'{self.lists_file}',
                'current',
                logging.WARNING,
            )
        if not kept:
            raise InputError(
                f'{self.lists_file}: has the own video of no query of {source} among the first '
                f'{self.max_rank} of its list; give the lists of a better first stage'
            )
        for record in kept:
            self._check_pool(record)
        return source, kept

    def prepare_data(self, idx: int) -> Any:
        """Draw the videos of a sample, and return it after the pipeline."""
        info = self.get_data_info(idx)
        drawn = np.random.permutation(self._pool(info))[: self.num_negatives]
        numbers = self.lists.video_ids[torch.from_numpy(drawn)].tolist()
        info['videos'] = [self._videos[number] for number in (info['video_id'], *numbers)]
        return self.pipeline(info)

    def _list_of(self, record: dict[str, Any]) -> torch.Tensor:
        """Return the places (K,) int64 of the videos that the first stage ranks for a query."""
        return self.lists.places[self.lists.rows[str(record['query_id'])]].long()

    def _rank(self, record: dict[str, Any]) -> int | None:
        """Count the videos above a query's own one; None if it is too far below, or unknown."""
        first = self.lists.video_ids[self._list_of(record)[: self.max_rank]]
        found = (first == record.get('video_id', -1)).nonzero()
        return int(found[0]) if len(found) else None

    def _pool(self, record: dict[str, Any]) -> NDArray[np.int64]:
        """Return the places of the videos that negatives of a query are drawn from."""
        places = self._list_of(record)
        right = {record['source_id']}
        if 'gt' in record:
            right |= {
                self._videos[int(number)]['source_id'] for number in record['gt']['video_ids']
            }
        is_right = torch.isin(self._sources[places], torch.tensor(sorted(right)))
        return places[~is_right][: self._rank(record) + self.margin].numpy()

    def _check_pool(self, record: dict[str, Any]) -> None:
        found = len(self._pool(record))
        if found < self.num_negatives:
            raise InputError(
                f'{self.lists_file}: query {record["query_id"]!r} has {found} videos to draw from '
                f'in a list of {self.lists.places.shape[1]}, expected {self.num_negatives}; make '
                'the lists again with more --num-videos, or lower num_negatives of the data set'
            )
