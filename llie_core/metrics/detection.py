r"""Object detection: COCO average precision, and the precision and IoU columns of DRGN's Table 4.

- ``map``, ``map_50``, ``map_75``: by pycocotools (coco.py; 101 recalls, at most 100 detections an
  image, mean over the classes that have ground truth).
- ``precision``: share of true positives among the detections that score at least
  ``score_threshold``, over all classes together.
- ``matched_iou``: mean IoU of those true positives with their ground truth.

Detections and ground truth are matched one to one as in COCO and Pascal VOC: per image and class,
by falling score, each detection takes the best box still free if their IoU reaches
``iou_threshold``. So both columns describe the true positives behind ``map_50``. (An optimal
assignment would let a weak but better placed detection take a box from a strong one.)

DRGN (Jiang et al., AAAI 2022) does not define its columns. The "average IoU" of darknet, YOLOv4's
program, divides by true and false positives alike; it can never exceed the precision, but the
paper prints 77.35 % IoU beside 26.81 % precision. So the IoU here is over matched boxes alone
(darknet's number is ``precision * matched_iou``). The score threshold 0.25 is darknet's default.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llie_core.metrics.coco import AT_50, AT_75, EVERY, AveragePrecision, average_precision

Boxes = dict[str, Tensor]
THRESHOLDS = {"ap": EVERY, "ap_50": AT_50, "ap_75": AT_75}
MAX_DETECTIONS = 100  # of an image


class DetectionScores:
    """Gathers detections over batches.

    Args:
        score_threshold: detections below it count in ``map`` only.
        iou_threshold: smallest IoU of a true positive, in (0, 1], for ``precision`` and
            ``matched_iou``.
    """

    def __init__(self, score_threshold: float = 0.25, iou_threshold: float = 0.5) -> None:
        if not 0 < iou_threshold <= 1:
            raise ValueError(f"iou_threshold must lie in (0, 1], got {iou_threshold}")
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self._predictions: list[Boxes] = []
        self._targets: list[Boxes] = []
        self._matched: list[tuple[Tensor, Tensor]] = []

    def update(self, predictions: list[Boxes], targets: list[Boxes]) -> None:
        """Add a batch, one dict an image.

        Args:
            predictions: ``boxes`` (N, 4) xyxy in pixels, ``scores`` (N,), ``labels`` (N,).
            targets: ``boxes`` (M, 4), ``labels`` (M,), optional ``ignore`` (M,) bool: such a box
                neither counts as missed nor makes a detection inside it wrong (COCO's crowds).

        ValueError where a part is missing, of a wrong shape, not finite, or a box is inverted.
        """
        if len(predictions) != len(targets):
            raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets")
        start = len(self._targets)
        found = [_read(p, f"prediction {start + i}", "scores") for i, p in enumerate(predictions)]
        truth = [_read(t, f"target {start + i}", "ignore") for i, t in enumerate(targets)]
        if not truth:
            return
        self._predictions += found
        self._targets += truth
        strong = [_strongest(p, self.score_threshold) for p in found]
        self._matched.append(_match(strong, truth, self.iou_threshold))

    def compute(self) -> dict[str, Any]:
        """Return map, map_50, map_75, precision, matched_iou as fractions, ``drawn``: the first
        three in each draw of images, and ``per_class``.

        ``per_class`` has a row for each label seen: label, ap, ap_50, ap_75, precision,
        matched_iou, n_truth, n_detections (at or above the score threshold). What does not exist
        is NaN: the AP of a class without ground truth, the precision without detections, the IoU
        without matches. ValueError where there is no ground truth at all.
        """
        labels = torch.cat([t["labels"][~t["ignore"]] for t in self._targets or [_NOTHING]])
        if not len(labels):
            raise ValueError(f"mAP needs ground truth: none in {len(self._targets)} images")
        evaluated, classes = self._evaluated()
        scores = {f"m{name}": evaluated.at(t) for name, t in THRESHOLDS.items()}
        drawn = {f"m{name}": evaluated.drawn(t) for name, t in THRESHOLDS.items()}
        found, iou = (torch.cat(part) for part in zip(*self._matched, strict=True))
        rows = []
        for k, label in enumerate(classes):
            of_class = found == label
            ap = {n: float(evaluated.precision[t, :, k].mean()) for n, t in THRESHOLDS.items()}
            columns = {"label": label, **ap, **_precision_and_iou(iou[of_class])}
            counts = {"n_truth": int((labels == label).sum()), "n_detections": int(of_class.sum())}
            rows.append(columns | counts)
        more = {"drawn": drawn, "per_class": rows}
        return scores | _precision_and_iou(iou) | more

    def _evaluated(self) -> tuple[AveragePrecision, list[int]]:
        """COCO's evaluation, and the labels of its classes."""
        objects, detections = [], []
        for i, (target, prediction) in enumerate(
            zip(self._targets, self._predictions, strict=True)
        ):
            objects += _records(i, target, "iscrowd", target["ignore"].long())
            detections += _records(i, prediction, "score", prediction["scores"])
        labels = sorted({record["category_id"] for record in [*objects, *detections]})
        images = len(self._targets)
        return average_precision(objects, detections, images, labels, MAX_DETECTIONS), labels


def _records(image: int, boxes: Boxes, name: str, values: Tensor) -> list[dict]:
    """Boxes of one image as COCO's files have them, with one more column."""
    low, high = boxes["boxes"].double().split(2, dim=1)
    columns = (torch.cat([low, high - low], dim=1), boxes["labels"], (high - low).prod(1), values)
    names = ("bbox", "category_id", "area", name)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [dict(zip(names, row, strict=True), image_id=image) for row in rows]


def objects_found(
    prediction: Boxes, target: Boxes, score_threshold: float = 0.25, iou_threshold: float = 0.5
) -> int:
    """How many objects of one image are found: true positives, as `DetectionScores` has them."""
    found, truth = _read(prediction, "prediction", "scores"), _read(target, "target", "ignore")
    _, iou = _match([_strongest(found, score_threshold)], [truth], iou_threshold)
    return int((iou > 0).sum())


_NOTHING = {"labels": torch.zeros(0, dtype=torch.long), "ignore": torch.zeros(0, dtype=torch.bool)}


def _precision_and_iou(iou: Tensor) -> dict[str, float]:
    """Return both columns from the IoU of each detection, 0 for a false positive."""
    hit = iou > 0
    return {"precision": hit.double().mean().item(), "matched_iou": iou[hit].mean().item()}


def _read(item: Boxes, where: str, extra: str) -> Boxes:
    """Return boxes, labels and scores or ignore flags, checked, on the CPU."""
    missing = {"boxes", "labels", *(["scores"] if extra == "scores" else [])} - set(item)
    if missing:
        raise ValueError(f"{where} has no {', '.join(sorted(missing))}")
    boxes = torch.as_tensor(item["boxes"]).detach().cpu().float()
    boxes = boxes.view(-1, 4) if boxes.numel() == 0 else boxes
    labels = torch.as_tensor(item["labels"]).detach().cpu().long()
    value = torch.as_tensor(item.get(extra, torch.zeros(len(boxes)))).detach().cpu()
    value = value.float() if extra == "scores" else value.bool()
    if boxes.dim() != 2 or boxes.shape[1] != 4 or {labels.shape, value.shape} != {boxes.shape[:1]}:
        shapes = [tuple(part.shape) for part in (boxes, labels, value)]
        raise ValueError(f"{where}: boxes (N, 4), labels (N,), {extra} (N,) expected, got {shapes}")
    if not (boxes.isfinite().all() and value.isfinite().all()):
        raise ValueError(f"{where} holds NaN or Inf")
    if (labels < 0).any():
        raise ValueError(f"{where}: labels must be 0 or more")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(f"{where}: boxes must be (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2")
    return {"boxes": boxes, "labels": labels, extra: value}


def _strongest(prediction: Boxes, threshold: float) -> Boxes:
    """Return the detections that reach the threshold, by falling score."""
    order = prediction["scores"].argsort(descending=True, stable=True)
    order = order[prediction["scores"][order] >= threshold]
    return {name: values[order] for name, values in prediction.items()}


def _match(found: list[Boxes], truth: list[Boxes], threshold: float) -> tuple[Tensor, Tensor]:
    """Return labels and IoU (float64, 0 for a false positive) of a batch's detections ``(K,)``.

    All images are matched at once: the loop runs over ranks, the i-th best of every image.
    """
    box, label = (_padded(found, key, -1) for key in ("boxes", "labels"))  # (B, D, 4), (B, D)
    true_box, true_label = (_padded(truth, key, -2) for key in ("boxes", "labels"))  # (B, G, …)
    ignore = _padded(truth, "ignore", False)
    shared, iou = _overlaps(box.double(), true_box.double())  # (B, D, G) each
    same = label[:, :, None] == true_label[:, None]  # padding matches nothing
    taken = torch.zeros(len(found), box.shape[1], dtype=torch.float64)  # (B, D)
    if iou.shape[2] and iou.shape[1]:
        open_iou = iou * (same & ~ignore[:, None])
        for rank in range(iou.shape[1]):
            best, where = open_iou[:, rank].max(1)  # (B,)
            hit = best >= threshold
            taken[:, rank] = best * hit
            open_iou[hit, :, where[hit]] = 0
    within_ignored = (shared * (same & ignore[:, None]) >= threshold).any(2)  # (B, D)
    keep = (label != -1) & ((taken > 0) | ~within_ignored)
    return label[keep], taken[keep]


def _padded(items: list[Boxes], key: str, fill: int | bool) -> Tensor:
    return pad_sequence([item[key] for item in items], batch_first=True, padding_value=fill)


def _overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection over a's area, and over the union: ``(B, N, M)`` from boxes ``(B, N, 4)``
    and ``(B, M, 4)``; 0 for boxes without area."""
    low = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    area_a, tiny = area_a[:, :, None], torch.finfo(a.dtype).tiny
    union = area_a + area_b[:, None] - intersection
    return intersection / area_a.clamp(min=tiny), intersection / union.clamp(min=tiny)
