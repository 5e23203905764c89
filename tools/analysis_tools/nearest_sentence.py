"""Recalls without training: the answer is the subtitle sentence nearest to the query.

Embeddings are means over the tokens of a text encoder, compared by their cosine. Without
``--reader`` the folder is read as tools/dataset_converters/activitynet_text.py writes it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import DictAction
from mmengine.registry import DefaultScope
from numpy.typing import NDArray

from reloclnet_mm.datasets.readers import AnnotationReader, Video
from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.functional import (
    moment_hits,
    overlaps,
    recall_at,
    stack_worths,
    video_hits,
)
from reloclnet_mm.evaluation.table import recall_cells, recall_name, result_table
from reloclnet_mm.extraction.subtitles import read_subtitles
from reloclnet_mm.extraction.text import TextEncoder
from reloclnet_mm.registry import TASK_UTILS
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import write_json

TOP_K = (1, 5, 10, 100)
IOU_THRESHOLDS = {'VR': (None,), 'SVMR': (0.5, 0.7), 'VCMR': (0.5, 0.7)}


@dataclass(frozen=True)
class Sentences:
    """The timed sentences of a corpus, one after another.

    Attributes:
        texts: S texts.
        video_ids: (S,) the video of each.
        moments: (S, 2) seconds.
    """

    texts: list[str]
    video_ids: NDArray
    moments: NDArray


@dataclass(frozen=True)
class Queries:
    """Queries with their answers.

    Attributes:
        texts: Q texts.
        video_ids: (Q,) the right videos.
        moments: Of each query (answers, 2) seconds, in its video.
    """

    texts: list[str]
    video_ids: NDArray
    moments: list[NDArray]


def read_sentences(path: Path, videos: dict[str, Video]) -> Sentences:
    """Read the subtitle sentences of videos."""
    subtitles = read_subtitles(path)
    found = [
        (sentence.text, video.video_id, (sentence.start, sentence.end))
        for name, video in videos.items()
        for sentence in subtitles.get(name, ())
    ]
    if not found:
        raise InputError(
            f'{path}: no sentence for any of the {len(videos)} videos, such as '
            f'{next(iter(videos))!r}; give the subtitles of these videos'
        )
    texts, video_ids, moments = zip(*found, strict=True)
    return Sentences(list(texts), np.array(video_ids), np.array(moments))


def read_queries(reader: AnnotationReader, videos: dict[str, Video]) -> Queries:
    """Read queries with the answers in their own videos."""
    queries = reader.queries(videos)
    answers = [
        [(x.start, x.end) for x in query.moments if x.video_name == query.video_name]
        for query in queries
    ]
    for query, moments in zip(queries, answers, strict=True):
        if not moments:
            raise InputError(
                f'{query.where}: query {query.query_id} has no answer to compare with; '
                'choose a split with answers'
            )
    return Queries(
        [query.text for query in queries],
        np.array([videos[query.video_name].video_id for query in queries]),
        [np.array(moments) for moments in answers],
    )


def embed(encoder: TextEncoder, texts: Sequence[str]) -> NDArray:
    """The unit vectors (texts, width) of the texts' mean tokens."""
    means = np.stack([rows.mean(0) for rows in encoder.encode(texts)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def distinct_in_order(values: NDArray) -> NDArray:
    """Each value once, in the order of first occurrence."""
    distinct, first = np.unique(values, return_index=True)
    return distinct[np.argsort(first)]


def nearest_sentence_recalls(
    similarity: NDArray, sentences: Sentences, queries: Queries
) -> dict[str, float]:
    """Rank sentences by similarity, and videos by their best sentence.

    Args:
        similarity: (Q, S).
        sentences: S sentences.
        queries: Q queries with answers.

    Returns:
        ``VR/R{K}``, ``SVMR/R{K}@{IoU}`` and ``VCMR/R{K}@{IoU}`` in percent.
    """
    hits: dict[str, list[NDArray]] = {task: [] for task in IOU_THRESHOLDS}
    answers = zip(similarity, queries.video_ids, queries.moments, strict=True)
    for scores, video_id, moments in answers:
        order = np.argsort(-scores, kind='stable')
        own = order[sentences.video_ids[order] == video_id]
        right = np.full(len(moments), video_id)
        hits['VR'].append(video_hits(distinct_in_order(sentences.video_ids[order]), right))
        for task, ranked in (('SVMR', own[: TOP_K[-1]]), ('VCMR', order[: TOP_K[-1]])):
            found = sentences.video_ids[ranked], sentences.moments[ranked]
            overlap = overlaps(*found, right, moments)
            hits[task].append(moment_hits(overlap, IOU_THRESHOLDS[task]))
    worths = {task: stack_worths(found) for task, found in hits.items()}
    return {
        f'{task}/{recall_name(k, iou)}': recall_at(worths[task][:, i], k)
        for task, ious in IOU_THRESHOLDS.items()
        for i, iou in enumerate(ious)
        for k in TOP_K
    }


def make_reader(args: argparse.Namespace) -> AnnotationReader:
    """Build the reader of the command line, by default of the converter's files."""
    files = dict(
        type='TVRReader',
        ann_file=f'{args.split}.jsonl',
        video_index='video2dur_idx.json',
        split=args.split,
    )
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        return TASK_UTILS.build({**(args.reader or files), 'data_root': str(args.task)})


def run(args: argparse.Namespace) -> None:
    """Read, encode, rank, report."""
    reader = make_reader(args)
    videos = reader.videos()
    sentences = read_sentences(args.task / args.subtitles, videos)
    queries = read_queries(reader, videos)
    encoder = TextEncoder(
        args.encoder, max_tokens=args.max_tokens, batch_size=args.batch_size, device=args.device
    )
    similarity = embed(encoder, queries.texts) @ embed(encoder, sentences.texts).T
    recalls = nearest_sentence_recalls(similarity, sentences, queries)
    print(f'{len(queries.texts)} queries, {len(sentences.texts)} sentences')
    tasks = IOU_THRESHOLDS.items()
    cells = [cell for task, ious in tasks for cell in recall_cells(task, task, TOP_K, ious)]
    print(result_table(recalls, cells))
    if args.out:
        write_json(args.out, recalls, indent=2)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('task', type=Path, help='folder with annotation, index and subtitles')
    parser.add_argument(
        '--encoder',
        required=True,
        metavar='PATH_OR_HUB_ID',
        help='an encoder that transformers loads: its folder, or its id on the hub',
    )
    defaults = 'default: %(default)s'
    parser.add_argument('--split', default='val', help=defaults)
    parser.add_argument(
        '--reader',
        nargs='+',
        action=DictAction,
        help='reader of another layout: type=ActivityNetCaptionsReader ann_file=val_1.json',
    )
    parser.add_argument(
        '--subtitles', default='subtitles.jsonl', help=f'in the folder ({defaults})'
    )
    parser.add_argument('--max-tokens', type=int, default=64, help=f'of a text ({defaults})')
    parser.add_argument('--batch-size', type=int, default=32, help=f'texts ({defaults})')
    parser.add_argument('--device', default='cpu', help=f'of the encoder ({defaults})')
    parser.add_argument('--out', type=Path, help='JSON file for the recalls')
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with input_errors_end_the_program():
        run(args)


if __name__ == '__main__':
    main()
