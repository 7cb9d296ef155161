"""Human pose: a frozen recognizer finds the joints in persons' crops; OKS AP by darkness.

Items need `joints`, `region`, `boxes`, `image_id` and `subset`, and `mean`, by which a recognizer
may scale its low-light input (data/pose.py).
"""

import torch
from torch import Tensor

from llie_core.data import pose_targets
from llie_core.data.exlpose import SUBSETS
from llie_core.data.pose import to_image
from llie_core.metrics.coco import EVERY
from llie_core.metrics.pose import KeypointAP
from llie_core.recognizers.cpn import CPN
from llie_core.tasks.base import Measured, Task
from llie_core.tasks.quality import Appearance

ALL = "LL-A"


class Pose(Task):
    """OKS AP of all persons, and of each subset of darkness.

    Args:
        recognizer: `predict(images, light=…, mean=…)` → `joints` (B, J, 3) in the crops, and
            `scores` (B,).
        light: of the images, "low" or "well"; a row of normal-light images is read as "well".
        parts: measure the AP of each subset too, and brightness and PSNR of the images.
        batch_size: crops a batch.
    """

    name = "pose"

    def __init__(
        self, recognizer: CPN, light: str = "low", parts: bool = True, batch_size: int = 8
    ):
        self.recognizer, self.light = recognizer, light
        self.parts, self.batch_size = parts, batch_size

    def meter(self, device: torch.device, normal_light: bool) -> "PoseMeter":
        light = "well" if normal_light else self.light
        appearance = Appearance(normal_light) if self.parts else None
        return PoseMeter(self.recognizer.to(device), light, appearance)


class PoseMeter:
    """Poses and persons of all images, and the confidence in each person's pose."""

    def __init__(self, recognizer: CPN, light: str, appearance: Appearance | None):
        self.recognizer, self.light, self.appearance = recognizer, light, appearance
        self.gathered = KeypointAP("exlpose")
        self.subsets: dict = {}  # of each image's id

    def update(self, images: Tensor, batch: dict) -> list[dict]:
        mean = pose_targets(batch).get("mean")
        found = self.recognizer.predict(images, light=self.light, mean=mean)
        ids, scores = batch["image_id"], found["scores"].cpu()
        size = images.shape[-2], images.shape[-1]
        places = to_image(found["joints"].cpu(), batch["region"], size)
        truth = to_image(batch["joints"], batch["region"], size)
        self.gathered.update(
            {"image_ids": ids, "joints": places, "scores": scores},
            {"image_ids": ids, "joints": truth, "boxes": torch.stack(batch["boxes"])},
        )
        self.subsets |= dict(zip(ids, batch["subset"], strict=True))
        if self.appearance:
            self.appearance.update(images, batch)
        return [
            {"name": name, "subset": subset, "confidence": f"{score:.4f}"}
            for name, subset, score in zip(batch["name"], batch["subset"], scores, strict=True)
        ]

    def compute(self) -> list[Measured]:
        measured = []
        for subset in (ALL, *SUBSETS) if self.appearance else (ALL,):
            chosen = [i for i, own in self.subsets.items() if subset in (ALL, own)]
            if chosen:
                found = self.gathered.evaluate(chosen)
                measured.append(
                    Measured(
                        "ap", found.at(EVERY), len(chosen), "pose-oks-ap-exlpose", subset,
                        drawn=found.drawn(EVERY),
                    )
                )  # fmt: skip
        return measured + (self.appearance.compute() if self.appearance else [])
