"""COCO's average precision and its bootstrap, against pycocotools on images drawn."""

import numpy as np
import pytest

from llie_core.metrics.coco import AT_50, AT_75, EVERY, average_precision, precision_of
from llie_core.metrics.resampling import OF_SETS, drawn_counts, middle

IMAGES, CLASSES = 12, (1, 2, 3)


def box(image, corner, side, label, **more):
    x, y = corner
    return {"image_id": image, "bbox": [x, y, side, side], "area": side * side,
            "category_id": label, **more}  # fmt: skip


def records(seed=0):
    """Objects, some of them crowds, and detections near them and elsewhere; no two scores alike,
    whose order among copies of an image would be open."""
    rng = np.random.default_rng(seed)
    objects, detections = [], []
    for image in range(IMAGES):
        for _ in range(rng.integers(0, 4)):
            label = int(rng.choice(CLASSES[:2]))  # the third has no object
            corner, side = rng.uniform(0, 80, 2), rng.uniform(10, 30)
            crowd = int(rng.random() < 0.15)
            objects.append(box(image, corner, side, label, iscrowd=crowd))
            for _ in range(rng.integers(0, 3)):
                near = corner + rng.normal(0, side / 10, 2)
                score = rng.random()
                detections.append(box(image, near, side, label, score=score))
        for _ in range(rng.integers(0, 3)):
            corner, score = rng.uniform(0, 80, 2), rng.random()
            label = int(rng.choice(CLASSES))
            detections.append(box(image, corner, 15, label, score=score))
    return objects, detections


def of_images(records, images):
    """The records of a list of images, an image as often as it is listed."""
    return [r | {"image_id": new} for new, old in enumerate(images) for r in records
            if r["image_id"] == old]  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return average_precision(*records(), IMAGES, CLASSES, limit=100)


def test_every_image_once_is_the_evaluation(found):
    once = np.ones((1, IMAGES))
    for k, matches in enumerate(found.matches):
        for t in range(10):
            np.testing.assert_allclose(
                precision_of(matches, t, once)[0], found.precision[t, :, k], atol=1e-12
            )
    assert 0.1 < found.at(AT_75) < found.at(EVERY) < found.at(AT_50) < 0.9
    assert np.isnan(found.precision[:, :, 2]).all()


def test_a_draw_is_the_evaluation_of_its_images(found):
    """As if pycocotools had been given every image as often as it was drawn."""
    objects, detections = records()
    for counts in drawn_counts(IMAGES, 20).astype(int):
        images = np.repeat(np.arange(IMAGES), counts)
        tables = (of_images(objects, images), of_images(detections, images))
        again = average_precision(*tables, IMAGES, CLASSES, limit=100)
        for k, matches in enumerate(found.matches):
            for t in (0, 5, 9):
                drawn = precision_of(matches, t, counts[None].astype(float))[0]
                np.testing.assert_allclose(drawn, again.precision[t, :, k], atol=1e-12)


@pytest.mark.parametrize("thresholds", [EVERY, AT_50, AT_75])
def test_each_draw_has_the_precision_of_its_images(found, thresholds):
    values = []
    for counts in drawn_counts(IMAGES, OF_SETS):
        by_class = [
            precision_of(m, t, counts[None]).mean()
            for m in found.matches
            for t in range(10)[thresholds]
        ]
        values.append(np.nanmean(by_class))
    np.testing.assert_allclose(found.drawn(thresholds), values)
    assert min(values) < found.at(thresholds) < max(values)


def test_nothing_found_has_no_spread():
    objects, _ = records()
    nothing = average_precision(objects, [], IMAGES, CLASSES, limit=100)
    assert nothing.at(EVERY) == 0 and not nothing.drawn(EVERY).any()


def test_a_draw_without_objects_counts_for_nothing():
    """One image of three has an object, found; draws without it have no precision."""
    objects = [box(1, (0, 0), 10, 1)]
    objects[0]["iscrowd"] = 0
    found = average_precision(objects, [box(1, (0, 0), 10, 1, score=0.5)], 3, [1], limit=100)
    assert found.at(EVERY) == pytest.approx(1)
    assert middle(found.drawn(EVERY)) == pytest.approx((1, 1))
    assert np.isnan(found.drawn(EVERY)).mean() == pytest.approx(8 / 27, abs=0.05)  # (2/3)³


def test_only_the_best_detections_of_an_image_count():
    objects = [box(0, (0, 0), 10, 1, iscrowd=0)]
    detections = [box(0, (50, 50), 10, 1, score=0.9), box(0, (0, 0), 10, 1, score=0.8)]
    assert average_precision(objects, detections, 1, [1], limit=1).at(EVERY) == 0
    assert average_precision(objects, detections, 1, [1], limit=2).at(EVERY) == 0.5
