"""COCO's average precision, computed by pycocotools, and its bootstrap over images.

pycocotools matches each image's detections once; a draw of images counts these matches anew.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from llie_core.metrics.resampling import OF_SETS, drawn_counts

RECALLS = np.linspace(0, 1, 101)
# Of the thresholds .50:.05:.95.
EVERY, AT_50, AT_75 = slice(None), slice(0, 1), slice(5, 6)


@dataclass(frozen=True)
class Matches:
    """Of one class: detections of all images by falling score, D of them, and objects.

    image (D,): of each detection. hit, miss (T, D): at each threshold; neither where ignored.
    objects (images,): that are to be found.
    """

    image: np.ndarray
    hit: np.ndarray
    miss: np.ndarray
    objects: np.ndarray


@dataclass(frozen=True)
class AveragePrecision:
    """precision (T, 101, K), recall (T, K): of T thresholds and K classes, NaN for a class without
    objects; matches: of each class."""

    precision: np.ndarray
    recall: np.ndarray
    matches: tuple[Matches, ...]

    def at(self, thresholds: slice) -> float:
        """The mean over these thresholds and the classes that have objects."""
        return float(np.nanmean(self.precision[thresholds]))

    def drawn(self, thresholds: slice) -> np.ndarray:
        """`at` of each draw of images, (draws,): without the classes of which a draw has no object,
        NaN where it has none at all."""
        values = self._of_classes[:, thresholds]
        known = ~np.isnan(values).all(axis=(0, 1))
        means = np.full(values.shape[-1], np.nan)
        means[known] = np.nanmean(values[..., known], axis=(0, 1))
        return means

    @cached_property
    def _of_classes(self) -> np.ndarray:
        """The AP of each class at each threshold in each draw: (K, T, draws)."""
        counts = drawn_counts(len(self.matches[0].objects), OF_SETS)
        thresholds = range(len(self.precision))
        return np.array(
            [[precision_of(m, t, counts).mean(1) for t in thresholds] for m in self.matches]
        )


def average_precision(
    objects: Sequence[dict],
    detections: Sequence[dict],
    images: int,
    classes: Sequence[int],
    limit: int,
    sigmas: Sequence[float] = (),
) -> AveragePrecision:
    """COCO's evaluation over all areas.

    Args:
        objects: annotations as COCO's files have them, `image_id` from 0 to images − 1.
        detections: results as COCO's files have them.
        classes: the values of `category_id`.
        limit: detections of an image that count, the best ones.
        sigmas: of the joints, for poses; empty for boxes.
    """
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports by print
        tables = [_table(records, images, classes) for records in (objects, detections)]
        evaluation = COCOeval(*tables, iouType="keypoints" if sigmas else "bbox")
        parameters = evaluation.params
        if sigmas:
            parameters.kpt_oks_sigmas = np.array(sigmas)
        parameters.maxDets = [limit]
        parameters.areaRng, parameters.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    # (T, 101, K, areas, limits) and (T, K, areas, limits); −1: no objects of this class
    precision = evaluation.eval["precision"][..., 0, 0]
    recall = evaluation.eval["recall"][..., 0, 0]
    by_class = np.empty((len(parameters.catIds), images), object)
    by_class.ravel()[:] = evaluation.evalImgs
    return AveragePrecision(
        np.where(precision < 0, np.nan, precision),
        np.where(recall < 0, np.nan, recall),
        tuple(_matches(of_images, len(parameters.iouThrs)) for of_images in by_class),
    )


def precision_of(matches: Matches, threshold: int, counts: np.ndarray) -> np.ndarray:
    """Precision at the 101 recalls, (draws, 101), of images taken so often in each draw: counts
    (draws, images). NaN for a draw without objects."""
    hit, miss = matches.hit[threshold], matches.miss[threshold]
    if not hit.any():
        return np.where(counts @ matches.objects > 0, 0.0, np.nan)[:, None].repeat(101, 1)
    # The envelope has its corners at hits: what each image has found and missed up to each hit.
    step = np.cumsum(hit) - hit  # hits before each detection
    found, missed = np.zeros((2, len(matches.objects), hit.sum()))
    found[matches.image[hit], step[hit]] = 1
    in_time = miss & (step < hit.sum())  # a miss after the last hit changes nothing
    np.add.at(missed, (matches.image[in_time], step[in_time]), 1)
    true, false = counts @ found.cumsum(1), counts @ missed.cumsum(1)  # (draws, hits)
    objects = counts @ matches.objects  # (draws,)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = true / objects[:, None], true / (true + false + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.pad(envelope, ((0, 0), (0, 1)))  # 0 beyond the largest recall
    at = np.array([np.searchsorted(row, RECALLS) for row in recall])
    sampled = np.take_along_axis(envelope, at, axis=1)
    return np.where(objects[:, None] > 0, sampled, np.nan)


def _table(records: Sequence[dict], images: int, classes: Sequence[int]) -> Any:
    from pycocotools.coco import COCO

    table = COCO()
    table.dataset = {
        "images": [{"id": i} for i in range(images)],
        # Numbered from 1: COCOeval takes the id 0 for "no match".
        "annotations": [record | {"id": i} for i, record in enumerate(records, start=1)],
        "categories": [{"id": i} for i in classes],
    }
    table.createIndex()
    return table


def _matches(of_images: Sequence[dict | None], thresholds: int) -> Matches:
    """Of one class, from what COCOeval says of each image; None: it has neither."""
    known = [(i, e) for i, e in enumerate(of_images) if e is not None]
    empty = np.zeros((thresholds, 0), bool)
    scores = np.concatenate([[], *(e["dtScores"] for _, e in known)])
    image = np.concatenate([[], *(np.full(len(e["dtScores"]), i) for i, e in known)]).astype(int)
    matched = np.concatenate([empty, *(e["dtMatches"] > 0 for _, e in known)], axis=1)
    ignored = np.concatenate([empty, *(e["dtIgnore"] > 0 for _, e in known)], axis=1)
    order = np.argsort(-scores, kind="stable")
    hit, miss = (matched & ~ignored)[:, order], (~matched & ~ignored)[:, order]
    objects = np.zeros(len(of_images))
    for i, e in known:
        objects[i] = np.count_nonzero(np.asarray(e["gtIgnore"]) == 0)
    return Matches(image[order], hit, miss, objects)
