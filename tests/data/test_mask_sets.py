"""Cityscapes, NightCity and CamVid: layouts, label ids to train ids, exact masks."""

import dataset_trees as trees
import numpy as np
import pytest
import torch
from PIL import Image

from llie_core.data import collate, open_dataset
from llie_core.data.masks import read_ids, read_saliency
from llie_core.data.segmentation import CITYSCAPES_CLASSES, LABEL_IDS, ids_to_train_ids

ALL_IDS = np.arange(34, dtype=np.uint8).reshape(2, 17)
TRAIN_IDS = np.array([*range(19), 255], dtype=np.uint8).reshape(2, 10)


def cityscapes(
    root, split="val", stem="bonn/bonn_000000_000019", labels=ALL_IDS, ending="labelIds"
):
    height, width = labels.shape
    image = root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png"
    trees.save(image, trees.noise_image(1, (width, height)))
    trees.save(root / "gtFine" / split / f"{stem}_gtFine_{ending}.png", labels)
    trees.save(root / "gtFine" / split / f"{stem}_gtFine_color.png", trees.noise_image(2))
    return root


def test_the_34_label_ids_become_the_19_train_ids(tmp_path):
    item = open_dataset("cityscapes", "val", cityscapes(tmp_path))[0]
    mask = item["mask"].flatten()
    assert item["mask"].dtype == torch.int64 and item["image"].shape == (3, 2, 17)
    assert mask[list(LABEL_IDS)].tolist() == list(range(19))
    assert int((mask == 255).sum()) == 34 - 19
    assert CITYSCAPES_CLASSES[mask[26]] == "car" and CITYSCAPES_CLASSES[mask[33]] == "bicycle"
    assert CITYSCAPES_CLASSES[mask[24]] == "person" and CITYSCAPES_CLASSES[mask[7]] == "road"
    assert item["name"] == "bonn/bonn_000000_000019_leftImg8bit.png"


def test_train_id_files_are_taken_as_they_are(tmp_path):
    cityscapes(tmp_path, labels=TRAIN_IDS, ending="labelTrainIds")
    data = open_dataset("cityscapes", "val", tmp_path)
    assert torch.equal(data[0]["mask"], torch.from_numpy(TRAIN_IDS).long())
    assert data.describe()["labels"] == "train-ids"


@pytest.mark.parametrize(
    ("labels", "ending"), [("train-ids", "labelTrainIds"), ("ids", "labelIds")]
)
def test_values_of_the_other_labelling_are_refused(tmp_path, labels, ending):
    wrong = ALL_IDS if labels == "train-ids" else ALL_IDS + 40
    data = open_dataset("cityscapes", "val", cityscapes(tmp_path, labels=wrong, ending=ending))
    with pytest.raises(ValueError, match=rf"_{ending}\.png holds \d+: pass labels='ids'"):
        data[0]


def test_the_lookup_covers_every_id_once():
    lookup = ids_to_train_ids()
    assert sorted(v for v in lookup.tolist() if 0 <= v < 255) == list(range(19))
    assert lookup[255] == 255 and (lookup[34:255] == -1).all()


def nightcity(root, split, names, layout, factor=1):
    images, labels, ending = {
        "official": ("NightCity-images/images/{}", "NightCity-label/label/{}", "labelIds"),
        "fine": ("{}/img", "{}/lbl", "trainIds"),
    }[layout]
    images, labels = images.format(split), labels.format(split)
    stored = ALL_IDS if layout == "official" else TRAIN_IDS
    for name in names:
        height, width = stored.shape
        trees.save(root / images / f"{name}.png", trees.noise_image(len(name), (width, height)))
        large = stored.repeat(factor, 0).repeat(factor, 1)
        trees.save(root / labels / f"{name}_{ending}.png", large)
    return root


@pytest.mark.parametrize("layout", ["official", "fine"])
def test_nightcity_in_both_layouts(tmp_path, layout):
    nightcity(tmp_path, "val", ["Chicago_0004", "Dubai_0001"], layout)
    data = open_dataset("nightcity", "val", tmp_path)
    assert data.names == ["Chicago_0004.png", "Dubai_0001.png"]
    assert sorted(set(data[0]["mask"].flatten().tolist())) == [*range(19), 255]


def test_the_stray_train_image_is_left_out_of_val(tmp_path):
    nightcity(tmp_path, "val", ["Chicago_0004"], "official")
    stray = tmp_path / "NightCity-label/label/val/Dubai_0016_labelIds.png"
    trees.save(stray, ALL_IDS)
    data = open_dataset("nightcity", "val", tmp_path)
    assert data.names == ["Chicago_0004.png"] and data.left_out == ["Dubai_0016"]
    nightcity(tmp_path, "train", ["Dubai_0016"], "official")
    assert open_dataset("nightcity", "train", tmp_path).names == ["Dubai_0016.png"]


def test_relabelled_maps_of_twice_the_size_are_thinned_out(tmp_path):
    nightcity(tmp_path, "val", ["a"], "official", factor=2)
    mask = open_dataset("nightcity", "val", tmp_path)[0]["mask"]
    assert torch.equal(mask, ids_to_train_ids()[torch.from_numpy(ALL_IDS).long()])


def test_an_image_without_its_label_map_is_named(tmp_path):
    nightcity(tmp_path, "val", ["a", "b"], "official")
    (tmp_path / "NightCity-label/label/val/b_labelIds.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"nightcity: 1 of 2 files .* no partner .*: b;"):
        open_dataset("nightcity", "val", tmp_path)
    assert len(open_dataset("nightcity", "val", tmp_path, missing="skip")) == 1


def test_a_map_of_another_size_is_named(tmp_path):
    trees.save(tmp_path / "test" / "Seq05VD_1.png", trees.noise_image(0, (8, 6)))
    trees.save(tmp_path / "testannot" / "Seq05VD_1.png", np.zeros((6, 7)))
    data = open_dataset("camvid", "test", tmp_path)
    with pytest.raises(ValueError, match=r"is 8×6, its mask .*is 7×6"):
        data[0]


def test_real_camvid_in_normal_light_and_at_dusk(shared_data):
    counts = {
        (split, subset): len(open_dataset("camvid", split, shared_data, subset=subset))
        for split in ("train", "val", "test")
        for subset in ("day", "dusk")
    }
    assert counts["train", "day"] + counts["val", "day"] == 305
    assert counts["train", "dusk"] + counts["val", "dusk"] == 62
    assert (counts["test", "day"], counts["test", "dusk"]) == (57, 62)
    day, dusk = (open_dataset("camvid", "test", shared_data, subset=s) for s in ("day", "dusk"))
    assert day[0]["image"].mean() > 1.5 * dusk[0]["image"].mean()
    batch = collate([dusk[0], dusk[1]])
    assert batch["mask"].shape == (2, 360, 480)
    stored = torch.from_numpy(np.array(Image.open(dusk.path(0, "mask")))).long()
    expected = torch.where(stored == 11, torch.tensor(255), stored)
    assert torch.equal(batch["mask"][0], expected) and expected.max() == 255


def test_camvids_validation_frames_end_their_sequences(shared_data):
    train, val = (open_dataset("camvid", split, shared_data) for split in ("train", "val"))
    last = {}
    for name in train.names:
        sequence = name.split("_")[0]
        last[sequence] = max(last.get(sequence, ""), name)
    assert all(name > last[name.split("_")[0]] for name in val.names)
    assert {name.split("_")[0] for name in val.names} == set(last)


def test_an_official_validation_folder_is_used(tmp_path):
    for split in ("train", "val"):
        for i in range(3):
            trees.save(tmp_path / split / f"0006R0_{split}{i}.png", trees.noise_image(i))
            trees.save(tmp_path / f"{split}annot" / f"0006R0_{split}{i}.png", np.zeros((16, 24)))
    assert len(open_dataset("camvid", "train", tmp_path)) == 3
    assert len(open_dataset("camvid", "val", tmp_path)) == 3


def test_palettes_are_read_as_indices_and_colours_refused(tmp_path):
    image = Image.fromarray(ALL_IDS, mode="P")
    image.putpalette([i % 256 for i in range(768)])
    image.save(tmp_path / "a.png")
    assert torch.equal(read_ids(tmp_path / "a.png"), torch.from_numpy(ALL_IDS).long())
    trees.save(tmp_path / "b.png", trees.noise_image(0))
    with pytest.raises(ValueError, match=r"b\.png is a RGB image"):
        read_ids(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cannot read mask .*c\.png"):
        read_ids(tmp_path / "c.png")
    with pytest.raises(FileNotFoundError, match="mask not found"):
        read_saliency(tmp_path / "d.png")


def test_saliency_masks_are_true_above_128(tmp_path):
    path = trees.save(tmp_path / "a.png", np.array([[0, 128, 129, 255]]))
    assert read_saliency(path).tolist() == [[[0.0, 0.0, 1.0, 1.0]]]


def test_the_darkest_images_are_chosen_and_recorded(tmp_path):
    for i, level in enumerate((90, 10, 200, 30, 20)):
        base = tmp_path / ("DUTS" if i % 2 else "ECSSD")
        trees.save(base / "images" / f"{i}.png", np.full((4, 5, 3), level))
        trees.save(base / "GT" / f"{i}.png", np.zeros((4, 5)))
    data = open_dataset("saliency-rgb-low-light", "test", tmp_path, darkest=3)
    assert data.names == ["DUTS/1.png", "DUTS/3.png", "ECSSD/4.png"]
    assert data.describe()["mean_luma_below"] == pytest.approx(30 / 255, abs=1e-5)
    assert data[0]["mask"].shape == (1, 4, 5)


def test_real_ecssd(shared_data):
    parts = {s: open_dataset("ecssd", s, shared_data) for s in ("train", "val", "test", "all")}
    assert {s: len(data) for s, data in parts.items()} == {
        "train": 45, "val": 6, "test": 12, "all": 63,
    }  # fmt: skip
    names = parts["train"].names + parts["val"].names + parts["test"].names
    assert sorted(names) == parts["all"].names
    item = parts["all"][0]
    assert item["mask"].shape == (1, *item["image"].shape[1:])
    assert 0 < item["mask"].mean() < 1 and set(item["mask"].unique().tolist()) == {0.0, 1.0}
