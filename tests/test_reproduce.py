"""`make reproduce`: what is asked for is checked, written as it was given, and made."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from llie_core import papers, reproduce
from llie_core.cli import main as command
from llie_core.names import unknown
from llie_core.papers import list_papers
from llie_core.reproduce import (
    Report,
    jobs_of,
    known_plan,
    main,
    planned,
    read_settings,
    run,
    shared_cores,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "re sults"))
    monkeypatch.setenv("LLIE_REPORTS", str(tmp_path / "re ports"))


class Toy:
    """What `planned` uses of a study."""

    @staticmethod
    def default_datasets(profile, data):
        return ("lol",) if profile == "paper" else ("builtin-a", "builtin-b")

    @staticmethod
    def open(profile, dataset, data, seeds=(0,), **settings):
        if profile not in ("quick", "paper"):
            raise unknown("profile", profile, ("quick", "paper"))
        if dataset not in ("builtin-a", "builtin-b", "lol"):
            raise unknown("data set", dataset, ("lol",))
        if set(settings) - {"ratios", "lr"}:
            raise ValueError(f"unknown setting {next(iter(settings))!r} (known: ratios, lr)")
        return SimpleNamespace(settings=SimpleNamespace(seeds=tuple(seeds)))


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(papers, "list_papers", lambda: ["one", "two"])
    monkeypatch.setattr(papers, "study_of", lambda _paper: Toy)


# What is asked for ----------------------------------------------------------------------------


def test_the_defaults_are_every_paper_on_its_built_in_data(toy):
    reports = planned({})
    pairs = [(report.paper, report.parameters["dataset"]) for report in reports]
    assert pairs == [(p, d) for p in ("one", "two") for d in ("builtin-a", "builtin-b")]
    for report in reports:
        rest = {k: v for k, v in report.parameters.items() if k != "dataset"}
        assert rest == {"profile": "quick", "seeds": [0], "data": "", "settings": {}}
    assert reports[0].name == "one-builtin-a-quick"


def test_what_was_asked_before_needs_no_study(toy, monkeypatch):
    asked = {"PAPER": "one", "SEEDS": "0 1", "SETTINGS": "{lr: 2.0e-4}"}
    plan = known_plan(asked)
    assert plan == planned(asked)
    with monkeypatch.context() as patch:
        patch.setattr(papers, "study_of", None)
        assert known_plan(asked) == plan
        for path in reproduce.results_dir().rglob("plan-*.json"):
            path.write_text("{")  # damaged: asked anew
        with pytest.raises(TypeError):
            known_plan(asked)
        monkeypatch.setattr(reproduce, "code_contents", lambda: {"file.py": "another hash"})
        with pytest.raises(TypeError):
            known_plan(asked)
    assert known_plan({**asked, "SEEDS": "2"})[0].parameters["seeds"] == [2]


def test_what_is_refused_is_refused_again(toy):
    for _ in range(2):
        with pytest.raises(ValueError, match="no data set 'c'"):
            known_plan({"DATASET": "c"})


def test_a_second_call_imports_no_torch():
    program = (
        "import sys\nfrom llie_core.reproduce import known_plan\n"
        "known_plan({'PAPER': 'neid'})\nprint('torch' in sys.modules)"
    )
    said = [
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True,
                       check=True).stdout for _ in range(2)
    ]  # fmt: skip
    assert said == ["True\n", "False\n"]


@pytest.mark.parametrize("argument, code", [("--help", 0), ("PAPER=joint", 2)])
def test_an_argument_starts_nothing(argument, code):
    command = [sys.executable, "-m", "llie_core.reproduce", argument]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert "PROFILE           default: quick" in done.stdout + done.stderr


def test_an_empty_variable_is_a_default(toy):
    empty = dict.fromkeys(("PAPER", "DATASET", "PROFILE", "SEEDS", "DATA"), "")
    assert planned(empty) == planned({})


def test_several_papers_data_sets_and_seeds(toy):
    asked = {"PAPER": "two  one two", "DATASET": "lol", "PROFILE": "paper", "SEEDS": "2 0, 1"}
    reports = planned(asked | {"DATA": "my data"})
    assert [report.paper for report in reports] == ["two", "one"]
    assert reports[0].parameters == {
        "dataset": "lol", "profile": "paper", "seeds": [2, 0, 1], "data": f"{Path.cwd()}/my data",
        "settings": {},
    }  # fmt: skip
    assert planned({"PROFILE": "paper"})[0].parameters["dataset"] == "lol"
    assert planned({"DATA": "~/sets"})[0].parameters["data"] == str(Path.home() / "sets")


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"DATASET": "../../x"}, "one: no data set '../../x' (known: lol)"),
        ({"DATASET": "lole"}, "one: no data set 'lole'; did you mean 'lol'? (known: lol)"),
        ({"PROFILE": "quik"}, "one: no profile 'quik'; did you mean 'quick'? (known: quick, pape"),
        ({"PROFILE": "../x"}, "one: no profile '../x' (known: quick, paper)"),
        ({"SEEDS": "0 x"}, "SEEDS: expected whole numbers such as \"0 1 2\", got '0 x'"),
        ({"SETTINGS": ""}, "SETTINGS: expected settings such as {train: {lr: 2.0e-4}}, got ''"),
        ({"SETTINGS": "3"}, "SETTINGS: expected settings such as {train: {lr: 2.0e-4}}, got '3'"),
        ({"SETTINGS": "[a]"}, "SETTINGS: expected settings such as {train: {lr: 2.0e-4}}, got '[a"),
        ({"SETTINGS": "{a: ["}, "SETTINGS: no valid YAML: "),
        ({"SETTINGS": "!!python/object/apply:os.mkdir [x]"}, "SETTINGS: no valid YAML: "),
        ({"SETTINGS": "{step: 1}"}, "one: unknown setting 'step' (known: ratios, lr)"),
        ({"SETTINGS": "{seeds: [1]}"}, "SETTINGS: seeds has a variable of its own, SEEDS="),
        ({"LAUNCH": "srun 'x"}, 'LAUNCH: No closing quotation in "srun \'x"'),
    ],
)
def test_what_cannot_be_meant_is_one_line(asked, line, toy, capsys, tmp_path):
    assert main({"LAUNCH": "", **asked}) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"make: {line}") and said.err.count("\n") == 1 and said.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("paper", ["jont", "Joint", "recognition,joint", "../joint", "summary"])
def test_a_misspelt_paper_is_an_error_with_the_known_names(paper, capsys):
    assert main({"PAPER": paper}) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"make: no paper {paper!r}") and error.count("\n") == 1
    assert all(name in error for name in list_papers())


@pytest.mark.parametrize("profile", ["smoke", "quick", "reference", "paper"])
def test_every_paper_can_be_asked_for_under_every_profile(profile):
    reports = planned({"PROFILE": profile})
    assert list(dict.fromkeys(report.paper for report in reports)) == list(list_papers())
    builtin = [report.parameters["dataset"].startswith("builtin-") for report in reports]
    assert all(builtin) if profile != "paper" else not any(builtin)


@pytest.mark.parametrize("profile", ["smoke", "quick", "reference"])
def test_runs_and_make_take_the_same_data_sets(profile, capsys):
    reports = planned({"PROFILE": profile, "PAPER": "neid joint recognition"})
    assert command(["runs", "neid", "joint", "recognition", "--profile", profile, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    datasets = dict.fromkeys((job["paper"], job["dataset"]) for job in listed)
    assert [*datasets] == [(one.paper, one.parameters["dataset"]) for one in reports]


def test_a_reference_run_reads_lol_where_a_folder_is_given(tmp_path, capsys):
    asked = {"PROFILE": "reference", "PAPER": "neid", "DATA": str(tmp_path)}
    assert [report.parameters["dataset"] for report in planned(asked)] == ["lol"]
    assert command(["runs", "neid", "--profile", "reference", "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("llie: lol: no folder eval15 in ")


# Values as they were given --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{ratios: ['1:0', \"2:1\", 3:1]}", {"ratios": ["1:0", "2:1", "3:1"]}),
        ("{lr: 1e-3, a: 1.5, b: -2, c: 322_000}", {"lr": 1e-3, "a": 1.5, "b": -2, "c": 322_000}),
        ("{a: .5, b: 010, c: true, d: null, e: 1:30:00}",
         {"a": 0.5, "b": 10.0, "c": True, "d": None, "e": "1:30:00"}),
        ("external: it's $(touch x) `touch x` \\ # no comment",
         {"external": "it's $(touch x) `touch x` \\"}),
        ("train: {lr: 2.0e-4}\nrows: [a b]", {"train": {"lr": 2e-4}, "rows": ["a b"]}),
        ("{}", {}),
    ],
)  # fmt: skip
def test_settings_keep_their_values_to_the_notebook(text, value):
    assert read_settings(text) == value
    report = Report("toy", {"dataset": "d", "profile": "p", "settings": value, "data": "a ' \" b"})
    written = yaml.safe_load(Path(report.command()[-1]).read_text(encoding="utf-8"))
    assert written == report.parameters


# Running --------------------------------------------------------------------------------------

FAKE = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(__file__).parent
*_, paper, _, path = sys.argv
name = Path(path).stem
def say(what):
    with (folder / "log").open("a") as file:
        file.write(json.dumps([what, name, os.environ.get("OMP_NUM_THREADS")]) + "\\n")
def stop(*_):
    say("stopped")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
say("start")
if (folder / "meet").exists():
    until = time.monotonic() + 60
    while sum("start" in line for line in (folder / "log").read_text().splitlines()) < 2:
        assert time.monotonic() < until
        time.sleep(.01)
if (folder / "hang").exists():
    time.sleep(300)
say("end")
sys.exit(name.startswith("bad"))
"""


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """The prefix of a command that stands for `llie report` and logs what happens."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = tmp_path / "fake"
    folder.mkdir()
    (folder / "fake.py").write_text(FAKE)
    return [sys.executable, str(folder / "fake.py")]


def log_of(launch):
    path = Path(launch[1]).with_name("log")
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(json.loads(line)[:2]) for line in lines]


def reports(*papers, datasets=("a",)):
    return [Report(p, {"dataset": d, "profile": "smoke"}) for p in papers for d in datasets]


def test_a_failure_stops_no_other_report(launch):
    assert run(reports("bad", "good", datasets=("a", "b")), 1, launch) == [
        "bad-a-smoke", "bad-b-smoke",
    ]  # fmt: skip
    ends = [name for what, name in log_of(launch) if what == "end"]
    assert ends == ["bad-a-smoke", "bad-b-smoke", "good-a-smoke", "good-b-smoke"]


def test_papers_run_side_by_side_and_the_reports_of_one_in_turn(launch):
    Path(launch[1]).with_name("meet").touch()
    assert run(reports("one", "two", datasets=("a", "b")), 2, launch) == []
    log = log_of(launch)
    assert {log[0], log[1]} == {("start", "one-a-smoke"), ("start", "two-a-smoke")}
    for paper in ("one", "two"):
        own = [(what, name) for what, name in log if name.startswith(paper)]
        assert own == [(w, f"{paper}-{d}-smoke") for d in ("a", "b") for w in ("start", "end")]


def test_one_report_at_a_time_is_the_default(launch):
    run(reports("one", "two"), 1, launch)
    assert [what for what, _ in log_of(launch)] == ["start", "end", "start", "end"]


def test_a_launch_command_that_is_absent_is_one_line(toy, capsys):
    assert main({"LAUNCH": "no-such-command -n1", "PAPER": "one"}) == 2
    error = capsys.readouterr().err
    assert "no-such-command" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "jobs"),
    [
        ("", 1),
        ("k", 1),
        ("kw -j4 --jobserver-auth=3,4", 4),
        (" -j12 --jobserver-auth=fifo:x -- PAPER=a", 12),
        (" -j", float("inf")),
        (" -- LAUNCH=srun\\ -j8 PAPER=x", 1),
        ("w -- SETTINGS=a -j3", 1),
    ],
)
def test_make_says_how_many_run_side_by_side(flags, jobs):
    assert jobs_of(flags) == jobs


def test_reports_side_by_side_share_the_cores(monkeypatch, launch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert shared_cores(4, []) == {"OMP_NUM_THREADS": "2"}
    assert shared_cores(1, []) == shared_cores(4, ["srun"]) == {}
    threads = []

    class Process:
        def __init__(self, _command, env):
            threads.append(env.get("OMP_NUM_THREADS"))
            self.returncode = 0

        def poll(self):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    run(reports("one", "two", "three"), 2)
    run(reports("one", "two"), float("inf"))
    run(reports("one", datasets=("a", "b")), 4)
    run(reports("one", "two"), 2, ["srun"])
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    run(reports("one", "two"), 2)
    assert threads == ["3"] * 3 + ["3"] * 2 + [None] * 2 + [None] * 2 + ["5"] * 2


# The whole ------------------------------------------------------------------------------------


def test_what_is_current_is_not_made_again_and_the_summary_follows(
    toy, launch, monkeypatch, capsys
):
    current = {"one-builtin-a-quick", "two-builtin-a-quick", "two-builtin-b-quick"}
    monkeypatch.setattr(
        reproduce, "is_current", lambda *report: reproduce.report_name(*report) in current
    )
    assert main({"LAUNCH": " ".join(launch)}) == 0
    assert [n for w, n in log_of(launch) if w == "end"] == [
        "one-builtin-b-quick", "summary-all-quick",
    ]  # fmt: skip
    assert "re ports/index.html" in capsys.readouterr().err
    current |= {"one-builtin-b-quick", "summary-all-quick"}
    index = reproduce.reports_dir() / "index.html"  # a kill may have left it behind the reports
    assert not index.exists()
    assert main({"LAUNCH": " ".join(launch)}) == 0 and len(log_of(launch)) == 4
    assert index.exists()
    current -= {"summary-all-quick"}
    assert main({"LAUNCH": " ".join(launch)}) == 0
    assert log_of(launch)[4:] == [("start", "summary-all-quick"), ("end", "summary-all-quick")]


def test_a_failure_is_named_at_the_end_after_the_summary(toy, launch, monkeypatch, capsys):
    monkeypatch.setattr(papers, "list_papers", lambda: ["bad", "good"])
    assert main({"LAUNCH": " ".join(launch), "DATASET": "lol"}) == 1
    assert [n for w, n in log_of(launch) if w == "end"] == [
        "bad-lol-quick", "good-lol-quick", "summary-all-quick",
    ]  # fmt: skip
    assert "make: failed: bad-lol-quick; see " in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_ends_what_runs_and_starts_nothing_more(number, launch):
    Path(launch[1]).with_name("hang").touch()
    values = {"LAUNCH": " ".join(launch), "PAPER": "neid joint drgn", "PROFILE": "smoke"}
    environment = {**os.environ, **values, "MAKEFLAGS": " -j2 --jobserver-auth=3,4"}
    command = [sys.executable, "-m", "llie_core.reproduce"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    try:
        while len(log_of(launch)) < 2:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and errors == b""
    names = {"neid-builtin-photos-smoke", "joint-builtin-faces-smoke"}
    log = log_of(launch)
    assert len(log) == 4 and set(log) == {(w, n) for w in ("start", "stopped") for n in names}
