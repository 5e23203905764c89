"""Look at a folder of own data, say what is in it, and write a short config for it.

The folder holds train.jsonl and val.jsonl (docs/data/your_own.md), perhaps video2dur_idx.json or
val_videos.jsonl, and feature files, told apart by their keys: query ids, or names of videos. Files
of sentences and their times are for nearest_sentence_anet_text.py, files of clips for the others.
"""

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from tabulate import tabulate

from reloclnet_mm.datasets.inspection import (
    Features,
    Split,
    clip_length_of,
    findings,
    span_lengths,
)
from reloclnet_mm.datasets.readers import AnnotationReader
from reloclnet_mm.errors import InputError
from reloclnet_mm.features import open_features
from reloclnet_mm.features.rows import TEF_CHANNELS
from reloclnet_mm.models.nearest import NearestRow, NearestSentence
from reloclnet_mm.models.untrained import UntrainedModel
from reloclnet_mm.registry import MODELS, TASK_UTILS
from reloclnet_mm.structures.clips import SpanEnd
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import replace_file

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
INDEX = 'video2dur_idx.json'
# In the name of a file of subtitles: sub, subs, subtitle, subtitles.
SUBTITLES = re.compile(r'(?<![a-z])sub(s|titles?)?(?![a-z])')
# XML's authors have other modules where there is no second stream.
XML_MODULES = {1: (3, 'StreamSpanHead'), 2: (2, 'MergedSpanHead')}
EXAMPLES = '--features query=q.h5 video=v.h5 subtitle=s.h5'
# Of few training videos a larger share is held out, so that about so many are, up to a third.
HELD_OUT_VIDEOS = 10
# Where the best epoch is chosen on held-out videos, an epoch of few queries has so many steps too:
# its batches are smaller, but not too small to contrast within.
EPOCH_STEPS = 20
LEAST_BATCH = 16


@dataclass(frozen=True)
class Base:
    """The config to start from.

    Attributes:
        path: Its file.
        cfg: Its settings.
        model: The class of its model.
    """

    path: Path
    cfg: Config
    model: type

    @classmethod
    def read(cls, name: str) -> 'Base':
        """Find and read a config.

        Raises:
            InputError: There is none, or one that data cannot simply be exchanged in.
        """
        path = next((x for x in (Path(name), CONFIGS / name) if x.is_file()), None)
        if path is None:
            raise InputError(
                f'--base {name}: no such config; expected one of configs/, such as '
                'relocl_anet_text.py'
            )
        cfg = Config.fromfile(path)
        settings = cfg.get('model') or {}
        with DefaultScope.overwrite_default_scope('reloclnet_mm'):
            model = MODELS.get(settings['type']) if 'type' in settings else None
        has_sizes = {'query_encoder', 'context_encoder'} <= settings.keys()
        if not isinstance(model, type) or not (has_sizes or issubclass(model, UntrainedModel)):
            raise InputError(
                f'--base {name}: found the model {settings.get("type")!r}, expected one with '
                'query_encoder and context_encoder, whose sizes follow from the data, or one '
                'without training; use relocl_tvr.py, xml_tvr.py or nearest_clip_tvr.py'
            )
        special = sorted({*settings.get('data_preprocessor', {})} - {'type', 'slack'})
        if special:
            raise InputError(
                f'--base {name}: model.data_preprocessor has the settings {", ".join(special)}, '
                'which may be those of other data; use a config with a plain data preprocessor, '
                'such as relocl_tvr.py'
            )
        return cls(path, cfg, model)

    @property
    def is_trained(self) -> bool:
        """Whether the model has weights."""
        return not issubclass(self.model, UntrainedModel)

    @property
    def has_spans(self) -> bool:
        """Whether the model answers with spans between a least and a greatest length."""
        return not issubclass(self.model, NearestRow)

    @property
    def span_end(self) -> SpanEnd:
        """Which clip the end of an answer is predicted at."""
        return self.cfg.model.get('test_cfg', {}).get('span_end', 'official')

    @property
    def held_out(self) -> float:
        """Share of the training videos that validation during training has; 0: it has others."""
        reader = self.cfg.val_dataloader.dataset.reader
        return reader.get('held_out', 0.1) if reader.get('part') == 'held_out' else 0.0

    @property
    def counts_others_as_negatives(self) -> bool:
        """Whether other queries of a video are negatives of it, unless a setting says otherwise."""
        loss = self.cfg.model.get('loss_ranking') or {}
        with DefaultScope.overwrite_default_scope('reloclnet_mm'):
            settings = signature(MODELS.get(loss['type'])).parameters if loss else {}
        return 'other_positives' in settings

    @property
    def has_sentences(self) -> bool:
        """Whether the rows of a video are sentences with times of their own, not clips."""
        return issubclass(self.model, NearestSentence)


def readers_of(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the configs of the readers of both splits.

    Raises:
        InputError: One of the two arguments for them is missing.
    """
    if bool(args.reader) != bool(args.val_reader):
        raise InputError(
            'found one of --reader and --val-reader, expected both or none; give the second what '
            'differs for validation, such as ann_file=…'
        )
    if args.reader:
        return dict(train=args.reader, val={**args.reader, **args.val_reader})
    readers = {}
    for split in ('train', 'val'):
        reader = dict(type='TVRReader', ann_file=f'{split}.jsonl')
        if (args.data / INDEX).is_file():
            reader |= dict(video_index=INDEX, split=split)
        elif (args.data / f'{split}_videos.jsonl').is_file():
            reader |= dict(video_index=f'{split}_videos.jsonl')
        readers[split] = reader
    return readers


def hold_out(
    data: Path, readers: Mapping[str, dict[str, Any]], share: float
) -> dict[str, dict[str, Any]]:
    """Divide the training videos: return the readers of ``train``, ``held_out`` and ``val``.

    Args:
        data: The folder.
        readers: Of ``train`` and ``val``.
        share: Share of the training videos to hold out, where there are many.

    Raises:
        InputError: The training annotation cannot be used.
    """
    count = len(_build(data, readers['train']).videos())
    share = max(share, min(round(HELD_OUT_VIDEOS / count, 2), 0.33))
    train, held_out = (
        dict(readers['train'], part=part, held_out=share) for part in ('fit', 'held_out')
    )
    return dict(train=train, held_out=held_out, val=readers['val'])


def _build(data: Path, reader: Mapping[str, Any]) -> AnnotationReader:
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        return TASK_UTILS.build(dict(reader, data_root=str(data)))


def read_splits(data: Path, readers: Mapping[str, dict[str, Any]]) -> dict[str, Split]:
    """Read all splits; errors as of the readers."""
    return {name: Split.read(_build(data, reader)) for name, reader in readers.items()}


def find_features(
    data: Path, named: Mapping[str, str] | None, splits: Mapping[str, Split], base: Base
) -> dict[str, Features]:
    """Find the feature files of a folder by their keys.

    Args:
        data: The folder.
        named: ``query``, ``video``, ``subtitle`` and, of sentences, ``times`` to files below it,
            instead.
        splits: Whose ids and names the keys are.
        base: Says whether rows are sentences.

    Returns:
        ``query``, one or two streams and, of sentences, ``times`` to their features.

    Raises:
        InputError: There is no file of queries, of a stream or of the times, several for one, or
            none that the model can compare.
    """
    if named is None:
        named = _files_by_keys(data, splits, base.has_sentences)
    if 'query' not in named or not {*named} & {'video', 'subtitle'}:
        raise InputError(
            f'{data}: found features of {sorted(named) or "nothing"}, expected a file with query '
            'ids as keys and one or two with names of videos; put them there, or name them: '
            f'{EXAMPLES}'
        )
    known = ['query', 'video', 'subtitle', *['times'] * base.has_sentences]
    unknown = sorted(named.keys() - {*known})
    if unknown:
        raise InputError(
            f'--features: found {unknown}, expected {", ".join(known)}; correct the name'
        )
    if base.has_sentences and 'times' not in named:
        raise InputError(
            f'{data}: found no times of sentences, expected the file that '
            'tools/extract_text_features.py sentences … --rows sentences writes beside that of '
            'the sentences; make both, or name it: --features times=sentences_times.h5 …'
        )
    features = {name: Features.read(data / file) for name, file in named.items()}
    return features if base.has_spans else _comparable(features)


def _comparable(features: Mapping[str, Features]) -> dict[str, Features]:
    """Leave out the streams that are not as wide as the query, with which they are compared."""
    width = features['query'].width
    widths = {name: x.width for name, x in features.items() if name not in ('query', 'times')}
    unequal = {name for name in widths if widths[name] != width}
    if len(unequal) == len(widths):
        raise InputError(
            f'{features["query"].path}: found queries {width} wide and {_dict(**widths)}, expected '
            'a stream as wide as the queries, with which it is compared as it is; extract both '
            'with the same encoder'
        )
    for name in sorted(unequal):
        print(f'left out: {name}, {widths[name]} wide, while queries are {width} wide')
    return {name: x for name, x in features.items() if name not in unequal}


def _files_by_keys(data: Path, splits: Mapping[str, Split], has_sentences: bool) -> dict[str, str]:
    ids = {str(query.query_id) for split in splits.values() for query in split.queries}
    videos = {name for split in splits.values() for name in split.videos}
    found: dict[str, str] = {}
    stores = [path.parent for path in data.rglob('offsets.npy')]
    for path in sorted([*data.rglob('*.h5'), *data.rglob('*.hdf5'), *stores]):
        reader = open_features(path)
        keys = {*reader.keys()}
        shared = {'query': len(keys & ids), 'stream': len(keys & videos)}
        if not any(shared.values()):
            continue
        name = max(shared, key=shared.get)
        if name == 'stream':
            # As tools/extract_text_features.py marks them.
            is_times = reader.attributes.get('kind') == 'sentence times'
            is_sentences = reader.attributes.get('rows') == 'sentences'
            if (is_times or is_sentences) != has_sentences:
                continue
            is_text = is_sentences or bool(SUBTITLES.search(path.stem.lower()))
            name = 'times' if is_times else 'subtitle' if is_text else 'video'
        file = str(path.relative_to(data))
        if name in found:
            raise InputError(
                f'{data}: found {found[name]} and {file} for {name!r}, expected one; say which: '
                f'{EXAMPLES}'
            )
        found[name] = file
    return found


def batch_size_of(base: Base, num_queries: int) -> int | None:
    """Return the batch size of training, which follows from the number of queries.

    None: nothing is trained.
    """
    if not base.is_trained:
        return None
    batch = base.cfg.train_dataloader.batch_size
    while base.held_out and batch > max(num_queries // EPOCH_STEPS, LEAST_BATCH):
        batch //= 2
    return batch


def model_lines(base: Base, streams: Mapping[str, int], sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield the settings of the model that follow from the data."""
    model = base.cfg.model
    if 'streams' in model:
        yield f'    streams={_dict(_delete_=True, **streams)},'
    if base.is_trained:
        yield from _encoder_lines(model, streams, sizes)
    if 'reader' in model:
        yield "    reader=dict(data_root=data['data_root'], **train_reader),"
    if base.has_spans:
        yield f'    test_cfg=dict(min_span={sizes["min_span"]}, max_span={sizes["max_span"]}),'


def _encoder_lines(
    model: Mapping[str, Any], streams: Mapping[str, int], sizes: Mapping[str, int]
) -> Iterator[str]:
    head, encoder = '', {}
    if model['type'].endswith('XML') and len(streams) != len(model['streams']):
        encoder['num_blocks'], kind = XML_MODULES[len(streams)]
        head = f"    span_head=dict(type='{kind}'),"
    if 'max_clips' in model['context_encoder']:
        encoder['max_clips'] = sizes['max_clips']
    yield f'    query_channels={sizes["query_channels"]},'
    yield f'    query_encoder=dict(max_tokens={sizes["max_tokens"]}),'
    if encoder:
        yield f'    context_encoder={_dict(**encoder)},'
    if head:
        yield head


def config_text(
    args: argparse.Namespace,
    base: Base,
    features: Mapping[str, Features],
    readers: Mapping[str, dict[str, Any]],
    clip_length: tuple[float | str | None, str],
    sizes: Mapping[str, int],
    batch_size: int | None,
) -> str:
    """Return the text of the config."""
    cfg = base.cfg
    added = TEF_CHANNELS * any(
        step['type'].endswith('AppendTEF') for step in cfg.val_corpus_dataloader.dataset.pipeline
    )
    streams = {name: x.width + added for name, x in streams_of(features).items()}
    files = {name: os.path.relpath(x.path, args.data) for name, x in features.items()}
    widths = {name: x.width for name, x in features.items()}
    seconds, how = clip_length
    uses_train = base.is_trained or 'reader' in cfg.model
    used = readers if uses_train else dict(val=readers['val'])
    validation = 'held_out_reader' if 'held_out' in used else 'val_reader'
    is_smaller = base.is_trained and batch_size < cfg.train_dataloader.batch_size
    batch = f'batch_size={batch_size}, ' if is_smaller else ''
    train = f'train_dataloader = dict({batch}dataset=dict(reader=train_reader, **data))'
    lines = [
        f'# {cfg.model.type} on own data, made by tools/new_config.py.',
        f'_base_ = {os.path.relpath(base.path.resolve(), args.out.parent.resolve())!r}',
        '',
        'data = dict(',
        f'    data_root={str(args.data)!r},',
        indent(f'feature_files={_dict(_delete_=True, **files)},', ' ' * 4),
        indent(f'channels={_dict(_delete_=True, **widths)},', ' ' * 4),
        '    normalize=None,  # all of them',
        f'    clip_length={seconds!r},  # {how}',
        f'    max_clips={sizes["max_clips"]},',
        f'    max_tokens={sizes["max_tokens"]},',
        ')',
        *(f'{name}_reader = {_dict(_delete_=True, **x)}' for name, x in used.items()),
        '',
        *[train] * base.is_trained,
        f'val_dataloader = dict(dataset=dict(reader={validation}, **data))',
        f'val_corpus_dataloader = dict(dataset=dict(reader={validation}, **data))',
        'test_dataloader = dict(dataset=dict(reader=val_reader, **data))',
        'test_corpus_dataloader = dict(dataset=dict(reader=val_reader, **data))',
        '',
        'model = dict(',
        *model_lines(base, streams, sizes),
        ')',
    ]
    return '\n'.join(lines) + '\n'


def streams_of(features: Mapping[str, Features]) -> dict[str, Features]:
    """Return the streams among the features."""
    return {name: x for name, x in features.items() if name not in ('query', 'times')}


def _dict(**values: Any) -> str:
    """Write a dict as configs do, on several lines if it is long."""
    items = [f'{name}={value!r}' for name, value in values.items()]
    line = f'dict({", ".join(items)})'
    return line if len(line) < 80 else 'dict(\n    ' + ',\n    '.join(items) + ',\n)'


def sizes_of(
    args: argparse.Namespace, features: Mapping[str, Features], has_sentences: bool
) -> dict[str, int]:
    """Return the sizes of the model that follow from the features; sentences are not pooled."""
    longest = max(max(x.num_rows.values()) for name, x in features.items() if name != 'query')
    return dict(
        query_channels=features['query'].width,
        max_clips=longest if has_sentences else min(longest, args.max_clips),
        max_tokens=min(max(features['query'].num_rows.values()), args.max_tokens),
    )


def span_sizes(
    data: Path,
    split: Split,
    num_rows: Mapping[str, int],
    clip_length: float | str,
    max_clips: int,
    span_end: SpanEnd,
) -> dict[str, int]:
    """Return the limits of spans that follow from the training moments.

    Raises:
        InputError: No training moment has features.
    """
    lengths = span_lengths(split, num_rows, clip_length, max_clips, span_end)
    if not len(lengths):
        raise InputError(
            f'{data}: found no training moment in a video with features, expected some; check '
            'the names of the videos in the annotation and in the feature files'
        )
    low, high = np.quantile(lengths, [0.01, 0.99], method='nearest').astype(int).tolist()
    min_span = max(low, 1)
    print(f'98 % of training moments are {low} to {high} rows long')
    return dict(min_span=min_span, max_span=max(high, min_span) + 1)


def report(splits: Mapping[str, Split], features: Mapping[str, Features]) -> str:
    """Return tables of the annotation and of the feature files."""
    rows = []
    for name, split in splits.items():
        counts, lengths = split.queries_of_videos, split.moment_lengths()
        seconds, share = np.median(lengths, axis=0) if len(lengths) else (np.nan, np.nan)
        longest = max(video.duration for video in split.videos.values())
        numbers = (len(split.videos), f'{longest:g} s', len(split.queries))
        rows.append((name, *numbers, np.mean(counts).round(1), f'{seconds:.1f} s', f'{share:.0%}'))
    headers = ['split', 'videos', 'longest', 'queries', 'a video', 'median moment', 'of its video']
    files = [
        (name, x.path.name, x.width, len(x.num_rows), max(x.num_rows.values()), x.clip_length)
        for name, x in features.items()
    ]
    file_headers = ['features', 'file', 'width', 'keys', 'most rows', 'clip_length']
    return f'{tabulate(rows, headers)}\n\n{tabulate(files, file_headers)}'


def run(args: argparse.Namespace) -> None:
    """Look, report, write.

    Raises:
        InputError: The data cannot be used, or the config is there already.
    """
    if args.out.exists() and not args.overwrite:
        raise InputError(f'{args.out}: is there already; use another --out, or --overwrite')
    if not args.data.is_dir():
        raise InputError(f'{args.data}: no such folder; give the folder of the data')
    base = Base.read(args.base)
    readers = readers_of(args)
    if base.held_out:
        readers = hold_out(args.data, readers, base.held_out)
    splits = read_splits(args.data, readers)
    features = find_features(args.data, args.features, splits, base)
    streams = streams_of(features)
    seconds, how = 'even', 'rows are sentences'
    if not base.has_sentences:
        videos = [video for split in splits.values() for video in split.videos.values()]
        seconds, how = clip_length_of(streams, {video.name: video.duration for video in videos})
    sizes = sizes_of(args, features, base.has_sentences)
    print(report(splits, features))
    if not base.has_sentences:
        print(f'\na clip lasts: {seconds} ({how})')
    if base.has_spans:
        num_rows = next(iter(streams.values())).num_rows
        limits = sizes['max_clips'], base.span_end
        sizes |= span_sizes(args.data, splits['train'], num_rows, seconds, *limits)
    batch_size = batch_size_of(base, len(splits['train'].queries))
    for finding in findings(
        splits,
        {name: x for name, x in features.items() if name != 'query'},
        features['query'],
        clip_length=seconds,
        max_clips=sizes['max_clips'],
        max_tokens=sizes['max_tokens'],
        batch_size=batch_size,
        counts_others_as_negatives=base.counts_others_as_negatives,
    ):
        print(f'warning: {finding}')
    recorded = base.has_sentences or any(x.clip_length for x in streams.values())
    length = None if recorded else seconds
    text = config_text(args, base, features, readers, (length, how), sizes, batch_size)
    with replace_file(args.out) as temporary:
        temporary.write_text(text, encoding='utf-8')
    tool = 'train' if base.is_trained else 'test'
    print(f'wrote {args.out}; {tool} with: python tools/{tool}.py {args.out}')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path, help='folder of annotation and features')
    parser.add_argument(
        '--base',
        default='relocl_plus_anet_text.py',
        help='config to start from, by path or by its name in configs/ (default: %(default)s)',
    )
    parser.add_argument('--out', type=Path, required=True, help='config to write')
    parser.add_argument('--overwrite', action='store_true', help='replace --out')
    parser.add_argument(
        '--reader',
        nargs='+',
        action=DictAction,
        help='reader of another layout: type=CharadesSTAReader ann_file=… video_index=…',
    )
    parser.add_argument(
        '--val-reader',
        nargs='+',
        action=DictAction,
        help='what differs for validation: ann_file=…',
    )
    parser.add_argument(
        '--features',
        nargs='+',
        action=DictAction,
        help='files in the folder, where their keys do not tell: query=… video=… subtitle=…',
    )
    parser.add_argument(
        '--max-clips', type=int, default=128, help='rows of a video at most (default: %(default)s)'
    )
    parser.add_argument(
        '--max-tokens',
        type=int,
        default=64,
        help='tokens of a query at most (default: %(default)s)',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    with input_errors_end_the_program():
        run(args)


if __name__ == '__main__':
    main()
