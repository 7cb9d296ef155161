"""Image quality: metrics with and without ground truth under named protocols, and cost."""

import math

import torch
from torch import Tensor, nn

from llie_core.metrics.cost import count_macs, count_parameters, latency
from llie_core.metrics.protocols import Protocol, evaluate, load_protocols
from llie_core.metrics.quality import psnr
from llie_core.recognizers import Recognizer
from llie_core.tasks.base import Measured, Task, mean

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


def available(protocols: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the protocols whose weights are at hand."""
    return tuple(name for name in protocols if not load_protocols()[name].missing_weights())


def all_protocols() -> tuple[str, ...]:
    """Every protocol that images alone, or with their ground truth, allow."""
    return tuple(p.id for p in load_protocols().values() if p.by_default and not p.of_input)


class ImageQuality(Task):
    """Metrics of the enhanced images under each of some protocols (ids of protocols.toml)."""

    name = "quality"

    def __init__(self, protocols: tuple[str, ...], batch_size: int = 1):
        self.protocols = tuple(load_protocols()[name] for name in available(protocols))
        self.batch_size = batch_size

    def meter(self, device: torch.device, normal_light: bool) -> "QualityMeter":
        return QualityMeter(self.protocols, normal_light)


class QualityMeter:
    """Values of each image under each protocol.

    An image that a protocol cannot take, such as one too small for NIQE, has no value under it and
    does not count in its mean; `n` says how many do. With the normal-light images only protocols
    without ground truth apply.
    """

    def __init__(self, protocols: tuple[Protocol, ...], normal_light: bool = False):
        self.values: dict[str, list[float | None]] = {
            p.id: [] for p in protocols if p.inputs == "image" or not normal_light
        }

    def update(self, images: Tensor, batch: dict) -> list[dict]:
        target = batch["target"].to(images.device) if "target" in batch else None
        rows = [{"name": name} for name in batch["name"]]
        for protocol, values in self.values.items():
            found = _values(protocol, images, target)
            values += found
            for row, value in zip(rows, found, strict=True):
                row[protocol] = "" if value is None else f"{value:.5f}"
        return rows

    def compute(self) -> list[Measured]:
        kept = {p: [v for v in values if v is not None] for p, values in self.values.items()}
        return [
            Measured(metric_of(protocol), mean(values), len(values), protocol)
            for protocol, values in kept.items()
            if values
        ]


def metric_of(protocol: str) -> str:
    """The metric's name for its main protocol, at whichever size; else the protocol's id."""
    known = load_protocols()[protocol]
    main = MAIN.get(known.metric) == protocol.removesuffix(f"-{known.resize}")
    return known.metric if main else protocol


def _values(protocol: str, images: Tensor, target: Tensor | None) -> list[float | None]:
    if load_protocols()[protocol].inputs == "pair":
        found = evaluate(protocol, images, target).tolist()
        return [None if math.isnan(value) else value for value in found]
    try:
        return evaluate(protocol, images).tolist()
    except ValueError:
        return [None] * len(images)


class Appearance:
    """Mean brightness of the images that a recognizer reads, and their PSNR where the normal-light
    image is known and is not read itself."""

    def __init__(self, normal_light: bool = False):
        self.normal_light = normal_light
        self.brightness: list[float] = []
        self.psnr: list[float] = []

    def update(self, images: Tensor, batch: dict) -> None:
        """Take images (B, 3, H, W) of a batch."""
        # The layout that `enhance` gives: sums go in its order, whichever images are read.
        ordered = images.contiguous(memory_format=torch.channels_last)
        self.brightness += ordered.mean((1, 2, 3)).tolist()
        if "target" in batch and not self.normal_light:
            self.psnr += psnr(images, batch["target"].to(images.device)).tolist()

    def compute(self) -> list[Measured]:
        """`brightness`, and `psnr` where there is any."""
        found = {"brightness": (self.brightness, "brightness"), "psnr": (self.psnr, MAIN["psnr"])}
        return [
            Measured(metric, mean(values), len(values), protocol)
            for metric, (values, protocol) in found.items()
            if values
        ]


class Cost(Task):
    """Parameters, MACs (where they can be counted) and latency at (H, W); it reads no images.

    recognizer: measured with the enhancer before it, as one network; MACs are not counted then.
    """

    name = "cost"

    def __init__(
        self, size: tuple[int, int], recognizer: Recognizer | None = None, warm_up: int = 3,
        runs: int = 5, seconds: float = 0.5,
    ):  # fmt: skip
        height, width = size
        self.size, self.recognizer = (height, width), recognizer
        self.warm_up, self.runs, self.seconds = warm_up, runs, seconds

    def meter(self, device, normal_light):
        raise TypeError("cost reads no images")

    def measure(self, model, data, device, normal_light=False, workers=0):
        whole = model
        if self.recognizer is not None:
            whole = Pipeline(model, self.recognizer.to(device))
        time = latency(
            whole, self.size, device, warm_up=self.warm_up, runs=self.runs, seconds=self.seconds
        )
        found = [
            Measured("parameters", count_parameters(whole), 1, "cost-parameters"),
            Measured("latency", time.median_ms, time.runs, "cost-latency"),
        ]
        macs = count_macs(model, self.size).macs if self.recognizer is None else None
        if macs is not None:
            found.append(Measured("macs", macs, 1, "cost-macs"))
        return found, []


class Pipeline(nn.Module):
    """Enhancer and recognizer as one network."""

    def __init__(self, enhancer: nn.Module, recognizer: Recognizer):
        super().__init__()
        self.enhancer, self.recognizer = enhancer, recognizer

    def forward(self, x: Tensor) -> object:
        return self.recognizer.predict(self.enhancer(x).clamp(0, 1))  # as `enhance` does
