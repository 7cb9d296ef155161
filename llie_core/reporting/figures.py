"""Figures: pictures with what was found in them, maps, histograms, curves, each with alt text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

WIDTH = 10.0  # inches, of a full-width figure
BOX = "#39ff14"
REGION = "#00e5ff"
CHANNELS = {1: ("#444444",), 3: ("#d62728", "#2ca02c", "#1f77b4")}  # grey; red, green, blue
LIMB_COLOURS = sns.color_palette("husl", 13)


@dataclass(frozen=True)
class Panel:
    """A picture with a label and what was found: image (3, H, W), boxes (N, 4) xyxy, scores (N,),
    and bodies: joints (P, J, 2 or 3), of which `limbs` are the pairs to be joined by a line;
    regions (N, 4) xyxy, marked because they are shown enlarged elsewhere."""

    label: str
    image: torch.Tensor
    boxes: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    scores: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    joints: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0, 2))
    limbs: Sequence[tuple[int, int]] = ()
    regions: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 4))


@dataclass(frozen=True)
class Map:
    """Values (H, W) of a picture, such as errors, with a label."""

    label: str
    values: torch.Tensor


def show(figure: Figure, alt: str) -> None:
    """Display a figure with its alternative text and close it."""
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def pictures(rows: Sequence[Sequence[Panel]], title: str = "", alt: str = "") -> None:
    """A grid of pictures with labels, boxes and scores, shown; the alt text counts the boxes."""
    columns = max(map(len, rows))
    tall = [max(p.image.shape[1] / p.image.shape[2] for p in panels) for panels in rows]
    heights = [WIDTH / columns * each + 0.3 for each in tall]
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
    show(figure, f"{alt or title}. {'; '.join(counted)}".strip())


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
            axis.set_title(f"{one.label}\nmean {one.values.mean():.3f}", fontsize=9)
    figure.colorbar(drawn, ax=axes, label=unit, shrink=0.8)
    figure.suptitle(title)
    means = "; ".join(f"{m.label} {m.values.mean():.3f}" for maps in rows for m in maps)
    show(figure, f"{title}. {unit}, mean over the picture: {means}")


def histograms(shares: Mapping[str, torch.Tensor], reference: torch.Tensor, title: str) -> None:
    """One axis a picture: its histogram, filled, and the reference's, dashed.

    Args:
        shares: label → (3, bins) of red, green and blue, or (1, bins) of grey, over [0, 1]; every
            channel sums to 1. The alt text gives the part that each shares with the reference.
        reference: the same of the picture to compare with.
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
        axis.set_title(label, fontsize=9)
        # A dark picture's single peak would flatten all others.
        axis.set(yticks=[], xlim=(0, 1), ylim=(0, 1.6 * reference.max().item()))
    figure.suptitle(title)
    sns.despine(figure, left=True)
    common = {k: torch.minimum(v, reference).sum(1).mean() for k, v in shares.items()}
    words = "; ".join(f"{label} {share:.0%}" for label, share in common.items())
    show(figure, f"{title}. Shared with the reference's histogram: {words}")


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
    figure, axis = plt.subplots(figsize=(0.7 * WIDTH, 3.2), constrained_layout=True)
    present = {label: points for label, points in series.items() if points}
    for label, points in present.items():
        sns.lineplot(x=[p[0] for p in points], y=[p[1] for p in points], ax=axis, label=label,
                     marker="o")  # fmt: skip
    scale = "log" if log else "linear"
    axis.set(title=title, xlabel=x, ylabel=y, xscale=scale, yscale=scale)
    sns.despine(figure)
    ends = "; ".join(f"{label} {p[-1][1]:.4g} at {p[-1][0]:.4g}" for label, p in present.items())
    show(figure, f"{title}. {y} by {x}: {ends}")


def training_curves(
    logs: dict[str, list[dict[str, float]]], terms: Sequence[str], alt: str
) -> None:
    """One axis a loss term, one line a run: the running mean over a twentieth of the steps."""
    present = [term for term in terms if any(term in rows[0] for rows in logs.values() if rows)]
    figure, axes = plt.subplots(
        1, len(present), figsize=(WIDTH, 2.8), squeeze=False, constrained_layout=True
    )
    for axis, term in zip(axes[0], present, strict=True):
        for label, rows in logs.items():
            values = [row[term] for row in rows if term in row]
            if values:
                sns.lineplot(x=range(len(values)), y=_smooth(values), ax=axis, label=label)
        axis.set(title=term, xlabel="step", ylabel="")
        axis.legend(fontsize=8)
    sns.despine(figure)
    show(figure, alt)


def _draw(axis: plt.Axes, panel: Panel) -> None:
    axis.imshow(panel.image.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set_title(panel.label, fontsize=9)
    for (x0, y0, x1, y1), score in zip(panel.boxes.tolist(), panel.scores.tolist(), strict=True):
        axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=BOX, linewidth=1))
        axis.text(x0, max(6.0, y0 - 3), f"{score:.2f}", color=BOX, fontsize=6)
    for x0, y0, x1, y1 in panel.regions.tolist():
        corner = (x0 - 0.5, y0 - 0.5)
        axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, color=REGION, linewidth=1.5))
    for body in panel.joints:
        for number, (a, b) in enumerate(panel.limbs):
            ends = body[[a, b], :2]
            colour = LIMB_COLOURS[number % len(LIMB_COLOURS)]
            axis.plot(*ends.T.tolist(), color=colour, linewidth=1.5, marker=".", markersize=3)
    # Lines and boxes that leave the picture must not widen the axes.
    axis.set(xlim=(-0.5, panel.image.shape[2] - 0.5), ylim=(panel.image.shape[1] - 0.5, -0.5))


def _smooth(values: list[float]) -> list[float]:
    window = max(1, len(values) // 20)
    sums, result = 0.0, []
    for i, value in enumerate(values):
        sums += value - (values[i - window] if i >= window else 0.0)
        result.append(sums / min(i + 1, window))
    return result
