"""Arguments that several commands take: paths, and the options that name a study."""

import argparse
import contextlib
import json
import mimetypes
from pathlib import Path

# Settings that are options; --set does not take them.
OPTIONS = {
    "dataset": "--dataset",
    "data": "--data",
    "profile": "--profile",
    "seeds": "--seed or --seeds",
    "processes": "--processes of llie fit",
}


def path(text: str) -> Path:
    """A path; an empty one is refused, which `Path` takes for the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; name a file or a folder")
    return Path(text)


def folder(text: str) -> Path:
    """The path of a folder that may not be there yet; a file, or what is named like an image, is
    refused."""
    kind = mimetypes.guess_type(text)[0] or ""
    if path(text).is_file() or (kind.startswith("image/") and not Path(text).is_dir()):
        raise argparse.ArgumentTypeError(f"{text} is a file, or named like one; name a folder")
    return Path(text)


def whole(text: str, least: int = 0) -> int:
    """A whole number from `least` up."""
    if not text.strip().isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least} up")
    return int(text)


def seed(text: str) -> int:
    """A seed that torch takes; what a negative one means, the study says."""
    with contextlib.suppress(ValueError):
        if (number := int(text)) < 2**63:
            return number
    raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0 to 2^63 − 1")


def positive(text: str) -> int:
    """A whole number from 1 up."""
    return whole(text, 1)


def device(text: str) -> str:
    """A device of torch that this machine has."""
    import torch

    try:
        kind = torch.device(text)
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"no device {text!r}; write cpu or cuda:0") from None
    if kind.type == "cuda" and (kind.index or 0) >= (count := torch.cuda.device_count()):
        raise argparse.ArgumentTypeError(f"{text}: torch finds {count} GPUs here; cpu works")
    return text


def add_device(command) -> None:
    """--device, of a command or a group of its arguments."""
    command.add_argument(
        "--device", type=device, help="cpu, cuda:0, …; default: a GPU if there is one"
    )


def weights_name(text: str) -> str | Path:
    """ "reference", "released" or a path."""
    return text if text in ("reference", "released") else path(text)


def add_study(
    command: argparse.ArgumentParser, profile: str = "quick", papers: str | None = None
) -> None:
    """The options that name a study; papers: how many there may be ("*"), if not one."""
    name = "papers" if papers else "paper"
    command.add_argument(name, metavar="PAPER", nargs=papers, help="recognition, joint, …")
    command.add_argument("--dataset", default="", help="default: the profile's")
    command.add_argument("--profile", default=profile, help="smoke, quick, reference or "
                         "paper; of neid also photographs, the default's training")  # fmt: skip
    command.add_argument("--data", default="", help="folder of the data set")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         dest="overrides", help="change a setting, VALUE as JSON: "
                         "--set train.steps=500")  # fmt: skip


def study_of(options, **changes):
    """The study that a command line names.

    Raises:
        ValueError, TypeError: unknown paper, profile, data set or setting, or a wrong value.
    """
    from llie_core.papers import open_study

    data = str(Path(options.data).expanduser().absolute()) if options.data else ""
    given = {"data": data, "seeds": getattr(options, "seeds", None)}
    changes |= {key: value for key, value in given.items() if value}
    settings = merged(changes, overrides(options.overrides))
    return open_study(options.paper, options.profile, options.dataset, **settings)


def overrides(pairs: list[str]) -> dict:
    """KEY=VALUE pairs as nested settings: ["train.steps=5"] → {"train": {"steps": 5}}.

    VALUE is JSON or, where it is none, a text.
    """
    changes: dict = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"--set {pair}: write KEY=VALUE")
        if key in OPTIONS:
            raise ValueError(f"--set {pair}: this setting is an option, {OPTIONS[key]}")
        try:
            nested = json.loads(value)
        except json.JSONDecodeError:
            nested = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        changes = merged(changes, nested)
    return changes


def merged(first: dict, second: dict) -> dict:
    """Two nested dicts as one; the second one wins."""
    both = dict(first)
    for key, value in second.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if nested else value
    return both
