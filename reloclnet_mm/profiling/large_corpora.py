"""The search by inverted lists over corpora of any size: build, recall, time and bytes."""

import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.content import VideoContent
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.models.span_heads import MergedSpanHead
from reloclnet_mm.profiling.drawn_corpora import CorpusSource
from reloclnet_mm.retrieval.faiss_search import FaissVideoSearch, recall_of, search_exactly
from reloclnet_mm.retrieval.moment_search import MomentSearch
from reloclnet_mm.retrieval.results import RankingOptions
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.retrieval.video_search import VideoSearch
from reloclnet_mm.structures.parted_corpus import CorpusPart, PartedCorpus
from reloclnet_mm.utils.fileio import read_text
from reloclnet_mm.utils.progress import counted, progress

_QUERIES_A_VIDEO = 2
_NUM_VIDEOS, _NUM_MOMENTS = 100, 10
_MODEL = 'relocl_speech'


def encode_source(annotations: Sequence[Path], num_videos: int) -> CorpusSource:
    """Encode the descriptions of videos by several annotators as streams of what is said.

    Sentences of the last annotator are the queries.

    Args:
        annotations: A file of ActivityNet Captions of each annotator, such as ``val_1.json``.
        num_videos: How many of the videos that all of them described.

    Raises:
        InputError: A file cannot be read.
    """
    described = [json.loads(read_text(path)) for path in annotations]
    names = sorted(set.intersection(*map(set, described)))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    names = [names[i] for i in order[:num_videos].tolist()]
    inferencer = MomentInferencer(_MODEL, device='cpu', show_progress=False)
    streams, lengths = [], torch.zeros(0, dtype=torch.long)
    for annotator in described:
        encoded = [_encode(inferencer, name, annotator[name]) for name in progress(names, 'videos')]
        streams.append(torch.cat(encoded))
        lengths = torch.tensor([len(x) for x in encoded])
    texts = [
        text.strip()
        for name in names
        for text in described[-1][name]['sentences'][:_QUERIES_A_VIDEO]
        if text.strip()
    ]
    queries = F.normalize(inferencer.encode_queries(texts)['subtitle'], dim=1)
    mixed = torch.randperm(len(queries), generator=torch.Generator().manual_seed(0))
    return CorpusSource(torch.cat(streams, 1).half(), lengths, queries[mixed], len(streams))


def draw_parts(source: CorpusSource, folder: Path, num_videos: int, num_parts: int) -> None:
    """Draw a corpus into a folder, a part a file; parts that are there stay.

    Args:
        source: What it is drawn from.
        folder: Where.
        num_videos: Of all parts.
        num_parts: How many parts.
    """
    size = num_videos // num_parts
    for number in progress(range(num_parts), 'parts'):
        target = folder / f'parts/{number:03}'
        if not (target / 'corpus.json').exists():
            part = source.draw(size, 1000 + number, first_id=number * size)
            part.save(target, model_checksum='drawn')


def open_parts(folder: Path, count: int | None = None) -> PartedCorpus:
    """Open the first parts of a drawn corpus.

    Args:
        folder: Where it was drawn.
        count: How many; None: all.

    Raises:
        InputError: There is none.
    """
    paths = sorted((folder / 'parts').glob('*'))[:count]
    if not paths:
        raise InputError(f'{folder}: holds no drawn corpus; draw one first')
    return PartedCorpus({x.name: CorpusPart.load(x) for x in paths})


def build_lists(folder: Path) -> dict[str, Any]:
    """Build the lists of a drawn corpus, or go on with them, and tell time and memory.

    Args:
        folder: Where it was drawn.
    """
    corpus, begin, anonymous = open_parts(folder), time.perf_counter(), [0.0]
    with counted(len(corpus), 'videos') as advance:

        def watch(count: int) -> None:
            anonymous.append(_own_memory_gb())
            advance(count)

        search = FaissVideoSearch.build(corpus, folder / 'lists', advance=watch)
    return dict(
        videos=len(corpus),
        seconds=time.perf_counter() - begin,
        own_memory_gb=max(anonymous),
        settings=f'{search.info.settings.num_lists} lists, {search.info.settings.code}',
        disk_free_gb=shutil.disk_usage(folder).free / 1e9,
    )


def measure(folder: Path, source: CorpusSource, count: int, target_recall: float) -> dict[str, Any]:
    """Measure the search over the first parts of a drawn corpus.

    Args:
        folder: Where it was drawn, with lists.
        source: Whose queries are asked: 50 to tune, 100 others to measure.
        count: Parts.
        target_recall: Recall to tune to.
    """
    begin = time.perf_counter()
    corpus = open_parts(folder, count)
    search = FaissVideoSearch.open(corpus, folder / 'lists')
    opened = time.perf_counter() - begin
    tuned = search.tune(source.queries_of_streams(slice(0, 50)), target_recall, _NUM_VIDEOS)
    queries = source.queries_of_streams(slice(50, 150))
    exact = _Known(*search_exactly(corpus, queries, _NUM_VIDEOS))
    one_by_one = [{n: x[i : i + 1] for n, x in queries.items()} for i in range(len(exact.places))]
    places, video_times = _timed(lambda x: search.search(x, _NUM_VIDEOS)[1], one_by_one)
    indexes = [_with_moments(corpus, x) for x in (search, exact)]
    options = RankingOptions(num_videos=_NUM_VIDEOS, num_moments=_NUM_MOMENTS, tasks=('VR', 'VCMR'))
    own = torch.tensor([-1])
    moments, moment_times = _timed(lambda x: indexes[0].rank(x, own, options).moments, one_by_one)
    expected = [
        indexes[1].rank(dict(x, number=torch.tensor([[i]])), own, options).moments
        for i, x in enumerate(one_by_one)
    ]
    same = [
        torch.equal(a.places, b.places) and torch.equal(a.spans.double(), b.spans.double())
        for a, b in zip(moments, expected, strict=True)
    ]
    names = list(corpus.parts)
    return dict(
        videos=len(corpus),
        clips=int(corpus.num_clips.sum()),
        stored_clips=sum(x.num_clips for n in names for x in search.info.parts[n].values()),
        row_gb=sum(x.stat().st_size for n in names for x in (folder / 'parts' / n).iterdir()) / 1e9,
        list_gb=sum(x.size for n in names for x in search.info.parts[n].values()) / 1e9,
        opened_s=opened,
        lists=search.info.effort.num_lists,
        candidates=search.info.effort.num_candidates,
        tuned_recall=tuned.recall,
        recall=recall_of(torch.cat(places), exact.places),
        same_moments=float(np.mean(same)),
        video_ms=_quantiles(video_times),
        moment_ms=_quantiles(moment_times),
        own_memory_gb=_own_memory_gb(),
    )


class _Known(VideoSearch):
    """Answers queries, which say their number, with lists that are known."""

    def __init__(self, scores: Tensor, places: Tensor) -> None:
        self.scores, self.places = scores, places

    def search(self, queries: Mapping[str, Tensor], k: int) -> tuple[Tensor, Tensor]:
        number = int(queries['number'])
        return self.scores[number : number + 1, :k], self.places[number : number + 1, :k]


def _with_moments(corpus: PartedCorpus, videos: VideoSearch) -> CorpusIndex:
    """Rank moments by the span head of ReLoCLNet, with random weights."""
    torch.manual_seed(0)
    width = next(iter(corpus.parts.values())).corpus.rows['retrieval'][corpus.streams[0]].shape[1]
    head = MergedSpanHead(streams=corpus.streams, embed_dims=width).eval()
    return CorpusIndex.of_parts(
        corpus, videos, lambda taken: MomentSearch(taken, head), torch.device('cpu')
    )


def _encode(inferencer: MomentInferencer, name: str, entry: Mapping[str, Any]) -> Tensor:
    """Unit vectors (L, d) of the clips of a described video."""
    said = [
        TimedSentence(text.strip(), max(0.0, start), max(start + 0.1, end))
        for text, (start, end) in zip(entry['sentences'], entry['timestamps'], strict=True)
    ]
    said.sort(key=lambda sentence: sentence.start)
    features = inferencer.recipe.extract(
        VideoContent(Path(name), entry['duration'], False, tuple(said))
    )
    encoded, _ = inferencer.adder.encode(name, features, 0)
    return F.normalize(encoded.rows['retrieval']['subtitle'], dim=1)


def _timed(work: Any, queries: Sequence[Mapping[str, Tensor]]) -> tuple[list[Any], list[float]]:
    """What is answered, and the seconds of each query; the first ten are asked twice."""
    for query in queries[:10]:
        work(query)
    answers, seconds = [], []
    for query in queries:
        begin = time.perf_counter()
        answers.append(work(query))
        seconds.append(time.perf_counter() - begin)
    return answers, seconds


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    marks = statistics.quantiles(seconds, n=100)
    return {name: 1e3 * marks[at] for name, at in (('p50', 49), ('p90', 89), ('p99', 98))}


def _own_memory_gb() -> float:
    """Memory of this process without the files that are mapped into it, on Linux."""
    status = Path('/proc/self/status').read_text()
    (line,) = [x for x in status.splitlines() if x.startswith('RssAnon')]
    return int(line.split()[1]) / 1e6
