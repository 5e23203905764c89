"""Pictures of some queries in each validation and test."""

from collections.abc import Sequence
from importlib import import_module

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from reloclnet_mm.registry import HOOKS
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample
from reloclnet_mm.utils.models import bare_model
from reloclnet_mm.visualization.timeline import Timeline

Probabilities = tuple[np.ndarray, np.ndarray]


@HOOKS.register_module()
class MomentVisualizationHook(Hook):
    """Draw ranked moments of the first queries and hand the pictures to the visualizer.

    A picture shows the query's own video or, if the query names none, the best found: probabilities
    of start and end, right moments, and the best moments found; beside it the best moments of the
    corpus. It is named ``val_query_{id}`` or ``test_query_{id}``.

    Args:
        draw: Whether to draw.
        num_queries: How many of the first queries to draw.
        num_moments: How many moments of each to draw.
        interval: Number of epochs between validations that are drawn.

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
            shown = timeline(sample, probs, corpus.corpus, self.num_moments)
            image = self._drawing.draw_timeline(shown)
            runner.visualizer.add_image(f'{name}_query_{sample.query_id}', image, runner.epoch)


def timeline(
    sample: MomentDataSample,
    probabilities: Probabilities | None,
    corpus: EncodedCorpus,
    num_moments: int,
) -> Timeline:
    """Collect what to draw of a prediction.

    Args:
        sample: A query with its truth, if known, and its predictions.
        probabilities: Probabilities (L,) of start and of end at each clip of the video that is
            drawn; None: not known.
        corpus: The videos; their rows are not needed.
        num_moments: How many moments to draw.
    """
    own, video_id = 'pred_svmr' in sample, shown_video(sample)
    place = corpus.place_of(video_id)
    seconds_per_clip = float(corpus.seconds_per_clip[place])
    in_video, shares = _in_video(sample.pred_svmr if own else sample.pred_vcmr, video_id)
    truth, right = np.empty((0, 2)), set()
    if 'gt' in sample:
        truth = np.asarray(sample.gt.moments)[np.asarray(sample.gt.video_ids) == video_id]
        right = set(sample.gt.video_ids.tolist())
    start, end = probabilities or (None, None)
    return Timeline(
        query=sample.get('query', str(sample.query_id)),
        video=f'{"its own" if own else "the best found"} video {corpus.video_names[place]}',
        duration=float(sample.duration if own else corpus.layout.lengths[place] * seconds_per_clip),
        truth=truth,
        moments=in_video[:num_moments],
        shares=shares[:num_moments],
        start_prob=start,
        end_prob=end,
        seconds_per_clip=seconds_per_clip,
        in_corpus=_lines(sample.pred_vcmr, corpus, right, num_moments),
    )


def shown_video(sample: MomentDataSample) -> int:
    """Return the id of the video to draw: the query's own or, if it names none, the best found."""
    return int(sample.video_id if 'pred_svmr' in sample else sample.pred_vcmr.video_ids[0])


def _shares(scores: torch.Tensor) -> np.ndarray:
    """Each score over the sum of all, 0 where that is 0."""
    shares = np.asarray(scores, np.float64)
    # The scores of a large alpha would overflow in a sum.
    shares = shares / max(shares.max(initial=0), np.finfo(float).tiny)
    return shares / max(shares.sum(), 1)


def _in_video(found: InstanceData, video_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Moments (n, 2) of a list that are in a video, and the share of each in the whole list."""
    here = np.asarray(found.video_ids) == video_id
    return np.asarray(found.moments)[here], _shares(found.scores)[here]


def _lines(
    found: InstanceData, corpus: EncodedCorpus, right: set[int], num_moments: int
) -> list[tuple[str, bool]]:
    shown = zip(
        found.video_ids.tolist(), found.moments.tolist(), _shares(found.scores), strict=True
    )
    return [
        (
            f'{corpus.video_names[corpus.place_of(v)]}  {start:.1f}–{end:.1f} s  {share:.1%}',
            v in right,
        )
        for v, (start, end), share in list(shown)[:num_moments]
    ]


@torch.no_grad()
def _span_probabilities(
    runner: Runner, data_batch: dict, samples: Sequence[MomentDataSample], corpus: CorpusIndex
) -> Sequence[Probabilities | None]:
    """Those of each query in the video that is drawn; None where another process has them."""
    model = bare_model(runner.model)
    batch = {key: data_batch[key] for key in ('inputs', 'data_samples')}
    inputs = model.data_preprocessor(batch)['inputs']
    places = torch.tensor([corpus.corpus.place_of(shown_video(sample)) for sample in samples])
    found = model.span_probabilities(inputs, places, corpus)
    if found is None:
        return [None] * len(samples)
    return [
        (start[clips].cpu().numpy(), end[clips].cpu().numpy())
        for start, end, clips in zip(*found, strict=True)
    ]
