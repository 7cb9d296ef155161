"""Tiny made-up pictures and folders in official layouts, for the data-set tests."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed, size=(24, 16)):
    """A noise picture (H, W, 3) uint8; size is (W, H)."""
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
        save(folder / "low" / name, picture(start + 2 * i, size))
        save(folder / "high" / name, picture(start + 2 * i + 1, size))
    return folder


def lol(root, train=12, test=4):
    pairs(root / "our485", [f"{i}.png" for i in range(1, train + 1)])
    pairs(root / "eval15", [f"{i}.png" for i in range(101, 101 + test)], start=1000)
    return root


def coco(root, split="val", pictures=3):
    """COCO 2017 with two categories (ids 1 and 18), one crowd box, one picture without boxes."""
    images, annotations = [], []
    for i in range(pictures):
        name = f"{i:012d}.png"
        save(root / f"{split}2017" / name, picture(i, (40, 30)))
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


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
