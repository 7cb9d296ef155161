"""What all recipes share: train or reuse a run, score it or reuse its scores."""

import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from llie_core.data import dataset_spec, open_dataset
from llie_core.data.external import ExternalOutputs, external_methods
from llie_core.files import atomic, locked, project_root, results_dir, write_rows
from llie_core.models import create_enhancer, list_enhancers
from llie_core.recipes.settings import Settings, make_settings
from llie_core.reporting.claims import Context, Verdict
from llie_core.reporting.execute import write_headline
from llie_core.reporting.scores import Score, read_scores, write_scores
from llie_core.reporting.summary import write_verdicts
from llie_core.reporting.tables import Table
from llie_core.runs import (
    Run,
    RunKey,
    code_fingerprint,
    content_hash,
    device_name,
    folder_fingerprint,
    read_json,
)
from llie_core.training import Experiment, default_device, fit, launch, load_weights

# What of a run is worth keeping, its weights aside; further test sets have scores-SET.csv.
KEPT_FILES = ("settings.json", "stamp.json", "log.csv", "validation.csv", "scores*.csv",
              "scores*.json", "per_image*.csv")  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One number that a recipe measured; the base class adds what the run knows.

    recognizer: who read the pictures, where it is not the setting `recognizer`.
    """

    metric: str
    subset: str
    value: float
    unit: str
    direction: str
    n: int
    protocol: str
    recognizer: str = ""


@dataclass(frozen=True)
class Scoring:
    """How a row is scored on one test set, and what decides the scores besides its weights.

    measure: (model, device) → what `Recipe.measure` returns; data: what identifies the set; test:
    settings that decide; file: ends the names of the files beside the run ("" for the own test
    set); code: modules that decide, besides the recipe's; about: fields of the scores that are not
    those of the settings.
    """

    measure: Callable[[nn.Module, torch.device], tuple[list[Measured], list[dict]]]
    data: dict
    test: dict
    file: str = ""
    code: tuple[str, ...] = ()
    about: dict = field(default_factory=dict)


class Recipe(ABC):
    """One paper's way through the flow. Subclasses say what is trained and what is measured."""

    name: str
    title: str
    profiles: dict[str, Settings]
    datasets: tuple[str, ...]  # the first one is the default
    score_code: tuple[str, ...] = ()  # modules that decide a score
    train_split: str = "train"

    def settings(self, profile: str, **overrides) -> Settings:
        """A profile's preset with overrides, checked."""
        settings = make_settings(self.profiles, profile, **overrides)
        if settings.dataset not in self.datasets:
            known = ", ".join(self.datasets)
            raise ValueError(f"{self.name} has no data set {settings.dataset!r} (known: {known})")
        return settings

    @abstractmethod
    def rows(self, settings: Settings) -> list[RunKey]:
        """Every row that the report shows, for every seed."""

    @abstractmethod
    def experiment(self, key: RunKey, settings: Settings) -> Experiment:
        """The training of one row."""

    @abstractmethod
    def is_trained(self, key: RunKey) -> bool:
        """False for rows without training: the input itself, classical methods."""

    def is_scored(self, key: RunKey) -> bool:
        """False for runs that others build on, such as darkeners and recognizers."""
        return True

    def test_split(self, settings: Settings) -> str:
        """The split of the data set that the scores come from."""
        return "test"

    @abstractmethod
    def test_identity(self, settings: Settings) -> dict:
        """What decides a score besides weights and test set: recognizer, thresholds, subsets."""

    @abstractmethod
    def measure(
        self, key: RunKey, settings: Settings, model, device
    ) -> tuple[list[Measured], list[dict]]:
        """The numbers of one row on the test set, and what stands behind them, image by image."""

    def build(self, key: RunKey, settings: Settings) -> nn.Module:
        """The row's untrained enhancer, initialised from the seed; identity for pictures as is."""
        torch.manual_seed(key.seed)
        as_is = key.model == "original" or key.model in self.external_folders(settings)
        return create_enhancer("identity" if as_is else key.model)

    @abstractmethod
    def test_data(self, settings: Settings) -> tuple[Dataset, dict]:
        """The test set and what identifies it."""

    def external_folders(self, settings: Settings) -> dict[str, Path]:
        """Method → folder of its pictures, for the methods that another program ran."""
        if not settings.external:
            return {}
        root = project_root() / settings.external
        folders = external_methods(root, settings.dataset)
        if not folders:
            raise FileNotFoundError(
                f"external: no METHOD/{settings.dataset}/ folder in {root}; `llie export` writes "
                "the pictures that a method has to be run on"
            )
        ours = sorted(set(folders) & {*list_enhancers(), "original"})
        if ours:
            raise ValueError(f"external: {ours[0]} is a method of our own; rename its folder")
        return folders

    def row_data(self, key: RunKey, settings: Settings) -> tuple[Dataset, dict]:
        """The test set as a row sees it: an external method's pictures stand in for the input."""
        data, identity = self.test_data(settings)
        folder = self.external_folders(settings).get(key.model)
        if folder is None:
            return data, identity
        outputs = ExternalOutputs(folder, data, missing="skip")
        names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        return outputs, {**identity, "external": folder_fingerprint(folder, names)}

    def external_table(self, settings: Settings) -> Table:
        """What of the test set each external method covers."""
        rows = []
        for method, folder in self.external_folders(settings).items():
            outputs = ExternalOutputs(folder, self.test_data(settings)[0], missing="skip")
            rows.append([method, str(len(outputs)), outputs.report()])
        return Table("External methods", ["method", "pictures", "missing, superfluous"], rows)

    def fit(self, key: RunKey, settings: Settings, device=None, quiet: bool = False) -> Run:
        """Train one row, or reuse what is finished; DDP over `settings.processes` processes."""
        if key.dataset == settings.dataset:
            self.check_data(settings)
        if settings.processes == 1:
            return fit(self.experiment(key, settings), device, quiet=quiet)
        run = Run(key)
        if run.is_finished(self.experiment(key, settings).train_hash(settings.processes)):
            return run
        return launch(_fit_job, self.name, key, settings, processes=settings.processes)

    def check_data(self, settings: Settings) -> None:
        """Raise early, in one line, when the data set is not there; built-in sets always are."""
        if not dataset_spec(settings.dataset).builtin:
            options = self.data_options(settings)
            open_dataset(settings.dataset, self.train_split, settings.data, **options)

    def data_options(self, settings: Settings) -> dict:
        """Options with which the data set is opened."""
        return {}

    def load(self, key: RunKey, settings: Settings, device=None) -> nn.Module:
        """The row's enhancer with its trained weights, in eval mode."""
        model = self.build(key, settings)
        if self.is_trained(key):
            path = Run(key).weights_path
            if not path.exists():
                raise FileNotFoundError(f"{key}: not trained yet (no {path.name} in its folder)")
            load_weights(model, path)
        return model.to(device or default_device()).eval()

    def evaluate(self, key: RunKey, settings: Settings, device=None) -> list[Score]:
        """Scores of one row on the recipe's test set, measured or read back."""
        scoring = Scoring(
            lambda model, device: self.measure(key, settings, model, device),
            data=self.row_data(key, settings)[1],
            test=self.test_identity(settings),
        )
        return self.scored_once(key, settings, scoring, device)

    def scored_once(
        self, key: RunKey, settings: Settings, scoring: Scoring, device=None
    ) -> list[Score]:
        """Scores of one row: read back if neither weights, test set nor metrics changed."""
        run, device = Run(key), torch.device(device or default_device())
        stamp = run.read_stamp() if self.is_trained(key) else {}
        # What a train hash covers of a trained model's code has to be asked of an untrained one.
        own_code = () if stamp else (type(self.build(key, settings)).__module__,)
        eval_hash = content_hash(
            {
                "train": stamp.get("train_hash", f"{key.method}, not trained"),
                "test": scoring.test,
                "data": scoring.data,
                "code": code_fingerprint(__name__, *self.score_code, *scoring.code, *own_code),
            }
        )
        scores_path, images_path = (
            run.directory / f"{'-'.join(filter(None, (stem, scoring.file)))}.csv"
            for stem in ("scores", "per_image")
        )
        record = scores_path.with_suffix(".json")
        with locked(run.lock_path, str(key)):
            if scores_path.exists() and read_json(record).get("eval_hash") == eval_hash:
                return read_scores(scores_path)
            measured, images = scoring.measure(self.load(key, settings, device), device)
            made = [self._score(m, key, settings, stamp, device) for m in measured]
            scores = [replace(score, **scoring.about) for score in made]
            write_scores(scores_path, scores)
            write_rows(images_path, images)
            run.write_json(record.name, {"eval_hash": eval_hash, **scoring.test})
        return scores

    def reproduce(self, settings: Settings, device=None) -> list[Score]:
        """Fit and evaluate every row; all scores, also written beside the runs as one CSV."""
        self.check_data(settings)
        keys, scores = self.rows(settings), []
        for key in tqdm(keys, desc=self.name, disable=not sys.stderr.isatty()):
            if self.is_trained(key):
                self.fit(key, settings, device)
            scores += self.evaluate(key, settings, device)
        write_scores(keys[0].directory.parents[1] / "scores.csv", scores)
        return scores

    def keep(self, settings: Settings, rows: list[RunKey] | None = None) -> Path:
        """Copy finished runs into results/reference, weights in half precision; returns the folder.

        Raises FileNotFoundError where a row was not scored.
        """
        target = project_root() / "results" / "reference" / self.name / settings.dataset
        keys = rows or self.rows(settings)
        found: dict[str, list[Score]] = {}
        for key in keys:
            own = key.directory / "scores.csv"
            for path in {own, *sorted(key.directory.glob("scores-*.csv"))}:
                found.setdefault(path.name, []).extend(read_scores(path))
        shutil.rmtree(target, ignore_errors=True)
        for key in keys:
            keep_run(Run(key), target)
        for name, scores in found.items():
            write_scores(target / name, scores)
        return target

    # What a report says of the runs behind it --------------------------------------------------

    def context(self, settings: Settings) -> Context:
        """What a verdict has to name: data set, profile, seeds, whether it is the paper's own."""
        own = settings.profile == "paper" and self.is_papers_own(settings)
        return Context(settings.dataset, settings.profile, len(settings.seeds), own)

    def logs(self, settings: Settings) -> dict[str, list[dict[str, float]]]:
        """The training log of every trained row of the first seed, by variant."""
        keys = [k for k in self.rows(settings) if self.is_trained(k)]
        first = [k for k in keys if k.seed == settings.seeds[0]]
        return {key.variant or key.model: Run(key).read_log() for key in first}

    def provenance(self, settings: Settings) -> Table:
        """What each trained row came from: steps, time, device, versions, commit, train hash."""
        rows = []
        for key in self.rows(settings):
            stamp = Run(key).read_stamp() if self.is_trained(key) else {}
            if stamp:
                steps = f"{stamp['steps_done']} of {stamp['steps_planned']}"
                versions = f"torch {stamp['torch']}, {stamp['commit']}"
                rows.append([f"{key.method}, seed {key.seed}", steps, f"{stamp['seconds']:.0f} s",
                             stamp["device"], versions, stamp["train_hash"]])  # fmt: skip
        header = ["run", "steps of planned", "time", "device", "versions", "train hash"]
        return Table("Where the numbers come from", header, rows)

    def write_headline(self, settings: Settings, scores: list[Score]) -> None:
        """What the index of reports shows."""
        device = next((s.device for s in scores), "")
        text = self.headline(scores)
        write_headline(self.name, settings.dataset, settings.profile, device, text)

    def write_verdicts(self, settings: Settings, verdicts: list[Verdict]) -> None:
        """What the summary over all papers counts."""
        folder = results_dir() / self.name / settings.dataset / settings.profile
        write_verdicts(folder, verdicts)

    @abstractmethod
    def is_papers_own(self, settings: Settings) -> bool:
        """True where data, recognizer and protocol are the paper's, so that it is reproduced."""

    @abstractmethod
    def headline(self, scores: list[Score]) -> str:
        """The paper's main question and the numbers that answer it, in one line."""

    def _weights_source(self, key: RunKey, settings: Settings, stamp: dict) -> str:
        if key.model in self.external_folders(settings):
            return "external"
        return "trained here" if stamp else "none"

    def _score(self, measured: Measured, key, settings, stamp: dict, device) -> Score:
        return Score(
            run=str(key),
            method=key.model,
            variant=key.variant,
            dataset=settings.dataset,
            split=self.test_split(settings),
            seed=key.seed,
            profile=settings.profile,
            device=device_name(device),
            precision="float32",
            steps_done=stamp.get("steps_done", 0),
            steps_planned=stamp.get("steps_planned", 0),
            weights=self._weights_source(key, settings, stamp),
            **vars(measured)
            | {"recognizer": measured.recognizer or getattr(settings, "recognizer", "")},
        )


def keep_run(run: Run, target: Path) -> None:
    """Copy what is worth keeping of a run into MODEL+VARIANT/seedK of a folder."""
    home = target / run.directory.parent.name / run.directory.name
    home.mkdir(parents=True)
    for path in (path for pattern in KEPT_FILES for path in run.directory.glob(pattern)):
        shutil.copy(path, home / path.name)
    if run.weights_path.exists():
        save_half(run.weights_path, home / run.weights_path.name)


def save_half(source: Path, target: Path) -> None:
    """Copy a safetensors file with its floating-point tensors in half precision."""
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in load_file(source).items()}
    with atomic(target) as temporary:
        save_file(tensors, temporary)


def _fit_job(paper: str, key: RunKey, settings: Settings) -> Run:
    """One process of a DDP training (module level, so that it can be spawned)."""
    from llie_core.recipes import get_recipe

    return fit(get_recipe(paper).experiment(key, settings))
