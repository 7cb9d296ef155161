"""Test sets besides a recipe's own: what a folder holds of them, and why the rest is not there."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch.utils.data import Dataset

from llie_core.data import dataset_spec
from llie_core.data.registry import Absent, locate, open_at
from llie_core.data.wrappers import Wrapped
from llie_core.files import project_root

Opened = TypeVar("Opened")


def opened(
    names: Iterable[str], opener: Callable[[str], Opened]
) -> tuple[dict[str, Opened], dict[str, str]]:
    """What `opener` finds, by name, and why it does not find the rest (raises Absent)."""
    found, lacking = {}, {}
    for name in names:
        try:
            found[name] = opener(name)
        except Absent as error:
            lacking[name] = str(error).removeprefix(f"{name}: ")
    return found, lacking


def open_further(settings, name: str, split: str = "test", **options) -> Dataset:
    """One set from the folder `no_reference`: of its test pictures `no_reference_count` at most.

    The set has to lie in a folder of its usual name; any other, such as the one given, may hold
    another set. Raises Absent.
    """
    spec, root = dataset_spec(name), settings.no_reference
    if not root:
        raise Absent("no folder given (setting no_reference)")
    folder = locate(spec, project_root() / root)
    if folder is None:
        raise Absent(f"no folder {spec.folder} in {root}; {spec.where()}")
    data = open_at(spec, split, folder, **options)
    return data if split == "train" else at_most(data, settings.no_reference_count)


def at_most(data: Dataset, count: int) -> Dataset:
    """`count` items of a data set, evenly over it; all where there are no more, or for 0."""
    return Chosen(data, count) if 0 < count < len(data) else data


class Chosen(Wrapped):
    """`count` items of a data set, evenly over it."""

    def __init__(self, source: Dataset, count: int):
        super().__init__(source, count=count)
        self.indices = spread(len(source), count)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def names(self) -> list[str]:
        """Names of the items."""
        return [self.source.names[index] for index in self.indices]

    def __getitem__(self, index: int) -> dict:
        return self.source[self.indices[index]]


def spread(length: int, count: int) -> list[int]:
    """`count` indices, evenly over a set of that length."""
    return torch.linspace(0, length - 1, min(count, length)).round().long().unique().tolist()
