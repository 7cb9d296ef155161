"""Pose: OKS AP of a frozen recognizer on persons of which the answer is known."""

import pytest
import torch

from llie_core.models import create_enhancer
from llie_core.recognizers import Recognizer
from llie_core.tasks.pose import Pose

SIZE, REGION = (8, 6), (10.0, 20.0, 22.0, 36.0)  # crops of 8×6 pixels, regions of 16×12
SUBSETS = ("LL-N", "LL-E")


def joints():
    places = torch.rand(14, 2, generator=torch.Generator().manual_seed(0)) * 5
    return torch.cat([places, torch.full((14, 1), 2.0)], 1)


class Persons(torch.utils.data.Dataset):
    """Two persons of two images, one in LL-N and one in LL-E."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {
            "image": torch.full((3, *SIZE), 0.1), "target": torch.full((3, *SIZE), 0.6),
            "joints": joints(), "region": torch.tensor(REGION), "boxes": torch.tensor(REGION),
            "image_id": index, "name": f"p{index}", "subset": SUBSETS[index],
        }  # fmt: skip


class Right(Recognizer):
    """Finds the joints of the first person of a batch, and puts the other's far away."""

    def __init__(self):
        super().__init__()
        self.lights = []

    def predict(self, images, light="low", mean=None):
        self.lights.append(light)
        found = joints().repeat(len(images), 1, 1)
        found[1:, :, :2] += 100
        return {"joints": found, "scores": torch.full((len(images),), 0.9)}


def measure(task, normal_light=False):
    return task.measure(create_enhancer("identity"), Persons(), torch.device("cpu"), normal_light)


def test_ap_is_taken_of_all_and_of_each_subset_there_is():
    measured, rows = measure(Pose(Right()))
    found = {(m.metric, m.subset): m for m in measured}
    assert found["ap", "LL-N"].value == pytest.approx(1) and found["ap", "LL-E"].value == 0
    assert 0.4 < found["ap", "LL-A"].value < 0.6 and found["ap", "LL-A"].n == 2
    assert ("ap", "LL-H") not in found
    assert found["brightness", "all"].value == pytest.approx(0.1)
    assert found["psnr", "all"].value == pytest.approx(6.0206, abs=1e-3)
    assert rows[1] == {"name": "p1", "subset": "LL-E", "confidence": "0.9000"}


@pytest.mark.parametrize(
    "light, normal_light, read",
    [("low", False, "low"), ("low", True, "well"), ("well", False, "well")],
)
def test_each_light_is_read_by_its_own_batch_norm(light, normal_light, read):
    recognizer = Right()
    measured, _ = measure(Pose(recognizer, light, parts=not normal_light), normal_light)
    assert recognizer.lights == [read]
    if normal_light:
        assert [(m.metric, m.subset) for m in measured] == [("ap", "LL-A")]
