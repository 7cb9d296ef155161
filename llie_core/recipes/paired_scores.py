"""An enhancer's numbers over test pictures under named protocols, and what it costs."""

from collections.abc import Iterable

import torch
from torch import nn

from llie_core.metrics.cost import count_macs, count_parameters, latency
from llie_core.metrics.protocols import evaluate, load_protocols
from llie_core.recipes.base import Measured
from llie_core.weights import WeightsNotAvailable, find

# The protocol under which each metric stands in the tables; any other bears its own id as metric.
MAIN = {
    "psnr": "psnr-rgb-float",
    "ssim": "ssim-valid-gaussian",
    "fsim": "fsim-yiq-luma",
    "lpips": "lpips-alex",
    "niqe": "niqe-live",
    "brisque": "brisque-live",
    "sseq": "sseq-live",
}
# What of the weights folder a protocol needs.
NEEDED_WEIGHTS = {
    "niqe-live": ("niqe",),
    "brisque-live": ("brisque", "brisque-range"),
    "sseq-live": ("sseq",),
    "lpips-alex": ("lpips-alex",),
    "lpips-vgg": ("lpips-vgg",),
}


def lacking_weights(protocol: str) -> str:
    """Why a protocol cannot be used here ("not available: llie weights fetch niqe"), or nothing."""
    for name in NEEDED_WEIGHTS.get(protocol, ()):
        try:
            find(name)
        except WeightsNotAvailable:
            return f"not available: llie weights fetch {name}"
    return ""


def scored(
    model, batches: Iterable[dict], protocols: Iterable[str], device
) -> tuple[list[Measured], list[dict]]:
    """An enhancer's means over test batches under each protocol, and the values by picture.

    A picture that a protocol cannot take, such as one too small for NIQE, has no value under it
    and does not count in its mean; `n` says how many do.
    """
    values: dict[str, list[float | None]] = {name: [] for name in protocols}
    names: list[str] = []
    for batch in batches:
        names += batch["name"]
        output = model.enhance(batch["image"].to(device))
        target = batch["target"].to(device) if "target" in batch else None
        for protocol, found in values.items():
            found += _values(protocol, output, target)
    images = [
        {"name": name, **{p: "" if v[i] is None else f"{v[i]:.5f}" for p, v in values.items()}}
        for i, name in enumerate(names)
    ]
    kept = {p: [v for v in found if v is not None] for p, found in values.items()}
    return [measured(protocol, found) for protocol, found in kept.items() if found], images


def _values(protocol: str, output: torch.Tensor, target: torch.Tensor | None) -> list:
    if load_protocols()[protocol].inputs == "pair":
        return evaluate(protocol, output, target).tolist()
    try:
        return evaluate(protocol, output).tolist()
    except ValueError:
        return [None] * len(output)


def measured(protocol: str, values: list[float]) -> Measured:
    """The mean over pictures, under the metric's name if the protocol is the metric's main one."""
    known = load_protocols()[protocol]
    name = known.metric if MAIN.get(known.metric) == protocol else protocol
    mean = sum(values) / len(values)
    return Measured(name, "all", mean, known.unit, known.direction, len(values), protocol)


def cost(model: nn.Module, size: tuple[int, int], device) -> list[Measured]:
    """Parameters, MACs (where they can be counted) and latency of an enhancer."""
    time = latency(model, size, device, runs=5, seconds=0.5)
    found = [
        Measured("parameters", "all", count_parameters(model), "count", "lower", 1,
                 "cost-parameters"),
        Measured("latency", "all", time.median_ms, "ms", "lower", time.runs, "cost-latency"),
    ]  # fmt: skip
    macs = count_macs(model, size).macs
    if macs is not None:
        found.append(Measured("macs", "all", macs, "MAC", "lower", 1, "cost-macs"))
    return found
