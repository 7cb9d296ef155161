"""What the scores of a study may decide, and the verdicts on a paper's claims."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from llie_core.engine.reuse import identity
from llie_core.names import metric_title
from llie_core.papers.rows import Row
from llie_core.papers.study import Study
from llie_core.papers.trainings import trainings
from llie_core.reporting.claims import Context, Verdict, judge
from llie_core.reporting.comparisons import row_title
from llie_core.reporting.drawn import Differences, Draws, DrawsOf, kept_draws
from llie_core.reporting.scores import Score, kept_scores, mean_of, select
from llie_core.reporting.sources import across_folds, reference_doubt, reference_first
from llie_core.reporting.tables import conditions

Own = TypeVar("Own", bound=Study)  # a paper's
Judged = Callable[[Own, Sequence[Score], Context, Mapping[str, Any]], list[Verdict]]


def judge_own(
    study: Study, scores: Sequence[Score], context: Context, measured: Mapping[str, Any]
) -> list[Verdict]:
    """Verdicts by the scores on the data set of the context."""
    return judge(study.paper, select(scores, dataset=context.dataset), context, measured)


def verdicts(
    study: Own,
    scores: Sequence[Score],
    measured: Mapping[str, Any] | None = None,
    judged: Judged[Own] = judge_own,
) -> list[Verdict]:
    """The verdict on every claim: by the reference run where one is kept, then by this run.

    measured: of this run; judged: how scores of one run are judged.
    The paper's own run is not set behind a reference.
    """
    own, paper, dataset = context(study, scores), study.paper, study.reference_dataset
    here = judged(study, scores, own, measured or {})
    if own.papers_own or not kept_scores(paper, dataset):
        return here
    folds = [_of_reference(study, name) for name in (dataset, *study.other_folds)]
    contexts = [of_fold for _, _, of_fold in folds]
    judged_kept = across_folds(contexts, [judged(*fold, {}) for fold in folds])
    return reference_first(judged_kept, here, contexts[0], reference_doubt(paper, dataset))


def _of_reference(study: Own, dataset: str) -> tuple[Own, list[Score], Context]:
    """The study of a kept run, its scores, and what a verdict by them has to name."""
    kept = kept_scores(study.paper, dataset)
    reference = study.open(kept[0].profile, dataset)
    seeds = _fewest_seeds(score for score in kept if score.steps_planned)
    blind, titles = reference.blind_readers(kept), reference.row_titles
    own = Context(
        dataset, kept[0].profile, seeds, False, blind, titles,
        draws_of=partial(kept_draws, study.paper, dataset),
    )  # fmt: skip
    return reference, kept, own


def evidence(study: Study, scores: Sequence[Score]) -> str:
    """What some scores are of, in a sentence; with the doubt, where the reference run's."""
    words, dataset = f"Measured: {conditions(scores)}", study.reference_dataset
    kept, doubt = kept_scores(study.paper, dataset), reference_doubt(study.paper, dataset)
    if doubt and any(score in kept for score in scores):
        words += f" No claim is decided by it: {doubt}."
    return words


def differences(
    study: Study, scores: Sequence[Score], pairs: Iterable[tuple[str, str]], metric: str,
    subset: str = "all", reader: str = "",
) -> list[list[str]]:  # fmt: skip
    """A question and its answer for the findings: by how much the first row of each pair is above
    the second, with the 95 % interval over test images; without a pair that has one, [].

    scores: of one data set and recognizer; reader: its title, where the findings have several.
    """
    between, titles, words = Differences(scores, _draws_of(study, scores)), study.row_titles, []
    before = ""
    for high, low in pairs:
        one, other = (mean_of(scores, label=x, metric=metric, subset=subset) for x in (high, low))
        images = between.interval(high, low, metric, [subset], ())
        if images and one.seeds and other.seeds:
            form = "+.2f" if metric == "psnr" else "+.3f"
            ends = f"[{images.low:{form}}, {images.high:{form}}]{' unpaired' * (not images.paired)}"
            name = "" if high == before else f"{row_title(high, titles)} "
            words.append(
                f"{name}over {row_title(low, titles)} {one.mean - other.mean:{form}} {ends}"
            )
            before = high
    question = f"By how much, and how sure{f' ({reader})' * bool(reader)}?"
    what = f"{metric_title(metric)}, mean over seeds [95 % over test images]"
    return [[question, f"{what}: {'; '.join(words)}."]] if words else []


def _draws_of(study: Study, scores: Iterable[Score]) -> DrawsOf:
    """Draws of scores of the reference runs as of the study's own."""
    places = {(paper, name) for paper, name, *_ in (score.run.split("/") for score in scores)}
    kept = {score: place for place in places for score in kept_scores(*place)}

    def draws_of(score: Score) -> Draws | None:
        place = kept.get(replace(score, label=score.row))
        return kept_draws(*place, score) if place else study.draws_of(score)

    return draws_of


def context(study: Study, scores: Iterable[Score] = ()) -> Context:
    """What a verdict has to name: data set, profile, the fewest seeds of a row, whether it is the
    paper's own, and which recognizers are blind by these scores."""
    settings, own = study.settings, not reservations(study)
    blind = study.blind_readers(scores)
    seeds = _fewest_seeds(row for row in study.rows() if row.is_trained)
    place = settings.dataset, settings.profile, seeds or len(settings.seeds)
    return Context(*place, own, blind, study.row_titles, draws_of=study.draws_of)


def _fewest_seeds(trained: Iterable[Row | Score]) -> int:
    """The number of seeds of the row that has the fewest."""
    seeds: dict[str, set[int]] = {}
    for one in trained:
        seeds.setdefault(one.label, set()).add(one.seed)
    return min(map(len, seeds.values()), default=0)


def reservations(study: Study) -> list[str]:
    """Why these are not the paper's own runs; only where there is none, a claim can be
    `reproduced` or `not reproduced`."""
    found = training_reservations(study)
    if not study.is_papers_own():
        found.append("data set or recognizer is not the paper's")
    return found or _incomplete_sets(study)


def training_reservations(study: Study) -> list[str]:
    """Why the trainings are not the paper's, whatever they are evaluated on."""
    settings = study.settings
    if settings.profile != "paper":
        return [f"profile {settings.profile}"]
    changed = identity(settings) != identity(study.profiles["paper"](settings.dataset))
    found = ["settings differ from the paper's preset"] if changed else []
    for run in trainings(study):
        stamp = run.read_stamp()
        done, planned = stamp.get("steps_done", 0), stamp.get("steps_planned")
        if planned is None or done < planned:
            found.append(f"{run}: {done} of {planned or 'all'} steps trained")
    return found


def _incomplete_sets(study: Study) -> list[str]:
    """Test sets of the data set trained on that do not hold all official images."""
    found = []
    for test_set in study.test_sets():
        if test_set.name != study.settings.dataset or test_set.data is None:
            continue
        here, official = len(study.data(test_set)), study.official_count(test_set)
        if here != official:
            found.append(f"{test_set.name}: {here} of {official} test images")
    return found
