"""What every data set offers, whichever room reads it."""

from collections.abc import Iterator
from typing import Protocol


class SizedDataset(Protocol):
    """Items by index, how many there are, and what identifies them.

    torch's `Dataset` has no length, since it may be a stream; those of this project are not.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict: ...

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        ...


def items(data: SizedDataset) -> Iterator[dict]:
    """Every item, in order."""
    return (data[index] for index in range(len(data)))


def names_of(data: SizedDataset) -> list[str]:
    """Names of the items, read only where the set does not list them."""
    return list(getattr(data, "names", None) or (item["name"] for item in items(data)))
