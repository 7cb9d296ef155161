"""What `llie enhance` and `llie darken` share: finding pictures, a trained model, the loop."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from llie_core.data.folders import SUFFIXES, bare
from llie_core.models import create_enhancer
from llie_core.training import default_device, load_weights


@dataclass(frozen=True)
class Picture:
    """One picture to work on. name: its path below the source folder, such as "event/1.jpg"."""

    name: str
    path: Path
    target: Path


def trained_model(
    name: str, weights: Path | None, released: Path | None = None, device: str | None = None
) -> tuple[nn.Module, str]:
    """A model with its weights (those of a run, or the authors') on a device, and the device.

    Raises:
        ValueError: unknown name, a learned model without weights, or weights that do not fit.
    """
    model = create_enhancer(name)
    if released:
        if not hasattr(model, "load_released_weights"):
            raise ValueError(f"{name} has no released checkpoint to load")
        model.load_released_weights(released)
    elif weights:
        load_weights(model, weights)
    elif any(True for _ in model.parameters()):
        raise ValueError(f"{name} needs --weights (of a run; train one with llie fit)")
    device = device or default_device()
    return model.to(device).eval(), device


def find_pictures(source: Path, folder: Path) -> list[Picture]:
    """A picture, or those of a folder and its subfolders by name, and the PNG of each in `folder`.

    The tree is kept. A result keeps its picture's suffix where another picture beside it has the
    same stem. Hidden files are left out, and so is `folder` where it lies in the source.

    Raises:
        FileNotFoundError: no such picture or folder, or none in it.
        ValueError: a result would replace a picture.
    """
    found = {source.name: source} if source.is_file() else _below(source, folder)
    stems = Counter(map(bare, found))
    own = {path.resolve() for path in found.values()}
    pictures = []
    for name, path in found.items():
        target = folder / f"{bare(name) if stems[bare(name)] == 1 else name}.png"
        if target.resolve() in own:
            raise ValueError(f"{target}: the result would replace a picture; name another folder")
        pictures.append(Picture(name, path, target))
    return pictures


def _below(source: Path, folder: Path) -> dict[str, Path]:
    """Name → path of the pictures below a folder, sorted, without those of `folder`."""
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such picture or folder")
    apart = folder.resolve() if lies_in(folder, source) else None
    found = {}
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.suffix.lower() not in SUFFIXES or hidden or path.is_dir():
            continue
        if apart is None or apart not in path.resolve().parents:
            found[name.as_posix()] = path
    if not found:
        raise FileNotFoundError(f"{source}: holds no picture ({', '.join(sorted(SUFFIXES))})")
    return found


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path is below a folder, whatever links lead there."""
    return folder.resolve() in path.resolve().parents


def each_picture(pictures: list[Picture], write: Callable[[Picture], None]) -> int:
    """Call `write` for every picture; unreadable ones are named, the others go on.

    Returns:
        How many could not be read.
    """
    from tqdm import tqdm

    failed = 0
    for picture in tqdm(pictures, disable=not sys.stderr.isatty(), unit="picture"):
        try:
            write(picture)
        except (ValueError, FileNotFoundError) as error:
            failed += 1
            print(f"llie: {error}", file=sys.stderr)
    return failed
