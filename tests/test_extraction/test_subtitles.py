import json
import re

import pytest

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.subtitles import TimedSentence, read_cues, read_subtitles

SRT = """1
00:00:01,000 --> 00:00:02,500
Good <i>morning</i>,
<font color="#fff">Ann</font>.

2
00:00:02,500 --> 00:01:04,000 X1:1 X2:2 Y1:3 Y2:4
{\\an8}You &amp; me: 2 < 3.


3
01:02:03,004 --> 01:02:04,005
Bye.
"""
SRT_CUES = [
    TimedSentence('Good morning, Ann.', 1.0, 2.5),
    TimedSentence('You & me: 2 < 3.', 2.5, 64.0),
    TimedSentence('Bye.', 3723.004, 3724.005),
]
VTT = """WEBVTT - a title
Kind: captions

NOTE
not a cue
00:00 nor this

STYLE
::cue { color: lime }

REGION
id:fred

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Ann>Good <c.loud>morning</c>,
<00:00:01.500>Bob.

100:00:00.000 --> 100:00:01.250
NOTEbook &lt;3

NOTE a comment of one line

00:03.000 --> 00:03.000
now
"""
VTT_CUES = [
    TimedSentence('Good morning, Bob.', 1.0, 2.5),
    TimedSentence('NOTEbook <3', 360000.0, 360001.25),
    TimedSentence('now', 3.0, 3.0),
]


def write(path, text, newline='\n', bom=False):
    data = text.replace('\n', newline).encode('utf-8-sig' if bom else 'utf-8')
    path.write_bytes(data)
    return path


@pytest.mark.parametrize('bom', [False, True])
@pytest.mark.parametrize('newline', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize(
    ('name', 'text', 'expected'), [('a.srt', SRT, SRT_CUES), ('a.vtt', VTT, VTT_CUES)]
)
def test_cues_are_read_whatever_the_line_ends(tmp_path, name, text, expected, newline, bom):
    assert read_cues(write(tmp_path / name, text, newline, bom)) == expected


def test_srt_without_numbers_and_without_last_line_end_is_read(tmp_path):
    text = '00:00:01,000 --> 00:00:02,000\none\n \n00:00:02.000 --> 00:00:03.000\ntwo'
    assert [cue.text for cue in read_cues(write(tmp_path / 'a.srt', text))] == ['one', 'two']


def test_line_of_a_blank_does_not_end_a_vtt_cue(tmp_path):
    text = 'WEBVTT\n\n00:01.000 --> 00:02.000\none\n \ntwo\n'
    assert [cue.text for cue in read_cues(write(tmp_path / 'a.vtt', text))] == ['one two']


def test_vtt_of_a_header_alone_has_no_cues(tmp_path):
    assert read_cues(write(tmp_path / 'a.vtt', 'WEBVTT')) == []


CUE = '1\n00:00:00,000 --> 00:00:01,000\ny\n\n'


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        (
            'a.srt',
            f'{CUE}2\n00:0x:01,000 --> 00:00:02,000\nx\n',
            r'a\.srt, cue 1: has times in its text; mend them',
        ),
        ('a.srt', f'{CUE}2\n00:00:01,000 -> 00:00:02,000\nx\n\n{CUE}', r'a\.srt: .*01,000 -> 00:'),
        ('a.srt', 'just words\n', r'a\.srt: cannot be read .*just words'),
        (
            'a.srt',
            '1\n00:00:03,000 --> 00:00:02,000\nx\n',
            r'a\.srt, cue 1: starts at 3\.0 s and ends at 2\.0 s',
        ),
        ('a.vtt', '00:01.000 --> 00:02.000\nx\n', r'a\.vtt: cannot be read \(Invalid format'),
        ('a.vtt', 'WEBVTT\n\nid\n1:01.000 --> 00:02.000\nx\n', r"a\.vtt: .* \['id', '1:01"),
        ('a.vtt', 'WEBVTT\n\n00:01,000 --> 00:02,000\nx\n', r'a\.vtt: cannot be read'),
        ('a.vtt', 'WEBVTT\n\n00:03.000 --> 00:02.000\nx\n', r'a\.vtt, cue 1: starts at 3\.0 s'),
        ('a.vtt', '', r'a\.vtt: cannot be read'),
    ],
)
def test_malformed_cues_name_file_and_line(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        read_cues(write(tmp_path / name, text))


def test_subtitles_of_another_encoding_are_refused(tmp_path):
    (tmp_path / 'a.srt').write_bytes('1\n00:00:01,000 --> 00:00:02,000\nné\n'.encode('latin-1'))
    with pytest.raises(InputError, match=r'a\.srt: not UTF-8 at byte 33; save the file as UTF-8'):
        read_subtitles(tmp_path)


def test_folder_is_read_by_video_name(tmp_path):
    write(tmp_path / 'first.clip.srt', SRT)
    write(tmp_path / 'second.VTT', VTT)
    write(tmp_path / 'notes.txt', 'not subtitles')
    assert read_subtitles(tmp_path) == {'first.clip': SRT_CUES, 'second': VTT_CUES}


def test_cues_without_text_are_left_out_of_a_folder(tmp_path):
    write(
        tmp_path / 'a.srt',
        '1\n00:00:01,000 --> 00:00:02,000\n<i></i>\n\n2\n00:00:02,000 --> 00:00:03,000\n\n'
        '3\n00:00:03,000 --> 00:00:04,000\nx\n',
    )
    assert read_subtitles(tmp_path) == {'a': [TimedSentence('x', 3.0, 4.0)]}


def test_two_files_of_one_video_are_refused(tmp_path):
    write(tmp_path / 'a.srt', SRT)
    write(tmp_path / 'a.vtt', VTT)
    with pytest.raises(InputError, match=r'a\.vtt: a has a \.srt and a \.vtt file'):
        read_subtitles(tmp_path)


def test_folder_without_subtitles_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'holds no \.srt or \.vtt file'):
        read_subtitles(tmp_path)


def test_jsonl_is_read_in_order_and_stripped(tmp_path):
    path = tmp_path / 'sub.jsonl'
    sentences = [{'text': ' b \n', 'start': 2, 'end': 3.5}, {'text': 'a', 'start': 0, 'end': 0}]
    lines = [{'vid_name': 'v', 'sub': sentences}, {'vid_name': 'w', 'sub': []}]
    path.write_text('\n'.join(map(json.dumps, lines)))
    assert read_subtitles(path) == {
        'v': [TimedSentence('b', 2.0, 3.5), TimedSentence('a', 0.0, 0.0)],
        'w': [],
    }


GOOD = '{"vid_name": "v", "sub": []}\n'


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('{"vid_name": "w", "sub": [', r':2: not a line of JSON'),
        ('[1]', r":2: found \[1\]: expected 'object', got 'array'"),
        ('{"vid_name": "w"}', r":2: found {'vid_name': 'w'}: object missing required field 'sub'"),
        ('{"vid_name": "v", "sub": []}', r':2: video v has a line already'),
        (
            '{"vid_name": "w", "sub": ["x"]}',
            r":2: found 'x' at sub\[0\]: expected 'object', got 'str'",
        ),
        (
            '{"vid_name": "w", "sub": [{"text": " ", "start": 0, "end": 1}]}',
            r':2, sentence 1: has no words',
        ),
        (
            '{"vid_name": "w", "sub": [{"text": "x", "start": 2, "end": 1}]}',
            r':2, sentence 1: starts at 2.0 s and ends at 1.0 s',
        ),
        (
            '{"vid_name": "w", "sub": [{"text": "x", "start": "0", "end": 1}]}',
            r":2: found '0' at sub\[0\]\.start: expected 'float', got 'str'",
        ),
        (
            '{"vid_name": "w", "sub": [{"text": "x", "start": 0, "end": NaN}]}',
            r':2: not a line of JSON \(NaN is no number',
        ),
    ],
)
def test_malformed_jsonl_names_file_and_line(tmp_path, line, message):
    path = tmp_path / 'sub.jsonl'
    path.write_text(GOOD + line)
    with pytest.raises(InputError, match=re.escape(str(path)) + message):
        read_subtitles(path)


def test_missing_source_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'nowhere: no such file'):
        read_subtitles(tmp_path / 'nowhere')
