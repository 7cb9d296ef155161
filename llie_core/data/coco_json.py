"""COCO's JSON: the annotation file, its images, its boxes."""

import json
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from llie_core.data.folders import absent
from llie_core.data.images import frame_holding
from llie_core.data.registry import find_folder


def read_coco(name: str, path: Path) -> tuple[dict[int, dict], dict[int, list[dict]], list[dict]]:
    """Image id → image, image id → its annotations, and the categories, of one file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        annotations = defaultdict(list)
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        return images, annotations, content["categories"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{name}: {path} is not COCO's JSON ({error!r})") from error


def coco_files(name: str, root: Path, split: str, kind: str) -> tuple[Path, Path]:
    """The annotation file `kind`_SPLIT2017.json and the folder of its images."""
    wanted = f"{kind}_{split}2017.json"
    folder = find_folder(root, "annotations", "annotations_trainval2017/annotations") or root
    images = find_folder(root, f"{split}2017", f"images/{split}2017")
    if not (folder / wanted).is_file() or images is None:
        raise absent(name, f"no annotations/{wanted} and {split}2017 in {root}")
    return folder / wanted, images


def present(name: str, images: dict[int, dict], folder: Path, missing: str) -> list[int]:
    """Ids of the images whose files are there, in ascending order.

    Raises FileNotFoundError where some are not, unless missing="skip", or where none is.
    """
    here = [i for i in sorted(images) if (folder / images[i]["file_name"]).is_file()]
    if here and (missing == "skip" or len(here) == len(images)):
        return here
    first = next(p["file_name"] for i, p in sorted(images.items()) if i not in set(here))
    raise FileNotFoundError(
        f"{name}: {len(images) - len(here)} of {len(images)} images of the annotation file "
        f'are not in {folder} (first: {first}); pass missing="skip" to use those that are present'
    )


def frame_of(record: dict, path: Path, boxes: list[list[float]]) -> tuple[int, int] | None:
    """(W, H) that an image's record names; without one, of the frame that its boxes lie in."""
    if record.get("width") and record.get("height"):
        return int(record["width"]), int(record["height"])
    return frame_holding(path, xyxy(boxes))


def xyxy(boxes: list[list[float]]) -> Tensor:
    """Boxes x, y, w, h (N, 4) → x1, y1, x2, y2 in pixels, float32."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], 1)
