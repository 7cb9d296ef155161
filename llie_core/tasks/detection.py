"""Object detection: a frozen detector reads the enhanced images (Table 4 of paper 4).

Items need `boxes`, `labels` and `ignore`; image quality is measured beside, under protocols.
"""

import math
from typing import Any

import torch
from torch import Tensor

from llie_core.data.batches import object_targets
from llie_core.metrics.detection import DetectionScores, objects_found
from llie_core.metrics.protocols import load_protocols
from llie_core.recognizers import Recognizer
from llie_core.tasks.base import Measured, Task
from llie_core.tasks.quality import QualityMeter, available

# Column of Table 4 → key of `DetectionScores.compute` and protocol; which mAP is meant is not said.
MEASURES = {
    "map": ("map", "det-map-coco"),
    "map_50": ("map_50", "det-map50-coco"),
    "precision": ("precision", "det-precision-25"),
    "iou": ("matched_iou", "det-matched-iou-25"),
}


class ObjectDetection(Task):
    """What a frozen detector finds, and the images' quality under some protocols (ids)."""

    name = "detection"

    def __init__(self, detector: Recognizer, protocols: tuple[str, ...] = ()):
        self.detector = detector
        self.protocols = tuple(load_protocols()[name] for name in available(protocols))

    def meter(self, device: torch.device, normal_light: bool) -> "DetectionMeter":
        quality = QualityMeter(self.protocols, normal_light)
        return DetectionMeter(self.detector.to(device), quality)


class DetectionMeter:
    """COCO's mAP, precision and matched IoU, and of each image how many objects it has, how many
    detections reach the score threshold, and the share of its objects that these find.

    Where none does, there is no precision; without true positives there is no IoU.
    """

    def __init__(self, detector: Recognizer, quality: QualityMeter):
        self.detector, self.quality = detector, quality
        self.found, self.images = DetectionScores(), 0

    def update(self, images: Tensor, batch: dict) -> list[dict]:
        rows = self.quality.update(images, batch)
        predictions, targets = self.detector.predict(images), object_targets(batch)
        self.found.update(predictions, targets)
        self.images += len(images)
        for row, prediction, target in zip(rows, predictions, targets, strict=True):
            row["objects"] = objects = int((~target["ignore"]).sum())
            least = self.found.score_threshold
            row["detections"] = int((prediction["scores"] >= least).sum())
            found = objects_found(prediction, target, least, self.found.iou_threshold)
            row["recall"] = f"{found / objects:.4f}" if objects else ""
        return rows

    def compute(self) -> list[Measured]:
        values: dict[str, Any] = self.found.compute()
        detections = sum(row["n_detections"] for row in values["per_class"])
        counts = {"precision": detections, "iou": detections}
        return self.quality.compute() + [
            Measured(
                metric, values[key], counts.get(metric, self.images), protocol,
                drawn=values["drawn"].get(key),
            )
            for metric, (key, protocol) in MEASURES.items()
            if math.isfinite(values[key])
        ]  # fmt: skip
