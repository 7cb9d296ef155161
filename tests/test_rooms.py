"""The rooms of the package keep apart: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "llie_core"
MODULES = sorted(PACKAGE.rglob("*.py"))
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda p: "/".join(parts_of(p)))

BASE = {"models", "recognizers", "losses", "metrics", "data"}
ALL = BASE | {"synthetic", "tasks", "engine", "papers", "reporting", "cli", "bench", "reproduce"}
# Room → the other rooms that it may import. Modules at the package's top (files, names, tensors,
# imaging, …) may be imported by all and import no room.
MAY_IMPORT = {
    **{room: set() for room in BASE},
    "synthetic": {"data"},
    "tasks": {"recognizers", "metrics", "data", "losses", "synthetic"},
    "engine": set(),
    "reporting": {"metrics", "engine"},
    "papers": ALL - {"cli", "bench", "reproduce"},
    "bench": ALL - {"cli", "papers"},
    "reproduce": {"papers", "reporting"},
    "cli": ALL,
}
# names.title_of asks the registries for a title.
ALLOWED = {("names", "models"), ("names", "recognizers")}


def parts_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts


def imported_by(path):
    """Names below llie_core that a file imports, also inside functions: "models", "files", …"""
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


@each_module
def test_rooms_import_only_what_they_may(path):
    room = parts_of(path)[0]
    found = set(imported_by(path)) & ALL - {room}
    found -= {target for source, target in ALLOWED if source == room}
    if room != "__init__":
        assert found <= MAY_IMPORT.get(room, set())


def test_the_reader_of_imports_sees_all_forms(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "a.py"
    path.write_text(
        "import llie_core.data.images as images\nfrom llie_core import losses\n"
        "from ..metrics import psnr\nfrom .base import Enhancer\n"
        "def f():\n    from llie_core.engine.fit import fit\n"
    )
    assert set(imported_by(path)) == {"data", "losses", "metrics", "models", "engine"}


# What an import loads -------------------------------------------------------------------------


def modules_after(statement):
    program = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.split(".")[0] for name in done.stdout.split()}


PLOTTING = {"matplotlib", "seaborn", "pandas", "IPython", "papermill", "nbconvert", "nbformat"}
HEAVY = PLOTTING | {
    "skimage", "scipy", "facenet_pytorch", "torchmetrics", "pycocotools",
    "segmentation_models_pytorch",
}  # fmt: skip


def test_importing_the_command_imports_nothing_heavy():
    light = modules_after("import llie_core, llie_core.cli")
    assert not light & (HEAVY | {"torch", "torchvision", "numpy"})


def test_importing_the_rooms_imports_nothing_heavy():
    rooms = ", ".join(f"llie_core.{room}" for room in sorted(BASE))
    loaded = modules_after(f"import llie_core.engine.fit, {rooms}")
    assert "torch" in loaded and not loaded & HEAVY


def test_training_needs_neither_notebooks_nor_plots():
    loaded = modules_after(
        "from llie_core.papers import list_papers, open_study\n"
        "for name in list_papers(): open_study(name, 'smoke')"
    )
    assert not loaded & PLOTTING


# Style ----------------------------------------------------------------------------------------


@each_module
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
