"""LOL-v2, LSRW, UHD-LL, SICE, SID, SMID and DARK FACE in their official layouts."""

import dataset_trees as trees
import numpy as np
import pytest
import torch

from llie_core.data import open_dataset
from llie_core.data.images import image_size, read_image
from llie_core.data.registry import Absent
from llie_core.data.splits import NotHeldOut


def lol_v2(root, kind="Real_captured", prefixes=("low", "normal"), train=6, test=2):
    for part, count in (("Train", train), ("Test", test)):
        for k, (side, prefix) in enumerate(zip(("Low", "Normal"), prefixes, strict=True)):
            for i in range(count):
                image = trees.noise_image(10 * i + k + 500 * (part == "Test"))
                trees.save(root / f"LOL-v2/{kind}/{part}/{side}/{prefix}{i:05d}.png", image)


def lsrw(root):
    for part, count in (("Training data", 3), ("Eval", 2)):
        for k, camera in enumerate(("Huawei", "Nikon")):
            names = [f"{1001 + i}.jpg" for i in range(count)]  # the same names for both
            trees.pairs(root / "LSRW" / part / camera, names, start=100 * k)


def uhd_ll(root):
    for part, count in (("training_set", 3), ("testing_set", 1)):
        for i in range(count):
            for k, side in enumerate(("input", "gt")):
                trees.save(
                    root / f"UHD-LL/{part}/{side}/{i}_UHD_LL.JPG", trees.noise_image(9 * i + k)
                )


def sice(root):
    for part, scenes in (("Dataset_Part1", (1, 2, 10)), ("Dataset_Part2", (7,))):
        for scene in scenes:
            for k in range(1, 8 if scene != 2 else 10):
                trees.save(root / f"SICE/{part}/{scene}/{k}.JPG", trees.noise_image(scene + k))
            trees.save(root / f"SICE/{part}/Label/{scene}.JPG", trees.noise_image(scene))


def arrays(root, scenes, short, long):
    """Of each scene, the arrays of these names; of noise 0, 1, … and 9, 10, …"""
    for scene in scenes:
        for (folder, names), first in ((short, 0), (long, 9)):
            (root / folder / scene).mkdir(parents=True)
            for k, name in enumerate(names, first):
                np.save(root / folder / scene / name.format(scene), trees.noise_image(k))


def sid(root):
    short = "short_sid2", ("{}_00_0.1s.npy", "{}_01_0.1s.npy")
    long = "long_sid2", ("{}_00_10s.npy",)
    arrays(root / "SID", ("00001", "10003", "20210"), short, long)


def smid(root):
    short = "SMID_LQ_np", ("0001.npy", "0002.npy", "0003.npy")
    long = "SMID_Long_np", ("0001.npy", "half0001.npy")
    arrays(root / "SMID", ("0001", "0002", "0003"), short, long)
    (root / "SMID/test_list.txt").write_text("0002\n")


@pytest.mark.parametrize("renamed", [False, True])
def test_lol_v2_real_pairs_by_number_whatever_the_prefix(tmp_path, renamed):
    lol_v2(tmp_path, prefixes=("", "") if renamed else ("low", "normal"))
    sets = {s: open_dataset("lol-v2-real", s, tmp_path, val=2) for s in ("train", "val", "test")}
    assert {s: len(data) for s, data in sets.items()} == {"train": 4, "val": 2, "test": 2}
    assert sets["train"].found == 6 and sets["test"].found == 2
    base = tmp_path / "LOL-v2/Real_captured/Test"
    number = "00001.png" if renamed else "low00001.png"
    item = sets["test"][1]
    assert item["name"] == number
    assert torch.equal(item["image"], read_image(base / "Low" / number))
    assert torch.equal(
        item["target"], read_image(base / "Normal" / number.replace("low", "normal"))
    )
    with pytest.raises(NotHeldOut, match="pass val=N"):
        open_dataset("lol-v2-real", "val", tmp_path)


def test_lol_v2_is_found_from_its_own_folder_and_from_the_data_root(tmp_path):
    lol_v2(tmp_path, "Synthetic", ("", ""))
    for root in (tmp_path, tmp_path / "LOL-v2", tmp_path / "LOL-v2/Synthetic"):
        assert len(open_dataset("lol-v2-syn", "train", root)) == 6
    with pytest.raises(Absent, match=r"lol-v2-real: no folder Test in .*; get it from: LOL-v2"):
        open_dataset("lol-v2-real", "test", tmp_path)


def test_a_missing_partner_is_named(tmp_path):
    lol_v2(tmp_path)
    (tmp_path / "LOL-v2/Real_captured/Train/Normal/normal00003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 6 files in .*Low have no .*Normal: 00003;"):
        open_dataset("lol-v2-real", "train", tmp_path)
    assert len(open_dataset("lol-v2-real", "train", tmp_path, missing="skip")) == 5


def test_lsrw_joins_its_cameras(tmp_path):
    lsrw(tmp_path)
    both = open_dataset("lsrw", "test", tmp_path)
    assert both.names == ["Huawei/1001.jpg", "Huawei/1002.jpg", "Nikon/1001.jpg", "Nikon/1002.jpg"]
    nikon = open_dataset("lsrw", "train", tmp_path, cameras=["Nikon"])
    assert len(nikon) == 3 and nikon.path(0).parts[-3:] == ("Nikon", "low", "1001.jpg")
    with pytest.raises(Absent, match=r"lsrw: no folder Sony in .*Eval"):
        open_dataset("lsrw", "test", tmp_path, cameras=["Sony"])


def test_uhd_ll(tmp_path):
    uhd_ll(tmp_path)
    data = open_dataset("uhd-ll", "train", tmp_path)
    assert data.names == ["0_UHD_LL.JPG", "1_UHD_LL.JPG", "2_UHD_LL.JPG"]
    assert data.path(1, "target").parts[-3:] == ("training_set", "gt", "1_UHD_LL.JPG")
    assert len(open_dataset("uhd-ll", "test", tmp_path)) == 1


def test_sice_takes_the_darker_half_of_each_sequence(tmp_path):
    sice(tmp_path)
    test = open_dataset("sice", "test", tmp_path)
    assert test.names == ["7/1.JPG", "7/2.JPG", "7/3.JPG"]  # of seven
    assert test.path(2, "target").parts[-2:] == ("Label", "7.JPG")
    assert test[0]["target"].shape == test[0]["image"].shape
    train = open_dataset("sice", "train", tmp_path)
    assert len(train) == 3 + 4 + 3  # scene 2 has nine
    assert len(open_dataset("sice", "train", tmp_path, exposures="all")) == 7 + 9 + 7
    parts = [open_dataset("sice", split, tmp_path, val=1) for split in ("train", "val")]
    scenes = [{name.split("/")[0] for name in part.names} for part in parts]
    assert not scenes[0] & scenes[1] and len(scenes[1]) == 1
    with pytest.raises(Absent, match="sice: no folder Dataset_Part2 in"):
        open_dataset("sice", "test", tmp_path / "SICE/Dataset_Part1")
    with pytest.raises(ValueError, match="exposures='over' is not one of under, all"):
        open_dataset("sice", "test", tmp_path, exposures="over")


def test_sid_is_split_by_the_first_digit_and_read_as_rgb(tmp_path):
    sid(tmp_path)
    test = open_dataset("sid-srgb", "test", tmp_path)
    assert test.names == ["10003/10003_00_0.1s.npy", "10003/10003_01_0.1s.npy"]
    blue_first = torch.from_numpy(trees.noise_image(1)).permute(2, 0, 1) / 255
    assert torch.equal(test[1]["image"], blue_first.flip(0))
    assert test[0]["target"].equal(test[1]["target"])  # one long exposure for both
    train = open_dataset("sid-srgb", "train", tmp_path)
    assert {name.split("/")[0] for name in train.names} == {"00001", "20210"}
    assert image_size(test.path(0)) == ((24, 16), 1)
    with pytest.raises(Absent, match=r"sid-srgb: no folders short_sid2 and long_sid2 in .*; get"):
        open_dataset("sid-srgb", "test", tmp_path / "SID/long_sid2")


def test_smid_is_split_by_its_list_and_leaves_half_sizes_out(tmp_path):
    smid(tmp_path)
    test = open_dataset("smid-srgb", "test", tmp_path)
    assert test.names == [f"0002/{k:04d}.npy" for k in (1, 2, 3)]
    assert test.path(0, "target").name == "0001.npy"
    parts = [open_dataset("smid-srgb", s, tmp_path, val=1) for s in ("train", "val")]
    assert [len(part) for part in parts] == [3, 3]
    (tmp_path / "SMID/test_list.txt").unlink()
    with pytest.raises(Absent, match=r"smid-srgb: no file test_list\.txt in"):
        open_dataset("smid-srgb", "test", tmp_path)


def test_arrays_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "1.npy"
    np.save(path, np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match=r"1\.npy holds float64 \(4, 5, 3\), not 8 bits"):
        read_image(path)
    with path.open("wb") as archive:
        np.savez(archive, np.zeros((4, 5, 3), np.uint8))
    for content in (path.read_bytes(), b"nothing", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no array that can be read"):
            read_image(path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="no array that can be read"):
        image_size(path)


def test_dark_face_holds_out_a_stated_test(tmp_path):
    for i in range(9):
        trees.save(tmp_path / "image" / f"{i}.png", trees.noise_image(i))
        (tmp_path / "label").mkdir(exist_ok=True)
        (tmp_path / "label" / f"{i}.txt").write_text("1\n1 2 5 8\n")
    parts = {
        s: open_dataset("dark-face", s, tmp_path, val=2, test=3) for s in ("train", "val", "test")
    }
    assert {s: len(data) for s, data in parts.items()} == {"train": 4, "val": 2, "test": 3}
    assert len({name for data in parts.values() for name in data.names}) == 9
    assert parts["test"].describe()["test"] == 3
    with pytest.raises(ValueError, match=r"cannot hold 500 \+ 1000 items out of 9"):
        open_dataset("dark-face", "test", tmp_path)
