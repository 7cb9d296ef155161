"""Targets as the task models take them (masks, objects), and detections as they give them."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

CANDIDATES = 4096  # boxes an image that enter the suppression, by score


@dataclass(frozen=True)
class Objects:
    """The objects of one image: boxes (N, 4) float32 xyxy and labels (N,) to be found, and the
    boxes (M, 4) of those to be neither found nor missed."""

    boxes: Tensor
    labels: Tensor
    ignored: Tensor


def checked_masks(masks: Tensor, images: Tensor) -> Tensor:
    """Masks as float (B, 1, H, W) on the device of `images` (B, 3, H, W).

    Raises:
        ValueError: another shape, or values outside [0, 1].
    """
    expected = (len(images), 1, *images.shape[2:])
    if tuple(masks.shape) != expected:
        raise ValueError(f"saliency masks must be {expected}, got {tuple(masks.shape)}")
    masks = masks.to(images.device, torch.float32)
    if not ((masks >= 0) & (masks <= 1)).all():
        raise ValueError("saliency masks must lie in [0, 1]; divide 8-bit ones by 255")
    return masks


def checked_objects(
    targets: list[dict[str, Tensor]], images: Tensor, classes: int
) -> list[Objects]:
    """One `Objects` per image, on its device. Boxes without extent are left out.

    Args:
        targets: one dict per image: boxes (N, 4) xyxy in pixels, labels (N,) from 0, and
            optionally ignore (N,) bool.
        images: (B, 3, H, W).

    Raises:
        ValueError: not one target an image, other shapes, labels that are no class.
    """
    if len(targets) != len(images):
        raise ValueError(f"{len(images)} images need as many targets, got {len(targets)}")
    return [_checked(target, images.device, classes) for target in targets]


def _checked(target: dict[str, Tensor], device: torch.device, classes: int) -> Objects:
    boxes = torch.as_tensor(target["boxes"]).detach().to(device, torch.float32)
    if boxes.numel() == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not torch.isfinite(boxes).all():
        raise ValueError(f"object boxes must be finite and (N, 4), got {tuple(boxes.shape)}")
    labels = torch.as_tensor(target["labels"]).to(device, torch.long)
    ignore = target.get("ignore")
    ignore = torch.zeros(len(boxes)) if ignore is None else torch.as_tensor(ignore)
    for name, value in (("labels", labels), ("ignore", ignore)):
        if value.shape != (len(boxes),):
            raise ValueError(f"`{name}` must be ({len(boxes)},), got {tuple(value.shape)}")
    ignore = ignore.to(device, torch.bool)
    wrong = labels[~ignore & ((labels < 0) | (labels >= classes))]
    if len(wrong):
        raise ValueError(f"object label {int(wrong[0])}: there are classes 0 to {classes - 1}")
    present = (boxes[:, 2:] > boxes[:, :2]).all(1)
    wanted = present & ~ignore
    return Objects(boxes[wanted], labels[wanted], boxes[present & ignore])


def visible_faces(targets: list[dict[str, Tensor]], images: Tensor) -> list[Objects]:
    """One `Objects` per image: faces cut to the image; ignored where less than half is in it.

    Args:
        targets: one dict per image: boxes (N, 4) xyxy in pixels and, optionally, ignore (N,)
            bool. images: (B, 3, H, W).

    Raises:
        ValueError: not one target an image, or boxes or ignore of another shape.
    """
    one_class = [{**t, "labels": torch.zeros(len(t["boxes"]))} for t in targets]
    height, width = images.shape[2:]
    limit = torch.tensor([width, height, width, height], device=images.device)
    faces = []
    for objects in checked_objects(one_class, images, classes=1):
        inside = torch.minimum(objects.boxes.clamp(min=0), limit)
        area, visible = (
            (b[:, 2:] - b[:, :2]).clamp(min=0).prod(1) for b in (objects.boxes, inside)
        )
        wanted = visible >= 0.5 * area
        ignored = torch.cat([objects.ignored, objects.boxes[~wanted]])
        faces.append(Objects(inside[wanted], objects.labels[wanted], ignored))
    return faces


def best_detections(
    boxes: Tensor,
    scores: Tensor,
    size: tuple[int, int],
    score_threshold: float,
    nms_iou: float,
    detections: int,
) -> dict[str, Tensor]:
    """Class-wise suppression of the candidates of one image.

    Args:
        boxes: (N, 4) xyxy in pixels. scores: (N, classes).
        size: (H, W) of the image, to which the boxes are cut.
        score_threshold: scores up to this are left out.
        nms_iou: of two boxes of one class that overlap more, the lesser goes.
        detections: at most so many are kept.

    Returns:
        `boxes` (M, 4), `scores` (M,), descending, and `labels` (M,).
    """
    height, width = size
    limit = boxes.new_tensor([width, height, width, height])
    boxes = torch.minimum(boxes.clamp(min=0), limit)
    seen = (boxes[:, 2:] > boxes[:, :2]).all(1, keepdim=True)
    row, label = ((scores > score_threshold) & seen).nonzero(as_tuple=True)
    score, order = scores[row, label].sort(descending=True, stable=True)
    score, order = score[:CANDIDATES], order[:CANDIDATES]
    boxes, label = boxes[row[order]], label[order]
    keep = batched_nms(boxes, score, label, nms_iou)[:detections]  # by descending score
    return {"boxes": boxes[keep], "scores": score[keep], "labels": label[keep]}
