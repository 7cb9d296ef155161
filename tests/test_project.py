"""The project holds together: one list of dependencies, thin notebooks, rooms that keep apart."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

from llie_core.recipes import get_recipe, list_recipes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "llie_core"
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def name_of(requirement):
    """The package's name alone, as PyPI normalises it."""
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


# Dependencies ---------------------------------------------------------------------------------


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def required():
    return {name_of(requirement): requirement for requirement in pyproject()["dependencies"]}


def pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line.strip() and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==\S+", pin) for pin in pins)
    return {name_of(pin): pin.split("==")[1] for pin in pins}


def test_conda_environment_names_the_same_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    names = [name_of(item) for item in plain]
    assert len(set(names)) == len(names)
    assert {CONDA_NAMES.get(n, n) for n in names} - {"python", "pip"} == set(required())
    assert f"python{pyproject()['requires-python']}" in plain
    (pip,) = [item for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == {"pip": ["-e ."]} and environment["channels"] == ["conda-forge"]


def test_conda_environment_asks_for_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    bounds = {}
    for item in environment["dependencies"]:
        if isinstance(item, str):
            name = re.match(r"[\w.-]+", item)[0]
            bounds[CONDA_NAMES.get(name, name)] = item[len(name) :]
    for name, requirement in required().items():
        assert bounds[name] == requirement[len(name) :], name


def test_every_dependency_is_pinned():
    assert set(required()) <= set(pinned())
    assert (pinned()["torch"], pinned()["torchvision"]) == ("2.14.1", "0.29.2")


def test_facenet_is_installed_by_the_command_that_the_error_quotes():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (requirement,) = re.findall(r"^FACENET\s*:?=\s*(\S+)$", makefile, re.M)
    (recipe,) = [line for line in makefile.splitlines() if "$(FACENET)" in line]
    source = (PACKAGE / "recognizers" / "mtcnn.py").read_text(encoding="utf-8")
    (quoted,) = re.findall(r"`pip install ([^`]+)`", source)
    assert quoted.split() == ["--no-deps", requirement]
    # Quietness apart, make runs what the error tells the user to run.
    ran = recipe.split("pip install", 1)[1].replace("$(FACENET)", requirement).split()
    assert [word for word in ran if word not in ("--quiet", "--disable-pip-version-check")] == (
        quoted.split()
    )
    assert "facenet-pytorch" not in required()


def commands(*arguments) -> str:
    """What make would run for paper 5's report."""
    make = ["make", "-n", "-B", "reproduce", "PAPER=neid", "DATASET=builtin-photos", *arguments]
    ours = ("MAKEFLAGS", "MFLAGS", "OMP_NUM_THREADS")
    env = {key: value for key, value in os.environ.items() if key not in ours}
    done = subprocess.run(make, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    (report,) = [line for line in done.stdout.splitlines() if "llie report neid" in line]
    return report


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_notebooks_side_by_side_share_the_cores():
    untouched = ((), ("-j1",), ("-j4", "LAUNCH=srun"), ("-j4", "OMP_NUM_THREADS=3"))
    assert not [arguments for arguments in untouched if "THREADS" in commands(*arguments)]
    assert commands("-j4", "LAUNCH=srun").startswith("srun ")
    threads = commands("-j4").split("OMP_NUM_THREADS=", 1)[1].split("))")[0] + "))"
    shell = f"getconf() {{ echo 6; }}; echo {threads}"
    assert subprocess.check_output(["sh", "-c", shell], text=True).strip() == "2"


# Notebooks ------------------------------------------------------------------------------------

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHECKED = "nbval-check-output"
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def test_every_recipe_has_its_notebook():
    assert set(list_recipes()) <= {path.stem for path in NOTEBOOKS}


@notebooks
def test_notebooks_are_thin(path):
    cells = code_cells(path)
    lines = [line for cell in cells for line in cell.source.splitlines() if line.strip()]
    assert len(cells) <= 15 and len(lines) <= 60
    tree = ast.parse("\n".join(cell.source for cell in cells))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]


@notebooks
def test_notebooks_name_the_kernel_that_everybody_has(path):
    metadata = nbformat.read(path, 4).metadata
    assert metadata.kernelspec.name == "python3" and metadata.kernelspec.language == "python"
    assert metadata.title
    assert "papermill" not in metadata


@notebooks
def test_parameters_are_in_one_cell_and_are_the_smoke_profile(path):
    cells = [cell for cell in code_cells(path) if "parameters" in tags(cell)]
    assert len(cells) == 1
    values = {}
    for node in ast.parse(cells[0].source).body:
        assert isinstance(node, ast.Assign)  # plain values, which papermill replaces
        values[node.targets[0].id] = ast.literal_eval(node.value)
    if path.stem in list_recipes():
        recipe = get_recipe(path.stem)
        assert values == {
            "dataset": recipe.datasets[0], "profile": "smoke", "seeds": [0], "data": "",
            "settings": {},
        }  # fmt: skip


@notebooks
def test_only_checked_cells_carry_outputs(path):
    for cell in code_cells(path):
        if CHECKED not in tags(cell):
            assert cell.outputs == [] and cell.execution_count is None, cell.source


@notebooks
def test_checked_cells_hold_text_to_compare_with(path):
    checked = [cell for cell in code_cells(path) if CHECKED in tags(cell)]
    assert checked
    for cell in checked:
        # nbval passes a cell without a count in silence.
        assert cell.execution_count is not None, cell.source
        assert cell.outputs, cell.source
        for output in cell.outputs:
            data = output.get("data", {})
            assert output.get("text") or data.get("text/plain"), cell.source
            assert output.output_type != "error"
            assert not [kind for kind in data if kind.startswith(("image/", "application/"))]
        assert "papermill" not in cell.metadata


# Rooms ----------------------------------------------------------------------------------------

ROOMS = {"models", "recognizers", "losses", "metrics", "data"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def parts_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts


def imported_by(path):
    """Names below llie_core that a file imports, also inside functions: "models", "runs", …"""
    package = ("llie_core", *parts_of(path)[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            modules = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            if module.startswith("llie_core."):
                yield module.split(".")[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(parts_of(path)))
def test_rooms_keep_apart(path):
    room, imported = parts_of(path)[0], set(imported_by(path))
    if room in ROOMS:
        assert not imported & (ROOMS - {room}), "rooms import no sibling"
        assert not imported & {"recipes", "reporting", "training", "cli"}
    if room == "training":
        assert not imported & (ROOMS | {"recipes", "reporting", "cli"})
    if room == "reporting":
        assert not imported & {"models", "recognizers", "losses", "data", "recipes", "training"}
    if room in ("files", "runs", "published", "weights"):
        assert not imported & (ROOMS | {"recipes", "reporting", "training", "cli"})


def test_the_import_reader_sees_what_it_has_to(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "a.py"
    path.write_text(
        "import llie_core.data.images as images\nfrom llie_core import losses\n"
        "from ..metrics import psnr\nfrom .base import Enhancer\n"
        "def f():\n    from llie_core.training import fit\n"
    )
    assert set(imported_by(path)) == {"data", "losses", "metrics", "models", "training"}


def modules_after(statement):
    program = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.split(".")[0] for name in done.stdout.split()}


PLOTTING = {"matplotlib", "seaborn", "pandas", "IPython", "papermill", "nbconvert", "nbformat"}
HEAVY = PLOTTING | {
    "skimage", "scipy", "facenet_pytorch", "torchmetrics", "pycocotools", "piq",
    "segmentation_models_pytorch",
}  # fmt: skip


def test_importing_the_package_imports_nothing_heavy():
    light = modules_after("import llie_core, llie_core.cli")
    assert not light & (HEAVY | {"torch", "torchvision", "numpy"})


def test_importing_the_rooms_imports_nothing_heavy():
    rooms = ", ".join(f"llie_core.{room}" for room in sorted(ROOMS))
    loaded = modules_after(f"import llie_core.training, llie_core.recipes, {rooms}")
    assert "torch" in loaded and not loaded & HEAVY


def test_training_needs_neither_notebooks_nor_plots():
    names = ", ".join(f"get_recipe({name!r})" for name in list_recipes())
    loaded = modules_after(f"from llie_core.recipes import get_recipe\n{names}")
    assert not loaded & PLOTTING


# Words ----------------------------------------------------------------------------------------


def test_no_unfinished_marks_and_no_machine_paths():
    marks = re.compile(r"TODO|FIXME|XXX|NotImplementedError\(|/work/|/tmp/|/home/")
    for path in [*MODULES, *NOTEBOOKS, ROOT / "Makefile", ROOT / "environment.yml"]:
        found = marks.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path}: {found}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(parts_of(path)))
def test_library_code_does_not_print(path):
    if parts_of(path)[0] in ("cli", "bench"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    # A message to the user goes to stderr: a report or a pipe must not take it for a result.
    assert all(any(k.arg == "file" for k in call.keywords) for call in calls)
