"""Verdicts by several sources of scores, and source code as reports show it."""

from types import SimpleNamespace

import pytest

from llie_core.engine.reuse import trees
from llie_core.losses.colour import rgb_to_hsv
from llie_core.reporting.claims import Claim, Context, Verdict, judge, load_claims
from llie_core.reporting.source import source
from llie_core.reporting.sources import (
    Source,
    across_folds,
    claim_sets,
    doubtful,
    reference_first,
    verdicts_by,
)

HERE = Context("builtin-photos", "quick", 1, papers_own=False)
FREE = {"detail_branch_free": (True, "0 added")}


def by_id(verdicts):
    return {v.claim.id: v for v in verdicts}


def test_a_claim_is_judged_by_the_sources_of_its_data_sets():
    claims = {claim.id: claim for claim in load_claims("neid")}
    assert claim_sets(claims["5.02"]) == {"lol"} and claim_sets(claims["5.05"]) == set()
    alone = by_id(judge("neid", [], HERE, FREE))
    given = by_id(verdicts_by("neid", [Source(frozenset({"lol"}), [], HERE, FREE)]))
    assert {name: v.verdict for name, v in given.items()} == {
        name: v.verdict for name, v in alone.items()
    }
    without = by_id(
        verdicts_by("neid", [Source(frozenset(), [], HERE), Source(frozenset(), [], HERE, FREE)])
    )
    assert without["5.02"].verdict == "not run (no copy of lol was given)"
    assert without["5.05"].verdict.startswith("holds on builtin-photos")  # where it was measured
    assert without["5.15"].verdict == "contradicted by the paper's own table"
    assert without["5.26"].verdict == without["5.02"].verdict  # restates it
    why = verdicts_by("neid", [Source(frozenset(), [], HERE)], lambda sets: f"only {sets}")
    assert by_id(why)["5.02"].verdict == "not run (only ['lol'])"


# The reference run, then the run at hand ---------------------------------------------------------

KEPT = Context("camvid", "reference", 3, papers_own=False)
YES, NO = "holds on camvid (reference, 3 seeds)", "does not hold on camvid (reference, 3 seeds)"
SPREAD, FEW = "inconclusive (within the spread …)", "inconclusive (1 seed; …)"
ABSENT, HERE_YES = "not run (no numbers for a)", "holds on builtin-streets (quick, 3 seeds)"


@pytest.mark.parametrize(
    ("kept", "here", "both"),
    [
        (YES, FEW, f"{YES}; this run: {FEW}"),
        (NO, HERE_YES, f"{NO}; this run: {HERE_YES}"),
        (YES, ABSENT, f"{YES}; this run: {ABSENT}"),
        (YES, YES, YES),
        (SPREAD, ABSENT, f"{SPREAD} on camvid (reference, 3 seeds); this run: {ABSENT}"),
        (SPREAD, FEW, f"{SPREAD} on camvid (reference, 3 seeds); this run: {FEW}"),
        # A run that decides comes before a reference that does not.
        (FEW, HERE_YES, f"{HERE_YES}; reference: {FEW} on camvid (reference, 3 seeds)"),
        (ABSENT, HERE_YES, HERE_YES),
        (ABSENT, FEW, FEW),
        *((same, same, same) for same in ("left to the eye", "hypothesis (…)", ABSENT)),
    ],
)
def test_the_reference_comes_first_and_each_is_named(kept, here, both):
    claim = Claim("9.01", "§1", 1, "Made up.", "eye", {"figure": "Fig. 1"})
    kept, here = ([Verdict(claim, words, "")] for words in (kept, here))
    (found,) = reference_first(kept, here, KEPT)
    assert (found.claim, found.verdict) == (claim, both)


@pytest.mark.parametrize(("a", "b", "both"), [
    ("holds on a (r)", "does not hold on b (r)",
     "inconclusive (the folds disagree: holds on a (r); does not hold on b (r))"),
    ("holds on a (r)", "holds on b (r)", "holds on a (r); holds on b (r)"),
    ("inconclusive (spread)", "holds on b (r)",
     "holds on b (r); inconclusive (spread) on a (r, 3 seeds)"),
    ("not run (no numbers)", "holds on b (r)", "holds on b (r)"),
    ("inconclusive (a tie)", "not run (no numbers)", "inconclusive (a tie) on a (r, 3 seeds)"),
    ("inconclusive (a tie)", "inconclusive (a tie)",
     "inconclusive (a tie) on a (r, 3 seeds); inconclusive (a tie) on b (r, 3 seeds)"),
    ("not run (no numbers)", "not run (no numbers)", "not run (no numbers)"),
])  # fmt: skip
def test_folds_that_disagree_leave_a_claim_open(a, b, both):
    claim = Claim("9.01", "§1", 1, "Made up.", "eye", {"figure": "Fig. 1"})
    contexts = [Context(name, "r", 3, False) for name in "ab"]
    (found,) = across_folds(contexts, [[Verdict(claim, words, words[:3])] for words in (a, b)])
    assert found.verdict == both
    (one,) = across_folds(contexts[:1], [[Verdict(claim, a, "")]])
    assert one.verdict == a


def test_numbers_of_both_stand_beside_what_is_printed():
    claim = Claim("9.01", "§1", 1, "Made up.", "eye", {"figure": "Fig. 1"})
    kept = Verdict(claim, YES, "printed: psnr +1.0; measured: psnr +2.0; the rest is elsewhere")
    here = Verdict(claim, FEW, "printed: psnr +1.0; measured: psnr +3.0")
    (found,) = reference_first([kept], [here], KEPT)
    assert found.evidence == (
        "printed: psnr +1.0; measured by the reference: psnr +2.0; the rest is elsewhere; "
        "this run: psnr +3.0"
    )


# Source code -------------------------------------------------------------------------------------


class Documented:
    """Not shown."""

    def double(self, x: int) -> int:
        """Not shown
        either."""
        text = "shown"
        return 2 * len(text) * x


def test_source_is_shown_without_docstrings():
    shown = source(Documented.double, by_id)
    assert shown.data == (
        "def double(self, x: int) -> int:\n"
        '    text = "shown"\n'
        "    return 2 * len(text) * x\n\n"
        "def by_id(verdicts):\n"
        "    return {v.claim.id: v for v in verdicts}"
    )
    assert "Not shown" not in source(Documented).data


@pytest.mark.parametrize(
    ("commits", "doubt"),
    [
        (["c0ffee"], ""),
        (["c0ffee+"], "changed files"),
        (["unknown"], "changed files"),
        (["c0ffee", "decade"], "several commits"),
    ],
)
def test_kept_runs_of_unknown_or_different_code_decide_nothing(commits, doubt):
    kept = [SimpleNamespace(commit=commit, steps_planned=5) for commit in commits]
    runs = [{"code": trees(rgb_to_hsv)}]
    found = doubtful([*kept, SimpleNamespace(commit="unknown", steps_planned=0)], runs)
    assert doubt in found and bool(found) is bool(doubt)


def test_kept_runs_of_earlier_networks_or_losses_decide_nothing():
    kept, now = [SimpleNamespace(commit="c0ffee", steps_planned=5)], trees(rgb_to_hsv)
    (loss,) = [name for name in now if name.startswith("llie_core.losses.")]
    earlier = "the kept runs come from earlier code"
    assert doubtful(kept, [{"code": now | {loss: "0000"}}]) == f"{earlier}: {loss}"
    assert doubtful(kept, [{"code": {}}]) == earlier
    gone = now | {"llie_core.models.gone": "0000"}
    assert doubtful(kept, [{"code": gone}]) == f"{earlier}: llie_core.models.gone"
    # A loader that changed leaves the numbers standing.
    assert not doubtful(kept, [{"code": now | {"llie_core.data.registry": "0000"}}])


def test_a_doubtful_reference_leaves_the_word_to_the_run():
    claim = Claim("9.01", "§1", 1, "Made up.", "eye", {"figure": "Fig. 1"})
    kept = [Verdict(claim, "holds on camvid (reference, 3 seeds)", "+0.1")]
    here = [Verdict(claim, "does not hold on streets (quick, 3 seeds)", "-0.1")]
    (found,) = reference_first(kept, here, KEPT, "the kept runs come from changed files")
    assert found.verdict.startswith("does not hold on streets")
    assert "inconclusive (the kept runs come from changed files)" in found.verdict
