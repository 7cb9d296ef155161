"""Curves of a training: in a terminal as text, in JupyterLab as a figure that follows it."""

import math
import threading
from collections.abc import Iterable, Sequence
from itertools import groupby

from llie_core.engine.progress import progress_of
from llie_core.engine.runs import Run

WIDTH, HEIGHT = 64, 10  # characters of a curve in a terminal

Points = Sequence[tuple[float, float]]  # (step, value), in the order of the steps


def loss_curve(run: Run) -> Points:
    """(steps done, loss) of every step in the log, which counts them from 0."""
    return [(row["step"] + 1, row["total"]) for row in run.read_log()]


def validation_curve(run: Run) -> Points:
    """(step, value on the validation part; higher is better)."""
    return [(row["step"], row["value"]) for row in run.read_validation()]


def text_curve(points: Points, title: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    """A curve in characters: a mark for the mean of each part of the steps.

    Points that are not finite are left out; without others the title says that there are none.
    """
    points = [point for point in points if math.isfinite(point[1])]
    if not points:
        return f"{title}: no values yet"
    first, last = points[0][0], points[-1][0]
    scale = (width - 1) / max(1.0, last - first)
    columns = {
        column: [value for _, value in own]
        for column, own in groupby(points, lambda point: round((point[0] - first) * scale))
    }
    means = {column: sum(values) / len(values) for column, values in columns.items()}
    low, high = min(means.values()), max(means.values())
    rows = [[" "] * width for _ in range(height)]
    for column, mean in means.items():
        share = (mean - low) / (high - low) if high > low else 0.5
        rows[round((1 - share) * (height - 1))][column] = "•"
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    lines = [f"{labels.get(i, ''):>10} │{''.join(row).rstrip()}" for i, row in enumerate(rows)]
    ends = f"{int(first)}".ljust(width - len(f"{int(last)}")) + f"{int(last)}"
    title = f"{title}: {points[-1][1]:.4g} at step {int(last)}"
    return "\n".join([title, *lines, f"{'step':>10} └{'─' * width}", f"{'':>12}{ends}"])


class Live:
    """Progress, loss and validation of trainings as a figure that is drawn anew while they run.

        live = Live(trainings(study))          # in a cell; the next one may train
        study.train()

    It reads records only, so that a cell of another notebook may show it too. It ends when
    every training has finished or failed, or by `stop()`.

    Args:
        runs: the trainings.
        seconds: between two drawings.
    """

    def __init__(self, runs: Iterable[Run], seconds: float = 5.0):
        from IPython.display import display

        self.runs, self.seconds = list(runs), seconds
        self._handle = display(self._drawn(), display_id=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Draw once more and end."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(self.seconds):
            self._handle.update(self._drawn())
            if all(progress_of(run).state in ("finished", "failed") for run in self.runs):
                return
        self._handle.update(self._drawn())

    def _drawn(self):
        """A figure of its own, not pyplot's: that one belongs to the cells."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10.0, 3.2), constrained_layout=True)
        axes = figure.subplots(1, 2)
        for run in self.runs:
            progress = progress_of(run)
            label = f"{run.label}, seed {run.seed}: {progress.state}, {progress}"
            for axis, points in zip(axes, (loss_curve(run), validation_curve(run)), strict=True):
                if points:
                    axis.plot(*zip(*points, strict=True), label=label, linewidth=1)
        for axis, title in zip(axes, ("loss", "validation"), strict=True):
            axis.set(title=title, xlabel="step")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", fontsize=8)
        return figure
