"""The server of the page: routes, limits and what every answer says to the browser."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from reloclnet_mm.errors import InputError, QueryError, UnavailableError

try:
    from fastapi import APIRouter, Depends, FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import FileResponse, JSONResponse, Response
    from starlette.datastructures import MutableHeaders
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as e:
    raise InputError('the page needs FastAPI; run: pip install "reloclnet_mm[serve]"') from e

from reloclnet_mm.serving.answers import refusals
from reloclnet_mm.serving.limits import SlidingWindow, limited
from reloclnet_mm.serving.media import IndexedVideos, Thumbnails, is_playable, media_type
from reloclnet_mm.serving.search_routes import search_routes
from reloclnet_mm.version import __version__

if TYPE_CHECKING:
    from reloclnet_mm.apis.query_inferencer import QueryInferencer

LOOPBACK_HOSTS = ('localhost', '127.0.0.1', '[::1]')
_HEADERS = {
    'Content-Security-Policy': (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    # Numbers of videos mean others after the index has grown.
    'Cache-Control': 'no-cache',
}
# The page asks for a thumbnail and a timeline of each of its ten hits, and for what is said.
_VIEWS_PER_SEARCH = 30
_PAGES = {
    '/': ('page.html', 'text/html'),
    '/page.css': ('page.css', 'text/css'),
    '/page.js': ('page.js', 'text/javascript'),
    '/docs': ('docs.html', 'text/html'),
    '/docs.js': ('docs.js', 'text/javascript'),
    '/icon.svg': ('icon.svg', 'image/svg+xml'),
}


def create_app(
    inferencer: 'QueryInferencer',
    *,
    max_characters: int = 1000,
    requests_per_minute: int = 120,
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
) -> FastAPI:
    """Build the server of the page that searches an index.

    Args:
        inferencer: Model and index, which must not change while the server runs.
        max_characters: Length of a query.
        requests_per_minute: Searches of one client; of timelines, sentences and thumbnails together
            thirty times as many.
        allowed_hosts: What a browser may call this computer by. Other names, which a foreign page
            could make point to it, are refused; ``'*'`` allows all.

    Raises:
        InputError: A limit is out of its range.
    """
    app = FastAPI(
        title='Find a moment',
        description='Finds the moment in a collection of videos that a sentence tells of.',
        version=__version__,
        # These pages of FastAPI are loaded from elsewhere; docs.html is of this package.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))
    app.add_middleware(_FixedHeaders, headers=_HEADERS)
    app.add_exception_handler(QueryError, _answer_query_error)
    app.add_exception_handler(UnavailableError, _answer_unavailable)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(Exception, _answer_failure)
    videos = IndexedVideos(inferencer.videos)
    views = Depends(limited(SlidingWindow(_VIEWS_PER_SEARCH * requests_per_minute)))
    app.include_router(_page_routes())
    app.include_router(
        search_routes(
            inferencer,
            videos,
            max_characters=max_characters,
            requests_per_minute=requests_per_minute,
            views=views,
        )
    )
    app.include_router(_media_routes(videos, views))
    return app


def _page_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for path, (name, kind) in _PAGES.items():
        content = files(__package__).joinpath(name).read_bytes()
        router.add_api_route(path, _answers(content, kind), methods=['GET'])
    return router


def _answers(content: bytes, kind: str) -> Any:
    async def answer() -> Response:
        return Response(content, media_type=kind)

    return answer


def _media_routes(videos: IndexedVideos, views: Any) -> APIRouter:
    thumbnails = Thumbnails(videos)
    router = APIRouter(prefix='/videos', tags=['media'], responses=refusals(404, 410, 422))

    @router.api_route('/{number}/media', methods=['GET', 'HEAD'], response_class=FileResponse)
    def media(number: int) -> Response:
        """Return the video itself, or ranges of its bytes."""
        record = videos.record(number)
        if not is_playable(record):
            problem = f'{record.name} has neither pictures nor sound'
            return JSONResponse({'detail': problem}, HTTPStatus.NOT_FOUND)
        path, found = videos.file(number)
        return FileResponse(path, stat_result=found, media_type=media_type(path))

    @router.get(
        '/{number}/thumbnail',
        dependencies=[views],
        response_class=Response,
        responses={200: {'content': {'image/jpeg': {}}}},
    )
    def thumbnail(
        number: int,
        at: Annotated[float, Query(ge=0, allow_inf_nan=False, description='Seconds.')] = 0.0,
    ) -> Response:
        """Return the picture that is shown at a time, as JPEG."""
        return Response(thumbnails.jpeg(number, at), media_type='image/jpeg')

    return router


class _FixedHeaders:
    """Adds the same headers to every answer."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def _answer_query_error(_: Request, error: QueryError) -> JSONResponse:
    return JSONResponse({'detail': str(error)}, HTTPStatus.BAD_REQUEST)


async def _answer_unavailable(_: Request, error: UnavailableError) -> JSONResponse:
    return JSONResponse({'detail': str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)


async def _answer_invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
    # What was sent is left out, for it may be long.
    problems = [f'{problem["loc"][-1]}: {problem["msg"]}' for problem in error.errors()]
    return JSONResponse({'detail': '; '.join(problems)}, HTTPStatus.UNPROCESSABLE_ENTITY)


async def _answer_failure(_: Request, __: Exception) -> JSONResponse:
    problem = 'the server failed; what happened is in its terminal'
    return JSONResponse({'detail': problem}, HTTPStatus.INTERNAL_SERVER_ERROR)
