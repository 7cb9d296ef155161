"""A score: one measured number with everything that says what it is."""

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import get_type_hints

from llie_core.files import project_root, read_rows, write_rows
from llie_core.metrics.protocols import load_protocols
from llie_core.reporting.published import list_papers

UNITS = {"percent": 0.01, "count": 1e-6, "FLOP": 1e-9}  # to fractions, millions, billions


@dataclass(frozen=True)
class Score:
    """One number. `protocol` names an entry of protocols.toml, which has its unit and direction;
    `n` counts what it is a mean over.

    label: the row; steps_done / steps_planned: of the published schedule, 0 for methods without
    training; weights: where they came from ("trained here", "released", "external", "none");
    commit: of the code that evaluated it; low, high: 95 % interval over images, infinite without.
    """

    run: str
    label: str
    recognizer: str
    dataset: str
    split: str
    subset: str
    metric: str
    value: float
    n: int
    seed: int
    protocol: str
    profile: str
    device: str
    precision: str
    steps_done: int
    steps_planned: int
    weights: str
    commit: str
    low: float = -math.inf
    high: float = math.inf

    @property
    def row(self) -> str:
        """The label of its run, where `label` is the one of a table."""
        return self.run.split("/", 3)[-1].rpartition("/")[0]

    @property
    def unit(self) -> str:
        return load_protocols()[self.protocol].unit

    @property
    def direction(self) -> str:
        return load_protocols()[self.protocol].direction


_TYPES = get_type_hints(Score)


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write scores as CSV, atomically."""
    write_rows(path, [asdict(score) for score in scores], _TYPES)


class EarlierScores(ValueError):
    """A file of scores with other columns, as an earlier version writes them."""


def read_scores(path: Path) -> list[Score]:
    """Read scores back; EarlierScores when the columns, ValueError when a line is not a score's."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if set(reader.fieldnames or ()) != set(_TYPES):
            raise EarlierScores(
                f"{path}: its columns are not those of a score; delete it and run again"
            )
        try:
            return [Score(**{k: _TYPES[k](v) for k, v in row.items()}) for row in reader]
        except (KeyError, TypeError, ValueError):  # cells too many, too few, or no number
            raise ValueError(
                f"{path}, line {reader.line_num}: not a score; delete the file and run again"
            ) from None


@dataclass(frozen=True)
class Summary:
    """Mean over seeds of one quantity; sd is NaN for a single seed."""

    mean: float
    sd: float
    seeds: int

    def __format__(self, spec: str) -> str:
        text = format(self.mean, spec)
        return text if self.seeds < 2 else f"{text} ± {format(self.sd, spec.replace('+', ''))}"


def summarise(values: Iterable[float]) -> Summary:
    """Mean ± standard deviation (n − 1) over seeds; NaN mean for no value."""
    values = list(values)
    if not values:
        return Summary(math.nan, math.nan, 0)
    return Summary(mean(values), stdev(values) if len(values) > 1 else math.nan, len(values))


def select(scores: Iterable[Score], **wanted: object) -> list[Score]:
    """Scores whose fields equal `wanted`."""
    return [s for s in scores if all(getattr(s, key) == value for key, value in wanted.items())]


def mean_of(scores: Iterable[Score], **wanted: object) -> Summary:
    """Mean ± standard deviation over the scores whose fields equal `wanted`."""
    return summarise(score.value for score in select(scores, **wanted))


def best_untrained(scores: Iterable[Score]) -> tuple[str, int]:
    """Of some scores of one metric: the label of the method without training that is best by the
    metric's direction, "" where there is none, and how many there are."""
    others = ("identity", "original")  # nothing is enhanced
    found = {s.label: s for s in scores if s.weights == "none" and s.label not in others}
    values = {x: -s.value if s.direction == "lower" else s.value for x, s in found.items()}
    return max(values, key=lambda label: values[label], default=""), len(values)


OF_PAPERS = ("paper", "reference")  # profiles whose kept runs judge claims, the better one first


def reference_folder(paper: str, dataset: str) -> Path | None:
    """The best reference runs kept of a paper on a data set: those of the paper's own schedule,
    else of a reduced one; None where there are none."""
    root = project_root() / "results" / "reference" / paper / dataset
    kept = [root / profile for profile in OF_PAPERS]
    return next((folder for folder in kept if (folder / "scores.csv").exists()), None)


def kept_folders(paper: str) -> list[Path]:
    """The best reference runs of a paper on each data set, then those of profiles of no paper."""
    root = project_root() / "results" / "reference" / paper
    names = sorted(path.name for path in root.glob("*"))
    best = [folder for name in names if (folder := reference_folder(paper, name))]
    others = sorted(path.parent for path in root.glob("*/*/scores.csv"))
    left = (*OF_PAPERS, *(folder.name for folder in others if folder.name.startswith(".")))
    return best + [folder for folder in others if folder.name not in left]


def all_kept() -> list[Path]:
    """The `kept_folders` of all papers."""
    return [folder for paper in list_papers() for folder in kept_folders(paper)]


def reference_scores(paper: str, dataset: str, test_set: str = "") -> list[Score]:
    """Scores of the reference runs on one test set (default: the one trained on); [] without."""
    return select(kept_scores(paper, dataset), dataset=test_set or dataset)


def kept_runs(paper: str, dataset: str) -> list[dict]:
    """The trainings behind the reference scores, as runs.csv has them; `code` as a dict, empty
    where the record does not say."""
    folder = reference_folder(paper, dataset)
    if folder is None:
        return []
    runs: list[dict] = [*read_rows(folder / "runs.csv")]
    return [run | {"code": json.loads(run.get("code") or "{}")} for run in runs]


def kept_logs(paper: str, dataset: str) -> dict[str, list[dict[str, str]]]:
    """Label → the lines kept of the training's log, of the first seed, of the reference runs."""
    folder = reference_folder(paper, dataset)
    found: dict[str, list[dict[str, str]]] = {}
    for line in read_rows(folder / "logs.csv") if folder else []:
        of_label = found.setdefault(line["label"], [])
        if not of_label or of_label[0]["seed"] == line["seed"]:
            of_label.append({name: value for name, value in line.items() if value})
    return found


def kept_scores(paper: str, dataset: str) -> list[Score]:
    """Scores of the reference runs on every test set; [] without."""
    folder = reference_folder(paper, dataset)
    return read_scores(folder / "scores.csv") if folder else []
