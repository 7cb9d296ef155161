"""A study: rows (what is compared) × test sets (on what, by which protocol).

    study = open_study("neid", profile="quick", seeds=[0, 1])
    study.train()                 every row, after the rows that it needs
    scores = study.evaluate()     every row on every test set

What has not changed is reused.

A paper's study names its settings, rows and test sets; how they are trained, evaluated, reused and
recorded is here, once for all papers. To describe or to hash a row never trains.
"""

import contextlib
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import torch
from torch import nn
from tqdm import tqdm

from llie_core.data import collate, dataset_spec
from llie_core.data.external import ExternalOutputs, external_methods
from llie_core.data.registry import Absent
from llie_core.dataset import SizedDataset
from llie_core.devices import device_name
from llie_core.engine.distributed import default_device, launch
from llie_core.engine.fit import accepted_hashes, fit
from llie_core.engine.loop import Experiment, Objective, TrainSettings
from llie_core.engine.reuse import code, identity, modules_behind
from llie_core.engine.runs import Run, commit
from llie_core.engine.settings import Section, free, override
from llie_core.files import locked, project_root, read_rows, results_dir
from llie_core.hashing import content_hash, file_hash
from llie_core.metrics.resampling import middle
from llie_core.models import list_enhancers
from llie_core.names import unknown
from llie_core.papers.evaluations import all_read_back, image_values, write_back
from llie_core.papers.rows import (
    External,
    Released,
    Row,
    Trained,
    build_released,
    has_parameters,
    released_row,
)
from llie_core.reporting import published
from llie_core.reporting.claims import Verdict
from llie_core.reporting.drawn import Draws, drawn_beside, draws_behind, name_of, read_drawn
from llie_core.reporting.index import write_headline
from llie_core.reporting.intervals import with_interval
from llie_core.reporting.scores import Score, write_scores
from llie_core.reporting.summary import write_verdicts
from llie_core.reporting.tables import Table
from llie_core.tasks.base import Measured, Task
from llie_core.tasks.quality import Cost
from llie_core.tensors import load_weights


@dataclass(frozen=True)
class StudySettings(Section):
    """What every study's settings share.

    dataset: name in the registry; data: its folder ("" for built-in sets); seeds: one training per
    seed; workers: processes that load the data; processes: training processes a run (DDP);
    external: folder of other programs' images, METHOD/DATASET/NAME.png; released: enhancer → the
    file of its authors' checkpoint ("" for the one that `llie weights fetch` keeps), or any label →
    a checkpoint that spandrel recognises (models/checkpoint.py), each a row; methods: further
    enhancers of the registry or of a plug-in, each a row; one with parameters is trained, once per
    seed, as `Study.method_row` of the paper says.
    """

    dataset: str
    profile: str
    data: str = free("")
    seeds: tuple[int, ...] = free((0,))
    workers: int = free(0)
    processes: int = free(1)
    external: str = free("")
    released: dict[str, str] = field(default_factory=dict, metadata={"free": True})
    methods: tuple[str, ...] = free(())

    def __post_init__(self):
        super().__post_init__()
        if not self.seeds:
            raise ValueError("seeds: name at least one seed")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} names one twice; every seed is one run")
        if min(self.seeds) < 0 or self.workers < 0 or self.processes < 1:
            raise ValueError("seeds and workers must not be negative, processes at least 1")
        _check_rates(self)


def _check_rates(section: Section, path: str = "") -> None:
    """ValueError that names the setting: PyTorch refuses a wrong rate only when training starts."""
    if isinstance(section, TrainSettings):
        for name in ("lr", "lr_final", "weight_decay", "grad_clip"):
            if not 0 <= (value := getattr(section, name)) < math.inf:
                raise ValueError(f"{path}{name}: give a number from 0, not {value}")
    for own in fields(section):
        if isinstance(value := getattr(section, own.name), Section):
            _check_rates(value, f"{path}{own.name}.")


def every_row(_row: Row) -> bool:
    """For a test set on which all rows are evaluated."""
    return True


def enhanced(row: Row) -> bool:
    """For a test set on which all rows but the normal-light images are evaluated."""
    return not row.normal_light


@dataclass(frozen=True)
class TestSet:
    """Images on which rows are evaluated, and what is measured of them.

    Args:
        name: the data set, as scores name it.
        data: the images, or a function (*models of `needs`) → images, such as darkened ones; None
            where the task needs none (cost).
        task: (*models of `needs`, frozen) → Task.
        needs: rows that the task reads with or the images are made with.
        kind: the task in a word, for file names.
        split, subset: as scores have them; subset "" keeps that of the task.
        recognizer: as scores have it, where the task does not say.
        rows: which rows are evaluated on it.
    """

    __test__ = False  # not a test case of pytest's

    name: str
    data: SizedDataset | Callable[..., SizedDataset] | None
    task: Callable[..., Task]
    needs: tuple[Row, ...] = ()
    kind: str = "quality"
    split: str = "test"
    subset: str = ""
    recognizer: str = ""
    rows: Callable[[Row], bool] = every_row

    @property
    def key(self) -> str:
        """How files of its scores are named."""
        return "-".join(filter(None, (self.kind, self.name, self.subset)))


Kind = TypeVar("Kind", bound=nn.Module)


class Study(ABC):
    """One paper's study with its settings.

    A subclass sets the class attributes and writes `rows` and `test_sets`.

    title, question: for the report; datasets: the first is the default; profiles: name → function
    (dataset) → settings.
    """

    paper: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    datasets: ClassVar[tuple[str, ...]]
    profiles: ClassVar[Mapping[str, Callable[[str], StudySettings]]]

    def __init__(self, settings: StudySettings):
        self.settings = settings
        self._trained: dict[tuple[str, int], Run] = {}
        self._tasks: dict[str, Task] = {}
        self._described: dict[str, tuple[object, list[str]]] = {}
        self._data: dict[str, SizedDataset] = {}

    # What a paper writes -----------------------------------------------------------------------

    @abstractmethod
    def rows(self) -> list[Row]:
        """Every row that is compared, for every seed, in the order of the tables."""

    @abstractmethod
    def test_sets(self) -> list[TestSet]:
        """The test sets that are at hand."""

    def main_row(self) -> Row:
        """The paper's own method, or one that the settings select: trained here, of the first
        seed, or released."""
        rows = self.first_seed()
        return next((row for row in reversed(rows) if row.is_trained), rows[-1])

    def possible_rows(self) -> list[Row]:
        """Rows that can be trained by name though the settings do not select them."""
        return []

    def method_row(self, name: str, seed: int) -> Row:
        """The row of an enhancer with parameters that the paper does not compare, such as a new
        one: how this study trains it.

        Raises:
            ValueError: this study trains no other enhancer.
        """
        return Row(name, name)  # which raises, since it has no weights

    def absent(self) -> dict[str, str]:
        """Test sets of the paper that are not at hand, and why."""
        return {}

    def check_data(self) -> None:  # noqa: B027 (built-in data are always there)
        """Raise early, in one line, where the training data are not there."""

    @abstractmethod
    def is_papers_own(self) -> bool:
        """True where data, recognizer and protocol are the paper's, so that it is reproduced."""

    @abstractmethod
    def headline(self, scores: list[Score]) -> str:
        """The numbers that answer the question, in one line."""

    def official_count(self, test_set: TestSet) -> int | None:
        """How many images its split of the data set has officially; None where nobody says."""
        return dataset_spec(test_set.name).expected.get(test_set.split)

    def at_use(self, model: nn.Module) -> nn.Module:
        """What of a network runs once it is trained, whose size and time stand in the tables."""
        return model

    def blind_readers(self, scores: Iterable[Score]) -> dict[str, str]:
        """Recognizer → why it decides no claim, by these scores of it."""
        return {}

    @property
    def test_name(self) -> str:
        """The data set of the main test images."""
        return self.settings.dataset

    @property
    def reference_dataset(self) -> str:
        """The data set whose reference run is judged before this run."""
        return self.settings.dataset

    @property
    def other_folds(self) -> tuple[str, ...]:
        """Further data sets whose reference runs are judged beside it: folds of the same images."""
        return ()

    # Settings ----------------------------------------------------------------------------------

    @classmethod
    def open(cls, profile: str = "quick", dataset: str = "", **changes: object) -> Self:
        """The study under a profile with some settings changed.

        Raises:
            ValueError, TypeError: unknown profile, data set or setting, or a wrong value.
            FileNotFoundError: there is no folder `data`.
        """
        if profile not in cls.profiles:
            raise unknown("profile", profile, cls.profiles)
        dataset = dataset or cls.default_datasets(profile, str(changes.get("data", "")))[0]
        if dataset not in cls.datasets:
            raise unknown(f"data set of {cls.paper}", dataset, cls.datasets)
        settings = override(cls.profiles[profile](dataset), changes)
        # Other sets say themselves what they looked for; a built-in one would never look.
        if (
            dataset_spec(dataset).builtin
            and not (folder := project_root() / settings.data).exists()
        ):
            raise FileNotFoundError(f"data: no folder {folder}")
        return cls(settings)

    @classmethod
    def default_datasets(cls, profile: str, data: str = "") -> tuple[str, ...]:
        """The data sets of a profile where none is named, with a folder of data or without: all
        built-in ones or, with profile paper, the paper's own."""
        return tuple(name for name in cls.datasets if name.startswith("builtin-"))

    # Rows --------------------------------------------------------------------------------------

    def row(self, label: str, seed: int | None = None) -> Row:
        """A row by its label: compared, possible, needed by one of these, or any other enhancer
        with parameters, by its name in the registry.

        Raises:
            ValueError: no such row; the message names the known ones.
        """
        seed = self.settings.seeds[0] if seed is None else seed
        known = list(self._every_row())
        found = [row for row in known if row.label == label]
        if not found and label in list_enhancers():
            if not has_parameters(label):
                raise ValueError(f"{label} has no parameters to train; put it into `methods`")
            return self.new_method_row(label, seed)
        if not found:
            raise unknown("row", label, dict.fromkeys(row.label for row in known))
        for row in found:
            if row.seed == seed or not row.is_trained:
                return row
        if self.settings.seeds != (seed,):
            return type(self)(replace(self.settings, seeds=(seed,))).row(label, seed)
        return found[0]  # trained with one seed for all, such as a recognizer

    def _every_row(self) -> Iterable[Row]:
        pending = [*self.rows(), *self.possible_rows()]
        pending += [row for test_set in self.test_sets() for row in test_set.needs]
        while pending:
            row = pending.pop(0)
            yield row
            pending += row.needs

    def first_seed(self, rows: Iterable[Row] | None = None) -> list[Row]:
        """The rows of the first seed, each once; those without training among them."""
        rows = self.rows() if rows is None else rows
        return [row for row in rows if not row.is_trained or row.seed == self.settings.seeds[0]]

    def given_rows(self, taken: Iterable[str] = ()) -> list[Row]:
        """Rows of the settings `methods`, `released` and `external`.

        taken: labels of the study's own rows, of which `methods` adds none again.

        Raises:
            ValueError: an unknown method, one that this study cannot train, or a checkpoint or
                another program's folder that has the label of another row.
        """
        own = {*taken, "original"}
        named = dict.fromkeys(self.settings.methods)
        methods = [row for name in named if name not in own for row in self._rows_of_method(name)]
        own |= {*named}
        if known := own & {*self.settings.released}:
            raise ValueError(f"released: {min(known)} is a row of this study; name the file anew")
        released = [released_row(*given) for given in self.settings.released.items()]
        own |= {*self.settings.released}
        if known := own & {*self._external_folders}:
            raise ValueError(f"external: {min(known)} is a row of this study; rename its folder")
        external = [
            Row(method, "identity", weights=External(folder), title=method)
            for method, folder in self._external_folders.items()
        ]
        return methods + released + external

    def _rows_of_method(self, name: str) -> list[Row]:
        if name not in list_enhancers():
            raise unknown("enhancer", name, list_enhancers())
        if not has_parameters(name):
            return [Row(name, name)]
        return [self.new_method_row(name, seed) for seed in self.settings.seeds]

    def new_method_row(self, name: str, seed: int) -> Row:
        """`method_row`, but of a method that the paper's tables do not have: claims would compare
        it as the paper's, though another loss trained it."""
        if name in {cell.label for cell in published.load(self.paper)}:
            raise ValueError(
                f"{name}: the paper's tables have it, trained by its own loss; give a checkpoint "
                f"of it (setting released: {{{name}: FILE}})"
            )
        return self.method_row(name, seed)

    @cached_property
    def _external_folders(self) -> dict[str, Path]:
        """Method → the folder that holds its images, a folder a test set."""
        if not self.settings.external:
            return {}
        root = project_root() / self.settings.external
        folders = external_methods(root, self.test_name)
        if not folders:
            raise FileNotFoundError(
                f"external: no METHOD/{self.test_name}/ folder in {root}; `llie export` writes the "
                "images that a method has to be run on"
            )
        return {name: folder.parent for name, folder in folders.items()}

    def is_given(self, row: Row) -> bool:
        """Whether a row is one of `given_rows`, which figures show beside the paper's own."""
        return row.source in ("external", "released") or row.label in self.settings.methods

    def run(self, row: Row) -> Run:
        """The folder of a row."""
        settings = self.settings
        dataset = row.dataset or settings.dataset
        return Run(self.paper, dataset, settings.profile, row.label, row.settings_hash, row.seed)

    # Training ----------------------------------------------------------------------------------

    def train(self, *rows: Row, device=None, quiet: bool = False) -> list[Run]:
        """Train rows (default: all) after those that they need; finished ones are reused."""
        if not rows:
            self.check_data()
        chosen = [row for row in rows or self.rows() if row.is_trained]
        hidden = quiet or len(chosen) < 2 or not sys.stderr.isatty()
        bar = tqdm(chosen, desc=f"{self.paper}: training", disable=hidden)
        return [self._train(row, device, quiet) for row in bar]

    def _train(self, row: Row, device, quiet: bool) -> Run:
        key = (row.label, row.seed)
        if key in self._trained or not row.is_trained:
            return self.run(row)
        for needed in row.needs:
            self._train(needed, device, quiet)
        run, processes = self.run(row), self.settings.processes
        if processes > 1:
            job = (self.paper, self.settings, *key, _for_each_process(device))
            train_hash = launch(_fit_job, *job, processes=processes)
        else:
            train_hash = fit(self.experiment(row), run, device, quiet=quiet)
        if run.read_stamp().get("train_hash") != train_hash:
            raise ValueError(f"{run}: another process has trained it anew; run again")
        self._trained[key] = run
        return run

    def is_finished(self, row: Row) -> bool:
        """Whether a row's training is finished, under these settings, data and code; the rows that
        it builds on have to be."""
        run = self.run(row)
        if not run.read_stamp():
            return False
        hashes = accepted_hashes(self.experiment(row), run, self.settings.processes)
        return any(run.is_finished(one) for one in hashes.values())

    def experiment(self, row: Row) -> Experiment:
        """What one training needs; the rows that it builds on have to be trained.

        Raises:
            FileNotFoundError: one of these is not trained yet.
        """
        if not isinstance(row.weights, Trained):
            raise ValueError(f"{row.label}: its weights do not come from a training")
        return row.weights.experiment(row, *(self.load(needed, "cpu") for needed in row.needs))

    def training(
        self, row: Row, model: nn.Module, objective: Objective, data: SizedDataset,
        settings: TrainSettings, validate: Callable[[nn.Module], float] | None = None,
    ) -> Experiment:  # fmt: skip
        """The experiment of a row whose samples are stacked, with the study's workers."""
        workers = self.settings.workers
        return Experiment(model, objective, data, collate, settings, row.seed, validate, workers)

    def load(self, row: Row, device=None) -> nn.Module:
        """The row's model with its weights, frozen, in eval mode."""
        model: nn.Module = row.build()
        if isinstance(row.weights, Trained):
            load_weights(model, self.run(row).checked_weights())
        elif isinstance(row.weights, Released):
            model = build_released(row)
        if row.compose is not None:
            model = row.compose(model, *(self.load(needed, "cpu") for needed in row.needs))
        return frozen(model).to(device or default_device())

    def load_as(self, kind: type[Kind], row: Row, device=None) -> Kind:
        """`load` for a row whose model is of a class; TypeError for another."""
        model = self.load(row, device)
        if not isinstance(model, kind):
            raise TypeError(f"{row.label}: {type(model).__name__} is no {kind.__name__}")
        return model

    # Evaluation --------------------------------------------------------------------------------

    def evaluate(self, *rows: Row, test_sets: Iterable[TestSet] | None = None, device=None):
        """Scores of rows (default: all) on test sets (default: all), measured or read back."""
        test_sets = list(self.test_sets() if test_sets is None else test_sets)
        scores: list[Score] = []
        chosen = rows or tuple(self.rows())
        groups = [(one, group) for one in test_sets for group in _groups(one, chosen)]
        bar = tqdm(groups, desc=f"{self.paper}: evaluating", disable=not sys.stderr.isatty())
        for test_set, group in bar:
            scores += self._evaluate(group, test_set, device)
        if not rows:
            write_scores(self.folder / "scores.csv", scores)
        return scores

    @property
    def folder(self) -> Path:
        """What all rows share: results/<paper>/<dataset>/<profile>."""
        return results_dir() / self.paper / self.settings.dataset / self.settings.profile

    def _evaluate(self, rows: Sequence[Row], test_set: TestSet, device) -> list[Score]:
        """Scores of one row, or of those that are timed together."""
        data = [self.row_data(row, test_set) for row in rows]
        if data == [None] and test_set.data is not None:
            return []
        device = torch.device(device or default_device())
        runs = [self._train(row, device, True) for row in rows]
        task = self.task(test_set)
        pairs = zip(rows, data, strict=True)
        hashes = [self._eval_hash(row, test_set, own, device) for row, own in pairs]
        # Times beside other rows are other times; one row by itself takes those that are there.
        together = content_hash(hashes) if len(rows) > 1 else ""
        paths = [self._scores_path(row, test_set) for row in rows]
        known = partial(all_read_back, paths, hashes, together)
        if (scores := known()) is not None:
            return scores
        with contextlib.ExitStack() as locks:
            for run in sorted(runs, key=str):  # in one order, so that no two wait for each other
                locks.enter_context(locked(run.lock_path, str(run)))
            if (scores := known()) is not None:  # by the process that was waited for
                return scores
            scores = []
            measured = self._measure(rows, runs, test_set, task, data, device)
            for row, run, path, own, (numbers, images) in zip(
                rows, runs, paths, hashes, measured, strict=True
            ):
                found = [self._score(one, row, run, test_set, device) for one in numbers]
                fresh = [with_interval(score, images) for score in found]
                drawn = {name_of(s): m.drawn for s, m in zip(found, numbers, strict=True)
                         if m.drawn is not None}  # fmt: skip
                record = {"eval_hash": own, "together": together}
                write_back(path, fresh, images, drawn, record)
                scores += fresh
        return scores

    def is_evaluated(self, row: Row, test_set: TestSet) -> bool:
        """Whether a row has scores on a test set of images under these settings, data and code; it
        and the readers have to be trained."""
        data = self.row_data(row, test_set)
        if data is None:
            return True
        own = self._eval_hash(row, test_set, data, default_device())
        return all_read_back([self._scores_path(row, test_set)], [own], "") is not None

    def _scores_path(self, row: Row, test_set: TestSet) -> Path:
        return self.run(row).directory / "scores" / f"{test_set.key}.csv"

    def _measure(self, rows, runs, test_set, task, data, device) -> list[tuple]:
        """(Numbers, values of each image or times of each round) of every row."""
        models = [self.load(row, device) for row in rows]
        if isinstance(task, Cost):
            with one_timing(self.paper):
                used = map(self.at_use, models)
                named = {str(run): model for run, model in zip(runs, used, strict=True)}
                return list(task.measure_together(named, device).values())
        return [
            task.beside(run.directory / "files" / test_set.key).measure(
                model, own, device, row.normal_light, self.settings.workers
            )
            for row, run, model, own in zip(rows, runs, models, data, strict=True)
        ]

    def row_data(self, row: Row, test_set: TestSet) -> SizedDataset | None:
        """A test set as a row is given it: another program's images stand in for the input.

        None where that program was not run on it, or where no images are read.
        """
        data = None if test_set.data is None else self.data(test_set)
        if data is None or not isinstance(row.weights, External):
            return data
        folder = row.weights.folder / test_set.name
        if not folder.is_dir():
            return None
        return ExternalOutputs(folder, data, missing="skip")

    def data(self, test_set: TestSet) -> SizedDataset:
        """The images of a test set, made with the models that they need.

        Raises:
            ValueError: it has none (cost).
        """
        if test_set.data is None:
            raise ValueError(f"{test_set.key}: no images are read for it")
        if not callable(test_set.data):
            return test_set.data
        if test_set.key not in self._data:
            self._data[test_set.key] = test_set.data(*self._needed(test_set))
        return self._data[test_set.key]

    def task(self, test_set: TestSet) -> Task:
        """The task of a test set, with the recognizers that it reads with."""
        if test_set.key not in self._tasks:
            self._tasks[test_set.key] = test_set.task(*self._needed(test_set))
        return self._tasks[test_set.key]

    def _needed(self, test_set: TestSet) -> list[nn.Module]:
        """The models that a test set needs, trained where they are not yet."""
        for needed in test_set.needs:
            self._train(needed, None, True)
        return [self.load(needed, "cpu") for needed in test_set.needs]

    def _eval_hash(self, row: Row, test_set: TestSet, data, device) -> str:
        """What decides the scores of a row on a test set, of which it is given `data`."""
        if test_set.key not in self._described:  # the task is that of every row
            task = self.task(test_set)
            self._described[test_set.key] = identity(task), modules_behind(task, TestSet)
        described, modules = self._described[test_set.key]
        costs = device_name(device) if data is None else ""
        return content_hash(
            {
                "weights": self._weights_identity(row),
                "row": [row.model, identity(row.options), row.normal_light, row.source],
                "data": identity(data),
                "task": described,
                "set": [test_set.name, test_set.split, test_set.subset, costs],
                "code": code(row.build(), row.compose, data, modules=modules),
            }
        )

    def _weights_identity(self, row: Row) -> object:
        """Hash of the row's weights, those of the models it is composed with included."""
        if isinstance(row.weights, Trained):
            composed = [self._weights_identity(x) for x in row.needs] if row.compose else []
            return [row.seed, file_hash(self.run(row).checked_weights()), composed]
        if isinstance(row.weights, Released):
            return identity([*self.load(row, "cpu").state_dict().values()])
        return ""

    def _score(self, measured: Measured, row: Row, run: Run, test_set: TestSet, device) -> Score:
        stamp = run.read_stamp() if row.is_trained else {}
        unknown = -math.inf, math.inf
        low, high = unknown if measured.drawn is None else middle(measured.drawn)
        return Score(
            run=str(run),
            label=row.label,
            recognizer=measured.recognizer or test_set.recognizer,
            dataset=test_set.name,
            split=test_set.split,
            subset=test_set.subset or measured.subset,
            metric=measured.metric,
            value=float(measured.value),
            n=measured.n,
            seed=row.seed,
            protocol=measured.protocol,
            profile=self.settings.profile,
            device=device_name(device),
            precision=stamp.get("precision", "float32"),
            steps_done=stamp.get("steps_done", 0),
            steps_planned=stamp.get("steps_planned", 0),
            weights=row.source,
            commit=commit(),
            low=low,
            high=high,
        )

    # Records of a report -----------------------------------------------------------------------

    @property
    def row_titles(self) -> dict[str, str]:
        """Label → title of the rows that are or may be compared; it opens no data."""
        return {row.label: row.shown for row in (*self.rows(), *self.possible_rows())}

    @property
    def titles(self) -> dict[str, str]:
        """Label → title of every row, as tables and charts show them."""
        return {row.label: row.shown for row in self._every_row()}

    def logs(self) -> dict[str, list[dict[str, float]]]:
        """Title → training log, of the rows of the first seed."""
        rows = [row for row in self.first_seed() if row.is_trained]
        return {row.shown: self.run(row).read_log() for row in rows}

    def validation_curves(self) -> dict[str, list[tuple[float, float]]]:
        """Title → (step, value on the validation part), of the rows of the first seed."""
        rows = [row for row in self.first_seed() if row.is_trained]
        read = {row.shown: self.run(row).read_validation() for row in rows}
        return {title: [(x["step"], x["value"]) for x in found] for title, found in read.items()}

    def record(self, scores: list[Score], verdicts: list[Verdict]) -> None:
        """Write what the index of reports and the summary over all papers show."""
        settings, device = self.settings, next((score.device for score in scores), "")
        write_headline(
            self.paper, settings.dataset, settings.profile, device, self.headline(scores),
            self.question,
        )  # fmt: skip
        write_verdicts(self.folder, verdicts)

    def per_image(self, row: Row, test_set: TestSet) -> list[dict[str, str]]:
        """What was measured of each image; the row has been evaluated on the test set."""
        return read_rows(image_values(self._scores_path(row, test_set)))

    def draws_of(self, score: Score) -> Draws | None:
        """A score of this run in draws of its test images; None where nothing says it, or where the
        data are not at hand."""
        row = next((r for r in self.rows() if (r.label, r.seed) == (score.row, score.seed)), None)
        own = (score.dataset, ""), (score.dataset, score.subset)
        with contextlib.suppress(Absent):
            sets = [s for s in self.test_sets() if s.data is not None and (s.name, s.subset) in own]
            paths = [image_values(self._scores_path(row, one)) for one in sets if row]
            return draws_behind(score, [(read_rows(x), read_drawn(drawn_beside(x))) for x in paths])
        return None

    def timing(self) -> str:
        """How the latencies of `evaluate` were taken, in a sentence; "" where none were."""
        loads, rounds = [], 0
        for test_set in (one for one in self.test_sets() if one.data is None):
            for row in (row for row in self.rows() if test_set.rows(row)):
                lines = self.per_image(row, test_set)
                loads += [float(line["load"]) for line in lines]
                rounds = max(rounds, len(lines))
        if not loads:
            return ""
        cores = os.cpu_count() or 1
        busy = " The machine was loaded: these times are too long." if max(loads) > cores else ""
        return (
            f"Latency: median of {rounds} rounds, rows in turn; load average {min(loads):.1f} to "
            f"{max(loads):.1f} on {cores} cores, other work than the timing included.{busy}"
        )

    def external_table(self) -> Table:
        """What of the test set each external method covers."""
        lines = []
        for row in (row for row in self.rows() if row.source == "external"):
            data = self.row_data(row, self.test_sets()[0])
            if isinstance(data, ExternalOutputs):
                lines.append([row.label, str(len(data)), data.report()])
        return Table("External methods", ["method", "images", "missing, superfluous"], lines)

    def is_timed(self, row: Row) -> bool:
        """For cost: rows of the first seed whose images are made here."""
        first = bool(self.first_seed([row]))
        return first and enhanced(row) and not isinstance(row.weights, External)


def one_timing(paper: str) -> contextlib.AbstractContextManager[None]:
    """Held while something is timed: one timing at a time of all processes that share the
    results."""
    return locked(results_dir() / ".timing.lock", f"{paper}: timing")


def _groups(test_set: TestSet, rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of a test set as they are evaluated: one by one, those that are timed together."""
    evaluated = [row for row in rows if test_set.rows(row)]
    if test_set.data is not None:
        return [[row] for row in evaluated]
    return [evaluated] if evaluated else []


def frozen(model: nn.Module) -> nn.Module:
    """A model in eval mode, without gradients; a recognizer freezes itself."""
    freeze = getattr(model, "freeze", None)
    return freeze() if freeze else model.requires_grad_(False).eval()


def _for_each_process(device) -> str | None:
    """The device of each training process; None: a GPU of its own, where there is one.

    Raises:
        ValueError: one GPU is named for all.
    """
    given = torch.device(device) if device else None
    if given and given.type != "cpu" and given.index is not None:
        raise ValueError(f"device {device}: each process takes a GPU of its own; leave it out")
    return "cpu" if given and given.type == "cpu" else None


def _fit_job(paper: str, settings: StudySettings, label: str, seed: int, device: str | None) -> str:
    """One process of a DDP training (module level, so that it can be spawned)."""
    from llie_core.papers import study_of

    opened = study_of(paper)(settings)
    row = opened.row(label, seed)
    return fit(opened.experiment(row), opened.run(row), device)
