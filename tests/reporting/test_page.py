"""A report's page: size, thumbnail, sections."""

import base64
import io
import re

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from llie_core.files import reports_dir
from llie_core.reporting import figures, page
from llie_core.reporting.page import card, page_html

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


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def test_the_card_of_a_page_without_a_comparison_has_its_first_image():
    found = card(page_of(photo(512)))
    assert opened(found["thumbnail"]).size == (320, 320)
    assert card("<h1 id='x'>A &amp; B<a href='#x'>¶</a></h1>") == {
        "title": "A & B", "words": "", "thumbnail": "",
    }  # fmt: skip


def test_the_card_shows_the_scene_of_most_contrast_before_and_after_and_as_it_should_be():
    """Of the comparisons of the first one's rows; the maps of a recognizer are another's."""
    flat, ramp = torch.full((3, 60, 90), 0.9), torch.linspace(0, 1, 90).expand(3, 60, 90)
    stripes = (torch.arange(90) % 2.0).expand(3, 60, 90)

    def block(target, *labels):
        shades = [torch.full((3, 60, 90), 0.1), torch.full((3, 60, 90), 0.5), target]
        panels = [figures.Panel(label, x) for label, x in zip(labels, shades, strict=True)]
        return figures.compared_html(panels, "T", 1)

    rows = "input", "A & B", "ground truth"
    blocks = [block(flat, *rows), block(ramp, *rows), block(stripes, "recognized", "A", "B")]
    outputs = [nbformat.v4.new_output("display_data", {"text/html": text}) for text in blocks]
    cells = [nbformat.v4.new_code_cell("1", outputs=outputs)]
    found = card(page_html(nbformat.v4.new_notebook(cells=cells), "a"))
    assert found["words"] == "input, A & B, ground truth"
    image = np.asarray(opened(found["thumbnail"]), float)[10] / 255
    width = len(image)
    parts = [image[width * at // 12].mean() for at in (2, 6, 9, 11)]
    assert parts == pytest.approx([0.1, 0.5, 0.75, 0.92], abs=0.04)


def test_lines_of_text_stand_in_one_block():
    outputs = [nbformat.v4.new_output("stream", text=f"step {i}\n") for i in range(3)]
    outputs.append(nbformat.v4.new_output("display_data", {"text/plain": "last"}))
    cells = [nbformat.v4.new_code_cell("1", outputs=outputs)]
    text = page_html(nbformat.v4.new_notebook(cells=cells), "a")
    assert "step 0\nstep 1\nstep 2" in text and text.count("<pre") == 2
