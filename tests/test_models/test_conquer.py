import math

import pytest
import torch
import torch.nn.functional as F
from retrievers import CLIPS, EXACT
from second_stages import (
    CANDIDATES,
    STREAMS,
    build_conquer,
    conquer_settings,
    loaded_batch,
    raw_batch,
)

from reloclnet_mm.models import SpanLoss, VideoChoiceLoss
from reloclnet_mm.models.data_preprocessors import PairDataPreprocessor
from reloclnet_mm.models.interaction import AttentionFlow, NetVLAD, trilinear_similarity
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.pair_scores import score_places

VIDEO = dict(video=STREAMS['video'])
SUBTITLE = dict(subtitle=STREAMS['subtitle'])
SCORINGS = ('general', 'exclusive', 'disjoint')


def score(model, batch, **settings):
    inputs = PairDataPreprocessor(**settings)(batch)['inputs']
    with torch.no_grad():
        return model(inputs, mode='tensor')


def losses_and_gradients(model, batch, **settings):
    data = PairDataPreprocessor(**settings)(batch)
    model.zero_grad()
    losses = model(data['inputs'], data['data_samples'], mode='loss')
    sum(losses.values()).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return {name: x.detach() for name, x in losses.items()}, gradients


def test_the_similarity_is_that_of_the_concatenated_vectors():
    generator = torch.Generator().manual_seed(0)
    clips, tokens = (torch.randn(2, n, 5, generator=generator) for n in (4, 3))
    weight = torch.randn(15, generator=generator)
    x, q = clips[:, :, None].expand(-1, -1, 3, -1), tokens[:, None].expand(-1, 4, -1, -1)
    expected = torch.cat([x, q, x * q], 3) @ weight
    torch.testing.assert_close(trilinear_similarity(clips, tokens, weight), expected)


def test_the_attention_flow_is_that_of_each_pair_by_itself():
    torch.manual_seed(0)
    flow = AttentionFlow(3)
    clips, tokens = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    clip_mask = torch.tensor([[True] * 4, [True, True, False, False]])
    token_mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    found = flow(clips, tokens, clip_mask, token_mask)
    for pair, (length, count) in enumerate(((4, 5), (2, 3))):
        x, q = clips[pair, :length], tokens[pair, :count]
        for i in range(length):
            row = torch.stack([flow.similarity(torch.cat([x[i], t, x[i] * t])) for t in q])
            words = row.flatten().softmax(0) @ q
            torch.testing.assert_close(found[pair, i, 3:6], words)
            torch.testing.assert_close(found[pair, i, 6:9], x[i] * words)
        largest = torch.stack(
            [torch.stack([flow.similarity(torch.cat([a, t, a * t])) for t in q]).max() for a in x]
        )
        torch.testing.assert_close(found[pair, :length, 9:], x * (largest.softmax(0) @ x))


def test_netvlad_by_hand_and_without_rows_that_do_not_count():
    pooling = NetVLAD(2, 2)
    with torch.no_grad():
        pooling.clusters.copy_(torch.eye(2))
        pooling.centers.zero_()
    # LayerNorm of two numbers gives ±1 but for its eps, and the softmax of these 0.88 and 0.12.
    x = torch.tensor([[[3.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    near, far = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))
    residual = torch.tensor([[3 * near, 3 * far], [far, near]])
    expected = F.normalize(residual, dim=0).flatten() / math.sqrt(2)
    torch.testing.assert_close(pooling(x, mask)[0], expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(pooling(x[:, :2], None), pooling(x, mask))


def test_shared_normalization_is_one_softmax_over_the_clips_of_all_videos():
    # 3 videos of 2 clips; the moment is clip 1 of the first.
    start = torch.tensor([[[0.0, math.log(2)], [0.0, 0.0], [math.log(3), 0.0]]])
    end = torch.zeros(1, 3, 2)
    loss = SpanLoss(0.01)(start.flatten(1), end.flatten(1), torch.tensor([[1, 1]]))
    assert loss.item() == pytest.approx(0.01 * (math.log(9 / 2) + math.log(6)))


def test_the_loss_of_video_scores_by_hand():
    scores = torch.tensor([[math.log(2), 0.0, 0.0], [0.0, 0.0, 0.0]])
    loss = VideoChoiceLoss(0.05)(scores)
    assert loss.item() == pytest.approx(0.05 * (math.log(2) + math.log(3)) / 2)


@pytest.mark.parametrize('scoring', SCORINGS)
@pytest.mark.parametrize('streams', [STREAMS, VIDEO, SUBTITLE])
def test_each_pair_is_scored_as_if_it_were_alone(scoring, streams):
    model, raw = build_conquer(scoring, streams), raw_batch(streams)
    together = score(model, loaded_batch(raw))
    assert ('video_scores' in together) == (scoring == 'exclusive')
    for q, videos in enumerate(CANDIDATES):
        for column, video in enumerate(videos):
            pair = {q: [video]}
            alone = score(model, loaded_batch(raw, pair, [q]))
            for name, x in alone.items():
                found = together[name][q, column]
                if x.dim() == 3:
                    assert (found[CLIPS[video] :] == torch.finfo(torch.float32).min).all()
                    found = found[: CLIPS[video]]
                torch.testing.assert_close(found, x[0, 0], rtol=1e-4, atol=1e-5)


def test_pairs_are_scored_a_few_at_a_time_as_they_are_together():
    model = build_conquer('exclusive')
    inputs = PairDataPreprocessor()(loaded_batch(raw_batch()))['inputs']
    layout, places = inputs['clips'].layout, inputs['clips'].places.clone()
    places[1, 2] = -1
    with torch.no_grad():
        words = model.encode_words(inputs)
        rows = model.encode_context(inputs)['interaction']
        few, many = (
            score_places(model, words, rows, layout, places, num_clips=9, pairs_at_once=count)
            for count in (2, 100)
        )
    for x, y in zip(vars(few).values(), vars(many).values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
        assert (x[1, 2] == torch.finfo(torch.float32).min).all()
    assert few.start_logits.shape == (4, 3, 9)


@pytest.mark.parametrize('settings', [dict(slack=0), dict(slack=1), dict(pad_clips_to=11)])
def test_how_a_batch_is_packed_changes_nothing(settings):
    model, batch = build_conquer('exclusive'), loaded_batch(raw_batch())
    expected, found = score(model, batch), score(model, batch, pad_tokens_to=8, **settings)
    for name, x in expected.items():
        y = found[name][..., : x.shape[2]] if x.dim() == 3 else found[name]
        torch.testing.assert_close(y, x, **EXACT)
    found = losses_and_gradients(model, batch, pad_tokens_to=8, **settings)
    torch.testing.assert_close(found, losses_and_gradients(model, batch), **EXACT)


def test_padding_matters_where_the_original_is_asked_for():
    batch = loaded_batch(raw_batch())
    model = build_conquer('exclusive', padding='official')
    expected = score(model, batch, slack=1)
    for more in (dict(pad_tokens_to=9), dict(pad_clips_to=12)):
        found = score(model, batch, slack=1, **more)
        assert (found['video_scores'] - expected['video_scores']).abs().max() > 1e-3


def test_a_video_that_several_queries_bring_is_encoded_once():
    data = PairDataPreprocessor(slack=0)(loaded_batch(raw_batch()))
    clips = data['inputs']['clips']
    assert clips.layout.num_rows == sum(CLIPS)
    assert clips.places.shape == (4, 3)
    # Sorted by length: 8, 5, 3 and 1 clips.
    order = {1: 0, 0: 1, 3: 2, 2: 3}
    assert clips.places.tolist() == [[order[v] for v in videos] for videos in CANDIDATES]


def test_training_computes_what_evaluation_does_where_dropout_drops_nothing():
    # So small a probability is rounded to 0, but takes the way of training.
    model = build_conquer('exclusive', dropout=1e-9, input_dropout=1e-9)
    batch = loaded_batch(raw_batch())
    expected = losses_and_gradients(model, batch)
    torch.testing.assert_close(losses_and_gradients(model.train(), batch), expected, **EXACT)


def test_the_loss_decreases_in_training():
    model = build_conquer('exclusive', dropout=0.0, input_dropout=0.0).train()
    data = PairDataPreprocessor()(loaded_batch(raw_batch()))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    totals = []
    for _ in range(30):
        optimizer.zero_grad()
        total = sum(model(data['inputs'], data['data_samples'], mode='loss').values())
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(scoring='product'), "scoring is 'product', expected 'general'"),
        (dict(loss_video=dict(type='reloclnet_mm.VideoChoiceLoss')), "scores with 'exclusive'"),
        (dict(video_head=dict(type='reloclnet_mm.PairVideoHead')), "a head with 'exclusive'"),
        (dict(streams=dict(a=3, b=4, c=5)), 'expected one or two'),
        (dict(embed_dims=15), 'not a multiple of num_heads'),
        (dict(padding='none'), "padding is 'none'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(conquer_settings() | settings)


def test_a_second_stage_does_not_predict_by_itself():
    with pytest.raises(ValueError, match='part of a TwoStageRetriever'):
        build_conquer()({}, [], mode='predict')
