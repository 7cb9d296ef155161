"""Verdicts by more than one source of scores: the sets that a paper's tables are of; the reference
run and the run at hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llie_core.engine.reuse import changed_since
from llie_core.reporting.claims import Claim, Context, Measured, Verdict, judge
from llie_core.reporting.comparisons import as_list
from llie_core.reporting.scores import Score, kept_runs, kept_scores

# Rooms whose code says what is trained and how; a change of the others, such as a loader's, leaves
# the numbers of a kept run standing.
DEFINING = ("models", "losses", "recognizers", "engine")


@dataclass(frozen=True)
class Source:
    """Scores that judge claims.

    covers: the paper's data sets that they are of, or stand in for; context: what a verdict has to
    name; measured: of the claims that are measured, where they were.
    """

    covers: frozenset[str]
    scores: Sequence[Score]
    context: Context
    measured: Mapping[str, Measured] = field(default_factory=dict)


def no_copy(sets: Sequence[str]) -> str:
    """Why there is no verdict by any of the paper's sets."""
    return f"no copy of {', '.join(sets)} was given"


def verdicts_by(
    paper: str, sources: Sequence[Source], why_not: Callable[[Sequence[str]], str] = no_copy
) -> list[Verdict]:
    """The verdict on every claim, by each of the sources that is of its data sets.

    Claims of no data set are the first source's; measured ones are judged where they were measured.
    why_not: says of a claim's sets why none of the sources is of them.
    """
    judged = [judge(paper, s.scores, s.context, s.measured) for s in sources]
    merged: dict[str, Verdict] = {}
    for position, first in enumerate(judged[0]):
        claim = first.claim
        if claim.restates:
            merged[claim.id] = replace(first, verdict=merged[claim.restates].verdict)
            continue
        found = [of[position] for s, of in zip(sources, judged, strict=True) if _is_of(s, claim)]
        found = found or ([] if claim_sets(claim) else [first])
        merged[claim.id] = _joined(first, found, why_not)
    return list(merged.values())


def claim_sets(claim: Claim) -> set[str]:
    """The paper's data sets that a claim's check names; "a+b" is a mean over two."""
    named = [name for check in claim.checks for name in as_list(check.get("dataset", []))]
    return {one for name in named for one in name.split("+")}


def _is_of(source: Source, claim: Claim) -> bool:
    if claim.kind == "measured":
        return claim.check["name"] in source.measured
    return bool(claim_sets(claim) & source.covers)


def _joined(first: Verdict, found: Sequence[Verdict], why_not: Callable) -> Verdict:
    """What the sources found, or why nothing was."""
    if first.verdict.startswith(("contradicted", "cannot")):
        return first
    if not found:
        why = why_not(sorted(claim_sets(first.claim)))
        return replace(first, verdict=f"not run ({why})", evidence="")
    decided = [v for v in found if not v.verdict.startswith("not run")] or found[:1]
    return replace(first, verdict=_each(decided, "verdict"), evidence=_each(decided, "evidence"))


def _each(verdicts: Sequence[Verdict], name: str) -> str:
    """A text of all verdicts, each once."""
    return "; ".join(dict.fromkeys(filter(None, (getattr(one, name) for one in verdicts))))


# The reference run, then the run at hand ---------------------------------------------------------


def reference_first(
    kept: Sequence[Verdict], here: Sequence[Verdict], context: Context, doubt: str = ""
) -> list[Verdict]:
    """The verdicts by the reference run and by the run at hand, claim by claim, each named.

    The reference's comes first, and this run's behind it where it differs; a reference that leaves
    a claim open comes behind a run that decides it. context: of the reference; doubt: why the
    reference decides nothing (see `doubtful`).
    """
    if doubt:
        open_now = f"inconclusive ({doubt})"
        kept = [replace(one, verdict=open_now) if _weight(one) == 2 else one for one in kept]
    return [_both(*pair, context) for pair in zip(kept, here, strict=True)]


def across_folds(contexts: Sequence[Context], folds: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """The verdicts by the folds of one data set, claim by claim, each fold named, those that decide
    first; a claim that holds on one fold and not on another is inconclusive."""
    return [_of_folds(contexts, same) for same in zip(*folds, strict=True)]


def _of_folds(contexts: Sequence[Context], same: Sequence[Verdict]) -> Verdict:
    decided = [one for one in same if _weight(one) == 2]
    still_open = [
        replace(one, verdict=f"{one.verdict} on {context.place()}")
        for context, one in zip(contexts, same, strict=True)
        if _weight(one) == 1
    ]
    weighed = [*decided, *still_open]
    if len(same) == 1 or not weighed:
        return same[0]
    words = _each(weighed, "verdict")
    if len({one.verdict.partition(" on ")[0] for one in decided}) > 1:
        words = f"inconclusive (the folds disagree: {words})"
    return replace(same[0], verdict=words, evidence=_each(weighed, "evidence"))


def reference_doubt(paper: str, dataset: str) -> str:
    """Why the reference run of a paper on a data set decides nothing; "" where it may, or where
    none is kept."""
    return doubtful(kept_scores(paper, dataset), kept_runs(paper, dataset))


def short_doubt(folder: Path) -> str:
    """`reference_doubt` of a folder of reference runs, without the modules that changed."""
    return reference_doubt(*folder.parts[-3:-1]).partition(":")[0]


def doubtful(scores: Sequence[Score], runs: Sequence[Mapping]) -> str:
    """Why kept scores decide nothing: nobody can say which code trained the rows, different code
    trained them, or networks and losses are others now; "" where none is so.

    runs: the trainings behind them (`scores.kept_runs`).
    """
    commits = {score.commit for score in scores if score.steps_planned}
    if any(commit.endswith("+") or commit == "unknown" for commit in commits):
        return "the kept runs come from changed files"
    if len(commits) > 1:
        return "the kept runs come from several commits"
    changed = {name for run in runs for name in changed_since(run["code"])}
    defining = sorted(name for name in changed if name.split(".")[1] in DEFINING)
    if defining or not all(run["code"] for run in runs):
        return f"the kept runs come from earlier code{': ' * bool(defining)}{', '.join(defining)}"
    return ""


def _both(kept: Verdict, here: Verdict, context: Context) -> Verdict:
    if not _weight(kept):
        return here
    of_reference = kept.verdict
    if _weight(kept) == 1 and context.place() not in of_reference:
        of_reference += f" on {context.place()}"
    if _weight(kept) < _weight(here):
        verdict = f"{here.verdict}; reference: {of_reference}"
    elif kept.verdict == here.verdict:
        verdict = of_reference
    else:
        verdict = f"{of_reference}; this run: {here.verdict}"
    return replace(here, verdict=verdict, evidence=_evidence(kept.evidence, here.evidence))


def _evidence(kept: str, here: str) -> str:
    """The numbers of both; what the paper prints is the same and stands once."""
    if kept == here:
        return here
    found = kept.replace("measured: ", "measured by the reference: ", 1)
    this_run = here.partition("measured: ")[2] or here
    return "; ".join([found, *([f"this run: {this_run}"] if this_run else [])])


def _weight(verdict: Verdict) -> int:
    """2 for a claim that is decided, 1 for one that the numbers leave open, 0 for one that they do
    not bear on."""
    decided = any(word in verdict.verdict for word in ("holds on", "hold on", "reproduced"))
    return 2 if decided else int("inconclusive" in verdict.verdict)
