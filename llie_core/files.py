"""Where files stand, and how they are written so that a kill leaves nothing half done."""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import os
import platform
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TextIO

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

# In the names of temporaries: processes of two hosts may have one number.
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
DAY_SECONDS = 86_400
# Of one file alone; other errors of the system, such as a full disk, meet every file.
OF_ONE_FILE = (None, errno.ENOENT, errno.ENAMETOOLONG, errno.EISDIR)
DENIED = (errno.EACCES, errno.EPERM)  # of one file where that file may not be read
REPEAT_SECONDS = 600.0
LEASE_SECONDS = 120.0
MOUNTS = Path("/proc/self/mountinfo")  # of Linux; other systems are asked for a lock alone
# Options of NFS and Lustre mounts.
LOCKS_OF_ONE_HOST = {"nolock", "local_lock=all", "local_lock=flock", "localflock"}
STILL_WAITING = "still waiting; if the other process is stopped, continue or end it"


def project_root() -> Path:
    """The checkout that holds llie_core, or the current folder when installed elsewhere."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "notebooks").is_dir() else Path.cwd()


def results_dir() -> Path:
    """Root of all runs: $LLIE_RESULTS, else `results` of the project."""
    return Path(os.environ.get("LLIE_RESULTS") or project_root() / "results").resolve()


def reports_dir() -> Path:
    """Root of all HTML reports: $LLIE_REPORTS, else `reports` of the project."""
    return Path(os.environ.get("LLIE_REPORTS") or project_root() / "reports").resolve()


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` if the block succeeds.

    The file gets the permissions of the umask and is on the disk before it has its name, so a
    reader finds the earlier file or the whole new one, and needs no lock. The first write into a
    folder sweeps it.

    Raises:
        OSError: it cannot be written; the message names `path`, and the disk where that is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{HOST}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with naming_a_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent.absolute())
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)  # some writers, such as safetensors, replace the file
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            if error.filename == str(temporary):
                error.filename, error.filename2 = str(path), None
            raise
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def appended(path: Path) -> Iterator[TextIO]:
    """A text file (UTF-8), open for lines at its end.

    Raises:
        OSError: as `atomic`.
    """
    with naming_a_full_disk(path), path.open("a", encoding="utf-8", newline="") as file:
        yield file


@contextlib.contextmanager
def naming_a_full_disk(path: Path) -> Iterator[None]:
    """Where the block fails for want of space, raise an OSError that names the disk and `path`."""
    try:
        yield
    except Exception as error:
        if not _disk_is_full(error, path.parent):
            raise
        disk = next(folder for folder in path.absolute().parents if folder.is_mount())
        text = f"no space left on the disk at {disk}; free some, then run the command again"
        raise OSError(getattr(error, "errno", errno.ENOSPC), text, str(path)) from error


def _disk_is_full(error: Exception, folder: Path) -> bool:
    """Whether a write failed for want of space."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # safetensors raises an error of its own, and torch one that does not say so.
    return "No space left" in str(error) or shutil.disk_usage(folder).free < 2**20


def problem_of(file: object, error: Exception) -> str:
    """Why one file of many failed, in one line that names it.

    Raises:
        OSError: the error itself, where the other files would meet it too.
    """
    if isinstance(error, OSError) and not _is_of_one_file(error):
        raise error
    line = next(iter(str(error).splitlines()), "")
    if isinstance(error, MemoryError) or "allocate memory" in line or "out of memory" in line:
        return f"{file}: out of memory; scale the image down"
    if not line or not isinstance(error, ValueError | OSError | RuntimeError):
        line = f"{type(error).__name__}: {line}".removesuffix(": ")
    return line if str(file) in line else f"{file}: {line}"


def reason_of(error: Exception) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Decode a file in the block; kind: what it is, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: in the place of whatever the block raises, as decoders do on damaged files; one
            line that names the file.
    """
    if not path.is_file():
        other = path.exists() and not path.is_dir()  # a pipe, a socket, a device
        raise FileNotFoundError(
            f"{kind} {f'{path}: no regular file' if other else f'not found: {path}'}"
        )
    try:
        yield
    except Exception as error:
        raise ValueError(f"cannot read {kind} {path}: {reason_of(error)}") from error


def _is_of_one_file(error: OSError) -> bool:
    """Whether the other files are not met by it; a folder that may not be written meets all."""
    if error.errno in DENIED:
        name = error.filename or ""
        return os.access(name, os.F_OK) and not os.access(name, os.R_OK)
    return error.errno in OF_ONE_FILE


def sweep(folder: Path) -> None:
    """Remove the temporaries that killed writers left in a folder (its subfolders excepted).

    One of this host is removed when its process is dead, any other after a day.
    """
    for path in Path(folder).glob(".*.tmp"):
        owner = re.fullmatch(rf"\.{HOST}\.(\d+)\.\w+\.tmp", path.name)
        with contextlib.suppress(FileNotFoundError, PermissionError):  # another process's, user's
            age = time.time() - path.stat().st_mtime
            if not _is_alive(int(owner[1])) if owner else age > DAY_SECONDS:
                path.unlink()


_sweep_once = cache(sweep)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # alive, and another user's
        pass
    return True


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically (UTF-8)."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_rows(path: Path, rows: list[dict], columns: Iterable[str] = ()) -> None:
    """Write dicts as CSV, atomically; columns default to the keys of all rows."""
    text = io.StringIO()
    names = columns or dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file as dicts; none where it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; while another process holds it, say so after a second and wait.

    Writers alone lock. The lock of a process that ends is free, however it ends; a holder that is
    stopped is waited for, and the message repeated every ten minutes. It holds over the hosts that
    share a folder (`lock_of`).
    """
    path = Path(path)
    message, wait = "another process is at work on it; waiting for it to end", 1.0
    with naming_a_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_of(path)
        while not lock.is_locked:
            try:
                lock.acquire(timeout=wait)
            except Timeout:
                print(f"{what}: {message}", file=sys.stderr)
                message, wait = STILL_WAITING, REPEAT_SECONDS
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file `path`."""
    lock = lock_of(Path(path))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError as error:
        if error.errno not in (*DENIED, errno.EROFS):
            raise
        return _is_held(Path(path))
    lock.release()
    return False


def _is_held(path: Path) -> bool:
    """`is_locked` for who may only read the file, such as another user who follows a training."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def lock_of(path: Path) -> BaseFileLock:
    """flock, which Linux passes on to the server of an NFS, so that it holds for all its hosts and
    the lock of one that died is freed by the server. Where the file system has no locks, or is
    mounted with locks for each host alone, a file that is created exclusively (O_EXCL) and renewed
    every 40 seconds; one that is not renewed for LEASE_SECONDS is taken over.
    """
    if _has_shared_locks(path.parent):
        return FileLock(path)
    return SoftFileLease(path, lease_duration=LEASE_SECONDS)


def _has_shared_locks(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        device = folder.stat().st_dev
        for line in MOUNTS.read_text().splitlines():
            _, _, number, *_, own = line.split()  # own: options of the file system
            here = number == f"{os.major(device)}:{os.minor(device)}"
            if here and LOCKS_OF_ONE_HOST & {*own.split(",")}:
                return False
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # it is not there, or not readable: the lock itself says so
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP)
    finally:
        os.close(descriptor)
    return True
