"""Validation and test over a corpus."""

from collections.abc import Sequence

from mmengine.dist import all_gather_object, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import LOOPS
from reloclnet_mm.retrieval.index import CorpusIndex
from reloclnet_mm.retrieval.sharding import CorpusShard
from reloclnet_mm.structures import VideoCorpus


class CorpusLoopMixin:
    """Encodes a corpus before the first batch of queries and hands it to the model with each.

    The corpus is encoded inside the run, where hooks have put averaged weights in place, and is
    dropped at its end. Ranks encode a shard each and exchange them, or keep their shards and rank
    the queries of all ranks against them.

    Args:
        runner: The runner.
        dataloader: Over queries.
        evaluator: Of the metrics.
        corpus_dataloader: Over the videos that queries are ranked against.
        shard_corpus: Whether each rank keeps its own videos only, for a corpus too large for the
            memory of one. The lists are the same.
        fp16: Of mmengine's loops.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        corpus_dataloader: DataLoader | dict,
        shard_corpus: bool = False,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if isinstance(corpus_dataloader, dict):
            corpus_dataloader = runner.build_dataloader(corpus_dataloader)
        self.corpus_dataloader = corpus_dataloader
        self.shard_corpus = shard_corpus
        self._corpus: CorpusIndex | CorpusShard | None = None
        self._check_videos()
        if shard_corpus:
            self._check_batches()

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

    @property
    def corpus(self) -> CorpusIndex | CorpusShard | None:
        """The corpus that queries are ranked against; None outside of a run."""
        return self._corpus

    def _encode_corpus(self) -> CorpusIndex | CorpusShard:
        model = self.runner.model
        model = model.module if is_model_wrapper(model) else model
        encoded = model.encode_corpus(self.corpus_dataloader)
        if self.shard_corpus and get_world_size() > 1:
            indexed = model.index_shard(encoded)
        else:
            indexed = model.index_corpus(_exchange(encoded))
        self.evaluator.dataset_meta = {
            **(self.evaluator.dataset_meta or {}),
            'corpus': indexed.corpus.describe(),
        }
        return indexed

    def _check_batches(self) -> None:
        """Stop where ranks would wait for each other forever."""
        counts = all_gather_object(len(self.dataloader))
        if len(set(counts)) > 1:
            raise InputError(
                f'shard_corpus=True needs as many batches on each rank, found {counts}; let the '
                'sampler of the queries pad its shards: round_up=True, as is its default'
            )

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


def _exchange(encoded: VideoCorpus) -> VideoCorpus:
    """The videos of all ranks."""
    shards = all_gather_object(encoded.to('cpu'))
    if len(shards) == 1:
        return encoded
    return VideoCorpus.merge(shards).to(encoded.features.device)


@LOOPS.register_module()
class CorpusValLoop(CorpusLoopMixin, ValLoop):
    """Validation over a corpus; see :class:`CorpusLoopMixin`."""


@LOOPS.register_module()
class CorpusTestLoop(CorpusLoopMixin, TestLoop):
    """Test over a corpus; see :class:`CorpusLoopMixin`."""
