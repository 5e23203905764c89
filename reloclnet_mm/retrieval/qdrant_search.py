"""The best videos of a corpus that a Qdrant collection holds.

A video is a point, whose id is that of the video, and a stream is a named multivector of its clips,
which Qdrant compares with a query by the largest cosine.

Letters of shapes: Q queries, N videos, d width, K best videos.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.retrieval.video_search import VideoSearch
from reloclnet_mm.structures import EncodedCorpus

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import ApiException
except ImportError as e:
    raise InputError('Qdrant needs its client; run: pip install "reloclnet_mm[qdrant]"') from e

# Qdrant refuses a longer multivector.
MAX_NUMBERS = 2**20
QUANTIZATIONS: dict[str, models.QuantizationConfig] = {
    'int8': models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8)
    ),
    'binary': models.BinaryQuantization(binary=models.BinaryQuantizationConfig()),
    'product': models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X16)
    ),
}
# Numbers of a request: some 6 MB of JSON. A server refuses more than 32 MB unless told otherwise.
_NUMBERS_AT_ONCE = 2**18
_IDS_AT_ONCE = 1000
_QUERIES_AT_ONCE = 16
# Neither the graph nor quantized vectors, which are both approximate.
_EXACT = models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))


def open_qdrant(path: str | Path | None = None, url: str | None = None) -> QdrantClient:
    """Open a folder of the client's local mode, or connect to a server.

    A folder is unpickled: open none that others have written.

    Args:
        path: Folder; it is made if absent.
        url: Address of a server; one of both is given.

    Raises:
        InputError: The folder cannot be used.
    """
    if (path is None) == (url is None):
        raise InputError(f'path {path!r} and url {url!r}: expected one of both')
    if url is not None:
        return QdrantClient(url=url)
    try:
        return QdrantClient(path=str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f'{path}: not a folder that Qdrant can use ({error}); end the program that uses it, or '
            'give another folder'
        ) from error


def write_corpus(
    client: QdrantClient,
    collection: str,
    corpus: EncodedCorpus,
    *,
    quantization: str | None = None,
    payload: Mapping[int, Mapping[str, Any]] | None = None,
    update: bool = False,
) -> None:
    """Write the retrieval rows of a corpus into a collection, in requests of bounded size.

    Rows are written as unit vectors. The payload of each point is ``name``, ``seconds_per_clip``
    and ``num_clips``.

    Args:
        client: Client of Qdrant.
        collection: Name of the collection; it is made if absent.
        corpus: The encoded videos.
        quantization: Name in ``QUANTIZATIONS``, with which a new collection is made; None: float32
            alone.
        payload: Id of a video to what else its point says.
        update: Whether a collection that has videos may be changed to hold this corpus and no other
            video.

    Raises:
        InputError: A video is too long for Qdrant or its id negative, the corpus has no retrieval
            rows, the collection has other streams, or videos and is not to be updated, or the
            server does not answer.
    """
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise InputError(
            f'quantization {quantization!r}, expected one of {", ".join(QUANTIZATIONS)}'
        )
    if 'retrieval' not in corpus.rows:
        raise InputError(
            f'the corpus has rows for {", ".join(corpus.rows)}, expected some for retrieval; '
            'encode it with a model that ranks videos by their clips'
        )
    widths = {name: x.shape[1] for name, x in corpus.rows['retrieval'].items()}
    _check_videos(corpus, max(widths.values()))
    with _answers_of(collection):
        if client.collection_exists(collection):
            _check_streams(client, collection, widths)
            stored = _stored_ids(client, collection)
        else:
            _create(client, collection, widths, quantization)
            stored = []
        if stored and not update:
            raise InputError(
                f'Qdrant collection {collection!r}: holds {len(stored)} videos already; give '
                'another name, or say that it is to be updated'
            )
        for points in _batches(corpus, payload or {}):
            client.upsert(collection, points)
        gone = sorted({*stored} - {*corpus.video_ids.tolist()})
        if gone:
            client.delete(collection, models.PointIdsList(points=gone))


class QdrantVideoSearch(VideoSearch):
    """Ranks the videos of a collection that :func:`write_corpus` wrote.

    Qdrant ranks by one stream at a time. So the best candidates by each stream are joined, each
    stream scores all of them exactly, and the mean of these scores ranks them. A list is exact if
    ``num_candidates`` is N or more; then all videos are scored in one request a stream. With fewer
    a video is missed that is among the best by the mean and among the candidates of no stream, and
    on a server the candidates themselves are approximate. Each query costs a request for
    ``num_candidates`` and a request for at most streams × ``num_candidates`` exact scores, of each
    stream.

    Args:
        client: Client of Qdrant.
        collection: Name of the collection.
        video_ids: (N,) ids of the videos, to whose places searches lead, as ``video_ids`` of the
            corpus; None: those of the collection, ascending.
        num_candidates: Best videos by each stream that are candidates; never fewer than K.

    Attributes:
        streams: Names of the streams.
        video_ids: (N,) int64, the videos by place.
        num_candidates: As above.

    Raises:
        InputError: There is no such collection, it has other videos or no streams, or the server
            does not answer.
    """

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        video_ids: Sequence[int] | Tensor | None = None,
        *,
        num_candidates: int = 200,
    ) -> None:
        if num_candidates < 1:
            raise InputError(f'num_candidates={num_candidates}, expected at least 1')
        with _answers_of(collection):
            if not client.collection_exists(collection):
                raise InputError(
                    f'Qdrant collection {collection!r}: does not exist; write one with '
                    'tools/export_qdrant.py'
                )
            self.streams = tuple(_streams_of(client, collection))
            stored = _stored_ids(client, collection)
        if not self.streams or not stored:
            raise InputError(
                f'Qdrant collection {collection!r}: found {len(stored)} points of '
                f'{len(self.streams)} multivectors compared by cosine, expected some; write '
                'another one with tools/export_qdrant.py'
            )
        self.video_ids = torch.as_tensor(stored if video_ids is None else video_ids)
        if sorted(self.video_ids.tolist()) != stored:
            raise InputError(
                f'Qdrant collection {collection!r}: found {len(stored)} videos, which are not the '
                f'{len(self.video_ids)} expected; write the corpus again'
            )
        self.num_candidates = num_candidates
        self._client = client
        self._collection = collection
        self._places = {video_id: i for i, video_id in enumerate(self.video_ids.tolist())}

    def search(self, queries: Mapping[str, Tensor], k: int) -> tuple[Tensor, Tensor]:
        """Find the best videos; see :meth:`VideoSearch.search`.

        Raises:
            InputError: The server does not answer.
        """
        units = [F.normalize(queries[name], dim=1) for name in self.streams]
        k = min(k, len(self._places))
        found = []
        for parts in zip(*(x.split(_QUERIES_AT_ONCE) for x in units), strict=True):
            scores = self._scores(dict(zip(self.streams, parts, strict=True)), k)
            found.append(scores.topk(k, dim=1))
        best, places = (torch.cat(x).to(units[0].device) for x in zip(*found, strict=True))
        return best, places

    def _scores(self, units: Mapping[str, Tensor], k: int) -> Tensor:
        """Score (Q, N) the candidates of each query; −∞ for the other videos."""
        count = len(next(iter(units.values())))
        wanted = max(self.num_candidates, k)
        if wanted >= len(self._places):
            chosen = [None] * count
        else:
            chosen = [set() for _ in range(count)]
            for _, query, points in self._ask(units, [None] * count, wanted, None):
                chosen[query].update(point.id for point in points)
        total = torch.zeros(count, len(self._places))
        scored = torch.zeros(count, len(self._places), dtype=torch.long)
        for _, query, points in self._ask(units, chosen, len(self._places), _EXACT):
            places = torch.tensor([self._places[point.id] for point in points])
            total[query, places] += torch.tensor([point.score for point in points])
            scored[query, places] += 1
        return (total / len(units)).masked_fill_(scored < len(units), -math.inf)

    def _ask(
        self,
        units: Mapping[str, Tensor],
        chosen: Sequence[set[int] | None],
        limit: int,
        params: models.SearchParams | None,
    ) -> Iterator[tuple[str, int, list[models.ScoredPoint]]]:
        """Yield stream, query and its best points, of the chosen videos of each query."""
        asked = [(name, query) for name, x in units.items() for query in range(len(x))]
        requests = [
            models.QueryRequest(
                # A multivector of one: the sum over the query's vectors is then a cosine.
                query=[units[name][query].tolist()],
                using=name,
                filter=_only(chosen[query]),
                limit=limit if chosen[query] is None else len(chosen[query]),
                params=params,
            )
            for name, query in asked
        ]
        with _answers_of(self._collection):
            answers = self._client.query_batch_points(self._collection, requests)
        for (name, query), answer in zip(asked, answers, strict=True):
            yield name, query, answer.points


def _only(video_ids: set[int] | None) -> models.Filter | None:
    if video_ids is None:
        return None
    return models.Filter(must=[models.HasIdCondition(has_id=sorted(video_ids))])


def _check_videos(corpus: EncodedCorpus, width: int) -> None:
    most = MAX_NUMBERS // width
    lengths = corpus.layout.lengths.tolist()
    for name, video_id, length in zip(
        corpus.video_names, corpus.video_ids.tolist(), lengths, strict=True
    ):
        if length > most:
            raise InputError(
                f'{name}: found {length:,} clips of width {width}, expected at most {most:,}, for '
                f'Qdrant takes {MAX_NUMBERS:,} numbers a video and stream; divide the video, or '
                'encode longer clips'
            )
        if video_id < 0:
            raise InputError(f'{name}: found the id {video_id}, expected 0 or more, as of a point')


def _create(
    client: QdrantClient, collection: str, widths: Mapping[str, int], quantization: str | None
) -> None:
    compared = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    client.create_collection(
        collection,
        vectors_config={
            name: models.VectorParams(
                size=width, distance=models.Distance.COSINE, multivector_config=compared
            )
            for name, width in widths.items()
        },
        quantization_config=QUANTIZATIONS[quantization] if quantization else None,
    )


def _streams_of(client: QdrantClient, collection: str) -> dict[str, int]:
    """Return name and width of the multivectors that are compared by cosine."""
    vectors = client.get_collection(collection).config.params.vectors
    # A vector without a name is no dict.
    named = vectors if isinstance(vectors, dict) else {}
    return {
        name: params.size
        for name, params in named.items()
        if params.multivector_config is not None and params.distance == models.Distance.COSINE
    }


def _check_streams(client: QdrantClient, collection: str, widths: Mapping[str, int]) -> None:
    found = _streams_of(client, collection)
    if found != widths:
        told, expected = (
            ', '.join(f'{name} of width {width}' for name, width in sorted(x.items())) or 'none'
            for x in (found, widths)
        )
        raise InputError(
            f'Qdrant collection {collection!r}: found the streams {told}, expected {expected}; '
            'give another name'
        )


def _stored_ids(client: QdrantClient, collection: str) -> list[int]:
    """Return the ids of all points, ascending; one that is no number is refused."""
    found: list[int] = []
    offset = None
    while True:
        points, offset = client.scroll(
            collection, limit=_IDS_AT_ONCE, offset=offset, with_payload=False
        )
        for point in points:
            if not isinstance(point.id, int):
                raise InputError(
                    f'Qdrant collection {collection!r}: found the id {point.id!r}, expected '
                    'numbers of videos; give another name'
                )
            found.append(point.id)
        if offset is None:
            return sorted(found)


def _batches(
    corpus: EncodedCorpus, payload: Mapping[int, Mapping[str, Any]]
) -> Iterator[list[models.PointStruct]]:
    """Yield points of so many numbers together, or one that has more."""
    info = corpus.describe()
    numbers_per_clip = sum(x.shape[1] for x in corpus.rows['retrieval'].values())
    points: list[models.PointStruct] = []
    room = _NUMBERS_AT_ONCE
    for i, first in enumerate(corpus.layout.first_rows.tolist()):
        # Padding follows the clips of a video.
        rows = slice(first, first + info.num_clips[i])
        size = info.num_clips[i] * numbers_per_clip
        if points and size > room:
            yield points
            points, room = [], _NUMBERS_AT_ONCE
        room -= size
        said = dict(
            name=info.video_names[i],
            seconds_per_clip=info.seconds_per_clip[i],
            num_clips=info.num_clips[i],
        )
        points.append(
            models.PointStruct(
                id=info.video_ids[i],
                # A server takes short vectors for zero, and leaves them as they are.
                vector={
                    name: F.normalize(x[rows], dim=1).tolist()
                    for name, x in corpus.rows['retrieval'].items()
                },
                payload=said | dict(payload.get(info.video_ids[i], {})),
            )
        )
    yield points


@contextmanager
def _answers_of(collection: str) -> Iterator[None]:
    """Turn an error of the client into one message."""
    try:
        yield
    except ApiException as error:
        raise InputError(
            f'Qdrant collection {collection!r}: no usable answer ({error}); check the address and '
            'that the server runs'
        ) from error
