"""Colors, style and files of the analysis tools' figures."""

from pathlib import Path
from typing import TYPE_CHECKING

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.fileio import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ('#2166ac', '#d6604d', '#4d9221', '#8073ac', '#b8860b', '#35978f', '#c51b7d', '#5a5a5a')
STYLE = {
    'font.size': 9,
    'axes.titlesize': 10,
    'axes.titlelocation': 'left',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.edgecolor': '#808080',
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '#e4e4e4',
    'xtick.color': '#505050',
    'ytick.color': '#505050',
    'legend.frameon': False,
}


def save(figure: 'Figure', out: Path) -> None:
    """Write an image in the format that its suffix names.

    Raises:
        InputError: The suffix names no image format, or the file cannot be written.
    """
    formats = sorted(figure.canvas.get_supported_filetypes())
    if out.suffix[1:] not in formats:
        raise InputError(
            f'{out}: the suffix is {out.suffix!r}, expected one of {", ".join(formats)}; rename it'
        )
    with replace_file(out) as temporary:
        figure.savefig(temporary, format=out.suffix[1:], dpi=100)
