"""Crops, flips, quarter turns and sizes for items with targets, masks and boxes.

Every function takes an item and returns a new one; what is random is drawn from the generator
handed in. wrappers.py applies them to whole data sets.

An item's parts: image, target (3, H, W); mask (H, W) long, padded by 255, or (1, H, W) float;
boxes (N, 4) xyxy with labels, ignore and keep beside them; context (3, h, w), a small copy of the
whole image.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

IMAGE_KEYS = ("image", "target", "mask")
WHOLE_KEYS = ("context",)  # of the whole image: flipped with it, but not cropped


def resize(item: dict, size: tuple[int, int], antialias: bool = True) -> dict:
    """To (H, W): images bilinear, masks by the nearest pixel, boxes scaled."""
    _, height, width = item["image"].shape
    resized = {key: _resized(item[key], size, antialias) for key in IMAGE_KEYS if key in item}
    if "boxes" in item:
        scale = item["boxes"].new_tensor([size[1] / width, size[0] / height])
        resized["boxes"] = item["boxes"] * scale.repeat(2)
    return item | resized


def _resized(image: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    if image.ndim == 2:  # class ids
        return _nearest(image[None].float(), size)[0].to(image.dtype)
    if image.shape[0] == 1:  # a saliency mask stays one of 0 and 1
        return _nearest(image, size)
    options = {"mode": "bilinear", "align_corners": False, "antialias": antialias}
    return F.interpolate(image[None], size, **options)[0].clamp(0, 1)


def _nearest(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image[None], size, mode="nearest-exact")[0]


def pad(item: dict, size: tuple[int, int]) -> dict:
    """To at least (H, W), at the right and below: images repeat their edge, class ids get 255."""
    _, height, width = item["image"].shape
    margins = (0, max(0, size[1] - width), 0, max(0, size[0] - height))
    if not any(margins):
        return item
    return item | {key: _padded(item[key], margins) for key in IMAGE_KEYS if key in item}


def _padded(image: Tensor, margins: tuple[int, ...]) -> Tensor:
    if image.ndim == 2:
        return F.pad(image, margins, value=255)
    return F.pad(image[None], margins, mode="replicate")[0]


def crop(item: dict, x: int, y: int, size: tuple[int, int]) -> dict:
    """The (H, W) part with its corner at x, y. Boxes are cut; those left with less than half of
    their area are marked `ignore`, those with nothing are dropped."""
    height, width = size
    cut = {key: item[key][..., y : y + height, x : x + width] for key in IMAGE_KEYS if key in item}
    return item | cut | _cropped_boxes(item, x, y, size)


def _cropped_boxes(item: dict, x: int, y: int, size: tuple[int, int]) -> dict:
    if "boxes" not in item:
        return {}
    moved = item["boxes"] - item["boxes"].new_tensor([x, y, x, y])
    limits = moved.new_tensor([size[1], size[0], size[1], size[0]])
    inside = torch.minimum(moved.clamp(min=0), limits)
    share = _area(inside) / _area(moved).clamp(min=1e-6)
    seen = share > 0
    ignore = item.get("ignore", torch.zeros(len(moved), dtype=torch.bool))
    kept = {"boxes": inside[seen], "ignore": (ignore | (share < 0.5))[seen]}
    if "labels" in item:
        kept["labels"] = item["labels"][seen]
    if "keep" in item:
        kept["keep"] = {level: mask[seen] for level, mask in item["keep"].items()}
    return kept


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


def random_crop(item: dict, size: tuple[int, int], rng: np.random.Generator) -> dict:
    """An (H, W) part of uniform place, padded first where the image is smaller."""
    return random_part(pad(item, size), size, rng)


def random_part(item: dict, size: tuple[int, int], rng: np.random.Generator) -> dict:
    """An (H, W) part of uniform place; the image is at least as large."""
    _, height, width = item["image"].shape
    x, y = int(rng.integers(width - size[1] + 1)), int(rng.integers(height - size[0] + 1))
    return crop(item, x, y, size)


def flip(item: dict, kind: int) -> dict:
    """One of the eight symmetries of the square: 0 to 3 quarter turns to the left; from 4 on,
    mirrored left to right first. Odd kinds swap height and width."""
    mirrored, quarters = kind >= 4, kind % 4
    _, height, width = item["image"].shape
    flipped = {}
    for key in (*IMAGE_KEYS, *WHOLE_KEYS):
        if key in item:
            image = item[key].flip(-1) if mirrored else item[key]
            flipped[key] = image.rot90(quarters, (-2, -1)).contiguous()
    if "boxes" in item:
        flipped["boxes"] = _flipped_boxes(item["boxes"], mirrored, quarters, height, width)
    return item | flipped


def _flipped_boxes(boxes: Tensor, mirrored: bool, quarters: int, height: int, width: int) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(1)
    if mirrored:
        x1, x2 = width - x2, width - x1
    for _ in range(quarters):
        x1, y1, x2, y2 = y1, width - x2, y2, width - x1
        height, width = width, height
    return torch.stack([x1, y1, x2, y2], 1)
