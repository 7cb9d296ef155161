"""The field's numbers on LOL, LOL-v2-real and LOL-v2-syn, as published, beside the measured rows.

field.csv has one line for each row of a source and each use of GT-mean, field_sources.toml what is
known of each source. Numbers with GT-mean, without, and of sources that do not say are never put
into one table or chart: GT-mean alone adds 2 to 5 dB.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

from llie_core.files import read_rows
from llie_core.names import check_choice, split_label, title_of
from llie_core.reporting.intervals import intervals
from llie_core.reporting.scores import Score, all_kept, read_scores, select, summarise
from llie_core.reporting.tables import Table

DATASETS = ("lol", "lol-v2-real", "lol-v2-syn")
GT_MEAN = ("no", "yes", "not stated")
RERUN, HERE = "rerun", "here"  # sources: measured by this project, the authors' files or its own
# GT-mean or not → protocols of PSNR and SSIM that measured rows are taken from.
MEASURED = {
    "no": ("psnr-rgb-float", "ssim-valid-gaussian"),
    "yes": ("psnr-rgb-float-gtmean-grey-8bit", "ssim-valid-gaussian-gtmean-grey-8bit"),
}
WORDS = {"no": "without GT-mean", "yes": "with GT-mean", "not stated": "GT-mean not stated"}


@dataclass(frozen=True)
class FieldRow:
    """A row of a source's table: parameters in millions and work (units: `sources()`), None where
    not known; cells: (data set, "psnr" or "ssim") → the printed number."""

    source: str
    title: str
    gt_mean: str
    parameters: float | None
    work: str
    cells: Mapping[tuple[str, str], str]

    def value(self, dataset: str, metric: str) -> float | None:
        """The printed number; None where the source has none."""
        printed = self.cells.get((dataset, metric))
        return float(printed) if printed else None


@dataclass(frozen=True)
class MeasuredRow:
    """A row of the kept runs on LOL: parameters, multiply-accumulates and PSNR, SSIM over seeds;
    interval: of the mean PSNR over images, or None; ablation: a network with a part left out."""

    title: str
    parameters: int
    macs: float | None
    psnr: str
    ssim: str
    mean_psnr: float
    interval: tuple[float, float] | None
    ablation: bool


@cache
def load_field() -> tuple[FieldRow, ...]:
    """Every row of field.csv.

    Raises:
        ValueError: a source that field_sources.toml does not describe, or an unknown GT-mean.
    """
    return tuple(map(_parse, read_rows(Path(__file__).with_name("field.csv"))))


@cache
def sources() -> dict[str, dict[str, str]]:
    """Source → where it is (cite, place), its protocol, and what `work` counts."""
    path = Path(__file__).with_name("field_sources.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def field_table(gt_mean: str = "no") -> Table:
    """Published rows by PSNR on LOL, then the measured ones.

    Args:
        gt_mean: which of `GT_MEAN` the rows have in common.
    """
    check_choice(GT_MEAN, gt_mean=gt_mean)
    rows = [row for row in load_field() if row.gt_mean == gt_mean]
    rows.sort(key=lambda row: [-(row.value(name, "psnr") or 0) for name in DATASETS])
    measured = measured_rows(gt_mean)
    lines = [*map(_published_line, rows), *map(_measured_line, measured)]
    columns = [f"{name}, {metric}" for name in DATASETS for metric in ("PSNR", "SSIM")]
    header = ["method", "source", "parameters, M", "work, G", *columns]
    note = "Sources and their protocols: the table of sources. " + few_images(measured)
    return Table(f"The field, {WORDS[gt_mean]}", header, lines, note.strip(), filters=["source"])


def source_table() -> Table:
    """Where each source is, its protocol as far as it is stated, and what its work counts."""
    rows = [[name, *(about.get(key, "not given") for key in ("cite", "place", "protocol", "work"))]
            for name, about in sources().items()]  # fmt: skip
    header = ["source", "what", "where", "protocol", "work"]
    return Table("Sources of the field's numbers", header, rows)


def few_images(rows: Iterable[MeasuredRow]) -> str:
    """One sentence: how wide the intervals of the measured rows are; "" without rows."""
    halves = [(row.interval[1] - row.interval[0]) / 2 for row in rows if row.interval]
    if not halves:
        return ""
    return (
        f"15 images decide little: the 95 % interval of a mean PSNR over them is "
        f"± {median(halves):.1f} dB (median of {len(halves)} measured rows)."
    )


@cache
def measured_rows(gt_mean: str) -> tuple[MeasuredRow, ...]:
    """The rows of the kept runs on LOL (eval15), the best PSNR first; none for "not stated"."""
    found = {}
    for folder in all_kept():
        if folder.parent.name != "lol":
            continue
        scores = select(read_scores(folder / "scores.csv"), dataset="lol", subset="all",
                        recognizer="")  # fmt: skip
        for label in dict.fromkeys(score.label for score in scores):
            own = select(scores, label=label)
            row = _measured(own, gt_mean)
            if row and label != "original":
                trained_in = "" if own[0].weights == "none" else str(folder)
                found[label, trained_in] = row
    return tuple(sorted(found.values(), key=lambda row: -row.mean_psnr))


def _measured(scores: list[Score], gt_mean: str) -> MeasuredRow | None:
    if gt_mean not in MEASURED:
        return None
    of_psnr = select(scores, protocol=MEASURED[gt_mean][0])
    psnr, ssim = ([s.value for s in select(scores, protocol=p)] for p in MEASURED[gt_mean])
    size = [s.value for s in select(scores, metric="parameters")]
    if not (psnr and size):
        return None
    label, macs = scores[0].label, [s.value for s in select(scores, metric="macs")]
    ends, mean = intervals(of_psnr).get(label), summarise(psnr)
    return MeasuredRow(title_of(label), int(size[0]), macs[0] if macs else None, f"{mean:.2f}",
                       f"{summarise(ssim):.3f}" if ssim else "–", mean.mean, ends,
                       split_label(label)[1].startswith("w/o "))  # fmt: skip


def _published_line(row: FieldRow) -> list[str]:
    size = f"{row.parameters:g}" if row.parameters else "–"
    cells = [row.cells.get((d, m), "–") for d in DATASETS for m in ("psnr", "ssim")]
    return [row.title, row.source, size, row.work or "–", *cells]


def _measured_line(row: MeasuredRow) -> list[str]:
    half = f" [{row.interval[0]:.2f}, {row.interval[1]:.2f}]" if row.interval else ""
    work = "–" if row.macs is None else f"{row.macs / 1e9:.3g}"
    return [row.title, HERE, f"{row.parameters / 1e6:g}", work, row.psnr + half,
            row.ssim, *["–"] * 4]  # fmt: skip


def _parse(line: Mapping[str, str]) -> FieldRow:
    if line["source"] not in sources() or line["gt_mean"] not in GT_MEAN:
        raise ValueError(f"field.csv: unknown source or GT-mean in {dict(line)}")
    cells = {
        (name, metric): line[f"{name} {metric}"]
        for name in DATASETS
        for metric in ("psnr", "ssim")
        if line[f"{name} {metric}"]
    }
    size = float(line["parameters"]) if line["parameters"] else None
    return FieldRow(line["source"], line["title"], line["gt_mean"], size, line["work"], cells)
