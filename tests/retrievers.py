"""Every registered model, built small from its config.

A new model joins by its config's name in ``CONFIGS``, one without weights in ``UNTRAINED``.
"""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny_corpus import CHANNELS, packed, raw_inputs, streams_of

from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample

FOLDER = Path(__file__).parents[1] / 'configs'
CONFIGS = ('relocl_tvr.py', 'xml_tvr.py', 'xml_anet_text.py', 'relocl_plus_anet_text.py')
# Those that predict start and end apart, and imitate the authors' padding.
START_AND_END = CONFIGS[:3]
UNTRAINED = (
    'nearest_clip_anet_text.py',
    'nearest_clip_tvr.py',
    'nearest_sentence_anet_text.py',
    'chance_anet_text.py',
    'chance_tvr.py',
)

VIDEO = dict(video=CHANNELS['video'] + 2)
SUBTITLE = dict(subtitle=CHANNELS['subtitle'] + 2)
BOTH = VIDEO | SUBTITLE
CLIPS, TOKENS = [5, 8, 1, 3], [4, 2, 1, 3]
SPANS = [[1, 3], [0, 7], [0, 0], [2, 2]]
EXACT = dict(rtol=1e-5, atol=1e-6)


def registered(base):
    """Names of all registered models of a base."""
    return {
        name
        for name, kind in MODELS.module_dict.items()
        if isinstance(kind, type) and issubclass(kind, base)
    }


def build(config, *, seed=0, **changes):
    """The model of :func:`small_model` with weights of a visible size."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(small_model(config, **changes))
    return with_visible_weights(model)


def with_visible_weights(model):
    """The model, ready for evaluation, with weights that are not nearly equal."""
    model.init_weights()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def small_model(config, *, streams=BOTH, max_tokens=9, max_clips=12, **changes):
    """The config of the model of a config, at the widths of the tiny corpus."""
    cfg = Config.fromfile(FOLDER / config)
    small = dict(
        streams=dict(_delete_=True, **streams),
        query_channels=CHANNELS['query'],
        embed_dims=16,
        num_heads=2,
        query_encoder=dict(max_tokens=max_tokens),
        test_cfg=dict(num_videos=3, alpha=20.0, min_span=1, max_span=5, num_moments=10),
    )
    if cfg.model.context_encoder.type == 'ContextEncoder':
        small['context_encoder'] = dict(max_clips=max_clips)
    if cfg.model.type == 'ReLoCLNetPlus':
        # All spans are listed, as those of the others.
        small['max_iou'] = 0.999
    cfg.merge_from_dict(dict(model=small))
    cfg.merge_from_dict(dict(model=changes))
    return cfg.model


def build_untrained(config, **changes):
    """The model of :func:`small_untrained`."""
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        return MODELS.build(small_untrained(config, **changes)).eval()


def small_untrained(config, **changes):
    """The config of the model of a config, at the widths of :func:`untrained_inputs`."""
    cfg = Config.fromfile(FOLDER / config)
    small = dict(test_cfg=dict(num_videos=3, num_moments=10))
    if 'streams' in cfg.model:
        small['streams'] = dict(subtitle=CHANNELS['query'])
    if 'reader' in cfg.model:
        small |= dict(reader=None, moment_length=0.3)
    cfg.merge_from_dict(dict(model=small | changes))
    return cfg.model


def untrained_inputs(seed=0, clips=CLIPS, tokens=TOKENS):
    """As raw_inputs: queries, rows as wide as they are, and the times of the rows in seconds."""
    raw = raw_inputs(len(clips), clips=clips, tokens=tokens, streams=('subtitle',), seed=seed)
    times = raw['subtitle'][..., :2].abs().sort(2).values * 10
    return raw | dict(subtitle=raw['subtitle'][..., : CHANNELS['query']], times=times)


def padded(raw, clips, tokens):
    """Add rows of padding, filled with noise that no result may show."""

    def extend(x, rows):
        noise = torch.ones_like(x[:, :1]).expand(-1, rows, *x.shape[2:]) * 7
        return torch.cat([x, noise if x.dtype != torch.bool else noise * 0 > 1], 1)

    return {
        name: extend(x, tokens if name.startswith('query') else clips) for name, x in raw.items()
    }


def rows_of(raw, chosen):
    """Take some samples by themselves, padded no more than they need."""
    tokens = int(raw['query_mask'][chosen].sum(1).max())
    clips = int(raw['clip_mask'][chosen].sum(1).max())
    return {
        name: x[chosen][:, : tokens if name.startswith('query') else clips]
        for name, x in raw.items()
    }


def sequences_of(raw, numbers):
    """What pipelines load of some samples: lists of tensors without padding, by name."""
    streams = streams_of(raw)
    lengths = dict(query=raw['query_mask'].sum(1), **{n: raw['clip_mask'].sum(1) for n in streams})
    tensors = streams | dict(query=raw['query'])
    return {name: [x[i, : lengths[name][i]] for i in numbers] for name, x in tensors.items()}


def pair_samples(batch, spans=None):
    """Samples for training, each of a video of its own."""
    spans = spans or [[0, 0]] * batch
    return [
        MomentDataSample(
            metainfo=dict(video_id=i, query_id=i),
            gt_span=np.array(spans[i]),
            gt_moment=spans[i] + np.array([0.0, 1.0]),
        )
        for i in range(batch)
    ]


def losses_and_gradients(model, inputs, spans):
    """The losses of a batch, and the gradient of their sum for each parameter."""
    model.zero_grad()
    torch.manual_seed(5)  # for the sampled negatives
    losses = model(inputs, pair_samples(len(spans), spans), mode='loss')
    sum(losses.values()).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return {name: loss.detach() for name, loss in losses.items()}, gradients


def corpus_batches(raw, sizes):
    """The videos of a batch as a corpus loader yields them, in batches of these sizes."""
    first = 0
    for size in sizes:
        numbers = range(first, first + size)
        clips = sequences_of(raw, numbers)
        del clips['query']
        infos = [
            dict(video_name=f'v{i}', video_id=100 + i, seconds_per_clip=1.5 + i, sample_idx=i)
            for i in numbers
        ]
        yield dict(inputs=clips, data_samples=[MomentDataSample(metainfo=x) for x in infos])
        first += size


def encode(model, raw, sizes=(4,)):
    """Encode the videos of a batch."""
    return model.encode_corpus(corpus_batches(raw, sizes))


def ask(model, raw, corpus, known=True):
    """Rank a corpus for the queries of a batch."""
    samples = [
        MomentDataSample(metainfo=dict(query_id=i, **(dict(video_id=100 + i) if known else {})))
        for i in range(len(raw['query']))
    ]
    return predict(model, raw, samples, corpus)


def predict(model, raw, samples, corpus):
    """Rank a corpus for samples."""
    with torch.no_grad():
        return model(packed(raw), samples, mode='predict', corpus=model.index_corpus(corpus))


def assert_same_lists(found, expected, tasks=('pred_vr', 'pred_svmr', 'pred_vcmr')):
    for a, b in zip(found, expected, strict=True):
        for task in tasks:
            x, y = a.get(task), b.get(task)
            assert x.keys() == y.keys()
            for name in x.keys():  # noqa: SIM118
                torch.testing.assert_close(x[name], y[name], **EXACT)
