"""Lists drawn at random, against the closed form of their recalls."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from retrievers import build_untrained, corpus_batches
from tiny_corpus import raw_inputs

from reloclnet_mm.evaluation.chance import candidate_spans
from reloclnet_mm.evaluation.metrics import ChanceRecall, MomentRecall, VideoRecall
from reloclnet_mm.structures import MomentDataSample

NUM_QUERIES = 4000
LENGTHS = [1, 2, 3, 3, 5, 8, 8, 12, 15, 20]
LIMITS = dict(min_span=2, max_span=9)


@pytest.fixture(scope='module')
def model():
    options = dict(num_videos=10, num_moments=100, **LIMITS)
    return build_untrained('chance_anet_text.py', test_cfg=options)


@pytest.fixture(scope='module')
def index(model):
    raw = raw_inputs(len(LENGTHS), clips=LENGTHS, tokens=[1] * len(LENGTHS), streams=('subtitle',))
    return model.index_corpus(model.encode_corpus(corpus_batches(raw, [len(LENGTHS)])))


def queries(count, corpus):
    """Queries with one right moment each, drawn among those that may be answered."""
    rng = np.random.default_rng(3)
    samples = []
    for number in range(count):
        place = int(rng.integers(len(corpus)))
        spans = candidate_spans(int(corpus.layout.lengths[place]), **LIMITS)
        moment = spans[rng.integers(len(spans))] * float(corpus.seconds_per_clip[place])
        video_id = int(corpus.video_ids[place])
        gt = InstanceData(
            video_ids=torch.tensor([video_id]), moments=torch.from_numpy(moment[None])
        )
        meta = dict(query_id=f'query {number}', video_id=video_id)
        samples.append(MomentDataSample(metainfo=meta, gt=gt))
    return samples


@pytest.fixture(scope='module')
def answered(model, index):
    return model.predict({}, queries(NUM_QUERIES, index.corpus), index)


def test_recalls_agree_with_the_closed_form_within_the_error_of_sampling(model, index, answered):
    samples = [sample.to_dict() for sample in answered]
    meta = dict(corpus=index.corpus.describe(), span_limits=model.span_limits)
    found = {}
    for metric in (VideoRecall(), MomentRecall('SVMR'), MomentRecall('VCMR'), ChanceRecall()):
        metric.dataset_meta = meta
        metric.process(None, samples)
        found |= metric.evaluate(NUM_QUERIES)
    compared = [name.removeprefix('chance/') for name in found if name.startswith('chance/')]
    assert len(compared) == 4 + 2 * 8
    for name in compared:
        expected = found[f'chance/{name}']
        p = expected / 100
        # Four standard deviations, and the rounding of both to 0.01.
        assert abs(found[name] - expected) <= 400 * np.sqrt(p * (1 - p) / NUM_QUERIES) + 0.011, name


def test_no_video_and_no_moment_is_drawn_twice(answered):
    for sample in answered[:200]:
        assert sorted(sample.pred_vr.video_ids.tolist()) == list(range(100, 110))
        for ranked in (sample.pred_vcmr, sample.pred_svmr):
            rows = zip(ranked.video_ids.tolist(), ranked.moments.tolist(), strict=True)
            distinct = {(video, *moment) for video, moment in rows}
            assert len(distinct) == len(ranked.scores)
            assert (ranked.scores.diff() < 0).all()


def test_moments_are_among_the_spans_that_may_be_answered(index, answered):
    corpus = index.corpus
    for sample in answered[:200]:
        assert set(sample.pred_svmr.video_ids.tolist()) == {sample.video_id}
        for video, moment in zip(
            sample.pred_vcmr.video_ids.tolist(), sample.pred_vcmr.moments.tolist(), strict=True
        ):
            place = corpus.place_of(video)
            spans = candidate_spans(int(corpus.layout.lengths[place]), **LIMITS)
            assert moment in (spans * float(corpus.seconds_per_clip[place])).tolist()


def test_a_list_depends_on_the_query_and_the_seed_alone(index, model, answered):
    again = model.predict({}, queries(20, index.corpus)[::-1], index)[::-1]
    for one, other in zip(again, answered, strict=False):
        for task in ('pred_vr', 'pred_vcmr', 'pred_svmr'):
            for name, x in one.get(task).items():
                assert torch.equal(x, other.get(task).get(name))
    others = build_untrained(
        'chance_anet_text.py', seed=1, test_cfg=dict(num_videos=10, **LIMITS)
    ).predict({}, queries(20, index.corpus), index)
    assert any(
        one.pred_vr.video_ids.tolist() != other.pred_vr.video_ids.tolist()
        for one, other in zip(others, answered, strict=False)
    )


def test_a_seed_below_zero_is_refused():
    with pytest.raises(ValueError, match='Chance: seed is -1'):
        build_untrained('chance_anet_text.py', seed=-1)
