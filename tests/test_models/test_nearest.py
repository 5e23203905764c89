"""The nearest rows, against plain loops and lengths worked by hand."""

import json

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from retrievers import CLIPS, TOKENS, ask, build_untrained, encode, untrained_inputs
from tiny_corpus import packed

from reloclnet_mm.errors import InputError
from reloclnet_mm.models import nearest
from reloclnet_mm.models.nearest import NearestClip, NearestSentence, median_moment
from reloclnet_mm.retrieval.sharding import merge_moments, merge_videos

MODELS = ('nearest_clip_anet_text.py', 'nearest_sentence_anet_text.py')


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def naive_moments(raw, query, config):
    """(cosine, video id, start, end) of each row of each video, best first."""
    words = raw['query'][query, : TOKENS[query]].double().numpy().mean(0)
    found = []
    for v, count in enumerate(CLIPS):
        seconds = 1.5 + v  # of a clip, as the tests' corpus has it
        for i in range(count):
            score = cosine(words, raw['subtitle'][v, i].double().numpy())
            if config.startswith('nearest_clip'):
                half = 0.3 * count / 2
                start, end = max(0, i + 0.5 - half) * seconds, min(count, i + 0.5 + half) * seconds
            else:
                start, end = raw['times'][v, i].tolist()
            found.append((score, 100 + v, start, end))
    return sorted(found, reverse=True)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('config', MODELS)
def test_predictions_equal_plain_loops(config, seed):
    raw = untrained_inputs(seed)
    model = build_untrained(config)
    for query, sample in enumerate(ask(model, raw, encode(model, raw))):
        ranked = naive_moments(raw, query, config)
        videos = list(dict.fromkeys(x[1] for x in ranked))[:3]
        assert sample.pred_vr.video_ids.tolist() == videos
        best = [max(x[0] for x in ranked if x[1] == video) for video in videos]
        assert sample.pred_vr.scores.tolist() == pytest.approx(best, abs=1e-6)
        own = [x for x in ranked if x[1] == 100 + query]
        for found, expected in (
            (sample.pred_vcmr, [x for x in ranked if x[1] in videos][:10]),
            (sample.pred_svmr, own[:10]),
        ):
            assert found.video_ids.tolist() == [x[1] for x in expected]
            assert found.scores.tolist() == pytest.approx(
                [(1 + x[0]) / 2 for x in expected], abs=1e-6
            )
            np.testing.assert_allclose(found.moments, [x[2:] for x in expected], rtol=1e-6)


@pytest.mark.parametrize('config', MODELS)
def test_shards_have_the_lists_of_the_whole_corpus(config):
    raw = untrained_inputs()
    model = build_untrained(config)
    corpus = encode(model, raw)
    queries = model.encode_query(packed(raw))
    expected = model.index_corpus(corpus).rank(queries, torch.arange(4), model.ranking)
    shards = [[0, 3], [1, 2]]
    parts = [model.index_corpus(corpus.select(chosen)) for chosen in shards]
    lists = [part.rank(queries, torch.full((4,), -1), model.ranking) for part in parts]
    local = [torch.tensor(chosen) for chosen in shards]
    padding = torch.full((4, 1), -torch.inf)
    scores, places, counts = merge_videos(
        [torch.cat([one.video_scores, padding], 1) for one in lists],
        [
            torch.cat([chosen[one.videos], torch.zeros(4, 1).long()], 1)
            for chosen, one in zip(local, lists, strict=True)
        ],
        3,
    )
    assert torch.equal(places, expected.videos)
    torch.testing.assert_close(scores, expected.video_scores)
    found = []
    for part, chosen, one, count in zip(parts, local, lists, counts, strict=True):
        wanted = torch.arange(2) < count[:, None]
        moments = part.moments.rank(
            queries, one.videos, torch.where(wanted, 1.0, -1.0), model.ranking.spans
        )
        moments.places.copy_(chosen[moments.places])
        found.append(moments)
    merged = merge_moments(found, 10)
    present = merged.scores >= 0
    torch.testing.assert_close(merged.scores, expected.moments.scores)
    assert torch.equal(merged.places[present], expected.moments.places[present])
    torch.testing.assert_close(merged.spans[present], expected.moments.spans[present])


def test_a_length_in_seconds_is_the_same_in_every_video():
    raw = untrained_inputs()
    model = build_untrained(MODELS[0], moment_length=3.0, relative=False)
    for sample in ask(model, raw, encode(model, raw)):
        ranked = sample.pred_vcmr
        numbers = [video - 100 for video in ranked.video_ids.tolist()]
        for number, (start, end) in zip(numbers, ranked.moments.tolist(), strict=True):
            last = CLIPS[number] * (1.5 + number)
            whole = end - start == pytest.approx(3.0)
            assert whole or start == 0 or end == pytest.approx(last)


def test_rows_of_zeros_are_neither_near_nor_far():
    raw = untrained_inputs()
    raw['subtitle'][2] = 0
    model = build_untrained(MODELS[0], test_cfg=dict(num_videos=4, num_moments=30))
    for sample in ask(model, raw, encode(model, raw)):
        silent = sample.pred_vcmr.video_ids == 102
        assert sample.pred_vcmr.scores[silent].tolist() == [0.5]


@pytest.fixture
def reader(tmp_path):
    """Config of the reader of an annotation with moments of 2, 4 and 9 s in videos of 8 and 90."""
    lines = [('a', 1, 3), ('b', 10, 14), ('b', 50, 59)]
    (tmp_path / 'train.jsonl').write_text(
        ''.join(
            json.dumps(dict(desc_id=i, desc='x', vid_name=name, ts=[start, end])) + '\n'
            for i, (name, start, end) in enumerate(lines)
        )
    )
    (tmp_path / 'index.json').write_text('{"train": {"a": [8.0, 0], "b": [90.0, 1]}}')
    return dict(
        type='TVRReader',
        ann_file='train.jsonl',
        video_index='index.json',
        split='train',
        data_root=str(tmp_path),
    )


def test_the_median_is_that_of_the_moments_or_of_their_shares(reader):
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        assert median_moment(reader, relative=False) == 4
        # 2 / 8, 4 / 90, 9 / 90
        assert median_moment(reader, relative=True) == pytest.approx(0.1)


def test_the_median_is_logged_with_the_whole_path_of_the_annotation(reader, monkeypatch):
    said = []
    monkeypatch.setattr(nearest, 'print_log', lambda text, logger: said.append(text))
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        median_moment(reader, relative=False)
    assert said == [f'{reader["data_root"]}/train.jsonl: the median moment takes 4 s']


def test_an_encoded_corpus_belongs_to_the_times_of_its_sentences():
    first, second = (build_untrained(MODELS[1], times=x).checksum() for x in ('times', 'late'))
    assert first != second
    assert first == build_untrained(MODELS[1]).checksum()


def test_an_index_takes_the_length_from_the_annotation(reader):
    raw = untrained_inputs()
    model = build_untrained(MODELS[0], moment_length=None, reader=reader, relative=False)
    given = build_untrained(MODELS[0], moment_length=4.0, relative=False)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        index = model.index_corpus(encode(model, raw))
    assert torch.equal(index.moments.spans, given.index_corpus(encode(given, raw)).moments.spans)


def test_an_annotation_without_moments_is_refused(reader, tmp_path):
    (tmp_path / 'train.jsonl').write_text('{"desc_id": 1, "desc": "x", "vid_name": "a"}\n')
    with (
        DefaultScope.overwrite_default_scope('reloclnet_mm'),
        pytest.raises(InputError, match=r'train\.jsonl: no query has a moment'),
    ):
        median_moment(reader, relative=True)


@pytest.mark.parametrize('given', [{}, dict(moment_length=0.2, reader=dict(type='TVRReader'))])
def test_one_of_length_and_reader_is_expected(given):
    with pytest.raises(ValueError, match='expected moment_length, or reader'):
        NearestClip(streams=dict(subtitle=4), **given)


def test_a_share_of_more_than_the_video_is_refused():
    with pytest.raises(ValueError, match='NearestClip: moment_length is 30'):
        NearestClip(streams=dict(subtitle=4), moment_length=30.0)


def test_streams_of_unequal_width_are_refused():
    with pytest.raises(ValueError, match='expected one width or more, all equal'):
        NearestSentence(streams=dict(video=6, subtitle=4))


def test_queries_of_another_width_than_the_streams_are_refused():
    raw = untrained_inputs()
    model = build_untrained(MODELS[0], streams=dict(subtitle=9))
    with pytest.raises(InputError, match='query features are 4 wide and the model was built for 9'):
        model.encode_query(packed(raw))
    with pytest.raises(InputError, match='subtitle features are 4 wide'):
        encode(model, raw)


def test_a_batch_without_times_is_refused():
    raw = untrained_inputs()
    del raw['times']
    with pytest.raises(InputError, match="has a stream 'times' and the batch has none"):
        encode(build_untrained(MODELS[1]), raw)


def test_the_score_of_a_video_is_the_mean_over_streams_of_its_best_rows():
    raw = untrained_inputs()
    raw['video'] = raw['subtitle'].flip(1) * raw['clip_mask'][..., None]
    model = build_untrained(MODELS[0], streams=dict(subtitle=4, video=4))
    words = torch.stack([x[:n].mean(0) for x, n in zip(raw['query'], TOKENS, strict=True)])
    units = torch.nn.functional.normalize(words, dim=1)
    for query, sample in enumerate(ask(model, raw, encode(model, raw))):
        for video, score in zip(
            sample.pred_vr.video_ids.tolist(), sample.pred_vr.scores.tolist(), strict=True
        ):
            best = [
                max(
                    float(torch.nn.functional.cosine_similarity(units[query], row, dim=0))
                    for row in raw[name][video - 100, : CLIPS[video - 100]]
                )
                for name in ('subtitle', 'video')
            ]
            assert score == pytest.approx(sum(best) / 2, abs=1e-6)
