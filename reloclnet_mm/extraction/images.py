"""Features of pictures by a pretrained encoder, and of queries in the same space."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.hub_models import check_device, load_model
from reloclnet_mm.registry import EXTRACTORS
from reloclnet_mm.utils.checks import check_choice, check_count
from reloclnet_mm.utils.checksums import state_checksum

DType = Literal['float32', 'float16', 'bfloat16']

_NEEDS = (
    'encoding pictures needs transformers and pillow; run: pip install "reloclnet_mm[text,video]"'
)


class ImageEncoder:
    """Maps pictures to vectors by any model of pictures that ``transformers`` loads.

    The vector of an image-text model (CLIP, SigLIP) is that which is compared with a text's; of
    another (ViT, DINO, ResNet) its pooled output, or the mean of its last layer where the
    checkpoint has no pooler.

    Args:
        name: Folder of a model as ``transformers`` saves it, or its id on the hub.
        device: As PyTorch names it.
        batch_size: Pictures that pass through the model together.
        dtype: Of the products; the weights stay in single precision. Half precision is faster on
            GPUs.

    Raises:
        InputError: The model cannot be loaded or takes no pictures.
    """

    def __init__(
        self,
        name: str | os.PathLike,
        *,
        device: str = 'cpu',
        batch_size: int = 32,
        dtype: DType = 'float32',
    ) -> None:
        check_count('ImageEncoder: batch_size', batch_size)
        check_choice('ImageEncoder: dtype', dtype, get_args(DType))
        self.name = str(name)
        self.batch_size = batch_size
        self.device = check_device(device)
        self.dtype = getattr(torch, dtype)
        self._processor, model, self._random = _load_for_images(self.name)
        self._model = model.to(self.device)
        self.width: int = self._try()

    @property
    def image_size(self) -> int:
        """Pixels of the longer side of what the model sees, or of the shorter before a crop."""
        return max(x for x in dict(self._processor.size).values() if x)

    def encode(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Encode pictures, batch by batch.

        Args:
            pictures: N arrays (H, W, 3) uint8, red first, of any sizes.

        Returns:
            (N, width) float32.

        Raises:
            InputError: Features are not finite.
        """
        batches = [
            self.features(self.prepare(pictures[begin : begin + self.batch_size]))
            for begin in range(0, len(pictures), self.batch_size)
        ]
        return np.concatenate(batches) if batches else np.zeros((0, self.width), np.float32)

    def prepare(self, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, Tensor]:
        """Resize and normalize pictures, on the CPU, to what :meth:`features` takes.

        Args:
            pictures: Arrays (H, W, 3) uint8.
        """
        inputs = self._processor(
            images=list(pictures), return_tensors='pt', input_data_format='channels_last'
        )
        return dict(inputs)

    @torch.inference_mode()
    def features(self, inputs: Mapping[str, Tensor]) -> NDArray[np.float32]:
        """Encode a batch of prepared pictures.

        Args:
            inputs: Of :meth:`prepare`, for N pictures.

        Returns:
            (N, width) float32.

        Raises:
            InputError: Features are not finite, or more than a vector a picture.
        """
        inputs = {name: x.to(self.device) for name, x in inputs.items()}
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            features = self._vectors(inputs)
        return _checked(f'encoder {self.name}', 'a picture', features)

    def checksum(self) -> str:
        """Compute the SHA-256 of the weights that the checkpoint has."""
        state = self._model.state_dict()
        return state_checksum({name: x for name, x in state.items() if name not in self._random})

    def _try(self) -> int:
        """Encode a picture, and return the width of its vector."""
        blank = np.zeros((self.image_size, self.image_size, 3), np.uint8)
        try:
            return self.encode([blank]).shape[1]
        except InputError:
            raise
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f'encoder {self.name}: cannot encode a picture ({error}); expected a model of '
                'pictures with its image processor'
            ) from error

    def _vectors(self, inputs: Mapping[str, Tensor]) -> Tensor:
        if hasattr(self._model, 'get_image_features'):
            return _pooled(self._model.get_image_features(**inputs))
        output = self._model(**inputs)
        pooled = None if self._random else output.get('pooler_output')
        if pooled is not None:
            return pooled.flatten(1)
        # (N, tokens, width) of transformers, (N, width, H, W) of convolutions
        last = output.last_hidden_state
        return last.mean(1) if last.ndim == 3 else last.mean((2, 3))


@EXTRACTORS.register_module()
class ImageTextQueries:
    """Makes features of queries by the text part of an image-text model.

    A query is a vector in the space of the pictures that an :class:`ImageEncoder` of the same model
    encodes. The model is loaded at first use.

    Args:
        encoder: Folder of a model such as CLIP or SigLIP, or its id on the hub.
        batch_size: Texts that pass through the model together.
        device: As PyTorch names it.
    """

    def __init__(
        self, *, encoder: str | os.PathLike, batch_size: int = 32, device: str = 'cpu'
    ) -> None:
        check_count('ImageTextQueries: batch_size', batch_size)
        self.name = str(encoder)
        self.batch_size = batch_size
        self.device = device

    @cached_property
    def width(self) -> int:
        """Width of a row."""
        return self._encode_batch(['a']).shape[1]

    @property
    def max_tokens(self) -> int:
        """Tokens that the model reads of a text, special ones included."""
        tokenizer, model = self._loaded
        return min(
            model.config.get_text_config().max_position_embeddings, tokenizer.model_max_length
        )

    def identity(self) -> dict[str, Any]:
        """Return what the features depend on."""
        return dict(type=type(self).__name__, encoder=self.name, weights=self._checksum)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Encode texts; what is longer than the model reads is cut.

        Args:
            texts: Queries.

        Returns:
            For each (1, width) float32.

        Raises:
            InputError: A text is empty, the model cannot be loaded, or features are not finite.
        """
        for text in texts:
            if not text.strip():
                raise InputError(f'text {text!r} has no tokens; give it words or remove it')
        rows: list[NDArray[np.float32]] = []
        for begin in range(0, len(texts), self.batch_size):
            rows += [x[None] for x in self._encode_batch(texts[begin : begin + self.batch_size])]
        return rows

    @torch.inference_mode()
    def _encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        tokenizer, model = self._loaded
        # SigLIP was trained on texts that are padded to the full length.
        inputs = tokenizer(
            list(texts),
            padding='max_length',
            truncation=True,
            max_length=self.max_tokens,
            return_tensors='pt',
        ).to(model.device)
        return _checked(
            f'encoder {self.name}', 'a query', _pooled(model.get_text_features(**inputs))
        )

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        device = check_device(self.device)
        tokenizer, model = _load_for_texts(self.name)
        return tokenizer, model.to(device)

    @cached_property
    def _checksum(self) -> str:
        return state_checksum(self._loaded[1].state_dict())


def _load_for_images(name: str) -> tuple[Any, Any, set[str]]:
    try:
        import PIL  # noqa: F401
        from transformers import AutoImageProcessor
    except ImportError as error:
        raise InputError(_NEEDS) from error
    model, random = load_model(name)
    if not hasattr(model, 'get_image_features') and model.main_input_name != 'pixel_values':
        raise InputError(
            f'encoder {name}: a {type(model).__name__}, which takes {model.main_input_name}; '
            'expected a model of pictures, such as CLIP, SigLIP, DINO, ViT or ResNet'
        )
    try:
        # The other kind needs torchvision.
        return AutoImageProcessor.from_pretrained(name, backend='pil'), model, random
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f'encoder {name}: its image processor cannot be loaded: {error}'
        ) from error


def _load_for_texts(name: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise InputError(_NEEDS) from error
    model, _ = load_model(name)
    if not hasattr(model, 'get_text_features'):
        raise InputError(
            f'encoder {name}: a {type(model).__name__}, which has no text part; expected an '
            'image-text model, such as CLIP or SigLIP'
        )
    try:
        return AutoTokenizer.from_pretrained(name), model
    except (OSError, ValueError) as error:
        raise InputError(f'encoder {name}: its tokenizer cannot be loaded: {error}') from error


def _pooled(output: Any) -> Tensor:
    """Take the vectors (N, width), which transformers returns by themselves before version 5."""
    return output if isinstance(output, Tensor) else output.pooler_output


def _checked(encoder: str, what: str, features: Any) -> NDArray[np.float32]:
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise InputError(f'{encoder}: gives more than a vector for {what}; choose another')
    rows = features.float().cpu().numpy()
    if not np.isfinite(rows).all():
        raise InputError(
            f'{encoder}: features of {what} are not finite; its weights are damaged, or it needs '
            "dtype='float32'"
        )
    return rows
