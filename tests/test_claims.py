"""Claims: the papers' 246 sentences against their own tables, and verdicts on made-up scores."""

from dataclasses import replace

import pytest

from llie_core.data import list_datasets
from llie_core.published import PAPERS, PublishedValue, load
from llie_core.reporting import claims
from llie_core.reporting.claims import Claim, Context, judge, load_claims
from llie_core.reporting.comparisons import Tables, compare, parts_of
from llie_core.reporting.scores import Score

ORDER = {"high": "a", "low": "b", "metric": "ap", "subsets": ["easy"]}
GAP = {"high": "a", "low": "b", "metric": "ap", "larger": "hard", "smaller": ["easy", "medium"]}
DIFFERENCE = {"high": "a", "low": "b", "metric": "ap", "values": {"easy": 0.1}, "tolerance": 0.01}
HERE = Context("builtin-faces", "quick", 1, papers_own=False)
OWN = Context("wider-face", "paper", 1, papers_own=True)
CONTRADICTED = "contradicted by the paper's own table"


def score(label, value, subset="easy", seed=0, trained=False, metric="ap") -> Score:
    method, _, variant = label.partition("+")
    return Score(
        "run", method, variant, "mtcnn", "builtin-faces", "test", subset, metric, "fraction",
        "higher", value, 9, seed, "face-ap-height", "quick", "cpu", "float32", 5 * trained,
        10 * trained, "trained here" if trained else "none",
    )  # fmt: skip


def seeds(label, values, subset="easy", first=0) -> list[Score]:
    """Scores of a trained row, one a seed."""
    return [score(label, v, subset, first + i, trained=True) for i, v in enumerate(values)]


def printed(label, value, subset="easy", status="printed", note="") -> PublishedValue:
    method, _, variant = label.partition("+")
    return PublishedValue(
        "joint", "9", 0, 0, label, subset, method, variant, "tinaface", "wider-face", "test",
        subset, "ap", "fraction", "higher", value, str(value), status, note,
    )  # fmt: skip


@pytest.fixture
def verdict(monkeypatch):
    """Judge claims of our own against tables of our own; the last verdict, or all of them."""

    def judged(check, scores=(), context=HERE, tables=(), kind="order", measurements=None):
        claim = Claim("9.01", "§1", 1, "Made up.", kind, check)
        monkeypatch.setattr(claims, "load_claims", lambda paper: (claim,))
        monkeypatch.setattr(claims, "load", lambda paper: list(tables))
        (found,) = judge("joint", scores, context, measurements)
        return found

    return judged


# The thesis's claims -------------------------------------------------------------------------

# What the sheet of facts says that the thesis's own tables make of each sentence that they decide.
PRINTED_AGREES = [
    "2.01", "2.10", "2.14", "2.15", "2.19", "2.23", "2.25", "2.26", "2.27", "2.28",
    "2.30", "2.31", "2.34", "2.35", "2.36", "2.37", "2.38", "2.39", "2.40", "2.41",
]  # fmt: skip
PRINTED_CONTRADICTS = ["2.24", "2.33"]  # a misprint in the text; 3:2 on hard
RESTATED = {"2.04", "2.13", "2.29", "2.30", "2.32", "2.38", "2.42", "2.43"}


def as_if_measured() -> list[Score]:
    """The thesis's own tables in the shape of measured scores."""
    cells = {(c.method, c.variant, c.subset): c for c in claims.load("joint")}.values()
    labels = ((f"{c.method}+{c.variant}".strip("+"), c) for c in cells)
    return [score(label, c.value, c.subset, trained=bool(c.variant)) for label, c in labels]


def own_verdicts() -> dict[str, claims.Verdict]:
    return {v.claim.id: v for v in judge("joint", as_if_measured(), OWN)}


def test_all_44_claims_are_there_in_order():
    found = load_claims("joint")
    assert [claim.id for claim in found] == [f"2.{i:02}" for i in range(1, 45)]
    assert [claim.line for claim in found] == sorted(claim.line for claim in found)
    assert all(claim.says.endswith(".") and claim.place for claim in found)


def test_kinds_and_restated_claims():
    kinds = {claim.id: claim.kind for claim in load_claims("joint")}
    measured = [claim for claim, kind in kinds.items() if kind == "measured"]
    assert measured == ["2.05", "2.06", "2.07", "2.08", "2.09", "2.21", "2.44"]
    pictures = [claim for claim, kind in kinds.items() if kind == "picture"]
    assert pictures == ["2.02", "2.03", "2.11", "2.12", "2.16", "2.17", "2.18", "2.20", "2.22"]
    restating = {claim.id for claim in load_claims("joint") if claim.restates}
    # 2.38 says less than 2.37 and 2.43 says more than 2.40, so both have a check of their own.
    assert restating == RESTATED - {"2.38", "2.43"}


@pytest.mark.parametrize("claim", PRINTED_AGREES)
def test_printed_numbers_agree(claim):
    assert own_verdicts()[claim].verdict == "reproduced"


@pytest.mark.parametrize("claim", PRINTED_CONTRADICTS)
def test_printed_numbers_contradict(claim):
    assert own_verdicts()[claim].verdict == CONTRADICTED


def test_no_other_claim_is_contradicted():
    found = own_verdicts()
    assert [claim for claim, v in found.items() if v.verdict == CONTRADICTED] == PRINTED_CONTRADICTS
    decided = [claim for claim, v in found.items() if v.verdict == "reproduced"]
    assert set(decided) == {*PRINTED_AGREES, *RESTATED}


def test_contradiction_shows_the_numbers_and_the_probable_misprint():
    evidence = own_verdicts()["2.33"].evidence
    assert "medium +0.0012 (zero_dce_pp+2:1 over zero_dce_pp+3:1)" in evidence  # this part holds
    assert "hard -0.0382 (zero_dce_pp+2:1 over zero_dce_pp+3:2)" in evidence
    assert "probably 0.8980 is meant" in evidence
    evidence = own_verdicts()["2.24"].evidence
    assert "easy +0.9404, medium +0.9259" in evidence and "misprints it as 95.59 %" in evidence


def test_without_the_misprint_2_33_would_hold(monkeypatch):
    cells = [replace(c, value=0.8980) if c.status == "misprint" else c for c in load("joint")]
    monkeypatch.setattr(claims, "load", lambda paper: cells)
    assert own_verdicts()["2.33"].verdict == "reproduced"


def test_nothing_measured_decides_nothing():
    found = judge("joint", [], HERE)
    contradicted = [v.claim.id for v in found if v.verdict == CONTRADICTED]
    assert contradicted == PRINTED_CONTRADICTS
    assert all(v.verdict.startswith("not run (") for v in found if v.verdict != CONTRADICTED)


# The claims of all papers ---------------------------------------------------------------------

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
        AGREE: "01 04 05 06 07 10 11 12 13 15 16 25 26 27 28 34 35 36 38 41 43",
        CONTRADICT: "08 33 49",
        NO_NUMBER: "14",  # Table 2 is lost
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
        NO_NUMBER: "37",
    },
    "neid": {AGREE: "02 08 13 16 20 22 23 24 25", CONTRADICT: "15"},
}  # fmt: skip


def ids(paper, numbers):
    return [f"{PAPERS.index(paper) + 1}.{number}" for number in numbers.split()]


OUTCOMES = [
    (paper, claim, outcome)
    for paper, by_outcome in PRINTED.items()
    for outcome, numbers in by_outcome.items()
    for claim in ids(paper, numbers)
]
each_paper = pytest.mark.parametrize("paper", PAPERS)


def printed_outcome(paper, claim):
    """What the tables by themselves say, with the margins."""
    tables = Tables(load(paper))
    found = compare(parts_of(claim.kind, claim.checks, tables.directions), tables.lookup)
    words = {True: AGREE, False: CONTRADICT, None: NO_NUMBER if found.lacking else TIE}
    return words[found.holds], found.words


@each_paper
def test_every_sentence_of_a_paper_is_there(paper):
    found = load_claims(paper)
    sentences, distinct = COUNTS[paper]
    number = PAPERS.index(paper) + 1
    assert [claim.id for claim in found] == [f"{number}.{i:02}" for i in range(1, sentences + 1)]
    restating = set(ids(paper, REPEATING[paper]))
    assert sentences - len(restating) == distinct
    assert {claim.id for claim in found if claim.restates} == restating - WITH_A_CHECK
    assert len({claim.says for claim in found}) == sentences
    assert all(claim.says.endswith((".", ".)")) and claim.place for claim in found)


@pytest.mark.parametrize(("paper", "claim", "outcome"), OUTCOMES)
def test_what_the_printed_tables_say(paper, claim, outcome):
    (found,) = [c for c in load_claims(paper) if c.id == claim]
    assert printed_outcome(paper, found)[0] == outcome


@each_paper
def test_no_sentence_about_numbers_is_left_out(paper):
    told = [claim for numbers in PRINTED[paper].values() for claim in ids(paper, numbers)]
    assert sorted(told) == [c.id for c in load_claims(paper) if c.kind in claims.NUMBERS]


@each_paper
def test_rows_metrics_and_data_sets_are_those_of_the_tables(paper):
    cells = load(paper)
    labels = {f"{c.method}+{c.variant}".strip("+") for c in cells}
    for claim in load_claims(paper):
        if claim.kind not in claims.NUMBERS:
            continue
        for check in claim.checks:
            keys = [claims.as_list(check.get(k, [])) for k in ("high", "low", "floor")]
            assert {row for rows in keys for row in rows if isinstance(row, str)} <= labels
            assert set(claims.as_list(check["metric"])) <= {c.metric for c in cells}
            for key in ("dataset", "recognizer", "table"):
                named = set(claims.as_list(check.get(key, [])))
                assert named <= {getattr(c, key) for c in cells}, claim.id


def test_data_sets_of_the_tables_are_registered():
    known = {spec.name for spec in list_datasets()}
    of_three = "test148+lol1000+voc144"  # a mean
    assert {c.dataset for paper in PAPERS for c in load(paper)} - {"", of_three} <= known


@each_paper
def test_measurements_have_names_of_their_own(paper):
    names = [c.check["name"] for c in load_claims(paper) if c.kind == "measured"]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.islower() for name in names)


def scores_of(paper, dataset, recognizer="") -> list[Score]:
    """One data set's part of the paper's own tables, and the costs, as if measured."""
    cells = [c for c in load(paper) if c.value is not None and c.dataset in ("", dataset)]
    if recognizer:
        cells = [c for c in cells if c.recognizer == recognizer]
    misprint = {("brisque", "lime"): "II"}  # of two numbers for one cell, take one
    cells = [c for c in cells if c.table == misprint.get((c.metric, c.dataset), c.table)]
    return [
        Score(
            "run", c.method, c.variant, c.recognizer, dataset, "test", c.subset, c.metric, c.unit,
            c.direction, c.value, 9, 0, "any", "paper", "cuda", "float32", 10, 10, "trained here",
        )
        for c in cells
    ]  # fmt: skip


def own_report(paper, dataset, recognizer=""):
    context = Context(dataset, "paper", 1, papers_own=True)
    found = judge(paper, scores_of(paper, dataset, recognizer), context)
    return {v.claim.id: v for v in found}


def test_reports_of_two_tasks_share_the_claims_of_paper_1():
    pose = own_report("recognition", "exlpose", "cpn")
    streets = own_report("recognition", "nightcity", "deeplabv3plus")
    in_pose, in_streets = (
        f"not run (judged in the report of {name})" for name in ("cpn", "deeplabv3plus")
    )
    assert pose["1.10"].verdict == streets["1.25"].verdict == "reproduced"
    assert pose["1.25"].verdict == pose["1.27"].verdict == in_streets  # also for a figure
    assert pose["1.29"].verdict == pose["1.40"].verdict == in_streets  # a picture, a measurement
    assert streets["1.10"].verdict == streets["1.17"].verdict == in_pose
    assert streets["1.27"].verdict == "reproduced"
    assert streets["1.28"].verdict == "reproduced"
    lost = "not run (no numbers for gem_pam, ialm, zero_dce, llflow)"  # the rows of Table 2
    assert pose["1.14"].verdict == lost
    # On both tasks: each report can only tell its own part.
    assert pose["1.01"].verdict == "holds on exlpose (paper, 1 seed)"
    assert streets["1.01"].verdict == "holds on nightcity (paper, 1 seed)"
    assert pose["1.01"].evidence.endswith("; the rest is judged in the report of deeplabv3plus")
    assert "measured: LL-N +0.0150" in pose["1.01"].evidence
    assert pose["1.08"].verdict == streets["1.08"].verdict == CONTRADICTED


def test_a_part_that_fails_refutes_a_claim_on_both_tasks():
    scores = [
        replace(s, value=50.0) if s.method == "identity" and s.metric == "miou" else s
        for s in scores_of("recognition", "nightcity", "deeplabv3plus")
    ]
    context = Context("nightcity", "paper", 1, papers_own=True)
    (found,) = [v for v in judge("recognition", scores, context) if v.claim.id == "1.01"]
    assert found.verdict == "not reproduced"


def test_reports_of_several_data_sets_share_the_claims_of_paper_3():
    lol, exdark = own_report("jcrnet", "lol"), own_report("jcrnet", "exdark")
    assert lol["3.30"].verdict == exdark["3.42"].verdict == "reproduced"
    assert exdark["3.30"].verdict == "not run (judged in the report of lol)"
    assert lol["3.67"].verdict == "holds on lol (paper, 1 seed)"
    assert lol["3.67"].evidence.endswith("; the rest is judged in the report of coco-low-light")
    assert lol["3.43"].verdict == "not run (judged in the reports of dicm, mef, vv)"
    assert lol["3.48"].verdict == "cannot be re-run (a study with 20 persons)"
    # The misprinted cell counts for the table that a claim is about.
    lime = own_report("jcrnet", "lime")
    assert "printed: brisque -0.6560 (jcrnet over jed)" in lime["3.44"].evidence


def test_a_user_study_is_tried_on_the_printed_table_only():
    found = own_report("drgn", "real63")["4.35"]
    assert found.verdict == "cannot be re-run (a study with 30 persons)"
    assert found.evidence.startswith("printed: cn +0.1600")


def test_a_built_in_set_stands_in_for_all_of_a_papers_sets():
    scores = [replace(s, dataset="builtin-photos") for s in scores_of("jcrnet", "lol")]
    context = Context("builtin-photos", "quick", 1, papers_own=False)
    found = {v.claim.id: v for v in judge("jcrnet", scores, context)}
    assert found["3.53"].verdict == "holds on builtin-photos (quick, 1 seed)"
    measured = found["3.53"].evidence.split("measured: ")[1]
    assert measured == "brisque +2.9790, niqe +0.6640"  # each comparison once, not once a set
    assert found["3.30"].verdict == "not run (a figure of the paper's own data)"
    # Another real set is not the paper's own either, whatever the recipe says.
    other = [replace(s, dataset="coco") for s in scores]
    own = Context("coco", "paper", 1, papers_own=True)
    found = {v.claim.id: v for v in judge("jcrnet", other, own)}
    assert found["3.53"].verdict == "holds on coco (paper, 1 seed)"
    assert found["3.30"].verdict == "not run (a figure of the paper's own data)"


def test_parameters_are_the_same_on_any_data():
    context = Context("builtin-streets", "quick", 1, papers_own=False)
    scores = scores_of("recognition", "nightcity", "deeplabv3plus")
    counts = [
        replace(s, value=s.value * 1e6, unit="count") if s.metric == "parameters" else s
        for s in scores
    ]
    for given in (scores, counts):
        (found,) = [v for v in judge("recognition", given, context) if v.claim.id == "1.07"]
        assert found.verdict == "holds on builtin-streets (quick, 1 seed)"
        assert found.evidence.endswith("measured: parameters +0.6000")


# Verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "up", "down"),
    [
        (HERE, "holds on builtin-faces (quick, 1 seed)",
         "does not hold on builtin-faces (quick, 1 seed)"),
        (OWN, "reproduced", "not reproduced"),
    ],
)  # fmt: skip
def test_order(verdict, context, up, down):
    scores = [score("a", 0.6), score("b", 0.5)]
    found = verdict(ORDER, scores, context)
    assert found.verdict == up
    assert found.evidence == "printed: no numbers for a, b; measured: easy +0.1000"
    assert verdict({**ORDER, "high": "b", "low": "a"}, scores, context).verdict == down


def test_order_needs_every_subset(verdict):
    check = {**ORDER, "subsets": ["easy", "hard"]}
    scores = [score("a", 0.6), score("b", 0.5), score("a", 0.3, "hard"), score("b", 0.4, "hard")]
    found = verdict(check, scores)
    assert found.verdict.startswith("does not hold")
    assert found.evidence.endswith("easy +0.1000, hard -0.1000")


def test_order_of_several_rows_needs_every_pair(verdict):
    check = {**ORDER, "high": ["a", "c"], "low": ["b", "d"]}
    scores = [score("a", 0.9), score("c", 0.6), score("b", 0.5), score("d", 0.4)]
    found = verdict(check, scores)
    assert found.verdict.startswith("holds")
    assert found.evidence.endswith("easy +0.1000 (c over b)")
    scores[3] = score("d", 0.7)
    assert verdict(check, scores).verdict.startswith("does not hold")


def test_floor_lies_below_low_only(verdict):
    check = {**ORDER, "floor": "c"}
    scores = [score("a", 0.6), score("b", 0.5)]
    assert verdict(check, [*scores, score("c", 0.4)]).verdict.startswith("holds")
    assert verdict(check, [*scores, score("c", 0.55)]).verdict.startswith("does not hold")


def test_a_number_may_stand_for_a_row(verdict):
    check = {**ORDER, "low": 0.5}
    assert verdict(check, [score("a", 0.6)]).verdict.startswith("holds")
    assert verdict(check, [score("a", 0.4)]).verdict.startswith("does not hold")
    assert verdict(check, []).verdict == "not run (no numbers for a)"


def test_gap(verdict):
    scores = [score(label, 0.5, s) for label in "ab" for s in ("easy", "medium", "hard")]
    wide = [*scores[:2], score("a", 0.9, "hard"), *scores[3:]]  # 0, 0, 0.4
    found = verdict(GAP, wide, kind="gap")
    assert found.verdict.startswith("holds")
    assert found.evidence.endswith("hard − easy +0.4000, hard − medium +0.4000")
    wider = [wide[0], score("a", 0.95, "medium"), *wide[2:]]  # 0, 0.45, 0.4
    assert verdict(GAP, wider, kind="gap").verdict.startswith("does not hold")
    one = {**GAP, "smaller": "easy"}
    assert verdict(one, wider, kind="gap").verdict.startswith("holds")
    assert verdict(GAP, wide[:-1], kind="gap").verdict == "not run (no numbers for b)"


def test_difference_is_decided_on_the_papers_own_data_only(verdict):
    near, far = [[score("a", a), score("b", 0.5)] for a in (0.609, 0.62)]
    assert verdict(DIFFERENCE, near, OWN, kind="difference").verdict == "reproduced"
    assert verdict(DIFFERENCE, far, OWN, kind="difference").verdict == "not reproduced"
    for scores in (near, far, []):
        found = verdict(DIFFERENCE, scores, HERE, kind="difference")
        assert found.verdict == "not run (a figure of the paper's own data)"


def test_difference_within_the_spread_of_seeds_is_inconclusive(verdict):
    for spread, word in ((0.001, "not reproduced"), (0.1, "inconclusive")):
        scores = [*seeds("a", [0.65 - spread, 0.65 + spread]), score("b", 0.5)]
        assert verdict(DIFFERENCE, scores, OWN, kind="difference").verdict == word


def test_better_goes_by_the_direction_of_each_metric(verdict):
    check = {"high": "a", "low": "b", "metric": ["ap", "niqe"], "subsets": ["easy"]}
    niqe = [replace(printed(label, 4), metric="niqe", direction="lower") for label in "ab"]
    scores = [score("a", 0.6), score("b", 0.5)]
    low, high = score("a", 3.0, metric="niqe"), score("b", 3.5, metric="niqe")
    found = verdict(check, [*scores, low, high], tables=niqe, kind="better")
    assert found.verdict.startswith("holds")
    assert found.evidence.endswith("ap easy +0.1000, niqe easy +0.5000")  # what is gained
    swapped = [replace(low, value=4.0), high]
    assert verdict(check, [*scores, *swapped], tables=niqe, kind="better").verdict[:4] == "does"
    assert verdict(check, [*scores, *swapped], tables=niqe).verdict[:4] == "hold"  # as numbers
    found = verdict(check, scores, tables=niqe, kind="better")
    assert found.verdict == "not run (no numbers for a (niqe), b (niqe))"


def test_bounds_of_a_margin(verdict):
    scores = [score("a", 0.6), score("b", 0.5)]
    for bounds, holds in (
        ({"above": 0.05}, True),
        ({"above": 0.15}, False),
        ({"below": 0.15}, True),
        ({"below": 0.05}, False),
        ({"above": -0.05, "below": 0.05}, False),
        ({"above": -0.15, "below": 0.15}, True),
    ):
        found = verdict({**ORDER, **bounds}, scores).verdict
        assert found.startswith("holds" if holds else "does not hold"), bounds
    swapped = {**ORDER, "high": "b", "low": "a"}  # a margin of −0.1
    assert verdict({**swapped, "above": -0.15, "below": 0.15}, scores).verdict[:5] == "holds"
    assert verdict({**swapped, "below": 0.15}, scores).verdict[:4] == "does"


def test_most_needs_more_than_half(verdict):
    check = {**ORDER, "low": ["b", "c", "d", "e"], "most": True}
    scores = [score("a", 0.6), score("b", 0.5), score("c", 0.5), score("d", 0.7)]
    assert verdict(check, [*scores, score("e", 0.7)]).verdict == "inconclusive"
    found = verdict(check, [*scores, score("e", 0.5)])
    assert found.verdict.startswith("holds")
    assert found.evidence.endswith("3 of 4 comparisons pass, 1 fail")
    found = verdict(check, scores)
    assert found.verdict == "not run (no numbers for e)"
    assert found.evidence.endswith("2 of 4 comparisons pass, 1 fail; no numbers for e")
    lost = [score("a", 0.4), *scores[1:]]  # whatever e has
    assert verdict(check, lost).verdict.startswith("does not hold")


def test_most_places_needs_all_pairs_of_a_place(verdict):
    check = {**ORDER, "low": ["b", "c"], "subsets": ["easy", "medium", "hard"], "most": "places"}
    ahead = [score("a", 0.6, s) for s in check["subsets"]]
    behind = [score(label, 0.5, s) for label in "bc" for s in check["subsets"]]
    one = [replace(s, value=0.7) if (s.method, s.subset) == ("b", "hard") else s for s in behind]
    two = [replace(s, value=0.7) if (s.method, s.subset) == ("c", "easy") else s for s in one]
    found = verdict(check, ahead + one)
    assert found.verdict.startswith("holds")
    assert found.evidence.endswith("2 of 3 places pass, 1 fail")
    assert verdict(check, ahead + two).verdict.startswith("does not hold")  # 4 of 6 pairs pass


def test_parts_have_to_hold_together(verdict):
    parts = [{"low": "b"}, {"low": "c", "subsets": ["hard"]}]
    check = {"high": "a", "metric": "ap", "subsets": ["easy"], "parts": parts}
    scores = [score("a", 0.6), score("b", 0.5), score("a", 0.4, "hard"), score("c", 0.3, "hard")]
    found = verdict(check, scores)
    assert found.verdict.startswith("holds")
    assert found.evidence.endswith("easy +0.1000 (a over b), hard +0.1000 (a over c)")
    scores[-1] = score("c", 0.5, "hard")
    assert verdict(check, scores).verdict.startswith("does not hold")


def test_a_row_is_not_set_against_itself(verdict):
    check = {**ORDER, "low": ["a", "b"]}
    assert verdict(check, [score("a", 0.6), score("b", 0.5)]).verdict.startswith("holds")


def test_one_failing_pair_decides_whatever_is_missing(verdict):
    check = {**ORDER, "low": ["b", "c"]}
    found = verdict(check, [score("a", 0.4), score("b", 0.5)])
    assert found.verdict.startswith("does not hold")
    assert found.evidence.endswith("measured: easy -0.1000 (a over b); no numbers for c")
    tables = [printed("a", 0.4), printed("b", 0.5)]
    assert verdict(check, [], tables=tables).verdict == CONTRADICTED


def test_many_missing_rows_are_counted(verdict):
    check = {**ORDER, "low": list("bcdefghijkl")}
    found = verdict(check, [score("a", 0.4)])
    assert found.verdict == "not run (no numbers for b, c, d, e, f, g, h, i and 3 more rows)"


def test_ratio(verdict):
    check = {**DIFFERENCE, "values": {"easy": 1.5}}
    scores = [score("a", 0.609), score("b", 0.4)]
    found = verdict(check, [score("a", 0.603), score("b", 0.4)], OWN, kind="ratio")
    assert found.verdict == "reproduced" and found.evidence.endswith("measured: easy 1.5075")
    assert verdict(check, scores, OWN, kind="ratio").verdict == "not reproduced"
    nothing = [score("a", 0.6), score("b", 0.0)]
    assert verdict(check, nothing, OWN, kind="ratio").verdict == "not reproduced"
    found = verdict(check, scores, HERE, kind="ratio")
    assert found.verdict == "not run (a figure of the paper's own data)"


def test_percent_are_fractions(verdict):
    tables = [replace(printed(row, v), unit="percent") for row, v in (("a", 60), ("b", 50))]
    scores = [score("a", 0.6), score("b", 0.5)]
    found = verdict(DIFFERENCE, scores, OWN, tables, kind="difference")
    assert found.verdict == "reproduced"
    assert found.evidence == "printed: easy +0.1000; measured: easy +0.1000"


def test_what_nobody_can_run_again(verdict):
    found = verdict({"why": "a user study"}, kind="impossible")
    assert (found.verdict, found.evidence) == ("cannot be re-run (a user study)", "")
    check = {**ORDER, "why": "a user study"}
    tables = [printed("a", 0.6), printed("b", 0.5)]
    assert verdict(check, tables=tables).verdict == "cannot be re-run (a user study)"
    tables[0] = printed("a", 0.4)
    assert verdict(check, tables=tables).verdict == CONTRADICTED


def test_a_recognizer_tells_reports_apart(verdict):
    scores = [score("a", 0.6), score("b", 0.5)]  # of mtcnn
    assert verdict({**ORDER, "recognizer": "mtcnn"}, scores).verdict.startswith("holds")
    there = {**ORDER, "recognizer": "cpn"}
    found = verdict(there, scores)
    assert found.verdict == "not run (judged in the report of cpn)"
    assert found.evidence.endswith("measured: nothing; the rest is judged in the report of cpn")
    assert verdict(there).verdict == "not run (no numbers for a, b)"
    # The printed table comes first here too, but only that of the recognizer.
    tables = [printed("a", 0.4), printed("b", 0.5)]
    assert verdict(there, scores, tables=tables).verdict.startswith("not run (judged in")
    tables = [replace(cell, recognizer="cpn") for cell in tables]
    assert verdict(there, scores, tables=tables).verdict == CONTRADICTED


def test_a_tie_is_inconclusive(verdict):
    scores = [score("a", 0.1 + 0.2), score("b", 0.3)]  # equal but for rounding
    assert verdict(ORDER, scores).verdict == "inconclusive"


def test_within_seed_spread_is_inconclusive(verdict):
    context = replace(HERE, seeds=3)
    base = seeds("b", [0.5, 0.5, 0.5])
    clear = verdict(ORDER, [*seeds("a", [0.6, 0.61, 0.62]), *base], context)
    assert clear.verdict == "holds on builtin-faces (quick, 3 seeds)"
    assert clear.evidence.endswith("easy +0.1100 ± 0.0100")
    assert verdict(ORDER, [*seeds("a", [0.4, 0.6, 0.7]), *base], context).verdict == "inconclusive"
    # One undecided subset leaves the whole undecided; one that fails decides it.
    check = {**ORDER, "subsets": ["easy", "hard"]}
    scores = [*seeds("a", [0.4, 0.6, 0.7]), *base, score("b", 0.5, "hard")]
    good, bad = seeds("a", [0.6, 0.6, 0.6], "hard"), seeds("a", [0.4, 0.4, 0.4], "hard")
    assert verdict(check, scores + good, context).verdict == "inconclusive"
    assert verdict(check, scores + bad, context).verdict.startswith("does not hold")


def test_rows_are_paired_by_seed_not_by_place(verdict):
    # Seed by seed a leads by 0.01; sorted or by place the margins would scatter by 0.3.
    a, b = seeds("a", [0.91, 0.61, 0.31]), seeds("b", [0.90, 0.60, 0.30])
    found = verdict(ORDER, [*a, *reversed(b)], replace(HERE, seeds=3))
    assert found.verdict == "holds on builtin-faces (quick, 3 seeds)"
    assert found.evidence.endswith("easy +0.0100 ± 0.0000")


def test_only_common_seeds_are_compared_and_counted(verdict):
    context = replace(HERE, seeds=3)
    a, b = seeds("a", [0.1, 0.61, 0.62]), seeds("b", [0.5, 0.5, 0.9], first=1)
    found = verdict(ORDER, a + b, context)
    assert found.verdict == "holds on builtin-faces (quick, 2 seeds)"
    assert found.evidence.endswith("easy +0.1150 ± 0.0071")
    # A trained row with one seed is not set against the other seeds of the other row.
    found = verdict(ORDER, seeds("a", [0.6], first=1) + seeds("b", [0.9, 0.5, 0.9]), context)
    assert found.verdict == "holds on builtin-faces (quick, 1 seed)"
    apart = seeds("a", [0.6]) + seeds("b", [0.5], first=1)
    assert verdict(ORDER, apart, context).verdict == "not run (no seed in common)"


def test_a_gap_pairs_its_four_rows_by_seed(verdict):
    easy = seeds("a", [0.6, 0.7, 0.8]) + seeds("b", [0.5, 0.6, 0.7])
    hard = seeds("a", [0.9, 0.7], "hard", first=1) + seeds("b", [0.6, 0.4], "hard", first=1)
    check = {**GAP, "smaller": "easy"}
    found = verdict(check, easy + hard, replace(HERE, seeds=3), kind="gap")
    assert found.verdict == "holds on builtin-faces (quick, 2 seeds)"
    assert found.evidence.endswith("hard − easy +0.2000 ± 0.0000")


def test_an_untrained_row_is_set_against_every_seed(verdict):
    context = replace(HERE, seeds=3)
    trained = seeds("b", [0.50, 0.51, 0.52])
    found = verdict(ORDER, [score("a", 0.6), *trained], context)
    assert found.verdict == "holds on builtin-faces (quick, 3 seeds)"
    assert found.evidence.endswith("easy +0.0900 ± 0.0100")
    swapped = {**ORDER, "high": "b", "low": "a"}
    assert verdict(swapped, [score("a", 0.6), *trained], context).verdict.startswith("does not")


def test_not_run_names_the_missing_rows(verdict):
    check = {**ORDER, "low": ["b", "c", "d"]}
    found = verdict(check, [score("a", 0.6), score("c", 0.5), score("d", 0.5, "hard")])
    assert found.verdict == "not run (no numbers for b, d)"


def test_a_score_without_value_counts_as_missing(verdict):
    found = verdict(ORDER, [score("a", float("nan")), score("b", 0.5)])
    assert found.verdict == "not run (no numbers for a)"


def test_mixed_scores_are_refused(verdict):
    with pytest.raises(ValueError, match=r"two scores; judge one data set"):
        verdict(ORDER, [score("a", 0.6), score("a", 0.7), score("b", 0.5)])
    again = [score("a", 0.6), score("a", 0.6), score("b", 0.5)]  # read twice: no harm
    assert verdict(ORDER, again).verdict.startswith("holds")


def test_the_papers_table_comes_first(verdict):
    tables = [printed("a", 0.4, note="seen in Table 9"), printed("b", 0.5)]
    scores = [score("a", 0.6), score("b", 0.5)]
    for context in (HERE, OWN):
        found = verdict(ORDER, scores, context, tables)
        assert found.verdict == CONTRADICTED
        expected = "printed: easy -0.1000; measured: easy +0.1000; a, easy: seen in Table 9"
        assert found.evidence == expected
    assert verdict(ORDER, [], HERE, tables).verdict == CONTRADICTED


def test_a_printed_tie_contradicts_nothing(verdict):
    tables = [printed("a", 0.5), printed("b", 0.5)]
    assert verdict(ORDER, [score("a", 0.6), score("b", 0.5)], tables=tables).verdict[:5] == "holds"


def test_cells_printed_twice(verdict):
    scores = [score("a", 0.6), score("b", 0.5)]
    tables = [printed("a", 0.4), printed("a", 0.4), printed("b", 0.5)]
    assert verdict(ORDER, scores, tables=tables).verdict == CONTRADICTED
    with pytest.raises(ValueError, match=r"printed with different values: \[0\.4, 0\.6\]"):
        verdict(ORDER, scores, tables=[*tables, printed("a", 0.6)])


def test_an_illegible_cell_decides_nothing(verdict):
    tables = [printed("a", None, status="not_legible"), printed("b", 0.9)]
    found = verdict(ORDER, [score("a", 0.6), score("b", 0.5)], tables=tables)
    assert found.verdict.startswith("holds") and "printed: no numbers for a;" in found.evidence


def test_measured_claims(verdict):
    def judged(context=HERE, **found):
        return verdict({"name": "curve"}, (), context, kind="measured", measurements=found)

    assert judged(curve=(True, "rises")).verdict == "holds on builtin-faces (quick, 1 seed)"
    assert judged(curve=(True, "rises")).evidence == "rises"
    assert judged(curve=(False, "falls")).verdict.startswith("does not hold on")
    assert judged(OWN, curve=(False, "falls")).verdict == "not reproduced"
    assert judged(curve=(None, "needs 24 maps")).verdict == "not run (needs 24 maps)"
    assert judged(other=(True, "")).verdict == "not run (not measured in this run)"
    assert verdict({"name": "curve"}, kind="measured").verdict.startswith("not run")


def test_pictures_are_shown_not_judged(verdict):
    found = verdict({"figure": "Fig. 4.1"}, kind="picture")
    assert (found.verdict, found.evidence) == ("not run (judged by eye)", "see Fig. 4.1")


def test_a_restating_claim_takes_over_the_verdict(monkeypatch):
    first = Claim("9.01", "§1", 1, "a > b.", "order", ORDER)
    again = Claim("9.02", "§2", 2, "Again.", restates="9.01")
    monkeypatch.setattr(claims, "load_claims", lambda paper: (first, again))
    one, two = judge("joint", [score("a", 0.6), score("b", 0.5)], HERE)
    assert two.verdict == one.verdict == "holds on builtin-faces (quick, 1 seed)"
    assert two.evidence == "as 9.01"


# Malformed claims ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        ("rank", ORDER, "claim 9.01: kind 'rank' is none of order, better, gap"),
        ("", {}, "kind ''"),
        ("order", {}, "lacks high, low, metric$"),
        ("order", {k: v for k, v in ORDER.items() if k != "low"}, "lacks low"),
        ("gap", ORDER, "lacks larger, smaller"),
        ("difference", {**ORDER, "values": {"easy": 0.1}}, "lacks tolerance"),
        ("measured", {}, "lacks name"),
        ("picture", {}, "lacks figure"),
        ("order", {**ORDER, "flor": "c"}, "does not know flor"),
        ("gap", {**GAP, "floor": "c"}, "does not know floor"),
        ("order", {**ORDER, "high": []}, "leaves empty high"),
        ("order", {**ORDER, "subsets": []}, "leaves empty subsets"),
        ("difference", {**DIFFERENCE, "values": {}}, "leaves empty values"),
        ("picture", {"figure": ""}, "leaves empty figure"),
        ("impossible", {}, "lacks why"),
        ("gap", {**GAP, "above": 0.1}, "does not know above"),
        ("order", {**ORDER, "most": "rows"}, "does not understand most"),
        ("order", {**ORDER, "most": False}, "does not understand most"),
        ("order", {**ORDER, "parts": []}, "leaves empty parts"),
        ("order", {**ORDER, "parts": [{"low": "c"}, {"flor": "c"}]}, "does not know flor"),
        ("difference", {**ORDER, "parts": [{"values": {"easy": 0.1}}]}, "lacks tolerance"),
    ],
)
def test_malformed_check(kind, check, message):
    with pytest.raises(ValueError, match=message):
        Claim("9.01", "§1", 1, "Made up.", kind, check)


def test_a_restating_claim_has_no_check():
    with pytest.raises(ValueError, match=r"claim 9\.02: it restates 9\.01"):
        Claim("9.02", "§1", 1, "Made up.", "order", ORDER, restates="9.01")


PICTURE = """[[claim]]
id = "9.01"
place = "§1"
line = 1
says = "Made up."
kind = "picture"
check = { figure = "Fig. 1" }
"""
RESTATING = '[[claim]]\nid = "9.02"\nplace = "§2"\nline = 2\nsays = "So."\nrestates = "9.01"\n'


@pytest.fixture
def claims_file(monkeypatch, tmp_path):
    """Write claims of our own where load_claims looks for them."""
    monkeypatch.setattr(claims, "CLAIMS", tmp_path)
    load_claims.cache_clear()
    yield lambda text: (tmp_path / "joint.toml").write_text(text, encoding="utf-8")
    load_claims.cache_clear()


def test_claims_file(claims_file):
    claims_file(PICTURE + RESTATING)
    assert [(c.id, c.restates) for c in load_claims("joint")] == [("9.01", ""), ("9.02", "9.01")]


def test_a_file_may_name_several_rows(claims_file):
    check = '{ high = "all", low = ["all", "d"], metric = "ap", parts = [{ floor = "all" }] }'
    order = PICTURE.replace("picture", "order").replace('{ figure = "Fig. 1" }', check)
    claims_file('[rows]\nall = ["a", "b"]\n\n' + order)
    (claim,) = load_claims("joint")
    (found,) = claim.checks
    assert [found[key] for key in ("high", "low", "floor")] == [["a", "b"], list("abd"), ["a", "b"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RESTATING + PICTURE, r"claim 9\.02 restates 9\.01, which is none before it"),
        (PICTURE + PICTURE, r"claim 9\.01 stands twice in joint\.toml"),
        (PICTURE.replace("line = 1\n", ""), r"claim 9\.01: .*line"),
        (PICTURE.replace("line", "page"), r"claim 9\.01: .*page"),
        (PICTURE.replace("figure", "picture"), r"claim 9\.01: its check lacks figure"),
        ("[[claim]\n", "line 1"),
        ("", r"joint\.toml holds no \[\[claim\]\]"),
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
        judge("poetry", [], HERE)
