"""Tables, figures and HTML reports: layout, escaping, alt text, and what a failure leaves."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import matplotlib
import nbformat
import pytest
import torch

from llie_core.reporting import execute, tables
from llie_core.reporting.execute import ReportFailed, build_report, last_line, write_headline
from llie_core.reporting.scores import Score
from llie_core.reporting.tables import (
    Table,
    claims_table,
    conditions,
    published_beside_measured,
    score_table,
    verdict_counts,
)

matplotlib.use("Agg")

SCRIPT = "<script>alert('x')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;"
SCORE = Score(
    run="joint/builtin-faces/quick/zero_dce_pp+2:1/seed0", method="zero_dce_pp", variant="2:1",
    recognizer="mtcnn", dataset="builtin-faces", split="test", subset="hard", metric="ap",
    unit="fraction", direction="higher", value=0.5, n=96, seed=0, protocol="face-ap-height",
    profile="quick", device="CPU (1 threads)", precision="float32", steps_done=150,
    steps_planned=322_000, weights="trained here",
)  # fmt: skip
PSNR = replace(
    SCORE, metric="psnr", subset="all", unit="dB", value=17.126, n=64, protocol="psnr-rgb-float"
)


# Tables ---------------------------------------------------------------------------------------


def test_table_as_text_is_aligned():
    table = Table("Sizes", ["name", "n"], [["a", "1"], ["longer", "22"]], "A note.")
    assert repr(table).split("\n") == [
        "Sizes", "name    n", "a       1", "longer  22", "A note.",
    ]  # fmt: skip
    assert repr(Table("Nothing", ["name"], [])) == "Nothing\nname"


def test_every_part_of_a_table_is_escaped():
    page = Table(SCRIPT, [SCRIPT, "b"], [[SCRIPT, 'a & "b"']], SCRIPT)._repr_html_()
    assert page.count(ESCAPED) == 4 and "<script" not in page
    assert "a &amp; &quot;b&quot;" in page


def test_table_as_html_has_caption_header_body_and_note():
    page = Table("Sizes", ["name", "n"], [["a", 1]], "A note.")._repr_html_()
    assert "<caption>Sizes</caption>" in page and '<p class="note">A note.</p>' in page
    assert page.count("<th ") == 2 and page.count("<td ") == 2
    assert '<td class="text">a</td><td class="number">1</td>' in page
    assert "note" not in Table("Sizes", ["name"], [])._repr_html_()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "10,561", "0.94", "not run"], "number"),
        (["0.60 ± 0.14", "–"], "number"),
        (["0.9380 *", "not legible"], "number"),
        (["0.9", "holds on builtin-faces"], "text"),
        (["zero_dce_pp"], "text"),
    ],
)
def test_columns_of_numbers_stand_to_the_right(cells, kind):
    page = Table("", ["a column"], [[cell] for cell in cells])._repr_html_()
    assert page.count(f'class="{kind}"') == 1 + len(cells)


def test_table_4_1_stands_in_its_layout_beside_the_measured_values():
    scores = [
        SCORE,
        replace(SCORE, value=0.7, seed=1),
        replace(SCORE, subset="easy", value=0.91),
        replace(SCORE, method="identity", variant="", value=0.125, steps_planned=0),
        replace(SCORE, method="gamma", variant="", value=0.999, steps_planned=0),
    ]
    table = published_beside_measured("joint", "4.1", iter(scores), "Table 4.1")
    assert table.caption == "Table 4.1"
    assert table.header == [
        "", "easy, published", "easy, here", "medium, published", "medium, here",
        "hard, published", "hard, here",
    ]  # fmt: skip
    assert table.rows == [
        ["Low light images", "0.9404", "not run", "0.9259", "not run", "0.8852", "0.1250"],
        ["Zero-DCE", "0.9437", "not run", "0.9312", "not run", "0.8904", "not run"],
        [
            "Joint training", "0.9478", "0.9100", "0.9387", "not run", "0.8998",
            "0.6000 ± 0.1414",
        ],
        ["Original images", "0.9631", "not run", "0.9564", "not run", "0.9301", "not run"],
    ]  # fmt: skip
    assert table.note.startswith("Published: wider-face-dark with tinaface. Here: builtin-faces")
    assert "0.999" not in repr(table)  # gamma is no row of the thesis's table


def test_table_4_2_has_eight_rows_and_marks_the_misprint():
    table = published_beside_measured("joint", "4.2", [], "Table 4.2")
    labels = [row[0] for row in table.rows]
    assert labels == ["1:0", "1:1", "3:2", "2:1", "3:1", "2:3", "1:3", "0:1"]
    assert table.rows[2][5] == "0.9380 *"
    assert {cell for row in table.rows for cell in row[2::2]} == {"not run"}
    assert "Here: nothing was measured" in table.note
    assert "* 3:2, hard: out of line" in table.note


def test_dashes_and_lost_cells_are_shown_as_such():
    sparse = published_beside_measured("drgn", "4a", [], "Table 4a")
    assert sum(cell == "–" for row in sparse.rows for cell in row) == 2 * (25 - 22)
    lost = published_beside_measured("recognition", "2", [], "Table 2")
    assert sum(cell == "not legible" for row in lost.rows for cell in row) == 8


def test_score_table_gives_mean_and_sd_and_the_places_of_the_unit():
    scores = [SCORE, replace(SCORE, value=0.7, seed=1), PSNR, replace(PSNR, method="identity")]
    table = score_table(scores, [("ap", "hard"), ("psnr", "all")], "Every row")
    assert table.header == ["", "ap, hard", "psnr"]
    assert table.rows == [
        ["zero_dce_pp+2:1", "0.600 ± 0.141", "17.13"], ["identity+2:1", "–", "17.13"],
    ]  # fmt: skip
    assert "protocol face-ap-height, psnr-rgb-float" in table.note


def test_conditions_name_everything_a_number_depends_on():
    scores = [SCORE, replace(SCORE, seed=2), replace(PSNR, steps_planned=0, steps_done=0)]
    assert conditions(scores) == (
        "builtin-faces (test split); profile quick; recognizer mtcnn; "
        "n = 96 (ap hard); n = 64 (psnr all); seed 0, 2; 150 of 322000 steps; "
        "protocol face-ap-height, psnr-rgb-float; CPU (1 threads)."
    )
    assert conditions([]) == "nothing was measured"
    assert "recognizer" not in conditions([replace(SCORE, recognizer="")])


def test_claims_and_their_counts():
    def verdict(number, word):
        claim = SimpleNamespace(id=number, place="§4", says="It helps.")
        return SimpleNamespace(claim=claim, verdict=word, evidence="0.9 > 0.8")

    verdicts = [
        verdict("2.01", "holds on builtin-faces (quick, 1 seed)"),
        verdict("2.02", "not run (why)"),
        verdict("2.03", "not run (another reason)"),
    ]
    table = claims_table(verdicts)
    assert table.rows[0] == [
        "2.01", "§4", "It helps.", "holds on builtin-faces (quick, 1 seed)", "0.9 > 0.8",
    ]  # fmt: skip
    counts = verdict_counts(verdicts)
    assert counts.caption == "Verdicts on 3 claims"
    assert counts.rows == [["holds on builtin-faces", "1"], ["not run", "2"]]


# Figures --------------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would display: a list of (figure, alt text)."""
    from llie_core.reporting import figures

    displayed = []
    monkeypatch.setattr(
        figures,
        "display",
        lambda figure, metadata: displayed.append((figure, metadata["image/png"]["alt"])),
    )
    return displayed


def panel(label, boxes):
    from llie_core.reporting.figures import Panel

    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Panel(label, torch.rand(3, 16, 16) * 1.2, boxes, torch.ones(len(boxes)))


def test_pictures_draw_every_box_and_count_them_in_the_alt_text(shown):
    from matplotlib import pyplot

    from llie_core.reporting import figures

    row = [panel("dark", []), panel("joint", [(1, 1, 5, 5), (8, 8, 14, 14)])]
    figures.pictures([row, row[:1]], "Fig. 4.1: detections")
    ((figure, alt),) = shown
    assert alt == "Fig. 4.1: detections. joint: 2 detections"
    assert [axis.get_title() for axis in figure.axes] == ["dark", "joint", "dark", ""]
    assert [len(axis.patches) for axis in figure.axes] == [0, 2, 0, 0]
    assert not any(axis.axison for axis in figure.axes)
    assert pyplot.get_fignums() == []  # closed, or a long report keeps every figure


def test_bodies_are_drawn_limb_by_limb_within_the_picture(shown):
    from llie_core.reporting import figures

    joints = torch.tensor([[[2.0, 2.0], [8.0, 40.0], [5.0, 5.0]]])
    body = figures.Panel("pose", torch.rand(3, 16, 12), joints=joints, limbs=((0, 1), (1, 2)))
    figures.pictures([[body]], "Fig. 2")
    (axis,) = shown[0][0].axes
    assert len(axis.lines) == 2
    assert axis.get_xlim() == (-0.5, 11.5) and axis.get_ylim() == (15.5, -0.5)


def test_pictures_may_have_an_alt_text_of_their_own(shown):
    from llie_core.reporting import figures

    figures.pictures([[panel("a", [])]], "A title", alt="What it shows")
    assert shown[0][1] == "What it shows."


def test_training_curves_have_one_axis_a_term_and_one_line_a_run(shown):
    from llie_core.reporting import figures

    def rows(**terms):
        return [{"step": float(i), **{k: v + i for k, v in terms.items()}} for i in range(40)]

    logs = {"1:0": rows(total=2.0, up=1.0), "0:1": rows(total=1.0, down=1.0), "unfinished": []}
    figures.training_curves(logs, ["total", "up", "down", "absent"], "Training curves")
    ((figure, alt),) = shown
    assert alt == "Training curves"
    assert [axis.get_title() for axis in figure.axes] == ["total", "up", "down"]
    assert [len(axis.lines) for axis in figure.axes] == [2, 1, 1]
    # A window of two of the 40 values 2, 3, 4, …: 2, 2.5, 3.5, 4.5, …
    assert figure.axes[0].lines[0].get_ydata()[:4].tolist() == pytest.approx([2, 2.5, 3.5, 4.5])


# Reports --------------------------------------------------------------------------------------

PARAMETERS = {"dataset": "toy", "profile": "smoke"}
GOOD = [
    ("markdown", "# A report\n\nIts words.", []),
    ("code", 'dataset = "none"\nprofile = "none"\nprint("said by parameters")', ["parameters"]),
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
]
BAD = [
    ("code", 'dataset = "none"\nprofile = "none"', ["parameters"]),
    ("code", f"raise ValueError('first line\\nthe data set is not at home {SCRIPT[:8]}')", []),
]


def write_notebook(path, cells):
    nb = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "title": "Toy",
        }
    )
    for kind, source, tags in cells:
        new = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        nb.cells.append(new(source, metadata={"tags": tags}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A throw-away project in which `good` was reported, and `bad` failed."""
    root = tmp_path_factory.mktemp("project")
    write_notebook(root / "notebooks" / "good.ipynb", GOOD)
    write_notebook(root / "notebooks" / "bad.ipynb", BAD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(root / "results"))
        patch.setenv("LLIE_REPORTS", str(root / "reports"))
        patch.setenv("IPYTHONDIR", str(root / "ipython"))
        patch.setattr(execute, "project_root", lambda: root)
        page = build_report("good", PARAMETERS)
        write_headline("good", "toy", "smoke", "CPU <1>", f"better by 3 {SCRIPT}")
        with pytest.raises(ReportFailed) as failure:
            build_report("bad", PARAMETERS)
        yield SimpleNamespace(root=root, page=page, error=failure.value)


class Page(HTMLParser):
    """What a page fetches or links to, its pictures, and the tags in it."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.pictures, self.links = set(), [], []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        if tag == "img":
            self.pictures.append(attributes)
        self.links += [attributes[k] for k in ("src", "href") if k in attributes]


def test_report_reads_offline(project):
    page = Page(project.page)
    assert project.page.name == "good-toy-smoke.html"
    outside = [x for x in page.links if not x.startswith(("data:", "#", "index.html"))]
    assert outside == []
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "@import" not in page.text and "url(http" not in page.text


def test_report_shows_results_and_no_code(project):
    text = Page(project.page).text
    for expected in ("<h1", "A report", "Its words.", "a cell", ">toy\n"):
        assert expected in text, expected
    for hidden in ("hidden_code", "said by parameters", "progress on stderr", "import sys", "In ["):
        assert hidden not in text, hidden
    assert "<title>Toy</title>" in text and "&lt;script&gt;alert(" in text


def test_every_picture_of_a_report_has_its_alt_text(project):
    pictures = Page(project.page).pictures
    assert [p["alt"] for p in pictures] == ['An alternative "text" <b>']
    assert pictures[0]["src"].startswith("data:image/png;base64,")


def test_finished_notebook_and_state_are_recorded(project):
    folder = project.root / "results" / "notebooks"
    executed = nbformat.read(folder / "good-toy-smoke.ipynb", 4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    state = json.loads((project.root / "results/reports/good-toy-smoke.json").read_text())
    assert (state["state"], state["error"], state["paper"]) == ("done", "", "good")
    assert state["parameters"] == PARAMETERS and state["seconds"] > 0 and state["finished"]


def test_failure_leaves_nothing_that_looks_finished(project):
    assert "\n" not in str(project.error)
    assert str(project.error) == "bad-toy-smoke: the data set is not at home <script>"
    assert not (project.root / "reports" / "bad-toy-smoke.html").exists()
    folder = project.root / "results" / "notebooks"
    assert not (folder / "bad-toy-smoke.ipynb").exists()
    assert (folder / "bad-toy-smoke.failed.ipynb").exists()
    state = json.loads((project.root / "results/reports/bad-toy-smoke.json").read_text())
    assert (state["state"], state["error"]) == ("failed", "the data set is not at home <script>")


def test_index_lists_both_with_state_headline_and_error(project):
    index = Page(project.root / "reports" / "index.html")
    rows = re.findall(r"<tr><td>.*?</tr>", index.text, re.S)
    bad, good = rows
    assert '<a href="good-toy-smoke.html">good-toy-smoke</a>' in good
    assert '<td class="done">done</td>' in good and "CPU &lt;1&gt;" in good
    assert f"better by 3 {ESCAPED}" in good and re.search(r"<td>\d+ s</td>", good)
    assert "<a " not in bad and '<td class="failed">failed</td>' in bad
    assert "the data set is not at home &lt;script&gt;" in bad
    assert "script" not in index.tags and index.links == ["good-toy-smoke.html"]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """build() of a report whose notebook and export are stand-ins; returns the two folders."""
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLIE_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setattr(execute, "project_root", lambda: tmp_path)
    write_notebook(tmp_path / "notebooks" / "toy.ipynb", [])

    def run(source, executed, _parameters, **_options):
        executed.write_text(source.read_text())

    monkeypatch.setattr("papermill.execute_notebook", run)
    return SimpleNamespace(
        build=lambda: build_report("toy", PARAMETERS),
        html=tmp_path / "reports" / "toy-toy-smoke.html",
        notebook=tmp_path / "results" / "notebooks" / "toy-toy-smoke.ipynb",
        state=tmp_path / "results" / "reports" / "toy-toy-smoke.json",
        index=tmp_path / "reports" / "index.html",
    )


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_after_a_success_removes_the_old_report(toy, error, monkeypatch):
    toy.build()
    assert toy.html.exists() and toy.notebook.exists() and '"done"' in toy.state.read_text()
    monkeypatch.setattr(
        "papermill.execute_notebook", lambda *_a, **_k: (_ for _ in ()).throw(error("stopped"))
    )
    with pytest.raises(ReportFailed if error is RuntimeError else KeyboardInterrupt):
        toy.build()
    assert not toy.html.exists() and not toy.notebook.exists()
    assert json.loads(toy.state.read_text())["state"] == "failed"
    assert 'class="failed"' in toy.index.read_text() and "<a " not in toy.index.read_text()


def test_a_report_that_cannot_be_exported_is_a_failure(toy, monkeypatch):
    def broken(*_arguments):
        raise OSError("no space left")

    monkeypatch.setattr(execute, "_export", broken)
    with pytest.raises(ReportFailed, match="toy-toy-smoke: OSError: no space left"):
        toy.build()
    assert not toy.html.exists() and not toy.notebook.exists()


def test_success_after_a_failure_clears_it(toy, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(execute, "_export", lambda *_a: 1 / 0)
        with pytest.raises(ReportFailed, match="ZeroDivisionError"):
            toy.build()
    toy.build()
    assert toy.html.exists() and json.loads(toy.state.read_text())["error"] == ""
    assert not toy.notebook.with_suffix(".failed.ipynb").exists()
    assert 'class="failed"' not in toy.index.read_text()


def test_unknown_notebook_and_missing_parameters_are_named(toy):
    with pytest.raises(ReportFailed, match=r"no notebook absent\.ipynb in"):
        build_report("absent", PARAMETERS)
    with pytest.raises(ValueError, match="toy: the parameters lack dataset, profile"):
        build_report("toy", {})


def test_last_line_of_an_error():
    assert last_line(ValueError("one\ntwo\n\n")) == "two"
    assert last_line(ValueError("\x1b[31mred\x1b[0m")) == "ValueError: red"
    assert last_line(KeyError("x")) == "KeyError: 'x'"
    cell = RuntimeError("a long traceback")
    cell.ename, cell.evalue = "FileNotFoundError", "wider-face: say where it is"
    assert last_line(cell) == "FileNotFoundError: wider-face: say where it is"
    assert last_line(RuntimeError("")) == "RuntimeError: "


def test_tables_of_all_papers_can_be_shown():
    from llie_core.published import PAPERS, load

    for paper in PAPERS:
        for number in dict.fromkeys(cell.table for cell in load(paper)):
            table = tables.published_beside_measured(paper, number, [], number)
            assert {len(row) for row in table.rows} == {len(table.header)}
            assert table._repr_html_().count("<tr>") == 1 + len(table.rows)
