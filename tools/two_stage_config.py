r"""Write a config that puts the second stage of one config over the model of another.

    python tools/two_stage_config.py configs/xml_anet_text.py configs/conquer_anet_text.py \
        --checkpoint work_dirs/xml_anet_text/epoch_4.pth --out conquer_xml_anet_text.py

The settings are those of SECOND but for its first stage. Both stages see the same features.
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
        model = model_settings(first, args.checkpoint)
        base = os.path.relpath(args.second.resolve(), args.out.parent.resolve())
        text = (
            f'# The second stage of {args.second.name} over the model of {args.first.name}.\n'
            f'_base_ = {Path(base).as_posix()!r}\n\nmodel = {pformat(model, sort_dicts=False)}\n'
        )
        write_text(args.out, text)
        print(f'wrote {args.out}')


def check_stages(first: Config, second: Config) -> None:
    """Refuse configs that cannot be joined.

    Raises:
        InputError: SECOND has no two stages, FIRST has, or they read different data.
    """
    if 'second_stage' not in second.model or 'second_stage' in first.model:
        raise InputError(
            f'{first.filename}, {second.filename}: expected the config of a model with one stage, '
            'then the config of a TwoStageRetriever; give them in this order'
        )
    for name in _LOADERS:
        if first[name].dataset != second[name].dataset:
            raise InputError(
                f'{first.filename}: {name}.dataset differs from that of {second.filename}; where '
                'stages see other features, derive a config by hand as configs/conquer_tvr.py does'
            )


def model_settings(first: Config, checkpoint: str | None) -> dict[str, Any]:
    """Return what the new config sets of its model."""
    stage = dict(_delete_=True, **first.model.to_dict())
    if checkpoint is not None:
        stage['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
    # How the scores of a first stage weigh its videos was chosen for it.
    alpha = {k: x for k, x in first.model.get('test_cfg', {}).items() if k == 'alpha'}
    return dict(first_stage=stage, test_cfg=alpha) if alpha else dict(first_stage=stage)


if __name__ == '__main__':
    main()
