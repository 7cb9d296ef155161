"""Parameters, FLOPs and MACs in closed form; latency by what must hold of any timing."""

import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from llie_core.metrics import cost, count_macs, count_parameters, latencies, latency
from llie_core.metrics.cost import Latency


class Attention(nn.Module):
    """One head over all pixels: 24 positions of 8 channels at 4×6."""

    def __init__(self):
        super().__init__()
        self.project = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        tokens = self.project(x).flatten(2).mT[:, None]  # (B, 1, H·W, 8)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)


class NeedsValues(Attention):
    def forward(self, x):
        return x * self.project(x).mean().item()


class Half(Attention):
    def forward_half(self, x):
        return self.project(x[..., ::2, ::2])


def separable() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.Conv2d(24, 24, 3, padding=1, groups=24),
        nn.Conv2d(24, 3, 3, padding=1),
    )


def test_known_answer_of_flops():
    work = count_macs(separable(), (400, 600))
    assert work.flops == 725_760_000
    assert work.macs == 362_880_000
    assert work.size == (400, 600)
    assert work.note == ""


def test_parameters_in_closed_form():
    model = separable()
    assert count_parameters(model) == (3 * 24 * 9 + 24) + (24 * 9 + 24) + (24 * 3 * 9 + 3)
    assert count_parameters(model.requires_grad_(False)) == 1563
    assert count_parameters(nn.Identity()) == 0
    assert count_parameters(torch.sqrt) == 0


def test_attention_is_counted():
    positions, channels = 4 * 6, 8
    expected = 2 * positions * 3 * channels + 2 * (2 * positions * positions * channels)
    assert count_macs(Attention(), (4, 6)).flops == expected


def test_a_method_may_be_named_and_the_model_stays_as_it_was():
    model = Half().train()
    assert count_macs(model, (4, 6), method="forward_half").flops == 2 * (2 * 3) * 3 * 8
    assert model.training
    assert model.project.weight.device.type == "cpu"


def test_an_enhancer_without_parameters_is_not_counted():
    for model in (torch.sqrt, nn.Identity()):
        work = count_macs(model, (8, 8))
        assert work.flops is None
        assert work.macs is None
        assert work.note.startswith("not counted")


def test_a_model_that_needs_values_is_named():
    with pytest.raises(ValueError, match=r"NeedsValues\.forward at 4×6 without values"):
        count_macs(NeedsValues(), (4, 6))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_latency_of_a_network(precision):
    model = separable().train()
    measured = latency(model, (16, 24), precision=precision, batch=2, seconds=0.02)
    assert measured.median_ms > 0
    assert measured.iqr_ms >= 0
    assert measured.fps == pytest.approx(2 / measured.median_ms * 1e3)
    assert measured.runs >= 1
    assert measured.device.startswith("CPU")
    assert (measured.precision, measured.size, measured.batch) == (precision, (16, 24), 2)
    assert model.training


def test_latency_runs_the_stated_precision_and_batch_after_warming_up():
    seen = []

    def model(x):
        seen.append((tuple(x.shape), (x.flatten(1) @ x.flatten(1).T).dtype))
        return x

    measured = latency(model, (4, 5), precision="bfloat16", batch=3, warm_up=2, seconds=0.001)
    assert set(seen) == {((3, 3, 4, 5), torch.bfloat16)}
    assert len(seen) >= measured.runs + 2


def test_latency_tells_slow_from_fast():
    slow = latency(lambda x: time.sleep(0.02), (4, 4), seconds=0.01, runs=3)
    assert slow.median_ms >= 20
    assert latency(lambda x: x, (4, 4), seconds=0.01).median_ms < slow.median_ms


def test_models_are_timed_in_turn_and_the_load_is_recorded(monkeypatch):
    loads = iter(range(100))
    monkeypatch.setattr(cost.os, "getloadavg", lambda: (next(loads), 0, 0))
    called = []

    def model(name):
        return lambda _: called.append(name) or time.sleep(0.03)  # a call is a block

    models = {name: model(name) for name in "abc"}
    found = latencies(models, (4, 4), warm_up=1, runs=4, seconds=0)
    assert "".join(called) == "abc" + "abc" + "abccba" * 2  # warm-up, one to size the blocks
    assert all(one.loads == (0, 1, 2, 3) and one.runs == 4 for one in found.values())
    assert all(len(one.rounds) == 4 and min(one.rounds) >= 30 for one in found.values())


def test_what_two_models_share_is_copied_once(monkeypatch):
    shared, seen = separable(), []
    copied = cost.copy.deepcopy
    monkeypatch.setattr(cost.copy, "deepcopy", lambda *of: seen.append(copied(*of)) or seen[-1])
    models = {name: nn.Sequential(nn.Identity(), shared) for name in "ab"}
    latencies(models, (16, 24), runs=1, seconds=0)
    assert seen[0] is not seen[1] and seen[0][1] is seen[1][1] is not shared


def taken(*rounds):
    return Latency(rounds, (0.0,) * len(rounds), "CPU", "float32", (4, 4), 1, len(rounds))


def test_a_latency_is_the_median_over_rounds():
    one = taken(4.0, 1.0, 2.0, 9.0, 3.0)
    assert (one.median_ms, one.iqr_ms, one.fps) == (3.0, 2.0, pytest.approx(1000 / 3))
    assert taken(5.0).iqr_ms == 0


def test_faster_than_its_part_by_more_than_the_spread_is_seen():
    part = taken(10.0, 12.0, 30.0, 11.0)
    assert taken(9.0, 11.1, 29.0, 10.0).faster_than(part)  # in every round, whatever its load
    assert not taken(9.0, 13.0, 29.5, 11.5).faster_than(part)  # within the spread
    assert not taken(10.0, 12.0, 30.0, 11.0).faster_than(part)
    assert not taken(15.0, 17.0, 35.0, 16.0).faster_than(part)


def test_timing_says_nothing():
    """(Importing torch.utils.benchmark warns where there is a CUDA compiler but no device.)"""
    code = "from llie_core.metrics import latency; latency(lambda x: x, (4, 4), seconds=0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_unknown_precision():
    with pytest.raises(ValueError, match="'float32', 'float16', 'bfloat16'"):
        latency(torch.sqrt, (4, 4), precision="int8")


@pytest.mark.gpu
def test_latency_on_the_gpu_waits_for_the_work():
    model = nn.Conv2d(3, 256, 3, padding=1)
    small = latency(model, (64, 64), "cuda", seconds=0.05)
    large = latency(model, (2048, 2048), "cuda", seconds=0.05)
    assert large.median_ms > 5 * small.median_ms
    assert large.device == torch.cuda.get_device_name("cuda")
