"""Segmentation: mIoU of a frozen recognizer on images of which the answer is known."""

import math

import pytest
import torch

from llie_core.models import create_enhancer
from llie_core.recognizers import Recognizer
from llie_core.tasks.segmentation import Segmentation

CLASSES = ("road", "sky", "car")


class Bright(Recognizer):
    """Class 1 where an image is bright, else class 0."""

    def predict(self, images):
        return (images.mean(1) > 0.5).long()


class Scenes(torch.utils.data.Dataset):
    """Two dark 2×2 images, one with a bright row; masks: top sky, below road, a pixel ignored."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        image = torch.full((3, 2, 2), 0.2)
        image[:, 0] = 0.8 if index else 0.2
        mask = torch.tensor([[1, 1], [0, 255]])
        return {"image": image, "target": image * 0 + 0.7, "mask": mask, "name": f"s{index}"}


def measure(task, normal_light=False):
    return task.measure(create_enhancer("identity"), Scenes(), torch.device("cpu"), normal_light)


def test_miou_comes_from_one_confusion_matrix_and_absent_classes_are_left_out():
    measured, rows = measure(Segmentation(Bright(), CLASSES))
    found = {(m.metric, m.subset): m for m in measured}
    # Sky: 2 of 4 pixels found; road: 2 hits, 2 sky pixels taken for it.
    assert found["miou", "all"].value == pytest.approx((2 / 4 + 2 / 4) / 2)
    assert found["iou", "sky"].value == found["iou", "road"].value == 0.5
    assert ("iou", "car") not in found
    assert found["brightness", "all"].value == pytest.approx((0.2 + 0.5) / 2)
    errors = (0.25, (0.25 + 0.01) / 2)
    expected = sum(-10 * math.log10(e) for e in errors) / 2
    assert found["psnr", "all"].value == pytest.approx(expected, abs=1e-4)
    assert {m.n for m in measured} == {2}
    assert rows == [{"name": "s0", "miou": "0.1667"}, {"name": "s1", "miou": "1.0000"}]


def test_normal_light_images_are_read_in_place_of_the_enhanced_ones():
    measured, _ = measure(Segmentation(Bright(), CLASSES), normal_light=True)
    found = {m.metric: m.value for m in measured}
    assert found["brightness"] == pytest.approx(0.7) and "psnr" not in found


def test_without_parts_only_the_whole_is_measured():
    measured, _ = measure(Segmentation(Bright(), CLASSES, parts=False, batch_size=1))
    assert [(m.metric, m.subset, m.protocol) for m in measured] == [("miou", "all", "seg-miou")]


def test_an_image_without_labelled_pixels_has_no_value_of_its_own():
    meter = Segmentation(Bright(), CLASSES).meter(torch.device("cpu"), False)
    batch = {"name": ["empty"], "mask": torch.full((1, 2, 2), 255)}
    assert meter.update(torch.zeros(1, 3, 2, 2), batch) == [{"name": "empty", "miou": ""}]
