"""Paper 4's detection in the report: Table 4, every number of every set, and Fig. 7."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from llie_core.recipes.drgn import DrgnRecipe, DrgnSettings
from llie_core.recipes.drgn_detection import MEASURES, STANDS_FOR, DetectionSet, detection_sets
from llie_core.recipes.paired_report import shown_keys
from llie_core.reporting.figures import Panel
from llie_core.reporting.scores import Score, select, summarise
from llie_core.reporting.tables import Table, conditions, published_beside_measured

LEAST_MAP50 = 0.05  # of some row; below it, a detector tells rows apart by chance only


def table_4(settings: DrgnSettings, scores: Sequence[Score]) -> list[Table]:
    """Tables 4(a) and 4(b), once for each set that is theirs or stands in for it."""
    tables = []
    for part, wanted in (("4a", "coco1000"), ("4b", "exdark")):
        for one in detection_sets(settings)[0]:
            if STANDS_FOR[one.name] != wanted:
                continue
            found = select(scores, dataset=one.name)
            caption = f"Table {part}: {wanted} as published, {one.name} here"
            table = published_beside_measured("drgn", part, found, caption, decimals=2, flip=True)
            header = [title.rpartition(" / ")[2] for title in table.header]
            tables.append(replace(table, header=header))
    return tables


def detection_tables(scores: Sequence[Score]) -> list[Table]:
    """Every row on each detection set: mAP in both readings, precision, matched IoU, quality."""
    metrics = (*MEASURES, "psnr", "ssim", "niqe", "sseq")
    tables = []
    for name in dict.fromkeys(score.dataset for score in scores):
        found = select(scores, dataset=name)
        shown = [metric for metric in metrics if select(found, metric=metric)]
        rows = [
            [label, *(_cell(select(found, label=label, metric=metric)) for metric in shown)]
            for label in dict.fromkeys(score.label for score in found)
        ]
        note = (
            f"Measured: {conditions(found)} map is COCO's (IoU .50 to .95), map_50 at IoU 0.5; "
            "original: the scene by day."
        )
        tables.append(Table(f"Detection on {name}", ["", *shown], rows, note))
    return tables


def _cell(scores: list[Score]) -> str:
    if not scores:
        return "–"
    places = 2 if scores[0].unit in ("dB", "index") else 3
    return f"{summarise(score.value for score in scores):.{places}f}"


def detections(recipe: DrgnRecipe, settings: DrgnSettings) -> list[list[Panel]]:
    """Fig. 7: one picture of each detection set as each row gives it, with the strongest of what is
    found in it: as many boxes as it has objects."""
    lines = []
    for one in detection_sets(settings)[0]:
        if not one.detector:
            continue
        detector, _ = recipe.detector(settings, one.detector)
        item = one.data[_busiest(one)]
        boxes = item["boxes"][~item["ignore"]]
        count = len(boxes)
        panels = [Panel(f"{one.name}: truth", item["image"], boxes, torch.ones(count))]
        for key in shown_keys(recipe, settings):
            if key.model not in recipe.external_folders(settings):
                image = recipe.load(key, settings, "cpu").enhance(item["image"][None])
                panels.append(_found(key.method, image, detector, count))
        if one.paired:
            panels.append(_found("original", item["target"][None], detector, count))
        lines += [panels[start : start + 4] for start in range(0, len(panels), 4)]
    return lines


def _busiest(one: DetectionSet, among: int = 8) -> int:
    """The one of the first pictures with most objects."""
    counts = [int((~one.data[i]["ignore"]).sum()) for i in range(min(among, len(one.data)))]
    return counts.index(max(counts))


def _found(label: str, image: Tensor, detector, count: int) -> Panel:
    found = detector.predict(image)[0]  # by falling score
    return Panel(label, image[0], found["boxes"][:count], found["scores"][:count])


def tells_apart(scores: list[Score]) -> bool:
    """Whether a detector finds enough in some row for its numbers to mean something."""
    maps = select(scores, metric="map_50")
    return not maps or max(s.value for s in maps if s.label != "original") >= LEAST_MAP50
