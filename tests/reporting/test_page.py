"""A report's page: size, thumbnail, sections."""

import base64
import io
import re

import nbformat
import numpy as np
from PIL import Image

from llie_core.reporting.page import page_html, thumbnail


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
    page = page_of(large, small)
    assert small in page and large not in page
    (jpeg,) = re.findall(r'data:image/jpeg;base64,([^"]*)"', page)
    assert len(jpeg) < len(large) / 3
    assert re.findall(r'alt="(.*?)"', page) == ["&lt;0&gt;", "&lt;1&gt;"]
    shown = Image.open(io.BytesIO(base64.b64decode(jpeg)))
    original = Image.open(io.BytesIO(base64.b64decode(large)))
    difference = np.asarray(shown, float) - np.asarray(original, float)
    assert np.abs(difference).mean() < 4  # of 255


def test_the_thumbnail_is_small_and_of_the_first_image():
    found = thumbnail(page_of(photo(512)))
    image = Image.open(io.BytesIO(base64.b64decode(found.partition(",")[2])))
    assert image.size == (320, 320) and thumbnail("<p>no image</p>") == ""
