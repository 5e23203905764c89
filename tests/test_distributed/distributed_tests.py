"""Tests a tiny model in every process of a launch, in several settings; process 0 writes results.

Run by torchrun: `distributed_tests.py CORPUS OUT`.
"""

import json
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from reloclnet_mm.utils.cli import build_runner

sys.path.insert(0, str(Path(__file__).parents[1]))
from second_stages import conquer_settings
from tiny_corpus import plus_model, tiny_config, tiny_model

TWO_STAGES = dict(
    _delete_=True,
    type='TwoStageRetriever',
    first_stage=tiny_model(),
    second_stage=conquer_settings('exclusive'),
    num_videos=2,
    test_cfg=dict(num_videos=3, min_span=1, max_span=5, num_moments=10, span_end='inclusive'),
)
SETTINGS = {
    'whole': {},
    'sharded': {'test_cfg.shard_corpus': True},
    'whole, nms': {'model.test_cfg.nms_iou': 0.5},
    'sharded, nms': {'model.test_cfg.nms_iou': 0.5, 'test_cfg.shard_corpus': True},
    'sharded, few videos': {'model.test_cfg.num_videos': 1, 'test_cfg.shard_corpus': True},
    # Torch refuses to wrap such a model for several processes.
    'whole, chance': {'model': dict(_delete_=True, type='Chance', seed=1)},
    'whole, few videos': {'model.test_cfg.num_videos': 1},
    # More videos are ranked than searched for moments, over all processes together.
    'whole, spans': {'model': dict(_delete_=True, **plus_model())},
    'sharded, spans': {'model': dict(_delete_=True, **plus_model()), 'test_cfg.shard_corpus': True},
    # Copies, for mmengine takes _delete_ out of what it merges.
    'whole, two stages': {'model': dict(TWO_STAGES)},
    'sharded, two stages': {'model': dict(TWO_STAGES), 'test_cfg.shard_corpus': True},
}


@METRICS.register_module()
class Lists(BaseMetric):
    """Collects the ranked lists of all queries."""

    found: list

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            lists = {'query': sample['query_id']}
            for task in ('pred_vr', 'pred_vcmr', 'pred_svmr'):
                lists[task] = {key: value.tolist() for key, value in sample[task].items()}
            self.results.append(lists)

    def compute_metrics(self, results):
        Lists.found = results
        return {}


def test(corpus, out, settings):
    cfg = tiny_config(corpus, out)
    cfg.merge_from_dict({'test_dataloader.batch_size': 2, 'launcher': 'pytorch', **settings})
    cfg.test_evaluator = [*cfg.test_evaluator, dict(type='mmengine.Lists')]
    metrics = build_runner(cfg).test()
    return metrics, Lists.found if get_rank() == 0 else None


def main(corpus, out):
    torch.set_num_threads(1)
    Config.pretty_text = 'not formatted'
    results = {name: test(corpus, out, settings) for name, settings in SETTINGS.items()}
    if get_rank() == 0:
        (out / 'results.json').write_text(json.dumps(results))


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
