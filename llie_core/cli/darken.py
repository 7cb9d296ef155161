"""`llie darken`: dark copies of normal-light images, with what was done to each on record.

    physical            the model of data/darkening.py: light, white balance, sensor noise
    ec_zero_dce         trained: exposure by request; lamps stay bright; noise by name
    drgn, lw_drgn       trained: the degradation of other low-light images; writes pairs

TARGET keeps SOURCE's tree. `darkening.jsonl` has a line an image, written after the image, so
that a killed run goes on where it stopped; what becomes of an image depends on seed and name
alone.
"""

import math
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from llie_core.cli.arguments import add_device, folder, path, weights_name, whole

RECORD = "darkening.jsonl"
DRGN = ("drgn", "lw_drgn")
COUNT = 4  # images of each kind by which a collapse is seen
# Which model takes which option, for one clear line where it does not.
OWN = {
    "weights": ("ec_zero_dce", *DRGN),
    "device": ("ec_zero_dce", *DRGN),
    "exposure": ("physical", "ec_zero_dce"),
    "noise": ("ec_zero_dce",),
    "noise_level": ("ec_zero_dce",),
    "low": DRGN,
    "strength": DRGN,
    "one_pass": DRGN,
}


def add(commands) -> None:
    """Add the subcommand, its options grouped by the models that they belong to."""
    about = "darken images: physically, to an exposure, or as others are degraded"
    command = commands.add_parser("darken", help=about)
    command.set_defaults(run=run, resumes=True)
    command.add_argument(
        "--model", default="physical",
        help="physical (default) or ec_zero_dce: dark copies; drgn, lw_drgn: pairs, low/ and high/",
    )  # fmt: skip
    command.add_argument("--seed", type=whole, default=0, help="of all that is drawn")
    trained = command.add_argument_group("ec_zero_dce, drgn, lw_drgn")
    trained.add_argument(
        "--weights",
        type=weights_name,
        metavar="WEIGHTS",
        help="reference, released, or weights.safetensors of a run, as of llie enhance; default: "
        "those that the project ships, if it does",
    )
    add_device(trained)
    command.add_argument_group("physical, ec_zero_dce").add_argument(
        "--exposure", type=float, nargs="+", metavar="E",
        help="one, or a range to draw each image's from; physical: linear gain (default 0.1); "
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
        "--low", type=path, metavar="FOLDER", help="low-light images to take after (needed)"
    )
    pairs.add_argument(
        "--strength", type=float, nargs="+", metavar="S",
        help="of the degradation, one or a range (default 1, as learned)",
    )  # fmt: skip
    pairs.add_argument(
        "--one-pass", action="store_const", const=True,
        help="put the degradation on as it was read from the low-light image, with its structure",
    )  # fmt: skip
    command.add_argument("source", type=path, help="an image, or a folder with its subfolders")
    command.add_argument("target", type=folder, help="folder for the results (PNG)")


def run(options) -> int:
    """Darken as asked. Returns the exit code, 1 where an image failed.

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
    from llie_core.data.darkening import Darkening, DarkeningRange, physical_darkener
    from llie_core.engine.reuse import code

    exposure = _range(options.exposure, (0.1, 0.1), "exposure")
    for value in exposure:
        Darkening(value)  # refuses what is no exposure, before any image is read
    asked = {"model": "physical", "exposure": exposure, "code": code(physical_darkener)}
    return physical_darkener(DarkeningRange(exposure=exposure)), asked


def _conditioned(options) -> tuple[Callable, dict]:
    """Darkening by EC-Zero-DCE, and noise afterwards."""
    import torch

    from llie_core.cli.image_files import trained_model, weights_hash
    from llie_core.data.darkening import quantise
    from llie_core.data.noise import LEVELS, add_noise, check_noise
    from llie_core.engine.reuse import code
    from llie_core.models.ec_zero_dce import EXPOSURE_RANGE

    exposure = _range(options.exposure, EXPOSURE_RANGE, "exposure")
    if not EXPOSURE_RANGE[0] <= exposure[0] <= exposure[1] <= EXPOSURE_RANGE[1]:
        raise ValueError(f"--exposure {exposure}: {options.model} knows {EXPOSURE_RANGE} only")
    noise = options.noise or "none"
    if noise == "none" and options.noise_level is not None:
        raise ValueError("--noise-level needs --noise gaussian or poisson")
    level = LEVELS.get(noise, 0.0) if options.noise_level is None else options.noise_level
    check_noise(noise, level)
    model, device, used = trained_model(options.model, options.weights, device=options.device)

    def apply(image, rng):
        target = round(float(rng.uniform(*exposure)), 4)
        dark = model.enhance(torch.from_numpy(image)[None].to(device), exposure=target)[0].cpu()
        noisy = quantise(add_noise(dark.numpy(), noise, level, rng))
        about = {"exposure_target": target, "mean": round(float(noisy.mean()), 4)}
        return noisy, {**about, "noise": noise, "noise_level": level}

    weights = weights_hash(options.model, used)
    return apply, {"model": options.model, "weights": weights, "exposure": exposure,
                   "mean": "reached", "noise": [noise, level],
                   "code": code(model, add_noise, quantise)}  # fmt: skip


def _darken(options, darkener: Callable, asked: dict) -> int:
    """Every image of the source by a `Darkener`; one that fails is named, the others go on."""
    import torch

    from llie_core.cli.image_files import InputImage, Record, check_own, each_image, find_images
    from llie_core.data.images import read_image, write_image
    from llie_core.data.synthesis import generator
    from llie_core.files import locked
    from llie_core.hashing import content_hash

    images = find_images(options.source, options.target)
    path = options.target / RECORD
    check_own(images, path, "name another folder")
    request = content_hash({**asked, "seed": options.seed})
    with locked(options.target / ".lock", str(options.target)):
        record = Record(path, request)

        def write(image: InputImage) -> None:
            pixels = read_image(image.path).numpy()
            dark, about = darkener(pixels, generator(options.seed, image.name))
            write_image(image.target, torch.from_numpy(dark))
            record.note(image, darkening=about)

        failed = each_image(list(filter(record.left, images)), write, lambda image: image.path)
    print(f"{len(images) - failed} of {len(images)} images are in {options.target}")
    return 1 if failed else 0


# Pairs -----------------------------------------------------------------------------------------


def _write_pairs(options) -> int:
    """Pairs by a learned degradation: low/ and high/ in TARGET."""
    from llie_core.cli.image_files import trained_model, weights_hash
    from llie_core.data.synthesis import write_pairs
    from llie_core.data.unpaired import ImageFolder
    from llie_core.engine.reuse import code
    from llie_core.models.drgn import TwoStep
    from llie_core.papers.drgn.darkener import collapse_of, degradation_darkener

    if options.low is None:
        raise ValueError(f"{options.model} needs --low, a folder of low-light images")
    strength = _range(options.strength, (1.0, 1.0), "strength")
    if strength[0] < 0:
        raise ValueError(f"--strength {strength[0]}: it must not be negative")
    model, _, used = trained_model(options.model, options.weights, device=options.device)
    assert isinstance(model, TwoStep)  # no other darkener takes --low
    source = ImageFolder(options.source, without=options.target)
    low, damaged = _readable(options.low, options.target)
    passes = 1 if options.one_pass else 2
    settings = {"model": options.model, "strength": list(strength), "low": low.describe(),
                "weights": weights_hash(options.model, used), "passes": passes,
                "code": code(model, low, degradation_darkener)}  # fmt: skip
    darkener = degradation_darkener(model, low, strength, second_pass=passes == 2)
    count = min(COUNT, len(low))
    normals = [source[i]["image"] for i in _whole(source, count)]
    beside = [low[i]["image"] for i in range(len(normals))]
    if normals and (wrong := collapse_of(model, normals, beside)):
        print(f"llie: {used}: {wrong}", file=sys.stderr)
    # One thread: the network uses all cores itself, and each call takes memory of its own.
    written = write_pairs(source, darkener, options.target, settings, options.seed, threads=1)
    for problem in filter(None, (*written.unreadable.values(), source.not_read)):
        print(f"llie: {problem}", file=sys.stderr)
    there = len(source) - len(written.unreadable)
    print(f"{written.pairs} pairs written to {options.target} ({there} are there)")
    return 1 if damaged or written.unreadable else 0


def _whole(images, count: int) -> list[int]:
    """The first `count` images that can be read."""
    return list(islice((i for i in range(len(images)) if not _problem(images.path(i))), count))


def _readable(folder: Path, target: Path) -> tuple:
    """A folder's images that can be read, but those of `target`, and how many cannot be.

    The latter are named. They are found beforehand, since any pair may draw any of the images.
    """
    from concurrent.futures import ThreadPoolExecutor

    from llie_core.data.folders import FileSet
    from llie_core.data.unpaired import ImageFolder

    found = ImageFolder(folder, without=target)
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(lambda i: _problem(found.path(i)), range(len(found))))
    for problem in filter(None, (*problems, found.not_read)):
        print(f"llie: {problem}", file=sys.stderr)
    whole = [entry for entry, said in zip(found.entries, problems, strict=True) if not said]
    if not whole:
        raise ValueError(f"{folder}: holds no image that can be read")
    return FileSet("images", folder, "", whole), len(found) - len(whole)


def _problem(path: Path) -> str:
    """Why an image cannot be read, "" where it can."""
    from llie_core.data.images import read_image
    from llie_core.files import problem_of

    try:
        read_image(path)
    except Exception as error:  # decoders raise anything on odd images
        return problem_of(path, error)
    return ""
