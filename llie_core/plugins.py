"""Enhancers of other packages: entry points of the group `llie.enhancers`, NAME = "MODULE:CLASS",
and their losses on pairs, if they have one, of the group `llie.losses`, NAME = "MODULE:FUNCTION".

Only the packages' metadata is read here; a method's code is imported when it is asked for.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP, LOSSES = "llie.enhancers", "llie.losses"


@dataclass(frozen=True)
class Plugin:
    """One method: its name, "module:class", the package whose metadata names it, and its loss,
    "module:function", "" where it brings none."""

    name: str
    builder: str
    package: str
    loss: str = ""


def plugins(taken: Iterable[str]) -> list[Plugin]:
    """The methods of all packages, by name. What cannot be one is refused in a line on stderr.

    taken: names that are not free.
    """
    found: dict[str, Plugin] = {}
    entries = _entries(GROUP)
    losses = {(e.name, e.dist.name if e.dist else "?"): e.value for e in _entries(LOSSES)}
    if entries:  # a row's model is of either kind
        from llie_core.recognizers import list_recognizers

        taken = {*taken, *list_recognizers()}
    for entry in entries:
        package = entry.dist.name if entry.dist else "?"
        why = _problem(entry)
        if entry.name in taken:
            why = "the name is taken by the project"
        elif entry.name in found and found[entry.name].package != package:
            why = f"{found[entry.name].package} has an enhancer of that name"
        if why:
            print(f"llie: {GROUP}: {entry.name} of {package} is left out: {why}", file=sys.stderr)
        else:
            found.setdefault(
                entry.name,
                Plugin(entry.name, entry.value, package, losses.get((entry.name, package), "")),
            )
    return list(found.values())


def _problem(entry: EntryPoint) -> str:
    if not re.fullmatch(r"\w[\w.-]*", entry.name):
        return "a name has letters, digits, _, - and ."
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", entry.value):
        return f"{entry.value!r} is not MODULE:CLASS"
    return ""


@cache
def roots() -> frozenset[str]:
    """Top-level modules of the plug-ins: their code decides results, as the project's does."""
    entries = (*_entries(GROUP), *_entries(LOSSES))
    return frozenset(re.split("[.:]", entry.value)[0] for entry in entries)


def plugin_files() -> list[Path]:
    """The modules, or folders of packages, of the plug-ins."""
    specs = [spec for name in sorted(roots()) if (spec := find_spec(name))]
    places = [[*(spec.submodule_search_locations or [spec.origin or ""])] for spec in specs]
    return [Path(place) for own in places for place in own if place]


def _entries(group: str) -> list[EntryPoint]:
    found = entry_points(group=group)
    return sorted(found, key=lambda entry: (entry.name, entry.dist.name if entry.dist else ""))
