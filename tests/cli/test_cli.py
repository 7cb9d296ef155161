"""The `llie` command, called in process: help, listings, reports, exit codes."""

import argparse
import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llie_core import cli
from llie_core.cli import build_parser, main
from llie_core.files import project_root
from llie_core.models import records
from llie_core.models.records import default_enhancer, measured
from llie_core.recognizers import list_recognizers
from llie_core.reporting.results_page import results_markdown
from llie_core.signals import Interrupted

(SUBCOMMANDS,) = build_parser()._subparsers._group_actions
COMMANDS = (*SUBCOMMANDS.choices,)


# Help -----------------------------------------------------------------------------------------


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    listed = [line.split()[0] for line in text.splitlines() if line.startswith(" " * 4)]
    assert set(listed) >= set(COMMANDS) >= {"enhance", "compare", "fit"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0 and f"llie {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["fti"], ["fit"], ["enhance"], ["fit", "j", "-x"]])
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and "usage: llie" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["enhance", "", "out"], ["export", "joint", "--out", ""], ["score", "a", ""]]
)
def test_an_empty_path_is_not_the_current_folder(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and "an empty path; name a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("enhance a.jpg --strenght 1", "arguments: --strenght 1; did you mean '--strength'?"),
        ("enhance a.jpg b.jpg c.jpg", "llie enhance: error: unrecognized arguments: c.jpg"),
        ("runs joint --sed 1", "arguments: --sed 1; did you mean '--seeds'?"),
        ("enhance a.jpg --device gpu", "--device: no device 'gpu'; write cpu or cuda:0"),
        ("fit joint --device cuda:99", "--device: cuda:99: torch finds"),
        ("bench --device gpu", "no device 'gpu'"),
        ("darken a.jpg pyproject.toml", "pyproject.toml is a file, or named like one; name a fol"),
        ("darken a.jpg dark.png", "dark.png is a file, or named like one; name a folder"),
        ("export joint --out pyproject.toml", "pyproject.toml is a file, or named like one"),
        ("weights fech", "invalid choice: 'fech' (choose from 'list', 'fetch', 'verify')"),
    ],
)
def test_a_mistyped_argument_is_named_with_what_to_write(arguments, line, capsys, monkeypatch):
    monkeypatch.chdir(project_root())
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2 and line in capsys.readouterr().err


def processor_seconds(*command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_instant():
    # Processor time: that of the clock depends on what else runs.
    command = (sys.executable, "-m", "llie_core.cli", "--help")
    assert min(processor_seconds(*command) for _ in range(3)) <= 0.2


# Listings -------------------------------------------------------------------------------------


def test_models_are_listed_with_size_weights_and_what_they_measured(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    parts = {words[0]: words[1:] for words in map(str.split, lines) if words[0] != "*"}
    assert parts["zero_dce"] == ["79,416", "41.52", "–", "–", "yes"]
    assert parts["zero_dce_pp"][0] == "10,561" and "ec_zero_dce" in parts
    assert parts["he"][:4] == ["0", "–", "15.58", "25.7"]  # as measured.csv has it
    assert " ".join(parts["he"][4:]) == "no: it is computed by NumPy"
    assert " ".join(parts["ec_zero_dce"][4:]) == "no: it takes an exposure beside the image"
    name, weights = default_enhancer()
    row = measured(name, weights or "")
    (marked,) = [line for line in lines if line.startswith("* ") and "default of" not in line]
    assert marked.split()[1] == name
    where = lines.index(marked)
    assert any(f"{row.psnr:.2f} dB" in line for line in lines[where : where + 3])
    shipped = lines[next(i for i, line in enumerate(lines) if line.split()[0] == "gem_pam") + 1]
    assert shipped.startswith(
        "    reference: camvid (CC BY-NC 4.0 as carried there), 240 of 18,750 steps"
    )
    (mixed,) = [line for line in lines if "reference: lol" in line]
    assert "lol (research" in mixed and "zero-dce-train (CC BY-NC 4.0), camvid (CC BY-NC" in mixed
    released = lines[next(i for i, line in enumerate(lines) if line.split()[0] == "zero_dce") + 1]
    assert released.startswith("    released: CC BY-NC 4.0, academic research only")
    assert list(parts).index("enhancers") < list(parts).index("darkeners")
    start = lines.index("recognizers") + 1
    listed = [line.strip() for line in lines[start:] if line.startswith("  ")]
    assert listed == list_recognizers() and "deeplabv3plus" in listed


def test_models_say_which_weights_are_not_there(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(records, "project_root", lambda: tmp_path)
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert "; llie weights fetch zero-dce-pp" in said
    assert "    reference: not available: they come with a checkout" in said


def test_weights_are_listed_where_no_action_is_named(capsys):
    assert main(["weights"]) == 0
    listed = capsys.readouterr().out
    assert main(["weights", "list"]) == 0 and capsys.readouterr().out == listed
    assert listed.startswith("weights folder: ") and "sci-medium: " in listed


def test_weights_that_cannot_be_fetched_say_what_to_do(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("llie_core.weights.Weight.url", "file:///nowhere")
    assert main(["weights", "fetch", "niqe"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("could not fetch niqe from file:///nowhere to ")
    assert said.err.startswith("llie: a file that cannot be fetched here may be put there by hand")


def test_datasets_are_listed_with_source_and_terms(capsys):
    from llie_core.data import list_datasets

    assert main(["datasets"]) == 0
    text = capsys.readouterr().out
    for spec in list_datasets():
        assert spec.name in text and spec.terms in text and spec.source in text


# Reports --------------------------------------------------------------------------------------


def test_report_passes_its_parameters_on(tmp_path, monkeypatch, capsys):
    asked = []
    path = tmp_path / "parameters.yml"
    path.write_text("dataset: toy\nprofile: smoke\nseeds: [0, 1]\n")
    monkeypatch.setattr(
        "llie_core.reporting.execute.build_report",
        lambda *arguments: asked.append(arguments) or "the page",
    )
    assert main(["report", "joint", "--parameters", str(path)]) == 0
    assert asked == [("joint", {"dataset": "toy", "profile": "smoke", "seeds": [0, 1]})]
    assert capsys.readouterr().out == "the page\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "No such file"),
        ("", "dataset, profile"),
        ("dataset: a", "profile"),
        ("a: [1\nb: 2", "no valid YAML"),
        ("dataset: !!python/object/apply:os.mkdir [ran]\nprofile: a", "no valid YAML"),
    ],
)
def test_report_refuses_bad_parameters(tmp_path, refused, text, expected):
    path = tmp_path / "parameters.yml"
    if text is not None:
        path.write_text(text)
    assert expected in refused(["report", "joint", "--parameters", str(path)])


def test_results_writes_the_page_of_the_reference_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("llie_core.files.project_root", lambda: tmp_path)
    from llie_core.papers import list_papers, study_of
    from llie_core.papers.found import kept_findings, kept_titles

    assert main(["results"]) == 0
    page = tmp_path / "docs" / "RESULTS.md"
    assert capsys.readouterr().out == f"{page}\n"
    titles = {name: study_of(name).title for name in list_papers()}
    assert page.read_text() == results_markdown(titles, kept_findings(), kept_titles())


def test_an_output_that_knows_ascii_alone_gets_question_marks():
    command = [sys.executable, "-m", "llie_core.cli", "models"]
    env = dict(os.environ, PYTHONIOENCODING="ascii")
    done = subprocess.run(command, env=env, cwd=project_root(), capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stderr == b"" and b"?" in done.stdout


# Exit codes -----------------------------------------------------------------------------------

AGAIN = "llie: interrupted; run the same command again to resume\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("wrong"), 2, "llie: wrong\n"),
        (FileNotFoundError("absent"), 2, "llie: absent\n"),
        (PermissionError(13, "Permission denied", "a/b"), 2, "llie: a/b: Permission denied\n"),
        (RuntimeError("not finite"), 1, "llie: not finite\n"),
        (RuntimeError("CUDA error: out of memory\nCompile with …"), 1, "llie: CUDA error: out of"),
        (MemoryError(), 1, "llie: out of memory\n"),
        (KeyboardInterrupt(), 130, AGAIN),
        (Interrupted(15), 143, AGAIN),
    ],
)
def test_exit_codes(error, code, line, monkeypatch, capsys):
    def fail(_options):
        raise error

    parser = argparse.ArgumentParser()
    parser.set_defaults(run=fail, resumes=True)
    monkeypatch.setattr(cli, "build_parser", lambda: parser)
    assert main([]) == code
    said = capsys.readouterr().err
    assert said.startswith(line) and said.count("\n") == 1


def test_a_signal_that_a_library_made_another_error_of_is_an_interruption(monkeypatch, capsys):
    def fail(_options):
        with contextlib.suppress(KeyboardInterrupt):  # as an import may
            signal.raise_signal(signal.SIGTERM)
        raise RecursionError("maximum recursion depth exceeded")

    parser = argparse.ArgumentParser()
    parser.set_defaults(run=fail)
    monkeypatch.setattr(cli, "build_parser", lambda: parser)
    assert main([]) == 143 and capsys.readouterr().err == "llie: interrupted\n"


def test_what_cannot_be_printed_at_the_end_is_one_line_or_none(monkeypatch, capsys):
    """A short text stays in Python's buffer until then: `llie runs > FILE`, `llie runs | true`."""
    parser = argparse.ArgumentParser()
    parser.set_defaults(run=lambda _options: print("a line") or 0)
    monkeypatch.setattr(cli, "build_parser", lambda: parser)
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)
        assert main([]) == 2
    assert capsys.readouterr().err == "llie: standard output: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", pipe)
        assert main([]) == 0
    assert capsys.readouterr().err == ""
