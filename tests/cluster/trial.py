"""Trainings as jobs of a real Slurm: preempted, requeued, killed, on a node that is drained.

    pytest -p no:cacheprovider tests/cluster/trial.py

Not part of `make test`: it needs root, Debian's `slurm-wlm` and `munge`, and minutes. A controller
and one node run on this machine for its duration. With `snakemake` and its Slurm executor on the
PATH, or their environment's program in $SNAKEMAKE, cluster/Snakefile is tried too.
"""

import itertools
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llie_core.papers import open_study

ROOT = Path(__file__).parents[2]
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
CONF = Path("/etc/slurm/slurm.conf")  # Snakemake's executor passes no SLURM_CONF on
HOST = socket.gethostname().split(".")[0]
STEPS = 120
CHANGES = {
    "ratios": ["1:0"],
    "faces": {"size": 32, "train_count": 4, "test_count": 2, "test_size": 96},
    "train": {"steps": STEPS, "batch_size": 2, "checkpoint_seconds": 0.0},
}
ROW = "zero_dce_pp+1:0"
FIT = ["fit", "joint", "--profile", "smoke", "--row", ROW, "--device", "cpu", "--no-score"]
SETS = [("--set", f"{name}={json.dumps(value)}") for name, value in CHANGES.items()]
COMMAND = [sys.executable, "-m", "llie_core.cli", *FIT, *itertools.chain(*SETS)]
CONFIGURATION = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=60
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=off
"""


def ask(*command, **options):
    """What a command says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, **options)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def wait(condition, what, seconds=600):
    """Wait until a condition holds; fail, naming it, where it does not in time."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory):
    """A controller and one node with two cores; two partitions, `high` preempts `low`."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(absent or PROGRAMS)} (slurm-wlm, munge)")
    if CONF.exists() or "SLURM_CONF" in os.environ:
        pytest.skip(f"this machine belongs to a cluster ({CONF}, $SLURM_CONF)")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    CONF.parent.mkdir(exist_ok=True)
    CONF.write_text(CONFIGURATION.format(folder=folder, host=HOST))
    files = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munge.pid",
             "log-file": folder / "munge.log", "seed-file": folder / "munge.seed"}  # fmt: skip
    munged = ["munged", "-F", "--force", *(f"--{name}={path}" for name, path in files.items())]
    daemons = []
    try:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", HOST]):
            with (folder / f"{command[0]}.out").open("w") as said:
                daemons.append(subprocess.Popen(command, stdout=said, stderr=said))
            time.sleep(2)  # each needs the one before
        wait(lambda: "idle" in ask("sinfo", "-h", "-o", "%T"), "a node that is idle")
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"], check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=60)
        CONF.unlink()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a training that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    ask(*COMMAND, cwd=ROOT, env={**os.environ, "LLIE_RESULTS": str(folder)})
    return next(folder.rglob("weights.safetensors")).read_bytes()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The run that the jobs of a test train."""
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    study = open_study("joint", "smoke", **CHANGES)
    return study.run(study.row(ROW))


def submit(command, *options):
    """Submit a job on both cores; its number."""
    own = [f"--chdir={ROOT}", f"--output={os.environ['LLIE_RESULTS']}/%j.out", *options]
    shared = ["--parsable", "--requeue", "--cpus-per-task=2", "--open-mode=append"]
    return ask("sbatch", *shared, *own, "--wrap", f"exec {shlex.join(command)}")


def submit_training(run):
    """Submit the training; return the job once it has done some steps."""
    Path(os.environ["LLIE_RESULTS"]).mkdir(exist_ok=True)
    job = submit(COMMAND)
    before = len(run.read_log())
    wait(lambda: len(run.read_log()) > before + 5, "steps of the training")
    return job


def state(job):
    """Slurm's word for the state of a job."""
    found = ask("scontrol", "--oneliner", "show", "job", job).split("JobState=")[1]
    return found.split()[0]


def start_again(job):
    """Let a requeued job start now; Slurm gives it two minutes."""
    wait(lambda: state(job) in ("PENDING", "RUNNING"), "a job that is requeued")
    ask("scontrol", "update", f"JobId={job}", "StartTime=now")


def node(word, *reason):
    ask("scontrol", "update", f"NodeName={HOST}", f"State={word}", *reason)


def preempt(job):
    other = submit(["sleep", "1"], "--partition=high")
    wait(lambda: state(other) == "COMPLETED", "the job that preempts")
    start_again(job)


def requeue(job):
    ask("scontrol", "requeue", job)
    start_again(job)


def drain(job):
    node("drain", "Reason=trial")
    ask("scontrol", "requeue", job)
    wait(lambda: state(job) == "PENDING", "a job that leaves the node")
    start_again(job)
    time.sleep(3)
    assert state(job) == "PENDING"  # a drained node takes no job
    node("resume")


@pytest.mark.parametrize("event", [preempt, requeue, drain])
def test_a_job_that_slurm_takes_from_its_node_goes_on_where_it_was(event, run, whole):
    job = submit_training(run)
    event(job)
    wait(lambda: state(job) == "COMPLETED", "the end of the job")
    assert_nothing_lost(run, whole)


@pytest.mark.parametrize("signal", ["KILL", "TERM", "USR1"])
def test_a_job_that_is_ended_by_a_signal_goes_on_in_the_next_one(signal, run, whole):
    job = submit_training(run)
    ask("scancel", f"--signal={signal}", "--full", job)
    wait(lambda: state(job) in ("FAILED", "CANCELLED"), "the end of the job")
    logged = len(run.read_log())
    job = submit_training(run)
    wait(lambda: state(job) == "COMPLETED", "the end of the second job")
    assert_nothing_lost(run, whole)
    # A signal that can be handled costs no step; a kill, at most the one after the checkpoint.
    lost = logged - run.read_stamp()["resumed_at"]
    assert lost == 0 if signal != "KILL" else lost in (0, 1)


def assert_nothing_lost(run, whole):
    """The training was resumed, logged every step once, and ended in the same weights."""
    stamp = run.read_stamp()
    assert 0 < stamp["resumed_at"] < stamp["steps_done"] == STEPS
    assert [row["step"] for row in run.read_log()] == list(range(STEPS))
    assert run.weights_path.read_bytes() == whole


def test_the_snakefile_trains_every_run_and_ends_with_the_reports(tmp_path, monkeypatch):
    snakemake = os.environ.get("SNAKEMAKE", "snakemake")
    if not shutil.which(snakemake):
        pytest.skip("needs snakemake and snakemake-executor-plugin-slurm ($SNAKEMAKE)")
    for name in ("RESULTS", "REPORTS"):
        monkeypatch.setenv(f"LLIE_{name}", str(tmp_path / name))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    command = [snakemake, "-s", str(ROOT / "cluster" / "Snakefile"), "-d", str(tmp_path),
               "--executor", "slurm", "--jobs", "4", "--slurm-status-command", "squeue",
               "--default-resources", "slurm_account=none", "slurm_partition=low",
               "--config", "papers=neid", "profile=smoke", "seeds=0 1", "memory=1900",
               "settings=train.steps=3"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    stamps = list((tmp_path / "RESULTS").rglob("stamp.json"))
    assert len(stamps) == 4 and all((path.parent / "job.log").stat().st_size for path in stamps)
    assert {json.loads(path.read_text())["steps_done"] for path in stamps} == {3}
    written = {path.name for path in (tmp_path / "REPORTS").glob("*.html")}
    assert "index.html" in written and any(name.startswith("neid-") for name in written)
