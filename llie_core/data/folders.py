"""What the loaders of image folders share: finding files, pairing by name, splitting, identity."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from torch.utils.data import Dataset

from llie_core.data.images import read_image
from llie_core.data.registry import Absent, checked_spec, dataset_spec
from llie_core.runs import folder_fingerprint

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

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
        item = {"image": read_image(self.path(index)), "name": self.entries[index]["name"]}
        item |= self.extras(index)
        for role in ("target", "mask"):
            if role in item and item[role].shape[-2:] != item["image"].shape[-2:]:
                sizes = [" × ".join(map(str, item[r].shape[-2:])) for r in ("image", role)]
                raise ValueError(
                    f"{self.name}: {self.path(index)} is {sizes[0]}, its {role} "
                    f"{self.path(index, role)} is {sizes[1]}"
                )
        return item

    def extras(self, index: int) -> dict:
        """What the item holds besides image and name."""
        return {}

    def image_files(self, index: int) -> list[Path]:
        """The image files of an item."""
        entry = self.entries[index]
        return [self.root / entry[role] for role in ("image", "target", "mask") if role in entry]

    def whole(self, index: int) -> dict:
        """The item with its image uncut, for checks of the files."""
        return self[index]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names and sizes of every file of the split."""
        listed = {path for paths in self.files().values() for path in paths}
        return folder_fingerprint(self.root, [*listed, *self.annotations])

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        return {
            "name": self.name,
            "split": self.split,
            "count": len(self),
            "files": self.fingerprint,
            **self.options,
        }


def images_in(folder: Path, deep: bool = False, ending: str = "") -> dict[str, str]:
    """Key → path relative to `folder`, sorted by key.

    The key is the path without suffix and without `ending` ("_leftImg8bit"); files that lack the
    ending are passed over. deep: subfolders too. ValueError where two files have one key.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*") if deep else folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.stem.endswith(ending) and path.name[0] != ".":
            relative = path.relative_to(folder)
            key = relative.with_suffix("").as_posix().removesuffix(ending)
            if key in found:
                raise ValueError(f"{folder}: {found[key]} and {relative} go by one name; keep one")
            found[key] = relative.as_posix()
    return dict(sorted(found.items()))


def bare(name: str) -> str:
    """A name without its image suffix ("a.b/1.png" → "a.b/1"; "night-0.5" stays)."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name


def absent(name: str, problem: str) -> Absent:
    """The error for a set or split that is not there: what, where, how to get it."""
    return Absent(f"{name}: {problem}; {dataset_spec(name).where()}")


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
            listed = ", ".join(alone[:5]) + (", …" if len(alone) > 5 else "")
            raise FileNotFoundError(
                f"{name}: {len(alone)} of {len(these)} files in {here} have no partner in {there}: "
                f'{listed}; complete the copy, or pass missing="skip" to use the rest; '
                f"{dataset_spec(name).where()}"
            )
    return both
