"""What every retriever must do, whatever it computes; each is built from its config."""

import math

import pytest
import torch
from retrievers import (
    BOTH,
    CLIPS,
    CONFIGS,
    EXACT,
    SPANS,
    START_AND_END,
    SUBTITLE,
    TOKENS,
    VIDEO,
    ask,
    assert_same_lists,
    build,
    encode,
    losses_and_gradients,
    padded,
    pair_samples,
    predict,
    registered,
    rows_of,
    sequences_of,
)
from tiny_corpus import MAX_CLIPS, packed, random_inputs, raw_inputs

from reloclnet_mm.models.base import CorpusRetriever
from reloclnet_mm.models.data_preprocessors import MomentDataPreprocessor
from reloclnet_mm.retrieval.similarity import video_scores
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample

PADDINGS = [(config, 'independent') for config in CONFIGS]
PADDINGS += [(config, 'official') for config in START_AND_END]


def near(config):
    """How near gradients are; log probabilities of spans are sums of larger numbers than logits."""
    return EXACT if config in START_AND_END else dict(rtol=1e-4, atol=2e-5)


@pytest.fixture(params=CONFIGS)
def config(request):
    return request.param


def test_every_registered_retriever_is_tested_here():
    assert {type(build(config)).__name__ for config in CONFIGS} == registered(CorpusRetriever)


@pytest.mark.parametrize('streams', [BOTH, VIDEO, SUBTITLE])
def test_outputs_do_not_depend_on_padding(config, streams):
    model = build(config, streams=streams, max_clips=12, max_tokens=9)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)
    with torch.no_grad():
        found, expected = model(packed(padded(raw, 3, 4))), model(packed(raw))
    torch.testing.assert_close(found['video_scores'], expected['video_scores'], **EXACT)
    for name in ('start_logits', 'end_logits'):
        valid = raw['clip_mask']
        torch.testing.assert_close(found[name][:, :8][valid], expected[name][valid], **EXACT)
        assert (found[name][:, 8:] == torch.finfo(torch.float32).min).all()


def test_outputs_do_not_depend_on_the_neighbours_in_the_batch(config):
    model = build(config)
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


def test_losses_of_spans_do_not_depend_on_padding(config):
    model = build(config, max_clips=12, max_tokens=9)
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


@pytest.mark.parametrize('slack', [0, 0.125, 1])
@pytest.mark.parametrize('streams', [BOTH, VIDEO])
def test_a_packed_batch_computes_what_the_padded_one_does(config, streams, slack):
    model = build(config, streams=streams)
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
    expected = losses_and_gradients(model, packed(raw), SPANS)
    torch.testing.assert_close(found, expected, **near(config))


@pytest.mark.parametrize('slack', [0, 0.125, 1])
def test_queries_of_one_video_share_its_rows_and_have_the_same_losses(config, slack):
    model = build(config)
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
    expected = losses_and_gradients(model, packed(raw), SPANS)
    torch.testing.assert_close(found, expected, **near(config))


@pytest.mark.parametrize(('config', 'padding'), PADDINGS, indirect=['config'])
def test_training_computes_what_evaluation_does_where_dropout_drops_nothing(config, padding):
    # So small a probability is rounded to 0, but takes the way of training.
    settings = dict(padding=padding, dropout=1e-9, input_dropout=1e-9)
    if config.startswith('relocl_plus'):
        settings |= {f'{part}_encoder': dict(noise=0.0) for part in ('query', 'context')}
    model = build(config, **settings)
    # Of two pairs each has one negative only, so that random numbers choose nothing.
    inputs = random_inputs(2, clips=CLIPS, tokens=TOKENS)
    expected = losses_and_gradients(model, inputs, SPANS[:2])
    found = losses_and_gradients(model.train(), inputs, SPANS[:2])
    # Near the official mask's -10,000 scores have three digits behind the point.
    tolerance = dict(rtol=1e-5, atol=2e-5) if padding == 'official' else near(config)
    torch.testing.assert_close(found, expected, **tolerance)


def test_dropout_acts_in_training_only(config):
    model = build(config, dropout=0.3, input_dropout=0.3)
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    with torch.no_grad():
        a, b = (model(inputs)['video_scores'] for _ in range(2))
        c, d = (model.train()(inputs)['video_scores'] for _ in range(2))
    assert torch.equal(a, b)
    assert (c - d).abs().max() > 0.01


@pytest.mark.parametrize('streams', [BOTH, VIDEO, SUBTITLE])
def test_predictions_do_not_depend_on_padding_or_neighbours(config, streams):
    model = build(config, streams=streams)
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
def test_a_corpus_encoded_in_batches_equals_one_encoded_at_once(config, sizes):
    model = build(config)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    whole, parts = encode(model, raw), encode(model, raw, sizes)
    assert parts.describe() == whole.describe()
    assert parts.layout.blocks == whole.layout.blocks
    assert torch.equal(parts.positions, whole.positions)
    torch.testing.assert_close(parts.rows, whole.rows, **EXACT)


@pytest.mark.parametrize('padding', ['independent', 'official'])
@pytest.mark.parametrize('num_queries', [1, 4])
@pytest.mark.parametrize('config', START_AND_END, indirect=True)
def test_predictions_are_those_of_the_pair_encoding(config, padding, num_queries):
    """SVMR, VR and VCMR against every span of every video, by way of mode ``tensor``."""
    model = build(
        config,
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
        ),
    )
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    asked = {name: x[:num_queries] if 'query' in name else x for name, x in raw.items()}
    samples = ask(model, asked, encode(model, raw))
    with torch.no_grad():
        queries = model.encode_query(packed(raw))
        rows = model.encode_context(packed(raw))['retrieval']
    scores = video_scores(queries, rows, packed(raw)['clips'].layout)
    for q, sample in enumerate(samples):
        ranked = scores[q].argsort(descending=True)[:3].tolist()
        assert (sample.pred_vr.video_ids - 100).tolist() == ranked
        torch.testing.assert_close(sample.pred_vr.scores, scores[q, ranked], **EXACT)
        relative = scores[q] - scores[q].max()
        every = [x for v in range(4) for x in spans_of_a_pair(model, raw, q, v, float(relative[v]))]
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
    spans = [
        (i, j, start[i] * end[j])
        for i in range(CLIPS[v])
        for j in range(i + 1, min(i + 4, CLIPS[v]))
    ]
    for i, j, product in spans or [(0, CLIPS[v], start[0] * end[CLIPS[v] - 1])]:
        probability = float(product)
        score = probability * math.exp(2.0 * video_score)
        yield score, 100 + v, (i * seconds, j * seconds), probability


@pytest.mark.parametrize('streams', [VIDEO, SUBTITLE])
def test_one_stream_trains_and_predicts(config, streams):
    model = build(config, streams=streams).train()
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS, streams=streams)
    losses = model(packed(raw), pair_samples(4), mode='loss')
    sum(losses.values()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert not any('cross' in name for name, _ in model.named_parameters())
    samples = ask(model.eval(), raw, encode(model, raw))
    assert all(len(s.pred_vr.video_ids) == 3 for s in samples)


def test_a_batch_of_one_has_finite_losses_and_no_ranking_loss(config):
    model = build(config).train()
    inputs = random_inputs(1, clips=[3], tokens=[2])
    losses = model(inputs, pair_samples(1), mode='loss')
    assert losses['loss_rank_query'] == losses['loss_rank_video'] == 0
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_corpus_of_one_video(config):
    model = build(config)
    raw = raw_inputs(1, clips=[4], tokens=[2])
    (sample,) = ask(model, raw, encode(model, raw, (1,)))
    assert sample.pred_vr.video_ids.tolist() == [100]
    # Spans of 1 to 3 clips between 4 clips: 3 + 2 + 1; of 1 to 4 where the last may be inside.
    expected = 10 if model.ranking.span_end == 'inclusive' else 6
    assert len(sample.pred_svmr.moments) == len(sample.pred_vcmr.moments) == expected


def test_a_video_too_short_for_any_span_is_answered_whole(config):
    model = build(config)
    raw = raw_inputs(2, clips=[1, 1], tokens=[2, 2])
    for sample in ask(model, raw, encode(model, raw, (2,))):
        assert sample.pred_vr.video_ids.tolist() in ([100, 101], [101, 100])
        for ranked in (sample.pred_svmr, sample.pred_vcmr):
            # Clips of video i last 1.5 + i seconds.
            expected = [[0, 1.5 + i - 100] for i in ranked.video_ids.tolist()]
            assert ranked.moments.tolist() == expected
        assert len(sample.pred_svmr.moments) == 1
        assert len(sample.pred_vcmr.moments) == 2
    losses = model(packed(raw), pair_samples(2), mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_video_of_one_clip_among_longer_ones_has_one_moment(config):
    model = build(config)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    samples = ask(model, raw, encode(model, raw))
    of_three = 6 if model.ranking.span_end == 'inclusive' else 3
    assert [len(s.pred_svmr.scores) for s in samples] == [10, 10, 1, of_three]
    assert samples[2].pred_svmr.moments.tolist() == [[0.0, 3.5]]


def test_queries_without_a_known_video_get_no_svmr(config):
    model = build(config)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    corpus = encode(model, raw)
    unknown = ask(model, raw, corpus, known=False)
    assert not any('pred_svmr' in sample for sample in unknown)
    assert_same_lists(unknown, ask(model, raw, corpus), ('pred_vr', 'pred_vcmr'))


def test_suppression_takes_effect_in_predictions(config):
    ranking = dict(num_videos=3, alpha=2.0, min_span=1, max_span=5, num_moments=10)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    model = build(config, test_cfg=ranking | dict(nms_iou=0.0))
    for sample in ask(model, raw, encode(model, raw)):
        moments = sample.pred_svmr.moments.tolist()
        for a in range(len(moments)):
            for b in range(a):
                overlap = min(moments[a][1], moments[b][1]) - max(moments[a][0], moments[b][0])
                assert overlap <= 0


def test_predict_without_a_corpus_says_which_loop_to_use(config):
    with pytest.raises(ValueError, match='CorpusValLoop'):
        build(config)(random_inputs(1, clips=[3], tokens=[2]), pair_samples(1), mode='predict')


def test_an_unknown_mode_is_refused(config):
    with pytest.raises(ValueError, match="mode is 'train'"):
        build(config)(random_inputs(1, clips=[3], tokens=[2]), mode='train')


def test_a_saved_corpus_gives_the_lists_of_the_encoded_one(config, tmp_path):
    model = build(config)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    corpus = encode(model, raw)
    corpus.save(tmp_path / 'corpus', model_checksum=model.checksum())
    loaded = EncodedCorpus.load(tmp_path / 'corpus', model_checksum=model.checksum())
    assert_same_lists(ask(model, raw, loaded), ask(model, raw, corpus))


def test_the_checksum_tells_other_weights(config):
    model = build(config)
    assert build(config).checksum() == model.checksum()
    before = model.checksum()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    assert model.checksum() != before


def test_the_loss_decreases_in_training(config):
    model = build(config, dropout=0.0, input_dropout=0.0).train()
    inputs = random_inputs(4, clips=CLIPS, tokens=TOKENS)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    totals = []
    for _ in range(40):
        optimizer.zero_grad()
        torch.manual_seed(1)  # the same negatives at each step
        total = sum(model(inputs, pair_samples(4, SPANS), mode='loss').values())
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


def test_the_order_of_a_batch_changes_nothing(config):
    model = build(config)
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    order = [2, 0, 3, 1]
    shuffled = {name: x[order] for name, x in raw.items()}
    with torch.no_grad():
        found, expected = model(packed(shuffled)), model(packed(raw))
    for name, x in found.items():
        y = expected[name][order]
        torch.testing.assert_close(x, y[:, order] if name == 'video_scores' else y, **EXACT)


def test_twins_are_masked_as_one_video(config):
    model = build(config)
    seen = []
    model.losses = lambda pairs, targets: seen.append(targets.right_videos) or {}
    samples = pair_samples(3, SPANS[:3])
    for sample, source in zip(samples, [7, 8, 7], strict=True):
        sample.set_metainfo(dict(source_id=source))
    model(random_inputs(3, clips=CLIPS, tokens=TOKENS), samples, mode='loss')
    assert seen[0].tolist() == [[True, False, True], [False, True, False], [True, False, True]]
