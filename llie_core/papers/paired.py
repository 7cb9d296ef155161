"""What papers 3, 4 and 5 share: an enhancer trained on pairs, evaluated under named protocols.

    pairs ─▶ crops, flipped ─▶ enhancer ─▶ the paper's loss
    validation pairs, carved from train, choose the weights; the test set is read once

Beside the paper's own network and its ablations stand methods without training, any other
program's images from an external folder and, by name, any other network of the registry, trained on
the same pairs: `OTHER_NETWORKS`, and a new one or a plug-in's.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import nn

from llie_core.data import dataset_spec, open_dataset
from llie_core.data.paired import Lol
from llie_core.data.registry import Absent, locate, open_at
from llie_core.data.scenes import Scenes
from llie_core.data.synthesis import LOL_STYLE
from llie_core.data.wrappers import (
    Augmented,
    Cached,
    Drawn,
    ForPhotographs,
    Joined,
    NormalLight,
    Resized,
    at_most,
)
from llie_core.dataset import SizedDataset
from llie_core.engine.loop import Experiment, Objective, TrainSettings
from llie_core.engine.settings import Section, free
from llie_core.files import project_root
from llie_core.losses.paired import PlainLoss
from llie_core.metrics.protocols import load_protocols
from llie_core.models import create_enhancer, list_enhancers
from llie_core.names import title_of, unknown
from llie_core.papers.rows import BASELINES, NORMAL_LIGHT, Row, Trained, training_loss
from llie_core.papers.study import Study, StudySettings, TestSet, enhanced
from llie_core.reporting.scores import Score, mean_of, select
from llie_core.tasks.quality import MAIN, Cost, ImageQuality, all_protocols
from llie_core.tasks.validation import ValidationPSNR

QUICK_PROTOCOLS = (*(MAIN[m] for m in ("psnr", "ssim")), "psnr-rgb-float-gtmean-grey-8bit")
BUILTIN = "builtin-photos"
REFERENCE = "lol"  # whose copy reference runs read
# Sets of pairs that newer papers report.
NEWER_PAIRS = (
    "lol-v2-real", "lol-v2-syn", "lsrw", "uhd-ll", "sice", "sid-srgb", "smid-srgb",
)  # fmt: skip
# Small networks of other origin, offered by name → options of their constructors.
OTHER_NETWORKS: dict[str, dict[str, Any]] = {
    "curve_refine": {}, "cpga_net_plus": {}, "iat": {}, "sci": {"stages": 3},
}  # fmt: skip
NO_FOLDER = "no folder given (DATA, or setting evaluation.sets)"
TRAIN = TrainSettings(schedule="cosine", validate_every=50)
WHOLE = (1.0, 1.0)
# Of LOL's training pairs, from a part at its own resolution to the whole at a quarter of it: a crop
# of 64 pixels does not show how bright its scene is, and a small scene not its noise.
SCENES: dict[str, Any] = {
    "size": 0, "resize": (100, 152), "part": (0.25, 1.0), "flips": "horizontal",
}  # fmt: skip
Opened = TypeVar("Opened")


@dataclass(frozen=True)
class PairSettings(Section):
    """Training pairs. Sizes in pixels, counts in pairs.

    size: of the training crops, 0 for whole images; resize: (H, W) to which training images are
    brought before, (0, 0) to leave them: (200, 300) and size 0 show a network whole scenes of LOL,
    in the same light as a test does; flips: "none", "horizontal" or "all" (needs squares); scale:
    range of a random factor on the sides before the crop; train_count, val_count, test_count,
    test_size: of the built-in pairs (of other sets, val_count pairs are held out of train);
    val_size: side of the crops by which weights are chosen, 0 for whole images; val_scale: factor
    on the sides of whole ones; parts: of LOL, "official" or another split of the loader;
    photographs: sets, expected in `data`, whose images join the pairs' ground truths as
    normal-light photographs, darkened or to be left as they are (`ForPhotographs`), for an enhancer
    of any photograph, for other networks only; part: range of the share of height and width that is
    taken for the image, of which a network without it learns scenes by heart: before it is brought
    to `resize`, and without one for other networks only.
    """

    size: int = 64
    resize: tuple[int, int] = (0, 0)
    flips: str = "all"
    scale: tuple[float, float] = (1.0, 1.0)
    train_count: int = 128
    val_count: int = 8
    val_size: int = 0
    val_scale: float = 1.0
    test_count: int = 16
    test_size: int = 128
    parts: str = "official"
    photographs: tuple[str, ...] = ()
    part: tuple[float, float] = WHOLE

    def __post_init__(self):
        super().__post_init__()
        height, width = self.resize
        if any(self.resize) and self.part != WHOLE and (self.size or self.scale != WHOLE):
            raise ValueError("part: with resize, leave size 0 and scale (1, 1)")
        if any(self.resize) and self.photographs:
            raise ValueError("photographs: their crops are of one size, leave resize (0, 0)")
        if self.flips == "all" and not self.size and not 0 < height == width:
            raise ValueError("flips: all swaps height and width; give a size or a square resize")


@dataclass(frozen=True)
class EvaluationSettings(Section):
    """How rows are evaluated.

    protocols: ids of protocols.toml, () for all that images allow; unpaired: those of sets without
    ground truth beside the paper's own, such as loe-imresize; cost_size: (H, W) at which MACs and
    latency are taken; sets: folder of the paper's other test sets (DICM, LIME, …), each in a
    folder of its usual name, "" for that of the study's data; count: images of each, evenly over
    it, 0 for all.
    """

    protocols: tuple[str, ...] = QUICK_PROTOCOLS
    unpaired: tuple[str, ...] = ()
    cost_size: tuple[int, int] = (256, 256)
    sets: str = free("")
    count: int = 0

    def __post_init__(self):
        super().__post_init__()
        known = load_protocols()
        for key, named in (("protocols", self.protocols), ("unpaired", self.unpaired)):
            if missing := [name for name in named if name not in known]:
                raise ValueError(f"{key}: {missing[0]!r} is no entry of protocols.toml")
        if paired := [name for name in self.unpaired if known[name].inputs == "pair"]:
            raise ValueError(f"unpaired: {paired[0]} asks for a ground truth")


@dataclass(frozen=True)
class PairedSettings(StudySettings):
    """Settings of a training on pairs.

    rows: trained rows by label, or other networks by name; one_seed: those of them that the first
    seed alone trains, such as ablations that take long; baselines: rows without training.
    """

    rows: tuple[str, ...] = ()
    one_seed: tuple[str, ...] = ()
    baselines: tuple[str, ...] = BASELINES
    pairs: PairSettings = PairSettings()
    train: TrainSettings = TRAIN
    evaluation: EvaluationSettings = EvaluationSettings()


class PairedStudy(Study):
    """A paper whose enhancer is trained on pairs.

    trained_labels: of all rows that can be trained, the paper's own network first; headline_labels:
    the paper's networks, where it has several; with_normal_light: whether the normal-light image is
    a row, which a recognizer reads; unpaired_sets: the paper's test sets without ground
    truth, and their metrics.
    """

    trained_labels: ClassVar[tuple[str, ...]]
    headline_labels: ClassVar[tuple[str, ...]] = ()
    with_normal_light: ClassVar[bool] = False
    datasets: ClassVar[tuple[str, ...]] = (BUILTIN, "lol", "mit-adobe-fivek", *NEWER_PAIRS)
    unpaired_sets: ClassVar[tuple[str, ...]] = ()
    unpaired_metrics: ClassVar[tuple[str, ...]] = ("niqe", "brisque")
    settings: PairedSettings

    @classmethod
    def default_datasets(cls, profile: str, data: str = "") -> tuple[str, ...]:
        small = profile in ("smoke", "quick") or (profile == "reference" and not data)
        return super().default_datasets(profile) if small else (REFERENCE,)

    # Rows --------------------------------------------------------------------------------------

    @abstractmethod
    def trained_row(self, label: str, seed: int) -> Row:
        """A row that the paper trains, its own network or an ablation."""

    def rows(self) -> list[Row]:
        settings = self.settings
        known = (*self.trained_labels, *OTHER_NETWORKS)
        for label in (*settings.rows, *settings.one_seed):
            if label not in known and label not in list_enhancers():
                raise unknown("row", label, known)
        fixed = [Row(model, model) for model in dict.fromkeys(settings.baselines)]
        trained = [
            self.row_of(label, seed)
            for label in dict.fromkeys((*known, *settings.rows))
            if label in settings.rows and label not in settings.released
            for seed in settings.seeds[: 1 if label in settings.one_seed else None]
        ]
        given = self.given_rows(row.label for row in (*fixed, *trained))
        return [*fixed, *given, *trained, *([NORMAL_LIGHT] if self.with_normal_light else [])]

    def main_row(self) -> Row:
        known = (*self.trained_labels, *OTHER_NETWORKS, *self.settings.rows)
        label = next((label for label in known if label in self.settings.rows), known[0])
        compared = (row for row in self.rows() if row.label == label)  # trained here, or released
        return next(compared, None) or self.row_of(label, self.settings.seeds[0])

    def possible_rows(self) -> list[Row]:
        seed = self.settings.seeds[0]
        return [self.row_of(label, seed) for label in (*self.trained_labels, *OTHER_NETWORKS)]

    def row_of(self, label: str, seed: int) -> Row:
        """A row that can be trained: of the paper, or another network."""
        if label in self.trained_labels:
            return self.trained_row(label, seed)
        row_of = self.method_row if label in OTHER_NETWORKS else self.new_method_row
        return row_of(label, seed)

    def method_row(self, name: str, seed: int) -> Row:
        """Another network, trained on the pairs by the loss of its record, else by `PlainLoss`."""
        trained = self.trained(self.method_experiment)
        return Row(name, name, OTHER_NETWORKS.get(name, {}), trained, seed)

    # Data --------------------------------------------------------------------------------------

    @cached_property
    def train_pairs(self) -> SizedDataset:
        """The pairs trained on, whole."""
        return self.open_pairs("train")

    @cached_property
    def val_pairs(self) -> SizedDataset:
        """The pairs, carved from train, that choose the weights."""
        data, pairs = self.open_pairs("val"), self.settings.pairs
        if pairs.val_size:
            return Augmented(data, pairs.val_size)
        scale = (pairs.val_scale, pairs.val_scale)
        return Augmented(data, scale=scale) if pairs.val_scale != 1 else data

    @cached_property
    def test_pairs(self) -> SizedDataset:
        """The test pairs."""
        return self.open_pairs("test")

    def open_pairs(self, split: str) -> SizedDataset:
        """One split, as it lies on disk or as it is made; small sets stay in memory."""
        pairs, name = self.settings.pairs, self.settings.dataset
        if name == BUILTIN:
            counts = {"train": pairs.train_count, "val": pairs.val_count, "test": pairs.test_count}
            size = pairs.size if pairs.size and split == "train" else pairs.test_size
            return Cached(open_dataset(BUILTIN, split, size=size, count=counts[split]))
        options = {"protocol": pairs.parts} if name == "lol" else {}
        data = open_dataset(name, split, self.settings.data, val=pairs.val_count, **options)
        # LOL's 485 pairs take 0.7 GB; FiveK's 5,000 at full size would not fit.
        return Cached(data) if name == "lol" else data

    @cached_property
    def train_data(self) -> SizedDataset:
        """What a training reads."""
        return self.crops_of(self.train_pairs)

    def crops_of(self, data: SizedDataset, **more: Any) -> Drawn:
        """Random crops of a data set, flipped, or parts at one size; whole images where the
        settings give neither. more: options of `Augmented`."""
        pairs = self.settings.pairs
        if any(pairs.resize) and pairs.part != WHOLE:
            return Scenes(data, pairs.resize, **{"flips": pairs.flips, "part": pairs.part} | more)
        return self._augmented(Resized(data, pairs.resize) if any(pairs.resize) else data, **more)

    def _augmented(self, data: SizedDataset, **more: Any) -> Augmented:
        pairs = self.settings.pairs
        return Augmented(data, pairs.size or None, pairs.flips, pairs.scale, **more)

    def check_data(self) -> None:
        if self.settings.dataset != BUILTIN:
            self.open_pairs("train")

    # Training ----------------------------------------------------------------------------------

    @abstractmethod
    def objective(self, row: Row, *needed: nn.Module) -> Objective:
        """The loss of a row; `needed`: the models that it builds on."""

    def experiment(self, row: Row) -> Experiment:
        found = super().experiment(row)
        other = row.label in list_enhancers() and row.label not in self.trained_labels
        if other or "pairs" not in row.given or found.settings.planned_pixels:
            return found
        published = self.profiles["paper"](self.settings.dataset)
        assert isinstance(published, PairedSettings)
        steps = found.settings.planned_steps or found.settings.steps
        pixels = steps * published.train.batch_size * published.pairs.size**2
        return replace(found, settings=replace(found.settings, planned_pixels=pixels))

    def trained(
        self, experiment: Callable[..., Experiment] | None = None, /, **settings: object
    ) -> Trained:
        """A training on the pairs; `settings`: what else than pairs and schedule decides it."""
        given = {"pairs": self.settings.pairs, "train": self.settings.train, **settings}
        return Trained(experiment or self.paired_experiment, given)

    def paired_experiment(self, row: Row, *needed: nn.Module) -> Experiment:
        """The training of a row on the pairs."""
        return self.experiment_on(self.train_data, row, self.objective(row, *needed))

    def experiment_on(self, data: SizedDataset, row: Row, objective: Objective) -> Experiment:
        """The training of a row on some data, its weights chosen by the validation pairs."""
        train = self.settings.train
        validate = self.validation(self.val_pairs) if train.validate_every else None
        return self.training(row, row.build(), objective, data, train, validate)

    def method_experiment(self, row: Row) -> Experiment:
        """The training of another network: on the pairs, and on photographs where any are named."""
        pairs, model = self.settings.pairs, create_enhancer(row.model)
        if not model.learned:
            raise ValueError(f"{row.label} has no parameters to train; put it into `methods`")
        options: dict[str, Any] = {"part": pairs.part, "context": model.context_size}
        data: SizedDataset = self.crops_of(self.train_pairs, **options)
        if pairs.photographs:
            found = [open_dataset(n, "train", self.settings.data) for n in pairs.photographs]
            normal = Joined(NormalLight(self.train_pairs), *found)
            own, other = (self._augmented(x, **options) for x in (self.train_pairs, normal))
            data = ForPhotographs(own, other, LOL_STYLE)
        return self.experiment_on(data, row, training_loss(row.model) or PlainLoss())

    def validation(self, pairs: SizedDataset) -> ValidationPSNR:
        """Mean PSNR over validation pairs."""
        return ValidationPSNR(pairs, self.batch_size, self.settings.workers)

    @property
    def batch_size(self) -> int:
        """Images a batch of the own set; those of a set on disk may differ in size."""
        return 8 if self.settings.dataset == BUILTIN else 1

    # Test sets ---------------------------------------------------------------------------------

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols to evaluate under: those asked for, or all that images allow."""
        return self.settings.evaluation.protocols or all_protocols()

    @property
    def unpaired_protocols(self) -> tuple[str, ...]:
        """The protocols of the sets without ground truth."""
        own = (MAIN[metric] for metric in self.unpaired_metrics)
        return tuple(dict.fromkeys((*own, *self.settings.evaluation.unpaired)))

    def test_sets(self) -> list[TestSet]:
        return [self.main_set, *self.normal_sets, self.cost_set, *self.unpaired.sets]

    @property
    def normal_sets(self) -> list[TestSet]:
        """Where photographs are trained for: the test pairs' ground truths as input and target, of
        which PSNR says how far an enhancer leaves them as they are."""
        if not self.settings.pairs.photographs:
            return []
        name, data = f"{self.settings.dataset}-normal-light", NormalLight(self.test_pairs)
        task = partial(ImageQuality, self.protocols, self.batch_size)
        return [TestSet(name, data, task, rows=lambda x: enhanced(x) and x.model != "identity")]

    @cached_property
    def main_set(self) -> TestSet:
        """The test pairs of the set trained on."""
        task = partial(ImageQuality, self.protocols, self.batch_size)
        return TestSet(self.test_name, self.test_pairs, task, rows=enhanced)

    @cached_property
    def cost_set(self) -> TestSet:
        """Parameters, MACs and latency."""
        size = self.settings.evaluation.cost_size
        return TestSet(self.test_name, None, partial(Cost, size), kind="cost",
                       rows=self.is_timed)  # fmt: skip

    @cached_property
    def unpaired(self) -> "Found":
        """The paper's sets without ground truth."""
        return self.quality_sets(self.unpaired_sets, self.unpaired_protocols)

    def quality_sets(self, names: Iterable[str], protocols: tuple[str, ...]) -> "Found":
        """Further sets on which all rows are measured by some protocols."""
        found, absent = open_each(names, self.open_unpaired)
        task = partial(ImageQuality, protocols)
        return Found([TestSet(name, x, task, rows=enhanced) for name, x in found.items()], absent)

    def open_unpaired(self, name: str) -> SizedDataset:
        """One set without ground truth; raises Absent."""
        return open_other(self.settings, name)

    def absent(self) -> dict[str, str]:
        return self.unpaired.absent

    # Report ------------------------------------------------------------------------------------

    def is_papers_own(self) -> bool:
        # The training; of JCRNet's test sets, LOL's 100 pairs are not listed, and DRGN's tables
        # have no numbers on LOL: their reports say which other sets are the paper's own.
        return self.settings.dataset == REFERENCE

    @property
    def reference_dataset(self) -> str:
        return REFERENCE

    def official_count(self, test_set: TestSet) -> int | None:
        parts = self.settings.pairs.parts if test_set.name == "lol" else ""
        return Lol.tests.get(parts, super().official_count(test_set))

    def headline(self, scores: list[Score]) -> str:
        parts = []
        for label in (*(self.headline_labels or (self.main_row().label,)), "gamma", "identity"):
            own = select(scores, label=label, metric="psnr", dataset=self.test_name)
            if own:
                parts.append(f"{title_of(label)} {mean_of(own):.2f}")
        return f"PSNR, dB: {', '.join(parts)}" if parts else "nothing was evaluated"


# Other test sets -------------------------------------------------------------------------------


class Found(NamedTuple):
    """Test sets that are at hand, and why the others are not, by name."""

    sets: list[TestSet]
    absent: dict[str, str]


def open_each(
    names: Iterable[str], opener: Callable[[str], Opened]
) -> tuple[dict[str, Opened], dict[str, str]]:
    """What `opener` finds, by name, and why it does not find the rest (raises Absent)."""
    found, absent = {}, {}
    for name in names:
        try:
            found[name] = opener(name)
        except Absent as error:
            absent[name] = str(error).removeprefix(f"{name}: ")
    return found, absent


def open_other(settings: PairedSettings, name: str, split: str = "test", **options) -> SizedDataset:
    """One of the paper's other sets from the folder `evaluation.sets`, or `data` where none is
    given; of its test images at most `evaluation.count`.

    The set has to lie in a folder of its usual name; any other, such as the one given, may hold
    another set. Raises Absent.
    """
    spec, root = dataset_spec(name), settings.evaluation.sets or settings.data
    if not root:
        raise Absent(NO_FOLDER)
    folder = locate(spec, project_root() / root)
    if folder is None:
        raise Absent(f"no folder {spec.folder} in {root}; {spec.where()}")
    data = open_at(spec, split, folder, **options)
    return data if split == "train" else at_most(data, settings.evaluation.count)
