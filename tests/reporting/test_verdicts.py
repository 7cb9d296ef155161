"""Verdicts: claims of our own against made-up scores and tables."""

from dataclasses import replace

import numpy as np
import pytest
from made import HARD, UNTRAINED, a_score

from llie_core.reporting import claims
from llie_core.reporting.claims import Claim, Context, judge
from llie_core.reporting.drawn import Draws
from llie_core.reporting.published import PublishedValue
from llie_core.reporting.scores import Score

ORDER = {"high": "a", "low": "b", "metric": "ap", "subsets": ["easy"]}
GAP = {"high": "a", "low": "b", "metric": "ap", "larger": "hard", "smaller": ["easy", "medium"]}
DIFFERENCE = {"high": "a", "low": "b", "metric": "ap", "values": {"easy": 0.1}, "tolerance": 0.01}
HERE = Context("builtin-faces", "quick", 1, papers_own=False)
THREE = replace(HERE, seeds=3)
OWN = Context("wider-face", "paper", 1, papers_own=True)
HOLDS, DOES_NOT = "holds on builtin-faces", "does not hold on builtin-faces"
CONTRADICTED = "contradicted by the paper's own table"
ON_A_CPU = "holds on wider-face (paper, no trained rows, timed on a CPU)"
OF_THE_PAPER = "not run (a figure of the paper's own data)"
NONE_TRAINED = "no trained rows"  # whatever seeds the run has
WITHIN = "inconclusive (within the spread of the seeds)"
REVERSED = "inconclusive (other test images could reverse it)"
GPU, CPU = "NVIDIA A100", "CPU (2 threads)"
PROTOCOLS = {"ap": "face-ap-height", "niqe": "niqe-live", "psnr": "psnr-rgb-float",
             "latency": "cost-latency", "parameters": "cost-parameters"}  # fmt: skip


def score(label, value, subset="easy", seed=0, trained=False, metric="ap", device=GPU) -> Score:
    own = {"label": label, "subset": subset, "metric": metric, "value": value, "n": 9, "seed": seed}
    own |= {"protocol": PROTOCOLS[metric], "device": device, "commit": "c0ffee"}
    done = {"steps_done": 5, "steps_planned": 10} if trained else UNTRAINED
    return a_score(**HARD | own | done)


def seeds(label, values, subset="easy", first=0, metric="ap") -> list[Score]:
    """Scores of a trained row, one a seed."""
    return [score(label, v, subset, first + i, True, metric) for i, v in enumerate(values)]


def printed(label, value, subset="easy", status="printed", note="") -> PublishedValue:
    return PublishedValue(
        "9", 0, 0, label, subset, label, "", "tinaface", "wider-face", "test", subset, "ap",
        "fraction", "higher", value, str(value), status, note,
    )  # fmt: skip


A_OVER_B = [score("a", 0.6), score("b", 0.5)]


@pytest.fixture
def verdict(monkeypatch):
    """Judge a claim of our own against tables of our own."""

    def judged(check, scores=(), context=HERE, tables=(), kind="order", measurements=None):
        claim = Claim("9.01", "§1", 1, "Made up.", kind, check)
        monkeypatch.setattr(claims, "load_claims", lambda paper: (claim,))
        monkeypatch.setattr(claims, "load", lambda paper: list(tables))
        (found,) = judge("joint", scores, context, measurements)
        return found

    return judged


# Orders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "up", "down"),
    [
        (THREE, f"{HOLDS} (quick, {NONE_TRAINED})", f"{DOES_NOT} (quick, {NONE_TRAINED})"),
        (OWN, "reproduced", "not reproduced"),
    ],
)
def test_order_of_untrained_rows_needs_no_seeds(verdict, context, up, down):
    found = verdict(ORDER, A_OVER_B, context)
    assert found.verdict == up
    assert found.evidence == "printed: no numbers for a, b; measured: easy +0.1000"
    assert verdict({**ORDER, "high": "b", "low": "a"}, A_OVER_B, context).verdict == down


@pytest.mark.parametrize("context", [HERE, OWN])
@pytest.mark.parametrize("low", ["b", "c", 0.5], ids=["trained", "untrained", "number"])
def test_an_ordering_of_trained_rows_takes_three_seeds(verdict, context, low):
    check = {**ORDER, "low": low}
    a, b, c = [0.61, 0.62, 0.63], seeds("b", [0.5, 0.5, 0.5]), score("c", 0.5)
    one = verdict(check, [*seeds("a", a[:1]), *b, c], context)
    assert one.verdict == "inconclusive (1 seed; an ordering takes 3)"
    assert one.evidence.endswith("measured: easy +0.1100")  # shown all the same
    two = verdict(check, [*seeds("a", a[:2]), *b, c], context)
    assert two.verdict == "inconclusive (2 seeds; an ordering takes 3)"
    three = verdict(check, [*seeds("a", a), *b, c], context)
    assert three.verdict == ("reproduced" if context is OWN else f"{HOLDS} (quick, 3 seeds)")
    assert three.evidence.endswith("easy +0.1200 ± 0.0100")
    against = verdict(check, [*seeds("a", [0.1]), *b, c], context)
    assert against.verdict == "inconclusive (1 seed; an ordering takes 3)"


@pytest.mark.parametrize("metric", ["parameters", "latency"])
def test_sizes_and_costs_need_no_seeds(verdict, metric):
    check = {"high": "a", "low": "b", "metric": metric, "subsets": ["all"]}
    scores = [*seeds("a", [2e6], "all", metric=metric), *seeds("b", [1e6], "all", metric=metric)]
    assert verdict(check, scores).verdict == f"{HOLDS} (quick, 1 seed)"


def test_a_difference_of_trained_rows_needs_no_three_seeds(verdict):
    scores = seeds("a", [0.6]) + seeds("b", [0.5])
    assert verdict(DIFFERENCE, scores, OWN, kind="difference").verdict == "reproduced"


def test_order_needs_every_subset(verdict):
    check = {**ORDER, "subsets": ["easy", "hard"]}
    found = verdict(check, [*A_OVER_B, score("a", 0.3, "hard"), score("b", 0.4, "hard")])
    assert found.verdict.startswith(DOES_NOT)
    assert found.evidence.endswith("easy +0.1000, hard -0.1000")


def test_order_of_several_rows_needs_every_pair(verdict):
    check = {**ORDER, "high": ["a", "c"], "low": ["b", "d"]}
    scores = [score("a", 0.9), score("c", 0.6), score("b", 0.5), score("d", 0.4)]
    found = verdict(check, scores)
    assert found.verdict.startswith(HOLDS)
    assert found.evidence.endswith("easy +0.1000 (c over b)")
    scores[3] = score("d", 0.7)
    assert verdict(check, scores).verdict.startswith(DOES_NOT)


def test_floor_lies_below_low_only(verdict):
    check = {**ORDER, "floor": "c"}
    assert verdict(check, [*A_OVER_B, score("c", 0.4)]).verdict.startswith(HOLDS)
    assert verdict(check, [*A_OVER_B, score("c", 0.55)]).verdict.startswith(DOES_NOT)


def test_a_number_may_stand_for_a_row(verdict):
    check = {**ORDER, "low": 0.5}
    assert verdict(check, [score("a", 0.6)]).verdict.startswith(HOLDS)
    assert verdict(check, [score("a", 0.4)]).verdict.startswith(DOES_NOT)
    assert verdict(check, []).verdict == "not run (no numbers for a)"


def test_a_row_is_not_set_against_itself(verdict):
    assert verdict({**ORDER, "low": ["a", "b"]}, A_OVER_B).verdict.startswith(HOLDS)


def test_better_goes_by_the_direction_of_each_metric(verdict):
    check = {"high": "a", "low": "b", "metric": ["ap", "niqe"], "subsets": ["easy"]}
    niqe = [replace(printed(label, 4), metric="niqe", direction="lower") for label in "ab"]
    low, high = score("a", 3.0, metric="niqe"), score("b", 3.5, metric="niqe")
    found = verdict(check, [*A_OVER_B, low, high], tables=niqe, kind="better")
    assert found.verdict.startswith(HOLDS)
    assert found.evidence.endswith("AP easy +0.1000, NIQE easy +0.5000")  # what is gained
    swapped = [*A_OVER_B, replace(low, value=4.0), high]
    assert verdict(check, swapped, tables=niqe, kind="better").verdict.startswith(DOES_NOT)
    assert verdict(check, swapped, tables=niqe).verdict.startswith(HOLDS)  # as numbers
    found = verdict(check, A_OVER_B, tables=niqe, kind="better")
    assert found.verdict == "not run (no numbers for a (NIQE), b (NIQE))"


@pytest.mark.parametrize(
    ("high", "bounds", "holds"),
    [
        ("a", {"above": 0.05}, True), ("a", {"above": 0.15}, False),
        ("a", {"below": 0.15}, True), ("a", {"below": 0.05}, False),
        ("a", {"above": -0.05, "below": 0.05}, False), ("a", {"above": -0.15, "below": 0.15}, True),
        ("b", {"above": -0.15, "below": 0.15}, True), ("b", {"below": 0.15}, False),
    ],
)  # fmt: skip
def test_bounds_of_a_margin(verdict, high, bounds, holds):
    check = {**ORDER, "high": high, "low": "b" if high == "a" else "a", **bounds}  # ±0.1
    assert verdict(check, A_OVER_B).verdict.startswith(HOLDS if holds else DOES_NOT)


def test_most_needs_more_than_half(verdict):
    check = {**ORDER, "low": ["b", "c", "d", "e"], "most": True}
    scores = [*A_OVER_B, score("c", 0.5), score("d", 0.7)]
    assert verdict(check, [*scores, score("e", 0.7)]).verdict == "inconclusive (a tie)"
    found = verdict(check, [*scores, score("e", 0.5)])
    assert found.verdict.startswith(HOLDS)
    assert found.evidence.endswith("3 of 4 comparisons pass, 1 fail")
    found = verdict(check, scores)
    assert found.verdict == "not run (no numbers for e)"
    assert found.evidence.endswith("2 of 4 comparisons pass, 1 fail; no numbers for e")
    lost = [score("a", 0.4), *scores[1:]]  # whatever e has
    assert verdict(check, lost).verdict.startswith(DOES_NOT)


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (HERE, f"{HOLDS} (quick, no trained rows; no numbers for e)"),
        (OWN, "reproduced (no numbers for e)"),
    ],
)
def test_a_verdict_by_most_names_the_rows_without_numbers(verdict, context, words):
    check = {**ORDER, "low": ["b", "c", "d", "e"], "most": True}
    scores = [*A_OVER_B, score("c", 0.5), score("d", 0.5)]
    assert verdict(check, scores, context).verdict == words


def test_most_places_needs_all_pairs_of_a_place(verdict):
    check = {**ORDER, "low": ["b", "c"], "subsets": ["easy", "medium", "hard"], "most": "places"}
    ahead = [score("a", 0.6, s) for s in check["subsets"]]
    behind = [score(label, 0.5, s) for label in "bc" for s in check["subsets"]]
    one = [replace(s, value=0.7) if (s.label, s.subset) == ("b", "hard") else s for s in behind]
    two = [replace(s, value=0.7) if (s.label, s.subset) == ("c", "easy") else s for s in one]
    found = verdict(check, ahead + one)
    assert found.verdict.startswith(HOLDS)
    assert found.evidence.endswith("2 of 3 places pass, 1 fail")
    assert verdict(check, ahead + two).verdict.startswith(DOES_NOT)  # 4 of 6 pairs pass


def test_parts_have_to_hold_together(verdict):
    parts = [{"low": "b"}, {"low": "c", "subsets": ["hard"]}]
    check = {"high": "a", "metric": "ap", "subsets": ["easy"], "parts": parts}
    scores = [*A_OVER_B, score("a", 0.4, "hard"), score("c", 0.3, "hard")]
    found = verdict(check, scores)
    assert found.verdict.startswith(HOLDS)
    assert found.evidence.endswith("easy +0.1000 (a over b), hard +0.1000 (a over c)")
    scores[-1] = score("c", 0.5, "hard")
    assert verdict(check, scores).verdict.startswith(DOES_NOT)


def test_one_failing_pair_decides_whatever_is_missing(verdict):
    check = {**ORDER, "low": ["b", "c"]}
    found = verdict(check, [score("a", 0.4), score("b", 0.5)])
    assert found.verdict.startswith(DOES_NOT)
    assert found.evidence.endswith("measured: easy -0.1000 (a over b); no numbers for c")
    tables = [printed("a", 0.4), printed("b", 0.5)]
    assert verdict(check, [], tables=tables).verdict == CONTRADICTED


def test_evidence_calls_rows_what_tables_call_them(verdict):
    """A title with a comma stands in quotes; another program has its name."""
    check = {**ORDER, "high": "neid+ours", "low": ["gamma", "kind"]}
    context = replace(HERE, titles={"neid+ours": "NEID, our loss"})
    note = "another work"
    tables = [printed("neid+ours", 0.4), printed("gamma", 0.5, note=note)]
    found = verdict(check, [score("neid+ours", 0.6), score("gamma", 0.5)], context, tables)
    assert found.evidence == (
        "printed: easy -0.1000 (“NEID, our loss” over gamma 1/2.2); no numbers for KinD; "
        "measured: easy +0.1000 (“NEID, our loss” over gamma 1/2.2); no numbers for KinD; "
        "gamma 1/2.2, easy: another work"
    )


def test_missing_rows_are_named_and_many_are_counted(verdict):
    check = {**ORDER, "low": ["b", "c", "d"]}
    found = verdict(check, [score("a", 0.6), score("c", 0.5), score("d", 0.5, "hard")])
    assert found.verdict == "not run (no numbers for b, d)"
    found = verdict({**ORDER, "low": list("bcdefghij")}, [score("a", 0.4)])
    assert found.verdict == "not run (no numbers for b, c, d, e, f, g, h, i and 1 more row)"
    found = verdict({**ORDER, "low": list("bcdefghijkl")}, [score("a", 0.4)])
    assert found.verdict == "not run (no numbers for b, c, d, e, f, g, h, i and 3 more rows)"
    found = verdict(ORDER, [score("a", float("nan")), score("b", 0.5)])
    assert found.verdict == "not run (no numbers for a)"


# Gaps and figures --------------------------------------------------------------------------------


def test_gap(verdict):
    scores = [score(label, 0.5, s) for label in "ab" for s in ("easy", "medium", "hard")]
    wide = [*scores[:2], score("a", 0.9, "hard"), *scores[3:]]  # 0, 0, 0.4
    found = verdict(GAP, wide, kind="gap")
    assert found.verdict.startswith(HOLDS)
    assert found.evidence.endswith("hard +0.4000, hard − easy +0.4000, hard − medium +0.4000")
    wider = [wide[0], score("a", 0.95, "medium"), *wide[2:]]  # 0, 0.45, 0.4
    assert verdict(GAP, wider, kind="gap").verdict.startswith(DOES_NOT)
    one = {**GAP, "smaller": "easy"}
    assert verdict(one, wider, kind="gap").verdict.startswith(HOLDS)
    assert verdict(GAP, wide[:-1], kind="gap").verdict == "not run (no numbers for b)"


def test_a_smaller_loss_is_no_larger_gain(verdict):
    low = [score("b", 0.5, s) for s in ("easy", "hard")]
    found = verdict(
        {**GAP, "smaller": "easy"}, [score("a", 0.2), score("a", 0.4, "hard"), *low], kind="gap"
    )
    assert found.verdict.startswith(DOES_NOT)
    assert found.evidence.endswith("hard -0.1000, hard − easy +0.2000")


def test_a_figure_is_decided_on_the_papers_own_data_only(verdict):
    ratio = {**DIFFERENCE, "values": {"easy": 1.5}}
    for kind, check, near, far in (
        ("difference", DIFFERENCE, (0.609, 0.5), (0.62, 0.5)),
        ("ratio", ratio, (0.603, 0.4), (0.609, 0.4)),
        ("ratio", ratio, (0.603, 0.4), (0.6, 0.0)),
    ):
        near, far = ([score("a", a), score("b", b)] for a, b in (near, far))
        assert verdict(check, near, OWN, kind=kind).verdict == "reproduced"
        assert verdict(check, far, OWN, kind=kind).verdict == "not reproduced"
        for scores in (near, far, []):
            assert verdict(check, scores, HERE, kind=kind).verdict == OF_THE_PAPER
    found = verdict(ratio, [score("a", 0.603), score("b", 0.4)], OWN, kind="ratio")
    assert found.evidence.endswith("measured: easy 1.5075")


def test_difference_within_the_spread_of_seeds_is_inconclusive(verdict):
    for spread, word in ((0.001, "not reproduced"), (0.1, WITHIN)):
        scores = [*seeds("a", [0.65 - spread, 0.65 + spread]), score("b", 0.5)]
        assert verdict(DIFFERENCE, scores, OWN, kind="difference").verdict == word


def test_percent_are_fractions(verdict):
    tables = [replace(printed(row, v), unit="percent") for row, v in (("a", 60), ("b", 50))]
    found = verdict(DIFFERENCE, A_OVER_B, OWN, tables, kind="difference")
    assert found.verdict == "reproduced"
    assert found.evidence == "printed: easy +0.1000; measured: easy +0.1000"


# Seeds -------------------------------------------------------------------------------------------


def test_a_tie_is_inconclusive(verdict):
    scores = [score("a", 0.1 + 0.2), score("b", 0.3)]  # equal but for rounding
    assert verdict(ORDER, scores).verdict == "inconclusive (a tie)"


def test_within_seed_spread_is_inconclusive(verdict):
    base = seeds("b", [0.5, 0.5, 0.5])
    clear = verdict(ORDER, [*seeds("a", [0.6, 0.61, 0.62]), *base], THREE)
    assert clear.verdict == f"{HOLDS} (quick, 3 seeds)"
    assert clear.evidence.endswith("easy +0.1100 ± 0.0100")
    assert verdict(ORDER, [*seeds("a", [0.4, 0.6, 0.7]), *base], THREE).verdict == WITHIN
    # One undecided subset leaves the whole undecided; one that fails decides it.
    check = {**ORDER, "subsets": ["easy", "hard"]}
    scores = [*seeds("a", [0.4, 0.6, 0.7]), *base, score("b", 0.5, "hard")]
    good, bad = seeds("a", [0.6, 0.6, 0.6], "hard"), seeds("a", [0.4, 0.4, 0.4], "hard")
    assert verdict(check, scores + good, THREE).verdict == WITHIN
    assert verdict(check, scores + bad, THREE).verdict.startswith(DOES_NOT)


def test_evidence_shows_the_margin_that_decides(verdict):
    """Not one that is smaller, and within its own spread."""
    check = {**ORDER, "low": ["b", "c"]}
    a, wide = seeds("a", [0.6, 0.6, 0.6]), seeds("b", [0.1, 0.9, 1.1])
    behind = verdict(check, [*a, *wide, score("c", 0.61)], THREE)
    assert behind.verdict.startswith(DOES_NOT)
    assert behind.evidence.endswith("easy -0.0100 ± 0.0000 (a over c)")
    open_still = verdict(check, [*a, *seeds("b", [0.1, 0.2, 0.9]), score("c", 0.59)], THREE)
    assert open_still.verdict == WITHIN
    assert open_still.evidence.endswith("easy +0.2000 ± 0.4359 (a over b)")


def test_rows_are_paired_by_seed_not_by_place(verdict):
    # Seed by seed a leads by 0.01; sorted or by place the margins would scatter by 0.3.
    a, b = seeds("a", [0.91, 0.61, 0.31]), seeds("b", [0.90, 0.60, 0.30])
    found = verdict(ORDER, [*a, *reversed(b)], THREE)
    assert found.verdict == f"{HOLDS} (quick, 3 seeds)"
    assert found.evidence.endswith("easy +0.0100 ± 0.0000")


def test_only_common_seeds_are_compared_and_counted(verdict):
    context = replace(HERE, seeds=4)
    a, b = seeds("a", [0.1, 0.61, 0.62, 0.63]), seeds("b", [0.5, 0.5, 0.5, 0.9], first=1)
    found = verdict(ORDER, a + b, context)
    assert found.verdict == f"{HOLDS} (quick, 3 seeds)"
    assert found.evidence.endswith("easy +0.1200 ± 0.0100")
    found = verdict(ORDER, a[:3] + b, context)
    assert found.verdict == "inconclusive (2 seeds; an ordering takes 3)"
    # A trained row with one seed is not set against the other seeds of the other row.
    found = verdict(ORDER, seeds("a", [0.6], first=1) + seeds("b", [0.9, 0.5, 0.9]), context)
    assert found.evidence.endswith("easy +0.1000")
    apart = seeds("a", [0.6]) + seeds("b", [0.5], first=1)
    assert verdict(ORDER, apart, context).verdict == "not run (no seed in common)"


def test_a_gap_pairs_its_four_rows_by_seed(verdict):
    easy = seeds("a", [0.6, 0.7, 0.8, 0.9]) + seeds("b", [0.5, 0.6, 0.7, 0.8])
    hard = [x for label, values in (("a", [0.9, 0.7, 0.8]), ("b", [0.6, 0.4, 0.5]))
            for x in seeds(label, values, "hard", first=1)]  # fmt: skip
    check = {**GAP, "smaller": "easy"}
    found = verdict(check, easy + hard, replace(HERE, seeds=4), kind="gap")
    assert found.verdict == f"{HOLDS} (quick, 3 seeds)"
    assert found.evidence.endswith("hard − easy +0.2000 ± 0.0000")


def test_an_untrained_row_is_set_against_every_seed(verdict):
    scores = [score("a", 0.6), *seeds("b", [0.50, 0.51, 0.52])]
    found = verdict(ORDER, scores, THREE)
    assert found.verdict == f"{HOLDS} (quick, 3 seeds)"
    assert found.evidence.endswith("easy +0.0900 ± 0.0100")
    swapped = {**ORDER, "high": "b", "low": "a"}
    assert verdict(swapped, scores, THREE).verdict.startswith(DOES_NOT)


def test_mixed_scores_are_refused(verdict):
    with pytest.raises(ValueError, match=r"two scores; judge one data set"):
        verdict(ORDER, [*A_OVER_B, score("a", 0.7)])
    again = [*A_OVER_B, score("a", 0.6)]  # read twice: no harm
    assert verdict(ORDER, again).verdict.startswith(HOLDS)


# What a run can carry ----------------------------------------------------------------------------

LATENCY = {"high": "a", "low": "b", "metric": "latency", "subsets": ["all"]}


@pytest.mark.parametrize(("device", "own"), [(GPU, True), (CPU, False)])
def test_a_time_on_a_cpu_is_never_the_papers_own(verdict, device, own):
    times = [score(label, v, "all", metric="latency", device=device)
             for label, v in (("a", 2.0), ("b", 1.0))]  # fmt: skip
    found = verdict(LATENCY, times, OWN)
    assert found.verdict == ("reproduced" if own else ON_A_CPU)
    ratio = {**LATENCY, "values": {"all": 2.0}, "tolerance": 0.1}
    del ratio["subsets"]
    found = verdict(ratio, times, OWN, kind="ratio")
    assert found.verdict == ("reproduced" if own else OF_THE_PAPER)
    here = [replace(s, device=device) for s in A_OVER_B]  # no time
    assert verdict(ORDER, here + times, OWN).verdict == "reproduced"


def test_a_blind_recognizer_decides_nothing(verdict):
    blind = replace(HERE, blind={"mtcnn": "near chance in normal light"})
    found = verdict(ORDER, A_OVER_B, blind)
    assert found.verdict == "not run (near chance in normal light)"
    assert found.evidence.endswith("measured: easy +0.1000")
    tables = [printed("a", 0.4), printed("b", 0.5)]
    assert verdict(ORDER, A_OVER_B, blind, tables).verdict == CONTRADICTED
    other = replace(HERE, blind={"cpn": "near chance"})
    assert verdict(ORDER, A_OVER_B, other).verdict.startswith(HOLDS)
    for metric in ("psnr", "parameters"):  # what no recognizer reads
        scores = [score("a", 3e6, metric=metric), score("b", 2e6, metric=metric)]
        assert verdict({**ORDER, "metric": metric}, scores, blind).verdict.startswith(HOLDS)


def test_a_recognizer_tells_reports_apart(verdict):
    assert verdict({**ORDER, "recognizer": "mtcnn"}, A_OVER_B).verdict.startswith(HOLDS)
    there = {**ORDER, "recognizer": "cpn"}
    found = verdict(there, A_OVER_B)
    assert found.verdict == "not run (judged in the report of CPN)"
    assert found.evidence.endswith("measured: nothing; the rest is judged in the report of CPN")
    assert verdict(there).verdict == "not run (no numbers for a, b)"
    # The printed table comes first here too, but only that of the recognizer.
    tables = [printed("a", 0.4), printed("b", 0.5)]
    assert verdict(there, A_OVER_B, tables=tables).verdict.startswith("not run (judged in")
    tables = [replace(cell, recognizer="cpn") for cell in tables]
    assert verdict(there, A_OVER_B, tables=tables).verdict == CONTRADICTED


# Printed tables ----------------------------------------------------------------------------------


def test_the_papers_table_comes_first(verdict):
    tables = [printed("a", 0.4, note="seen in Table 9"), printed("b", 0.5)]
    for context in (HERE, OWN):
        found = verdict(ORDER, A_OVER_B, context, tables)
        assert found.verdict == CONTRADICTED
        expected = "printed: easy -0.1000; measured: easy +0.1000; a, easy: seen in Table 9"
        assert found.evidence == expected
    assert verdict(ORDER, [], HERE, tables).verdict == CONTRADICTED


def test_a_printed_tie_contradicts_nothing(verdict):
    tables = [printed("a", 0.5), printed("b", 0.5)]
    assert verdict(ORDER, A_OVER_B, tables=tables).verdict.startswith(HOLDS)


def test_cells_printed_twice(verdict):
    tables = [printed("a", 0.4), printed("a", 0.4), printed("b", 0.5)]
    assert verdict(ORDER, A_OVER_B, tables=tables).verdict == CONTRADICTED
    with pytest.raises(ValueError, match=r"printed with different values: \[0\.4, 0\.6\]"):
        verdict(ORDER, A_OVER_B, tables=[*tables, printed("a", 0.6)])


def test_an_illegible_cell_decides_nothing(verdict):
    tables = [printed("a", None, status="not_legible"), printed("b", 0.9)]
    found = verdict(ORDER, A_OVER_B, tables=tables)
    assert found.verdict.startswith(HOLDS) and "printed: no numbers for a;" in found.evidence


# Other kinds -------------------------------------------------------------------------------------


def test_measured_claims(verdict):
    def judged(context=HERE, **found):
        return verdict({"name": "curve"}, (), context, kind="measured", measurements=found)

    assert judged(curve=(True, "rises")).verdict == f"{HOLDS} (quick, 1 seed)"
    assert judged(curve=(True, "rises")).evidence == "rises"
    assert judged(curve=(False, "falls")).verdict.startswith(DOES_NOT)
    assert judged(OWN, curve=(False, "falls")).verdict == "not reproduced"
    assert judged(curve=(None, "needs 24 maps")).verdict == "not run (needs 24 maps)"
    assert judged(other=(True, "")).verdict == "not run (not measured in this run)"
    assert verdict({"name": "curve"}, kind="measured").verdict.startswith("not run")


def test_a_measured_claim_that_compares_rows_is_held_to_the_same_rules(verdict):
    def judged(metric, context, device=GPU, holds=True):
        scores = [replace(s, device=device) for s in A_OVER_B]
        check, found = {"name": "gain", "metric": metric}, {"gain": (holds, "0.6 against 0.5")}
        return verdict(check, scores, context, kind="measured", measurements=found)

    few = judged("psnr", HERE)
    assert few.verdict == "inconclusive (1 seed; an ordering takes 3)"
    assert few.evidence == "0.6 against 0.5"
    assert judged("psnr", THREE).verdict == f"{HOLDS} (quick, 3 seeds)"
    assert judged(["latency", "psnr"], OWN).verdict.startswith("inconclusive")
    assert judged("latency", OWN).verdict == "reproduced"  # costs need no seeds
    timed = ON_A_CPU.replace(NONE_TRAINED, "1 seed")
    assert judged("latency", OWN, CPU).verdict == timed
    blind = replace(THREE, blind={"mtcnn": "near chance"})
    assert judged("ap", blind).verdict == "not run (near chance)"
    assert judged("psnr", blind).verdict.startswith(HOLDS)
    assert judged("ap", HERE, holds=None).verdict == "not run (0.6 against 0.5)"


def test_what_numbers_do_not_decide(verdict):
    found = verdict({"figure": "Fig. 4.1"}, kind="eye")
    assert (found.verdict, found.evidence) == ("left to the eye", "see Fig. 4.1")
    found = verdict({"why": "it says often"}, A_OVER_B, OWN, kind="hypothesis")
    assert (found.verdict, found.evidence) == ("hypothesis (it says often)", "")
    found = verdict({"why": "a user study"}, kind="impossible")
    assert (found.verdict, found.evidence) == ("cannot be re-run (a user study)", "")


def test_what_nobody_can_run_again_is_tried_on_the_table(verdict):
    check = {**ORDER, "why": "a user study"}
    tables = [printed("a", 0.6), printed("b", 0.5)]
    assert verdict(check, tables=tables).verdict == "cannot be re-run (a user study)"
    tables[0] = printed("a", 0.4)
    assert verdict(check, tables=tables).verdict == CONTRADICTED


def test_a_restating_claim_takes_over_the_verdict(monkeypatch):
    first = Claim("9.01", "§1", 1, "a > b.", "order", ORDER)
    again = Claim("9.02", "§2", 2, "Again.", restates="9.01")
    monkeypatch.setattr(claims, "load_claims", lambda paper: (first, again))
    one, two = judge("joint", A_OVER_B, HERE)
    assert two.verdict == one.verdict == f"{HOLDS} (quick, {NONE_TRAINED})"
    assert two.evidence == "as 9.01"


# Test images -------------------------------------------------------------------------------------


def over_images(a, b):
    """A context whose rows a and b have these values in each draw of the same images."""
    drawn = {"a": a, "b": b}
    return replace(THREE, draws_of=lambda one: Draws(("1.png",), np.array(drawn[one.label])))


@pytest.mark.parametrize(
    ("a", "expected"),
    [
        ([0.6, 0.7], f"{HOLDS} (quick, 3 seeds)"),
        ([0.5, 0.8], REVERSED),
        ([0.2, 0.3], REVERSED),  # the draws contradict the seeds
    ],
)
def test_a_margin_counts_where_other_images_would_not_reverse_it(verdict, a, expected):
    scores = seeds("a", [0.6, 0.61, 0.62]) + seeds("b", [0.5, 0.51, 0.52])
    found = verdict(ORDER, scores, over_images(a, [0.55, 0.55]))
    assert found.verdict == expected
    low, high = np.quantile(np.array(a) - 0.55, [0.025, 0.975])
    assert f"over images {low:+.4f} to {high:+.4f}" in found.evidence


def test_a_claim_is_refuted_only_beyond_the_images(verdict):
    scores = seeds("a", [0.4, 0.41, 0.42]) + seeds("b", [0.5, 0.51, 0.52])
    refuted = verdict(ORDER, scores, over_images([0.4, 0.41], [0.5, 0.5]))
    assert refuted.verdict == f"{DOES_NOT} (quick, 3 seeds)"
    assert verdict(ORDER, scores, over_images([0.4, 0.6], [0.5, 0.5])).verdict == REVERSED


def test_what_seeds_leave_open_images_do_not_decide(verdict):
    scores = seeds("a", [0.4, 0.51, 0.62]) + seeds("b", [0.5, 0.51, 0.52])
    assert verdict(ORDER, scores, over_images([0.6, 0.6], [0.5, 0.5])).verdict == WITHIN


def test_rows_without_draws_are_said_to_be_unpaired(verdict):
    wide = [
        replace(s, low=s.value - 0.3, high=s.value + 0.3) for s in seeds("b", [0.5, 0.51, 0.52])
    ]
    scores = [replace(s, low=0.5, high=0.7) for s in seeds("a", [0.6, 0.61, 0.62])] + wide
    found = verdict(ORDER, scores, THREE)
    assert found.verdict == REVERSED and ", over images, unpaired, -0.2262 to" in found.evidence


def test_of_open_margins_that_of_the_images_is_shown(verdict):
    """Two pairs: one within the seeds' spread, one that only the images leave open."""
    check = ORDER | {"low": ["b", "c"]}
    scores = seeds("a", [0.5, 0.51, 0.52]) + seeds("b", [0.4, 0.51, 0.7])
    scores += seeds("c", [0.6, 0.61, 0.62])
    drawn = {"a": [0.4, 0.6], "b": [0.9, 0.9], "c": [0.5, 0.5]}
    context = replace(THREE, draws_of=lambda one: Draws(("1.png",), np.array(drawn[one.label])))
    found = verdict(check, scores, context)
    assert found.verdict == REVERSED and "(a over c)" in found.evidence.lower()
