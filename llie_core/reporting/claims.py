"""A paper's checkable sentences and the verdict that measurements give them.

A claim's check is one comparison. It is tried on the paper's own tables first (a claim that they
refute is `contradicted by the paper's own table`), then on the measured scores:

    order       high > low (> floor, where given) in `metric` on every one of `subsets`
    gap         high − low is larger on subset `larger` than on every one of `smaller`
    difference  high − low = values[subset], to `tolerance`; decided on the paper's own data only
    measured    a named measurement of the recipe decides
    picture     judged by eye from a figure; shown, not decided

`high`, `low` and `floor` are a row ("zero_dce_pp+2:1"), a number, or a list of these: then every
pair has to pass. ">" is meant of the numbers, whatever the metric's direction. Rows are compared
seed by seed; a mean margin within one standard deviation of its seeds decides nothing.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, reduce
from itertools import product
from pathlib import Path

from llie_core.published import PublishedValue, load
from llie_core.reporting.scores import Score, summarise

CLAIMS = Path(__file__).parents[1] / "published" / "claims"
KEYS = {
    "order": {"high", "low", "metric", "subsets"},
    "gap": {"high", "low", "metric", "larger", "smaller"},
    "difference": {"high", "low", "metric", "values", "tolerance"},
    "measured": {"name"},
    "picture": {"figure"},
}
OPTIONAL_KEYS = {"order": {"floor"}}
ROUNDING = 1e-9  # of differences of printed decimals

Cell = tuple[str, str, str]  # label ("zero_dce_pp+2:1"), metric, subset
Row = Mapping[int | None, float]  # seed → value; None stands for a number that has no seed
Lookup = Callable[[Cell], Row]


@dataclass(frozen=True)
class Claim:
    """One sentence: what it says in our words, where it stands, and how it is checked.

    restates: id of the earlier claim that it repeats; its verdict is that claim's, so it has
    neither kind nor check. ValueError for a check that its kind does not understand.
    """

    id: str
    place: str
    line: int
    says: str
    kind: str = ""
    check: Mapping = field(default_factory=dict)
    restates: str = ""

    def __post_init__(self):
        if self.restates:
            if self.kind or self.check:
                raise ValueError(f"claim {self.id}: it restates {self.restates}; drop its check")
            return
        if self.kind not in KEYS:
            raise ValueError(f"claim {self.id}: kind {self.kind!r} is none of {', '.join(KEYS)}")
        wanted, given = KEYS[self.kind], set(self.check)
        empty = {key for key, value in self.check.items() if value in ("", [], {})}
        problems = {
            "lacks": wanted - given,
            "does not know": given - wanted - OPTIONAL_KEYS.get(self.kind, set()),
            "leaves empty": empty,
        }
        for what, keys in problems.items():
            if keys:
                raise ValueError(f"claim {self.id}: its check {what} {', '.join(sorted(keys))}")


@dataclass(frozen=True)
class Verdict:
    """A claim, the verdict's words, and the numbers behind it."""

    claim: Claim
    verdict: str
    evidence: str


@dataclass(frozen=True)
class Context:
    """What was run: data set, profile, number of seeds, and whether it is the paper's own."""

    dataset: str
    profile: str
    seeds: int
    papers_own: bool

    def holds(self, yes: bool, seeds: int | None = None) -> str:
        """The verdict's words; `seeds`: how many were compared, if not all that were run."""
        if self.papers_own:
            return "reproduced" if yes else "not reproduced"
        seeds = self.seeds if seeds is None else seeds
        where = f"{self.dataset} ({self.profile}, {seeds} seed{'s' * (seeds != 1)})"
        return f"holds on {where}" if yes else f"does not hold on {where}"


@cache
def load_claims(paper: str) -> tuple[Claim, ...]:
    """All claims of a paper, in the order of its text; ValueError names a malformed one."""
    path, claims = CLAIMS / f"{paper}.toml", {}
    if not path.exists():
        raise ValueError(f"no claims are written down for paper {paper!r}")
    with path.open("rb") as file:
        entries = tomllib.load(file).get("claim")
    if not entries:
        raise ValueError(f"{path.name} holds no [[claim]]")
    for entry in entries:
        try:
            claim = Claim(**entry)
        except TypeError as error:  # a field too many or too few
            raise ValueError(f"claim {entry.get('id', '?')}: {error}") from None
        if claim.id in claims:
            raise ValueError(f"claim {claim.id} stands twice in {path.name}")
        if claim.restates and claim.restates not in claims:
            raise ValueError(f"claim {claim.id} restates {claim.restates}, which is none before it")
        claims[claim.id] = claim
    return tuple(claims.values())


def judge(
    paper: str,
    scores: Iterable[Score],
    context: Context,
    measurements: Mapping[str, tuple[bool | None, str]] | None = None,
) -> list[Verdict]:
    """The verdict on every claim of a paper; `scores` are of one data set, profile, recognizer.

    measurements: name → (holds, evidence), or (None, why it was not run).
    """
    cells = load(paper)
    published, measured = _published_lookup(cells), _score_lookup(scores)
    notes = {_cell(cell): cell.note for cell in cells if cell.note}
    verdicts: dict[str, Verdict] = {}
    for claim in load_claims(paper):
        if claim.restates:
            words = verdicts[claim.restates].verdict, f"as {claim.restates}"
        elif claim.kind == "picture":
            words = "not run (judged by eye)", f"see {claim.check['figure']}"
        elif claim.kind == "measured":
            words = _judge_measured(claim, context, measurements or {})
        else:
            printed, here = _compare(claim, published), _compare(claim, measured)
            words = _judge_numbers(claim, printed, here, context, notes)
        verdicts[claim.id] = Verdict(claim, *words)
    return list(verdicts.values())


def _judge_measured(claim, context, measurements) -> tuple[str, str]:
    holds, evidence = measurements.get(claim.check["name"], (None, "not measured in this run"))
    return (f"not run ({evidence})", "") if holds is None else (context.holds(holds), evidence)


def _judge_numbers(claim, printed, here, context, notes) -> tuple[str, str]:
    evidence = f"printed: {printed.words}; measured: {here.words}"
    if printed.holds is False:
        cells = dict.fromkeys(cell for cell in printed.refuted_by if cell in notes)
        remarks = [f"{cell[0]}, {cell[2]}: {notes[cell]}" for cell in cells]
        return "contradicted by the paper's own table", "; ".join([evidence, *remarks])
    if claim.kind == "difference" and not context.papers_own:
        return "not run (a figure of the paper's own data)", evidence
    if here.missing:
        return f"not run ({here.words})", evidence
    if here.holds is None:
        return "inconclusive", evidence
    return context.holds(here.holds, here.seeds), evidence


@dataclass(frozen=True)
class _Outcome:
    """holds: True, False, or None when undecided (`missing` numbers, or within seed spread).

    seeds: the fewest behind a margin, None where no row has any; refuted_by: cells of the margins
    that speak against the claim.
    """

    holds: bool | None
    words: str
    missing: bool = False
    seeds: int | None = None
    refuted_by: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class _Margin:
    """high − low of a pair of rows, by seed: on one subset, or on the first less the second."""

    pair: tuple[str | float, str | float]
    subsets: tuple[str, ...]
    cells: tuple[Cell, ...]
    values: Row


def _compare(claim: Claim, lookup: Lookup) -> _Outcome:
    margins = [_margin(claim, pair, subsets, lookup) for pair, subsets in _terms(claim)]
    absent = dict.fromkeys(cell[0] for m in margins for cell in m.cells if not lookup(cell))
    if absent:
        return _Outcome(None, f"no numbers for {', '.join(absent)}", missing=True)
    if not all(margin.values for margin in margins):
        return _Outcome(None, "no seed in common", missing=True)
    signs = [_sign(margin, claim) for margin in margins]
    against = tuple(c for m, s in zip(margins, signs, strict=True) if s < 0 for c in m.cells)
    holds = False if against else (True if all(signs) else None)
    seeds = min((len(m.values) for m in margins if None not in m.values), default=None)
    return _Outcome(holds, _words(margins), seeds=seeds, refuted_by=against)


def _terms(claim: Claim) -> Iterable[tuple[tuple, tuple[str, ...]]]:
    """Every pair of rows with every subset, or pair of subsets, on which they are compared."""
    check = claim.check
    high, low, floor = (_as_list(check.get(key, [])) for key in ("high", "low", "floor"))
    if claim.kind == "gap":
        places = [(check["larger"], smaller) for smaller in _as_list(check["smaller"])]
    else:
        key = "subsets" if claim.kind == "order" else "values"
        places = [(subset,) for subset in _as_list(check[key])]
    return product([*product(high, low), *product(low, floor)], places)


def _margin(claim: Claim, pair: tuple, subsets: tuple[str, ...], lookup: Lookup) -> _Margin:
    def row(of: str | float, subset: str) -> Row:
        return lookup((of, metric, subset)) if isinstance(of, str) else {None: of}

    metric = claim.check["metric"]
    values = reduce(_minus, [_minus(*(row(of, subset) for of in pair)) for subset in subsets])
    rows = [of for of in pair if isinstance(of, str)]
    return _Margin(pair, subsets, tuple((of, metric, s) for of in rows for s in subsets), values)


def _minus(a: Row, b: Row) -> Row:
    """a − b, seed by seed; a number without a seed is set against every seed of the other."""
    if None in a:
        return {seed: a[None] - value for seed, value in b.items()}
    if None in b:
        return {seed: value - b[None] for seed, value in a.items()}
    return {seed: a[seed] - b[seed] for seed in a if seed in b}


def _sign(margin: _Margin, claim: Claim) -> int:
    """+1 for the claim, −1 against it, 0 for a tie or within the spread of the seeds."""
    summary = summarise(margin.values.values())
    spread = max(summary.sd if summary.seeds > 1 else 0.0, ROUNDING)
    if claim.kind == "difference":
        off = abs(summary.mean - claim.check["values"][margin.subsets[0]])
        return 1 if off <= claim.check["tolerance"] + ROUNDING else -(off > spread)
    return (summary.mean > spread) - (summary.mean < -spread)


def _words(margins: list[_Margin]) -> str:
    """The smallest margin of every subset and, among several pairs of rows, whose it is."""
    words = []
    for subsets in dict.fromkeys(margin.subsets for margin in margins):
        here = [(summarise(m.values.values()), m.pair) for m in margins if m.subsets == subsets]
        smallest, (a, b) = min(here, key=lambda found: found[0].mean)
        whose = f" ({a} over {b})" if len(here) > 1 else ""
        words.append(f"{' − '.join(subsets)} {smallest:+.4f}{whose}")
    return ", ".join(words)


def _as_list(value: object) -> list:
    return [value] if isinstance(value, str | int | float) else list(value)


def _cell(value: PublishedValue | Score) -> Cell:
    label = f"{value.method}+{value.variant}" if value.variant else value.method
    return label, value.metric, value.subset


def _published_lookup(values: Iterable[PublishedValue]) -> Lookup:
    """Printed cells; one that is printed twice has to have one value."""
    table: dict[Cell, set[float]] = {}
    for value in values:
        if value.value is not None:
            table.setdefault(_cell(value), set()).add(value.value)

    def lookup(cell: Cell) -> Row:
        found = table.get(cell, set())
        if len(found) > 1:
            raise ValueError(f"{cell} is printed with different values: {sorted(found)}")
        return {None: min(found)} if found else {}

    return lookup


def _score_lookup(scores: Iterable[Score]) -> Lookup:
    """Measured cells by seed; a method without training is scored once, so it has no seed."""
    table: dict[Cell, dict[int, float]] = {}
    trained = set()
    for score in scores:
        cell = _cell(score)
        if score.steps_planned:
            trained.add(cell)
        if not math.isfinite(score.value):  # nothing to average, such as a subset without faces
            continue
        if table.setdefault(cell, {}).setdefault(score.seed, score.value) != score.value:
            raise ValueError(
                f"{cell}, seed {score.seed}, has two scores; judge one data set, profile and "
                "recognizer at a time"
            )

    def lookup(cell: Cell) -> Row:
        row = table.get(cell, {})
        return row if len(row) != 1 or cell in trained else {None: min(row.values())}

    return lookup
