"""The registry: specs, opening by name, errors, batches."""

import importlib

import dataset_trees as trees
import pytest
import torch

from llie_core.data import (
    collate,
    dataset_spec,
    face_targets,
    list_datasets,
    listing_text,
    open_dataset,
)
from llie_core.data.folders import images_in, match
from llie_core.data.registry import Absent, candidates, find_folder
from llie_core.data.splits import same_content, split_names
from llie_core.data.unpaired import UnpairedFolder
from llie_core.published import PAPERS, load


def test_every_spec_is_complete_and_its_loader_is_there():
    specs = list_datasets()
    assert len({spec.name for spec in specs}) == len(specs)
    builtin = [spec.builtin for spec in specs]
    assert builtin == sorted(builtin, reverse=True), "built-in sets come first"
    for spec in specs:
        assert spec.source and spec.terms and spec.metrics, spec.name
        assert spec.splits, spec.name
        assert set(spec.expected) <= set(spec.splits), spec.name
        if spec.public:
            module, _, attribute = spec.loader.partition(":")
            assert hasattr(importlib.import_module(module), attribute), spec.name


def test_every_data_set_of_the_published_tables_is_known():
    named = {cell.dataset for paper in PAPERS for cell in load(paper) if cell.dataset}
    known = {spec.name for spec in list_datasets()}
    assert {part for name in named for part in name.split("+")} <= known


def test_unknown_names_and_splits_are_named():
    with pytest.raises(ValueError, match="did you mean 'lol1000'"):
        dataset_spec("lol100")
    with pytest.raises(ValueError, match=r"dicm has no split 'train' \(it has: test\)"):
        open_dataset("dicm", "train", ".")


@pytest.mark.parametrize("name", ["toys", "real63"])
def test_sets_that_nobody_can_have_say_so(name):
    with pytest.raises(FileNotFoundError, match=f"{name}: not public: .*paper"):
        open_dataset(name, "test")


@pytest.mark.parametrize("spec", [s for s in list_datasets() if s.folder], ids=lambda s: s.name)
def test_an_absent_set_says_what_where_how_and_on_what_terms(spec, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        open_dataset(spec.name, spec.splits[0], tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{spec.name}: ")
    for part in (str(tmp_path), spec.source, spec.terms):
        assert part in message
    with pytest.raises(FileNotFoundError, match="say where it is"):
        open_dataset(spec.name, spec.splits[0])


def test_the_root_may_be_the_set_or_hold_it_in_any_case(tmp_path):
    trees.save(tmp_path / "dicm" / "1.png", trees.noise_image(0))
    for root in (tmp_path, tmp_path / "dicm"):
        assert len(open_dataset("dicm", "test", root)) == 1
    renamed = tmp_path / "dicm"
    renamed.rename(tmp_path / "mine")
    assert len(open_dataset("dicm", "test", tmp_path / "mine")) == 1
    assert find_folder(tmp_path, "Mine") == tmp_path / "mine"


def test_a_folder_of_the_sets_own_name_inside_it_does_not_mislead(tmp_path):
    inner = tmp_path / "ExLPose" / "ExLPose"
    inner.mkdir(parents=True)
    spec = dataset_spec("exlpose")
    assert candidates(spec, tmp_path / "ExLPose")[0] == tmp_path / "ExLPose"
    assert candidates(spec, tmp_path)[0] == tmp_path / "ExLPose"


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


def test_batches_stack_what_has_one_size():
    items = [
        {"image": torch.zeros(3, 4, 5), "mask": torch.zeros(4, 5).long(), "name": str(i),
         "boxes": torch.zeros(i, 4), "ignore": torch.zeros(i).bool(), "joints": torch.zeros(14, 3)}
        for i in range(2)
    ]  # fmt: skip
    items[0]["darkening"] = {}
    batch = collate(items)
    assert batch["image"].shape == (2, 3, 4, 5) and batch["mask"].shape == (2, 4, 5)
    assert batch["joints"].shape == (2, 14, 3) and batch["name"] == ["0", "1"]
    assert "darkening" not in batch
    assert [len(target["boxes"]) for target in face_targets(batch)] == [0, 1]
    items[1]["image"] = torch.zeros(3, 5, 5)
    with pytest.raises(ValueError, match="one size"):
        collate(items)


def test_the_listing_names_every_set_with_its_terms():
    text = listing_text()
    for spec in list_datasets():
        assert spec.name in text and spec.source in text and spec.terms in text


def test_absent_is_a_file_not_found_error():
    assert issubclass(Absent, FileNotFoundError)
