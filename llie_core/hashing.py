"""SHA-256 of JSON-able content and of files."""

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from llie_core.files import results_dir, write_text

SETTLED = 2e9  # ns; a file changed within the resolution of a clock might show the same times
WORTH_A_LINE = 2**30  # bytes, seconds to read


def content_hash(content: object) -> str:
    """First 16 hex digits of the SHA-256 of a JSON-able object, keys sorted."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file; read again only when its inode, size or time of change differs."""
    status = Path(path).stat()
    return _file_hash(str(path), status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _file_hash(path: str, _inode: int, _size: int, _changed: int) -> str:
    return file_digest(Path(path))


def hashes_in(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Name → SHA-256 (16 hex digits) of the contents of files below `root`, sorted by name.

    Each file is read once: results/hashes/ keeps what was found, and a file is read again when its
    inode, size or times of change differ. None of these is in the hashes themselves, so that a copy
    elsewhere has the same.
    """
    root, names = Path(root), sorted(set(names))
    memory = results_dir() / "hashes" / f"{content_hash(str(root.resolve()))}.json"
    states = {name: _state(root / name) for name in names}
    known = remembered(memory)
    unread = [name for name in names if known.get(name, [None])[0] != states[name]]
    size = sum((root / name).stat().st_size for name in unread)
    if size > WORTH_A_LINE:
        print(f"{root}: reading {len(unread)} files once, {size / 2**30:.1f} GiB, to know their "
              "contents", file=sys.stderr)  # fmt: skip
    pool = ThreadPoolExecutor()
    try:
        digests = pool.map(file_digest, [root / n for n in unread])
        read = {name: digest[:16] for name, digest in zip(unread, digests, strict=True)}
    finally:
        pool.shutdown(cancel_futures=True)
    settled = time.time_ns() - SETTLED
    fresh = {n: [states[n], read[n]] for n in unread if max(states[n][2:]) < settled}
    if fresh:
        remember(memory, remembered(memory) | fresh)
    return {name: read[name] if name in read else known[name][1] for name in names}


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered(memory: Path) -> dict[str, list]:
    """What `remember` wrote; empty where there is nothing, or something damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(memory.read_text(encoding="utf-8"))
        if content["sum"] == content_hash(content["found"]):
            return content["found"]
    return {}


def remember(memory: Path, found: dict[str, list]) -> None:
    """Write what was found to a file; where nothing may be written, it is found each time."""
    with contextlib.suppress(OSError):
        write_text(memory, json.dumps({"sum": content_hash(found), "found": found}))
