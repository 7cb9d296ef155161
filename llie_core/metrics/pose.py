r"""Average precision of human poses by object keypoint similarity (OKS), as COCO defines it.

.. math:: \mathrm{OKS} = \frac{1}{|V|} \sum_{j \in V}
          \exp\left(-\frac{d_j^2}{2 s^2 (2\sigma_j)^2}\right)

over the labelled joints :math:`V` of a person of area :math:`s^2`. Evaluated by pycocotools
(coco.py): at most 20 poses an image, OKS thresholds .50:.05:.95, persons without a labelled
joint ignored.

ExLPose (Lee et al., "Human pose estimation in extremely low-light conditions", CVPR 2023) has 14
joints, their sigmas, and no outlines: its area is 0.53 of the box. Plain width times height would
nearly double the AP.
"""

from collections.abc import Hashable, Iterable, Mapping

import torch
from torch import Tensor

from llie_core.metrics.coco import AT_50, AT_75, EVERY, AveragePrecision, average_precision
from llie_core.names import check_choice

_LIMBS = (0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089)
SIGMAS = {
    # L/R shoulder, elbow, wrist, hip, knee, ankle; head, neck
    "exlpose": (*_LIMBS, 0.079, 0.079),
    # nose, L/R eye, L/R ear; then the limbs as above
    "coco": (0.026, 0.025, 0.025, 0.035, 0.035, *_LIMBS),
}
MAX_POSES = 20


class KeypointAP:
    """Gathers poses over batches and gives OKS AP on all images or on a subset of them.

    Args:
        sigmas: "exlpose", "coco", or one positive number a joint.
        area_of_box: share of a box that counts as the person's area where ``areas`` are not given.
    """

    def __init__(self, sigmas: str | Iterable[float] = "exlpose", area_of_box: float = 0.53):
        if isinstance(sigmas, str):
            check_choice(SIGMAS, sigmas=sigmas)
            sigmas = SIGMAS[sigmas]
        self.sigmas = tuple(float(s) for s in sigmas)
        if not self.sigmas or min(self.sigmas) <= 0 or area_of_box <= 0:
            raise ValueError("sigmas and area_of_box must be positive")
        self.area_of_box = area_of_box
        self._poses: list[dict] = []
        self._persons: list[dict] = []

    def update(self, predictions: Mapping, targets: Mapping) -> None:
        """Add poses and persons of any number of images, as tensors or lists.

        Args:
            predictions: ``image_ids`` (N,), ``joints`` (N, J, 2 or more) in pixels, ``scores``
                (N,).
            targets: ``image_ids`` (M,), ``joints`` (M, J, 3) with visibility 0, 1 or 2, ``boxes``
                (M, 4) as xyxy in pixels; optional ``areas`` (M,) and ``ignore`` (M,), true for a
                crowd.

        Image ids are integers or strings; the persons of one image may come in several batches.
        """
        poses = self._read(predictions, "predictions", ("scores",), 2)
        persons = self._read(targets, "targets", ("boxes",), 3)
        boxes = persons["boxes"].view(-1, 4)
        if (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError("boxes must be (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2")
        width_height = boxes[:, 2:] - boxes[:, :2]
        areas = targets.get("areas")
        areas = width_height.prod(1) * self.area_of_box if areas is None else areas
        ignore = targets.get("ignore", torch.zeros(len(boxes)))
        persons |= {
            "xywh": torch.cat([boxes[:, :2], width_height], dim=1),
            "areas": _numbers(areas, "targets: areas"),
            "ignore": _numbers(ignore, "targets: ignore"),
        }
        _check_lengths(persons, "targets")
        self._poses += _pose_records(poses)
        self._persons += _person_records(persons)

    def compute(self, images: Iterable[Hashable] | None = None) -> dict[str, float]:
        """Return ap (mean over OKS .50:.95), ap_50, ap_75 and ar, as fractions; see `evaluate`."""
        found = self.evaluate(images)
        return {
            "ap": found.at(EVERY),
            "ap_50": found.at(AT_50),
            "ap_75": found.at(AT_75),
            "ar": float(found.recall.mean()),
        }

    def evaluate(self, images: Iterable[Hashable] | None = None) -> AveragePrecision:
        """COCO's evaluation, which has the draws of AP too.

        Args:
            images: ids of the images to count (ExLPose: those of LL-N, LL-H or LL-E); None = all.

        Raises:
            ValueError: where these images hold no person with a labelled joint.
        """
        known = {record["image_id"] for record in [*self._poses, *self._persons]}
        chosen = known if images is None else set(_plain(images))
        persons = [p for p in self._persons if p["image_id"] in chosen]
        if not any(p["num_keypoints"] and not p["iscrowd"] for p in persons):
            raise ValueError(
                f"OKS AP needs a person with a labelled joint: none in {len(chosen)} images"
            )
        poses = [p for p in self._poses if p["image_id"] in chosen]
        # Sorted, so that the order in which images came does not decide between equal scores.
        ids = {record["image_id"] for record in [*poses, *persons]}
        ids = sorted(ids, key=lambda image: (isinstance(image, str), image))
        number = {image: i for i, image in enumerate(ids)}
        tables = [
            [record | {"image_id": number[record["image_id"]]} for record in records]
            for records in (persons, poses)
        ]
        return average_precision(*tables, len(ids), [1], MAX_POSES, self.sigmas)

    def _read(self, table: Mapping, name: str, others: tuple[str, ...], columns: int) -> dict:
        """Return the table's columns as float64 tensors and its ids as a list, checked."""
        missing = {"image_ids", "joints", *others} - set(table)
        if missing:
            raise ValueError(f"{name} have no {', '.join(sorted(missing))}")
        read = {key: _numbers(table[key], f"{name}: {key}") for key in ("joints", *others)}
        if read["joints"].numel() == 0:
            read["joints"] = read["joints"].new_zeros(0, len(self.sigmas), columns)
        joints = read["joints"]
        if joints.dim() != 3 or joints.shape[1] != len(self.sigmas) or joints.shape[2] < columns:
            raise ValueError(
                f"{name}: joints must be (N, {len(self.sigmas)}, {columns}), got "
                f"{tuple(joints.shape)}"
            )
        read["image_ids"] = _plain(table["image_ids"])
        _check_lengths(read, name)
        return read


def _plain(values: Iterable) -> list:
    return values.tolist() if isinstance(values, Tensor) else list(values)


def _numbers(values, where: str) -> Tensor:
    """Return the values as a float64 tensor on the CPU; ValueError for NaN or Inf."""
    numbers = torch.as_tensor(values, dtype=torch.float64, device="cpu").detach()
    if not numbers.isfinite().all():
        raise ValueError(f"{where} hold NaN or Inf")
    return numbers


def _check_lengths(table: Mapping, name: str) -> None:
    lengths = {key: len(values) for key, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{name} differ in length: {lengths}")


def _pose_records(poses: dict) -> list[dict]:
    joints = poses["joints"][:, :, :2]
    area = (joints.amax(1) - joints.amin(1)).prod(1)
    triples = torch.cat([joints, torch.ones_like(joints[:, :, :1])], dim=2)
    columns = (poses["image_ids"], triples.flatten(1).numpy(), poses["scores"].tolist())
    return [
        {"image_id": image, "keypoints": flat, "score": score, "area": extent, "category_id": 1}
        for image, flat, score, extent in zip(*columns, area.tolist(), strict=True)
    ]


def _person_records(persons: dict) -> list[dict]:
    joints = persons["joints"][:, :, :3]
    columns = (
        persons["image_ids"],
        joints.flatten(1).numpy(),
        persons["xywh"].tolist(),
        persons["areas"].tolist(),
        persons["ignore"].bool().tolist(),
        (joints[:, :, 2] > 0).sum(1).tolist(),
    )
    names = ("image_id", "keypoints", "bbox", "area", "iscrowd", "num_keypoints")
    return [dict(zip(names, row, strict=True), category_id=1) for row in zip(*columns, strict=True)]
