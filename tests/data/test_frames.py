"""Images that EXIF rotates, and their boxes, joints and masks: one frame for both."""

import dataset_trees as trees
import numpy as np
import pytest
import torch
from PIL import Image

from llie_core.data import open_dataset
from llie_core.data.doctor import doctor_text
from llie_core.data.external import ExternalOutputs
from llie_core.data.images import image_size

SIZE, BOX = (40, 24), (30, 2, 38, 8)  # W, H of the frame that is annotated, and a bright box in it
ANNOTATED = ("stored", "upright")  # what the annotation is for: the pixels as in the file, or shown


def bright_box():
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    return pixels


def save_rotated(path, annotated, pixels=None):
    """An image of EXIF orientation 6 whose stored or upright pixels show the box."""
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a quarter turn clockwise
    pixels = bright_box() if pixels is None else pixels
    stored = pixels if annotated == "stored" else np.rot90(pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored).convert("RGB").save(path, exif=exif, quality=95)


def coco_json(root, kind, image, sized=True, **more):
    x0, y0, x1, y1 = BOX
    box = [x0, y0, x1 - x0, y1 - y0]
    record = {"id": 1, "file_name": image}
    record |= {"width": SIZE[0], "height": SIZE[1]} if sized else {}
    annotation = {"id": 1, "image_id": 1, "bbox": box, "category_id": 1, "iscrowd": 0, **more}
    content = {"images": [record], "annotations": [annotation],
               "categories": [{"id": 1, "name": "person"}]}  # fmt: skip
    trees.write_json(root / "annotations" / f"{kind}_val2017.json", content)


def coco(root, annotated):
    save_rotated(root / "val2017/1.jpg", annotated)
    coco_json(root, "instances", "1.jpg")
    return "coco", "val"


def coco_without_sizes(root, annotated):
    save_rotated(root / "val2017/1.jpg", annotated)
    coco_json(root, "instances", "1.jpg", sized=False)
    return "coco", "val"


def exdark_voc(root, annotated):
    save_rotated(root / "Bus/1.jpg", annotated)
    box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), BOX,
                                                    strict=True))  # fmt: skip
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
    content = f"{size}<object><name>Bus</name><bndbox>{box}</bndbox></object>"
    (root / "Annotations").mkdir()
    (root / "Annotations/1.xml").write_text(f"<annotation>{content}</annotation>")
    return "exdark", "all"


def exdark_bbgt(root, annotated):
    save_rotated(root / "Bus/1.jpg", annotated)
    (root / "ExDark_Annno").mkdir()
    (root / "ExDark_Annno/1.jpg.txt").write_text("% bbGt version=3\nBus 30 2 8 6 0 0 0 0 0 0 0\n")
    return "exdark", "all"


def dark_face(root, annotated):
    for name in ("1", "2"):
        save_rotated(root / f"image/{name}.jpg", annotated)
        (root / "label").mkdir(exist_ok=True)
        (root / f"label/{name}.txt").write_text("1\n30 2 38 8\n")
    return "dark-face", "train"


def wider_face(root, annotated):
    save_rotated(root / "WIDER_val/images/0--Parade/1.jpg", annotated)
    (root / "wider_face_split").mkdir()
    listing = "0--Parade/1.jpg\n1\n30 2 8 6 0 0 0 0 0 0\n"
    (root / "wider_face_split/wider_face_val_bbx_gt.txt").write_text(listing)
    return "wider-face", "val"


@pytest.mark.parametrize("annotated", ANNOTATED)
@pytest.mark.parametrize(
    "layout", [coco, coco_without_sizes, exdark_voc, exdark_bbgt, dark_face, wider_face]
)
def test_boxes_lie_on_what_they_mark(tmp_path, layout, annotated):
    name, split = layout(tmp_path, annotated)
    options = {"val": 1, "test": 0} if name == "dark-face" else {}
    item = open_dataset(name, split, tmp_path, **options)[0]
    assert item["image"].shape == (3, 24, 40) and item["boxes"].tolist() == [list(BOX)]
    marked = torch.from_numpy(bright_box()) > 0
    assert item["image"][:, marked].min() > 0.8 and item["image"][:, ~marked].max() < 0.2


JOINTS = [34, 5, 2, 12, 16, 2]  # one in the bright box, one outside


def keypoints(root, annotated):
    save_rotated(root / "val2017/1.jpg", annotated)
    coco_json(root, "person_keypoints", "1.jpg", num_keypoints=2, keypoints=JOINTS + [0] * 45)
    return "coco-keypoints", "val", {}


def exlpose(root, annotated):
    name = "a_{}_1_exposure_9.png"
    for light in ("dark", "bright"):
        save_rotated(root / "ExLPose" / light / name.format(light), annotated)
    coco_json(root, "x", name.format("bright"), num_keypoints=2, keypoints=JOINTS + [0] * 36)
    (root / "annotations/x_val2017.json").rename(root / "ExLPose_test_LL-A.json")
    return "exlpose", "test", {"paired": True}


@pytest.mark.parametrize("annotated", ANNOTATED)
@pytest.mark.parametrize("layout", [keypoints, exlpose])
def test_joints_lie_on_what_they_mark(tmp_path, layout, annotated):
    name, split, options = layout(tmp_path, annotated)
    item = open_dataset(name, split, tmp_path, **options)[0]
    (x1, y1), (x2, y2) = item["joints"][:2, :2].round().int().tolist()
    for key in {"image", "target"} & set(item):
        assert item[key][:, y1, x1].min() > 0.8, key
        if 0 <= y2 < 256 and 0 <= x2 < 192:
            assert item[key][:, y2, x2].max() < 0.2, key


def cityscapes(root, mask):
    trees.save(root / "gtFine/val/x/a_gtFine_labelIds.png", np.where(mask, 26, 7))
    return root / "leftImg8bit/val/x/a_leftImg8bit.png", "cityscapes", "val", 13


def nightcity(root, mask):
    trees.save(root / "NightCity-label/label/val/a_labelIds.png", np.where(mask, 26, 7))
    return root / "NightCity-images/images/val/a.jpg", "nightcity", "val", 13


def nightcity_twice(root, mask):
    return nightcity(root, mask.repeat(2, 0).repeat(2, 1))


def camvid(root, mask):
    trees.save(root / "testannot/a.png", np.where(mask, 8, 0))
    return root / "test/a.png", "camvid", "test", 8


def ecssd(root, mask):
    trees.save(root / "ground_truth_mask/a.png", mask)
    return root / "images/a.jpg", "ecssd", "all", 1


@pytest.mark.parametrize("annotated", ANNOTATED)
@pytest.mark.parametrize("layout", [cityscapes, nightcity, nightcity_twice, camvid, ecssd])
def test_masks_lie_on_what_they_mark(tmp_path, layout, annotated):
    path, name, split, value = layout(tmp_path, bright_box())
    save_rotated(path, annotated)
    item = open_dataset(name, split, tmp_path)[0]
    marked = item["mask"].reshape(24, 40) == value
    assert torch.equal(marked, torch.from_numpy(bright_box()) > 0)
    assert item["image"][:, marked].min() > 0.8 and item["image"][:, ~marked].max() < 0.2


@pytest.mark.parametrize("annotated", ANNOTATED)
@pytest.mark.parametrize("rotated", ["low", "high"])
def test_both_images_of_a_pair_show_one_frame(tmp_path, rotated, annotated):
    other = {"low": "high", "high": "low"}[rotated]
    save_rotated(tmp_path / rotated / "1.jpg", annotated)
    trees.save(tmp_path / other / "1.png", bright_box())
    item = open_dataset("test148", "test", tmp_path)[0]
    torch.testing.assert_close(item["image"], item["target"], atol=0.1, rtol=0)


def test_an_external_image_is_read_in_its_items_frame(tmp_path):
    coco(tmp_path / "COCO", "stored")
    save_rotated(tmp_path / "method/1.jpg", "stored")
    item = ExternalOutputs(tmp_path / "method", open_dataset("coco", "val", tmp_path))[0]
    assert torch.equal(item["image"], item["input"]) and item["image"].shape == (3, 24, 40)


def test_an_image_of_another_size_than_annotated_is_named(tmp_path):
    coco(tmp_path, "stored")
    trees.save(tmp_path / "val2017/1.jpg", trees.noise_image(0, (20, 12)))
    message = r"val2017/1\.jpg is 20×12, its annotation is for 40×24; use the image that was"
    with pytest.raises(ValueError, match=message):
        open_dataset("coco", "val", tmp_path)[0]
    for quick in (False, True):
        text, code = doctor_text("coco", tmp_path, quick=quick)
        assert code == 1 and "its annotation is for 40×24" in text, quick


@pytest.mark.parametrize("quick", [False, True])
def test_the_doctor_names_rotated_images_with_annotations(tmp_path, quick):
    coco(tmp_path, "stored")
    assert image_size(tmp_path / "val2017/1.jpg") == ((24, 40), 6)
    text, _ = doctor_text("coco", tmp_path, quick=quick)
    assert "note val: EXIF orientation in 1 of 1 images (1.jpg): read upright, or as stored" in text
