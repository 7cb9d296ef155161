"""A report's page: size, thumbnail, sections."""

import base64
import io
import re

import nbformat
import numpy as np
import pytest
from PIL import Image

from llie_core.files import reports_dir
from llie_core.reporting import page
from llie_core.reporting.page import page_html, thumbnail

MADE = sorted(reports_dir().glob("*.html"))


def photo(side):
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 255, (side // 32, side // 32, 3), dtype=np.uint8))
    image = np.asarray(rough.resize((side, side), Image.Resampling.BICUBIC), np.int16)
    noisy = (image + rng.integers(-4, 5, (side, side, 1))).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def page_of(*images):
    said = [{"image/png": {"alt": f"<{place}>"}} for place in range(len(images))]
    outputs = [
        nbformat.v4.new_output("display_data", {"image/png": one}, metadata=words)
        for one, words in zip(images, said, strict=True)
    ]
    cells = [
        nbformat.v4.new_markdown_cell("## One"),
        nbformat.v4.new_code_cell("1", outputs=outputs),
    ]
    return page_html(nbformat.v4.new_notebook(cells=cells), "a")


def test_large_images_are_compressed_and_keep_their_words():
    large, small = photo(512), photo(64)
    text = page_of(large, small)
    assert small in text and large not in text
    (jpeg,) = re.findall(r'data:image/jpeg;base64,([^"]*)"', text)
    assert len(jpeg) < len(large) / 3
    assert re.findall(r'alt="(.*?)"', text) == ["&lt;0&gt;", "&lt;1&gt;"]
    shown = Image.open(io.BytesIO(base64.b64decode(jpeg)))
    original = Image.open(io.BytesIO(base64.b64decode(large)))
    difference = np.asarray(shown, float) - np.asarray(original, float)
    assert np.abs(difference).mean() < 4  # of 255


def test_a_page_of_many_photographs_stays_below_six_megabytes(capsys, monkeypatch):
    """Of the qualities the first that fits; a page that none fits is named."""
    images = [photo(512)] * 8
    usual = len(page_of(*images))
    monkeypatch.setattr(page, "MOST", usual - 100_000)
    smaller = page_of(*images)
    assert len(smaller) < usual - 100_000 and capsys.readouterr().err == ""
    assert len(re.findall(r"data:image/jpeg", smaller)) == 8
    monkeypatch.setattr(page, "MOST", 100_000)
    page_of(*images)
    assert "a: the page is " in capsys.readouterr().err


@pytest.mark.parametrize("path", MADE or [None], ids=lambda path: path and path.stem)
def test_reports_that_were_made_here_stay_below_six_megabytes(path):
    if path is None:
        pytest.skip(f"no report was made yet (looked in {reports_dir()}; make reproduce)")
    assert path.stat().st_size < page.MOST


def test_the_thumbnail_is_small_and_of_the_first_image():
    found = thumbnail(page_of(photo(512)))
    image = Image.open(io.BytesIO(base64.b64decode(found.partition(",")[2])))
    assert image.size == (320, 320) and thumbnail("<p>no image</p>") == ""
