"""Validation and test over a corpus."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import all_gather_object, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import LOOPS
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import EncodedCorpus
from reloclnet_mm.structures.staged_corpus import StagedCorpus
from reloclnet_mm.utils.models import bare_model


class CorpusLoopMixin:
    """Encodes a corpus before the first batch of queries and hands it to the model with each.

    The corpus is encoded inside the run, where hooks have put averaged weights in place, and is
    dropped at its end. Processes encode a shard each and exchange them, or keep their shards and
    rank the queries of all processes against them.

    Args:
        runner: The runner.
        dataloader: Dataloader of the queries.
        evaluator: Evaluator of the metrics.
        corpus_dataloader: Dataloader of the videos that queries are ranked against; None: the
            config's ``val_corpus_dataloader`` or ``test_corpus_dataloader``.
        shard_corpus: Whether each process keeps its own videos only, for a corpus too large for
            the memory of one. The lists are the same.
        encoded_corpus: Folder in which the encoded corpus is kept: it is read from there if it is
            of this model and these videos, and is written there if the folder is absent. Not with
            ``shard_corpus``.
        fp16: Passed to mmengine's loops.
    """

    corpus_key: str

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        corpus_dataloader: DataLoader | dict | None = None,
        shard_corpus: bool = False,
        encoded_corpus: str | None = None,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if corpus_dataloader is None:
            corpus_dataloader = runner.cfg.get(self.corpus_key)
        if corpus_dataloader is None:
            raise InputError(
                f'{type(self).__name__}: found no corpus_dataloader and no {self.corpus_key} in '
                'the config, expected a dataloader of the videos that queries are ranked against'
            )
        if shard_corpus and encoded_corpus:
            raise ValueError(
                f'{type(self).__name__}: encoded_corpus keeps a whole corpus and shard_corpus '
                'never has one: set one of the two'
            )
        if isinstance(corpus_dataloader, dict):
            corpus_dataloader = runner.build_dataloader(corpus_dataloader)
        self.corpus_dataloader = corpus_dataloader
        self.shard_corpus = shard_corpus
        self.encoded_corpus = encoded_corpus
        self._corpus: CorpusIndex | None = None
        self.dataloader.dataset.check_corpus(self.corpus_dataloader.dataset)
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
            self._corpus = self._index_corpus()
        super().run_iter(idx, {**data_batch, 'corpus': self._corpus})

    @property
    def corpus(self) -> CorpusIndex | None:
        """The corpus that queries are ranked against; None outside of a run."""
        return self._corpus

    def _index_corpus(self) -> CorpusIndex:
        model = bare_model(self.runner.model)
        sharded = self.shard_corpus and get_world_size() > 1
        encoded = self._read_corpus() if self.encoded_corpus else None
        if encoded is None:
            encoded = model.encode_corpus(self.corpus_dataloader)
            encoded = encoded if sharded else _exchange(encoded)
            if self.encoded_corpus and self.runner.rank == 0:
                encoded.save(self.encoded_corpus, model_checksum=model.checksum())
        index = model.index_corpus(encoded, sharded=sharded)
        self.evaluator.dataset_meta = {
            **(self.evaluator.dataset_meta or {}),
            'corpus': index.corpus.describe(),
            'span_limits': model.span_limits,
        }
        return index

    def _read_corpus(self) -> EncodedCorpus | StagedCorpus | None:
        """Read the kept corpus; None if there is none in any process."""
        if not all(all_gather_object(Path(self.encoded_corpus).exists())):
            return None
        model = bare_model(self.runner.model)
        encoded = model.load_corpus(self.encoded_corpus)
        found = dict(zip(encoded.video_ids.tolist(), encoded.video_names, strict=True))
        if found != self.corpus_dataloader.dataset.video_ids():
            raise InputError(
                f'{self.encoded_corpus}: holds {len(found)} videos that are not those of '
                f'{self.corpus_dataloader.dataset.ann_file}; give another folder, or remove this '
                'one to have it written again'
            )
        return encoded.to(model.data_preprocessor.device)

    def _check_batches(self) -> None:
        """Stop where processes would wait for each other forever."""
        counts = all_gather_object(len(self.dataloader))
        if len(set(counts)) > 1:
            raise InputError(
                f'shard_corpus=True needs as many batches in each process, found {counts}; let the '
                'sampler of the queries pad its shards: round_up=True, as is its default'
            )


def _exchange(encoded: EncodedCorpus | StagedCorpus) -> EncodedCorpus | StagedCorpus:
    """Join the videos of all processes."""
    shards = all_gather_object(encoded.to('cpu'))
    return encoded if len(shards) == 1 else encoded.merge(shards).to(encoded.device)


@LOOPS.register_module()
class CorpusValLoop(CorpusLoopMixin, ValLoop):
    """Validation over a corpus; see :class:`CorpusLoopMixin`."""

    corpus_key = 'val_corpus_dataloader'


@LOOPS.register_module()
class CorpusTestLoop(CorpusLoopMixin, TestLoop):
    """Test over a corpus; see :class:`CorpusLoopMixin`."""

    corpus_key = 'test_corpus_dataloader'
