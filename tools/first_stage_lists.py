r"""Rank the videos of a split with any model, and keep the lists for a second stage.

    python tools/first_stage_lists.py configs/relocl_anet_text.py CHECKPOINT --split train \
        --out data/anet_text/train_lists.safetensors

The file has the best videos of each query, the scores of the first 100, and the checksums of model
and corpus. A second stage draws its negatives from it (RerankingDataset). A model without weights
needs no checkpoint; its config has no training data, so --train-reader names one that has.
"""

import argparse
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.cli import (
    input_errors_end_the_program,
    read_config,
    run_parser,
    run_with,
)
from reloclnet_mm.utils.models import bare_model

# What says which data are read, and nothing of how a model is trained on them.
_DATA = (
    *('reader', 'data_root', 'feature_files', 'channels', 'normalize', 'clip_length'),
    *('max_clips', 'max_tokens', 'indices'),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = run_parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint file; none for a model without weights'
    )
    parser.add_argument('--split', choices=('train', 'val', 'test'), required=True)
    parser.add_argument('--out', required=True, help='.safetensors file to write')
    parser.add_argument(
        '--num-videos',
        type=int,
        default=1100,
        help='videos in a list: training draws from up to 1000 more than the rank of the right '
        'one, which is 100 at most',
    )
    parser.add_argument(
        '--train-reader',
        help='config whose train_dataloader reads the training queries, if CONFIG has none',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Rank, and write the lists."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        if args.num_videos < 1:
            raise InputError(f'--num-videos {args.num_videos}: expected a number above 0')
        runner = run_with(ranking_config(read_config(args), args), 'test')
        if is_main_process():
            (collector,) = runner.test_loop.evaluator.metrics
            lists = collector.lists(bare_model(runner.model).checksum())
            lists.save(args.out)
            count, length = lists.places.shape
            print(f'{args.out}: the best {length} videos of each of {count} queries')


def ranking_config(cfg: Config, args: argparse.Namespace) -> Config:
    """Let a config rank the videos of a split for its queries, and nothing else."""
    if args.split == 'train':
        dataset = training_data(cfg, args.train_reader)
        queries, corpus = (
            dict(cfg[f'{name}_dataloader'], dataset=dict(as_evaluated(cfg, name), **dataset))
            for name in ('val', 'val_corpus')
        )
    else:
        queries, corpus = (cfg[f'{args.split}{name}_dataloader'] for name in ('', '_corpus'))
    cfg.merge_from_dict(
        dict(
            test_dataloader=dict(queries, _delete_=True),
            test_corpus_dataloader=dict(corpus, _delete_=True),
            model=dict(test_cfg=dict(num_videos=args.num_videos, tasks=['VR'])),
        )
    )
    cfg.test_evaluator = [dict(type='reloclnet_mm.VideoListCollector')]
    cfg.custom_hooks = []
    cfg.load_from = args.checkpoint or cfg.get('load_from')
    return cfg


def training_data(cfg: Config, train_reader: str | None) -> dict[str, Any]:
    """Return the settings of a data set that say what is trained on.

    Raises:
        InputError: No config tells.
    """
    if train_reader is None:
        if not cfg.get('train_dataloader'):
            raise InputError(
                f'{cfg.filename}: has no train_dataloader, so its training queries are not known; '
                'give --train-reader a config that has one'
            )
        dataset = cfg.train_dataloader.dataset
        return {name: dataset[name] for name in _DATA if name in dataset}
    other = read_config(
        argparse.Namespace(
            config=train_reader, cfg_options=None, launcher='none', work_dir=None, local_rank=0
        )
    )
    dataset = cfg.val_dataloader.dataset
    settings = {name: dataset[name] for name in _DATA if name in dataset}
    return settings | dict(reader=other.train_dataloader.dataset.reader)


def as_evaluated(cfg: Config, name: str) -> dict[str, Any]:
    """Return what a data set of evaluation is beside its data."""
    return {key: x for key, x in cfg[f'{name}_dataloader'].dataset.items() if key not in _DATA}


if __name__ == '__main__':
    main()
