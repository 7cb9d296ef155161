"""Face detection as a task: what is counted, image by image and in all, and the official files."""

import itertools
import json

import pytest
import torch
from torch import nn

from llie_core.data import collate, open_dataset
from llie_core.data.wider_results import read_detections
from llie_core.engine.reuse import identity
from llie_core.hashing import content_hash
from llie_core.models import create_enhancer
from llie_core.recognizers import create_recognizer
from llie_core.tasks.faces import (
    HEIGHTS,
    SUBSETS,
    FaceDetection,
    faces_found,
    height_name,
    listed,
)

CPU = torch.device("cpu")
TALL = [(10, 10, 30, 20), (40, 10, 60, 30), (70, 10, 90, 60)]  # faces 10, 20 and 50 pixels high


class Detector(nn.Module):
    """Finds given faces, each with the score of its number, in every image."""

    name = "toy"

    def __init__(self, boxes, scores):
        super().__init__()
        self.boxes, self.scores = torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(scores)
        self.sizes = []

    def predict(self, images):
        self.sizes.append(len(images))
        return [{"boxes": self.boxes, "scores": self.scores} for _ in images]


class Faces(torch.utils.data.Dataset):
    """Grey images of the faces TALL, the last of which is to be ignored."""

    def __init__(self, count=3, **changes):
        self.count, self.changes = count, changes

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError
        height = torch.tensor([box[3] - box[1] for box in TALL])
        item = {
            "image": torch.full((3, 80, 100), 0.25), "target": torch.full((3, 80, 100), 0.75),
            "boxes": torch.tensor(TALL).float(), "ignore": torch.tensor([False, False, True]),
            "keep": {s: height >= least for s, least in zip(SUBSETS, (18, 12, 0), strict=True)},
            "name": f"event/{index}.jpg", "darkening": {"gain": index},
        }  # fmt: skip
        return item | self.changes

    def describe(self):
        return {"count": self.count}


def task(official=False, **detectors):
    detectors = detectors or {"toy": Detector(TALL[:2], [0.9, 0.4])}
    return FaceDetection(detectors, dict.fromkeys(detectors, 0.5), official)


def measure(one, data=None, normal_light=False):
    return one.measure(create_enhancer("identity"), data or Faces(), CPU, normal_light)


def test_numbers_over_the_set_and_of_each_image():
    scores, rows = measure(task())
    found = {(s.metric, s.subset): s for s in scores}
    # Three images with two faces that count: the second is found below the operating point.
    assert found["recall", "all"].value == pytest.approx(0.5) and found["recall", "all"].n == 6
    assert found["fp_per_image", "all"].value == 0 and found["fp_per_image", "all"].n == 3
    assert found["ap", "hard"].value == pytest.approx(2 / 3) and found["ap", "hard"].n == 9
    # 10 px: the best score belongs to it; 20 px: the other face's detection is passed over.
    assert found["ap", "0-16 px"].value == found["ap", "16-24 px"].value == pytest.approx(1)
    assert ("ap", "24-32 px") not in found and ("ap", "48-96 px") not in found  # ignored, or none
    assert found["psnr", "all"].value == pytest.approx(-10 * torch.tensor(0.25).log10().item())
    assert {s.recognizer for s in scores} == {"toy", ""} and not found["psnr", "all"].recognizer
    assert [row["name"] for row in rows] == [f"event/{i}.jpg" for i in range(3)]
    assert {row["faces"] for row in rows} == {2} and {row["recall_toy"] for row in rows} == {
        "0.5000"
    }
    assert [json.loads(row["darkening"]) for row in rows] == [{"gain": i} for i in range(3)]
    assert float(rows[0]["psnr"]) == pytest.approx(found["psnr", "all"].value, abs=1e-4)


def test_the_normal_light_image_is_read_in_place_of_the_enhanced_one():
    scores, rows = measure(task(), normal_light=True)
    assert "psnr" not in {s.metric for s in scores} and {row["psnr"] for row in rows} == {""}


def test_false_positives_count_at_the_operating_point_only():
    found = Detector([(0, 60, 9, 70), (91, 60, 99, 70)], [0.6, 0.4])
    scores, rows = measure(task(toy=found))
    by_metric = {(s.metric, s.subset): s.value for s in scores}
    assert by_metric["fp_per_image", "all"] == 1 and by_metric["recall", "all"] == 0
    assert {row["false_positives_toy"] for row in rows} == {1}


def test_every_reader_reads_every_image_once():
    first, second = Detector(TALL, [0.9, 0.8, 0.7]), Detector([], [])
    scores, _ = measure(task(first=first, second=second), Faces(10))
    assert first.sizes == second.sizes == [8, 2]
    recall = {s.recognizer: s.value for s in scores if s.metric == "recall"}
    assert recall == {"first": 1.0, "second": 0.0}
    readers = list(dict.fromkeys(s.recognizer for s in scores))
    assert readers == ["first", "second", ""]  # PSNR, last, is of none


def test_images_without_the_official_lists_are_refused():
    with pytest.raises(FileNotFoundError, match="easy, medium and hard lists are needed"):
        measure(task(official=True), Faces(keep={}))


def test_official_detections_go_through_files_that_are_left(tmp_path):
    own = task(official=True)
    scores, _ = measure(own.beside(tmp_path))
    names = [f"event/{i}.jpg" for i in range(3)]
    found = read_detections(tmp_path / "toy", names)
    assert [one["scores"].tolist() for one in found] == [pytest.approx([0.9, 0.4])] * 3
    protocols = {s.subset: s.protocol for s in scores if s.metric == "ap"}
    assert protocols["hard"] == "face-ap-wider" and protocols["0-16 px"] == "face-ap-height"
    again, _ = measure(own)  # without a folder: the same numbers, nothing is written
    assert [s.value for s in again] == pytest.approx([s.value for s in scores])
    assert own.readers["toy"].sizes == [1] * 6  # images of WIDER FACE differ in size


def test_where_files_lie_is_no_part_of_the_task(tmp_path):
    def hashed(one):
        return content_hash(identity(one))

    official = task(official=True)
    assert hashed(official) == hashed(official.beside(tmp_path)) != hashed(task())
    readers = {"toy": Detector(TALL[:2], [0.9, 0.4])}
    assert hashed(FaceDetection(readers, {"toy": 0.6})) != hashed(task())


def test_large_faces_and_scores_keep_their_digits():
    assert listed(torch.tensor([1024.0, 0.987654])) == "1024 0.987654"


def test_ranges_of_height_cover_every_face():
    assert HEIGHTS[0][0] == 0
    assert all(a[1] == b[0] for a, b in itertools.pairwise(HEIGHTS))
    assert [height_name(*span) for span in (HEIGHTS[0], HEIGHTS[-1])] == ["0-16 px", "over 96 px"]


def test_each_detector_gives_doubtful_faces_too():
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    data = open_dataset("builtin-faces", "test", size=160, count=8)
    images = collate([data[i] for i in range(8)])["image"]  # in low light
    for recognizer in (create_recognizer("mtcnn"), create_recognizer("tinaface", backbone="small")):
        found = faces_found(recognizer, images)
        assert len(found) == 8
        for one in found:
            assert one["boxes"].shape == (len(one["scores"]), 4)
    scores = torch.cat([one["scores"] for one in faces_found(create_recognizer("mtcnn"), images)])
    assert len(scores) and scores.min() < 0.6  # below what MTCNN takes by itself
