"""Data sets in the layout of TVR (Lei et al., ECCV 2020)."""

import os.path as osp
from typing import Any

import numpy as np

from reloclnet_mm.datasets.annotation import (
    VideoInfo,
    check_moment,
    read_jsonl,
    read_video_index,
)
from reloclnet_mm.datasets.base import FeatureDataset, MomentRetrievalDataset, UniqueQueryIds
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import DATASETS


@DATASETS.register_module()
class TVRDataset(MomentRetrievalDataset):
    """Queries from a jsonl file in TVR's layout.

    A line is a query: ``desc``, ``desc_id``, and, where the answer is known, ``vid_name``, ``ts``
    ([start, end] in seconds, or a list of such pairs, one an annotator) and ``type``.

    Args:
        video_index: TVR's ``tvr_video2dur_idx.json``, below ``data_root``.
        split: The split of the video index that the queries belong to.
        **others: Of :class:`~reloclnet_mm.datasets.base.MomentRetrievalDataset`.
    """

    def __init__(self, *, video_index: str, split: str, **others: Any) -> None:
        self.video_index = osp.join(others.get('data_root', ''), video_index)
        self.split = split
        super().__init__(**others)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the annotation.

        Raises:
            InputError: A file, a line or a moment cannot be used.
        """
        videos = read_video_index(self.video_index, self.split)
        query_ids = UniqueQueryIds(self.ann_file)
        records, num_cut = [], 0
        for line, raw in read_jsonl(self.ann_file):
            record = self._query(raw, line)
            query_ids.add(record['query_id'], line)
            if 'vid_name' in raw:
                video = self._video(videos, raw['vid_name'], line)
                record |= dict(
                    video_name=raw['vid_name'], video_id=video.video_id, duration=video.duration
                )
            if 'ts' in raw:
                record['gt'], cut = self._truth(raw, record, line)
                num_cut += cut
            records.append(record)
        if not records:
            raise InputError(f'{self.ann_file}: no query in the file; expected one a line')
        self.log_repairs({'a moment past the end of its video was cut': num_cut})
        return records

    def _query(self, raw: dict[str, Any], line: int) -> dict[str, Any]:
        for key in ('desc', 'desc_id'):
            if key not in raw:
                raise InputError(
                    f'{self.ann_file}:{line}: found the keys {sorted(raw)}, expected {key!r} among '
                    'them; mend or remove the line'
                )
        record = dict(query=raw['desc'], query_id=raw['desc_id'])
        if 'type' in raw:
            record['query_type'] = raw['type']
        return record

    def _video(self, videos: dict[str, VideoInfo], name: str, line: int) -> VideoInfo:
        if name not in videos:
            raise InputError(
                f'{self.ann_file}:{line}: video {name!r} is not in split {self.split!r} of '
                f'{self.video_index}, which has {len(videos)} videos; use the split that goes with '
                'the annotation, or remove the line'
            )
        return videos[name]

    def _truth(
        self, raw: dict[str, Any], record: dict[str, Any], line: int
    ) -> tuple[dict[str, np.ndarray], bool]:
        where = f'{self.ann_file}:{line}'
        if 'duration' not in record:
            raise InputError(
                f"{where}: has a moment ('ts') and no video ('vid_name'); mend or remove the line"
            )
        moments = raw['ts']
        if not (isinstance(moments, list) and moments and isinstance(moments[0], list)):
            moments = [moments]
        checked = [
            check_moment(moment, record['duration'], where, self.end_tolerance)
            for moment in moments
        ]
        gt = dict(
            video_ids=np.full(len(checked), record['video_id']),
            moments=np.array([moment for moment, _ in checked]),
        )
        if moments is raw['ts']:
            gt['annotators'] = np.arange(len(checked))
        return gt, any(cut for _, cut in checked)


@DATASETS.register_module()
class TVRCorpusDataset(FeatureDataset):
    """The videos of a split of TVR's ``tvr_video2dur_idx.json``.

    Args:
        split: Which split.
        **others: Of :class:`~reloclnet_mm.datasets.base.FeatureDataset`; ``ann_file`` is the
            video index.
    """

    def __init__(self, *, split: str, **others: Any) -> None:
        self.split = split
        super().__init__(**others)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the video index.

        Raises:
            InputError: The file, the split or an entry cannot be used.
        """
        videos = read_video_index(self.ann_file, self.split)
        return [
            dict(video_name=name, video_id=video.video_id, duration=video.duration)
            for name, video in videos.items()
        ]
