"""The project holds together: one list of dependencies, thin notebooks, rooms that keep apart."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

from llie_core.environment import FACENET
from llie_core.environment import packages as separate
from llie_core.papers import list_papers, study_of
from llie_core.reporting.execute import DEFAULTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "llie_core"
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def name_of(requirement):
    """The package's name alone, as PyPI normalises it."""
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


# Dependencies ---------------------------------------------------------------------------------

# Modules that are named otherwise than their package, or come with it.
PACKAGES = {
    "PIL": "pillow", "skimage": "scikit-image", "tifffile": "scikit-image", "yaml": "pyyaml",
    "IPython": "ipykernel", "traitlets": "ipykernel",
}  # fmt: skip


# Extras without which the project works; tests that need one are skipped.
OPTIONAL = ("browser", "heic", "raw", "video", "onnx", "spandrel")


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def required(*extras):
    """Package → requirement, of the runtime and of extras."""
    project = pyproject()
    lists = [project["dependencies"], *(project["optional-dependencies"][name] for name in extras)]
    return {name_of(requirement): requirement for one in lists for requirement in one}


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
    everything = set(required("notebooks", "dev"))
    assert {CONDA_NAMES.get(n, n) for n in names} - {"python", "pip"} == everything
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
    for name, requirement in required("notebooks", "dev").items():
        assert bounds[name] == requirement[len(name) :], name


def test_every_dependency_is_pinned():
    assert set(required("notebooks", "dev", *OPTIONAL)) <= set(pinned())


def test_a_dependency_is_in_one_list():
    lists = [set(required()), *(set(required(x)) - set(required()) for x in ("notebooks", "dev"))]
    assert sum(map(len, lists)) == len(required("notebooks", "dev"))
    assert set(pyproject()["optional-dependencies"]) == {"notebooks", "dev", *OPTIONAL}


def test_the_code_needs_what_is_listed_and_no_more():
    runtime, notebooks = set(required()), set(required("notebooks")) - set(required())
    used = {path: {PACKAGES.get(m, name_of(m)) for m in third_party(path)} for path in MODULES}
    everywhere = set().union(*used.values())
    # What the optional extras hold is imported inside functions that say so where it is absent.
    extras = set(required(*OPTIONAL)) - runtime
    assert everywhere - {"facenet-pytorch"} <= runtime | notebooks | extras
    assert runtime - everywhere == {"requests"}  # facenet-pytorch imports it
    for path, packages in used.items():
        if packages & notebooks:
            assert parts_of(path)[0] in ("reporting", "papers"), path


def test_facenet_is_installed_by_the_command_that_the_error_quotes():
    source = (PACKAGE / "recognizers" / "mtcnn.py").read_text(encoding="utf-8")
    (quoted,) = re.findall(r"`pip install ([^`]+)`", source)
    assert quoted.split() == ["--no-deps", FACENET]  # as test_make.py sees it run
    assert not {name_of(one) for one in separate()} & set(required("notebooks", "dev"))


# Notebooks ------------------------------------------------------------------------------------

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHECKED = "nbval-check-output"
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def test_every_paper_has_its_notebook():
    assert set(list_papers()) <= {path.stem for path in NOTEBOOKS}


@notebooks
def test_notebooks_are_thin(path):
    cells = code_cells(path)
    lines = [line for cell in cells for line in cell.source.splitlines() if line.strip()]
    assert len(cells) <= 20 and len(lines) <= 90
    tree = ast.parse("\n".join(cell.source for cell in cells))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    assert all(node.end_lineno - node.lineno < 15 for node in defined)


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
    if path.stem in list_papers():
        dataset = study_of(path.stem).default_datasets("smoke")[0]
        assert values == {"dataset": dataset, "profile": "smoke", **DEFAULTS}


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

# Room → the other rooms that it may import. Modules beside the rooms are free to all.
ARROWS = {
    "models": set(), "recognizers": set(), "losses": set(), "metrics": set(), "data": set(),
    "synthetic": {"data"}, "tasks": {"recognizers", "metrics", "data"}, "engine": set(),
    "reporting": {"metrics", "engine"},
}  # fmt: skip
ARROWS["papers"] = set(ARROWS)
ARROWS["cli"] = set(ARROWS)
MODULES = sorted(PACKAGE.rglob("*.py"))


def parts_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts


def imports_of(path):
    """Full names that a file imports, also inside functions."""
    package = ("llie_core", *parts_of(path)[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))


def imported_by(path):
    """Names below llie_core that a file imports: "models", "files", …"""
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("llie_core.")}


def third_party(path):
    """Top-level modules from elsewhere that a file imports."""
    return {name.split(".")[0] for name in imports_of(path)} - {"llie_core", *STDLIB}


STDLIB = sys.stdlib_module_names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(parts_of(path)))
def test_rooms_keep_apart(path):
    room = parts_of(path)[0]
    others = imported_by(path) & set(ARROWS) - {room}
    if room in ARROWS:
        assert others <= ARROWS[room]
    elif room in ("files", "imaging", "tensors", "weights"):
        assert not others


def test_the_import_reader_sees_what_it_has_to(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "a.py"
    path.write_text(
        "import llie_core.data.images as images\nfrom llie_core import losses\n"
        "from ..metrics import psnr\nfrom .base import Enhancer\n"
        "def f():\n    from llie_core.engine import fit\n    import PIL.Image, os.path\n"
    )
    assert imported_by(path) == {"data", "losses", "metrics", "models", "engine"}
    assert third_party(path) == {"PIL"}


def modules_after(statement):
    program = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.split(".")[0] for name in done.stdout.split()}


PLOTTING = {"matplotlib", "seaborn", "pandas", "IPython", "papermill", "nbconvert", "nbformat"}
HEAVY = PLOTTING | {
    "skimage", "scipy", "facenet_pytorch", "torchmetrics", "pycocotools", "piq",
    "segmentation_models_pytorch", "timm",
}  # fmt: skip


def test_importing_the_package_imports_nothing_heavy():
    light = modules_after("import llie_core, llie_core.cli")
    assert not light & (HEAVY | {"torch", "torchvision", "numpy"})


def test_importing_the_rooms_imports_nothing_heavy():
    rooms = ", ".join(f"llie_core.{room}" for room in sorted(ARROWS))
    loaded = modules_after(f"import llie_core.engine.fit, {rooms}")
    assert "torch" in loaded and not loaded & HEAVY


def test_training_needs_neither_notebooks_nor_plots():
    names = ", ".join(f"study_of({name!r})" for name in list_papers())
    loaded = modules_after(f"from llie_core.papers import study_of\n{names}")
    assert not loaded & PLOTTING


def private_names(path):
    """Names with a leading underscore that a test takes from the package, and their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llie_core"):
            yield from ((a.name, node.lineno) for a in node.names if a.name.startswith("_"))
            modules |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):
        of_module = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in modules
        if of_module and re.match("_[^_]", node.attr):
            yield node.attr, node.lineno


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_tests_take_no_private_name(path):
    assert not list(private_names(path))


# Words ----------------------------------------------------------------------------------------


def test_no_unfinished_marks_and_no_machine_paths():
    marks = re.compile(r"TODO|FIXME|XXX|NotImplementedError\(|/work/|/tmp/|/home/|<{7} |>{7} ")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in [*MODULES, *NOTEBOOKS, *pages, ROOT / "Makefile", ROOT / "environment.yml"]:
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


PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    found = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8"))
    own = [link for link in found if not link.startswith("http")]
    assert [link for link in own if not ((ROOT / page).parent / link).exists()] == []


def test_the_paths_of_a_job_are_quoted():
    """So that it runs in a checkout, and writes to results, whose path has spaces."""
    shell = (ROOT / "cluster" / "Snakefile").read_text().rpartition("shell:")[2]
    fields = re.findall(r"{(.+?)}", shell)
    assert fields == ["ROOT:q", "params.command", "log:q"]  # the command is quoted as it is
