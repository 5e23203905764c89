"""Put the weights of a first and of a second stage into one checkpoint of a TwoStageRetriever.

    python tools/model_converters/join_stages.py relocl.pth conquer.pth both.pth

SECOND may be a checkpoint of two stages too: its second stage is taken.
"""

import argparse
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reloclnet_mm.engine.checkpointing.loading import load_weights_only
from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import replace_file

_STAGES = ('first_stage.', 'second_stage.')


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(arguments)
    with input_errors_end_the_program():
        (first, _), (second, meta) = read_weights(args.first), read_weights(args.second)
        if any(name.startswith(_STAGES) for name in first):
            raise InputError(
                f'{args.first}: has two stages itself; give the checkpoint of a first stage'
            )
        joined = join(first, second)
        buffer = io.BytesIO()
        torch.save(dict(state_dict=joined, **meta), buffer)
        with replace_file(args.out) as temporary:
            temporary.write_bytes(buffer.getvalue())
        print(f'{args.out}: {len(joined)} tensors')


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('first', help='checkpoint of the first stage')
    parser.add_argument('second', help='checkpoint of the second stage, or of both')
    parser.add_argument('out', help='checkpoint to write')
    return parser.parse_args(arguments)


def read_weights(path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights of a checkpoint by name, and ``meta`` with its ``span_end``, if it has one.

    Raises:
        InputError: It has none.
    """
    checkpoint = load_weights_only(path, map_location='cpu')
    weights = checkpoint.get('state_dict') if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(x, Tensor) for x in weights.values()):
        raise InputError(f'{path}: has no `state_dict` of weights; give a checkpoint of a training')
    meta = checkpoint.get('meta')
    known = isinstance(meta, dict) and 'span_end' in meta
    meta = dict(meta=dict(span_end=meta['span_end'])) if known else {}
    return {str(name).removeprefix('module.'): x for name, x in weights.items()}, meta


def join(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name the weights of both stages as a TwoStageRetriever does."""
    own, other = _STAGES[1], _STAGES[0]
    taken = {name.removeprefix(own): x for name, x in second.items() if not name.startswith(other)}
    return {
        **{f'{other}{name}': x for name, x in first.items()},
        **{f'{own}{name}': x for name, x in taken.items()},
    }


if __name__ == '__main__':
    main()
