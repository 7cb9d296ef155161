"""MTCNN: the loss that trains an enhancer, and the cascade that finds faces."""

import builtins
import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from read_images import FACE
from torchvision.ops import box_iou

pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")

from llie_core.recognizers import create_recognizer
from llie_core.recognizers import mtcnn as module

USUAL = (0.6, 0.7, 0.7)
NO_FACE = {"boxes": torch.zeros(0, 4)}


@pytest.fixture(scope="module")
def mtcnn():
    return create_recognizer("mtcnn")


def loss(mtcnn, images, targets, seed=0):
    torch.manual_seed(seed)
    return mtcnn.loss(images, targets)


# Weights


def test_parameter_counts(mtcnn):
    """P 6,632, R 100,178, O 389,040: the paper's layers with 2 + 4 (+ 10 landmark) outputs."""
    counts = [sum(p.numel() for p in getattr(mtcnn, n).parameters()) for n, _, _ in module.STAGES]
    assert counts == [6632, 100178, 389040]


def test_absent_package_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("facenet_pytorch"):
            raise ModuleNotFoundError("No module named 'facenet_pytorch'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install --no-deps facenet-pytorch==2\.6\.0"):
        create_recognizer("mtcnn")


# Loss


def test_terms_and_total(mtcnn, astronaut):
    terms = loss(mtcnn, astronaut, [{"boxes": FACE}])
    total = sum(terms[f"{n}_class"] + 0.5 * terms[f"{n}_box"] for n, _, _ in module.STAGES)
    torch.testing.assert_close(terms["total"], total)
    assert all(value.shape == () and value > 0 for value in terms.values())


def test_logits_are_those_before_softmax(mtcnn):
    for name, size, head in module.STAGES:
        net = getattr(mtcnn, name)
        crops = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(0))
        logits, offsets = module.stage_outputs(net, head, crops)
        outputs = net(crops)
        torch.testing.assert_close(logits.softmax(1), outputs[-1].flatten(1))
        assert torch.equal(offsets, outputs[0].flatten(1)) and offsets.shape == (5, 4)


def test_the_real_networks_know_the_windows(mtcnn, astronaut):
    """The class loss is low where the face is and high beside it; offsets in the right order."""
    there = loss(mtcnn, astronaut, [{"boxes": FACE}])
    beside = loss(mtcnn, astronaut, [{"boxes": FACE + torch.tensor([-80.0, 80, -80, 80])}])
    for name, _, _ in module.STAGES:
        assert 5 * there[f"{name}_class"] < beside[f"{name}_class"]
    torch.manual_seed(0)
    windows = mtcnn.draw_windows(module.Faces.of([{"boxes": FACE}], astronaut, 12), 256, 256, 1)
    wanted = windows.offsets[windows.face].float()
    crops = module.window_crops(astronaut, windows, 48)
    _, offsets = module.stage_outputs(mtcnn.onet, "dense6_1", crops)
    error = F.mse_loss(offsets[windows.face], wanted)
    assert error < 0.1 * wanted.square().mean()
    assert error < 0.1 * F.mse_loss(offsets[windows.face][:, [1, 0, 3, 2]], wanted)


def test_same_seed_same_windows(mtcnn, astronaut):
    totals = [loss(mtcnn, astronaut, [{"boxes": FACE}], seed)["total"] for seed in (0, 0, 1)]
    assert totals[0] == totals[1] != totals[2]


def test_a_face_that_fills_the_image_leaves_no_background(mtcnn, astronaut):
    images = astronaut[..., 51:165, 72:186].clone().requires_grad_()
    box = {"boxes": torch.tensor([[0.0, 0.0, 114.0, 114.0]])}
    mtcnn = create_recognizer("mtcnn", windows_per_image=4, min_face_size=110)
    terms = loss(mtcnn, images, [box])
    terms["total"].backward()
    assert torch.isfinite(terms["total"]) and images.grad.any()
    ignored = loss(mtcnn, images, [{**box, "ignore": torch.tensor([True])}])
    assert all(value == 0 for value in ignored.values())
    ignored["total"].backward()
    assert torch.isfinite(images.grad).all()


def test_crops_are_area_means_in_the_range_of_mtcnn():
    images = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[6.0, 4, 30, 28]], dtype=torch.float64)
    windows = module.Windows(torch.tensor([1]), box, torch.tensor([True]), torch.zeros(1, 4))
    expected = (255 * F.avg_pool2d(images[1:, :, 4:28, 6:30], 2) - 127.5) / 128
    torch.testing.assert_close(module.window_crops(images, windows, 12), expected)


def test_class_loss_takes_the_three_hardest_to_a_face():
    logits = torch.tensor([[0.0, 0.0], *[[float(k), 0.0] for k in range(-3, 3)]])
    face = torch.tensor([True] + 6 * [False])
    each = [np.log(2)] + [np.log1p(np.exp(-k)) for k in (-3, -2, -1)]
    assert module.class_loss(logits, face, 1).item() == pytest.approx(np.mean(each))
    without = module.class_loss(logits[1:], face[1:], 1)
    assert without.item() == pytest.approx(np.mean(each[1:]))


# Windows


def crowd():
    first = torch.tensor(
        [[10.0, 20, 50, 70], [0, 60, 30, 100], [100, 5, 160, 80], [70, 70, 95, 99]]
    )
    ignore = torch.tensor([False, False, False, True])
    return [{"boxes": first, "ignore": ignore}, NO_FACE, {"boxes": first[:1] + 25.0}]


def draw(mtcnn, seed):
    torch.manual_seed(seed)
    faces = module.Faces.of(crowd(), torch.zeros(3, 3, 100, 160), mtcnn.min_face_size)
    return mtcnn.draw_windows(faces, 100, 160, 3)


def test_windows_are_squares_within_the_image(mtcnn):
    windows = draw(mtcnn, 0)
    sides = windows.boxes[:, 2:] - windows.boxes[:, :2]
    torch.testing.assert_close(sides[:, 0], sides[:, 1])
    assert (windows.boxes >= 0).all()
    assert (windows.boxes[:, 2] <= 160).all() and (windows.boxes[:, 3] <= 100).all()
    assert sides.min() >= 12 - 1e-9 and sides.max() <= 100


def test_face_windows_overlap_and_point_to_their_face(mtcnn):
    for seed in range(5):
        windows = draw(mtcnn, seed)
        boxes, image = windows.boxes[windows.face], windows.image[windows.face]
        targets = crowd()
        found = boxes + windows.offsets[windows.face] * (boxes[:, 2:3] - boxes[:, :1])
        assert set(image.tolist()) == {0, 2}
        for i in (0, 2):
            faces = targets[i]["boxes"][: 3 if i == 0 else 1].double()
            limit = torch.tensor([160.0, 100, 160, 100], dtype=torch.float64)
            faces = torch.minimum(faces, limit)
            distance = (found[image == i][:, None] - faces).abs().amax(2)
            nearest = distance.argmin(1)
            assert distance.amin(1).max() < 1e-9
            assert set(nearest.tolist()) == set(range(len(faces)))
            tall = box_iou(boxes[image == i], faces)[torch.arange(len(nearest)), nearest]
            assert (tall > 0.3).all()
    centred = draw(mtcnn, 0)
    assert (
        box_iou(centred.boxes[centred.face], torch.tensor([[5.0, 20, 55, 70]]).double()).max() == 1
    )


def test_background_windows_miss_every_face_ignored_ones_too(mtcnn):
    for seed in range(10):
        windows = draw(mtcnn, seed)
        other = ~windows.face
        assert not windows.offsets[other].any()
        for i, target in enumerate(crowd()):
            boxes = windows.boxes[other & (windows.image == i)]
            assert len(boxes) and (box_iou(boxes, target["boxes"].double()) < 0.3).all()


def test_crowds_do_not_grow_the_step_without_bound(mtcnn):
    corner = torch.rand(300, 2) * 200
    targets = [{"boxes": torch.cat([corner, corner + 30], 1)}]
    faces = module.Faces.of(targets, torch.zeros(1, 3, 256, 256), 12)
    assert mtcnn.draw_windows(faces, 256, 256, 1).face.sum() == mtcnn.windows_per_image


# Predictions


def test_finds_the_two_real_faces(mtcnn, astronaut):
    from matplotlib import cbook
    from PIL import Image

    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hopper = torch.from_numpy(np.array(Image.open(path))).float().permute(2, 0, 1)[None] / 255
    for image, face in ((astronaut, FACE), (hopper, torch.tensor([[176.0, 117, 355, 340]]))):
        (found,) = mtcnn.predict(image, USUAL)
        assert found["boxes"].shape == (1, 4) and found["scores"][0] > 0.99
        assert box_iou(found["boxes"], face).item() > 0.9
        (more,) = mtcnn.predict(image)
        # Low thresholds only add boxes. Sums in a larger batch may differ in their last bits.
        torch.testing.assert_close(more["boxes"][0], found["boxes"][0], rtol=0, atol=1e-3)
        assert (more["scores"].diff() <= 0).all()


def test_agrees_with_the_package(mtcnn, astronaut):
    from facenet_pytorch.models.utils.detect_face import detect_face

    pixels = 255 * astronaut.permute(0, 2, 3, 1)
    with torch.no_grad():
        rows, _ = detect_face(
            pixels, 12.0, mtcnn.pnet, mtcnn.rnet, mtcnn.onet, (0.5, 0.3, 0.01), 0.709, "cpu"
        )
    rows = torch.from_numpy(rows[0].astype("float32"))
    rows = rows[rows[:, 4].argsort(descending=True)]
    boxes = (rows[:, :4] - torch.tensor([1.0, 1, 0, 0])).clamp(0, 256)
    (found,) = mtcnn.predict(astronaut, (0.5, 0.3, 0.01))
    assert len(boxes) > 3
    torch.testing.assert_close(found["scores"], rows[:, 4])
    torch.testing.assert_close(found["boxes"], boxes)


def test_a_batch_gives_what_its_images_give(mtcnn, astronaut):
    batch = torch.cat([astronaut, torch.zeros_like(astronaut), 0.4 * astronaut.flip(3)])
    together = mtcnn.predict(batch)
    assert len(together[1]["scores"]) == 0 < len(together[2]["scores"])
    for image, found in zip(batch, together, strict=True):
        (alone,) = mtcnn.predict(image[None])
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("thresholds", [(1.1, 0, 0), (0.6, 1.1, 0), (0.6, 0.7, 1.1)])
def test_no_candidate_at_any_stage(mtcnn, astronaut, thresholds):
    for found in mtcnn.predict(astronaut.repeat(2, 1, 1, 1), thresholds):
        assert found["boxes"].shape == (0, 4) and found["scores"].shape == (0,)


@pytest.mark.parametrize("size", [(1, 1), (11, 300), (12, 12), (13, 40)])
def test_tiny_images(mtcnn, size):
    """The package itself fails where no level of the pyramid is left."""
    for found in mtcnn.predict(torch.rand(2, 3, *size), (0.1, 0, 0)):
        assert found["boxes"].shape == (len(found["scores"]), 4)
        limit = torch.tensor([size[1], size[0]] * 2)
        assert (found["boxes"] >= 0).all() and (found["boxes"] <= limit).all()


def test_candidates_outside_the_image_are_survived(mtcnn, astronaut):
    """The package fails on them with two lengths that differ; R-Net is bent here to make some."""
    from facenet_pytorch.models.utils.detect_face import detect_face

    bent = copy.deepcopy(mtcnn)
    with torch.no_grad():
        bent.rnet.dense5_2.bias += torch.tensor([3.0, 0.0, 3.0, 0.0])
        with pytest.raises(IndexError):
            detect_face(
                255 * astronaut.permute(0, 2, 3, 1), 12.0, bent.pnet, bent.rnet, bent.onet,
                (0.5, 0.1, 0.01), 0.709, "cpu",
            )  # fmt: skip
    (found,) = bent.predict(astronaut, (0.5, 0.1, 0.01))
    assert (found["boxes"][:, 2:] > found["boxes"][:, :2]).all()
    assert (found["boxes"] <= 256).all() and torch.isfinite(found["scores"]).all()


def test_smallest_face_is_an_option(mtcnn, astronaut):
    small = F.avg_pool2d(astronaut, 8)  # the face is 11 × 14 pixels
    assert len(mtcnn.predict(small, USUAL)[0]["scores"]) == 1
    coarse = create_recognizer("mtcnn", min_face_size=33)
    assert len(coarse.predict(small, USUAL)[0]["scores"]) == 0
    assert loss(mtcnn, small, [{"boxes": FACE / 8}])["onet_box"] > 0
    assert loss(coarse, small, [{"boxes": FACE / 8}])["onet_box"] == 0


def test_predict_needs_no_gradient_and_keeps_precision(mtcnn, astronaut):
    found = copy.deepcopy(mtcnn).double().predict(astronaut.double().requires_grad_(), USUAL)
    assert found[0]["boxes"].dtype == torch.float64 and not found[0]["scores"].requires_grad
    torch.testing.assert_close(
        found[0]["boxes"].float(), mtcnn.predict(astronaut, USUAL)[0]["boxes"], atol=0.01, rtol=0
    )
