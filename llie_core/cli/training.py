"""`llie fit`, `runs`, `keep`: the trainings of a study."""

import argparse
import json
import os

from llie_core.cli.arguments import add_device, add_study, seed, study_of


def add(commands) -> None:
    fit = commands.add_parser("fit", help="train one row, or resume or reuse it, and evaluate it")
    add_study(fit)
    fit.add_argument("--row", default="", help="by its label, such as zero_dce_pp+2:1; default: "
                     "the paper's own method")  # fmt: skip
    fit.add_argument("--seed", type=seed, default=0)
    add_device(fit)
    fit.add_argument("--processes", type=int, default=1, help="training processes (DDP)")
    fit.add_argument("--no-score", action="store_true", help="train only")
    fit.set_defaults(run=_fit, resumes=True)
    runs = commands.add_parser("runs", help="print every training of studies, a command a line, "
                               "those first that others need")  # fmt: skip
    add_study(runs, papers="*")
    _add_seeds(runs)
    form = runs.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="with needs, outputs, resources")
    form.add_argument("--status", action="store_true", help="how far each is, and the time left")
    form.add_argument("--curve", metavar="TEXT", help="loss and validation of each training with "
                      "TEXT in its name, drawn in characters")  # fmt: skip
    runs.set_defaults(run=_runs)
    keep = commands.add_parser("keep", help="copy a study's finished runs into results/reference")
    add_study(keep, profile="reference")
    _add_seeds(keep)
    keep.add_argument("--weights", nargs="*", default=[], metavar="ROW",
                      help="rows whose weights are kept too")  # fmt: skip
    keep.set_defaults(run=_keep)


def _add_seeds(command) -> None:
    command.add_argument("--seeds", type=seed, nargs="*", help="default: the profile's")


def _fit(options) -> int:
    from llie_core.models import list_enhancers

    study = study_of(options, seeds=[options.seed], processes=options.processes)
    row = study.row(options.row, options.seed) if options.row else study.main_row()
    if not row.is_trained:
        raise ValueError(f"{row.label}: nothing to train (weights: {row.source})")
    scored = row.model in list_enhancers() and not options.no_score
    # Before the processes of torchrun part: a training that a test set needs takes them all.
    needed = [one for test_set in study.test_sets() for one in test_set.needs] if scored else []
    before = study.run(row).read_stamp()
    run = study.train(*needed, row, device=options.device)[-1]
    if int(os.environ.get("RANK", "0")):
        return 0  # under torchrun the first process evaluates and speaks for all
    stamp = run.read_stamp()
    reused = ", reused" if stamp == before else ""
    print(f"{run}: {stamp['steps_done']} steps in {stamp['seconds']:.0f} s on {stamp['device']}"
          f"{reused}")  # fmt: skip
    print(f"weights: {run.weights_path}")
    for score in study.evaluate(row, device=options.device) if scored else ():
        print(f"{score.dataset:<16} {score.metric:>14} {score.subset:<8} {score.value:8.4f} "
              f"{score.unit}  (n = {score.n}, {score.protocol})")  # fmt: skip
    return 0


def _runs(options) -> int:
    from llie_core.papers.trainings import jobs, trainings

    studies = _studies(options)
    if options.curve is not None:
        return _print_curves([run for study in studies for run in trainings(study)], options)
    if options.status:
        return _print_status(studies)
    listed = [job for study in studies for job in jobs(study)]
    if options.json:
        print(json.dumps(listed, indent=1))
        return 0
    for job in listed:
        print(f"{job['command']}    # {'finished' if job['finished'] else 'not trained'}")
    return 0


def _studies(options) -> list:
    """The studies of the papers named, or of all, on the data sets that `make reproduce` takes."""
    from llie_core import papers

    opened = []
    for paper in dict.fromkeys(options.papers or papers.list_papers()):
        study = papers.study_of(paper)
        datasets = study.default_datasets(options.profile, options.data or "")
        for dataset in [options.dataset] if options.dataset else datasets:
            own = argparse.Namespace(**{**vars(options), "paper": paper, "dataset": dataset})
            try:
                opened.append(study_of(own))
            except (ValueError, TypeError) as error:
                if len(options.papers) == 1:
                    raise
                raise ValueError(f"{paper}: {error}") from error
    return opened


def _print_status(studies) -> int:
    from collections import Counter

    from llie_core.engine.progress import progress_of
    from llie_core.papers.trainings import trainings

    count: Counter[str] = Counter()
    for study in studies:
        listed = trainings(study)
        found = {run: progress_of(run) for run in listed}
        for run, needs in listed.items():
            missing = [str(one) for one in needs if found[one].state != "finished"]
            state, words = found[run].state, str(found[run])
            if state == "waiting" and missing:
                words = f"for {', '.join(missing)}"
            print(f"{state:<11}  {run}  {words}".rstrip())
            count[state] += 1
    print(", ".join(f"{number} {state}" for state, number in count.items()))
    return 0


def _print_curves(runs, options) -> int:
    from llie_core.engine.progress import progress_of
    from llie_core.names import unknown
    from llie_core.reporting.curves import loss_curve, text_curve, validation_curve

    chosen = [run for run in runs if options.curve in str(run)]
    if not chosen:
        raise unknown("training with", options.curve, [str(run) for run in runs])
    for run in chosen:
        progress = progress_of(run)
        print(f"{run}: {', '.join(filter(None, (progress.state, str(progress))))}")
        print(text_curve(loss_curve(run), "loss"))
        if validation := validation_curve(run):
            print(text_curve(validation, "validation"))
    return 0


def _keep(options) -> int:
    from llie_core.papers.reference import keep

    print(f"kept: {keep(study_of(options), options.weights)}")
    return 0
