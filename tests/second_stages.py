"""A small CONQUER, and batches for it."""

import torch
from retrievers import CLIPS, TOKENS
from tiny_corpus import CHANNELS, raw_inputs, streams_of

from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample

STREAMS = dict(video=CHANNELS['video'] + 2, subtitle=CHANNELS['subtitle'] + 2)
NUM_VIDEOS = 3
# Each query's own video, then two others; the videos are those of raw_inputs.
CANDIDATES = [[0, 1, 2], [1, 3, 0], [2, 1, 3], [3, 0, 2]]
SPANS = [[1, 3], [0, 7], [0, 0], [2, 2]]


def conquer_settings(scoring='general', streams=STREAMS, **changes):
    """The config of a small model."""
    exclusive = dict(
        video_head=dict(type='reloclnet_mm.PairVideoHead', channels=8),
        loss_video=dict(type='reloclnet_mm.VideoChoiceLoss'),
    )
    settings = dict(
        type='reloclnet_mm.CONQUER',
        streams=streams,
        query_channels=CHANNELS['query'],
        embed_dims=16,
        num_heads=2,
        feedforward_dims=24,
        num_clusters=4,
        scoring=scoring,
        query_encoder=dict(type='reloclnet_mm.TokenEncoder', max_tokens=9),
        context_encoder=dict(type='reloclnet_mm.JointStreamEncoder', max_clips=12),
        moment_head=dict(type='reloclnet_mm.PairMomentHead', channels=8),
        loss_span=dict(type='reloclnet_mm.SpanLoss'),
        **(exclusive if scoring == 'exclusive' else {}),
    )
    return settings | changes


def build_conquer(scoring='general', streams=STREAMS, seed=0, **changes):
    """A small model with weights of a visible size."""
    torch.manual_seed(seed)
    model = MODELS.build(conquer_settings(scoring, streams, **changes))
    model.init_weights()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def raw_batch(streams=STREAMS):
    return raw_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)


def loaded_batch(raw, candidates=CANDIDATES, queries=range(4)):
    """What pipelines load of queries and the videos that come with each."""
    clips = {
        name: [x[i, : CLIPS[i]] for i in range(len(CLIPS))] for name, x in streams_of(raw).items()
    }
    inputs = {
        name: [torch.cat([x[i] for i in candidates[q]]) for q in queries]
        for name, x in clips.items()
    }
    inputs['query'] = [raw['query'][q, : TOKENS[q]] for q in queries]
    samples = [
        MomentDataSample(
            metainfo=dict(
                query_id=q,
                candidate_ids=[100 + i for i in candidates[q]],
                candidate_clips=[CLIPS[i] for i in candidates[q]],
            ),
            gt_span=torch.tensor(SPANS[q]),
        )
        for q in queries
    ]
    return dict(inputs=inputs, data_samples=samples)
