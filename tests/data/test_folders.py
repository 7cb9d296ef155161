"""Image folders: finding files, pairing by name, splitting, identity."""

import dataset_trees as trees
import pytest
import torch

from llie_core.data.folders import images_in, match
from llie_core.data.splits import same_content, split_names
from llie_core.data.unpaired import UnpairedFolder


def test_flat_folders_count_and_hold_out(tmp_path):
    for i in range(10):
        trees.save(tmp_path / f"{i}.png", trees.noise_image(i))
    whole = UnpairedFolder(tmp_path, "test", "dicm")
    parts = {s: UnpairedFolder(tmp_path, s, "zero-dce-train", val=3) for s in ("train", "val")}
    assert len(whole) == whole.describe()["count"] == 10
    assert sorted(parts["train"].names + parts["val"].names) == whole.names
    assert len(parts["val"]) == 3 and parts["train"].found == 10
    item = whole[4]
    assert item["name"] == "4.png"
    expected = torch.from_numpy(trees.noise_image(4)).permute(2, 0, 1).float() / 255
    assert torch.equal(item["image"], expected)
    with pytest.raises(ValueError, match="pass val=N"):
        UnpairedFolder(tmp_path, "val", "zero-dce-train")
    with pytest.raises(ValueError, match=r"cannot hold 10 \+ 0 items out of 10"):
        UnpairedFolder(tmp_path, "val", "zero-dce-train", val=10)


def test_the_identity_follows_the_files(tmp_path):
    for i in range(3):
        trees.save(tmp_path / f"{i}.png", trees.noise_image(i))
    before = UnpairedFolder(tmp_path, "test", "vv").describe()
    assert before == UnpairedFolder(tmp_path, "test", "vv").describe()
    trees.save(tmp_path / "1.png", trees.noise_image(1, (25, 16)))
    assert UnpairedFolder(tmp_path, "test", "vv").describe()["files"] != before["files"]


def test_two_files_of_one_name_are_named(tmp_path):
    trees.save(tmp_path / "a.png", trees.noise_image(0))
    trees.save(tmp_path / "a.bmp", trees.noise_image(0))
    with pytest.raises(ValueError, match=r"a\.bmp and a\.png go by one name"):
        images_in(tmp_path)


def test_splits_are_seeded_disjoint_and_keep_company():
    keys = [str(i) for i in range(100)]
    together = {key: f"pair {int(key) // 2}" for key in keys}
    parts = split_names(keys, val=10, test=21, seed=3)
    assert [len(parts[p]) for p in ("train", "val", "test")] == [69, 10, 21]
    assert sorted(key for part in parts.values() for key in part) == sorted(keys)
    assert parts == split_names(reversed(keys), val=10, test=21, seed=3)
    assert parts != split_names(keys, val=10, test=21, seed=4)
    grouped = split_names(keys, val=10, test=20, together=together)
    sides = {key: part for part, names in grouped.items() for key in names}
    assert all(sides[str(i)] == sides[str(i + 1)] for i in range(0, 100, 2))
    assert split_names(keys[:9], test=2, seed=None)["test"] == ["7", "8"]


def test_a_partial_copy_moves_no_other_key():
    keys = [str(i) for i in range(100)]
    whole = split_names(keys, test=20)["test"]
    part = split_names(keys[:80], test=16)["test"]
    assert len(set(part) & set(whole)) >= 12


def test_equal_files_are_found_by_content(tmp_path):
    for name, text in {"a": "12", "b": "12", "c": "21", "d": "123"}.items():
        (tmp_path / name).write_text(text)
    labels = same_content(tmp_path, {name: name for name in "abcd"})
    assert labels["a"] == labels["b"]
    assert len(set(labels.values())) == 3


def test_missing_partners_are_named_on_both_sides():
    first, second = {"1": "", "2": "", "3": ""}, {"2": "", "3": "", "4": ""}
    with pytest.raises(FileNotFoundError, match="1 of 3 files in low have no partner in high: 1;"):
        match("lol", first, second, ("low", "high"))
    with pytest.raises(FileNotFoundError, match="1 of 3 files in high have no partner in low: 4;"):
        match("lol", {"2": "", "3": ""}, second, ("low", "high"))
    assert match("lol", first, second, ("low", "high"), "skip") == ["2", "3"]
