"""WIDER FACE average precision and detection rates."""

import math
import time

import pytest
import torch

from llie_core.metrics.faces import (
    detection_rates,
    face_scores,
    wider_ap,
    wider_ap_and_draws,
)
from llie_core.metrics.resampling import drawn_counts


def xyxy(*boxes_xywh):
    boxes = torch.tensor(boxes_xywh, dtype=torch.float32).reshape(-1, 4)
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def detections(*rows):
    """Rows of x, y, w, h, score."""
    rows = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    return {"boxes": xyxy(*rows[:, :4].tolist()), "scores": rows[:, 4]}


def flags(*values):
    return torch.tensor(values, dtype=torch.bool)


def known_case():
    truth = [xyxy([10, 10, 50, 50], [100, 100, 12, 12]), xyxy([20, 20, 40, 60])]
    found = [
        detections(
            [12, 11, 50, 50, 0.9],
            [300, 300, 30, 30, 0.85],
            [101, 100, 12, 12, 0.8],
            [11, 10, 50, 50, 0.6],
        ),
        detections([200, 10, 20, 20, 0.95], [22, 22, 40, 60, 0.5]),
    ]
    return found, truth


def test_known_answers_of_the_official_tool():
    found, truth = known_case()
    assert wider_ap(found, truth, [flags(1, 1), flags(1)]) == pytest.approx(0.5, abs=1e-12)
    assert wider_ap(found, truth, [flags(1, 0), flags(1)]) == pytest.approx(0.45, abs=1e-12)


def test_order_of_detections_and_scale_of_scores_do_not_matter():
    found, truth = known_case()
    for factor, shift in ((40, 0), (1e-4, 0), (1e-4, 0.9)):
        turned = [{k: v.flip(0) for k, v in p.items()} for p in found]
        turned = [{**p, "scores": factor * p["scores"] + shift} for p in turned]
        assert wider_ap(turned, truth, [flags(1, 0), flags(1)]) == pytest.approx(0.45, abs=1e-12)


def test_perfect_detections_give_one_and_none_give_zero():
    _, truth = known_case()
    keep = [flags(1, 1), flags(1)]
    perfect = [{"boxes": t, "scores": torch.linspace(0.2, 0.9, len(t))} for t in truth]
    assert wider_ap(perfect, truth, keep) == 1.0
    nothing = [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}] * 2
    assert wider_ap(nothing, truth, keep) == 0.0


def test_edge_pixels_are_counted():
    """4x4 against 4x2 (w, h) is 0.5 by area, but 15/25 = 0.6 with both edge pixels."""
    found = [detections([0, 0, 4, 2, 0.9])]
    truth, keep = [xyxy([0, 0, 4, 4])], [flags(1)]
    assert wider_ap(found, truth, keep, iou=0.59) == 1.0
    assert wider_ap(found, truth, keep, iou=0.61) == 0.0


def test_false_positive_counts_where_no_face_is_kept_but_not_where_none_exists():
    found = [detections([0, 0, 20, 20, 0.5]), detections([90, 90, 9, 9, 0.9])]
    first = xyxy([0, 0, 20, 20])
    without = wider_ap(found, [first, xyxy()], [flags(1), flags()])
    assert without == 1.0
    ignored = wider_ap(found, [first, xyxy([0, 0, 50, 50])], [flags(1), flags(0)])
    assert ignored == pytest.approx(0.5)


def test_equal_scores_are_one_operating_point():
    found = [detections([0, 0, 20, 20, 0.7], [60, 60, 20, 20, 0.7])]
    assert wider_ap(found, [xyxy([0, 0, 20, 20])], [flags(1)]) == pytest.approx(0.5)


def literal_ap(predictions, truths, keeps):
    """The protocol, spelled out one box and one threshold at a time."""
    scores = [p["scores"].double() for p in predictions]
    low, high = min(s.min() for s in scores), max(s.max() for s in scores)
    unit = [((s - low) / (high - low)).tolist() for s in scores]
    faces = sum(int(k.sum()) for k in keeps)
    points = []
    for step in range(1, 1001):
        found = counted = 0
        for prediction, scores, truth, keep in zip(predictions, unit, truths, keeps, strict=True):
            matched = set()
            order = sorted(range(len(scores)), key=lambda d: -scores[d])
            for d in (d for d in order if len(truth) and scores[d] >= 1 - step / 1000):
                best = max(range(len(truth)), key=lambda g: literal_iou(prediction, d, truth[g]))
                hit = literal_iou(prediction, d, truth[best]) >= 0.5
                if hit and not keep[best]:
                    continue
                counted += 1
                if hit and best not in matched:
                    matched.add(best)
            found += len(matched)
        points.append((found / faces, found / counted if counted else 0.0))
    area, last = 0.0, 0.0
    for index, (recall, _) in enumerate(points):
        area += (recall - last) * max(p for _, p in points[index:])
        last = recall
    return area


def literal_iou(prediction, d, face):
    ax, ay, bx, by = prediction["boxes"][d].tolist()
    cx, cy, dx, dy = face.tolist()
    wide, high = min(bx, dx) - max(ax, cx) + 1, min(by, dy) - max(ay, cy) + 1
    inside = max(wide, 0) * max(high, 0)
    return inside / ((bx - ax + 1) * (by - ay + 1) + (dx - cx + 1) * (dy - cy + 1) - inside)


def random_set(images, faces, found, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    predictions, truths, keeps = [], [], []
    for _ in range(images):
        corner, size = 500 * rand(faces, 2), 8 + 60 * rand(faces, 2)
        truth = torch.cat([corner, corner + size], 1).round()
        source = torch.randint(faces, (found,), generator=generator)
        near = (truth[source] + 8 * rand(found, 4) - 4).round()
        far = torch.cat([c := 500 * rand(found, 2), c + 8 + 60 * rand(found, 2)], 1)
        boxes = torch.where(rand(found, 1) < 0.5, near, far)
        predictions.append({"boxes": boxes, "scores": rand(found)})
        truths.append(truth)
        keeps.append(rand(faces) < 0.6)
    return predictions, truths, keeps


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_protocol_spelled_out(seed):
    case = random_set(3, 5, 14, seed)
    case[1][2], case[2][2] = torch.zeros(0, 4), flags()
    value = literal_ap(*case)
    assert 0.05 < value < 0.95
    assert wider_ap(*case) == pytest.approx(value, abs=1e-12)


def test_is_fast_enough_for_the_whole_validation_set():
    case = random_set(200, 12, 100)
    start = time.perf_counter()
    wider_ap(*case)
    assert time.perf_counter() - start < 5  # about 0.05 s on one free core


def test_rates_at_a_score():
    found, truth = known_case()
    rates = detection_rates(found, truth, [flags(1, 1), flags(1)], score=0.7)
    assert rates == pytest.approx(
        {"recall": 2 / 3, "precision": 2 / 4, "false_positives_per_image": 2 / 2}
    )
    rates = detection_rates(found, truth, [flags(1, 0), flags(1)], score=0.5)
    assert rates == pytest.approx(
        {"recall": 2 / 2, "precision": 2 / 5, "false_positives_per_image": 3 / 2}
    )


def test_rates_count_finds_on_images_without_faces():
    found = [detections([0, 0, 9, 9, 0.9], [9, 9, 9, 9, 0.2]), detections()]
    rates = detection_rates(found, [xyxy(), xyxy()], [flags(), flags()], score=0.5)
    assert rates["false_positives_per_image"] == 0.5 and rates["precision"] == 0.0
    assert math.isnan(rates["recall"])


def test_rates_without_any_detection():
    rates = detection_rates([detections()], [xyxy([0, 0, 9, 9])], [flags(1)], score=0.5)
    assert rates["recall"] == 0.0 and rates["false_positives_per_image"] == 0.0
    assert math.isnan(rates["precision"])


def test_bad_input_is_named():
    found, truth = known_case()
    keep = [flags(1, 1), flags(1)]
    with pytest.raises(ValueError, match="no ground-truth faces in the subset"):
        wider_ap(found, truth, [flags(0, 0), flags(0)])
    with pytest.raises(ValueError, match="one entry per image"):
        wider_ap(found[:1], truth, keep)
    with pytest.raises(ValueError, match="keep 0"):
        wider_ap(found, truth, [flags(1), flags(1)])
    with pytest.raises(ValueError, match="boxes of prediction 1"):
        wider_ap([found[0], {"boxes": truth[1][:, :3], "scores": torch.ones(1)}], truth, keep)
    with pytest.raises(ValueError, match="at least one image"):
        detection_rates([], [], [], score=0.5)
    broken = {"boxes": truth[1], "scores": torch.tensor([torch.nan])}
    for call in (
        lambda: wider_ap([found[0], broken], truth, keep),
        lambda: detection_rates([found[0], broken], truth, keep, score=0.5),
    ):
        with pytest.raises(ValueError, match="prediction 1 are not finite"):
            call()


@pytest.mark.parametrize(("bottom", "found_again"), [(4.0, 1.0), (3.0, 0.0)])
def test_an_overlap_of_exactly_half_counts(bottom, found_again):
    """By the official tool's areas (width + 1)·(height + 1): 50 of 100 pixels are enough."""
    face, detection = torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([[0.0, 0, 9, bottom]])
    found = [{"boxes": detection, "scores": torch.ones(1)}]
    keep = [torch.ones(1, dtype=torch.bool)]
    assert detection_rates(found, [face], keep, score=0.5)["recall"] == found_again
    assert face_scores(found[0], face).tolist() == [found_again]


def test_each_face_has_the_best_score_of_its_detections():
    found, truth = known_case()
    assert face_scores(found[0], truth[0]).tolist() == pytest.approx([0.9, 0.8])
    assert face_scores(found[1], truth[1]).tolist() == pytest.approx([0.5])
    assert face_scores(detections(), truth[0]).tolist() == [0, 0]
    assert face_scores(found[0], xyxy()).shape == (0,)


def test_each_draw_has_the_ap_of_its_images():
    case = random_set(6, 5, 14)
    for prediction in case[0]:  # so that every draw has the range of the whole set
        prediction["scores"][:2] = torch.tensor([0.0, 1.0])
    drawn = []
    for counts in drawn_counts(6, 40).astype(int):
        again = [i for i, count in enumerate(counts) for _ in range(count)]
        drawn.append(wider_ap(*([part[i] for i in again] for part in case)))
    value, found = wider_ap_and_draws(*case, draws=40)
    assert value == wider_ap(*case)
    assert found.tolist() == pytest.approx(drawn, abs=1e-12)
    assert min(drawn) < value < max(drawn)


def test_images_of_one_ap_have_it_in_every_draw():
    found, truth = known_case()
    drawn = wider_ap_and_draws(found[:1] * 5, truth[:1] * 5, [flags(1, 1)] * 5)[1]
    assert set(drawn.round(9)) == {round(wider_ap(found[:1], truth[:1], [flags(1, 1)]), 9)}
