"""Data sets in the layout of ActivityNet Captions (Krishna et al., ICCV 2017)."""

from typing import Any

import numpy as np

from reloclnet_mm.datasets.annotation import check_duration, check_moment, read_json
from reloclnet_mm.datasets.base import FeatureDataset, MomentRetrievalDataset
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import DATASETS


def read_videos(path: str) -> dict[str, dict[str, Any]]:
    """The videos of a file {video: {duration, timestamps, sentences}}, checked for form.

    Args:
        path: A JSON file of ActivityNet Captions.

    Raises:
        InputError: The file or an entry cannot be used.
    """
    videos = read_json(path)
    if not isinstance(videos, dict) or not videos:
        raise InputError(
            f'{path}: expected an object {{video: {{duration, timestamps, sentences}}}} with a '
            f'video or more, found {"an empty" if not videos else "a"} {type(videos).__name__}; '
            'fetch it again'
        )
    for name, video in videos.items():
        where = f'{path}: video {name!r}'
        if not isinstance(video, dict):
            raise InputError(
                f'{where}: found a {type(video).__name__}, expected an object {{duration, '
                'timestamps, sentences}; mend or remove the entry'
            )
        missing = {'duration', 'timestamps', 'sentences'} - set(video)
        if missing:
            raise InputError(f'{where}: found no {sorted(missing)}; mend or remove the entry')
        check_duration(video['duration'], where)
        if len(video['timestamps']) != len(video['sentences']):
            raise InputError(
                f'{where}: found {len(video["timestamps"])} timestamps and '
                f'{len(video["sentences"])} sentences, expected one each; mend or remove the entry'
            )
    return videos


def in_order(times: Any) -> tuple[Any, bool]:
    """The times of a segment with the earlier first, and whether they were swapped.

    What is no pair of numbers is left as it is, for the check of moments to name.
    """
    is_pair = isinstance(times, list) and len(times) == 2
    if is_pair and all(isinstance(x, (int, float)) for x in times) and times[1] < times[0]:
        return times[::-1], True
    return times, False


@DATASETS.register_module()
class ActivityNetCaptionsDataset(MomentRetrievalDataset):
    """The sentences of ActivityNet Captions as queries.

    A query's id is ``VIDEO#NUMBER``, counted from 0 within its video. The release has segments
    whose times are swapped; they are swapped back and counted.

    Args:
        **others: Of :class:`~reloclnet_mm.datasets.base.MomentRetrievalDataset`.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the annotation.

        Raises:
            InputError: The file, an entry or a moment cannot be used.
        """
        records, num_cut, num_swapped = [], 0, 0
        for video_id, (name, video) in enumerate(read_videos(self.ann_file).items()):
            pairs = zip(video['timestamps'], video['sentences'], strict=True)
            for number, (times, sentence) in enumerate(pairs):
                where = f'{self.ann_file}: video {name!r}, sentence {number}'
                times, swapped = in_order(times)
                num_swapped += swapped
                moment, cut = check_moment(times, video['duration'], where, self.end_tolerance)
                num_cut += cut
                records.append(
                    dict(
                        query_id=f'{name}#{number}',
                        query=sentence.strip(),
                        video_name=name,
                        video_id=video_id,
                        duration=video['duration'],
                        gt=dict(video_ids=np.array([video_id]), moments=np.array([moment])),
                    )
                )
        self.log_repairs(
            {
                'a moment past the end of its video was cut': num_cut,
                'start and end were swapped': num_swapped,
            }
        )
        return records


@DATASETS.register_module()
class ActivityNetCaptionsCorpusDataset(FeatureDataset):
    """The videos of an ActivityNet Captions file, in its order.

    Args:
        **others: Of :class:`~reloclnet_mm.datasets.base.FeatureDataset`.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the videos.

        Raises:
            InputError: The file or an entry cannot be used.
        """
        return [
            dict(video_name=name, video_id=video_id, duration=video['duration'])
            for video_id, (name, video) in enumerate(read_videos(self.ann_file).items())
        ]
