"""XML (Lei et al., "TVR: A Large-Scale Dataset for Video-Subtitle Moment Retrieval", ECCV 2020)."""

from collections.abc import Mapping

from reloclnet_mm.models.base import CorpusRetriever
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import PackedRows
from reloclnet_mm.structures.corpus import RowSets


@MODELS.register_module()
class XML(CorpusRetriever):
    """Scores videos early and predicts spans late; the model that ReLoCLNet builds on.

    Videos are scored on the output of the first attention block, before streams attend to each
    other, and spans are predicted on that of the last (section 4 of the paper). With two streams
    the original has two blocks and one span head for both; with one stream, or without crosswise
    attention, it has three blocks and a span head a stream
    (:class:`~reloclnet_mm.models.span_heads.StreamSpanHead`).
    """

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Encode videos; the two uses have rows of their own."""
        blocks = self.encode_clips(inputs)
        return dict(
            retrieval={name: outputs[0] for name, outputs in blocks.items()},
            localization={name: outputs[-1] for name, outputs in blocks.items()},
        )
