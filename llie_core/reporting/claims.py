"""A paper's checkable sentences and the verdict that measurements give them.

A claim's check is tried on the paper's own tables first (a claim that they refute is `contradicted
by the paper's own table`), then on the measured scores:

    order       high > low (> floor, where given) in `metric` on every one of `subsets`
    better      as order, but by the metric's own direction: a lower NIQE is the better one
    gap         high − low is positive on subset `larger`, and larger than on each of `smaller`
    difference  high − low = values[subset], to `tolerance`; decided on the paper's own data only
    ratio       high / low = values[subset], likewise
    appearance  as order, by what the images show (brightness, burnt share, …; no table prints it)
    measured    a named measurement of the study decides
    eye         left to the eye; the figure is shown, nothing is decided
    hypothesis  no statement about what was found, for the reason `why`; nothing is decided
    impossible  nobody can run it again, for the reason `why`

`high`, `low` and `floor` are a row ("zero_dce_pp+2:1"), a number, a name that the file gives to
several rows ([rows]), or a list of these: then every pair of different ones has to pass. ">" is
meant of the numbers, whatever the metric's direction. Trained rows are compared seed by seed: it
takes three seeds to decide an ordering, and a mean margin beyond one standard deviation of
them. Percent count as fractions, parameters
in millions, FLOPs in billions. A check of the first two kinds may also have

    above, below  bounds of the margin: above < high − low < below
    most          true: more than half of the comparisons have to pass, not all; "places": all
                  pairs of rows have to pass in more than half of the places
    why           why nobody can run it again; then it is tried on the printed tables only

A measured claim that compares trained rows names by which `metric`: it then needs three seeds too
(costs need none), a recognizer that may decide, and for a time a GPU.

Where: `metric` is one or a list; `subsets` are ["all"] if not given; `dataset` (one or a list),
`recognizer` and `table` are given where the paper prints several numbers for the same rows. A
report judges what it covers: the numbers of its recognizer and, on a data set of the paper's
tables, those of that set; any other data set, such as a built-in one, stands in for all of them.
The rest is judged in other reports; a claim that goes beyond this one `holds on` its data at best.

`parts` are tables of keys, each set over those of the check for a comparison of its own; the claim
holds if all of them do.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product

from llie_core.names import title_of
from llie_core.reporting.comparisons import (
    FIGURES,
    LEAST_SEEDS,
    UNTRAINED,
    WHERE,
    Outcome,
    Part,
    Tables,
    as_list,
    compare,
    parts_of,
    score_lookup,
)
from llie_core.reporting.drawn import Differences, DrawsOf
from llie_core.reporting.published import FOLDER, load
from llie_core.reporting.scores import Score

KEYS = {
    "order": {"high", "low", "metric"},
    "better": {"high", "low", "metric"},
    "gap": {"high", "low", "metric", "larger", "smaller"},
    "difference": {"high", "low", "metric", "values", "tolerance"},
    "ratio": {"high", "low", "metric", "values", "tolerance"},
    "appearance": {"high", "low", "metric"},
    "measured": {"name"},
    "eye": {"figure"},
    "hypothesis": {"why"},
    "impossible": {"why"},
}
BOUNDS = {"subsets", "floor", "above", "below", "most", "why"}
OPTIONAL_KEYS = {
    "order": {*WHERE, *BOUNDS},
    "better": {*WHERE, *BOUNDS},
    "gap": {*WHERE},
    "difference": {*WHERE},
    "ratio": {*WHERE},
    "appearance": {"dataset", "above", "below", "most"},
    "measured": {"recognizer", "metric"},
    "eye": {"recognizer"},
}
NUMBERS = ("order", "better", "gap", *FIGURES)  # kinds that tables decide
TIMES = ("latency", "fps")
# Metrics that no recognizer reads.
UNREAD = (*UNTRAINED, "psnr", "ssim", "fsim", "niqe", "brisque", "lpips", "sseq", "ms_ssim",
          "dists", "loe")  # fmt: skip
Measured = tuple[bool | None, str]  # (holds, evidence), or (None, why it was not measured)


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
        for check in self.checks:
            self._validate(check)

    @property
    def checks(self) -> list[dict]:
        """The check of each part, with the keys that all share; a check without parts is one."""
        common = {key: value for key, value in self.check.items() if key != "parts" or not value}
        return [common | part for part in self.check.get("parts") or [{}]]

    def _validate(self, check: Mapping) -> None:
        wanted, given = KEYS[self.kind], set(check)
        empty = {key for key, value in check.items() if value in ("", [], {})}
        unclear = {"most"} if check.get("most", True) not in (True, "places") else set()
        problems = {
            "has no": wanted - given,
            "leaves empty": empty,
            "does not know": given - wanted - OPTIONAL_KEYS.get(self.kind, set()),
            "does not understand": unclear,
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
    """What was run: data set, profile, seeds of the row with the fewest, whether it is the paper's
    own.

    blind: recognizer → why it decides nothing, such as one near chance on normal-light images.
    titles: row's label → what evidence calls it, where not names.title_of.
    timed: on what, where times decide and all papers took them on another class of device.
    draws_of: a score in draws of its test images, which pair two rows.
    """

    dataset: str
    profile: str
    seeds: int
    papers_own: bool
    blind: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    timed: str = ""
    draws_of: DrawsOf | None = None

    def holds(
        self, yes: bool, seeds: int | None = None, whole: bool = True, missing: str = ""
    ) -> str:
        """The verdict's words.

        seeds: how many were compared, if not all that were run, 0 where no row is trained; whole:
        False for a claim of which this report covers a part only: that part can refute the claim,
        but not reproduce it; missing: the numbers that were not there.
        """
        if self.papers_own and (whole or not yes):
            return f"{'reproduced' if yes else 'not reproduced'}{f' ({missing})' * bool(missing)}"
        return f"{'holds' if yes else 'does not hold'} on {self.place(seeds, missing)}"

    def place(self, seeds: int | None = None, missing: str = "") -> str:
        """What was run, in words; seeds, missing: as for `holds`."""
        seeds = self.seeds if seeds is None else seeds
        trained = f"{seeds} seed{'s' * (seeds != 1)}" if seeds else "no trained rows"
        words = f"{self.profile}, {trained}{f', {self.timed}' * bool(self.timed)}"
        return f"{self.dataset} ({words}{f'; {missing}' * bool(missing)})"


@cache
def load_claims(paper: str) -> tuple[Claim, ...]:
    """All claims of a paper, in the order of its text; ValueError names a malformed one."""
    path, claims = FOLDER / paper / "claims.toml", {}
    if not path.exists():
        raise ValueError(f"no claims are written down for paper {paper!r}")
    with path.open("rb") as file:
        content = tomllib.load(file)
    if not content.get("claim"):
        raise ValueError(f"{path.name} holds no [[claim]]")
    for entry in content["claim"]:
        check = _with_rows(entry.get("check", {}), content.get("rows", {}))
        try:
            claim = Claim(**entry | {"check": check})
        except TypeError as error:  # a field too many or too few
            raise ValueError(f"claim {entry.get('id', '?')}: {error}") from None
        if claim.id in claims:
            raise ValueError(f"claim {claim.id} stands twice in {path.name}")
        if claim.restates and claim.restates not in claims:
            raise ValueError(f"claim {claim.id} restates {claim.restates}, which is none before it")
        claims[claim.id] = claim
    return tuple(claims.values())


def compared(paper: str) -> set[tuple[str, str]]:
    """(Metric, subset) of the numbers that a paper's claims compare."""
    found = set()
    for check in (check for claim in load_claims(paper) for check in claim.checks):
        given = [check.get(key, []) for key in ("larger", "smaller", "values")]
        subsets = [subset for of in given for subset in as_list(of)]
        found |= set(product(as_list(check.get("metric", [])),
                             subsets or as_list(check.get("subsets", "all"))))  # fmt: skip
    return found


def _with_rows(check: Mapping, rows: Mapping[str, list[str]]) -> dict:
    """A check with the names of several rows replaced by these."""
    named = {}
    for key, value in check.items():
        if key == "parts":
            value = [_with_rows(part, rows) for part in value]
        elif key in ("high", "low", "floor"):
            expanded = [row for name in as_list(value) for row in rows.get(name, [name])]
            value = expanded if isinstance(value, list) or value in rows else value
        named[key] = value
    return named


def judge(
    paper: str,
    scores: Iterable[Score],
    context: Context,
    measurements: Mapping[str, Measured] | None = None,
) -> list[Verdict]:
    """The verdict on every claim of a paper; `scores` are of one data set, profile, recognizer.

    measurements: by the name that a check gives.
    """
    scores = list(scores)
    tables = Tables(load(paper))
    report = _Report(context, scores, standing_in=context.dataset not in tables.datasets)
    verdicts: dict[str, Verdict] = {}
    for claim in load_claims(paper):
        if claim.restates:
            words = verdicts[claim.restates].verdict, f"as {claim.restates}"
        elif claim.kind in (*NUMBERS, "appearance"):
            words = _judge_numbers(claim, tables, report)
        elif claim.kind == "hypothesis":
            words = f"hypothesis ({claim.check['why']})", ""
        elif claim.kind == "impossible":
            words = f"cannot be re-run ({claim.check['why']})", ""
        elif elsewhere := report.elsewhere(("", claim.check.get("recognizer", ""))):
            words = f"not run ({elsewhere})", ""
        elif claim.kind == "eye":
            words = "left to the eye", f"see {claim.check['figure']}"
        else:
            words = _judge_measured(claim, report, measurements or {})
        verdicts[claim.id] = Verdict(claim, *words)
    return list(verdicts.values())


def _judge_measured(claim: Claim, report: "_Report", measurements: Mapping) -> tuple[str, str]:
    holds, evidence = measurements.get(claim.check["name"], (None, "not measured in this run"))
    if holds is None:
        return f"not run ({evidence})", ""
    check = {"metric": [], **claim.check}
    parts = parts_of(claim.kind, [check], {})
    context = report.context_for(parts)
    if blind := report.blind(parts):
        return f"not run ({blind})", evidence
    trained = any(part.metric not in UNTRAINED for part in parts)
    if trained and context.seeds < LEAST_SEEDS:
        return _few_seeds(context.seeds), evidence
    return context.holds(holds), evidence


def _judge_numbers(claim: Claim, tables: Tables, report: "_Report") -> tuple[str, str]:
    parts = parts_of(claim.kind, claim.checks, tables.directions)
    titles = report.context.titles
    printed = compare(parts, tables.lookup, titles)
    covered, elsewhere = report.covered(parts)
    here = compare(covered, lambda part: report.lookup, titles, report.differences)
    context = report.context_for(parts)
    evidence = f"printed: {printed.words}; measured: {here.words if covered else 'nothing'}"
    if elsewhere:
        evidence += f"; the rest is {elsewhere}"
    if printed.holds is False:
        remarks = tables.remarks(printed.against, titles)
        return "contradicted by the paper's own table", "; ".join([evidence, *remarks])
    if why := claim.check.get("why"):
        return f"cannot be re-run ({why})", evidence
    if not covered:
        return f"not run ({elsewhere})", evidence
    if not context.papers_own and any(part.needs_own_data for part in covered):
        return "not run (a figure of the paper's own data)", evidence
    if blind := report.blind(covered):
        return f"not run ({blind})", evidence
    if here.holds is None:
        return _undecided(here), evidence
    # What refutes a claim needs no more numbers; "most" may hold without those of some rows.
    missing = here.missing if here.holds else ""
    return context.holds(here.holds, here.seeds or 0, not elsewhere, missing), evidence


def _undecided(outcome: Outcome) -> str:
    """Why numbers decide nothing."""
    if outcome.by_seeds is not None:
        return "inconclusive (other test images could reverse it)"
    if outcome.missing:
        return f"not run ({outcome.missing})"
    if outcome.few_seeds:
        return _few_seeds(outcome.seeds)
    if (outcome.seeds or 0) < 2:
        return "inconclusive (a tie)"
    return "inconclusive (within the spread of the seeds)"


def _few_seeds(seeds: int | None) -> str:
    return f"inconclusive ({seeds} seed{'s' * (seeds != 1)}; an ordering takes {LEAST_SEEDS})"


class _Report:
    """What the scores in hand cover.

    standing_in: their data set is none of the paper's tables, so it stands in for all of them.
    """

    def __init__(self, context: Context, scores: list[Score], standing_in: bool):
        self.context, self.lookup = context, score_lookup(scores)
        self.differences = Differences(scores, context.draws_of)
        self._standing_in = standing_in
        self._recognizers = {score.recognizer for score in scores}
        timed = [score for score in scores if score.metric in TIMES] or scores
        self._timed_on_cpu = any(score.device.startswith("CPU") for score in timed)

    def elsewhere(self, *places: tuple[str, str]) -> str:
        """Which other reports judge what is of some (data set, recognizer); "" for none."""
        others = ", ".join(dict.fromkeys(filter(None, (self._other(*place) for place in places))))
        return f"judged in the report{'s' * (', ' in others)} of {others}" if others else ""

    def covered(self, parts: list[Part]) -> tuple[list[Part], str]:
        """The parts to be judged here, each once, and where the others are."""
        here = [p for p in parts if not self._other(p.dataset, p.recognizer)]
        here = [replace(p, table="", dataset="" if self._standing_in else p.dataset) for p in here]
        unique = [part for i, part in enumerate(here) if part not in here[:i]]
        return unique, self.elsewhere(*((part.dataset, part.recognizer) for part in parts))

    def context_for(self, parts: list[Part]) -> Context:
        """What stands in for a data set that a claim names is not the paper's own, nor is a time
        that a CPU took: all papers timed on GPUs."""
        named = self._standing_in and any(part.dataset for part in parts)
        slow = self._timed_on_cpu and any(part.metric in TIMES for part in parts)
        own = self.context.papers_own and not (named or slow)
        return replace(self.context, papers_own=own, timed="timed on a CPU" if slow else "")

    def blind(self, parts: list[Part]) -> str:
        """Why the recognizer behind some parts decides nothing; "" where it may."""
        readers = {part.recognizer for part in parts} - {""} or self._recognizers - {""}
        blind = self.context.blind
        task = any(part.metric not in UNREAD for part in parts)
        return next((blind[r] for r in sorted(readers) if r in blind), "") if task else ""

    def _other(self, dataset: str, recognizer: str) -> str:
        """The data set, or the recognizer by its title, that the scores are not of; "" where they
        are."""
        if recognizer and self._recognizers and recognizer not in self._recognizers:
            return title_of(recognizer)
        return dataset if not self._standing_in and dataset != self.context.dataset else ""
