"""A second stage over one query's videos: ours, and the same without each of its steps."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reloclnet_mm.models import SecondStage
from reloclnet_mm.profiling.harness import Subject, Workload, random_lengths, random_streams
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.pair_scores import EncodedWords, PairScores, score_places
from reloclnet_mm.structures import PackedRows, RowLayout


@dataclass(frozen=True)
class Sizes:
    """Queries and the videos that are re-ranked for each.

    Attributes:
        queries: Number of queries, which are asked in turn.
        videos: Number of videos of the corpus.
        reranked: How many of them are re-ranked for a query.
        mean_clips: Mean number of clips of a video.
    """

    queries: int
    videos: int
    reranked: int
    mean_clips: float


@dataclass(frozen=True)
class Features:
    """Random features at the widths of a model.

    Attributes:
        model: The second stage.
        clips: Stream name to (R, channels).
        layout: Layout of the R rows: the videos, sorted by length.
        queries: Each a batch of one.
        places: (Q, V) int64, the videos that are re-ranked for each query.
    """

    model: SecondStage
    clips: dict[str, Tensor]
    layout: RowLayout
    queries: list[dict[str, PackedRows]]
    places: Tensor

    @staticmethod
    def draw(config: Path, sizes: Sizes) -> 'Features':
        """Build the second stage of a config and draw features, the same for the same sizes."""
        MMLogger.get_instance('benchmark', log_level=logging.WARNING)
        settings = Config.fromfile(config).model.second_stage
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('reloclnet_mm'):
            model = MODELS.build(settings)
        model.init_weights()
        generator = torch.Generator().manual_seed(0)
        most = settings.context_encoder.max_clips
        lengths = sorted(random_lengths(sizes.videos, sizes.mean_clips, most, generator))
        most = settings.query_encoder.max_tokens
        tokens = random_lengths(sizes.queries, most / 2, most, generator)
        drawn = torch.rand(sizes.queries, sizes.videos, generator=generator)
        return Features(
            model.eval().requires_grad_(False),
            random_streams(sum(lengths), settings.streams, generator),
            RowLayout.stack(lengths, lengths),
            [_query(count, settings.query_channels, generator) for count in tokens],
            drawn.argsort(1)[:, : sizes.reranked],
        )

    def padded(self, length: int) -> 'Features':
        """Pad all videos to so many rows."""
        lengths = self.layout.lengths.tolist()
        clips = {}
        for name, x in self.clips.items():
            rows = pad_sequence(x.split(lengths), batch_first=True)
            missing = rows.new_zeros(len(rows), length - rows.shape[1], rows.shape[2])
            clips[name] = torch.cat([rows, missing], 1).flatten(0, 1)
        return replace(self, clips=clips, layout=RowLayout.stack(lengths, [length] * len(lengths)))

    def encode(self, places: Sequence[int]) -> tuple[dict[str, Tensor], RowLayout]:
        """Compute the video part of some videos: stream name to (R, d), and their layout."""
        chosen = torch.tensor(places)
        rows, _ = self.layout.rows_of(chosen)
        layout = self.layout.chosen(chosen)
        clips = {name: x[rows] for name, x in self.clips.items()}
        packed = PackedRows(clips, layout, torch.arange(len(places)))
        return self.model.encode_context(dict(clips=packed))['interaction'], layout

    def encode_all(self) -> dict[str, Tensor]:
        """Compute the video part of the corpus, some videos at a time."""
        parts = [self.encode(part)[0] for part in _groups(len(self.layout))]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _query(count: int, width: int, generator: torch.Generator) -> dict[str, PackedRows]:
    tokens = random_streams(count, dict(query=width), generator)
    return dict(query=PackedRows(tokens, RowLayout.stack([count], [count]), torch.zeros(1).long()))


def _groups(count: int, size: int = 64) -> list[list[int]]:
    return [part.tolist() for part in torch.arange(count).split(size)]


def _in_turn(data: Features) -> Iterator[tuple[EncodedWords, Tensor]]:
    """Yield the encoded words of one query after the other, and its videos (1, V)."""
    for query, places in cycle(zip(data.queries, data.places, strict=True)):
        yield data.model.encode_words(query), places[None]


def cached(config: Path, sizes: Sizes, *, padded: bool = False) -> Workload:
    """Re-rank the videos of one query together; their video part was computed before.

    Args:
        config: Config of two stages.
        sizes: How many.
        padded: Whether all videos are padded to the most clips that the model takes; otherwise
            none is padded.
    """
    data = Features.draw(config, sizes)
    longest = int(data.layout.lengths.max())
    if padded:
        data = data.padded(Config.fromfile(config).model.second_stage.context_encoder.max_clips)
    corpus, turns = data.encode_all(), _in_turn(data)

    @torch.no_grad()
    def work() -> dict[str, Tensor]:
        words, places = next(turns)
        return _shown(_score(data, words, corpus, data.layout, places), longest)

    return work


def one_by_one(config: Path, sizes: Sizes) -> Workload:
    """Re-rank the videos of one query one after another; their video part was computed before."""
    data = Features.draw(config, sizes)
    corpus, turns, longest = data.encode_all(), _in_turn(data), int(data.layout.lengths.max())

    @torch.no_grad()
    def work() -> dict[str, Tensor]:
        words, places = next(turns)
        parts = [_score(data, words, corpus, data.layout, x) for x in places.split(1, 1)]
        found = [_shown(part, longest) for part in parts]
        return {name: torch.cat([part[name] for part in found], 1) for name in found[0]}

    return work


def encoded_again(config: Path, sizes: Sizes) -> Workload:
    """Re-rank the videos of one query together, and compute their video part for it."""
    data = Features.draw(config, sizes)
    turns, longest = _in_turn(data), int(data.layout.lengths.max())

    @torch.no_grad()
    def work() -> dict[str, Tensor]:
        words, places = next(turns)
        # Videos of equal length share a block of attention.
        by_length, order = places[0].sort()
        rows, layout = data.encode(by_length.tolist())
        return _shown(_score(data, words, rows, layout, order.argsort()[None]), longest)

    return work


def _score(
    data: Features, words: EncodedWords, rows: dict[str, Tensor], layout: RowLayout, places: Tensor
) -> PairScores:
    return score_places(
        data.model,
        words,
        rows,
        layout,
        places,
        num_clips=max(block.num_rows for block in layout.blocks),
        pairs_at_once=places.numel(),
    )


def _shown(scores: PairScores, length: int) -> dict[str, Tensor]:
    """Return the scores with as many clips as the longest video has."""
    least = torch.finfo(torch.float32).min

    def fitted(x: Tensor) -> Tensor:
        if x.dim() < 3:
            return x
        missing = max(length - x.shape[2], 0)
        return torch.nn.functional.pad(x[..., :length], (0, missing), value=least)

    return {name: fitted(x) for name, x in vars(scores).items() if x is not None}


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Return the largest difference of a score, relative to the largest valid one.

    Args:
        found: Scores of one query by name; −3.4e38 at clips that a video does not have.
        expected: The others.

    Raises:
        ValueError: They differ in which clips are valid.
    """
    worst = 0.0
    for name, b in expected.items():
        a, valid = found[name], b > torch.finfo(torch.float32).min
        if not torch.equal(a > torch.finfo(torch.float32).min, valid):
            raise ValueError(f'{name}: other clips are valid')
        worst = max(worst, float((a - b)[valid].abs().max() / b[valid].abs().max()))
    return worst


def subjects(config: Path, sizes: Sizes) -> list[Subject]:
    """Return ours, and the same without one of its steps each."""
    settings = dict(config=config, sizes=sizes)
    return [
        Subject('ours', cached, settings),
        Subject('padded', cached, dict(settings, padded=True)),
        Subject('one by one', one_by_one, settings),
        Subject('video part for each query', encoded_again, settings),
    ]
