"""What a two-stage retriever needs of a model that mixes query and video before scoring."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from reloclnet_mm.models.encoding_model import EncodingModel
from reloclnet_mm.registry import MODELS
from reloclnet_mm.retrieval.moment_search import VideoPairs
from reloclnet_mm.retrieval.pair_scores import EncodedWords, PairScores, score_places
from reloclnet_mm.structures import MomentDataSample, PackedRows, RowLayout
from reloclnet_mm.utils.checks import check_choice

Scoring = Literal['general', 'exclusive', 'disjoint']
"""What a moment's score is made of beside its start and its end.

``general``: r · p_st · p_ed, where r is what the first stage gives the video and p_st and p_ed are
probabilities within the video. ``exclusive``: the same, r being the probability of the video among
those that are re-ranked, by a score of its own. ``disjoint``: start logit + end logit, compared
over all of these videos.
"""


class SecondStage(EncodingModel):
    """Scores pairs of a query and a video, of which each costs a pass; the base of second stages.

    What does not depend on the other side is computed once: the words of a query for all of its
    videos (:meth:`encode_words`), the clips of a video for all queries (:meth:`encode_context`).
    It is trained on queries that come with several videos, each its own one first.

    Args:
        scoring: See :data:`Scoring`.
        loss_span: Config of :class:`~reloclnet_mm.models.losses.SpanLoss`, on the clips of all
            videos of a query together (shared normalization, Hou et al., 2021).
        loss_video: Config of :class:`~reloclnet_mm.models.losses.VideoChoiceLoss`, for
            ``exclusive``.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Passed to mmengine's BaseModel.
    """

    kept_rows = ('interaction',)

    def __init__(
        self,
        *,
        scoring: Scoring,
        loss_span: dict,
        loss_video: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor or dict(type='reloclnet_mm.PairDataPreprocessor'), init_cfg
        )
        name = type(self).__name__
        check_choice(f'{name}: scoring', scoring, ('general', 'exclusive', 'disjoint'))
        if (scoring == 'exclusive') != (loss_video is not None):
            raise ValueError(
                f'{name}: scoring is {scoring!r} and loss_video is {loss_video!r}, expected a loss '
                "of video scores with 'exclusive' and with nothing else"
            )
        self.scoring = scoring
        self.loss_span = MODELS.build(loss_span)
        self.loss_video = MODELS.build(loss_video) if loss_video else None

    @property
    def scores_videos(self) -> bool:
        """Whether it scores videos as a whole."""
        return self.scoring == 'exclusive'

    @abstractmethod
    def encode_words(self, inputs: Mapping[str, PackedRows]) -> EncodedWords:
        """Encode queries by themselves.

        Args:
            inputs: ``query``, whose feature ``query`` is (R, query_channels).
        """

    @abstractmethod
    def score_pairs(
        self,
        words: EncodedWords,
        rows: Mapping[str, Tensor],
        layout: RowLayout,
        pairs: VideoPairs,
    ) -> PairScores:
        """Score pairs of a query and a video.

        Args:
            words: Q queries.
            rows: Stream name to (R, d), the ``interaction`` rows of videos.
            layout: Layout of the R rows.
            pairs: P pairs, sorted by video.

        Returns:
            Logits (P, L), where L is the most rows that one of the videos takes, and scores (P,).
        """

    def forward(
        self,
        inputs: dict[str, PackedRows],
        data_samples: Sequence[MomentDataSample] | None = None,
        mode: Literal['loss', 'tensor'] = 'tensor',
    ) -> dict[str, Tensor]:
        """Compute losses, or scores of queries beside the videos that come with them.

        Args:
            inputs: ``query`` and ``clips``, whose places are (B, V), or (B,) for one video each.
            data_samples: B samples with ``gt_span``; not needed for ``tensor``.
            mode: ``loss`` or ``tensor``. Predictions are made by
                :class:`~reloclnet_mm.models.TwoStageRetriever`.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'tensor':
            return {name: x for name, x in vars(self.score_batch(inputs)).items() if x is not None}
        raise ValueError(
            f"mode is {mode!r}, expected 'loss' or 'tensor'; a second stage predicts as part of "
            'a TwoStageRetriever'
        )

    def score_batch(self, inputs: Mapping[str, PackedRows]) -> PairScores:
        """Score each query of a batch with the videos that come with it, (B, V, L) and (B, V)."""
        clips = inputs['clips']
        places = clips.places.reshape(len(clips.places), -1)
        return score_places(
            self,
            self.encode_words(inputs),
            self.encode_context(inputs)['interaction'],
            clips.layout,
            places,
            num_clips=max(block.num_rows for block in clips.layout.blocks),
            pairs_at_once=places.numel(),
        )

    def loss(
        self, inputs: Mapping[str, PackedRows], data_samples: Sequence[MomentDataSample]
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            inputs: As of :meth:`forward`, the own video of each query first.
            data_samples: B samples with ``gt_span``, clips of the own video.
        """
        scores = self.score_batch(inputs)
        spans = torch.from_numpy(np.stack([sample.gt_span for sample in data_samples]))
        with torch.autocast(scores.start_logits.device.type, enabled=False):
            # One softmax over the clips of all videos. Those of the own one come first, so that
            # their numbers stay what they are.
            logits = scores.start_logits.flatten(1), scores.end_logits.flatten(1)
            losses = dict(loss_span=self.loss_span(*logits, spans.to(logits[0].device)))
            if self.loss_video is not None:
                losses['loss_video'] = self.loss_video(scores.video_scores)
        return losses
