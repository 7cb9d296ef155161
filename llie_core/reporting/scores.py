"""A score: one measured number with everything that says what it is."""

import csv
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, stdev

from llie_core.files import project_root, write_rows


@dataclass(frozen=True)
class Score:
    """One number. `protocol` names an entry of protocols.toml; `n` counts what it is a mean over.

    steps_done / steps_planned: of the published schedule, 0 for methods without training.
    weights: where the weights came from ("trained here", "released", "none").
    """

    run: str
    method: str
    variant: str
    recognizer: str
    dataset: str
    split: str
    subset: str
    metric: str
    unit: str
    direction: str
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

    @property
    def label(self) -> str:
        """Method and variant, as claims and tables name a row."""
        return f"{self.method}+{self.variant}" if self.variant else self.method


_TYPES = {field.name: field.type for field in fields(Score)}


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write scores as CSV, atomically."""
    write_rows(path, [asdict(score) for score in scores], _TYPES)


def read_scores(path: Path) -> list[Score]:
    """Read scores back; ValueError when the columns or a line are not a score's."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if set(reader.fieldnames or ()) != set(_TYPES):
            raise ValueError(
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
    """Scores whose fields equal `wanted`; `label` may stand for method and variant."""
    return [s for s in scores if all(getattr(s, key) == value for key, value in wanted.items())]


def reference_scores(paper: str, dataset: str, further: str = "") -> list[Score]:
    """Scores of the committed reference run of a paper on a data set; empty where there is none.

    further: another test set that the same rows were scored on.
    """
    name = f"scores-{further}.csv" if further else "scores.csv"
    path = project_root() / "results" / "reference" / paper / dataset / name
    return read_scores(path) if path.exists() else []
