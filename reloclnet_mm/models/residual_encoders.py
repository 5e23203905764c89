"""Encoders that begin at pretrained features and learn what to add."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reloclnet_mm.models.layers import Padding, PreNormLayer, self_attention_masks
from reloclnet_mm.registry import MODELS
from reloclnet_mm.structures import RowLayout
from reloclnet_mm.utils.checks import check_choice, check_count, check_number

# Functions of a clip's place in its video: sines and cosines of so many frequencies, the place
# itself and the number of clips.
_FREQUENCIES = 5
_PLACE_CHANNELS = 2 * _FREQUENCIES + 2


class Residual(nn.Module):
    """Adds to a vector linear maps of it, of its context and of its video; all are 0 at first.

    Where the widths differ there is nothing to add to, and the first map starts at random.

    Args:
        in_channels: Width of the vector, and of what stands for its video.
        embed_dims: Width of its context.
        out_channels: Width of the result.
        scale: Factor of what comes from the context. Small, for an optimizer that moves each
            weight by the learning rate would move unit vectors far.
        has_video: Whether the vector is part of a video.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        out_channels: int,
        scale: float,
        has_video: bool = False,
    ) -> None:
        super().__init__()
        self.skip = in_channels == out_channels
        self.scale = scale
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.context = nn.Linear(embed_dims, out_channels)
        self.video = nn.Linear(in_channels, out_channels, bias=False) if has_video else None

    def init_weights(self) -> None:
        """Make the result equal to the vector, where it has the right width."""
        if self.skip:
            nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.context.weight)
        nn.init.zeros_(self.context.bias)
        if self.video is not None:
            nn.init.zeros_(self.video.weight)

    @torch.no_grad()
    def weaken(self, share: float) -> None:
        """Keep a share of what was learned to be added, of 1.

        Half way between the model before and after training, vectors are often better on data
        unlike that of training (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR
        2022). Where the widths differ nothing is changed.

        Args:
            share: From 0 to 1.
        """
        if self.skip:
            for x in self.parameters():
                x.mul_(share)

    def forward(
        self, x: Tensor, context: Tensor, video: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Compute unit vectors.

        Args:
            x: (R, in_channels), unit vectors.
            context: (R, embed_dims).
            video: (N, in_channels) of N videos, and the number of rows (N,) of each.

        Returns:
            (R, out_channels).
        """
        y = self.linear(x) + self.scale * self.context(context)
        if video is not None:
            whole, counts = video
            y = y + self.video(whole).repeat_interleave(counts, 0)
        return F.normalize(x + y if self.skip else y, dim=1)


def hide_rows(x: Tensor, probability: float, training: bool) -> Tensor:
    """Set whole rows of (R, d) to 0 in training, each with a probability."""
    if not training or probability == 0:
        return x
    return x * (torch.rand(len(x), 1, device=x.device) >= probability)


def jitter(x: Tensor, noise: float, training: bool) -> Tensor:
    """Turn unit vectors (R, d) a little in training, by random vectors of so much length."""
    if not training or noise == 0:
        return x
    return F.normalize(x + noise * torch.randn_like(x) / math.sqrt(x.shape[1]), dim=1)


def place_in_video(layout: RowLayout) -> Tensor:
    """Compute functions of where each clip is in its video, (R, 12).

    Args:
        layout: Layout of the R rows.
    """
    lengths = layout.lengths.repeat_interleave(layout.rows_of_each)[:, None].float()
    place = (layout.positions[:, None] + 0.5) / lengths
    angles = place * math.pi * 2.0 ** torch.arange(_FREQUENCIES, device=place.device)
    return torch.cat([angles.sin(), angles.cos(), place, lengths.log2() / 8], 1)


@MODELS.register_module()
class ResidualQueryEncoder(nn.Module):
    """Encodes a query as the mean of its tokens plus what is learned from all of them.

    Args:
        in_channels: Width of the token features, and of the query vectors.
        streams: Names of the streams; each gets a vector of its own.
        embed_dims: Width of the layers.
        num_heads: Number of attention heads.
        num_layers: Number of layers over the tokens.
        max_tokens: Number of positions in the table.
        input_dropout: Probability that a token is hidden from the layers in training.
        noise: Length of what is added to a query's mean in training, which has length 1.
        dropout: Dropout probability everywhere else.
        scale: See :class:`Residual`.
        padding: ``independent``; the authors' padding is not imitated.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        streams: Sequence[str],
        embed_dims: int,
        num_heads: int,
        num_layers: int = 1,
        max_tokens: int = 30,
        input_dropout: float = 0.2,
        noise: float = 0.3,
        dropout: float = 0.3,
        scale: float = 0.1,
        padding: Padding = 'independent',
    ) -> None:
        super().__init__()
        check_count('ResidualQueryEncoder: num_layers', num_layers)
        check_number('ResidualQueryEncoder: noise', noise, low=0)
        check_choice('ResidualQueryEncoder: padding', padding, ('independent',))
        self.in_channels = in_channels
        self.input_dropout = input_dropout
        self.noise = noise
        self.stream_names = tuple(streams)
        self.projection = nn.Linear(in_channels, embed_dims)
        self.position = nn.Embedding(max_tokens, embed_dims)
        self.layers = nn.ModuleList(
            PreNormLayer(embed_dims, num_heads, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims)
        # A pooled vector a stream, and one of the moment.
        self.pooling = nn.Linear(embed_dims, len(self.stream_names) + 1, bias=False)
        self.outputs = nn.ModuleDict(
            {
                name: Residual(in_channels, embed_dims, in_channels, scale)
                for name in self.stream_names
            }
        )
        self.moment = nn.Sequential(
            nn.Linear(2 * embed_dims, embed_dims), nn.GELU(), nn.Dropout(dropout)
        )

    def init_weights(self) -> None:
        """Add nothing at first."""
        for module in self.modules():
            if isinstance(module, Residual):
                module.init_weights()

    def forward(self, tokens: Tensor, layout: RowLayout) -> dict[str, Tensor]:
        """Compute the query vectors.

        Args:
            tokens: (R, in_channels).
            layout: Layout of the R rows of N queries.

        Returns:
            Stream name to (N, in_channels), unit vectors, and ``moment`` to (N, embed_dims).

        Raises:
            ValueError: A query is longer than the table.
        """
        length = max(block.num_rows for block in layout.blocks)
        max_len = self.position.num_embeddings
        if length > max_len:
            raise ValueError(
                f'a query of {length} tokens meets a position table of {max_len}; lower max_tokens '
                'of the data set, or enlarge that of the encoder'
            )
        mean = jitter(F.normalize(layout.mean(tokens), dim=1), self.noise, self.training)
        x = hide_rows(_visible(tokens), self.input_dropout, self.training)
        x = self.projection(x) + self.position.weight[layout.positions]
        masks = self_attention_masks(layout, 'independent')
        for layer in self.layers:
            x = layer(x, layout, masks)
        x = self.norm(x)
        *pooled, moment = self._pool(x, layout)
        encoded = {
            name: self.outputs[name](mean, context)
            for name, context in zip(self.stream_names, pooled, strict=True)
        }
        whole = self.projection(_visible(mean))
        return encoded | {'moment': self.moment(torch.cat([moment, whole], 1))}

    def _pool(self, x: Tensor, layout: RowLayout) -> tuple[Tensor, ...]:
        """Pool (R, d) into one (N, d) for each column of ``pooling``."""
        found = []
        scores = layout.split(self.pooling(x))
        for block, weights, mask in zip(layout.split(x), scores, layout.masks, strict=True):
            if mask is not None:
                weights = weights.masked_fill(~mask[..., None], float('-inf'))
            found.append(torch.einsum('bts,btd->sbd', weights.softmax(1), block))
        return torch.cat(found, 1).unbind(0)


@MODELS.register_module()
class ResidualContextEncoder(nn.Module):
    """Encodes a clip as its features plus what is learned from its neighbours and its place.

    What is learned are maps of the clip itself, of layers over all clips, and of the mean clip,
    which tells what the video is about. Streams are encoded apart. A clip without features, such as
    one in which nothing is said, has a learned direction in their place.

    Args:
        in_channels: Stream name to the width of its clip features.
        out_channels: Width of the encoded clips, that of the query vectors.
        embed_dims: Width of the layers.
        num_heads: Number of attention heads.
        num_layers: Number of layers over the clips.
        kernel_size: See :class:`~reloclnet_mm.models.layers.PreNormLayer`.
        input_dropout: Probability that a clip is hidden from the layers in training.
        noise: Length of what is added to what the layers see of a clip in training.
        dropout: Dropout probability everywhere else.
        scale: See :class:`Residual`.
        padding: ``independent``; the authors' padding is not imitated.
    """

    def __init__(
        self,
        *,
        in_channels: Mapping[str, int],
        out_channels: int,
        embed_dims: int,
        num_heads: int,
        num_layers: int = 2,
        kernel_size: int = 5,
        input_dropout: float = 0.2,
        noise: float = 0.3,
        dropout: float = 0.3,
        scale: float = 0.1,
        padding: Padding = 'independent',
    ) -> None:
        super().__init__()
        check_count('ResidualContextEncoder: num_layers', num_layers)
        check_number('ResidualContextEncoder: noise', noise, low=0)
        check_choice('ResidualContextEncoder: padding', padding, ('independent',))
        self.in_channels = dict(in_channels)
        self.streams = nn.ModuleDict(
            {
                name: _ResidualStream(
                    channels,
                    out_channels,
                    embed_dims,
                    [
                        PreNormLayer(embed_dims, num_heads, dropout, kernel_size)
                        for _ in range(num_layers)
                    ],
                    scale,
                    input_dropout,
                    noise,
                )
                for name, channels in in_channels.items()
            }
        )

    def init_weights(self) -> None:
        """Add nothing at first."""
        for module in self.modules():
            if isinstance(module, Residual):
                module.init_weights()

    def forward(
        self, clips: Mapping[str, Tensor], layout: RowLayout
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Compute unit vectors that videos are scored by, and what moments are found by.

        Args:
            clips: Stream name to (R, channels).
            layout: Layout of the R rows.

        Returns:
            Stream name to (R, out_channels) and (R, embed_dims).
        """
        return {name: stream(clips[name], layout) for name, stream in self.streams.items()}


class _ResidualStream(nn.Module):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embed_dims: int,
        layers: Sequence[PreNormLayer],
        scale: float,
        input_dropout: float,
        noise: float,
    ) -> None:
        super().__init__()
        self.input_dropout = input_dropout
        self.noise = noise
        # The gradient of a unit vector has no bound where the vector is 0.
        self.empty = nn.Parameter(F.normalize(torch.randn(in_channels), dim=0))
        self.projection = nn.Linear(in_channels + _PLACE_CHANNELS, embed_dims)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(embed_dims)
        self.output = Residual(in_channels, embed_dims, out_channels, scale, has_video=True)

    def forward(self, clips: Tensor, layout: RowLayout) -> tuple[Tensor, Tensor]:
        clips = torch.where(clips.any(1, keepdim=True), clips, self.empty)
        units = F.normalize(clips, dim=1)
        seen = jitter(units, self.noise, self.training)
        seen = hide_rows(seen, self.input_dropout, self.training)
        video = F.normalize(layout.mean(seen), dim=1)
        seen = seen * math.sqrt(seen.shape[1])
        x = self.projection(torch.cat([seen, place_in_video(layout).to(seen.dtype)], 1))
        masks = self_attention_masks(layout, 'independent')
        for layer in self.layers:
            x = layer(x, layout, masks)
        x = self.norm(x)
        return self.output(units, x, (video, layout.rows_of_each)), x


def _visible(x: Tensor) -> Tensor:
    """Scale rows so that their entries are of size 1, as what layers read should be."""
    return F.normalize(x, dim=1) * math.sqrt(x.shape[1])
