"""How features are made."""

import numpy as np
import pytest
from small_videos import grey, write_video
from tiny_encoder import WIDTH, write_tiny_encoder
from tiny_image_encoder import write_tiny_clip
from tiny_inferencer import write_srt

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction import FeatureRecipe
from reloclnet_mm.registry import EXTRACTORS


@pytest.fixture
def spoken(tmp_path):
    (tmp_path / 'text').mkdir()
    folder = write_tiny_encoder(tmp_path / 'text')
    return dict(type='TextFeatures', encoder=str(folder), max_tokens=24)


def recipe(**changes):
    return EXTRACTORS.build(dict(type='FeatureRecipe', clip_length=2.0, **changes))


def test_a_recipe_is_built_from_a_config_of_any_scope(spoken):
    built = EXTRACTORS.build(
        dict(
            type='reloclnet_mm.FeatureRecipe', clip_length=2.0, streams=dict(a=spoken), query=spoken
        )
    )
    assert isinstance(built, FeatureRecipe)


def test_equal_extractors_are_one(spoken):
    built = recipe(streams=dict(a=spoken), query=dict(spoken))
    assert built.streams['a'] is built.query
    assert recipe(streams=dict(a=dict(spoken, pool='max')), query=spoken).query is not None


def test_clips_have_the_mean_of_the_tokens_of_their_sentences(tmp_path, spoken):
    built = recipe(streams=dict(subtitle=spoken), query=spoken)
    content = built.read(write_srt(tmp_path / 'talk.srt', 2, seconds=3.0))
    rows = built.extract(content).streams['subtitle']
    one, two = built.encode_queries([x.text for x in content.sentences])
    both = np.concatenate([one, two]).mean(0)
    # Sentences of 0 to 3 and 3 to 6 s, clips of 2 s.
    np.testing.assert_allclose(rows, [one.mean(0), both, two.mean(0)], rtol=1e-5, atol=1e-6)


def test_pictures_and_words_have_a_row_a_clip_each_and_zeros_where_one_is_absent(tmp_path, spoken):
    (tmp_path / 'clip').mkdir()
    clip = write_tiny_clip(tmp_path / 'clip')
    frames = dict(type='FrameFeatures', encoder=str(clip), fps=2.0)
    queries = dict(type='ImageTextQueries', encoder=str(clip))
    built = recipe(streams=dict(video=frames, subtitle=spoken), query=queries)
    video = write_video(tmp_path / 'talk.mp4', [grey(20 * x) for x in range(10)], fps=2)
    silent = built.extract(built.read(video)).streams
    assert silent['video'].shape == (3, built.query.width)
    assert silent['subtitle'].shape == (3, WIDTH)
    assert not silent['subtitle'].any()
    write_srt(tmp_path / 'talk.srt', 1)
    both = built.extract(built.read(video)).streams
    np.testing.assert_array_equal(both['video'], silent['video'])
    assert both['subtitle'][:2].any()
    text = built.extract(built.read(write_srt(tmp_path / 'alone.srt', 2))).streams
    assert len(text['video']) == len(text['subtitle']) == 4
    assert not text['video'].any()


def test_a_video_with_nothing_to_make_features_of_is_refused(tmp_path, spoken):
    built = recipe(streams=dict(subtitle=spoken), query=spoken)
    video = write_video(tmp_path / 'talk.mp4', [grey(9)] * 10)
    with pytest.raises(InputError, match='found no sentences, of which subtitle would be made'):
        built.extract(built.read(video))


def test_identity_changes_with_what_features_depend_on(tmp_path, spoken):
    base = recipe(streams=dict(a=spoken), query=spoken).identity()
    assert base == recipe(streams=dict(a=spoken), query=spoken, device='cpu').identity()
    for changes in (dict(max_tokens=12), dict(pool='max')):
        other = recipe(streams=dict(a=dict(spoken, **changes)), query=spoken).identity()
        assert other['streams'] != base['streams']
        assert other['query'] == base['query']


@pytest.mark.parametrize('clip_length', [0, -1.0, float('nan')])
def test_a_clip_must_last(clip_length, spoken):
    with pytest.raises((ValueError, InputError), match='clip_length'):
        FeatureRecipe(clip_length=clip_length, streams=dict(a=spoken), query=spoken)


def test_a_long_video_is_pooled_as_a_whole_one_would_be(tmp_path, spoken, monkeypatch):
    built = recipe(streams=dict(subtitle=spoken), query=spoken)
    content = built.read(write_srt(tmp_path / 'talk.srt', 40, seconds=3.3))
    whole = built.extract(content).streams['subtitle']
    monkeypatch.setattr('reloclnet_mm.extraction.extraction._CLIPS_AT_ONCE', 7)
    parts = built.extract(content).streams['subtitle']
    assert len(whole) == 66
    np.testing.assert_allclose(parts, whole, atol=1e-6)
