"""Settings: nested frozen dataclasses that refuse unknown keys and wrong types.

@dataclass(frozen=True)
class Loss(Section):
    delta: float = 1.0

override(settings, {"train": {"lr": 2.0e-4}, "loss": {"delta": 0.5}})
"""

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from llie_core.names import nearest


def free(default: object):
    """A setting that decides no number: where files lie, how many processes read them."""
    return field(default=default, metadata={"free": True})


@dataclass(frozen=True)
class Section:
    """A group of settings. Only int → float and list → tuple are converted.

    renamed: earlier name of a setting → its path now ("turns": "pairs.flips"), for the message.

    Raises:
        TypeError: a value of another type; the message names the setting.
    """

    renamed: typing.ClassVar[dict[str, str]] = {}

    def __post_init__(self):
        for own in fields(self):
            value = _checked(own.name, getattr(self, own.name), own.type)
            object.__setattr__(self, own.name, value)


SectionT = typing.TypeVar("SectionT", bound=Section)


def override(section: SectionT, changes: Mapping[str, object]) -> SectionT:
    """A copy with some settings changed; a nested section takes a mapping of its own.

    Raises:
        ValueError, TypeError: unknown setting or wrong value, named by its path ("train.lr").
    """
    return _override(section, changes, "", section)


def changes(section: Section, start: Section, path: str = "") -> dict[str, object]:
    """Path → value of the settings that differ from those of `start`: {"train.lr": 2e-4}."""
    found: dict[str, object] = {}
    for own in fields(section):
        value, before = getattr(section, own.name), getattr(start, own.name)
        if isinstance(value, Section):
            found |= changes(value, before, f"{path}{own.name}.")
        elif value != before:
            found[f"{path}{own.name}"] = value
    return found


def _override(section: SectionT, changes: Mapping, path: str, root: Section) -> SectionT:
    known = {own.name: getattr(section, own.name) for own in fields(section)}
    new = {}
    for key, value in changes.items():
        if key not in known:
            raise ValueError(_unknown(f"{path}{key}", str(key), known, root))
        nested = isinstance(known[key], Section)
        if nested and not isinstance(value, Mapping | Section):
            raise TypeError(f"{path}{key}: expected settings such as {{KEY: VALUE}}, got {value!r}")
        if nested and isinstance(value, Mapping):
            value = _override(known[key], value, f"{path}{key}.", root)
        new[key] = value
    try:
        return replace(section, **new)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}{error}") from None


def _unknown(name: str, key: str, known: Mapping, root: Section) -> str:
    moved = root.renamed.get(key) or next((p for p in _paths(root) if _was(p, key)), "")
    if moved:
        *sections, leaf = moved.split(".")
        opening = "".join(f"{{{part}: " for part in sections)
        return f"setting {name!r} is now {moved}: write {opening}{{{leaf}: …}}{'}' * len(sections)}"
    return f"unknown setting {name!r}{nearest(key, known)} (known: {', '.join(known)})"


def _was(path: str, key: str) -> bool:
    """Whether a nested setting may have had this name without its section."""
    return "." in path and key in (path.split(".")[-1], path.replace(".", "_"))


def _paths(section: Section, prefix: str = "") -> Iterator[str]:
    for own in fields(section):
        value = getattr(section, own.name)
        if isinstance(value, Section):
            yield from _paths(value, f"{prefix}{own.name}.")
        else:
            yield f"{prefix}{own.name}"


def _checked(name: str, value: object, wanted: typing.Any) -> object:
    """`value` as the annotated type."""
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise TypeError(f"{name}: expected a mapping, got {value!r}")
        return {_checked(name, k, inner[0]): _checked(name, v, inner[1]) for k, v in value.items()}
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name}: expected a list, got {value!r}")
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) != len(value):
            raise TypeError(f"{name}: expected {len(kinds)} values, got {value!r}")
        return tuple(_checked(name, v, kind) for v, kind in zip(value, kinds, strict=True))
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if issubclass(wanted, Section) and isinstance(value, wanted):
        return value
    if type(value) is not wanted:
        # YAML 1.1, which papermill reads, takes 1e-3 for a string.
        yaml = wanted is float and isinstance(value, str)
        hint = " (in YAML write 1.0e-3, not 1e-3)" if yaml else ""
        raise TypeError(f"{name}: expected {wanted.__name__}, got {value!r}{hint}")
    return value
