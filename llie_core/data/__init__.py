"""Data sets by name: what they are, where to get them, and loaders in their official layouts.

    open_dataset("builtin-faces", "train", size=256, count=512)
    open_dataset("wider-face", "val", root="/data/WIDER_FACE")

Every item is a dict with `image` (3, H, W) float32 RGB in [0, 1], `name`, and what the task needs
(`target`, `boxes`, …).
"""

import difflib
import importlib
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class DatasetSpec:
    """One data set. `loader` is "module:Class"; `folder` its usual name below the data root."""

    name: str
    task: str
    splits: tuple[str, ...]
    paired: bool
    metrics: tuple[str, ...]
    source: str
    terms: str
    loader: str
    folder: str = ""

    @property
    def builtin(self) -> bool:
        return not self.folder


_PHOTOS = "scikit-image's and matplotlib's sample photographs"
_SPECS = (
    DatasetSpec(
        "builtin-photos", "enhancement", ("train", "val", "test"), True, ("psnr", "ssim"),
        f"made here from {_PHOTOS}", "free", "llie_core.data.builtin:BuiltinPhotos",
    ),
    DatasetSpec(
        "builtin-faces", "faces", ("train", "val", "test"), True, ("ap", "recall", "fp_per_image"),
        f"made here from {_PHOTOS}", "free", "llie_core.data.builtin:BuiltinFaces",
    ),
    DatasetSpec(
        "wider-face", "faces", ("train", "val"), False, ("ap",),
        "WIDER FACE project page: images, wider_face_split and eval_tools",
        "research only (CC BY-NC-ND)", "llie_core.data.wider_face:WiderFace", "WIDER_FACE",
    ),
)  # fmt: skip


def list_datasets() -> list[DatasetSpec]:
    """All known data sets, built-in ones first."""
    return list(_SPECS)


def dataset_spec(name: str) -> DatasetSpec:
    """The spec of one data set; ValueError naming the known ones."""
    specs = {spec.name: spec for spec in _SPECS}
    if name not in specs:
        near = difflib.get_close_matches(name, specs, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no data set {name!r}{hint} (known: {', '.join(specs)})")
    return specs[name]


def open_dataset(name: str, split: str, root: str | Path | None = None, **options):
    """Open one split. `root`: the set's own folder, or the one that holds it by its usual name.

    Raises FileNotFoundError saying what was looked for, where, and how to get it.
    """
    spec = dataset_spec(name)
    if split not in spec.splits:
        raise ValueError(f"{name} has no split {split!r} (it has: {', '.join(spec.splits)})")
    module, _, attribute = spec.loader.partition(":")
    loader = getattr(importlib.import_module(module), attribute)
    if spec.builtin:
        return loader(split=split, **options)
    if not root:
        raise FileNotFoundError(
            f"{name}: say where it is (DATA=… for make, --data … for llie); get it from: "
            f"{spec.source}; terms: {spec.terms}"
        )
    inside = Path(root) / spec.folder
    return loader(inside if inside.is_dir() else Path(root), split=split, **options)


def collate(items: list[dict]) -> dict:
    """Items to a batch: `image` and `target` stacked to (B, 3, H, W), all else kept as lists."""
    batch = {key: [item[key] for item in items] for key in items[0]}
    for key in ("image", "target"):
        if key in batch:
            shapes = {tuple(image.shape) for image in batch[key]}
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
