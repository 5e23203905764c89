"""The whole model: what its predictions depend on, and odd shapes of input."""

import copy
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny_corpus import CHANNELS, MAX_CLIPS, random_inputs, tiny_model

from reloclnet_mm.models.ranking import video_scores
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import MomentDataSample, VideoCorpus

CLIPS, TOKENS = [5, 8, 1, 3], [4, 2, 1, 3]
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


def padded(inputs, clips, tokens):
    """More rows of padding, filled with noise that no result may show."""

    def extend(x, rows):
        noise = torch.ones_like(x[:, :1]).expand(-1, rows, *x.shape[2:]) * 7
        return torch.cat([x, noise if x.dtype != torch.bool else noise * 0 > 1], 1)

    return {
        name: extend(x, tokens if name.startswith('query') else clips) for name, x in inputs.items()
    }


def rows_of(inputs, chosen):
    """Some samples by themselves, padded no more than they need."""
    tokens = int(inputs['query_mask'][chosen].sum(1).max())
    clips = int(inputs['clip_mask'][chosen].sum(1).max())
    return {
        name: x[chosen][:, : tokens if name.startswith('query') else clips]
        for name, x in inputs.items()
    }


def pair_samples(batch, spans=None):
    spans = spans or [[0, 0]] * batch
    return [
        MomentDataSample(metainfo=dict(video_id=i, query_id=i), gt_span=torch.tensor(spans[i]))
        for i in range(batch)
    ]


def corpus_batches(model, inputs, sizes):
    """The videos of a batch as a corpus loader yields them, in batches of these sizes."""
    first = 0
    for size in sizes:
        numbers = range(first, first + size)
        lengths = inputs['clip_mask'].sum(1).tolist()
        yield dict(
            inputs={
                name: [inputs[name][i, : lengths[i]] for i in numbers]
                for name in model.context_encoder.streams
            },
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


def encode(model, inputs, sizes=(4,)):
    return model.encode_corpus(corpus_batches(model, inputs, sizes))


def ask(model, inputs, corpus, known=True):
    samples = [
        MomentDataSample(metainfo=dict(query_id=i, **(dict(video_id=100 + i) if known else {})))
        for i in range(len(inputs['query']))
    ]
    with torch.no_grad():
        return model(inputs, samples, mode='predict', corpus=corpus)


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
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)
    with torch.no_grad():
        found, expected = model(padded(inputs, 3, 4)), model(inputs)
    torch.testing.assert_close(found['video_scores'], expected['video_scores'], **EXACT)
    for name in ('start_logits', 'end_logits'):
        valid = inputs['clip_mask']
        torch.testing.assert_close(found[name][:, :8][valid], expected[name][valid], **EXACT)
        assert (found[name][:, 8:] == torch.finfo(torch.float32).min).all()


def test_outputs_do_not_depend_on_the_neighbours_in_the_batch():
    model = build()
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    with torch.no_grad():
        together = model(inputs)
        for i in range(4):
            alone = model(rows_of(inputs, [i]))
            torch.testing.assert_close(
                alone['video_scores'][0, 0], together['video_scores'][i, i], **EXACT
            )
            for name in ('start_logits', 'end_logits'):
                torch.testing.assert_close(alone[name][0], together[name][i, : CLIPS[i]], **EXACT)


def test_losses_of_spans_do_not_depend_on_padding():
    model = build(max_clips=12, max_query_tokens=9)
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    spans = [[1, 3], [0, 7], [0, 0], [2, 2]]
    losses = []
    for given in (inputs, padded(inputs, 3, 4)):
        torch.manual_seed(5)
        with torch.no_grad():
            losses.append(model(given, pair_samples(4, spans), mode='loss'))
    torch.testing.assert_close(losses[0], losses[1], **EXACT)


def test_the_official_mode_does_depend_on_padding_near_the_end_as_documented():
    model = build(padding='official', max_clips=12, max_query_tokens=9)
    inputs = random_inputs(1, clips=[8], tokens=[4])
    with torch.no_grad():
        alone, longer = model(inputs), model(padded(inputs, 3, 0))
    difference = (longer['start_logits'][0, :8] - alone['start_logits'][0]).abs()
    assert difference[-1] > 1e-2
    # The convolution of width 5 reaches two clips back.
    assert difference[:6].max() < 1e-5


@pytest.mark.parametrize('streams', [BOTH, VIDEO, SUBTITLE])
def test_predictions_do_not_depend_on_padding_or_neighbours(streams):
    model = build(streams=streams)
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)
    corpus = encode(model, inputs)
    expected = ask(model, inputs, corpus)
    queries = {name: inputs[name] for name in ('query', 'query_mask')}
    one_by_one = []
    for i in range(4):
        alone = {name: x[i : i + 1, : TOKENS[i]] for name, x in queries.items()}
        sample = [MomentDataSample(metainfo=dict(query_id=i, video_id=100 + i))]
        with torch.no_grad():
            one_by_one += model(alone, sample, mode='predict', corpus=corpus)
    assert_same_lists(one_by_one, expected)
    assert_same_lists(ask(model, inputs, encode(model, inputs, (1, 1, 1, 1))), expected)


@pytest.mark.parametrize('sizes', [(1, 1, 1, 1), (3, 1), (1, 3), (2, 2)])
def test_a_corpus_encoded_in_batches_equals_one_encoded_at_once(sizes):
    model = build()
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    whole, parts = encode(model, inputs), encode(model, inputs, sizes)
    assert parts.describe() == whole.describe()
    assert torch.equal(parts.clip_mask, whole.clip_mask)
    for name, expected in whole.features.items():
        valid = whole.clip_mask
        torch.testing.assert_close(parts.features[name][valid], expected[valid], **EXACT)


def test_predictions_are_those_of_the_pair_encoding():
    """SVMR, VR and VCMR against every span of every video, by way of mode ``tensor``."""
    model = build(test_cfg=dict(num_videos=4, alpha=2.0, min_span=1, max_span=4, num_moments=12))
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    samples = ask(model, inputs, encode(model, inputs))
    with torch.no_grad():
        queries = model.encode_query(inputs)
        levels = {name: x[-1] for name, x in model.encode_context(inputs).items()}
    scores = video_scores(queries, levels, inputs['clip_mask'])
    for q, sample in enumerate(samples):
        assert (sample.pred_vr.video_ids - 100).tolist() == scores[q].argsort(
            descending=True
        ).tolist()
        every = []
        for v in range(4):
            pair = {name: x[[v]] for name, x in inputs.items()}
            pair |= {name: inputs[name][[q]] for name in ('query', 'query_mask')}
            with torch.no_grad():
                out = model(pair)
            start, end = out['start_logits'][0].softmax(0), out['end_logits'][0].softmax(0)
            for i in range(CLIPS[v]):
                for j in range(i + 1, min(i + 4, CLIPS[v])):
                    probability = float(start[i] * end[j])
                    seconds = 1.5 + v
                    every.append(
                        (
                            probability * math.exp(2.0 * float(scores[q, v])),
                            100 + v,
                            (i * seconds, j * seconds),
                            probability,
                        )
                    )
        every.sort(reverse=True)
        assert sample.pred_vcmr.video_ids.tolist() == [x[1] for x in every[:12]]
        found = [tuple(x) for x in sample.pred_vcmr.moments.tolist()]
        assert found == [x[2] for x in every[:12]]
        torch.testing.assert_close(
            sample.pred_vcmr.scores.tolist(), [x[0] for x in every[:12]], rtol=1e-4, atol=0
        )
        own = sorted(((x[3], x[2]) for x in every if x[1] == 100 + q), reverse=True)[:12]
        assert [tuple(x) for x in sample.pred_svmr.moments.tolist()] == [x[1] for x in own]
        assert set(sample.pred_svmr.video_ids.tolist()) <= {100 + q}


# Odd shapes.


@pytest.mark.parametrize('streams', [VIDEO, SUBTITLE])
def test_one_stream_trains_and_predicts(streams):
    model = build(streams=streams).train()
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)
    losses = model(inputs, pair_samples(4), mode='loss')
    sum(losses.values()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert not any('cross' in name for name, _ in model.named_parameters())
    samples = ask(model.eval(), inputs, encode(model, inputs))
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
    inputs = random_inputs(1, clips=[4], tokens=[2])
    (sample,) = ask(model, inputs, encode(model, inputs, (1,)))
    assert sample.pred_vr.video_ids.tolist() == [100]
    # Spans of 1 to 3 clips between 4 clips: 3 + 2 + 1.
    assert len(sample.pred_svmr.moments) == len(sample.pred_vcmr.moments) == 6


def test_videos_of_one_clip_have_no_moment_and_do_no_harm():
    model = build()
    inputs = random_inputs(2, clips=[1, 1], tokens=[2, 2])
    for sample in ask(model, inputs, encode(model, inputs, (2,))):
        assert sample.pred_vr.video_ids.tolist() in ([100, 101], [101, 100])
        for ranked in (sample.pred_svmr, sample.pred_vcmr):
            assert ranked.moments.shape == (0, 2)
            assert ranked.video_ids.shape == ranked.scores.shape == (0,)
    losses = model(inputs, pair_samples(2), mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_video_of_one_clip_among_longer_ones_has_an_empty_svmr_list():
    model = build()
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    samples = ask(model, inputs, encode(model, inputs))
    assert [len(s.pred_svmr.scores) for s in samples] == [10, 10, 0, 3]
    assert all(102 not in s.pred_vcmr.video_ids for s in samples)


def test_queries_without_a_known_video_get_no_svmr():
    model = build()
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    corpus = encode(model, inputs)
    unknown = ask(model, inputs, corpus, known=False)
    assert not any('pred_svmr' in sample for sample in unknown)
    assert_same_lists(unknown, ask(model, inputs, corpus), ('pred_vr', 'pred_vcmr'))


def test_suppression_takes_effect_in_predictions():
    ranking = dict(num_videos=3, alpha=2.0, min_span=1, max_span=5, num_moments=10)
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    model = build(test_cfg=ranking | dict(nms_iou=0.0))
    for sample in ask(model, inputs, encode(model, inputs)):
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
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    numbers = torch.tensor(order)
    rows = numbers[:, None, None] + torch.arange(longest)[None, :, None] / 10
    return VideoCorpus(
        video_names=tuple(names),
        video_ids=numbers * 10,
        seconds_per_clip=numbers + 0.5,
        features=dict(video=rows * mask[..., None]),
        clip_mask=mask,
        order=numbers,
    )


def test_parts_of_a_corpus_merge_in_order_each_video_once():
    merged = VideoCorpus.merge(
        [part(['d', 'b'], [2, 3], [3, 1]), part(['a', 'c', 'd'], [1, 4, 2], [0, 2, 3])]
    )
    whole = part(['a', 'b', 'c', 'd'], [1, 3, 4, 2], [0, 1, 2, 3])
    assert merged.describe() == whole.describe()
    assert len(merged) == 4
    for name in ('video_ids', 'seconds_per_clip', 'clip_mask', 'order'):
        assert torch.equal(getattr(merged, name), getattr(whole, name))
    torch.testing.assert_close(merged.features['video'], whole.features['video'])
    assert [merged.row_of(v) for v in (0, 10, 20, 30)] == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        merged.row_of(7)


def test_a_corpus_of_one_part_merges_to_itself():
    whole = part(['a', 'b'], [1, 3], [0, 1])
    merged = VideoCorpus.merge([whole])
    assert merged.describe() == whole.describe()
    assert torch.equal(merged.features['video'], whole.features['video'])
