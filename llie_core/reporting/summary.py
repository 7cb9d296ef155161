"""All papers on one page: headlines, verdicts, reference runs, from what the reports wrote."""

import datetime
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from llie_core.engine.runs import commit, read_json
from llie_core.files import read_rows, results_dir, write_rows
from llie_core.metrics.protocols import load_protocols
from llie_core.names import METRICS, metric_title, subset_title, title_of
from llie_core.reporting.claims import Verdict
from llie_core.reporting.comparisons import UNTRAINED
from llie_core.reporting.field import few_images, measured_rows
from llie_core.reporting.markup import is_number
from llie_core.reporting.published import list_papers
from llie_core.reporting.scores import (
    Score,
    all_kept,
    mean_of,
    read_scores,
    reference_folder,
    select,
)
from llie_core.reporting.sources import short_doubt
from llie_core.reporting.tables import VERDICTS, Table, place_of, set_table


def write_verdicts(folder: Path, verdicts: Iterable[Verdict]) -> None:
    """verdicts.csv of a paper, data set and profile: claim, what it says, verdict, evidence; what
    changed since the last report goes to the end of verdict_changes.csv."""
    rows = [
        {"claim": v.claim.id, "says": v.claim.says, "verdict": v.verdict, "evidence": v.evidence}
        for v in verdicts
    ]
    before = {row["claim"]: row["verdict"] for row in read_rows(folder / "verdicts.csv")}
    now = datetime.datetime.now().isoformat(" ", "minutes")
    changed = [
        {"when": now, "claim": row["claim"], "before": before[row["claim"]],
         "after": row["verdict"], "commit": commit()}
        for row in rows if before.get(row["claim"], row["verdict"]) != row["verdict"]
    ]  # fmt: skip
    if changed:
        log = folder / "verdict_changes.csv"
        write_rows(log, [*read_rows(log), *changed])
    write_rows(folder / "verdicts.csv", rows)


def report_folders(profile: str) -> list[Path]:
    """results/<paper>/<dataset>/<profile> of every report that was made, by paper."""
    return [
        path.parent
        for paper in list_papers()
        for path in sorted((results_dir() / paper).glob(f"*/{profile}/headline.json"))
    ]


def headline_table(profile: str) -> Table:
    """Every report's main question and the numbers that answer it."""
    rows = [
        [*_names(folder), read_json(folder / "headline.json").get("headline", "")]
        for folder in report_folders(profile)
    ]
    made = {row[0] for row in rows}
    absent = ", ".join(paper for paper in list_papers() if paper not in made)
    note = f"Profile {profile}. {f'No report yet of: {absent}.' if absent else 'All papers.'}"
    return Table("Headlines", ["paper", "data set", "headline"], rows, note)


def verdict_table(profile: str) -> Table:
    """How many claims of each paper got each verdict, a line a report."""
    rows = []
    for folder in report_folders(profile):
        verdicts = [row["verdict"] for row in read_rows(folder / "verdicts.csv")]
        counts = [sum(v.startswith(word) for v in verdicts) for word in VERDICTS]
        rows.append([*_names(folder), str(len(verdicts)), *(str(c or "–") for c in counts)])
    header = ["paper", "data set", "claims", *VERDICTS]
    note = (
        f"Profile {profile}. 'reproduced' and 'not reproduced' are kept for the paper's own data "
        "and protocol; what holds on built-in data is said of built-in data alone."
    )
    return Table("Verdicts on the claims", header, rows, note)


def claims_table(profile: str) -> Table:
    """Every claim of every paper with its verdict, by report and verdict."""
    rows = [
        [*_names(folder), row["claim"], row["says"], row["verdict"], row["evidence"]]
        for folder in report_folders(profile)
        for row in sorted(
            read_rows(folder / "verdicts.csv"), key=lambda row: place_of(row["verdict"])
        )
    ]
    header = ["paper", "data set", "claim", "says", "verdict", "evidence"]
    return Table("Claims of all papers", header, rows, f"Profile {profile}.",
                 filters=["paper", "data set", "verdict"],
                 groups=["paper", "data set", "verdict"])  # fmt: skip


def changes_table(profile: str) -> Table:
    """Verdicts that changed from one report to the next, the last first."""
    rows = [
        [row["when"], *_names(folder), row["claim"], row["before"], row["after"], row["commit"]]
        for folder in report_folders(profile)
        for row in read_rows(folder / "verdict_changes.csv")
    ]
    header = ["when", "paper", "data set", "claim", "before", "after", "commit"]
    note = "" if rows else "No verdict changed since the first report."
    return Table("Changed verdicts", header, sorted(rows, reverse=True), note)


def lol_tables() -> list[Table]:
    """Every enhancer that was evaluated on LOL, from the reference runs: under the main protocol of
    each metric, then under every other one, a table a metric.

    A training is a row of its paper and profile. A method without training stands in the runs of
    several papers; its numbers are the same, and it is one row.
    """
    found: dict[tuple, Score] = {}
    titles, notes = {}, []
    for folder in all_kept():
        paper, dataset, profile = folder.parts[-3:]
        if dataset != "lol":
            continue
        for score in select(
            read_scores(folder / "scores.csv"), dataset=dataset, subset="all", recognizer=""
        ):
            if score.metric in UNTRAINED:
                continue
            run = "" if score.weights == "none" else f"{paper}, {profile}"
            label = f"{score.label} ({run})" if run else score.label
            titles[label] = title_of(score.label) + (f" ({run})" if run else "")
            found[label, score.seed, score.protocol] = replace(score, label=label)
        if doubt := _doubt(folder):
            notes.append(f"{paper}, {profile}: {doubt}.")
    known, columns = load_protocols(), {s.protocol: s.metric for s in found.values()}
    parts: dict[str, list[str]] = {"": [p for p, metric in columns.items() if metric in METRICS]}
    for protocol in (name for name in columns if name not in parts[""]):
        parts.setdefault(known[protocol].metric, []).append(protocol)
    tables = []
    for metric, protocols in parts.items():
        caption = f"{metric_title(metric)} under other protocols" if metric else "Main protocols"
        table = set_table(found.values(), ["lol"], sorted(protocols), titles, {}, caption)
        names = [metric_title(columns[name]) for name in sorted(protocols)]
        rows = [[row[0], *(c if is_number(c) else "–" for c in row[1:])] for row in table.rows]
        tables.append(replace(table, header=["", *names], rows=rows))
    words = few_images(measured_rows("no")), tables[0].note, *notes
    return [replace(tables[0], note=" ".join(words)), *tables[1:]]


def _doubt(folder: Path) -> str:
    """Why the trainings of a folder of reference runs decide no claim; "" where they may."""
    paper, dataset = folder.parts[-3:-1]
    if folder != reference_folder(paper, dataset):
        return "no claim is about these rows"
    doubt = short_doubt(folder)
    return f"decides no claim: {doubt}" if doubt else ""


def reference_table() -> Table:
    """The committed reference runs: main numbers of every row, mean ± sd over seeds."""
    rows, doubts = [], []
    for folder in all_kept():
        paper, dataset, profile = folder.parts[-3:]
        scores = select(read_scores(folder / "scores.csv"), dataset=dataset)
        for label in dict.fromkeys(score.label for score in scores):
            own = select(scores, label=label)
            names = [*_names(folder), profile]
            rows.append([*names, title_of(label), _main_numbers(own)])
        if doubt := _doubt(folder):
            doubts.append(f"{paper} on {dataset}, {profile}: {doubt}.")
    header = ["paper", "data set", "profile", "row", "mean over seeds"]
    note = " ".join(["Protocols: see each run's scores.csv.", *doubts])
    return Table("Reference runs", header, rows, note, groups=header[:3])


_MAIN = (("miou", "all"), ("ap", "LL-A"), ("ap", "hard"), ("recall", "all"), ("psnr", "all"),
         ("ssim", "all"))  # fmt: skip


def _main_numbers(scores: list[Score]) -> str:
    parts = []
    for metric, subset in _MAIN:
        found = select(scores, metric=metric, subset=subset)
        readers = list(dict.fromkeys(s.recognizer for s in found))
        for reader in readers:
            who = f"({title_of(reader)})" if len(readers) > 1 else ""
            mean = mean_of(found, recognizer=reader)
            words = (metric_title(metric), subset_title(subset), who, f"{mean:.3f}")
            parts.append(" ".join(filter(None, words)))
    return "; ".join(parts) or "–"


def _names(folder: Path) -> list[str]:
    return [folder.parts[-3], folder.parts[-2]]
