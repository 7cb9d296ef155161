"""What the loaders of image folders share: finding files, pairing by name, splitting, identity."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from llie_core.data.images import read_image
from llie_core.data.registry import Absent, checked_spec, dataset_spec, find_folder, list_datasets
from llie_core.hashing import content_hash, hashes_in
from llie_core.names import listed

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# Images and videos in other formats: they are counted and named, not read.
NOT_READ = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".gif", ".psd", ".exr", ".hdr", ".dng",
    ".raw", ".arw", ".cr2", ".cr3", ".nef", ".orf", ".raf", ".rw2", ".pef", ".srw", ".mp4",
    ".mov", ".avi", ".mkv", ".webm", ".m4v",
)  # fmt: skip

# An item before it is read: `name`, and role → path relative to the root ("image", "target", …).
Entry = dict[str, str]


class FileSet(Dataset):
    """A split whose items lie in files below `root` (split "": a set under no registered name).

    entries: one an item. options: what else identifies the items, for `describe`. annotations:
    files that belong to no single item. found: items of the official part, before a validation
    part was held out of it. An item is {"name", "image"} and what `extras` adds.
    """

    def __init__(
        self, name: str, root: Path, split: str, entries: list[Entry], options: dict | None = None,
        annotations: Iterable[str] = (), found: int | None = None,
    ):  # fmt: skip
        if split:
            checked_spec(name, split)
        if not entries:
            raise absent(name, f"nothing of its {split} part in {root}")
        self.name, self.root, self.split = name, Path(root), split
        self.entries, self.options = entries, options or {}
        self.annotations = sorted(annotations)
        self.found = len(entries) if found is None else found

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> list[str]:
        """Names of the items, without reading any."""
        return [entry["name"] for entry in self.entries]

    def path(self, index: int, role: str = "image") -> Path:
        """The file of an item, by role."""
        return self.root / self.entries[index][role]

    def files(self) -> dict[str, list[str]]:
        """Role → paths relative to the root, each once."""
        roles = dict.fromkeys(role for entry in self.entries for role in entry if role != "name")
        return {
            role: list(dict.fromkeys(e[role] for e in self.entries if role in e)) for role in roles
        }

    def __getitem__(self, index: int) -> dict:
        path, frame = self.path(index), self.frame(index)
        item = {"image": read_image(path, frame), "name": self.entries[index]["name"]}
        item |= self.extras(index)
        for role in ("target", "mask"):
            if role in item and item[role].shape[-2:] != item["image"].shape[-2:]:
                sizes = ["×".join(map(str, size_of(item[r]))) for r in ("image", role)]
                raise ValueError(
                    f"{self.name}: {path} is {sizes[0]}, its {role} "
                    f"{self.path(index, role)} is {sizes[1]}"
                )
        check_frame(path, size_of(item["image"]), frame)
        return item

    def frame(self, index: int) -> tuple[int, int] | None:
        """(W, H) of the image that an item's boxes, joints or mask belong to; None: upright."""
        return None

    def extras(self, index: int) -> dict:
        """What the item holds besides image and name: here its ground truth, where it has one."""
        if "target" not in self.entries[index]:
            return {}
        return {"target": read_image(self.path(index, "target"), self.frame(index))}

    def image_files(self, index: int) -> list[Path]:
        """The image files of an item."""
        entry = self.entries[index]
        return [self.root / entry[role] for role in ("image", "target", "mask") if role in entry]

    def whole(self, index: int) -> dict:
        """The item with its image uncut, for checks of the files."""
        return self[index]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names and contents of every file of the split."""
        listed = {path for paths in self.files().values() for path in paths}
        contents = hashes_in(self.root, [*listed, *self.annotations])  # each is read once
        return content_hash(list(contents.items()))

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        return {
            "name": self.name,
            "split": self.split,
            "count": len(self),
            "files": self.fingerprint,
            **self.options,
        }


def size_of(image: Tensor) -> tuple[int, int]:
    """(W, H) of an image (…, H, W)."""
    height, width = image.shape[-2:]
    return width, height


def check_frame(path: Path, size: tuple[int, int], frame: tuple[int, int] | None) -> None:
    """ValueError where an image has another size (W, H) than its annotation says."""
    if frame not in (None, size):
        raise ValueError(
            f"{path} is {size[0]}×{size[1]}, its annotation is for {frame[0]}×{frame[1]}; use the "
            "image that was annotated, or scale the annotation"
        )


def files_in(folder: Path, deep: bool = False, closed: list[str] | None = None) -> list[Path]:
    """The files of a folder, sorted; deep: of its subfolders too.

    Hidden files and folders (".ipynb_checkpoints") are left out. Links are followed, but not back
    to a folder above themselves.

    closed: takes a line on each subfolder that may not be read; without it such a one is an error.
    """
    return sorted(path for path, is_folder in _walk(folder, deep, (), closed) if not is_folder)


def folders_in(folder: Path, deep: bool = False) -> list[Path]:
    """The subfolders of a folder, sorted, on the terms of `files_in`."""
    return sorted(path for path, is_folder in _walk(folder, deep, (), None) if is_folder)


def _walk(
    folder: Path, deep: bool, above: tuple, closed: list[str] | None
) -> Iterator[tuple[Path, bool]]:
    status = folder.stat()
    place = (status.st_dev, status.st_ino)
    if place in above:
        return
    try:
        entries = [*os.scandir(folder)]
    except PermissionError as error:
        if closed is None or not above:
            raise
        closed.append(f"{folder}: {error.strerror}; passed over")
        return
    for entry in entries:
        if not entry.name.startswith("."):
            yield folder / entry.name, entry.is_dir()
            if deep and entry.is_dir():
                yield from _walk(folder / entry.name, deep, (*above, place), closed)


def images_in(folder: Path, deep: bool = False, ending: str = "") -> dict[str, str]:
    """Key → path relative to `folder`, sorted by key, of the images in it (see `files_in`).

    The key is the path without suffix and without `ending` ("_leftImg8bit"); files without the
    ending are passed over. ValueError where two files have one key.
    """
    found: dict[str, str] = {}
    for path in files_in(folder, deep):
        if path.suffix.lower() in SUFFIXES and path.stem.endswith(ending):
            relative = path.relative_to(folder)
            key = relative.with_suffix("").as_posix().removesuffix(ending)
            if key in found:
                raise ValueError(f"{folder}: {found[key]} and {relative} go by one name; keep one")
            found[key] = relative.as_posix()
    return dict(sorted(found.items()))


def no_image(folder: Path, deep: bool = False) -> str:
    """That a folder holds no image, and what it holds instead."""
    return f"no image ({', '.join(SUFFIXES)}) in " + (not_read(folder, deep) or str(folder))


def not_read(folder: Path, deep: bool = False, besides: Iterable[str] = ()) -> str:
    """What lies in a folder in a format that is not read, counted and named, or "".

    besides: suffixes of NOT_READ that the caller reads.
    """
    unread = set(NOT_READ) - set(besides)
    files = [path for path in files_in(folder, deep, []) if path.suffix.lower() in unread]
    if not files:
        return ""
    kinds = Counter(path.suffix.lower() for path in files)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    named = listed([path.relative_to(folder).as_posix() for path in files])
    return f"{folder}: {counted} not read ({named}); convert to PNG, JPEG or TIFF"


def bare(name: str) -> str:
    """A name without its image suffix ("a.b/1.png" → "a.b/1"; "night-0.5" stays)."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name


def needed_folder(name: str, root: Path, wanted: str) -> Path:
    """A folder of a set; Absent where it is not there."""
    if folder := find_folder(root, wanted):
        return folder
    raise absent(name, f"no folder {wanted} in {root}")


def absent(name: str, problem: str) -> Absent:
    """The error for a set or split that is not there: what, where, how to get it."""
    return Absent(f"{name}: {problem}{_where(name)}")


def _where(name: str) -> str:
    """Where to get a set, as the end of a message; "" for a folder under no registered name."""
    known = any(spec.name == name for spec in list_datasets())
    return f"; {dataset_spec(name).where()}" if known else ""


def require(name: str, option: str, value: str, known: Iterable[str]) -> None:
    """ValueError where an option has none of the known values."""
    if value not in known:
        raise ValueError(f"{name}: {option}={value!r} is not one of {', '.join(known)}")


def match(
    name: str, first: dict[str, str], second: dict[str, str], where: tuple, missing: str = "error"
) -> list[str]:
    """The keys that both have. where: the two folders, for the message.

    Raises FileNotFoundError naming partners that are missing, unless missing="skip".
    """
    require(name, "missing", missing, ("error", "skip"))
    both = [key for key in first if key in second]
    for these, others, (here, there) in ((first, second, where), (second, first, where[::-1])):
        alone = [key for key in these if key not in others]
        if alone and missing == "error":
            raise FileNotFoundError(
                f"{name}: {len(alone)} of {len(these)} files in {here} have no partner in {there}: "
                f'{listed(alone)}; complete the copy, or pass missing="skip" to use the rest'
                f"{_where(name)}"
            )
    return both


def matched_entries(
    name: str, root: Path, folders: tuple[Path, Path], images: dict[str, str],
    others: dict[str, str], role: str, missing: str = "error",
) -> dict[str, Entry]:  # fmt: skip
    """Key → entry of each image with its partner, `role`; both lie in `folders`, below the root."""
    here, there = (folder.relative_to(root).as_posix() for folder in folders)
    return {
        key: {"name": images[key], "image": f"{here}/{images[key]}", role: f"{there}/{others[key]}"}
        for key in match(name, images, others, folders, missing)
    }
