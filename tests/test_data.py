"""Built-in images, physical darkening, darkened faces, and the registry of data sets."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from llie_core.data import (
    collate,
    dataset_spec,
    face_targets,
    list_datasets,
    open_dataset,
)
from llie_core.data.dark_faces import DarkFaces, crop_faces, exposure_darkener, physical_darkener
from llie_core.data.darkening import (
    Darkening,
    DarkeningRange,
    darken,
    linear_to_srgb,
    quantise,
    srgb_to_linear,
)
from llie_core.synthetic.faces import BACKGROUNDS, FACE_HEIGHTS, FACES, BuiltinFaces
from llie_core.synthetic.photos import PHOTOS, BuiltinPhotos, photograph

BUILTIN = (BuiltinPhotos, BuiltinFaces)


def on_8_bit_grid(image):
    levels = image.double() * 255
    return torch.allclose(levels, levels.round(), atol=1e-4)


def equal_items(a, b):
    return all(torch.equal(a[side], b[side]) for side in ("image", "target"))


# Physical darkening ---------------------------------------------------------------------------


def grey(value, size=8):
    return np.full((3, size, size), value, dtype=np.float32)


def test_srgb_curve_at_known_points_and_back():
    # IEC 61966-2-1: mid grey, the joint of its two pieces, and the ends.
    assert srgb_to_linear(np.array(0.5)) == pytest.approx(0.21404114, abs=1e-7)
    assert srgb_to_linear(np.array(0.04045)) == pytest.approx(0.0031308, abs=1e-7)
    assert srgb_to_linear(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]
    values = np.linspace(0, 1, 257)
    assert linear_to_srgb(srgb_to_linear(values)) == pytest.approx(values, abs=1e-6)


def test_exposure_scales_linear_light():
    # 0.5 is 0.21404 in linear light; a quarter of it encodes to 0.25664, level 65 of 255.
    dark = darken(grey(0.5), Darkening(exposure=0.25))
    assert (dark.shape, dark.dtype) == ((3, 8, 8), np.float32)
    expected = linear_to_srgb(np.array(0.21404114 / 4))
    assert np.unique(dark * 255).round(4).tolist() == [round(float(expected) * 255)] == [65]


def test_gamma_is_a_power_of_the_encoded_image():
    plain = linear_to_srgb(0.25 * srgb_to_linear(np.array(0.5)))
    dark = darken(grey(0.5), Darkening(exposure=0.25, gamma=2.0))
    assert dark.max() * 255 == pytest.approx(round(float(plain) ** 2 * 255), abs=1e-3)


def test_white_balance_touches_red_and_blue_only():
    base = darken(grey(0.5), Darkening(exposure=0.25))
    warm = darken(grey(0.5), Darkening(exposure=0.25, red=1.5, blue=0.5))
    assert (warm[0] > base[0]).all() and (warm[2] < base[2]).all()
    assert np.array_equal(warm[1], base[1])
    red = linear_to_srgb(np.array(1.5 * 0.21404114 / 4))
    assert warm[0].max() * 255 == pytest.approx(round(float(red) * 255), abs=1e-3)


def test_noise_has_the_variance_of_shot_and_read_noise():
    # Linear light 0.2, 200 electrons at full scale: variance 0.2 / 200 + 0.02² = 0.0014.
    encoded = float(linear_to_srgb(np.array(0.2)))
    noisy = darken(grey(encoded, 200), Darkening(exposure=1.0, photons=200, read=0.02, seed=3))
    light = srgb_to_linear(noisy.astype(np.float64))
    assert light.mean() == pytest.approx(0.2, abs=5e-4)  # 120,000 samples: standard error 1e-4
    assert light.var() == pytest.approx(0.0014, rel=0.03)
    shot_only = darken(grey(encoded, 200), Darkening(exposure=1.0, photons=200, seed=3))
    assert srgb_to_linear(shot_only.astype(np.float64)).var() == pytest.approx(0.001, rel=0.03)


def test_noise_belongs_to_the_seed():
    parameters = Darkening(exposure=0.1, photons=500, read=0.001, seed=5)
    first = darken(grey(0.7), parameters)
    assert np.array_equal(first, darken(grey(0.7), parameters))
    assert not np.array_equal(first, darken(grey(0.7), replace(parameters, seed=6)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"exposure": 0}, "exposure 0 must lie"),
        ({"exposure": 1.5}, "exposure 1.5 must lie"),
        ({"exposure": float("nan")}, "exposure nan must lie"),
        ({"exposure": 0.1, "gamma": 0}, "gamma, red and blue must be positive"),
        ({"exposure": 0.1, "blue": -1}, "must be positive"),
        ({"exposure": 0.1, "photons": -1}, "photons and read not negative"),
        ({"exposure": 0.1, "read": -1}, "photons and read not negative"),
    ],
)
def test_impossible_darkening_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        Darkening(**bad)


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (8, 8, 3), (1, 3, 8, 8)])
def test_darken_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"needs an image \(3, H, W\), got shape"):
        darken(np.zeros(shape, np.float32), Darkening(exposure=0.1))


def test_drawn_parameters_lie_in_their_ranges_and_are_what_is_recorded():
    ranges = DarkeningRange()
    rng = np.random.default_rng(0)
    drawn = [ranges.draw(rng) for _ in range(500)]
    for name in ("exposure", "gamma", "photons", "read"):
        low, high = getattr(ranges, name)
        values = [getattr(d, name) for d in drawn]
        assert low <= min(values) < max(values) <= high
    low, high = ranges.white_balance
    assert all(low <= d.red <= high and low <= d.blue <= high for d in drawn)
    assert all(Darkening(**d.as_dict()) == d for d in drawn)
    # Log-uniform: half of the exposures lie below the geometric mean of the ends.
    middle = np.sqrt(ranges.exposure[0] * ranges.exposure[1])
    assert np.median([d.exposure for d in drawn]) == pytest.approx(middle, rel=0.1)


def test_quantise_rounds_to_256_levels_and_clips():
    image = np.array([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 7.0])
    assert (quantise(image) * 255).tolist() == pytest.approx([0, 0, 0, 1, 255, 255])
    assert np.array_equal(quantise(quantise(image)), quantise(image))


# Built-in sets --------------------------------------------------------------------------------


def test_photographs_are_split_by_scene():
    scenes = {
        split: {n.removesuffix("_left").removesuffix("_right") for n in names}
        for split, names in PHOTOS.items()
    }
    assert not scenes["train"] & scenes["test"]
    assert not scenes["train"] & scenes["val"]
    assert not scenes["val"] & scenes["test"]


def test_test_faces_and_backgrounds_are_new_to_training():
    assert FACES["test"].photo != FACES["train"].photo == FACES["val"].photo
    assert not set(BACKGROUNDS["test"]) & set(BACKGROUNDS["train"])
    for names in BACKGROUNDS.values():
        assert not set(names) & {face.photo for face in FACES.values()}


@pytest.mark.parametrize("name", sorted({n for names in PHOTOS.values() for n in names}))
def test_every_photograph_is_there_without_a_download(name):
    image = photograph(name)
    assert image.mode == "RGB" and min(image.size) >= 300


@pytest.mark.parametrize("kind", BUILTIN)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_items_are_darkened_pairs_that_can_be_made_again(kind, split):
    data = kind(split, size=33, count=3)
    assert len(data) == len(list(data)) == 3  # iteration ends with an IndexError
    for index, item in enumerate(data):
        for side in ("image", "target"):
            assert item[side].shape == (3, 33, 33) and item[side].dtype == torch.float32
            assert 0 <= item[side].min() <= item[side].max() <= 1
            assert on_8_bit_grid(item[side])
        assert item["image"].mean() < 0.6 * item["target"].mean()
        again = darken(item["target"].numpy(), Darkening(**item["darkening"]))
        assert np.array_equal(again, item["image"].numpy())
        assert equal_items(item, data[index])


@pytest.mark.parametrize("kind", BUILTIN)
def test_index_seed_and_split_each_make_another_image(kind):
    data = kind("train", size=32, count=4)
    others = [data[1], kind("train", 32, 4, seed=1)[0], kind("val", 32, 4)[0]]
    assert not any(equal_items(data[0], other) for other in others)
    assert equal_items(data[0], kind("train", 32, count=9)[0])  # the count changes no item


@pytest.mark.parametrize("kind", BUILTIN)
def test_what_identifies_a_set_is_described(kind):
    base = kind("train", 32, 4).describe()
    assert base == kind("train", 32, 4).describe()
    changes = [{"split": "val"}, {"size": 33}, {"count": 5}, {"seed": 1}]
    changes.append({"darkness": DarkeningRange(exposure=(0.1, 0.2))})
    for change in changes:
        assert kind(**{"split": "train", "size": 32, "count": 4, **change}).describe() != base


@pytest.mark.parametrize("kind", BUILTIN)
def test_bad_index_and_split_are_named(kind):
    with pytest.raises(IndexError, match=r"builtin-.* train holds 2 items, asked for 2"):
        kind("train", 32, 2)[2]
    with pytest.raises(ValueError, match="'dev': the built-in sets have train, val, test"):
        kind("dev")


def test_photo_pairs_go_round_the_photographs():
    data = BuiltinPhotos("train", size=16, count=5)
    names = [item["name"].rsplit("-", 1)[0] for item in data]
    assert names == [*PHOTOS["train"], PHOTOS["train"][0]]


@pytest.fixture(scope="module")
def faces():
    return list(BuiltinFaces("test", size=128, count=40))


def test_face_boxes_lie_inside_the_image_and_apart(faces):
    for item in faces:
        boxes = item["boxes"]
        assert boxes.shape == (len(boxes), 4) and boxes.dtype == torch.float32
        assert (boxes >= 0).all() and (boxes <= 128).all()
        assert (boxes[:, 2:] - boxes[:, :2] > 8).all()  # 14 pixels high and narrower at the least
        assert item["ignore"].tolist() == [False] * len(boxes)
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                overlap = torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])
                assert (overlap <= 0).any()


def test_subsets_of_faces_go_by_height(faces):
    for item in faces:
        height = item["boxes"][:, 3] - item["boxes"][:, 1]
        assert list(item["keep"]) == ["easy", "medium", "hard"]
        for subset, least in FACE_HEIGHTS.items():
            assert torch.equal(item["keep"][subset], height >= least)
        assert item["keep"]["hard"].all()
    totals = [sum(int(i["keep"][s].sum()) for i in faces) for s in FACE_HEIGHTS]
    assert 0 < totals[0] < totals[1] < totals[2]


def test_about_three_images_in_ten_hold_no_face(faces):
    # 40 draws of probability 0.3: three standard deviations are ± 0.22.
    empty = sum(len(item["boxes"]) == 0 for item in faces) / len(faces)
    assert 0.08 < empty < 0.52
    assert max(len(item["boxes"]) for item in faces) <= 4


def test_the_faces_are_where_the_boxes_say(faces):
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    from llie_core.metrics.faces import detection_rates
    from llie_core.recognizers import create_recognizer

    with_faces = [item for item in faces if item["keep"]["medium"].any()][:10]
    found = create_recognizer("mtcnn").predict(torch.stack([i["target"] for i in with_faces]))
    rates = detection_rates(
        found, [i["boxes"] for i in with_faces], [i["keep"]["medium"] for i in with_faces], 0.9
    )
    assert rates["recall"] >= 0.8  # in normal light and at least 28 pixels high


# Darkened copies of a face set ----------------------------------------------------------------


class Ramp(torch.utils.data.Dataset):
    """Images whose red and green hold each pixel's x and y, so that a crop shows its place."""

    def __init__(self, height, width, boxes, ignore=None):
        self.height, self.width = height, width
        self.boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        self.ignore = torch.tensor(ignore or [False] * len(self.boxes), dtype=torch.bool)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        y, x = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        image = torch.stack([x / 255, y / 255, torch.full_like(x, index + 1) / 2]).float()
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


def test_every_epoch_draws_its_own_crop_and_darkening():
    data = DarkFaces(Ramp(90, 90, [(30, 30, 60, 60)]), physical_darkener(), size=32)
    assert len(data) == 2
    first, later, again = data.sample(0, 0), data.sample(0, 2), data.sample(0, 0)
    assert torch.equal(first["image"], again["image"]) and equal_items(first, data[0])
    assert first["darkening"] != later["darkening"]
    assert len({tuple(corner({"image": data.sample(0, d)["target"]})) for d in range(6)}) > 3
    other = DarkFaces(data.source, physical_darkener(), size=32, seed=1)
    assert not torch.equal(first["image"], other.sample(0, 0)["image"])


def test_trained_darkener_is_asked_for_exposures_in_its_range():
    class Dimmer:
        asked = []

        def enhance(self, image, exposure):
            self.asked.append(exposure)
            return image * 0 + exposure

    data = DarkFaces(Ramp(8, 8, []), exposure_darkener(Dimmer(), 0.1, 0.2))
    items = [data.sample(0, draw) for draw in range(50)]
    assert 0.1 <= min(Dimmer.asked) < 0.12 < 0.18 < max(Dimmer.asked) <= 0.2
    assert [item["darkening"]["exposure_target"] for item in items] == Dimmer.asked
    levels = torch.stack([item["image"] for item in items])
    assert on_8_bit_grid(levels)
    expected = torch.tensor(Dimmer.asked).reshape(-1, 1, 1, 1).expand_as(levels)
    assert torch.allclose(levels, expected, atol=0.5 / 255 + 1e-6)


# The registry ---------------------------------------------------------------------------------


def test_names_are_unique_and_builtin_sets_come_first():
    specs = list_datasets()
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names)
    assert {"builtin-photos", "builtin-faces", "wider-face"} <= set(names)
    builtin = [spec.builtin for spec in specs]
    assert builtin == sorted(builtin, reverse=True)
    assert all(spec.builtin == spec.name.startswith("builtin-") for spec in specs)


PUBLIC = [spec for spec in list_datasets() if spec.loader]
PRIVATE = [spec for spec in list_datasets() if not spec.loader]  # named by a paper, had by nobody


@pytest.mark.parametrize("spec", PUBLIC, ids=lambda spec: spec.name)
def test_every_entry_is_complete_and_its_loader_exists(spec):
    module, _, attribute = spec.loader.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))
    assert spec.splits and spec.metrics and spec.source and spec.terms and spec.task
    assert dataset_spec(spec.name) is spec


@pytest.mark.parametrize(
    "spec", [spec for spec in PUBLIC if not spec.builtin], ids=lambda spec: spec.name
)
def test_absent_data_is_named_with_place_and_source(spec, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{spec.name}: say where it is") as error:
        open_dataset(spec.name, spec.splits[0])
    assert spec.source in str(error.value) and spec.terms in str(error.value)
    with pytest.raises(FileNotFoundError) as error:
        open_dataset(spec.name, spec.splits[0], tmp_path / "nowhere")
    assert "nowhere" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("spec", PRIVATE, ids=lambda spec: spec.name)
def test_a_set_that_is_not_public_says_so(spec, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{spec.name}: not public"):
        open_dataset(spec.name, "test", tmp_path)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ValueError, match=r"no data set 'bultin-faces'; did you mean 'builtin-f"):
        dataset_spec("bultin-faces")
    with pytest.raises(ValueError, match=r"no data set 'xyzzy' \(known: builtin-photos"):
        open_dataset("xyzzy", "train")
    with pytest.raises(ValueError, match=r"wider-face has no split 'test' \(it has: train, val"):
        open_dataset("wider-face", "test", "anywhere")


def test_builtin_sets_open_by_name_with_options():
    data = open_dataset("builtin-photos", "val", size=20, count=2, seed=4)
    assert isinstance(data, BuiltinPhotos) and data[0]["image"].shape == (3, 20, 20)
    assert data.describe()["seed"] == 4


def test_root_may_be_the_set_or_the_folder_that_holds_it(tmp_path):
    from PIL import Image

    root = tmp_path / "WIDER_FACE"
    (root / "WIDER_val" / "images" / "0--Parade").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(root / "WIDER_val" / "images" / "0--Parade" / "a.jpg")
    (root / "wider_face_split").mkdir()
    listing = "0--Parade/a.jpg\n1\n1 2 10 6 0 0 0 0 0 0\n"
    (root / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text(listing)
    for place in (root, tmp_path, str(tmp_path)):
        item = open_dataset("wider-face", "val", place)[0]
        assert item["boxes"].tolist() == [[1, 2, 11, 8]]


def test_collate_stacks_images_and_lists_the_rest():
    items = [
        {"image": torch.full((3, 4, 5), float(i)), "boxes": torch.zeros(i, 4), "name": str(i)}
        for i in range(3)
    ]
    batch = collate(items)
    assert batch["image"].shape == (3, 3, 4, 5) and batch["image"][2].max() == 2
    assert [len(boxes) for boxes in batch["boxes"]] == [0, 1, 2]
    assert batch["name"] == ["0", "1", "2"] and "target" not in batch
    paired = collate([{**item, "target": item["image"]} for item in items])
    assert torch.equal(paired["target"], paired["image"])


def test_collate_refuses_images_of_several_sizes():
    items = [{"image": torch.zeros(3, 4, 4)}, {"image": torch.zeros(3, 4, 5)}]
    with pytest.raises(ValueError, match=r"one size, got \[\(3, 4, 4\), \(3, 4, 5\)\]"):
        collate(items)


def test_face_targets_pair_boxes_with_their_flags():
    items = [BuiltinFaces("train", 64, 6)[i] for i in range(6)]
    targets = face_targets(collate(items))
    assert len(targets) == 6
    for target, item in zip(targets, items, strict=True):
        assert set(target) == {"boxes", "ignore"}
        assert target["boxes"] is item["boxes"] and target["ignore"] is item["ignore"]
