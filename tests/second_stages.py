"""A small CONQUER, by itself and behind small first stages, and batches for them."""

import numpy as np
import torch
from mmengine.registry import DefaultScope
from retrievers import (
    CLIPS,
    CONFIGS,
    TOKENS,
    UNTRAINED,
    corpus_batches,
    sequences_of,
    small_model,
    small_untrained,
    untrained_inputs,
    with_visible_weights,
)
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
    return with_visible_weights(MODELS.build(conquer_settings(scoring, streams, **changes)))


RANKING = dict(
    num_videos=4, alpha=2.0, min_span=1, max_span=5, num_moments=12, span_end='inclusive'
)
FIRST_STAGES = (*CONFIGS, *UNTRAINED)


def build_two_stage(first='relocl_tvr.py', scoring='general', num_videos=3, seed=0, **changes):
    """A small second stage over the model of a config."""
    small = small_untrained if first in UNTRAINED else small_model
    settings = dict(
        type='TwoStageRetriever',
        first_stage=small(first),
        second_stage=conquer_settings(scoring, **changes.pop('second', {})),
        num_videos=num_videos,
        test_cfg=RANKING,
    )
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        return with_visible_weights(MODELS.build(settings | changes))


class Stages:
    """What both stages see of the same four queries and videos.

    Attributes:
        first: Padded tensors of the first stage, as of raw_inputs.
        second: Those of the second stage.
    """

    def __init__(self, first_stage):
        self.second = raw_batch()
        self.first = untrained_inputs() if first_stage in UNTRAINED else self.second

    def corpus(self, sizes=(4,)):
        """The videos as a corpus loader yields them."""
        for first, second in zip(
            *(corpus_batches(x, sizes) for x in (self.first, self.second)), strict=True
        ):
            yield {**first, 'inputs': {**first['inputs'], 'second_stage': second['inputs']}}

    def queries(self, numbers=range(4), known=True):
        """Queries as a loader yields them."""
        samples = [
            MomentDataSample(metainfo=dict(query_id=i, **(dict(video_id=100 + i) if known else {})))
            for i in numbers
        ]
        first, second = (
            dict(query=sequences_of(x, numbers)['query']) for x in (self.first, self.second)
        )
        return dict(inputs=dict(first, second_stage=second), data_samples=samples)


def ask_stages(model, stages, corpus=None, **asked):
    """Rank the corpus, encoded anew or given, for queries."""
    encoded = model.encode_corpus(stages.corpus()) if corpus is None else corpus
    batch = model.data_preprocessor(stages.queries(**asked))
    with torch.no_grad():
        return model(**batch, mode='predict', corpus=model.index_corpus(encoded))


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
                span_end='inclusive',
                candidate_ids=[100 + i for i in candidates[q]],
                candidate_clips=[CLIPS[i] for i in candidates[q]],
            ),
            gt_span=np.array(SPANS[q]),
        )
        for q in queries
    ]
    return dict(inputs=inputs, data_samples=samples)
