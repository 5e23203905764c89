"""The videos that a first stage finds for the queries of a split, in a file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.fileio import replace_file

NUM_SCORED = 100
"""Most videos of a list whose scores are kept."""

_FORMAT = 'reloclnet_mm first-stage lists 1'
_ADVICE = 'make it again with tools/first_stage_lists.py'


@dataclass(frozen=True)
class VideoLists:
    """The best videos of each query of a split, as a model ranks them.

    Attributes:
        query_ids: Q ids, as text.
        videos: The corpus, video id to name; a place counts through it.
        places: (Q, K) int16 or int32, places of videos, best first.
        scores: (Q, S) float32, descending, of the first S of them.
        model: Checksum of the model.
    """

    query_ids: tuple[str, ...]
    videos: Mapping[int, str]
    places: Tensor
    scores: Tensor
    model: str

    @staticmethod
    def of(
        query_ids: Sequence[str],
        video_ids: Sequence[Tensor],
        scores: Sequence[Tensor],
        videos: Mapping[int, str],
        model: str,
    ) -> 'VideoLists':
        """Put lists together.

        Args:
            query_ids: Q ids.
            video_ids: Q tensors (K,), ids of videos, best first.
            scores: Q tensors (K,).
            videos: The corpus, video id to name.
            model: Checksum of the model.
        """
        numbers = torch.tensor(list(videos))
        ids, order = numbers.sort()
        found = order[torch.searchsorted(ids, torch.stack(list(video_ids)).long())]
        dtype = torch.int16 if len(videos) <= torch.iinfo(torch.int16).max else torch.int32
        kept = torch.stack(list(scores))[:, :NUM_SCORED].float().contiguous()
        return VideoLists(tuple(query_ids), dict(videos), found.to(dtype), kept, model)

    @property
    def corpus(self) -> str:
        """SHA-256 of the ids and names of the videos."""
        return corpus_checksum(self.videos)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each query by its id."""
        return {query_id: i for i, query_id in enumerate(self.query_ids)}

    @cached_property
    def video_ids(self) -> Tensor:
        """(N,) int64, the id of the video at each place."""
        return torch.tensor(list(self.videos))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file in one step.

        Raises:
            InputError: It cannot be written.
        """
        described = dict(
            format=_FORMAT,
            model=self.model,
            corpus=self.corpus,
            query_ids=json.dumps(self.query_ids),
            videos=json.dumps(list(self.videos.items())),
        )
        tensors = dict(places=self.places.contiguous(), scores=self.scores.contiguous())
        with replace_file(path) as partial:
            save_file(tensors, partial, metadata=described)

    @staticmethod
    def load(path: str | Path) -> 'VideoLists':
        """Read a file that :meth:`save` wrote; its tensors are mapped into memory, not copied.

        Raises:
            InputError: There is no such file, or it is damaged.
        """
        if not Path(path).is_file():
            raise InputError(f'{path}: no such file of first-stage lists; {_ADVICE}')
        try:
            with safe_open(path, 'pt') as file:
                described = file.metadata() or {}
                if described.get('format') != _FORMAT:
                    raise ValueError(f'the format {described.get("format")!r}')
                places, scores = (file.get_tensor(name) for name in ('places', 'scores'))
            query_ids = json.loads(described['query_ids'])
            videos = {int(number): str(name) for number, name in json.loads(described['videos'])}
            lists = VideoLists(tuple(query_ids), videos, places, scores, described['model'])
            _check(lists, described['corpus'])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as e:
            raise InputError(
                f'{path}: found {e}, expected first-stage lists of this package; {_ADVICE}'
            ) from e
        return lists

    def check_model(self, checksum: str, where: str) -> None:
        """Check which model made the lists.

        Args:
            checksum: Checksum of the model that they are used with.
            where: File of the lists, for messages.

        Raises:
            InputError: Another model made them.
        """
        if self.model != checksum:
            raise InputError(
                f'{where}: found lists of the model {self.model[:16]}…, and the first stage is '
                f'{checksum[:16]}…; give first_stage.init_cfg the checkpoint that the lists were '
                f'made with, or {_ADVICE}'
            )

    def check_corpus(self, videos: Mapping[int, str], where: str, source: str) -> None:
        """Check that the lists are of these videos.

        Args:
            videos: Video id to name.
            where: File of the lists, for messages.
            source: File that the videos are from, for messages.

        Raises:
            InputError: They are of others: of another corpus, or of another split.
        """
        if self.corpus == corpus_checksum(videos):
            return
        missing = [name for number, name in videos.items() if self.videos.get(number) != name]
        others = [name for number, name in self.videos.items() if videos.get(number) != name]
        raise InputError(
            f'{where}: found lists of a corpus of {len(self.videos)} videos, expected the '
            f'{len(videos)} of {source}: '
            + (f'{missing[0]!r} is not in it' if missing else f'it has {others[0]!r} besides')
            + f'. Give the lists of the same split, or {_ADVICE}'
        )

    def check_queries(self, query_ids: Sequence[str], where: str, source: str) -> None:
        """Check that there is a list for each query.

        Args:
            query_ids: Ids of queries.
            where: File of the lists, for messages.
            source: File that the queries are from, for messages.

        Raises:
            InputError: A query has none.
        """
        missing = [query_id for query_id in query_ids if query_id not in self.rows]
        if missing:
            raise InputError(
                f'{where}: found no list for {len(missing)} of the {len(query_ids)} queries of '
                f'{source}, such as {missing[0]!r}; give the lists of the same split, or {_ADVICE}'
            )


def corpus_checksum(videos: Mapping[int, str]) -> str:
    """Compute the SHA-256 of the ids and names of videos, whatever their order."""
    return hashlib.sha256(json.dumps(sorted(videos.items())).encode()).hexdigest()


def _check(lists: VideoLists, corpus: str) -> None:
    """Raise a ValueError that says what is damaged."""
    places, scores = lists.places, lists.scores
    if lists.corpus != corpus:
        raise ValueError('videos that do not go with their checksum')
    count = len(lists.query_ids)
    if places.dim() != 2 or scores.dim() != 2 or {len(places), len(scores)} != {count}:
        raise ValueError(
            f'places {tuple(places.shape)} and scores {tuple(scores.shape)} of {count} queries'
        )
    if places.dtype not in (torch.int16, torch.int32) or scores.dtype != torch.float32:
        raise ValueError(f'places of {places.dtype} and scores of {scores.dtype}')
    if not 1 <= scores.shape[1] <= places.shape[1]:
        raise ValueError(f'{scores.shape[1]} scores of {places.shape[1]} videos')
    low, high = places.aminmax()
    if low < 0 or high >= len(lists.videos):
        raise ValueError(f'places from {low} to {high} of {len(lists.videos)} videos')
