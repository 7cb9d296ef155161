"""A trial of faults: `make torture` (long; `make test` does not collect it).

A command is killed, stopped, starved of disk or memory, given damaged files, hostile files or
hostile text, or run twice at once. Afterwards, or when it is run again, it ends in the results of
an undisturbed run: the same weights, logs and scores, bit for bit, no lock held, no temporary file.
Where it cannot, it ends with one line and an exit code that is not 0.

LLIE_KILLS: SIGKILLs in all (default 100). LLIE_SEED: of their moments (default: drawn, and shown).
LLIE_PAPERS: those of the kills of make (default: all).
"""

import contextlib
import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import commands
import pytest

from llie_core.cli import main
from llie_core.environment import main as build_environment
from llie_core.files import is_locked
from llie_core.papers import list_papers
from llie_core.reproduce import planned

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("LLIE_KILLS", "100"))
SEED = int(os.environ.get("LLIE_SEED") or random.SystemRandom().randrange(10**6))
SCRIPT = "<script>alert(1)</script>"
SUMMARY = "summary-all-smoke"
EVERY_STEP = "train.checkpoint_seconds=0"  # decides nothing (`free`)

# Paper → rows of smoke to kill; the rows that they need are trained in the same command. Between
# them: two recognizers, both stages of DRGN with an adversary each.
ROWS = {
    "recognition": ("gem_pam",),
    "joint": ("zero_dce_pp+2:1",),
    "jcrnet": ("jcrnet",),
    "drgn": ("lw_drgn", "drgn"),
    "neid": ("neid",),
}
TARGETS = [(paper, row) for paper, rows in ROWS.items() for row in rows]


def pytest_report_header(config):
    return f"moments of kills: LLIE_SEED={SEED}"


def described():
    """A hash of the checkout's commit and of what differs from it."""
    git = ["git", "-C", str(ROOT)]
    outputs = [subprocess.run([*git, *of], capture_output=True).stdout
               for of in (("describe", "--always", "--dirty=+"), ("diff", "HEAD"))]  # fmt: skip
    return hashlib.sha256(b"".join(outputs)).hexdigest()


COMMIT = described()


# Commands and what they leave -----------------------------------------------------------------


def environment(folder, **more):
    """The variables of a command whose results and reports lie in a folder."""
    own = {
        "LLIE_RESULTS": str(folder / "results"),
        "LLIE_REPORTS": str(folder / "reports"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    return {**os.environ, **own, **more}


def llie(*arguments):
    return [sys.executable, "-m", "llie_core.cli", *arguments]


def fit(paper, row, *more):
    return llie("fit", paper, "--profile", "smoke", "--device", "cpu", "--row", row, *more)


def start(command, folder, **more):
    """A command in a session of its own; what it says on stderr goes to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "said").open("ab") as said:
        return subprocess.Popen(
            command, env=environment(folder, **more), cwd=ROOT, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip


def finish(command, folder, seconds=3600, **more):
    """Run a command to its end; (exit code, stderr)."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command, env=environment(folder, **more), cwd=ROOT, timeout=seconds, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    return done.returncode, done.stderr


def one_line(text, *words):
    """Whether a text is one line that says what happened, without a traceback."""
    lines = [x for x in text.splitlines() if x.strip() and "another process is at work" not in x]
    assert len(lines) == 1, text
    assert re.match(r"(llie|make): ", lines[0]), text
    for word in words:
        assert word in lines[0], text


def outcome(folder):
    """Path → contents of what decides or reports numbers; times of a cost excepted."""
    found = {}
    for path in sorted((folder / "results").rglob("*")):
        place = path.relative_to(folder / "results").as_posix()
        kept = path.name == "weights.safetensors" or path.suffix == ".csv"
        kept = kept and path.name != "verdict_changes.csv"  # of claims that times decide
        if kept and "/scores/cost-" not in f"/{place}" and "/per_image/cost-" not in f"/{place}":
            content = b"" if path.name == "verdicts.csv" else path.read_bytes()  # it quotes times
            if place.count("/") == 3 and path.name == "scores.csv":  # of a whole report
                content = b"\n".join(x for x in content.split(b"\n") if b",cost-latency," not in x)
            found[place] = hashlib.sha256(content).hexdigest()
    return found


def logs(folder):
    """Path → steps of every log."""
    found = {}
    for path in (folder / "results").rglob("log.csv"):
        with path.open(newline="") as file:
            found[str(path)] = [int(row["step"]) for row in csv.DictReader(file)]
    return found


def leftovers(folder):
    """Temporary files, checkpoints of finished runs, files set aside and locks that are held."""
    left = []
    for path in folder.rglob("*"):
        held = path.name in (".lock", ".index.lock") or path.suffix == ".lock"
        old = path.name == "checkpoint.bin" and path.with_name("stamp.json").exists()
        if path.suffix in (".tmp", ".damaged") or old or (held and is_locked(path)):
            left.append(str(path.relative_to(folder)))
    return left


def same(folder, whole):
    """Asserts that a folder holds what the undisturbed run left, and nothing else."""
    found = outcome(folder)
    assert found.keys() == whole.outcome.keys()
    assert [place for place in found if found[place] != whole.outcome[place]] == []
    for path, steps in logs(folder).items():
        assert steps == list(range(len(steps))), path
    assert leftovers(folder) == []


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """(paper, row) → folder, outcome and seconds of a fit that nothing disturbs; each once."""
    known = {}

    def run(paper, row):
        if (paper, row) not in known:
            folder = tmp_path_factory.mktemp("whole")
            began = time.monotonic()
            code, said = finish(fit(paper, row, "--set", EVERY_STEP), folder)
            assert code == 0, said
            seconds = time.monotonic() - began
            made = [path.parents[1].stat().st_ctime for path in folder.rglob(".lock")]
            working = time.time() - min(made)  # since the first folder of a run was made
            whole = SimpleNamespace(folder=folder, seconds=seconds, working=working)
            whole.outcome = outcome(folder)
            same(folder, whole)
            known[paper, row] = whole
        return known[paper, row]

    return run


@pytest.fixture(autouse=True)
def unchanged():
    """Records name the commit, and hashes follow the code: neither may change during the trial."""
    yield
    assert described() == COMMIT, "the checkout was changed during the trial; run it again"


@pytest.fixture
def moments(request):
    return random.Random(f"{SEED} {request.node.name}")


def share(index, of, total):
    """One of `of` nearly equal whole shares of a total."""
    return total * (index + 1) // of - total * index // of


# SIGKILL of llie fit --------------------------------------------------------------------------

FIT_KILLS = KILLS * 4 // 5


def kill(process):
    """SIGKILL of a session; False where it had ended by itself."""
    if process.exitcode is None:
        with contextlib.suppress(ProcessLookupError):  # before it leads a session
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("index", range(len(TARGETS)), ids=[" ".join(x) for x in TARGETS])
def test_fit_survives_sigkill_at_any_moment(index, undisturbed, moments, tmp_path, counts):
    target, kills = TARGETS[index], share(index, len(TARGETS), FIT_KILLS)
    whole = undisturbed(*target)
    killed = rounds = 0
    span = whole.working  # in which the moments lie: what a fit takes at most
    while True:
        folder, began = tmp_path / str(rounds), time.monotonic()
        # A checkpoint after each step, or now and then.
        often = f"train.checkpoint_seconds={moments.choice([0, 0, 0.2])}"
        folder.mkdir(exist_ok=True)
        arguments = fit(*target, "--set", often)[3:]
        process = commands.start(arguments, environment(folder), folder / "said")
        if killed < kills:
            process.join(moments.uniform(0, 1) * span)
            if kill(process):
                killed += 1
                counts["SIGKILLs of llie fit"] += 1
                continue
        process.join()
        span = min(span, time.monotonic() - began)
        assert process.exitcode == 0, (folder / "said").read_text()
        same(folder, whole)
        counts["fits among these kills, equal to the undisturbed one"] += 1
        rounds += 1
        if killed == kills:
            return


# SIGTERM --------------------------------------------------------------------------------------


SIGTERMS = [*((target, "1") for target in TARGETS), (TARGETS[-1], "2")]


@pytest.mark.parametrize(("target", "processes"), SIGTERMS)
def test_fit_ends_in_one_line_on_sigterm_and_resumes(
    target, processes, undisturbed, moments, tmp_path, counts
):
    whole = undisturbed(*target)
    command = fit(*target, "--processes", processes, "--set", EVERY_STEP)
    if processes == "2":  # other sums, so another outcome: compared with itself
        command += ["--no-score"]
        code, said = finish(command, tmp_path / "whole")
        assert code == 0, said
        whole = SimpleNamespace(outcome=outcome(tmp_path / "whole"), seconds=whole.seconds)
    folder = tmp_path / "ended"
    for _ in range(2):
        process = start(command, folder)
        time.sleep(moments.uniform(0.3, 0.9) * whole.seconds)
        process.send_signal(signal.SIGTERM)
        code, said = process.wait(120), (folder / "said").read_text()
        (folder / "said").unlink()
        assert code in (0, 143, -signal.SIGTERM), said
        if code == 143:
            one_line(said, "llie: interrupted; run the same command again to resume")
        elif code:
            assert said == ""  # before the command began to listen
        counts["SIGTERMs of llie fit"] += 1
    code, said = finish(command, folder)
    assert code == 0, said
    same(folder, whole)


# make reproduce -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A copy of the project whose environment is the one at hand."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path_factory.mktemp("check out")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("llie_core.environment._run", lambda *_command: None)
        build_environment(Path(".venv"))
    return folder


PAPERS = os.environ.get("LLIE_PAPERS", " ".join(list_papers()))


def make(checkout, *arguments):
    return ["make", "-s", "-C", str(checkout), "reproduce", "PROFILE=smoke",
            f"PAPER={PAPERS}", f"PYTHON={sys.executable}", *arguments]  # fmt: skip


def remade(process, checkout, folder, whole):
    """Asserts that make ended well, and its reports are there and equal."""
    assert process.wait(3600) == 0, (folder / "said").read_text()
    same(folder, whole)
    pages = {path.name for path in (folder / "reports").iterdir()}
    assert pages == whole.pages
    assert 'class="failed"' not in (folder / "reports" / "index.html").read_text()


@pytest.fixture(scope="session")
def reproduced(checkout, tmp_path_factory, counts):
    """What `make -j2 reproduce PROFILE=smoke` leaves, undisturbed."""
    folder = tmp_path_factory.mktemp("reproduced")
    began = time.monotonic()
    process = start(make(checkout, "-j2"), folder, PYTHONPATH=str(checkout))
    assert process.wait(3600) == 0, (folder / "said").read_text()
    counts["make -j2 reproduce, to its end"] += 1
    pages = {path.name for path in (folder / "reports").iterdir()}
    asked = planned({"PAPER": PAPERS, "PROFILE": "smoke"})
    assert pages == {f"{name}.html" for name in (*(r.name for r in asked), SUMMARY, "index")}
    assert leftovers(folder) == []
    whole = SimpleNamespace(outcome=outcome(folder), pages=pages)
    whole.seconds = time.monotonic() - began
    return whole


def tree(process):
    """Process numbers of a process and of all below it, with their commands."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True)
    lines = [line.split(None, 2) for line in listed.stdout.splitlines()]
    found = {process: ""}
    for pid, parent, *words in sorted(lines, key=lambda line: int(line[0])):
        if int(parent) in found:
            found[int(pid)] = " ".join(words)
    return found


def is_alive(number):
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{number}/stat").read_text()
        return status.rpartition(")")[2].split()[0] != "Z"
    return False


def test_reproduce_survives_sigkill_at_any_moment(checkout, reproduced, moments, tmp_path, counts):
    """Half of the kills end all processes at once, as the loss of power does, half a single one:
    make, its Python, a report's, a kernel."""
    killed, rounds, seen = 0, 0, set()
    while True:
        folder = tmp_path / str(rounds)
        process = start(make(checkout), folder, PYTHONPATH=str(checkout))
        if killed < KILLS - FIT_KILLS:
            time.sleep(moments.uniform(0.05, 1.0) * reproduced.seconds)
            found = tree(process.pid)
            seen |= set(found)
            if process.poll() is None:
                chosen = list(found) if killed % 2 else [moments.choice(list(found))]
                for number in chosen:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
                killed += 1
                counts["SIGKILLs of make reproduce and what it runs"] += 1
                # What is left goes on, or says what failed; the next make runs beside it at first.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                continue
        remade(process, checkout, folder, reproduced)
        counts["makes among these kills, equal to the undisturbed one"] += 1
        rounds += 1
        if killed == KILLS - FIT_KILLS:
            break
    until = time.monotonic() + 60
    while alive := [number for number in seen if is_alive(number)]:
        assert time.monotonic() < until, alive
        time.sleep(0.5)


# Twice at once --------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", ["1", "2"])
def test_two_fits_of_one_row_at_once(processes, moments, undisturbed, tmp_path, counts):
    target = TARGETS[-1]
    command = fit(*target, "--processes", processes, "--set", EVERY_STEP)
    whole = undisturbed(*target)
    if processes == "2":
        code, said = finish(command, tmp_path / "whole")
        assert code == 0, said
        whole = SimpleNamespace(outcome=outcome(tmp_path / "whole"), seconds=whole.seconds)
    for trial in range(3):
        folder = tmp_path / str(trial)
        first = start(command, folder)
        time.sleep(moments.uniform(0, 0.6) * whole.seconds)
        code, said = finish(command, folder)
        assert (first.wait(3600), code) == (0, 0), said + (folder / "said").read_text()
        assert all("another process is at work on it" in line for line in said.splitlines()), said
        same(folder, whole)
        counts["pairs of fits of one row at once"] += 1


def test_two_makes_at_once(checkout, reproduced, moments, tmp_path, counts):
    first = start(make(checkout), tmp_path, PYTHONPATH=str(checkout))
    time.sleep(moments.uniform(0, 0.5) * reproduced.seconds)
    second = start(make(checkout, "-j2"), tmp_path, PYTHONPATH=str(checkout))
    assert [process.wait(3600) for process in (first, second)] == [0, 0]
    for process in (first, second):
        remade(process, checkout, tmp_path, reproduced)
    counts["pairs of makes at once"] += 1


# Disk, folders, memory ------------------------------------------------------------------------

NAMESPACE = ["unshare", "-Urm"]  # mounts of its own; without being root
can_mount = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode != 0,
    reason="this system gives no namespace for mounts (unshare -Urm)",
)
# A disk of its own under the results: $1 its size, $2 how it is mounted the first time, $3 where
# what is on it goes in the end. The command is run twice, the second time with room and rights.
MOUNTED = """
size=$1; first=$2; out=$3; shift 3
mkdir -p "$LLIE_RESULTS" && mount -t tmpfs -o "size=$size" none "$LLIE_RESULTS" || exit 99
if [ -n "$BEFORE" ]; then cp -r "$BEFORE/." "$LLIE_RESULTS" || exit 98; fi
mount -o "remount,size=$size,$first" none "$LLIE_RESULTS" || exit 97
"$@" 2>"$out/first"; echo $? >"$out/code"
mount -o "remount,size=1g,rw" none "$LLIE_RESULTS" || exit 96
"$@" 2>"$out/second"; code=$?
cp -r "$LLIE_RESULTS" "$out/results"; exit $code
"""


def mounted(command, folder, size, how="rw", before=""):
    """((code, stderr) of a command on a disk of its own, and of the same with room and rights)."""
    folder.mkdir(parents=True)
    script = [*NAMESPACE, "sh", "-c", MOUNTED, "sh", size, how, str(folder), *command]
    code, said = finish(
        script, folder, LLIE_RESULTS=str(folder / "disk"), BEFORE=str(before), TMPDIR="/tmp"
    )
    assert (folder / "code").exists(), said
    first = int((folder / "code").read_text()), (folder / "first").read_text()
    return first, (code, (folder / "second").read_text())


@can_mount
@pytest.mark.parametrize("target", TARGETS, ids=[" ".join(x) for x in TARGETS])
def test_a_full_disk_is_named_and_the_fit_goes_on_with_room(target, undisturbed, tmp_path, counts):
    whole = undisturbed(*target)
    used = sum(4096 * (1 + p.stat().st_size // 4096) for p in whole.folder.rglob("*")) // 1024
    for share_left in (0.02, 0.2, 0.5, 0.8, 1.0):
        folder = tmp_path / str(share_left)
        command = fit(*target, "--set", EVERY_STEP)
        (code, said), (again, said_again) = mounted(command, folder, f"{used * share_left:.0f}k")
        if code:
            one_line(said, "no space left on the disk at", str(folder / "disk"))
            counts["full disks"] += 1
        assert again == 0, said_again
        same(folder, whole)


@can_mount
def test_a_read_only_disk_is_named_and_finished_runs_are_read(undisturbed, tmp_path, counts):
    for number, target in enumerate(TARGETS):
        whole, command = undisturbed(*target), fit(*target)
        empty, full = tmp_path / f"empty{number}", tmp_path / f"full{number}"
        (code, said), (again, said_again) = mounted(command, empty, "1g", "ro")
        assert code == 2, said
        one_line(said, str(empty / "disk"), "Read-only file system")
        assert again == 0, said_again
        same(empty, whole)
        before = whole.folder / "results"
        (code, said), _ = mounted(command, full, "1g", "ro", before=before)
        assert code == 0, said
        same(full, whole)
        counts["read-only disks"] += 2


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a command as another user")
def test_a_folder_of_another_user_is_named(undisturbed, tmp_path, counts):
    target = TARGETS[-1]
    whole = undisturbed(*target)
    for path in (whole.folder, tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    nobody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}

    def run(folder):
        done = subprocess.run(
            fit(*target), env=environment(folder, HOME="/tmp", TMPDIR="/tmp"), text=True,
            capture_output=True, timeout=600, **nobody,
        )  # fmt: skip
        return done.returncode, done.stderr

    ready = None
    with contextlib.suppress(PermissionError):
        ready = subprocess.run(
            [sys.executable, "-c", "import llie_core.papers"], env=environment(tmp_path),
            capture_output=True, **nobody,
        )  # fmt: skip
    if ready is None or ready.returncode:
        pytest.skip("another user cannot read the environment or the project here")
    code, said = run(tmp_path)
    assert code == 2, said
    one_line(said, str(tmp_path), "Permission denied")
    code, said = run(whole.folder)  # finished: nothing is to be written
    assert code == 0, said
    counts["folders of another user"] += 2


@pytest.mark.parametrize("target", TARGETS[::2], ids=[" ".join(x) for x in TARGETS[::2]])
def test_too_little_memory_is_one_line(target, undisturbed, tmp_path, counts):
    whole = undisturbed(*target)
    peak = int(memory_of(fit(*target), tmp_path / "measured"))
    for part in (0.75, 0.85, 0.9, 0.95, 0.98):
        folder, limit = tmp_path / str(part), int(peak * part)
        command = ["sh", "-c", f'ulimit -v {limit}; exec "$@"', "sh", *fit(*target)]
        code, said = finish(command, folder)
        if code:
            # OpenBLAS ends the process itself, by a line in each thread, while numpy is imported.
            if set(said.splitlines()) != {OPENBLAS}:
                one_line(said)
            counts["fits without enough memory"] += 1
            code, said = finish(fit(*target), folder)
        assert code == 0, said
        same(folder, whole)


OPENBLAS = "OpenBLAS error: Memory allocation still failed after 10 retries, giving up."


def memory_of(command, folder):
    """Largest address space of a command, in KiB."""
    process, peak = start(command, folder), 0
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            text = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(re.findall(r"VmPeak:\s*(\d+)", text)[0]))
        time.sleep(0.02)
    return peak


# Damaged files --------------------------------------------------------------------------------


def flipped(content, moments):
    place = moments.randrange(len(content))
    return (
        content[:place] + bytes([content[place] ^ 1 << moments.randrange(8)]) + content[place + 1 :]
    )


DAMAGES = {
    "cut": lambda content, moments: content[: moments.randrange(len(content))],
    "emptied": lambda content, moments: b"",
    "flipped": flipped,
    "zeroed": lambda content, moments: content[: len(content) // 2].ljust(len(content), b"\0"),
    "removed": None,
}


def mended(folder, said):
    """Do what a line asks for: delete the file, or its folder."""
    named = [Path(word) for word in re.findall(rf"{re.escape(str(folder))}\S*?(?=[:,;]? )", said)]
    assert len(set(named)) == 1 and "delete" in said, said
    if "delete the folder" in said:
        shutil.rmtree(named[0].parent)
    else:
        named[0].unlink()


@pytest.mark.parametrize("index", range(len(TARGETS)), ids=[" ".join(x) for x in TARGETS])
def test_damaged_records_are_mended_or_named(
    index, undisturbed, moments, tmp_path, monkeypatch, capsys, counts
):
    """Every file once; which damage it gets changes from row to row."""
    target, kinds = TARGETS[index], list(DAMAGES)
    whole = undisturbed(*target)
    arguments = fit(*target)[3:]
    files = [p for p in (whole.folder / "results").rglob("*") if p.is_file() and p.name != ".lock"]
    for number, path in enumerate(sorted(p for p in files if p.stat().st_size)):
        damage = kinds[(number + index) % len(kinds)]
        folder = tmp_path / str(number)
        shutil.copytree(whole.folder, folder)
        monkeypatch.setenv("LLIE_RESULTS", str(folder / "results"))
        damaged = folder / path.relative_to(whole.folder)
        if DAMAGES[damage] is None:
            damaged.unlink()
        else:
            damaged.write_bytes(DAMAGES[damage](path.read_bytes(), moments))
        code, said = main(arguments), capsys.readouterr().err
        if code:
            one_line(said, damaged.name)
            mended(folder, said)
            code, said = main(arguments), capsys.readouterr().err
        assert code == 0, (damage, damaged, said)
        same(folder, whole)
        shutil.rmtree(folder)
        counts["damaged records"] += 1


# Hostile files and text -----------------------------------------------------------------------


HOSTILE = ("<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "a\"'`&lt;b>&amp;")


def test_script_in_names_and_settings_is_text_in_reports(checkout, tmp_path, counts):
    dark, external = tmp_path / "dark", tmp_path / "<b>external"
    done = finish(llie("export", "jcrnet", "--profile", "smoke", "--out", str(dark)), tmp_path)
    assert done[0] == 0, done[1]
    for name in HOSTILE:
        shutil.copytree(dark / "builtin-photos", external / name / "builtin-photos")
    settings = json.dumps({"external": str(external), "baselines": ["identity", "gamma"]})
    command = make(checkout, "PAPER=jcrnet", f"SETTINGS={settings}")
    process = start(command, tmp_path, PYTHONPATH=str(checkout))
    assert process.wait(3600) == 0, (tmp_path / "said").read_text()
    pages = [path.read_text() for path in (tmp_path / "reports").glob("*.html")]
    assert len(pages) == 3
    for page in pages:
        assert "<img src=x" not in page and "<svg onload" not in page and "<b>external" not in page
    assert any("&lt;img src=x onerror=alert(1)&gt;" in page for page in pages)
    counts["names with script in reports"] += len(HOSTILE)
