"""The registry: what is known of every data set before one file of it is read."""

import importlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from llie_core.names import unknown


@dataclass(frozen=True)
class DatasetSpec:
    """One data set of datasets.toml.

    loader: "module:Class", or empty where the set is not public; arguments: what it is called with
    besides root and split; folder: the set's usual name below the data root, empty for built-in
    sets; also: other usual names; expected: split → official number of items; part_of: another set
    whose files it reads; note: its traps.
    """

    name: str
    task: str
    splits: tuple[str, ...]
    paired: bool
    metrics: tuple[str, ...]
    source: str
    terms: str
    loader: str = ""
    folder: str = ""
    also: tuple[str, ...] = ()
    arguments: dict = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    part_of: str = ""
    note: str = ""

    @property
    def builtin(self) -> bool:
        return self.public and not self.folder

    @property
    def public(self) -> bool:
        """False where nobody can have the set; it is listed because a paper's table names it."""
        return bool(self.loader)

    def where(self) -> str:
        """Where to get it, and on what terms, as the end of an error message."""
        return f"get it from: {self.source}; terms: {self.terms}"


class Absent(FileNotFoundError):
    """The set, or one split of it, is not there at all (as against incomplete)."""


@cache
def _specs() -> dict[str, DatasetSpec]:
    text = Path(__file__).with_name("datasets.toml").read_text(encoding="utf-8")
    found = {}
    for entry in tomllib.loads(text)["dataset"]:
        lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        found[entry["name"]] = DatasetSpec(**entry | lists)
    return found


def list_datasets() -> list[DatasetSpec]:
    """All known data sets, built-in ones first."""
    return list(_specs().values())


def dataset_spec(name: str) -> DatasetSpec:
    """The spec of one data set; ValueError naming the known ones."""
    specs = _specs()
    if name not in specs:
        raise unknown("data set", name, specs)
    return specs[name]


def checked_spec(name: str, split: str) -> DatasetSpec:
    """The spec, if it has this split; ValueError naming its splits."""
    spec = dataset_spec(name)
    if split not in spec.splits:
        raise ValueError(f"{name} has no split {split!r} (it has: {', '.join(spec.splits)})")
    return spec


def open_dataset(name: str, split: str, root: str | Path | None = None, **options):
    """Open one split. `root`: the set's own folder, or the one that holds it by its usual name.

    Raises FileNotFoundError saying what was looked for, where, and how to get it.
    """
    spec = checked_spec(name, split)
    if not spec.public:
        raise Absent(f"{name}: {spec.source}; {spec.note}")
    if spec.builtin:
        return _loader(spec)(split=split, **options)
    if not root:
        raise Absent(
            f"{name}: say where it is (DATA=… for make, --data … for llie); {spec.where()}"
        )
    if not Path(root).is_dir():
        raise Absent(f"{name}: {root} is no folder; {spec.where()}")
    problem: Absent | None = None
    for folder in candidates(spec, root):
        try:
            return open_at(spec, split, folder, **options)
        except Absent as error:
            problem = problem or error
    raise problem


def open_at(spec: DatasetSpec, split: str, folder: Path, **options):
    """Open one split of a set that lies in this very folder."""
    return _loader(spec)(folder, split=split, **spec.arguments | options)


def _loader(spec: DatasetSpec):
    module, _, attribute = spec.loader.partition(":")
    return getattr(importlib.import_module(module), attribute)


def candidates(spec: DatasetSpec, root: str | Path) -> list[Path]:
    """Where the set may lie, given `root`: there if the name says so, below by a usual name (once
    more below that, as archives unpack: CamVid/CamVid), or there after all."""
    outer = locate(spec, root)
    inner = outer and find_folder(outer, spec.folder, *spec.also)
    return list(dict.fromkeys(folder for folder in (outer, inner, Path(root)) if folder))


def locate(spec: DatasetSpec, root: str | Path) -> Path | None:
    """`root` if it bears one of the set's usual names, else the folder below that does, or None.

    (Some releases hold a folder of the set's own name: ExLPose/ExLPose beside its Annotations.)
    """
    usual = (spec.folder, *spec.also)
    if Path(root).resolve().name.lower() in {Path(name).name.lower() for name in usual}:
        return Path(root)
    return find_folder(root, *usual)


def find_folder(root: str | Path, *candidates: str) -> Path | None:
    """The first candidate ("a", "a/b") that is a folder below `root`, upper or lower case."""
    for candidate in candidates:
        folder: Path | None = Path(root)
        for part in Path(candidate).parts:
            folder = folder and _child(folder, part)
        if folder and folder.is_dir():
            return folder
    return None


def _child(folder: Path, name: str) -> Path | None:
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact if exact.exists() else None
    return next((p for p in sorted(folder.iterdir()) if p.name.lower() == name.lower()), None)


def listing_text() -> str:
    """Every data set with its splits, folder, source and terms, as `llie datasets` prints it."""
    return "\n".join(line for spec in list_datasets() for line in _listing(spec)) + "\n"


def _listing(spec: DatasetSpec) -> Iterator[str]:
    kind = "built in" if spec.builtin else f"folder {spec.folder}" if spec.public else "not public"
    splits = ", ".join(spec.splits)
    yield f"{spec.name:<23} {spec.task:<12} splits {splits}; {kind}; {spec.terms}"
    yield f"{'':<23} {spec.source}"
    if spec.note:
        yield f"{'':<23} note: {spec.note}"
