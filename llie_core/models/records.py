"""What is known of methods and weights that a user can name: where from, and what they measured.

`measured.csv` is written by `llie choose` (choice.py has the protocol). Weights that the project
ships lie with the run they come from, in results/reference.
"""

import csv
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llie_core.files import project_root

TABLE = Path(__file__).with_name("measured.csv")
LEAST_CHANGE = 24.0  # dB to itself on normal-light photographs
MOST_CLIPPED = 0.05  # share of pixels
MOST_HUE = 5.0  # degrees; red and orange are 30 apart
PARTS = ("choose", "report")


@dataclass(frozen=True)
class Measured:
    """One method, as `llie enhance` runs it, on one part of the images (`PARTS`).

    weights: "", "reference" or "released". psnr: of the pairs, dB. niqe, clipped: of low-light
    photographs, clipped being the share of newly clipped pixels. change, normal_clipped: PSNR to
    itself in dB (60 at most), and that share, of normal-light photographs. ungated: change with
    the gate off. hue: mean change of hue in degrees of their coloured pixels. pairs, low, normal:
    numbers of images.
    """

    model: str
    weights: str
    part: str
    psnr: float
    niqe: float
    clipped: float
    change: float
    normal_clipped: float
    ungated: float
    hue: float
    pairs: int
    low: int
    normal: int

    @property
    def spoils(self) -> str:
        """How it spoils photographs that need little or nothing, "" where it does not."""
        clipped = max(self.clipped, self.normal_clipped)
        ways = {
            f"normal-light ones keep a PSNR of {self.change:.1f} dB to themselves":
                self.change < LEAST_CHANGE,
            f"{clipped:.1%} of the pixels are newly clipped": clipped > MOST_CLIPPED,
            f"hues change by {self.hue:.1f}°": self.hue > MOST_HUE,
        }  # fmt: skip
        return ", ".join(words for words, true in ways.items() if true)


@cache
def measurements() -> tuple[Measured, ...]:
    """All that `measured.csv` holds."""
    kinds = {name: field.type for name, field in Measured.__dataclass_fields__.items()}
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(Measured(**{name: kinds[name](row[name]) for name in kinds}) for row in rows)


def measured(model: str, weights: str, part: str = "report") -> Measured | None:
    """What a method measured, None where it was not measured."""
    found = (m for m in measurements() if (m.model, m.weights, m.part) == (model, weights, part))
    return next(found, None)


def spoiling(model: str, weights: str) -> str:
    """How a method spoils photographs on the first part on which it does, "" for none."""
    parts = (measured(model, weights, part) for part in PARTS)
    return next((one.spoils for one in parts if one and one.spoils), "")


def default_enhancer() -> tuple[str, str | None]:
    """Name and weights of the method that `llie enhance` uses unasked.

    Of the methods that do not spoil photographs and need no download, the one of the highest PSNR
    on the pairs, both on the part to choose on.
    """
    offered = [m for m in measurements()
               if m.part == "choose" and not m.spoils and m.weights != "released"]  # fmt: skip
    best = max(offered, key=lambda m: m.psnr)
    return best.model, best.weights or None


@dataclass(frozen=True)
class Rival:
    """A learned method that is not built here; rivals.toml says what the fields are."""

    name: str
    title: str
    code: str
    weights: str
    terms: str
    by: str
    images: str = ""


@cache
def rivals() -> tuple[Rival, ...]:
    """All that `rivals.toml` lists."""
    content = tomllib.loads(TABLE.with_name("rivals.toml").read_text(encoding="utf-8"))
    return tuple(Rival(**entry) for entry in content["rival"])


@dataclass(frozen=True)
class ReferenceRun:
    """The run that shipped weights come from.

    steps: trained; planned: of the published schedule, or as many as were trained where nothing is
    published of it.
    """

    path: Path
    run: str
    dataset: str
    steps: int
    planned: int
    commit: str


def reference_run(path: str) -> ReferenceRun:
    """The record of weights that the project ships.

    Args:
        path: of the weights, below results/reference:
            paper/dataset/profile/weights/label-seedN.safetensors.

    Raises:
        FileNotFoundError: results/reference is not there: the package was installed without it.
        ValueError: runs.csv has no line of them.
    """
    weights = project_root() / "results" / "reference" / path
    table = weights.parents[1] / "runs.csv"
    if not (weights.is_file() and table.is_file()):
        raise FileNotFoundError(
            f"no file of weights at {weights}; they come with a checkout of the project, not with "
            "the installed package: give the path of a file"
        )
    label, _, seed = weights.stem.rpartition("-seed")
    with table.open(encoding="utf-8", newline="") as file:
        runs = [r for r in csv.DictReader(file) if (r["label"], r["seed"]) == (label, seed)]
    if not runs:
        raise ValueError(f"{table}: no line of {label}, seed {seed}; restore it from the checkout")
    row = runs[0]
    run = f"{weights.parents[1].relative_to(project_root())}: {label}, seed {seed}"
    steps, planned = int(row["steps_done"]), int(row["steps_planned"])
    return ReferenceRun(weights, run, row["dataset"], steps, planned, row["commit"])
