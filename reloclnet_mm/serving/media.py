"""The files of an index, found by the number of their video, and thumbnails of them."""

import io
import logging
import mimetypes
import os
import stat
import threading
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

from fastapi import HTTPException
from mmengine.logging import print_log

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.frames import frame_at
from reloclnet_mm.indexing.records import VideoRecord

THUMBNAIL_WIDTH = 320
# of about 15 kB each
CACHED_THUMBNAILS = 512
_UNKNOWN_TYPE = 'application/octet-stream'


class IndexedVideos:
    """The videos of an index by number, and their files.

    No path of a request reaches the disk: a request has a number, the index has the path.

    Args:
        records: Videos of the index; a video's number is its place.
    """

    def __init__(self, records: Sequence[VideoRecord]) -> None:
        self.records = tuple(records)
        self._numbers = {record.name: number for number, record in enumerate(self.records)}
        # A file that was touched is read once to see whether it is the same.
        self._is_same = lru_cache(CACHED_THUMBNAILS)(self._compare)

    def record(self, number: int) -> VideoRecord:
        """Return a video of the index.

        Raises:
            HTTPException: 404, there is no such number.
        """
        if not 0 <= number < len(self.records):
            raise HTTPException(
                HTTPStatus.NOT_FOUND,
                f'no video {number}; the index has {len(self.records)}, numbered from 0',
            )
        return self.records[number]

    def number_of(self, name: str) -> int:
        """Return the number of a video of the index."""
        return self._numbers[name]

    def file(self, number: int) -> tuple[str, os.stat_result]:
        """Return the path of a video's file, and what the system says of it.

        Raises:
            HTTPException: 404, there is no such number or the file is gone; 410, the file is
                not the one that was indexed.
        """
        record = self.record(number)
        try:
            found = os.stat(record.path)
        except OSError as error:
            raise HTTPException(
                HTTPStatus.NOT_FOUND,
                f'the file of {record.name} is gone ({error.strerror}); put it back',
            ) from error
        if not stat.S_ISREG(found.st_mode) or not self._is_same(number, found.st_mtime_ns):
            raise HTTPException(
                HTTPStatus.GONE,
                f'the file of {record.name} has changed; index it again and restart the server',
            )
        return record.path, found

    def _compare(self, number: int, _mtime_ns: int) -> bool:
        return self.records[number].files[0].is_current()


class Thumbnails:
    """Makes JPEG pictures of moments, of which the last used are kept in memory.

    Args:
        videos: Of which pictures are made.
    """

    def __init__(self, videos: IndexedVideos) -> None:
        self._videos = videos
        # One is decoded at a time: a page asks for ten, and the decoder has threads of its own.
        self._decoding = threading.Lock()
        self._jpeg = lru_cache(CACHED_THUMBNAILS)(self._make_jpeg)

    def jpeg(self, number: int, seconds: float) -> bytes:
        """Return the picture of a video that is shown at a time.

        Args:
            number: Number of the video.
            seconds: Time to a tenth; what is after the end is the end.

        Raises:
            HTTPException: 404 or 410, there is no picture or no file.
        """
        record = self._videos.record(number)
        if not record.has_video:
            raise HTTPException(HTTPStatus.NOT_FOUND, f'{record.name} has no pictures')
        path, found = self._videos.file(number)
        return self._jpeg(number, path, found.st_mtime_ns, round(min(seconds, record.duration), 1))

    # The time of the last change is there for the cache: pictures of an older file are not shown.
    def _make_jpeg(self, number: int, path: str, _changed: int, seconds: float) -> bytes:
        try:
            with self._decoding:
                picture = frame_at(path, seconds, THUMBNAIL_WIDTH)
        except InputError as error:
            # The message names the path, which is for the terminal and not for the client.
            print_log(str(error), 'current', logging.WARNING)
            raise HTTPException(
                HTTPStatus.NOT_FOUND,
                f'no picture of {self._videos.record(number).name} at {seconds} s',
            ) from error
        buffer = io.BytesIO()
        picture.convert('RGB').save(buffer, 'JPEG', quality=82)
        return buffer.getvalue()


def media_type(path: str) -> str:
    """Return the type of a file of video or sound by its name, and of any other none in particular.

    A file that the browser would take for a page could run scripts in the name of this server.
    """
    guessed = mimetypes.guess_type(path)[0] or ''
    return guessed if guessed.startswith(('video/', 'audio/')) else _UNKNOWN_TYPE


def is_playable(record: VideoRecord) -> bool:
    """Whether there is something to play: pictures, or a file of sound."""
    return record.has_video or media_type(record.path) != _UNKNOWN_TYPE
