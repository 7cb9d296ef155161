"""Charts of paper 3's scores: lines over the methods (Fig. 1), means over the sets (Fig. 12)."""

import math
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import seaborn as sns

from llie_core.published import PublishedValue, load
from llie_core.published import table as published_table
from llie_core.reporting.figures import WIDTH, show
from llie_core.reporting.scores import Score, select, summarise

METRICS = ("psnr", "ssim", "brisque", "niqe", "lpips")  # of Table I


def metric_chart(scores: Sequence[Score]) -> None:
    """Fig. 1: lines over the methods for each metric of Table I, as printed for LOL and as here.

    scores: on the pairs trained on.
    """
    printed = [cell for cell in published_table("jcrnet", "I") if cell.dataset == "lol"]
    labels = [_label(c) for c in printed] + [s.label for s in scores]
    names = list(dict.fromkeys(labels))
    figure, axes = plt.subplots(
        len(METRICS), figsize=(WIDTH, 1.3 * len(METRICS) + 1), sharex=True, constrained_layout=True
    )
    words = []
    for axis, metric in zip(axes, METRICS, strict=True):
        lines = {
            "published, LOL": {_label(c): c.value for c in printed if c.metric == metric},
            f"here, {scores[0].dataset}": _means(select(scores, metric=metric)),
        }
        for label, values in lines.items():
            heights = [values.get(name, math.nan) for name in names]  # a gap where there is none
            axis.plot(range(len(names)), heights, marker="o", markersize=4, label=label)
        axis.set(ylabel=metric)
        words.append(_best(metric, printed, lines[f"here, {scores[0].dataset}"]))
    axes[0].legend(fontsize=8)
    axes[-1].set_xticks(range(len(names)), names, rotation=90)
    figure.suptitle("Fig. 1: metrics by method")
    sns.despine(figure)
    show(figure, f"Fig. 1: metrics by method. {'; '.join(words)}")


def mean_chart(scores: Sequence[Score]) -> None:
    """Fig. 12 (a, b): mean BRISQUE and NIQE over the data sets, as printed and as measured.

    scores: on all sets.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 6.5), sharey=True, constrained_layout=True)
    words = []
    for axis, metric in zip(axes, ("brisque", "niqe"), strict=True):
        cells = [c for c in load("jcrnet") if c.table in ("I", "II") and c.metric == metric]
        printed, sets = _over_sets((_label(c), c.dataset, c.value) for c in cells)
        lines = {f"published, {sets} sets": printed}
        found = [s for s in scores if s.metric == metric]
        found = [s for s in found if not s.dataset.endswith("-cast") and s.subset == "all"]
        here, count = _over_sets((s.label, s.dataset, s.value) for s in found)
        if here:
            lines[f"here, {count} set{'s' * (count != 1)}"] = here
        names = sorted({*printed, *here}, key=lambda name: printed.get(name, here.get(name)))
        for label, values in lines.items():
            shown = [name for name in names if name in values]
            sns.scatterplot(x=[values[n] for n in shown], y=shown, ax=axis, label=label)
        axis.set(xlabel=f"mean {metric}, lower is better", ylabel="")
        axis.legend(fontsize=8)
        words += [f"{label}: lowest {metric} {min(v, key=v.get)}" for label, v in lines.items()]
    figure.suptitle("Fig. 12 (a), (b): means over data sets")
    sns.despine(figure)
    show(figure, f"Fig. 12 (a), (b): means over data sets. {'; '.join(words)}")


def _over_sets(values: Iterable[tuple[str, str, float]]) -> tuple[dict[str, float], int]:
    """Row → mean over its data sets, of the rows that are on as many as any, and how many."""
    by_row: dict[str, dict[str, list[float]]] = {}
    for row, dataset, value in values:
        by_row.setdefault(row, {}).setdefault(dataset, []).append(value)
    count = max((len(sets) for sets in by_row.values()), default=0)
    means = {
        row: summarise(summarise(of).mean for of in sets.values()).mean
        for row, sets in by_row.items()
        if len(sets) == count
    }
    return means, count


def _means(scores: list[Score]) -> dict[str, float]:
    """Row → mean over seeds."""
    labels = dict.fromkeys(score.label for score in scores)
    return {x: summarise(s.value for s in select(scores, label=x)).mean for x in labels}


def _label(cell: PublishedValue) -> str:
    """Row of a cell; the authors' MindSpore version is a row of its own."""
    return f"{cell.method}+{cell.variant}" if cell.variant else cell.method


def _best(metric: str, printed: list, here: dict[str, float]) -> str:
    """The best row of each line, for the alternative text."""
    cells = {_label(cell): cell for cell in printed if cell.metric == metric}
    pick = max if next(iter(cells.values())).direction == "higher" else min
    words = f"best {metric}: published {pick(cells, key=lambda name: cells[name].value)}"
    return f"{words}, here {pick(here, key=here.get)}" if here else f"{words}, here not run"
