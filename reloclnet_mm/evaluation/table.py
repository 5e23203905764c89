"""Recalls as a table."""

import re
from collections.abc import Mapping

from tabulate import tabulate

TASKS = ('VR', 'SVMR', 'VCMR')


def recall_table(metrics: Mapping[str, float]) -> str:
    """Ranks as rows; tasks and IoU thresholds as columns; chance, where known, in brackets.

    Args:
        metrics: What an evaluator returns: ``VR/R1``, ``SVMR/R1@0.5``, ``chance/VR/R1``, ….
            Recalls by query type and other metrics are left out.

    Returns:
        The table, several lines.
    """
    names = [m for m in map(_parse, metrics) if m]
    columns = sorted(
        {(task, iou) for task, _, iou in names}, key=lambda c: (TASKS.index(c[0]), c[1])
    )
    ranks = sorted({rank for _, rank, _ in names})
    header = ['', *(f'{task} IoU {iou}' if iou else task for task, iou in columns)]
    rows = [
        [f'R@{rank}', *(_cell(metrics, task, rank, iou) for task, iou in columns)] for rank in ranks
    ]
    return tabulate(rows, header, stralign='right', disable_numparse=True)


def _parse(name: str) -> tuple[str, int, str] | None:
    match = re.fullmatch(rf'({"|".join(TASKS)})/R(\d+)(?:@([\d.]+))?', name)
    return (match[1], int(match[2]), match[3] or '') if match else None


def _cell(metrics: Mapping[str, float], task: str, rank: int, iou: str) -> str:
    name = f'{task}/R{rank}' + (f'@{iou}' if iou else '')
    if name not in metrics:
        return ''
    chance = metrics.get(f'chance/{name}')
    return f'{metrics[name]:.2f}' + (f' ({chance:.2f})' if chance is not None else '')
