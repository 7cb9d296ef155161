"""The WIDER FACE loader, on a tiny made-up tree and on real files."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from llie_core.data import open_dataset
from llie_core.data.wider_face import LEVELS, WiderFace, read_mat, read_subset

# event → image → faces (x, y, w, h, invalid); the dummy box of zeros marks "no face".
TREE = {
    "0--Parade": {
        "0_Parade_a": [(1, 2, 10, 12, 0), (20, 3, 8, 9, 1), (5, 5, 0, 4, 0)],
        "0_Parade_b": [(0, 0, 0, 0, 0)],
    },
    "61--Street": {"61_Street_c": [(3, 4, 20, 26, 0)]},
}
KEPT = {"easy": {"61_Street_c": [1]}, "medium": {"61_Street_c": [1], "0_Parade_a": [1]}}
KEPT["hard"] = {"61_Street_c": [1], "0_Parade_a": [1, 3]}


def cells(values):
    """A MATLAB column cell array."""
    column = np.empty((len(values), 1), dtype=object)
    column[:, 0] = values
    return column


def as_mat(kept=None):
    nested = [list(images.items()) for images in TREE.values()]

    def per_image(entry):
        return cells([cells([entry(stem, faces) for stem, faces in event]) for event in nested])

    content = {
        "event_list": cells(list(TREE)),
        "file_list": per_image(lambda stem, faces: stem),
        "face_bbx_list": per_image(lambda stem, faces: np.array(faces, dtype=np.int32)[:, :4]),
        "invalid_label_list": per_image(
            lambda stem, faces: np.array(faces, dtype=np.uint8)[:, 4:].reshape(-1, 1)
        ),
    }
    if kept is not None:
        content["gt_list"] = per_image(
            lambda stem, faces: np.array(kept.get(stem, []), dtype=np.uint8).reshape(-1, 1)
        )
    return content


def as_txt(dummy_line=True):
    lines = []
    for event, images in TREE.items():
        for stem, faces in images.items():
            empty = faces == [(0, 0, 0, 0, 0)]
            lines += [f"{event}/{stem}.jpg", "0" if empty else str(len(faces))]
            if not empty or dummy_line:
                lines += [f"{x} {y} {w} {h} 0 1 0 {bad} 2 0 " for x, y, w, h, bad in faces]
    return "\n".join(lines) + "\n"


@pytest.fixture
def root(tmp_path):
    from scipy.io import savemat

    for split in ("val", "train"):
        for event, images in TREE.items():
            folder = tmp_path / f"WIDER_{split}" / "images" / event
            folder.mkdir(parents=True)
            for stem in images:
                Image.new("RGB", (40, 30), (200, 100, 50)).save(folder / f"{stem}.jpg", quality=95)
    (tmp_path / "wider_face_split").mkdir()
    (tmp_path / "eval_tools" / "ground_truth").mkdir(parents=True)
    savemat(tmp_path / "wider_face_split" / "wider_face_val.mat", as_mat())
    (tmp_path / "wider_face_split" / "wider_face_train_bbx_gt.txt").write_text(as_txt())
    for level in LEVELS:
        savemat(tmp_path / f"eval_tools/ground_truth/wider_{level}_val.mat", as_mat(KEPT[level]))
    return tmp_path


def test_item(root):
    data = WiderFace(root)
    item = data[0]
    assert len(data) == 3
    assert item["name"] == "0--Parade/0_Parade_a.jpg"
    assert item["image"].shape == (3, 30, 40) and item["image"].dtype == torch.float32
    wanted = torch.tensor([200, 100, 50]) / 255
    torch.testing.assert_close(item["image"].mean((1, 2)), wanted, atol=0.02, rtol=0)
    assert item["boxes"].tolist() == [[1, 2, 11, 14], [20, 3, 28, 12], [5, 5, 5, 9]]
    assert item["boxes"].dtype == torch.float32
    assert item["ignore"].tolist() == [False, True, True]
    assert {k: v.tolist() for k, v in item["keep"].items()} == {
        "easy": [False, False, False],
        "medium": [True, False, False],
        "hard": [True, False, True],
    }


def test_image_without_faces_carries_the_official_box_of_zeros(root):
    target = WiderFace(root).extras(1)
    assert target["boxes"].tolist() == [[0, 0, 0, 0]] and target["ignore"].tolist() == [True]
    assert not any(mask.any() for mask in target["keep"].values())


@pytest.mark.parametrize("dummy_line", [True, False])
def test_text_and_mat_agree(root, dummy_line):
    (root / "wider_face_split/wider_face_val_bbx_gt.txt").write_text(as_txt(dummy_line))
    mat, text = (WiderFace(root, annotations=kind).faces for kind in ("mat", "txt"))
    for a, b in zip(mat, text, strict=True):
        assert a.name == b.name and np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.invalid, b.invalid)


def test_train_has_no_evaluation_subsets(root):
    data = WiderFace(root, split="train")
    assert len(data) == 3 and data[2]["keep"] == {}


def test_subsets_that_are_not_there_are_left_out(root):
    (root / "eval_tools/ground_truth/wider_easy_val.mat").unlink()
    assert set(WiderFace(root)[0]["keep"]) == {"medium", "hard"}


def test_works_in_a_loader_with_a_worker(root):
    loader = DataLoader(WiderFace(root), batch_size=3, num_workers=1, collate_fn=list)
    assert [item["name"][-5] for item in next(iter(loader))] == ["a", "b", "c"]


def test_halves_of_the_validation_part_share_no_event(root):
    def events(half, split):
        data = WiderFace(root, split=split, half=half)
        assert {item["keep"].keys() == set(LEVELS) for item in data} == {True}
        return {face.name.split("/")[0] for face in data.faces}

    names = sorted(TREE)
    assert events("a", "val") == events("b", "train") == set(names[::2])
    assert events("a", "train") == events("b", "val") == set(names[1::2])
    assert len(open_dataset("wider-val-a", "val", root)) == len(WiderFace(root, half="a"))
    assert WiderFace(root, half="a").describe() != WiderFace(root, half="b").describe()
    with pytest.raises(ValueError, match="half"):
        WiderFace(root, half="c")


def test_missing_images(root):
    (root / "WIDER_val/images/0--Parade/0_Parade_b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images .* 0--Parade/0_Parade_b\.jpg"):
        WiderFace(root)
    data = WiderFace(root, missing="skip")
    assert [a.name[-5] for a in data.faces] == ["a", "c"]
    assert data[1]["keep"]["easy"].tolist() == [True]
    for path in root.glob("WIDER_val/images/*/*.jpg"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="3 of 3 images"):
        WiderFace(root, missing="skip")


def test_absent_data_says_what_where_and_how(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder WIDER_val in"):
        WiderFace(tmp_path)
    (tmp_path / "WIDER_val").mkdir()
    with pytest.raises(FileNotFoundError, match=r"wider_face_val\.mat or .*project page") as error:
        WiderFace(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["split", "annotations", "missing"])
def test_unknown_option(tmp_path, option):
    with pytest.raises(ValueError, match=f"{option}='test' is not one of"):
        WiderFace(tmp_path, **{option: "test"})


@pytest.mark.parametrize(
    "text",
    [
        "0--Parade/a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n",
        "0--Parade/a.jpg\n1\n1 2 3\n",
        "0--Parade/a.jpg\nfive\n",
        "0--Parade/a.jpg\n",
        "1 2 3 4 0 0 0 0 0 0\n1\n1 2 3 4 0 0 0 0 0 0\n",
    ],
)
def test_damaged_text_is_named_with_its_line(root, text):
    (root / "wider_face_split/wider_face_val_bbx_gt.txt").write_text(text)
    with pytest.raises(ValueError, match=r"wider_face_val_bbx_gt\.txt: no valid entry at line 1"):
        WiderFace(root, annotations="txt")


def test_damaged_mat_and_foreign_subset_are_named(root):
    from scipy.io import savemat

    path = root / "eval_tools/ground_truth/wider_hard_val.mat"
    content = as_mat(KEPT["hard"])
    content["face_bbx_list"][1, 0][0, 0] = np.array([[3, 4, 20, 27]], dtype=np.int32)
    savemat(path, content)
    with pytest.raises(ValueError, match=r"wider_hard_val\.mat: its faces of 61--Street"):
        WiderFace(root)
    savemat(path, as_mat({"61_Street_c": [2]}))
    with pytest.raises(ValueError, match=r"wider_hard_val\.mat: lists more faces of 61--Street"):
        WiderFace(root)
    (root / "wider_face_split/wider_face_val.mat").write_bytes(b"not a mat file at all" * 20)
    with pytest.raises(ValueError, match=r"wider_face_val\.mat is not a WIDER FACE file"):
        WiderFace(root)


def test_real_sample(shared_data):
    root = shared_data / "WIDER_FACE"
    data = WiderFace(root, missing="skip")
    assert len(data) == 96 and sum(len(a.boxes) for a in data.faces) == 1178
    text = {a.name: a for a in WiderFace(root, annotations="txt").faces}
    assert len(text) == 96
    for index, annotation in enumerate(data.faces):
        assert np.array_equal(annotation.boxes, text[annotation.name].boxes)
        assert np.array_equal(annotation.invalid, text[annotation.name].invalid)
        easy, medium, hard = data.extras(index)["keep"].values()
        assert not (easy & ~medium).any() and not (medium & ~hard).any()
    item = data[0]
    height, width = item["image"].shape[1:]
    assert width == 1024 and (item["boxes"].amax(0) <= torch.tensor([width, height] * 2)).all()


def test_official_totals_of_the_whole_validation_split(shared_data):
    """3,226 images, 39,708 boxes (4 of them the zeros of face-free images), official subsets."""
    root = shared_data / "WIDER_FACE"
    annotations = list(read_mat(root / "wider_face_split/wider_face_val.mat"))
    assert len(annotations) == 3226 and sum(len(a.boxes) for a in annotations) == 39708
    kept = {
        level: read_subset(root / f"eval_tools/ground_truth/wider_{level}_val.mat", annotations)
        for level in LEVELS
    }
    totals = {level: sum(int(m.sum()) for m in masks.values()) for level, masks in kept.items()}
    assert totals == {"easy": 7211, "medium": 13319, "hard": 31958}
