"""Parameter names of the authors' program and ours."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from reloclnet_mm.errors import InputError

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


def parameter_names(streams: Sequence[str]) -> dict[str, str]:
    """The authors' name of each parameter to ours.

    Args:
        streams: ``video``, ``subtitle`` or both.
    """
    modules = {
        **_within('query_pos_embed', 'query_encoder.position', _POSITION),
        **_within('query_input_proj', 'query_encoder.projection', _PROJECTION),
        **_within('query_encoder', 'query_encoder.blocks.0', _BLOCK),
        **_within('query_encoder1', 'query_encoder.blocks.1', _BLOCK),
        'modular_vector_mapping': 'query_encoder.pooling',
        **_within('ctx_pos_embed', 'context_encoder.position', _POSITION),
        'merged_st_predictor': 'span_head.start_conv',
        'merged_ed_predictor': 'span_head.end_conv',
    }
    for stream in streams:
        modules |= _stream_modules(stream)
        if len(streams) > 1:
            modules |= _cross_modules(stream)
    return _parameters(modules)


def convert_state_dict(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the parameters of the authors' program to ours.

    Args:
        official: The authors' names to tensors, of two streams or of one. With one stream,
            the layers between streams, which nothing used, are left out.

    Raises:
        InputError: A name is unknown, or one is missing.
    """
    streams = [
        stream
        for stream, prefix in _PREFIXES.items()
        if any(str(name).startswith(f'{prefix}_input_proj.') for name in official)
    ]
    if not streams:
        raise InputError(
            'the weights have neither `video_input_proj` nor `sub_input_proj`: they are not of the '
            "authors' ReLoCLNet"
        )
    names = parameter_names(streams)
    unused = _parameters(_cross_modules(streams[0])) if len(streams) == 1 else {}
    _check_names(official, names, unused)
    return {ours: official[theirs] for theirs, ours in names.items()}


def _check_names(
    official: Mapping[str, Tensor], names: Mapping[str, str], unused: Mapping[str, str]
) -> None:
    missing = [name for name in names if name not in official]
    unknown = [name for name in official if name not in names and name not in unused]
    if missing or unknown:
        raise InputError(
            f"the weights are not those of the authors' ReLoCLNet: missing {missing}, unknown "
            f'{unknown}; give the checkpoint that their train.py wrote'
        )
    wrong = [name for name in names if not isinstance(official[name], Tensor)]
    if wrong:
        raise InputError(f'the weights {wrong} are no tensors')


def _within(theirs: str, ours: str, inner: Mapping[str, str]) -> dict[str, str]:
    return {f'{theirs}.{name}': f'{ours}.{renamed}' for name, renamed in inner.items()}


def _stream_modules(stream: str) -> dict[str, str]:
    prefix, ours = _PREFIXES[stream], f'context_encoder.streams.{stream}'
    modules = _within(f'{prefix}_input_proj', f'{ours}.projection', _PROJECTION)
    for block in range(3):
        modules |= _within(f'{prefix}_encoder{block + 1}', f'{ours}.blocks.{block}', _BLOCK)
    modules[f'{prefix}_query_linear'] = f'span_head.query_maps.{stream}'
    return modules


def _cross_modules(stream: str) -> dict[str, str]:
    prefix, ours = _PREFIXES[stream], f'context_encoder.streams.{stream}'
    modules = _within(f'{prefix}_cross_att', f'{ours}.cross_attention', _ATTENTION)
    modules[f'{prefix}_cross_layernorm'] = f'{ours}.cross_norm'
    return modules


def _parameters(modules: Mapping[str, str]) -> dict[str, str]:
    return {
        f'{theirs}.{kind}': f'{ours}.{kind}'
        for theirs, ours in modules.items()
        for kind in (('weight',) if theirs.endswith(_WITHOUT_BIAS) else ('weight', 'bias'))
    }
