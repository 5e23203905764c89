"""The server against answers worked by hand, and against requests that mean harm."""

import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_inferencer import COLORS, KNIFE, ONION, SCRIPT, STONE, make_inferencer
from fastapi.testclient import TestClient
from PIL import Image

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction import frames
from reloclnet_mm.serving import media
from reloclnet_mm.serving.app import create_app


@pytest.fixture
def inferencer(tmp_path):
    return make_inferencer(tmp_path)


@pytest.fixture
def client(inferencer):
    return client_of(inferencer)


def client_of(inferencer, **settings):
    app = create_app(inferencer, **settings)
    return TestClient(app, base_url='http://localhost', raise_server_exceptions=False)


def detail(response, status):
    """The message of a refusal; nothing else is in it, no part of a traceback either."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ['detail']
    assert 'Traceback' not in response.text
    return response.json()['detail']


# ---- search


def test_videos_are_listed_by_number(client):
    listed = client.get('/api/videos').json()
    assert [video['number'] for video in listed] == [0, 1, 2]
    assert listed[0] == dict(
        number=0,
        name='knives',
        duration=6.0,
        has_pictures=True,
        playable=True,
        num_sentences=2,
    )
    assert (listed[2]['has_pictures'], listed[2]['playable']) == (False, False)


def test_hits_have_the_number_of_their_video_and_no_path(client, tmp_path):
    response = client.get('/api/search', params=dict(q='sharpen a knife'))
    answer = response.json()
    # KNIFE shares sharpen, a and knife, twice a counts once; ONION shares knife: 3 and 1 of 4.
    assert [(hit['number'], hit['score']) for hit in answer['hits']] == [(0, 0.75), (1, 0.25)]
    assert answer['hits'][0] == dict(
        number=0,
        video='knives',
        start=1.0,
        end=3.0,
        score=0.75,
        text=KNIFE.text,
        stream_scores=dict(text=0.5),
    )
    assert (answer['query'], answer['nothing_relevant'], answer['null_rate']) == (
        'sharpen a knife',
        False,
        0.01,
    )
    assert str(tmp_path) not in response.text


def test_the_rate_of_unrelated_queries_tells_that_nothing_is_relevant(inferencer, client):
    inferencer.null_rate = 0.2
    assert client.get('/api/search?q=knife').json()['nothing_relevant'] is True
    inferencer.null_rate = None
    answer = client.get('/api/search?q=knife').json()
    assert (answer['nothing_relevant'], answer['null_rate']) == (False, None)


def test_chosen_videos_and_number_of_hits_reach_the_inferencer(inferencer, client):
    answer = client.get('/api/search?q=stone&top_k=1&video=2&video=0').json()
    assert inferencer.calls == [('stone', 1, ['talk', 'knives'])]
    assert [hit['video'] for hit in answer['hits']] == ['knives']
    client.get('/api/search?q=stone')
    assert inferencer.calls[1] == ('stone', 10, None)


def test_a_timeline_is_asked_for_within_the_video(inferencer, client):
    answer = client.get('/api/timeline?q=knife&video=0&at=1e300').json()
    assert inferencer.calls == [('knife', 'knives', 6.0)]
    assert (answer['start'], answer['clip_seconds']) == (0.0, 0.5)
    assert (answer['begins'][2], answer['ends'][5]) == (0.6, 0.7)


def test_sentences_of_a_video_keep_their_times(client):
    assert client.get('/api/videos/0/sentences').json() == [
        dict(text=x.text, start=x.start, end=x.end) for x in (KNIFE, STONE)
    ]


def test_one_request_at_a_time_asks_the_inferencer(inferencer, client):
    inferencer.delay = 0.005
    paths = ['/api/search?q=knife', '/api/timeline?q=knife&video=0', '/api/videos/0/sentences']
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda path: client.get(path).status_code, paths * 8))
    assert statuses == [200] * 24


# ---- refusals of searches


def test_what_the_inferencer_refuses_is_told(client):
    message = 'the query is empty; write a sentence'
    assert detail(client.get('/api/search?q='), 400) == message


def test_a_query_of_the_longest_length_is_answered_and_one_more_is_not(inferencer):
    client = client_of(inferencer, max_characters=5)
    assert client.get('/api/search?q=knife').status_code == 200
    for path in ('/api/search?q=knives', '/api/timeline?video=0&q=knives'):
        assert 'q: ' in (told := detail(client.get(path), 422))
        assert 'at most 5 characters' in told
        assert 'knives' not in told


@pytest.mark.parametrize(
    ('settings', 'name'),
    [
        ('top_k=0', 'top_k'),
        ('top_k=101', 'top_k'),
        ('top_k=all', 'top_k'),
        ('video=knives', '0'),
        ('&'.join(['video=0'] * 1001), 'video'),
    ],
)
def test_settings_out_of_range_are_named(inferencer, client, settings, name):
    assert detail(client.get(f'/api/search?q=knife&{settings}'), 422).startswith(f'{name}: ')
    assert inferencer.calls == []


@pytest.mark.parametrize('at', ['-1', 'nan', 'inf', 'now'])
def test_a_time_that_is_none_is_refused(client, at):
    for path in (f'/api/timeline?q=knife&video=0&at={at}', f'/videos/0/thumbnail?at={at}'):
        assert detail(client.get(path), 422).startswith('at: ')


@pytest.mark.parametrize('number', ['3', '-1', '9' * 30])
def test_a_number_that_no_video_has_is_not_found(client, number):
    for path in (
        f'/api/search?q=knife&video={number}',
        f'/api/timeline?q=knife&video={number}',
        f'/api/videos/{number}/sentences',
        f'/videos/{number}/media',
        f'/videos/{number}/thumbnail',
    ):
        expected = f'no video {number}; the index has 3, numbered from 0'
        assert detail(client.get(path), 404) == expected


def test_requests_beyond_the_limit_wait(inferencer):
    client = client_of(inferencer, requests_per_minute=2)
    statuses = [client.get('/api/search?q=knife').status_code for _ in range(2)]
    refused = client.get('/api/search?q=knife')
    assert statuses == [200, 200]
    assert 0 < int(refused.headers['retry-after']) <= 60
    assert detail(refused, 429).startswith('more than 2 such requests in 60 seconds; wait ')
    # Thirty timelines, sentences and thumbnails for each search, counted apart; lists are not.
    views = ('/api/timeline?q=knife&video=0', '/api/videos/0/sentences', '/videos/0/thumbnail')
    statuses = [client.get(path).status_code for _ in range(20) for path in views]
    assert statuses == [200] * 60
    assert [client.get(path).status_code for path in views] == [429] * 3
    assert client.get('/api/videos').status_code == 200


def test_a_failure_tells_nothing_of_the_inside(client):
    message = detail(client.get('/api/search?q=break'), 500)
    assert message == 'the server failed; what happened is in its terminal'


@pytest.mark.parametrize(
    'setting', [dict(max_characters=0), dict(max_characters=10_001), dict(requests_per_minute=0)]
)
def test_a_limit_out_of_its_range_is_refused(inferencer, setting):
    with pytest.raises(InputError, match=str(*setting.values())):
        create_app(inferencer, **setting)


# ---- media


@pytest.mark.parametrize(
    ('asked', 'begin', 'end'),
    [('bytes=0-9', 0, 10), ('bytes=100-', 100, None), ('bytes=-7', -7, None)],
)
def test_a_range_of_a_video_is_the_bytes_of_the_file(inferencer, client, asked, begin, end):
    with open(inferencer.videos[0].path, 'rb') as file:
        content = file.read()
    response = client.get('/videos/0/media', headers=dict(range=asked))
    assert response.status_code == 206
    assert response.content == content[begin:end]
    first = begin % len(content)
    last = (end or len(content)) - 1
    assert response.headers['content-range'] == f'bytes {first}-{last}/{len(content)}'


def test_a_whole_video_says_that_it_takes_ranges(inferencer, client):
    with open(inferencer.videos[0].path, 'rb') as file:
        content = file.read()
    response = client.get('/videos/0/media')
    assert (response.status_code, response.content) == (200, content)
    assert response.headers['accept-ranges'] == 'bytes'
    assert response.headers['content-type'] == 'video/mp4'


def test_a_range_behind_the_end_is_not_satisfiable(client):
    response = client.get('/videos/0/media', headers=dict(range='bytes=99999999-'))
    assert response.status_code == 416


def test_a_subtitle_file_is_not_given_away(client):
    assert detail(client.get('/videos/2/media'), 404) == 'talk has neither pictures nor sound'
    assert detail(client.get('/videos/2/thumbnail'), 404) == 'talk has no pictures'


def test_a_file_that_is_gone_is_told(inferencer, client, tmp_path):
    (tmp_path / '0.mp4').unlink()
    for path in ('/videos/0/media', '/videos/0/thumbnail'):
        told = detail(client.get(path), 404)
        assert told == 'the file of knives is gone (No such file or directory); put it back'


def test_a_file_that_has_changed_is_told(inferencer, client, tmp_path):
    with (tmp_path / '0.mp4').open('ab') as file:
        file.write(b'more')
    for path in ('/videos/0/media', '/videos/0/thumbnail'):
        assert detail(client.get(path), 410).startswith('the file of knives has changed; index it')


def test_a_folder_in_place_of_a_file_is_told(inferencer, client, tmp_path):
    (tmp_path / '0.mp4').unlink()
    (tmp_path / '0.mp4').mkdir()
    assert detail(client.get('/videos/0/media'), 410).startswith('the file of knives has changed')


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('a.webm', 'video/webm'),
        ('a.mp3', 'audio/mpeg'),
        ('a.html', 'application/octet-stream'),
        ('a.svg', 'application/octet-stream'),
        ('a', 'application/octet-stream'),
    ],
)
def test_a_file_is_never_of_a_type_that_runs_scripts(name, kind):
    assert media.media_type(name) == kind


@pytest.mark.parametrize(
    'path',
    [
        '/videos/..%2f..%2fetc%2fpasswd/media',
        '/videos/%2e%2e/media',
        '/videos/knives/media',
        '/videos/0/../../etc/passwd',
        '/page.css/../../../setup.cfg',
        '/app.py',
        '//etc/passwd',
    ],
)
def test_no_path_of_a_request_reaches_the_disk(client, path):
    response = client.get(path)
    assert response.status_code in (404, 422)
    assert list(response.json()) == ['detail']


# ---- thumbnails


def test_a_thumbnail_is_the_picture_at_the_time(client):
    # Two seconds of each color.
    for seconds, color in zip(
        (0.5, 2.5, 4.5, 1e9), [*COLORS.values(), COLORS['blue']], strict=True
    ):
        response = client.get('/videos/0/thumbnail', params=dict(at=seconds))
        assert response.headers['content-type'] == 'image/jpeg'
        picture = Image.open(io.BytesIO(response.content))
        pixel = picture.getpixel((picture.width // 2, picture.height // 2))
        assert all(abs(a - b) < 12 for a, b in zip(pixel, color, strict=True)), (seconds, pixel)


def test_a_thumbnail_is_made_once_and_the_last_used_are_kept(inferencer, monkeypatch):
    made = []

    def count_and_make(path, seconds, max_width):
        made.append(seconds)
        return frames.frame_at(path, seconds, max_width)

    monkeypatch.setattr(media, 'frame_at', count_and_make)
    monkeypatch.setattr(media, 'CACHED_THUMBNAILS', 2)
    client = client_of(inferencer)
    for at in (1.0, 1.04, 2.0, 1.0, 3.0, 1.0, 2.0):
        assert client.get(f'/videos/0/thumbnail?at={at}').status_code == 200
    # 1.04 is 1.0 to a tenth; 3.0 takes the place of 2.0, which was used longest ago.
    assert made == [1.0, 2.0, 3.0, 2.0]


def test_a_file_without_a_picture_is_told_without_its_path(client, monkeypatch):
    def refuse(path, seconds, max_width):
        raise InputError(f'{path}: no pictures')

    monkeypatch.setattr(media, 'frame_at', refuse)
    told = detail(client.get('/videos/0/thumbnail?at=2'), 404)
    assert told == 'no picture of knives at 2.0 s'


def test_a_file_that_changed_and_kept_its_size_is_not_played(client, tmp_path):
    path = tmp_path / '0.mp4'
    os.utime(path, ns=(1, 1))
    assert client.get('/videos/0/media').status_code == 200, 'touched, not changed'
    path.write_bytes(bytes(path.stat().st_size))
    assert 'has changed; index it again' in detail(client.get('/videos/0/media'), 410)


def test_the_length_of_a_video_can_be_asked_without_the_video(client, tmp_path):
    answer = client.head('/videos/0/media')
    assert int(answer.headers['content-length']) == (tmp_path / '0.mp4').stat().st_size
    assert answer.content == b''


# ---- what the browser is told


@pytest.mark.parametrize(
    'path', ['/', '/docs', '/page.js', '/api/videos', '/videos/0/media', '/no']
)
def test_every_answer_forbids_what_comes_from_elsewhere(client, path):
    headers = client.get(path).headers
    assert "default-src 'self'" in headers['content-security-policy']
    assert 'unsafe' not in headers['content-security-policy']
    assert headers['x-content-type-options'] == 'nosniff'
    assert headers['cross-origin-resource-policy'] == 'same-origin'


@pytest.mark.parametrize('path', ['/', '/docs', '/page.js', '/docs.js', '/page.css'])
def test_pages_load_nothing_from_elsewhere_and_have_no_scripts_inside(client, path):
    text = client.get(path).text
    assert '://' not in text
    assert ' style=' not in text
    assert text.count('<script') == text.count('<script type="module" src="/')


@pytest.mark.parametrize(
    ('host', 'status'),
    [
        ('localhost:8000', 200),
        ('127.0.0.1:8000', 200),
        ('[::1]:8000', 200),
        ('evil.example', 400),
        ('localhost.evil.example', 400),
    ],
)
def test_another_name_that_points_here_is_refused(client, host, status):
    assert client.get('/api/videos', headers=dict(host=host)).status_code == status


def test_names_that_are_allowed_are_answered(inferencer):
    client = client_of(inferencer, allowed_hosts=['*'])
    assert client.get('/api/videos', headers=dict(host='evil.example')).status_code == 200


def test_a_foreign_page_cannot_read_an_answer(client):
    response = client.get('/api/videos', headers=dict(origin='http://evil.example'))
    assert 'access-control-allow-origin' not in response.headers


def test_a_name_with_a_script_is_json_and_no_page(client):
    response = client.get('/api/search?q=onion')
    assert response.headers['content-type'] == 'application/json'
    assert response.json()['hits'][0]['text'] == ONION.text
    assert SCRIPT in response.json()['hits'][0]['video']


def test_requests_and_refusals_are_described(client):
    described = client.get('/openapi.json').json()
    assert list(described['paths']) == [
        '/api/videos',
        '/api/search',
        '/api/timeline',
        '/api/videos/{number}/sentences',
        '/videos/{number}/media',
        '/videos/{number}/thumbnail',
    ]
    search = described['paths']['/api/search']['get']
    assert sorted(search['responses']) == ['200', '400', '404', '422', '429', '503']
    problem = search['responses']['422']['content']['application/json']['schema']
    assert problem == {'$ref': '#/components/schemas/Problem'}
    assert 'HTTPValidationError' not in json.dumps(described)


def test_the_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'fastapi', None)
    for module in ('app', 'server'):
        monkeypatch.delitem(sys.modules, f'reloclnet_mm.serving.{module}', raising=False)
        with pytest.raises(InputError, match=r'pip install "reloclnet_mm\[serve\]"'):
            __import__(f'reloclnet_mm.serving.{module}')
