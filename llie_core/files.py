"""Where files stand, and how they are written so that a kill leaves nothing half done."""

import contextlib
import csv
import io
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout


def project_root() -> Path:
    """The checkout that holds llie_core, or the current folder when installed elsewhere."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "notebooks").is_dir() else Path.cwd()


def results_dir() -> Path:
    """Root of all runs: $LLIE_RESULTS, else `results` of the project."""
    return Path(os.environ.get("LLIE_RESULTS", project_root() / "results")).resolve()


def reports_dir() -> Path:
    """Root of all HTML reports: $LLIE_REPORTS, else `reports` of the project."""
    return Path(os.environ.get("LLIE_REPORTS", project_root() / "reports")).resolve()


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically (UTF-8)."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_rows(path: Path, rows: list[dict], columns: Iterable[str] = ()) -> None:
    """Write dicts as CSV, atomically; columns default to the keys of the first row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or (rows[0] if rows else ()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; when another process holds it, say so once and wait."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{what}: another process is at work on it; waiting for it to end", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
