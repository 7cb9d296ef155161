"""What goes wrong, and what the user gets: one part for each row of the design's failure table.

The rows "misspelt PAPER" and "environment of another folder" are make's: tests/test_make.py.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from llie_core.cli import main
from llie_core.data.images import read_image
from llie_core.files import locked
from llie_core.metrics import niqe, psnr, ssim
from llie_core.models import create_enhancer, list_enhancers
from llie_core.papers import open_study
from llie_core.papers.joint import study as joint
from llie_core.recognizers import create_recognizer
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


def test_incomplete_data_is_named_with_what_is_missing(tmp_path, capsys):
    (tmp_path / "WIDER_FACE" / "WIDER_train" / "images").mkdir(parents=True)
    arguments = [*fit_arguments(), "--dataset", "wider-face", "--data", str(tmp_path)]
    assert main(arguments) == 2
    line = one_line(capsys)
    assert "wider_face_split" in line and str(tmp_path / "WIDER_FACE") in line
    assert "WIDER FACE project page" in line


# Unreadable or odd image ----------------------------------------------------------------------


def noise(*shape, top=255, dtype=np.uint8):
    return np.random.default_rng(1).integers(0, top, shape).astype(dtype)


def rotated(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    Image.fromarray(noise(20, 30, 3)).save(path, exif=exif)


ODD = {
    "pixel.png": ((1, 1), lambda path: Image.new("RGB", (1, 1), (9, 9, 9)).save(path)),
    "line.png": ((1, 40), lambda path: Image.fromarray(noise(1, 40, 3)).save(path)),
    "grey.png": ((16, 16), lambda path: Image.fromarray(noise(16, 16)).save(path)),
    "alpha.png": ((14, 15), lambda path: Image.fromarray(noise(14, 15, 4)).save(path)),
    "deep.png": (
        (12, 18),
        lambda path: Image.fromarray(noise(12, 18, top=65535, dtype=np.uint16)).save(path),
    ),
    "cmyk.jpg": ((16, 24), lambda path: Image.fromarray(noise(16, 24, 4), "CMYK").save(path)),
    "rotated.jpg": ((30, 20), rotated),
    "prime.png": ((37, 53), lambda path: Image.fromarray(noise(37, 53, 3)).save(path)),
}


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize("name", ODD)
def test_odd_images_are_enhanced_by_every_method(name, tmp_path):
    size, save = ODD[name]
    save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.shape == (3, *size)
    reduced = create_enhancer("zero_dce_pp", scale_factor=12)
    for model in [*map(create_enhancer, list_enhancers()), reduced]:
        enhanced = model.enhance(image[None])
        assert enhanced.shape == (1, 3, *size), model
        assert enhanced.isfinite().all() and 0 <= enhanced.min() <= enhanced.max() <= 1, model


@pytest.mark.parametrize("damage", ["truncated", "empty", "words"])
def test_unreadable_image_is_named_in_one_line_and_the_others_go_on(damage, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(noise(64, 64, 3)).save(folder / "a.jpg")
    whole = (folder / "a.jpg").read_bytes()
    Image.fromarray(noise(8, 8, 3)).save(folder / "b.png")
    damaged = {"truncated": whole[:900], "empty": b"", "words": b"not an image"}[damage]
    (folder / "a.jpg").write_bytes(damaged)
    assert main(["enhance", str(folder), str(tmp_path / "out"), "--model", "gamma"]) == 1
    assert str(folder / "a.jpg") in one_line(capsys)
    visible = [path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."]
    assert visible == ["b.png"]


# Values outside [0, 1], NaN, Inf at a public entry ---------------------------------------------

BAD = {
    "nan": torch.full((1, 3, 96, 96), float("nan")),
    "inf": torch.full((1, 3, 96, 96), float("inf")),
    "levels": torch.full((1, 3, 96, 96), 200.0),
    "negative": torch.full((1, 3, 96, 96), -0.5),
}
GOOD = torch.full((1, 3, 96, 96), 0.5)
ENTRIES = {
    "gamma": lambda bad: create_enhancer("gamma").enhance(bad),
    "zero_dce_pp": lambda bad: create_enhancer("zero_dce_pp").enhance(bad),
    "psnr": lambda bad: psnr(bad, GOOD),
    "ssim": lambda bad: ssim(GOOD, bad),
    "niqe": niqe,
    "light_detector": lambda bad: create_recognizer("light_detector").predict(bad),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_values_that_are_no_image_are_refused_in_one_line(entry, bad):
    with pytest.raises(ValueError, match=r": \w+ (holds NaN or Inf|must lie in \[0, )") as refused:
        entry(bad)
    assert "\n" not in str(refused.value)


# NaN or Inf in a loss -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_step_and_term(value, monkeypatch, capsys):
    upstream, calls = joint.upstream_loss, []

    def spoiled(outputs, batch, **settings):
        terms = upstream(outputs, batch, **settings)
        calls.append(batch)
        if len(calls) == 4 + 4:  # the scaling sees four batches first: this is step 3
            terms["exposure"] = terms["exposure"] * value
            terms["total"] = terms["total"] + terms["exposure"]
        return terms

    monkeypatch.setattr(joint, "upstream_loss", spoiled)
    assert main(fit_arguments()) == 1
    line = one_line(capsys)
    assert f"{value} at step 3" in line and "after 3 steps is kept" in line
    assert "up_exposure" in line  # the term itself, not only the total that it spoils
    run = run_of()
    assert run.checkpoint_path.exists()
    assert not run.weights_path.exists() and run.read_stamp() == {}


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


def test_a_damaged_checkpoint_is_set_aside_and_damaged_weights_are_named(capsys):
    run = run_of()
    run.directory.mkdir(parents=True)
    run.checkpoint_path.write_bytes(b"cut")
    assert main(fit_arguments()) == 0
    said = capsys.readouterr().err
    assert "checkpoint.bin: not a whole checkpoint" in said and said.count("\n") == 1
    assert run.read_stamp()["resumed_at"] == 0
    run.weights_path.write_bytes(run.weights_path.read_bytes()[:-9])
    assert main(fit_arguments()) == 2
    line = one_line(capsys)
    assert f"{run.weights_path}: damaged" in line and "delete the folder and run again" in line


# Two runs of one target -----------------------------------------------------------------------


def test_the_second_of_two_runs_waits_and_says_so(capsys):
    run, codes, said = run_of(), [], ""
    second = threading.Thread(target=lambda: codes.append(main(fit_arguments())))
    with locked(run.lock_path, "the first"):
        second.start()
        until = time.monotonic() + 60
        while "waiting" not in said and time.monotonic() < until:
            said += capsys.readouterr().err
            time.sleep(0.01)
        assert said == f"{run}: another process is at work on it; waiting for it to end\n"
        assert second.is_alive() and not run.log_path.exists()
    second.join(60)
    assert codes == [0] and run.weights_path.exists()


# Untrusted checkpoint -------------------------------------------------------------------------


class Payload:
    """What a hostile pickle would do when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def hostile(tmp_path):
    """save(path) writes a checkpoint that would make the folder `mark`; returns mark."""
    mark = tmp_path / "mark"

    def save(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"e_conv1.weight": Payload(mark), "train_hash": "x"}, path)
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


def test_weights_of_another_shape_are_refused_by_name(tmp_path, capsys):
    from safetensors.torch import save_file

    state = {k: v.contiguous() for k, v in create_enhancer("zero_dce").state_dict().items()}
    state["e_conv7.weight"] = torch.zeros(3, 64, 3, 3)
    save_file(state, tmp_path / "other.safetensors")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    arguments = ["enhance", str(tmp_path / "a.png"), str(tmp_path / "out"), "--model", "zero_dce"]
    assert main([*arguments, "--weights", str(tmp_path / "other.safetensors")]) == 2
    line = one_line(capsys)
    assert "'e_conv7.weight' has shape (3, 64, 3, 3), the model needs (24, 64, 3, 3)" in line


# Report text ----------------------------------------------------------------------------------


def test_alt_text_cannot_leave_its_attribute(tmp_path):
    alt = f'"><img src=x onerror=alert(1)>{SCRIPT}'
    output = nbformat.v4.new_output(
        "display_data", {"image/png": "iVBORw0KGgo="}, metadata={"image/png": {"alt": alt}}
    )
    cell = nbformat.v4.new_code_cell("pass", outputs=[output])
    content = nbformat.v4.new_notebook(cells=[cell], metadata={"title": f"</title>{SCRIPT}"})
    nbformat.write(content, tmp_path / "a.ipynb")
    execute.export_page(tmp_path / "a.ipynb", tmp_path / "a.html", "a")
    page = (tmp_path / "a.html").read_text()
    assert page.count("<img") == 1 and SCRIPT not in page and "onerror=alert(1)&gt;" in page
