"""Write text features: of queries, and of timed sentences by clip or by sentence.

A run that was stopped continues where it was when started again with the same arguments.
"""

import argparse
import math
from pathlib import Path

import torch

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.annotations import read_query_texts, read_video_durations
from reloclnet_mm.extraction.extraction import (
    count_outside,
    extract_queries,
    extract_sentences,
    sentence_times,
)
from reloclnet_mm.extraction.subtitles import TimedSentence, read_subtitles
from reloclnet_mm.extraction.text import TextEncoder
from reloclnet_mm.features.writer import FeatureWriter, source_setting
from reloclnet_mm.registry import TASK_UTILS
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.progress import counted


def make_encoder(args: argparse.Namespace) -> TextEncoder:
    """The encoder of the command line."""
    return TextEncoder(
        args.encoder, max_tokens=args.max_tokens, batch_size=args.batch_size, device=args.device
    )


def encoder_settings(encoder: TextEncoder) -> dict[str, str | int]:
    """What of the encoder the features depend on."""
    return {'encoder': encoder.name, 'width': encoder.width, 'max_tokens': encoder.max_tokens}


def report_long(encoder: TextEncoder, texts: list[str]) -> None:
    """Say how many texts are cut."""
    num_long = encoder.count_long(texts)
    if num_long:
        print(f'{num_long} of {len(texts)} texts cut to {encoder.max_tokens} tokens')


def run_queries(args: argparse.Namespace) -> None:
    """Features of queries."""
    texts = read_query_texts(args.annotations, args.reader)
    encoder = make_encoder(args)
    out = FeatureWriter(args.out, {'kind': 'queries', **encoder_settings(encoder)}, args.dtype)
    todo = len(out.missing(texts))
    print(f'{len(texts)} queries, {len(texts) - todo} of them in {args.out} already')
    report_long(encoder, list(texts.values()))
    with counted(todo, 'queries') as advance:
        extract_queries(texts, encoder, out, advance)


def report_coverage(
    subtitles: dict[str, list[TimedSentence]],
    durations: dict[str, float],
    clip_length: float | None,
    source: Path,
) -> None:
    """Say what of the corpus has no text, and what text has no place in the corpus."""
    without = sum(not subtitles.get(name) for name in durations)
    unknown = [name for name in subtitles if name not in durations]
    print(f'{len(durations)} videos in the index, {without} of them without text: zeros')
    if unknown:
        print(
            f'{len(unknown)} of {len(subtitles)} videos of {source}, such as {unknown[0]}, '
            'are not in the index: left out'
        )
    num_outside = count_outside(subtitles, durations, clip_length)
    if num_outside:
        print(f'{num_outside} sentences lie after the end of their video: left out')
    if without == len(durations):
        raise InputError(
            f'{source}: no text for any video of the index; expected the names of the index, '
            f'such as {next(iter(durations))}'
        )


def clip_length_of(args: argparse.Namespace) -> float | None:
    """Seconds of a clip; None: a row is a sentence."""
    if args.rows == 'sentences':
        if args.clip_length is not None:
            raise InputError(
                f'--clip-length {args.clip_length} with --rows sentences, which have no clips; '
                'leave one of the two out'
            )
        return None
    clip_length = 1.5 if args.clip_length is None else args.clip_length
    if not 0 < clip_length < math.inf:
        raise InputError(f'--clip-length {clip_length}, expected positive seconds')
    return clip_length


def times_path(out: Path) -> Path:
    """The file of times beside a file of sentences."""
    return out.with_name(f'{out.stem}_times{out.suffix}')


def write_times(
    subtitles: dict[str, list[TimedSentence]],
    durations: dict[str, float],
    source: Path,
    path: Path,
) -> None:
    """Write start and end of each sentence in seconds."""
    settings = {'kind': 'sentence times', 'source': source_setting([source], path)}
    out = FeatureWriter(path, settings, 'float32')
    missing = out.missing(durations)
    if missing:
        times = {n: sentence_times(subtitles.get(n, ()), durations[n]) for n in missing}
        out.write(times)
    out.finish()
    print(f'times of the sentences: {path}')


def run_sentences(args: argparse.Namespace) -> None:
    """Features of timed sentences."""
    clip_length = clip_length_of(args)
    durations = read_video_durations(args.video_index, args.reader)
    subtitles = read_subtitles(args.source)
    report_coverage(subtitles, durations, clip_length, args.source)
    if clip_length is None:
        write_times(subtitles, durations, args.source, times_path(args.out))
    encoder = make_encoder(args)
    rows = {'rows': 'sentences'} if clip_length is None else {'clip_length': clip_length}
    source = source_setting([args.source], args.out)
    settings = {'kind': 'sentences', 'source': source, **rows, 'pool': args.pool}
    out = FeatureWriter(args.out, settings | encoder_settings(encoder), args.dtype)
    names = out.missing(durations)
    print(f'{len(durations) - len(names)} videos in {args.out} already')
    texts = [sentence.text for name in names for sentence in subtitles.get(name, ())]
    report_long(encoder, texts)
    with counted(len(texts), 'sentences') as advance:
        extract_sentences(
            subtitles,
            durations,
            encoder,
            out,
            clip_length=clip_length,
            pool=args.pool,
            advance=advance,
        )


def common_arguments() -> argparse.ArgumentParser:
    """What queries and sentences share."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        '--encoder',
        required=True,
        metavar='PATH_OR_HUB_ID',
        help='an encoder that transformers loads: its folder, or its id on the hub',
    )
    parser.add_argument('--out', required=True, type=Path, help='the h5 file to write')
    defaults = 'default: %(default)s'
    parser.add_argument('--max-tokens', type=int, default=64, help=f'of a text ({defaults})')
    parser.add_argument('--batch-size', type=int, default=32, help=f'texts ({defaults})')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', default=device, help=f'of the encoder ({defaults})')
    parser.add_argument(
        '--reader',
        choices=sorted(TASK_UTILS.module_dict),
        default='TVRReader',
        help='type of the reader of the annotation or the index (default: %(default)s)',
    )
    parser.add_argument(
        '--dtype',
        choices=['float32', 'float16'],
        default='float32',
        help=f'of the file ({defaults})',
    )
    return parser


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    common = common_arguments()
    queries = commands.add_parser(
        'queries', parents=[common], help='a row a token; key: id of the query'
    )
    queries.add_argument('annotations', nargs='+', type=Path, metavar='ANN')
    queries.set_defaults(run=run_queries)
    sentences = commands.add_parser(
        'sentences', parents=[common], help='a row a clip, or a sentence; key: name of the video'
    )
    sentences.add_argument(
        'source', type=Path, help='subtitles: jsonl, or a folder of <video name>.srt or .vtt'
    )
    sentences.add_argument('--video-index', type=Path, required=True, help='file of the videos')
    sentences.add_argument(
        '--rows',
        choices=['clips', 'sentences'],
        default='clips',
        help='what a row is (default: %(default)s); with sentences, their times in seconds are '
        'written to <out>_times.h5',
    )
    sentences.add_argument('--clip-length', type=float, help='s (default: 1.5)')
    sentences.add_argument(
        '--pool', choices=['max', 'mean'], required=True, help='over the tokens of a row'
    )
    sentences.set_defaults(run=run_sentences)
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with input_errors_end_the_program():
        args.run(args)


if __name__ == '__main__':
    main()
