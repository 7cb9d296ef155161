"""Figures: pictures with what was found in them, training curves, strips, each with alt text."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

WIDTH = 10.0  # inches, of a full-width figure
BOX = "#39ff14"
LIMB_COLOURS = sns.color_palette("husl", 13)


@dataclass(frozen=True)
class Panel:
    """A picture with a label and what was found: image (3, H, W), boxes (N, 4) xyxy, scores (N,),
    and bodies: joints (P, J, 2 or 3), of which `limbs` are the pairs to be joined by a line."""

    label: str
    image: torch.Tensor
    boxes: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    scores: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    joints: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0, 2))
    limbs: Sequence[tuple[int, int]] = ()


def show(figure: Figure, alt: str) -> None:
    """Display a figure with its alternative text and close it."""
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def pictures(rows: Sequence[Sequence[Panel]], title: str = "", alt: str = "") -> None:
    """A grid of pictures with labels, boxes and scores, shown; the alt text counts the boxes."""
    columns = max(map(len, rows))
    tall = max(p.image.shape[1] / p.image.shape[2] for panels in rows for p in panels)
    height = (WIDTH / columns * tall + 0.3) * len(rows)
    figure, axes = plt.subplots(len(rows), columns, figsize=(WIDTH, height), squeeze=False, dpi=110)
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
