"""Figures: images with what was found in them, maps, histograms, charts, each with alt text."""

import base64
import html
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from IPython.display import HTML, display
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from llie_core.names import metric_title, subset_title, title_of
from llie_core.reporting.intervals import intervals
from llie_core.reporting.published import PublishedValue
from llie_core.reporting.scores import Score, mean_of, select
from llie_core.reporting.tables import conditions, in_unit

WIDTH = 10.0  # inches, of a full-width figure
SIDE = 432  # pixels, of the longer side of an image that is compared with others
BOX = "#39ff14"
REGION = "#00e5ff"
CHANNELS = {1: ("#444444",), 3: ("#d62728", "#2ca02c", "#1f77b4")}  # grey; red, green, blue
LIMB_COLOURS = sns.color_palette("husl", 13)


@dataclass(frozen=True)
class Panel:
    """An image with a label and what was found: image (3, H, W), boxes (N, 4) xyxy, scores (N,),
    and bodies: joints (P, J, 2 or 3), of which `limbs` are the pairs to be joined by a line;
    regions (N, 4) xyxy, marked because they are shown enlarged elsewhere. names: what each box
    holds, written before its score."""

    label: str
    image: torch.Tensor
    boxes: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    scores: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    joints: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0, 2))
    limbs: Sequence[tuple[int, int]] = ()
    regions: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Map:
    """Values (H, W) of an image, such as errors, with a label."""

    label: str
    values: torch.Tensor


def show(figure: Figure, alt: str) -> None:
    """Display a figure with its alternative text and close it."""
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def show_words(words: str) -> None:
    """Display a sentence in the place of a figure."""
    display(HTML(f"<p>{html.escape(words)}</p>"))


def figure_html(figure: Figure, alt: str) -> str:
    """A figure as an element of a page, with its alternative text; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f'<p><img alt="{html.escape(alt)}" src="data:image/png;base64,{content}"></p>\n'


def images(rows: Sequence[Sequence[Panel]], title: str = "") -> None:
    """A grid of images with labels, boxes and scores, shown; the alt text counts the boxes."""
    if not rows:
        show_words(f"{title or 'Images'}: none in this run.")
        return
    columns = max(map(len, rows))
    tall = [max(p.image.shape[1] / p.image.shape[2] for p in panels) for panels in rows]
    text = [0.16 + 0.14 * max(len(_wrapped(p.label).splitlines()) for p in line) for line in rows]
    heights = [WIDTH / columns * a + b for a, b in zip(tall, text, strict=True)]
    whole = sum(heights) + 0.4 * bool(title)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(WIDTH, whole), squeeze=False, dpi=110,
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    for line, panels in zip(axes, rows, strict=True):
        for axis in line:
            axis.axis("off")
        for axis, panel in zip(line, panels, strict=False):
            _draw(axis, panel)
    if title:
        figure.suptitle(title)
    figure.tight_layout()
    counted = [f"{p.label}: {len(p.boxes)} detections" for p in rows[0] if len(p.boxes)]
    show(figure, f"{title}. {'; '.join(counted)}".strip())


def compare(panels: Sequence[Panel], title: str, main: str = "") -> None:
    """Images of one scene, shown at one place by a slider; side by side where no script runs.

    main: label of the image that stands first on the right, and in the report's card; default, and
    where there is none of this label: the last but one, before the ground truth.
    """
    labels = [panel.label for panel in panels]
    place = labels.index(main) if main in labels else max(0, len(panels) - 2)
    display(HTML(compared_html(panels, title, place)))


def compared_html(panels: Sequence[Panel], title: str, main: int, side: int = SIDE) -> str:
    """What `compare` shows. main: the place of its main image; side: pixels of an image's longer
    side."""
    figures = []
    for place, panel in enumerate(panels):
        found = f": {len(panel.boxes)} detections" if len(panel.boxes) else ""
        alt, mark = html.escape(f"{title}, {panel.label}{found}"), " data-main" * (place == main)
        source = f"data:image/jpeg;base64,{base64.b64encode(_jpeg(panel, side)).decode()}"
        label = html.escape(panel.label)
        figures.append(f'<figure><img alt="{alt}"{mark} src="{source}">'
                       f"<figcaption>{label}</figcaption></figure>")  # fmt: skip
    shown = f'<p>{html.escape(title)}</p><div class="grid">{"".join(figures)}</div>'
    height, width = panels[0].image.shape[1:]
    return f'<div class="compare" style="--ratio: {width / height:.4f}">{shown}</div>'


def photo_html(panels: Sequence[Panel], title: str, side: int, below: str = "") -> str:
    """The section of one photograph on a page: `panels` compared, the second as the main image, and
    `below`, HTML. side: the most pixels of an image's longer side."""
    height, width = panels[0].image.shape[1:]
    shown = compared_html(panels, title, 1, min(side, max(SIDE, height, width)))
    return f'<section class="photo">{shown}{below}</section>\n'


def _jpeg(panel: Panel, side: int) -> bytes:
    """A panel without its label, its longer side near `side` pixels."""
    height, width = panel.image.shape[1:]
    dpi = 100 * (side / SIDE) ** 0.5  # lines and scores grow with the image, but less
    scale = side / max(height, width) / dpi
    figure = plt.figure(figsize=(width * scale, height * scale), dpi=dpi)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    _draw(axis, panel)
    axis.set_title("")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", pil_kwargs={"quality": 78})
    plt.close(figure)
    return buffer.getvalue()


def heat_maps(rows: Sequence[Sequence[Map]], limit: float, unit: str, title: str) -> None:
    """A grid of maps in one colour scale from 0 to `limit`; the alt text gives the means.

    Args:
        rows: maps, a line each, which may differ in length.
        limit: value of the brightest colour; what is above looks the same.
        unit: what the colour bar counts, such as "mean |error|".
    """
    columns = max(map(len, rows))
    tall = max(m.values.shape[0] / m.values.shape[1] for maps in rows for m in maps)
    size = (WIDTH, (WIDTH / columns * tall + 0.3) * len(rows) + 0.4)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=size, squeeze=False, dpi=110, constrained_layout=True
    )
    for axis in axes.flat:
        axis.axis("off")
    for line, maps in zip(axes, rows, strict=True):
        for axis, one in zip(line, maps, strict=False):
            drawn = axis.imshow(one.values.numpy(), cmap="inferno", vmin=0, vmax=limit)
            label = _wrapped(one.label)
            axis.set_title(f"{label}\nmean {one.values.mean():.3f}", fontsize=9)
    figure.colorbar(drawn, ax=axes, label=unit, shrink=0.8)
    figure.suptitle(title)
    means = "; ".join(f"{m.label} {m.values.mean():.3f}" for maps in rows for m in maps)
    show(figure, f"{title}. {unit}, mean over the image: {means}")


def histograms(shares: Mapping[str, torch.Tensor], reference: torch.Tensor, title: str) -> None:
    """One axis an image: its histogram, filled, and the reference's, dashed.

    Args:
        shares: label → (3, bins) of red, green and blue, or (1, bins) of grey, over [0, 1]; every
            channel sums to 1. The alt text gives the part that each shares with the reference.
        reference: the same of the image to compare with.
    """
    columns = min(4, len(shares))
    lines = -(-len(shares) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(WIDTH, 1.8 * lines + 0.4), squeeze=False, sharex=True,
        constrained_layout=True,
    )  # fmt: skip
    places = (torch.arange(reference.shape[1]) + 0.5).numpy() / reference.shape[1]
    for axis in axes.flat[len(shares) :]:
        axis.axis("off")
    for axis, (label, share) in zip(axes.flat, shares.items(), strict=False):
        for colour, own, wanted in zip(CHANNELS[len(share)], share, reference, strict=True):
            axis.fill_between(places, own.numpy(), color=colour, alpha=0.35, linewidth=0)
            axis.plot(places, wanted.numpy(), color=colour, linestyle="--", linewidth=0.8)
        axis.set_title(_wrapped(label), fontsize=9)
        # A dark image's single peak would flatten all others.
        axis.set(yticks=[], xlim=(0, 1), ylim=(0, 1.6 * reference.max().item()))
    figure.suptitle(title)
    sns.despine(figure, left=True)
    common = {k: torch.minimum(v, reference).sum(1).mean() for k, v in shares.items()}
    words = "; ".join(f"{label} {share:.0%}" for label, share in common.items())
    show(figure, f"{title}. Shared with the reference's histogram: {words}")


def comparison_chart(*arguments: Any, **options: Any) -> None:
    """Show a `comparison_figure` of these arguments."""
    show(*comparison_figure(*arguments, **options))


def comparison_figure(
    scores: Iterable[Score], metric: str, subset: str = "all",
    published: Iterable[PublishedValue] = (), title: str = "",
    titles: Mapping[str, str] | None = None,
) -> tuple[Figure, str]:  # fmt: skip
    """One line a row, the best first: a point a seed, a bar at their mean, the interval over
    images, and a diamond at the published value; and the alternative text.

    Args:
        scores: of one data set and profile; the rows of these on `metric` and `subset` are shown.
        published: printed cells, of which those of the same metric, subset and row are taken.
        titles: row's label → what the chart calls it (`study.titles`), where not names.title_of.

    Raises:
        ValueError: no score of this metric and subset.
    """
    scores = select(scores, metric=metric, subset=subset)
    if not scores:
        raise ValueError(f"no score of {metric} on {subset} to chart")
    unit, direction = scores[0].unit, scores[0].direction
    means = {s.label: mean_of(scores, label=s.label) for s in scores}
    labels = sorted(means, key=lambda label: means[label].mean, reverse=direction == "higher")
    names = [title_of(label, titles) for label in labels]
    cells = [c for c in published if (c.metric, c.subset) == (metric, subset)]
    printed, where_printed = _printed(cells, labels, unit)

    size = (0.8 * WIDTH, 0.28 * len(labels) + 1.0)
    figure, axis = plt.subplots(figsize=size, constrained_layout=True)
    _measured(axis, scores, {label: means[label].mean for label in labels})
    if printed:
        y, x = zip(*printed, strict=True)
        axis.plot(x, y, "D", color="#444444", fillstyle="none", markersize=8, label=where_printed)
    counted = "" if unit in ("index", "fraction", "count") else f", {unit}"
    part = subset_title(subset)
    where = f" on {part}" if part else ""
    better = "" if direction == "none" else f" ({direction} is better)"
    axis.set(title=title, xlabel=f"{metric_title(metric)}{where}{counted}{better}", ylabel="",
             yticks=range(len(labels)), yticklabels=names,
             ylim=(len(labels) - 0.5, -0.5))  # fmt: skip
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    sns.despine(figure, left=True)
    measured = "; ".join(f"{title_of(x, titles)} {means[x]:.3f}" for x in labels)
    words = "; ".join(dict.fromkeys(f"{names[place]} {value:.3f}" for place, value in printed))
    words = f". {where_printed}: {words}" if words else ""
    measured = f"{metric_title(metric)}{where}: {measured}"
    return figure, f"{title}. {measured}{words}. {conditions(scores)}"


def _measured(axis: plt.Axes, scores: Sequence[Score], means: Mapping[str, float]) -> None:
    """Points, means and intervals of the rows of `means`, from above."""
    colour, places = sns.color_palette()[0], {label: place for place, label in enumerate(means)}
    axis.plot([*means.values()], [*places.values()], "|", color=colour, markersize=14,
              markeredgewidth=2, label="mean")  # fmt: skip
    sns.scatterplot(x=[s.value for s in scores], y=[places[s.label] for s in scores], ax=axis,
                    color=colour, label="each seed" if len(scores) > len(means) else None,
                    zorder=3)  # fmt: skip
    ends = [(places[label], *interval) for label, interval in intervals(scores).items()]
    if ends:
        axis.hlines(*zip(*ends, strict=True), color=colour, alpha=0.35, linewidth=5, zorder=1,
                    label="95 % interval over images")  # fmt: skip


def _printed(
    cells: Iterable[PublishedValue], labels: Sequence[str], unit: str
) -> tuple[list[tuple[int, float]], str]:
    """(place of the row, value in `unit`) of the printed cells of some rows, and their legend."""
    known = [cell for cell in cells if cell.label in labels and cell.value is not None]
    sets = ", ".join(dict.fromkeys(cell.dataset for cell in known if cell.dataset))
    found = [(labels.index(c.label), (c.value or 0.0) * in_unit(c.unit, unit)) for c in known]
    return found, f"published ({sets})" if sets else "published"


def line_chart(
    series: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, title: str,
    log: bool = False,
) -> None:  # fmt: skip
    """One line a series of (x, y) points, with markers; the alt text gives where each ends.

    Args:
        series: label → points in the order of x; an empty one is left out.
        x, y: what the axes count, with units.
        log: both axes logarithmic.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.2), constrained_layout=True)
    present = {label: points for label, points in series.items() if points}
    for label, points in present.items():
        sns.lineplot(x=[p[0] for p in points], y=[p[1] for p in points], ax=axis, label=label,
                     marker="o")  # fmt: skip
    scale = "log" if log else "linear"
    axis.set(title=title, xlabel=x, ylabel=y, xscale=scale, yscale=scale)
    if present:  # beside the lines, which it would cover
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    sns.despine(figure)
    ends = "; ".join(f"{label} {p[-1][1]:.4g} at {p[-1][0]:.4g}" for label, p in present.items())
    show(figure, f"{title}. {y} by {x}: {ends}")


def training_curves(
    logs: dict[str, list[dict[str, float]]], terms: Sequence[str], alt: str
) -> None:
    """One axis a loss term, one line a run: the running mean over a twentieth of the steps."""
    present = [term for term in terms if any(term in rows[0] for rows in logs.values() if rows)]
    if not present:
        show_words(f"{alt}: nothing was trained in this run.")
        return
    figure, axes = plt.subplots(
        1, len(present), figsize=(WIDTH, 3.0), squeeze=False, constrained_layout=True
    )
    colours = dict(zip(logs, sns.color_palette("tab10", len(logs)), strict=True))
    for axis, term in zip(axes[0], present, strict=True):
        for label, rows in logs.items():
            values = [row[term] for row in rows if term in row]
            if values:
                window = max(1, len(values) // 20)
                smooth = pd.Series(values).rolling(window, min_periods=1).mean()
                sns.lineplot(smooth, ax=axis, color=colours[label])
        axis.set(title=term, xlabel="step", ylabel="")
    lines = [Line2D([], [], color=colour) for colour in colours.values()]
    figure.legend(lines, list(colours), loc="outside lower center", ncols=3, fontsize=8)
    sns.despine(figure)
    show(figure, alt)


def _draw(axis: plt.Axes, panel: Panel) -> None:
    axis.imshow(panel.image.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(_wrapped(panel.label), fontsize=9)
    names = panel.names or [""] * len(panel.boxes)
    found = zip(panel.boxes.tolist(), panel.scores.tolist(), names, strict=True)
    for (x0, y0, x1, y1), score, name in found:
        axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=BOX, linewidth=1))
        axis.text(x0, max(6.0, y0 - 3), f"{name} {score:.2f}".strip(), color=BOX, fontsize=6)
    for x0, y0, x1, y1 in panel.regions.tolist():
        corner = (x0 - 0.5, y0 - 0.5)
        axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, color=REGION, linewidth=1.5))
    for body in panel.joints:
        for number, (a, b) in enumerate(panel.limbs):
            ends = body[[a, b], :2]
            colour = LIMB_COLOURS[number % len(LIMB_COLOURS)]
            axis.plot(*ends.T.tolist(), color=colour, linewidth=1.5, marker=".", markersize=3)
    # Lines and boxes that leave the image must not widen the axes.
    axis.set(xlim=(-0.5, panel.image.shape[2] - 0.5), ylim=(panel.image.shape[1] - 0.5, -0.5))


def _wrapped(label: str) -> str:
    return textwrap.fill(label, 24, break_on_hyphens=False)
