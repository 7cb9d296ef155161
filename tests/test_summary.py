"""The page over all papers, from files that reports write."""

import json

import pytest

from llie_core.reporting import summary
from llie_core.reporting.claims import Claim, Verdict


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    made = tmp_path / "joint" / "builtin-faces" / "quick"
    made.mkdir(parents=True)
    (made / "headline.json").write_text(json.dumps({"device": "CPU", "headline": "AP 0.5, 0.7"}))
    claim = Claim("2.01", "§1", 3, "It helps, it is said.", "picture", {"figure": "Fig. 1"})
    words = ["holds on builtin-faces (quick, 1 seed)", "does not hold on builtin-faces (…)",
             "not run (no numbers)", "not run (judged by eye)"]  # fmt: skip
    summary.write_verdicts(made, [Verdict(claim, word, "0.7 > 0.5, barely") for word in words])
    return made


def test_headlines_name_what_is_missing(folder):
    table = summary.headline_table("quick")
    assert table.rows == [["joint", "builtin-faces", "AP 0.5, 0.7"]]
    assert "No report yet of: recognition, jcrnet, drgn, neid." in table.note
    assert summary.headline_table("paper").rows == []


def test_verdicts_are_counted_by_their_first_words(folder):
    table = summary.verdict_table("quick")
    counted = dict(zip(table.header, table.rows[0], strict=True))
    assert (counted["paper"], counted["data set"], counted["claims"]) == (
        "joint", "builtin-faces", "4",
    )  # fmt: skip
    assert counted["holds on"] == counted["does not hold on"] == "1"
    assert counted["not run"] == "2" and counted["reproduced"] == "–"


def test_verdicts_survive_commas_and_are_read_back(folder):
    assert len(summary.read_verdicts(folder)) == 4
    assert summary.read_verdicts(folder / "none") == []


def test_reference_runs_are_those_of_the_checkout():
    table = summary.reference_table()
    row = next(r for r in table.rows if r[:3] == ["joint", "builtin-faces", "zero_dce_pp+2:1"])
    assert row[3].startswith("ap hard (mtcnn) 0.758 ± 0.033; ap hard (tinaface) 0.698 ± 0.013")
