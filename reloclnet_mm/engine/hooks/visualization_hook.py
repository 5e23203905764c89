"""Pictures of some queries in each validation and test."""

from collections.abc import Sequence
from importlib import import_module

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from reloclnet_mm.registry import HOOKS
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample
from reloclnet_mm.visualization.timeline import Timeline


@HOOKS.register_module()
class MomentVisualizationHook(Hook):
    """Draws ranked moments of the first queries and hands them to the visualizer.

    Each picture shows the query's own video: probabilities of start and end, truth, and the best
    moments; beside it the best moments of the corpus. It is named ``val_query_{id}`` or
    ``test_query_{id}``. Queries of a split without answers, which name no video, are not drawn.

    Args:
        draw: Whether to draw.
        num_queries: How many of the first queries.
        num_moments: How many moments of each.
        interval: Epochs from one validation that is drawn to the next.

    Raises:
        InputError: matplotlib is missing.
    """

    def __init__(
        self, draw: bool = True, num_queries: int = 4, num_moments: int = 5, interval: int = 1
    ) -> None:
        self.draw = draw
        self.num_queries = num_queries
        self.num_moments = num_moments
        self.interval = interval
        self._left = 0
        # matplotlib is optional: who does not draw does not need it.
        self._drawing = import_module('reloclnet_mm.visualization.drawing') if draw else None

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin to count queries."""
        due = runner.epoch % self.interval == 0
        self._left = self.num_queries if self.draw and due else 0

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin to count queries."""
        self._left = self.num_queries if self.draw else 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[MomentDataSample] | None = None,
    ) -> None:
        """Draw."""
        self._draw(runner, 'val', data_batch, outputs)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[MomentDataSample] | None = None,
    ) -> None:
        """Draw."""
        self._draw(runner, 'test', data_batch, outputs)

    def _draw(
        self, runner: Runner, name: str, data_batch: dict, outputs: Sequence[MomentDataSample]
    ) -> None:
        chosen = list(outputs)[: self._left]
        self._left -= len(chosen)
        if not chosen or not is_main_process():
            return
        corpus = (runner.val_loop if name == 'val' else runner.test_loop).corpus
        probabilities = _span_probabilities(runner, data_batch, chosen, corpus)
        for sample, probs in zip(chosen, probabilities, strict=True):
            if 'pred_svmr' not in sample:
                runner.logger.warning(
                    f'query {sample.query_id!r} is not drawn: its annotation names no video'
                )
                continue
            shown = timeline(sample, probs, corpus.corpus, self.num_moments)
            image = self._drawing.draw_timeline(shown)
            runner.visualizer.add_image(f'{name}_query_{sample.query_id}', image, runner.epoch)


def timeline(
    sample: MomentDataSample,
    probabilities: tuple[np.ndarray, np.ndarray] | None,
    corpus: EncodedCorpus,
    num_moments: int,
) -> Timeline:
    """What is drawn of a prediction.

    Args:
        sample: A query with its truth and its predictions.
        probabilities: Of start and end at each clip of its own video, (L,) each; None: not known.
        corpus: The videos; features are not needed.
        num_moments: How many moments.
    """
    found, own = sample.pred_vcmr, sample.pred_svmr
    best = zip(
        found.video_ids[:num_moments].tolist(), found.moments[:num_moments].tolist(), strict=True
    )
    start, end = probabilities or (None, None)
    return Timeline(
        query=sample.get('query', str(sample.query_id)),
        video_name=sample.video_name,
        duration=float(sample.duration),
        truth=np.asarray(sample.gt.moments) if 'gt' in sample else np.empty((0, 2)),
        moments=np.asarray(own.moments[:num_moments]),
        scores=np.asarray(own.scores[:num_moments]),
        start_prob=start,
        end_prob=end,
        seconds_per_clip=float(corpus.seconds_per_clip[corpus.place_of(sample.video_id)]),
        in_corpus=[
            (
                f'{corpus.video_names[corpus.place_of(video)]}  {begin:.1f}–{finish:.1f} s',
                video == sample.video_id,
            )
            for video, (begin, finish) in best
        ],
    )


@torch.no_grad()
def _span_probabilities(
    runner: Runner,
    data_batch: dict,
    samples: Sequence[MomentDataSample],
    corpus: CorpusIndex,
) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """Of each query in its own video; None where that is on another rank or not known."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if corpus.is_sharded:
        return [None] * len(samples)
    inputs = model.data_preprocessor({key: data_batch[key] for key in ('inputs', 'data_samples')})[
        'inputs'
    ]
    queries = {name: x[: len(samples)] for name, x in model.encode_query(inputs).items()}
    places = [corpus.corpus.place_of(s.video_id) if 'video_id' in s else -1 for s in samples]
    start, end, mask = corpus.span_probabilities(queries, torch.tensor(places).clamp(min=0))
    return [
        None if place < 0 else (s[m].cpu().numpy(), e[m].cpu().numpy())
        for place, s, e, m in zip(places, start, end, mask, strict=True)
    ]
