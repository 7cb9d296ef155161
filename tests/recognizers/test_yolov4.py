"""YOLOv4: its size, the darknet file, boxes from cells, the loss, detections.

The authors' yolov4.weights is not here: the test of reading writes a file of its layout and size
with random values, and holds our network to a second forward pass that walks through the layers
of yolov4.cfg as they are listed there.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from seeded import seeded
from torch import nn

from llie_core.metrics.cost import count_macs, count_parameters
from llie_core.recognizers import create_recognizer
from llie_core.recognizers import yolov4 as module
from llie_core.recognizers.targets import Objects
from llie_core.recognizers.yolov4_loss import assign, background, share_within, yolov4_loss

SIZE = 64  # of the network's input in these tests: 3 (64 + 16 + 4) predictions
NONE = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
PUBLISHED_BYTES = 257_717_640  # of the public yolov4.weights


def layers():
    """yolov4.cfg: ("conv", filters, size, stride, activation), ("add", from), ("route", …), …"""
    return [*backbone_layers(), *neck_layers(), *head_layers()]


def conv(filters, size, stride=1, activation="mish"):
    return ("conv", filters, size, stride, activation)


def leaky(*filters_and_sizes):
    return [conv(filters, size, 1, "leaky") for filters, size in filters_and_sizes]


def backbone_layers():
    rows = [conv(32, 3)]
    for channels, split, hidden, blocks, back in (
        (64, 64, 32, 1, -7), (128, 64, 64, 2, -10), (256, 128, 128, 8, -28),
        (512, 256, 256, 8, -28), (1024, 512, 512, 4, -16),
    ):  # fmt: skip
        rows += [conv(channels, 3, 2), conv(split, 1), ("route", -2), conv(split, 1)]
        rows += [conv(hidden, 1), conv(split, 3), ("add", -3)] * blocks
        rows += [conv(split, 1), ("route", -1, back), conv(channels, 1)]
    return rows


def neck_layers():
    """Pyramid pooling, then up to 1/8."""
    return [
        *leaky((512, 1), (1024, 3), (512, 1)),
        ("pool", 5), ("route", -2), ("pool", 9), ("route", -4), ("pool", 13),
        ("route", -1, -3, -5, -6),
        *leaky((512, 1), (1024, 3), (512, 1), (256, 1)),
        ("up",), ("route", 85), *leaky((256, 1)), ("route", -1, -3),
        *leaky((256, 1), (512, 3), (256, 1), (512, 3), (256, 1), (128, 1)),
        ("up",), ("route", 54), *leaky((128, 1)), ("route", -1, -3),
        *leaky((128, 1), (256, 3), (128, 1), (256, 3), (128, 1)),
    ]  # fmt: skip


def head_layers():
    """The heads at 1/8, 1/16 and 1/32, and the way down between them."""
    rows = head(256)
    for c, back in ((256, -16), (512, -37)):
        rows += [("route", -4), conv(c, 3, 2, "leaky"), ("route", -1, back)]
        rows += leaky((c, 1), (2 * c, 3), (c, 1), (2 * c, 3), (c, 1)) + head(2 * c)
    return rows


def head(filters):
    return [conv(filters, 3, 1, "leaky"), conv(255, 1, 1, "linear"), ("yolo",)]


def darknet_forward(x):
    """The layers above on x (1, 3, H, W), with random numbers: those, in the order of a file, and
    the three heads' maps. Variances and factors are near 1."""
    generator = torch.Generator().manual_seed(0)
    values, outputs, heads = [], [], []

    def take(*shape, mean=0.0, std=0.1):
        value = mean + std * torch.randn(shape, generator=generator)
        values.append(value.flatten())
        return value

    for kind, *options in layers():
        if kind == "conv":
            filters, size, stride, activation = options
            shape, std = (filters, x.shape[1], size, size), (x.shape[1] * size**2) ** -0.5
            if activation == "linear":
                bias = take(filters)
                x = F.conv2d(x, take(*shape, std=std), bias)
            else:
                beta, gamma, mean = take(filters), take(filters, mean=1.0), take(filters)
                variance = take(filters, mean=1.0)
                x = F.conv2d(x, take(*shape, std=std), stride=stride, padding=size // 2)
                x = F.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)
                x = F.mish(x) if activation == "mish" else F.leaky_relu(x, 0.1)
        elif kind == "add":
            x = x + outputs[options[0]]
        elif kind == "route":
            x = torch.cat([outputs[i] for i in options], 1)
        elif kind == "pool":
            x = F.max_pool2d(x, options[0], 1, options[0] // 2)
        elif kind == "up":
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        else:
            heads.append(x)
        outputs.append(x)
    return torch.cat(values), heads


@pytest.fixture(scope="module")
def darknet():
    """As many numbers as the public file holds, and what they make of an image."""
    with torch.no_grad():
        return darknet_forward(seeded(1, 3, SIZE, SIZE))


@pytest.fixture(scope="module")
def weights_file(darknet, tmp_path_factory):
    path = tmp_path_factory.mktemp("darknet") / "yolov4.weights"
    with path.open("wb") as file:
        np.array([0, 2, 5], "<i4").tofile(file)
        np.array([32_032_000], "<i8").tofile(file)
        darknet[0].numpy().astype("<f4").tofile(file)
    return path


@pytest.fixture(scope="module")
def yolo(weights_file):
    model = create_recognizer("yolov4", test_size=SIZE)
    model.load_darknet_weights(weights_file)
    return model


def objects(boxes, labels, ignored=()):
    return Objects(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.long),
        torch.tensor(ignored, dtype=torch.float32).reshape(-1, 4),
    )


def flat_predictions(batch=1, classes=4):
    """Predictions at SIZE as the network decodes them from all-zero maps."""
    model = module.YOLOv4.__new__(module.YOLOv4)
    nn.Module.__init__(model)
    model.anchors = torch.tensor(module.ANCHORS)
    maps = [torch.zeros(batch, 3 * (5 + classes), SIZE // s, SIZE // s) for s in (8, 16, 32)]
    return model.decode(maps)


ANCHORS = torch.tensor(module.ANCHORS).flatten(0, 1)
ROWS = 3 * (64 + 16 + 4)


# Size and weights


def test_parameters_and_macs_are_the_published_ones(yolo):
    assert count_parameters(yolo.backbone) == 26_617_184
    assert count_macs(yolo, (416, 416)).macs == pytest.approx(30.05e9, rel=0.001)


def test_the_file_has_the_public_ones_size(weights_file):
    assert weights_file.stat().st_size == PUBLISHED_BYTES


def test_the_file_gives_what_the_configuration_gives(yolo, darknet):
    with torch.no_grad():
        maps = yolo(seeded(1, 3, SIZE, SIZE))
    assert [tuple(y.shape) for y in maps] == [(1, 255, 8, 8), (1, 255, 4, 4), (1, 255, 2, 2)]
    for ours, theirs in zip(maps, darknet[1], strict=True):
        assert theirs.std() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "change, match",
    [
        (
            lambda f: f.truncate(PUBLISHED_BYTES - 4),
            "257717636 bytes.*needs 257717640: truncated, or of another",
        ),
        (lambda f: (f.seek(0, 2), f.write(b"1234")), "257717644 bytes.*640: of another network"),
        (lambda f: f.write(np.array([0, 1, 0], "<i4")), r"version 0\.2 or later \(0\.1\)"),
        (lambda f: (f.seek(-4, 2), f.write(np.array([np.nan], "<f4"))), "not all.*finite"),
    ],
)
def test_other_files_are_named_in_one_line(yolo, weights_file, change, match):
    first = np.fromfile(weights_file, "u1", 20)
    last = np.fromfile(weights_file, "u1", offset=PUBLISHED_BYTES - 4)
    before = yolo.neck.head32[1].conv.weight.clone()
    try:
        with weights_file.open("r+b") as file:
            change(file)
        with pytest.raises(ValueError, match=match) as error:
            yolo.load_darknet_weights(weights_file)
        assert "\n" not in str(error.value) and str(weights_file) in str(error.value)
        assert torch.equal(before, yolo.neck.head32[1].conv.weight)
    finally:
        with weights_file.open("r+b") as file:
            file.write(first)
            file.seek(PUBLISHED_BYTES - 4)
            file.write(last)
            file.truncate(PUBLISHED_BYTES)


def test_an_absent_file_is_named(yolo, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*yolov4\.weights"):
        yolo.load_darknet_weights(tmp_path / "x.weights")


# Boxes from cells


def test_a_known_cell_and_anchor(yolo, monkeypatch):
    """Column 3, row 1 at stride 16, anchor 76×55; the image is 30×60, so it lies at y 16 … 48."""
    maps = [torch.full((1, 255, SIZE // s, SIZE // s), -20.0) for s in (8, 16, 32)]
    cell = maps[1][0, 85:170, 1, 3]  # the second anchor's 4 + 1 + 80 numbers
    cell[:5] = torch.tensor([0.0, math.log(3), math.log(0.25), math.log(0.4), 20.0])
    cell[5 + 17] = 20.0
    monkeypatch.setattr(yolo, "forward", lambda x: maps)
    (found,) = yolo.predict(torch.zeros(1, 3, 30, 60))
    x = 16 * (3 + 0.5)
    y = 16 * (1 + 1.1 * 0.75 - 0.05)
    box = torch.tensor([[x - 9.5, y - 11.0, x + 9.5, y + 11.0]])
    image_box = (box - torch.tensor([0.0, 16, 0, 16])) / torch.tensor([64 / 60, 32 / 30] * 2)
    limit = torch.tensor([60.0, 30.0, 60.0, 30.0])
    torch.testing.assert_close(found["boxes"], torch.minimum(image_box, limit))
    assert found["labels"].tolist() == [17] and found["scores"].item() == pytest.approx(1)


def test_letterbox_keeps_the_ratio_and_tells_where_things_are():
    images = seeded(2, 3, 30, 61)
    x, scale, offset = module.letterbox(images, 64)
    assert x.shape == (2, 3, 64, 64) and offset.tolist() == [0, 16, 0, 16]
    torch.testing.assert_close(scale, torch.tensor([64 / 61, 31 / 30] * 2))
    assert (x[:, :, :16] == 0.5).all() and (x[:, :, 47:] == 0.5).all()
    torch.testing.assert_close(x[:, :, 16:47].mean(), images.mean(), atol=0.01, rtol=0)
    tall, _, offset = module.letterbox(images.transpose(2, 3), 32)
    assert (tall[..., :8] == 0.5).all() and offset.tolist() == [8, 0, 8, 0]


def test_boxes_grow_only_so_far():
    maps = [torch.full((1, 255, 2, 2), 200.0), torch.zeros(1, 255, 1, 1), torch.zeros(1, 255, 1, 1)]
    model = module.YOLOv4.__new__(module.YOLOv4)
    nn.Module.__init__(model)
    model.anchors = torch.tensor(module.ANCHORS)
    boxes, _, _ = model.decode(maps)
    torch.testing.assert_close(
        (boxes[0, 0, 2:] - boxes[0, 0, :2]) / 62.5, ANCHORS[0], rtol=1e-3, atol=0
    )


# Loss


def test_an_empty_image_costs_ln_2_a_prediction():
    terms = yolov4_loss(flat_predictions(2), [objects([], []), objects([], [])], ANCHORS, SIZE)
    assert terms["objectness"].item() == pytest.approx(ROWS * math.log(2), rel=1e-5)
    assert terms["box"] == 0 and terms["class"] == 0
    assert terms["total"].item() == terms["objectness"].item()


def test_anchors_are_asked_by_shape():
    """12×16 is the first anchor, IoU 0.28 with the second, below 0.213 with all others."""
    found = objects([[14.0, 4, 26, 20], [0, 0, 64, 64], [70, 0, 90, 20]], [0, 1, 2])
    image, row, source = assign([objects([], []), found], ANCHORS, SIZE)
    pairs = set(zip(row.tolist(), source.tolist(), strict=True))
    assert set(image.tolist()) == {1}
    assert {r for r, s in pairs if s == 0} == {10, 64 + 10}  # column 2, row 1 of 8
    shapes = [
        min(64, w) * min(64, h) / (w * h + 4096 - min(64, w) * min(64, h)) for w, h in ANCHORS
    ]
    starts = [0, 64, 128, 192, 208, 224, 240, 244, 248]
    centre = [4 * 8 + 4] * 3 + [2 * 4 + 2] * 3 + [1 * 2 + 1] * 3
    asked = {i for i, iou in enumerate(shapes) if iou > 0.213}
    assert 4 in asked and {r for r, s in pairs if s == 1} == {starts[i] + centre[i] for i in asked}
    assert not {r for r, s in pairs if s == 2}  # outside the square


def test_a_perfect_box_costs_nothing_and_a_wrong_one_its_ciou():
    boxes, objectness, classes = flat_predictions()
    wanted = [14.0, 4, 26, 20]
    boxes = boxes.clone()
    boxes[0, 10], boxes[0, 74] = torch.tensor(wanted), torch.tensor([14.0, 4, 26, 28])
    boxes[0, 11] = torch.tensor(wanted)  # not asked, but no background
    terms = yolov4_loss((boxes, objectness, classes), [objects([wanted], [2])], ANCHORS, SIZE)
    iou, distance, diagonal = 192 / 288, 4**2, 12**2 + 24**2
    v = 4 / math.pi**2 * (math.atan(12 / 16) - math.atan(12 / 24)) ** 2
    ciou = iou - distance / diagonal - v * v / (1 - iou + v)
    assert terms["box"].item() == pytest.approx(0.07 * (1 - ciou), rel=1e-4)
    counted = ROWS - 1  # all but number 11
    assert terms["objectness"].item() == pytest.approx(counted * math.log(2), rel=1e-5)
    assert terms["class"].item() == pytest.approx(2 * 4 * math.log(2), rel=1e-5)
    assert terms["total"].item() == pytest.approx(sum(list(terms.values())[1:]).item())


def test_two_classes_at_one_prediction_are_both_right():
    boxes, objectness, classes = flat_predictions()
    classes = torch.full_like(classes, -30.0)
    classes[0, 10, [1, 3]], classes[0, 74, [1, 3]] = 30.0, 30.0
    both = objects([[14.0, 4, 26, 20]] * 2, [1, 3])
    terms = yolov4_loss((boxes, objectness, classes), [both], ANCHORS, SIZE)
    assert terms["class"].item() == pytest.approx(0, abs=1e-6)
    one = objects([[14.0, 4, 26, 20]], [1])
    twice = yolov4_loss((boxes, objectness, classes), [one], ANCHORS, SIZE)
    assert twice["class"].item() == pytest.approx(60, rel=1e-5)  # class 3 is wrong at both
    assert terms["box"].item() == pytest.approx(2 * twice["box"].item(), rel=1e-5)


def test_ignored_regions_are_no_background():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 20], [8, 8, 18, 18], [0, 0, 10, 12]]])
    region = objects([], [], [[0.0, 0, 12, 12]])
    torch.testing.assert_close(
        share_within(boxes[0], region.ignored)[:, 0], torch.tensor([1.0, 0.6, 0.16, 1.0])
    )
    assert background(boxes, [region]).tolist() == [[False, True, True, False]]
    seen = objects([[0.0, 0, 10, 12]], [0])
    assert background(boxes, [seen]).tolist() == [[False, True, True, False]]


# Detections


def test_the_number_of_predictions_is_limited(yolo):
    for found in yolo.predict(seeded(2, 3, 37, 50)):
        assert 0 < len(found["scores"]) <= 100 and found["labels"].max() < 80
    for found in yolo.predict(torch.zeros(1, 3, 1, 1), score_threshold=2.0):
        assert found["boxes"].shape == (0, 4) and found["labels"].shape == (0,)


def test_anchors_are_those_of_the_authors_configuration():
    """yolov4.cfg: anchors = 12,16, 19,36, 40,28, …; the first three belong to stride 8."""
    listed = [12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401]
    assert create_recognizer("yolov4").anchors.flatten().tolist() == listed


def test_a_batch_is_the_mean_of_its_images(yolo):
    images = seeded(2, 3, 40, 60)
    targets = [{"boxes": torch.tensor([[5.0, 5, 40, 30]]), "labels": torch.tensor([7])}, NONE]
    together = yolo.loss(images, targets)
    alone = [yolo.loss(x[None], [t]) for x, t in zip(images, targets, strict=True)]
    for name, value in together.items():
        torch.testing.assert_close(value, (alone[0][name] + alone[1][name]) / 2, rtol=1e-4, atol=0)
