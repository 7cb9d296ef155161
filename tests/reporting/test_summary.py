"""The page over all papers, from files that reports write."""

import json
import re
from dataclasses import replace

import pytest

from llie_core.files import project_root, write_rows
from llie_core.reporting import scores, sources, summary
from llie_core.reporting.claims import Claim, Verdict
from llie_core.reporting.published import list_papers
from llie_core.reporting.scores import mean_of, reference_scores, select, write_scores

WORDS = [
    "holds on builtin-faces (reference, 3 seeds); this run: inconclusive (1 seed; …)",
    "does not hold on builtin-faces (…)", "not run (no numbers)", "not run (…)",
    "not reproduced", "left to the eye", "hypothesis (…)",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    made = tmp_path / "joint" / "builtin-faces" / "quick"
    made.mkdir(parents=True)
    (made / "headline.json").write_text(json.dumps({"device": "CPU", "headline": "AP 0.5, 0.7"}))
    claim = Claim("2.01", "§1", 3, "It helps, it is said.", "eye", {"figure": "Fig. 1"})
    summary.write_verdicts(made, [Verdict(claim, word, "0.7 > 0.5, barely") for word in WORDS])
    return made


def test_headlines_name_what_is_missing(folder):
    table = summary.headline_table("quick")
    assert table.rows == [["joint", "builtin-faces", "AP 0.5, 0.7"]]
    assert "No report yet of: recognition, jcrnet, drgn, neid." in table.note
    assert summary.headline_table("paper").rows == []


def test_every_verdict_is_counted_once_by_its_first_words(folder):
    table = summary.verdict_table("quick")
    counted = dict(zip(table.header, table.rows[0], strict=True))
    assert [counted.pop(key) for key in ("paper", "data set", "claims")] == [
        "joint", "builtin-faces", "7",
    ]  # fmt: skip
    assert {word: count for word, count in counted.items() if count != "–"} == {
        "holds on": "1", "does not hold on": "1", "not run": "2", "not reproduced": "1",
        "left to the eye": "1", "hypothesis": "1",
    }  # fmt: skip


def test_reference_runs_that_decide_no_claim_are_named(monkeypatch):
    doubts = {("neid", "lol"): "the kept runs come from earlier code: llie_core.models.neid"}
    monkeypatch.setattr(sources, "reference_doubt", lambda *of: doubts.get(of, ""))
    note = summary.reference_table().note
    assert note.endswith(
        "neid on lol, reference: decides no claim: the kept runs come from earlier code. "
        "neid on lol, photographs: no claim is about these rows."
    )
    assert note.count("earlier code") == 1


def test_reference_runs_are_those_of_the_checkout():
    table, label = summary.reference_table(), "zero_dce_pp+2:1@retinaface"
    title = "Zero-DCE++ 2:1 (RetinaFace)"
    row = next(r for r in table.rows if r[:4] == ["joint", "wider-val-a", "reference", title])
    scores = reference_scores("joint", "wider-val-a")
    hard = select(scores, label=label, metric="ap", subset="hard", recognizer="retinaface")
    assert row[4].startswith(f"AP hard (RetinaFace) {mean_of(hard):.3f}; AP ")


@pytest.mark.parametrize("paper", list_papers())
def test_every_papers_notebook_writes_its_verdicts(paper):
    notebook = json.loads((project_root() / "notebooks" / f"{paper}.ipynb").read_text())
    code = "".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    assert ".verdicts(" in code and "study.record(scores, " in code


def test_changed_verdicts_are_logged_the_last_first(folder):
    def claim(identity, words):
        given = Claim(identity, "§1", 3, "It helps.", "eye", {"figure": "Fig. 1"})
        return Verdict(given, words, "")

    summary.write_verdicts(folder, [claim("2.01", "not run"), claim("2.02", "inconclusive")])
    logged = len(summary.changes_table("quick").rows)
    summary.write_verdicts(folder, [claim("2.01", "not run"), claim("2.02", "holds on x")])
    rows = summary.changes_table("quick").rows
    assert len(rows) == logged + 1
    assert ["2.02", "inconclusive", "holds on x"] in [row[3:6] for row in rows]
    assert summary.changes_table("paper").rows == []


def test_claims_of_all_papers_stand_in_one_table(folder):
    table = summary.claims_table("quick")
    assert [row[:3] for row in table.rows] == [["joint", "builtin-faces", "2.01"]] * len(WORDS)
    places = [WORDS.index(row[4]) for row in table.rows]
    assert places == [4, 0, 1, 5, 6, 2, 3]  # what was decided comes first, what was not run last
    lines = re.findall(r"<summary>(.*?)</summary>", table._repr_html_())
    assert lines[0] == "joint, builtin-faces, not reproduced: 1"
    assert lines[-1] == "joint, builtin-faces, not run: 2"


def test_every_enhancer_on_lol_stands_once_under_every_protocol():
    main, *others = summary.lol_tables()
    names = [row[0] for row in main.rows]
    assert len(set(names)) == len(names)
    assert {"NEID (neid, reference)", "CurveRefine (neid, photographs)", "CLAHE"} < set(names)
    assert {"PSNR", "SSIM", "NIQE", "PSNR, GT-mean"} < set(main.header)
    assert main.note.startswith("15 images decide little: the 95 % interval of a mean PSNR")
    assert "neid, photographs: no claim is about these rows." in main.note
    assert {table.caption for table in others} >= {
        "PSNR under other protocols", "SSIM under other protocols",
    }  # fmt: skip
    shown = [name for table in others for name in table.header[1:]]
    assert "psnr-y" in shown and len(set(shown)) == len(shown)
    assert all([row[0] for row in table.rows] == names for table in others)
    cells = {row[0]: dict(zip(main.header, row, strict=True)) for row in main.rows}
    assert cells["CLAHE"]["PSNR"] == "11.79" and cells["CLAHE"]["SSIM"] == "0.4363"


def test_two_trainings_of_one_row_are_two_rows(monkeypatch, tmp_path):
    """Each with its doubt; a method without training is the same in both."""
    for paper, commit in (("jcrnet", "abc"), ("neid", "abc+")):
        one = replace(
            select(reference_scores("neid", "lol"), label="neid", metric="psnr")[0],
            label="sci", seed=0, commit=commit, value={"jcrnet": 10.0, "neid": 11.0}[paper],
        )  # fmt: skip
        untrained = replace(one, label="gamma", weights="none", steps_planned=0, value=9.0)
        folder = tmp_path / "results" / "reference" / paper / "lol" / "reference"
        write_scores(folder / "scores.csv", [one, untrained])
        write_rows(folder / "runs.csv", [{"label": "sci", "seed": "0", "code": '{"a.b": "c"}'}])
    monkeypatch.setattr(scores, "project_root", lambda: tmp_path)
    monkeypatch.setattr(summary, "measured_rows", lambda _: [])
    monkeypatch.setattr(summary, "few_images", lambda _: "Few.")
    (table,) = summary.lol_tables()
    assert [row[:2] for row in table.rows] == [
        ["SCI (jcrnet, reference)", "10.00"], ["gamma 1/2.2", "9.00"],
        ["SCI (neid, reference)", "11.00"],
    ]  # fmt: skip
    assert "neid, reference: decides no claim: the kept runs come from changed files." in table.note
