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
from llie_core.data.registry import Absent, candidates, find_folder
from llie_core.reporting.published import list_papers, load


def test_every_spec_is_complete_and_its_loader_is_there():
    specs = list_datasets()
    assert len({spec.name for spec in specs}) == len(specs)
    builtin = [spec.builtin for spec in specs]
    assert builtin == sorted(builtin, reverse=True), "built-in sets come first"
    for spec in specs:
        assert spec.source and spec.terms and spec.metrics and spec.task, spec.name
        assert spec.splits, spec.name
        assert spec.builtin == spec.name.startswith("builtin-"), spec.name
        assert set(spec.expected) <= set(spec.splits), spec.name
        if spec.public:
            module, _, attribute = spec.loader.partition(":")
            assert hasattr(importlib.import_module(module), attribute), spec.name


def test_every_data_set_of_the_published_tables_is_known():
    named = {cell.dataset for paper in list_papers() for cell in load(paper) if cell.dataset}
    known = {spec.name for spec in list_datasets()}
    assert {part for name in named for part in name.split("+")} <= known


def test_unknown_names_and_splits_are_named():
    with pytest.raises(ValueError, match="did you mean 'lol1000'"):
        dataset_spec("lol100")
    with pytest.raises(ValueError, match=r"no data set 'xyzzy' \(known: builtin-photos"):
        open_dataset("xyzzy", "train")
    with pytest.raises(ValueError, match=r"dicm has no split 'train' \(it has: test\)"):
        open_dataset("dicm", "train", ".")


def test_builtin_sets_open_by_name_with_options():
    data = open_dataset("builtin-photos", "val", size=20, count=2, seed=4)
    assert len(data) == 2 and data[0]["image"].shape == (3, 20, 20)
    assert data.describe()["seed"] == 4


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
    with pytest.raises(FileNotFoundError, match=f"{spec.name}: say where it is") as error:
        open_dataset(spec.name, spec.splits[0])
    assert spec.source in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        open_dataset(spec.name, spec.splits[0], tmp_path / "nowhere")


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
