"""Answers as one page on disk."""

import base64
import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from reloclnet_mm.extraction.frames import frame_at
from reloclnet_mm.indexing.hits import Hit, Hits
from reloclnet_mm.utils.fileio import write_text
from reloclnet_mm.utils.times import clock

_WIDTH = 240


def write_answer_page(answers: Sequence[Hits], out: Path) -> None:
    """Write the moments of queries as one HTML file, whose links play them from the disk.

    Args:
        answers: The moments of each query.
        out: File to write.

    Raises:
        InputError: It cannot be written, or a video cannot be decoded.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters['clock'] = clock
    template = files('reloclnet_mm.serving').joinpath('answers.html.jinja').read_text('utf-8')
    shown = [
        dict(hits=hits, rows=[dict(hit=hit, url=_url(hit), frame=_frame(hit)) for hit in hits])
        for hits in answers
    ]
    write_text(out, environment.from_string(template).render(answers=shown))


def _url(hit: Hit) -> str:
    return f'{Path(hit.path).as_uri()}#t={hit.start:.2f},{hit.end:.2f}'


def _frame(hit: Hit) -> str | None:
    """Encode the middle frame as an address of data; None: there is no picture."""
    if not hit.has_pictures or not Path(hit.path).is_file():
        return None
    frame = frame_at(hit.path, (hit.start + hit.end) / 2, _WIDTH)
    content = io.BytesIO()
    frame.save(content, format='JPEG', quality=80)
    return f'data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}'
