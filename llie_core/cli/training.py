"""`llie fit`, `runs`, `keep`: the trainings of a study."""

import os

from llie_core.cli.arguments import add_study, study_of


def add(commands) -> None:
    """Add this group's subcommands."""
    fit = commands.add_parser("fit", help="train one row, or resume or reuse it, and evaluate it")
    add_study(fit)
    fit.add_argument("--row", default="", help="by its label, such as zero_dce_pp+2:1; default: "
                     "the paper's own method")  # fmt: skip
    fit.add_argument("--seed", type=int, default=0)
    fit.add_argument("--device", help="cpu, cuda:0, …; default: a GPU if there is one")
    fit.add_argument("--processes", type=int, default=1, help="training processes (DDP)")
    fit.add_argument("--no-score", action="store_true", help="train only")
    fit.set_defaults(run=_fit)
    runs = commands.add_parser("runs", help="print every training of a study, a command a line")
    add_study(runs)
    _add_seeds(runs)
    runs.set_defaults(run=_runs)
    keep = commands.add_parser("keep", help="copy a study's finished runs into results/reference")
    add_study(keep, profile="reference")
    _add_seeds(keep)
    keep.add_argument("--weights", nargs="*", default=[], metavar="ROW",
                      help="rows whose weights are kept too")  # fmt: skip
    keep.set_defaults(run=_keep)


def _add_seeds(command) -> None:
    command.add_argument("--seeds", type=int, nargs="*", help="default: the profile's")


def _fit(options) -> int:
    from llie_core.models import list_enhancers

    study = study_of(options, seeds=[options.seed], processes=options.processes)
    row = study.row(options.row, options.seed) if options.row else study.main_row()
    if not row.is_trained:
        raise ValueError(f"{row.label}: nothing to train (weights: {row.source})")
    scored = row.model in list_enhancers() and not options.no_score
    # Before the processes of torchrun part: a training that a test set needs takes them all.
    needed = [one for test_set in study.test_sets() for one in test_set.needs] if scored else []
    run = study.train(*needed, row, device=options.device)[-1]
    if int(os.environ.get("RANK", "0")):
        return 0  # under torchrun the first process evaluates and speaks for all
    stamp = run.read_stamp()
    print(f"{run}: {stamp['steps_done']} steps in {stamp['seconds']:.0f} s on {stamp['device']}")
    print(f"weights: {run.weights_path}")
    for score in study.evaluate(row, device=options.device) if scored else ():
        print(f"{score.dataset:<16} {score.metric:>14} {score.subset:<8} {score.value:8.4f} "
              f"{score.unit}  (n = {score.n}, {score.protocol})")  # fmt: skip
    return 0


def _runs(options) -> int:
    from llie_core.papers.study import fit_command

    study = study_of(options)
    for run in study.trained_runs():
        command = fit_command(run, study.settings, options.overrides)
        print(f"{command}    # {'finished' if run.read_stamp() else 'not trained'}")
    return 0


def _keep(options) -> int:
    from llie_core.papers.reference import keep

    print(f"kept: {keep(study_of(options), options.weights)}")
    return 0
