"""A page with pictures: one HTML file that needs nothing else. The server never imports this file.

Each picture is an image of its own, as wide as a telephone's screen, so that its text is readable
there; on a wide screen two of them stand side by side.
"""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
h1{{font-size:1.6rem;line-height:1.2}}
table{{display:block;overflow-x:auto;border-collapse:collapse}}
td,th{{text-align:left;padding:.3rem .5rem;border-bottom:1px solid #ddd}}
.pictures{{display:flex;flex-wrap:wrap;gap:1.5rem 1rem;margin-top:1.5rem}}
figure{{width:29rem;max-width:100%;margin:0}}
img{{width:100%}}</style>
<h1>{heading}</h1>
{sentences}
{body}
</html>
"""
_WIDTH, _HEIGHT = 4.8, 4.2
"""Width of a picture, in inches: at this width a point of its text is a point on the page."""
_POINTS, _DOTS_PER_INCH = 12, 150


def write_page(
    path: Path, *, title: str, heading: str, sentences: Sequence[str], body: str
) -> None:
    page = _PAGE.format(
        title=escape(title),
        heading=escape(heading),
        sentences="\n".join(f"<p>{escape(sentence)}</p>" for sentence in sentences),
        body=body,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(headings, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def picture(draw: Callable[[Any], None], height: float = _HEIGHT) -> str:
    """What `draw` draws on some axes. Their legend stands above them and hides nothing, their title
    below the image, where it wraps."""
    with rc_context({"font.size": _POINTS}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        words = escape(axes.get_title())
        axes.set_title("")
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper center", ncols=2, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    data = base64.b64encode(buffer.getvalue()).decode()
    image = f'<img alt="{words}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def pictures(words: str, *drawn: str) -> str:
    """Some pictures that belong together, and what they show."""
    return f'<div class="pictures" role="group" aria-label="{escape(words)}">{"".join(drawn)}</div>'
