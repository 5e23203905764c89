"""Drawing timelines."""

import textwrap

import numpy as np

from reloclnet_mm.errors import InputError
from reloclnet_mm.visualization.timeline import Timeline

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as e:
    raise InputError(
        'pictures are drawn by matplotlib, which is not installed: '
        "pip install 'reloclnet_mm[plot]', or leave MomentVisualizationHook out of the config"
    ) from e

# A sentence with two dollar signs is not a formula.
_PLAIN_TEXT = {'text.parse_math': False}
_TRUTH, _START, _END, _FOUND = '#b7dfb0', '#2166ac', '#d6604d', '#5a5a5a'


@mpl.rc_context(_PLAIN_TEXT)
def draw_timeline(shown: Timeline, width: float = 9.0, dpi: int = 110) -> np.ndarray:
    """Draw the picture of a query.

    Args:
        shown: What to draw.
        width: Width in inches.
        dpi: Pixels per inch.

    Returns:
        (height, width, 3) uint8, RGB.
    """
    rows = max(len(shown.moments), len(shown.in_corpus), 1)
    figure = Figure(figsize=(width, 3.0 + 0.25 * rows), dpi=dpi, layout='constrained')
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplot_mosaic(
        [['prob', 'corpus'], ['found', 'corpus']],
        width_ratios=[3, 1.3],
        height_ratios=[2, 0.25 * rows + 0.4],
    )
    title = '\n'.join(textwrap.wrap(f'“{shown.query}”', 95, max_lines=2, placeholder=' …'))
    figure.suptitle(title, x=0.01, ha='left', fontsize=11)
    _draw_probabilities(panels['prob'], shown)
    _draw_moments(panels['found'], shown)
    _draw_corpus(panels['corpus'], shown)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_probabilities(axes: Axes, shown: Timeline) -> None:
    _draw_truth(axes, shown)
    if shown.start_prob is None or shown.end_prob is None:
        axes.text(0.5, 0.5, 'probabilities are in another process', transform=axes.transAxes)
    else:
        edges = np.arange(len(shown.start_prob) + 1) * shown.seconds_per_clip
        for prob, color, label in (
            (shown.start_prob, _START, 'start'),
            (shown.end_prob, _END, 'end'),
        ):
            axes.stairs(prob, edges, color=color, label=label, linewidth=1.5)
    axes.set_ylabel('probability')
    axes.set_ylim(bottom=0)
    axes.set_title(shown.video, loc='left', fontsize=9)
    axes.legend(loc='lower right', bbox_to_anchor=(1, 0.98), fontsize=8, frameon=False, ncols=3)
    axes.tick_params(labelbottom=False)


def _draw_moments(axes: Axes, shown: Timeline) -> None:
    _draw_truth(axes, shown)
    for row, ((start, end), share) in enumerate(zip(shown.moments, shown.shares, strict=True)):
        axes.barh(row, end - start, left=start, height=0.6, color=_FOUND)
        axes.text(min(end, shown.duration), row, f' {share:.1%}', va='center', fontsize=8)
    axes.set_yticks(range(len(shown.moments)), [str(i + 1) for i in range(len(shown.moments))])
    axes.set_ylim(max(len(shown.moments), 1) - 0.5, -0.5)
    axes.set_ylabel('rank')
    axes.set_xlabel('seconds')


def _draw_truth(axes: Axes, shown: Timeline) -> None:
    for i, (start, end) in enumerate(shown.truth):
        axes.axvspan(start, end, color=_TRUTH, label='truth' if i == 0 else None, linewidth=0)
    axes.set_xlim(0, shown.duration)
    axes.spines[['top', 'right']].set_visible(False)


def _draw_corpus(axes: Axes, shown: Timeline) -> None:
    axes.set_axis_off()
    axes.set_title('in the corpus', loc='left', fontsize=9)
    for row, (line, right) in enumerate(shown.in_corpus):
        axes.text(
            0,
            1 - (row + 0.5) / max(len(shown.in_corpus), 8),
            f'{row + 1}. {line}',
            transform=axes.transAxes,
            fontsize=8,
            va='center',
            color='#2d7d22' if right else 'black',
            fontweight='bold' if right else 'normal',
        )
