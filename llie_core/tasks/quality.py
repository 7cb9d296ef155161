"""Image quality: metrics with and without ground truth under named protocols, and cost."""

import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from llie_core.data import collate
from llie_core.dataset import SizedDataset
from llie_core.imaging import TooSmall
from llie_core.metrics.cost import Latency, count_macs, count_parameters, latencies
from llie_core.metrics.protocols import Protocol, evaluate, load_protocols
from llie_core.metrics.quality import psnr
from llie_core.recognizers import Recognizer
from llie_core.tasks.base import Measured, Task, images_of, mean

# The protocol under which each metric stands in the tables; any other bears its own id as metric.
MAIN = {
    "psnr": "psnr-rgb-float",
    "ssim": "ssim-valid-gaussian",
    "fsim": "fsim-yiq-luma",
    "lpips": "lpips-alex",
    "dists": "dists-vgg",
    "ms_ssim": "ms-ssim-torchmetrics",
    "loe": "loe-imresize",
    "niqe": "niqe-live",
    "brisque": "brisque-live",
    "sseq": "sseq-live",
}

ALONE = "the recognizer alone"
ATTEMPTS = 3  # at a timing that is possible


def available(protocols: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the protocols whose weights are at hand."""
    return tuple(name for name in protocols if not load_protocols()[name].missing_weights())


def all_protocols() -> tuple[str, ...]:
    """Every protocol that images alone, or with their ground truth, allow."""
    return tuple(p.id for p in load_protocols().values() if p.by_default and not p.of_input)


class ImageQuality(Task):
    """Metrics of the enhanced images under each of some protocols (ids of protocols.toml).

    With `workers`, methods without parameters run in these processes on the CPU, and so do the
    metrics of their images: of a large set, such as ExDark's 7,363 images, both take hours in one.
    """

    name = "quality"

    def __init__(self, protocols: tuple[str, ...], batch_size: int = 1):
        self.protocols = tuple(load_protocols()[name] for name in available(protocols))
        self.batch_size = batch_size

    def meter(self, device: torch.device, normal_light: bool) -> "QualityMeter":
        return QualityMeter(self.protocols, normal_light)

    def measure(self, model, data, device, normal_light=False, workers=0):
        alone = next(model.parameters(), None) is None and self.batch_size == 1
        if not (workers and alone and data is not None and device.type == "cpu"):
            return super().measure(model, data, device, normal_light, workers)
        meter = self.meter(device, normal_light)
        each: list[dict] = []
        dataset: Any = _Evaluated(model.cpu(), data, self.protocols, normal_light)
        if len(data):
            data[0]  # fills `Cached` sets before the processes copy them
        for found, values in DataLoader(dataset, None, num_workers=workers):
            each.append(found)
            meter.add(values)
        return meter.compute(), each


class _Evaluated:
    """What is measured of each image of a test set, as items: (its line, its values)."""

    def __init__(self, model, data: SizedDataset, protocols, normal_light: bool):
        self.model, self.data = model, data
        self.protocols, self.normal_light = protocols, normal_light

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[dict, dict]:
        batch = collate([self.data[index]])
        meter = QualityMeter(self.protocols, self.normal_light)
        images = images_of(self.model, batch, torch.device("cpu"), self.normal_light)
        (line,) = meter.update(images, batch)
        return line, meter.values


class QualityMeter:
    """Values of each image under each protocol.

    An image that a protocol cannot take, such as one too small for NIQE, has no value under it and
    does not count in its mean; `n` says how many do. With the normal-light images only protocols
    of the image alone apply.
    """

    def __init__(self, protocols: tuple[Protocol, ...], normal_light: bool = False):
        self.values: dict[str, list[float | None]] = {
            p.id: [] for p in protocols if p.inputs == "image" or not normal_light
        }

    def update(self, images: Tensor, batch: dict) -> list[dict]:
        others = {"pair": batch.get("target"), "low-light": batch["image"]}
        if "input" in batch:  # the image is another program's output (data/external.py)
            others["low-light"] = torch.stack(batch["input"])
        rows = [{"name": name} for name in batch["name"]]
        for protocol, values in self.values.items():
            other = others.get(load_protocols()[protocol].inputs)
            found = _values(protocol, images, None if other is None else other.to(images.device))
            values += found
            for row, value in zip(rows, found, strict=True):
                row[protocol] = "" if value is None else f"{value:.5f}"
        return rows

    def add(self, values: Mapping[str, list[float | None]]) -> None:
        """Take values by protocol, as another meter has gathered them."""
        for protocol, found in values.items():
            self.values[protocol] += found

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


def _values(protocol: str, images: Tensor, other: Tensor | None) -> list[float | None]:
    try:
        found = evaluate(protocol, images, other).tolist()
    except TooSmall:
        return [None] * len(images)
    undefined = load_protocols()[protocol].inputs != "image"
    return [None if undefined and math.isnan(value) else value for value in found]


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
    runs, seconds: rounds of the timing at least, and time spent on a row.
    """

    name = "cost"

    def __init__(
        self, size: tuple[int, int], recognizer: Recognizer | None = None, warm_up: int = 2,
        runs: int = 9, seconds: float = 0.5,
    ):  # fmt: skip
        height, width = size
        self.size, self.recognizer = (height, width), recognizer
        self.warm_up, self.runs, self.seconds = warm_up, runs, seconds

    def meter(self, device, normal_light):
        raise TypeError("cost reads no images")

    def measure(self, model, data, device, normal_light=False, workers=0):
        return self.measure_together({"": model}, device)[""]

    def measure_together(
        self, models: Mapping[str, nn.Module], device: torch.device
    ) -> dict[str, tuple[list[Measured], list[dict]]]:
        """Label → numbers and times of every round, of enhancers that are timed in turn.

        A pipeline that is faster than its recognizer alone has been disturbed: all are timed once
        more, and one that still is gets no latency, with a line that says so.
        """
        timed = dict(models)
        if self.recognizer is not None:
            alone = self.recognizer.to(device)
            timed = {label: Pipeline(model, alone) for label, model in models.items()}
            timed[ALONE] = Pipeline(nn.Identity(), alone)
        for _ in range(ATTEMPTS):
            times = latencies(
                timed, self.size, device, warm_up=self.warm_up, runs=self.runs,
                seconds=self.seconds,
            )  # fmt: skip
            refused = [n for n in models if ALONE in times and times[n].faster_than(times[ALONE])]
            if not refused:
                break
        for label in refused:
            print(
                f"{label}: {times[label].median_ms:.2f} ms with its recognizer, "
                f"{times[ALONE].median_ms:.2f} ms without: not possible, so its latency is left "
                f"out (load average {max(times[label].loads):.1f}); run again on an idle machine",
                file=sys.stderr,
            )
        return {
            label: (
                self._numbers(timed[label], models[label], None if label in refused else time),
                [
                    {"round": i, "ms": round(ms, 4), "load": round(load, 2)}
                    for i, (ms, load) in enumerate(zip(time.rounds, time.loads, strict=True))
                ],
            )
            for label, time in times.items()
            if label in models
        }

    def _numbers(self, whole: nn.Module, enhancer: nn.Module, time: Latency | None):
        found = [Measured("parameters", count_parameters(whole), 1, "cost-parameters")]
        if time is not None:
            found.append(Measured("latency", time.median_ms, time.runs, "cost-latency"))
        if self.recognizer is None:
            # Some networks index by their values, of which there are none where MACs are counted.
            with suppress(ValueError):
                macs = count_macs(enhancer, self.size).macs
                found += [] if macs is None else [Measured("macs", macs, 1, "cost-macs")]
        return found


class Pipeline(nn.Module):
    """Enhancer and recognizer as one network."""

    def __init__(self, enhancer: nn.Module, recognizer: Recognizer):
        super().__init__()
        self.enhancer, self.recognizer = enhancer, recognizer

    def forward(self, x: Tensor) -> object:
        return self.recognizer.predict(self.enhancer(x).clamp(0, 1))  # as `enhance` does
