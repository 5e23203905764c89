"""The command line: what it writes, what it says, and that a killed run goes on."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_layouts import write_charades
from tiny_encoder import VOCABULARY, WIDTH, write_tiny_encoder

from reloclnet_mm.extraction.text import TextEncoder

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / 'tools/extract_text_features.py'
WORDS = VOCABULARY.split()[5:-2]
SUBTITLES = [
    {
        'vid_name': 'v',
        'sub': [
            {'text': 'A man climbs.', 'start': 0.5, 'end': 1.5},
            {'text': 'The dog runs home', 'start': 1.0, 'end': 4.0},
        ],
    },
    {'vid_name': 'stranger', 'sub': [{'text': 'Red car', 'start': 0, 'end': 1}]},
]
INDEX = {'train': {'v': [5.0, 0]}, 'val': {'silent': [1.0, 1]}}


@pytest.fixture(scope='module')
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp('encoder'))


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('extract_text_features', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tool, encoder_dir, monkeypatch):
    """Run the tool in this process with the tiny encoder."""

    def run_with(*args):
        common = ['--encoder', encoder_dir, '--max-tokens', 40, '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', [str(arg) for arg in (TOOL, *args, *common)])
        tool.main()

    return run_with


@pytest.fixture
def data(tmp_path):
    write_lines(tmp_path / 'train.jsonl', [{'desc_id': 1, 'desc': 'A man climbs the wall.'}])
    write_lines(tmp_path / 'val.jsonl', [{'desc_id': 2, 'desc': 'dog'}])
    write_lines(tmp_path / 'sub.jsonl', SUBTITLES)
    (tmp_path / 'index.json').write_text(json.dumps(INDEX))
    return tmp_path


def write_lines(path, entries):
    path.write_text(''.join(json.dumps(entry) + '\n' for entry in entries))


def read_all(path):
    with h5py.File(path) as file:
        return {key: file[key][()] for key in file}


def sentence_args(data, *args, source='sub.jsonl', out='sub.h5'):
    source, index, out = data / source, data / 'index.json', data / out
    return ['sentences', source, '--video-index', index, '--out', out, '--pool', 'mean', *args]


def test_queries_are_written_by_desc_id(run, data, encoder_dir, capsys):
    run('queries', data / 'train.jsonl', data / 'val.jsonl', '--out', data / 'query.h5')
    features = read_all(data / 'query.h5')
    expected = TextEncoder(encoder_dir, max_tokens=40).encode(['A man climbs the wall.', 'dog'])
    assert features.keys() == {'1', '2'}
    np.testing.assert_allclose(features['1'], expected[0], atol=1e-5)
    np.testing.assert_allclose(features['2'], expected[1], atol=1e-5)
    assert features['1'].dtype == np.float32
    assert '2 queries, 0 of them in' in capsys.readouterr().out


def test_annotation_of_another_layout_is_read_by_its_reader(run, data):
    write_charades(data)
    out = ('--out', data / 'query.h5', '--reader', 'CharadesSTAReader')
    run('queries', data / 'charades_sta_train.txt', *out)
    assert read_all(data / 'query.h5').keys() == {'AO8RW#0', 'Y6R7T#0', 'Y6R7T#1'}


def test_the_videos_may_be_a_file_of_lines(run, data):
    write_lines(data / 'videos.jsonl', [{'vid_name': 'v', 'duration': 5.0}])
    files = (data / 'sub.jsonl', '--video-index', data / 'videos.jsonl', '--out', data / 'sub.h5')
    run('sentences', *files, '--pool', 'max', '--clip-length', 2.5)
    assert {name: len(rows) for name, rows in read_all(data / 'sub.h5').items()} == {'v': 2}


def test_file_records_what_made_it(run, data, encoder_dir):
    run(*sentence_args(data, '--clip-length', 2.0))
    with h5py.File(data / 'sub.h5') as file:
        assert dict(file.attrs) == {
            'kind': 'sentences',
            'source': 'sub.jsonl',
            'encoder': str(encoder_dir),
            'width': WIDTH,
            'max_tokens': 40,
            'clip_length': 2.0,
            'pool': 'mean',
            'dtype': 'float32',
        }


def test_sentences_are_written_by_video_name(run, data, encoder_dir, capsys):
    run(*sentence_args(data, '--clip-length', 2.0))
    features = read_all(data / 'sub.h5')
    climbs, runs = TextEncoder(encoder_dir, max_tokens=40).encode(
        ['A man climbs.', 'The dog runs home']
    )
    both = np.concatenate([climbs, runs]).mean(0)
    expected = np.stack([both, runs.mean(0), np.zeros(WIDTH)])
    assert features.keys() == {'v', 'silent'}
    np.testing.assert_allclose(features['v'], expected, atol=1e-5)
    assert features['silent'].tolist() == [[0.0] * WIDTH]
    printed = capsys.readouterr().out
    assert '2 videos in the index, 1 of them without text: zeros' in printed
    assert 'sub.jsonl, such as stranger, are not in the index: left out' in printed


def test_a_row_a_sentence_is_written_with_its_times(run, data, encoder_dir, capsys):
    run(*sentence_args(data, '--rows', 'sentences'))
    features, times = read_all(data / 'sub.h5'), read_all(data / 'sub_times.h5')
    encoder = TextEncoder(encoder_dir, max_tokens=40)
    expected = [rows.mean(0) for rows in encoder.encode(['A man climbs.', 'The dog runs home'])]
    np.testing.assert_allclose(features['v'], expected, atol=1e-5)
    assert times['v'].tolist() == [[0.5, 1.5], [1.0, 4.0]]
    # One row for the whole of a video without text.
    assert features['silent'].tolist() == [[0.0] * WIDTH]
    assert times['silent'].tolist() == [[0.0, 1.0]]
    assert f'times of the sentences: {data / "sub_times.h5"}' in capsys.readouterr().out


def test_sentences_of_later_videos_are_added_with_their_times(run, data, capsys):
    (data / 'index.json').write_text(json.dumps({'val': INDEX['val']}))
    write_lines(
        data / 'sub.jsonl', [*SUBTITLES, {'vid_name': 'silent', 'sub': SUBTITLES[1]['sub']}]
    )
    run(*sentence_args(data, '--rows', 'sentences'))
    before = read_all(data / 'sub.h5')
    (data / 'index.json').write_text(json.dumps(INDEX))
    run(*sentence_args(data, '--rows', 'sentences'))
    after, times = read_all(data / 'sub.h5'), read_all(data / 'sub_times.h5')
    assert before.keys() == {'silent'}
    assert after.keys() == times.keys() == {'v', 'silent'}
    assert (after['silent'] == before['silent']).all()
    assert '1 videos in' in capsys.readouterr().out


def test_rows_of_sentences_are_not_added_to_rows_of_clips(run, data):
    run(*sentence_args(data))
    with pytest.raises(SystemExit, match='rows not recorded there, sentences now'):
        run(*sentence_args(data, '--rows', 'sentences'))


def test_sentences_of_other_subtitles_are_not_added(run, data):
    write_lines(data / 'other.jsonl', SUBTITLES)
    times = data / 'sub_times.h5'
    for rows in ('clips', 'sentences'):
        run(*sentence_args(data, '--rows', rows))
        with pytest.raises(SystemExit, match=r'source sub\.jsonl there, other\.jsonl now'):
            run(*sentence_args(data, '--rows', rows, source='other.jsonl'))
        before = times.read_bytes() if times.exists() else b''
        (data / 'sub.h5').unlink()
    with pytest.raises(SystemExit, match=r'sub_times\.h5: .* source sub\.jsonl there'):
        run(*sentence_args(data, '--rows', 'sentences', source='other.jsonl'))
    assert times.read_bytes() == before


def test_a_clip_length_for_rows_of_sentences_is_refused(run, data):
    with pytest.raises(SystemExit, match=r'--clip-length 2\.0 with --rows sentences'):
        run(*sentence_args(data, '--rows', 'sentences', '--clip-length', 2))


def test_folder_of_subtitle_files_gives_the_same_features_as_jsonl(run, data):
    folder = data / 'subtitles'
    folder.mkdir()
    cues = (
        '1\n00:00:00,500 --> 00:00:01,500\nA man climbs.\n\n'
        '2\n00:00:01,000 --> 00:00:04,000\nThe dog\nruns home\n'
    )
    (folder / 'v.srt').write_text(cues)
    run(*sentence_args(data))
    run(*sentence_args(data, source='subtitles', out='from_srt.h5'))
    np.testing.assert_allclose(
        read_all(data / 'from_srt.h5')['v'], read_all(data / 'sub.h5')['v'], atol=1e-6
    )


def test_half_precision_is_written_on_demand(run, data):
    run(*sentence_args(data, '--dtype', 'float16'))
    assert read_all(data / 'sub.h5')['v'].dtype == np.float16


def test_later_annotation_is_added_to_the_file(run, data, capsys):
    run('queries', data / 'train.jsonl', '--out', data / 'query.h5')
    before = read_all(data / 'query.h5')
    run('queries', data / 'train.jsonl', data / 'val.jsonl', '--out', data / 'query.h5')
    after = read_all(data / 'query.h5')
    assert after.keys() == {'1', '2'}
    assert (after['1'] == before['1']).all()
    assert '2 queries, 1 of them in' in capsys.readouterr().out


def test_cut_texts_are_counted(run, data, capsys):
    write_lines(data / 'long.jsonl', [{'desc_id': 1, 'desc': 'a ' * 39}])
    run('queries', data / 'long.jsonl', '--out', data / 'query.h5')
    assert '1 of 1 texts cut to 40 tokens' in capsys.readouterr().out


def test_other_settings_for_the_same_file_end_with_a_message(run, data):
    run(*sentence_args(data, '--clip-length', 2.0))
    with pytest.raises(SystemExit, match=r'error: .*clip_length 2\.0 there, 1\.5 now'):
        run(*sentence_args(data, '--clip-length', 1.5))


def test_clip_length_must_be_positive(run, data):
    with pytest.raises(SystemExit, match=r'error: --clip-length 0\.0, expected positive'):
        run(*sentence_args(data, '--clip-length', 0))


def test_subtitles_of_other_videos_alone_end_with_a_message(run, data):
    write_lines(data / 'sub.jsonl', SUBTITLES[1:])
    with pytest.raises(SystemExit, match=r'no text for any video of the index; .* as v'):
        run(*sentence_args(data))


def test_interruption_by_the_user_ends_without_a_traceback(run, data, monkeypatch, capsys):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(TextEncoder, 'encode', interrupt)
    with pytest.raises(SystemExit, match='130'):
        run(*sentence_args(data))
    assert capsys.readouterr().err.endswith('stopped by the user\n')


def tool_process(*args):
    environment = {**os.environ, 'PYTHONPATH': str(REPOSITORY), 'HF_HUB_OFFLINE': '1'}
    command = [sys.executable, TOOL, *args, '--max-tokens', '40', '--batch-size', '4']
    return subprocess.Popen(
        [str(word) for word in command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_error_is_one_line_and_exit_status_one(data, encoder_dir):
    (data / 'val.jsonl').write_text('{"desc_id": 2\n')
    args = ['queries', data / 'val.jsonl', '--encoder', encoder_dir, '--out', data / 'query.h5']
    process = tool_process(*args)
    printed = process.communicate()[0]
    assert process.returncode == 1
    assert printed.startswith('error: ')
    assert 'val.jsonl:1: not a line of JSON' in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.slow
def test_killed_run_leaves_whole_files_and_goes_on(data, encoder_dir):
    rng = np.random.default_rng(0)
    texts = {i: ' '.join(rng.choice(WORDS, rng.integers(1, 30))) for i in range(6000)}
    write_lines(data / 'many.jsonl', [{'desc_id': i, 'desc': text} for i, text in texts.items()])
    out, parts_dir = data / 'query.h5', data / 'query.h5.parts'
    args = ['queries', data / 'many.jsonl', '--encoder', encoder_dir, '--out', out]

    process = tool_process(*args)
    while len(list(parts_dir.glob('*.h5'))) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    kept = [key for part in parts_dir.glob('*.h5') for key in read_all(part)]
    assert 0 < len(kept) < len(texts)

    process = tool_process(*args)
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    assert f'6000 queries, {len(kept)} of them in' in printed
    assert not parts_dir.exists()
    features = read_all(out)
    assert features.keys() == {str(i) for i in texts}
    expected = TextEncoder(encoder_dir, max_tokens=40).encode(list(texts.values()))
    for i, rows in enumerate(expected):
        np.testing.assert_allclose(features[str(i)], rows, atol=1e-5)
