"""What goes wrong, and what the user gets: the rows of the design's failure table that take a whole
command or process.

Of the others, images are tried in data/test_images.py and cli/test_enhance.py; values in the
contracts of enhancers, recognizers, metrics and losses; damage, NaN and locks in
engine/test_loop.py and test_files.py; text of reports in reporting/test_execute.py; make in
test_make.py.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
import torch
from PIL import Image
from seeded import Touches

from llie_core.cli import main
from llie_core.papers import open_study
from llie_core.reporting import execute

SCRIPT = "<script>alert(1)</script>"
TINY = {
    "faces": {"size": 32, "train_count": 4},
    "train": {"batch_size": 1, "steps": 6, "checkpoint_seconds": 0},  # one a step
}
ROW = "zero_dce_pp+1:0"


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLIE_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return tmp_path / "results"


def fit_arguments(row=ROW):
    pairs = [f"{k}.{inner}={v}" for k, own in TINY.items() for inner, v in own.items()]
    arguments = ["fit", "joint", "--profile", "smoke", "--row", row, "--no-score"]
    return [*arguments, "--device", "cpu", *(x for pair in pairs for x in ("--set", pair))]


def run_of(row=ROW):
    study = open_study("joint", "smoke", **TINY)
    return study.run(study.row(row))


def one_line(capsys):
    """The one line on stderr."""
    text = capsys.readouterr().err
    assert text.startswith("llie: ") and text.count("\n") == 1, text
    return text


# Data set absent or incomplete ----------------------------------------------------------------


def notebook(root, name, source):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [
        nbformat.v4.new_code_cell('dataset = ""\nprofile = ""', metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(source),
    ]
    content = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    (root / "notebooks").mkdir(exist_ok=True)
    nbformat.write(content, root / "notebooks" / f"{name}.ipynb")


def test_absent_data_fails_its_report_and_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(execute, "project_root", lambda: tmp_path)
    opening = "from llie_core.data import open_dataset\nopen_dataset(dataset, 'val', 'nowhere')"
    notebook(tmp_path, "needy", opening)
    notebook(tmp_path, "other", "print('went on')")
    parameters = tmp_path / "parameters.yml"
    parameters.write_text("dataset: wider-face\nprofile: smoke\n")
    assert main(["report", "needy", "--parameters", str(parameters)]) != 0
    line = one_line(capsys)
    # What was looked for, where, and how to get it.
    assert line.startswith("llie: needy-wider-face-smoke: ")
    assert "nowhere" in line and "get it from: WIDER FACE project page" in line
    assert main(["report", "other", "--parameters", str(parameters)]) == 0
    index = (tmp_path / "reports" / "index.html").read_text()
    needy, other = [row for row in index.split('<li class="card"') if "wider-face-smoke" in row]
    assert 'class="failed"' in needy and "WIDER FACE project page" in needy and "href" not in needy
    assert 'class="done"' in other and 'href="other-wider-face-smoke.html"' in other


# Killed at any moment, damaged, run again -----------------------------------------------------


def kill_when(process, ready, seconds=120):
    """SIGKILL as soon as ready() holds; fails if the process ends or the time is up before."""
    until = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < until, "the training did not get that far in time"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_training_resumes_to_the_same_weights_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setitem(TINY["train"], "steps", 200)
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "whole"))
    assert main(fit_arguments()) == 0
    whole, log = run_of().weights_path.read_bytes(), run_of().read_log()

    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "killed"))
    run = run_of()
    command = [sys.executable, "-m", "llie_core.cli", *fit_arguments()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    with contextlib.closing(process.stderr):
        kill_when(
            process, lambda: run.log_path.exists() and run.log_path.read_text().count("\n") > 6
        )
    assert run.checkpoint_path.exists() and not run.weights_path.exists()
    assert process.returncode == -signal.SIGKILL and run.read_stamp() == {}

    assert main(fit_arguments()) == 0
    assert 4 <= run.read_stamp()["resumed_at"] < 200
    assert run.weights_path.read_bytes() == whole
    assert run.read_log() == log
    assert not list(run.directory.glob(".*.tmp"))


# Untrusted checkpoint -------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path):
    """save(path) writes a checkpoint that would make the file `mark`; returns mark."""
    mark = tmp_path / "mark"

    def save(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"e_conv1.weight": Touches(mark), "train_hash": "x"}, path)
        return mark

    return save


@pytest.mark.parametrize("name", ["hostile.pth", "hostile.safetensors"])
@pytest.mark.parametrize("model", ["zero_dce", "neid"])
def test_code_in_a_checkpoint_is_never_run(model, name, hostile, tmp_path, capsys):
    mark = hostile(tmp_path / name)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    arguments = ["enhance", str(tmp_path / "a.png"), str(tmp_path / "out"), "--model", model]
    assert main([*arguments, "--weights", str(tmp_path / name)]) == 2
    assert f"{name}: not a" in one_line(capsys)
    assert not mark.exists() and not (tmp_path / "out").exists()


def test_code_in_a_runs_checkpoint_is_never_run(hostile, capsys):
    run = run_of()
    mark = hostile(run.checkpoint_path)
    # As an attacker would: with the SHA-256 that the file has to start with.
    content = run.checkpoint_path.read_bytes()
    run.checkpoint_path.write_bytes(hashlib.sha256(content).digest() + content)
    assert main(fit_arguments()) == 0
    assert not mark.exists() and run.read_stamp()["resumed_at"] == 0
    assert "checkpoint.bin: not a whole checkpoint" in capsys.readouterr().err
