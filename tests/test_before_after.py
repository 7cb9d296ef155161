"""A photograph before and after: what is enhanced, read, drawn, and how large its page becomes."""

import re

import pytest
import torch

from llie_core.before_after import (
    Compared,
    Finding,
    Version,
    compare_photo,
    embedded,
    load_recognizer,
    page,
)
from llie_core.data import open_dataset
from llie_core.imaging import luma
from llie_core.metrics import psnr
from llie_core.models import create_enhancer
from llie_core.models.classical import Gamma
from llie_core.recognizers import list_recognizers, pretrained_recognizers
from llie_core.recognizers.base import Recognizer


class Found(Recognizer):
    """Finds what it is given, and notes the images that it reads."""

    def __init__(self, scores):
        super().__init__()
        self.scores, self.read = torch.tensor(scores), []

    def predict(self, images):
        self.read.append(images)
        boxes = torch.tensor([[1.0, 1, 5, 5]]).repeat(len(self.scores), 1)
        return [{"boxes": boxes, "scores": self.scores}]


def test_every_version_is_read_and_detections_reach_the_threshold():
    x = torch.full((3, 20, 30), 0.1)
    detector = Found([0.9, 0.7, 0.69])
    compared = compare_photo("a.png", x, {"gamma": Gamma()}, {"mtcnn": detector}, threshold=0.7)
    before, after = compared.versions
    assert (before.title, after.title) == ("input", "gamma 1/2.2")
    torch.testing.assert_close(after.image, Gamma().enhance(x[None])[0])
    torch.testing.assert_close(torch.cat(detector.read), torch.stack([before.image, after.image]))
    assert after.findings["mtcnn"].words == "2 faces, best 0.90"
    assert [panel.names for panel in compared.panels()] == [["face", "face"]] * 2
    assert compared.table().rows[0] == ["input", "0.10", "–", "2 faces, best 0.90"]


def test_strength_and_gate_are_those_of_llie_enhance():
    x = torch.full((3, 20, 30), 0.1)
    half = compare_photo("a", x, {"gamma": Gamma()}, {}, strength=0.5).versions[1]
    whole = Gamma().enhance(x[None])[0]
    torch.testing.assert_close(half.image, (x + whole) / 2)
    light = torch.linspace(0.4, 0.8, 600).view(1, 20, 30).repeat(3, 1, 1)
    gated = compare_photo("a", light, {"gamma": Gamma()}, {}).versions[1]
    assert gated.strength < 1 and "bright already" in gated.reason
    assert compare_photo("a", light, {"gamma": Gamma()}, {}, gate=False).versions[1].strength == 1


def test_a_large_photograph_is_reduced_and_the_table_says_so():
    x = torch.rand(3, 40, 100)
    compared = compare_photo("a", x, {}, {}, side=50)
    assert compared.versions[0].image.shape == (3, 20, 50)
    assert compared.table().note == "Enhanced, read and shown at 50×20 pixels (the file: 100×40)."


@pytest.mark.parametrize(
    ("options", "words"),
    [({"strength": 2.0}, "strength 2.0"), ({"threshold": -0.1}, "threshold -0.1"),
     ({"side": 8}, "side 8"), ({"strength": float("nan")}, "strength nan")],
)  # fmt: skip
def test_values_out_of_range_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        compare_photo("a", torch.rand(3, 9, 9), {"gamma": Gamma()}, {}, **options)


def test_recognizers_with_real_weights_find_what_their_registry_says():
    item = open_dataset("builtin-faces", "test", size=128, count=1)[0]
    recognizers = {name: load_recognizer(name) for name in pretrained_recognizers()}
    normal = compare_photo("a", item["target"], {}, recognizers).versions[0]
    assert set(normal.findings) == {"mtcnn", "retinaface", "ssdlite", "classifier"}
    assert int(normal.findings["retinaface"].words.split()[0]) >= 1
    assert re.fullmatch(r"(.+ \d+%(, )?){3}", normal.findings["classifier"].words)
    assert not len(normal.findings["classifier"].boxes)


def test_a_recognizer_without_weights_is_refused():
    for name in set(list_recognizers()) - set(pretrained_recognizers()):
        with pytest.raises(ValueError, match=f"{name} has no weights until it is trained; .*mtcnn"):
            load_recognizer(name)
    with pytest.raises(ValueError, match="did you mean 'retinaface'"):
        load_recognizer("retina_face")


def noisy(count, size=(600, 900)):
    generator = torch.Generator().manual_seed(0)
    versions = [
        Version("gamma", torch.rand(3, *size, generator=generator), 1.0, "", {})
        for _ in range(count)
    ]
    return Compared("<script>.png", size, 0.7, versions)


def test_a_page_stays_below_its_size_and_is_refused_where_it_cannot(monkeypatch):
    compared = noisy(4)
    usual = len(page([compared]))
    monkeypatch.setattr("llie_core.reporting.page.MOST", 700_000)
    assert len(page([compared])) <= 700_000 < usual
    monkeypatch.setattr("llie_core.reporting.page.MOST", 200_000)
    with pytest.raises(ValueError, match=r"the images do not fit on a page of 0.2 MB; name fewer"):
        page([compared])


def test_a_page_is_one_offline_file_and_names_are_escaped():
    text = page([noisy(2, (20, 30))])
    assert "<script>.png" not in text and "&lt;script&gt;.png" in text
    assert text.count("<figure>") == 2 and "img-comparison-slider" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]+"', text)
    framed = embedded(noisy(2, (20, 30)))
    assert framed.startswith("<iframe") and "<script>" not in framed


def test_boxes_are_drawn_into_the_image():
    x = torch.zeros(3, 64, 64)
    found = Finding("1 face", torch.tensor([[10.0, 10, 50, 50]]), torch.tensor([0.9]))
    from llie_core.reporting.figures import compared_html

    plain, marked = (
        compared_html(
            Compared("a", (64, 64), 0.7, [Version("gamma", x, 1, "", f)]).panels(), "a", 0
        )
        for f in ({}, {"mtcnn": found})
    )
    assert pixels(marked)[1].max() > 200 > 40 > pixels(plain).max()


def pixels(text):
    """The (3, H, W) image of a block."""
    import base64
    import io

    import numpy as np
    from PIL import Image

    content = base64.b64decode(re.search(r'base64,([^"]+)"', text)[1])
    return np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)


def test_what_the_default_does_is_what_the_page_says():
    x = 0.2 * torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(1))
    after = compare_photo("a", x, {"mf": create_enhancer("mf")}, {}).versions[1]
    assert psnr(after.image[None], create_enhancer("mf").enhance(x[None])).item() > 60
    shown = compare_photo("a", x, {"mf": create_enhancer("mf")}, {}).table().rows[1]
    assert shown[1] == f"{luma(after.image[None]).mean():.2f}" and shown[2] == "1.00"
