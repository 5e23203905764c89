"""Ranking at random."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from reloclnet_mm.models.untrained import UntrainedModel
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.draws import draw_lists
from reloclnet_mm.retrieval.results import add_predictions, own_places
from reloclnet_mm.retrieval.sharding import CorpusIndex
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample, PackedRows
from reloclnet_mm.structures.corpus import RowSets
from reloclnet_mm.utils.checks import check_count


@MODELS.register_module()
class Chance(UntrainedModel):
    """Draws videos from the corpus, and moments from all spans that ``test_cfg`` allows.

    Its recalls are those of :class:`~reloclnet_mm.evaluation.metrics.ChanceRecall` up to what the
    draw does. Of the clips it reads their number only, so any stream will do.

    Args:
        seed: Of the draw, 0 or more. A list depends on it, on the query's id and on the corpus.
        **settings: Arguments of :class:`~reloclnet_mm.models.corpus_model.CorpusModel`.
    """

    def __init__(self, *, seed: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        check_count('Chance: seed', seed, low=0)
        self.seed = seed

    def encoding(self) -> str:
        """Describe the rows, which are empty."""
        return 'nothing'

    def encode_query(self, inputs: Mapping[str, PackedRows]) -> dict[str, Tensor]:
        """Return no stream: lists are drawn without the words of a query."""
        return {}

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Encode clips as rows of width 0, which tell how many a video has."""
        clips = inputs['clips'].features
        empty = {name: x.new_empty(len(x), 0) for name, x in clips.items()}
        return dict(retrieval=empty, localization=empty)

    def moment_search(self, corpus: EncodedCorpus) -> None:
        """Return None: moments are drawn, not searched."""

    def predict(
        self,
        inputs: dict[str, PackedRows],
        data_samples: list[MomentDataSample],
        corpus: CorpusIndex,
    ) -> list[MomentDataSample]:
        """Draw lists for each query; see :meth:`CorpusModel.predict`."""
        own = own_places(corpus.corpus, data_samples)
        ids = [sample.query_id for sample in data_samples]
        drawn = draw_lists(ids, own, corpus.corpus, self.ranking, self.seed)
        add_predictions(data_samples, drawn, own, corpus.corpus, self.ranking)
        return data_samples
