"""Run a notebook with papermill, export it to HTML, and record it in the index of reports."""

import ast
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llie_core.files import locked, project_root, write_text
from llie_core.hashing import content_hash, file_hash
from llie_core.names import unknown
from llie_core.plugins import plugin_files
from llie_core.reporting import index
from llie_core.signals import handling, interrupt
from llie_core.weights import shipped_files, weights_dir

SUMMARY = "summary"  # the notebook that reads what the others recorded
# Parameters that a report's name leaves out.
DEFAULTS = {"seeds": [0], "data": "", "settings": {}}
# What to do about errors whose first line does not say it.
ADVICE = {
    r"out of memory|OutOfMemory|MemoryError|not enough memory": "use a smaller batch or image size",
    r"DeadKernel|Kernel died": "the system killed its process, most often for want of memory: use "
    "a smaller batch or image size, or fewer jobs (make -j), and run the same command again",
    r"CUDA|CUBLAS|CUDNN|cuDNN": "set CUDA_LAUNCH_BLOCKING=1 and run again to see the call at fault",
}
_CODE = {".py", ".toml", ".csv", ".json", ".j2", ".css", ".js"}


class ReportFailed(RuntimeError):
    """A notebook stopped with an error; the message is the report's name and `error_line`."""


def report_name(paper: str, parameters: dict) -> str:
    """<paper>-<dataset>-<profile>, as report, notebook and records are named.

    Other seeds, data or settings than the defaults add a hash of them, so that two reports differ.

    Raises:
        ValueError: dataset or profile is missing, or one of the three is no name.
    """
    parameters = parameters or {}
    missing = [key for key in ("dataset", "profile") if key not in parameters]
    if missing:
        raise ValueError(f"{paper}: the parameters have no {', '.join(missing)}")
    names = {"paper": paper, **{key: str(parameters[key]) for key in ("dataset", "profile")}}
    for key, value in names.items():
        if not re.fullmatch(r"\w[\w.+-]*", value):
            raise ValueError(f"{key}: {value!r} is no name (letters, digits, '-', '_', '.', '+')")
    own = {key: parameters.get(key, default) for key, default in DEFAULTS.items()}
    suffix = "" if own == DEFAULTS else f"-{content_hash(own)[:6]}"
    return "-".join(names.values()) + suffix


def build_report(paper: str, parameters: dict) -> Path:
    """Execute notebooks/<paper>.ipynb with `parameters` and write its HTML; returns the path.

    Whatever happens is recorded for the index. Without success the HTML and the notebook of an
    earlier one are removed, and the partly executed notebook stays as <name>.failed.ipynb.
    Where another process makes the same report, such as a task of one `srun -n2`, its is taken.

    Raises:
        ValueError: no such notebook or parameter.
        ReportFailed: a cell or the export failed.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP.
    """
    name = report_name(paper, parameters)
    source = _notebook(paper)
    known = _parameter_names(source)
    for key in parameters:
        if key not in known:
            raise unknown("parameter", key, known)
    target, executed = index.page_path(name), index.executed_path(name)
    partial = index.executed_path(f"{name}.failed")
    began, before = time.perf_counter(), index.read_state(name)
    with locked(index.lock_path(name), name), _interrupted_by_signals():
        if index.read_state(name) != before and is_current(paper, parameters):
            return target  # made by another process since this one began
        state: dict[str, Any] = {"name": name, "paper": paper, "parameters": parameters}
        state |= {"inputs": _inputs(paper, parameters), "state": "running", "error": ""}
        state["seconds"] = 0
        index.record(state)
        try:
            _execute(source, partial, parameters, name)
            state |= export_page(partial, target, name)
            partial.replace(executed)
            state["state"] = "done"
        except Exception as error:
            state |= {"state": "failed", "error": error_line(error)}
            raise ReportFailed(f"{name}: {state['error']}") from error
        except BaseException:
            state |= {"state": "interrupted", "error": "interrupted"}
            raise
        finally:
            state["seconds"] = round(time.perf_counter() - began, 1)
            index.record(state)
    return target


def is_current(paper: str, parameters: dict) -> bool:
    """Whether the report is there, made from what it would be made from now, and the one of its
    data set and profile that the summary shows."""
    name = report_name(paper, parameters)
    state = index.read_state(name)
    done = state.get("state") == "done" and index.page_path(name).exists()
    shown = index.shows(paper, parameters["dataset"], parameters["profile"])
    return done and shown in (None, name) and state.get("inputs") == _inputs(paper, parameters)


def error_line(error: BaseException) -> str:
    """Type and first line of an error (of the error in a cell, where a cell failed), and advice."""
    kind = getattr(error, "ename", type(error).__name__)
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(getattr(error, "evalue", error))).strip()
    line = f"{kind}: {text.splitlines()[0]}" if text else kind
    advice = next((words for pattern, words in ADVICE.items() if re.search(pattern, line)), "")
    return f"{line} ({advice})" if advice else line


# Execution ------------------------------------------------------------------------------------


def _notebook(paper: str) -> Path:
    folder = project_root() / "notebooks"
    if not (folder / f"{paper}.ipynb").exists():
        raise unknown("notebook", paper, sorted(path.stem for path in folder.glob("*.ipynb")))
    return folder / f"{paper}.ipynb"


def _parameter_names(source: Path) -> list[str]:
    """The names that a notebook's parameters cell assigns."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    nodes = [n for cell in tagged for n in ast.walk(ast.parse("".join(cell["source"])))]
    return [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def _interrupted_by_signals() -> contextlib.AbstractContextManager[None]:
    """Let the first signal interrupt, and it alone: a later one would interrupt its record."""
    arrived: list[int] = []

    def first(number: int) -> None:
        arrived.append(number)
        if len(arrived) == 1:
            interrupt(number)

    return handling(first)


def _execute(source: Path, partial: Path, parameters: dict, name: str) -> None:
    import papermill
    from traitlets.config import Config

    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as ipython_dir:
        # A history file shared by parallel kernels can hang them, and so can a TCP port. The path
        # of a socket has a limit, which a long TMPDIR may exceed.
        address = f"{ipython_dir}/ipc"
        manager = {"transport": "ipc", "ip": address} if len(address) < 90 else {}
        os.environ["IPYTHONDIR"] = ipython_dir
        os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
        os.environ["LLIE_REPORT"] = name
        # A kernel that is asked to end, and not killed, prints its traceback after Ctrl-C.
        papermill.execute_notebook(
            source, partial, parameters, kernel_name="python3", progress_bar=sys.stderr.isatty(),
            cwd=str(source.parent), config=Config({"KernelManager": manager}),
            shutdown_kernel="immediate",
        )  # fmt: skip


def export_page(executed: Path, target: Path, title: str) -> dict[str, str]:
    """Write the page; returns what the index shows of it."""
    import nbformat

    from llie_core.reporting.page import card, page_html

    page = page_html(nbformat.read(executed, as_version=4), title)
    write_text(target, page)
    return card(page)


# What a report is made from -------------------------------------------------------------------


def _inputs(paper: str, parameters: dict) -> str:
    """Hash of parameters, notebook and code; of name, size and time of the files that they name,
    of weights and of plug-ins."""
    contents = [file_hash(_notebook(paper)), code_contents()]
    root = project_root()
    used = [root / text for text in _texts([parameters.get(key) for key in DEFAULTS]) if text]
    used.append(root / "results" / "reference" / ("" if paper == SUMMARY else paper))
    used += [weights_dir(), *shipped_files(), *plugin_files()]
    if paper == SUMMARY:
        own = report_name(paper, parameters)
        used += [path for path in index.states_dir().glob("*.json") if path.stem != own]
    return content_hash([parameters, contents, [_listing(path) for path in used]])


def code_contents() -> dict[str, str]:
    """File → hash of its contents, of all files of the package that decide what it does."""
    package = Path(__file__).parents[1]
    code = sorted(path for path in package.rglob("*") if path.suffix in _CODE)
    return {str(path.relative_to(package)): file_hash(path) for path in code}


def _texts(value: object) -> Iterator[str]:
    """Every text in nested lists and dicts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _listing(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of a file, or of every file of a folder; empty where neither is."""
    if path.is_dir():
        paths = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    else:
        paths = [path] if path.is_file() else []
    status = [(str(file), file.stat()) for file in paths if file.exists()]
    return [(name, found.st_size, found.st_mtime_ns) for name, found in status]
