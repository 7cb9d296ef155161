"""Images of external methods, matched to a set's items by name."""

import os

import dataset_trees as trees
import pytest
import torch

from llie_core.data import open_dataset
from llie_core.data.external import ExternalOutputs, external_methods
from llie_core.data.images import read_image, write_image
from llie_core.data.wrappers import Resized
from llie_core.synthetic.photos import BuiltinPhotos


@pytest.fixture
def source(tmp_path):
    return open_dataset("lol", "test", trees.lol(tmp_path / "LOL"))


def outputs(root, names, size=(24, 16)):
    for i, name in enumerate(names):
        trees.save(root / name, trees.noise_image(500 + i, size))
    return root


def test_outputs_take_the_place_of_the_images(source, tmp_path):
    folder = outputs(tmp_path / "external/LLFlow/lol", [f"{i}.png" for i in range(101, 105)])
    data = ExternalOutputs(folder, source)
    assert len(data) == 4 and data.names == source.names
    item = data[2]
    assert torch.equal(item["image"], read_image(folder / "103.png"))
    assert torch.equal(item["target"], source[2]["target"]) and item["name"] == "103.png"
    assert torch.equal(item["input"], source[2]["image"])
    assert torch.equal(data.output(2), item["image"])
    assert data.report() == "every item has an image"


def test_missing_and_superfluous_images_are_listed(source, tmp_path):
    folder = outputs(tmp_path / "m", ["101.jpg", "104.png", "7.png", "x_105.png"])
    with pytest.raises(FileNotFoundError) as error:
        ExternalOutputs(folder, source)
    assert "2 without an image: 102.png, 103.png" in str(error.value)
    assert "2 images of no item: 7.png, x_105.png" in str(error.value)
    data = ExternalOutputs(folder, source, missing="skip")
    assert data.names == ["101.png", "104.png"] and data.missing == ["102.png", "103.png"]
    assert data.superfluous == ["7.png", "x_105.png"]


def test_an_image_of_another_size_is_named(source, tmp_path):
    folder = outputs(tmp_path / "m", [f"{i}.png" for i in range(101, 105)], size=(12, 8))
    with pytest.raises(ValueError, match=r"m/101\.png is 8 × 12, but 101\.png is 16 × 24"):
        ExternalOutputs(folder, source)[0]


def test_no_folder_and_no_match_say_what_is_wanted(source, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*METHOD/DATASET/NAME\.png"):
        ExternalOutputs(tmp_path / "none", source)
    folder = outputs(tmp_path / "m", ["a.png"])
    with pytest.raises(FileNotFoundError, match="4 without an image"):
        ExternalOutputs(folder, source, missing="skip")


def test_names_with_folders_match_by_path_or_by_their_last_part(tmp_path):
    for i, name in enumerate(("Bus/a.jpg", "Bus/b1.jpg", "Car/b2.jpg")):
        trees.save(tmp_path / "ExDark" / name, trees.noise_image(i))
        note = tmp_path / "ExDark/ExDark_Annno" / f"{name}.txt"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text("% bbGt version=3\n")
    source = open_dataset("exdark", "all", tmp_path)
    folder = outputs(tmp_path / "m", ["Bus/a.png", "b1.png", "b2.png"])
    data = ExternalOutputs(folder, source)
    assert len(data) == 3 and data[1]["name"] == "Bus/b1.jpg"
    assert torch.equal(data[1]["image"], read_image(folder / "b1.png"))


def test_replaced_images_are_other_data(source, tmp_path):
    folder = outputs(tmp_path / "m", [f"{i}.bmp" for i in range(101, 105)])
    before = ExternalOutputs(folder, source).describe()
    assert ExternalOutputs(folder, source).describe() == before
    path = folder / "102.bmp"
    size, times = path.stat().st_size, path.stat()
    trees.save(path, trees.noise_image(9))  # as large as before
    assert path.stat().st_size == size
    assert ExternalOutputs(folder, source).describe() != before
    trees.save(path, trees.noise_image(501))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ExternalOutputs(folder, source).describe() == before


def test_files_that_are_not_read_are_named(source, tmp_path):
    folder = outputs(tmp_path / "m", ["101.png", "102.png", "103.png"])
    (folder / "104.heic").write_bytes(b"?")
    with pytest.raises(
        FileNotFoundError, match=r"1 without an image: 104\.png; .* 1 \.heic not read"
    ):
        ExternalOutputs(folder, source)


def test_built_in_sets_work_too(tmp_path):
    source = BuiltinPhotos("test", size=32, count=2)
    for index in range(2):
        write_image(tmp_path / f"{source[index]['name']}.png", source[index]["target"])
    data = ExternalOutputs(tmp_path, source)
    assert torch.equal(data[1]["image"], data[1]["target"])


def test_outputs_of_resized_images_fit_the_resized_set(source, tmp_path):
    folder = outputs(tmp_path / "m", [f"{i}.png" for i in range(101, 105)], size=(12, 8))
    data = ExternalOutputs(folder, Resized(source, (8, 12)))
    assert data[0]["image"].shape == data[0]["target"].shape == (3, 8, 12)


def test_methods_are_found_by_data_set(tmp_path):
    outputs(tmp_path / "LLFlow/lol", ["1.png"])
    outputs(tmp_path / "KinD/dicm", ["1.png"])
    assert external_methods(tmp_path, "lol") == {"LLFlow": tmp_path / "LLFlow/lol"}
    assert external_methods(tmp_path / "none", "lol") == {}
