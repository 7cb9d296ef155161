"""The doctor: what is there, what is wrong with it, what leaks."""

import re

import dataset_trees as trees
import numpy as np
import pytest

from llie_core.data import dataset_spec, open_dataset
from llie_core.data.doctor import doctor_text


def line(text, start):
    """The one line of the report that begins so."""
    found = [row for row in text.splitlines() if row.strip().startswith(start)]
    assert len(found) == 1, (start, text)
    return found[0]


@pytest.fixture
def official(monkeypatch):
    """Sets the official number of items of a set's splits."""

    def set_counts(name, **counts):
        for split, count in counts.items():
            monkeypatch.setitem(dataset_spec(name).expected, split, count)

    return set_counts


@pytest.fixture
def small_lol(official):
    official("lol", train=30, test=4)


def test_a_whole_set_is_counted(tmp_path, small_lol):
    trees.lol(tmp_path / "LOL", train=30)
    text, code = doctor_text("lol", tmp_path)
    assert code == 0 and "PROBLEM" not in text
    assert re.search(r"15 items \(30 found of 30\); file list \w{16}; W×H 24×16 \(15\)", text)
    assert line(text, "test").startswith("  test   4 items (4 found of 4)")
    assert "research; the page states no licence" in text


@pytest.mark.parametrize(("train", "test"), [(20, 15), (485, 16)])
def test_another_number_than_the_official_one_is_a_problem(tmp_path, official, train, test):
    official("lol", train=24, test=15)
    trees.lol(tmp_path, train=20 if train == 20 else 24, test=test)
    text, code = doctor_text("lol", tmp_path, quick=True)
    wrong = "train: 20 found, 24 expected" if train == 20 else "test: 16 found, 15 expected"
    assert code == 1 and line(text, "PROBLEM") == f"  PROBLEM {wrong}"


def test_missing_partners_and_damaged_files_are_problems(tmp_path, small_lol):
    trees.lol(tmp_path, train=30)
    (tmp_path / "our485/high/3.png").unlink()
    damaged = tmp_path / "eval15/low/102.png"
    damaged.write_bytes(damaged.read_bytes()[:400])
    text, code = doctor_text("lol", tmp_path)
    assert code == 1
    assert "PROBLEM train: lol: 1 of 30 files in" in text and ": 3;" in text
    assert "PROBLEM test: cannot read image" in text and "102.png" in text
    assert text.count("PROBLEM") == 2, "what neither train nor val has is named once"
    assert "29 found" in text, "what is whole is counted all the same"
    quick, _ = doctor_text("lol", tmp_path, quick=True)
    assert "102.png" not in quick and "headers only" in quick


def test_quick_sees_files_that_are_no_images(tmp_path, official):
    official("vv", test=2)
    trees.save(tmp_path / "VV/1.png", trees.noise_image(0))
    (tmp_path / "VV/2.png").write_bytes(b"nothing")
    text, code = doctor_text("vv", tmp_path, quick=True)
    assert code == 1 and "2.png" in line(text, "PROBLEM")


def test_images_in_two_splits_are_a_leak(tmp_path, small_lol):
    trees.lol(tmp_path, train=30)
    trees.save(tmp_path / "eval15/low/101.png", trees.noise_image(8))  # train's 5.png
    text, code = doctor_text("lol", tmp_path)
    leak = line(text, "PROBLEM")
    assert code == 1 and re.search(r"(train|val) and test share 1 images: 5.png = 101.png", leak)


def test_lol_v2s_test_images_in_lols_train_are_noted(tmp_path, small_lol):
    trees.lol(tmp_path / "LOL", train=30)
    v2 = tmp_path / "LOL-v2/Real_captured/Test"
    trees.save(v2 / "Normal/normal00690.png", trees.noise_image(1000))  # eval15, no leak
    assert "share no image" in doctor_text(None, tmp_path)[0]
    trees.save(v2 / "Low/low00690.png", trees.noise_image(4))
    trees.save(v2 / "Normal/normal00691.png", trees.noise_image(5))
    text, code = doctor_text("lol", tmp_path)
    note = line(text, "note leak: train and lol-v2-real's test share")
    assert code == 0 and "3.png = " in note


def test_lols_test_images_in_lol_v2s_train_are_all_named(tmp_path, official):
    official("lol-v2-real", train=8, test=1)
    v2 = tmp_path / "LOL-v2/Real_captured"
    for i in range(8):
        for k, side in enumerate(("low", "normal")):
            folder = v2 / "Train" / side.capitalize()
            trees.save(folder / f"{side}{i:05d}.png", trees.noise_image(1000 + 2 * i + k))
    for side in ("low", "normal"):
        trees.save(v2 / f"Test/{side.capitalize()}/{side}00690.png", trees.noise_image(5))
    trees.lol(tmp_path / "LOL", train=2, test=6)  # its eval15: noise 1000 to 1011
    text, code = doctor_text("lol-v2-real", tmp_path)
    note = line(text, "note leak: train and lol's test share 12 images")
    assert code == 0 and "low00000.png = low/101.png" in note and "low00005.png = low/106" in note


def test_known_overlaps_between_sets_are_noted(tmp_path, official):
    official("brightening-train", train=2)
    official("lol1000", test=1)
    trees.pairs(tmp_path / "Brightening_Train", ["a.png", "b.png"])
    trees.pairs(tmp_path / "LOL1000", ["c.png"])
    text, code = doctor_text(None, tmp_path)
    assert code == 0
    assert "a.png = c.png" in line(text, "note leak: train and lol1000's test share")


def test_nightcitys_stray_image_is_noted(tmp_path, official):
    official("nightcity", val=1)
    for name in ("Chicago_0004", "Dubai_0016"):
        trees.save(tmp_path / f"NightCity-images/images/val/{name}.png", trees.noise_image(1))
        label = tmp_path / f"NightCity-label/label/val/{name}_labelIds.png"
        trees.save(label, np.full((16, 24), 7))
    text, code = doctor_text("nightcity", tmp_path)
    assert code == 0
    assert line(text, "note val: Dubai_0016 belongs to train and is left out")
    trees.save(label.with_name("Chicago_0004_labelIds.png"), np.full((16, 24), 99))
    text, code = doctor_text("nightcity", tmp_path)
    assert code == 1 and "holds 99" in line(text, "PROBLEM")


def test_absent_sets_are_listed_with_where_to_get_them(tmp_path, official):
    official("dicm", test=1)
    trees.save(tmp_path / "DICM/1.png", trees.noise_image(0))
    text, code = doctor_text(None, tmp_path)
    assert code == 0 and "1 sets found" in text
    assert "looked for MEF or no_reference/MEF; get it from: Ma et al." in line(text, "mef:")
    assert "not public" in line(text, "toys:")
    text, code = doctor_text("mef", tmp_path)
    assert code == 1 and "get it from" in text
    (tmp_path / "DICM/1.png").unlink()
    text, code = doctor_text(None, tmp_path)
    assert code == 1 and "no image" in line(text, "PROBLEM")


def test_the_size_mix_shows_common_and_extreme_sizes(tmp_path):
    for i, size in enumerate([(20, 10)] * 3 + [(30, 10)] * 2 + [(10, 10), (40, 30), (5, 4)]):
        trees.save(tmp_path / f"{i}.png", trees.noise_image(i, size))
    text, _ = doctor_text("dicm", tmp_path)
    assert "W×H 20×10 (3), 30×10 (2), 5×4 (1), … from 5×4 to 40×30" in text


def test_sets_without_files_and_wrong_input():
    assert doctor_text("builtin-photos", ".") == ("builtin-photos: needs no download\n", 0)
    text, code = doctor_text("toys", ".")
    assert code == 1 and "not public" in text
    with pytest.raises(FileNotFoundError, match="is no folder"):
        doctor_text(None, "no/such/folder")
    with pytest.raises(ValueError, match="no data set 'lool'"):
        doctor_text("lool", ".")


def test_the_first_folder_that_holds_any_of_a_set_is_told_of(tmp_path):
    wider = tmp_path / "WIDER_FACE"
    trees.save(wider / "WIDER_val/images/0--Parade/1.jpg", trees.noise_image(0))
    (wider / "wider_face_split").mkdir()
    text = "0--Parade/1.jpg\n1\n\n2 3 4 5 0 0 0 0 0 0\n"  # a blank line where a face should be
    (wider / "wider_face_split/wider_face_val_bbx_gt.txt").write_text(text)
    text, code = doctor_text("wider-face", tmp_path)
    assert code == 1
    assert "wider_face_val_bbx_gt.txt: no valid entry at line 1" in line(text, "PROBLEM")
    assert line(text, "note not here").endswith(f"no folder WIDER_train in {wider}")


@pytest.mark.parametrize("name", ["camvid", None])
def test_a_set_within_a_folder_of_its_own_name_is_found(tmp_path, official, name):
    official("camvid", test=1)
    trees.save(tmp_path / "CamVid/CamVid/test/0001TP_1.png", trees.noise_image(0))
    trees.save(tmp_path / "CamVid/CamVid/testannot/0001TP_1.png", np.zeros((16, 24)))
    text, code = doctor_text(name, tmp_path)
    assert code == 0 and line(text, "test ").startswith("  test   1 items")
    assert len(open_dataset("camvid", "test", tmp_path)) == 1
    assert len(open_dataset("camvid", "test", tmp_path / "CamVid")) == 1


def test_files_that_are_not_read_are_counted_and_named(tmp_path, official):
    official("dicm", test=1)
    trees.save(tmp_path / "DICM/1.png", trees.noise_image(0))
    for name in ("2.HEIC", "3.heic", "sub/4.dng", "5.mp4", "readme.txt", ".6.gif"):
        (tmp_path / "DICM" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "DICM" / name).write_bytes(b"?")
    text, code = doctor_text("dicm", tmp_path)
    note = line(text, "note test:")
    assert (
        code == 0 and "1 .dng, 2 .heic, 1 .mp4 not read (2.HEIC, 3.heic, 5.mp4, sub/4.dng)" in note
    )


def test_the_sample_of_real_sets(shared_data):
    text, code = doctor_text(None, shared_data, quick=True)
    problems = [row for row in text.splitlines() if row.startswith("  PROBLEM")]
    assert code == 1 and len(problems) == 13, "most of the samples are parts of their sets"
    assert "  PROBLEM test: 119 found, 233 expected" in problems
    assert sum("3130 of 3226 images" in row for row in problems) == 1
    assert "  PROBLEM test: 22 found, 69 expected" in problems
    for found in ("lol", "dicm", "coco", "exlpose", "camvid", "ecssd", "exdark", "wider-face"):
        assert f"\n{found}: " in f"\n{text}"
    assert text.strip().splitlines()[-1].startswith("13 sets found")


def test_real_photographs_are_decoded(shared_data):
    text, _ = doctor_text(None, shared_data / "no_reference")
    assert "4 sets found" in text and "every image decoded" in text
    assert text.count("PROBLEM") == text.count(" expected") == 4
