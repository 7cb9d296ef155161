"""What an enhancer costs: parameters, FLOPs and MACs, latency.

Latencies to be compared are taken in turn, a round after another, so that what else the machine
does meets all of them; the load average is recorded beside.

FLOPs are torch's own count (`torch.utils.flop_counter`): two per multiply-accumulate, for
convolutions, matrix products and attention; element-wise work is not counted. Papers that say
"FLOPs" often mean MACs, so both are given. Counting runs on the meta device: no memory, no values.
"""

import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median, quantiles

import torch

from llie_core.devices import device_name, wait_for
from llie_core.names import check_choice

PRECISIONS = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}
BLOCK_SECONDS = 0.02
MOST_ROUNDS = 50


@dataclass(frozen=True)
class Macs:
    """Work of one forward pass on one image. `flops` and `macs` are None where not counted."""

    flops: int | None
    macs: int | None
    size: tuple[int, int]
    note: str = ""


@dataclass(frozen=True)
class Latency:
    """Time of one call on one batch, and how it was measured.

    rounds: ms of a call in each round; loads: the system's load average (of a minute) after each
    round; runs: calls that were timed.
    """

    rounds: tuple[float, ...]
    loads: tuple[float, ...]
    device: str
    precision: str
    size: tuple[int, int]
    batch: int
    runs: int

    @property
    def median_ms(self) -> float:
        return median(self.rounds)

    @property
    def iqr_ms(self) -> float:
        """Interquartile range over rounds."""
        return interquartile_range(self.rounds)

    @property
    def fps(self) -> float:
        return self.batch / self.median_ms * 1e3

    def faster_than(self, part: "Latency") -> bool:
        """Whether it is faster than a part of it, measured in the same rounds, by more than the
        spread of the differences: which cannot be."""
        differences = [own - other for own, other in zip(self.rounds, part.rounds, strict=True)]
        return median(differences) < -interquartile_range(differences)


def interquartile_range(values: Sequence[float]) -> float:
    """Between the first and the third quartile; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    first, _, third = quantiles(values, n=4, method="inclusive")
    return third - first


def count_parameters(model: object) -> int:
    """Number of parameters, frozen ones included; 0 for an enhancer that has none."""
    if not isinstance(model, torch.nn.Module):
        return 0
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: object, size: tuple[int, int], method: str = "forward") -> Macs:
    """FLOPs and MACs of `model` on one RGB image, counted on a copy on the meta device.

    Attention is counted too: on the CPU's fused kernel torch would count none, so the plain one
    is forced.

    Args:
        model: a network `(1, 3, H, W)` → tensor; anything without parameters is not counted.
        size: (H, W) in pixels.
        method: name of the method to count ("forward_half" for NEID's ×2 core, say).

    Raises:
        ValueError: the network cannot run without values, so its work cannot be counted this way.
    """
    if count_parameters(model) == 0:
        return Macs(None, None, size, "not counted: no parameters, so no layers that are counted")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    twin = copy.deepcopy(model).to("meta").eval()
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            getattr(twin, method)(torch.empty(1, 3, *size, device="meta"))
    except (RuntimeError, TypeError) as error:
        name = type(model).__name__
        raise ValueError(
            f"cannot count {name}.{method} at {size[0]}×{size[1]} without values: {error}"
        ) from error
    flops = counter.get_total_flops()
    return Macs(flops, flops // 2, size)


def latency(
    model: Callable, size: tuple[int, int], device: str | torch.device = "cpu",
    precision: str = "float32", **how,
) -> Latency:  # fmt: skip
    """`latencies` of one model."""
    return latencies({"": model}, size, device, precision, **how)[""]


def latencies(
    models: Mapping[str, Callable],
    size: tuple[int, int],
    device: str | torch.device = "cpu",
    precision: str = "float32",
    *,
    batch: int = 1,
    warm_up: int = 3,
    runs: int = 10,
    seconds: float = 1.0,
) -> dict[str, Latency]:
    """Time of each model on one random batch, in turn.

    The models are copied to the device; calls before the timing warm them up, and each timed block
    waits for the device to end its work. A round times a block of each, forwards and backwards by
    turns; a block holds as many calls as a clock needs to resolve them.

    Args:
        models: networks or any callables `(B, 3, H, W)` → tensor, such as classical enhancers.
        size: (H, W) in pixels.
        device: "cpu", "cuda", "cuda:1", …
        precision: "float32", or "float16" / "bfloat16" by autocast.
        batch: images a call.
        warm_up: calls of each before the timing.
        runs: least number of rounds.
        seconds: least time spent on a model, within MOST_ROUNDS rounds.
    """
    check_choice(PRECISIONS, precision=precision)
    device, dtype = torch.device(device), PRECISIONS[precision]
    images = torch.rand(batch, 3, *size, device=device)
    with torch.inference_mode(), torch.autocast(device.type, dtype) if dtype else nullcontext():
        copied: dict = {}  # a recognizer that several hold is copied once
        ready = {name: _ready(model, images, warm_up, copied) for name, model in models.items()}
        first = {name: _seconds_a_call(model, images, 1) for name, model in ready.items()}
        calls = {name: max(1, round(BLOCK_SECONDS / max(t, 1e-9))) for name, t in first.items()}
        times: dict[str, list[float]] = {name: [] for name in models}
        loads: list[float] = []
        least, until = max(runs, 1), time.perf_counter() + seconds * len(models)
        while len(loads) < least or (len(loads) < MOST_ROUNDS and time.perf_counter() < until):
            for name in list(models)[:: 1 if len(loads) % 2 == 0 else -1]:
                times[name].append(1e3 * _seconds_a_call(ready[name], images, calls[name]))
            loads.append(os.getloadavg()[0])
    how = (tuple(loads), device_name(device), precision, size, batch)
    return {n: Latency(tuple(taken), *how, len(loads) * calls[n]) for n, taken in times.items()}


def _ready(model: Callable, images: torch.Tensor, warm_up: int, copied: dict) -> Callable:
    """The model on the images' device, warmed up."""
    if isinstance(model, torch.nn.Module):
        model = copy.deepcopy(model, copied).to(images.device).eval()
    for _ in range(warm_up):
        model(images)
    return model


def _seconds_a_call(model: Callable, images: torch.Tensor, calls: int) -> float:
    """Mean over a block of calls, from an idle device to the end of its work."""
    wait_for(images.device)
    began = time.perf_counter()
    for _ in range(calls):
        model(images)
    wait_for(images.device)
    return (time.perf_counter() - began) / calls
