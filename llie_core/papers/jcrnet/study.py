"""Paper 3: JCRNet, three stages that correct colour, refine detail and balance exposure.

N. Yu, H. Shi, Y. Han, "Joint Correcting and Refinement for Balanced Low-Light Image Enhancement",
arXiv:2309.16128.

Rows: the input, a gamma curve and the thirteen methods of the papers' tables that need no training;
the learned rivals as an external folder; JCRNet and its eight ablations (Tables III to VI). Of its
MindSpore twin only a file that does not run is released, without weights.

LOL's test pairs are evaluated at their own size and, as in Table I, at 384×384 ("lol-384"). They
are eval15 unless `pairs: {parts: 400/100}` asks for a split like the paper's, which lists none.

Besides the pairs that it is trained on, every row is evaluated on what of the paper's other sets
the folder of the data holds (or `evaluation.sets`), at 384×384: MIT and COCO (Table I), six sets
without ground truth (II, III), phone video (VIII), three low-light saliency sets (IX). Two sets
cannot be had; each has a stand-in, which says so:

    Toys (Table V)        the test pairs under a green cast
    saliency (Table IX)   a small network, trained on normal-light drawn streets, reads them at
                          night; ECSSD, darkened, where a copy is given; VST itself with its
                          released file
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial

from torch import nn

from llie_core.data import open_dataset
from llie_core.data.cast import ColourCast
from llie_core.data.darkening import DarkeningRange
from llie_core.data.registry import Absent
from llie_core.data.unpaired import PHONES
from llie_core.data.wrappers import Augmented, Cached, Darkened, Joined, Resized
from llie_core.dataset import SizedDataset
from llie_core.engine.loop import Experiment, Objective, TrainSettings
from llie_core.engine.settings import Section, override
from llie_core.files import project_root
from llie_core.losses.paired import jcrnet_loss
from llie_core.losses.task_driven import TaskLoss
from llie_core.models.jcrnet import ABLATIONS, FORMS, READINGS
from llie_core.names import check_choice, join_label, split_label
from llie_core.papers.paired import (
    BUILTIN,
    NO_FOLDER,
    QUICK_PROTOCOLS,
    SCENES,
    EvaluationSettings,
    Found,
    PairedSettings,
    PairedStudy,
    PairSettings,
    open_each,
    open_other,
)
from llie_core.papers.rows import BASELINES, Released, Row, Trained
from llie_core.papers.study import TestSet, enhanced
from llie_core.recognizers.classifier import BACKBONE as PRETRAINED
from llie_core.recognizers.saliency_net import BACKBONES
from llie_core.tasks.quality import MAIN, ImageQuality
from llie_core.tasks.saliency import Saliency, saliency_masks
from llie_core.weights import available

CLASSICAL = (
    "he", "ldr", "lrs", "jed", "sdd", "lime", "msr", "npe", "bimef", "crm", "dong", "mf",
)  # fmt: skip
PAIRS = ("coco-low-light", "mit-adobe-fivek")  # of Table I, besides LOL
LOL_384 = "lol-384"  # LOL's test pairs at the size of Table I
METRICS = ("psnr", "ssim", "brisque", "niqe", "lpips")  # of Table I
COST_SIZE = (384, 384)  # (H, W) of Table I's images, and of those whose cost Table VII states
VST_FILE = "RGB_VST.pth"  # of its authors, in the folder of the data
APPEARANCE = ("brightness", "burnt_share")  # that claims are about
APPEARANCE_OF_PAIRS = (
    *APPEARANCE, "colour_cast", "green_excess", "histogram_overlap", "added_noise_in_black",
)  # fmt: skip
VIDEO = "phone-video"  # of Table VIII
CAST = (0.6, 1.0, 0.7)  # gains of R, G, B in linear light: a green cast
CAST_ROWS = ("identity", "gamma", "jcrnet")  # models evaluated under it
STREETS, ECSSD = "builtin-streets", "ecssd"
SALIENCY = (
    STREETS, ECSSD, "saliency-rgb-low-light", "saliency-rgbd-low-light", "saliency-rgbt-low-light",
)  # fmt: skip
READERS = ("saliency_net", "vst")
SALIENCY_ROWS = ("identity", "gamma", "clahe", "jcrnet")  # besides other programs' rows
SALIENCY_TRAIN = TrainSettings(steps=200, batch_size=8, lr=2e-3, schedule="cosine")
# The paper prints no number of epochs; its parent work has 250, here of 1,400 pairs in tens (and
# before them 3 of warm-up, left out).
PLANNED_STEPS = 250 * 140


@dataclass(frozen=True)
class NetworkSettings(Section):
    """Forms of models/jcrnet.py: modulation, retinex and rgb "released" or "paper"; reading "size"
    (219.696 GMAC; 1,964,061 parameters, 2,012,747 with those of layers that never run, which the
    paper counts) or "text"."""

    modulation: str = "released"
    retinex: str = "released"
    rgb: str = "released"
    reading: str = "size"

    def __post_init__(self):
        super().__post_init__()
        check_choice(FORMS, modulation=self.modulation, retinex=self.retinex, rgb=self.rgb)
        check_choice(READINGS, reading=self.reading)


@dataclass(frozen=True)
class JcrnetEvaluation(EvaluationSettings):
    """size: (H, W) to which images of the paper's other sets are brought, the paper's."""

    size: tuple[int, int] = COST_SIZE


@dataclass(frozen=True)
class SaliencySettings(Section):
    """Table IX.

    sets: which are evaluated; model: "saliency_net", trained here, or "vst" with the authors' file
    `weights`, "" for RGB_VST.pth in the folder of the data; backbone: of saliency_net (the
    reference profile takes "efficientnet_lite0", from ImageNet, where its package is installed);
    size: (H, W) of the images; train: of saliency_net; train_count, test_count: numbers of drawn
    streets.
    """

    sets: tuple[str, ...] = SALIENCY
    model: str = READERS[0]
    weights: str = ""
    backbone: str = "plain"
    size: tuple[int, int] = (96, 192)
    train: TrainSettings = SALIENCY_TRAIN
    train_count: int = 192
    test_count: int = 24

    def __post_init__(self):
        super().__post_init__()
        for name in self.sets:
            check_choice(SALIENCY, sets=name)
        check_choice(READERS, model=self.model)
        check_choice(BACKBONES, backbone=self.backbone)


@dataclass(frozen=True)
class JcrnetSettings(PairedSettings):
    """Settings of JCRNet. joined: more pairs to train on, expected in `data`."""

    rows: tuple[str, ...] = ("jcrnet",)
    baselines: tuple[str, ...] = (*BASELINES, *CLASSICAL)
    evaluation: JcrnetEvaluation = JcrnetEvaluation()
    network: NetworkSettings = NetworkSettings()
    joined: tuple[str, ...] = ()
    saliency: SaliencySettings = SaliencySettings()

    def __post_init__(self):
        super().__post_init__()
        if "jcrnet" not in self.rows:
            raise ValueError("rows: name jcrnet itself, its ablations stand beside it")


def quick(dataset: str) -> JcrnetSettings:
    pairs = PairSettings(size=48, val_count=8, val_size=96, test_count=8, test_size=192)
    # The paper does not speak of clipping, and its profile does not clip; its parent works report
    # exploding losses in small batches.
    train = TrainSettings(
        steps=110, planned_steps=PLANNED_STEPS, batch_size=4, lr=5e-4, lr_final=1e-6,
        schedule="cosine", grad_clip=1.0, validate_every=30,
    )  # fmt: skip
    protocols = (*QUICK_PROTOCOLS, MAIN["niqe"], MAIN["brisque"], MAIN["lpips"])
    evaluation = JcrnetEvaluation(protocols=protocols, cost_size=(128, 128), count=2)
    return JcrnetSettings(dataset, "quick", pairs=pairs, train=train, evaluation=evaluation)


def smoke(dataset: str) -> JcrnetSettings:
    return override(quick(dataset), {
        "profile": "smoke",
        "baselines": ("identity", "gamma", "clahe", "he"),
        "pairs": {"size": 16, "train_count": 8, "val_count": 2, "val_size": 16, "test_count": 2,
                  "test_size": 48},
        "train": {"steps": 2, "batch_size": 2, "validate_every": 2},
        "evaluation": {"protocols": QUICK_PROTOCOLS, "cost_size": (32, 48), "count": 1},
        "saliency": {"size": (32, 64), "train": {"steps": 2, "batch_size": 2}, "train_count": 4,
                     "test_count": 2},
    })  # fmt: skip


def reference(dataset: str) -> JcrnetSettings:
    backbone = PRETRAINED if available("efficientnet-lite0") else "plain"
    return override(quick(dataset), {
        "profile": "reference",
        "rows": ("jcrnet", "jcrnet+w/o FES", "jcrnet+w/o JRS", "jcrnet+w/o IAS"),
        # Weights are chosen by whole scenes: on tiles, instance norm and channel attention see
        # other statistics than in the test (the same pixels: 18.0 dB as tiles, 16.7 dB whole).
        "pairs": SCENES | {"val_count": 15, "val_size": 0},
        # One scene a step, the weights averaged. Whole scenes alone have, after 1,200 steps, 22.4,
        # 21.4 and 19.9 dB on the validation part at a quarter, a half and the whole of its sides;
        # parts of any share have 20.0 at the whole after 400.
        "train": {"steps": 1200, "batch_size": 1, "ema": 0.99, "validate_every": 200,
                  "precision": "auto"},
        "evaluation": {"protocols": (), "cost_size": COST_SIZE, "count": 50},
        "saliency": {"backbone": backbone, "train": {"steps": 600}, "train_count": 512,
                     "test_count": 96},
    })  # fmt: skip


def paper(dataset: str) -> JcrnetSettings:
    return override(reference(dataset), {
        "profile": "paper",
        "rows": JcrnetStudy.trained_labels,
        "joined": ("brightening-train",),
        "pairs": {"size": 256, "resize": (0, 0), "part": (1.0, 1.0), "flips": "all"},
        "train": {"steps": PLANNED_STEPS, "batch_size": 10, "lr": 2e-4, "ema": 0.0,
                  "grad_clip": 0.0, "validate_every": 140 * 5, "precision": "auto"},
        "evaluation": {"count": 0},
        "saliency": {"model": "vst", "size": COST_SIZE},
        "workers": 8,
    })  # fmt: skip


class JcrnetStudy(PairedStudy):
    title = "JCRNet: correction, refinement and balance in three stages"
    question = (
        "Is JCRNet ahead of methods without training, do its parts each matter, and does a "
        "saliency network find more in its images?"
    )
    datasets = (BUILTIN, "lol")
    profiles = {"smoke": smoke, "quick": quick, "reference": reference, "paper": paper}
    trained_labels = tuple(join_label("jcrnet", ablation) for ablation in ABLATIONS)
    with_normal_light = True
    unpaired_sets = ("exdark", "dicm", "lime", "mef", "npe", "vv")  # of Tables II and III
    settings: JcrnetSettings

    # Rows --------------------------------------------------------------------------------------

    def trained_row(self, label: str, seed: int) -> Row:
        _, ablation = split_label(label)
        options = {"ablation": ablation, **asdict(self.settings.network)}
        return Row(label, "jcrnet", options, self.trained(joined=self.settings.joined), seed)

    def objective(self, row: Row, *needed: nn.Module) -> Objective:
        return jcrnet_loss

    def open_pairs(self, split: str) -> SizedDataset:
        data = super().open_pairs(split)
        if split != "train" or not self.settings.joined:
            return data
        joined = [open_dataset(name, split, self.settings.data) for name in self.settings.joined]
        return Joined(data, *joined)

    # Test sets ---------------------------------------------------------------------------------

    @property
    def protocols(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*super().protocols, *APPEARANCE_OF_PAIRS)))

    def test_sets(self) -> list[TestSet]:
        own = [*super().test_sets(), *self.resized_sets, self.cast_set]
        return [*own, *self.others.sets, *self.saliency.sets]

    def absent(self) -> dict[str, str]:
        return super().absent() | self.others.absent | self.saliency.absent

    @cached_property
    def resized_sets(self) -> list[TestSet]:
        """LOL's test pairs at 384×384, as Table I has them; the resampler is the protocol's."""
        if self.settings.dataset != "lol":
            return []
        data = Resized(self.test_pairs, COST_SIZE, quantised=True, antialias=False)
        task = partial(ImageQuality, resized_protocols(COST_SIZE, METRICS))
        return [TestSet(LOL_384, data, task, rows=enhanced)]

    @cached_property
    def cast_set(self) -> TestSet:
        """The test pairs under a green cast."""
        task = partial(ImageQuality, self.protocols)
        return TestSet(f"{self.settings.dataset}-cast", ColourCast(self.test_pairs, CAST), task,
                       rows=lambda row: row.model in CAST_ROWS and enhanced(row))  # fmt: skip

    @property
    def unpaired_protocols(self) -> tuple[str, ...]:
        settings = self.settings.evaluation
        own = resized_protocols(settings.size, self.unpaired_metrics)
        return tuple(dict.fromkeys((*own, *APPEARANCE, *settings.unpaired)))

    def open_unpaired(self, name: str) -> SizedDataset:
        # The paper takes all of ExDark, not its official test part.
        return self.open_resized(name, "all" if name == "exdark" else "test")

    def open_resized(self, name: str, split: str = "test", **options) -> SizedDataset:
        """One of the paper's other sets at one size; raises Absent."""
        data = open_other(self.settings, name, split, **options)
        return Resized(data, self.settings.evaluation.size, quantised=True, antialias=False)

    @cached_property
    def others(self) -> Found:
        """Other pairs, and phone video."""
        of_table = resized_protocols(self.settings.evaluation.size, METRICS)
        sets, absent = self.quality_sets(PAIRS, (*of_table, *APPEARANCE_OF_PAIRS))
        phones, why = open_each(PHONES, lambda phone: self.open_resized(VIDEO, subset=phone))
        for reason in why.values():  # of the first phone that is not there
            absent.setdefault(VIDEO, reason.removeprefix(f"{VIDEO}: "))
        task = partial(ImageQuality, self.unpaired_protocols)
        sets += [
            TestSet(VIDEO, data, task, subset=phone, rows=enhanced)
            for phone, data in phones.items()
        ]
        return Found(sets, absent)

    # Saliency ----------------------------------------------------------------------------------

    @cached_property
    def saliency(self) -> Found:
        """The low-light sets of Table IX."""
        found, absent = open_each(self.settings.saliency.sets, self.open_saliency)
        return Found([self.saliency_set(name, data) for name, data in found.items()], absent)

    def saliency_set(self, name: str, data: SizedDataset | Callable[..., SizedDataset]) -> TestSet:
        """One of them, with the network that reads it."""
        paired = name in (STREETS, ECSSD)

        def evaluated(row: Row) -> bool:
            ours = row.label in SALIENCY_ROWS or self.is_given(row)
            return paired if row.normal_light else ours

        reader = self.saliency_row(STREETS if name == STREETS else ECSSD)
        return TestSet(name, data, Saliency, (reader,), kind="saliency", recognizer=reader.model,
                       rows=evaluated)  # fmt: skip

    def saliency_row(self, trained_on: str) -> Row:
        """The network that reads: VST, or one trained on drawn streets or on ECSSD."""
        own = self.settings.saliency
        if own.model == "vst":
            return Row("vst", "vst", weights=Released(self.vst_file()), title="VST")
        given = {"size": own.size, "train": own.train}
        if trained_on == STREETS:
            given["count"] = own.train_count
        label = join_label(READERS[0], "" if trained_on == STREETS else trained_on)
        trained = Trained(self.saliency_experiment, given)
        options = {"size": max(own.size), "backbone": own.backbone}
        return Row(label, READERS[0], options, trained, dataset=trained_on,
                   title=f"saliency network ({trained_on})")  # fmt: skip

    def saliency_experiment(self, row: Row) -> Experiment:
        """The training of the network that reads, on normal-light images."""
        model, images = row.build(), self.saliency_images(row.dataset, "train")
        data, objective = Augmented(images, flips="horizontal"), TaskLoss(model, saliency_masks)
        return self.training(row, model, objective, data, self.settings.saliency.train)

    def open_saliency(self, name: str) -> SizedDataset | Callable[..., SizedDataset]:
        """The low-light images of one set of Table IX; streets are drawn when they are read.

        Raises:
            Absent: no copy of the set, of what its reader is trained on, or of its reader's file.
        """
        if self.settings.saliency.model == "vst":
            self.vst_file()
        if name == STREETS:
            return lambda _reader: self.saliency_images(STREETS, "test")
        if self.settings.saliency.model != "vst":
            open_other(self.settings, ECSSD, "train")
        data = self.saliency_images(name, "test")
        return Darkened(data, DarkeningRange()) if name == ECSSD else data

    def vst_file(self) -> str:
        """The file of VST's authors; raises Absent."""
        if self.settings.saliency.weights:
            return self.settings.saliency.weights
        root = self.settings.evaluation.sets or self.settings.data
        file = project_root() / root / VST_FILE
        if not (root and file.is_file()):
            where = f"no {VST_FILE} in {root}" if root else NO_FOLDER
            raise Absent(f"{where}; VST's authors release it (or setting saliency.weights)")
        return str(file)

    def saliency_images(self, name: str, split: str) -> SizedDataset:
        """Normal-light streets to train on, at night to test on, or a set on disk; at one size."""
        own = self.settings.saliency
        if name != STREETS:
            return Resized(open_other(self.settings, name, split), own.size, quantised=True)
        count, light = {"train": (own.train_count, "day"), "test": (own.test_count, "night")}[split]
        # Every row is evaluated on the same streets, so they stay in memory.
        drawn = open_dataset(
            STREETS, split, size=own.size, count=count, light=light, task="saliency"
        )
        return Cached(drawn)


def resized_protocols(size: tuple[int, int], metrics: tuple[str, ...]) -> tuple[str, ...]:
    """The main protocols of metrics on images brought to (H, W); those of the paper's size say so
    in their names."""
    suffix = "-384-bilinear" if size == COST_SIZE else ""
    return tuple(f"{MAIN[metric]}{suffix}" for metric in metrics)
