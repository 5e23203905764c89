"""Draw ``task.png``, the picture of the task at the top of the README.

Run ``python docs/assets/draw_task.py`` to write the picture beside this file.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Curve

INK = '#1f2933'
MUTED = '#6b7885'
LINE = '#d5dce3'
PAPER = '#ffffff'
CARD = '#f6f8fa'
FILM = '#33414e'
ACCENT = '#e8590c'
ACCENT_SOFT = '#fff1e6'
SHADES = ('#9db8cc', '#b9c9b4', '#cdbfd6', '#a9c9c4', '#d6c7ae')

WIDTH, HEIGHT = 16.0, 6.6
SECONDS_PER_CELL = 5
CELLS = (20, 17, 22, 15, 19)
RIGHT_VIDEO = 2
RIGHT_CELLS = (9, 13)
FILMS_LEFT, FILMS_TOP, FILM_PITCH, FILM_HEIGHT = 4.75, 5.75, 1.12, 0.56
CELL_WIDTH = 0.245
RESULTS_LEFT, RESULTS_WIDTH = 11.3, 4.4


def cells_left_right(first: float, end: float) -> tuple[float, float]:
    """Horizontal ends of some cells of a film."""
    return FILMS_LEFT + first * CELL_WIDTH, FILMS_LEFT + end * CELL_WIDTH


def film_bottom(video: int) -> float:
    """Lower edge of a film."""
    return FILMS_TOP - video * FILM_PITCH - FILM_HEIGHT


def draw_box(
    ax: Axes,
    left: float,
    bottom: float,
    width: float,
    height: float,
    *,
    face: str,
    edge: str = 'none',
    line_width: float = 1.2,
    radius: float = 0.12,
    order: float = 1,
) -> None:
    """A rectangle with round corners."""
    ax.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            height,
            boxstyle=f'round,pad=0,rounding_size={radius}',
            facecolor=face,
            edgecolor=edge,
            linewidth=line_width,
            zorder=order,
        )
    )


def draw_arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A straight grey arrow."""
    ax.annotate(
        '',
        end,
        start,
        arrowprops=dict(arrowstyle='-|>,head_width=0.32,head_length=0.55', color=MUTED, lw=2),
    )


def draw_heading(ax: Axes, left: float, text: str) -> None:
    """The title of a column."""
    ax.text(left, HEIGHT - 0.42, text, color=MUTED, size=12.5, weight='bold', va='center')


def draw_query(ax: Axes) -> None:
    """The sentence on the left."""
    draw_heading(ax, 0.3, 'QUERY')
    height = 2.0
    bottom = film_bottom(RIGHT_VIDEO) + FILM_HEIGHT / 2 - height / 2
    draw_box(ax, 0.3, bottom, 3.0, height, face=CARD, edge=LINE, radius=0.18)
    draw_box(ax, 0.3, bottom + 0.22, 0.07, height - 0.44, face=ACCENT, radius=0.03, order=2)
    ax.text(
        0.6,
        bottom + height / 2,
        '“She puts the red bag\n down and says that\n she is moving out.”',
        color=INK,
        size=15,
        style='italic',
        va='center',
        linespacing=1.55,
    )
    ax.text(0.3, bottom - 0.28, 'words only, no video named', color=MUTED, size=11.5, va='center')
    draw_arrow(ax, (3.42, bottom + height / 2), (3.95, bottom + height / 2))


def draw_corpus(ax: Axes) -> None:
    """The films in the middle, one of them with the moment marked."""
    draw_heading(ax, FILMS_LEFT - 0.55, 'CORPUS OF UNTRIMMED VIDEOS')
    rng = np.random.default_rng(4)
    for video, cells in enumerate(CELLS):
        draw_film(ax, rng, video, cells)
        draw_subtitles(ax, rng, video, cells)
    draw_moment(ax)
    draw_legend(ax)


def draw_film(ax: Axes, rng: np.random.Generator, video: int, cells: int) -> None:
    """A strip of cells, coloured shot by shot."""
    right = video == RIGHT_VIDEO
    bottom = film_bottom(video)
    ax.text(
        FILMS_LEFT - 0.2,
        bottom + FILM_HEIGHT / 2,
        str(video + 1),
        color=ACCENT if right else MUTED,
        size=15,
        weight='bold',
        ha='right',
        va='center',
    )
    left, end = cells_left_right(0, cells)
    draw_box(
        ax, left - 0.06, bottom, end - left + 0.12, FILM_HEIGHT, face=FILM, radius=0.07, order=2
    )
    lengths = rng.integers(2, 6, size=cells)
    shots = np.repeat(np.arange(cells), lengths)[:cells]
    tints = rng.uniform(0.0, 0.5, size=cells)
    for cell in range(cells):
        x, _ = cells_left_right(cell, cell)
        colour = mix(SHADES[video], PAPER, tints[shots[cell]])
        if right and RIGHT_CELLS[0] <= cell < RIGHT_CELLS[1]:
            colour = mix('#ff922b', PAPER, 0.12)
        ax.add_patch(
            Rectangle(
                (x + 0.015, bottom + 0.12),
                CELL_WIDTH - 0.03,
                FILM_HEIGHT - 0.24,
                color=colour,
                lw=0,
                zorder=3,
            )
        )
        for y in (bottom + 0.04, bottom + FILM_HEIGHT - 0.08):
            for hole in (0.045, 0.165):
                ax.add_patch(Rectangle((x + hole, y), 0.045, 0.04, color='#dfe5ea', lw=0, zorder=3))


def draw_subtitles(ax: Axes, rng: np.random.Generator, video: int, cells: int) -> None:
    """Lines below a film, where something is said; one of them within the moment."""
    y = film_bottom(video) - 0.13
    gaps = [(0.2, cells)]
    if video == RIGHT_VIDEO:
        first, end = RIGHT_CELLS
        gaps = [(0.2, first - 0.4), (end + 0.6, cells)]
        draw_line(ax, y, first + 0.5, end - 0.5, ACCENT)
    for first, end in gaps:
        cell = first
        while cell < end - 1:
            length = min(rng.uniform(1.2, 3.2), end - cell)
            draw_line(ax, y, cell, cell + length, LINE)
            cell += length + rng.uniform(0.6, 1.6)


def draw_line(ax: Axes, y: float, first: float, end: float, colour: str) -> None:
    """A subtitle's line over some cells."""
    ax.plot(cells_left_right(first, end), [y, y], color=colour, lw=4, solid_capstyle='round')


def draw_legend(ax: Axes) -> None:
    """What films and lines stand for, beside the last film."""
    video = len(CELLS) - 1
    _, x = cells_left_right(0, CELLS[video])
    bottom = film_bottom(video)
    for y, text in ((bottom + FILM_HEIGHT / 2, 'frames'), (bottom - 0.13, 'subtitles')):
        ax.text(x + 0.2, y, text, color=MUTED, size=11.5, va='center')


def draw_moment(ax: Axes) -> None:
    """A frame around the moment, with its times."""
    left, right = cells_left_right(*RIGHT_CELLS)
    bottom = film_bottom(RIGHT_VIDEO)
    draw_box(
        ax,
        left - 0.03,
        bottom - 0.24,
        right - left + 0.06,
        FILM_HEIGHT + 0.32,
        face='none',
        edge=ACCENT,
        line_width=2.6,
        radius=0.08,
        order=5,
    )
    start, end = (SECONDS_PER_CELL * cell for cell in RIGHT_CELLS)
    for x, seconds, align in ((left, start, 'right'), (right, end, 'left')):
        ax.text(
            x + (-0.1 if align == 'right' else 0.1),
            bottom + FILM_HEIGHT + 0.14,
            f'{seconds} s',
            color=ACCENT,
            size=11.5,
            weight='bold',
            ha=align,
            va='center',
            zorder=6,
        )


def mix(colour: str, other: str, share: float) -> tuple[float, float, float]:
    """A colour with a share of another in it."""
    a, b = (np.array(mpl.colors.to_rgb(c)) for c in (colour, other))
    return tuple((1 - share) * a + share * b)


def draw_results(ax: Axes) -> None:
    """The three tasks with a ranked list each."""
    draw_heading(ax, RESULTS_LEFT, 'RANKED ANSWERS')
    draw_card(
        ax, 4.6, 1.3, 'VR', 'which video?', [('video 3', '', '0.91'), ('video 5', '', '0.64')]
    )
    draw_card(
        ax,
        2.95,
        1.3,
        'SVMR',
        'which moment, given video 3?',
        [('', '[45 s, 65 s]', '0.82'), ('', '[10 s, 25 s]', '0.11')],
    )
    draw_card(
        ax,
        0.45,
        2.15,
        'VCMR',
        'both: which moment of which video?',
        [
            ('video 3', '[45 s, 65 s]', '0.78'),
            ('video 5', '[30 s, 45 s]', '0.13'),
            ('video 3', '[10 s, 25 s]', '0.06'),
            ('video 1', '[80 s, 95 s]', '0.02'),
        ],
    )
    draw_fan(ax)


def draw_card(
    ax: Axes,
    bottom: float,
    height: float,
    task: str,
    question: str,
    rows: list[tuple[str, str, str]],
) -> None:
    """A task, its question and its answers: video, moment, score."""
    draw_box(ax, RESULTS_LEFT, bottom, RESULTS_WIDTH, height, face=CARD, edge=LINE, radius=0.14)
    top = bottom + height - 0.3
    ax.text(RESULTS_LEFT + 0.2, top, task, color=INK, size=14, weight='bold', va='center')
    ax.text(RESULTS_LEFT + 1.1, top, question, color=MUTED, size=12, va='center')
    for rank, (video, moment, score) in enumerate(rows, start=1):
        y = top - 0.04 - 0.38 * rank
        first = rank == 1
        if first:
            draw_box(
                ax,
                RESULTS_LEFT + 0.1,
                y - 0.18,
                RESULTS_WIDTH - 0.2,
                0.36,
                face=ACCENT_SOFT,
                radius=0.08,
                order=1.5,
            )
        style = dict(
            color=ACCENT if first else INK,
            size=12.5,
            weight='bold' if first else 'normal',
            va='center',
        )
        columns = [column for column in (video, moment) if column]
        ax.text(RESULTS_LEFT + 0.38, y, str(rank), ha='right', **style)
        for x, column in zip((0.62, 1.75), columns, strict=False):
            ax.text(RESULTS_LEFT + x, y, column, **style)
        draw_score(ax, y, float(score), first)
        ax.text(RESULTS_LEFT + RESULTS_WIDTH - 0.2, y, score, ha='right', **style)


def draw_score(ax: Axes, y: float, score: float, first: bool) -> None:
    """A bar as long as a score."""
    left, width = RESULTS_LEFT + 3.25, 0.45
    draw_box(ax, left, y - 0.045, width, 0.09, face=LINE, radius=0.04, order=2)
    draw_box(
        ax,
        left,
        y - 0.045,
        max(width * score, 0.09),
        0.09,
        face=ACCENT if first else MUTED,
        radius=0.04,
        order=3,
    )


def draw_fan(ax: Axes) -> None:
    """Curves from the moment's film to the three cards."""
    _, film_end = cells_left_right(0, CELLS[RIGHT_VIDEO])
    start = (film_end + 0.2, film_bottom(RIGHT_VIDEO) + FILM_HEIGHT / 2)
    for y in (5.25, 3.6, 1.525):
        end = (RESULTS_LEFT - 0.12, y)
        middle = (start[0] + end[0]) / 2
        curve = Curve(
            [start, (middle, start[1]), (middle, y), end],
            [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
        )
        ax.add_patch(PathPatch(curve, facecolor='none', edgecolor=MUTED, lw=2))
        draw_arrow(ax, (end[0] - 0.05, y), end)


def main() -> None:
    """Write the picture."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=100, facecolor=PAPER)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect='equal')
    ax.axis('off')
    draw_query(ax)
    draw_corpus(ax)
    draw_results(ax)
    figure.savefig(Path(__file__).with_name('task.png'), metadata={'Software': None})


if __name__ == '__main__':
    main()
