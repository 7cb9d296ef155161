"""Image folders: finding files, pairing by name, splitting, identity."""

import dataset_trees as trees
import numpy as np
import pytest
import torch

from llie_core.data import open_dataset
from llie_core.data.external import external_methods
from llie_core.data.folders import files_in, folders_in, images_in, match, not_read
from llie_core.data.splits import same_content, split_names
from llie_core.data.unpaired import ImageFolder, UnpairedFolder


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


def test_the_identity_follows_contents_of_equal_size(tmp_path):
    trees.save(tmp_path / "0.bmp", trees.noise_image(0))
    before, size = UnpairedFolder(tmp_path, "test", "vv").fingerprint, (tmp_path / "0.bmp").stat()
    trees.save(tmp_path / "0.bmp", trees.noise_image(1))
    assert (tmp_path / "0.bmp").stat().st_size == size.st_size
    assert UnpairedFolder(tmp_path, "test", "vv").fingerprint != before


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


def test_linked_folders_are_entered_and_loops_are_not(tmp_path):
    trees.save(tmp_path / "elsewhere/1.png", trees.noise_image(0))
    trees.save(tmp_path / "set/a/2.png", trees.noise_image(1))
    (tmp_path / "set/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/c").symlink_to(tmp_path / "elsewhere")  # twice is no loop
    (tmp_path / "set/a/up").symlink_to(tmp_path / "set")
    (tmp_path / "elsewhere/own").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/4.png").symlink_to(tmp_path / "set/a/2.png")
    names = ["4.png", "a/2.png", "b/1.png", "c/1.png"]
    assert [
        p.relative_to(tmp_path / "set").as_posix() for p in files_in(tmp_path / "set", True)
    ] == (names)
    assert ImageFolder(tmp_path / "set").names == names
    assert [path.name for path in files_in(tmp_path / "set")] == ["4.png"]
    assert [path.name for path in folders_in(tmp_path / "set")] == ["a", "b", "c"]


def test_a_linked_city_counts(tmp_path):
    for top, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        for city in ("aachen", "bonn"):
            pixels = np.full((4, 6), 7)
            trees.save(tmp_path / "disk" / top / city / f"{city}_0_{ending}.png", pixels)
            link = tmp_path / "cityscapes" / top / "val" / city
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(tmp_path / "disk" / top / city)
    data = open_dataset("cityscapes", "val", tmp_path)
    assert len(data) == 2 and data[1]["mask"].unique().tolist() == [0]


def lol(root):
    return trees.lol(root / "LOL"), "lol", "test"


def dicm(root):
    trees.save(root / "DICM/1.png", trees.noise_image(0))
    return root / "DICM", "dicm", "test"


def exdark(root):
    trees.save(root / "ExDark/Bus/1.png", trees.noise_image(0))
    (root / "ExDark/ExDark_Annno/Bus").mkdir(parents=True)
    (root / "ExDark/ExDark_Annno/Bus/1.png.txt").write_text("% bbGt version=3\nBus 1 2 3 4\n")
    return root / "ExDark", "exdark", "all"


def dark_face(root):
    for i in range(3):
        trees.save(root / f"DARK_FACE/image/{i}.png", trees.noise_image(i))
        (root / "DARK_FACE/label").mkdir(exist_ok=True)
        (root / f"DARK_FACE/label/{i}.txt").write_text("1\n1 2 3 4\n")
    return root / "DARK_FACE", "dark-face", "train"


def exlpose(root):
    return trees.exlpose(root / "ExLPose"), "exlpose", "test"


def cityscapes(root):
    return trees.street_pair(root, "val", ["a"]) / "cityscapes", "cityscapes", "val"


def nightcity(root):
    return trees.street_pair(root, "val", ["a"]) / "nightcity", "nightcity", "val"


def saliency(root):
    for i in range(2):
        trees.save(root / f"saliency_rgb/ECSSD/images/{i}.png", np.full((4, 5, 3), 9 * i))
        trees.save(root / f"saliency_rgb/ECSSD/GT/{i}.png", np.zeros((4, 5)))
    return root / "saliency_rgb", "saliency-rgb-low-light", "test"


def phones(root):
    for name in ("Huawei Mate 20 Pro", "LG_M322", "Oppo R17", "XiaoMi Mi Mix 3"):
        trees.save(root / "LLIV-Phone" / name / "1.png", trees.noise_image(0))
    return root / "LLIV-Phone", "phone-video", "test"


@pytest.mark.parametrize("layout", [
    lol, dicm, exdark, dark_face, exlpose, cityscapes, nightcity, saliency, phones,
])  # fmt: skip
def test_hidden_files_and_folders_are_no_data(tmp_path, layout):
    root, name, split = layout(tmp_path)
    options = {"val": 1, "test": 0} if name == "dark-face" else {}
    before = open_dataset(name, split, root, **options)
    for folder in (root, *folders_in(root, deep=True)):  # notebook checkpoints, macOS's doubles
        for path in files_in(folder):
            copy = folder / ".ipynb_checkpoints" / f"{path.stem}-checkpoint{path.suffix}"
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
            (folder / f"._{path.name}").write_bytes(b"not for us")
    after = open_dataset(name, split, root, **options)
    assert after.describe() == before.describe() and after.names == before.names


def test_a_hidden_folder_is_no_method(tmp_path):
    (tmp_path / "LLFlow/lol").mkdir(parents=True)
    (tmp_path / ".ipynb_checkpoints/lol").mkdir(parents=True)
    assert list(external_methods(tmp_path, "lol")) == ["LLFlow"]


def test_what_is_not_read_is_counted_and_named(tmp_path):
    names = ("b.HEIC", "a.heic", "sub/c.dng", "d.gif", "e.mp4", "f.jp2", "g.cr2")
    for name in (*names, ".h.heic", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"?")
    assert not_read(tmp_path) == (
        f"{tmp_path}: 1 .cr2, 1 .gif, 2 .heic, 1 .jp2, 1 .mp4 not read "
        "(a.heic, b.HEIC, d.gif, e.mp4, f.jp2, …); convert to PNG, JPEG or TIFF"
    )
    with pytest.raises(
        FileNotFoundError, match=r"no image \(\.png, .*1 \.cr2, 1 \.dng, .* 2 \.heic"
    ):
        ImageFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"dicm: no image .* 2 \.heic, .*; get it from"):
        open_dataset("dicm", "test", tmp_path)
    trees.save(tmp_path / "i.pgm", np.full((4, 5), 51))
    data = ImageFolder(tmp_path)
    assert data.names == ["i.pgm"] and "1 .dng" in data.not_read
    assert torch.equal(data[0]["image"], torch.full((3, 4, 5), 0.2))
