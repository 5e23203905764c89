"""From own videos and a sentence to the moment."""

import json
import multiprocessing
import os
import shutil

import numpy as np
import pytest
import torch
from generated_data import shrink
from mmengine.config import Config
from small_videos import grey, write_video
from tiny_corpus import REPOSITORY
from tiny_encoder import WIDTH
from tiny_image_encoder import WIDTH as CLIP_WIDTH
from tiny_image_encoder import write_tiny_clip
from tiny_inferencer import (
    CLIP,
    POOLED,
    SENTENCES,
    tiny_config,
    tiny_inferencer,
    write_srt,
    write_talks,
    write_weights,
)
from tool_processes import full_disk

from reloclnet_mm.apis import MomentInferencer, index_corpus, init_model, search
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.extraction import extract_queries, extract_sentences
from reloclnet_mm.extraction.subtitles import read_subtitles
from reloclnet_mm.extraction.text import TextEncoder
from reloclnet_mm.features.writer import FeatureWriter
from reloclnet_mm.indexing.store import VideoIndex, locked
from reloclnet_mm.indexing.windows import FoundMoment, distinct_moments

QUERY = 'a woman paints'


@pytest.fixture
def talks(tmp_path):
    return write_talks(tmp_path / 'talks')


@pytest.fixture
def indexed(tmp_path, talks):
    inferencer = tiny_inferencer(tmp_path)
    report = inferencer.add(talks)
    assert (report.added, report.failed) == (['long', 'short', 'whole'], {})
    return inferencer


def reopened(folder, tmp_path, **changes):
    weights = tmp_path / 'weights.safetensors'
    cfg = tiny_config(tmp_path, **changes)
    return MomentInferencer.from_index(folder, cfg, weights, 'cpu', show_progress=False)


def as_rows(hits):
    return [(x.video, x.start, x.end, pytest.approx(x.score, rel=1e-4), x.text) for x in hits]


def rows_of(inferencer):
    """Encoded rows by window id."""
    corpus = inferencer._everything.first.corpus
    return {
        (name, window): rows
        for name, x in corpus.rows['localization'].items()
        for window, rows in zip(
            corpus.video_ids.tolist(), x.split(corpus.layout.rows_of_each.tolist()), strict=True
        )
    }


def features_on_disk(tmp_path, talks, names):
    """What tools/extract_text_features.py writes for training, and its data set's annotation."""
    encoder = TextEncoder(tmp_path / 'encoder', max_tokens=24)
    subtitles = read_subtitles(talks)
    durations = {name: max(x.end for x in subtitles[name]) for name in names}
    sentences = FeatureWriter(tmp_path / 'sub.h5', {'clip_length': CLIP}, 'float32')
    how = dict(clip_length=CLIP, pool='mean', advance=lambda n: None)
    extract_sentences(subtitles, durations, encoder, sentences, **how)
    queries = FeatureWriter(tmp_path / 'query.h5', {}, 'float32')
    extract_queries({'1': QUERY}, encoder, queries, lambda n: None)
    index = {'val': {name: [durations[name], i] for i, name in enumerate(names)}}
    (tmp_path / 'video2dur_idx.json').write_text(json.dumps(index))


def test_videos_are_encoded_and_found_as_a_test_of_their_feature_files_does(
    tmp_path, talks, indexed
):
    names = ['short', 'whole']
    features_on_disk(tmp_path, talks, names)
    changes = {
        f'{loader}.dataset.data_root': str(tmp_path)
        for loader in ('test_dataloader', 'test_corpus_dataloader')
    }
    cfg = tiny_config(tmp_path, **changes, **{'test_corpus_dataloader.num_workers': 0})
    model = init_model(cfg, tmp_path / 'weights.safetensors')
    corpus = index_corpus(model)
    records = {x.name: x for x in indexed.videos}
    mine = rows_of(indexed)
    layout = corpus.corpus.layout
    for name, rows in zip(
        corpus.corpus.video_names,
        corpus.corpus.rows['localization']['subtitle'].split(layout.rows_of_each.tolist()),
        strict=True,
    ):
        found = mine['subtitle', records[name].first_window]
        torch.testing.assert_close(found, rows, rtol=0, atol=1e-6)
    (tokens,) = indexed.recipe.encode_queries([QUERY])
    moments = [
        FoundMoment(x.video_name, x.start, x.end, x.score, 0)
        for x in search(model, corpus, tokens, top_k=1000)
    ]
    expected = list(distinct_moments(moments, 0.5))
    hits = indexed(QUERY, top_k=1000, videos=names)
    assert [(x.video, x.start, x.end) for x in hits] == [x[:3] for x in expected]
    total = sum(x.score for x in expected)
    np.testing.assert_allclose([x.score for x in hits], [x.score / total for x in expected], 1e-4)


def test_a_long_video_is_searched_in_windows_that_overlap(indexed):
    (record,) = [x for x in indexed.videos if x.name == 'long']
    # 32 s are 16 clips; a window has 8 and pools them to 4.
    assert record.starts == (0.0, 8.0, 16.0)
    hits = indexed(QUERY, top_k=1000, videos=['long'])
    assert max(x.end for x in hits) > 16
    assert all(0 <= x.start < x.end <= 32 for x in hits)
    assert sum(x.score for x in hits) == pytest.approx(1)


def test_a_hit_says_what_is_said_in_it_and_how_near_its_window_is(indexed):
    hit = indexed('the woman paints the fence red', videos=['whole'])[0]
    said = [SENTENCES[(2 + i) % 6] for i in range(4) if 4 * i < hit.end and 4 * (i + 1) > hit.start]
    assert hit.text == ' '.join(said)
    assert hit.path.endswith('whole.srt')
    (cosine,) = hit.stream_scores.values()
    assert -1 <= cosine <= 1


def test_a_list_in_gives_a_list_of_lists_whatever_the_batch(indexed):
    texts = [QUERY, 'a dog', 'the man throws a ball']
    alone = [as_rows(indexed(text, top_k=3)) for text in texts]
    assert [as_rows(x) for x in indexed(texts, top_k=3)] == alone
    assert [as_rows(x) for x in indexed(texts, top_k=3, batch_size=2)] == alone


def test_an_index_that_was_saved_answers_as_before(tmp_path, indexed):
    indexed.save(tmp_path / 'index')
    other = reopened(tmp_path / 'index', tmp_path)
    assert other.videos == indexed.videos
    assert as_rows(other(QUERY)) == as_rows(indexed(QUERY))
    assert other(QUERY).null_rate == indexed(QUERY).null_rate is not None
    assert other.sentences('long') == indexed.sentences('long')


def test_adding_and_removing_in_any_order_equals_a_fresh_index(tmp_path, talks):
    grown = tiny_inferencer(tmp_path)
    for name in ('long', 'short'):
        grown.add(talks / f'{name}.srt', save_to=tmp_path / 'grown')
    grown = reopened(tmp_path / 'grown', tmp_path)
    grown.remove('long')
    grown.save(tmp_path / 'grown')
    grown.add([talks / 'whole.srt', talks / 'long.srt'], save_to=tmp_path / 'grown')
    fresh = tiny_inferencer(tmp_path)
    fresh.add(talks)
    for inferencer in (grown, reopened(tmp_path / 'grown', tmp_path)):
        assert [x.name for x in inferencer.videos] == ['long', 'short', 'whole']
        assert as_rows(inferencer(QUERY)) == as_rows(fresh(QUERY))
        assert inferencer._index.null_scores == pytest.approx(fresh._index.null_scores, abs=1e-5)


def test_files_that_have_not_changed_are_passed_over_and_changed_ones_made_anew(
    tmp_path, talks, indexed
):
    assert indexed.add(talks).unchanged == ['long', 'short', 'whole']
    write_srt(talks / 'short.srt', 3, first=4)
    (talks / 'whole.srt').unlink()
    report = indexed.update()
    assert (report.updated, report.unchanged) == (['short'], ['long'])
    assert 'no such file any more' in report.failed[str(talks / 'whole.srt')]
    assert [x.text for x in indexed.sentences('short')] == [SENTENCES[i % 6] for i in (4, 5, 6)]
    fresh = tiny_inferencer(tmp_path)
    fresh.add(talks)
    names = ['short', 'long']
    assert as_rows(indexed(QUERY, videos=names)) == as_rows(fresh(QUERY, videos=names))


def test_the_order_in_which_videos_are_added_does_not_matter(tmp_path, talks):
    grown = tiny_inferencer(tmp_path)
    for name in ('short', 'whole', 'long'):
        grown.add(talks / f'{name}.srt')
    fresh = tiny_inferencer(tmp_path)
    fresh.add(talks)
    assert as_rows(grown(QUERY)) == as_rows(fresh(QUERY))
    assert grown._index.null_scores == pytest.approx(fresh._index.null_scores, abs=1e-5)


def test_a_video_takes_the_place_of_its_subtitles(tmp_path, talks, indexed):
    write_video(talks / 'short.mp4', [grey(9)] * 80)
    report = indexed.add(talks)
    assert (report.added, report.unchanged) == ([f'{talks.name}/short'], ['long', 'whole'])
    assert sorted(x.path.rsplit('/')[-1] for x in indexed.videos) == [
        'long.srt',
        'short.mp4',
        'whole.srt',
    ]


def test_a_touched_file_is_not_made_anew_and_has_a_new_stamp(talks, indexed):
    os.utime(talks / 'short.srt', ns=(1, 1))
    assert 'short' in indexed.add(talks).unchanged
    (record,) = [x for x in indexed.videos if x.name == 'short']
    assert record.files[0].mtime_ns == 1


def test_a_file_that_cannot_be_used_does_not_stop_the_others(tmp_path, talks):
    (talks / 'broken.srt').write_text('1\n00:00:05,000 --> 00:00:01,000\nbackwards\n')
    (talks / 'empty.vtt').write_text('WEBVTT\n')
    (talks / 'noise.mp4').write_bytes(os.urandom(500))
    inferencer = tiny_inferencer(tmp_path)
    report = inferencer.add(talks)
    assert report.added == ['long', 'short', 'whole']
    failed = {os.path.basename(path): reason for path, reason in report.failed.items()}
    assert [*failed] == ['broken.srt', 'empty.vtt', 'noise.mp4']
    assert 'cue 1' in failed['broken.srt']
    assert 'no sentence' in failed['empty.vtt']


def test_nothing_relevant_is_the_share_of_other_queries_that_score_as_well(indexed):
    hits = indexed(QUERY)
    (best,) = indexed._everything.first.best_scores(encoded(indexed, QUERY))
    nulls = np.array(indexed._index.null_scores)
    assert len(nulls) == 240
    assert hits.null_rate == pytest.approx((nulls >= best).mean())
    assert hits.nothing_relevant == (hits.null_rate >= 0.2)
    assert indexed(QUERY, videos=['long']).null_rate is None


def test_letters_that_the_encoder_does_not_know_are_noted(indexed):
    assert indexed('как наточить нож', videos=['long']).notes() == [
        'The encoder knows English; in the letters of another language it finds hardly more than '
        'chance.'
    ]
    for query in (QUERY, 'Übung macht 3 × den Meister', '42'):
        assert indexed(query, videos=['long']).notes() == []


def encoded(inferencer, text):
    (batch,) = inferencer.preprocess([text], 1)
    with torch.no_grad():
        return inferencer.model.encode_query(inferencer.model.data_preprocessor(batch)['inputs'])


def test_the_timeline_is_that_of_the_window_around_a_second(indexed):
    found = indexed.timeline(QUERY, 'long', around=30.0)
    assert (found.start, found.clip_seconds) == (16.0, 4.0)
    assert sum(found.begins) == pytest.approx(1, abs=1e-5)
    assert sum(found.ends) == pytest.approx(1, abs=1e-5)
    assert len(found.begins) == len(found.ends) == POOLED


@pytest.mark.parametrize(
    ('query', 'message'),
    [('', 'expected a sentence'), (' \n', 'expected a sentence'), ('x' * 10_001, '10,001 char')],
)
def test_a_query_that_cannot_be_asked_is_refused(indexed, query, message):
    with pytest.raises(InputError, match=message):
        indexed(query)


def test_a_query_of_many_words_is_answered(indexed):
    assert indexed('the man climbs ' * 600)


def test_names_that_are_not_in_the_index_are_refused(indexed):
    with pytest.raises(InputError, match=r"'nowhere': the index has no such video; it has 3"):
        indexed(QUERY, videos=['nowhere'])
    with pytest.raises(InputError, match='no such video'):
        indexed.remove(['long', 'nowhere'])
    assert len(indexed.videos) == 3
    with pytest.raises(InputError, match='videos is empty'):
        indexed(QUERY, videos=[])


def test_a_video_may_be_named_twice_and_by_itself(indexed):
    assert {x.video for x in indexed(QUERY, videos='long')} == {'long'}
    indexed.remove(['long', 'long'])
    assert {x.video for x in indexed(QUERY)} == {'short', 'whole'}
    indexed.remove([])


@pytest.mark.parametrize('settings', [dict(top_k=0), dict(top_k=-1), dict(batch_size=0)])
def test_counts_below_one_are_refused(indexed, settings):
    with pytest.raises(InputError, match='expected at least 1'):
        indexed(QUERY, **settings)


def test_odd_files_do_not_stop_the_others(tmp_path, talks):
    os.mkfifo(talks / 'pipe.mp4')
    (talks / 'loop.mp4').symlink_to(talks / 'loop.mp4')
    os.close(os.open(os.fsencode(talks / 'caf') + b'\xe9.srt', os.O_CREAT))
    write_srt(tmp_path / 'elsewhere/film.srt', 2)
    (talks / 'link.srt').symlink_to(tmp_path / 'elsewhere/film.srt')
    inferencer = tiny_inferencer(tmp_path)
    report = inferencer.add([talks, talks / 'pipe.mp4'], save_to=tmp_path / 'index')
    assert report.added == ['link', 'long', 'short', 'whole']
    reasons = ' '.join(report.failed.values())
    assert 'pipe.mp4: is no regular file' in reasons
    assert 'the name is not UTF-8; rename the file' in reasons
    assert len(reopened(tmp_path / 'index', tmp_path).videos) == 4


def test_an_inferencer_without_videos_says_so(tmp_path):
    with pytest.raises(InputError, match='the index has no video'):
        tiny_inferencer(tmp_path)(QUERY)


def test_a_model_of_one_stage_does_not_rerank(indexed):
    with pytest.raises(InputError, match='ReLoCLNetPlus has no second stage'):
        indexed(QUERY, rerank=10)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'windows.stride': 2}, 'window_stride 4 there, 2 here'),
        ({'recipe.query.max_tokens': 12}, r'recipe.query.max_tokens 24 there, 12 here'),
    ],
)
def test_an_index_of_another_recipe_is_refused(tmp_path, indexed, changes, message):
    indexed.save(tmp_path / 'index')
    with pytest.raises(InputError, match=f'was made otherwise: {message}'):
        reopened(tmp_path / 'index', tmp_path, **changes)


def test_a_recipe_that_makes_other_features_of_videos_is_refused_when_adding(
    tmp_path, talks, indexed
):
    indexed.save(tmp_path / 'index')
    other = reopened(tmp_path / 'index', tmp_path, **{'recipe.streams.subtitle.pool': 'max'})
    assert other(QUERY)
    with pytest.raises(InputError, match=r"recipe.streams.subtitle.pool 'mean' there, 'max' here"):
        other.add(talks)


def test_encoded_queries_are_what_videos_are_searched_by(indexed):
    queries = [QUERY, 'a dog runs home']
    encoded = indexed.encode_queries(queries)
    scores, _ = indexed._everything.first.videos.search(encoded, 1)
    for text, best in zip(queries, scores[:, 0], strict=True):
        largest = max(hit.stream_scores['subtitle'] for hit in indexed(text))
        assert largest == pytest.approx(float(best), abs=1e-6)
    with pytest.raises(InputError, match='no query, expected a sentence'):
        indexed.encode_queries([])


def test_an_index_of_other_weights_is_refused(tmp_path, indexed):
    indexed.save(tmp_path / 'index')
    write_weights(tiny_config(tmp_path), tmp_path / 'weights.safetensors', seed=1)
    with pytest.raises(InputError, match='was made otherwise: weights'):
        reopened(tmp_path / 'index', tmp_path)


def test_an_index_of_a_model_that_is_not_shipped_needs_its_config(tmp_path, indexed):
    indexed.save(tmp_path / 'index')
    with pytest.raises(InputError, match='give its config and weights'):
        MomentInferencer.from_index(tmp_path / 'index')


def test_a_recipe_that_does_not_go_with_the_data_set_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'recipe.clip_length is 3.0 s, and the data set has'):
        tiny_inferencer(tmp_path, **{'recipe.clip_length': 3.0})


def test_a_config_without_a_recipe_is_refused(tmp_path):
    cfg = tiny_config(tmp_path)
    weights = write_weights(cfg, tmp_path / 'weights.safetensors')
    cfg.dump(tmp_path / 'my.py')
    cfg = Config({key: x for key, x in cfg.items() if key != 'recipe'}, filename=tmp_path / 'my.py')
    with pytest.raises(InputError, match=r'my.py: has no recipe, which say how'):
        MomentInferencer(cfg, weights, 'cpu')


def test_a_model_without_weights_or_of_no_name_is_refused(tmp_path):
    with pytest.raises(InputError, match='no weights; give the checkpoint'):
        MomentInferencer(tiny_config(tmp_path))
    with pytest.raises(InputError, match='relocl_sp: no such model, expected relocl_speech'):
        MomentInferencer('relocl_sp')


def test_weights_of_another_model_are_refused(tmp_path):
    weights = write_weights(tiny_config(tmp_path), tmp_path / 'weights.safetensors')
    with pytest.raises(InputError, match='has weights of another model than the config'):
        MomentInferencer(tiny_config(tmp_path, **{'model.embed_dims': 32}), weights, 'cpu')


def test_an_index_that_another_process_writes_is_refused(tmp_path, indexed):
    indexed.save(tmp_path / 'index')
    context = multiprocessing.get_context('fork')
    begun, end = context.Event(), context.Event()

    def hold():
        with locked(tmp_path / 'index'):
            begun.set()
            end.wait(60)

    process = context.Process(target=hold)
    process.start()
    assert begun.wait(60)
    try:
        with pytest.raises(InputError, match='another process is writing this index'):
            indexed.save(tmp_path / 'index')
        assert as_rows(reopened(tmp_path / 'index', tmp_path)(QUERY)) == as_rows(indexed(QUERY))
    finally:
        end.set()
        process.join()
    indexed.save(tmp_path / 'index')


def test_an_index_that_was_changed_since_it_was_read_is_not_overwritten(tmp_path, talks, indexed):
    indexed.save(tmp_path / 'index')
    one, two = (reopened(tmp_path / 'index', tmp_path) for _ in range(2))
    one.remove('long')
    one.save(tmp_path / 'index')
    two.remove('short')
    with pytest.raises(InputError, match='has been changed by another process'):
        two.save(tmp_path / 'index')
    assert [x.name for x in reopened(tmp_path / 'index', tmp_path).videos] == ['short', 'whole']


def test_an_open_index_stays_whole_when_another_process_changes_it(tmp_path, talks, indexed):
    indexed.save(tmp_path / 'index')
    reader = reopened(tmp_path / 'index', tmp_path)
    unread = VideoIndex.load(tmp_path / 'index')
    before = as_rows(reader(QUERY))
    writer = reopened(tmp_path / 'index', tmp_path)
    writer.remove(['long', 'short'])
    writer.add(talks / 'short.srt', save_to=tmp_path / 'index')
    assert len([*(tmp_path / 'index/segments').iterdir()]) == 1, 'written anew'
    assert as_rows(reader(QUERY)) == before
    assert unread.corpus().video_ids.tolist() == indexed._index.corpus().video_ids.tolist()
    assert unread.sentences('long') == indexed.sentences('long')


def test_a_first_save_that_was_killed_is_no_other_content(tmp_path, indexed):
    folder = tmp_path / 'index'
    (folder / 'segments/abc').mkdir(parents=True)
    (folder / '.lock').touch()
    (folder / '.index.json.12.partial').touch()
    indexed.save(folder)
    assert sorted(x.name for x in folder.iterdir()) == ['.lock', 'index.json', 'segments']
    assert len([*(folder / 'segments').iterdir()]) == 1
    assert as_rows(reopened(folder, tmp_path)(QUERY)) == as_rows(indexed(QUERY))


@pytest.mark.parametrize('kind', ['file', 'other files', 'index'])
def test_where_an_index_cannot_be_saved_is_told_before_the_work(tmp_path, talks, indexed, kind):
    target = tmp_path / 'target'
    if kind == 'file':
        target.touch()
    elif kind == 'index':
        indexed.save(target)
    else:
        target.mkdir()
        (target / 'mine.txt').touch()
    other = tiny_inferencer(tmp_path)
    with pytest.raises(InputError, match=r'is a file|holds other files|holds an index'):
        other.add(talks, save_to=target)
    assert other.videos == ()
    assert kind == 'file' or (kind == 'index') == (target / '.lock').exists()


def test_a_folder_that_holds_something_else_is_not_written_to(tmp_path, indexed):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/thesis.tex').write_text('x')
    with pytest.raises(InputError, match=r'holds other files, such as thesis.tex already'):
        indexed.save(tmp_path / 'mine')
    assert [x.name for x in (tmp_path / 'mine').iterdir() if not x.name.startswith('.')] == [
        'thesis.tex'
    ]


def test_a_full_disk_leaves_the_old_index_whole(tmp_path, talks, indexed):
    indexed.save(tmp_path / 'index')
    before = as_rows(indexed(QUERY))
    write_srt(talks / 'more.srt', 30)
    other = reopened(tmp_path / 'index', tmp_path)
    with full_disk(3000), pytest.raises(InputError, match='cannot be written'):
        other.add(talks / 'more.srt', save_to=tmp_path / 'index')
    assert as_rows(reopened(tmp_path / 'index', tmp_path)(QUERY)) == before
    other.save(tmp_path / 'index')
    assert len(reopened(tmp_path / 'index', tmp_path).videos) == 4


def test_segments_that_are_of_no_use_are_removed(tmp_path, talks, indexed):
    folder = tmp_path / 'index'
    indexed.save(folder)
    for count in range(2, 24):
        write_srt(talks / 'short.srt', count % 3 + 1, first=count)
        indexed.add(talks / 'short.srt', save_to=folder)
        assert len([*(folder / 'segments').iterdir()]) <= 17
    fresh = tiny_inferencer(tmp_path)
    fresh.add(talks)
    assert as_rows(reopened(folder, tmp_path)(QUERY)) == as_rows(fresh(QUERY))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda text: text[: len(text) // 2], 'no index that can be read'),
        (lambda text: text.replace('"version":1', '"version":0'), 'version 0, expected'),
        (lambda text: text.replace('"segment":"', '"segment":"../'), 'the segment'),
        (lambda text: '', 'no index that can be read'),
    ],
)
def test_a_damaged_index_is_named(tmp_path, indexed, damage, message):
    indexed.save(tmp_path / 'index')
    path = tmp_path / 'index/index.json'
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=message):
        reopened(tmp_path / 'index', tmp_path)


def test_an_index_without_its_rows_is_named(tmp_path, indexed):
    indexed.save(tmp_path / 'index')
    shutil.rmtree(tmp_path / 'index/segments')
    with pytest.raises(InputError, match='no index that can be read'):
        reopened(tmp_path / 'index', tmp_path)


def test_pictures_are_drawn_of_answers(tmp_path, indexed):
    pytest.importorskip('matplotlib')
    from PIL import Image

    indexed([QUERY, 'a dog'], visualize=True, out_dir=tmp_path / 'drawn')
    sizes = [Image.open(path).size for path in sorted((tmp_path / 'drawn').iterdir())]
    assert len(sizes) == 2
    assert all(width > 800 and height > 300 for width, height in sizes)
    with pytest.raises(InputError, match='no out_dir'):
        indexed(QUERY, visualize=True)


def two_stage_inferencer(folder):
    """CONQUER over ReLoCLNet, small, with the recipe of the shipped model."""
    cfg = Config.fromfile(REPOSITORY / 'configs/conquer_anet_text.py')
    tiny = tiny_config(folder)
    shrink(cfg.model)
    first, second = cfg.model.first_stage, cfg.model.second_stage
    first.pop('init_cfg')
    first.streams.subtitle = WIDTH + 2
    second.streams.subtitle = WIDTH + 2
    first.query_channels = second.query_channels = WIDTH
    for loader in ('test_dataloader', 'test_corpus_dataloader'):
        cfg[loader].dataset.merge(dict(channels=dict(subtitle=WIDTH, query=WIDTH)))
    cfg.recipe, cfg.windows = tiny.recipe, tiny.windows
    weights = folder / 'two.safetensors'
    if not weights.exists():
        write_weights(cfg, weights)
    return cfg, weights


def test_a_second_stage_reranks_own_videos(tmp_path, talks):
    cfg, weights = two_stage_inferencer(tmp_path)
    inferencer = MomentInferencer(cfg, weights, 'cpu', show_progress=False)
    inferencer.add(talks, save_to=tmp_path / 'index')
    hits = {n: as_rows(inferencer(QUERY, rerank=n, top_k=1000)) for n in (1, 5)}
    assert {video for video, *_ in hits[5]} > {video for video, *_ in hits[1]}
    # The number is that of a call.
    usual = inferencer.model.num_videos
    assert usual == cfg.model.num_videos != 1
    assert as_rows(inferencer(QUERY, top_k=1000)) == hits[5], 'all five windows are re-ranked'
    other = MomentInferencer.from_index(
        tmp_path / 'index', cfg, weights, 'cpu', show_progress=False
    )
    assert as_rows(other(QUERY, rerank=5, top_k=1000)) == hits[5]
    assert {x.video for x in other(QUERY, videos=['long'], rerank=5)} == {'long'}
    other.remove('long')
    other.save(tmp_path / 'index')
    assert {x.video for x in other(QUERY, rerank=5, top_k=1000)} == {'short', 'whole'}
    with pytest.raises(InputError, match='rerank=0, expected at least 1'):
        other(QUERY, rerank=0)


def test_pictures_are_found_by_the_text_side_of_their_model(tmp_path):
    (tmp_path / 'clip').mkdir()
    clip = str(write_tiny_clip(tmp_path / 'clip'))
    cfg = tiny_config(tmp_path)
    cfg.model.streams = dict(video=CLIP_WIDTH)
    cfg.model.query_channels = CLIP_WIDTH
    for loader in ('test_dataloader', 'test_corpus_dataloader'):
        cfg[loader].dataset.feature_files = dict(video='video.h5', query='query.h5')
        cfg[loader].dataset.channels = dict(video=CLIP_WIDTH, query=CLIP_WIDTH)
    cfg.recipe.streams = dict(video=dict(type='FrameFeatures', encoder=clip, fps=1.0))
    cfg.recipe.query = dict(type='ImageTextQueries', encoder=clip)
    weights = write_weights(cfg, tmp_path / 'weights.safetensors')
    inferencer = MomentInferencer(cfg, weights, 'cpu', show_progress=False)
    (tmp_path / 'films').mkdir()
    for name, first in (('dark', 0), ('bright', 120)):
        write_video(tmp_path / f'films/{name}.mp4', [grey(first + x) for x in range(100)], fps=5)
    write_srt(tmp_path / 'films/words.srt', 2)
    report = inferencer.add(tmp_path / 'films', save_to=tmp_path / 'index')
    assert report.added == ['bright', 'dark']
    assert 'found no pictures, of which video would be made' in next(iter(report.failed.values()))
    hits = inferencer('a red ball', top_k=1000)
    assert {x.video for x in hits} == {'bright', 'dark'}
    assert {*hits[0].stream_scores} == {'video'}
    assert hits[0].has_pictures
    assert hits[0].text == ''
    other = MomentInferencer.from_index(tmp_path / 'index', cfg, weights, 'cpu')
    assert as_rows(other('a red ball', top_k=1000)) == as_rows(hits)
