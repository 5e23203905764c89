"""The figures of the report, as SVG that stands in its HTML."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reloclnet_mm.errors import InputError
from reloclnet_mm.visualization.figures import COLORS, STYLE

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
except ImportError as e:
    raise InputError(
        'the figures of the report are drawn by matplotlib, which is not installed: '
        "pip install 'reloclnet_mm[plot]'"
    ) from e

_MARKERS = 'osD^vP*X'
_PANEL = (3.4, 2.7)


class Plotter:
    """Draws figures in which a row has the same color and marker everywhere.

    Args:
        rows: Names of the rows.
    """

    def __init__(self, rows: Sequence[str]) -> None:
        self.rows = rows
        self.count = 0

    def style_of(self, row: str) -> dict[str, Any]:
        """Return the color and marker of a row."""
        place = self.rows.index(row)
        return dict(
            color=COLORS[place % len(COLORS)], marker=_MARKERS[place // len(COLORS) % len(_MARKERS)]
        )

    def curves(
        self, panels: Mapping[str, Mapping[str, Sequence[float | None]]], x: str
    ) -> list[str]:
        """Draw recalls at 1, 2, …: a figure for each panel, row to percent."""
        figures = []
        for title, lines in panels.items():
            figure, axes = self._figure(title, x, 'percent')
            for row, values in lines.items():
                known = [value for value in values if value is not None]
                style = self.style_of(row) | dict(marker=None)
                axes.plot(range(1, len(known) + 1), known, label=row, **style)
            _count_axis(axes, max(map(len, lines.values())))
            axes.set_ylim(0, None)
            figures.append(self._svg(figure))
        return figures

    def groups(self, breakdown: Mapping[str, Any]) -> list[str]:
        """Draw recalls by kind of query, with 1.96 standard errors: a figure for each recall."""
        labels = [f'{x["label"]}\nn={x["queries"]:,}' for x in breakdown['groups']]
        figures = []
        for title, lines in breakdown['recalls'].items():
            figure, axes = self._figure(title, breakdown['name'], 'percent')
            for number, (row, values) in enumerate(lines.items()):
                shift = (number - (len(lines) - 1) / 2) * min(0.12, 0.6 / len(lines))
                known = [(i, *value) for i, value in enumerate(values) if value is not None]
                at, means, errors = zip(*known, strict=True)
                axes.errorbar(
                    [i + shift for i in at],
                    means,
                    # No bar is drawn for NaN.
                    [math.nan if error is None else 1.96 * error for error in errors],
                    label=row,
                    linestyle='none' if breakdown['name'] == 'query type' else ':',
                    linewidth=1,
                    markersize=4,
                    **self.style_of(row),
                )
            axes.set_xticks(range(len(labels)), labels, fontsize=7)
            axes.set_xlim(-0.5, len(labels) - 0.5)
            axes.set_ylim(0, None)
            figures.append(self._svg(figure))
        return figures

    def sizes(self, found: Mapping[str, Any]) -> str:
        """Draw recall of VR by the size of the corpus, with what is not known as a band."""
        figure, axes = self._figure(f'VR R@{found["top_k"]}', 'videos in the corpus', 'percent')
        for row, bounds in found['recalls'].items():
            low, high = zip(*bounds, strict=True)
            style = self.style_of(row)
            axes.plot(found['sizes'], low, label=row, markersize=3, **style)
            axes.fill_between(found['sizes'], low, high, color=style['color'], alpha=0.15, lw=0)
        _count_axis(axes, max(found['sizes']))
        axes.set_xlim(min(found['sizes']) / 1.1, max(found['sizes']) * 1.1)
        axes.set_ylim(0, 102)
        return self._svg(figure)

    def latency(self, rows: Iterable[tuple[str, float, Mapping[str, float]]], label: str) -> str:
        """Draw a recall with its interval against the latency of a query."""
        figure, axes = self._figure('', 'milliseconds a query (p50)', label)
        for row, latency, recall in rows:
            axes.errorbar(
                [latency],
                [recall['value']],
                _error_bar(recall),
                label=row,
                linestyle='none',
                **self.style_of(row),
            )
        axes.set_xscale('log')
        limits = axes.get_xlim()
        _label(axes, [m * 10.0**d for d in range(-3, 6) for m in (1, 2, 5)])
        axes.set_xlim(limits[0] / 1.5, limits[1] * 1.5)
        axes.set_ylim(0, None)
        return self._svg(figure)

    def legend(self) -> list[tuple[str, str]]:
        """List the rows with their colors."""
        return [(row, self.style_of(row)['color']) for row in self.rows]

    def _figure(self, title: str, x: str, y: str) -> tuple[Figure, Axes]:
        with mpl.rc_context({**STYLE, 'text.parse_math': False}):
            figure = Figure(figsize=_PANEL, layout='constrained')
            FigureCanvasSVG(figure)
            axes = figure.subplots()
            axes.set(title=title, xlabel=x, ylabel=y)
        return figure, axes

    def _svg(self, figure: Figure) -> str:
        self.count += 1
        # Ids of figures that stand in one page must differ.
        settings = {
            'svg.fonttype': 'none',
            'svg.hashsalt': f'figure {self.count}',
            'text.parse_math': False,
            'font.family': 'sans-serif',
        }
        written = io.StringIO()
        with mpl.rc_context({**STYLE, **settings}):
            figure.savefig(written, format='svg', metadata={'Date': None, 'Creator': None})
        text = written.getvalue()
        return text[text.index('<svg') :]


def _error_bar(recall: Mapping[str, Any]) -> list[list[float]] | None:
    """Return the lengths of the bar below and above a recall; None where they are unknown."""
    if recall['low'] is None:
        return None
    # A percentile interval of few videos may lie beside its recall.
    return [[max(recall['value'] - recall['low'], 0)], [max(recall['high'] - recall['value'], 0)]]


def _count_axis(axes: Axes, largest: int) -> None:
    """Make the x axis logarithmic, with labels at whole numbers."""
    axes.set_xscale('log')
    _label(axes, [m * 10**d for d in range(7) for m in (1, 2, 5) if m * 10**d <= largest])


def _label(axes: Axes, ticks: Sequence[float]) -> None:
    """Label these places of a logarithmic axis."""
    axes.set_xticks(ticks, [f'{x:,g}' for x in ticks])
    axes.minorticks_off()
