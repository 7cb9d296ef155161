"""Face-detection metrics: WIDER FACE average precision and rates at one score.

S. Yang, P. Luo, C. C. Loy, X. Tang, "WIDER FACE: A Face Detection Benchmark", CVPR 2016, as its
official evaluation tool computes it.

Inputs, everywhere in this file, are lists with one entry per image:

- predictions: dict with `boxes` (D, 4) xyxy in pixels and `scores` (D,), in any order;
- ground truth: tensor (G, 4) xyxy of **all** annotated faces;
- keep: bool tensor (G,), the faces of the subset (easy, medium, hard); the others are ignored:
  a detection that hits one counts neither for nor against.

WIDER stores boxes as x, y, w, h. Here x2 = x + w and y2 = y + h, which is also how the official
tool converts them; it then counts both edge pixels, so that every width and height in its IoU is
one larger (w + 1). That is done inside: hand in plain xyxy = (x, y, x + w, y + h).

The official matching is not one to one: every detection belongs to the face it overlaps most, so
a second detection of a face is a false positive even where another face is free.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llie_core.metrics.resampling import OF_SETS, drawn_counts

THRESHOLDS = 1 - np.arange(1, 1001) / 1000  # 0.999, 0.998, … 0: the official 1000 operating points

Prediction = dict[str, Tensor]


def wider_ap(
    predictions: Sequence[Prediction],
    ground_truth: Sequence[Tensor],
    keep: Sequence[Tensor],
    iou: float = 0.5,
) -> float:
    r"""WIDER FACE average precision of one subset.

    With scores s min-max normalised over the whole set, and for each threshold t of the 1000,

    .. math:: P(t) = \frac{\#\{\text{kept faces found}\}}{\#\{\text{counted detections}\}},\quad
              R(t) = \frac{\#\{\text{kept faces found}\}}{\#\{\text{kept faces}\}}

    AP is the area under the monotone envelope of P over R. As in the official tool, detections on
    images without any annotated face are not counted; on images that have faces but none in the
    subset they are.

    Args:
        predictions, ground_truth, keep: see the head of this file.
        iou: least overlap of a hit (with the +1 pixel convention).

    Returns:
        AP in [0, 1]; 0 where nothing was detected.

    Raises:
        ValueError: lists or shapes that do not fit, predictions that are not finite, or a subset
            without a single face.
    """
    return wider_ap_and_draws(predictions, ground_truth, keep, iou, draws=0)[0]


def wider_ap_and_draws(
    predictions: Sequence[Prediction],
    ground_truth: Sequence[Tensor],
    keep: Sequence[Tensor],
    iou: float = 0.5,
    draws: int = OF_SETS,
) -> tuple[float, np.ndarray]:
    """`wider_ap`, and in each draw of images, (draws,). Scores keep what the whole set normalises
    them to; a draw without a kept face is NaN."""
    images = _checked(predictions, ground_truth, keep)
    faces = np.array([kept.sum() for _, _, _, kept in images])
    if not faces.any():
        raise ValueError(
            f"no ground-truth faces in the subset: none of the {len(images)} images keeps one"
        )
    unit = _normalised([scores for _, scores, _, _ in images])
    # Faces found and detections counted at each threshold, of each image.
    found, counted = np.zeros((2, len(images), len(THRESHOLDS)))
    for i, ((boxes, _, truth, kept), scores) in enumerate(zip(images, unit, strict=True)):
        if len(truth) and len(boxes):
            hits, valid, ordered = _match(boxes, scores, truth, kept, iou)
            # How many detections reach each threshold; index 0 of the sums is "none of them".
            reach = np.searchsorted(-ordered, -THRESHOLDS, side="right")
            found[i] = np.concatenate([[0], np.cumsum(hits)])[reach]
            counted[i] = np.concatenate([[0], np.cumsum(valid)])[reach]
    counts = np.concatenate([np.ones((1, len(images))), drawn_counts(len(images), draws)])
    ap = _area_under_envelope(counts @ found, counts @ counted, counts @ faces)
    return float(ap[0]), ap[1:]


def detection_rates(
    predictions: Sequence[Prediction],
    ground_truth: Sequence[Tensor],
    keep: Sequence[Tensor],
    score: float,
    iou: float = 0.5,
) -> dict[str, float]:
    """Recall, precision and false positives at one score threshold.

    Matching and IoU are those of `wider_ap`, but scores are taken as they are and images without
    any face count: whatever is found there is a false positive.

    Args:
        predictions, ground_truth, keep: see the head of this file.
        score: detections with at least this score count.
        iou: least overlap of a hit.

    Returns:
        `recall`, `precision` (NaN where the set has no kept face, or no counted detection),
        `false_positives_per_image`.

    Raises:
        ValueError: as `wider_ap`, or no image at all.
    """
    images = _checked(predictions, ground_truth, keep)
    if not images:
        raise ValueError("detection rates need at least one image")
    faces = found = counted = 0
    for boxes, scores, truth, kept in images:
        chosen = scores >= score
        faces += int(kept.sum())
        if not len(truth):
            counted += int(chosen.sum())
        elif chosen.any():
            hits, valid, _ = _match(boxes[chosen], scores[chosen], truth, kept, iou)
            found += int(hits.sum())
            counted += int(valid.sum())
    return {
        "recall": found / faces if faces else float("nan"),
        "precision": found / counted if counted else float("nan"),
        "false_positives_per_image": (counted - found) / len(images),
    }


def face_scores(prediction: Prediction, truth: Tensor, iou: float = 0.5) -> Tensor:
    """The best score (G,) of the detections that overlap each face (G, 4), 0 where none does.

    Overlap is that of `wider_ap`; a detection belongs to the face that it overlaps most.
    """
    boxes = _numpy(prediction["boxes"], (len(prediction["scores"]), 4), "boxes")
    faces = _numpy(truth, (len(truth), 4), "ground truth")
    best = np.zeros(len(faces))
    if len(faces) and len(boxes):
        overlaps = _iou_plus_one(boxes, faces)  # (D, G)
        owner = overlaps.argmax(1)
        hits = overlaps[np.arange(len(owner)), owner] >= iou
        np.maximum.at(best, owner[hits], _numpy(prediction["scores"])[hits])
    return torch.from_numpy(best)


def _match(
    boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray, kept: np.ndarray, iou: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match one image's detections in order of score.

    Args:
        boxes: (D, 4). scores: (D,). truth: (G, 4). kept: (G,) bool. D and G are at least 1.

    Returns:
        hits (D,): the first detection of a kept face; valid (D,): counts as a detection;
        ordered (D,): the scores, descending. All in descending order of score.
    """
    order = np.argsort(-scores, kind="stable")
    overlaps = _iou_plus_one(boxes[order], truth)  # (D, G)
    face = overlaps.argmax(1)
    overlapping = overlaps[np.arange(len(face)), face] >= iou
    valid = ~(overlapping & ~kept[face])
    hits = np.zeros(len(face), dtype=bool)
    candidates = np.flatnonzero(overlapping & kept[face])
    hits[candidates[np.unique(face[candidates], return_index=True)[1]]] = True
    return hits, valid, scores[order]


def _iou_plus_one(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU (D, G) of xyxy boxes with both edge pixels counted."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.clip(bottom_right - top_left + 1, 0, None).prod(2)  # (D, G)
    area_a = (a[:, 2:] - a[:, :2] + 1).prod(1)
    area_b = (b[:, 2:] - b[:, :2] + 1).prod(1)
    return inside / (area_a[:, None] + area_b[None] - inside)


def _area_under_envelope(found: np.ndarray, counted: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """All-point AP (N,) of found and counted (N, T) of faces (N,), NaN without any: precision made
    monotone from the right, summed over steps of recall."""
    ends = np.zeros((len(faces), 1))
    precision = np.divide(found, counted, out=np.zeros_like(found), where=counted > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    steps = np.diff(np.concatenate([ends, found], 1))  # (N, T)
    area = (steps * envelope).sum(1)
    return np.divide(area, faces, out=np.full(len(faces), np.nan), where=faces > 0)


def _normalised(scores: list[np.ndarray]) -> list[np.ndarray]:
    """Scores min-max normalised over the whole set.

    As in the official tool the greatest score is sought from 0 upwards and the least from 1
    downwards; for scores within [0, 1] these are simply the extremes. Where all scores are equal,
    which the official tool would turn into NaN, every score becomes 1.
    """
    low = min((s.min() for s in scores if s.size), default=0.0)
    high = max((s.max() for s in scores if s.size), default=1.0)
    low, high = min(1.0, low), max(0.0, high)
    if high == low:
        return [np.ones_like(s) for s in scores]
    return [(s - low) / (high - low) for s in scores]


def _checked(
    predictions: Sequence[Prediction], ground_truth: Sequence[Tensor], keep: Sequence[Tensor]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Per image float64 boxes, scores, faces and the bool subset, after checking them."""
    if not len(predictions) == len(ground_truth) == len(keep):
        raise ValueError(
            "one entry per image is needed: got "
            f"{len(predictions)} predictions, {len(ground_truth)} ground truths, {len(keep)} keeps"
        )
    images = []
    for index, (prediction, faces, kept) in enumerate(
        zip(predictions, ground_truth, keep, strict=True)
    ):
        scores = _numpy(prediction["scores"])
        boxes = _numpy(prediction["boxes"], (len(scores), 4), f"boxes of prediction {index}")
        truth = _numpy(faces, (len(faces), 4), f"ground truth {index}")
        kept = _numpy(kept, (len(truth),), f"keep {index}").astype(bool)
        _require_finite(scores, f"scores of prediction {index}")
        _require_finite(boxes, f"boxes of prediction {index}")
        images.append((boxes, scores, truth, kept))
    return images


def _numpy(values, shape: tuple[int, ...] | None = None, what: str = "") -> np.ndarray:
    """float64 array on the CPU; an empty one takes the wanted shape."""
    array = torch.as_tensor(values).detach().to("cpu", torch.float64).numpy()
    if shape is not None and array.shape != shape:
        if array.size or 0 not in shape:
            raise ValueError(f"{what}: expected shape {shape}, got {array.shape}")
        array = array.reshape(shape)
    return array


def _require_finite(values: np.ndarray, what: str) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{what} are not finite: the detector has failed on this image")
