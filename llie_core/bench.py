"""Benchmarks: how long enhancers and training steps take on a device. For people, not for tests."""

import time
from statistics import median

import torch

from llie_core.data import collate, face_targets
from llie_core.engine.distributed import default_device
from llie_core.engine.runs import device_name
from llie_core.losses.task_driven import JointLoss, TaskLoss, weights_of_ratio
from llie_core.losses.zero_reference import upstream_loss
from llie_core.metrics.cost import latencies
from llie_core.models import create_enhancer, list_enhancers
from llie_core.recognizers import create_recognizer
from llie_core.reporting.tables import Table
from llie_core.synthetic.faces import BuiltinFaces
from llie_core.synthetic.streets import BuiltinStreets

SIZES = ((256, 256), (400, 600), (512, 1024))


def run_benchmarks(device: str | None = None) -> None:
    """Print the tables of enhancer latencies and of training steps."""
    device = torch.device(device or default_device())
    print(enhancer_table(device))
    for table in (task_table, step_table):
        print()
        print(table(device))


def enhancer_table(device: torch.device) -> Table:
    """Median latency of every enhancer, batch 1, float32, in ms ± half the interquartile range."""
    models = {name: create_enhancer(name) for name in list_enhancers()}
    times = [latencies(models, size, device, runs=5, seconds=0.5) for size in SIZES]
    rows = [
        [name, *(f"{of[name].median_ms:.1f} ± {of[name].iqr_ms / 2:.1f}" for of in times)]
        for name in models
    ]
    header = ["enhancer", *(f"{height}×{width}" for height, width in SIZES)]
    load = max(load for of in times for one in of.values() for load in one.loads)
    note = f"float32, batch 1, in turn, {device_name(device)}, load average up to {load:.1f}"
    return Table("Enhancers: milliseconds an image", header, rows, note)


def task_table(device: torch.device, batch_size: int = 8) -> Table:
    """Seconds of one training step of paper 1: enhancer by the frozen recognizer's loss."""
    data = BuiltinStreets("train", count=batch_size)
    batch = collate([data[i] for i in range(batch_size)])
    image, mask = batch["image"].to(device), batch["mask"].to(device)
    batch = {"image": image.contiguous(memory_format=torch.channels_last), "mask": mask}
    loss = TaskLoss(create_recognizer("deeplabv3plus").to(device), lambda batch: batch["mask"])
    rows = []
    for name in ("ialm", "gem_pam"):
        model = create_enhancer(name).to(device, memory_format=torch.channels_last).train()
        rows.append([name, f"{_seconds_a_step(model, loss, batch, device):.3f}"])
    note = f"batch {batch_size} of 128×256, DeepLabV3+, float32, {device_name(device)}"
    return Table("Training steps of paper 1: seconds", ["enhancer", "s"], rows, note)


def step_table(device: torch.device, size: int = 160, batch_size: int = 4) -> Table:
    """Seconds of one training step of paper 2, by W_up : W_down."""
    data = BuiltinFaces("train", size=size, count=batch_size)
    batch = collate([data[i] for i in range(batch_size)])
    batch["image"] = batch["image"].to(device).contiguous(memory_format=torch.channels_last)
    recognizer = create_recognizer("mtcnn").to(device)
    rows = []
    for ratio in ("1:0", "2:1", "0:1"):
        model = create_enhancer("zero_dce_pp").to(device, memory_format=torch.channels_last)
        loss = JointLoss(upstream_loss, recognizer, face_targets, *weights_of_ratio(ratio))
        rows.append([ratio, f"{_seconds_a_step(model, loss, batch, device):.3f}"])
    note = f"batch {batch_size} of {size}×{size}, float32, {device_name(device)}"
    return Table("Training steps of paper 2: seconds", ["W_up : W_down", "s"], rows, note)


def _seconds_a_step(model, loss, batch: dict, device: torch.device, steps: int = 5) -> float:
    optimizer = torch.optim.Adam(model.parameters())
    times = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss(model.training_outputs(batch["image"]), batch)["total"].backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return median(times[1:])  # the first step warms up
