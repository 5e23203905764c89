"""Write the weights of a checkpoint alone, in half precision: a small file that holds no code."""

import argparse
from pathlib import Path

import torch

from reloclnet_mm.apis import init_model
from reloclnet_mm.engine.checkpointing.published import save_published
from reloclnet_mm.utils.cli import input_errors_end_the_program


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the model')
    parser.add_argument('checkpoint', help='checkpoint of its training')
    parser.add_argument('out', type=Path, help='.safetensors file to write')
    parser.add_argument('--dtype', choices=['float16', 'float32'], default='float16')
    args = parser.parse_args(argv)
    with input_errors_end_the_program():
        model = init_model(args.config, args.checkpoint)
        save_published(model, args.out, getattr(torch, args.dtype))
        megabytes = args.out.stat().st_size / 1e6
        print(f'{args.out}: {megabytes:.2f} MB, checksum of the weights {model.checksum()}')


if __name__ == '__main__':
    main()
