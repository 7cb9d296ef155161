"""Comparisons of rows: what a claim's check says of numbers, tried on printed or measured ones.

The keys of a check are those that llie_core/reporting/claims.py describes.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from itertools import product
from operator import sub

from llie_core.metrics.resampling import Interval
from llie_core.names import metric_title, subset_title, title_of
from llie_core.reporting.drawn import Differences, OverImages
from llie_core.reporting.published import PublishedValue
from llie_core.reporting.scores import UNITS, Score, summarise

FIGURES = ("difference", "ratio")  # kinds that state a number
ANYWHERE = ("parameters", "flops")  # metrics that do not depend on the data
ROUNDING = 1e-9  # of differences of printed decimals
LEAST_SEEDS = 3  # of trained rows, for an ordering
UNTRAINED = (*ANYWHERE, "macs", "latency", "fps")  # metrics that no training changes
WHERE = ("dataset", "recognizer", "table")  # keys that tell apart what has the same rows
NAMED = 8  # rows without numbers that are named; of more, only the count is given

Cell = tuple[str, str, str]  # label ("zero_dce_pp+2:1"), metric, subset
Row = Mapping[int | None, float]  # seed → value; None stands for a number that has no seed
Lookup = Callable[[Cell], Row]


@dataclass(frozen=True)
class Part:
    """One comparison: a check on one metric of one data set ("" where the check names none).

    table: the printed table to read, if not any; lower: a lower value of the metric is the better
    one, and better is what the check is about.
    """

    kind: str
    check: Mapping
    metric: str
    dataset: str
    recognizer: str
    table: str
    lower: bool

    @property
    def needs_own_data(self) -> bool:
        return self.kind in FIGURES and self.metric not in ANYWHERE


@dataclass(frozen=True)
class Margin:
    """high − low (or high / low) of a pair of rows, by seed.

    On one subset, or, for a gap, on the first less the second. images: its 95 % interval over test
    images, None where nothing says it.
    """

    part: Part
    pair: tuple[str | float, str | float]
    subsets: tuple[str, ...]
    cells: tuple[Cell, ...]
    values: Row
    images: OverImages | None = None


@dataclass(frozen=True)
class Outcome:
    """holds: True, False, or None when undecided (numbers are missing, or within what other seeds
    or other test images could change).

    words: the margins; missing: the numbers that are not there, or ""; seeds: the fewest behind a
    margin, None where no row has any; against: the margins that speak against the claim; few_seeds:
    undecided because there are too few seeds; by_seeds: what it would be whatever the test images.
    """

    holds: bool | None
    words: str
    missing: str = ""
    seeds: int | None = None
    against: tuple[Margin, ...] = ()
    few_seeds: bool = False
    by_seeds: bool | None = None


def parts_of(kind: str, checks: Iterable[Mapping], directions: Mapping[str, str]) -> list[Part]:
    """Every comparison of a claim; `directions`: metric → "higher" or "lower"."""
    found = []
    for check in checks:
        keys = {key: value for key, value in check.items() if key not in ("metric", *WHERE)}
        recognizer, table = check.get("recognizer", ""), check.get("table", "")
        for dataset, metric in product(as_list(check.get("dataset", "")), as_list(check["metric"])):
            lower = kind == "better" and directions.get(metric) == "lower"
            found.append(Part(kind, keys, metric, dataset, recognizer, table, lower))
    return found


def compare(
    parts: Iterable[Part], lookup_of: Callable[[Part], Lookup],
    titles: Mapping[str, str] | None = None, differences: Differences | None = None,
) -> Outcome:  # fmt: skip
    """Whether the numbers that `lookup_of` finds for each part bear the claim out.

    titles: label → what the words call a row, where not names.title_of; differences: of measured
    rows, over test images.
    """
    margins = margins_of(parts, lookup_of, differences)
    signs = [_sign(margin) for margin in margins]
    known = [margin for margin in margins if margin.values]
    most = next((m.part.check["most"] for m in margins if "most" in m.part.check), False)
    decided = partial(_decided, margins, most if known else False)
    holds = decided(signs)
    if most and known:
        words = _count(_counted(margins, signs, most), most)
    else:
        words = _words(known, len({m.pair for m in margins}) > 1, titles)
    missing = _missing(margins, lookup_of, titles)
    words = "; ".join(filter(None, (words, missing)))
    seeds = min((len(m.values) for m in known if None not in m.values), default=None)
    against = tuple(margin for margin, sign in zip(margins, signs, strict=True) if sign < 0)
    few = holds is None and any(_too_few(margin) for margin in known)
    by_seeds = decided([_sign_by_seeds(margin) for margin in margins])
    return Outcome(holds, words, missing, seeds, against, few, by_seeds)


def margins_of(
    parts: Iterable[Part],
    lookup_of: Callable[[Part], Lookup],
    differences: Differences | None = None,
) -> list[Margin]:
    """Every pair of rows with every subset, or pair of subsets, on which they are compared."""
    found = []
    for part in parts:
        check, lookup = part.check, lookup_of(part)
        high, low, floor = (as_list(check.get(key, [])) for key in ("high", "low", "floor"))
        if part.kind == "gap":
            larger = check["larger"]
            places = [(larger,), *((larger, smaller) for smaller in as_list(check["smaller"]))]
        else:
            places = [(s,) for s in as_list(check.get("values") or check.get("subsets", "all"))]
        pairs = [pair for pair in [*product(high, low), *product(low, floor)] if len(set(pair)) > 1]
        found += [
            _margin(part, pair, place, lookup, differences)
            for pair, place in product(pairs, places)
        ]
    return found


def as_list(value: str | float | Iterable) -> list:
    return [value] if isinstance(value, str | int | float) else list(value)


def _margin(
    part: Part, pair: tuple, subsets: tuple[str, ...], lookup: Lookup,
    differences: Differences | None,
) -> Margin:  # fmt: skip
    def row(of: str | float, subset: str) -> Row:
        return lookup((of, part.metric, subset)) if isinstance(of, str) else {None: of}

    pair_now = pair[::-1] if part.lower else pair
    operation = (lambda a, b: a / b if b else math.inf) if part.kind == "ratio" else sub
    here = [_by_seed(operation, *(row(of, s) for of in pair_now)) for s in subsets]
    values = reduce(lambda a, b: _by_seed(sub, a, b), here)
    rows = [of for of in pair if isinstance(of, str)]
    cells = tuple((of, part.metric, subset) for of in rows for subset in subsets)
    images = None
    if differences and values and part.kind not in FIGURES:
        seeds = [seed for seed in values if seed is not None]
        high, low = pair_now
        images = differences.interval(high, low, part.metric, subsets, seeds)
    return Margin(part, pair, subsets, cells, values, images)


def _by_seed(operation: Callable[[float, float], float], a: Row, b: Row) -> Row:
    """a with b, seed by seed; a number without a seed is set against every seed of the other."""
    if None in a:
        return {seed: operation(a[None], value) for seed, value in b.items()}
    if None in b:
        return {seed: operation(value, b[None]) for seed, value in a.items()}
    return {seed: operation(a[seed], b[seed]) for seed in a if seed in b}


def _sign(margin: Margin) -> int:
    """+1 for the claim, −1 against it, 0 for a tie, within the spread of the seeds, within the
    interval over test images, or without numbers."""
    sign = _sign_by_seeds(margin)
    if margin.images is None:
        return sign
    low, high, _ = margin.images
    above, below = _bounds(margin)
    by_images = (above < low and high < below) - (high < above or below < low)
    return sign if sign == by_images else 0


def _sign_by_seeds(margin: Margin) -> int:
    """`_sign`, whatever the test images."""
    if not margin.values:
        return 0
    summary, check = summarise(margin.values.values()), margin.part.check
    spread = max(summary.sd if summary.seeds > 1 else 0.0, ROUNDING)
    if margin.part.kind in FIGURES:
        off = abs(summary.mean - check["values"][margin.subsets[0]])
        return 1 if off <= check["tolerance"] + ROUNDING else -(off > spread)
    if _too_few(margin):
        return 0
    above, below = _bounds(margin)
    slack = min(summary.mean - above, below - summary.mean)
    return (slack > spread) - (slack < -spread)


def _bounds(margin: Margin) -> Interval:
    """What a margin has to lie between."""
    return margin.part.check.get("above", 0), margin.part.check.get("below", math.inf)


def _too_few(margin: Margin) -> bool:
    """Whether an ordering of trained rows has too few seeds to be decided."""
    if margin.part.kind in FIGURES or margin.part.metric in UNTRAINED or None in margin.values:
        return False
    return len(margin.values) < LEAST_SEEDS


def _decided(margins: list[Margin], most: bool | str, signs: list[int]) -> bool | None:
    """Whether all pass, or for `most` more than half; 0 is an open one. An even split decides
    nothing."""
    signs = _counted(margins, signs, most)
    passed, failed, enough = signs.count(1), signs.count(-1), len(signs) / 2
    if most:
        return True if passed > enough else (False if failed > enough else None)
    return False if failed else (True if passed == len(signs) else None)


def _counted(margins: list[Margin], signs: list[int], most: bool | str) -> list[int]:
    """The signs of what `most` counts: comparisons, or places, where every pair has to pass."""
    if most != "places":
        return signs
    places: dict[tuple, list[int]] = {}
    for margin, sign in zip(margins, signs, strict=True):
        place = margin.part.dataset, margin.part.metric, margin.subsets
        places.setdefault(place, []).append(sign)
    return [min(signs) for signs in places.values()]


def _count(signs: list[int], most: bool | str) -> str:
    what = most if isinstance(most, str) else "comparisons"
    return f"{signs.count(1)} of {len(signs)} {what} pass, {signs.count(-1)} fail"


def _missing(margins: list[Margin], lookup_of: Callable[[Part], Lookup], titles) -> str:
    empty = [margin for margin in margins if not margin.values]
    absent = [c for m in empty for c in m.cells if not lookup_of(m.part)(c)]
    if not absent:
        return "no seed in common" if empty else ""
    asked = {cell[:2] for margin in margins for cell in margin.cells}
    names = []
    for row in dict.fromkeys(cell[0] for cell in absent):
        metrics = dict.fromkeys(metric for of, metric, _ in absent if of == row)
        whole = {metric for of, metric in asked if of == row} == set(metrics)
        name = row_title(row, titles)
        names.append(name if whole else f"{name} ({', '.join(map(metric_title, metrics))})")
    left = len(names) - NAMED
    more = f" and {left} more row{'s' * (left > 1)}" if left > 0 else ""
    return f"no numbers for {', '.join(names[:NAMED])}{more}"


def _words(margins: list[Margin], named: bool, titles) -> str:
    """The margin of every place that decides and, where `named`, whose it is: the smallest of those
    against the claim, else of the open ones, else of all."""
    metrics, datasets = ({getattr(m.part, k) for m in margins} for k in ("metric", "dataset"))
    groups: dict[tuple, list[Margin]] = {}
    for m in margins:
        subset = " − ".join(filter(None, map(subset_title, m.subsets)))
        dataset = m.part.dataset if len(datasets) > 1 else ""
        metric = metric_title(m.part.metric) if len(metrics) > 1 or not subset else ""
        place = " ".join(filter(None, (dataset, metric, subset)))
        groups.setdefault((place, m.pair if m.part.kind in FIGURES else None), []).append(m)
    words = []
    for (place, _), group in groups.items():
        smallest = min(group, key=_order)
        a, b = (row_title(of, titles) for of in smallest.pair)
        between = "to" if smallest.part.kind == "ratio" else "over"
        whose = f" ({a} {between} {b})" if named else ""
        form = ".4f" if smallest.part.kind == "ratio" else "+.4f"
        over = ""
        if smallest.images:
            low, high, paired = smallest.images
            over = f", over images{'' if paired else ', unpaired,'} {low:+.4f} to {high:+.4f}"
        words.append(f"{place} {summarise(smallest.values.values()):{form}}{over}{whose}")
    return ", ".join(words)


def _order(margin: Margin) -> tuple[int, int, float]:
    """Those against a claim first; of the open ones, those that only test images leave open."""
    return _sign(margin), _sign_by_seeds(margin), summarise(margin.values.values()).mean


def row_title(of: str | float, titles: Mapping[str, str] | None) -> str:
    """A row, or a number in its place, as evidence names it; in quotes where commas part it."""
    title = title_of(of, titles) if isinstance(of, str) else str(of)
    return f"“{title}”" if ", " in title else title


class Tables:
    """A paper's printed cells: their values, notes, directions, and the data sets they are of."""

    def __init__(self, cells: Iterable[PublishedValue]):
        self._cells = list(cells)
        self._lookups: dict[tuple[str, ...], Lookup] = {}
        self.directions = {cell.metric: cell.direction for cell in self._cells}
        self.datasets = {cell.dataset for cell in self._cells}

    def lookup(self, part: Part) -> Lookup:
        """The cells of the part's data set, recognizer and table; of any where it names none."""
        key = part.dataset, part.recognizer, part.table
        if key not in self._lookups:
            self._lookups[key] = _published_lookup(self._of(part))
        return self._lookups[key]

    def remarks(
        self, margins: Iterable[Margin], titles: Mapping[str, str] | None = None
    ) -> list[str]:
        """The notes on the cells behind some margins, each once."""
        remarks = []
        for margin in margins:
            notes = {_cell(cell): cell.note for cell in self._of(margin.part) if cell.note}
            for cell in (cell for cell in margin.cells if cell in notes):
                where = filter(None, (row_title(cell[0], titles), subset_title(cell[2])))
                remarks.append(f"{', '.join(where)}: {notes[cell]}")
        return list(dict.fromkeys(remarks))

    def _of(self, part: Part) -> list[PublishedValue]:
        return [
            cell
            for cell in self._cells
            if all(getattr(part, key) in ("", getattr(cell, key)) for key in WHERE)
        ]


def _published_lookup(values: Iterable[PublishedValue]) -> Lookup:
    """Printed cells; one that is printed twice has to have one value."""
    table: dict[Cell, set[float]] = {}
    for value in values:
        if value.value is not None:
            table.setdefault(_cell(value), set()).add(value.value * UNITS.get(value.unit, 1))

    def lookup(cell: Cell) -> Row:
        found = table.get(cell, set())
        if len(found) > 1:
            raise ValueError(f"{cell} is printed with different values: {sorted(found)}")
        return {None: min(found)} if found else {}

    return lookup


def score_lookup(scores: Iterable[Score]) -> Lookup:
    """Measured cells by seed; a method without training is scored once, so it has no seed."""
    table: dict[Cell, dict[int | None, float]] = {}
    trained = set()
    for score in scores:
        cell, number = _cell(score), score.value * UNITS.get(score.unit, 1)
        if score.steps_planned:
            trained.add(cell)
        if not math.isfinite(number):  # nothing to average, such as a subset without faces
            continue
        if table.setdefault(cell, {}).setdefault(score.seed, number) != number:
            raise ValueError(
                f"{cell}, seed {score.seed}, has two scores; judge one data set, profile and "
                "recognizer at a time"
            )

    def lookup(cell: Cell) -> Row:
        row = table.get(cell, {})
        return row if len(row) != 1 or cell in trained else {None: min(row.values())}

    return lookup


def _cell(value: PublishedValue | Score) -> Cell:
    return value.label, value.metric, value.subset
