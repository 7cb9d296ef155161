"""Tiny made-up images and folders in official layouts, for the data-set tests."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def noise_image(seed, size=(24, 16)):
    """A noise image (H, W, 3) uint8; size is (W, H)."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def save(path, pixels):
    """Write pixels (H, W) or (H, W, 3) uint8 to a path; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    return path


def pairs(folder, names, start=0, size=(24, 16)):
    """low/NAME and high/NAME, all different."""
    for i, name in enumerate(names):
        save(folder / "low" / name, noise_image(start + 2 * i, size))
        save(folder / "high" / name, noise_image(start + 2 * i + 1, size))
    return folder


def lol(root, train=12, test=4):
    pairs(root / "our485", [f"{i}.png" for i in range(1, train + 1)])
    pairs(root / "eval15", [f"{i}.png" for i in range(101, 101 + test)], start=1000)
    return root


def coco(root, split="val", count=3):
    """COCO 2017 with two categories (ids 1 and 18), one crowd box, one image without boxes."""
    images, annotations = [], []
    for i in range(count):
        name = f"{i:012d}.png"
        save(root / f"{split}2017" / name, noise_image(i, (40, 30)))
        images.append({"id": i, "file_name": name, "height": 30, "width": 40})
    rows = [(0, [2, 3, 10, 12], 18, 0), (0, [0, 0, 30, 20], 1, 1), (1, [5.5, 6, 7, 8.25], 1, 0)]
    for number, (image, box, category, crowd) in enumerate(rows):
        annotations.append(
            {"id": number, "image_id": image, "bbox": box, "category_id": category,
             "iscrowd": crowd}
        )  # fmt: skip
    categories = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(root / "annotations" / f"instances_{split}2017.json", content)
    return root


def exdark(root, size=(40, 30)):
    """Two images of two classes in ExDark's official layout, one for training, one for testing."""
    for name in ("Bus", "Car"):
        save(root / name / f"2015_0000{len(name)}_{name}.png", noise_image(1, size))
    text = "% bbGt version=3\nBus 2 3 10 12 0 0 0 0 0 0 0\nPeople 1 1 4 5 0 0 0 0 0 0 0\n"
    for name in ("Bus", "Car"):
        path = root / "ExDark_Annno" / name / f"2015_0000{len(name)}_{name}.png.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    header = "Name | Class | Light | In/Out | Train/Val/Test"
    rows = ["2015_00003_Bus.png 4 2 1 1", "2015_00003_Car.PNG 5 2 1 3"]
    (root / "imageclasslist.txt").write_text("\n".join([header, *rows]) + "\n")
    return root


def exlpose(root):
    """Two scenes, dark and well lit; the lists name the well-lit ones, as released ones do."""
    images, annotations = [], []
    for i, exposure in enumerate((417, 1250)):
        for light, gain in (("bright", "10.52"), ("dark", "3.40")):
            name = f"imgs_0212_x_vid1_exp{i}_{light}_000052__gain_{gain}_exposure_{exposure}.png"
            pixels = noise_image(i, (60, 50)) // (1 if light == "bright" else 20)
            save(root / "ExLPose" / light / name, pixels)
            if light == "bright":
                images.append({"id": i, "file_name": f"bright/{name}", "height": 50, "width": 60})
        for count in (14, 0):
            annotations.append(
                {"id": 2 * i + bool(count), "image_id": i, "bbox": [10, 5, 20, 30], "iscrowd": 0,
                 "num_keypoints": count, "keypoints": [15, 20, 2 if count else 0] * 14,
                 "category_id": 1}
            )  # fmt: skip
    content = {"images": images, "annotations": annotations, "categories": []}
    write_json(root / "Annotations/ExLPose_test_LL-A.json", content)
    write_json(root / "Annotations/ExLPose_train_LL.json", content)
    normal = content | {"images": images[:1], "annotations": annotations[:2]}
    write_json(root / "Annotations/ExLPose_test_LL-Normal.json", normal)
    return root


def street_pair(root, split, names, size=(64, 32)):
    """Cityscapes in normal light and NightCity at night, label ids of road, sky and a car."""
    label = np.full((size[1], size[0]), 7)
    label[: size[1] // 2], label[-8:, 10:30] = 23, 26
    for i, name in enumerate(names):
        day = root / "cityscapes"
        save(day / f"leftImg8bit/{split}/x/{name}_leftImg8bit.png", noise_image(i, size))
        save(day / f"gtFine/{split}/x/{name}_gtFine_labelIds.png", label)
        save(
            root / f"nightcity/NightCity-images/images/{split}/{name}.png",
            noise_image(i, size) // 9,
        )
        save(root / f"nightcity/NightCity-label/label/{split}/{name}_labelIds.png", label)
    return root


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
