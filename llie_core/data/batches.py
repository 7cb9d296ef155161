"""Items to a batch, and what of a batch is a recognizer's target."""

import torch
from torch import Tensor

_STACKED = (
    "image", "target", "context", "reference", "reference_low", "mask", "saliency", "joints",
    "region",
)  # fmt: skip


def collate(items: list[dict]) -> dict:
    """Items to a batch: images, targets, contexts, references, masks, saliency, joints, regions
    stacked, all else as lists.

    Keys that not every item has are left out. ValueError where sizes differ.
    """
    shared = [key for key in items[0] if all(key in item for item in items)]
    batch = {key: [item[key] for item in items] for key in shared}
    for key in _STACKED:
        if key in batch:
            shapes = {tuple(tensor.shape) for tensor in batch[key]}
            if len(shapes) > 1:
                raise ValueError(f"a batch needs images of one size, got {sorted(shapes)}")
            batch[key] = torch.stack(batch[key])
    return batch


def face_targets(batch: dict) -> list[dict]:
    """The face boxes of a batch in the recognizers' form: a list of {"boxes", "ignore"}."""
    return [
        {"boxes": boxes, "ignore": ignore}
        for boxes, ignore in zip(batch["boxes"], batch["ignore"], strict=True)
    ]


def object_targets(batch: dict) -> list[dict[str, Tensor]]:
    """The objects of a batch in the detectors' form: a list of {"boxes", "labels", "ignore"}."""
    parts = ("boxes", "labels", "ignore")
    return [
        dict(zip(parts, values, strict=True))
        for values in zip(*(batch[part] for part in parts), strict=True)
    ]


def mask_targets(batch: dict) -> Tensor:
    """The label maps of a batch, (B, H, W) with 255 ignored."""
    return batch["mask"]


def pose_targets(batch: dict) -> dict[str, Tensor]:
    """The joints of a batch of persons, `joints` (B, J, 3) in pixels of the crops, and `mean`
    (B, 3) of the whole images' channels where the items have it."""
    means = {"mean": torch.stack(batch["mean"])} if "mean" in batch else {}
    return {"joints": batch["joints"]} | means
