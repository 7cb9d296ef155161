"""Reports: what a page shows, what a failure leaves, and what the index says of both."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from llie_core.files import is_locked
from llie_core.reporting import execute
from llie_core.reporting.execute import (
    ReportFailed,
    build_report,
    error_line,
    is_current,
    report_name,
)
from llie_core.reporting.index import write_headline, write_index

ROOT = Path(__file__).parents[2]
SCRIPT = "<script>alert('x')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;"
PARAMETERS = {"dataset": "toy", "profile": "smoke"}
CELL = 'dataset = "none"\nprofile = "none"\nseeds = [0]\ndata = ""\nsettings = {}'
GOOD = [
    ("markdown", "# A report\n\nIts words.", []),
    ("code", f'{CELL}\nprint("said by parameters")', ["parameters"]),
    ("code", "import sys\nprint('progress on stderr', file=sys.stderr)\nprint(dataset)", []),
    (
        "code",
        "from llie_core.reporting.tables import Table\n"
        f"hidden_code = 1\nTable({SCRIPT!r}, ['a'], [['a cell']])",
        [],
    ),
    (
        "code",
        "import matplotlib.pyplot as plt\nfrom llie_core.reporting.figures import show\n"
        "figure, axis = plt.subplots(figsize=(1, 1))\nshow(figure, 'An alternative \"text\" <b>')",
        [],
    ),
    (
        "code",
        "from llie_core.reporting.index import write_headline\n"
        f"write_headline('good', dataset, profile, 'CPU <1>', 'better by 3 {SCRIPT[:8]}', 'Why?')",
        [],
    ),
]
PARAMETERS_CELL = ("code", CELL, ["parameters"])
BAD = [
    PARAMETERS_CELL,
    ("code", f"raise ValueError('the data set is not at home {SCRIPT[:8]}\\nlast line')", []),
]
CARD = re.compile(r'<li class="card".*?</li>', re.S)
KILLED = [PARAMETERS_CELL, ("code", "import os\nos.kill(os.getpid(), 9)", [])]


def write_notebook(path, cells):
    nb = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "title": f"Toy</title>{SCRIPT}",
        }
    )
    for kind, source, tags in cells:
        new = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        nb.cells.append(new(source, metadata={"tags": tags}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)


def place(root, patch):
    """Let reports be made in `root`."""
    patch.setenv("LLIE_RESULTS", str(root / "results"))
    patch.setenv("LLIE_REPORTS", str(root / "reports"))
    patch.delenv("LLIE_REPORT", raising=False)
    patch.setattr(execute, "project_root", lambda: root)


def state_of(root, name):
    return json.loads((root / "results" / "reports" / f"{name}.json").read_text())


# A report -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A throw-away project: `good` was reported, `bad` failed, `killed` lost its kernel."""
    root = tmp_path_factory.mktemp("project")
    for name, cells in (("good", GOOD), ("bad", BAD), ("killed", KILLED)):
        write_notebook(root / "notebooks" / f"{name}.ipynb", cells)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("IPYTHONDIR", "LLIE_REPORT", "JUPYTER_PREFER_ENV_PATH"):
            patch.setenv(variable, "")  # restored afterwards
        place(root, patch)
        page = build_report("good", PARAMETERS)
        errors = []
        for name in ("bad", "killed"):
            with pytest.raises(ReportFailed) as failure:
                build_report(name, PARAMETERS)
            errors.append(str(failure.value))
        yield SimpleNamespace(root=root, page=page, errors=errors)


class Page(HTMLParser):
    """What a page fetches or links to, its images, and the tags in it."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.images, self.links = set(), [], []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        if tag == "img":
            self.images.append(attributes)
        self.links += [attributes[k] for k in ("src", "href") if k in attributes]


def test_report_reads_offline(project):
    page = Page(project.page)
    assert project.page.name == "good-toy-smoke.html"
    outside = [x for x in page.links if not x.startswith(("data:", "#", "index.html"))]
    assert outside == []
    assert not page.tags & {"link", "iframe", "object"}
    assert "@import" not in page.text and "url(http" not in page.text


def test_report_shows_results_and_no_code(project):
    text = Page(project.page).text
    for expected in ("<h1", "A report", "Its words.", "a cell", ">toy\n"):
        assert expected in text, expected
    for hidden in ("hidden_code", "said by parameters", "progress on stderr", "import sys", "In ["):
        assert hidden not in text, hidden
    assert "<title>Toy&lt;/title&gt;" in text and "&lt;script&gt;alert(" in text
    assert SCRIPT not in text


def test_every_image_of_a_report_has_its_alt_text(project):
    images = Page(project.page).images
    assert [p["alt"] for p in images] == ['An alternative "text" <b>']
    assert images[0]["src"].startswith("data:image/png;base64,")


def test_finished_notebook_and_state_are_recorded(project):
    folder = project.root / "results" / "notebooks"
    executed = nbformat.read(folder / "good-toy-smoke.ipynb", 4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    state = state_of(project.root, "good-toy-smoke")
    assert (state["state"], state["error"], state["paper"]) == ("done", "", "good")
    assert state["parameters"] == PARAMETERS and state["seconds"] > 0 and state["finished"]


def test_failure_leaves_nothing_that_looks_finished(project):
    line = "ValueError: the data set is not at home <script>"
    assert project.errors[0] == f"bad-toy-smoke: {line}"
    assert not (project.root / "reports" / "bad-toy-smoke.html").exists()
    folder = project.root / "results" / "notebooks"
    assert not (folder / "bad-toy-smoke.ipynb").exists()
    assert (folder / "bad-toy-smoke.failed.ipynb").exists()
    state = state_of(project.root, "bad-toy-smoke")
    assert (state["state"], state["error"]) == ("failed", line)


def test_a_killed_kernel_is_named_with_what_to_do(project):
    line = project.errors[1]
    assert line.startswith("killed-toy-smoke: DeadKernelError: Kernel died (")
    assert "want of memory" in line and "\n" not in line
    assert state_of(project.root, "killed-toy-smoke")["state"] == "failed"


def test_index_lists_all_with_state_headline_and_error(project):
    index = Page(project.root / "reports" / "index.html")
    bad, killed, good = CARD.findall(index.text)
    assert '<a href="good-toy-smoke.html">A report</a>' in good
    assert '<span class="done">done</span>' in good and "CPU &lt;1&gt;" in good
    assert "better by 3 &lt;script&gt;" in good and re.search(r">good-toy-smoke · \d+ s · ", good)
    assert '<img alt="A report" src="data:' in good
    assert "<em>Why?</em>" in good and 'data-dataset="toy"' in good
    assert "<a " not in bad and '<span class="failed">failed</span>' in bad
    assert "the data set is not at home &lt;script&gt;" in bad and "Kernel died" in killed
    assert "results/notebooks/bad-toy-smoke.failed.ipynb" in bad
    image, link = index.links
    assert link == "good-toy-smoke.html" and image.startswith("data:image/jpeg;base64,")


# What failure and success leave ---------------------------------------------------------------


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """build() of a report whose notebook is not run; where it leaves what."""
    monkeypatch.setenv("IPYTHONDIR", "")
    place(tmp_path, monkeypatch)
    monkeypatch.setattr(execute, "__file__", str(tmp_path / "package" / "reporting" / "execute.py"))
    write_notebook(tmp_path / "notebooks" / "toy.ipynb", [PARAMETERS_CELL])

    def run(source, executed, _parameters, **_options):
        executed.write_text(source.read_text())

    monkeypatch.setattr("papermill.execute_notebook", run)

    def build(**parameters):
        return build_report("toy", {**PARAMETERS, **parameters})

    return SimpleNamespace(
        build=build,
        root=tmp_path,
        html=tmp_path / "reports" / "toy-toy-smoke.html",
        notebook=tmp_path / "results" / "notebooks" / "toy-toy-smoke.ipynb",
        state=tmp_path / "results" / "reports" / "toy-toy-smoke.json",
        index=tmp_path / "reports" / "index.html",
    )


def raising(error):
    def fail(*_arguments, **_options):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "state"),
    [(RuntimeError("stopped"), "failed"), (KeyboardInterrupt("stopped"), "interrupted")],
)
def test_failure_after_a_success_removes_the_old_report(error, state, toy, monkeypatch):
    toy.build()
    assert toy.html.exists() and toy.notebook.exists() and '"done"' in toy.state.read_text()
    monkeypatch.setattr("papermill.execute_notebook", raising(error))
    with pytest.raises(ReportFailed if state == "failed" else KeyboardInterrupt):
        toy.build()
    assert not toy.html.exists() and not toy.notebook.exists()
    assert json.loads(toy.state.read_text())["state"] == state
    (card,) = CARD.findall(toy.index.read_text())
    assert f'class="{state}"' in card and "<a " not in card


def test_a_report_that_cannot_be_exported_is_a_failure(toy, monkeypatch):
    with monkeypatch.context() as patch:
        error = OSError("no space left")
        patch.setattr("nbconvert.HTMLExporter.from_notebook_node", raising(error))
        with pytest.raises(ReportFailed, match="toy-toy-smoke: OSError: no space left"):
            toy.build()
    assert not toy.html.exists() and not toy.notebook.exists()
    toy.build()  # success after a failure clears it
    assert toy.html.exists() and json.loads(toy.state.read_text())["error"] == ""
    assert not toy.notebook.with_suffix(".failed.ipynb").exists()
    assert 'class="failed"' not in toy.index.read_text()


def test_a_report_in_progress_reads_running_and_one_that_was_killed_interrupted(toy, monkeypatch):
    seen = []

    def run(source, executed, _parameters, **_options):
        seen.append(toy.index.read_text())
        raise SystemExit  # for the record alone: a kill leaves no time to write one

    monkeypatch.setattr("papermill.execute_notebook", run)
    with pytest.raises(SystemExit):
        toy.build()
    assert 'class="running"' in seen[0]
    state = json.loads(toy.state.read_text()) | {"state": "running"}
    toy.state.write_text(json.dumps(state))
    assert not is_locked(toy.root / "results" / "notebooks" / "toy-toy-smoke.lock")
    write_index()
    assert 'class="interrupted"' in toy.index.read_text()
    assert not is_current("toy", PARAMETERS)


def test_files_of_1999_and_a_clock_there_make_a_report_that_is_current(toy, monkeypatch):
    when = 915_148_800.0  # seconds, 1 January
    os.utime(toy.root / "notebooks" / "toy.ipynb", (when, when))
    monkeypatch.setattr(time, "time", lambda: when)
    assert toy.build() == toy.html and is_current("toy", PARAMETERS)


def test_temporaries_that_a_killed_report_left_are_swept(toy):
    left = [folder / ".a.1.tmp" for folder in (toy.html.parent, toy.state.parent)]
    for path in left:
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (0, 0))
    toy.build()
    assert not any(path.exists() for path in left)


# Names and parameters -------------------------------------------------------------------------


def test_other_seeds_data_or_settings_have_a_name_of_their_own():
    names = [
        report_name("toy", PARAMETERS | own)
        for own in ({}, {"seeds": [1]}, {"data": "/d"}, {"settings": {"a": 1}})
    ]
    assert names[0] == "toy-toy-smoke" and len(set(names)) == 4
    assert all(re.fullmatch(r"toy-toy-smoke(-[0-9a-f]{6})?", name) for name in names)
    assert report_name("toy", PARAMETERS | execute.DEFAULTS) == names[0]
    nested = [{"a": {"b": 1, "c": "1:0"}}, {"a": {"c": "1:0", "b": 1}}]
    assert len({report_name("toy", PARAMETERS | {"settings": one}) for one in nested}) == 1


@pytest.mark.parametrize("name", ["../../x", "/x", "", ".", "..", "a b", "<b>", "a;b", "$(x)"])
@pytest.mark.parametrize("key", ["paper", "dataset", "profile"])
def test_names_cannot_lead_out_of_the_folder(key, name, toy):
    paper, parameters = "toy", dict(PARAMETERS)
    if key == "paper":
        paper = name
    else:
        parameters[key] = name
    with pytest.raises(ValueError, match=f"{key}: {re.escape(repr(name))} is no name"):
        build_report(paper, parameters)
    assert not (toy.root / "results").exists()


def test_unknown_notebooks_and_parameters_are_named(toy):
    with pytest.raises(ValueError, match=r"no notebook 'joy'; did you mean 'toy'\? \(known: toy\)"):
        build_report("joy", PARAMETERS)
    with pytest.raises(ValueError, match="toy: the parameters have no dataset, profile"):
        build_report("toy", {})
    code = "x = print('run as Python')\nseeds"
    with pytest.raises(ValueError, match=r"no parameter .*: dataset, profile, seeds, data, s"):
        toy.build(**{code: 1})
    assert not toy.state.exists()


# Errors ---------------------------------------------------------------------------------------


def cell_error(kind, text):
    error = RuntimeError("a long traceback")
    error.ename, error.evalue = kind, text
    return error


def test_the_line_of_an_error_is_its_type_and_first_line():
    assert error_line(ValueError("one\ntwo\n\n")) == "ValueError: one"
    assert error_line(ValueError("\x1b[31mred\x1b[0m")) == "ValueError: red"
    assert error_line(KeyError("x")) == "KeyError: 'x'"
    cell = cell_error("FileNotFoundError", "wider-face: say where it is")
    assert error_line(cell) == "FileNotFoundError: wider-face: say where it is"
    assert error_line(RuntimeError("")) == "RuntimeError"


@pytest.mark.parametrize(
    ("kind", "text", "line", "advice"),
    [
        (
            "AcceleratorError",
            "CUDA error: device-side assert triggered\nSearch for `cudaErrorAssert' in ...\n"
            "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n",
            "AcceleratorError: CUDA error: device-side assert triggered",
            "CUDA_LAUNCH_BLOCKING=1",
        ),
        (
            "OutOfMemoryError",
            "CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has …",
            "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
            "smaller batch or image size",
        ),
        ("DeadKernelError", "Kernel died", "DeadKernelError: Kernel died", "fewer jobs (make -j)"),
    ],
)
def test_errors_of_the_machine_say_what_to_do(kind, text, line, advice):
    found = error_line(cell_error(kind, text))
    assert found.startswith(f"{line} (") and advice in found and "\n" not in found


# Records of others ----------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b'{"name": "other', b"[1]", b"{}", b"\xff\xfe"])
def test_a_damaged_record_of_another_report_is_set_aside_and_named(damage, toy, capsys):
    other = toy.state.with_name("other-toy-smoke.json")
    other.parent.mkdir(parents=True)
    other.write_bytes(damage)
    assert toy.build() == toy.html
    assert capsys.readouterr().err == (
        f"{other}: damaged, set aside as {other.name}.damaged; run its report again\n"
    )
    assert other.with_name(f"{other.name}.damaged").read_bytes() == damage
    assert not other.exists() and len(CARD.findall(toy.index.read_text())) == 1


def test_a_damaged_headline_is_set_aside(toy, monkeypatch, capsys):
    toy.build()
    monkeypatch.setenv("LLIE_REPORT", "toy-toy-smoke")
    write_headline("toy", "toy", "smoke", "CPU", "better by 3")
    write_index()
    assert "better by 3" in toy.index.read_text()
    headline = toy.state.parent / "headlines" / "toy-toy-smoke.json"
    headline.write_text("{")
    write_index()
    assert str(headline) in capsys.readouterr().err and toy.html.name in toy.index.read_text()


def test_two_reports_have_a_headline_each_and_the_one_in_the_summary_is_current(toy, monkeypatch):
    for seed in (0, 1):
        toy.build(seeds=[seed])
        name = report_name("toy", PARAMETERS | {"seeds": [seed]})
        monkeypatch.setenv("LLIE_REPORT", name)
        write_headline("toy", "toy", "smoke", "CPU", f"headline {seed}")
    write_index()
    rows = CARD.findall(toy.index.read_text())
    assert sorted(re.findall(r"headline \d", "".join(rows))) == ["headline 0", "headline 1"]
    assert ["headline 0" in row for row in rows] == [">toy-toy-smoke<" in row for row in rows]
    assert is_current("toy", PARAMETERS | {"seeds": [1]})
    assert not is_current("toy", PARAMETERS | {"seeds": [0]})  # the summary shows the other


def test_fetched_weights_make_a_report_anew(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path / "weights"))
    toy.build()
    assert is_current("toy", PARAMETERS)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "niqe.mat").write_bytes(b"1")
    assert not is_current("toy", PARAMETERS)


def test_the_index_links_to_no_page_that_was_deleted(toy):
    toy.build()
    assert toy.html.name in toy.index.read_text()
    toy.html.unlink()
    write_index()
    text = toy.index.read_text()
    assert toy.html.name not in text and 'class="done"' in text


# What has not changed is not done again -------------------------------------------------------


def changed(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("touch", ["page", "notebook", "data", "external", "reference", "record"])
def test_a_report_is_current_until_what_it_is_made_from_changes(touch, toy):
    data = toy.root / "my data"
    changed(data / "low" / "1.png", "a")
    changed(toy.root / "external" / "retinexnet" / "1.png", "a")
    own = {"data": str(data), "settings": {"external": "external", "rows": ["2:1"]}}
    parameters = PARAMETERS | own
    assert not is_current("toy", parameters)
    page = toy.build(**own)
    assert is_current("toy", parameters) and not is_current("toy", PARAMETERS)
    paths = {
        "page": page,
        "notebook": toy.root / "notebooks" / "toy.ipynb",
        "data": data / "low" / "1.png",
        "external": toy.root / "external" / "retinexnet" / "1.png",
        "reference": toy.root / "results" / "reference" / "toy" / "scores.csv",
        "record": toy.state.with_name(f"{page.stem}.json"),
    }
    if touch == "page":
        page.unlink()
    else:
        text = paths[touch].read_text() if paths[touch].exists() else ""
        changed(paths[touch], f"{text}\n " if touch == "notebook" else f"{text} .")
    assert not is_current("toy", parameters)


def test_a_report_is_not_current_when_the_code_changes(toy):
    package = toy.root / "package"
    for name in ("a.py", "models/b.toml"):
        changed(package / name, "1")
    toy.build()
    assert is_current("toy", PARAMETERS)
    changed(package / "a.pyc", "1")
    assert is_current("toy", PARAMETERS)
    changed(package / "models" / "b.toml", "2")
    assert not is_current("toy", PARAMETERS)


def test_the_summary_is_current_until_another_report_is_made(toy):
    write_notebook(toy.root / "notebooks" / "summary.ipynb", [PARAMETERS_CELL])
    toy.build()
    build_report("summary", PARAMETERS)
    assert is_current("summary", PARAMETERS)
    toy.build()
    assert not is_current("summary", PARAMETERS)


# Other processes ------------------------------------------------------------------------------

REPORT = """
import sys
from pathlib import Path
from llie_core.reporting import execute
execute.project_root = lambda: Path(sys.argv[1])
from llie_core.cli import main
sys.exit(main(["report", sys.argv[2], "--parameters", sys.argv[3]]))
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start(name, cells): a process that makes the report of a notebook of these cells."""
    place(tmp_path, monkeypatch)
    parameters = tmp_path / "parameters.yml"
    parameters.write_text("dataset: toy\nprofile: smoke\n")
    processes = []

    def begin(name, cells):
        notebook = tmp_path / "notebooks" / f"{name}.ipynb"
        if not notebook.exists():  # cells written anew have other ids
            write_notebook(notebook, [PARAMETERS_CELL, *cells])
        command = [sys.executable, "-c", REPORT, str(tmp_path), name, str(parameters)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, cwd=ROOT, text=True, **pipes))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(path, seconds=90):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.05)


def test_two_kernels_run_side_by_side_without_a_port(tmp_path, start):
    meet = """
import json, time
from pathlib import Path
from ipykernel.connect import get_connection_file
connection = json.loads(Path(get_connection_file()).read_text())
assert connection["transport"] == "ipc", connection
mine, other = Path("{0}"), Path("{1}")
mine.touch()
until = time.monotonic() + 60
while not other.exists():
    assert time.monotonic() < until, "the other kernel did not start"
    time.sleep(.01)
"""
    a, b = tmp_path / "a", tmp_path / "b"
    names = {"one": (a, b), "two": (b, a)}
    running = {n: start(n, [("code", meet.format(*paths), [])]) for n, paths in names.items()}
    for name, process in running.items():
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output == f"{tmp_path / 'reports' / name}-toy-smoke.html\n"
    # Sockets beside the notebooks were what the kernels met in.
    assert {path.name for path in (tmp_path / "notebooks").iterdir()} == {"one.ipynb", "two.ipynb"}


def test_a_report_that_two_processes_start_is_made_once(tmp_path, start):
    made, go = tmp_path / "made", tmp_path / "go"
    cell = f"""
import time
from pathlib import Path
with Path("{made}").open("a") as file:
    file.write("once ")
until = time.monotonic() + 120
while not Path("{go}").exists():
    assert time.monotonic() < until, "nobody waited"
    time.sleep(.05)
"""
    first = start("twice", [("code", cell, [])])
    wait_for(made)
    second = start("twice", [("code", cell, [])])
    waits = second.stderr.readline()
    assert waits.startswith("twice-toy-smoke: another process is at work on it; waiting")
    go.touch()
    for process in (first, second):
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output == f"{tmp_path / 'reports' / 'twice'}-toy-smoke.html\n"
    assert made.read_text() == "once "


def test_a_signal_leaves_one_line_a_record_and_no_kernel(tmp_path, start):
    wait = """
import os, time
from pathlib import Path
Path("{0}.new").write_text(str(os.getpid()))
os.rename("{0}.new", "{0}")
time.sleep(300)
"""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    markers = {number: tmp_path / number.name for number in signals}
    processes = {n: start(n.name, [("code", wait.format(markers[n]), [])]) for n in signals}
    for number, process in processes.items():
        wait_for(markers[number])
        process.send_signal(number)
    for number, process in processes.items():
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + number and output == ""
        assert errors == "llie: interrupted; run the same command again to resume\n"
        state = state_of(tmp_path, f"{number.name}-toy-smoke")
        assert (state["state"], state["error"]) == ("interrupted", "interrupted")
        with pytest.raises(ProcessLookupError):
            os.kill(int(markers[number].read_text()), 0)
    assert (tmp_path / "reports" / "index.html").read_text().count('class="interrupted"') == 3
