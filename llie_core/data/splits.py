"""Splitting a list of names: seeded, the same everywhere, with equal items on one side."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


class NotHeldOut(ValueError):
    """A part that has to be held out of the others, and of which no size was given."""


def shuffled(keys: Iterable[str], seed: int) -> list[str]:
    """Keys in the order of SHA-256(seed, key): the same with every library and version, and a key
    that a partial copy does not have moves no other."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())


def split_names(
    keys: Iterable[str],
    val: int = 0,
    test: int = 0,
    seed: int | None = 0,
    together: dict[str, str] | None = None,
) -> dict[str, list[str]]:
    """Keys into train, val and test, each sorted.

    Of the shuffled keys (seed None: of the sorted ones) the last `test` are the test, the `val`
    before them the validation part. together: key → label; keys of one label stay on one side, so
    that a part fills with the next keys whose group still fits.
    """
    labels = together or {}
    groups: dict[str, list[str]] = {}
    for key in sorted(keys):
        groups.setdefault(labels.get(key, key), []).append(key)
    count = sum(map(len, groups.values()))
    if min(val, test) < 0 or (count and val + test >= count):
        raise ValueError(f"cannot hold {val} + {test} items out of {count}")
    firsts = {group[0]: group for group in groups.values()}
    left = [firsts[key] for key in (sorted(firsts) if seed is None else shuffled(firsts, seed))]
    parts = {part: _take_last(left, wanted) for part, wanted in (("test", test), ("val", val))}
    return {**parts, "train": sorted(key for group in left for key in group)}


def _take_last(groups: list[list[str]], wanted: int) -> list[str]:
    """Take `wanted` keys, sorted, out of the list of groups: from its end, those that fit."""
    taken: list[str] = []
    for group in reversed(groups.copy()):
        if len(group) <= wanted - len(taken):
            taken += group
            groups.remove(group)
    return sorted(taken)


def same_content(root: Path, files: dict[str, str]) -> dict[str, str]:
    """Key → a label shared by the keys whose files are equal, byte by byte.

    Only files of equal size are read.
    """
    sizes: dict[int, list[str]] = {}
    for key, file in files.items():
        sizes.setdefault((root / file).stat().st_size, []).append(key)
    return {
        key: hashlib.sha256((root / files[key]).read_bytes()).hexdigest() if len(keys) > 1 else key
        for keys in sizes.values()
        for key in keys
    }


def held_out(name: str, split: str, keys: Iterable[str], **options) -> list[str]:
    """The keys of a part of `split_names`; NotHeldOut where it has none."""
    chosen = split_names(keys, **options)[split]
    if not chosen:
        raise NotHeldOut(f"{name}: its {split} part is held out of the rest; pass {split}=N")
    return chosen
