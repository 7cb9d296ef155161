"""Darkened copies of a face set: crops with their boxes, darkeners, one draw an epoch."""

import numpy as np
import pytest
import torch

from llie_core.data.dark_faces import DarkFaces, FaceCrops, crop_faces, exposure_darkener
from llie_core.data.darkening import Darkening, DarkeningRange, darken, physical_darkener
from llie_core.data.wrappers import NormalLight
from llie_core.engine.reuse import identity
from llie_core.hashing import content_hash


class Ramp(torch.utils.data.Dataset):
    """Images whose red and green hold each pixel's x and y, so that a crop shows its place."""

    def __init__(self, height, width, boxes, ignore=None, count=2):
        self.height, self.width, self.count = height, width, count
        self.boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        self.ignore = torch.tensor(ignore or [False] * len(self.boxes), dtype=torch.bool)

    def __len__(self):
        return self.count

    def describe(self):
        return {"size": [self.height, self.width]}

    def __getitem__(self, index):
        y, x = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        image = torch.stack([x / 255, y / 255, torch.full_like(x, index % 2 + 1) / 2]).float()
        return {
            "image": image, "boxes": self.boxes, "ignore": self.ignore, "name": f"ramp{index}",
            "keep": {},
        }  # fmt: skip


BOXES = [(10, 20, 30, 50), (60, 5, 80, 25), (0, 0, 100, 60)]


def corner(crop):
    return (crop["image"][:2, 0, 0] * 255).round().tolist()


@pytest.mark.parametrize("draw", range(12))
def test_boxes_move_with_the_crop(draw):
    source = Ramp(60, 100, BOXES, ignore=[False, True, False])
    crop = crop_faces(source[0], 32, np.random.default_rng(draw))
    x, y = corner(crop)
    ys, xs = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    assert torch.allclose(crop["image"][0] * 255, xs + x) and crop["name"] == "ramp0"
    assert torch.allclose(crop["image"][1] * 255, ys + y)
    expected, ignore = [], []
    for (x0, y0, x1, y1), invalid in zip(BOXES, [False, True, False], strict=True):
        inside = [min(max(x0 - x, 0), 32), min(max(y0 - y, 0), 32)]
        inside += [min(max(x1 - x, 0), 32), min(max(y1 - y, 0), 32)]
        area = (inside[2] - inside[0]) * (inside[3] - inside[1])
        if area > 0:
            expected.append(inside)
            ignore.append(invalid or area / ((x1 - x0) * (y1 - y0)) < 0.5)
    assert crop["boxes"].tolist() == expected
    assert crop["ignore"].tolist() == ignore


def test_small_images_are_padded_with_black_and_keep_their_boxes():
    crop = crop_faces(Ramp(20, 100, [(50, 0, 60, 20)])[1], 40, np.random.default_rng(0))
    assert crop["image"].shape == (3, 40, 40)
    assert (crop["image"][2, :20] == 1).all() and (crop["image"][:, 20:] == 0).all()
    tiny = crop_faces(Ramp(1, 1, [(0, 0, 1, 1)])[0], 16, np.random.default_rng(0))
    assert tiny["boxes"].tolist() == [[0, 0, 1, 1]] and tiny["image"].shape == (3, 16, 16)


def test_half_of_the_crops_go_to_a_face_that_counts():
    # A random 32-crop of a 250×250 image holds the far corner's face in about 1 of 50 draws.
    def share(ignore):
        item = Ramp(250, 250, [(200, 200, 212, 215)], ignore=[ignore])[0]
        crops = [crop_faces(item, 32, np.random.default_rng(i)) for i in range(300)]
        return sum(len(c["boxes"]) > 0 for c in crops) / 300

    assert 0.4 < share(False) < 0.65
    assert share(True) < 0.15


@pytest.mark.parametrize("boxes", [[], [(0, 0, 0, 0)]])
def test_crop_of_an_image_without_faces(boxes):
    crop = crop_faces(Ramp(50, 50, boxes)[0], 16, np.random.default_rng(0))
    assert crop["boxes"].shape == (0, 4) and crop["ignore"].shape == (0,)


def test_dark_faces_darkens_and_keeps_the_original_as_target():
    source = Ramp(40, 50, [(5, 5, 25, 30)])
    item = DarkFaces(source, physical_darkener())[1]
    assert torch.equal(item["target"], source[1]["image"])
    assert torch.equal(item["boxes"], source.boxes) and item["name"] == "ramp1"
    again = darken(item["target"].numpy(), Darkening(**item["darkening"]))
    assert np.array_equal(item["image"].numpy(), again)
    assert torch.equal(item["image"], DarkFaces(source, physical_darkener())[1]["image"])


def test_the_darkener_and_the_crops_identify_the_images():
    def described(darkener, crops=None, **options):
        dark = DarkFaces(Ramp(8, 8, []), darkener, **options)
        return content_hash(identity(FaceCrops(dark, **crops) if crops else dark))

    def dimmer(weight):
        model = torch.nn.Conv2d(1, 1, 1).requires_grad_(False)
        torch.nn.init.constant_(model.weight, weight)
        torch.nn.init.zeros_(model.bias)
        return exposure_darkener(model)

    hashes = [
        described(dimmer(0.5)),
        described(dimmer(0.6)),
        described(dimmer(0.5), crops={"size": 4}),
        described(dimmer(0.5), crops={"size": 4, "seed": 1}),
        described(dimmer(0.5), seed=1),
        described(physical_darkener()),
        described(physical_darkener(DarkeningRange(gamma=(1.0, 1.1)))),
    ]
    assert len(set(hashes)) == len(hashes) and described(dimmer(0.5)) == hashes[0]
    normal = NormalLight(DarkFaces(Ramp(8, 8, []), physical_darkener()))
    assert torch.equal(normal[1]["image"], Ramp(8, 8, [])[1]["image"])
    assert content_hash(identity(normal)) not in hashes


def test_every_epoch_draws_its_own_crop_of_one_darkened_set():
    dark = DarkFaces(Ramp(90, 90, [(30, 30, 60, 60)]), physical_darkener())
    data = FaceCrops(dark, size=32)
    assert len(data) == 2
    first, later, again = data.sample(0, 0), data.sample(0, 2), data.sample(0, 0)
    assert all(torch.equal(first[k], again[k]) for k in ("image", "target"))
    assert all(torch.equal(first[k], data[0][k]) for k in ("image", "target"))
    assert first["darkening"] == later["darkening"] == dark[0]["darkening"]
    assert len({tuple(corner({"image": data.sample(0, d)["target"]})) for d in range(6)}) > 3
    other = FaceCrops(dark, size=32, seed=1)
    assert not torch.equal(first["image"], other.sample(0, 0)["image"])
    x, y = (int(v) for v in corner({"image": later["target"]}))
    assert torch.equal(later["image"], dark[0]["image"][:, y : y + 32, x : x + 32])


def test_an_image_is_darkened_by_seed_and_name_wherever_it_stands():
    one, whole = (DarkFaces(Ramp(9, 9, [], count=n), physical_darkener()) for n in (1, 5))
    assert one[0]["darkening"] == whole[0]["darkening"] != whole[1]["darkening"]
    assert DarkFaces(one.source, physical_darkener(), seed=1)[0]["darkening"] != one[0]["darkening"]


def test_trained_darkener_is_asked_for_exposures_in_its_range_and_what_it_reached_is_recorded():
    class Dimmer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.asked = torch.nn.Parameter(torch.zeros(1)), []

        def enhance(self, image, exposure):
            self.asked.append(exposure)
            return image * 0 + exposure + 0.1

    dimmer = Dimmer()
    data = DarkFaces(Ramp(8, 8, [], count=50), exposure_darkener(dimmer, 0.1, 0.2))
    items, asked = [data[i] for i in range(50)], dimmer.asked
    assert 0.1 <= min(asked) < 0.12 < 0.18 < max(asked) <= 0.2
    assert [item["darkening"]["exposure_target"] for item in items] == asked
    levels = torch.stack([item["image"] for item in items])
    assert torch.allclose(levels.double() * 255, (levels.double() * 255).round(), atol=1e-4)
    expected = torch.tensor(asked).reshape(-1, 1, 1, 1).expand_as(levels) + 0.1
    assert torch.allclose(levels, expected, atol=0.5 / 255 + 1e-6)
    means = torch.tensor([item["darkening"]["mean"] for item in items])
    assert torch.allclose(means, levels.mean((1, 2, 3)), atol=6e-5)
