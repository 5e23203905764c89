"""Packing samples for the model."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import InstanceData

from reloclnet_mm.registry import TRANSFORMS
from reloclnet_mm.structures import MomentDataSample

META_KEYS = (
    'query_id',
    'query',
    'query_type',
    'video_name',
    'video_id',
    'source_id',
    'duration',
    'num_clips',
    'seconds_per_clip',
    'span_end',
    'sample_idx',
    'candidate_ids',
    'candidate_clips',
)


@TRANSFORMS.register_module()
class PackMomentInputs(BaseTransform):
    """Pack features into ``inputs`` and everything else into a data sample.

    ``inputs`` holds the query's tokens and the clips of each stream that was loaded, as float
    tensors (rows, channels). ``data_samples`` is a
    :class:`~reloclnet_mm.structures.MomentDataSample` with the truth, if the annotation has one,
    and the entries of ``META_KEYS`` as meta information.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack."""
        features = dict(results.get('clips', {}))
        if 'query_tokens' in results:
            features['query'] = results['query_tokens']
        sample = MomentDataSample(
            metainfo={key: results[key] for key in META_KEYS if key in results}
        )
        if 'gt' in results:
            sample.gt = InstanceData(**results['gt'])
        for name in ('gt_span', 'right_spans'):
            if name in results:
                setattr(sample, name, np.array(results[name], np.int64))
        if 'gt_moment' in results:
            sample.gt_moment = np.array(results['gt_moment'], np.float64)
        inputs = {name: torch.from_numpy(rows).float() for name, rows in features.items()}
        return dict(inputs=inputs, data_samples=sample)
