"""A few queries in the layout of each data set, as its owners write them, and its reader."""

import json
from pathlib import Path

from tiny_corpus import write_lines

CHARADES_LINES = (
    'AO8RW 0.0 6.9##a person is putting a book on a shelf.',
    'Y6R7T 20.8 31.5##person begins to play on a phone.',
    'Y6R7T 20.8 30.0##person start playing ## on their phone.',
)
CHARADES_DURATIONS = {'AO8RW': 33.67, 'UNUSED': 12.0, 'Y6R7T': 30.0}


def write_charades(folder):
    (folder / 'charades_sta_train.txt').write_text('\n'.join(CHARADES_LINES) + '\n')
    index = {
        name: dict(subset='training', duration=duration, actions=[[92, 0.0, 4.5]])
        for name, duration in CHARADES_DURATIONS.items()
    }
    (folder / 'charades.json').write_text(json.dumps(index))
    return dict(
        type='reloclnet_mm.CharadesSTAReader',
        ann_file='charades_sta_train.txt',
        video_index='charades.json',
    )


DIDEMO_ENTRIES = [
    dict(
        num_segments=5,
        description='camera stops panning right\n',
        dl_link='https://example.org/1',
        times=[[4, 4], [3, 4], [4, 4], [0, 0]],
        video='86091119@N00_13912142554_c451140af5.mp4',
        annotation_id=49158,
    ),
    dict(
        num_segments=6,
        description='the baby is first shown.',
        dl_link='https://example.org/2',
        times=[[1, 1], [1, 1], [1, 1], [0, 5], [1, 2]],
        video='39727414@N00_3622114091_452b89919c.3gp',
        annotation_id=40961,
    ),
]


def write_didemo(folder):
    (folder / 'train_data.json').write_text(json.dumps(DIDEMO_ENTRIES))
    return dict(type='reloclnet_mm.DiDeMoReader', ann_file='train_data.json')


QVHIGHLIGHTS_LINES = [
    dict(
        qid=8737,
        query='A family is playing basketball together on a green court outside. ',
        duration=126,
        vid='bP5KfdFJzC4_660.0_810.0',
        relevant_windows=[[0, 4], [100, 126]],
        relevant_clip_ids=[0, 1, *range(50, 63)],
        saliency_scores=[[4, 1, 1]] * 15,
    ),
    dict(
        qid=10016,
        query='Man in baseball cap eats before doing his interview.',
        duration=150,
        vid='j7rJstUseKg_360.0_510.0',
        relevant_windows=[[96, 114]],
        relevant_clip_ids=[*range(48, 57)],
        saliency_scores=[[2, 3, 3]] * 9,
    ),
]


def write_qvhighlights(folder):
    write_lines(folder / 'highlight_train_release.jsonl', QVHIGHLIGHTS_LINES)
    return dict(type='reloclnet_mm.QVHighlightsReader', ann_file='highlight_train_release.jsonl')


def ranked_moment(video_name, timestamp, duration, **judged):
    return dict(
        pair_id=0,
        video_name=video_name,
        timestamp=timestamp,
        duration=duration,
        caption='A man lies.',
        similarity=0.75,
        **judged,
    )


TVR_RANKING_ENTRIES = [
    dict(
        query_id=54251,
        query='A man and a woman are talking about how he lied to a patient.',
        relevant_moment=[
            ranked_moment('house_s07e03_seg02_clip_24', [63.47, 77.42], 90.02, relevance=4),
            ranked_moment('castle_s01e01_seg02_clip_00', [1.5, 9.0], 96.03, relevance=1.5),
            ranked_moment('house_s07e03_seg02_clip_24', [0.0, 5.0], 90.02, relevance=0),
        ],
    ),
    dict(
        query_id=7,
        query='Someone opens a door.',
        relevant_moment=[
            ranked_moment('castle_s01e01_seg02_clip_00', [20, 30], 96.03, relevance=0)
        ],
    ),
]
TVR_RANKING_CORPUS = {
    'castle_s01e01_seg02_clip_00': 96.03,
    'friends_s01e01_seg02_clip_00': 60.5,
    'house_s07e03_seg02_clip_24': 90.02,
}


def write_tvr_ranking(folder):
    (folder / 'val.json').write_text(json.dumps(TVR_RANKING_ENTRIES))
    (folder / 'video_corpus.json').write_text(json.dumps(TVR_RANKING_CORPUS))
    return dict(
        type='reloclnet_mm.TVRRankingReader', ann_file='val.json', video_index='video_corpus.json'
    )


OWN_LINES = [
    dict(desc_id=0, desc='the cat jumps', vid_name='cat', duration=12.5, ts=[1.0, 4.5]),
    dict(desc_id=1, desc='a dog barks', vid_name='dog', duration=60, ts=[[3, 9], [4, 10]]),
    dict(desc_id=2, desc='the cat sleeps', vid_name='cat', duration=12.5, ts=[8, 12.5]),
]


def write_own(folder):
    write_lines(folder / 'own.jsonl', OWN_LINES)
    return dict(type='reloclnet_mm.TVRReader', ann_file='own.jsonl')


CAPTIONS = {
    'v_uqiMw7tQ1Cc': dict(
        duration=55.15,
        timestamps=[[0.28, 55.15], [41.36, 13.79]],
        sentences=['A weight lifting tutorial is given.', '  The coach helps the guy.'],
    ),
    'v_bXdq2zI1Ms0': dict(duration=73.1, timestamps=[[0, 10.6]], sentences=['Three men stand.']),
}


def write_activitynet(folder):
    (folder / 'train.json').write_text(json.dumps(CAPTIONS))
    return dict(type='reloclnet_mm.ActivityNetCaptionsReader', ann_file='train.json')


def write_layout(write, folder):
    """Write a layout, and return the config of its reader with the folder in it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return dict(write(folder), data_root=str(folder))
