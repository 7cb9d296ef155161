"""Saliency as a task: the six measures, PSNR beside them, and what is kept of each image."""

import pytest
import torch
from torch import nn

from llie_core.metrics.saliency import SaliencyScores
from llie_core.models import create_enhancer
from llie_core.tasks.saliency import Saliency

CPU = torch.device("cpu")
SIX = ["mae", "max_f", "avg_f", "weighted_f", "s_measure", "e_measure"]


class Bright(nn.Module):
    """Finds salient what is bright."""

    def predict(self, images):
        return images.mean(1, keepdim=True)


class Squares(torch.utils.data.Dataset):
    """A square of another size in each image, at half its brightness, and its mask."""

    def __init__(self, targets=True):
        self.targets = targets

    def __len__(self):
        return 5

    def __getitem__(self, index):
        mask = torch.zeros(1, 12, 16)
        mask[:, 2 : 5 + index, 3:9] = 1
        target = {"target": mask.expand(3, -1, -1)} if self.targets else {}
        return {"image": mask.expand(3, -1, -1) / 2, "mask": mask, "name": f"{index}.png", **target}


def measured(normal_light=False, **options):
    task = Saliency(Bright(), batch_size=2)
    found, images = task.measure(create_enhancer("identity"), Squares(**options), CPU, normal_light)
    return {one.metric: one for one in found}, images


# Of the toolbox's print line, "MAE maxF avgF wfm Sm Em", in which avgF and Em are adaptive.
KEYS = ("mae", "max_f", "adaptive_f", "weighted_f", "s", "adaptive_e")


def test_numbers_are_those_of_the_maps_over_the_whole_set():
    found, images = measured()
    assert list(found) == [*SIX, "psnr"] and {one.n for one in found.values()} == {5}
    whole, data = SaliencyScores(), Squares()
    for item in (data[index] for index in range(5)):
        whole.update(item["image"][None, :1], item["mask"][None])
    expected = whole.compute()
    for metric, key in zip(SIX, KEYS, strict=True):
        assert found[metric].value == pytest.approx(expected[key], abs=1e-12), metric
    assert (found["avg_f"].protocol, found["e_measure"].protocol) == (
        "sal-adaptive-f", "sal-adaptive-e",
    )  # fmt: skip
    assert [float(image["mae"]) for image in images] == pytest.approx(
        whole.per_image()["mae"].tolist(), abs=5e-6
    )


def test_of_each_image_the_share_found_salient_and_that_of_the_mask_are_kept():
    _, images = measured()
    assert [image["name"] for image in images] == [f"{index}.png" for index in range(5)]
    shares = [(3 + index) * 6 / (12 * 16) for index in range(5)]
    assert [image["mask"] for image in images] == [f"{share:.5f}" for share in shares]
    assert [image["salient"] for image in images] == [f"{share / 2:.5f}" for share in shares]


def test_the_normal_light_image_is_read_in_place_of_the_enhanced_one():
    found, images = measured(normal_light=True)
    assert "psnr" not in found  # of the target with itself
    assert all(image["salient"] == image["mask"] for image in images)


def test_a_set_without_targets_has_no_psnr():
    assert list(measured(targets=False)[0]) == SIX
