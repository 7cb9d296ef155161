"""Rows: what a study compares. A row says everything that decides its images.

Row("neid", "neid", {"variant": ""}, Trained(experiment, settings), seed=0)
Row("gamma", "gamma")                                    a method without parameters
Row("zero_dce", "zero_dce", weights=Released("Epoch99.pth"))
Row("llflow", "identity", weights=External(folder))      another program's images
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llie_core.engine.loop import Experiment, Objective
from llie_core.engine.reuse import identity
from llie_core.files import project_root
from llie_core.hashing import content_hash
from llie_core.models import MODELS, Enhancer, create_enhancer, list_enhancers, model_spec
from llie_core.names import nearest, title_of
from llie_core.recognizers import Recognizer, create_recognizer, list_recognizers
from llie_core.weights import weights_table


@dataclass(frozen=True)
class Trained:
    """Weights from a training of this project.

    experiment: (row, *models of the rows it needs) → Experiment; settings: what of the study's
    settings it reads; they name the run's folder, so that two trainings that differ have two.
    """

    experiment: Callable[..., Experiment]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Released:
    """The authors' checkpoint: a file, a name of weights.toml, or "" for the one that
    `llie weights fetch` has kept."""

    file: str = ""


def released_row(name: str, file: str) -> "Row":
    """The row of an authors' checkpoint.

    Args:
        name: a model of the registries, or any label for a network that spandrel recognises.
        file: see `Released`.
    """
    known = name in MODELS or name in list_recognizers()
    return Row(name, name if known or not file else "checkpoint", weights=Released(file))


@dataclass(frozen=True)
class External:
    """Images that another program made: FOLDER/<test set>/NAME.png."""

    folder: Path


Weights = Trained | Released | External | None


@dataclass(frozen=True)
class Row:
    """One line of a study's tables, for one seed.

    Args:
        label: its name in scores, claims, folders and on the command line: "model" or
            "model+variant".
        model: name in the registry of enhancers or of recognizers.
        options: arguments of its constructor.
        weights: where they come from; None only for a model without parameters.
        needs: rows that are trained before; their models are handed to the experiment.
        compose: (model, *models of `needs`) → the model as it is used, where that is not itself.
        normal_light: the normal-light image is read in place of the enhanced one.
        dataset: where it is trained, if not on the study's data set.
        title: as tables show it; "" for one made of the model's title and the variant.

    Raises:
        ValueError: no weights for a model that has parameters.
    """

    label: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights = None
    seed: int = 0
    needs: tuple["Row", ...] = ()
    compose: Callable[..., nn.Module] | None = None
    normal_light: bool = False
    dataset: str = ""
    title: str = ""

    def __post_init__(self):
        if self.weights is None and has_parameters(self.model, self.options):
            raise ValueError(
                f"{self.label}: {self.model} has parameters and needs weights: a training, the "
                f"authors' checkpoint (setting released: {{{self.model}: FILE}}), or another "
                "program's images (setting external)"
            )

    def __str__(self) -> str:
        return f"{self.label}, seed {self.seed}" if self.is_trained else self.label

    @property
    def is_trained(self) -> bool:
        """Whether its weights come from a training here."""
        return isinstance(self.weights, Trained)

    @property
    def source(self) -> str:
        """Where its weights come from, in a word, as scores have it."""
        words = {Trained: "trained here", Released: "released", External: "external"}
        return words.get(type(self.weights), "none")

    @property
    def given(self) -> Mapping[str, Any]:
        """What its training reads of the settings; empty without one."""
        return self.weights.settings if isinstance(self.weights, Trained) else {}

    @property
    def settings_hash(self) -> str:
        """Of what its training reads of the settings, that of the rows it needs included."""
        needed = [row.settings_hash for row in self.needs]
        return content_hash([self.model, identity(self.options), identity(self.given), needed])[:8]

    @property
    def shown(self) -> str:
        """The title that tables show."""
        return self.title or title_of(self.label)

    def build(self) -> Enhancer | Recognizer:
        """The model with the weights that its seed starts it with."""
        torch.manual_seed(self.seed)
        return build_model(self.model, self.options)


def build_model(name: str, options: Mapping[str, Any]) -> Enhancer | Recognizer:
    """An enhancer, or a recognizer that is not frozen, by its name in the registries."""
    if name in list_recognizers():
        return create_recognizer(name, frozen=False, **options)
    return create_enhancer(name, **options)


def build_released(row: Row) -> nn.Module:
    """The model of a row with its authors' weights.

    Raises:
        ValueError, FileNotFoundError: no such file, or another model's.
    """
    file = row.weights.file if isinstance(row.weights, Released) else ""
    if row.model not in list_recognizers():
        weights = file if file in ("", *weights_table()) else project_root() / file
        try:
            return create_enhancer(row.model, weights=weights or "released", **row.options)
        except ValueError as error:
            if row.model != "checkpoint":
                raise
            hint = nearest(row.label, list_enhancers())
            raise ValueError(
                f"released: {error}, and {row.label!r} names no model{hint}"
            ) from error
    if not file:
        raise ValueError(f"{row.label}: the file of its authors' checkpoint is needed")
    recognizer: Any = create_recognizer(row.model, frozen=False, **row.options)
    recognizer.load_released_weights(project_root() / file)  # only some of them have it
    return recognizer


def training_loss(model: str) -> Objective | None:
    """The loss that the record of an enhancer names for its training on pairs; None without one.

    Raises:
        ValueError: there is no such module or function; one line.
    """
    path = model_spec(model).loss
    if not path:
        return None
    module, _, name = path.partition(":")
    try:
        found: Objective = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"loss of {model}, {path}: {error}") from error
    return found


def has_parameters(model: str, options: Mapping[str, Any] | None = None) -> bool:
    """Whether a model needs weights; every recognizer counts as one that does.

    Raises:
        ValueError: unknown name, or a plug-in that fails.
    """
    return _has_parameters(model, tuple((options or {}).items()))


@cache
def _has_parameters(model: str, options: tuple) -> bool:
    with torch.device("meta"):
        built = build_model(model, dict(options))
    return getattr(built, "learned", True)


BASELINES = ("identity", "gamma", "clahe")  # models without parameters that every study compares
NORMAL_LIGHT = Row("original", "identity", normal_light=True)
