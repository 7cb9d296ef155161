"""Paper 4's detection (Table 4): which pictures, which detector, which numbers.

COCO1000 and the detector's training are not published, and neither detector's weights are here, so
each of the paper's two sets has a stand-in, which says so:

    builtin-streets-darkened  COCO1000: drawn streets by day, darkened as COCO1000 is made here
    builtin-streets           ExDark: the same streets by night
    coco-darkened             COCO1000: a copy of COCO val2017, darkened alike (setting)
    exdark                    a copy of ExDark (setting)

The streets are read by a light detector, trained on them by day, which tells persons from vehicles
(eight classes want more training than a quick report has); the copies by YOLOv4, given the authors'
weights.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from llie_core.data import collate, open_dataset
from llie_core.data.registry import Absent
from llie_core.data.synthesis import COCO_STYLE
from llie_core.data.wrappers import Augmented, Cached, Darkened, Resized, Wrapped
from llie_core.files import project_root
from llie_core.losses.task_driven import TaskLoss
from llie_core.metrics.detection import DetectionScores
from llie_core.metrics.protocols import evaluate, load_protocols
from llie_core.recipes.base import Measured
from llie_core.recipes.further import at_most, opened
from llie_core.recipes.paired_scores import MAIN, lacking_weights, measured
from llie_core.recipes.recognizer_training import recognizer_experiment
from llie_core.recognizers import Recognizer, create_recognizer
from llie_core.runs import RunKey
from llie_core.synthetic.streets import STREET_OBJECTS
from llie_core.training import Experiment

DETECTOR = "light_detector"
# What the light detector finds; of STREET_OBJECTS, all but these are vehicles.
KINDS, PERSONS = ("person", "vehicle"), ("person", "rider")
STREETS, DARKENED = "builtin-streets", "builtin-streets-darkened"
COCO, EXDARK = "coco-darkened", "exdark"
# A set here → the set of the paper's Table 4 (a and b) that it is or stands in for.
STANDS_FOR = {DARKENED: "coco1000", COCO: "coco1000", STREETS: "exdark", EXDARK: "exdark"}
# Name in Table 4 → name in metrics/detection.py and protocol. Which mAP is meant it does not say.
MEASURES = {
    "map": ("map", "det-map-coco"),
    "map_50": ("map_50", "det-map50-coco"),
    "precision": ("precision", "det-precision-25"),
    "iou": ("matched_iou", "det-matched-iou-25"),
}
QUALITY = {True: ("psnr", "ssim"), False: ("niqe", "sseq")}  # with a ground truth, without


@dataclass(frozen=True)
class DetectionSet:
    """Dark pictures with boxes. detector: that reads them, "" where there is none to be had;
    protocols: of the pictures' quality; paired: its items have a `target`."""

    name: str
    data: Dataset
    detector: str
    protocols: tuple[str, ...]
    paired: bool


def detection_sets(settings) -> tuple[list[DetectionSet], dict[str, str]]:
    """The sets that there are, and why the others are not."""
    light = (Darkened(streets_by_day(settings, "test"), COCO_STYLE), _streets(settings, "night"))
    sets = [
        _set(name, data, DETECTOR, paired=True)
        for name, data in zip((DARKENED, STREETS), light, strict=True)
    ]
    openers = {COCO: _coco, EXDARK: _exdark}
    copies, lacking = opened(openers, lambda name: openers[name](settings))
    detector = "yolov4" if settings.yolov4_weights else ""
    sets += [_set(name, data, detector, paired=name == COCO) for name, data in copies.items()]
    if not detector:
        why = "no weights given (setting yolov4_weights)"
        lacking |= {f"{name}, detection": why for name in copies}
    return sets, lacking


def _set(name: str, data: Dataset, detector: str, paired: bool) -> DetectionSet:
    protocols = [MAIN[metric] for metric in QUALITY[paired]]
    found = tuple(protocol for protocol in protocols if not lacking_weights(protocol))
    return DetectionSet(name, data, detector, found, paired)


def detector_of(settings, frozen: bool = True, name: str = DETECTOR) -> Recognizer:
    """An untrained detector: the light one of persons and vehicles, or YOLOv4."""
    options = {"classes": len(KINDS)} if name == DETECTOR else {}
    return create_recognizer(name, frozen=frozen, **options)


def detector_experiment(key: RunKey, detector: Recognizer, settings) -> Experiment:
    """The training of the light detector on drawn streets by day."""
    data = Augmented(streets_by_day(settings, "train"), flips="horizontal")
    code = (f"llie_core.recognizers.{DETECTOR}", "llie_core.losses.task_driven",
            "llie_core.synthetic.streets", "llie_core.data.transforms")  # fmt: skip
    objective = TaskLoss(detector, object_targets)
    return recognizer_experiment(key, detector, objective, data, settings, "detector", code)


def object_targets(batch: dict) -> list[dict[str, Tensor]]:
    """The objects of a batch in the detectors' form."""
    parts = ("boxes", "labels", "ignore")
    return [
        dict(zip(parts, values, strict=True))
        for values in zip(*(batch[part] for part in parts), strict=True)
    ]


def detect(
    model: nn.Module, detector: Recognizer | None, data: Dataset, protocols, device,
    by_day: bool = False,
) -> tuple[list[Measured], list[dict]]:  # fmt: skip
    """Table 4's numbers of an enhancer before a frozen detector, and those of each picture.

    protocols: of the pictures' quality; by_day: read the ground truth in place of the picture.
    """
    gathered = DetectionScores()
    values: dict[str, list[float]] = {} if by_day else {protocol: [] for protocol in protocols}
    images = []
    detector = detector.to(device) if detector is not None else None
    for batch in DataLoader(data, batch_size=1, collate_fn=collate):
        source = batch["target" if by_day else "image"].to(device)
        output, row = model.enhance(source), {"name": batch["name"][0]}
        for protocol, found in values.items():
            single = load_protocols()[protocol].inputs == "image"
            value = evaluate(protocol, output, None if single else batch["target"].to(device))
            found.append(value.item())
            row[protocol] = f"{found[-1]:.5f}"
        if detector is not None:
            predictions, targets = detector.predict(output), object_targets(batch)
            gathered.update(predictions, targets)
            sure = int((predictions[0]["scores"] >= gathered.score_threshold).sum())
            row |= {"objects": int((~targets[0]["ignore"]).sum()), "detections": sure}
        images.append(row)
    scores = [measured(protocol, found) for protocol, found in values.items()]
    return scores + (_object_scores(gathered, len(images)) if detector is not None else []), images


def _object_scores(gathered: DetectionScores, pictures: int) -> list[Measured]:
    computed = gathered.compute()
    detections = sum(row["n_detections"] for row in computed["per_class"])
    counts = {"precision": detections, "iou": detections}
    return [
        Measured(metric, "all", computed[name], "fraction", "higher",
                 counts.get(metric, pictures), protocol)
        for metric, (name, protocol) in MEASURES.items()
    ]  # fmt: skip


def streets_by_day(settings, split: str) -> Dataset:
    """Drawn streets by day, with their objects."""
    count = settings.street_train if split == "train" else settings.street_test
    return _drawn(split, "day", tuple(settings.street_size), count)


def _streets(settings, light: str) -> Dataset:
    return _drawn("test", light, tuple(settings.street_size), settings.street_test)


def _coco(settings) -> Dataset:
    data = open_dataset("coco", "val", _root(settings))
    return Darkened(_prepared(settings, data), COCO_STYLE)


def _exdark(settings) -> Dataset:
    data = open_dataset("exdark", "all", _root(settings), label_space="coco")
    return _prepared(settings, data)


def _root(settings) -> Path:
    if not settings.detection_data:
        raise Absent("no folder given (setting detection_data)")
    return project_root() / settings.detection_data


def _prepared(settings, data: Dataset) -> Dataset:
    data = at_most(data, settings.detection_count)
    return Resized(data, settings.detection_size, quantised=True)


class Kinds(Wrapped):
    """Streets whose objects bear the labels of KINDS instead of STREET_OBJECTS."""

    def __init__(self, source: Dataset):
        super().__init__(source, kinds=list(KINDS))
        self._of = torch.tensor([int(name not in PERSONS) for name in STREET_OBJECTS])

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        return item | {"labels": self._of[item["labels"]]}


# A report reads the same streets for every row, so they stay in memory.
@lru_cache(maxsize=3)
def _drawn(split: str, light: str, size: tuple[int, int], count: int) -> Dataset:
    streets = open_dataset("builtin-streets", split, size=size, count=count, light=light)
    return Cached(Kinds(streets))
