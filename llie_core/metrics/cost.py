"""What an enhancer costs: parameters, FLOPs and MACs, latency.

FLOPs are torch's own count (`torch.utils.flop_counter`): two per multiply-accumulate, for
convolutions, matrix products and attention; element-wise work is not counted. Papers that say
"FLOPs" often mean MACs, so both are given. Counting runs on the meta device: no memory, no values.
"""

import copy
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from llie_core.devices import device_name
from llie_core.names import check_choice

PRECISIONS = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Macs:
    """Work of one forward pass on one image. `flops` and `macs` are None where not counted."""

    flops: int | None
    macs: int | None
    size: tuple[int, int]
    note: str = ""


@dataclass(frozen=True)
class Latency:
    """Time of one call on one batch: median, interquartile range, and how it was measured."""

    median_ms: float
    iqr_ms: float
    fps: float
    device: str
    precision: str
    size: tuple[int, int]
    batch: int
    runs: int


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
    except (RuntimeError, TypeError, NotImplementedError) as error:
        name = type(model).__name__
        raise ValueError(
            f"cannot count {name}.{method} at {size[0]}×{size[1]} without values: {error}"
        ) from error
    flops = counter.get_total_flops()
    return Macs(flops, flops // 2, size)


def latency(
    model: Callable,
    size: tuple[int, int],
    device: str | torch.device = "cpu",
    precision: str = "float32",
    *,
    batch: int = 1,
    warm_up: int = 3,
    runs: int = 10,
    seconds: float = 1.0,
) -> Latency:
    """Median time of `model` on a random batch, by torch.utils.benchmark.

    The model is copied to the device; calls before the timing warm it up, and each timed block
    waits for the device to end its work. A block holds as many calls as a clock needs to resolve
    them, so `iqr_ms` is over blocks.

    Args:
        model: a network or any callable `(B, 3, H, W)` → tensor, such as a classical enhancer.
        size: (H, W) in pixels.
        device: "cpu", "cuda", "cuda:1", …
        precision: "float32", or "float16" / "bfloat16" by autocast.
        batch: images a call.
        warm_up: calls before the timing.
        runs: about how many calls are timed at least.
        seconds: least time spent on measuring.
    """
    check_choice(PRECISIONS, precision=precision)
    device, dtype = torch.device(device), PRECISIONS[precision]
    if isinstance(model, torch.nn.Module):
        model = copy.deepcopy(model).to(device).eval()
    images = torch.rand(batch, 3, *size, device=device)
    with torch.inference_mode(), torch.autocast(device.type, dtype) if dtype else nullcontext():
        for _ in range(warm_up):
            model(images)
        names = {"model": model, "images": images}
        timer = _timer()("model(images)", globals=names, num_threads=torch.get_num_threads())
        one_call = timer.timeit(1).mean
        measured = timer.blocked_autorange(min_run_time=max(seconds, runs * one_call))
    median, count = measured.median, len(measured.raw_times) * measured.number_per_run
    times = (median * 1e3, measured.iqr * 1e3, batch / median)
    return Latency(*times, device_name(device), precision, size, batch, count)


def _timer() -> type:
    """torch.utils.benchmark.Timer. Its import looks for a CUDA compiler and, where there is a
    compiler but no GPU, says so: nothing that matters to a timing on the CPU."""
    log = logging.getLogger("torch.utils.cpp_extension")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        from torch.utils.benchmark import Timer
    finally:
        log.setLevel(level)
    return Timer
