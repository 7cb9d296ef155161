"""Tables and figures: layout, escaping, alt text."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib
import pytest
import torch

from llie_core.reporting import tables
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


def test_tables_of_all_papers_can_be_shown():
    from llie_core.published import PAPERS, load

    for paper in PAPERS:
        for number in dict.fromkeys(cell.table for cell in load(paper)):
            table = tables.published_beside_measured(paper, number, [], number)
            assert {len(row) for row in table.rows} == {len(table.header)}
            assert table._repr_html_().count("<tr>") == 1 + len(table.rows)
