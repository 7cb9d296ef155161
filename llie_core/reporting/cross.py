"""Every enhancer before every recognizer: what is gained over the low-light image, by the values of
each image that evaluations leave (per_image/<task>-<data set>.csv).

The gain of an enhancer is a mean over images, paired with the low-light image itself; its interval
is a bootstrap over images, so it says how far other images of the kind could move it, not other
trainings.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llie_core.files import read_rows, results_dir
from llie_core.metrics.resampling import DRAWS, LEVEL, bootstrap
from llie_core.names import title_of
from llie_core.reporting.scores import OF_PAPERS, EarlierScores, Score, all_kept, read_scores
from llie_core.reporting.sources import short_doubt
from llie_core.reporting.tables import Table

LOW, NORMAL = "identity", "original"  # the low-light and the normal-light image as rows


class Measure(NamedTuple):
    """Of one task: what is recognized, the column of an image's value, its words, the column that
    weighs the image, and whether more is better."""

    kind: str
    column: str
    words: str
    weight: str
    rising: bool


# A detector's name follows the column of faces.
MEASURES = {
    "detection": Measure("objects", "recall", "recall", "objects", True),
    "faces": Measure("faces", "recall_", "recall", "faces", True),
    "segmentation": Measure("segmentation", "miou", "mIoU an image", "", True),
    "saliency": Measure("saliency", "mae", "MAE", "", False),
}


@dataclass
class Reading:
    """What a recognizer makes of a test set behind each row.

    values: label → image → values over seeds, none where the file of images has no such column;
    weights: image → what it counts.
    """

    recognizer: str
    dataset: str
    run: str
    task: str
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def measure(self) -> Measure:
        return MEASURES[self.task]

    def means(self, label: str) -> dict[str, float]:
        """Image → the mean over seeds."""
        return {name: float(np.mean(of)) for name, of in self.values.get(label, {}).items()}

    def mean(self, label: str) -> float:
        """Over images, weighed; NaN for a row that was not read."""
        of = self.means(label)
        weights = [self.weights[name] for name in of]
        return float(np.average(list(of.values()), weights=weights)) if sum(weights) else np.nan

    @property
    def blind(self) -> bool:
        """Whether normal light is not surely better than low light; False where it was not read."""
        found = self.gain(NORMAL)
        return found is not None and found[1] <= 0

    def gain(self, label: str) -> tuple[float, float, float] | None:
        """What a row gains over the low-light image, and the interval; None where it was not read.
        Positive is better."""
        after, before = self.means(label), self.means(LOW)
        names = [name for name in after if name in before]
        weights = np.array([self.weights[name] for name in names])
        if not weights.sum():
            return None
        sign = 1.0 if self.measure.rising else -1.0
        differences = np.array([sign * (after[name] - before[name]) for name in names])
        mean = float(np.average(differences, weights=weights))
        return mean, *bootstrap(differences, weights)


def cross_tables(readings: Iterable[Reading]) -> list[Table]:
    """A table for each kind of recognizer, in the order of `MEASURES`."""
    found = list(readings)
    by_task = {task: [one for one in found if one.task == task] for task in MEASURES}
    return [_cross_table(task, of_task) for task, of_task in by_task.items() if of_task]


def _cross_table(task: str, readings: Sequence[Reading]) -> Table:
    """Recognizers as columns: the low-light image, the best row and normal light, then the gain of
    every row with its interval. The note names the sets without values of single images."""
    words = MEASURES[task].words
    absent = [f"{words} of {one.dataset} ({one.run})" for one in readings if not one.values]
    readings = [one for one in readings if one.values]
    labels = list(dict.fromkeys(label for one in readings for label in one.values))
    labels = [label for label in labels if label not in (LOW, NORMAL)]
    rows = [
        ["low light", *(_number(one.mean(LOW)) for one in readings)],
        ["best", *(_best(one, labels) for one in readings)],
        ["normal light", *(_number(one.mean(NORMAL)) for one in readings)],
        *([title_of(label), *(_gain(one, label) for one in readings)] for label in labels),
    ]
    header = ["", *map(_column, readings)]
    note = (
        "Below normal light: gain over the low-light image (positive is better, of MAE too) and "
        f"its {LEVEL:.0%} interval, {DRAWS} bootstrap draws over images; seeds are averaged first. "
        "Values of single images; the papers' own metrics over whole sets are in the reports. "
        "Blind: the interval of what normal light gains reaches 0: it decides nothing. "
        f"Runs: {'; '.join(dict.fromkeys(one.run for one in readings)) or 'none'}."
    )
    if absent:
        note += f" Not kept of single images: {'; '.join(absent)}."
    caption = f"Every enhancer before every recognizer: {MEASURES[task].kind}"
    return Table(caption, header, rows, note)


def kept_readings() -> list[Reading]:
    """What all reference runs kept of their images; of doubtful runs the name says so."""
    found = []
    for folder in all_kept():
        if folder.name not in OF_PAPERS:  # such as photographs
            continue
        run = "/".join(folder.parts[-3:])
        if doubt := short_doubt(folder):
            run += f" ({doubt})"
        found += read_folder(folder, run)
    return found


def report_readings(profile: str) -> list[Reading]:
    """What the runs of a profile left of their images, those of an earlier version left out."""
    found = []
    for scores in sorted(results_dir().glob(f"*/*/{profile}/scores.csv")):
        with suppress(EarlierScores):
            found += read_folder(scores.parent, "/".join(scores.parts[-4:-1]))
    return found


def read_folder(folder: Path, run: str) -> list[Reading]:
    """The readings of results/<paper>/<data set>/<profile>, or of what was kept of it."""
    scores = read_scores(folder / "scores.csv")
    found: dict[str, Reading] = {}
    for task, key, lines in _image_files(folder, scores):
        column = MEASURES[task].column
        dataset = next((s.dataset for s in scores if key == f"{task}-{s.dataset}"), "")
        if not (dataset and lines):
            continue
        columns = [name for name in lines[0] if name.startswith(column)]
        if not columns:
            found[key] = Reading("", dataset, run, task)
        for name in columns:
            reader = name.removeprefix(column) or next(
                s.recognizer for s in scores if s.dataset == dataset and s.recognizer
            )
            reading = found.setdefault(f"{key} {reader}", Reading(reader, dataset, run, task))
            _add(reading, lines, name)
    return list(found.values())


def _image_files(folder: Path, scores: Sequence[Score]) -> Iterable[tuple[str, str, list[dict]]]:
    """Task, key and lines of each file of images; the label and seed of a run's own file are those
    of its scores. Of several settings of a row, that of the folder's scores."""
    kept = sorted(folder.glob("per_image/*.csv"))
    runs = sorted(folder.glob("*/*/seed*/per_image/*.csv"))
    for path in (*kept, *runs):
        task = path.stem.partition("-")[0]
        if task not in MEASURES:
            continue
        lines = read_rows(path)
        if path not in kept:
            own: list[Score] = []
            with suppress(EarlierScores):
                own = read_scores(path.parents[1] / "scores" / path.name)
            if not own or own[0] not in scores:
                continue
            lines = [{"label": own[0].label, "seed": str(own[0].seed)} | x for x in lines]
        yield task, path.stem, lines


def _add(reading: Reading, lines: Iterable[Mapping[str, str]], column: str) -> None:
    weight = reading.measure.weight
    for line in lines:
        counts = float(line[weight]) if weight else 1.0
        if line["label"] == reading.recognizer or not counts or line[column] == "":
            continue  # the recognizer's own row; nothing is annotated in the image
        of_row = reading.values.setdefault(line["label"], {})
        of_row.setdefault(line["name"], []).append(float(line[column]))
        reading.weights[line["name"]] = counts


def _column(reading: Reading) -> str:
    blind = " (blind)" if reading.blind else ""
    about = f"{reading.dataset}: {reading.measure.words}, n = {len(reading.weights)}"
    return f"{title_of(reading.recognizer)}{blind}, {about}"


def _best(reading: Reading, labels: Iterable[str]) -> str:
    """The row with the largest gain."""
    gains = {label: gain[0] for label in labels if (gain := reading.gain(label))}
    if not gains:
        return "–"
    best = max(gains, key=lambda label: gains[label])
    return f"{_number(reading.mean(best))} ({title_of(best)})"


def _gain(reading: Reading, label: str) -> str:
    found = reading.gain(label)
    return "–" if found is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*found)


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
