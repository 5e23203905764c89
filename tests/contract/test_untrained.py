"""What every model without weights must do; each is built from its config."""

import pytest
import torch
from retrievers import (
    UNTRAINED,
    ask,
    assert_same_lists,
    build_untrained,
    encode,
    padded,
    pair_samples,
    predict,
    registered,
    rows_of,
    untrained_inputs,
)
from tiny_corpus import packed

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.untrained import UntrainedModel
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample

EXACT = dict(rtol=1e-5, atol=1e-6)


@pytest.fixture(params=UNTRAINED)
def config(request):
    return request.param


def test_every_registered_model_without_weights_is_tested_here():
    built = {type(build_untrained(config)).__name__ for config in UNTRAINED}
    assert built == registered(UntrainedModel)


def test_it_has_no_weights(config):
    assert not list(build_untrained(config).parameters())


def test_predictions_do_not_depend_on_padding_or_neighbours(config):
    model, raw = build_untrained(config), untrained_inputs()
    corpus = encode(model, raw)
    expected = ask(model, raw, corpus)
    one_by_one = []
    for i in range(4):
        sample = [MomentDataSample(metainfo=dict(query_id=i, video_id=100 + i))]
        one_by_one += predict(model, rows_of(raw, [i]), sample, corpus)
    assert_same_lists(one_by_one, expected)
    assert_same_lists(ask(model, padded(raw, 3, 4), corpus), expected)
    assert_same_lists(ask(model, raw, encode(model, raw, (1, 1, 1, 1))), expected)


@pytest.mark.parametrize('sizes', [(1, 1, 1, 1), (3, 1), (2, 2)])
def test_a_corpus_encoded_in_batches_equals_one_encoded_at_once(config, sizes):
    model, raw = build_untrained(config), untrained_inputs()
    whole, parts = encode(model, raw), encode(model, raw, sizes)
    assert parts.describe() == whole.describe()
    torch.testing.assert_close(parts.rows, whole.rows, **EXACT)


def test_a_saved_corpus_gives_the_lists_of_the_encoded_one(config, tmp_path):
    model, raw = build_untrained(config), untrained_inputs()
    corpus = encode(model, raw)
    corpus.save(tmp_path / 'corpus', model_checksum=model.checksum())
    loaded = EncodedCorpus.load(tmp_path / 'corpus', model_checksum=model.checksum())
    assert_same_lists(ask(model, raw, loaded), ask(model, raw, corpus))


def test_models_of_other_rows_do_not_share_a_saved_corpus():
    names = 'nearest_clip_anet_text.py', 'nearest_sentence_anet_text.py', 'chance_anet_text.py'
    assert len({build_untrained(name).checksum() for name in names}) == 3
    assert build_untrained(names[0]).checksum() == build_untrained(names[0]).checksum()


def test_queries_without_a_known_video_get_no_svmr(config):
    model, raw = build_untrained(config), untrained_inputs()
    corpus = encode(model, raw)
    unknown = ask(model, raw, corpus, known=False)
    assert not any('pred_svmr' in sample for sample in unknown)
    assert_same_lists(unknown, ask(model, raw, corpus), ('pred_vr', 'pred_vcmr'))


def test_suppression_takes_effect_in_predictions(config):
    model = build_untrained(config, test_cfg=dict(num_videos=3, num_moments=10, nms_iou=0.0))
    raw = untrained_inputs()
    for sample in ask(model, raw, encode(model, raw)):
        moments = sample.pred_svmr.moments.tolist()
        for a in range(len(moments)):
            for b in range(a):
                overlap = min(moments[a][1], moments[b][1]) - max(moments[a][0], moments[b][0])
                assert overlap <= 0


def test_there_is_nothing_to_train(config):
    model = build_untrained(config)
    with pytest.raises(InputError, match=r'has nothing to train; evaluate it with tools/test\.py'):
        model(packed(untrained_inputs()), pair_samples(4), mode='loss')


def test_predict_without_a_corpus_says_which_loop_to_use(config):
    with pytest.raises(ValueError, match='CorpusValLoop'):
        build_untrained(config)(packed(untrained_inputs()), pair_samples(4), mode='predict')
