"""Data sets by name: what they are, where to get them, and loaders in their official layouts.

    open_dataset("builtin-faces", "train", size=256, count=512)
    open_dataset("wider-face", "val", root="/data/WIDER_FACE")

Every item is a dict with `image` (3, H, W) float32 RGB in [0, 1], `name`, and by task
    target (3, H, W)                     paired sets: the normal-light image
    mask (H, W) long, 255 ignored        segmentation
    mask (1, H, W) float, 0 or 1         saliency
    boxes (N, 4) xyxy, labels (N,), ignore (N,) bool, keep {subset: (N,) bool}      detection, faces
    joints (J, 3), boxes (4,), region (4,)      pose: one item a person, `image` is the crop
    saliency (1, H, W), person_joints (P, 14, 3), person_boxes (P, 4)      builtin-streets
Every set has `describe()`: what identifies its items, for hashes and records.
"""

from llie_core.data.batches import collate, face_targets, mask_targets, pose_targets
from llie_core.data.registry import (
    DatasetSpec,
    dataset_spec,
    list_datasets,
    listing_text,
    open_dataset,
)

__all__ = [
    "DatasetSpec",
    "collate",
    "dataset_spec",
    "face_targets",
    "list_datasets",
    "listing_text",
    "mask_targets",
    "open_dataset",
    "pose_targets",
]
