"""Scores in bootstrap draws of their test images, by which two rows are compared image by image.

A draw takes the same images in every row of a test set (metrics/resampling.py), so that the
differences of two rows' draws say by how much other images of the kind could move the difference.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from llie_core.files import atomic, read_rows
from llie_core.metrics.resampling import Interval, drawn_means, middle
from llie_core.reporting.intervals import ImageLines, values_behind
from llie_core.reporting.scores import UNITS, Score, reference_folder

SIGNS = (1, -1, -1, 1)  # of high and low on a subset, and on a second one
Values = Mapping[str, np.ndarray]  # `name_of` a score → its value in each draw


class Draws(NamedTuple):
    """images: the names of those drawn from; values (draws,): NaN where a draw has none."""

    images: tuple[str, ...]
    values: np.ndarray


class OverImages(NamedTuple):
    """A 95 % interval over images; paired: of two rows image by image, else as if independent."""

    low: float
    high: float
    paired: bool


DrawsOf = Callable[[Score], Draws | None]  # None where nothing says them
_Row = list[Score] | float  # the scores of a row, one a seed, or a number


def name_of(score: Score) -> str:
    """By which a file of draws finds the values of a row's score."""
    return f"{score.recognizer}|{score.metric}|{score.subset}"


def write_drawn(path: Path, values: Values) -> None:
    """Write the values in half precision, a fraction to 2.4e-4; no file without any."""
    if not values:
        path.unlink(missing_ok=True)
        return
    with atomic(path) as temporary:
        save_file({name: of.astype(np.float16) for name, of in values.items()}, temporary)


def read_drawn(path: Path) -> dict[str, np.ndarray]:
    """What `write_drawn` wrote, as float64; {} where there is no file."""
    found = load_file(path) if path.exists() else {}
    return {name: of.astype(float) for name, of in found.items()}


def drawn_beside(images: Path) -> Path:
    """The file of draws that belongs to a file of images."""
    return images.parents[1] / "drawn" / f"{images.stem}.safetensors"


def draws_behind(score: Score, files: Iterable[tuple[ImageLines, Values]]) -> Draws | None:
    """The draws of a score, of the first file of images that has them: of a mean over images, those
    of its values; of any other number, those that its evaluation left.

    files: lines and draws of its row and seed on its test set, by each task.
    """
    for lines, values in files:
        if math.isfinite(score.low) and name_of(score) in values:  # whose ends are the draws'
            return Draws(tuple(line["name"] for line in lines), values[name_of(score)])
        if found := values_behind(score, lines):
            names, numbers = zip(*found, strict=True)
            return Draws(names, drawn_means(numbers))
    return None


def kept_draws(paper: str, dataset: str, score: Score) -> Draws | None:
    """The draws of a score of the reference runs of a paper on a data set."""
    folder, row = reference_folder(paper, dataset), (score.row, str(score.seed))
    if folder is None:
        return None
    own = score.dataset, f"{score.dataset}-{score.subset}"
    paths = sorted(folder.glob("per_image/*.csv"))
    paths = [path for path in paths if path.stem.partition("-")[2] in own]
    files = [(_lines_by_row(path).get(row, []), _kept_values(path).get(row, {})) for path in paths]
    return draws_behind(score, files)


@cache
def _lines_by_row(path: Path) -> dict[tuple[str, str], list[dict[str, str]]]:
    """(label, seed) → the lines of a kept file of images."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in read_rows(path):
        found.setdefault((line["label"], line["seed"]), []).append(line)
    return found


@cache
def _kept_values(path: Path) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """(label, seed) → the draws kept beside a file of images."""
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name, values in read_drawn(drawn_beside(path)).items():
        label, seed, score = name.split("|", 2)
        found.setdefault((label, seed), {})[score] = values
    return found


class Differences:
    """Differences of two rows' scores, and their 95 % intervals over test images.

    Where both have draws of the same images, the interval is that of the draws' differences.
    Otherwise it is as wide as that of two independent numbers, which is too wide rather than too
    narrow: images that are hard behind one row are hard behind the other.

    Args:
        scores: of one data set, profile and recognizer.
        draws_of: None where there are none.
    """

    def __init__(self, scores: Iterable[Score], draws_of: DrawsOf | None = None):
        self._scores: dict[tuple[str, str, str], list[Score]] = {}
        for score in scores:
            self._scores.setdefault((score.label, score.metric, score.subset), []).append(score)
        self._draws_of = cache(draws_of or (lambda _: None))

    def interval(
        self, high: str | float, low: str | float, metric: str, subsets: Sequence[str],
        seeds: Iterable[int],
    ) -> OverImages | None:  # fmt: skip
        """Of high − low on the first subset, less that on the second if there is one; None where a
        score has neither draws nor an interval.

        high, low: labels or numbers; seeds: of the rows that have several.
        """
        rows = [self._of(of, metric, subset, seeds) for subset in subsets for of in (high, low)]
        drawn = self._drawn(rows)
        if drawn is not None:
            return OverImages(*middle(drawn), paired=True)
        apart = _independent(rows)
        return None if apart is None else OverImages(*apart, paired=False)

    def _of(self, of: str | float, metric: str, subset: str, seeds: Iterable[int]) -> _Row:
        if not isinstance(of, str):
            return of
        own = self._scores.get((of, metric, subset), [])
        return [s for s in own if s.seed in seeds] if len(own) > 1 and seeds else own

    def _drawn(self, rows: Sequence[_Row]) -> np.ndarray | None:
        """The signed sum of rows, means over seeds, in each draw; None where one has no draws or
        other images."""
        total: np.ndarray | float = 0.0
        images: set[tuple] = set()
        for sign, row in zip(SIGNS, rows, strict=False):
            if not isinstance(row, list):
                total = total + sign * row
                continue
            found = [self._draws_of(score) for score in row]
            if not found or None in found:
                return None
            for score, draws in zip(row, filter(None, found), strict=True):
                images.add((draws.images, draws.values.shape))
                total = total + draws.values * (sign * UNITS.get(score.unit, 1) / len(row))
        return total if isinstance(total, np.ndarray) and len(images) == 1 else None


def _independent(rows: Sequence[_Row]) -> Interval | None:
    """The interval of the signed sum of independent rows; None where one has no interval."""
    ends = [_ends(row) for row in rows]
    half = math.hypot(*((high - low) / 2 for low, high in ends))
    if not math.isfinite(half):
        return None
    mean = sum(sign * sum(of) / 2 for sign, of in zip(SIGNS, ends, strict=False))
    return mean - half, mean + half


def _ends(row: _Row) -> Interval:
    """The ends of the scores of a row, averaged over seeds; infinite without."""
    if not isinstance(row, list):
        return row, row
    if not row:
        return -math.inf, math.inf
    factor = UNITS.get(row[0].unit, 1) / len(row)
    return sum(s.low for s in row) * factor, sum(s.high for s in row) * factor
