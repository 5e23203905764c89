"""The whole model: what its predictions depend on, and odd shapes of input."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny_corpus import (
    CHANNELS,
    MAX_CLIPS,
    packed,
    random_inputs,
    raw_inputs,
    streams_of,
    tiny_model,
)

from reloclnet_mm.models.data_preprocessors.packing import MomentDataPreprocessor
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.similarity import video_scores
from reloclnet_mm.structures import MomentDataSample, VideoCorpus
from reloclnet_mm.structures.packed_rows import RowLayout

CLIPS, TOKENS = [5, 8, 1, 3], [4, 2, 1, 3]
SPANS = [[1, 3], [0, 7], [0, 0], [2, 2]]
VIDEO = dict(video=CHANNELS['video'] + 2)
SUBTITLE = dict(subtitle=CHANNELS['subtitle'] + 2)
BOTH = VIDEO | SUBTITLE
EXACT = dict(rtol=1e-5, atol=1e-6)


def build(seed=0, **changes):
    torch.manual_seed(seed)
    model = MODELS.build(tiny_model(**changes))
    model.init_weights()
    for parameter in model.parameters():  # weights that make every path count
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def padded(raw, clips, tokens):
    """More rows of padding, filled with noise that no result may show."""

    def extend(x, rows):
        noise = torch.ones_like(x[:, :1]).expand(-1, rows, *x.shape[2:]) * 7
        return torch.cat([x, noise if x.dtype != torch.bool else noise * 0 > 1], 1)

    return {
        name: extend(x, tokens if name.startswith('query') else clips) for name, x in raw.items()
    }


def rows_of(raw, chosen):
    """Some samples by themselves, padded no more than they need."""
    tokens = int(raw['query_mask'][chosen].sum(1).max())
    clips = int(raw['clip_mask'][chosen].sum(1).max())
    return {
        name: x[chosen][:, : tokens if name.startswith('query') else clips]
        for name, x in raw.items()
    }


def sequences_of(raw, numbers):
    """What pipelines load of some samples: lists of tensors without padding, by name."""
    lengths = dict(query=raw['query_mask'].sum(1), **{n: raw['clip_mask'].sum(1) for n in BOTH})
    tensors = streams_of(raw) | dict(query=raw['query'])
    return {name: [x[i, : lengths[name][i]] for i in numbers] for name, x in tensors.items()}


def pair_samples(batch, spans=None):
    spans = spans or [[0, 0]] * batch
    return [
        MomentDataSample(metainfo=dict(video_id=i, query_id=i), gt_span=torch.tensor(spans[i]))
        for i in range(batch)
    ]


def corpus_batches(raw, sizes):
    """The videos of a batch as a corpus loader yields them, in batches of these sizes."""
    first = 0
    for size in sizes:
        numbers = range(first, first + size)
        clips = sequences_of(raw, numbers)
        del clips['query']
        yield dict(
            inputs=clips,
            data_samples=[
                MomentDataSample(
                    metainfo=dict(
                        video_name=f'v{i}',
                        video_id=100 + i,
                        seconds_per_clip=1.5 + i,
                        sample_idx=i,
                    )
                )
                for i in numbers
            ],
        )
        first += size


def encode(model, raw, sizes=(4,)):
    return model.encode_corpus(corpus_batches(raw, sizes))


def ask(model, raw, corpus, known=True):
    samples = [
        MomentDataSample(metainfo=dict(query_id=i, **(dict(video_id=100 + i) if known else {})))
        for i in range(len(raw['query']))
    ]
    return predict(model, raw, samples, corpus)


def predict(model, raw, samples, corpus):
    with torch.no_grad():
        return model(packed(raw), samples, mode='predict', corpus=model.index_corpus(corpus))


def assert_same_lists(found, expected, tasks=('pred_vr', 'pred_svmr', 'pred_vcmr')):
    for a, b in zip(found, expected, strict=True):
        for task in tasks:
            x, y = a.get(task), b.get(task)
            assert x.keys() == y.keys()
            for name in x.keys():  # noqa: SIM118
                torch.testing.assert_close(x[name], y[name], **EXACT)


# Padding and neighbours.


@pytest.mark.parametrize('streams', [BOTH, VIDEO, SUBTITLE])
def test_outputs_do_not_depend_on_padding(streams):
    model = build(streams=streams, max_clips=12, max_query_tokens=9)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)
    with torch.no_grad():
        found, expected = model(packed(padded(raw, 3, 4))), model(packed(raw))
    torch.testing.assert_close(found['video_scores'], expected['video_scores'], **EXACT)
    for name in ('start_logits', 'end_logits'):
        valid = raw['clip_mask']
        torch.testing.assert_close(found[name][:, :8][valid], expected[name][valid], **EXACT)
        assert (found[name][:, 8:] == torch.finfo(torch.float32).min).all()


def test_outputs_do_not_depend_on_the_neighbours_in_the_batch():
    model = build()
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    with torch.no_grad():
        together = model(packed(raw))
        for i in range(4):
            alone = model(packed(rows_of(raw, [i])))
            torch.testing.assert_close(
                alone['video_scores'][0, 0], together['video_scores'][i, i], **EXACT
            )
            for name in ('start_logits', 'end_logits'):
                torch.testing.assert_close(alone[name][0], together[name][i, : CLIPS[i]], **EXACT)


def test_losses_of_spans_do_not_depend_on_padding():
    model = build(max_clips=12, max_query_tokens=9)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    losses, gradients = zip(
        *(losses_and_gradients(model, packed(x), SPANS) for x in (raw, padded(raw, 3, 4))),
        strict=True,
    )
    torch.testing.assert_close(losses[0], losses[1], **EXACT)
    positions = ('context_encoder.position.embedding', 'query_encoder.position.embedding')
    for name, gradient in gradients[1].items():
        if name.startswith(positions):
            longest = MAX_CLIPS if name.startswith('context') else max(TOKENS)
            assert not gradient[longest:].any()
        torch.testing.assert_close(gradient, gradients[0][name], **EXACT)


def losses_and_gradients(model, inputs, spans, **changes):
    """The losses of a batch, and the gradient of their sum for each parameter."""
    model.zero_grad()
    torch.manual_seed(5)  # of the sampled negatives
    losses = model(inputs, pair_samples(len(spans), spans), mode='loss')
    sum(losses.values()).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return {name: loss.detach() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize('slack', [0, 0.125, 1])
@pytest.mark.parametrize('streams', [BOTH, VIDEO])
def test_a_packed_batch_has_the_losses_outputs_and_gradients_of_the_padded_one(streams, slack):
    model = build(streams=streams)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)
    data = dict(inputs=sequences_of(raw, range(4)), data_samples=pair_samples(4, SPANS))
    inputs = MomentDataPreprocessor(slack=slack)(data)['inputs']
    num_rows = {0: sum(CLIPS), 0.125: sum(CLIPS), 1: 4 * max(CLIPS)}[slack]
    assert inputs['clips'].layout.num_rows == num_rows
    with torch.no_grad():
        found, expected = model(inputs), model(packed(raw))
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], **EXACT)
    found = losses_and_gradients(model, inputs, SPANS)
    torch.testing.assert_close(found, losses_and_gradients(model, packed(raw), SPANS), **EXACT)


@pytest.mark.parametrize('slack', [0, 0.125, 1])
def test_queries_of_one_video_share_its_rows_and_have_the_losses_of_videos_encoded_twice(slack):
    model = build()
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    # Queries 0 and 2 have the video of query 1, of 8 clips.
    for name in (*BOTH, 'clip_mask'):
        raw[name] = raw[name][[1, 1, 1, 3]]
    samples = pair_samples(4, SPANS)
    for sample, video_id in zip(samples, [70, 70, 70, 3], strict=True):
        sample.set_metainfo(dict(video_id=video_id))
    data = dict(inputs=sequences_of(raw, range(4)), data_samples=samples)
    shared = MomentDataPreprocessor(slack=slack)(data)['inputs']
    assert len(shared['clips'].layout) == 2
    assert len(shared['clips'].features['video']) == (16 if slack == 1 else 8 + 3)
    with torch.no_grad():
        found, expected = model(shared), model(packed(raw))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], **EXACT)
    found = losses_and_gradients(model, shared, SPANS)
    torch.testing.assert_close(found, losses_and_gradients(model, packed(raw), SPANS), **EXACT)


@pytest.mark.parametrize('mask_same_video', [False, True])
def test_queries_of_one_video_are_no_negatives_of_each_other_where_asked(mask_same_video):
    losses = {
        name: dict(type=f'reloclnet_mm.{kind}', mask_same_video=mask_same_video)
        for name, kind in (('loss_ranking', 'RankingLoss'), ('loss_video', 'VideoContrastiveLoss'))
    }
    model = build(**losses)
    raw = raw_inputs(2, clips=CLIPS, tokens=TOKENS)
    samples = [MomentDataSample(metainfo=dict(video_id=3)) for _ in range(2)]
    for sample in samples:
        sample.gt_span = torch.tensor([0, 1])
    sequences = sequences_of(raw, range(2))
    for name in BOTH:
        sequences[name] = [sequences[name][0]] * 2
    inputs = MomentDataPreprocessor()(dict(inputs=sequences, data_samples=samples))['inputs']
    with torch.no_grad():
        found = model(inputs, samples, mode='loss')
    # Two equal scores in a row: the margin is missed by all of it.
    assert float(found['loss_rank_query']) == pytest.approx(0 if mask_same_video else 0.1)
    if mask_same_video:
        assert float(found['loss_rank_video']) == 0
        assert float(found['loss_video_cl']) == pytest.approx(0.03 * math.log(2), rel=1e-5)
    else:
        assert float(found['loss_video_cl']) > 0.03 * math.log(3)


@pytest.mark.parametrize('padding', ['independent', 'official'])
def test_training_computes_what_evaluation_does_where_dropout_drops_nothing(padding):
    # So small a probability is rounded to 0, but takes the way of training.
    model = build(padding=padding, dropout=1e-9, input_dropout=1e-9)
    # Of two pairs each has one negative only, so that random numbers choose nothing.
    inputs = random_inputs(2, clips=CLIPS, tokens=TOKENS)
    expected = losses_and_gradients(model, inputs, SPANS[:2])
    found = losses_and_gradients(model.train(), inputs, SPANS[:2])
    torch.testing.assert_close(found, expected, **EXACT)


def test_dropout_acts_in_training_only():
    model = build(dropout=0.3, input_dropout=0.3)
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    with torch.no_grad():
        a, b = (model(inputs)['video_scores'] for _ in range(2))
        c, d = (model.train()(inputs)['video_scores'] for _ in range(2))
    assert torch.equal(a, b)
    assert (c - d).abs().max() > 0.01


def test_the_official_mode_does_depend_on_padding_near_the_end_as_documented():
    model = build(padding='official', max_clips=12, max_query_tokens=9)
    raw = raw_inputs(1, clips=[8], tokens=[4])
    with torch.no_grad():
        alone, longer = model(packed(raw)), model(packed(padded(raw, 3, 0)))
    difference = (longer['start_logits'][0, :8] - alone['start_logits'][0]).abs()
    assert difference[-1] > 1e-2
    # The convolution of width 5 reaches two clips back.
    assert difference[:6].max() < 1e-5


@pytest.mark.parametrize('streams', [BOTH, VIDEO, SUBTITLE])
def test_predictions_do_not_depend_on_padding_or_neighbours(streams):
    model = build(streams=streams)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)
    corpus = encode(model, raw)
    expected = ask(model, raw, corpus)
    one_by_one = []
    for i in range(4):
        sample = [MomentDataSample(metainfo=dict(query_id=i, video_id=100 + i))]
        one_by_one += predict(model, rows_of(raw, [i]), sample, corpus)
    assert_same_lists(one_by_one, expected)
    assert_same_lists(ask(model, raw, encode(model, raw, (1, 1, 1, 1))), expected)


@pytest.mark.parametrize('sizes', [(1, 1, 1, 1), (3, 1), (1, 3), (2, 2)])
def test_a_corpus_encoded_in_batches_equals_one_encoded_at_once(sizes):
    model = build()
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    whole, parts = encode(model, raw), encode(model, raw, sizes)
    assert parts.describe() == whole.describe()
    assert parts.layout.blocks == whole.layout.blocks
    assert torch.equal(parts.order, whole.order)
    torch.testing.assert_close(parts.features, whole.features, **EXACT)


def test_an_encoded_corpus_is_the_third_level_of_the_valid_clips_sorted_by_length():
    model = build()
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    corpus = encode(model, raw)
    assert corpus.order.tolist() == [2, 3, 0, 1]
    assert corpus.video_names == ('v2', 'v3', 'v0', 'v1')
    assert corpus.layout.lengths.tolist() == [1, 3, 5, 8]
    assert corpus.layout.num_rows == len(corpus.features) == sum(CLIPS)
    with torch.no_grad():
        levels = model.encode_context(packed(raw))
    for name, level in levels.items():
        expected = torch.cat([level[2].view(4, 8, -1)[i, : CLIPS[i]] for i in (2, 3, 0, 1)])
        torch.testing.assert_close(corpus.stream(name), expected, **EXACT)


@pytest.mark.parametrize('padding', ['independent', 'official'])
@pytest.mark.parametrize('coarse_dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('num_queries', [1, 4])
def test_predictions_are_those_of_the_pair_encoding(padding, coarse_dtype, num_queries):
    """SVMR, VR and VCMR against every span of every video, by way of mode ``tensor``."""
    model = build(
        padding=padding,
        # The longest video has as many clips, so that all is padded alike.
        data_preprocessor=dict(
            type='reloclnet_mm.MomentDataPreprocessor',
            pad_clips_to=MAX_CLIPS if padding == 'official' else None,
        ),
        test_cfg=dict(
            num_videos=3,
            alpha=2.0,
            min_span=1,
            max_span=4,
            num_moments=12,
            coarse_dtype=coarse_dtype,
        ),
    )
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    asked = {name: x[:num_queries] if 'query' in name else x for name, x in raw.items()}
    samples = ask(model, asked, encode(model, raw))
    with torch.no_grad():
        queries = model.encode_query(packed(raw))
        levels = {name: x[-1] for name, x in model.encode_context(packed(raw)).items()}
    scores = video_scores(queries, levels, packed(raw)['clips'].layout)
    for q, sample in enumerate(samples):
        ranked = scores[q].argsort(descending=True)[:3].tolist()
        assert (sample.pred_vr.video_ids - 100).tolist() == ranked
        torch.testing.assert_close(sample.pred_vr.scores, scores[q, ranked], **EXACT)
        every = [
            x for v in range(4) for x in spans_of_a_pair(model, raw, q, v, float(scores[q, v]))
        ]
        every.sort(reverse=True)
        best = [x for x in every if x[1] - 100 in ranked][:12]
        assert sample.pred_vcmr.video_ids.tolist() == [x[1] for x in best]
        found = [tuple(x) for x in sample.pred_vcmr.moments.tolist()]
        assert found == [x[2] for x in best]
        torch.testing.assert_close(
            sample.pred_vcmr.scores.tolist(), [x[0] for x in best], rtol=1e-4, atol=0
        )
        own = sorted(((x[3], x[2]) for x in every if x[1] == 100 + q), reverse=True)[:12]
        assert [tuple(x) for x in sample.pred_svmr.moments.tolist()] == [x[1] for x in own]
        assert set(sample.pred_svmr.video_ids.tolist()) <= {100 + q}


def spans_of_a_pair(model, raw, q, v, video_score):
    """(score, video, moment in seconds, probability) of every span of a query in a video."""
    pair = {name: x[[q if 'query' in name else v]] for name, x in raw.items()}
    with torch.no_grad():
        out = model(packed(pair))
    start, end = out['start_logits'][0].softmax(0), out['end_logits'][0].softmax(0)
    seconds = 1.5 + v
    for i in range(CLIPS[v]):
        for j in range(i + 1, min(i + 4, CLIPS[v])):
            probability = float(start[i] * end[j])
            score = probability * math.exp(2.0 * video_score)
            yield score, 100 + v, (i * seconds, j * seconds), probability


# Odd shapes.


@pytest.mark.parametrize('streams', [VIDEO, SUBTITLE])
def test_one_stream_trains_and_predicts(streams):
    model = build(streams=streams).train()
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)
    losses = model(packed(raw), pair_samples(4), mode='loss')
    sum(losses.values()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert not any('cross' in name for name, _ in model.named_parameters())
    samples = ask(model.eval(), raw, encode(model, raw))
    assert all(len(s.pred_vr.video_ids) == 3 for s in samples)


def test_every_parameter_of_two_streams_is_trained():
    model = build().train()
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    losses = model(inputs, pair_samples(4), mode='loss')
    assert set(losses) == {
        'loss_rank_query',
        'loss_rank_video',
        'loss_span',
        'loss_frame_cl',
        'loss_video_cl',
    }
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_contrastive_losses_can_be_left_out():
    model = build(loss_frame=None, loss_video=None)
    inputs = random_inputs(2, clips=CLIPS, tokens=TOKENS)
    losses = model(inputs, pair_samples(2), mode='loss')
    assert set(losses) == {'loss_rank_query', 'loss_rank_video', 'loss_span'}


def test_a_batch_of_one_has_finite_losses_and_no_ranking_loss():
    model = build().train()
    inputs = random_inputs(1, clips=[3], tokens=[2])
    losses = model(inputs, pair_samples(1), mode='loss')
    assert losses['loss_rank_query'] == losses['loss_rank_video'] == 0
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_corpus_of_one_video():
    model = build()
    raw = raw_inputs(1, clips=[4], tokens=[2])
    (sample,) = ask(model, raw, encode(model, raw, (1,)))
    assert sample.pred_vr.video_ids.tolist() == [100]
    # Spans of 1 to 3 clips between 4 clips: 3 + 2 + 1.
    assert len(sample.pred_svmr.moments) == len(sample.pred_vcmr.moments) == 6


def test_videos_of_one_clip_have_no_moment_and_do_no_harm():
    model = build()
    raw = raw_inputs(2, clips=[1, 1], tokens=[2, 2])
    for sample in ask(model, raw, encode(model, raw, (2,))):
        assert sample.pred_vr.video_ids.tolist() in ([100, 101], [101, 100])
        for ranked in (sample.pred_svmr, sample.pred_vcmr):
            assert ranked.moments.shape == (0, 2)
            assert ranked.video_ids.shape == ranked.scores.shape == (0,)
    losses = model(packed(raw), pair_samples(2), mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_video_of_one_clip_among_longer_ones_has_an_empty_svmr_list():
    model = build()
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    samples = ask(model, raw, encode(model, raw))
    assert [len(s.pred_svmr.scores) for s in samples] == [10, 10, 0, 3]
    assert all(102 not in s.pred_vcmr.video_ids for s in samples)


def test_queries_without_a_known_video_get_no_svmr():
    model = build()
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    corpus = encode(model, raw)
    unknown = ask(model, raw, corpus, known=False)
    assert not any('pred_svmr' in sample for sample in unknown)
    assert_same_lists(unknown, ask(model, raw, corpus), ('pred_vr', 'pred_vcmr'))


def test_suppression_takes_effect_in_predictions():
    ranking = dict(num_videos=3, alpha=2.0, min_span=1, max_span=5, num_moments=10)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    model = build(test_cfg=ranking | dict(nms_iou=0.0))
    for sample in ask(model, raw, encode(model, raw)):
        moments = sample.pred_svmr.moments.tolist()
        for a in range(len(moments)):
            for b in range(a):
                overlap = min(moments[a][1], moments[b][1]) - max(moments[a][0], moments[b][0])
                assert overlap <= 0


def test_predict_without_a_corpus_says_which_loop_to_use():
    with pytest.raises(ValueError, match='CorpusValLoop'):
        build()(random_inputs(1, clips=[3], tokens=[2]), pair_samples(1), mode='predict')


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode is 'train'"):
        build()(random_inputs(1, clips=[3], tokens=[2]), mode='train')


def test_the_longest_video_that_the_model_takes():
    inputs = random_inputs(1, clips=[MAX_CLIPS], tokens=[2])
    assert build()(inputs)['start_logits'].shape == (1, MAX_CLIPS)


# Weights.


@pytest.fixture(scope='module')
def paper_model(request):
    cfg = Config.fromfile(request.config.rootpath / 'configs' / 'relocl_tvr.py')
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model)
    torch.manual_seed(0)
    model.init_weights()
    return model


def test_the_model_of_tvr_has_the_papers_number_of_parameters(paper_model):
    assert sum(p.numel() for p in paper_model.parameters()) == 7_765_650


def test_weights_begin_as_in_the_paper(paper_model):
    for name, module in paper_model.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
            # Five standard errors of a mean and of a standard deviation.
            error = 5 * 0.02 / math.sqrt(module.weight.numel())
            assert abs(module.weight.mean().item()) < error, name
            assert abs(module.weight.std().item() - 0.02) < error, name
            if getattr(module, 'bias', None) is not None:
                assert not module.bias.any(), name
        if isinstance(module, torch.nn.LayerNorm):
            assert (module.weight == 1).all(), name
            assert not module.bias.any(), name


def test_convolutions_begin_with_pytorchs_default():
    model = MODELS.build(tiny_model())
    before = copy.deepcopy(model.span_predictor.state_dict())
    model.init_weights()
    for side in ('start_conv', 'end_conv'):
        name = f'{side}.weight'
        assert torch.equal(model.span_predictor.state_dict()[name], before[name])
        # Uniform within 1 / sqrt(fan in) = 1 / sqrt(5).
        assert before[name].abs().max() <= 1 / math.sqrt(5)


# VideoCorpus.


def part(names, lengths, order):
    """A corpus whose rows tell their video and clip."""
    numbers = torch.tensor(order)
    rows = [
        number + torch.arange(length)[:, None] / 10
        for number, length in zip(order, lengths, strict=True)
    ]
    x = torch.cat(rows)
    return VideoCorpus(
        video_names=tuple(names),
        video_ids=numbers * 10,
        seconds_per_clip=numbers + 0.5,
        order=numbers,
        streams=('video', 'subtitle'),
        features=torch.cat([x, -x], 1),
        layout=RowLayout.stack(lengths, lengths),
    )


def assert_same_corpus(found, expected):
    assert found.describe() == expected.describe()
    assert len(found) == len(expected)
    assert found.layout.blocks == expected.layout.blocks
    for name in ('video_ids', 'seconds_per_clip', 'order', 'features'):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_parts_of_a_corpus_merge_sorted_by_length_each_video_once():
    # b and c have as many clips: the first in the data set goes first.
    merged = VideoCorpus.merge(
        [part(['d', 'c'], [2, 3], [3, 2]), part(['a', 'b', 'd'], [4, 3, 2], [0, 1, 3])]
    )
    assert_same_corpus(merged, part(['d', 'b', 'c', 'a'], [2, 3, 3, 4], [3, 1, 2, 0]))
    assert [merged.place_of(v) for v in (30, 10, 20, 0)] == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        merged.place_of(7)


def test_a_corpus_of_one_part_merges_to_itself_sorted():
    merged = VideoCorpus.merge([part(['a', 'b'], [3, 1], [0, 1])])
    assert_same_corpus(merged, part(['b', 'a'], [1, 3], [1, 0]))


def test_rows_of_padding_that_belong_to_a_video_stay_with_it():
    a, b = part(['a'], [4], [0]), part(['b'], [3], [1])
    # The last two rows of a are padding: it has fewer clips than b and takes more rows.
    a = replace(a, layout=RowLayout.stack([2], [4]))
    merged = VideoCorpus.merge([a, b])
    assert merged.video_names == ('b', 'a')
    assert merged.layout.lengths.tolist() == [3, 2]
    assert merged.layout.rows_of_each.tolist() == [3, 4]
    assert torch.equal(merged.features, torch.cat([b.features, a.features]))
    assert merged.describe().num_clips == (3, 2)


def test_a_stream_of_a_corpus_is_its_own_columns():
    corpus = part(['a', 'b'], [1, 2], [1, 2])
    torch.testing.assert_close(corpus.stream('video'), torch.tensor([[1.0], [2.0], [2.1]]))
    torch.testing.assert_close(corpus.stream('subtitle'), -corpus.stream('video'))
