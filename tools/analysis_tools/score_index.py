"""Score an index on queries whose moments are known, beside the nearest sentence.

The queries are a jsonl file, a line each: {"vid_name", "ts": [start, end], "desc"}, seconds, where
vid_name is the name of the video in the index. With queries that have no answer in it, a line each,
it also tells how often the model says rightly and wrongly that there is nothing relevant.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from tabulate import tabulate

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.functional import recall_at, temporal_iou
from reloclnet_mm.indexing.hits import Hits
from reloclnet_mm.utils.cli import input_errors_end_the_program
from reloclnet_mm.utils.fileio import read_text
from reloclnet_mm.utils.json_files import read_jsonl

Moments = list[tuple[str, float, float]]
RANKS, IOUS = (1, 5, 10), (0.5, 0.7)


class Truth(Struct):
    """A query and its moment."""

    vid_name: str
    ts: tuple[float, float]
    desc: str


def read_truth(path: Path, inferencer: MomentInferencer) -> list[Truth]:
    """Read the queries, whose videos must be in the index."""
    names = {video.name for video in inferencer.videos}
    found = []
    for where, truth in read_jsonl(path, Truth):
        if truth.vid_name not in names:
            raise InputError(
                f'{where}: the index has no video {truth.vid_name!r}, expected a name such as '
                f'{next(iter(sorted(names)), None)!r}'
            )
        found.append(truth)
    if not found:
        raise InputError(f'{path}: holds no query; expected one a line')
    return found


def moments_of(answers: Sequence[Hits]) -> list[Moments]:
    """Return the moments of each query."""
    return [[(hit.video, hit.start, hit.end) for hit in hits] for hits in answers]


def refused(answers: Sequence[Hits]) -> str:
    """Say for how many queries there is nothing relevant."""
    count = sum(hits.nothing_relevant for hits in answers)
    return f'{count} of {len(answers)}, {100 * count / len(answers):.1f} %'


def found_by_sentence(inferencer: MomentInferencer, texts: Sequence[str]) -> list[Moments]:
    """Return all sentences, nearest first, for each query: the mean tokens are compared."""
    said = [
        (video.name, x) for video in inferencer.videos for x in inferencer.sentences(video.name)
    ]
    if not said:
        raise InputError('nothing is said in the videos of this index')

    def encode(sentences: Sequence[str]) -> np.ndarray:
        means = np.stack([x.mean(0) for x in inferencer.recipe.encode_queries(sentences)])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    order = np.argsort(-encode(texts) @ encode([x.text for _, x in said]).T, axis=1, kind='stable')
    moments = [(name, x.start, x.end) for name, x in said]
    return [[moments[i] for i in row] for row in order]


def recalls(found: Sequence[Moments], truths: Sequence[Truth]) -> dict[str, float]:
    """Compute recalls of videos and of moments in percent."""
    width = max(RANKS)
    videos = np.zeros((len(truths), width), bool)
    moments = {iou: np.zeros_like(videos) for iou in IOUS}
    for row, (answers, truth) in enumerate(zip(found, truths, strict=True)):
        ranked = [*dict.fromkeys(name for name, _, _ in answers)][:width]
        videos[row, : len(ranked)] = [name == truth.vid_name for name in ranked]
        for rank, (name, start, end) in enumerate(answers[:width]):
            if name == truth.vid_name:
                overlap = temporal_iou([start, end], truth.ts)
                for iou, hits in moments.items():
                    hits[row, rank] = overlap >= iou
    made = {f'VR R@{k}': recall_at(videos, k) for k in RANKS}
    return made | {
        f'VCMR R@{k}, IoU {iou}': recall_at(hits, k) for iou, hits in moments.items() for k in RANKS
    }


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('index', type=Path, help='folder that tools/index.py wrote')
    parser.add_argument('truth', type=Path, help='jsonl file of queries')
    parser.add_argument(
        '--unrelated', type=Path, help='text file of queries without an answer, a line each'
    )
    parser.add_argument('--model', help='config of a model that does not come with the package')
    parser.add_argument('--weights', help='its weights')
    args = parser.parse_args(argv)
    with input_errors_end_the_program():
        inferencer = MomentInferencer.from_index(
            args.index, args.model, args.weights, show_progress=False
        )
        truths = read_truth(args.truth, inferencer)
        texts = [truth.desc for truth in truths]
        answers = inferencer(texts, top_k=1000)
        rows = {
            'model': recalls(moments_of(answers), truths),
            'nearest sentence': recalls(found_by_sentence(inferencer, texts), truths),
        }
        print(f'{len(truths)} queries, {len(inferencer.videos)} videos')
        table = [[name, *(row[name] for row in rows.values())] for name in rows['model']]
        print(tabulate(table, ['', *rows], floatfmt='.2f'))
        if args.unrelated:
            others = [line for line in read_text(args.unrelated).splitlines() if line.strip()]
            if not others:
                raise InputError(f'{args.unrelated}: holds no query, expected one a line')
            print(f'nothing relevant, of the queries above: {refused(answers)}')
            print(f'nothing relevant, of unrelated queries: {refused(inferencer(others))}')


if __name__ == '__main__':
    main()
