"""Tables: layout, escaping, whose numbers stand where."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from made import HARD, a_score

from llie_core.metrics.protocols import load_protocols
from llie_core.papers import list_papers
from llie_core.papers.audit import Counted, audit_table
from llie_core.reporting.published import load
from llie_core.reporting.tables import (
    Table,
    claims_table,
    conditions,
    published_beside_measured,
    score_table,
    set_table,
    verdict_counts,
)

SCRIPT = "<script>alert('x')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;"
SCORE = a_score(**HARD)
PSNR = replace(
    SCORE, label="neid", metric="psnr", subset="all", value=17.126, n=64, protocol="psnr-rgb-float"
)
PAIRS = replace(PSNR, dataset="builtin-photos", recognizer="")


def test_table_as_text_is_aligned():
    table = Table("Sizes", ["name", "n"], [["a", "1"], ["longer", "22"]], "A note.")
    assert repr(table).split("\n") == [
        "Sizes", "name    n", "a       1", "longer  22", "A note.",
    ]  # fmt: skip
    assert repr(Table("Nothing", ["name"], [])) == "Nothing\nname"


def test_every_part_of_a_table_is_escaped():
    page = Table(SCRIPT, [SCRIPT, "b"], [[SCRIPT, 'a & "b"']], SCRIPT)._repr_html_()
    assert page.count(ESCAPED) >= 4 and "<script" not in page
    assert "a &amp; &quot;b&quot;" in page


def test_table_as_html_has_caption_header_body_and_note():
    page = Table("Sizes", ["name", "n"], [["a", 1]], "A note.")._repr_html_()
    assert "<caption>Sizes " in page and '<p class="note">A note.</p>' in page
    assert page.count("<th ") == 2 and page.count("<td ") == 2
    assert '<td class="text">a</td><td class="number" data-sort="1.0" data-title="n">1</td>' in page
    assert "note" not in Table("Sizes", ["name"], [["a"]])._repr_html_()


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
        replace(SCORE, label="identity", value=0.125, steps_planned=0),
        replace(SCORE, label="gamma", value=0.999, steps_planned=0),
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
    assert table.note.startswith("Published: wider-face-dark with TinaFace. Here: builtin-faces")
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
    scores = [SCORE, replace(SCORE, value=0.7, seed=1), replace(PSNR, label="identity")]
    titles = {"zero_dce_pp+2:1": "joint 2:1"}
    table = score_table(scores, [("ap", "hard"), ("psnr", "all")], "Every row", titles)
    assert table.header == ["", "AP, hard", "PSNR, dB"]
    assert table.rows == [["joint 2:1", "0.600 ± 0.141", "–"], ["input", "–", "17.13"]]
    assert "protocol face-ap-height, psnr-rgb-float" in table.note


def test_conditions_name_everything_a_number_depends_on():
    scores = [SCORE, replace(SCORE, seed=2), replace(PSNR, steps_planned=0, steps_done=0)]
    assert conditions(scores) == (
        "builtin-faces (test split); profile quick; recognizer MTCNN; "
        "n = 96 (AP hard); n = 64 (PSNR); seed 0, 2; 150 of 117500 steps; "
        "protocol face-ap-height, psnr-rgb-float; CPU (1 threads); commit 0123456789."
    )
    assert conditions([]) == "nothing was measured"
    wide = [replace(SCORE, low=0.4, high=0.6), replace(SCORE, label="clahe", low=0.1, high=0.5)]
    assert "; 95 % intervals over images, median of the rows: AP hard ± 0.15; " in conditions(wide)
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
    assert counts.note == ""
    note = verdict_counts(verdicts, ["profile quick", "5 of 15 test images"]).note
    assert note.endswith("by this run: profile quick; 5 of 15 test images.")


# Whose numbers stand in a published table --------------------------------------------------------


def cells_of(table, label):
    return next(row for row in table.rows if row[0] == label)[1:]


def test_built_in_pairs_fill_the_columns_of_the_set_they_stand_for():
    options = {"caption": "Table 2", "decimals": 2}
    shown = published_beside_measured("neid", "2", [PAIRS], stands_for="lol", **options)
    assert cells_of(shown, "LE + DR + FF") == ["22.83", "17.13"]
    assert cells_of(shown, "LE") == ["20.78", "not run"]
    assert shown.note.startswith("Published: lol. Here: builtin-photos (test split)")
    other = published_beside_measured("neid", "2", [PAIRS], stands_for="dicm", **options)
    assert cells_of(other, "LE + DR + FF") == ["22.83", "not run"]
    assert "nothing was measured" in other.note


@pytest.mark.parametrize(
    "dataset, cell", [("lol", "17.13"), ("mit-adobe-fivek", "not run"), ("dicm", "not run")]
)
def test_another_set_never_stands_for_the_papers(dataset, cell):
    scores = [replace(PAIRS, dataset=dataset)]
    table = published_beside_measured("neid", "2", scores, "", decimals=2, stands_for="lol")
    assert cells_of(table, "LE + DR + FF") == ["22.83", cell]


def test_each_score_goes_to_the_column_of_its_own_set():
    scores = [
        replace(PAIRS, label="he", metric="niqe", protocol="niqe-live", dataset=name, value=value)
        for name, value in (("dicm", 3.0), ("lime", 4.0))
    ]
    table = published_beside_measured("jcrnet", "II", scores, "", decimals=1, stands_for="lol")
    measured = [cell for row in table.rows for cell in row[2::2] if cell not in ("not run", "–")]
    assert sorted(measured) == ["3.0", "4.0"]


def test_costs_are_of_no_data_set():
    score = replace(
        PAIRS, label="jcrnet", metric="parameters", protocol="cost-parameters", value=2_010_000
    )
    table = published_beside_measured("jcrnet", "VII", [score], "", decimals=2, stands_for="lol")
    assert "2.01" in [cell for row in table.rows for cell in row[2::2]]
    assert table.note.startswith("Published: no data set is named.")


def test_a_table_may_be_flipped_and_take_the_places_of_its_units():
    ssim = replace(PAIRS, metric="ssim", protocol="ssim-valid-gaussian", value=0.71239)
    table = published_beside_measured(
        "neid", "1", [PAIRS, ssim], "Table 1", decimals=None, stands_for="lol", flip=True
    )
    assert table.header == [
        "", "PSNR↑, published", "PSNR↑, here", "SSIM↑, published", "SSIM↑, here",
    ]  # fmt: skip
    assert len(table.rows) == 11 and table.rows[0][0] == "BIMEF [25]"
    assert cells_of(table, "Ours") == ["22.83", "17.13", "0.78", "0.712"]


def test_conditions_give_the_span_of_counts():
    scores = [replace(PAIRS, metric="latency", protocol="cost-latency", n=n) for n in (5, 800, 22)]
    assert "n = 64 (PSNR); n = 5 to 800 (latency); " in conditions([PAIRS, *scores])


def test_tables_of_all_papers_can_be_shown():
    for paper in list_papers():
        for number in dict.fromkeys(cell.table for cell in load(paper)):
            table = published_beside_measured(paper, number, [], number)
            assert {len(row) for row in table.rows} == {len(table.header)}
            assert table._repr_html_().count("<tr>") == 1 + len(table.rows)


# Marks -----------------------------------------------------------------------------------------


def test_the_best_and_the_second_row_are_marked_beyond_the_spread_of_their_seeds():
    def of(label, *values, metric="psnr"):
        of_metric = replace(PAIRS, metric=metric, label=label)
        return [replace(of_metric, value=v, seed=k) for k, v in enumerate(values)]

    scores = [*of("a", 20.0, 21.0), *of("b", 18.0, 18.1), *of("c", 17.0), *of("original", 99.0)]
    table = score_table(scores, [("psnr", "all")], "", {x: x for x in ("a", "b", "c", "original")})
    assert table.marks == {(0, 1): "best", (1, 1): "second"}
    close = [*of("a", 20.0, 21.0), *of("b", 20.0, 20.9), *of("c", 10.0)]
    assert score_table(close, [("psnr", "all")], "").marks == {}


def test_of_one_seed_the_interval_over_images_decides_whether_a_row_is_marked():
    def of(label, value):
        ends = {"low": value - 0.1, "high": value + 0.1}
        return replace(
            PAIRS, metric="ap", protocol="det-map-coco", label=label, value=value, **ends
        )

    def marks(*values):
        scores = [of(label, v) for label, v in zip("abc", values, strict=True)]
        return score_table(scores, [("ap", "all")], "").marks

    assert marks(0.8, 0.6, 0.3) == {(0, 1): "best", (1, 1): "second"}
    assert marks(0.8, 0.6, 0.55) == {(0, 1): "best"}
    assert marks(0.8, 0.75, 0.3) == {}


def test_costs_are_not_marked():
    ours = replace(PAIRS, metric="latency", protocol="cost-latency")
    scores = [ours, replace(ours, label="gamma", value=0.1)]
    assert score_table(scores, [("latency", "all")], "").marks == {}


def test_what_has_no_better_end_is_not_marked():
    for metric in ("brightness", "green_excess", "added_noise_in_black"):
        one = replace(PAIRS, metric=metric, protocol=metric, value=0.2)
        scores = [one, replace(one, label="gamma", value=0.1)]
        assert one.direction == "none" and score_table(scores, [(metric, "all")], "").marks == {}


def test_the_recognizer_in_normal_light_is_called_so_everywhere():
    miou = replace(SCORE, metric="miou", protocol="seg-miou", subset="day")
    table = score_table([miou], [("miou", "day")], "")
    assert table.header == ["", "mIoU, normal light"] and "(mIoU normal light)" in table.note


# Sets and audits -------------------------------------------------------------------------------


def test_a_column_a_set_and_protocol_with_the_reason_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))  # where no weights are
    niqe = replace(PAIRS, metric="niqe", protocol="niqe-live", dataset="lime", value=3.14159)
    titles, why = {"neid": "NEID", "gamma": "a curve"}, {"dicm": "no folder"}
    table = set_table([niqe, PAIRS], ["lime", "npe"], ["niqe-live"], titles, why, "Unpaired")
    places = load_protocols()["niqe-live"].decimals
    absent = "not available: llie weights fetch niqe"
    assert table.header == ["", "lime, NIQE", "npe, NIQE"]
    assert table.rows == [["NEID", f"{3.14159:.{places}f}", absent], ["a curve", absent, absent]]
    assert "lime (test split)" in table.note and "psnr" not in table.note
    assert table.note.endswith("dicm: not run, no folder.")
    nothing = set_table([], [], ["niqe-live"], {}, {"dicm": "no folder"}, "Unpaired")
    assert nothing.rows == [["dicm", "not run", "no folder"]]


def test_an_audit_sets_printed_counts_beside_ours():
    networks = [
        Counted("JCRNet", 2_008_123, 219_700_000_000, label="jcrnet", more={"input": "whole"}),
        Counted("reader", 5_225_203, published={"parameters": "5.2 M"}),
    ]
    table = audit_table("jcrnet", networks, (384, 512), "A note.")
    assert table.header == [
        "network", "input", "parameters, published", "here", "GMAC for 512×384, published", "here",
    ]  # fmt: skip
    assert table.rows == [
        ["JCRNet", "whole", "2.01 M", "2,008,123", "219.74", "219.700"],
        ["reader", "–", "5.2 M", "5,225,203", "not published", "not counted"],
    ]
    assert table.note == "One multiply-add counts 1. A note."
