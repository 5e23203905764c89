"""What the data sets of queries share."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from reloclnet_mm.datasets.samplers import seeded
from reloclnet_mm.errors import InputError


class FeatureDataset(BaseDataset):
    """A data set whose samples come with feature files.

    Args:
        ann_file: Annotation, below ``data_root``.
        feature_files: ``query`` and stream names to h5 files or packed stores, below ``data_root``.
        channels: ``query`` and stream names to the width that features must have; None: any.
        pipeline: Transforms.
        data_root: Folder of the files.
        metainfo: Of mmengine's BaseDataset.
        indices: Use only these samples, or the first so many.
        test_mode: Of mmengine's BaseDataset.
        lazy_init: Read the annotation at first use.
    """

    def __init__(
        self,
        *,
        ann_file: str,
        feature_files: dict[str, str],
        channels: dict[str, int] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        data_root: str = '',
        metainfo: dict | None = None,
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
    ) -> None:
        self.channels = dict(channels or {})
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=dict(feature_files),
            indices=indices,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    def __getitem__(self, idx: int) -> Any:
        """A sample through the pipeline, with the random numbers of its own if the index says so.

        Args:
            idx: Of the sample; see :class:`~reloclnet_mm.datasets.samplers.SeededSampler`.
        """
        with seeded(idx):
            return super().__getitem__(idx)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """One record with the paths of its feature files and their widths."""
        return {
            **super().get_data_info(idx),
            'feature_files': self.data_prefix,
            'channels': self.channels,
        }

    def video_ids(self) -> dict[int, str]:
        """Video id to name, of all samples that name their video."""
        infos = (self.get_data_info(i) for i in range(len(self)))
        return {info['video_id']: info['video_name'] for info in infos if 'video_id' in info}


    def check_corpus(self, corpus: 'FeatureDataset') -> None:
        """Check that a corpus has the videos of these queries, under the same ids and names.

        Args:
            corpus: Data set of the videos that queries are ranked against.

        Raises:
            InputError: A video is missing, or its id names another video there.
        """
        there = corpus.video_ids()
        wrong = {i: name for i, name in self.video_ids().items() if there.get(i) != name}
        if wrong:
            video_id, name = next(iter(wrong.items()))
            raise InputError(
                f'{self.ann_file}: {len(wrong)} videos of its queries, such as {name!r} (id '
                f'{video_id}), are not in the corpus {corpus.ann_file}, which has '
                f'{there.get(video_id)!r} under that id; evaluate with the corpus of the same split'
            )


class MomentRetrievalDataset(FeatureDataset):
    """A data set of queries; subclasses read a layout of annotation.

    Args:
        end_tolerance: Seconds that a moment may reach past its video's end; it is cut there and
            counted. Beyond, it is an error.
        **others: Of :class:`FeatureDataset`.
    """

    def __init__(self, *, end_tolerance: float = 1.0, **others: Any) -> None:
        self.end_tolerance = end_tolerance
        super().__init__(**others)

    def log_repairs(self, repairs: dict[str, int]) -> None:
        """Say how many records were repaired, by kind of repair."""
        for what, count in repairs.items():
            if count:
                print_log(
                    f'{self.ann_file}: {what}: {count} queries',
                    logger='current',
                    level=logging.WARNING,
                )


class UniqueQueryIds:
    """Finds a query id that stands twice in a file.

    Args:
        path: The file, for the message.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lines: dict[str, int] = {}

    def add(self, query_id: Any, line: int) -> None:
        """Note a query id and its line.

        Raises:
            InputError: The id was there before.
        """
        first = self._lines.setdefault(str(query_id), line)
        if first != line:
            raise InputError(
                f'{self.path}:{line}: query id {query_id!r} stands in line {first} too; expected '
                'each id once, for features and predictions are found by it. Renumber or remove one'
            )
