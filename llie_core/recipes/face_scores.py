"""What face detectors find in an enhancer's pictures, and the numbers that follow."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from llie_core.data.wider_results import read_detections, write_detections
from llie_core.metrics import psnr
from llie_core.metrics.faces import detection_rates, wider_ap
from llie_core.recipes.base import Measured
from llie_core.recipes.face_recognizers import faces_found

SUBSETS = ("easy", "medium", "hard")
# Least and greatest face height in pixels of the test picture, for AP by size.
HEIGHTS = ((0, 16), (16, 24), (24, 32), (32, 48), (48, 96), (96, 10_000))


@dataclass(frozen=True)
class Seen:
    """One test picture and what a detector found: boxes (N, 4), ignore (N,), keep by subset."""

    found: dict[str, torch.Tensor]
    psnr: torch.Tensor | None
    name: str
    darkening: dict
    boxes: torch.Tensor
    ignore: torch.Tensor
    keep: dict[str, torch.Tensor]


def look(
    model, readers: Mapping[str, torch.nn.Module], batches: Iterable[dict], device, bright: bool
) -> dict[str, list[Seen]]:
    """Reader → what it finds in each test picture after `model`; bright: in the daylight picture.

    Raises:
        FileNotFoundError: the pictures come without the lists of easy, medium and hard faces.
    """
    seen: dict[str, list[Seen]] = {name: [] for name in readers}
    for batch in batches:
        if "keep" not in batch:
            raise FileNotFoundError(
                "wider-face: the easy, medium and hard lists are needed for the scores "
                "(eval_tools/ground_truth/wider_{easy,medium,hard}_val.mat)"
            )
        image, target = batch["image"].to(device), batch["target"].to(device)
        output = target if bright else model.enhance(image)
        quality = [None] * len(output) if bright else psnr(output, target)
        known = [batch[field] for field in ("name", "darkening", "boxes", "ignore", "keep")]
        for name, reader in readers.items():
            found = faces_found(reader, output)
            seen[name] += [Seen(*one) for one in zip(found, quality, *known, strict=True)]
    return seen


def through_files(folder: Path, seen: list[Seen]) -> list[Seen]:
    """The same pictures with what was found written in the official format and read back."""
    names = [image.name for image in seen]
    write_detections(folder, names, [image.found for image in seen])
    found = read_detections(folder, names)
    return [replace(image, found=one) for image, one in zip(seen, found, strict=True)]


def face_scores(
    seen: list[Seen], reader: str, protocol: str, score_threshold: float
) -> list[Measured]:
    """AP by subset and by height, and recall and false positives at the operating point."""
    found, truth = [image.found for image in seen], [image.boxes for image in seen]
    masks = {subset: [image.keep[subset] for image in seen] for subset in SUBSETS}
    masks |= {height_name(*span): [of_height(image, *span) for image in seen] for span in HEIGHTS}
    scores = []
    for subset, kept in masks.items():
        n = int(sum(mask.sum() for mask in kept))
        if n:  # a subset without a face has no AP
            name = protocol if subset in SUBSETS else "face-ap-height"
            ap = wider_ap(found, truth, kept)
            scores.append(Measured("ap", subset, ap, "fraction", "higher", n, name, reader))
    valid = [~image.ignore for image in seen]
    rates = detection_rates(found, truth, valid, score=score_threshold)
    n, pictures = int(sum(mask.sum() for mask in valid)), len(seen)
    false = rates["false_positives_per_image"]
    return [
        *scores,
        Measured("recall", "all", rates["recall"], "fraction", "higher", n, "face-recall", reader),
        Measured("fp_per_image", "all", false, "per image", "lower", pictures,
                 "face-fp-per-image", reader),
    ]  # fmt: skip


def height_name(least: float, most: float) -> str:
    """How a range of face heights is called in scores: "16-24 px"."""
    return f"{least}-{most} px" if most < HEIGHTS[-1][1] else f"over {least} px"


def of_height(image: Seen, least: float, most: float) -> torch.Tensor:
    """Which faces (N,) of a picture are so high and not to be ignored."""
    height = image.boxes[:, 3] - image.boxes[:, 1]
    return (height >= least) & (height < most) & ~image.ignore


def quality_scores(seen: list[Seen]) -> list[Measured]:
    """Mean PSNR against the normal-light pictures; nothing for those pictures themselves."""
    values = [float(image.psnr) for image in seen if image.psnr is not None]
    if not values:
        return []
    mean = sum(values) / len(values)
    return [Measured("psnr", "all", mean, "dB", "higher", len(values), "psnr-rgb-float")]


def image_rows(seen: Mapping[str, list[Seen]], least: Mapping[str, float]) -> list[dict]:
    """per_image.csv: how each picture was darkened, and what each reader found in it, with at
    least its score."""
    rows = []
    for images in zip(*seen.values(), strict=True):
        first = images[0]
        row = {"name": first.name, "faces": int((~first.ignore).sum())}
        for reader, image in zip(seen, images, strict=True):
            of_one = [image.found], [image.boxes], [~image.ignore]
            rates = detection_rates(*of_one, score=least[reader])
            row[f"recall_{reader}"] = f"{rates['recall']:.4f}"
            row[f"false_positives_{reader}"] = round(rates["false_positives_per_image"])
        row["psnr"] = "" if first.psnr is None else f"{float(first.psnr):.4f}"
        rows.append({**row, "darkening": json.dumps(first.darkening)})
    return rows
