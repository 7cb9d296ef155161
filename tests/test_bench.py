"""Benchmarks of trainings: that each loop trains, and what is made of the times."""

import pytest
import torch
from tiny import TINY

from llie_core import bench_training
from llie_core.bench_training import OwnLoop, PlainLoop, StepTimes, step_times, untrained
from llie_core.engine.runs import Run
from llie_core.papers import list_papers, open_study

CPU = torch.device("cpu")


def main_row(paper):
    study = open_study(paper, "smoke", **TINY.get(paper, {}))
    return study, study.main_row()


@pytest.mark.parametrize("paper", list_papers())
def test_both_loops_train_what_the_study_would_train(paper, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    study, row = main_row(paper)
    plain = PlainLoop(untrained(study, row), CPU)
    own = OwnLoop(untrained(study, row), Run(paper, "a", "b", "c", ""), CPU, "float32")
    for loop, model in ((plain, plain.model), (own, own.training.model)):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        loop.step()
        after = list(model.parameters())
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert len(own.loads) == 1


def test_the_first_step_of_each_loop_is_not_counted(monkeypatch):
    study, row = main_row("neid")
    monkeypatch.setattr(bench_training, "precision_on", lambda _device: "mixed")
    times = step_times(study, row, CPU, rounds=1)
    assert {name: len(found) for name, found in times.steps.items()} == {
        "plain": 1, "float32": 1, "mixed": 1,
    }  # fmt: skip
    assert len(times.loads) == 2 and min(times.loads) >= 0


def test_ratios_are_medians_over_the_rounds():
    steps = {"plain": [1.0, 2.0, 9.0], "float32": [1.0, 1.0, 3.0], "mixed": [0.5, 0.5, 1.0]}
    times = StepTimes(8, steps, loads=[0.1, 0.1, 0.4])
    assert times.ratio("float32") == 2.0 and times.ratio("mixed") == 4.0
    assert times.loaded() == pytest.approx(80) and times.needed() == pytest.approx(20)
