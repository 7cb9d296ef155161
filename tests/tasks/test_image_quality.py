"""Image quality over a test set: the same numbers in one process and in several."""

import dataset_trees as trees
import pytest
import torch

from llie_core.data import open_dataset
from llie_core.data.external import ExternalOutputs
from llie_core.metrics import evaluate
from llie_core.models import create_enhancer
from llie_core.tasks import quality
from llie_core.tasks.quality import ImageQuality

CPU = torch.device("cpu")
PROTOCOLS = ("psnr-rgb-float", "ssim-valid-gaussian", "brightness")


@pytest.fixture
def pairs(tmp_path):
    """Three pairs of different sizes."""
    for i, size in enumerate(((40, 30), (30, 24), (18, 16))):
        for side in ("low", "high"):
            trees.save(
                tmp_path / side / f"{i}.png", trees.noise_image(i + 9 * (side == "high"), size)
            )
    return open_dataset("test148", "test", tmp_path)


@pytest.mark.parametrize("normal_light", [False, True])
def test_methods_without_parameters_are_measured_in_processes(pairs, normal_light):
    task, model = ImageQuality(PROTOCOLS), create_enhancer("gamma")
    alone = task.measure(model, pairs, CPU, normal_light)
    assert [one.n for one in alone[0]] == ([3] if normal_light else [3, 3, 3])
    found = task.measure(model, pairs, CPU, normal_light, workers=2)
    assert [(one.protocol, one.n) for one in found[0]] == [(a.protocol, a.n) for a in alone[0]]
    assert [one.value for one in found[0]] == pytest.approx([one.value for one in alone[0]])
    assert found[1] == alone[1]  # the lines of the images, rounded


class Watched:
    """Pairs that count how often one is read in this process."""

    def __init__(self, data):
        self.data, self.reads = data, 0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        self.reads += 1
        return self.data[index]


def test_an_image_is_read_before_the_processes_start(pairs):
    data = Watched(pairs)
    ImageQuality(PROTOCOLS).measure(create_enhancer("gamma"), data, CPU, workers=1)
    assert data.reads == 1


def test_on_another_device_no_processes_start(pairs, monkeypatch):
    monkeypatch.setattr(quality, "DataLoader", None)
    with pytest.raises(NotImplementedError, match="meta"):  # the images were moved there
        ImageQuality(PROTOCOLS).measure(
            create_enhancer("gamma"), pairs, torch.device("meta"), workers=1
        )


def test_the_processes_do_the_work(pairs):
    """A method that counts its calls here is called elsewhere, unless it has parameters."""
    task, model = ImageQuality(PROTOCOLS), create_enhancer("gamma")
    calls = []
    model.register_forward_hook(lambda *_arguments: calls.append(1))
    task.measure(model, pairs, CPU, workers=1)
    assert not calls
    model.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
    task.measure(model, pairs, CPU, workers=1)
    assert len(calls) == 3


def test_the_order_of_lightness_is_compared_with_the_image_before_enhancement(tmp_path):
    """Another program's outputs stand in for the image; the source's own is `input`."""
    for i, side in enumerate(("low", "high", "other/method/set")):
        trees.save(tmp_path / side / "0.png", trees.noise_image(i, (60, 64)))
    pairs = open_dataset("test148", "test", tmp_path)
    task, identity = (
        ImageQuality(("loe-imresize", "ms-ssim-torchmetrics")),
        create_enhancer("identity"),
    )
    (own,), lines = task.measure(identity, pairs, CPU)
    assert (own.metric, own.value, lines[0]["ms-ssim-torchmetrics"]) == (
        "loe",
        0.0,
        "",
    )  # too small
    external = ExternalOutputs(tmp_path / "other/method/set", pairs)
    (found,), _ = task.measure(identity, external, CPU)
    other, low = external[0]["image"][None], pairs[0]["image"][None]
    assert found.value == evaluate("loe-imresize", other, low).item() > 100
    assert task.measure(identity, pairs, CPU, normal_light=True)[0] == []
