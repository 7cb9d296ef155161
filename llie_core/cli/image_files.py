"""What the commands that take images share: finding and pairing them, a trained model, the loop."""

import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import TypeVar

import torch

from llie_core.data.folders import SUFFIXES, bare, files_in, not_read
from llie_core.data.synthesis import drop_torn_line
from llie_core.data.videos import is_video, written_name
from llie_core.engine.distributed import default_device
from llie_core.files import appended, problem_of
from llie_core.hashing import file_hash
from llie_core.models import Enhancer, create_enhancer, list_darkeners, list_enhancers, model_spec
from llie_core.names import listed, nearest
from llie_core.weights import weights_table

Item = TypeVar("Item")


@dataclass(frozen=True)
class InputImage:
    """One image to work on. name: its path below the source folder, such as "event/1.jpg"."""

    name: str
    path: Path
    target: Path


def trained_model(
    name: str, weights: str | Path | None, device: str | None = None
) -> tuple[Enhancer, str, str | Path | None]:
    """A model with its weights on a device, the device, and which weights they are.

    weights: "reference", "released", a file, or None: those that the project ships, if it does.

    Raises:
        ValueError: unknown name, a learned model without weights, or a file of weights that are
            not this model's; the message names the models that they fit.
        FileNotFoundError: no such file of weights.
    """
    with torch.device("meta"):
        learned = create_enhancer(name).learned
    if learned and weights is None:
        weights = _shipped(name)
    try:
        if weights is not None and not learned:
            raise ValueError(f"{weights}: {name} has no weights")
        named = weights_table()
        if isinstance(weights, Path) and not weights.exists() and str(weights) not in named:
            raise FileNotFoundError(f"no file of weights at {weights}{nearest(weights, named)}")
        model = create_enhancer(name, weights=weights)
    except ValueError as error:
        fitting = _models_of(weights) if isinstance(weights, Path) else []
        hint = f"; it fits --model {' or '.join(fitting)}" if fitting else ""
        raise ValueError(f"{error}{hint}") from error
    device = device or default_device()
    return model.to(device).eval(), device, weights


def _shipped(name: str) -> str:
    """ "reference", where the project ships weights of a model."""
    spec = model_spec(name)
    if spec.reference:
        return "reference"
    released = f"--weights released (after llie weights fetch {spec.released}), or "
    raise ValueError(
        f"{name} needs --weights: {released if spec.released else ''}weights.safetensors of a run "
        "(llie fit), or its authors' checkpoint"
    )


def weights_hash(name: str, weights: str | Path | None) -> str:
    """SHA-256 of the file of weights that `trained_model` loads; "" for no weights."""
    from llie_core.models.records import reference_run
    from llie_core.weights import file_of, find

    if weights is None:
        return ""
    if weights == "reference":
        return file_hash(reference_run(model_spec(name).reference).path)
    return file_hash(find(model_spec(name).released) if weights == "released" else file_of(weights))


def _models_of(weights: Path) -> list[str]:
    """The learned models that a file of weights fits."""
    fitting = []
    for name in (*list_enhancers(), *list_darkeners()):
        with contextlib.suppress(ValueError, FileNotFoundError):
            model = create_enhancer(name, weights=weights)
            fitting += [name] if any(True for _ in model.parameters()) else []
    return fitting


def find_images(
    source: Path, folder: Path, readable: tuple[str, ...] = SUFFIXES, suffix: str = ".png"
) -> list[InputImage]:
    """An image, or those of a folder and its subfolders by name, and each one's file in `folder`.

    The tree is kept. A result keeps its image's suffix where another image beside it has the
    same stem. Hidden files are left out, and so is `folder` where it lies in the source.

    Args:
        readable: suffixes of images, and of videos where these are read.
        suffix: of the results; a video's keeps its name.

    Raises:
        FileNotFoundError: no such image or folder, or none in it.
        ValueError: a result would replace an image.
    """
    if source.is_dir() and source.resolve() == folder.resolve():
        raise ValueError(f"{folder}: the results would lie among the images; name another folder")
    found = {source.name: source} if source.is_file() else _below(source, folder, readable)
    own = {path.resolve() for path in found.values()}
    images = []
    for name, (key, path) in zip(found, _keyed(found).items(), strict=True):
        target = folder / (written_name(name) if is_video(path) else f"{key}{suffix}")
        if target.resolve() in own:
            raise ValueError(f"{target}: the result would replace an image; name another folder")
        images.append(InputImage(name, path, target))
    return images


def check_own(images: Iterable[InputImage], record: Path, remedy: str) -> None:
    """That no result replaces an image of another origin: none is there, or a record of ours is.

    Raises:
        ValueError: with one of these images and the remedy.
    """
    # Path.exists raises for a name that is too long; writing that image will say so.
    there = [image.target for image in images if os.path.exists(image.target)]  # noqa: PTH110
    if there and not record.is_file():
        raise ValueError(f"{there[0]} exists already; {remedy}")


class Record:
    """A file with a line an image, written after the image's result, by which the same command goes
    on where it stopped. The folder's lock is held.

    request: hash of all that decides the results besides the images.
    """

    def __init__(self, path: Path, request: str):
        self.path, self.request, self._writing = path, request, Lock()
        path.touch()  # before the first image, which is then one of ours
        drop_torn_line(path)
        self._done: dict[str, list] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                self._done[entry["name"]] = entry["state"]

    def left(self, image: InputImage) -> bool:
        """Whether its result is not there, or is of another file or request."""
        with contextlib.suppress(OSError):  # such as a name that is too long: writing it will say
            return not (image.target.exists() and self._done.get(image.name) == self._state(image))
        return True

    def note(self, image: InputImage, **about: object) -> None:
        """Write that it is done, and what else there is to say."""
        line = {"name": image.name, **about, "state": self._state(image)}
        with self._writing, appended(self.path) as lines:
            lines.write(json.dumps(line) + "\n")

    def _state(self, image: InputImage) -> list:
        status = image.path.stat()
        return [self.request, status.st_size, status.st_mtime_ns]


def find_pairs(source: Path, reference: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pairs of an image and its reference, and lines that name the images without a partner.

    Two files are a pair. The images of two folders and their subfolders are paired by the names
    that `find_images` gives to results: the path below the folder, whatever the suffix.

    Raises:
        FileNotFoundError: no such image or folder, or none in it.
        ValueError: a file and a folder, or no pair at all.
    """
    for path in (source, reference):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such image or folder")
    if source.is_file() and reference.is_file():
        return [(source, reference)], []
    if source.is_file() != reference.is_file():
        raise ValueError(f"{source}, {reference}: give two files or two folders")
    own, other = _keyed(_below(source, reference)), _keyed(_below(reference, source))
    pairs = [(path, other[key]) for key, path in own.items() if key in other]
    if not pairs:
        raise ValueError(
            f"no image of {source} ({len(own)}) has a namesake in {reference} ({len(other)})"
        )
    alone = [_without_partner(source, own, other), _without_partner(reference, other, own)]
    return pairs, [line for line in alone if line]


def without_references(source: Path) -> tuple[list[tuple[Path, None]], list[str]]:
    """An image, or those of a folder and its subfolders, as `find_pairs` gives pairs.

    Raises:
        FileNotFoundError: no such image or folder, or none in it.
    """
    paths = [source] if source.is_file() else _below(source, source).values()
    return [(path, None) for path in paths], []


def _without_partner(folder: Path, own: Iterable[str], other: Iterable[str]) -> str:
    lonely = sorted(set(own) - set(other))
    if not lonely:
        return ""
    return f"{folder}: {len(lonely)} without a partner ({listed(lonely)})"


def _keyed(found: dict[str, Path]) -> dict[str, Path]:
    """Images by name without suffix, or by the whole name where two have one stem."""
    stems = Counter(map(bare, found))
    keyed = {bare(n) if stems[bare(n)] == 1 else n: path for n, path in found.items()}
    if len(keyed) < len(found):
        raise ValueError("two images go by one name, such as a.png and a.png.png: rename one")
    return keyed


def _below(source: Path, folder: Path, readable: tuple[str, ...] = SUFFIXES) -> dict[str, Path]:
    """Name → path of the images below a folder, sorted, without those of `folder`."""
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such image or folder")
    # Not within the source, it parts nothing, and no path is resolved.
    apart = folder.resolve() if source.resolve() in folder.resolve().parents else None
    found: dict[str, Path] = {}
    closed: list[str] = []
    for path in files_in(source, deep=True, closed=closed):
        is_image = path.suffix.lower() in readable
        if is_image and (apart is None or apart not in path.resolve().parents):
            found[path.relative_to(source).as_posix()] = path
    others = not_read(source, deep=True, besides=readable)
    if not found:
        wanted = f"{source}: holds no image ({', '.join(sorted(readable))})"
        raise FileNotFoundError("; ".join(filter(None, [wanted, others, *closed])))
    for line in filter(None, (others, *closed)):
        print(f"llie: {line}", file=sys.stderr)
    return found


def each_image(
    images: Sequence[Item],
    write: Callable[[Item], str | None],
    file_of: Callable[[Item], object],
    workers: int = 1,
) -> int:
    """Call `write` for every image and print the line that it returns, if any.

    An image that fails is named, by `file_of`, and the others go on.

    Args:
        workers: images at a time, each in a thread: decoding, enhancement and encoding overlap.

    Returns:
        How many failed.

    Raises:
        OSError: what every image would meet, such as a full disk.
    """
    from tqdm import tqdm

    stopped, failed = Event(), 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            futures = [pool.submit(_attempt, image, write, file_of, stopped) for image in images]
            for future in tqdm(futures, disable=not sys.stderr.isatty(), unit="image"):
                said, problem = future.result()
                if said:
                    tqdm.write(said)
                if problem:
                    tqdm.write(f"llie: {problem}", file=sys.stderr)
                    failed += 1
        except BaseException:  # an interruption, too, ends it with the images that are at work
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def _attempt(
    image: Item, write: Callable[[Item], str | None], file_of: Callable[[Item], object],
    stopped: Event,
) -> tuple[str | None, str]:  # fmt: skip
    """What to say of an image, and why it failed; nothing is begun after a common error."""
    try:
        return (None if stopped.is_set() else write(image)), ""
    except Exception as error:  # decoders and methods raise anything on odd images
        try:
            return None, problem_of(file_of(image), error)
        except OSError:
            stopped.set()
            raise


def each_in_turn(
    files: Iterable[Item], write: Callable[[Item], str | None], file_of: Callable[[Item], object]
) -> int:
    """`each_image` for what takes long, such as videos: one at a time, in this thread, so that an
    interruption ends it at once."""
    failed = 0
    for file in files:
        try:
            print(write(file))
        except Exception as error:
            print(f"llie: {problem_of(file_of(file), error)}", file=sys.stderr)
            failed += 1
    return failed
