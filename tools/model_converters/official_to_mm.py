"""Turn a checkpoint of the authors' ReLoCLNet, XML or CONQUER into one of this package.

    python tools/model_converters/official_to_mm.py model.ckpt relocl_official.pth

Prints the model settings that a config for the new checkpoint needs. CONQUER is a second stage:
join_stages.py puts it behind a first one.
"""

import argparse
import io
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reloclnet_mm.engine.checkpointing.loading import load_weights_only
from reloclnet_mm.errors import InputError
from reloclnet_mm.models.official import convert_state_dict
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import replace_file

# The classes that the authors' settings are pickled as. An OrderedDict takes the state of
# either and does nothing with it.
SETTINGS_CLASSES: tuple[tuple[Callable, str], ...] = (
    (OrderedDict, 'easydict.EasyDict'),
    (OrderedDict, 'argparse.Namespace'),
)
_MAX_DEPTH = 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(arguments)
    with input_errors_end_the_program():
        check_destination(args.src, args.dst, args.overwrite)
        checkpoint = convert(args.src)
        text = config_text(checkpoint['state_dict'], checkpoint['meta']['official'])
        write(checkpoint, args.dst)
        print(f'{args.dst}: {len(checkpoint["state_dict"])} tensors. Its config needs:\n\n{text}')


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('src', help="checkpoint of the authors' programs, such as model.ckpt")
    parser.add_argument('dst', help='checkpoint to write')
    parser.add_argument('--overwrite', action='store_true', help='replace DST where it exists')
    return parser.parse_args(arguments)


def check_destination(src: str, dst: str, overwrite: bool) -> None:
    """Stop before anything could be lost.

    Raises:
        InputError: ``dst`` is the source, a folder, or a file that may not be replaced.
    """
    if os.path.isdir(dst):
        raise InputError(f'{dst}: is a folder, expected the name of the file to write')
    if os.path.realpath(src) == os.path.realpath(dst):
        raise InputError(f'{dst}: is the source itself; choose another name')
    if os.path.exists(dst) and not overwrite:
        raise InputError(f'{dst}: exists already; choose another name or give --overwrite')


def convert(src: str) -> dict[str, Any]:
    """Read the authors' checkpoint ``src`` and return ours.

    Raises:
        InputError: It is not a checkpoint of theirs, or carries more than plain data.
    """
    source = load_weights_only(src, map_location='cpu', extra_globals=SETTINGS_CLASSES)
    if not isinstance(source, dict) or not isinstance(source.get('model'), dict):
        found = sorted(map(str, source)) if isinstance(source, dict) else type(source).__name__
        raise InputError(
            f"{src}: holds {found}, expected `model`, `model_cfg` and `epoch` as the authors' "
            'train.py writes them'
        )
    try:
        # An OrderedDict from a file may carry attributes named as its methods.
        state_dict = convert_state_dict(dict(dict.items(source['model'])))
        settings = plain(source.get('model_cfg', {}), 'model_cfg')
        epoch = plain(source.get('epoch'), 'epoch')
    except InputError as error:
        raise InputError(f'{src}: {error}') from error
    # Where the program of CONQUER predicts an end differs from the others'.
    span_end = 'inclusive' if _is_conquer(state_dict) else 'official'
    meta = {'official': settings, 'official_epoch': epoch, 'span_end': span_end}
    return {'state_dict': state_dict, 'meta': meta}


def _is_conquer(state_dict: Mapping[str, Tensor]) -> bool:
    return 'flow.similarity.weight' in state_dict


def plain(value: Any, name: str, depth: int = 0) -> Any:
    """Return the setting ``value`` as builtin containers, numbers and text.

    Raises:
        InputError: There is something else in it.
    """
    if depth > _MAX_DEPTH:
        raise InputError(f'`{name}` is nested more than {_MAX_DEPTH} deep')
    if isinstance(value, dict):
        items = {**getattr(value, '__dict__', {}), **dict(dict.items(value))}
        return {str(key): plain(item, f'{name}.{key}', depth + 1) for key, item in items.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f'{name}[{i}]', depth + 1) for i, item in enumerate(value)]
    if isinstance(value, torch.device):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(f'`{name}` holds a {type(value).__name__}, expected plain settings')


def write(checkpoint: dict[str, Any], dst: str) -> None:
    """Write ``checkpoint`` to ``dst`` in one step.

    Raises:
        InputError: The file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    with replace_file(dst) as temporary:
        temporary.write_bytes(buffer.getvalue())


def config_text(state_dict: Mapping[str, Tensor], official: Mapping[str, Any]) -> str:
    """Return the part of a config that depends on the checkpoint.

    Args:
        state_dict: Our names to tensors, which tell all sizes but the number of heads.
        official: The authors' settings.
    """
    if _is_conquer(state_dict):
        return conquer_text(conquer_settings(state_dict, official))
    settings = model_settings(state_dict, official)
    streams = ', '.join(f'{name}={width}' for name, width in settings.pop('streams').items())
    max_clips = settings['context_encoder']['max_clips']
    max_tokens = settings['query_encoder']['max_tokens']
    base = "_base_ = ['xml_tvr.py']"
    lines = []
    if 'query_encoder.blocks.1.output.weight' in state_dict:
        base = "_base_ = ['relocl_tvr_official.py']  # relocl_tvr.py: without the authors' defects"
        lines = [f'    data_preprocessor=dict(pad_clips_to={max_clips}),']
    return '\n'.join(
        [
            base,
            'model = dict(',
            f'    streams=dict(_delete_=True, {streams}),',
            *(f'    {name}={value!r},' for name, value in settings.items()),
            *lines,
            ')',
            f'data = dict(dataset=dict(max_clips={max_clips}, max_tokens={max_tokens}))',
            *(f'{name}_dataloader = data' for name in ('train', 'val', 'val_corpus')),
            *(f'{name}_dataloader = data' for name in ('test', 'test_corpus')),
        ]
    )


def model_settings(state_dict: Mapping[str, Tensor], official: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the model that belong to the checkpoint.

    Raises:
        InputError: The number of heads, which no tensor tells, is not among the settings.
    """
    if 'n_heads' not in official:
        raise InputError('`model_cfg` has no `n_heads`: the number of attention heads is unknown')
    shapes = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    embed_dims, query_channels = shapes['query_encoder.projection.linear.weight']
    prefix, width = 'context_encoder.streams.', '.projection.linear.weight'
    streams = {
        name.removeprefix(prefix).removesuffix(width): shape[1]
        for name, shape in shapes.items()
        if name.startswith(prefix) and name.endswith(width)
    }
    first = f'{prefix}{next(iter(streams))}'
    merged = 'span_head.start_conv.weight' in shapes
    kernel = next(shape for name, shape in shapes.items() if name.startswith('span_head.start_'))
    return {
        'streams': streams,
        'query_channels': query_channels,
        'embed_dims': embed_dims,
        'num_heads': official['n_heads'],
        'query_encoder': {'max_tokens': shapes['query_encoder.position.embedding.weight'][0]},
        'context_encoder': {
            'num_blocks': sum(
                name.startswith(f'{first}.blocks.') and name.endswith('.output.weight')
                for name in shapes
            ),
            'crosswise': f'{first}.cross_norm.weight' in shapes,
            'max_clips': shapes['context_encoder.position.embedding.weight'][0],
        },
        'span_head': {
            'type': 'MergedSpanHead' if merged else 'StreamSpanHead',
            'kernel_size': kernel[-1],
        },
        'test_cfg': {'span_end': 'official'},
    }


def conquer_text(settings: Mapping[str, Any]) -> str:
    """Return the part of a config that depends on a checkpoint of CONQUER."""
    max_clips = settings['context_encoder']['max_clips']
    max_tokens = settings['query_encoder']['max_tokens']
    streams = ', '.join(f'{name}={width}' for name, width in settings['streams'].items())
    others = {name: value for name, value in settings.items() if name != 'streams'}
    return '\n'.join(
        [
            "_base_ = ['conquer_tvr.py']",
            'model = dict(',
            '    second_stage=dict(',
            f'        streams=dict(_delete_=True, {streams}),',
            *(f'        {name}={value!r},' for name, value in others.items()),
            "        padding='official',  # leave out these two: without the authors' defects",
            f'        data_preprocessor={dict(pad_clips_to=max_clips, pad_tokens_to=max_tokens)},',
            '    ),',
            ')',
            f'data = dict(max_clips={max_clips}, max_tokens={max_tokens})',
            'train_dataloader = dict(dataset=data)',
            *(
                f'{name}_dataloader = dict(dataset=dict(second_stage=data))'
                for name in ('val', 'val_corpus', 'test', 'test_corpus')
            ),
        ]
    )


def conquer_settings(
    state_dict: Mapping[str, Tensor], official: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of CONQUER that belong to the checkpoint.

    Raises:
        InputError: The number of heads, which no tensor tells, is not among the settings.
    """
    heads = official.get('bert_config', {}).get('num_attention_heads')
    if heads is None:
        raise InputError(
            '`model_cfg` has no `bert_config.num_attention_heads`: the number of attention heads '
            'is unknown'
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    embed_dims, query_channels = shapes['query_encoder.projection.linear.weight']
    prefix, width = 'context_encoder.projections.', '.linear.weight'
    channels, _, kernel = shapes['moment_head.start_scorer.hidden.weight']
    settings = {
        'streams': {
            name.removeprefix(prefix).removesuffix(width): shape[1]
            for name, shape in shapes.items()
            if name.startswith(prefix) and name.endswith(width)
        },
        'query_channels': query_channels,
        'embed_dims': embed_dims,
        'num_heads': heads,
        'feedforward_dims': shapes['query_encoder.layer.hidden.weight'][0],
        'query_encoder': {'max_tokens': shapes['query_encoder.position.embedding.weight'][0]},
        'context_encoder': {'max_clips': shapes['context_encoder.position.embedding.weight'][0]},
        'moment_head': {'channels': channels, 'kernel_size': kernel},
    }
    if 'stream_weights.pooling.clusters' in shapes:
        settings['num_clusters'] = shapes['stream_weights.pooling.clusters'][1]
    if 'video_head.hidden.weight' in shapes:
        settings['scoring'] = 'exclusive'
        videos = {'type': 'PairVideoHead', 'channels': shapes['video_head.hidden.weight'][0]}
        settings |= {'video_head': videos, 'loss_video': {'type': 'VideoChoiceLoss'}}
    return settings


if __name__ == '__main__':
    main()
