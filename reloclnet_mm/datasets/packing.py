"""Features that were just made, through the pipeline of a data set."""

from typing import Any

from mmengine.dataset import Compose

from reloclnet_mm.datasets.base import FeatureDataset
from reloclnet_mm.datasets.transforms.loading import LoadFeatures


def pack_loaded(dataset: FeatureDataset, record: dict[str, Any]) -> dict[str, Any]:
    """Do with features what a data set does with those that it loads.

    Args:
        dataset: The data set, which may be lazy: no annotation is read.
        record: What its pipeline finds in a sample after loading: ``query_tokens`` (tokens,
            channels), or ``clips``, stream name to (L, channels), with what is known of the video.

    Returns:
        A sample; of two stages with the inputs of both.
    """
    steps = [x for x in dataset.pipeline.transforms if not isinstance(x, LoadFeatures)]
    given = {**dataset.feature_settings, **record}
    if 'query_tokens' in record:
        given['query_tokens'] = record['query_tokens'][: dataset.max_tokens]
    sample = Compose(steps)(given)
    if dataset.second_stage is not None:
        sample['inputs']['second_stage'] = pack_loaded(dataset.second_stage, record)['inputs']
    return sample
