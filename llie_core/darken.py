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
import sys
from collections.abc import Callable
from pathlib import Path

RECORD = "darkening.jsonl"
DRGN = ("drgn", "lw_drgn")
# Which model takes which option, for one clear line where it does not.
OWN = {
    "exposure": ("physical", "ec_zero_dce"),
    "noise": ("ec_zero_dce",),
    "noise_level": ("ec_zero_dce",),
    "low": DRGN,
    "strength": DRGN,
}


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of `llie darken`, besides those that `llie enhance` has too."""
    command.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    command.add_argument(
        "--exposure", type=float, nargs="+", metavar="E",
        help="one, or a range to draw each picture's from; physical: linear gain (default 0.1); "
        "ec_zero_dce: target mean (default 0.05 0.30)",
    )  # fmt: skip
    command.add_argument("--noise", help="ec_zero_dce: none (default), gaussian or poisson")
    command.add_argument(
        "--noise-level", type=float, help="standard deviation (0.01), or counts at white (1000)"
    )
    command.add_argument(
        "--low", type=Path, help="drgn, lw_drgn: folder of low-light pictures to take after"
    )
    command.add_argument(
        "--strength", type=float, nargs="+", metavar="S",
        help="drgn, lw_drgn: of the degradation, one or a range (default 1, as learned)",
    )  # fmt: skip


def run(options, load_model: Callable) -> tuple[str, int]:
    """Darken as asked; load_model(options) gives (model, device). Returns what to say and the exit
    code, 1 where a picture could not be read.

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
        return _write_pairs(options, load_model)
    if options.model == "physical":
        return _darken(options, *_physical(options))
    return _darken(options, *_conditioned(options, load_model))


def _range(values: list[float] | None, default: tuple[float, float], name: str) -> tuple:
    low, *rest = values or default
    high = rest[0] if rest else low
    if len(rest) > 1 or high < low:
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


def _conditioned(options, load_model: Callable) -> tuple[Callable, dict]:
    """Darkening by EC-Zero-DCE, and noise afterwards."""
    import torch

    from llie_core.data.darkening import quantise
    from llie_core.data.noise import LEVELS, add_noise, check_noise
    from llie_core.models.ec_zero_dce import EXPOSURE_RANGE
    from llie_core.runs import file_hash

    exposure = _range(options.exposure, EXPOSURE_RANGE, "exposure")
    if not EXPOSURE_RANGE[0] <= exposure[0] <= exposure[1] <= EXPOSURE_RANGE[1]:
        raise ValueError(f"--exposure {exposure}: {options.model} knows {EXPOSURE_RANGE} only")
    noise = options.noise or "none"
    level = LEVELS.get(noise, 0.0) if options.noise_level is None else options.noise_level
    check_noise(noise, level)
    model, device = load_model(options)

    def apply(image, rng):
        target = round(float(rng.uniform(*exposure)), 4)
        dark = model.enhance(torch.from_numpy(image)[None].to(device), exposure=target)[0].cpu()
        noisy = quantise(add_noise(dark.numpy(), noise, level, rng))
        about = {"exposure_target": target, "mean": round(float(noisy.mean()), 4)}
        return noisy, {**about, "noise": noise, "noise_level": level}

    weights = file_hash(options.weights) if options.weights else ""
    return apply, {"model": options.model, "weights": weights, "exposure": exposure,
                   "noise": [noise, level]}  # fmt: skip


def _darken(options, darkener: Callable, asked: dict) -> tuple[str, int]:
    """Every picture of the source by a `Darkener`; unreadable ones are named, the others go on."""
    import torch
    from tqdm import tqdm

    from llie_core.data.images import read_image, write_image
    from llie_core.data.synthesis import generator
    from llie_core.files import locked
    from llie_core.runs import content_hash

    targets = dark_copies(options.source, options.target)
    request = content_hash({**asked, "seed": options.seed})
    failed = 0
    options.target.mkdir(parents=True, exist_ok=True)
    with locked(options.target / ".lock", str(options.target)):
        done = _done(options.target, request)
        for path, (name, target) in tqdm(targets.items(), disable=not sys.stderr.isatty()):
            if name in done and target.exists():
                continue
            try:
                image = read_image(path)
            except ValueError as error:
                failed += 1
                print(f"llie: {error}", file=sys.stderr)
                continue
            dark, about = darkener(image.numpy(), generator(options.seed, name))
            write_image(target, torch.from_numpy(dark))
            line = json.dumps({"name": name, "darkening": about, "request": request})
            with (options.target / RECORD).open("a", encoding="utf-8") as lines:
                lines.write(line + "\n")
    said = f"{len(targets) - failed} of {len(targets)} pictures are in {options.target}"
    return said, 1 if failed else 0


def dark_copies(source: Path, folder: Path) -> dict[Path, tuple[str, Path]]:
    """Picture → its name, the path below the source, and the PNG that it becomes.

    Raises:
        FileNotFoundError: no picture there. ValueError: a copy would replace a picture, or two
            pictures would become one.
    """
    from llie_core.data.flat import Pictures

    if source.is_file():
        names = {source: source.name}
    elif source.is_dir():
        names = {source / name: name for name in Pictures(source).names}
    else:
        raise FileNotFoundError(f"{source}: no such picture or folder")
    stems = [str(Path(name).with_suffix("")) for name in names.values()]
    targets = {}
    for (path, name), stem in zip(names.items(), stems, strict=True):
        # Where two pictures differ in their suffix only, it stays in the name.
        target = folder / f"{stem if stems.count(stem) == 1 else name}.png"
        if target.resolve() == path.resolve():
            raise ValueError(f"{target}: the result would replace a picture; name another folder")
        targets[path] = (name, target)
    return targets


def _done(folder: Path, request: str) -> set[str]:
    """Names that an earlier call of the same request has written."""
    from llie_core.data.paired import read_records
    from llie_core.data.synthesis import drop_torn_line

    drop_torn_line(folder / RECORD)
    last = {record["name"]: record["request"] for record in read_records(folder / RECORD)}
    return {name for name, of in last.items() if of == request}


def _write_pairs(options, load_model: Callable) -> tuple[str, int]:
    """Pairs by a learned degradation: low/ and high/ in TARGET."""
    from llie_core.data.flat import Pictures
    from llie_core.data.synthesis import write_pairs
    from llie_core.recipes.drgn import degradation_darkener
    from llie_core.runs import file_hash

    if options.low is None:
        raise ValueError(f"{options.model} needs --low, a folder of low-light pictures")
    if options.device not in (None, "cpu"):
        raise ValueError(f"{options.model} darkens on the CPU, several pictures at a time")
    strength = _range(options.strength, (1.0, 1.0), "strength")
    source, low = Pictures(options.source), Pictures(options.low)
    options.device = "cpu"
    model, _ = load_model(options)
    settings = {"model": options.model, "strength": strength, "low": low.describe(),
                "weights": file_hash(options.weights)}  # fmt: skip
    darkener = degradation_darkener(model, low, strength)
    written = write_pairs(source, darkener, options.target, settings, options.seed)
    return f"{written} pairs written to {options.target} ({len(source)} are there)", 0
