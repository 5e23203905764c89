r"""Write a config that puts the second stage of one config over the model of another.

    python tools/two_stage_config.py configs/xml_anet_text.py configs/conquer_anet_text.py \
        --checkpoint work_dirs/xml_anet_text/epoch_4.pth --out conquer_xml_anet_text.py

The settings are those of SECOND but for its first stage, which reads what it reads in FIRST. So
test_cfg.alpha, by which the scores of the first stage weigh its videos, is that of SECOND.
"""

import argparse
import os
from pathlib import Path
from pprint import pformat
from typing import Any

from mmengine.config import Config

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import input_errors_end_the_program, read_config, run_parser
from reloclnet_mm.utils.fileio import write_text

_LOADERS = ('val_dataloader', 'val_corpus_dataloader', 'test_dataloader', 'test_corpus_dataloader')
# What a stage reads of a query or a video; the rest of a data set says which they are.
_READ = {
    *('feature_files', 'channels', 'normalize', 'clip_length', 'max_clips', 'max_tokens'),
    'pipeline',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('first', type=Path, help='config of the first stage')
    parser.add_argument('second', type=Path, help='config of a TwoStageRetriever')
    parser.add_argument(
        '--checkpoint', help='weights of the first stage; none for a model without weights'
    )
    parser.add_argument('--out', type=Path, required=True, help='config to write')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Read both configs and write the new one."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        first, second = (
            read_config(run_parser('').parse_args([str(path)]))
            for path in (args.first, args.second)
        )
        check_stages(first, second)
        settings = dict(model=model_settings(first, args.checkpoint))
        settings |= loader_settings(first, second)
        base = os.path.relpath(args.second.resolve(), args.out.parent.resolve())
        lines = [
            f'# The second stage of {args.second.name} over the model of {args.first.name}.',
            f'_base_ = {Path(base).as_posix()!r}',
            *(f'\n{name} = {pformat(x, sort_dicts=False)}' for name, x in settings.items()),
        ]
        write_text(args.out, '\n'.join(lines) + '\n')
        print(f'wrote {args.out}')


def check_stages(first: Config, second: Config) -> None:
    """Refuse configs that cannot be joined.

    Raises:
        InputError: SECOND has no two stages, FIRST has, or their queries or videos differ.
    """
    if 'second_stage' not in second.model or 'second_stage' in first.model:
        raise InputError(
            f'{first.filename}, {second.filename}: expected the config of a model with one stage, '
            'then the config of a TwoStageRetriever; give them in this order'
        )
    for name in _LOADERS:
        one, other = (
            {k: x for k, x in cfg[name].dataset.items() if k not in {*_READ, 'second_stage'}}
            for cfg in (first, second)
        )
        if one != other:
            differing = sorted(k for k in one.keys() | other if one.get(k) != other.get(k))
            raise InputError(
                f'{first.filename}: {name}.dataset differs from that of {second.filename} in '
                f'{", ".join(differing)}; both stages are evaluated with the same queries and '
                'videos'
            )


def loader_settings(first: Config, second: Config) -> dict[str, Any]:
    """Return the dataloaders whose first stage reads something else than in SECOND."""
    settings = {}
    for name in _LOADERS:
        one, other = first[name].dataset.to_dict(), second[name].dataset.to_dict()
        read = other.get('second_stage') or {k: x for k, x in other.items() if k in _READ}
        if read == {k: x for k, x in one.items() if k in _READ}:
            read = None
        both = one if read is None else one | dict(second_stage=read)
        if both != other:
            settings[name] = dict(dataset=dict(_delete_=True, **both))
    return settings


def model_settings(first: Config, checkpoint: str | None) -> dict[str, Any]:
    """Return what the new config sets of its model."""
    stage = dict(_delete_=True, **first.model.to_dict())
    if checkpoint is not None:
        stage['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
    return dict(first_stage=stage)


if __name__ == '__main__':
    main()
