"""Data sets of queries and of videos, for all layouts of annotation."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from mmengine.dataset import BaseDataset

from reloclnet_mm.datasets.readers import AnnotationReader, Query, Video
from reloclnet_mm.datasets.samplers import seeded
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import DATASETS, TASK_UTILS
from reloclnet_mm.utils.checks import check_count, check_number


class FeatureDataset(BaseDataset):
    """A data set whose samples come with feature files.

    What depends on the features is set here and travels in each sample, where the transforms
    read it: a config for other data changes the data set and no pipeline.

    Args:
        reader: Config of the reader of the annotation; it gets ``data_root`` too.
        feature_files: ``query`` and stream names to h5 files or packed stores, below ``data_root``.
        channels: ``query`` and stream names to the width that features must have; None: any.
        normalize: Names of ``feature_files`` whose rows NormalizeFeatures divides by their norm;
            None: all of them.
        clip_length: Seconds of a clip in the feature files of streams. None: what the files say in
            their attribute ``clip_length``. ``even``: a file has no fixed length, its rows are
            spread evenly over the duration of the video.
        max_clips: Number of rows that PoolClips pools longer videos to.
        max_tokens: Number of a query's first tokens that LoadQueryFeatures loads at most.
        pipeline: Transforms.
        second_stage: What a second stage reads of the same queries or videos, where that is
            something else: ``feature_files``, ``pipeline`` and other arguments of this class but
            the reader and what follows here. The inputs are then under ``second_stage`` beside
            those of the first. None: both read the same.
        data_root: Folder of the files.
        metainfo: Passed to mmengine's BaseDataset.
        indices: Use only these samples, or the first so many.
        test_mode: Passed to mmengine's BaseDataset.
        lazy_init: Read the annotation at first use.

    Raises:
        InputError: The annotation cannot be used, or ``channels`` or ``normalize`` names what has
            no file.
        ValueError: Another argument is out of its range.
    """

    def __init__(
        self,
        *,
        reader: dict[str, Any],
        feature_files: dict[str, str],
        channels: dict[str, int] | None = None,
        normalize: Sequence[str] | None = None,
        clip_length: float | Literal['even'] | None = None,
        max_clips: int = 128,
        max_tokens: int = 30,
        pipeline: Sequence[dict | Callable] = (),
        second_stage: dict[str, Any] | None = None,
        data_root: str = '',
        metainfo: dict | None = None,
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
    ) -> None:
        name = type(self).__name__
        if clip_length not in (None, 'even'):
            check_number(f"{name}: clip_length (seconds, 'even' or None)", clip_length, above=0)
        check_count(f'{name}: max_clips', max_clips)
        check_count(f'{name}: max_tokens', max_tokens)
        self.reader = dict(reader)
        self.channels = dict(channels or {})
        self.normalize = tuple(feature_files if normalize is None else normalize)
        self.clip_length = clip_length
        self.max_clips = max_clips
        self.max_tokens = max_tokens
        for argument, names in (('channels', self.channels), ('normalize', self.normalize)):
            unknown = sorted({*names} - {*feature_files})
            if unknown:
                raise InputError(
                    f'{name}: {argument} has {unknown}, which feature_files '
                    f'{sorted(feature_files)} has not; correct the name or remove it'
                )
        self.second_stage = None
        if second_stage is not None:
            shared = dict(reader=reader, data_root=data_root, lazy_init=True)
            self.second_stage = FeatureDataset(**second_stage, **shared)
        super().__init__(
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=dict(feature_files),
            indices=indices,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    @property
    def streams(self) -> list[str]:
        """Return the names of the streams that there are feature files of."""
        return [name for name in self.data_prefix if name != 'query']

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Return what the transforms read of each sample; the paths include ``data_root``."""
        return dict(
            feature_files=self.data_prefix,
            channels=self.channels,
            normalize=self.normalize,
            clip_length=self.clip_length,
            max_clips=self.max_clips,
            max_tokens=self.max_tokens,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the annotation; a record is a sample.

        Raises:
            InputError: A file, an entry or a moment cannot be used.
        """
        reader = TASK_UTILS.build(dict(self.reader, data_root=self.data_root))
        self.ann_file, records = self._read(reader)
        return records

    def _read(self, reader: AnnotationReader) -> tuple[str, list[dict[str, Any]]]:
        """Return the file of the samples, for messages, and their records."""
        raise NotImplementedError

    def __getitem__(self, idx: int) -> Any:
        """Return a sample after the pipeline.

        Args:
            idx: Number of the sample. A :class:`~reloclnet_mm.datasets.samplers.SeededSampler`
                gives one that also sets the random numbers.
        """
        with seeded(idx):
            sample = super().__getitem__(idx)
            if self.second_stage is not None:
                info = self.get_data_info(idx) | self.second_stage.feature_settings
                sample['inputs']['second_stage'] = self.second_stage.pipeline(info)['inputs']
            return sample

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return a record with the settings of its features."""
        return {**super().get_data_info(idx), **self.feature_settings}

    def video_ids(self) -> dict[int, str]:
        """Return the name of each video that a sample names, by id."""
        infos = (self.get_data_info(i) for i in range(len(self)))
        return {info['video_id']: info['video_name'] for info in infos if 'video_id' in info}


@DATASETS.register_module()
class CorpusDataset(FeatureDataset):
    """The videos that a reader lists, in its order; see :class:`FeatureDataset`."""

    def _read(self, reader: AnnotationReader) -> tuple[str, list[dict[str, Any]]]:
        return reader.video_index, [_video_record(video) for video in reader.videos().values()]


@DATASETS.register_module()
class QueryDataset(FeatureDataset):
    """The queries that a reader lists, in its order; see :class:`FeatureDataset`.

    A record has the query's id, text and type, its own video and, as ``gt``, the truth in the
    form of :class:`~reloclnet_mm.structures.MomentDataSample`, each where the annotation has it.

    Args:
        max_positives: Train on so many right moments of each query at most, the most relevant
            first, and none of relevance 0: each is a record of its own, with its video and
            ``target``, its place in ``gt``. None: a query is one record, with its own video, as
            evaluation needs it.
        **others: Arguments of :class:`FeatureDataset`.

    Raises:
        ValueError: ``max_positives`` is no positive number, or stands beside ``test_mode``.
    """

    def __init__(self, *, max_positives: int | None = None, **others: Any) -> None:
        if max_positives is not None:
            check_count('QueryDataset: max_positives', max_positives)
            if others.get('test_mode'):
                raise ValueError(
                    f'QueryDataset: max_positives is {max_positives} beside test_mode=True, which '
                    'would evaluate a query once for each of its moments; leave it out'
                )
        self.max_positives = max_positives
        super().__init__(**others)

    def _read(self, reader: AnnotationReader) -> tuple[str, list[dict[str, Any]]]:
        videos = reader.videos()
        queries = reader.queries(videos)
        self._videos = {video.video_id: _video_record(video) for video in videos.values()}
        records = [_query_record(query, videos) for query in queries]
        if self.max_positives is None:
            return reader.ann_file, records
        # The truth is kept once a query: it would be many times as large with each of its moments.
        self._records = records
        return reader.ann_file, [
            dict(record=i, target=target)
            for i, record in enumerate(records)
            for target in (_most_relevant(record, self.max_positives) if 'gt' in record else [None])
        ]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return a record as :class:`FeatureDataset` does, put together from pair and query."""
        info = super().get_data_info(idx)
        if self.max_positives is None:
            return info
        record = copy.deepcopy(self._records[info.pop('record')])
        if info['target'] is not None:
            record |= self._videos[int(record['gt']['video_ids'][info['target']])]
        return record | info

    def video_ids(self) -> dict[int, str]:
        """Return the name of each video that a query or its truth names, by id."""
        infos = [self.get_data_info(i) for i in range(len(self))]
        own = (info['video_id'] for info in infos if 'video_id' in info)
        right = (number for info in infos if 'gt' in info for number in info['gt']['video_ids'])
        numbers = dict.fromkeys([*own, *map(int, right)])
        return {number: self._videos[number]['video_name'] for number in numbers}

    def check_corpus(self, corpus: FeatureDataset) -> None:
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
            other = f'{there[video_id]!r}' if video_id in there else 'no video'
            raise InputError(
                f'{self.ann_file}: {len(wrong)} videos of its queries, such as {name!r} (id '
                f'{video_id}), are not in the corpus {corpus.ann_file}, which has {other} under '
                'that id; evaluate with the corpus of the same split'
            )


def _video_record(video: Video) -> dict[str, Any]:
    return dict(
        video_name=video.name,
        video_id=video.video_id,
        source_id=video.source_id,
        duration=video.duration,
    )


def _query_record(query: Query, videos: dict[str, Video]) -> dict[str, Any]:
    record = dict(query_id=query.query_id, query=query.text)
    if query.query_type is not None:
        record['query_type'] = query.query_type
    if query.video_name is not None:
        record |= _video_record(videos[query.video_name])
    if query.moments:
        moments = query.moments
        ids, sources = (
            np.array([getattr(videos[x.video_name], name) for x in moments], np.int64)
            for name in ('video_id', 'source_id')
        )
        record['gt'] = dict(
            video_ids=ids,
            moments=np.array([(x.start, x.end) for x in moments], np.float64),
        )
        for name, field, dtype in (
            ('annotators', 'annotator', np.int64),
            ('relevance', 'relevance', np.float64),
        ):
            values = [getattr(moment, field) for moment in moments]
            if None not in values:
                record['gt'][name] = np.array(values, dtype)
        if (sources != ids).any():
            record['gt']['source_ids'] = sources
    return record


def _most_relevant(record: dict[str, Any], count: int) -> list[int]:
    """Return the places in ``gt`` of a query's most relevant moments, the first of equal ones."""
    relevance = record['gt'].get('relevance', np.ones(len(record['gt']['moments'])))
    best = np.argsort(-relevance, kind='stable')[:count]
    return best[relevance[best] > 0].tolist()
