"""Face detection: what frozen detectors find in enhanced images, and the numbers that follow.

AP by WIDER FACE's protocol on easy, medium and hard faces and by the height of the face, recall
and false positives at one score a detector, and PSNR against the normal-light image.
"""

import copy
import json
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from llie_core.data.wider_results import read_detections, write_detections
from llie_core.metrics.faces import detection_rates, face_scores, wider_ap_and_draws
from llie_core.metrics.quality import psnr
from llie_core.recognizers import Recognizer
from llie_core.recognizers.mtcnn import MTCNN
from llie_core.recognizers.tinaface import TinaFace
from llie_core.tasks.base import Measured, Task, mean

SUBSETS = ("easy", "medium", "hard")
# Least and greatest face height in pixels of the test image, for AP by size.
HEIGHTS = ((0, 16), (16, 24), (24, 32), (32, 48), (48, 96), (96, 10_000))
# Least face probability after P-, R- and O-Net at test: the usual ones for the first two, and a
# low one for the last, so that curves over the score are nearly whole.
MTCNN_THRESHOLDS = (0.6, 0.7, 0.05)
# Below it the small TinaFace calls nearly every anchor a face: 25,000 boxes in an image of WIDER
# FACE, for a difference in AP of at most .003 on the built-in faces.
SMALL_LEAST = 0.1


def faces_found(recognizer: Recognizer, images: Tensor) -> list[dict[str, Tensor]]:
    """`boxes` (N, 4) and `scores` (N,) in each of the images (B, 3, H, W), doubtful faces too."""
    if isinstance(recognizer, MTCNN):
        return recognizer.predict(images, MTCNN_THRESHOLDS)
    if isinstance(recognizer, TinaFace) and recognizer.name == "small":
        return recognizer.predict(images, SMALL_LEAST)
    return recognizer.predict(images)


class FaceDetection(Task):
    """What each detector finds in the enhanced images.

    Args:
        readers: name → frozen detector; PSNR stands under none of them.
        least: name → least score at which a detection counts for recall and false positives.
        official: WIDER FACE's protocol. Images go one by one, and detections through files in its
            text format, which are left in the folder given to `beside`, one of each reader.
    """

    name = "faces"

    def __init__(
        self, readers: Mapping[str, Recognizer], least: Mapping[str, float], official: bool = False
    ):
        self.readers, self.least, self.official = dict(readers), dict(least), official
        self.batch_size = 1 if official else 8
        self._folder: Path | None = None

    def beside(self, folder: Path) -> "FaceDetection":
        own = copy.copy(self)
        own._folder = folder if self.official else None
        return own

    def meter(self, device: torch.device, normal_light: bool) -> "FaceMeter":
        readers = {name: reader.to(device) for name, reader in self.readers.items()}
        protocol = "face-ap-wider" if self.official else "face-ap-height"
        return FaceMeter(readers, self.least, protocol, normal_light, self._folder)


class FaceMeter:
    """Boxes found and annotated, image by image; the images themselves are not kept.

    The values of an image hold, of each face that counts, the height in pixels (`heights`) and the
    best score that a detector gives it, 0 where it is missed (`scores_<detector>`).
    """

    def __init__(
        self, readers: Mapping[str, Recognizer], least: Mapping[str, float], protocol: str,
        normal_light: bool, folder: Path | None = None,
    ):  # fmt: skip
        self.readers, self.least, self.protocol = readers, least, protocol
        self.normal_light, self.folder = normal_light, folder
        self.found: dict[str, list[dict[str, Tensor]]] = {name: [] for name in readers}
        self.boxes: list[Tensor] = []  # (N, 4) of each image
        self.valid: list[Tensor] = []  # (N,) of each image: not to be ignored
        self.keep: list[Mapping[str, Tensor]] = []
        self.psnr: list[float] = []

    def update(self, images: Tensor, batch: dict) -> list[dict]:
        """Raises FileNotFoundError for images without the lists of easy, medium, hard faces."""
        keep = batch.get("keep", [{}])
        if any(subset not in of_image for of_image in keep for subset in SUBSETS):
            raise FileNotFoundError(
                "wider-face: the easy, medium and hard lists are needed for the scores "
                "(eval_tools/ground_truth/wider_{easy,medium,hard}_val.mat)"
            )
        valid = [~ignore for ignore in batch["ignore"]]
        faces = [boxes[own] for boxes, own in zip(batch["boxes"], valid, strict=True)]
        rows = [
            {"name": name, "faces": len(boxes), "heights": listed(boxes[:, 3] - boxes[:, 1])}
            for name, boxes in zip(batch["name"], faces, strict=True)
        ]
        for name, reader in self.readers.items():
            found = self._through_files(name, batch["name"], faces_found(reader, images))
            self.found[name] += found
            for row, one, boxes, counted in zip(rows, found, batch["boxes"], valid, strict=True):
                rates = detection_rates([one], [boxes], [counted], score=self.least[name])
                row[f"recall_{name}"] = f"{rates['recall']:.4f}"
                row[f"false_positives_{name}"] = round(rates["false_positives_per_image"])
                row[f"scores_{name}"] = listed(face_scores(one, boxes)[counted])
        quality: list[float] = []  # none of the normal-light images themselves
        if not self.normal_light:
            quality = psnr(images, batch["target"].to(images.device)).tolist()
        self.psnr += quality
        for row, value, darkening in zip_longest(rows, quality, batch["darkening"]):
            row["psnr"] = "" if value is None else f"{value:.4f}"
            row["darkening"] = json.dumps(darkening)
        self.boxes += batch["boxes"]
        self.valid += valid
        self.keep += keep
        return rows

    def compute(self) -> list[Measured]:
        scores = [one for reader in self.found for one in self._scores(reader)]
        if self.psnr:
            scores.append(Measured("psnr", mean(self.psnr), len(self.psnr), "psnr-rgb-float"))
        return scores

    def _through_files(
        self, reader: str, names: list[str], found: list[dict[str, Tensor]]
    ) -> list[dict[str, Tensor]]:
        """What was found, written in the official format and read back where there is a folder."""
        found = [{key: value.cpu() for key, value in one.items()} for one in found]
        if self.folder is None:
            return found
        write_detections(self.folder / reader, names, found)
        return read_detections(self.folder / reader, names)

    def _scores(self, reader: str) -> Iterable[Measured]:
        """AP by subset and by height, and recall and false positives at the operating point."""
        found = self.found[reader]
        kept = {subset: [keep[subset] for keep in self.keep] for subset in SUBSETS}
        for subset in SUBSETS:
            yield from self._ap(reader, subset, kept[subset], self.protocol)
        for span in HEIGHTS:
            masks = []
            for boxes, valid in zip(self.boxes, self.valid, strict=True):
                height = boxes[:, 3] - boxes[:, 1]
                masks.append((height >= span[0]) & (height < span[1]) & valid)
            yield from self._ap(reader, height_name(*span), masks, "face-ap-height")
        rates = detection_rates(found, self.boxes, self.valid, score=self.least[reader])
        n, false = int(sum(mask.sum() for mask in self.valid)), rates["false_positives_per_image"]
        yield Measured("recall", rates["recall"], n, "face-recall", recognizer=reader)
        n = len(found)
        yield Measured("fp_per_image", false, n, "face-fp-per-image", recognizer=reader)

    def _ap(self, reader: str, subset: str, kept: list[Tensor], protocol: str):
        n = int(sum(mask.sum() for mask in kept))
        if n:  # a subset without a face has no AP
            ap, drawn = wider_ap_and_draws(self.found[reader], self.boxes, kept)
            yield Measured("ap", ap, n, protocol, subset, reader, drawn)


def listed(values: Tensor) -> str:
    """Numbers of an image's faces in one cell."""
    return " ".join(f"{value:.6g}" for value in values.tolist())


def height_name(least: float, most: float) -> str:
    """How a range of face heights is called in scores: "16-24 px"."""
    return f"{least}-{most} px" if most < HEIGHTS[-1][1] else f"over {least} px"
