"""Parameter names of the authors' programs (ReLoCLNet, XML; CONQUER) and ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.official_conquer import conquer_names, is_conquer
from reloclnet_mm.models.official_names import parameters, rename, within

_PREFIXES = {'video': 'video', 'subtitle': 'sub'}
_POSITION = {'position_embeddings': 'embedding', 'LayerNorm': 'norm'}
_PROJECTION = {'LayerNorm': 'norm', 'net.1': 'linear'}
_ATTENTION = {name: name for name in ('query', 'key', 'value')}
_BLOCK = {
    'self.query': 'attention.query',
    'self.key': 'attention.key',
    'self.value': 'attention.value',
    'output.dense': 'output',
    'output.LayerNorm': 'norm',
}
_WITHOUT_BIAS = ('position_embeddings', 'modular_vector_mapping', '_predictor')


@dataclass(frozen=True)
class OfficialLayout:
    """Which layers a model of the authors' programs has.

    Attributes:
        streams: ``video``, ``subtitle`` or both.
        query_blocks: Attention blocks of the query encoder: ReLoCLNet has two, XML one.
        clip_blocks: Attention blocks of a stream.
        crosswise: Whether the streams attend to each other.
        stream_heads: Whether each stream has a span head of its own.
    """

    streams: tuple[str, ...]
    query_blocks: int
    clip_blocks: int
    crosswise: bool
    stream_heads: bool

    @staticmethod
    def of(official: Iterable[str]) -> 'OfficialLayout':
        """Tell the layout from the authors' names.

        Args:
            official: Names of parameters.

        Raises:
            InputError: The names are not those of ReLoCLNet or XML.
        """
        modules = {str(name).partition('.')[0] for name in official}
        streams = tuple(x for x, prefix in _PREFIXES.items() if f'{prefix}_input_proj' in modules)
        if not streams:
            raise InputError(
                'the weights have neither `video_input_proj` nor `sub_input_proj`: they are not of '
                "the authors' ReLoCLNet, XML or CONQUER"
            )
        prefixes = [_PREFIXES[stream] for stream in streams]
        return OfficialLayout(
            streams,
            query_blocks=1 + ('query_encoder1' in modules),
            clip_blocks=2 + any(f'{prefix}_encoder3' in modules for prefix in prefixes),
            crosswise=len(streams) > 1
            and any(f'{prefix}_cross_att' in modules for prefix in prefixes),
            stream_heads='merged_st_predictor' not in modules,
        )

    @property
    def model(self) -> str:
        """The model's name: ``ReLoCLNet`` or ``XML``."""
        return 'ReLoCLNet' if self.query_blocks == 2 else 'XML'


def parameter_names(layout: OfficialLayout) -> dict[str, str]:
    """Map the authors' name of each parameter to ours.

    Args:
        layout: Which layers there are.
    """
    modules = {
        **within('query_pos_embed', 'query_encoder.position', _POSITION),
        **within('query_input_proj', 'query_encoder.projection', _PROJECTION),
        'modular_vector_mapping': 'query_encoder.pooling',
        **within('ctx_pos_embed', 'context_encoder.position', _POSITION),
    }
    for block in range(layout.query_blocks):
        theirs = f'query_encoder{block or ""}'
        modules |= within(theirs, f'query_encoder.blocks.{block}', _BLOCK)
    if not layout.stream_heads:
        modules |= _head('merged', 'start_conv', 'end_conv')
    for stream in layout.streams:
        modules |= _stream_modules(stream, layout)
        if layout.crosswise:
            modules |= _cross_modules(stream)
    return parameters(modules, _WITHOUT_BIAS)


def convert_state_dict(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the parameters of the authors' ReLoCLNet, XML or CONQUER to ours.

    Args:
        official: The authors' names to tensors, of two streams or of one. With one stream of
            ReLoCLNet or XML, the layers between streams, which nothing used, are left out.

    Raises:
        InputError: A name is unknown, or one is missing.
    """
    if is_conquer(official):
        return rename(official, conquer_names(official), (), 'CONQUER')
    layout = OfficialLayout.of(official)
    unused: dict[str, str] = {}
    if len(layout.streams) == 1:
        unused = parameters(_cross_modules(layout.streams[0]), _WITHOUT_BIAS)
    return rename(official, parameter_names(layout), unused, layout.model)


def _head(theirs: str, start: str, end: str) -> dict[str, str]:
    return {
        f'{theirs}_st_predictor': f'span_head.{start}',
        f'{theirs}_ed_predictor': f'span_head.{end}',
    }


def _stream_modules(stream: str, layout: OfficialLayout) -> dict[str, str]:
    prefix, ours = _PREFIXES[stream], f'context_encoder.streams.{stream}'
    modules = within(f'{prefix}_input_proj', f'{ours}.projection', _PROJECTION)
    for block in range(layout.clip_blocks):
        modules |= within(f'{prefix}_encoder{block + 1}', f'{ours}.blocks.{block}', _BLOCK)
    modules[f'{prefix}_query_linear'] = f'span_head.query_maps.{stream}'
    if layout.stream_heads:
        modules |= _head(prefix, f'start_convs.{stream}', f'end_convs.{stream}')
    return modules


def _cross_modules(stream: str) -> dict[str, str]:
    prefix, ours = _PREFIXES[stream], f'context_encoder.streams.{stream}'
    modules = within(f'{prefix}_cross_att', f'{ours}.cross_attention', _ATTENTION)
    modules[f'{prefix}_cross_layernorm'] = f'{ours}.cross_norm'
    return modules
