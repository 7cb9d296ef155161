"""Data sets over data sets that paper 4 trains and is evaluated on, and batches of their items."""

import pytest
import torch
from seeded import seeded

from llie_core.data import collate
from llie_core.data.batches import object_targets
from llie_core.data.darkening import DarkeningRange
from llie_core.data.scenes import Scenes
from llie_core.data.wrappers import (
    SHARES,
    Augmented,
    Bounded,
    Cached,
    Darkened,
    DarkenedTo,
    ForPhotographs,
    Joined,
    NormalLight,
    OneClass,
    Relabelled,
    WithReference,
)


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


def test_a_crop_comes_with_the_whole_image_made_small_and_flipped_alike():
    class Halves(Grey):  # dark on the left, bright on the right
        def __getitem__(self, index):
            item = super().__getitem__(index)
            item["image"][..., 12:] *= 3
            return item

    data = Augmented(Halves([0.2], paired=True), size=8, flips="horizontal", context=4)
    seen = set()
    for draw in range(12):
        item = data.sample(0, draw)
        assert item["context"].shape == (3, 4, 4) and item["image"].shape == (3, 8, 8)
        torch.testing.assert_close(item["context"].mean(), torch.tensor(0.4))
        seen.add(round(item["context"][0, 0, 0].item(), 1))
    assert seen == {0.2, 0.6}
    plain = Augmented(Halves([0.2]), size=8)
    assert "context" not in plain[0] and data.describe() != plain.describe()


def test_a_part_of_the_image_may_stand_for_it():
    class Slope(Grey):  # brighter to the right, 0 to 1
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return item | {"image": torch.linspace(0, 1, 24).expand(3, 24, 24)}

    data = Augmented(Slope([0.5]), size=6, part=(0.25, 0.5), context=2)
    for draw in range(20):
        item = data.sample(0, draw)
        low, high = item["context"][0, 0].tolist()  # means of its halves, a half of it apart
        assert 0.1 < 2 * (high - low) < 0.55
        middle, reach = (low + high) / 2, high - low
        crop = item["image"].mean().item()  # the crop lies in the part
        assert middle - reach < crop < middle + reach
    assert len({data.sample(0, draw)["context"].mean().item() for draw in range(20)}) > 10
    assert data.describe() != Augmented(Slope([0.5]), size=6, context=2).describe()
    for part in ((0.0, 1.0), (0.6, 0.5), (0.5, 1.2)):
        with pytest.raises(ValueError, match="must be a rising range of shares"):
            Augmented(Slope([0.5]), part=part)


def test_pairs_for_photographs_are_drawn_by_their_shares():
    pairs = Grey([0.1, 0.2], paired=True)
    normal = Augmented(Grey([0.5, 0.95, 0.6]), size=8, context=4)
    dark = DarkeningRange(exposure=(0.01, 0.02), photons=(1e6, 2e6), read=(0.0, 0.0))
    data = ForPhotographs(Augmented(pairs, size=8, context=4), normal, dark)
    assert len(data) == 2
    found = dict.fromkeys(SHARES, 0)
    for draw in range(400):
        item = data.sample(draw % 2, draw)
        again = data.sample(draw % 2, draw)
        assert all(torch.equal(item[key], again[key]) for key in ("image", "target", "context"))
        image, target = item["image"].mean().item(), item["target"].mean().item()
        if item["name"] == f"p{draw % 2}" and target == pytest.approx(2 * image):
            found["pair"] += 1
            continue
        assert target == pytest.approx(0.5) or target == pytest.approx(0.6)  # .95 is too bright
        kind = "normal" if image == pytest.approx(target) else "dark" if image < 0.1 else "mild"
        found[kind] += 1
        # The context is darkened as the crop is.
        assert item["context"].mean().item() == pytest.approx(image, abs=0.02)
        assert "boxes" not in item
    for kind, share in SHARES.items():
        assert found[kind] / 400 == pytest.approx(share, abs=0.06)
    of_targets = ForPhotographs(
        data.source, Augmented(NormalLight(Grey([0.3], paired=True)), 8), dark
    )
    assert {round(of_targets.sample(0, d)["target"].mean().item(), 1) for d in range(20)} <= {
        0.2,
        0.6,
    }
    assert data.describe() != of_targets.describe()


def test_photographs_come_in_every_order_of_channels_and_saturation():
    class Coloured(Grey):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            colour = torch.tensor([1.2, 1.0, 0.8]).view(3, 1, 1)
            return {k: v * colour if k in ("image", "target") else v for k, v in item.items()}

    crops = Augmented(Coloured([0.1], paired=True), size=8, context=4)
    normal = Augmented(Coloured([0.5]), size=8, context=4)
    data = ForPhotographs(crops, normal, DarkeningRange(exposure=(0.05, 0.1)))
    orders, saturations = set(), []
    for draw in range(200):
        item = data.sample(0, draw)
        orders.add(tuple(item["target"].mean(dim=(1, 2)).argsort().tolist()))
        if item["name"] == "p0" and torch.equal(item["image"], item["target"]):
            saturations.append(float(item["image"].amax() - item["image"].amin()) / 0.2)
            torch.testing.assert_close(item["context"].mean((1, 2)), item["image"].mean((1, 2)))
    assert len(orders) == 6
    assert 0.6 <= min(saturations) < 0.9 < 1.8 < max(saturations) <= 2.5


def test_the_context_of_a_darkened_photograph_has_no_noise():
    normal = Augmented(Grey([0.5]), size=8, context=4)
    noisy = DarkeningRange(exposure=(0.05, 0.1), photons=(100.0, 200.0), read=(0.01, 0.02))
    data = ForPhotographs(Augmented(Grey([0.1], paired=True), size=8, context=4), normal, noisy)
    dark = [item for draw in range(60) if (item := data.sample(0, draw))["image"].std() > 0.01]
    assert len(dark) > 3
    assert all((item["context"] == item["context"][:, :1, :1]).all() for item in dark)


def test_no_photograph_in_normal_light_is_an_error_that_names_the_sets():
    class Named(Grey):
        def describe(self):
            return {"name": f"greys{len(self)}"}

    images = Joined(NormalLight(Named([0.05], paired=True)), Named([0.9, 0.1]))
    crops = Augmented(Grey([0.1], paired=True), size=8)
    data = ForPhotographs(crops, Augmented(images, size=8), DarkeningRange())
    with pytest.raises(ValueError, match=r"^greys1, greys2: no image has a mean in 0.25 … 0.75"):
        for draw in range(20):
            data.sample(0, draw)


def test_a_bounded_image_has_no_empty_side():
    long, small = Bounded(Grey([0.5], (3, 2, 2000)), 100)[0], Bounded(Grey([0.5]), 100)[0]
    assert long["image"].shape == (3, 1, 100) and small["image"].shape == (3, 24, 24)


def test_darkened_images_keep_their_boxes_and_do_not_change():
    ranges = DarkeningRange(exposure=(0.1, 0.2))
    data = Darkened(Grey([0.5, 0.5]), ranges)
    item = data[0]
    assert torch.equal(item["image"], data[0]["image"]) and item["image"].mean() < 0.35
    assert torch.equal(item["target"], torch.full((3, 24, 24), 128 / 255))
    assert 0.1 <= item["darkening"]["exposure"] <= 0.2 and len(item["boxes"]) == 2
    assert item["darkening"] != data[1]["darkening"]  # by name, not by image
    assert item["darkening"] != Darkened(Grey([0.5]), ranges, seed=1)[0]["darkening"]


def test_images_are_brought_to_a_mean_intensity():
    class Two(Grey):  # of two brightnesses
        def __getitem__(self, index):
            item = super().__getitem__(index)
            item["image"][..., :12] /= 3
            return item

    source = Two([0.5, 0.02], size=(3, 64, 64))
    for mean in (30.0, 2.0):
        data = DarkenedTo(source, mean)
        dark = data[0]["image"]
        assert float(dark.mean()) * 255 == pytest.approx(mean, abs=0.35)
        assert torch.equal(dark, data[0]["image"])
        assert dark[..., :12].mean() < dark[..., 12:].mean() and len(data[0]["boxes"]) == 2
    assert torch.equal(DarkenedTo(source, 30.0)[1]["image"], source[1]["image"])
    assert DarkenedTo(source, 30.0).describe() != DarkenedTo(source, 2.0).describe()


def test_labels_are_made_coarser_and_the_rest_stays():
    data = Relabelled(Grey([0.5]), (0, 0, 1))
    assert data[0]["labels"].tolist() == [1, 0]
    assert torch.equal(data[0]["boxes"], Grey([0.5])[0]["boxes"])
    assert data.describe()["Relabelled"] == {"labels": [0, 0, 1]}


def test_the_objects_of_one_class_are_its_class_0():
    source = Grey([0.5])
    item, labels = source[0], source[0]["labels"].tolist()
    found = OneClass(source, labels[0])[0]
    assert len(set(labels)) == 2 and found["labels"].tolist() == [0]
    assert torch.equal(found["boxes"], item["boxes"][:1]) and len(found["ignore"]) == 1
    nothing = OneClass(source, 99)[0]
    assert nothing["boxes"].shape == (0, 4) and not len(nothing["labels"])


def test_a_batch_stacks_references_and_lists_objects():
    pairs = Augmented(Grey([0.1, 0.2], paired=True), size=16)
    data = WithReference(pairs, Grey([0.6, 0.7]))
    batch = collate([data[0], data[1]])
    whole = Augmented(Grey([0.1, 0.2]), size=16, context=4)
    assert collate([whole[0], whole[1]])["context"].shape == (2, 3, 4, 4)
    assert batch["reference"].shape == batch["image"].shape == (2, 3, 16, 16)
    first, _second = object_targets(batch)
    assert set(first) == {"boxes", "labels", "ignore"} and first["labels"].tolist()


class Noise(Grey):
    """8-bit noise."""

    def __getitem__(self, index):
        noise = seeded(2, *self.size, seed=index)
        image, target = (noise * 255).round() / 255
        return super().__getitem__(index) | {"image": image, "target": target}


@pytest.mark.parametrize(
    "change", [{"size": 16}, {"size": 40}, {"size": 16, "scale": (0.7, 1.4)}, {"part": (0.5, 1.0)}]
)
def test_crops_of_8_bit_images_are_those_of_the_images_bit_for_bit(change):
    data, references = Noise([0, 0, 0], size=(3, 24, 33)), Noise([0, 0], size=(3, 50, 60))
    plain = WithReference(Augmented(data, flips="all", **change), references, "all")
    kept = WithReference(Augmented(Cached(data), flips="all", **change), Cached(references), "all")
    for draw in range(12):
        expected, found = plain.sample(draw % 3, draw), kept.sample(draw % 3, draw)
        assert expected.keys() == found.keys()
        for key in ("image", "target", "reference", "boxes"):
            assert torch.equal(expected[key], found[key]), key


def test_only_the_crop_of_a_kept_image_is_converted(monkeypatch):
    data = Cached(Noise([0], size=(3, 64, 64)))
    monkeypatch.setattr(Cached, "__getitem__", None)
    assert Augmented(data, size=16).sample(0, 0)["image"].shape == (3, 16, 16)


class Ramp(Grey):
    """Images that brighten from left to right, with a target that darkens."""

    def __getitem__(self, index):
        image = torch.linspace(0, 1, 80).expand(3, 40, 80)
        return {"image": image, "target": 1 - image, "name": "a"}


def test_scenes_are_parts_of_any_share_at_one_size():
    scenes = Scenes(Ramp([0]), (10, 20), (0.25, 1.0), flips="horizontal")
    items = [scenes.sample(0, draw) for draw in range(40)]
    assert {tuple(item["image"].shape) for item in items} == {(3, 10, 20)}
    for item in items:
        assert torch.allclose(item["image"] + item["target"], torch.ones(3, 10, 20), atol=1e-5)
    spans = [(item["image"].max() - item["image"].min()).item() for item in items]
    assert min(spans) < 0.4 and max(spans) > 0.8  # a part at its own size; nearly the whole
    assert torch.equal(items[7]["image"], scenes.sample(0, 7)["image"])
    assert scenes.describe() != Scenes(Ramp([0]), (10, 20), (0.5, 1.0)).describe()
