"""Tables: the paper's layout with published and measured values side by side."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llie_core.metrics.protocols import load_protocols
from llie_core.metrics.resampling import Interval
from llie_core.names import metric_title, subset_title, title_of
from llie_core.reporting.comparisons import UNTRAINED
from llie_core.reporting.intervals import half_widths, intervals
from llie_core.reporting.markup import NOT_RUN, table_html
from llie_core.reporting.published import PublishedValue, table
from llie_core.reporting.scores import Score, mean_of, select, summarise

# The words that verdicts begin with, in the order in which tables have them.
VERDICTS = ("reproduced", "not reproduced", "holds on", "does not hold on", "inconclusive",
            "contradicted by the paper's own table", "cannot be re-run", "left to the eye",
            "hypothesis", "not run")  # fmt: skip
# (unit of the published column, unit of the score) → what the score is multiplied by.
_UNITS = {("percent", "fraction"): 100, ("M", "count"): 1e-6}


def in_unit(printed: str, measured: str) -> float:
    """What a published value is multiplied by to be in the unit of a score."""
    return 1 / _UNITS.get((printed, measured), 1)


@dataclass(frozen=True)
class Table:
    """A table that shows itself: HTML in reports, aligned text elsewhere. All text is escaped.

    header: column titles; rows: cells as text; note: the protocol of what it shows; marks: (row,
    column) → "best" or "second"; filters: titles of columns by which a reader may choose rows;
    groups: titles of columns, the rows of whose entries are folded behind a line each.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    marks: Mapping[tuple[int, int], str] = field(default_factory=dict)
    filters: Sequence[str] = ()
    groups: Sequence[str] = ()

    def _repr_html_(self) -> str:
        return table_html(**vars(self))

    def __repr__(self) -> str:
        lines = [list(map(str, self.header)), *[list(map(str, row)) for row in self.rows]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.caption, *text, *([self.note] if self.note else [])])


def published_beside_measured(
    paper: str,
    number: str,
    scores: Iterable[Score],
    caption: str,
    decimals: int | None = 4,
    stands_for: str | None = None,
    flip: bool = False,
) -> Table:
    """One of the paper's tables: each column twice, as published and as measured here.

    A measured cell is the mean over seeds (± standard deviation); "not run" where no score is.

    Args:
        decimals: of measured cells; None: as the metric's unit has it.
        stands_for: given, a cell takes scores of its own data set only, or, where that is this
            one, of a built-in set; not given, the scores' data set stands for all of the table's.
        flip: rows as columns, for a table that is printed with a column a method.
    """
    cells, scores = table(paper, number), list(scores)
    if flip:
        cells = [
            replace(c, row=c.column, column=c.row, title=c.header, header=c.title) for c in cells
        ]
    columns = sorted({cell.column for cell in cells})
    headers = {cell.column: cell.header for cell in cells}
    header = ["", *[f"{headers[c]}, {kind}" for c in columns for kind in ("published", "here")]]
    rows = []
    for row in sorted({cell.row for cell in cells}):
        line = {cell.column: cell for cell in cells if cell.row == row}
        title = next(iter(line.values())).title
        values = [v for c in columns for v in _pair(line.get(c), scores, decimals, stands_for)]
        rows.append([title, *values])
    return Table(caption, header, rows, _note(cells, scores, stands_for))


def score_table(
    scores: Iterable[Score], metrics: Sequence[tuple[str, str]], caption: str,
    titles: Mapping[str, str] | None = None,
) -> Table:  # fmt: skip
    """Rows are methods, columns (metric, subset): mean ± sd over seeds, with every protocol.

    titles: row's label → what the table calls it (`study.titles`), where not names.title_of; its
    rows come first, in its order.
    """
    scores, order = list(scores), list(titles or ())
    labels = list(dict.fromkeys(score.label for score in scores))
    labels.sort(key=lambda label: order.index(label) if label in order else len(order))
    wanted = [s for s in scores if (s.metric, s.subset) in metrics]
    rows = [
        [
            title_of(label, titles),
            *[
                mean_cell(select(wanted, label=label, metric=m, subset=s), none="–")
                for m, s in metrics
            ],
        ]
        for label in labels
    ]
    units = {score.metric: score.unit for score in wanted if score.unit in ("dB", "ms")}
    header = [
        ", ".join(filter(None, (metric_title(metric), units.get(metric), subset_title(subset))))
        for metric, subset in metrics
    ]
    marks = _marks(labels, [select(wanted, metric=m, subset=s) for m, s in metrics])
    return Table(caption, ["", *header], rows, "Measured: " + conditions(wanted), marks)


def set_table(
    scores: Iterable[Score], sets: Sequence[str], protocols: Sequence[str],
    titles: Mapping[str, str], absent: Mapping[str, str], caption: str,
) -> Table:  # fmt: skip
    """Rows are methods, columns a test set and protocol: mean ± sd over seeds.

    Args:
        sets: the test sets at hand; absent: the others, with the reason.
        protocols: ids of protocols.toml, whose scores stand under their metric's name.
        titles: row's label → what the table calls it, in the order of the table.
    """
    known, scores = load_protocols(), list(scores)
    if not sets:
        rows = [[name, NOT_RUN, why] for name, why in absent.items()]
        return Table(caption, ["set", "scores", "why"], rows)
    columns = [(name, known[protocol]) for name in sets for protocol in protocols]
    marks = _marks([*titles], [select(scores, dataset=n, protocol=p.id) for n, p in columns])
    rows = []
    for label, title in titles.items():
        row = [title]
        for name, protocol in columns:
            found = select(scores, label=label, dataset=name, protocol=protocol.id)
            why = protocol.missing_weights() or NOT_RUN
            row.append(mean_cell(found, protocol.decimals, none=why))
        rows.append(row)
    header = ["", *[f"{name}, {metric_title(protocol.metric)}" for name, protocol in columns]]
    used = [s for s in scores if s.dataset in sets and s.protocol in protocols]
    words = [f"{name}: {NOT_RUN}, {why}." for name, why in absent.items()]
    return Table(caption, header, rows, " ".join([f"Measured: {conditions(used)}", *words]), marks)


def _marks(labels: Sequence[str], columns: Sequence[Sequence[Score]]) -> dict[tuple[int, int], str]:
    """The best and the second row of each column of scores, where the next row lies beyond the
    spread of their seeds and beyond its interval over images; normal-light images, costs and what
    has no better end are not marked."""
    found = {}
    for place, scores in enumerate(columns, start=1):
        scores = [s for s in scores if s.label != "original" and s.metric not in UNTRAINED]
        means = {s.label: mean_of(scores, label=s.label) for s in scores}
        ends = intervals(scores)
        ranked = sorted(means, key=lambda label: means[label].mean)
        direction = scores[0].direction if scores else "none"
        if direction == "none":
            continue
        if direction == "higher":
            ranked.reverse()
        for mark, label, behind in zip(("best", "second"), ranked, ranked[1:], strict=False):
            spread = max(0.0, *(x.sd for x in (means[label], means[behind]) if x.seeds > 1), 0.0)
            low, high = ends.get(label, (math.inf, -math.inf))
            difference = abs(means[label].mean - means[behind].mean)
            if difference <= spread or low <= means[behind].mean <= high:
                break
            found[labels.index(label), place] = mark
    return found


def conditions(scores: Iterable[Score]) -> str:
    """Data set, profile, n, seeds, device and protocols of some scores, in one line."""
    scores = list(scores)
    if not scores:
        return "nothing was measured"

    def all_of(name: str) -> str:
        return ", ".join(dict.fromkeys(str(getattr(s, name)) for s in scores if getattr(s, name)))

    counts: dict[str, set[int]] = {}
    for s in scores:
        what = f"{metric_title(s.metric)} {subset_title(s.subset)}".strip()
        counts.setdefault(what, set()).add(s.n)
    readers = ", ".join(dict.fromkeys(title_of(s.recognizer) for s in scores if s.recognizer))
    seeds = ", ".join(map(str, sorted({s.seed for s in scores})))
    trained = [s for s in scores if s.steps_planned]
    steps = dict.fromkeys(f"{s.steps_done} of {s.steps_planned} steps" for s in trained)
    parts = [
        f"{all_of('dataset')} ({all_of('split')} split)",
        f"profile {all_of('profile')}",
        f"recognizer {readers}" if readers else "",
        _half_widths(scores),
        "; ".join(f"n = {span(found)} ({what})" for what, found in counts.items()),
        f"seed {seeds}",
        ", ".join(steps),
        f"protocol {all_of('protocol')}",
        all_of("device"),
        f"commit {all_of('commit')}",
    ]
    return "; ".join(part for part in parts if part) + "."


def _half_widths(scores: Sequence[Score]) -> str:
    """How far other images could move what is a number of a whole set, such as AP."""
    found: dict[str, list[Interval]] = {}
    for key in dict.fromkeys((s.metric, s.subset, s.dataset, s.recognizer) for s in scores):
        names = ("metric", "subset", "dataset", "recognizer")
        own = select(scores, **dict(zip(names, key, strict=True)))
        title = f"{metric_title(key[0])} {subset_title(key[1])}".strip()
        found.setdefault(title, []).extend(intervals(own).values())
    return half_widths(found)


def span(numbers: set[int]) -> str:
    """The least and the largest of some numbers, in words."""
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least} to {most}"


def _belongs(score: Score, cell: PublishedValue, stands_for: str | None) -> bool:
    """Whether a score may stand in a cell of this data set; costs are printed under none."""
    if stands_for is None or cell.dataset in ("", score.dataset):
        return True
    return score.dataset.startswith("builtin-") and cell.dataset == stands_for


def _pair(
    cell: PublishedValue | None, scores: list[Score], decimals: int | None, stands_for: str | None
) -> tuple[str, str]:
    if cell is None:
        return "–", "–"
    printed = "not legible" if cell.status == "not_legible" else cell.printed
    if cell.status == "misprint":
        printed += " *"
    found = select(scores, label=cell.label, metric=cell.metric, subset=cell.subset)
    found = [score for score in found if _belongs(score, cell, stands_for)]
    unit = found[0].unit if found else ""
    return printed, mean_cell(found, decimals, times=_UNITS.get((cell.unit, unit), 1))


def mean_cell(
    scores: Sequence[Score], decimals: int | None = None, none: str = NOT_RUN, times: float = 1
) -> str:
    """The mean of some scores of one metric over seeds, or `none`."""
    if not scores:
        return none
    places = decimals if decimals is not None else (2 if scores[0].unit == "dB" else 3)
    return f"{summarise(times * score.value for score in scores):.{places}f}"


def _note(cells: list[PublishedValue], scores: list[Score], stands_for: str | None) -> str:
    used = [
        score
        for score in scores
        if any(
            (score.metric, score.subset) == (cell.metric, cell.subset)
            and _belongs(score, cell, stands_for)
            for cell in cells
        )
    ]
    places = dict.fromkeys(
        " with ".join(filter(None, (c.dataset, c.recognizer and title_of(c.recognizer))))
        for c in cells
    )
    named = ", ".join(filter(None, places)) or "no data set is named"
    notes = [
        f"* {c.title}, {c.header}: {c.note}" for c in cells if c.status == "misprint" and c.note
    ]
    words = f"Published: {named}. Here: {conditions(used)}"
    return " ".join([words, *notes])


def reasons_table(reasons: Iterable[Sequence[str]]) -> Table:
    """What was not run, and why, from pairs of the two: what has one reason stands together."""
    found: dict[str, list[str]] = {}
    for what, why in reasons:
        found.setdefault(why, []).append(what)
    rows = [[", ".join(names), why] for why, names in found.items()]
    return Table("Not run, and why", ["what", "why"], rows)


def share_of_pixels(stamp: Mapping) -> str:
    """How much of the published schedule's pixels a training on crops saw; "–" of another, or of a
    stamp that does not say."""
    if not stamp.get("pixels_planned"):
        return "–"
    return f"{100 * int(stamp['pixels_done']) / int(stamp['pixels_planned']):.3g} %"


def claims_table(verdicts: Iterable, caption: str = "Claims") -> Table:
    """Every claim with its place, what it says, the verdict and the numbers behind it, by
    verdict."""
    rows = [[v.claim.id, v.claim.place, v.claim.says, v.verdict, v.evidence] for v in verdicts]
    header = ["claim", "place", "says", "verdict", "evidence"]
    return Table(caption, header, sorted(rows, key=lambda row: place_of(row[3])),
                 filters=["place", "verdict"], groups=["verdict"])  # fmt: skip


def place_of(verdict: str) -> int:
    """The place of a verdict among VERDICTS."""
    return next((i for i, word in enumerate(VERDICTS) if verdict.startswith(word)), len(VERDICTS))


def verdict_counts(verdicts: Iterable, reservations: Iterable[str] = ()) -> Table:
    """How many claims got each verdict; the reasons in brackets are left to the full table.

    reservations: why this is not the paper's own run (`judging.reservations`).
    """
    words = [v.verdict.split(" (")[0] for v in verdicts]
    order = sorted(dict.fromkeys(words), key=place_of)
    rows = [[word, str(words.count(word))] for word in order]
    why = "; ".join(reservations)
    note = f"No claim is reproduced or refuted by this run: {why}." if why else ""
    return Table(f"Verdicts on {len(words)} claims", ["verdict", "claims"], rows, note)
