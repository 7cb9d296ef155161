"""An enhancer before any torch module: results, gradients, what stays frozen, README's examples."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from llie_core.frontend import FrontEnd
from llie_core.models import create_enhancer

ROOT = Path(__file__).parents[1]
PAGES = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/USE.md"))


class Classifier(nn.Module):
    """A user's own model: two classes, with a normalisation that has statistics."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3, 2, 1)
        )

    def forward(self, images, scale=1.0):
        return scale * self.body(images).mean((2, 3))


@pytest.fixture
def dark():
    return 0.2 * torch.rand(2, 3, 33, 47, generator=torch.Generator().manual_seed(0))


def test_the_recognizer_gets_enhanced_images(dark):
    model = FrontEnd(create_enhancer("gamma"), Classifier()).eval()
    expected = model.recognizer(dark ** (1 / 2.2), scale=2.0)
    torch.testing.assert_close(model(dark, scale=2.0), expected)
    assert not model(dark).requires_grad


def test_lists_of_images_of_several_sizes(dark):
    class Means(nn.Module):
        def forward(self, images):
            return [image.mean() for image in images]

    images = [dark[0], dark[1, :, :20, :9]]
    found = FrontEnd(create_enhancer("gamma"), Means()).eval()(images)
    torch.testing.assert_close(found, [(image ** (1 / 2.2)).mean() for image in images])


def test_torchvisions_detector():
    torch.manual_seed(0)
    detector = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    model = FrontEnd(create_enhancer("gamma"), detector).eval()
    image = 0.1 * torch.rand(3, 90, 120)
    found = model([image])[0]
    expected = detector([image ** (1 / 2.2)])[0]
    assert found["boxes"].shape == expected["boxes"].shape
    torch.testing.assert_close(found["scores"], expected["scores"])


def test_training_moves_the_enhancer_and_nothing_of_the_recognizer(dark):
    torch.manual_seed(0)
    enhancer = create_enhancer("zero_dce_pp")
    model = FrontEnd(enhancer, Classifier()).train()
    assert model.training and not model.recognizer.training
    before = {name: value.clone() for name, value in model.recognizer.state_dict().items()}
    nn.functional.cross_entropy(model(dark), torch.tensor([0, 1])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in enhancer.parameters())
    assert all(p.grad is None for p in model.recognizer.parameters())
    torch.testing.assert_close(model.recognizer.state_dict(), before, rtol=0, atol=0)


def test_a_recognizer_that_is_not_frozen_trains_too(dark):
    model = FrontEnd(create_enhancer("zero_dce_pp"), Classifier(), freeze=False).train()
    assert model.recognizer.training
    model(dark).sum().backward()
    assert all(p.grad is not None for p in model.recognizer.parameters())


def test_a_frozen_detector_gives_its_losses_where_it_is_asked_for_training_mode(dark):
    torch.manual_seed(0)
    detector = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    model = FrontEnd(create_enhancer("zero_dce_pp"), detector, training_mode=True).train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    target = {"boxes": torch.tensor([[4.0, 4.0, 30.0, 28.0]]), "labels": torch.tensor([1])}
    losses = model(list(dark), [target, target])
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.enhancer.parameters())
    assert all(p.grad is None for p in detector.parameters())
    torch.testing.assert_close(detector.state_dict(), before, rtol=0, atol=0)
    model.eval()
    assert not any(module.training for module in model.modules())
    assert {"boxes", "labels", "scores"} == set(model(list(dark))[0])


def test_training_says_which_sizes_an_enhancer_takes(dark):
    model = FrontEnd(create_enhancer("curve_refine"), Classifier()).train()
    with pytest.raises(ValueError, match=r"CurveRefine trains on .* multiples of 4, not on 33×47"):
        model(dark)


def test_bad_images_are_one_line(dark):
    model = FrontEnd(create_enhancer("gamma"), Classifier()).eval()
    with pytest.raises(ValueError, match=r"Gamma\.enhance: x holds NaN"):
        model(dark * float("nan"))


def blocks():
    """The Python of README and docs/USE.md."""
    return re.findall(r"```python\n(.*?)```", PAGES, re.S)


def example(words):
    (code,) = [block for block in blocks() if words in block]
    return code


def test_the_readmes_detector_runs(tmp_path, monkeypatch):
    from PIL import Image

    code = example("torchvision.models.detection")
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48), (20, 25, 30)).save("photo.jpg")
    # Its weights would be downloaded.
    code = code.replace('weights="DEFAULT"', "weights=None, weights_backbone=None")
    scope = {}
    exec(code, scope)
    assert set(scope["found"]) == {"boxes", "scores", "labels"}


def test_the_readmes_training_lowers_the_loss_of_a_users_model(tmp_path, monkeypatch):
    code = example("cross_entropy")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    torch.manual_seed(0)
    images = 0.15 * torch.rand(8, 3, 32, 32)
    labels = torch.arange(8) % 2
    images[labels == 1, 0] *= 2
    losses = []
    scope = {"classifier": Classifier(), "loader": [(images, labels)] * 25}
    monkeypatch.chdir(tmp_path)
    exec(code.replace("loss.backward()", "loss.backward(); losses.append(loss.item())"),
         scope | {"losses": losses})  # fmt: skip
    assert losses[-1] < 0.97 * losses[0]


def test_the_recipe_for_ones_own_pairs_lowers_the_loss(tmp_path, monkeypatch):
    from PIL import Image

    for folder, level in (("low", 12), ("high", 120)):
        (tmp_path / "my-pairs" / folder).mkdir(parents=True)
        for index in range(3):
            colour = (level, level + 4 * index, level)
            Image.new("RGB", (120, 100), colour).save(tmp_path / f"my-pairs/{folder}/{index}.png")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    losses = []
    code = example("PairsIn").replace("range(2000)", "range(25)")
    code = code.replace("loss.backward()", "loss.backward(); losses.append(loss.item())")
    exec(code, {"losses": losses})
    assert losses[-1] < 0.5 * losses[0]
    create_enhancer("curve_refine", "mine.pt")
