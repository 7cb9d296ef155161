"""Paired crops, flips and sizes, and the wrappers that apply them."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from llie_core.data import collate, open_dataset
from llie_core.data.transforms import crop, flip, pad, random_crop, resize
from llie_core.data.wrappers import Augmented, Cached, Joined, Resized


def item(height=12, width=17):
    """Every part of an item, each pixel telling its place, and a box drawn into the mask."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([x, y, 0 * x]) / 32.0
    mask = torch.zeros(height, width, dtype=torch.long)
    mask[2:7, 4:9] = 3
    return {
        "image": places, "target": places + 1 / 64, "mask": mask, "name": "a",
        "boxes": torch.tensor([[4.0, 2, 9, 7], [0, 0, 2, 2]]), "labels": torch.tensor([5, 6]),
        "ignore": torch.tensor([False, True]),
        "keep": {"easy": torch.tensor([True, False])},
    }  # fmt: skip


def box_of(mask):
    rows, columns = torch.nonzero(mask == 3, as_tuple=True)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("kind", range(8))
def test_flips_take_every_part_along(kind):
    flipped = flip(item(), kind)
    assert flipped["image"].shape == ((3, 12, 17) if kind % 2 == 0 else (3, 17, 12))
    assert torch.equal(flipped["target"], flipped["image"] + 1 / 64)
    assert flipped["boxes"][0].tolist() == box_of(flipped["mask"])
    expected = item()["image"].flip(-1) if kind >= 4 else item()["image"]
    assert torch.equal(flipped["image"], torch.rot90(expected, kind % 4, (1, 2)))


def test_the_eight_symmetries_differ_and_the_first_is_none():
    seen = {flip(item(9, 9), kind)["image"].numpy().tobytes() for kind in range(8)}
    assert len(seen) == 8
    assert torch.equal(flip(item(), 0)["image"], item()["image"])


def test_a_crop_cuts_boxes_and_marks_those_half_gone():
    cut = crop(item(), 7, 3, (6, 8))
    assert torch.equal(cut["image"], item()["image"][:, 3:9, 7:15])
    assert cut["boxes"].tolist() == [[0, 0, 2, 4]] == [box_of(cut["mask"])]
    assert cut["labels"].tolist() == [5] and cut["keep"]["easy"].tolist() == [True]
    assert cut["ignore"].tolist() == [True], "8 of 25 pixels are left"
    mostly = crop(item(), 5, 2, (6, 8))
    assert mostly["ignore"].tolist() == [False], "20 of 25 pixels are left"
    empty = crop(item(), 12, 8, (4, 4))
    assert empty["boxes"].shape == (0, 4) and empty["keep"]["easy"].shape == (0,)


def test_small_images_are_padded_at_their_edge_and_masks_by_255():
    padded = pad(item(), (20, 20))
    assert padded["image"].shape == (3, 20, 20) and padded["mask"].shape == (20, 20)
    assert torch.equal(padded["image"][:, 15, 19], item()["image"][:, 11, 16])
    assert (padded["mask"][12:] == 255).all() and (padded["mask"][:, 17:] == 255).all()
    assert pad(item(), (4, 4))["image"].shape == (3, 12, 17)


def test_random_crops_stay_aligned_and_reach_every_place():
    corners = set()
    for seed in range(200):
        cut = random_crop(item(), (8, 8), np.random.default_rng(seed))
        assert cut["image"].shape == (3, 8, 8) and cut["mask"].shape == (8, 8)
        assert torch.equal(cut["target"], cut["image"] + 1 / 64)
        corners.add(tuple((cut["image"][:2, 0, 0] * 32).int().tolist()))
    assert {x for x, _ in corners} == set(range(10)) and {y for _, y in corners} == set(range(5))
    assert random_crop(item(), (32, 32), np.random.default_rng(0))["image"].shape == (3, 32, 32)


def test_resizing_scales_boxes_and_keeps_ids():
    large = resize(item(), (24, 34))
    assert large["boxes"][0].tolist() == [8, 4, 18, 14] == box_of(large["mask"])
    assert large["mask"].dtype == torch.long and set(large["mask"].unique().tolist()) == {0, 3}
    assert torch.allclose(large["image"].mean((1, 2)), item()["image"].mean((1, 2)), atol=1e-3)
    saliency = {"image": torch.rand(3, 9, 9), "mask": (torch.rand(1, 9, 9) > 0.5).float()}
    assert set(resize(saliency, (31, 17))["mask"].unique().tolist()) <= {0.0, 1.0}


class Listed(Dataset):
    """Items from a list, for the wrappers."""

    def __init__(self, items, name="listed"):
        self.items, self.name = items, name

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]

    def describe(self):
        return {"name": self.name, "count": len(self)}


def test_a_draw_decides_the_sample():
    data = Augmented(Listed([item(40, 50)]), 16, "all", scale=(0.8, 1.2), seed=3)
    first, again = data.sample(0, 7), data.sample(0, 7)
    assert torch.equal(first["image"], again["image"]) and first["image"].shape == (3, 16, 16)
    assert torch.equal(data[0]["image"], data.sample(0, 0)["image"])
    others = {data.sample(0, draw)["image"].numpy().tobytes() for draw in range(20)}
    assert len(others) == 20
    moved = Augmented(Listed([item(40, 50)]), 16, "all", scale=(0.8, 1.2), seed=4)
    assert not torch.equal(moved.sample(0, 7)["image"], first["image"])
    assert data.describe()["Augmented"] == {
        "size": 16, "flips": "all", "scale": [0.8, 1.2], "seed": 3,
    }  # fmt: skip


def test_only_the_crop_is_enlarged(monkeypatch):
    """A factor of 2 on a 16² crop: an 8² part of the image, enlarged; the whole never is."""
    seen = []

    def resized(item, size, *more):
        seen.append((tuple(item["image"].shape[1:]), size))
        return resize(item, size, *more)

    monkeypatch.setattr("llie_core.data.wrappers.resize", resized)
    data = Augmented(Listed([item(40, 50)]), 16, scale=(2.0, 2.0))
    sample = data.sample(0, 3)
    assert seen == [((8, 8), (16, 16))] and sample["image"].shape == (3, 16, 16)
    rng = np.random.default_rng([0, 3])
    rng.uniform(2.0, 2.0)
    expected = resize(random_crop(item(40, 50), (8, 8), rng), (16, 16))
    assert torch.equal(sample["image"], expected["image"])
    whole = Augmented(Listed([item(40, 50)]), scale=(0.5, 0.5))[0]
    assert whole["image"].shape == (3, 20, 25)


def test_without_options_an_item_stays_as_it_is():
    data = Augmented(Listed([item()]))
    assert all(torch.equal(data[0][key], item()[key]) for key in ("image", "target", "mask"))
    mirrored = Augmented(Listed([item()]), flips="horizontal")
    kinds = [torch.equal(mirrored.sample(0, d)["image"], item()["image"]) for d in range(40)]
    assert 8 < sum(kinds) < 32


@pytest.mark.parametrize(("options", "message"), [
    ({"flips": "vertical"}, "flips='vertical': choose one of 'none', 'horizontal', 'all'"),
    ({"scale": (0.0, 1.0)}, "rising range of positive factors"),
])  # fmt: skip
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Augmented(Listed([item()]), **options)


def test_sets_are_joined_in_order():
    first, second = Listed([{"n": 0}, {"n": 1}], "first"), Listed([{"n": 2}], "second")
    data = Joined(first, second)
    assert [data[i]["n"] for i in range(len(data))] == [0, 1, 2]
    assert [entry["n"] for entry in data] == [0, 1, 2]
    assert [part["name"] for part in data.describe()["joined"]] == ["first", "second"]


def test_resized_items_make_a_batch():
    data = Resized(Listed([item(12, 17), item(30, 20)]), (24, 32))
    assert collate([data[0], data[1]])["image"].shape == (2, 3, 24, 32)
    assert data.describe()["Resized"] == {"size": [24, 32]}


def test_cached_items_are_the_same_and_16_bits_are_refused(shared_data):
    source = open_dataset("lol", "test", shared_data)
    some = Listed([source[0], source[1]])
    data = Cached(some)
    for index in range(2):
        for key in ("image", "target"):
            assert torch.equal(data[index][key], some[index][key])
    assert data.describe() == some.describe() and len(data) == 2
    with pytest.raises(ValueError, match="a: image has more than 8 bits"):
        Cached(Listed([item()]))[0]


def test_a_cached_set_reads_nothing_before_an_item_is_asked_for():
    class Unreadable(Listed):
        def __getitem__(self, index):
            raise OSError("read")

    data = Cached(Unreadable([item()]))
    assert len(data) == 1 and data.describe()
    with pytest.raises(OSError, match="read"):
        data[0]


def test_training_samples_from_real_pairs(shared_data):
    data = Augmented(open_dataset("lol", "train", shared_data), 96, "all")
    sample = data.sample(3, 123)
    assert sample["image"].shape == sample["target"].shape == (3, 96, 96)
    blurred = [torch.nn.functional.avg_pool2d(sample[k].mean(0)[None], 16).flatten()
               for k in ("image", "target")]  # fmt: skip
    assert torch.corrcoef(torch.stack(blurred))[0, 1] > 0.5, "the crops show the same place"
