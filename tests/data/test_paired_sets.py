"""Paired sets: LOL and its protocols, generic folders, FiveK, leaks by shared references."""

import io

import dataset_trees as trees
import pytest
import torch
from PIL import Image, ImageCms

from llie_core.data import open_dataset
from llie_core.data.images import read_image
from llie_core.data.paired import PairedFolder


def test_lol_has_its_official_parts_and_a_validation_part(tmp_path):
    trees.lol(tmp_path)
    sets = {s: open_dataset("lol", s, tmp_path, val=3) for s in ("train", "val", "test")}
    assert {s: len(data) for s, data in sets.items()} == {"train": 9, "val": 3, "test": 4}
    assert {s: data.found for s, data in sets.items()} == {"train": 12, "val": 12, "test": 4}
    assert not set(sets["train"].names) & set(sets["val"].names)
    item = sets["test"][2]
    assert item["name"] == "103.png" and item["image"].shape == item["target"].shape == (3, 16, 24)
    assert torch.equal(item["image"], read_image(tmp_path / "eval15/low/103.png"))
    assert torch.equal(item["target"], read_image(tmp_path / "eval15/high/103.png"))
    assert len(open_dataset("lol", "train", tmp_path, val=0)) == 12


def test_pairs_are_matched_by_name_even_where_formats_differ(tmp_path):
    trees.save(tmp_path / "low" / "10.png", trees.noise_image(0))
    trees.save(tmp_path / "low" / "9.png", trees.noise_image(1))
    trees.save(tmp_path / "high" / "9.bmp", trees.noise_image(2))
    trees.save(tmp_path / "high" / "10.PNG", trees.noise_image(3))
    data = PairedFolder(tmp_path, "test", "voc144")
    items = {item["name"]: item for item in (data[0], data[1])}
    assert torch.equal(items["9.png"]["target"], read_image(tmp_path / "high/9.bmp"))


@pytest.mark.parametrize(("protocol", "test"), [("400/100", 100), ("480/20", 20)])
def test_the_papers_other_splits_of_lol_pool_all_pairs(shared_data, protocol, test):
    options = {"protocol": protocol, "val": 10}
    parts = {s: open_dataset("lol", s, shared_data, **options) for s in ("train", "val", "test")}
    sizes = {split: len(data) for split, data in parts.items()}
    assert sizes == {"train": 490 - test, "val": 10, "test": test}
    names = [name for data in parts.values() for name in data.names]
    assert len(set(names)) == 500
    assert sum(name.startswith("eval15/") for name in names) == 15
    assert parts["test"].describe()["protocol"] == protocol
    other = open_dataset("lol", "test", shared_data, **options, seed=1)
    assert other.names != parts["test"].names


@pytest.mark.parametrize("protocol", ["official", "400/100"])
def test_no_reference_stands_in_two_parts_of_lol(shared_data, protocol):
    sides = {}
    for split in ("train", "val", "test"):
        data = open_dataset("lol", split, shared_data, protocol=protocol, val=40)
        for index in range(len(data)):
            content = data.path(index, "target").read_bytes()
            sides.setdefault(hash(content), set()).add(split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert len(sides) == 399 + 15  # of 485 training pairs, 399 references differ


def test_a_missing_partner_is_named_or_skipped(tmp_path):
    trees.lol(tmp_path)
    (tmp_path / "our485/high/7.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"lol: 1 of 12 files in .*low have no .*high: 7;"):
        open_dataset("lol", "train", tmp_path)
    assert len(open_dataset("lol", "train", tmp_path, val=0, missing="skip")) == 11
    assert len(open_dataset("lol", "test", tmp_path)) == 4
    with pytest.raises(ValueError, match="missing='drop' is not one of error, skip"):
        open_dataset("lol", "train", tmp_path, missing="drop")


def test_an_absent_part_is_named(tmp_path):
    trees.pairs(tmp_path / "our485", ["1.png", "2.png"])
    with pytest.raises(FileNotFoundError, match=f"no folder eval15 in {tmp_path}; get it from"):
        open_dataset("lol", "test", tmp_path)
    with pytest.raises(FileNotFoundError, match="protocol 480/20 needs eval15"):
        open_dataset("lol", "test", tmp_path, protocol="480/20")
    with pytest.raises(ValueError, match="protocol='485/15' is not one of official, 400/100"):
        open_dataset("lol", "test", tmp_path, protocol="485/15")


def test_images_of_one_pair_must_have_one_size(tmp_path):
    trees.pairs(tmp_path, ["1.png"])
    trees.save(tmp_path / "high/1.png", trees.noise_image(0, (24, 18)))
    data = open_dataset("test148", "test", tmp_path)
    with pytest.raises(ValueError, match=r"low/1\.png is 24×16, its target .*1\.png is 24×18"):
        data[0]


def test_split_folders_are_used_where_they_are(tmp_path):
    trees.pairs(tmp_path / "train", [f"{i}.png" for i in range(6)])
    trees.pairs(tmp_path / "val", ["x.png"], start=50)
    assert len(open_dataset("brightening-train", "train", tmp_path)) == 6
    assert open_dataset("brightening-train", "val", tmp_path).names == ["x.png"]


def test_fivek_splits_by_name_and_records_the_export(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for i in range(6):
        for folder in ("input", "expertC"):
            path = trees.save(tmp_path / folder / f"a{i:04d}.png", trees.noise_image(i))
            if folder == "expertC":
                Image.open(path).save(path, icc_profile=profile)
    test = open_dataset("mit-adobe-fivek", "test", tmp_path, test=2)
    assert test.names == ["a0004.png", "a0005.png"]
    assert len(open_dataset("mit-adobe-fivek", "train", tmp_path, test=2)) == 4
    export = test.describe()["export"]
    assert export["image"] == "PNG RGB, no profile embedded"
    assert "sRGB" in export["target"]
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))


def test_real_lol_pairs(shared_data):
    data = open_dataset("lol", "test", shared_data)
    assert len(data) == 15
    item = data[data.names.index("22.png")]
    assert item["image"].shape == item["target"].shape == (3, 400, 600)
    assert item["image"].mean() < 0.3 * item["target"].mean()


@pytest.mark.parametrize(("name", "count"), [("dicm", 22), ("lime", 8), ("mef", 9), ("npe", 8)])
def test_real_photographs_without_reference(shared_data, name, count):
    data = open_dataset(name, "test", shared_data)
    assert len(data) == data.describe()["count"] == count
    assert 0 < data[0]["image"].mean() < 0.6


def test_phone_frames_by_phone(tmp_path):
    folders = {"Huawei Mate 20 Pro": 2, "LG_M322": 1, "video/Oppo R17": 3, "XiaoMi Mi Mix 3": 1}
    for folder, frames in folders.items():
        for i in range(frames):
            trees.save(tmp_path / folder / f"{i}.png", trees.noise_image(i))
    data = open_dataset("phone-video", "test", tmp_path)
    subsets = [data[i]["subset"] for i in range(len(data))]
    assert subsets.count("oppo-r17") == 3 and len(subsets) == 7
    assert len(open_dataset("phone-video", "test", tmp_path, subset="huawei-mate-20-pro")) == 2
    (tmp_path / "LG_M322/0.png").unlink()
    (tmp_path / "LG_M322").rmdir()
    with pytest.raises(FileNotFoundError, match="no folder of frames for lg-m322"):
        open_dataset("phone-video", "test", tmp_path)
