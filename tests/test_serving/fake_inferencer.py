"""An inferencer whose answers can be worked by hand, over small real videos."""

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import av
import numpy as np

from reloclnet_mm.errors import QueryError
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.indexing.hits import Hit, Hits
from reloclnet_mm.indexing.records import FileStamp, VideoRecord

COLORS = dict(red=(200, 30, 30), green=(30, 160, 60), blue=(30, 60, 200))
SCRIPT = '<script>document.title = "taken over"</script>'
KNIFE, STONE, ONION = (
    TimedSentence('How to sharpen a knife on a stone.', 1.0, 3.0),
    TimedSentence('Wet the stone first.', 3.0, 5.0),
    TimedSentence(f'{SCRIPT} Cut the onion with the sharp knife.', 0.0, 2.5),
)


def record_of(number, name, path, duration, has_video, num_sentences):
    stamp = FileStamp.of(path)
    return VideoRecord(
        name, str(path), duration, has_video, num_sentences, (stamp,), number, (0.0,)
    )


def write_video(path, seconds=6, size=(160, 90), rate=5):
    """Frames of a red, a green and a blue part of equal length, a key frame each second."""
    with av.open(str(path), 'w', options=dict(movflags='faststart')) as container:
        stream = container.add_stream('libx264', rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt, stream.gop_size = 'yuv420p', rate
        for number in range(seconds * rate):
            color = list(COLORS.values())[number * 3 // (seconds * rate)]
            pixels = np.full((size[1], size[0], 3), color, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, 'rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class FakeInferencer:
    """Finds sentences by the words that they share with the query.

    The score is the share of all shared words. Two calls at once are an error.
    """

    def __init__(self, videos, sentences, null_rate=0.01):
        self.videos = tuple(videos)
        self.null_rate = null_rate
        self.calls = []
        self.delay = 0.0
        self._sentences = sentences
        self._asked = threading.Lock()

    def __call__(self, query, *, top_k=10, videos=None):
        with self._alone():
            self.calls.append((query, top_k, videos))
            if not query.strip():
                raise QueryError('the query is empty; write a sentence')
            if query == 'break':
                raise RuntimeError('/secret/path')
            words = set(query.lower().split())
            found = [
                (len(words & set(sentence.text.lower().strip('.').split())), record, sentence)
                for record in self.videos
                for sentence in self._sentences[record.name]
                if videos is None or record.name in videos
            ]
            found = sorted((x for x in found if x[0]), key=lambda x: -x[0])
            total = sum(shared for shared, _, _ in found)
            hits = [
                Hit(
                    video=record.name,
                    path=record.path,
                    start=sentence.start,
                    end=sentence.end,
                    score=shared / total,
                    text=sentence.text,
                    stream_scores=dict(text=0.5),
                    has_pictures=record.has_video,
                )
                for shared, record, sentence in found[:top_k]
            ]
            return Hits(hits, query, self.null_rate)

    def sentences(self, name):
        with self._alone():
            return list(self._sentences[name])

    def timeline(self, query, name, *, around=0.0):
        with self._alone():
            self.calls.append((query, name, around))
            return SimpleNamespace(
                start=0.0,
                clip_seconds=0.5,
                begins=[0.05, 0.1, 0.6, 0.1, 0.05, 0.04, 0.02, 0.02, 0.01, 0.01, 0.0, 0.0],
                ends=[0.0, 0.0, 0.02, 0.03, 0.1, 0.7, 0.1, 0.03, 0.01, 0.01, 0.0, 0.0],
            )

    @contextmanager
    def _alone(self):
        assert self._asked.acquire(blocking=False), 'asked by two threads at once'
        try:
            # Long enough for another thread to come in between.
            time.sleep(self.delay)
            yield
        finally:
            self._asked.release()


def make_inferencer(folder):
    """Three videos: two with pictures, one of them named to do harm, and a subtitle file alone."""
    names = ('knives', f'onions {SCRIPT}')
    paths = [write_video(folder / f'{number}.mp4') for number in range(len(names))]
    text_alone = folder / 'talk.srt'
    text_alone.write_text('1\n00:00:03,000 --> 00:00:05,000\nWet the stone first.\n')
    sentences = {names[0]: [KNIFE, STONE], names[1]: [ONION], 'talk': [STONE]}
    videos = [
        record_of(0, names[0], paths[0], 6.0, True, 2),
        record_of(1, names[1], paths[1], 6.0, True, 1),
        record_of(2, 'talk', text_alone, 5.0, False, 1),
    ]
    return FakeInferencer(videos, sentences)
