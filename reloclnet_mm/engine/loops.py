"""Validation and test over a corpus."""

from collections.abc import Sequence

from mmengine.dist import all_gather_object
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.index import CorpusIndex
from reloclnet_mm.registry import LOOPS
from reloclnet_mm.structures import VideoCorpus


class CorpusLoopMixin:
    """Encodes a corpus before the first batch of queries and hands it to the model with each.

    The corpus is encoded inside the run, where hooks have put averaged weights in place, and is
    dropped at its end. Ranks encode a shard each and exchange them.

    Args:
        runner: The runner.
        dataloader: Over queries.
        evaluator: Of the metrics.
        corpus_dataloader: Over the videos that queries are ranked against.
        fp16: Of mmengine's loops.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        corpus_dataloader: DataLoader | dict,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if isinstance(corpus_dataloader, dict):
            corpus_dataloader = runner.build_dataloader(corpus_dataloader)
        self.corpus_dataloader = corpus_dataloader
        self._corpus: CorpusIndex | None = None
        self._check_videos()

    def run(self) -> dict:
        """Run the loop."""
        try:
            return super().run()
        finally:
            self._corpus = None

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Predict a batch of queries over the corpus."""
        if self._corpus is None:
            self._corpus = self._encode_corpus()
        super().run_iter(idx, {**data_batch, 'corpus': self._corpus})

    def _encode_corpus(self) -> CorpusIndex:
        model = self.runner.model
        model = model.module if is_model_wrapper(model) else model
        shard = model.encode_corpus(self.corpus_dataloader)
        shards = all_gather_object(shard.to('cpu'))
        corpus = shard
        if len(shards) > 1:
            corpus = VideoCorpus.merge(shards).to(shard.features.device)
        self.evaluator.dataset_meta = {
            **(self.evaluator.dataset_meta or {}),
            'corpus': corpus.describe(),
        }
        return model.index_corpus(corpus)

    def _check_videos(self) -> None:
        """Stop before anything is computed where a query's video is not in the corpus."""
        queries, corpus = self.dataloader.dataset, self.corpus_dataloader.dataset
        corpus_ids = corpus.video_ids()
        missing = {
            name: video_id
            for video_id, name in queries.video_ids().items()
            if video_id not in corpus_ids
        }
        if missing:
            name, video_id = next(iter(missing.items()))
            raise InputError(
                f'{queries.ann_file}: {len(missing)} videos of its queries, such as {name!r} '
                f'(id {video_id}), are not in the corpus {corpus.ann_file}; '
                'evaluate with the corpus of the same split'
            )


@LOOPS.register_module()
class CorpusValLoop(CorpusLoopMixin, ValLoop):
    """Validation over a corpus; see :class:`CorpusLoopMixin`."""


@LOOPS.register_module()
class CorpusTestLoop(CorpusLoopMixin, TestLoop):
    """Test over a corpus; see :class:`CorpusLoopMixin`."""
