"""What XML alone computes; the contract suite has what all retrievers share."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DefaultScope
from retrievers import CLIPS, EXACT, TOKENS, VIDEO, build, encode, pair_samples
from tiny_corpus import packed, random_inputs, raw_inputs

from reloclnet_mm.registry import MODELS


@pytest.mark.parametrize(('config', 'streams'), [('xml_tvr.py', None), ('xml_anet_text.py', VIDEO)])
def test_videos_are_scored_on_the_first_block_and_spans_predicted_on_the_last(config, streams):
    model = build(config, **(dict(streams=streams) if streams else {}))
    raw = raw_inputs(4, clips=CLIPS, tokens=TOKENS)
    corpus = encode(model, raw)
    with torch.no_grad():
        blocks = model.encode_clips(packed(raw))
    assert {len(found) for found in blocks.values()} == {2 if streams is None else 3}
    for name, found in blocks.items():
        for use, block in (('retrieval', found[0]), ('localization', found[-1])):
            expected = torch.cat([block.view(4, 8, -1)[i, : CLIPS[i]] for i in (2, 3, 0, 1)])
            torch.testing.assert_close(corpus.rows[use][name], expected, **EXACT)


def test_the_first_block_sees_its_own_stream_only():
    model = build('xml_tvr.py')
    raw = raw_inputs(2, clips=CLIPS, tokens=TOKENS)
    other = raw | dict(subtitle=raw['subtitle'] + 1)
    with torch.no_grad():
        before, after = (model.encode_context(packed(x)) for x in (raw, other))
    assert torch.equal(before['retrieval']['video'], after['retrieval']['video'])
    assert not torch.allclose(before['localization']['video'], after['localization']['video'])


def test_logits_of_stream_heads_are_the_mean_of_one_convolution_a_stream():
    head = MODELS.build(
        dict(type='reloclnet_mm.StreamSpanHead', streams=('video', 'subtitle'), embed_dims=4)
    )
    similarity = {name: torch.randn(3, 7) for name in ('video', 'subtitle')}
    with torch.no_grad():
        start, end = head(similarity, torch.ones(3, 7, dtype=torch.bool))
    for found, convolutions in ((start, head.start_convs), (end, head.end_convs)):
        expected = sum(
            F.conv1d(x[:, None], convolutions[name].weight, padding=2)[:, 0] / 2
            for name, x in similarity.items()
        )
        torch.testing.assert_close(found, expected, **EXACT)


def test_every_parameter_is_trained_by_the_ranking_and_span_losses():
    model = build('xml_tvr.py').train()
    losses = model(random_inputs(4, clips=CLIPS, tokens=TOKENS), pair_samples(4), mode='loss')
    assert set(losses) == {'loss_rank_query', 'loss_rank_video', 'loss_span'}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_number_of_parameters_at_the_size_of_tvr(repository):
    cfg = Config.fromfile(repository / 'configs' / 'xml_tvr.py')
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model)
    d, tokens, clips = 256, 30, 100
    linear, norm = d * d + d, 2 * d
    block, cross = 4 * linear + norm, 3 * linear + norm
    expected = sum(2 * width + width * d + d for width in (3074, 770, 768))  # projections
    expected += (tokens + clips) * d + 2 * norm  # positions
    expected += 5 * block + 2 * cross  # one of the query, two a stream
    expected += 2 * d + 2 * linear + 2 * 5  # pooling, query maps, convolutions
    assert sum(p.numel() for p in model.parameters()) == expected
