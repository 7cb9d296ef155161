"""A report's HTML page from its executed notebook: one file that reads offline."""

import base64
import html
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageStat

from llie_core.reporting.equations import with_equations

TEMPLATES = Path(__file__).parent / "templates"
FEATURED = "featured"  # cells with this tag stand behind the findings
FINDINGS = "## What was found"
LARGE = 200_000  # characters of an encoded PNG that becomes a JPEG
MOST = 6_000_000  # characters of a page
LEAST_SIDE = 256  # of an image on a page of photographs, in pixels
QUALITIES = (88, 75, 60, 45)  # of JPEGs: the first by which a page stays below MOST
VENDORED = ("sortable.auto.min.js", "img-comparison-slider.js")
_HEADING = re.compile(r'<h2 id="([^"]*)">(.*?)<a class="anchor-link"', re.S)
_FIGURE = re.compile(
    r'<img alt="[^"]*"( data-main(?:="")?)? src="data:image/jpeg;base64,([^"]+)"/?>'
    r"<figcaption>(.*?)</figcaption>"
)
_IMAGE = re.compile(r'<img[^>]*src="data:image/(?:jpeg|png);base64,([^"]+)"')


def page_html(notebook: Any, title: str) -> str:
    """The page: findings with the featured images first, a list of sections, no code.

    Style and scripts are in it; without scripts everything is still there to read.
    """
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    exporter = HTMLExporter(
        template_name="report", extra_template_basedirs=[str(TEMPLATES)], embed_images=True
    )
    # A cell's lines of text arrive in several outputs.
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    notebook.cells = _featured_first(notebook.cells)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_equations(cell.source)
    _compress([output for cell in notebook.cells for output in cell.get("outputs", [])])
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    sections = _HEADING.findall(body)
    links = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in sections)
    page = body.replace("<!--sections-->", f"<ol>{links}</ol>")
    page = page.replace("<!--scripts-->", scripts())
    if len(page) > MOST:
        print(f"{title}: the page is {len(page) / 1e6:.1f} MB, more than {MOST / 1e6:.0f}; its "
              "notebook should show fewer or smaller images", file=sys.stderr)  # fmt: skip
    return page


def plain_page(title: str, body: str) -> str:
    """A page without a notebook: `body`, HTML, below its title, with style and scripts in it."""
    return _PLAIN.format(title=html.escape(title), style=style(), body=body, scripts=scripts())


def photo_page(title: str, body: Callable[[int], str], side: int) -> str:
    """A `plain_page` of photographs, as large as `MOST` allows.

    Args:
        body: HTML from the most pixels of an image's longer side.
        side: the first that is tried; each next one is a fifth less, down to `LEAST_SIDE`.

    Raises:
        ValueError: the images do not fit.
    """
    while side >= LEAST_SIDE:
        text = plain_page(title, body(side))
        if len(text) <= MOST:
            return text
        side = int(side * 0.8)
    raise ValueError(
        f"the images do not fit on a page of {MOST / 1e6:g} MB; name fewer photographs or methods"
    )


_PLAIN = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body class="index">
<main>
<h1>{title}</h1>
{body}</main>
{scripts}
</body>
</html>
"""


def _compress(outputs: Sequence[Any]) -> None:
    """Make large PNGs, photographs in a grid, JPEGs of a fifth of their size, or of less where the
    page would be too large."""
    data = [output.get("data", {}) for output in outputs]
    large = [place for place, of in enumerate(data) if len(of.get("image/png", "")) >= LARGE]
    originals = [data[place].pop("image/png") for place in large]
    rest = sum(len(str(value)) for of in data for value in of.values()) + len(scripts() + style())
    for quality in QUALITIES:
        images = [_jpeg(_decoded(original), quality) for original in originals]
        if rest + sum(map(len, images)) < 0.98 * MOST:
            break
    for place, image in zip(large, images, strict=True):
        data[place]["image/jpeg"] = image
        words = outputs[place].metadata
        words["image/jpeg"] = words.pop("image/png", {})


def _jpeg(image: Image.Image, quality: int) -> str:
    """An image as an encoded JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return base64.b64encode(file.getvalue()).decode()


def scripts() -> str:
    """The scripts of reports and of their index, inline."""
    folder = TEMPLATES / "report"
    paths = [*(folder / "vendor" / name for name in VENDORED), folder / "report.js"]
    return "".join(f"<script>{path.read_text(encoding='utf-8')}</script>" for path in paths)


def style() -> str:
    """The style sheet of reports and of their index."""
    return (TEMPLATES / "report" / "report.css").read_text(encoding="utf-8")


def card(page: str) -> dict[str, str]:
    """What the index shows of a page: its title, a thumbnail as a data URI, "" where the page has
    no image, and the words for it.

    The thumbnail has the first, the main and the last image of a comparison in thirds, such as
    input, enhanced image and ground truth; of several comparisons of the first one's rows, that
    whose last image has most contrast. A page without one shows its first image.
    """
    title = re.search(r"<h1[^>]*>(.*?)(?:<a |</h1>)", page, re.S)
    found = {"title": html.unescape(title[1].strip()) if title else "", "words": ""}
    compared = [
        (tuple(caption for _, _, caption in figures), figures)
        for block in page.split('<div class="compare"')[1:]
        if (figures := _FIGURE.findall(block.partition("</div>")[0]))
    ]
    alike = [figures for captions, figures in compared if captions == compared[0][0]]
    try:
        if alike:
            scenes = [(_decoded(figures[-1][1]), figures) for figures in alike]
            last, figures = max(scenes, key=lambda one: ImageStat.Stat(one[0].convert("L")).stddev)
            main = next((f for f in figures if f[0]), figures[-1])
            images = [_decoded(figures[0][1]), _decoded(main[1]), last]
            captions = figures[0][2], main[2], figures[-1][2]
            found["words"] = html.unescape(", ".join(dict.fromkeys(captions)))
            return found | {"thumbnail": _small(_in_thirds(images))}
        first = _IMAGE.search(page)
        return found | {"thumbnail": _small(_decoded(first[1])) if first else ""}
    except OSError:  # a notebook may show what is no image
        return found | {"thumbnail": ""}


def _decoded(encoded: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")


def _in_thirds(images: Sequence[Image.Image]) -> Image.Image:
    """Images of one scene beside each other, each showing its part of the scene, with a white line
    between two."""
    whole = images[0].copy()
    width, height = whole.size
    for place, image in enumerate(images[1:], start=1):
        left = place * width // len(images)
        part = image.resize(whole.size).crop((left, 0, width, height))
        whole.paste(part, (left, 0))
        whole.paste("white", (left - 1, 0, left + 1, height))
    return whole


def _small(image: Image.Image) -> str:
    image.thumbnail((320, 320))
    return f"data:image/jpeg;base64,{_jpeg(image, 82)}"


def _featured_first(cells: list) -> list:
    """The cells with the featured ones moved behind the first section's."""
    featured = [cell for cell in cells if FEATURED in cell.metadata.get("tags", [])]
    others = [cell for cell in cells if cell not in featured]
    starts = [i for i, cell in enumerate(others) if cell.source.startswith("## ")]
    found = [n for n, i in enumerate(starts) if others[i].source.startswith(FINDINGS)]
    if not featured or not found:
        return cells
    end = (starts[found[0] + 1 :] or [len(others)])[0]
    return [*others[:end], *featured, *others[end:]]
