"""Asking a trained model from Python."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, load_checkpoint
from numpy.typing import NDArray

from reloclnet_mm.datasets.packing import pack_loaded
from reloclnet_mm.engine.checkpointing.published import load_published
from reloclnet_mm.engine.hooks.checkpoint_check import span_end_difference
from reloclnet_mm.errors import InputError
from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.registry import DATASETS, MODELS
from reloclnet_mm.retrieval.sharding import CorpusIndex


class Moment(NamedTuple):
    """A found moment.

    Attributes:
        video_name: Name of the video.
        start: Seconds.
        end: Seconds.
        score: Share of the scores of all moments found with it, from 0 to 1.
    """

    video_name: str
    start: float
    end: float
    score: float


def init_model(
    config: str | Path | Config, checkpoint: str | None = None, device: str = 'cpu'
) -> CorpusModel:
    """Build a model and load its weights; the config is kept as ``model.cfg``.

    Args:
        config: Config or its file.
        checkpoint: Checkpoint file or address, or weights as ``tools/model_converters/
            publish_weights.py`` writes them (.safetensors); None: weights as training begins with
            them.
        device: Device of the model.

    Raises:
        InputError: The weights do not fit the model, or the checkpoint is of another kind of spans
            than the config.
    """
    cfg = config if isinstance(config, Config) else Config.fromfile(config)
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build(cfg.model)
    if checkpoint is None:
        model.init_weights()
    elif str(checkpoint).endswith('.safetensors'):
        load_published(model, checkpoint)
    else:
        read = load_checkpoint(model, checkpoint, map_location='cpu', strict=True, logger='silent')
        difference = span_end_difference(read, model)
        if difference:
            raise InputError(f'{checkpoint}: {difference}; use the config that it was trained with')
    model.cfg = cfg
    return model.to(device).eval()


def index_corpus(model: CorpusModel) -> CorpusIndex:
    """Encode the corpus that the model's config tests on, and make it ready for queries.

    Args:
        model: Model of :func:`init_model`.
    """
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        dataloader = Runner.build_dataloader(model.cfg.test_corpus_dataloader)
    return model.index_corpus(model.encode_corpus(dataloader))


@torch.no_grad()
def search(
    model: CorpusModel, corpus: CorpusIndex, query: NDArray, top_k: int = 10
) -> list[Moment]:
    """Find the best moments of a corpus for one query.

    Args:
        model: Model of :func:`init_model`.
        corpus: Corpus of :func:`index_corpus`.
        query: (tokens, channels) features of the query, as its feature file would hold them; of
            two stages both read them.
        top_k: Number of moments.

    Returns:
        The moments, best first.

    Raises:
        InputError: The features are no rows of finite numbers.
    """
    query = np.asarray(query, np.float32)
    if query.ndim != 2 or not len(query) or not np.isfinite(query).all():
        raise InputError(
            f'search: found query features of shape {query.shape}, expected (tokens, channels) of '
            'finite numbers'
        )
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        dataset = DATASETS.build(dict(model.cfg.test_dataloader.dataset, lazy_init=True))
    sample = pack_loaded(dataset, dict(query_id='query', query_tokens=query))
    batch = model.data_preprocessor(pseudo_collate([sample]))
    (found,) = model.predict(batch['inputs'], batch['data_samples'], corpus)
    ranked = found.pred_vcmr
    shares = (ranked.scores / ranked.scores.sum()).tolist()
    videos = corpus.corpus
    return [
        Moment(videos.video_names[videos.place_of(video)], start, end, share)
        for video, (start, end), share in zip(
            ranked.video_ids.tolist(), ranked.moments.tolist(), shares, strict=True
        )
    ][:top_k]
