"""What a second stage must do over every first stage; its lists equal those of loops over pairs."""

import math
from itertools import pairwise

import pytest
import torch
from mmengine.registry import DefaultScope
from retrievers import CLIPS, assert_same_lists, registered
from second_stages import (
    FIRST_STAGES,
    RANKING,
    Stages,
    ask_stages,
    build_two_stage,
    conquer_settings,
    loaded_batch,
)

from reloclnet_mm.errors import InputError
from reloclnet_mm.models import CorpusModel, CorpusRetriever
from reloclnet_mm.models.untrained import UntrainedModel
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures.staged_corpus import StagedCorpus

SCORINGS = ('general', 'exclusive', 'disjoint')
NUM_MOMENTS = 12
LONGEST = 4


@pytest.fixture(params=FIRST_STAGES)
def first(request):
    return request.param


def test_every_registered_model_is_a_first_stage_here():
    models = {type(build_two_stage(name).first_stage).__name__ for name in FIRST_STAGES}
    assert models == registered(CorpusRetriever) | registered(UntrainedModel)
    assert {*models, 'TwoStageRetriever'} == registered(CorpusModel)


@pytest.mark.parametrize('scoring', SCORINGS)
def test_lists_are_those_of_a_loop_over_pairs(first, scoring):
    model, stages = build_two_stage(first, scoring, num_videos=2), Stages(first)
    corpus = model.encode_corpus(stages.corpus())
    for query, sample in enumerate(ask_stages(model, stages, corpus)):
        listed = first_stage_list(model, stages, corpus, query)
        videos, moments, own = naive_lists(model, stages, query, *listed)
        assert (sample.pred_vr.video_ids - 100).tolist() == videos
        assert (sample.pred_vr.scores.diff() <= 0).all()
        assert_moments(sample.pred_vcmr, moments)
        assert_moments(sample.pred_svmr, own)


def first_stage_list(model, stages, corpus, query):
    """Scores and videos that the first stage by itself finds."""
    batch = stages.queries([query])
    inputs = model.data_preprocessor(batch)['inputs']
    del inputs['second_stage']
    index = model.first_stage.index_corpus(corpus.first)
    (found,) = model.first_stage.predict(inputs, batch['data_samples'], index)
    return found.pred_vr.scores.tolist(), (found.pred_vr.video_ids - 100).tolist()


def naive_lists(model, stages, query, scores, videos):
    """Videos, moments of the corpus and moments of the own video, by loops."""
    top, scoring = videos[: model.num_videos], model.second_stage.scoring
    pairs = {video: pair_scores(model, stages, query, video) for video in {*top, query}}
    chances = softmax([pairs[video][2] for video in top])
    moments, worth = [], {}
    for place, video in enumerate(top):
        start, end, _ = pairs[video]
        if scoring == 'disjoint':
            # The sum of logits, on a scale where it is a product.
            found = spans_of([math.exp(x) for x in start], [math.exp(x) for x in end], 1, video)
            worth[video] = max(found)[0]
        else:
            relative = math.exp(model.ranking.alpha * (scores[place] - scores[0]))
            weight = relative if scoring == 'general' else chances[place]
            found = spans_of(softmax(start), softmax(end), weight, video)
            worth[video] = -place if scoring == 'general' else weight
        moments += found
    top.sort(key=lambda video: -worth[video])
    own = spans_of(softmax(pairs[query][0]), softmax(pairs[query][1]), 1, query)
    return top + videos[len(top) :], sorted(moments)[::-1], sorted(own)[::-1]


def pair_scores(model, stages, query, video):
    """Logits and video score of one pair by itself."""
    batch = loaded_batch(stages.second, {query: [video]}, [query])
    with torch.no_grad():
        found = model.second_stage(model.second_stage.data_preprocessor(batch)['inputs'])
    start, end = (found[f'{side}_logits'][0, 0].tolist() for side in ('start', 'end'))
    return start, end, float(found.get('video_scores', torch.zeros(1, 1)))


def softmax(values):
    total = sum(math.exp(x) for x in values)
    return [math.exp(x) / total for x in values]


def spans_of(start, end, weight, video):
    """(score, video, moment in seconds) of all spans of up to ``LONGEST`` clips."""
    seconds = 1.5 + video
    return [
        (weight * start[i] * end[j], 100 + video, (i * seconds, (j + 1) * seconds))
        for i in range(len(start))
        for j in range(i, min(i + LONGEST, len(start)))
    ]


def assert_moments(found, expected):
    """The first moments, whose scores may have another unit."""
    expected = expected[:NUM_MOMENTS]
    assert found.video_ids.tolist() == [x[1] for x in expected]
    assert [tuple(x) for x in found.moments.tolist()] == [x[2] for x in expected]
    scores = torch.tensor([x[0] for x in expected])
    shares = found.scores / found.scores[0]
    torch.testing.assert_close(shares, scores / scores[0], rtol=5e-4, atol=1e-6)


def test_predictions_do_not_depend_on_neighbours_or_batches(first):
    model, stages = build_two_stage(first), Stages(first)
    corpus = model.encode_corpus(stages.corpus())
    expected = ask_stages(model, stages, corpus)
    one_by_one = [ask_stages(model, stages, corpus, numbers=[i])[0] for i in range(4)]
    assert_near(one_by_one, expected)
    assert_near(ask_stages(model, stages, model.encode_corpus(stages.corpus((1, 3)))), expected)


def assert_near(found, expected):
    for a, b in zip(found, expected, strict=True):
        for task in ('pred_vr', 'pred_svmr', 'pred_vcmr'):
            x, y = a.get(task), b.get(task)
            assert x.video_ids.tolist() == y.video_ids.tolist()
            torch.testing.assert_close(x.scores, y.scores, rtol=1e-4, atol=1e-6)


def test_a_saved_corpus_gives_the_lists_of_the_encoded_one(first, tmp_path):
    model, stages = build_two_stage(first), Stages(first)
    corpus = model.encode_corpus(stages.corpus())
    corpus.save(tmp_path / 'corpus', model_checksum=model.checksum())
    loaded = model.load_corpus(tmp_path / 'corpus')
    assert_same_lists(ask_stages(model, stages, loaded), ask_stages(model, stages, corpus))
    corpus.save(tmp_path / 'other', model_checksum='0' * 64)
    with pytest.raises(InputError, match='encoded by the model 0000'):
        model.load_corpus(tmp_path / 'other')


def test_a_saved_corpus_whose_stages_have_other_videos_is_refused(tmp_path):
    model, stages = build_two_stage(), Stages('relocl_tvr.py')
    whole = model.encode_corpus(stages.corpus())
    StagedCorpus(whole.first, whole.second.select([0, 1])).save(tmp_path, model_checksum='1')
    with pytest.raises(InputError, match='found 4 videos of the first stage and 2 others'):
        StagedCorpus.load(tmp_path, model_checksum='1')


def test_queries_without_a_known_video_get_no_svmr(first):
    model, stages = build_two_stage(first), Stages(first)
    unknown = ask_stages(model, stages, known=False)
    assert not any('pred_svmr' in sample for sample in unknown)
    known = ask_stages(model, stages)
    assert_same_lists(unknown, known, ('pred_vr', 'pred_vcmr'))


def test_the_last_clip_of_a_video_can_be_answered():
    model, stages = (
        build_two_stage(test_cfg=RANKING | dict(num_moments=100)),
        Stages('relocl_tvr.py'),
    )
    for i, sample in enumerate(ask_stages(model, stages)):
        assert sample.pred_svmr.moments.max() == CLIPS[i] * (1.5 + i)
    assert model.span_limits == (1, 5, 'inclusive')


def test_a_video_too_short_for_any_span_is_answered_whole():
    model, stages = build_two_stage(test_cfg=RANKING | dict(min_span=3)), Stages('relocl_tvr.py')
    samples = ask_stages(model, stages)
    assert samples[2].pred_svmr.moments.tolist() == [[0, 3.5]]
    # Of 3 clips there is one span of 3; of 5 there are 3 of 3 clips and 2 of 4.
    assert samples[3].pred_svmr.moments.tolist() == [[0, 3 * 4.5]]
    assert len(samples[0].pred_svmr.moments) == 5


def test_suppression_takes_effect_in_predictions():
    model, stages = build_two_stage(test_cfg=RANKING | dict(nms_iou=0.0)), Stages('relocl_tvr.py')
    for sample in ask_stages(model, stages):
        moments = sorted(sample.pred_svmr.moments.tolist())
        assert all(a[1] <= b[0] for a, b in pairwise(moments))


def test_more_videos_than_the_corpus_has_are_all_re_ranked():
    model, stages = build_two_stage(num_videos=9), Stages('relocl_tvr.py')
    (sample, *_) = ask_stages(model, stages)
    assert len(sample.pred_vr.video_ids) == 4


def test_probabilities_for_pictures_are_those_of_the_pairs():
    model, stages = build_two_stage(), Stages('relocl_tvr.py')
    index = model.index_corpus(model.encode_corpus(stages.corpus()))
    inputs = model.data_preprocessor(stages.queries())['inputs']
    places = torch.tensor([index.corpus.place_of(100 + i) for i in range(2)])
    found = model.span_probabilities(inputs, places, index)
    for i, (start, end, clips) in enumerate(zip(*found, strict=True)):
        assert clips.sum() == CLIPS[i]
        expected = pair_scores(model, stages, i, i)
        for x, logits in ((start, expected[0]), (end, expected[1])):
            assert x[clips].tolist() == pytest.approx(softmax(logits), rel=1e-4)


def test_the_checksum_tells_other_weights_in_either_stage(first):
    model = build_two_stage(first)
    assert build_two_stage(first).checksum() == model.checksum()
    for parameters in (model.first_stage.parameters(), model.second_stage.parameters()):
        before, weight = model.checksum(), next(parameters, None)
        if weight is not None:
            with torch.no_grad():
                weight.view(-1)[0] += 1e-3
            assert model.checksum() != before


def test_training_moves_the_second_stage_only(first):
    model, stages = (
        build_two_stage(first, second=dict(dropout=0.0, input_dropout=0.0)),
        Stages(first),
    )
    assert not any(p.requires_grad for p in model.first_stage.parameters())
    assert not model.train().first_stage.training
    assert model.second_stage.training
    data = model.data_preprocessor(loaded_batch(stages.second), True)
    losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    alone = model.second_stage(data['inputs'], data['data_samples'], mode='loss')
    torch.testing.assert_close(losses, alone)
    assert all(p.grad is not None for p in model.second_stage.parameters())


def test_targets_that_end_with_another_clip_than_answers_are_refused():
    model = build_two_stage()
    data = model.data_preprocessor(loaded_batch(Stages('relocl_tvr.py').second), True)
    for sample in data['data_samples']:
        sample.set_metainfo(dict(span_end='official'))
    with pytest.raises(InputError, match="targets have span_end='official', and the answers of"):
        model(**data, mode='loss')


def test_predict_without_a_corpus_says_which_loop_to_use():
    batch = build_two_stage().data_preprocessor(Stages('relocl_tvr.py').queries())
    with pytest.raises(ValueError, match='CorpusValLoop'):
        build_two_stage()(**batch, mode='predict')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(num_videos=0), 'TwoStageRetriever: num_videos is 0'),
        (dict(first_stage=conquer_settings()), 'first_stage is a CONQUER, expected a CorpusModel'),
        (dict(second_stage=dict(type='Chance')), 'is a Chance, expected a SecondStage'),
    ],
)
def test_stages_that_are_none_are_refused(settings, message):
    with (
        pytest.raises(ValueError, match=message),
        DefaultScope.overwrite_default_scope('reloclnet_mm'),
    ):
        MODELS.build(
            dict(
                type='TwoStageRetriever',
                first_stage=dict(type='Chance'),
                second_stage=conquer_settings(),
            )
            | settings
        )
