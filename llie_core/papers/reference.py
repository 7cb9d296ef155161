"""Reference runs: finished runs worth keeping, in a few files a data set, in git.

results/reference/<paper>/<dataset>/<profile>/
    scores.csv              every row on every test set
    per_image/<key>.csv     label, seed, values of each image
    drawn/<key>.safetensors     numbers that are no means over images, in draws of these, where a
                                claim compares them
    runs.csv                a line a training: steps, seconds, device, commit, hashes
    logs.csv, validation.csv    label, seed, step, … (at most LOG_ROWS lines a run)
    weights/<label>-seed<k>.safetensors     half precision; only those asked for
"""

import json
import shutil
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from llie_core.data.wrappers import spread
from llie_core.engine.runs import Run, file_name
from llie_core.files import atomic, project_root, read_rows, write_rows
from llie_core.papers.evaluations import image_values, recorded_scores
from llie_core.papers.rows import Row
from llie_core.papers.study import Study
from llie_core.papers.trainings import trainings
from llie_core.reporting.claims import compared
from llie_core.reporting.drawn import drawn_beside, read_drawn, write_drawn
from llie_core.reporting.scores import Score, write_scores

LOG_ROWS = 30


def keep(study: Study, weights: Sequence[str] = ()) -> Path:
    """Copy a study's finished runs into results/reference; returns the folder.

    Args:
        weights: labels of the rows whose weights (of the first seed) are kept too.

    Raises:
        FileNotFoundError: a row is not trained, or not evaluated under the study's settings.
        ValueError: no row of `weights` by that name, or none that is trained; runs or scores of
            several commits, or of a commit with changed files.
    """
    settings = study.settings
    own = Path("results/reference", study.paper, settings.dataset, settings.profile)
    target = project_root() / own
    rows, runs = study.rows(), list(trainings(study))
    for run in runs:
        run.checked_weights()
    stamps = [run.read_stamp() for run in runs]
    wanted = [study.row(label) for label in weights]
    for row in wanted:
        if not row.is_trained:
            raise ValueError(f"--weights {row.label}: it has none from a training here")
        study.run(row).checked_weights()
    keys = {test_set.key for test_set in study.test_sets()}
    _check_evaluated(study, rows)
    own_runs = [study.run(row) for row in rows]
    scores, images, drawn = _evaluations(own_runs, keys, compared(study.paper))
    _one_clean_commit({stamp["commit"] for stamp in stamps} | {score.commit for score in scores})
    # Written beside and exchanged at the end, so that what was kept before is lost in no case.
    fresh, earlier = (target.with_name(f".{target.name}.{end}") for end in ("new", "earlier"))
    if earlier.exists() and not target.exists():  # a kill came between the two moves
        earlier.rename(target)
    for left in (fresh, earlier):
        shutil.rmtree(left, ignore_errors=True)
    write_reference(fresh, scores, images, stamps)
    for key, values in drawn.items():
        write_drawn(drawn_beside(fresh / "per_image" / f"{key}.csv"), values)
    write_log(fresh / "logs.csv", {(run.label, run.seed): run.read_log() for run in runs})
    curves = {(run.label, run.seed): run.read_validation() for run in runs}
    if any(curves.values()):
        write_log(fresh / "validation.csv", curves)
    for row in wanted:
        name = f"{file_name(row.label)}-seed{row.seed}.safetensors"
        save_half(study.run(row).checked_weights(), fresh / "weights" / name)
    if target.exists():
        target.rename(earlier)
    fresh.rename(target)
    shutil.rmtree(earlier, ignore_errors=True)
    return target


def write_reference(
    folder: Path, scores: Iterable[Score], images: dict[str, list[dict]], stamps: Iterable[dict]
) -> None:
    """scores.csv, per_image/<key>.csv and runs.csv of a data set."""
    write_scores(folder / "scores.csv", scores)
    for key, lines in images.items():
        write_rows(folder / "per_image" / f"{key}.csv", lines)
    flat = [
        {"label": stamp["run"]["label"], "seed": stamp["run"]["seed"],
         "dataset": stamp["run"]["dataset"], **{k: v for k, v in stamp.items() if k != "run"},
         "code": json.dumps(stamp["code"], sort_keys=True)}
        for stamp in stamps
    ]  # fmt: skip
    write_rows(folder / "runs.csv", flat)


def write_log(path: Path, logs: dict[tuple[str, int], list[dict]]) -> None:
    """The logs of several runs, (label, seed) → lines, as one file."""
    lines = [
        {"label": label, "seed": seed} | {k: f"{v:.6g}" for k, v in line.items()}
        for (label, seed), log in logs.items()
        for line in (log[place] for place in spread(len(log), LOG_ROWS))  # the last one too
    ]
    write_rows(path, lines)


def save_half(source: Path, target: Path) -> None:
    """Copy a safetensors file with its floating-point tensors in half precision."""
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in load_file(source).items()}
    with atomic(target) as temporary:
        save_file(tensors, temporary)


def _check_evaluated(study: Study, rows: Sequence[Row]) -> None:
    for test_set in study.test_sets():
        for row in filter(test_set.rows, rows):
            if not study.is_evaluated(row, test_set):
                raise FileNotFoundError(
                    f"{study.run(row)}: not evaluated on {test_set.key} under these settings; make "
                    "the report with them, or give those it was made with by --set"
                )


def _evaluations(
    runs: Iterable[Run], keys: Container[str], drawn_of: Container[tuple[str, str]]
) -> tuple[list[Score], dict[str, list[dict]], dict[str, dict]]:
    """The scores of some runs on the test sets of these keys, and by test set the values of each
    image and the draws, of those that were written whole.

    drawn_of: (metric, subset) of the numbers whose draws are wanted.
    """
    scores: list[Score] = []
    images: dict[str, list[dict]] = {}
    drawn: dict[str, dict] = {}
    for run in runs:
        written = sorted((run.directory / "scores").glob("*.csv"))
        paths = [path for path in written if path.stem in keys]
        found = {path: own for path in paths if (own := recorded_scores(path)) is not None}
        for path, own in found.items():
            scores += own
            measured = read_rows(image_values(path))
            lines = [{"label": run.label, "seed": run.seed} | line for line in measured]
            if lines:
                images.setdefault(path.stem, []).extend(lines)
            values = read_drawn(drawn_beside(image_values(path)))
            for name, of in values.items():
                _, metric, subset = name.split("|")
                if (metric, subset) in drawn_of:
                    drawn.setdefault(path.stem, {})[f"{run.label}|{run.seed}|{name}"] = of
    return scores, images, drawn


def _one_clean_commit(commits: set[str]) -> None:
    dirty = sorted(commit for commit in commits if commit.endswith("+") or commit == "unknown")
    if dirty:
        raise ValueError(
            f"not kept: runs come from changed files ({', '.join(dirty)}); commit, and run again "
            "in a clean checkout"
        )
    if len(commits) > 1:
        raise ValueError(
            f"not kept: runs come from several commits ({', '.join(sorted(commits))}); run all "
            "rows at one"
        )
