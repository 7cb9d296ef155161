"""Data sets over data sets that paper 4 trains and is evaluated on, and batches of their items."""

import pytest
import torch

from llie_core.data import collate
from llie_core.data.batches import object_targets
from llie_core.data.darkening import DarkeningRange
from llie_core.data.wrappers import Augmented, Darkened, Relabelled, WithReference


class Grey(torch.utils.data.Dataset):
    """Images of one grey value each, with two boxes; `target` where asked for."""

    def __init__(self, levels, size=(3, 24, 24), paired=False):
        self.levels, self.size, self.paired = levels, size, paired

    def __len__(self):
        return len(self.levels)

    def __getitem__(self, index):
        image = torch.full(self.size, self.levels[index])
        boxes = torch.tensor([[1.0, 2, 9, 8], [3.0, 3, 5, 9]])
        item = {"image": image, "name": f"p{index}", "boxes": boxes}
        item |= {"labels": torch.tensor([2, 1]), "ignore": torch.tensor([False, True])}
        return item | ({"target": 2 * image} if self.paired else {})

    def describe(self):
        return {"levels": self.levels}


def test_references_come_from_the_other_set_and_depend_on_the_draw_alone():
    pairs = Augmented(Grey([0.1, 0.2], paired=True), size=16)
    data = WithReference(pairs, Grey([0.6, 0.7, 0.8], size=(3, 40, 48)), "horizontal")
    item = data.sample(1, 5)
    assert item["reference"].shape == item["image"].shape == (3, 16, 16)
    assert torch.equal(item["reference"], data.sample(0, 5)["reference"])
    seen = {round(data.sample(0, draw)["reference"].mean().item(), 1) for draw in range(20)}
    assert seen == {0.6, 0.7, 0.8}
    paired = WithReference(pairs, Grey([0.3], paired=True))  # of a paired set the targets
    assert paired[0]["reference"].mean().item() == pytest.approx(0.6)
    assert data.describe()["WithReference"]["references"] == {"levels": [0.6, 0.7, 0.8]}
    with pytest.raises(ValueError, match="flips='sideways'"):
        WithReference(pairs, Grey([0.3]), "sideways")


def test_darkened_images_keep_their_boxes_and_do_not_change():
    ranges = DarkeningRange(exposure=(0.1, 0.2))
    data = Darkened(Grey([0.5, 0.5]), ranges)
    item = data[0]
    assert torch.equal(item["image"], data[0]["image"]) and item["image"].mean() < 0.35
    assert torch.equal(item["target"], torch.full((3, 24, 24), 128 / 255))
    assert 0.1 <= item["darkening"]["exposure"] <= 0.2 and len(item["boxes"]) == 2
    assert item["darkening"] != data[1]["darkening"]  # by name, not by image
    assert item["darkening"] != Darkened(Grey([0.5]), ranges, seed=1)[0]["darkening"]


def test_labels_are_made_coarser_and_the_rest_stays():
    data = Relabelled(Grey([0.5]), (0, 0, 1))
    assert data[0]["labels"].tolist() == [1, 0]
    assert torch.equal(data[0]["boxes"], Grey([0.5])[0]["boxes"])
    assert data.describe()["Relabelled"] == {"labels": [0, 0, 1]}


def test_a_batch_stacks_references_and_lists_objects():
    pairs = Augmented(Grey([0.1, 0.2], paired=True), size=16)
    data = WithReference(pairs, Grey([0.6, 0.7]))
    batch = collate([data[0], data[1]])
    assert batch["reference"].shape == batch["image"].shape == (2, 3, 16, 16)
    first, _second = object_targets(batch)
    assert set(first) == {"boxes", "labels", "ignore"} and first["labels"].tolist()
