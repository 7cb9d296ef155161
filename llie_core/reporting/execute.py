"""Run a notebook with papermill, export it to HTML, and keep the index of reports."""

import datetime
import html
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from llie_core.files import atomic, locked, project_root, reports_dir, results_dir, write_text
from llie_core.runs import read_json

TEMPLATES = Path(__file__).parent / "templates"


class ReportFailed(RuntimeError):
    """A notebook stopped with an error; the message is its last line."""


def report_name(parameters: dict, paper: str) -> str:
    """<paper>-<dataset>-<profile>, as report, notebook and state files are named."""
    lacking = [key for key in ("dataset", "profile") if key not in (parameters or {})]
    if lacking:
        raise ValueError(f"{paper}: the parameters lack {', '.join(lacking)}")
    return f"{paper}-{parameters['dataset']}-{parameters['profile']}"


def build_report(paper: str, parameters: dict) -> Path:
    """Execute notebooks/<paper>.ipynb with `parameters` and write its HTML; returns the path.

    Whatever happens is recorded for the index. On failure the HTML and the notebook of an earlier
    success are removed, the partly executed notebook is kept as <name>.failed.ipynb, and
    ReportFailed carries the last line.
    """
    name = report_name(parameters, paper)
    target = reports_dir() / f"{name}.html"
    executed = results_dir() / "notebooks" / f"{name}.ipynb"
    partial = executed.with_suffix(".failed.ipynb")
    executed.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    state = {"name": name, "paper": paper, "parameters": parameters}
    state |= {"state": "failed", "error": "interrupted"}  # until it is known to be done
    with locked(executed.with_suffix(".lock"), name):
        try:
            _execute(project_root() / "notebooks" / f"{paper}.ipynb", partial, parameters)
            _export(partial, target, name)
            partial.replace(executed)
            state |= {"state": "done", "error": ""}
        except Exception as error:
            state["error"] = last_line(error)
            raise ReportFailed(f"{name}: {state['error']}") from error
        finally:
            if state["state"] == "failed":
                target.unlink(missing_ok=True)
                executed.unlink(missing_ok=True)
            state["seconds"] = round(time.perf_counter() - began, 1)
            state["finished"] = datetime.datetime.now().isoformat(" ", "minutes")
            write_text(_states() / f"{name}.json", json.dumps(state, indent=2) + "\n")
            write_index()
    return target


def last_line(error: Exception) -> str:
    """The last line of an error: for a failed cell, that of the exception raised in it."""
    if hasattr(error, "ename"):
        text = f"{error.ename}: {error.evalue}"
    else:
        text = f"{type(error).__name__}: {error}"
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return next((line for line in reversed(text.splitlines()) if line.strip()), "unknown error")


def _execute(source: Path, partial: Path, parameters: dict) -> None:
    import papermill
    from traitlets.config import Config

    if not source.exists():
        raise FileNotFoundError(f"no notebook {source.name} in {source.parent}")
    partial.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as ipython_dir:
        # A history file shared by parallel kernels can hang them.
        os.environ["IPYTHONDIR"] = ipython_dir
        os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
        papermill.execute_notebook(
            source, partial, parameters, kernel_name="python3", progress_bar=sys.stderr.isatty(),
            cwd=str(source.parent), config=Config({"KernelManager": {"transport": "ipc"}}),
        )  # fmt: skip


def _export(executed: Path, target: Path, title: str) -> None:
    import nbformat
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        embed_images=True,
    )
    notebook = nbformat.read(executed, as_version=4)
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    write_text(target, body)


def _states() -> Path:
    return results_dir() / "reports"


def write_index() -> Path:
    """reports/index.html: every report with state, time, device and headline numbers."""
    target = reports_dir() / "index.html"
    with locked(_states() / ".index.lock", "the index of reports"):
        states = [read_json(path) for path in sorted(_states().glob("*.json"))]
        rows = "".join(_index_row(state) for state in states)
        style = (TEMPLATES / "report" / "report.css").read_text(encoding="utf-8")
        with atomic(target) as temporary:
            temporary.write_text(_INDEX.format(style=style, rows=rows), encoding="utf-8")
    return target


def write_headline(paper: str, dataset: str, profile: str, device: str, text: str) -> None:
    """What the index shows of a report; the notebook's last word before its appendix."""
    path = results_dir() / paper / dataset / profile / "headline.json"
    write_text(path, json.dumps({"device": device, "headline": text}) + "\n")


def _index_row(state: dict) -> str:
    parameters = state["parameters"]
    folder = results_dir() / state["paper"] / parameters["dataset"] / parameters["profile"]
    headline = read_json(folder / "headline.json") if state["state"] == "done" else {}
    name = html.escape(state["name"])
    link = f'<a href="{name}.html">{name}</a>' if state["state"] == "done" else name
    words = state["error"] or headline.get("headline", "")
    cells = [
        state["finished"],
        f"{state['seconds']:.0f} s",
        headline.get("device", ""),
        words,
    ]
    return (
        f'<tr><td>{link}</td><td class="{state["state"]}">{state["state"]}</td>'
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        + "</tr>\n"
    )


_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Reports</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>Low-light enhancement and recognition: reports</h1>
<p>Each report re-runs one paper on one data set: its tables as published beside what was measured
here, its figures, and a verdict on each of its claims.</p>
<div class="table"><table>
<thead><tr><th>report</th><th>state</th><th>finished</th><th>time</th><th>device</th>
<th>headline, or what went wrong</th></tr></thead>
<tbody>
{rows}</tbody></table></div>
</main>
</body>
</html>
"""
