"""docs/RESULTS.md, written from the reference runs: every number there is a score that is kept."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from llie_core.files import read_rows
from llie_core.metrics.protocols import load_protocols
from llie_core.metrics.resampling import bootstrap
from llie_core.names import metric_title, subset_title, title_of
from llie_core.reporting.comparisons import LEAST_SEEDS
from llie_core.reporting.cross import Reading, read_folder
from llie_core.reporting.intervals import half_widths, intervals
from llie_core.reporting.published import list_papers
from llie_core.reporting.scores import (
    OF_PAPERS,
    Score,
    kept_folders,
    mean_of,
    read_scores,
    select,
    summarise,
)
from llie_core.reporting.sources import short_doubt
from llie_core.reporting.tables import Table, share_of_pixels, span

# (metric, subset) of the tables; what a test set does not have is left out.
COLUMNS = (
    ("miou", "day"), ("miou", "all"), ("ap", "day"), ("ap", "LL-A"),
    ("ap", "easy"), ("ap", "medium"), ("ap", "hard"),
    ("recall", "all"), ("fp_per_image", "all"), ("map", "all"), ("map_50", "all"),
    ("max_f", "all"), ("mae", "all"), ("psnr", "all"), ("ssim", "all"),
    ("psnr-rgb-float-gtmean-grey-8bit", "all"), ("niqe", "all"), ("brisque", "all"),
)  # fmt: skip
HEAD = """# Results of the reference runs

Written by `llie results` from `results/reference`; do not edit. Numbers are means over seeds, with
the standard deviation where there are several. They are measured here; the papers' own numbers and
the verdicts on their claims stand beside them in the reports. `n` counts what a number is a mean
over: images, persons or faces. Protocols are explained in `llie_core/metrics/protocols.toml`. Below
each table stands by how much other images of the kind could move a mean: on LOL's 15 test images
that is one to two dB of PSNR. Two rows see the same images, so their difference moves less: the
answers to *By how much, and how sure?* have its 95 % interval over test images in brackets, too
wide where *unpaired* (the runs kept no draws of their images).

Numbers *decide no claim* where the code of the networks or losses has changed since the runs, or
where files differed from their commit. Of the test sets, *wider-val-a* and *-b* are two halves, by
event, of the WIDER FACE validation images at hand, darkened; *camvid* is its dusk sequence, and its
normal-light images show other scenes; *lol* is LOL's eval15, *lol-384* the same at 384×384,
*lol-cast* under a green cast, *lol-normal-light* its ground truths as input; *-darkened* are
normal-light images, darkened about as much as the paper's COCO1000 (it prints 11.58 dB of PSNR for
the input), *-lol-style* darkened to look like LOL's; *dicm*, *lime*, *mef*, *npe* have no ground
truth.
"""


def results_markdown(
    titles: Mapping[str, str],
    findings: Mapping[tuple[str, str], Table],
    rows: Mapping[tuple[str, str, str], Mapping[str, str]],
) -> str:
    """The whole page: what was found first, then the numbers behind it.

    titles: paper → its title; findings: (paper, data set) → what its reference runs found; rows:
    (paper, data set, profile) → the titles of its rows, by label.
    """
    found, numbers = [], []
    for number, paper in enumerate(list_papers(), 1):
        folders, title = kept_folders(paper), f"Paper {number}: {titles[paper]}"
        if folders:
            found.append(f"### {title}\n")
            numbers.append(f"## {title}\n")
        for folder in (one for one in folders if one.name in OF_PAPERS):
            table, name = findings[paper, folder.parent.name], f"On {folder.parent.name}."
            about = filter(None, (name, _trained(folder), _doubt(folder)))
            found += [" ".join(about) + "\n",
                      _table(table.header, table.rows), ""]  # fmt: skip
        for folder in folders:
            numbers += _of_folder(folder, rows[paper, folder.parent.name, folder.name])
    return "\n".join([HEAD, *(["## What was found\n", *found] if found else []), *numbers])


def _doubt(folder: Path) -> str:
    """Why the numbers of reference runs decide no claim, in a sentence; "" where they may."""
    doubt = short_doubt(folder)
    return f"These numbers decide no claim: {doubt}." if doubt else ""


def _trained(folder: Path) -> str:
    """How far the rows were trained, and with how many seeds, in a sentence; "" for no training."""
    labels = {s.label for s in read_scores(folder / "scores.csv") if s.steps_planned}
    runs = [run for run in read_rows(folder / "runs.csv") if run["label"] in labels]
    if not runs:
        return ""
    steps = " or ".join(dict.fromkeys(map(_steps, runs)))
    counts = sorted(set(Counter(run["label"] for run in runs).values()))  # of seeds, a row
    seeds = f"{' or '.join(map(str, counts))} seed{'s' * (counts != [1])}"
    few = f"; an order of trained rows takes {LEAST_SEEDS}" * (counts[0] < LEAST_SEEDS)
    return f"Trained for {steps}, {seeds}{few}."


def _steps(run: Mapping[str, str]) -> str:
    share = share_of_pixels(run)
    of_pixels = f" ({share} of the pixels)" * (share != "–")
    return f"{run['steps_done']} of {run['steps_planned']} steps{of_pixels}"


def _of_folder(folder: Path, titles: Mapping[str, str]) -> list[str]:
    scores = read_scores(folder / "scores.csv")
    dataset, profile = folder.parts[-2:]
    parts = [f"### {dataset}, profile `{profile}`\n"]
    if profile not in OF_PAPERS:
        parts.append("No claim is about these rows.\n")
    elif doubt := _doubt(folder):
        parts.append(f"{doubt}\n")
    readings = read_folder(folder, "")
    for name in dict.fromkeys(score.dataset for score in scores):
        parts += _of_test_set(name, select(scores, dataset=name), readings, titles)
    parts += ["Trainings:\n", _runs_table(folder / "runs.csv", titles)]
    return parts


def _of_test_set(
    name: str, scores: list[Score], readings: list[Reading], titles: Mapping[str, str]
) -> list[str]:
    """readings: what recognizers made of each image; titles: of the rows."""
    parts = []
    readers = list(dict.fromkeys(s.recognizer for s in scores if (s.metric, s.subset) in COLUMNS))
    for reader in [r for r in readers if r] or [""]:
        own = [s for s in scores if s.recognizer in (reader, "")]
        shown = [c for c in COLUMNS if select(own, metric=c[0], subset=c[1])]
        if not shown:
            continue
        by = f", read by {title_of(reader)}" if reader else ""
        header = ["row", *(_column(own, *column) for column in shown)]
        rows = [
            [title_of(label, titles), *(_cell(own, label, *column) for column in shown)]
            for label in dict.fromkeys(s.label for s in own if (s.metric, s.subset) in shown)
        ]
        seen = [one for one in readings if (one.dataset, one.recognizer) == (name, reader)]
        spread = _spread(own, shown, seen)
        parts += [f"Test set {name}{by}:\n", _table(header, rows), _note(own, shown, spread)]
    return parts


def _column(scores: list[Score], metric: str, subset: str) -> str:
    unit = select(scores, metric=metric, subset=subset)[0].unit
    named = ", ".join(filter(None, (metric_title(metric), subset_title(subset))))
    return f"{named}, {unit}" if unit in ("dB", "percent") else named


def _cell(scores: list[Score], label: str, metric: str, subset: str) -> str:
    found = select(scores, label=label, metric=metric, subset=subset)
    if not found:
        return "–"
    decimals = max(load_protocols()[found[0].protocol].decimals, 2)
    return f"{mean_of(found):.{decimals}f}"


def _spread(scores: list[Score], shown: Iterable[tuple[str, str]], readings: list[Reading]) -> str:
    """How far other images of the kind could move the numbers: half the 95 % interval over images,
    the median of the rows, of each metric that has one."""
    halves = {}
    for metric, subset in shown:
        own = select(scores, metric=metric, subset=subset)
        title = metric_title(metric).replace(", ", " after ")
        part = f", {subset_title(subset)}" * (subset != "all")
        halves[title + part] = list(intervals(own).values())
    for one in readings:
        means = [of for label in one.values if (of := one.means(label))]
        halves[one.measure.words] = [
            bootstrap(list(of.values()), [one.weights[name] for name in of]) for of in means
        ]
    words = half_widths(halves)
    return f"; {words}" if words else ""


def _note(scores: list[Score], shown: Iterable[tuple[str, str]], spread: str) -> str:
    found = [s for column in shown for s in select(scores, metric=column[0], subset=column[1])]
    protocols = ", ".join(dict.fromkeys(score.protocol for score in found))
    seeds = sorted({score.seed for score in found if score.steps_planned})
    trained = f"; seeds {', '.join(map(str, seeds))}" if seeds else ""
    return f"\nn = {span({s.n for s in found})}{trained}; protocols {protocols}{spread}.\n"


def _runs_table(path: Path, titles: Mapping[str, str]) -> str:
    rows, runs = [], read_rows(path)
    for label in dict.fromkeys(run["label"] for run in runs):
        own = [run for run in runs if run["label"] == label]
        seconds = summarise(float(run["seconds"]) for run in own).mean
        rows.append([
            title_of(label, titles), str(len(own)),
            " / ".join(dict.fromkeys(f"{r['steps_done']} of {r['steps_planned']}" for r in own)),
            " / ".join(dict.fromkeys(share_of_pixels(run) for run in own)),
            " / ".join(dict.fromkeys(run.get("selected_step") or "–" for run in own)),
            f"{seconds:.0f}", ", ".join(dict.fromkeys(run["device"] for run in own)),
            ", ".join(dict.fromkeys(run["commit"] for run in own)),
        ])  # fmt: skip
    header = ["row", "seeds", "steps of planned", "pixels of planned", "weights of step",
              "seconds a training", "device", "commit"]  # fmt: skip
    dirty = any(run["commit"].endswith("+") for run in runs)
    note = "\nA + behind a commit: files differed from it.\n" if dirty else ""
    return f"{_table(header, rows)}\n{note}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
                     for line in lines)  # fmt: skip
