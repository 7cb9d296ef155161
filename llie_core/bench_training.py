"""Benchmarks of trainings, as ratios within one run: a step against the plainest loop of the same
model, the loader against the step, and what a call costs when nothing has changed."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

import torch
from torch.utils.data import DataLoader

from llie_core.devices import PRECISIONS, device_name, precision_on, wait_for
from llie_core.engine.loop import (
    Adversarial,
    Adversary,
    Experiment,
    HoldsModules,
    Prepared,
    RunsModel,
    Training,
)
from llie_core.engine.runs import Run
from llie_core.engine.sampling import Drawn
from llie_core.files import project_root
from llie_core.papers import list_papers, open_study
from llie_core.papers.rows import Row, Trained
from llie_core.papers.study import Study, frozen
from llie_core.reporting.tables import Table

ROUNDS = 5
ASKED = {"float32": 1.0, "mixed": 1.5}


class PlainLoop:
    """A training as a tutorial writes it: shuffled batches, float32, Adam; no log, no checks."""

    def __init__(self, experiment: Experiment, device: torch.device):
        self.device, self.model = device, experiment.model.to(device).train()
        self.objective = experiment.objective
        for module in self.objective.modules if isinstance(self.objective, HoldsModules) else ():
            module.to(device)
        lr, self.adversary = experiment.settings.lr, None
        if isinstance(self.objective, Adversarial):
            self.adversary = Adversary(self.objective, lr, device, 1)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)
        self.loader = DataLoader(
            Drawn(experiment.data), experiment.settings.batch_size, shuffle=True, drop_last=True,
            collate_fn=experiment.collate,
        )  # fmt: skip
        self.batches = self._repeated()
        if isinstance(self.objective, Prepared):
            self.objective.prepare(self.model, [next(self.batches)])

    def _repeated(self) -> Iterator[dict]:
        while True:
            for batch in self.loader:
                yield {k: v.to(self.device) if torch.is_tensor(v) else v for k, v in batch.items()}

    def step(self) -> None:
        """Load a batch and update the model."""
        batch = next(self.batches)
        if isinstance(self.objective, RunsModel):
            outputs = self.objective.outputs(self.model, batch)
        else:
            outputs = self.model.training_outputs(batch["image"])  # type: ignore[operator]
        if self.adversary:
            self.adversary.step(outputs, batch, False)
        self.optimizer.zero_grad()
        self.objective(outputs, batch)["total"].backward()
        self.optimizer.step()


class OwnLoop:
    """The training loop of the project, step by step, its log included.

    loads: seconds that each batch took to come.
    """

    def __init__(self, experiment: Experiment, run: Run, device: torch.device, precision: str):
        self.training = Training(experiment, run, "", device, precision, quiet=True)
        self.training._prepare_objective()
        self.training.share = 0.0
        self.batches = enumerate(self.training._batches())
        self.loads: list[float] = []

    def step(self) -> None:
        """Load a batch and update the model."""
        began = _now(self.training.device)
        number, batch = next(self.batches)
        self.loads.append(_now(self.training.device) - began)
        self.training.step(number, batch)


@dataclass
class StepTimes:
    """Seconds of each step by loop ("plain", "float32", "mixed"), and of loading a batch."""

    batch_size: int
    steps: dict[str, list[float]]
    loads: list[float] = field(default_factory=list)

    def ratio(self, precision: str) -> float:
        """How much faster than the plain loop, as the median over the rounds."""
        pairs = zip(self.steps["plain"], self.steps[precision], strict=True)
        return median(plain / own for plain, own in pairs)

    def loaded(self) -> float:
        """Images that the loader brings in a second."""
        return self.batch_size / median(self.loads)

    def needed(self) -> float:
        """Images that the fastest step would take in a second if loading cost nothing."""
        fastest = min(median(own) for name, own in self.steps.items() if name != "plain")
        return self.batch_size / (fastest - min(median(self.loads), fastest / 2))


def step_times(study: Study, row: Row, device: torch.device, rounds: int = ROUNDS) -> StepTimes:
    """Times of the steps of a row by each loop, in turn, after one step to warm up.

    On a CPU they are the processor's, so that other work on the machine counts little.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Run(study.paper, "bench", folder, row.label, "")  # an absolute path stands for itself
        own = {
            precision: OwnLoop(untrained(study, row), run, device, precision)
            for precision in PRECISIONS
            if precision in ("float32", precision_on(device))
        }
        plain = PlainLoop(untrained(study, row), device)
        loops: dict[str, PlainLoop | OwnLoop] = {"plain": plain, **own}
        times: dict[str, list[float]] = {name: [] for name in loops}
        for number in range(rounds + 1):
            for name, loop in loops.items():
                began = _now(device)
                loop.step()
                if number:
                    times[name].append(_now(device) - began)
    loads = [seconds for loop in own.values() for seconds in loop.loads[1:]]
    return StepTimes(own["float32"].training.settings.batch_size, times, loads)


def untrained(study: Study, row: Row) -> Experiment:
    """The experiment of a row, with untrained models in the place of those that it needs."""
    assert isinstance(row.weights, Trained)
    return row.weights.experiment(row, *map(_built, row.needs))


def _built(row: Row) -> torch.nn.Module:
    model: torch.nn.Module = row.build()
    return frozen(model if row.compose is None else row.compose(model, *map(_built, row.needs)))


def _now(device: torch.device) -> float:
    wait_for(device)
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def ratio_table(device: torch.device) -> Table:
    """A step of each paper's own method against the plainest loop, and its loader."""
    rows = []
    for paper in list_papers():
        study = open_study(paper, "quick")
        row = study.main_row()
        times = step_times(study, row, device)
        own = [f"{times.ratio(p):.2f}" if p in times.steps else "–" for p in PRECISIONS]
        plain = f"{median(times.steps['plain']):.3f}"
        images = [f"{times.loaded():.0f}", f"{times.needed():.0f}"]
        rows.append([row.shown, str(times.batch_size), plain, *own, *images])
    header = ["method", "batch", "plain loop, s a step", *(
        f"{name}, times as fast (asked {ASKED[name]})" for name in PRECISIONS
    ), "images a second of the loader", "that the step takes"]  # fmt: skip
    note = f"profile quick, median of {ROUNDS} rounds in turn, {device_name(device)}"
    return Table("Training steps against the plainest loop", header, rows, note)


# When nothing has changed ---------------------------------------------------------------------


def unchanged_table(_device: torch.device) -> Table:
    """Seconds that a call takes to find that there is nothing to do."""
    rows = [["make reproduce", reproduce_seconds(), "2"]]
    for paper in list_papers():
        rows.append([f"trainings of {paper}, beyond imports", f"{reuse_seconds(paper):.2f}", "0.5"])
    header = ["call", "s", "asked at most"]
    note = "seconds of the processor; trainings at the profile smoke"
    return Table("When nothing has changed", header, rows, note)


def reproduce_seconds(runs: int = 3) -> str:
    """Processor seconds of `make reproduce`, or why they are not measured."""
    from llie_core.reporting.execute import DEFAULTS, SUMMARY, is_current
    from llie_core.reproduce import planned

    summary = {"dataset": "all", "profile": "quick", **DEFAULTS}
    reports = [(one.paper, one.parameters) for one in planned({})]
    if not all(is_current(*one) for one in (*reports, (SUMMARY, summary))):
        return "not measured: run make reproduce before"
    command = ["make", "--silent", "reproduce"]
    return f"{median(_seconds_of(command) for _ in range(runs)):.2f}"


def reuse_seconds(paper: str) -> float:
    """Processor seconds of `study.train()` of a finished study; what it imports is imported, and
    the code that a train hash covers is read anew."""
    program = (
        "import sys, time\nfrom llie_core.engine.reuse import forget_sources\n"
        "from llie_core.papers import open_study\n"
        "open_study(sys.argv[1], 'smoke').train(quiet=True)\nforget_sources()\n"
        "study, began = open_study(sys.argv[1], 'smoke'), time.process_time()\n"
        "study.train(quiet=True)\nprint(time.process_time() - began)"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, paper], env={**os.environ, "LLIE_RESULTS": folder},
            cwd=project_root(), check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    return float(done.stdout.split()[-1])


def _seconds_of(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=project_root(), check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
