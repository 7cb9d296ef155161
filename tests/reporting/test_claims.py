"""Claims: the papers' 246 sentences, what their own tables say of them, and how they are read."""

import tomllib
from dataclasses import replace
from decimal import Decimal

import pytest

from llie_core.data import list_datasets
from llie_core.papers import study_of
from llie_core.reporting import claims
from llie_core.reporting.claims import Claim, Context, judge, load_claims
from llie_core.reporting.comparisons import Tables, compare, parts_of
from llie_core.reporting.published import list_papers, load
from llie_core.reporting.scores import Score

CONTRADICTED = "contradicted by the paper's own table"
PROTOCOLS = {
    "psnr": "psnr-rgb-float", "ssim": "ssim-valid-gaussian", "fsim": "fsim-yiq-luma",
    "lpips": "lpips-alex", "niqe": "niqe-live", "brisque": "brisque-live", "sseq": "sseq-live",
    "ap": "face-ap-height", "miou": "seg-miou", "map": "det-map-coco",
    "parameters": "cost-parameters", "flops": "cost-flops", "latency": "cost-latency",
}  # fmt: skip
# From a table's unit to that of the protocol.
TO_PROTOCOL = {"percent": 0.01, "M": 1e6, "G": 1e9}

# The sentences ------------------------------------------------------------------------------------

# Sentences, and those that the sheet of facts counts as distinct.
COUNTS = {
    "recognition": (51, 39), "joint": (44, 36), "jcrnet": (81, 66), "drgn": (44, 39),
    "neid": (26, 20),
}  # fmt: skip
# Sentences that the sheet marks as restating another; "04" is 2.04 in paper 2, and so on.
REPEATING = {
    "recognition": "01 02 03 24 32 37 39 41 43 48 50 51",
    "joint": "04 13 29 30 32 38 42 43",
    "jcrnet": "09 10 11 27 28 36 46 51 54 64 70 75 79 80 81",
    "drgn": "09 16 24 43 44",
    "neid": "04 11 14 21 25 26",
}
# Of those: the first of their kind, or ones that say more or less than what they restate.
WITH_A_CHECK = {"1.01", "1.02", "1.41", "1.43", "2.38", "2.43", "3.46", "4.09", "4.44", "5.25"}
# What the printed tables by themselves make of every sentence that is about numbers.
AGREE, CONTRADICT, TIE, NO_NUMBER = "agree", "contradict", "tie", "no number"
PRINTED = {
    "recognition": {
        AGREE: "01 04 05 06 07 10 11 12 13 15 25 26 27 28 34 35 36 38 41 43",
        CONTRADICT: "49",
        NO_NUMBER: "14 16",  # Table 2 is lost
    },
    "joint": {
        AGREE: "01 10 14 15 19 23 25 26 27 28 31 34 35 36 37 38 39 40 41 43",
        CONTRADICT: "24 33",
    },
    "jcrnet": {
        AGREE: "01 12 18 29 30 31 33 34 37 38 39 40 41 42 43 44 45 46 50 53 57 60 61 63 67 68 69 "
        "74",
        CONTRADICT: "35",
        TIE: "02 73 78",  # two saliency cells; half of the rivals
        NO_NUMBER: "58",
    },
    "drgn": {
        AGREE: "01 03 04 09 10 13 14 19 20 21 22 23 25 27 34 35 38 39 40 42 44",
        CONTRADICT: "26",
        NO_NUMBER: "15 37",
    },
    "neid": {AGREE: "02 08 13 16 20 22 23 24 25", CONTRADICT: "15"},
}  # fmt: skip


def ids(paper, numbers):
    return [f"{list_papers().index(paper) + 1}.{number}" for number in numbers.split()]


each_paper = pytest.mark.parametrize("paper", list_papers())


def printed_outcome(paper, claim):
    """What the tables by themselves say."""
    tables = Tables(load(paper))
    found = compare(parts_of(claim.kind, claim.checks, tables.directions), tables.lookup)
    return {True: AGREE, False: CONTRADICT, None: NO_NUMBER if found.missing else TIE}[found.holds]


@each_paper
def test_every_sentence_of_a_paper_is_there(paper):
    found = load_claims(paper)
    sentences, distinct = COUNTS[paper]
    number = list_papers().index(paper) + 1
    assert [claim.id for claim in found] == [f"{number}.{i:02}" for i in range(1, sentences + 1)]
    lines = [claim.line for claim in found if claim.place.startswith("§")]
    assert lines == sorted(lines)
    restating = set(ids(paper, REPEATING[paper]))
    assert sentences - len(restating) == distinct
    assert {claim.id for claim in found if claim.restates} == restating - WITH_A_CHECK
    assert len({claim.says for claim in found}) == sentences
    assert all(claim.says.endswith((".", ".)")) and claim.place for claim in found)


@each_paper
def test_what_the_printed_tables_say_of_every_sentence_about_numbers(paper):
    numbers = [claim for claim in load_claims(paper) if claim.kind in claims.NUMBERS]
    outcomes = {outcome: ids(paper, which) for outcome, which in PRINTED[paper].items()}
    assert {claim.id: printed_outcome(paper, claim) for claim in numbers} == {
        claim: outcome for outcome, which in outcomes.items() for claim in which
    }


@pytest.mark.parametrize("paper", ["jcrnet", "drgn", "neid"])
def test_a_figure_is_as_precise_as_it_is_printed(paper):
    """Half a unit of its last digit; paper 4 cuts off 93.3 %, which its table makes 93.4 %."""
    text = (claims.FOLDER / paper / "claims.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text, parse_float=Decimal)["claim"]
    for claim in (claim for claim in found if claim.get("kind") in claims.FIGURES):
        check = claim["check"]
        for one in [check | part for part in check.get("parts", [{}])]:
            for value in one["values"].values():
                unit = Decimal(1).scaleb(value.as_tuple().exponent)
                cut_off = (claim["id"], one["metric"]) == ("4.23", "flops")
                assert one["tolerance"] == (unit if cut_off else unit / 2), claim["id"]


@each_paper
def test_rows_metrics_and_data_sets_are_those_of_the_tables(paper):
    cells = load(paper)
    labels, metrics = ({getattr(c, key) for c in cells} for key in ("label", "metric"))
    labels |= {*getattr(study_of(paper), "trained_labels", ())}  # rows of ours, such as a twin
    for claim in load_claims(paper):
        for check in claim.checks if claim.kind in claims.NUMBERS else []:
            keys = [claims.as_list(check.get(k, [])) for k in ("high", "low", "floor")]
            assert {row for rows in keys for row in rows if isinstance(row, str)} <= labels
            assert set(claims.as_list(check["metric"])) <= metrics
            for key in ("dataset", "recognizer", "table"):
                named = set(claims.as_list(check.get(key, [])))
                assert named <= {getattr(c, key) for c in cells}, claim.id


def test_data_sets_of_the_tables_are_registered():
    known = {spec.name for spec in list_datasets()}
    of_three = "test148+lol1000+voc144"  # a mean
    assert {c.dataset for paper in list_papers() for c in load(paper)} - {"", of_three} <= known


@each_paper
def test_measurements_have_names_of_their_own(paper):
    names = [c.check["name"] for c in load_claims(paper) if c.kind == "measured"]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.islower() for name in names)


# The papers' own tables as if measured ------------------------------------------------------------


def scores_of(paper, dataset, recognizer="") -> list[Score]:
    """One data set's part of the paper's own tables, and the costs, as if trained three times."""
    cells = [c for c in load(paper) if c.value is not None and c.dataset in ("", dataset)]
    cells = [c for c in cells if recognizer in ("", c.recognizer)]
    misprint = {("brisque", "lime"): "II"}  # of two numbers for one cell, take one
    cells = [c for c in cells if c.table == misprint.get((c.metric, c.dataset), c.table)]
    return [
        Score(
            "run", c.label, c.recognizer, dataset, "test", c.subset, c.metric,
            c.value * TO_PROTOCOL.get(c.unit, 1), 9, seed, PROTOCOLS.get(c.metric, "brightness"),
            "paper", "NVIDIA A100", "float32", 10, 10, "trained here", "c0ffee",
        )
        for c in cells for seed in range(3)
    ]  # fmt: skip


def own_report(paper, dataset, recognizer="", **changed):
    """Claim id → verdict; changed: (label, metric) → value in place of the printed one."""
    scores = [
        replace(s, value=changed.get(f"{s.label}_{s.metric}", s.value))
        for s in scores_of(paper, dataset, recognizer)
    ]
    context = Context(dataset, "paper", 3, papers_own=True)
    return {v.claim.id: v for v in judge(paper, scores, context)}


def with_verdict(found, verdict):
    return {claim for claim, v in found.items() if v.verdict == verdict}


def test_the_thesis_reproduces_what_its_tables_say():
    found = own_report("joint", "wider-face-dark")
    assert with_verdict(found, CONTRADICTED) == set(ids("joint", PRINTED["joint"][CONTRADICT]))
    agreeing = ids("joint", f"{PRINTED['joint'][AGREE]} {REPEATING['joint']}")
    assert with_verdict(found, "reproduced") == set(agreeing)


def test_contradiction_shows_the_numbers_and_the_probable_misprint(monkeypatch):
    found = own_report("joint", "wider-face-dark")
    evidence = found["2.33"].evidence
    assert "medium +0.0012 (Zero-DCE++ 2:1 over Zero-DCE++ 3:1)" in evidence  # this part holds
    assert "hard -0.0382 (Zero-DCE++ 2:1 over Zero-DCE++ 3:2)" in evidence
    assert "probably 0.8980 is meant" in evidence
    evidence = found["2.24"].evidence
    assert "easy +0.9404, medium +0.9259" in evidence and "misprints it as 95.59 %" in evidence
    # Without the misprint it would hold.
    cells = [replace(c, value=0.8980) if c.status == "misprint" else c for c in load("joint")]
    for module in (claims, __import__(__name__)):
        monkeypatch.setattr(module, "load", lambda paper: cells)
    assert own_report("joint", "wider-face-dark")["2.33"].verdict == "reproduced"


def test_nothing_measured_decides_nothing():
    context = Context("builtin-faces", "quick", 1, papers_own=False)
    found = {v.claim.id: v for v in judge("joint", [], context)}
    contradicted = ids("joint", PRINTED["joint"][CONTRADICT])
    assert with_verdict(found, CONTRADICTED) == set(contradicted)
    assert not with_verdict(found, "left to the eye")
    others = {v.verdict[:9] for v in found.values()} - {CONTRADICTED[:9]}
    assert others == {"not run ("}


def test_reports_of_two_tasks_share_the_claims_of_paper_1():
    pose = own_report("recognition", "exlpose", "cpn")
    streets = own_report("recognition", "nightcity", "deeplabv3plus")
    in_pose, in_streets = (
        f"not run (judged in the report of {name})" for name in ("CPN", "DeepLabV3+")
    )
    assert pose["1.10"].verdict == streets["1.25"].verdict == "reproduced"
    assert pose["1.25"].verdict == pose["1.27"].verdict == in_streets  # also for a figure
    assert pose["1.29"].verdict == pose["1.40"].verdict == in_streets  # by eye, measured
    assert streets["1.10"].verdict == streets["1.17"].verdict == in_pose
    assert streets["1.27"].verdict == streets["1.28"].verdict == "reproduced"
    lost = "not run (no numbers for GEM+PAM, IALM, Zero-DCE, LLFlow)"  # the rows of Table 2
    assert pose["1.14"].verdict == lost
    # On both tasks: each report can only say its own part.
    assert pose["1.01"].verdict == "holds on exlpose (paper, 3 seeds)"
    assert streets["1.01"].verdict == "holds on nightcity (paper, 3 seeds)"
    assert pose["1.01"].evidence.endswith("; the rest is judged in the report of DeepLabV3+")
    assert "measured: LL-N +0.0150" in pose["1.01"].evidence
    assert pose["1.49"].verdict == streets["1.49"].verdict == CONTRADICTED
    # A part that fails refutes it.
    failing = own_report("recognition", "nightcity", "deeplabv3plus", identity_miou=0.5)
    assert failing["1.01"].verdict == "not reproduced"


def test_reports_of_several_data_sets_share_the_claims_of_paper_3():
    lol, exdark = own_report("jcrnet", "lol"), own_report("jcrnet", "exdark")
    assert lol["3.30"].verdict == exdark["3.42"].verdict == "reproduced"
    assert exdark["3.30"].verdict == "not run (judged in the report of lol)"
    assert lol["3.67"].verdict == "holds on lol (paper, 3 seeds)"
    assert lol["3.67"].evidence.endswith("; the rest is judged in the report of coco-low-light")
    assert lol["3.43"].verdict == "not run (judged in the reports of dicm, mef, vv)"
    assert lol["3.48"].verdict == "cannot be re-run (a study with 20 persons)"
    # The misprinted cell counts for the table that a claim is about.
    lime = own_report("jcrnet", "lime")
    assert "printed: BRISQUE -0.6560 (JCRNet over JED)" in lime["3.44"].evidence


def test_a_user_study_is_tried_on_the_printed_table_only():
    found = own_report("drgn", "real63")["4.35"]
    assert found.verdict == "cannot be re-run (a study with 30 persons)"
    assert found.evidence.startswith("printed: cn +0.1600")


def test_a_built_in_set_stands_in_for_all_of_a_papers_sets():
    scores = [replace(s, dataset="builtin-photos") for s in scores_of("jcrnet", "lol")]
    context = Context("builtin-photos", "quick", 3, papers_own=False)
    found = {v.claim.id: v for v in judge("jcrnet", scores, context)}
    assert found["3.53"].verdict == "holds on builtin-photos (quick, 3 seeds)"
    measured = found["3.53"].evidence.split("measured: ")[1]
    # Each comparison once, not once a set.
    assert measured == "BRISQUE +2.9790 ± 0.0000, NIQE +0.6640 ± 0.0000"
    assert found["3.30"].verdict == "not run (a figure of the paper's own data)"
    # Another real set is not the paper's own either, whatever the study says.
    other = [replace(s, dataset="coco") for s in scores]
    own = Context("coco", "paper", 3, papers_own=True)
    found = {v.claim.id: v for v in judge("jcrnet", other, own)}
    assert found["3.53"].verdict == "holds on coco (paper, 3 seeds)"
    assert found["3.30"].verdict == "not run (a figure of the paper's own data)"


def test_parameters_are_the_same_on_any_data():
    context = Context("builtin-streets", "quick", 3, papers_own=False)
    scores = scores_of("recognition", "nightcity", "deeplabv3plus")
    (found,) = [v for v in judge("recognition", scores, context) if v.claim.id == "1.07"]
    assert found.verdict == "holds on builtin-streets (quick, 3 seeds)"
    assert found.evidence.endswith("measured: parameters +0.6000 ± 0.0000")


# Malformed claims ---------------------------------------------------------------------------------

ORDER = {"high": "a", "low": "b", "metric": "ap", "subsets": ["easy"]}
GAP = {"high": "a", "low": "b", "metric": "ap", "larger": "hard", "smaller": ["easy", "medium"]}
DIFFERENCE = {"high": "a", "low": "b", "metric": "ap", "values": {"easy": 0.1}, "tolerance": 0.01}


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        ("rank", ORDER, "claim 9.01: kind 'rank' is none of order, better, gap"),
        ("", {}, "kind ''"),
        ("order", {}, "has no high, low, metric$"),
        ("order", {k: v for k, v in ORDER.items() if k != "low"}, "has no low"),
        ("gap", ORDER, "has no larger, smaller"),
        ("difference", {**ORDER, "values": {"easy": 0.1}}, "has no tolerance"),
        ("measured", {}, "has no name"),
        ("eye", {}, "has no figure"),
        ("order", {**ORDER, "flor": "c"}, "does not know flor"),
        ("gap", {**GAP, "floor": "c"}, "does not know floor"),
        ("order", {**ORDER, "high": []}, "leaves empty high"),
        ("order", {**ORDER, "subsets": []}, "leaves empty subsets"),
        ("difference", {**DIFFERENCE, "values": {}}, "leaves empty values"),
        ("eye", {"figure": ""}, "leaves empty figure"),
        ("impossible", {}, "has no why"),
        ("hypothesis", {}, "has no why"),
        ("picture", {"figure": "Fig. 1"}, "kind 'picture' is none of"),
        ("gap", {**GAP, "above": 0.1}, "does not know above"),
        ("order", {**ORDER, "most": "rows"}, "does not understand most"),
        ("order", {**ORDER, "most": False}, "does not understand most"),
        ("order", {**ORDER, "parts": []}, "leaves empty parts"),
        ("order", {**ORDER, "parts": [{"low": "c"}, {"flor": "c"}]}, "does not know flor"),
        ("difference", {**ORDER, "parts": [{"values": {"easy": 0.1}}]}, "has no tolerance"),
    ],
)
def test_malformed_check(kind, check, message):
    with pytest.raises(ValueError, match=message):
        Claim("9.01", "§1", 1, "Made up.", kind, check)


def test_a_restating_claim_has_no_check():
    with pytest.raises(ValueError, match=r"claim 9\.02: it restates 9\.01"):
        Claim("9.02", "§1", 1, "Made up.", "order", ORDER, restates="9.01")


BY_EYE = """[[claim]]
id = "9.01"
place = "§1"
line = 1
says = "Made up."
kind = "eye"
check = { figure = "Fig. 1" }
"""
RESTATING = '[[claim]]\nid = "9.02"\nplace = "§2"\nline = 2\nsays = "So."\nrestates = "9.01"\n'


@pytest.fixture
def claims_file(monkeypatch, tmp_path):
    """Write claims of our own where load_claims looks for them."""
    (tmp_path / "joint").mkdir()
    monkeypatch.setattr(claims, "FOLDER", tmp_path)
    load_claims.cache_clear()
    yield lambda text: (tmp_path / "joint" / "claims.toml").write_text(text, encoding="utf-8")
    load_claims.cache_clear()


def test_claims_file(claims_file):
    claims_file(BY_EYE + RESTATING)
    assert [(c.id, c.restates) for c in load_claims("joint")] == [("9.01", ""), ("9.02", "9.01")]


def test_a_file_may_name_several_rows(claims_file):
    check = '{ high = "all", low = ["all", "d"], metric = "ap", parts = [{ floor = "all" }] }'
    order = BY_EYE.replace("eye", "order").replace('{ figure = "Fig. 1" }', check)
    claims_file('[rows]\nall = ["a", "b"]\n\n' + order)
    (claim,) = load_claims("joint")
    (found,) = claim.checks
    assert [found[key] for key in ("high", "low", "floor")] == [["a", "b"], list("abd"), ["a", "b"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RESTATING + BY_EYE, r"claim 9\.02 restates 9\.01, which is none before it"),
        (BY_EYE + BY_EYE, r"claim 9\.01 stands twice in claims\.toml"),
        (BY_EYE.replace("line = 1\n", ""), r"claim 9\.01: .*line"),
        (BY_EYE.replace("line", "page"), r"claim 9\.01: .*page"),
        (BY_EYE.replace("figure", "image"), r"claim 9\.01: its check has no figure"),
        ("[[claim]\n", "line 1"),
        ("", r"claims\.toml holds no \[\[claim\]\]"),
    ],
)
def test_malformed_claims_file(claims_file, text, message):
    claims_file(text)
    with pytest.raises(ValueError, match=message):
        load_claims("joint")


def test_unknown_paper():
    with pytest.raises(ValueError, match="no claims are written down for paper 'poetry'"):
        load_claims("poetry")
    with pytest.raises(ValueError, match="poetry"):
        judge("poetry", [], Context("lol", "quick", 1, papers_own=False))
