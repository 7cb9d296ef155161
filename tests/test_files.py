"""Files that others may read at any moment: written whole, by one process at a time."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock, SoftFileLease

from llie_core import files
from llie_core.files import (
    appended,
    atomic,
    is_locked,
    locked,
    problem_of,
    sweep,
    write_text,
)

ROOT = Path(__file__).parents[1]


def temporaries(folder):
    return sorted(path.name for path in folder.glob(".*"))


# Writing --------------------------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent and not path.exists()
    assert path.read_text() == "new" and not temporaries(path.parent)
    with pytest.raises(KeyError), atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "new" and not temporaries(path.parent)


def test_the_longest_legal_name_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_text(path, "text")
    assert path.read_text() == "text"


def test_two_writers_of_one_file_have_two_temporaries(tmp_path):
    with atomic(tmp_path / "a") as first, atomic(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert first != second and (tmp_path / "a").read_text() == "first"


def test_a_temporary_names_its_host_and_process(tmp_path, monkeypatch):
    with atomic(tmp_path / "a") as here:
        monkeypatch.setattr(files, "HOST", "ffffff")
        with atomic(tmp_path / "a") as elsewhere:
            here.touch()
    prefixes = [path.name.split(".")[1:3] for path in (here, elsewhere)]
    assert prefixes[0][0] != prefixes[1][0] == "ffffff"
    assert {process for _, process in prefixes} == {str(os.getpid())}


def test_contents_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    synced = []

    def fsync(descriptor):
        synced.append((os.fstat(descriptor).st_size, (tmp_path / "a").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a", "five.")
    assert synced == [(5, False)]


@pytest.mark.parametrize("mask", [0o022, 0o007])
def test_permissions_are_those_of_the_umask(mask, tmp_path):
    before = os.umask(mask)
    try:
        with atomic(tmp_path / "a") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
        with locked(tmp_path / ".lock", "a"):
            pass
    finally:
        os.umask(before)
    for name in ("a", ".lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask, name


def test_an_error_names_the_file_and_not_its_temporary(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_text(tmp_path / "a", "text")
    assert caught.value.filename == str(tmp_path / "a") and ".tmp" not in str(caught.value)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_the_path(code, tmp_path):
    with pytest.raises(OSError) as caught, atomic(tmp_path / "a"):
        raise OSError(code, os.strerror(code))
    disk = next(folder for folder in tmp_path.parents if folder.is_mount())
    assert caught.value.errno == code and not (tmp_path / "a").exists()
    message = str(caught.value)
    assert f"no space left on the disk at {disk}" in message and "\n" not in message
    assert f"'{tmp_path / 'a'}'" in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named_where_a_line_is_appended(tmp_path):
    with appended(tmp_path / "log.csv") as file:
        file.write("0,1\n")
    with appended(tmp_path / "log.csv") as file:
        file.write("1,2\n")
    assert (tmp_path / "log.csv").read_bytes() == b"0,1\n1,2\n"
    (tmp_path / "full.csv").symlink_to("/dev/full")  # an error without a file's name
    named = pytest.raises(OSError, match=r"no space left on the disk at .*full\.csv")
    with named, appended(tmp_path / "full.csv") as file:
        file.write("0,1\n")


def test_a_full_disk_is_named_where_a_lock_is_taken(tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.FileLock, "acquire", acquire)
    named = pytest.raises(OSError, match=r"no space left on the disk at .*\.lock")
    with named, locked(tmp_path / "run" / ".lock", "the run"):
        pass


def test_a_full_disk_is_seen_behind_the_errors_of_torch_and_safetensors(tmp_path, monkeypatch):
    def fail(text):
        with atomic(tmp_path / "a"):
            raise RuntimeError(text)

    with pytest.raises(OSError, match="no space left on the disk at"):
        fail("I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="unexpected pos"):
        fail("unexpected pos 64 vs 0")
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(OSError, match="no space left on the disk at"):
        fail("unexpected pos 64 vs 0")


# Sweeping -------------------------------------------------------------------------------------


def dead_process():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_temporaries_of_killed_writers_are_swept(tmp_path):
    write = (
        "import os, sys\nfrom pathlib import Path\nfrom llie_core.files import atomic\n"
        "with atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", write, str(tmp_path / "a")], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL and len(temporaries(tmp_path)) == 1
    with atomic(tmp_path / "b") as alive:
        sweep(tmp_path)
        assert temporaries(tmp_path) == [alive.name]


def test_the_first_write_into_a_folder_sweeps_it(tmp_path):
    left = f".{files.HOST}.{dead_process()}.0a.tmp"
    (tmp_path / left).touch()
    write_text(tmp_path / "a", "text")
    assert temporaries(tmp_path) == []


def test_temporaries_of_other_hosts_are_swept_after_a_day(tmp_path):
    names = [f".ffffff.{dead_process()}.0a.tmp", ".checkpoint.pt.123.tmp", ".hidden", "plain.tmp"]
    old, fresh = tmp_path / "old", tmp_path / "fresh"
    for folder in (old, fresh):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    for name in names:
        os.utime(old / name, (time.time() - 100_000,) * 2)
    for folder in (old, fresh, tmp_path / "absent"):
        sweep(folder)
    assert {path.name for path in old.iterdir()} == {".hidden", "plain.tmp"}
    assert {path.name for path in fresh.iterdir()} == set(names)


# Locks ----------------------------------------------------------------------------------------

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom llie_core.files import locked\n"
    "with locked(Path(sys.argv[1]), 'held'):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def hold(path):
    """A process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_waiting_process_says_so_once_and_again_while_the_holder_is_stopped(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(files, "REPEAT_SECONDS", 0.2)
    with hold(tmp_path / ".lock") as holder:
        holder.send_signal(signal.SIGSTOP)
        threading.Timer(2, holder.kill).start()  # and a lock dies with its process
        with locked(tmp_path / ".lock", "the run"):
            pass
    first, *again = capsys.readouterr().err.splitlines()
    assert first == "the run: another process is at work on it; waiting for it to end"
    assert again and set(again) == {
        "the run: still waiting; if the other process is stopped, continue or end it"
    }


def test_a_short_wait_is_not_worth_a_message(tmp_path, capsys):
    with hold(tmp_path / ".lock") as holder:
        threading.Timer(0.2, holder.kill).start()
        with locked(tmp_path / ".lock", "the run"):
            pass
    assert capsys.readouterr().err == ""


def test_ten_minutes_pass_before_a_waiting_process_repeats_itself():
    assert files.REPEAT_SECONDS == 600


def test_reading_goes_on_while_another_process_writes(tmp_path):
    write_text(tmp_path / "a", "text")
    with hold(tmp_path / ".lock") as holder:
        assert (tmp_path / "a").read_text() == "text" and is_locked(tmp_path / ".lock")
        holder.kill()
    assert not is_locked(tmp_path / ".lock")
    with locked(tmp_path / ".lock", "the run"):
        assert is_locked(tmp_path / ".lock")


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS])
def test_who_may_only_read_a_lock_file_sees_whether_it_is_held(error, tmp_path, monkeypatch):
    path, opened = tmp_path / ".lock", os.open

    def read_only(name, flags, *rest, **more):
        if flags & os.O_RDWR:
            raise OSError(error, os.strerror(error), str(name))
        return opened(name, flags, *rest, **more)

    with locked(path, "the run"), monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        assert is_locked(path)
    monkeypatch.setattr(os, "open", read_only)
    assert not is_locked(path)


@pytest.mark.parametrize("name", ["results", "reports"])
def test_an_empty_variable_is_none(name, monkeypatch):
    monkeypatch.setenv(f"LLIE_{name.upper()}", "")
    assert getattr(files, f"{name}_dir")() == ROOT / name


def no_locks(monkeypatch, error):
    """A file system that answers every flock with an error."""

    def missing(*_):
        raise OSError(error, "flock")

    monkeypatch.setattr(files.fcntl, "flock", missing)


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_lock_file_of_a_dead_process_is_broken_where_the_system_has_no_locks(
    error, tmp_path, monkeypatch
):
    no_locks(monkeypatch, error)
    (tmp_path / ".lock").write_text(f"{dead_process()}\n{os.uname().nodename}\n")
    os.utime(tmp_path / ".lock", (time.time() - 100,) * 2)
    with locked(tmp_path / ".lock", "the run"):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
        assert is_locked(tmp_path / ".lock")
    assert not is_locked(tmp_path / ".lock")


def test_the_lock_of_a_dead_host_is_taken_over_and_that_of_a_living_one_is_not(
    tmp_path, monkeypatch
):
    no_locks(monkeypatch, errno.ENOSYS)
    monkeypatch.setattr(files, "LEASE_SECONDS", 3.0)
    path = tmp_path / ".lock"
    with locked(path, "the run"):
        record = path.read_text().replace(os.uname().nodename, "another-host")
    path.write_text(record)  # what the other host left

    def renew():
        for _ in range(8):
            time.sleep(0.5)
            path.touch()

    living = threading.Thread(target=renew)
    living.start()
    began = time.monotonic()
    with locked(path, "the run"):
        assert time.monotonic() - began > 6.5  # four seconds of life, three without a sign
        assert "another-host" not in path.read_text()
    living.join()


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ("rw,vers=4.2,hard,local_lock=none,addr=10.0.0.1", True),
        ("rw,vers=3,nolock,local_lock=all", False),
        ("rw,vers=3,local_lock=flock", False),
        ("rw,lazystatfs,localflock", False),
        ("rw,lazystatfs,flock", True),
    ],
)
def test_a_mount_says_whether_its_locks_hold_for_all_hosts(options, shared, tmp_path, monkeypatch):
    device = tmp_path.stat().st_dev
    own = f"36 35 {os.major(device)}:{os.minor(device)} / /shared rw,relatime shared:1 - nfs4 s:/ "
    table = tmp_path / "mountinfo"
    table.write_text(f"22 27 0:21 / /proc rw,relatime - proc proc rw,nolock\n{own}{options}\n")
    monkeypatch.setattr(files, "MOUNTS", table)
    kind = FileLock if shared else SoftFileLease
    assert isinstance(files.lock_of(tmp_path / ".lock"), kind)


# Errors of one file, and of all -------------------------------------------------------------------


def denied(path):
    return PermissionError(errno.EACCES, "Permission denied", str(path))


def test_a_file_that_may_not_be_read_is_named_and_the_others_go_on(tmp_path, monkeypatch):
    closed = tmp_path / "closed.png"
    closed.touch()
    readable = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: readable(path, mode)
                        and (str(path), mode) != (str(closed), os.R_OK))  # fmt: skip
    for number in (errno.EACCES, errno.EPERM):
        error = OSError(number, "no", str(closed))
        assert problem_of(closed, error) == f"[Errno {number}] no: '{closed}'"


def test_a_folder_that_may_not_be_written_meets_every_file(tmp_path):
    (tmp_path / "in.png").touch()
    for path in (tmp_path / "out" / "in.png", tmp_path / "in.png", ""):
        with pytest.raises(PermissionError):
            problem_of(tmp_path / "in.png", denied(path))
