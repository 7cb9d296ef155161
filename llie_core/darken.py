"""`llie darken`: dark copies of normal-light pictures, with what was done to each on record.

    physical            the model of data/darkening.py: light, white balance, sensor noise
    ec_zero_dce         trained: exposure by request; lamps stay bright; noise by name
    drgn, lw_drgn       trained: the degradation of other low-light pictures; writes pairs

TARGET keeps SOURCE's tree. `darkening.jsonl` has a line a picture, written after the picture, so
that a killed run goes on where it stopped; what becomes of a picture depends on seed and name
alone.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

RECORD = "darkening.jsonl"
DRGN = ("drgn", "lw_drgn")
# Which model takes which option, for one clear line where it does not.
OWN = {
    "weights": ("ec_zero_dce", *DRGN),
    "device": ("ec_zero_dce", *DRGN),
    "exposure": ("physical", "ec_zero_dce"),
    "noise": ("ec_zero_dce",),
    "noise_level": ("ec_zero_dce",),
    "low": DRGN,
    "strength": DRGN,
}


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of `llie darken`, grouped by the models that they belong to."""
    command.add_argument(
        "--model", default="physical",
        help="physical (default) or ec_zero_dce: dark copies; drgn, lw_drgn: pairs, low/ and high/",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    trained = command.add_argument_group("ec_zero_dce, drgn, lw_drgn")
    trained.add_argument("--weights", type=Path, help="weights.safetensors of a run (needed)")
    trained.add_argument("--device", help="default: a GPU if there is one")
    command.add_argument_group("physical, ec_zero_dce").add_argument(
        "--exposure", type=float, nargs="+", metavar="E",
        help="one, or a range to draw each picture's from; physical: linear gain (default 0.1); "
        "ec_zero_dce: target mean (default 0.05 0.30)",
    )  # fmt: skip
    noise = command.add_argument_group("ec_zero_dce")
    noise.add_argument("--noise", metavar="NAME", help="none (default), gaussian or poisson")
    noise.add_argument(
        "--noise-level", type=float, metavar="LEVEL",
        help="standard deviation on 0-1 (default 0.01), or counts at white (default 1000)",
    )  # fmt: skip
    pairs = command.add_argument_group("drgn, lw_drgn")
    pairs.add_argument(
        "--low", type=Path, metavar="FOLDER", help="low-light pictures to take after (needed)"
    )
    pairs.add_argument(
        "--strength", type=float, nargs="+", metavar="S",
        help="of the degradation, one or a range (default 1, as learned)",
    )  # fmt: skip


def run(options) -> tuple[str, int]:
    """Darken as asked. Returns what to say and the exit code, 1 where a picture was unreadable.

    Raises:
        ValueError, FileNotFoundError: what cannot be done, in one line.
    """
    from llie_core.models import list_darkeners

    known = ["physical", *list_darkeners(), *DRGN]
    if options.model not in known:
        raise ValueError(f"{options.model!r} does not darken (known: {', '.join(known)})")
    for name, models in OWN.items():
        if getattr(options, name) is not None and options.model not in models:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} belongs to {', '.join(models)}, not to {options.model}")
    if options.model in DRGN:
        return _write_pairs(options)
    if options.model == "physical":
        return _darken(options, *_physical(options))
    return _darken(options, *_conditioned(options))


def _range(values: list[float] | None, default: tuple[float, float], name: str) -> tuple:
    low, *rest = values or default
    high = rest[0] if rest else low
    if len(rest) > 1 or not (low <= high and math.isfinite(high - low)):
        raise ValueError(f"--{name}: give one number, or a rising range")
    return low, high


def _physical(options) -> tuple[Callable, dict]:
    from llie_core.data.dark_faces import physical_darkener
    from llie_core.data.darkening import Darkening, DarkeningRange

    exposure = _range(options.exposure, (0.1, 0.1), "exposure")
    for value in exposure:
        Darkening(value)  # refuses what is no exposure, before any picture is read
    asked = {"model": "physical", "exposure": exposure}
    return physical_darkener(DarkeningRange(exposure=exposure)), asked


def _conditioned(options) -> tuple[Callable, dict]:
    """Darkening by EC-Zero-DCE, and noise afterwards."""
    import torch

    from llie_core.data.darkening import quantise
    from llie_core.data.noise import LEVELS, add_noise, check_noise
    from llie_core.models.ec_zero_dce import EXPOSURE_RANGE
    from llie_core.pictures import trained_model
    from llie_core.runs import file_hash

    exposure = _range(options.exposure, EXPOSURE_RANGE, "exposure")
    if not EXPOSURE_RANGE[0] <= exposure[0] <= exposure[1] <= EXPOSURE_RANGE[1]:
        raise ValueError(f"--exposure {exposure}: {options.model} knows {EXPOSURE_RANGE} only")
    noise = options.noise or "none"
    if noise == "none" and options.noise_level is not None:
        raise ValueError("--noise-level needs --noise gaussian or poisson")
    level = LEVELS.get(noise, 0.0) if options.noise_level is None else options.noise_level
    check_noise(noise, level)
    model, device = trained_model(options.model, options.weights, device=options.device)

    def apply(image, rng):
        target = round(float(rng.uniform(*exposure)), 4)
        dark = model.enhance(torch.from_numpy(image)[None].to(device), exposure=target)[0].cpu()
        noisy = quantise(add_noise(dark.numpy(), noise, level, rng))
        about = {"exposure_target": target, "mean": round(float(noisy.mean()), 4)}
        return noisy, {**about, "noise": noise, "noise_level": level}

    weights = file_hash(options.weights)
    return apply, {"model": options.model, "weights": weights, "exposure": exposure,
                   "noise": [noise, level]}  # fmt: skip


def _darken(options, darkener: Callable, asked: dict) -> tuple[str, int]:
    """Every picture of the source by a `Darkener`; unreadable ones are named, the others go on."""
    import torch

    from llie_core.data.images import read_image, write_image
    from llie_core.data.synthesis import generator
    from llie_core.files import locked
    from llie_core.pictures import Picture, each_picture, find_pictures
    from llie_core.runs import content_hash

    pictures = find_pictures(options.source, options.target)
    request = content_hash({**asked, "seed": options.seed})
    record = options.target / RECORD
    with locked(options.target / ".lock", str(options.target)):
        done = _done(record)
        left = [p for p in pictures if not (p.target.exists() and _state(p, request) in done)]

        def write(picture: Picture) -> None:
            name, size, _ = _state(picture, request)
            image = read_image(picture.path).numpy()
            dark, about = darkener(image, generator(options.seed, name))
            write_image(picture.target, torch.from_numpy(dark))
            line = {"name": name, "darkening": about, "bytes": size, "request": request}
            with record.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")

        failed = each_picture(left, write)
    said = f"{len(pictures) - failed} of {len(pictures)} pictures are in {options.target}"
    return said, 1 if failed else 0


def _state(picture, request: str) -> tuple[str, int, str]:
    """Name, size in bytes (a picture that was replaced is darkened anew) and request."""
    size = picture.path.stat().st_size if picture.path.exists() else 0
    return picture.name, size, request


def _done(record: Path) -> set[tuple[str, int, str]]:
    """The last state in which each picture was darkened."""
    from llie_core.data.paired import read_records
    from llie_core.data.synthesis import drop_torn_line

    drop_torn_line(record)
    last = {line["name"]: (line["bytes"], line["request"]) for line in read_records(record)}
    return {(name, *state) for name, state in last.items()}


# Pairs -----------------------------------------------------------------------------------------


def _write_pairs(options) -> tuple[str, int]:
    """Pairs by a learned degradation: low/ and high/ in TARGET."""
    from llie_core.data.synthesis import write_pairs
    from llie_core.pictures import trained_model
    from llie_core.recipes.drgn import degradation_darkener
    from llie_core.runs import file_hash

    if options.low is None:
        raise ValueError(f"{options.model} needs --low, a folder of low-light pictures")
    strength = _range(options.strength, (1.0, 1.0), "strength")
    if strength[0] < 0:
        raise ValueError(f"--strength {strength[0]}: it must not be negative")
    model, device = trained_model(options.model, options.weights, device=options.device)
    (source, damaged), (low, more) = (
        _readable(folder, options.target) for folder in (options.source, options.low)
    )
    settings = {"model": options.model, "strength": list(strength), "low": low.describe(),
                "weights": file_hash(options.weights)}  # fmt: skip
    darkener = degradation_darkener(_FromCpu(model, device), low, strength)
    # One thread: the network uses all cores itself, and each call takes memory of its own.
    written = write_pairs(source, darkener, options.target, settings, options.seed, threads=1)
    said = f"{written} pairs written to {options.target} ({len(source)} are there)"
    return said, 1 if damaged + more else 0


class _FromCpu:
    """A model on any device, for a caller whose pictures are on the CPU."""

    def __init__(self, model, device: str):
        self.model, self.device = model, device

    def darken(self, image, low, strength: float, place):
        return self.model.darken(image.to(self.device), low, strength, place).cpu()


def _readable(folder: Path, target: Path) -> tuple:
    """A folder's pictures that can be read, but those of `target`, and how many cannot be.

    The latter are named. A set of pairs has a known size, so they have to be found beforehand.
    """
    from concurrent.futures import ThreadPoolExecutor

    from llie_core.data.folders import FileSet
    from llie_core.data.unpaired import ImageFolder
    from llie_core.pictures import lies_in

    found = ImageFolder(folder)
    inside = lies_in(target, folder)
    places = [i for i in range(len(found)) if not (inside and lies_in(found.path(i), target))]
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(lambda place: _problem(found.path(place)), places))
    for problem in filter(None, problems):
        print(f"llie: {problem}", file=sys.stderr)
    whole = [found.entries[i] for i, said in zip(places, problems, strict=True) if not said]
    if not whole:
        raise ValueError(f"{folder}: holds no picture that can be read")
    return FileSet("images", folder, "", whole), len(places) - len(whole)


def _problem(path: Path) -> str:
    """Why a picture cannot be read, "" where it can."""
    from llie_core.data.images import read_image

    try:
        read_image(path)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return ""
