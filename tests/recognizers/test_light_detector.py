"""The light detector: its loss, ignored objects and predictions."""

import math

import pytest
import torch
from seeded import seeded
from torch import nn
from torchvision.ops import box_iou

from llie_core.recognizers import create_recognizer
from llie_core.recognizers import light_detector as module
from llie_core.recognizers.targets import Objects

NONE = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


def rectangles():
    """Two images of 64×96: tall red rectangles are class 2, flat blue ones class 5."""
    images = 0.2 * seeded(2, 3, 64, 96)
    shown = [
        [((10, 6, 22, 38), 2), ((40, 20, 84, 34), 5), ((30, 44, 66, 56), 5)],
        [((60, 10, 76, 50), 2), ((8, 30, 44, 44), 5)],
    ]
    targets = []
    for image, things in zip(images, shown, strict=True):
        for (x0, y0, x1, y1), label in things:
            image[:, y0:y1, x0:x1] = 0.1
            image[0 if label == 2 else 2, y0:y1, x0:x1] = 0.9
        boxes = torch.tensor([box for box, _ in things], dtype=torch.float32)
        targets.append({"boxes": boxes, "labels": torch.tensor([label for _, label in things])})
    return images, targets


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return create_recognizer("light_detector")


# Loss


def test_an_untrained_head_finds_nothing(detector):
    """Logits of −ln 99 everywhere: the focal loss of A · 8 background places, by hand."""
    detector = create_recognizer("light_detector")
    nn.init.zeros_(detector.fcos.head.classification_head.cls_logits.weight)
    places = 16 * 24 + 8 * 12 + 4 * 6 + 2 * 3
    each = 0.75 * 0.01**2 * -math.log(0.99)
    for batch in (1, 3):
        terms = detector.loss(seeded(batch, 3, 64, 96), [NONE] * batch)
        assert terms["class"].item() == pytest.approx(batch * places * 8 * each, rel=1e-3)
        assert terms["box"] == 0 and terms["centerness"] == 0
        assert terms["total"] == terms["class"]


def test_box_and_centerness_by_hand(detector, monkeypatch):
    """One place is asked: (16, 16), the corner of a cell, at stride 4; others lie too far."""
    outputs = {
        "cls_logits": torch.full((1, 64 + 16 + 4 + 1, 8), -100.0),
        "bbox_regression": torch.ones(1, 85, 4),
        "bbox_ctrness": torch.zeros(1, 85, 1),
    }
    outputs["cls_logits"][0, 4 * 8 + 4, 3] = 100.0
    monkeypatch.setattr(detector.fcos.head, "forward", lambda features: dict(outputs))
    target = {"boxes": torch.tensor([[14.0, 13, 18, 19]]), "labels": torch.tensor([3])}
    terms = detector.loss(seeded(1, 3, 32, 32), [target])
    giou = 24 / 64 - (64 - 64) / 64  # predicted: 12 … 20 both ways
    assert terms["box"].item() == pytest.approx(1 - giou, rel=1e-5)
    assert terms["centerness"].item() == pytest.approx(math.log(2), rel=1e-5)
    assert terms["class"].item() == pytest.approx(0, abs=1e-6)
    wrong = {**target, "labels": torch.tensor([4])}
    assert detector.loss(seeded(1, 3, 32, 32), [wrong])["class"].item() == pytest.approx(
        0.75 * 100 + 0.25 * 100, rel=1e-4
    )


def test_no_side_of_a_box_stays_at_0():
    """From distances far below 0 the box loss still moves all four: with a ReLU one side died."""
    detector = create_recognizer("light_detector", frozen=False)
    convolution = detector.fcos.head.regression_head.bbox_reg[0]
    nn.init.constant_(convolution.bias, -3.0)
    images, targets = rectangles()
    detector.loss(images, targets)["box"].backward()
    assert (convolution.bias.grad < 0).all()  # a step makes each distance larger


def test_ignored_objects_are_neither_sought_nor_background(detector):
    places = torch.tensor(
        [[x - 2.0, y - 2.0, x + 2.0, y + 2.0] for x, y in ((5, 5), (15, 5), (30, 5))]
    )
    objects = Objects(
        boxes=torch.tensor([[12.0, 0, 20, 10]]),
        labels=torch.tensor([0]),
        ignored=torch.tensor([[0.0, 0, 20, 10]]),
    )
    assert module.ignored_places(places, objects).tolist() == [True, False, False]

    images, targets = rectangles()
    all_ignored = [{**t, "ignore": torch.ones(len(t["boxes"]))} for t in targets]
    whole = {"boxes": torch.tensor([[-9.0, -9, 99, 99]]), "labels": torch.tensor([0])}
    seen = detector.loss(images, targets)
    ignored = detector.loss(images, all_ignored)
    background = detector.loss(images, [NONE, NONE])
    assert ignored["box"] == 0 and 0 < ignored["class"] < background["class"] < seen["class"]
    nothing = detector.loss(images, [{**whole, "ignore": torch.ones(1)}] * 2)
    assert nothing["total"].item() == pytest.approx(0, abs=1e-6)


# Predictions


def test_a_known_place(detector, monkeypatch):
    """Row 1, column 2 at stride 8 of a 64×96 input: the box is as wide as four such strides."""
    outputs = {
        "cls_logits": torch.full((1, 510, 8), -20.0),
        "bbox_regression": torch.ones(1, 510, 4),
        "bbox_ctrness": torch.zeros(1, 510, 1),
    }
    outputs["cls_logits"][0, 16 * 24 + 12 + 2, 6] = 20.0
    outputs["bbox_regression"][0, 16 * 24 + 12 + 2] = torch.tensor([1.0, 0.5, 3.0, 2.0])
    monkeypatch.setattr(detector.fcos.head, "forward", lambda features: outputs)
    (found,) = detector.predict(seeded(1, 3, 60, 96))
    assert found["boxes"].tolist() == [[16 - 8, 8 - 4, 16 + 24, 8 + 16]]
    assert found["labels"].tolist() == [6]
    assert found["scores"].item() == pytest.approx(0.5, rel=1e-4)


def test_the_number_of_predictions_is_limited(detector):
    for found in detector.predict(seeded(2, 3, 40, 33), 0.0, nms_iou=1.0, detections=7):
        assert len(found["boxes"]) == 7 and (found["labels"] < 8).all()
    for nothing in detector.predict(torch.zeros(2, 3, 1, 1), 0.9):
        assert nothing["boxes"].shape == (0, 4) and nothing["labels"].shape == (0,)


def test_it_learns_one_batch():
    """In 60 steps it finds all five rectangles and nothing else; in the dark it does not."""
    torch.manual_seed(0)
    detector = create_recognizer("light_detector", frozen=False)
    images, targets = rectangles()
    optimiser = torch.optim.Adam(detector.parameters(), lr=2e-3)
    first = detector.loss(images, targets)["total"].item()
    for _ in range(60):
        optimiser.zero_grad()
        detector.loss(images, targets)["total"].backward()
        optimiser.step()
    assert all(p.grad is not None for p in detector.parameters())
    detector.freeze()
    assert detector.loss(images, targets)["total"] < 0.5 * first
    for found, target in zip(detector.predict(images, 0.3, 0.4), targets, strict=True):
        assert len(found["boxes"]) == len(target["boxes"])
        overlap, which = box_iou(found["boxes"], target["boxes"]).max(1)
        assert overlap.min() > 0.5 and len(set(which.tolist())) == len(which)
        assert torch.equal(found["labels"], target["labels"][which])
    assert (
        detector.loss(0.1 * images, targets)["total"]
        > 1.5 * detector.loss(images, targets)["total"]
    )
