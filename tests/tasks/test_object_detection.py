"""Object detection as a task: its numbers, and what is kept of each image."""

import pytest
import torch
from torch import nn

from llie_core.models import create_enhancer
from llie_core.tasks.detection import ObjectDetection

CPU = torch.device("cpu")
QUALITY = ("psnr-rgb-float", "ssim-valid-gaussian")


class Bright(nn.Module):
    """Finds what is brighter than a half as one object of label 0, with a score."""

    def __init__(self, score=0.9):
        super().__init__()
        self.score = score

    def predict(self, images):
        return [self._find(image) for image in images]

    def _find(self, image):
        places = (image.mean(0) > 0.5).nonzero()
        count = min(1, len(places))
        box = [*places.amin(0).flip(0), *(places.amax(0).flip(0) + 1)] if count else []
        return {
            "boxes": torch.tensor(box).float().view(-1, 4),
            "scores": torch.full((count,), self.score),
            "labels": torch.zeros(count, dtype=torch.long),
        }


class Squares(torch.utils.data.Dataset):
    """A bright square in each image, dark in every second one; its box, and one to be ignored."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        target = torch.zeros(3, 16, 24)
        target[:, 2:10, 3:13] = 1
        boxes = torch.tensor([[3.0, 2, 13, 10], [0.0, 0, 2, 2]])
        return {
            "image": target / (1 + index % 2 * 9), "target": target, "name": f"{index}",
            "boxes": boxes, "labels": torch.zeros(2, dtype=torch.long),
            "ignore": torch.tensor([False, True]),
        }  # fmt: skip


def measured(detector=None, normal_light=False, protocols=QUALITY):
    task = ObjectDetection(detector or Bright(), protocols)
    found, images = task.measure(create_enhancer("identity"), Squares(), CPU, normal_light)
    return {one.metric: one for one in found}, images


def test_numbers_are_those_of_the_detections_and_of_the_images():
    found, images = measured()
    assert list(found) == ["psnr", "ssim", "map", "map_50", "precision", "iou"]
    # Two of four objects are found: 51 of 101 recall points at precision 1.
    assert found["map"].value == pytest.approx(51 / 101) == found["map_50"].value
    assert (found["precision"].value, found["iou"].value) == (1.0, 1.0)
    counts = {metric: one.n for metric, one in found.items()}
    assert counts == {"psnr": 4, "ssim": 4, "map": 4, "map_50": 4, "precision": 2, "iou": 2}
    protocols = [found[metric].protocol for metric in ("map", "map_50", "precision", "iou")]
    assert protocols == ["det-map-coco", "det-map50-coco", "det-precision-25", "det-matched-iou-25"]
    assert [(i["name"], i["objects"], i["detections"], i["recall"]) for i in images] == [
        ("0", 1, 1, "1.0000"), ("1", 1, 0, "0.0000"), ("2", 1, 1, "1.0000"), ("3", 1, 0, "0.0000"),
    ]  # fmt: skip
    assert set(images[0]) == {"name", *QUALITY, "objects", "detections", "recall"}


def test_the_normal_light_image_is_read_in_place_of_the_enhanced_one():
    found, images = measured(normal_light=True)
    assert "psnr" not in found and found["map"].value == pytest.approx(1.0)
    assert [image["detections"] for image in images] == [1] * 4


def test_without_a_detection_that_counts_there_is_no_precision_and_no_iou():
    found, images = measured(Bright(score=0.2), protocols=())
    assert list(found) == ["map", "map_50"] and found["map"].n == 4
    assert [image["detections"] for image in images] == [0] * 4
