"""COCO, ExDark, DARK FACE, WIDER FACE and poses: boxes, labels, joints, crops."""

import json

import dataset_trees as trees
import pytest
import torch

from llie_core.data import collate, face_targets, open_dataset
from llie_core.data.detection import EXDARK_CLASSES, EXDARK_IN_COCO
from llie_core.data.pose import ScaledPersons, crop_region, crop_resized, to_crop, to_image
from llie_core.metrics.pose import KeypointAP


def test_coco_boxes_labels_and_crowds(tmp_path):
    data = open_dataset("coco", "val", trees.coco(tmp_path))
    assert data.classes == ("person", "dog") and len(data) == 3
    item = data[0]
    assert item["boxes"].tolist() == [[2, 3, 12, 15], [0, 0, 30, 20]]
    assert item["labels"].tolist() == [1, 0] and item["ignore"].tolist() == [False, True]
    assert data[1]["boxes"].tolist() == [[5.5, 6.0, 12.5, 14.25]]
    assert data[2]["boxes"].shape == (0, 4) and data[2]["labels"].shape == (0,)


def test_coco_images_that_are_not_there_are_named(tmp_path):
    trees.coco(tmp_path)
    (tmp_path / "val2017" / "000000000001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images .*first: 000000000001\.png"):
        open_dataset("coco", "val", tmp_path)
    assert len(open_dataset("coco", "val", tmp_path, missing="skip")) == 2
    path = tmp_path / "annotations/instances_val2017.json"
    path.write_text(path.read_text().replace('"id": 18', '"id": 19'))
    with pytest.raises(ValueError, match="has no category 18"):
        open_dataset("coco", "val", tmp_path, missing="skip")
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"instances_val2017\.json is not COCO's JSON"):
        open_dataset("coco", "val", tmp_path)


def test_real_coco_matches_its_file(shared_data):
    data = open_dataset("coco", "val", shared_data)
    content = json.loads((shared_data / "COCO/annotations/instances_val2017.json").read_text())
    assert len(data) == 79 and len(data.classes) == 80
    assert (data.classes[0], data.classes[16], data.classes[79]) == ("person", "dog", "toothbrush")
    boxes = sum(len(data.extras(i)["boxes"]) for i in range(len(data)))
    assert boxes == len(content["annotations"]) == 624
    item = data[0]
    height, width = item["image"].shape[1:]
    limits = torch.tensor([width, height, width, height])
    assert (item["boxes"] >= 0).all() and (item["boxes"] <= limits + 0.5).all()


def test_exdark_classes_stand_for_cocos(shared_data):
    coco = open_dataset("coco", "val", shared_data).classes
    meant = {"Motorbike": "motorcycle", "People": "person", "Table": "dining table"}
    names = [meant.get(name, name.lower()) for name in EXDARK_CLASSES]
    assert [coco[place] for place in EXDARK_IN_COCO] == names


def test_exdark_in_its_official_form(tmp_path):
    data = open_dataset("exdark", "all", trees.exdark(tmp_path))
    assert data.names == ["Bus/2015_00003_Bus.png", "Car/2015_00003_Car.png"]
    item = data[0]
    assert item["boxes"].tolist() == [[2, 3, 12, 15], [1, 1, 5, 6]]
    assert item["labels"].tolist() == [3, 10] and not item["ignore"].any()
    assert open_dataset("exdark", "train", tmp_path).names == ["Bus/2015_00003_Bus.png"]
    assert open_dataset("exdark", "test", tmp_path).names == ["Car/2015_00003_Car.png"]
    coco = open_dataset("exdark", "all", tmp_path, label_space="coco")
    assert coco[0]["labels"].tolist() == [5, 0]


def test_exdark_says_what_is_wrong(tmp_path):
    trees.exdark(tmp_path)
    path = tmp_path / "ExDark_Annno/Bus/2015_00003_Bus.png.txt"
    path.write_text("% bbGt version=3\nTram 1 2 3 4\n")
    with pytest.raises(ValueError, match="names 'Tram', not one of Bicycle"):
        open_dataset("exdark", "all", tmp_path)[0]
    path.write_text("% bbGt version=3\nBus 1 2\n")
    with pytest.raises(ValueError, match="is not bbGt text"):
        open_dataset("exdark", "all", tmp_path)[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no partner in its annotations: 2015_00003_bus"):
        open_dataset("exdark", "all", tmp_path)
    assert len(open_dataset("exdark", "all", tmp_path, missing="skip")) == 1
    (tmp_path / "imageclasslist.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"the split 'val' needs imageclasslist\.txt"):
        open_dataset("exdark", "val", tmp_path)


def test_real_exdark_in_voc_form(shared_data):
    data = open_dataset("exdark", "all", shared_data)
    assert len(data) == 5
    item = data[data.names.index("Bus/2015_02057.jpg")]
    assert item["boxes"].tolist() == [[209, 152, 521, 280], [521, 211, 545, 269]]
    assert [data.classes[label] for label in item["labels"]] == ["Bus", "People"]


def test_dark_face(tmp_path):
    for i in range(4):
        trees.save(tmp_path / "image" / f"{i}.png", trees.noise_image(i))
        (tmp_path / "label").mkdir(exist_ok=True)
        (tmp_path / "label" / f"{i}.txt").write_text("2\n1 2 5 8\n3 3 3 9\n")
    train, val = (open_dataset("dark-face", s, tmp_path, val=1, test=0) for s in ("train", "val"))
    assert (len(train), len(val), train.found) == (3, 1, 4)
    item = train[0]
    assert item["boxes"].tolist() == [[1, 2, 5, 8], [3, 3, 3, 9]]
    assert item["ignore"].tolist() == [False, True]
    (tmp_path / "label" / train.names[0].replace("png", "txt")).write_text("3\n1 2 5 8\n")
    with pytest.raises(ValueError, match="3 faces announced, 1 found"):
        train[0]


def test_real_wider_face_is_described(shared_data):
    data = open_dataset("wider-face", "val", shared_data, missing="skip")
    known = data.describe()
    assert known["count"] == len(data) == 96 and known["faces"] == 1178
    assert known["subsets"] == ["easy", "hard", "medium"]
    assert data.path(0).is_file() and data.names[0] == data[0]["name"]
    batch = {key: [data[0][key]] for key in ("boxes", "ignore")}
    assert len(face_targets(batch)[0]["boxes"]) == len(data[0]["boxes"])
    with pytest.raises(FileNotFoundError, match="no folder WIDER_train"):
        open_dataset("wider-face", "train", shared_data)


def test_a_crop_keeps_the_inputs_shape_about_the_box():
    size = (256, 192)
    tall, wide = (torch.tensor(box) for box in ([100.0, 50, 150, 250], [0.0, 0, 300, 60]))
    region = crop_region(tall, size)
    assert region.tolist() == [27, 20, 222, 280]  # 200 · 1.3 high, 195 = 260 · 3 / 4 wide: floored
    x1, y1, x2, y2 = crop_region(wide, size)
    assert (x2 - x1, y2 - y1) == (360, 480)  # 300 · 1.2 wide, 4 : 3


def test_crops_sample_the_image_where_their_region_says():
    height, width = 300, 400
    ramp = torch.stack(
        [
            torch.arange(width).repeat(height, 1) / width,
            torch.arange(height)[:, None].repeat(1, width) / height,
            torch.ones(height, width),
        ]
    )
    region = torch.tensor([-96.0, 10, 96, 266])
    crop = crop_resized(ramp, region, (128, 96))  # 2 : 1
    x = -96 + 2 * (torch.arange(96) + 0.5) - 0.5
    inside = x > 1
    assert torch.allclose(crop[0, 64][inside], x[inside] / width, atol=1e-6)
    y = 10 + 2 * (torch.arange(128) + 0.5) - 0.5
    assert torch.allclose(crop[1, :, -1], y / height, atol=1e-6)
    assert (crop[2, :, :48] == 0).all() and (crop[2, :, 48:] == 1).all()
    outside = crop_resized(ramp, torch.tensor([500.0, 0, 692, 256]), (128, 96))
    assert outside.shape == (3, 128, 96) and not outside.any()


def test_joints_go_into_the_crop_and_back():
    joints = torch.rand(5, 14, 3) * 300
    regions = torch.tensor([[10.0, 20, 106, 148]]).repeat(5, 1) + torch.arange(5)[:, None]
    there = to_crop(joints, regions, (256, 192))
    assert torch.allclose(there[..., 0], (joints[..., 0] - regions[:, :1]) * 2)
    assert torch.allclose(to_image(there, regions, (256, 192)), joints, atol=1e-3)
    assert torch.equal(there[..., 2], joints[..., 2])


def test_real_exlpose_persons_give_a_perfect_ap(shared_data):
    data = open_dataset("exlpose", "test", shared_data)
    assert len(data) == 6
    batch = collate([data[i] for i in range(6)])
    assert batch["image"].shape == (6, 3, 256, 192) and batch["joints"].shape == (6, 14, 3)
    assert (batch["image"].amax((1, 2, 3)) < 0.3).all()
    joints = to_image(batch["joints"], batch["region"], (256, 192))
    first = json.loads((shared_data / "pose_samples/exlpose/test_exlpose.json").read_text())
    known = torch.tensor(first["annotations"][0]["keypoints"]).view(14, 3)
    assert torch.allclose(joints[0], known, atol=1e-2)
    score = KeypointAP("exlpose")
    ids, boxes = batch["image_id"], torch.stack(batch["boxes"])
    score.update(
        {"image_ids": ids, "joints": joints, "scores": torch.ones(6)},
        {"image_ids": ids, "joints": joints, "boxes": boxes},
    )
    assert score.compute()["ap"] == pytest.approx(1)


def test_exlpose_in_its_official_layout(tmp_path):
    trees.exlpose(tmp_path)
    low = open_dataset("exlpose", "test", tmp_path, paired=True)
    assert len(low) == 2, "persons without keypoints are left out"
    item = low[0]
    assert "_dark_" in item["name"] and item["image"].mean() < 0.1 * item["target"].mean()
    assert [low[i]["subset"] for i in range(2)] == ["LL-N", ""]
    assert item["mean"].shape == (3,) and item["joints"][0, 2] == 2
    bright = open_dataset("exlpose", "train", tmp_path, light="well")
    assert "_bright_" in bright[0]["name"] and torch.equal(bright[0]["image"], item["target"])
    assert len(open_dataset("exlpose", "test", tmp_path, subset="LL-N")) == 1
    with pytest.raises(FileNotFoundError, match=r"no ExLPose_test_LL-H\.json"):
        open_dataset("exlpose", "test", tmp_path, subset="LL-H")


def test_exlpose_names_scenes_without_an_image(tmp_path):
    trees.exlpose(tmp_path)
    next((tmp_path / "ExLPose/dark").glob("*exposure_417.png")).unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 scenes have no dark image"):
        open_dataset("exlpose", "test", tmp_path)
    assert len(open_dataset("exlpose", "test", tmp_path, missing="skip")) == 1
    assert len(open_dataset("exlpose", "test", tmp_path, light="well")) == 2


def test_real_coco_keypoints(shared_data):
    data = open_dataset("coco-keypoints", "val", shared_data)
    item = data[0]
    assert item["image"].shape == (3, 256, 192) and item["joints"].shape == (17, 3)
    seen = item["joints"][item["joints"][:, 2] == 2]
    assert (seen[:, 0] > 0).all() and (seen[:, 0] < 192).all() and (seen[:, 1] < 256).all()


def test_training_crops_of_random_size(tmp_path):
    persons = open_dataset("exlpose", "train", trees.exlpose(tmp_path / "ExLPose"))
    data = ScaledPersons(persons, (0.7, 1.35))
    whole, draws = persons[0], [data.sample(0, draw) for draw in range(40)]
    extent = whole["region"][2] - whole["region"][0]
    factors = [(item["region"][2] - item["region"][0]) / extent for item in draws]
    # Regions are whole pixels.
    assert 0.65 < min(factors) < 0.8 and 1.2 < max(factors) <= 1.25 + 1 / extent
    assert torch.equal(data.sample(0, 3)["image"], draws[3]["image"])
    for item in draws[:3]:
        back = to_image(item["joints"], item["region"], persons.size)
        torch.testing.assert_close(back, to_image(whole["joints"], whole["region"], persons.size))
    assert data.describe()["ScaledPersons"]["scales"] == [0.7, 1.35]
