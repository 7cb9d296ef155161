"""Curves of a training, in characters and as a figure that follows it."""

import math

import IPython.display
import pytest

from llie_core.engine.runs import Run
from llie_core.reporting.curves import Live, text_curve


def drawn(points, **size):
    """The area of a curve in characters, as lines."""
    return [line.split("│")[1] for line in text_curve(points, "loss", **size).splitlines()
            if "│" in line]  # fmt: skip


def test_a_falling_loss_falls_from_left_to_right():
    assert drawn([(0, 4), (1, 3), (2, 2), (3, 1)], width=4, height=4) == ["•", " •", "  •", "   •"]


def test_many_steps_are_drawn_by_their_means():
    points = [(i, 10.0 * (i >= 500) + (-1) ** i) for i in range(1000)]  # a step, and noise
    assert drawn(points, width=10, height=3) == ["     •••••", "", "•••••"]


def test_axes_and_title_name_values_and_steps():
    text = text_curve([(0, 0.75), (9, math.nan), (20, 0.25)], "loss", width=20, height=3)
    title, top, _, bottom, _, steps = text.splitlines()
    assert title == "loss: 0.25 at step 20"
    assert top.split("│")[0].strip() == "0.75" and bottom.split("│")[0].strip() == "0.25"
    assert steps.split() == ["0", "20"] and len(steps) == len("           └") + 20


def test_a_curve_without_values_says_so():
    assert text_curve([], "loss") == text_curve([(0, math.inf)], "loss") == "loss: no values yet"


def test_one_value_is_a_curve():
    assert sum(line.count("•") for line in drawn([(5, 1.0)], height=3)) == 1


@pytest.fixture
def shown(monkeypatch):
    """Every figure that is displayed, by its lines' labels and points."""
    figures = []

    class Handle:
        def update(self, figure):
            loss, validation = figure.axes
            figures.append([[(line.get_label(), list(line.get_ydata())) for line in axis.lines]
                            for axis in (loss, validation)])  # fmt: skip

    def display(figure, display_id):
        Handle().update(figure)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    return figures


def test_a_live_figure_follows_the_records(tmp_path, monkeypatch, shown):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    run = Run("paper", "toy", "smoke", "tiny", "0123abcd", 3)
    live = Live([run], seconds=60)
    run.directory.mkdir(parents=True)
    run.log_path.write_text("step,lr,total\n0,1,0.5\n1,1,0.25\n")
    run.validation_path.write_text("step,value\n2,17.5\n")
    live.stop()
    (before, after), label = shown, "tiny, seed 3: waiting, "
    assert before == [[], []]
    assert after == [[(label, [0.5, 0.25])], [(label, [17.5])]]
