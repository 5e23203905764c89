"""The requests that ask the inferencer."""

import threading
import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query

from reloclnet_mm.errors import InputError
from reloclnet_mm.serving.answers import (
    HitAnswer,
    SearchAnswer,
    SentenceAnswer,
    TimelineAnswer,
    VideoAnswer,
    refusals,
)
from reloclnet_mm.serving.limits import SlidingWindow, limited
from reloclnet_mm.serving.media import IndexedVideos, is_playable

if TYPE_CHECKING:
    from reloclnet_mm.apis.query_inferencer import QueryInferencer
    from reloclnet_mm.indexing.hits import Hits

MAX_HITS = 100
# The inferencer refuses longer ones.
MAX_CHARACTERS = 10_000
_MAX_CHOSEN = 1000


def search_routes(
    inferencer: 'QueryInferencer',
    videos: IndexedVideos,
    *,
    max_characters: int,
    requests_per_minute: int,
    views: Any,
) -> APIRouter:
    """Return the requests for videos, moments, timelines and sentences.

    Args:
        inferencer: Asked by one request at a time.
        videos: Its videos.
        max_characters: Length of a query.
        requests_per_minute: Searches of one client.
        views: Dependency that limits the requests for timelines and sentences.

    Raises:
        InputError: A limit is out of its range.
    """
    if not 1 <= max_characters <= MAX_CHARACTERS:
        raise InputError(
            f'a query of at most {max_characters} characters: expected 1 to {MAX_CHARACTERS}'
        )
    query = Annotated[
        str,
        Query(description='A sentence that says what is looked for.', max_length=max_characters),
    ]
    searches = Depends(limited(SlidingWindow(requests_per_minute)))
    # The endpoints are no coroutines and run in threads; the inferencer serves one at a time.
    lock = threading.Lock()
    router = APIRouter(prefix='/api', tags=['search'])

    @router.get('/videos')
    def list_videos() -> list[VideoAnswer]:
        """List the videos of the index."""
        return [
            VideoAnswer(
                number=number,
                name=record.name,
                duration=record.duration,
                has_pictures=record.has_video,
                playable=is_playable(record),
                num_sentences=record.num_sentences,
            )
            for number, record in enumerate(videos.records)
        ]

    @router.get('/search', dependencies=[searches], responses=refusals(400, 404, 422, 429, 503))
    def search(
        q: query,
        top_k: Annotated[int, Query(ge=1, le=MAX_HITS, description='Moments at most.')] = 10,
        video: Annotated[
            list[int] | None,
            Query(max_length=_MAX_CHOSEN, description='Numbers of the videos; none: all.'),
        ] = None,
    ) -> SearchAnswer:
        """Find the moments that a sentence tells of."""
        names = [videos.record(number).name for number in video or ()]
        with lock:
            begin = time.perf_counter()
            hits = inferencer(q, top_k=top_k, videos=names or None)
            seconds = time.perf_counter() - begin
        return _search_answer(hits, videos, seconds)

    @router.get('/timeline', dependencies=[views], responses=refusals(400, 404, 422, 429, 503))
    def timeline(
        q: query,
        video: Annotated[int, Query(description='Number of the video.')],
        at: Annotated[
            float,
            Query(ge=0, allow_inf_nan=False, description='Second that the window is around.'),
        ] = 0.0,
    ) -> TimelineAnswer:
        """Tell how probable it is that the moment begins or ends at each time of a window."""
        record = videos.record(video)
        with lock:
            found = inferencer.timeline(q, record.name, around=min(at, record.duration))
        return TimelineAnswer.model_validate(found, from_attributes=True)

    @router.get(
        '/videos/{number}/sentences', dependencies=[views], responses=refusals(404, 422, 429, 503)
    )
    def sentences(number: int) -> list[SentenceAnswer]:
        """List what is said in a video."""
        name = videos.record(number).name
        with lock:
            found = inferencer.sentences(name)
        return [SentenceAnswer.model_validate(x, from_attributes=True) for x in found]

    return router


def _search_answer(hits: 'Hits', videos: IndexedVideos, seconds: float) -> SearchAnswer:
    return SearchAnswer(
        query=hits.query,
        hits=[
            HitAnswer(
                number=videos.number_of(hit.video),
                video=hit.video,
                start=hit.start,
                end=hit.end,
                score=hit.score,
                text=hit.text,
                stream_scores=dict(hit.stream_scores),
            )
            for hit in hits
        ],
        nothing_relevant=hits.nothing_relevant,
        null_rate=hits.null_rate,
        notes=hits.notes(),
        seconds=seconds,
    )
