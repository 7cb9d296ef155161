"""Detection: known answer, matching by hand, ignored boxes, properties, bad input."""

import math

import pytest
import torch

from llie_core.metrics.detection import DetectionScores, objects_found


def found(boxes, scores, labels):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        "scores": torch.tensor(scores, dtype=torch.float32),
        "labels": torch.tensor(labels, dtype=torch.long),
    }


def truth(boxes, labels, **others):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.long),
        **others,
    }


def score(predictions, targets, **settings):
    meter = DetectionScores(**settings)
    meter.update(predictions, targets)
    return meter.compute()


def known_case():
    predictions = [
        found(
            [[10, 10, 60, 60], [100, 100, 150, 160], [12, 12, 58, 62]], [0.9, 0.8, 0.7], [0, 1, 0]
        ),
        found([[5, 5, 40, 50], [60, 60, 90, 95]], [0.6, 0.95], [1, 0]),
    ]
    targets = [
        truth([[12, 11, 61, 58], [102, 98, 155, 150]], [0, 1]),
        truth([[50, 60, 88, 92], [5, 5, 42, 48]], [0, 1]),
    ]
    return predictions, targets


def scene(images, seed=0):
    """Random truth of 3 classes, and detections that are jittered truth among false ones."""
    generator = torch.Generator().manual_seed(seed)

    def boxes(count):
        corner = torch.rand(count, 2, generator=generator) * 200
        return torch.cat([corner, corner + 20 + 60 * torch.rand(count, 2, generator=generator)], 1)

    predictions, targets = [], []
    for _ in range(images):
        real = {"boxes": boxes(5), "labels": torch.randint(0, 3, (5,), generator=generator)}
        near = real["boxes"] + 8 * torch.randn(5, 4, generator=generator)
        extra = torch.randint(0, 3, (4,), generator=generator)
        predictions.append(
            {
                "boxes": torch.cat([near, boxes(4)]),
                "labels": torch.cat([real["labels"], extra]),
                "scores": torch.rand(9, generator=generator),
            }
        )
        targets.append(real)
    return predictions, targets


def flat(result):
    """All numbers of a result by name, without the draws, which go by the order."""
    numbers = {name: result[name] for name in result if name not in ("per_class", "drawn")}
    for row in result["per_class"]:
        numbers |= {f"{row['label']}: {name}": value for name, value in row.items()}
    return numbers


def same(result):
    return pytest.approx(flat(result), abs=1e-9, nan_ok=True)


def test_known_answer():
    result = score(*known_case())
    expected = {"map": 0.550990, "map_50": 1.0, "map_75": 0.252475}
    assert {k: result[k] for k in expected} == pytest.approx(expected, abs=1e-6)
    # By hand: the third box of image 1 finds its truth taken: 4 of 5 are right.
    assert result["precision"] == pytest.approx(4 / 5)
    ious = [48 * 47 / (50 * 50 + 49 * 47 - 48 * 47), 48 * 50 / (50 * 60 + 53 * 52 - 48 * 50)]
    ious += [28 * 32 / (30 * 35 + 38 * 32 - 28 * 32), 35 * 43 / (35 * 45 + 37 * 43 - 35 * 43)]
    assert result["matched_iou"] == pytest.approx(sum(ious) / 4, abs=1e-9)


def test_per_class_rows_average_to_the_map():
    result = score(*known_case())
    rows = result["per_class"]
    assert [row["label"] for row in rows] == [0, 1]
    assert [row["n_truth"] for row in rows] == [2, 2]
    assert [row["n_detections"] for row in rows] == [3, 2]
    assert [row["precision"] for row in rows] == pytest.approx([2 / 3, 1])
    for column, whole in (("ap", "map"), ("ap_50", "map_50"), ("ap_75", "map_75")):
        assert sum(row[column] for row in rows) / 2 == pytest.approx(result[whole], abs=1e-6)


def plain_matching(predictions, targets, least=0.25, enough=0.5):
    """IoU of the true positives and the number of detections, box by box."""
    from torchvision.ops import box_iou

    matched, count = [], 0
    for p, t in zip(predictions, targets, strict=True):
        free = set(range(len(t["labels"])))
        iou = box_iou(p["boxes"].double(), t["boxes"].double())
        for d in p["scores"].argsort(descending=True).tolist():
            if p["scores"][d] < least:
                continue
            count += 1
            choice = [(iou[d, g].item(), g) for g in free if t["labels"][g] == p["labels"][d]]
            if choice and max(choice)[0] >= enough:
                matched.append(max(choice)[0])
                free.remove(max(choice)[1])
    return matched, count


def test_matching_agrees_with_a_plain_loop():
    predictions, targets = scene(30)
    matched, count = plain_matching(predictions, targets)
    result = score(predictions, targets)
    assert 20 < len(matched) < count
    assert result["precision"] == pytest.approx(len(matched) / count, abs=1e-12)
    assert result["matched_iou"] == pytest.approx(sum(matched) / len(matched), abs=1e-9)


def test_true_positives_are_those_of_coco():
    """All detections kept and one class: recall at IoU .5 equals pycocotools' recall."""
    from torchmetrics.detection import MeanAveragePrecision

    predictions, targets = scene(20, seed=1)
    for item in (*predictions, *targets):
        item["labels"] = torch.zeros_like(item["labels"])
    reference = MeanAveragePrecision(extended_summary=True)
    reference.update(predictions, targets)
    recall = reference.compute()["recall"][0, 0, 0, -1].item()
    result = score(predictions, targets, score_threshold=0.0)
    assert result["precision"] * 9 * 20 / (5 * 20) == pytest.approx(recall, abs=1e-6)


def test_objects_of_one_image_are_found_once_and_by_strong_detections():
    box, other, third = [0, 0, 100, 100], [200, 0, 300, 100], [0, 200, 100, 300]
    prediction = found([box, [0, 0, 100, 90], other, third], [0.9, 0.8, 0.3, 0.2], [0, 0, 1, 0])
    target = truth([box, other, third], [0, 1, 0])
    assert objects_found(prediction, target) == 2
    assert [objects_found(prediction, target, least) for least in (0.1, 0.5)] == [3, 1]
    ignored = {**target, "ignore": torch.tensor([True, False, False])}
    assert objects_found(prediction, ignored) == 1


def test_thresholds():
    box, shifted = [0, 0, 100, 100], [0, 0, 100, 60]
    predictions, targets = [found([shifted, box], [0.3, 0.2], [0, 1])], [truth([box, box], [0, 1])]
    assert score(predictions, targets)["precision"] == 1
    assert score(predictions, targets, iou_threshold=0.7)["precision"] == 0
    assert score(predictions, targets, score_threshold=0.1)["matched_iou"] == pytest.approx(0.8)
    exact = score(predictions, targets, score_threshold=0.1, iou_threshold=1.0)
    assert (exact["precision"], exact["matched_iou"]) == (0.5, 1)


@pytest.mark.parametrize(
    ("bottom", "confidence", "hits"), [(5, 0.25, 1), (4.9, 0.25, 0), (5, 0.24, 0)]
)
def test_exactly_the_threshold_counts(bottom, confidence, hits):
    """Of a score of .25, and of an overlap of a half."""
    object_, half = truth([[0, 0, 10, 10]], [0]), found([[0, 0, 10, bottom]], [confidence], [0])
    assert objects_found(half, object_) == hits


@pytest.mark.parametrize(("bottom", "precision"), [(10, 1.0), (10.1, 0.5)])
def test_half_within_an_ignored_region_is_no_false_positive(bottom, precision):
    flags, other = torch.tensor([True, False]), [50, 50, 60, 60]
    targets = [truth([[0, 0, 10, 5], other], [0, 0], ignore=flags)]
    predictions = [found([[0, 0, 10, bottom], other], [0.9, 0.9], [0, 0])]
    assert score(predictions, targets)["precision"] == precision


def test_batch_equals_singles_in_any_order():
    predictions, targets = scene(6)
    meter = DetectionScores()
    for i in (4, 0, 5, 3, 1, 2):
        meter.update(predictions[i : i + 1], targets[i : i + 1])
    assert flat(meter.compute()) == same(score(predictions, targets))


def test_class_without_truth_or_without_detections():
    box = [[0, 0, 10, 10]]
    result = score([found(box * 2, [0.9, 0.8], [0, 2])], [truth(box * 2, [0, 1])])
    by_label = {row["label"]: row for row in result["per_class"]}
    assert math.isnan(by_label[2]["ap"])
    assert by_label[2]["precision"] == 0
    assert by_label[1]["ap"] == 0
    assert math.isnan(by_label[1]["precision"])
    assert result["map"] == pytest.approx(0.5, abs=1e-6)
    assert result["precision"] == 0.5


def test_images_without_detections_or_without_objects():
    box = [[0, 0, 10, 10]]
    empty_found, empty_truth = found([], [], []), truth([], [])
    nothing = score([empty_found], [truth(box, [3])])
    assert nothing["map"] == 0
    assert math.isnan(nothing["precision"])
    assert math.isnan(nothing["matched_iou"])
    mixed = score(
        [empty_found, found(box, [0.9], [3]), found(box, [0.95], [3])],
        [truth(box, [3]), truth(box, [3]), empty_truth],
    )
    assert mixed["precision"] == 0.5
    assert mixed["per_class"][0]["n_truth"] == 2


def test_ignored_boxes_cost_nothing():
    box, crowd = [0, 0, 10, 10], [100, 100, 200, 200]
    inside = [120, 120, 140, 140]
    predictions = [found([box, inside], [0.9, 0.95], [0, 0])]
    flags = torch.tensor([False, True])
    result = score(predictions, [truth([box, crowd], [0, 0], ignore=flags)])
    assert (result["precision"], result["per_class"][0]["n_truth"]) == (1, 1)
    assert result["map"] == pytest.approx(1, abs=1e-6)
    counted = score(predictions, [truth([box, crowd], [0, 0])])
    assert counted["precision"] == 0.5
    # A detection of the crowd itself is not right either: it does not count.
    exact = score(
        [found([box, crowd], [0.9, 0.95], [0, 0])], [truth([box, crowd], [0, 0], ignore=flags)]
    )
    assert exact["per_class"][0]["n_detections"] == 1
    # Another class's crowd excuses nothing.
    other = score(predictions, [truth([box, crowd], [0, 1], ignore=flags)])
    assert other["precision"] == 0.5


def test_boxes_without_area_match_nothing():
    point = [[5, 5, 5, 5]]
    result = score([found(point, [0.9], [0])], [truth(point, [0])])
    assert result["precision"] == 0


def test_many_detections_do_not_warn(recwarn):
    boxes = [[i, 0, i + 10, 10] for i in range(150)]
    score([found(boxes, [0.5] * 150, [0] * 150)], [truth(boxes[:1], [0])])
    assert not [w for w in recwarn if "detection" in str(w.message)]


def test_no_ground_truth():
    with pytest.raises(ValueError, match="none in 0 images"):
        DetectionScores().compute()
    meter = DetectionScores()
    meter.update([], [])
    with pytest.raises(ValueError, match="none in 0 images"):
        meter.compute()
    box = [[0, 0, 10, 10]]
    with pytest.raises(ValueError, match="none in 2 images"):
        score(
            [found(box, [0.9], [0])] * 2,
            [truth([], []), truth(box, [0], ignore=torch.tensor([True]))],
        )


@pytest.mark.parametrize(
    ("prediction", "target", "words"),
    [
        ({"scores": torch.tensor([math.nan])}, {}, "prediction 1 holds NaN"),
        ({"boxes": torch.tensor([[0, 0, math.inf, 1]])}, {}, "prediction 1 holds NaN or Inf"),
        ({"boxes": torch.tensor([[5.0, 5, 1, 1]])}, {}, "prediction 1.* x1 <= x2"),
        ({"scores": torch.rand(2)}, {}, "prediction 1.* expected"),
        ({"labels": torch.tensor([-1])}, {}, "prediction 1.* labels"),
        ({}, {"boxes": torch.rand(1, 5)}, "target 1.* expected"),
        ({}, {"labels": torch.tensor([0, 1])}, "target 1.* expected"),
        ({}, {"boxes": torch.full((1, 4), math.nan)}, "target 1 holds NaN"),
    ],
)
def test_bad_input(prediction, target, words):
    box = [[0, 0, 10, 10]]
    good = found(box, [0.9], [0]), truth(box, [0])
    meter = DetectionScores()
    meter.update([good[0]], [good[1]])
    with pytest.raises(ValueError, match=words):
        meter.update([good[0] | prediction], [good[1] | target])
    assert meter.compute()["precision"] == 1, "a refused batch leaves nothing behind"


def test_bad_calls():
    with pytest.raises(ValueError, match="1 predictions for 0 targets"):
        DetectionScores().update([found([], [], [])], [])
    with pytest.raises(ValueError, match="prediction 0 has no labels, scores"):
        DetectionScores().update([{"boxes": torch.zeros(0, 4)}], [truth([], [])])
    with pytest.raises(ValueError, match="iou_threshold"):
        DetectionScores(iou_threshold=0)


@pytest.mark.gpu
def test_cuda_equals_cpu():
    predictions, targets = scene(4)
    on_device = [[{k: v.cuda() for k, v in item.items()} for item in p] for p in scene(4)]
    assert flat(score(*on_device)) == same(score(predictions, targets))
