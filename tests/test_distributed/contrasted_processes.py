"""Losses and gradients of a batch spread over processes and of the whole in one; a program.

Run by torchrun: `contrasted_processes.py OUT SIZE SIZE …`, a size for each process; the first
writes both.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from reloclnet_mm.engine.runner import init_gloo
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_corpus import CHANNELS, plus_model, tiny_model

# Of each sample; the second video is in the batches of several processes.
VIDEOS = (0, 1, 2, 1, 3, 1, 4)
CLIPS = (5, 8, 3, 6, 7)
SPANS = ((1, 2), (0, 3), (0, 1), (5, 7), (2, 2), (3, 4), (1, 6))
# Further right videos of each query, and further right clips in its own.
ALSO_RIGHT = ((4,), (), (0, 3), (), (2, 0, 4), (), (9,))
ALSO_IN_OWN = {0: (4, 4), 3: (0, 1), 5: (6, 7)}


def batch(samples):
    """What a dataloader yields."""
    inputs = dict(query=[], video=[], subtitle=[])
    data_samples = []
    for i in samples:
        of_query = torch.Generator().manual_seed(100 + i)
        of_video = torch.Generator().manual_seed(VIDEOS[i])
        inputs['query'].append(torch.randn(2 + i % 3, CHANNELS['query'], generator=of_query))
        for name in ('video', 'subtitle'):
            shape = (CLIPS[VIDEOS[i]], CHANNELS[name] + 2)
            inputs[name].append(torch.randn(shape, generator=of_video))
        sample = MomentDataSample(metainfo=dict(video_id=VIDEOS[i]), gt_span=np.array(SPANS[i]))
        sample.gt_moment = SPANS[i] + np.array([0.25, 0.5])
        sample.gt = InstanceData(video_ids=np.array([VIDEOS[i], *ALSO_RIGHT[i]]))
        if i in ALSO_IN_OWN:
            sample.right_spans = np.array([SPANS[i], ALSO_IN_OWN[i]])
        data_samples.append(sample)
    return dict(inputs=inputs, data_samples=data_samples)


def build(pool_size, gather, other):
    """The same weights at every call."""
    settings = tiny_model(
        input_dropout=0.0,
        dropout=0.0,
        gather_negatives=gather,
        loss_ranking=dict(
            type='RankingLoss',
            pool_size=pool_size,
            other_positives='negative' if other == 'negative' else 'ignored',
        ),
        loss_frame=dict(type='FrameContrastiveLoss', other_positives=other),
        loss_video=dict(type='VideoContrastiveLoss', other_positives=other),
    )
    return with_weights(settings)


def build_plus(gather):
    """ReLoCLNetPlus, with the same weights at every call."""
    settings = plus_model(input_dropout=0.0, dropout=0.0, gather_negatives=gather)
    for name in ('query_encoder', 'context_encoder'):
        settings[name]['noise'] = 0.0
    return with_weights(settings)


def with_weights(settings):
    torch.manual_seed(0)
    model = MODELS.build(settings)
    model.init_weights()
    return model.train()


def losses_and_gradients(model, samples, bfloat16=False):
    bare = model.module if isinstance(model, MMDistributedDataParallel) else model
    with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
        losses = model(**bare.data_preprocessor(batch(samples), True), mode='loss')
    sum(losses.values()).backward()
    gradients = {name: x.grad.clone() for name, x in bare.named_parameters()}
    return {name: float(x) for name, x in losses.items()}, gradients


def spread(samples, **settings):
    model = MMDistributedDataParallel(build(gather=True, **settings), device_ids=None)
    return model, losses_and_gradients(model, samples)


def main(out, sizes):
    init_gloo('pytorch', timeout=120)
    DefaultScope.get_instance('processes', scope_name='reloclnet_mm')
    first = sum(sizes[: get_rank()])
    mine = list(range(first, first + sizes[get_rank()]))
    everyone = list(range(sum(sizes)))
    results = {}
    for other in ('negative', 'ignored', 'positive'):
        # The hardest negative is drawn without chance.
        settings = dict(pool_size=1, other=other)
        _, several = spread(mine, **settings)
        one = losses_and_gradients(build(gather=False, **settings), everyone)
        results[other] = dict(several=several, one=one)
    several = MMDistributedDataParallel(build_plus(gather=True), device_ids=None)
    results['plus'] = dict(
        several=losses_and_gradients(several, mine),
        one=losses_and_gradients(build_plus(gather=False), everyone),
    )
    settings = dict(pool_size=None, other='negative')
    torch.manual_seed(get_rank())
    model = MMDistributedDataParallel(build(gather=True, **settings), device_ids=None)
    torch.manual_seed(get_rank())
    results['drawn'] = all_gather_object(losses_and_gradients(model, mine)[0])
    settings = dict(pool_size=1, other='negative')
    half = MMDistributedDataParallel(build(gather=True, **settings), device_ids=None)
    results['bfloat16'] = losses_and_gradients(half, mine, bfloat16=True)
    alone = losses_and_gradients(build(gather=False, **settings), mine)[0]
    results['alone'] = all_gather_object(alone)
    if get_rank() == 0:
        torch.save(results, out)


if __name__ == '__main__':
    main(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]])
