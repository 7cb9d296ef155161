"""The trainings behind a study: what each needs, its command, its record."""

import json
import shlex
from collections.abc import Iterable
from typing import Any

from llie_core.engine.progress import progress_of
from llie_core.engine.runs import Run, read_json
from llie_core.engine.settings import changes
from llie_core.names import title_of
from llie_core.papers.rows import Row
from llie_core.papers.study import Study
from llie_core.reporting.provenance import Provenance, Training


def trainings(study: Study) -> dict[Run, tuple[Run, ...]]:
    """Every training behind the rows and the test sets, with those that it needs, which come
    before it: to be trained, and to be evaluated on the test sets."""
    readers = [row for test_set in study.test_sets() for row in test_set.needs]
    found: dict[Run, tuple[Run, ...]] = {}

    def add(row: Row, needs: Iterable[Row]) -> None:
        trained = [one for one in needs if one.is_trained]
        for one in trained:
            add(one, one.needs)
        if row.is_trained and study.run(row) not in found:
            found[study.run(row)] = tuple(dict.fromkeys(map(study.run, trained)))

    for row in readers:
        add(row, row.needs)
    for row in study.rows():
        add(row, (*row.needs, *readers))
    return found


def jobs(study: Study) -> list[dict[str, Any]]:
    """Every training as a batch system needs it, those first that others need.

    A job: paper, dataset (of the study), run (its name), folder, command, needs (runs), outputs
    (files), finished, resources (processes, cpus, gpus).
    """
    settings = study.settings
    processes = settings.processes
    resources = {
        "processes": processes,
        "cpus": processes * (1 + settings.workers),
        "gpus": processes if settings.profile == "paper" else 0,
    }
    return [
        {
            "paper": study.paper,
            "dataset": settings.dataset,
            "run": str(run),
            "folder": str(run.directory),
            "command": fit_command(study, run),
            "needs": [str(one) for one in needs],
            "outputs": [str(run.weights_path), str(run.directory / "stamp.json")],
            "finished": progress_of(run).state == "finished",
            "resources": resources,
        }
        for run, needs in trainings(study).items()
    ]


def fit_command(study: Study, run: Run) -> str:
    """The command that makes a training again, with every setting that is not the profile's."""
    settings = study.settings
    command = ["llie", "fit", study.paper, "--dataset", settings.dataset, "--profile",
               settings.profile, "--row", run.label, "--seed", str(run.seed)]  # fmt: skip
    command += ["--data", settings.data] if settings.data else []
    if settings.processes > 1:
        command += ["--processes", str(settings.processes)]
    changed = changes(settings, study.profiles[settings.profile](settings.dataset))
    for name, value in changed.items():
        if name not in ("data", "seeds", "processes"):  # these are options
            command += ["--set", f"{name}={json.dumps(value, ensure_ascii=False)}"]
    return shlex.join(command)


def provenance(study: Study) -> Provenance:
    """The trainings behind the rows and the test sets, with their records."""
    found = []
    for run in trainings(study):
        losses = [row["total"] for row in run.read_log() if "total" in row]
        records = run.read_stamp(), read_json(run.directory / "settings.json")
        title, command = title_of(run.label, study.titles), fit_command(study, run)
        found.append(Training(title, *records, losses, command))
    return Provenance(found)
