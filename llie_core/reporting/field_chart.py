"""Quality against size: the field's published numbers and the measured rows in one chart."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.transforms import Bbox

from llie_core.names import check_choice
from llie_core.reporting.field import (
    DATASETS,
    GT_MEAN,
    RERUN,
    WORDS,
    load_field,
    measured_rows,
)
from llie_core.reporting.figures import WIDTH, show

PUBLISHED, THEIRS, TRAINED = "published", "measured, authors' weights", "measured, trained here"
MARKS = {PUBLISHED: "D", THEIRS: "s", TRAINED: "o"}
COLOURS = dict(zip(MARKS, ("#888888", *sns.color_palette()[:2]), strict=True))

# Where a label may stand, in points from its mark.
PLACES = ((6, 0), (-6, 0), (0, 8), (0, -8), (6, 8), (6, -8), (-6, 8), (-6, -8), (0, 15), (0, -15),
          (8, 15), (8, -15), (-8, 15), (-8, -15), (8, 22), (8, -22))  # fmt: skip


def cost_chart(gt_mean: str = "no", dataset: str = "lol") -> None:
    """PSNR against the number of parameters: published, measured with the authors' files and
    measured here as marks of three shapes, the last with its interval over images; the best method
    without parameters is a line. Ablations stand in the table only."""
    check_choice(GT_MEAN, gt_mean=gt_mean)
    check_choice(DATASETS, dataset=dataset)
    measured = measured_rows(gt_mean) if dataset == "lol" else []
    networks = [row for row in measured if row.parameters and not row.ablation]
    points = [
        (row.parameters, value, THEIRS if row.source == RERUN else PUBLISHED, row.title)
        for row in load_field()
        if row.gt_mean == gt_mean and (value := row.value(dataset, "psnr")) and row.parameters
    ]
    points += [(row.parameters / 1e6, row.mean_psnr, TRAINED, row.title) for row in networks]
    figure, axis = plt.subplots(figsize=(WIDTH, 5.6), constrained_layout=True)
    kinds = [kind for _, _, kind, _ in points]
    sns.scatterplot(x=[p[0] for p in points], y=[p[1] for p in points], hue=kinds, style=kinds,
                    markers=MARKS, palette=COLOURS, s=60, ax=axis)  # fmt: skip
    for row in networks:
        if row.interval:
            axis.vlines(row.parameters / 1e6, *row.interval, color=COLOURS[TRAINED], alpha=0.4)
    if best := next((row for row in measured if not row.parameters), None):
        axis.axhline(best.mean_psnr, color="#888888", linestyle="--", linewidth=1,
                     label=f"{best.title}, no parameters")  # fmt: skip
    title = f"{dataset}: quality against size, {WORDS[gt_mean]}"
    axis.set(xscale="log", xlabel="parameters, millions", ylabel="PSNR, dB (higher is better)",
             title=title)  # fmt: skip
    axis.margins(x=0.08)
    axis.legend(fontsize=8, loc="lower right")
    sns.despine(figure)
    _label(axis, [(x, y, title) for x, y, _, title in sorted(points)])
    words = [f"{name} {y:.2f} dB at {x:.3g} M ({kind})" for x, y, kind, name in sorted(points)]
    show(figure, f"{title}: {'; '.join(words)}")


def _label(axis: plt.Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """A label beside each point, at the first place where it covers no point, no other label and
    not the legend; at the first of all where there is none."""
    axis.figure.canvas.draw()  # which settles the scales
    places = [axis.transData.transform((x, y)) for x, y, _ in points]
    taken = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    taken += [legend.get_window_extent()] if (legend := axis.get_legend()) else []
    for x, y, title in points:
        text = axis.annotate(title, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=7,
                             va="center")  # fmt: skip
        for dx, dy in (*PLACES, PLACES[0]):
            text.xyann = dx, dy
            text.set_horizontalalignment("left" if dx > 0 else "right" if dx else "center")
            if not any(text.get_window_extent().overlaps(other) for other in taken):
                break
        taken.append(text.get_window_extent())
