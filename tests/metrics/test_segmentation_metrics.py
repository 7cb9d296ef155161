"""Set-wise mIoU: known answer, torchmetrics as the reference, properties, bad input."""

import pytest
import torch

from llie_core.metrics.resampling import OF_SETS, drawn_counts
from llie_core.metrics.segmentation import SegmentationIoU, drawn_miou


def labels(shape, classes, seed, ignored=0.0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, classes, shape, generator=generator)
    return ids.masked_fill(torch.rand(shape, generator=generator) < ignored, 255)


def score(prediction, target, classes):
    meter = SegmentationIoU(classes)
    meter.update(prediction, target)
    return meter.compute()


def test_known_answer():
    target = torch.tensor([[[0, 0, 1], [1, 2, 255]]])
    prediction = torch.tensor([[[0, 1, 1], [1, 2, 0]]])
    result = score(prediction, target, 3)
    assert result["miou"] == pytest.approx(0.722222, abs=1e-6)
    assert result["per_class"].tolist() == pytest.approx([1 / 2, 2 / 3, 1])


@pytest.mark.parametrize("used", [19, 11])
def test_agrees_with_torchmetrics_over_batches(used):
    """Also where 8 of the 19 classes occur nowhere: they are out of the mean there as here."""
    from torchmetrics import JaccardIndex

    reference = JaccardIndex("multiclass", num_classes=19, ignore_index=255, average="macro")
    meter = SegmentationIoU(19)
    for seed in range(3):
        prediction = labels((2, 23, 31), used, seed)
        target = labels((2, 23, 31), used, seed + 10, ignored=0.2)
        half = labels(target.shape, 2, seed + 20) == 0
        target = torch.where(half, prediction, target)
        reference.update(prediction, target)
        meter.update(prediction, target)
    assert meter.compute()["miou"] == pytest.approx(reference.compute().item(), abs=1e-6)
    assert meter.compute()["per_class"].isnan().sum() == 19 - used


def test_predicted_only_class_counts_as_zero_and_absent_class_not_at_all():
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    prediction = torch.tensor([[[0, 0], [0, 1]]])
    result = score(prediction, target, 3)
    assert result["per_class"][:2].tolist() == [0.75, 0.0]
    assert result["per_class"][2].isnan()
    assert result["miou"] == pytest.approx(0.375)


def test_whole_set_not_mean_of_images():
    first = torch.zeros(1, 1, 4, dtype=torch.long), torch.tensor([[[0, 0, 0, 1]]])
    second = torch.ones(1, 1, 4, dtype=torch.long), torch.tensor([[[1, 1, 1, 1]]])
    meter = SegmentationIoU(2)
    meter.update(*first)
    meter.update(*second)
    assert meter.matrix.tolist() == [[3, 0], [1, 4]]
    assert meter.compute()["miou"] == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_batch_equals_singles_in_any_order():
    prediction, target = labels((6, 13, 17), 4, 0), labels((6, 13, 17), 4, 1, ignored=0.1)
    meter = SegmentationIoU(4)
    for i in (5, 2, 0, 1, 4, 3):
        meter.update(prediction[i : i + 1], target[i : i + 1])
    assert meter.compute()["miou"] == score(prediction, target, 4)["miou"]


def test_integer_types_and_inputs_left_alone():
    prediction, target = labels((1, 16, 16), 19, 0), labels((1, 16, 16), 19, 1, ignored=0.1)
    copies = prediction.clone(), target.clone()
    expected = score(prediction, target, 19)["miou"]
    assert torch.equal(prediction, copies[0])
    assert torch.equal(target, copies[1])
    assert score(prediction.byte(), target.byte(), 19)["miou"] == expected
    assert score(prediction.int(), target.short(), 19)["miou"] == expected


def test_another_ignore_index():
    meter = SegmentationIoU(2, ignore_index=-1)
    meter.update(torch.tensor([[[0, 1]]]), torch.tensor([[[0, -1]]]))
    assert meter.matrix.tolist() == [[1, 0], [0, 0]]


def test_nothing_to_score():
    meter = SegmentationIoU(3)
    with pytest.raises(ValueError, match="not ignored"):
        meter.compute()
    meter.update(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 255))
    with pytest.raises(ValueError, match="not ignored"):
        meter.compute()


@pytest.mark.parametrize(
    ("prediction", "target", "error", "words"),
    [
        (torch.zeros(1, 4, 4).long(), torch.zeros(1, 4, 5).long(), ValueError, "same shape"),
        (torch.zeros(0, 4, 4).long(), torch.zeros(0, 4, 4).long(), ValueError, "one pixel"),
        (torch.zeros(1, 4, 4), torch.zeros(1, 4, 4).long(), TypeError, "prediction.*float32"),
        (torch.zeros(1, 4, 4).long(), torch.full((1, 4, 4), torch.nan), TypeError, "target"),
        (torch.zeros(1, 4, 4).bool(), torch.zeros(1, 4, 4).long(), TypeError, "bool"),
        (torch.full((1, 4, 4), 3), torch.zeros(1, 4, 4).long(), ValueError, "prediction.* 3"),
        (torch.full((1, 4, 4), 255), torch.zeros(1, 4, 4).long(), ValueError, "prediction.* 255"),
        (torch.zeros(1, 4, 4).long(), torch.full((1, 4, 4), 3), ValueError, "target.* 3"),
        (torch.zeros(1, 4, 4).long(), torch.full((1, 4, 4), -1), ValueError, "target.* -1"),
    ],
)
def test_bad_input(prediction, target, error, words):
    with pytest.raises(error, match=words):
        SegmentationIoU(3).update(prediction, target)


@pytest.mark.parametrize(("classes", "ignored"), [(0, 255), (300, 255)])
def test_bad_settings(classes, ignored):
    with pytest.raises(ValueError, match="classes"):
        SegmentationIoU(classes, ignored)


@pytest.mark.gpu
def test_stays_on_the_device():
    prediction, target = labels((2, 32, 32), 19, 0), labels((2, 32, 32), 19, 1, ignored=0.1)
    meter = SegmentationIoU(19)
    meter.update(prediction.cuda(), target.cuda())
    assert meter.matrix.is_cuda
    assert meter.compute()["per_class"].is_cuda
    assert meter.compute()["miou"] == pytest.approx(score(prediction, target, 19)["miou"])


def test_each_draw_has_the_miou_of_its_images():
    target, guess = labels((5, 6, 6), 4, 0, ignored=0.1), labels((5, 6, 6), 4, 1)
    mixed = torch.where(torch.arange(5).view(5, 1, 1) < 2, guess, target)  # two images are wrong
    prediction = mixed.masked_fill(mixed == 255, 0)
    drawn = []
    for counts in drawn_counts(5, OF_SETS)[:200].astype(int):
        again = torch.arange(5).repeat_interleave(torch.from_numpy(counts))
        drawn.append(score(prediction[again], target[again], 4)["miou"])
    matrices = []
    for pair in zip(prediction, target, strict=True):
        meter = SegmentationIoU(4)
        meter.update(*(part[None] for part in pair))
        matrices.append(meter.matrix)
    assert drawn_miou(torch.stack(matrices))[:200].tolist() == pytest.approx(drawn)
    assert min(drawn) < score(prediction, target, 4)["miou"] < max(drawn)
