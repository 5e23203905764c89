"""Writing a benchmark's results as HTML, Markdown and JSON."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from tabulate import tabulate

from reloclnet_mm.benchmarking.plots import Plotter
from reloclnet_mm.benchmarking.reference import Protocol
from reloclnet_mm.benchmarking.results import difference_between
from reloclnet_mm.benchmarking.scores import main_measures
from reloclnet_mm.utils.fileio import write_json, write_text

COST_COLUMNS = {
    'parameters': 'parameters',
    'flops_per_video': 'FLOPs a video',
    'flops_per_query': 'FLOPs a query',
    'passes_per_query': 'passes a query',
    'videos_per_s': 'videos/s',
    'hours_per_hour': 'hours of video an hour',
    'index_bytes_per_hour': 'index, bytes an hour of video',
    'latency_p50_ms': 'query p50, ms',
    'latency_p99_ms': 'query p99, ms',
    'peak_memory_mb': 'peak memory, MB',
    'peak_gpu_memory_mb': 'peak GPU memory, MB',
}
_SHOWN_K = (1, 10, 100)
_TEMPLATE = 'report.html.jinja'


def write_report(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``report.json``, ``report.md`` and ``report.html``.

    Args:
        results: What :func:`~reloclnet_mm.benchmarking.results.summarize` returns, with ``made``:
            ``command`` or None, ``version`` and ``machine``.
        folder: Where to write.

    Returns:
        The files.
    """
    paths = [folder / f'report.{suffix}' for suffix in ('json', 'md', 'html')]
    write_json(paths[0], results, indent=1)
    write_text(paths[1], markdown(results))
    write_text(paths[2], html(results))
    return paths


def shown_measures(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Choose the recalls of the main table: R@1, R@10 and R@100, or all if there are others."""
    if not set(_SHOWN_K) <= {x['top_k'] for x in results['measures']}:
        return results['measures']
    return [x for x in results['measures'] if x['top_k'] in _SHOWN_K]


def task_of(measure: Mapping[str, Any]) -> str:
    """Return task and IoU of a recall as text."""
    return measure['task'] if measure['iou'] is None else f'{measure["task"]} IoU {measure["iou"]}'


def footnotes(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Number the notes of all rows, each once."""
    notes = dict.fromkeys(note for row in rows for note in row['notes'])
    return {note: number for number, note in enumerate(notes, 1)}


def recall_cell(row: Mapping[str, Any], name: str) -> str:
    """Return a recall with its interval, as text; an empty text where there is none."""
    recall = row['recalls'].get(name)
    if recall is None:
        return ''
    spread = f' ± {recall["sd"]:.2f}' if 'sd' in recall else ''
    return f'{recall["value"]:.2f}{spread}'


def interval(row: Mapping[str, Any], name: str) -> str:
    """Return the interval of a recall as text; a dash where it is unknown."""
    recall = row['recalls'].get(name)
    if recall is None:
        return ''
    return '–' if recall['low'] is None else f'{recall["low"]:.1f}–{recall["high"]:.1f}'


def quantity(value: float | None) -> str:
    """Return a number with three digits and a prefix for thousands; empty for None."""
    if value is None:
        return ''
    # Before the unit is chosen, for 999,950 is 1 M and not 1,000 k.
    rounded = float(f'{value:.3g}')
    for least, one, unit in ((1e12, 1e12, 'T'), (1e9, 1e9, 'G'), (1e6, 1e6, 'M'), (1e4, 1e3, 'k')):
        if rounded >= least:
            return f'{rounded / one:.3g} {unit}'
    return f'{value:,.0f}' if rounded >= 1000 else f'{value:.3g}'


def markdown(results: Mapping[str, Any]) -> str:
    """Return the main tables as Markdown."""
    notes = footnotes(results['rows'])
    names = [_in_markdown(_noted(row, notes)) for row in results['rows']]
    costs = [
        [name, *(quantity(row['costs'].get(key)) for key in COST_COLUMNS)]
        for name, row in zip(names, results['rows'], strict=True)
    ]
    data, made, protocol = results['data'], results['made'], results['protocol']
    parts = [
        '# Benchmark',
        f'{data["queries"]:,} queries, {data["videos"]:,} videos, {data["hours"]:.1f} hours; '
        f'{_in_markdown(machine_line(made["machine"]))}.',
        f'Recalls in percent, with {100 * protocol["confidence"]:.0f}% intervals. Bold: better '
        f'than the next, p < {protocol["significant"]}.',
        *map(_in_markdown, data['notes']),
        *_recall_tables(results, names),
        _table(['', *COST_COLUMNS.values()], costs),
    ]
    others = other_metrics(results['rows'])
    if others:
        rows = [row for row in results['rows'] if row['other']]
        lines = [
            [
                _in_markdown(x),
                *(f'{row["other"][x]:.2f}' if x in row['other'] else '' for row in rows),
            ]
            for x in others
        ]
        parts.append(_table(['', *(_in_markdown(row['name']) for row in rows)], lines))
    parts += [f'{number}. {_in_markdown(note)}' for note, number in notes.items()]
    parts.append(f'Made by reloclnet_mm {made["version"]}.')
    if made['command'] is not None:
        parts.append(f'```\n{made["command"]}\n```')
    return '\n\n'.join(parts) + '\n'


def _recall_tables(results: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Yield a table for each task."""
    for _, group in groupby(shown_measures(results), lambda measure: measure['task']):
        own = list(group)
        lines = [
            [name, *(_markdown_recall(row, x['name'], results['best']) for x in own)]
            for name, row in zip(names, results['rows'], strict=True)
        ]
        yield _table(['', *(x['label'] for x in own)], lines)


def _markdown_recall(row: Mapping[str, Any], name: str, best: Mapping[str, str | None]) -> str:
    text = recall_cell(row, name)
    bold = f'**{text}**' if best[name] == row['name'] else text
    return f'{bold} ({interval(row, name)})' if text else ''


def _noted(row: Mapping[str, Any], notes: Mapping[str, int]) -> str:
    numbers = ', '.join(str(notes[note]) for note in row['notes'])
    return f'{row["name"]} [{numbers}]' if numbers else row['name']


def _in_markdown(text: str) -> str:
    return ''.join(f'\\{x}' if x in '\\`*_{}[]<>#|' else x for x in text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, head, tablefmt='pipe', disable_numparse=True)


def other_metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the names of what configs report beside recalls."""
    return list(dict.fromkeys(name for row in rows for name in row['other']))


def machine_line(machine: Mapping[str, Any]) -> str:
    """Describe a machine in a line."""
    return (
        f'{machine["cpu"]}, {machine["cores"]} cores, torch threads: {machine["threads"]}, '
        f'{machine["instructions"]}; device {machine["device"]}; torch {machine["torch"]}'
    )


def html(results: Mapping[str, Any]) -> str:
    """Return the report as one page without external resources; texts are escaped."""
    plotter = Plotter([row['name'] for row in results['rows']])
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(quantity=quantity, breakable=breakable)
    template = environment.from_string(
        files('reloclnet_mm.benchmarking').joinpath(_TEMPLATE).read_text('utf-8')
    )
    return template.render(
        results,
        shown=shown_measures(results),
        heads=[(head, len(list(own))) for head, own in groupby(shown_measures(results), task_of)],
        notes=footnotes(results['rows']),
        cost_columns=COST_COLUMNS,
        others=other_metrics(results['rows']),
        recall_cell=recall_cell,
        interval=interval,
        machine_line=machine_line,
        matrices=list(_matrices(results)),
        figures=figures(results, plotter),
        legend=plotter.legend(),
        percent=percent_of,
    )


def breakable(text: str) -> Markup:
    """Escape a text and let lines break after underscores."""
    return Markup('_<wbr>').join(text.split('_'))


def percent_of(part: float, whole: float) -> float:
    """Return a part of a whole in percent, from 0 to 100."""
    return round(min(max(100 * part / whole, 0), 100), 2)


def figures(results: Mapping[str, Any], plotter: Plotter) -> dict[str, list[Markup]]:
    """Draw the figures: heading to SVG."""
    drawn = {}
    rows = results['rows']
    by_latency = []
    for measure in main_measures(Protocol(**_protocol(results))):
        points = [
            (row['name'], row['costs']['latency_p50_ms'], row['recalls'][measure.name])
            for row in rows
            if 'latency_p50_ms' in row['costs'] and measure.name in row['recalls']
        ]
        if points:
            by_latency.append(plotter.latency(points, measure.label))
    if by_latency:
        drawn['Recall against latency'] = by_latency
    drawn['Recall by K'] = plotter.curves(results['recall_by_k'], 'K')
    for breakdown in results['breakdowns']:
        drawn[f'Recall by {breakdown["name"]}'] = plotter.groups(breakdown)
    if results['corpus_size']['recalls']:
        drawn['Recall by size of the corpus'] = [plotter.sizes(results['corpus_size'])]
    return {heading: [Markup(svg) for svg in svgs] for heading, svgs in drawn.items()}


def _protocol(results: Mapping[str, Any]) -> dict[str, Any]:
    return {name: results['protocol'][name] for name in Protocol.__dataclass_fields__}


def _matrices(results: Mapping[str, Any]) -> Any:
    """Yield a recall, its rows, and for each two of them the difference and corrected p."""
    for measure in main_measures(Protocol(**_protocol(results))):
        rows = [row['name'] for row in results['rows'] if measure.name in row['recalls']]
        if len(rows) > 1:
            yield (
                measure.label,
                rows,
                {
                    (a, b): difference_between(measure.name, a, b, results['significance'])
                    for a in rows
                    for b in rows
                    if a != b
                },
            )
