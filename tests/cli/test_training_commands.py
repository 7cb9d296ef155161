"""`llie fit`, `runs`, `keep`, `export`: a study from the command line."""

import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher import api

from llie_core.cli import build_parser, main
from llie_core.cli.arguments import overrides, study_of
from llie_core.data.images import read_image
from llie_core.engine.distributed import launch
from llie_core.engine.loop import Training
from llie_core.engine.records import read_checkpoint, write_checkpoint
from llie_core.files import locked
from llie_core.papers import open_study, reference
from llie_core.papers import study as study_module
from llie_core.papers.trainings import fit_command
from llie_core.reproduce import planned

ROOT = Path(__file__).parents[2]
TINY = {
    "ratios": ["1:0"],
    "faces": {"size": 32, "train_count": 4, "test_count": 2, "test_size": 96},
    "train": {"steps": 6, "batch_size": 2},
    "darkener": {"steps": 1, "batch_size": 2},
}
STUDY = ["joint", "--profile", "smoke"]


def sets(**changes):
    """--set options of nested settings."""
    pairs = [f"{k}.{inner}={v}" for k, own in changes.items() for inner, v in own.items()]
    return [part for pair in pairs for part in ("--set", pair)]


SETS = ["--set", 'ratios=["1:0"]', *sets(**{k: v for k, v in TINY.items() if isinstance(v, dict)})]
FIT = ["fit", *STUDY, *SETS, "--device", "cpu"]
ROW = "zero_dce_pp+1:0"
TRAIN = [*FIT, "--row", ROW, "--no-score"]


def tiny(**changes):
    return open_study("joint", "smoke", **{**TINY, **changes})


def run_of(seed=0, **changes):
    study = tiny(**changes)
    return study.run(study.row(ROW, seed))


CLOCK_1999 = 915_148_800.0  # seconds, 1 January


# fit ------------------------------------------------------------------------------------------


def test_fit_trains_evaluates_and_says_where_the_weights_are(capsys, tmp_path):
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    assert main([*FIT, "--row", ROW, "--seed", "2"]) == 0
    text, run = capsys.readouterr().out, run_of(seed=2)
    assert text.startswith("joint/builtin-faces/smoke/zero_dce_pp+1:0/seed2: 6 steps in ")
    assert f"weights: {run.weights_path}\n" in text and run.weights_path.exists()
    for metric in ("ap hard", "recall all", "fp_per_image all", "psnr all"):
        assert metric in " ".join(text.split()), metric
    assert "(n = 2, psnr-rgb-float)" in text
    Image.new("RGB", (13, 7), (40, 30, 20)).save(tmp_path / "dark.png")
    enhance = ["enhance", str(tmp_path / "dark.png"), str(tmp_path / "out")]
    assert main([*enhance, "--model", "zero_dce_pp", "--weights", str(run.weights_path)]) == 0
    assert read_image(tmp_path / "out" / "dark.png").shape == (3, 7, 13)


def test_a_clock_at_1999_changes_no_training_and_none_is_repeated(results, monkeypatch, capsys):
    assert main(TRAIN) == 0
    weights = run_of().weights_path.read_bytes()
    shutil.rmtree(results)
    with monkeypatch.context() as then:
        then.setattr(time, "time", lambda: CLOCK_1999)
        assert main(TRAIN) == 0
    for path in results.rglob("*"):
        os.utime(path, (CLOCK_1999, CLOCK_1999))
    assert main(TRAIN) == 0  # the clock is right again
    assert run_of().weights_path.read_bytes() == weights
    assert run_of().weights_path.stat().st_mtime == CLOCK_1999


def test_without_a_row_the_papers_own_method_is_trained(capsys, results):
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    assert main([*FIT, "--no-score"]) == 0
    assert "/zero_dce_pp+2:1/seed0: 6 steps" in capsys.readouterr().out
    assert len(list(results.rglob("stamp.json"))) == 1 and not list(results.rglob("scores"))


def test_a_row_that_the_settings_do_not_select_is_evaluated_too(capsys):
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    assert main([*FIT, "--row", "zero_dce_pp+0:1"]) == 0
    assert "(n = 2, psnr-rgb-float)" in capsys.readouterr().out


def test_a_finished_training_is_said_to_be_reused(capsys):
    assert main(TRAIN) == 0
    assert "reused" not in capsys.readouterr().out
    assert main(TRAIN) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(", reused")


def test_a_training_that_does_not_count_any_more_is_named_with_the_reason(capsys):
    assert main(TRAIN) == 0
    run, stamp = run_of(), run_of().read_stamp()
    other = {"train_hash": "another"}
    changed = other | {"code": stamp["code"] | {"llie_core.models.zero_dce": "another"}}
    capsys.readouterr()
    for record, reason in (
        (changed, "the code has changed (llie_core.models.zero_dce)"),
        (other, "its data, the rows it builds on, precision or processes have changed"),
    ):
        run.write_json("stamp.json", stamp | record)
        assert main(TRAIN) == 0
        said = capsys.readouterr().err
        assert said == f"{run}: trained anew, because {reason} since it was finished\n"
    run.weights_path.unlink()
    assert main(TRAIN) == 0
    gone = "trained anew, because weights.safetensors is gone"
    assert capsys.readouterr().err == f"{run}: {gone}\n"


def test_a_checkpoint_of_another_training_is_not_dropped_in_silence(capsys, monkeypatch):
    step = Training.step

    def signalled(self, number, batch):
        if number == 2:
            signal.raise_signal(signal.SIGTERM)
        step(self, number, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", signalled)
        assert main(TRAIN) == 143
    path = run_of().checkpoint_path
    write_checkpoint(path, read_checkpoint(path, torch.device("cpu")) | {"train_hash": "another"})
    capsys.readouterr()
    assert main(TRAIN) == 0
    assert f"{run_of()}: begun anew, not resumed after 3 steps" in capsys.readouterr().err
    assert run_of().read_stamp()["resumed_at"] == 0


def test_a_training_that_others_need_is_a_row(capsys):
    assert main([*FIT, "--row", "ec_zero_dce"]) == 0
    text = capsys.readouterr().out
    assert "joint/builtin-photos/smoke/ec_zero_dce/seed0: 1 steps" in text and "psnr" not in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["jint"], ["no paper 'jint'; did you mean 'joint'?", "known: "]),
        (["joint", "--profile", "fast"], ["no profile 'fast'", "known: smoke, quick"]),
        (["joint", "--dataset", "lol"], ["no data set of joint 'lol'", "known: builtin-faces"]),
        (["joint", "--row", "zero_dce_pp+2:2"], ["no row 'zero_dce_pp+2:2'; did you mean"]),
        (["joint", "--row", "gamma"], ["gamma: nothing to train (weights: none)"]),
        (["joint", "--set", 'ratios=["two"]'], ["ratio 'two': write W_up:W_down, such as 2:1"]),
        (["joint", "--set", "stps=3"], ["unknown setting 'stps'"]),
        (["joint", "--set", "train.stps=3"], ["unknown setting 'train.stps'; did you mean 'st"]),
        (["joint", "--set", "steps=3"], ["setting 'steps' is now train.steps"]),
        (["joint", "--set", "train.steps"], ["--set train.steps: write KEY=VALUE"]),
        (["joint", "--set", "train.steps=many"], ["train.steps: expected int, got 'many'"]),
        (["joint", "--set", "train.steps=0"], ["accumulate must be at least 1"]),
        (["joint", "--set", "train=5"], ["train: expected settings such as {KEY: VALUE}, got 5"]),
        (["joint", "--set", "workers.x=1"], ["workers: expected int, got {'x': 1}"]),
        (["joint", "--set", "seeds=[1]"], ["--set seeds=[1]: this setting is an option, --seed"]),
        (["joint", "--set", "profile=x"], ["this setting is an option, --profile"]),
        (["joint", "--seed", "-1"], ["seeds and workers must not be negative"]),
        (["joint", "--processes", "0"], ["processes at least 1"]),
        (["joint", "--set", "recognizer=tinafce"], ["'tinafce'; did you mean 'tinaface'?"]),
        (["joint", "--dataset", "wider-face"], ["wider-face: say where it is", "--data", "WIDER"]),
        (
            ["joint", "--dataset", "wider-face", "--data", "nowhere"],
            ["nowhere", "get it from", "WIDER FACE project page"],
        ),
    ],
    ids=lambda value: " ".join(value) if value and "joint" in value else "",
)  # fmt: skip
def test_fit_refuses_in_one_line(arguments, expected, refused, results):
    profile = [] if "--profile" in arguments else ["--profile", "smoke"]
    refused(["fit", *arguments, *profile, "--no-score"], *expected)
    assert not list(results.rglob("*.safetensors"))


@pytest.mark.parametrize("command", [["fit", "joint", "--seed"], ["runs", "joint", "--seeds"]])
def test_a_seed_that_torch_does_not_take_is_refused(command, capsys):
    for text in (str(2**63), "1.5"):
        with pytest.raises(SystemExit):
            main([*command, text])
        assert f"{text!r}: expected a whole number from 0 to 2^63" in capsys.readouterr().err


# --set ----------------------------------------------------------------------------------------


def test_a_value_is_json_or_a_text_and_a_key_may_be_nested():
    pairs = ["train.steps=5", "train.lr=1e-3", 'ratios=["1:0"]', "train.schedule=cosine", "a.b.c="]
    assert overrides(pairs) == {
        "train": {"steps": 5, "lr": 0.001, "schedule": "cosine"},
        "ratios": ["1:0"],
        "a": {"b": {"c": ""}},
    }
    assert overrides(['train={"lr": 1, "steps": 2}', "train.steps=3"]) == {
        "train": {"lr": 1, "steps": 3}
    }


def test_a_setting_reaches_the_training():
    assert main([*TRAIN, "--set", "train.steps=2"]) == 0
    assert run_of(train={"steps": 2, "batch_size": 2}).read_stamp()["steps_done"] == 2


# Signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)],
)
def test_a_signal_ends_with_a_checkpoint_and_the_same_weights_later(
    number, code, monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "whole"))
    assert main(TRAIN) == 0
    whole, log = run_of().weights_path.read_bytes(), run_of().read_log()
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "stopped"))
    step = Training.step

    def signalled(self, number_of_step, batch):
        if number_of_step == 2:
            signal.raise_signal(number)
        step(self, number_of_step, batch)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", signalled)
        assert main(TRAIN) == code
    said = capsys.readouterr()
    assert said == ("", "llie: interrupted; run the same command again to resume\n")
    # The step that the signal found is completed.
    assert read_checkpoint(run_of().checkpoint_path, torch.device("cpu"))["step"] == 3
    assert main(TRAIN) == 0
    assert run_of().read_stamp()["resumed_at"] == 3
    assert run_of().weights_path.read_bytes() == whole and run_of().read_log() == log


def test_a_signal_to_the_workers_too_ends_with_a_checkpoint(results):
    """As a batch system sends it: to all processes of a job."""
    own = ["--set", "train.steps=9999", "--set", "workers=2"]
    command = [sys.executable, "-m", "llie_core.cli", *TRAIN, *own]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    try:
        while not list(results.rglob("log.csv")) and time.monotonic() < until:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143 and errors.count(b"\n") == 1, errors
    (checkpoint,) = results.rglob("checkpoint.bin")
    assert read_checkpoint(checkpoint, torch.device("cpu"))["step"] > 0


# Several processes ----------------------------------------------------------------------------


def test_two_processes_train_one_row(capsys):
    assert main([*TRAIN, "--processes", "2"]) == 0
    assert run_of().read_stamp()["world_size"] == 2
    assert capsys.readouterr().out.count("weights: ") == 1


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ({"message": "ValueError: batch_size 3\nmore", "extraInfo": {"timestamp": "1"}},
         "process 1 of 2: ValueError: batch_size 3"),
        ("Signal 9 (SIGKILL) received by PID 7", "process 1 of 2: Signal 9 (SIGKILL) received by"),
    ],
)  # fmt: skip
def test_the_error_of_one_of_several_processes_is_one_line(message, line, monkeypatch, caplog):
    failure = ProcessFailure(local_rank=1, pid=7, exitcode=1, error_file="")
    failure.message = message

    configs = []
    logger = logging.getLogger("torch.distributed.elastic.multiprocessing.api")
    monkeypatch.setattr(logging.getLogger("torch"), "propagate", True)
    monkeypatch.delenv("LOGLEVEL", raising=False)

    def failing(*_):
        logger.error("Traceback (most recent call last): …")
        raise ChildFailedError("job", {1: failure})

    monkeypatch.setattr(api, "elastic_launch", lambda config, _: configs.append(config) or failing)
    with pytest.raises(RuntimeError) as error:
        launch(print, processes=2)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
    assert configs[0].max_restarts == 0 and not caplog.records
    assert logger.isEnabledFor(logging.ERROR)


@pytest.mark.parametrize(
    ("device", "given"),
    [(None, None), ("cpu", "cpu"), (torch.device("cpu"), "cpu"), ("cuda", None)],
)
def test_each_of_several_processes_trains_on_the_cpu_or_on_a_gpu_of_its_own(
    device, given, monkeypatch
):
    jobs = []
    monkeypatch.setattr(study_module, "launch", lambda _, *job, processes: jobs.append(job))
    study = tiny(processes=2)
    study.train(study.row(ROW), device=device)
    assert [job[-1] for job in jobs] == [given]


def test_one_gpu_for_several_processes_is_refused():
    study = tiny(processes=2)
    with pytest.raises(ValueError, match="device cuda:1: each process takes a GPU of its own"):
        study.train(study.row(ROW), device="cuda:1")


def test_under_torchrun_one_process_evaluates():
    # The recognizer, which only the test set needs, is trained by both before they part.
    own = sets(
        scenes={"size": "[32, 64]", "train_count": 4}, zero_dce={"steps": 2, "batch_size": 2},
        evaluation={"test_count": 2, "cost_size": "[32, 64]"},
        **{"recognizer.train": {"steps": 1, "batch_size": 4}},
    )  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m",
               "llie_core.cli", "fit", "recognition", "--profile", "smoke", "--device", "cpu",
               *own, "--row", "zero_dce"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weights: ") == 1 and done.stdout.count("psnr-rgb-float") == 1


def test_under_torchrun_the_joint_loss_follows_that_of_one_process(monkeypatch, capsys, tmp_path):
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    size = sets(faces={"size": 64, "train_count": 8}, train={"steps": 3, "batch_size": 4})
    row = ["--row", "zero_dce_pp+2:1", "--set", 'ratios=["2:1"]']
    command = [*FIT[: FIT.index("--set")], *SETS[2:], *size, "--device", "cpu", *row]
    logs = {}
    for processes in (1, 2):
        monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / str(processes)))
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        done = subprocess.run([sys.executable, *launcher, "-m", "llie_core.cli", *command],
                              cwd=ROOT, capture_output=True, text=True, timeout=600)  # fmt: skip
        assert done.returncode == 0 and done.stdout.count("psnr-rgb-float") == 1, done.stderr
        study = tiny(ratios=["2:1"], faces={**TINY["faces"], "size": 64, "train_count": 8},
                     train={"steps": 3, "batch_size": 4})  # fmt: skip
        run = study.run(study.row("zero_dce_pp+2:1", 0))
        assert run.read_stamp()["world_size"] == processes
        logs[processes] = run.read_log()
    for one, two in zip(*logs.values(), strict=True):
        # The enhancer's own terms are means over images: those of the whole batch.
        assert two["up"] == pytest.approx(one["up"], rel=1e-3)
        # MTCNN draws windows and keeps the hardest of them in each process for itself.
        assert two["down"] == pytest.approx(one["down"], rel=0.3)
    assert logs[2][0]["up"] == pytest.approx(logs[1][0]["up"], rel=1e-6)


# runs, keep -----------------------------------------------------------------------------------


def commands(capsys, *arguments):
    """The commands that `llie runs` prints, and what it says of each."""
    assert main(["runs", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [shlex.split(line, comments=True) for line in lines], [x.split("# ")[1] for x in lines]


def test_every_line_of_runs_is_a_command_that_trains(capsys):
    printed, states = commands(capsys, *STUDY, *SETS, "--seeds", "0", "3")
    assert [line[line.index("--seed") + 1] for line in printed] == ["0", "3"]
    assert states == ["not trained"] * 2
    program, *arguments = printed[1]
    assert program == "llie" and main([*arguments, "--no-score", "--device", "cpu"]) == 0
    assert run_of(seed=3).read_stamp()
    capsys.readouterr()
    assert commands(capsys, *STUDY, *SETS, "--seeds", "0", "3")[1] == ["not trained", "finished"]
    code = dict.fromkeys(run_of(seed=3).read_stamp()["code"], "another")
    run_of(seed=3).write_json("stamp.json", run_of(seed=3).read_stamp() | {"code": code})
    assert commands(capsys, *STUDY, *SETS, "--seeds", "3")[1] == ["not trained"]


def test_the_command_of_a_report_makes_the_same_run(tmp_path):
    """Copied into a shell, with every kind of value: list, text, number, nested."""
    external = tmp_path / "it's mine"
    (external / "kind" / "builtin-faces").mkdir(parents=True)
    changes = {"train": {"steps": 7, "lr": 2e-4}, "workers": 2, "processes": 2, "seeds": [3, 4],
               "external": str(external), "data": str(tmp_path / "my data")}  # fmt: skip
    (tmp_path / "my data").mkdir()
    study = tiny(**changes)
    run = study.run(study.row(ROW, 4))
    program, *arguments = shlex.split(fit_command(study, run))
    options = build_parser().parse_args(arguments)
    again = study_of(options, seeds=[options.seed], processes=options.processes)
    assert (program, options.row) == ("llie", ROW)
    assert again.settings == tiny(**{**changes, "seeds": [4]}).settings
    assert again.run(again.row(options.row, options.seed)) == run
    unchanged = open_study("joint", "smoke")
    assert "--set" not in fit_command(unchanged, unchanged.run(unchanged.main_row()))


def test_runs_name_what_others_need_first_and_quote_what_has_spaces(tmp_path, capsys):
    pair, data = 'ratios=["2:1@tinaface"]', str(tmp_path / "a folder")
    Path(data).mkdir()
    printed, _ = commands(capsys, *STUDY, "--set", pair, "--data", data)
    rows = [line[line.index("--row") + 1] for line in printed]
    assert rows == ["tinaface", "zero_dce_pp+2:1@tinaface"]
    assert all(line[-4:] == ["--data", data, "--set", pair] for line in printed)


def test_jobs_name_what_they_need_and_what_they_write(capsys):
    pair = ["--set", 'ratios=["2:1@tinaface"]']
    assert main(["runs", *STUDY, *pair, "--seeds", "0", "1", "--json"]) == 0
    reader, *jobs = json.loads(capsys.readouterr().out)
    name = "joint/builtin-crowd/smoke/tinaface/seed0"
    assert (reader["run"], reader["needs"]) == (name, [])
    assert [job["needs"] for job in jobs] == [[name]] * 2
    for seed, job in enumerate(jobs):
        assert job["run"].endswith(f"/zero_dce_pp+2:1@tinaface/seed{seed}")
        assert job["command"].endswith(shlex.join(pair)) and not job["finished"]
        assert job["outputs"] == [f"{job['folder']}/{file}" for file in
                                  ("weights.safetensors", "stamp.json")]  # fmt: skip
        assert job["resources"] == {"processes": 1, "cpus": 1, "gpus": 0}


def test_a_recognizer_that_reads_a_test_set_is_trained_before_what_it_reads(capsys):
    """So that no two jobs train it, or wait for each other."""
    assert main(["runs", "recognition", "jcrnet", "--profile", "smoke", "--json"]) == 0
    jobs = json.loads(capsys.readouterr().out)
    datasets = {(job["paper"], job["dataset"]) for job in jobs}
    assert datasets == {  # those that `make reproduce` reports
        ("recognition", "builtin-streets"), ("recognition", "builtin-streets-pose"),
        ("jcrnet", "builtin-photos"),
    }  # fmt: skip
    seen = set()
    for job in jobs:
        assert set(job["needs"]) <= seen
        seen.add(job["run"])
    needs = {job["run"].split("/")[3]: job["needs"] for job in jobs}
    assert needs["jcrnet"] == ["jcrnet/builtin-streets/smoke/saliency_net/seed0"]


def test_status_says_what_is_finished_running_failed_and_waits_for_what(capsys, monkeypatch):
    arguments = ["runs", *STUDY, "--set", 'ratios=["1:0","2:1@tinaface"]', *SETS[2:], "--status"]
    assert main([*TRAIN, "--seed", "1"]) == 0
    run = run_of(seed=2)
    monkeypatch.setattr(Training, "step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([*TRAIN, "--seed", "2"])
    capsys.readouterr()
    with locked(run_of(seed=3).lock_path, "another process"):
        assert main([*arguments, "--seeds", "1", "2", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    states = {tuple(line.split()[1].split("/")[3:]): line for line in lines[:-1]}
    finished = states["zero_dce_pp+1:0", "seed1"]
    assert finished.startswith("finished ") and "6 of 6 steps in 0:0" in finished
    assert states[run.label, "seed2"].startswith("failed ")
    assert states[run.label, "seed2"].endswith("0 of 6 steps in 0:00, division by zero")
    assert states["zero_dce_pp+1:0", "seed3"].startswith("running ")
    assert states["tinaface", "seed0"].startswith("waiting ")
    needed = "for joint/builtin-crowd/smoke/tinaface/seed0"
    assert states["zero_dce_pp+2:1@tinaface", "seed1"].endswith(needed)
    assert set(lines[-1].split(", ")) == {"4 waiting", "1 finished", "1 failed", "1 running"}


def test_a_curve_is_drawn_in_characters(capsys, refused):
    assert main(["runs", *STUDY, *SETS, "--curve", f"{ROW}/seed0"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{run_of()}: waiting"
    assert main(TRAIN) == 0
    capsys.readouterr()
    assert main(["runs", *STUDY, *SETS, "--curve", f"{ROW}/seed0"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{run_of()}: finished, 6 of 6 steps") and text.count("•") == 6
    assert " at step 6\n" in text
    refused(["runs", *STUDY, *SETS, "--curve", "zero_dce_p+1"], "no training with", "seed0")


def test_of_several_papers_the_one_that_refuses_a_setting_is_named(refused):
    pair = ["--set", "faces.size=64"]
    refused(["runs", "neid", "joint", "--profile", "smoke", *pair], "neid: unknown setting 'faces'")
    said = refused(["runs", "neid", "--profile", "smoke", *pair], "unknown setting 'faces'")
    assert "neid: " not in said


def test_keep_hands_over_the_study_and_the_rows_whose_weights_are_kept(monkeypatch, capsys):
    kept = []
    monkeypatch.setattr(reference, "keep", lambda *given: kept.append(given) or "the folder")
    arguments = ["keep", *STUDY, *SETS, "--seeds", "4", "--weights", ROW]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "kept: the folder\n"
    ((study, weights),) = kept
    assert study.settings == tiny(seeds=[4]).settings and weights == [ROW]


def test_keep_needs_finished_runs(refused):
    said = refused(["keep", *STUDY, *SETS])
    assert "zero_dce_pp+1:0/seed0: not trained yet" in said


# export ---------------------------------------------------------------------------------------


def test_export_writes_test_images_and_a_command_that_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = str(tmp_path / "it's a $folder")
    Path(data).mkdir()
    arguments = ["export", *STUDY, *SETS, "--data", data, "--out", str(tmp_path / "dark")]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    study = tiny(data=data)
    images = {path.relative_to(tmp_path / "dark").as_posix(): read_image(path)
              for path in (tmp_path / "dark").rglob("*.png")}  # fmt: skip
    test_set = study.test_sets()[0]
    assert len(images) == len(test_set.data) == 2
    for index in range(2):
        item = test_set.data[index]
        written = images[f"{Path(item['name']).stem}.png"]
        assert (written - item["image"]).abs().max() <= 0.5 / 255 + 1e-6
    # The line as a shell and make take it.
    line = text.splitlines()[-1]
    assert line.startswith("make reproduce PAPER=joint ")
    show = line.replace("make reproduce", "make --eval='show: ; @env -0' show")
    # `make test` hands its own flags down, such as the one that prints the directory.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    shown = subprocess.run(
        show, shell=True, cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    values = dict(pair.split("=", 1) for pair in shown.stdout.split("\0") if pair)
    assert (values["DATASET"], values["PROFILE"]) == ("builtin-faces", "smoke")
    (report,) = planned(values)
    parameters = report.parameters
    assert report.paper == "joint" and parameters["data"] == str(tmp_path / data)
    opened = open_study("joint", "smoke", **parameters["settings"])
    assert opened.settings == tiny(external="external").settings
    assert f"external/METHOD/{test_set.name}/" in text
