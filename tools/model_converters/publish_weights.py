"""Write the weights of a checkpoint alone, in half precision: a small file that holds no code."""

import argparse
from pathlib import Path

import torch

from reloclnet_mm.apis import init_model
from reloclnet_mm.engine.checkpointing.published import save_published
from reloclnet_mm.models.residual_encoders import Residual
from reloclnet_mm.utils.checks import check_number
from reloclnet_mm.utils.cli import input_errors_end_the_program


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the model')
    parser.add_argument('checkpoint', help='checkpoint of its training')
    parser.add_argument('out', type=Path, help='.safetensors file to write')
    parser.add_argument('--dtype', choices=['float16', 'float32'], default='float16')
    parser.add_argument(
        '--share',
        type=float,
        default=1.0,
        help='keep a share of what ReLoCLNetPlus learned to add to features, for data unlike that '
        'of training (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    with input_errors_end_the_program():
        check_number('--share', args.share, low=0, high=1)
        model = init_model(args.config, args.checkpoint)
        for module in model.modules():
            if isinstance(module, Residual):
                module.weaken(args.share)
        save_published(model, args.out, getattr(torch, args.dtype))
        megabytes = args.out.stat().st_size / 1e6
        print(f'{args.out}: {megabytes:.2f} MB, checksum of the weights {model.checksum()}')


if __name__ == '__main__':
    main()
