"""Settings of a paper: a frozen dataclass that refuses unknown keys and wrong types."""

import difflib
import typing
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Settings:
    """What every paper's settings share.

    dataset: name in the registry; data: its folder on disk ("" for built-in sets); seeds: one run
    per seed; workers: loader processes; processes: training processes per run (DDP); external:
    folder of other programs' pictures, METHOD/DATASET/NAME.png (relative to the project).
    """

    dataset: str
    profile: str
    data: str = ""
    seeds: tuple[int, ...] = (0,)
    workers: int = 0
    processes: int = 1
    external: str = ""

    def __post_init__(self):
        for field in fields(self):
            value = _checked(field.name, getattr(self, field.name), field.type)
            object.__setattr__(self, field.name, value)
        if not self.seeds:
            raise ValueError("seeds: name at least one seed")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} names one twice; every seed is one run")
        if min(self.seeds) < 0 or self.workers < 0 or self.processes < 1:
            raise ValueError("seeds and workers must not be negative, processes at least 1")


def make_settings(profiles: dict[str, Settings], profile: str, **overrides: object) -> Settings:
    """A profile's preset with overrides; ValueError or TypeError names the offending key."""
    if profile not in profiles:
        raise ValueError(f"no profile {profile!r} (known: {', '.join(profiles)})")
    preset = profiles[profile]
    known = {field.name: getattr(preset, field.name) for field in fields(preset)}
    for key in overrides:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown setting {key!r}{hint} (known: {', '.join(known)})")
    return type(preset)(**{**known, **overrides})


def _checked(name: str, value: object, wanted: type) -> object:
    """`value` as the annotated type. Only int → float and list → tuple are converted."""
    origin = typing.get_origin(wanted)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name}: expected a list, got {value!r}")
        inner = typing.get_args(wanted)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) != len(value):
            raise TypeError(f"{name}: expected {len(kinds)} values, got {value!r}")
        return tuple(_checked(name, v, kind) for v, kind in zip(value, kinds, strict=True))
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        # YAML 1.1, which papermill reads, takes 1e-3 for a string.
        yaml = wanted is float and isinstance(value, str)
        hint = " (in YAML write 1.0e-3, not 1e-3)" if yaml else ""
        raise TypeError(f"{name}: expected {wanted.__name__}, got {value!r}{hint}")
    return value
