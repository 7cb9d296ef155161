"""Cost: enhancers timed in turn, alone or before a recognizer."""

import pytest
import torch
from torch import nn

from llie_core.metrics.cost import Latency
from llie_core.models import create_enhancer
from llie_core.recognizers import create_recognizer
from llie_core.tasks import quality
from llie_core.tasks.quality import ALONE, ATTEMPTS, Cost

CPU = torch.device("cpu")


def taken(*rounds):
    return Latency(rounds, (7.5,) * len(rounds), "CPU", "float32", (4, 4), 1, len(rounds))


@pytest.fixture
def timings(monkeypatch):
    """timings(*sessions): what `latencies` finds, one time after another; returns what it timed."""
    seen = []

    def give(*sessions):
        left = list(sessions)

        def latencies(models, *_, **__):
            seen.append(dict(models))
            return {name: taken(*rounds) for name, rounds in left.pop(0).items()}

        monkeypatch.setattr(quality, "latencies", latencies)
        return seen

    return give


def task():
    return Cost((8, 8), create_recognizer("light_detector"))


MODELS = {"identity": nn.Identity(), "gamma": create_enhancer("gamma")}
SLOW = {ALONE: (10, 10, 10), "identity": (10, 10.1, 10), "gamma": (12, 12, 12)}
IMPOSSIBLE = {ALONE: (10, 10, 10), "identity": (10, 10.1, 10), "gamma": (8, 8, 8)}


def values(found, label):
    return {one.metric: one.value for one in found[label][0]}


def test_rows_are_timed_together_with_the_recognizer_alone(timings, capsys):
    seen = timings(SLOW)
    found = task().measure_together(MODELS, CPU)
    assert list(found) == ["identity", "gamma"] and list(seen[0]) == ["identity", "gamma", ALONE]
    assert values(found, "gamma")["latency"] == 12
    assert found["gamma"][1][1] == {"round": 1, "ms": 12, "load": 7.5}
    assert capsys.readouterr().err == ""


def test_a_pipeline_faster_than_its_recognizer_is_timed_again(timings, capsys):
    seen = timings(IMPOSSIBLE, SLOW)
    assert values(task().measure_together(MODELS, CPU), "gamma")["latency"] == 12
    assert len(seen) == 2 and capsys.readouterr().err == ""


def test_a_latency_that_is_not_possible_is_refused_with_a_line(timings, capsys):
    seen = timings(*[IMPOSSIBLE] * ATTEMPTS)
    found = task().measure_together(MODELS, CPU)
    assert set(values(found, "gamma")) == {"parameters"} and len(seen) == ATTEMPTS
    assert values(found, "identity")["latency"] == 10
    said = capsys.readouterr().err
    assert said.startswith("gamma: 8.00 ms with its recognizer, 10.00 ms without: not possible")
    assert "load average 7.5" in said and said.count("\n") == 1


def test_enhancers_alone_are_compared_with_nothing(timings):
    timings({"identity": (1, 1), "gamma": (0.1, 0.1)})
    found = Cost((8, 8)).measure_together(MODELS, CPU)
    assert values(found, "gamma")["latency"] == pytest.approx(0.1)


def test_the_timing_itself():
    (numbers, rounds) = task().measure(create_enhancer("gamma"), None, CPU)
    latency = next(one for one in numbers if one.metric == "latency")
    assert latency.value > 0 and len(rounds) >= 9 and latency.n >= len(rounds)
