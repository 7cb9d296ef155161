"""Protocols as data: how each number was made, and scoring images under all of them.

`protocols.toml` lists them. `evaluate` applies one to tensors; `score_pairs` applies all that
images allow to files, side by side. A protocol of a recognition or cost metric is listed so that
its numbers carry a name; they are computed in the rooms' own files.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from llie_core.files import problem_of
from llie_core.imaging import LUMA, check_images
from llie_core.metrics.appearance import (
    added_noise_in_black,
    brightness,
    burnt_share,
    colour_cast,
    green_excess,
    histogram_overlap,
)
from llie_core.metrics.lightness_order import LOE_SAMPLINGS, loe
from llie_core.metrics.naturalness import brisque, niqe, sseq
from llie_core.metrics.quality import (
    GT_MEAN_DEFINITIONS,
    LPIPS_BACKBONES,
    SSIM_FAMILIES,
    dists,
    fsim,
    gt_mean,
    lpips,
    ms_ssim,
    psnr,
    ssim,
    to_uint8_levels,
)
from llie_core.names import unknown
from llie_core.weights import WeightsNotAvailable, find

_ALLOWED = {
    "inputs": (
        "pair", "low-light", "image", "faces", "masks", "joints", "objects", "maps", "model"
    ),
    "colour": ("rgb", "y", "grey", "yiq", "none"),
    "window": (*SSIM_FAMILIES, "none"),
    "rounding": ("uint8", "float"),
    "gt_mean": (*GT_MEAN_DEFINITIONS, "none"),
    "backbone": (*LPIPS_BACKBONES, "none"),
    "sampling": (*LOE_SAMPLINGS, "none"),
    "resize": ("384-bilinear", "none"),
    "direction": ("higher", "lower", "none"),
}  # fmt: skip
_OF_IMAGES = ("pair", "low-light", "image")  # inputs that are images
NAMED = 3  # images without a value that a note names
_APPEARANCE = {"brightness": brightness, "burnt_share": burnt_share}
_APPEARANCE_OF_PAIR = {
    "colour_cast": colour_cast,
    "green_excess": green_excess,
    "histogram_overlap": histogram_overlap,
    "added_noise_in_black": added_noise_in_black,
}
_NO_REFERENCE = {"niqe": niqe, "brisque": brisque, "sseq": sseq, **_APPEARANCE}
_OF_PAIR: dict[str, Callable[..., torch.Tensor]] = {
    "psnr": psnr, "ssim": ssim, "fsim": fsim, "fsimc": partial(fsim, chromatic=True),
    "lpips": lpips, "dists": dists, "ms_ssim": ms_ssim, "loe": loe, **_APPEARANCE_OF_PAIR,
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """How a number is made; the keys are explained at the head of protocols.toml."""

    id: str
    metric: str
    inputs: str
    unit: str
    direction: str
    decimals: int
    description: str
    colour: str = "rgb"
    window: str = "none"
    rounding: str = "float"
    crop: int = 0
    gt_mean: str = "none"
    backbone: str = "none"
    sampling: str = "none"
    resize: str = "none"
    weights: tuple = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            kind, expected = type(getattr(self, field.name)).__name__, field.type.__name__
            if kind != expected:
                raise TypeError(
                    f"protocol {self.id!r}: {field.name} must be {expected}, not {kind}"
                )
        for name, allowed in _ALLOWED.items():
            value = getattr(self, name)
            if value not in allowed:
                choices = ", ".join(allowed)
                raise ValueError(f"protocol {self.id!r}: {name} {value!r} is none of {choices}")
        if self.crop < 0 or self.decimals < 0:
            raise ValueError(f"protocol {self.id!r}: crop and decimals must not be negative")

    @classmethod
    def from_entry(cls, entry: dict[str, object]) -> "Protocol":
        """A protocol of a table of protocols.toml; unknown and missing keys raise ValueError."""
        name = entry.get("id", "without id")
        known = {field.name for field in fields(cls)}
        if unknown := entry.keys() - known:
            raise ValueError(f"protocol {name!r}: unknown key {', '.join(sorted(unknown))}")
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if missing := needed - entry.keys():
            raise ValueError(f"protocol {name!r}: {', '.join(sorted(missing))} is missing")
        return cls(**entry | {"weights": tuple(entry.get("weights", ()))})

    @property
    def of_input(self) -> bool:
        """True where it is about what the enhancer was given, which its images do not show."""
        return self.gt_mean == "illumination-ratio" or self.resize != "none"

    @property
    def by_default(self) -> bool:
        """True where images at their own size are evaluated under it without being asked for."""
        described = self.metric in _APPEARANCE or self.metric in _APPEARANCE_OF_PAIR
        return self.inputs in _OF_IMAGES and self.resize == "none" and not described

    def missing_weights(self) -> str:
        """Why it cannot be used here ("not available: llie weights fetch niqe"), or ""."""
        for name in self.weights:
            try:
                find(name)
            except WeightsNotAvailable:
                return f"not available: llie weights fetch {name}"
        return ""


class DefinedMean(NamedTuple):
    """`mean` of the `n` values that are defined, None where none is; `undefined` counts the others.

    What a set's figure says: one identical pair, whose PSNR is infinite, or one image without
    structure, whose NIQE is NaN, would otherwise decide the mean alone.
    """

    mean: float | None
    n: int
    undefined: int


def mean_defined(values: Iterable[float | None]) -> DefinedMean:
    """Mean over the finite values; None, NaN and Inf are counted as undefined."""
    values = list(values)
    defined = [value for value in values if value is not None and math.isfinite(value)]
    mean = sum(defined) / len(defined) if defined else None
    return DefinedMean(mean, len(defined), len(values) - len(defined))


def why_undefined(value: float) -> str:
    """Why a metric gives an image no number: the reason for NaN or Inf, "" for a finite value."""
    if math.isfinite(value):
        return ""
    reason = "the image has no structure" if math.isnan(value) else "the two images are identical"
    return f"undefined: {reason}"


@dataclass(frozen=True)
class ScoreRow:
    """One line of `llie score`: `value` is the mean over the `n` images that have one, or None;
    `note` says how many have none, and why."""

    protocol: str
    value: float | None
    n: int
    note: str


@cache
def load_protocols() -> dict[str, Protocol]:
    """All protocols by id, in the order of protocols.toml."""
    content = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    protocols = [Protocol.from_entry(entry) for entry in content["protocol"]]
    by_id = {protocol.id: protocol for protocol in protocols}
    if len(by_id) < len(protocols):
        raise ValueError("protocols.toml holds two protocols of one id")
    return by_id


def evaluate(
    protocol: str | Protocol, prediction: torch.Tensor, reference: torch.Tensor | None = None
) -> torch.Tensor:
    """Values of a batch under one protocol.

    For a protocol `of_input` the caller vouches that the prediction was made with the ratio as an
    input, or of resized images; the images are compared as they are.

    Args:
        protocol: an id of protocols.toml, or a Protocol.
        prediction, reference: `(B, 3, H, W)` float RGB in [0, 1]; the reference, or the image
            before enhancement, only where the protocol compares with it.

    Returns:
        `(B,)` float64, one value an image.

    Raises:
        ValueError: unknown id, a protocol that images alone cannot give, or images it cannot take.
        WeightsNotAvailable: the metric's weights were not fetched.
    """
    protocol = _protocol(protocol)
    if protocol.inputs not in _OF_IMAGES:
        raise ValueError(f"protocol {protocol.id!r} scores {protocol.inputs}, not images")
    if protocol.inputs == "image":
        check_images(protocol.id, prediction=prediction)
        return _NO_REFERENCE[protocol.metric](_prepare(protocol, prediction))
    if reference is None:
        needed = "a reference image" if protocol.inputs == "pair" else "the low-light image"
        raise ValueError(f"protocol {protocol.id!r} needs {needed}")
    check_images(protocol.id, prediction=prediction, reference=reference)
    x, y = _prepare(protocol, prediction), _prepare(protocol, reference)
    if protocol.gt_mean not in ("none", "illumination-ratio"):
        x = gt_mean(x, y, protocol.gt_mean)
    return _pair_values(protocol, x, y)


def score_pairs(
    pairs: Iterable[tuple[Path, Path | None]],
    read: Callable[[Path], torch.Tensor],
    protocols: Iterable[str] | None = None,
    low_light: Mapping[Path, Path] | None = None,
) -> tuple[list[ScoreRow], list[str]]:
    """Score image files, against their references where there are some, under every protocol.

    Args:
        pairs: (image, reference) files; without references, protocols that need one are left out.
        read: reads a file to `(3, H, W)` float in [0, 1].
        protocols: ids; those `by_default` if not given.
        low_light: image → the file it was enhanced from, for protocols that compare with it.

    Returns:
        One row a protocol, its value the mean over what is defined (`mean_defined`); and a line
        for each pair that cannot be scored: a file that cannot be read, two sizes.

    Raises:
        ValueError: unknown protocol.
    """
    usual = [p.id for p in load_protocols().values() if p.by_default]
    chosen = [_protocol(name) for name in protocols or usual]
    pairs = list(pairs)
    compared = any(second for _, second in pairs)
    left_out = () if compared else ("pair", *(() if low_light else ("low-light",)))
    given = [inputs for inputs in _OF_IMAGES if inputs not in left_out]
    chosen = [protocol for protocol in chosen if protocol.inputs in given]
    values: dict[str, list[float]] = {protocol.id: [] for protocol in chosen}
    reasons: dict[str, list[tuple[str, str]]] = {protocol.id: [] for protocol in chosen}
    problems = []
    for first, second in pairs:
        try:
            x, y = _read_pair(first, second, read)
        except Exception as error:
            problems.append(problem_of(first, error))
            continue
        before = (low_light or {}).get(first)
        for protocol in chosen:
            if protocol.inputs == "low-light":
                value, reason, of_image = _try_before(protocol, x, before, read)
            else:
                other = y if protocol.inputs == "pair" else None
                value, reason, of_image = _try(protocol, x, other)
            if reason:
                reasons[protocol.id].append((reason, first.name if of_image else ""))
            else:
                values[protocol.id].append(value)
    return [_row(p, values[p.id], reasons[p.id]) for p in chosen], problems


def _protocol(protocol: str | Protocol) -> Protocol:
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in load_protocols():
        raise unknown("protocol", protocol, load_protocols())
    return load_protocols()[protocol]


def _prepare(protocol: Protocol, x: torch.Tensor) -> torch.Tensor:
    x = to_uint8_levels(x) if protocol.rounding == "uint8" else x.clamp(0, 1)
    crop = protocol.crop
    return x[..., crop : x.shape[-2] - crop, crop : x.shape[-1] - crop]


def _pair_values(protocol: Protocol, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    options = {"lpips": {"backbone": protocol.backbone}, "loe": {"sampling": protocol.sampling}}
    given: dict[str, Any] = options.get(protocol.metric, {})
    if protocol.metric in ("psnr", "ssim"):
        x, y = (_one_plane(image, protocol.colour) for image in (x, y))
        given = {"bounded": not protocol.gt_mean.endswith("unclamped")}
    if protocol.metric == "ssim":
        given["family"] = protocol.window
    return _OF_PAIR[protocol.metric](x, y, **given)


def _one_plane(x: torch.Tensor, colour: str) -> torch.Tensor:
    """Luma or grey in all three channels, which leaves the means of PSNR and SSIM what they are."""
    if colour == "rgb":
        return x
    weights = (65.481, 128.553, 24.966) if colour == "y" else [255 * w for w in LUMA]
    offset = 16 if colour == "y" else 0
    plane = (x * x.new_tensor(weights).view(1, 3, 1, 1)).sum(dim=1, keepdim=True) + offset
    return (plane / 255).expand_as(x)


def _try_before(
    protocol: Protocol, x: torch.Tensor, before: Path | None, read: Callable[[Path], torch.Tensor]
) -> tuple[float, str, bool]:
    """As `_try`, against the file of the image before enhancement."""
    if before is None:
        return math.nan, "not available: the image before enhancement was not given", False
    try:
        y = read(before)[None]
    except Exception as error:
        return math.nan, problem_of(before, error), False
    return _try(protocol, x, y)


def _try(protocol: Protocol, x: torch.Tensor, y: torch.Tensor | None) -> tuple[float, str, bool]:
    """The value and "", or NaN and the reason why there is none; and whether it is the image's."""
    if protocol.gt_mean == "illumination-ratio":
        why = "the ratio is an input of the network; images alone cannot give this"
        return math.nan, why, False
    try:
        value = evaluate(protocol, x, y).item()
    except WeightsNotAvailable as error:
        return math.nan, f"not available: {error}", False
    except (ValueError, RuntimeError, MemoryError) as error:
        return math.nan, str(error) or "out of memory", True
    return value, why_undefined(value), True


def _row(protocol: Protocol, values: list[float], reasons: list[tuple[str, str]]) -> ScoreRow:
    """reasons: (why an image has no value, its name, "" where no image has one)."""
    said = []
    for reason in dict.fromkeys(reason for reason, _ in reasons):
        names = [name for of, name in reasons if of == reason]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        where = f"{protocol.metric} of {', '.join(filter(None, names[:NAMED]))}{more}: "
        said.append(f"{where if names[0] else ''}{reason}")
    note = "; ".join(said)
    if values and reasons:
        note = f"{len(reasons)} of {len(values) + len(reasons)}: {note}"
    mean, n, _ = mean_defined(values)
    return ScoreRow(protocol.id, mean, n, note)


def _read_pair(
    first: Path, second: Path | None, read: Callable[[Path], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    x = read(first)
    if second is None:
        return x[None], None
    y = read(second)
    if x.shape != y.shape:
        sizes = [f"{image.shape[-1]}×{image.shape[-2]}" for image in (x, y)]
        raise ValueError(f"{first} is {sizes[0]} but {second} is {sizes[1]}")
    return x[None], y[None]
