"""Benchmarks: how long enhancers and training steps take on a device. For people, not for tests."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from llie_core.bench_training import ratio_table, unchanged_table
from llie_core.devices import device_name, wait_for
from llie_core.engine.distributed import default_device
from llie_core.metrics.cost import latencies
from llie_core.models import create_enhancer, list_enhancers, model_spec
from llie_core.reporting.tables import Table

Result = TypeVar("Result")

SIZES = ((256, 256), (400, 600), (512, 1024))
# Model, scale factor, (H, W) of the comparison with the authors' graph.
CURVES = (
    ("zero_dce_pp", 12, (2160, 3840)), ("zero_dce", 12, (2160, 3840)),
    ("zero_dce_pp", 1, (1080, 1920)), ("zero_dce", 1, (1080, 1920)),
)  # fmt: skip
LARGE = ((2000, 3000), (3000, 4000), (4000, 6000))
LARGE_SECONDS = 120  # after which one image is given up
PAPERS = ("gem_pam", "zero_dce_pp", "jcrnet", "drgn", "lw_drgn", "neid")


def run_benchmarks(device: str | None = None, large: bool = False) -> None:
    """Print all tables; with `large`, images of 24 megapixels to their end: an hour on a CPU."""
    device = torch.device(device or default_device())
    limit = None if large else LARGE_SECONDS
    large_images = partial(large_table, limit=limit)
    serving = (enhancer_table, curve_table, large_images, command_table)
    for table in (*serving, ratio_table, unchanged_table):
        print(table(device), flush=True)
        print()


def enhancer_table(device: torch.device) -> Table:
    """Median latency of every enhancer, batch 1, float32, in ms ± half the interquartile range."""
    own = (name for name in list_enhancers() if not model_spec(name).package)
    models = {name: create_enhancer(name) for name in own}
    times = [latencies(models, size, device, runs=5, seconds=0.5) for size in SIZES]
    rows = [
        [name, *(f"{of[name].median_ms:.1f} ± {of[name].iqr_ms / 2:.1f}" for of in times)]
        for name in models
    ]
    header = ["enhancer", *(f"{height}×{width}" for height, width in SIZES)]
    load = max(load for of in times for one in of.values() for load in one.loads)
    note = f"float32, batch 1, in turn, {device_name(device)}, load average up to {load:.1f}"
    return Table("Enhancers: milliseconds an image", header, rows, note)


def plain_curve(model, image: Tensor, scale: int) -> Tensor:
    """Zero-DCE's released graph in plain PyTorch, from the paper: (1, 3, H, W) → the same shape."""
    small = F.interpolate(image, scale_factor=1 / scale, mode="bilinear") if scale > 1 else image
    maps = torch.tanh(model.estimate(small))
    if scale > 1:
        maps = F.interpolate(maps, image.shape[-2:], mode="bilinear", align_corners=True)
    steps = maps.split(3, dim=1)
    for a in steps * (8 // len(steps)):
        image = image + a * (image - torch.pow(image, 2))
    return image


def curve_runs(name: str, scale: int, size: tuple[int, int], device: str) -> tuple[Callable, ...]:
    """The authors' graph and `enhance`'s, with the same weights, on the same image."""
    torch.manual_seed(0)
    model = create_enhancer(name)
    for module in model.modules():  # away from the start, where all maps are nearly zero
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    model = model.to(device).eval()
    model.scale_factor = scale
    image = 0.3 * torch.rand(1, 3, *size, device=device)
    return partial(plain_curve, model, image, scale), partial(model.any_size, image)


def curve_memory(which: int, *case) -> int:
    """Bytes that one of `curve_runs` takes at most."""
    with torch.no_grad():
        return _peak(curve_runs(*case)[which], torch.device(case[-1]))[1]


def curve_table(device: torch.device, rounds: int = 5) -> Table:
    """Zero-DCE and Zero-DCE++ against the authors' graph: medians of rounds in turn; memory in
    processes of their own."""
    rows = []
    for name, scale, size in CURVES:
        case = (name, scale, size, str(device))
        memory = [_apart(curve_memory, which, *case) / 2**20 for which in (0, 1)]
        runs = curve_runs(*case)
        with torch.no_grad():
            theirs, ours = (run() for run in runs)
            times = [[_seconds(run, device) for run in runs] for _ in range(rounds)]
        plain, fused = (median(column) for column in zip(*times, strict=True))
        rows.append([
            f"{name}, maps at 1/{scale}", f"{size[0]}×{size[1]}", f"{plain:.3f}", f"{fused:.3f}",
            f"{median(one / other for one, other in times):.2f}", f"{memory[0]:.0f}",
            f"{memory[1]:.0f}", f"{(ours - theirs).abs().max():.1g}",
        ])  # fmt: skip
    header = ["method", "size", "plain graph, s", "enhance, s", "ratio", "plain graph, MiB",
              "enhance, MiB", "largest difference"]  # fmt: skip
    note = f"{device_name(device)}, load average {os.getloadavg()[0]:.1f}"
    return Table("Curves: enhance against the authors' graph", header, rows, note)


def command_table(_device: torch.device, count: int = 100) -> Table:
    """`llie enhance` as a command: one photograph, and a folder of them on one core and on two."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        noise = np.random.default_rng(0).integers(0, 60, (1000, 1000, 3), dtype=np.uint8)
        for i in range(count):
            Image.fromarray(np.roll(noise, i, 0)).save(folder / "photos" / f"{i}.jpg")
        times = [_command_seconds(1, folder / "photos" / "0.jpg", folder / "one.png")]
        times += [_command_seconds(n, folder / "photos", folder / f"out{n}") for n in (1, 2)]
    rows = [[*(f"{seconds:.1f}" for seconds in times), f"{times[1] / times[2]:.2f}"]]
    header = ["one photograph, s", f"{count} on one core, s", f"{count} on two, s", "ratio"]
    note = f"photographs of 1 megapixel, the CPU, load average {os.getloadavg()[0]:.1f}"
    return Table("The command `llie enhance`, from start to end", header, rows, note)


def _command_seconds(cores: int, *arguments: Path) -> float:
    command = [sys.executable, "-m", "llie_core.cli", "enhance", *arguments, "--device", "cpu"]
    if shutil.which("taskset"):
        own = sorted(os.sched_getaffinity(0))[:cores]
        command = ["taskset", "-c", ",".join(map(str, own)), *command]
    began = time.perf_counter()
    subprocess.run([*command, "--workers", str(cores)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def large_table(
    device: torch.device, names: tuple[str, ...] = PAPERS, limit: float | None = None
) -> Table:
    """Time and peak memory of `enhance` on images of 6, 12 and 24 megapixels, each in a process of
    its own.

    limit: seconds after which an image is given up; its memory until then counts. Two threads of a
    CPU take longer than the default for DRGN and JCRNet; of these, the smaller sizes are left out.
    """
    rows = []
    for name in names:
        times, growth = [], 0
        for size in LARGE:
            slow = times and not times[-1]  # so is every larger one
            seconds, growth = (0, growth) if slow and size != LARGE[-1] else _apart(
                large_image, name, size, str(device), limit)  # fmt: skip
            times.append(seconds)
        shown = [f"{t:.1f}" if t else f"> {limit:.0f}" for t in times]
        linear = f"{times[-1] / times[0] / 4:.2f}" if all(times) else "–"
        rows.append([name, *shown, linear, f"{growth / 2**20:.0f}"])
    megapixels = [round(height * width / 1e6) for height, width in LARGE]
    header = ["enhancer", *(f"{m} MP, s" for m in megapixels), "24 MP / (4 · 6 MP)",
              "peak at 24 MP, MiB"]  # fmt: skip
    note = f"peak beyond the model, the image and its result included, {device_name(device)}"
    return Table("Large images", header, rows, note)


def large_image(
    name: str, size: tuple[int, int], device: str, limit: float | None
) -> tuple[float, int]:
    """Seconds of `enhance` on one image, 0 where the limit ended it, and bytes that it took."""
    model = create_enhancer(name).to(device).eval()
    model.enhance(torch.rand(1, 3, 64, 64, device=device))

    def give_up(*_) -> None:
        raise TimeoutError

    def seconds() -> float:
        signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, limit or 0)
        try:
            image = 0.3 * torch.rand(1, 3, *size, device=device)
            return _seconds(lambda: model.enhance(image), image.device)
        except TimeoutError:
            return 0.0
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    return _peak(seconds, torch.device(device))


def _apart(function: Callable, *arguments):
    """function(*arguments) in a new process, whose memory holds nothing of others."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _peak(run: Callable[[], Result], device: torch.device) -> tuple[Result, int]:
    """A result and by how many bytes the device's memory grew at most meanwhile; 0 where none can
    be told."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        return run(), torch.cuda.max_memory_allocated(device) - before
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return run(), 0

    def kilobytes(key: str) -> int:
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(key))

    clear.write_text("5")  # the peak becomes what is held now (man 5 proc)
    before = kilobytes("VmRSS")
    result = run()
    return result, 1024 * (kilobytes("VmHWM") - before)


def _now(device: torch.device) -> float:
    """Seconds, read when the device has done its work."""
    wait_for(device)
    return time.perf_counter()


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    began = _now(device)
    run()
    return _now(device) - began
