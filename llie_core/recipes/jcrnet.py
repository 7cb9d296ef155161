"""Paper 3: JCRNet, three stages that correct colour, refine detail and balance exposure.

Rows: the thirteen methods of the papers' tables that learn nothing, the learned rivals as an
external folder, JCRNet and its eight ablations (Tables III to VI). Its MindSpore twin is not here.

Besides the pairs that it is trained on, every row is scored on what of the paper's other sets the
folder `no_reference` holds: MIT and COCO (Table I), six sets without ground truth (II, III), phone
video (VIII). Two things that nobody can have get a stand-in, which says so:

    Toys (Table V)        the test pairs under a green cast
    saliency (Table IX)   a small network, trained by day on drawn streets, reads them by night;
                          ECSSD, darkened, where a copy is given; VST itself with its released file
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from llie_core.data import collate, open_dataset
from llie_core.data.darkening import linear_to_srgb, quantise, srgb_to_linear
from llie_core.data.unpaired import PHONES
from llie_core.data.wrappers import Augmented, Joined, Resized, Wrapped
from llie_core.files import project_root
from llie_core.losses.paired import jcrnet_loss
from llie_core.models import create_enhancer
from llie_core.models.jcrnet import ABLATIONS, FORMS
from llie_core.recipes.base import Scoring
from llie_core.recipes.further import open_further, opened
from llie_core.recipes.jcrnet_saliency import (
    SALIENCY,
    SALIENCY_NET,
    SALIENCY_ROWS,
    read_saliency,
    saliency_experiment,
    saliency_sets,
)
from llie_core.recipes.paired import BASELINES, QUICK_PROTOCOLS, PairedRecipe, PairedSettings
from llie_core.recipes.paired_scores import MAIN, lacking_weights
from llie_core.recognizers import Recognizer, create_recognizer
from llie_core.reporting.scores import Score, summarise
from llie_core.runs import RunKey, file_hash
from llie_core.training import Experiment, load_weights

CLASSICAL = (
    "he", "ldr", "lrs", "jed", "sdd", "lime", "msr", "npe", "bimef", "crm", "dong", "mf",
)  # fmt: skip
PAIRS = ("coco-low-light", "mit-adobe-fivek")  # of Table I, besides LOL
UNPAIRED = ("exdark", "dicm", "lime", "mef", "npe", "vv")  # of Tables II and III
VIDEO = "phone-video"  # of Table VIII
CAST = (0.6, 1.0, 0.7)  # gains of R, G, B in linear light: a green cast
CAST_ROWS = ("identity", "gamma")  # besides what is trained
# The paper prints no number of epochs; its parent work has 250, here of 1,400 pairs in tens (and
# before them 3 of warm-up, left out).
PLANNED_STEPS = 250 * 140


@dataclass(frozen=True)
class JcrnetSettings(PairedSettings):
    """Settings of JCRNet.

    val_size: side of the crops by which weights are chosen, 0 for whole pictures; joined: further
    pairs to train on, looked for in `data`; modulation, retinex, rgb: "released" or "paper", the
    forms of models/jcrnet.py; no_reference: folder of all further test sets; further_size: (H, W)
    to which their pictures are brought, the paper's.
    saliency: sets of Table IX; saliency_model: "saliency_net", trained here in saliency_steps, or
    "vst" with the authors' file saliency_weights; saliency_size: (H, W) of its pictures;
    saliency_train, saliency_test: numbers of drawn streets.
    """

    models: tuple[str, ...] = ("jcrnet",)
    baselines: tuple[str, ...] = (*BASELINES, *CLASSICAL)
    protocols: tuple[str, ...] = (*QUICK_PROTOCOLS, MAIN["niqe"], MAIN["brisque"], MAIN["lpips"])
    planned_steps: int = PLANNED_STEPS
    val_size: int = 0
    joined: tuple[str, ...] = ()
    modulation: str = "released"
    retinex: str = "released"
    rgb: str = "released"
    further_size: tuple[int, ...] = (384, 384)
    saliency: tuple[str, ...] = SALIENCY
    saliency_model: str = SALIENCY_NET
    saliency_weights: str = ""
    saliency_size: tuple[int, ...] = (96, 192)
    saliency_steps: int = 200
    saliency_batch: int = 8
    saliency_lr: float = 2e-3
    saliency_train: int = 192
    saliency_test: int = 24

    def __post_init__(self):
        super().__post_init__()
        for name in ("modulation", "retinex", "rgb"):
            if getattr(self, name) not in FORMS:
                raise ValueError(f"{name}: choose one of {', '.join(FORMS)}")
        for name in ("further_size", "saliency_size"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name}: give (height, width)")
        if "jcrnet" not in self.models:
            raise ValueError("models: name jcrnet itself, its ablations stand beside it")
        unknown = [name for name in self.saliency if name not in SALIENCY]
        if unknown:
            raise ValueError(f"saliency: {unknown[0]!r} is none of {', '.join(SALIENCY)}")
        if self.saliency_model not in (SALIENCY_NET, "vst"):
            raise ValueError(f"saliency_model: choose {SALIENCY_NET} or vst")
        if self.saliency_model == "vst" and not self.saliency_weights:
            raise ValueError("saliency_model: vst needs saliency_weights, its authors' RGB_VST.pth")


# The paper does not speak of clipping; its parent works report exploding losses in small batches.
_QUICK = JcrnetSettings(
    "builtin-photos", "quick", size=48, batch_size=4, steps=150, lr=5e-4, lr_final=1e-6,
    grad_clip=1.0, validate_every=30, val_count=8, val_size=96, test_count=8, test_size=192,
    cost_size=(128, 128),
)  # fmt: skip
_LOL = replace(
    _QUICK, dataset="lol", protocols=(), val_count=15, cost_size=(384, 384), saliency_steps=600,
    saliency_train=512, saliency_test=96,
)  # fmt: skip
PROFILES = {
    "smoke": replace(
        _QUICK, profile="smoke", baselines=("identity", "gamma", "clahe", "he"), size=16,
        train_count=8, val_count=2, val_size=16, test_count=2, test_size=48, steps=2, batch_size=2,
        validate_every=2, protocols=QUICK_PROTOCOLS, cost_size=(32, 48), saliency_size=(32, 64),
        saliency_steps=2, saliency_batch=2, saliency_train=4, saliency_test=2,
    ),
    "quick": _QUICK,
    "reference": replace(
        _LOL, profile="reference", size=64, steps=1600, validate_every=200, val_size=128,
    ),
    "paper": replace(
        _LOL, profile="paper", models=("jcrnet", *(f"jcrnet+{a}" for a in ABLATIONS if a)),
        joined=("brightening-train",), size=256, batch_size=10, steps=PLANNED_STEPS, lr=2e-4,
        validate_every=140 * 5, val_size=0, precision="mixed", workers=8,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class FurtherSet:
    """A test set besides the training's own. file: under which name its scores are kept."""

    name: str
    subset: str
    file: str
    data: Dataset
    protocols: tuple[str, ...]
    rows: tuple[str, ...] = ()  # the labels that are scored; () for all


class JcrnetRecipe(PairedRecipe):
    name = "jcrnet"
    title = "JCRNet: correction, refinement and balance in three stages"
    profiles = PROFILES
    datasets = ("builtin-photos", "lol")
    trained_rows = tuple(f"jcrnet+{name}" if name else "jcrnet" for name in ABLATIONS)
    loss_code = ("llie_core.losses.paired",)
    score_code = (*PairedRecipe.score_code, __name__)
    no_reference_sets = UNPAIRED

    def network(self, model: str, variant: str, settings: JcrnetSettings) -> nn.Module:
        forms = {name: getattr(settings, name) for name in ("modulation", "retinex", "rgb")}
        return create_enhancer(model, ablation=variant, **forms)

    def objective(self, key: RunKey, settings: JcrnetSettings):
        return jcrnet_loss

    def loss_identity(self, key: RunKey, settings: JcrnetSettings) -> dict:
        forms = [settings.modulation, settings.retinex, settings.rgb]
        return {"forms": forms, "validation": self.pairs(settings, "val").describe()}

    def is_papers_own(self, settings: JcrnetSettings) -> bool:
        # Its test pairs are 100 of LOL's 500, which it does not list.
        return False

    # Data --------------------------------------------------------------------------------------

    def pairs(self, settings: JcrnetSettings, split: str) -> Dataset:
        data = super().pairs(settings, split)
        if split == "val" and settings.val_size:
            return Augmented(data, settings.val_size)
        if split == "train" and settings.joined:
            more = [open_dataset(name, "train", settings.data) for name in settings.joined]
            return Joined(data, *more)
        return data

    # Further test sets -------------------------------------------------------------------------

    def no_reference_set(self, settings: JcrnetSettings, name: str) -> Dataset:
        # The paper takes all of ExDark, not its official test part.
        return _resized(settings, name, "all" if name == "exdark" else "test")

    def further_sets(self, settings: JcrnetSettings) -> tuple[list[FurtherSet], dict[str, str]]:
        """What there is of the paper's other test sets, and why the rest is not."""
        single = tuple(p for p in self.no_reference_protocols if not lacking_weights(p))
        both = self.protocols(settings)
        cast = f"{settings.dataset}-cast"
        rows = (*CAST_ROWS, *self.trained_rows)
        sets = [FurtherSet(cast, "all", cast, Cast(self.pairs(settings, "test")), both, rows)]
        unpaired, lacking = self.no_reference_data(settings)
        sets += [FurtherSet(name, "all", name, data, single) for name, data in unpaired.items()]
        paired, absent = opened(PAIRS, partial(_resized, settings))
        sets += [FurtherSet(name, "all", name, data, both) for name, data in paired.items()]
        phones, why = opened(PHONES, lambda phone: _resized(settings, VIDEO, subset=phone))
        sets += [FurtherSet(VIDEO, phone, phone, data, single) for phone, data in phones.items()]
        told = {VIDEO: next(iter(why.values())).removeprefix(f"{VIDEO}: ")} if why else {}
        return sets, lacking | absent | told

    def further_scores(self, settings: JcrnetSettings, device=None) -> list[Score]:
        """Every row on every further set; each score names its set."""
        scores = []
        for one in self.further_sets(settings)[0]:
            keys = [k for k in self.rows(settings) if not one.rows or k.method in one.rows]
            for key in keys if one.protocols else ():
                found = self.evaluate_on(key, settings, one.file, one.data, one.protocols, device)
                scores += [replace(s, dataset=one.name, subset=one.subset) for s in found]
        return scores + phone_means(scores)

    # Saliency ----------------------------------------------------------------------------------

    def build(self, key: RunKey, settings: JcrnetSettings) -> nn.Module:
        if key.model != SALIENCY_NET:
            return super().build(key, settings)
        torch.manual_seed(key.seed)
        size = max(settings.saliency_size)
        return create_recognizer(SALIENCY_NET, frozen=False, size=size)

    def is_trained(self, key: RunKey) -> bool:
        return key.model == SALIENCY_NET or super().is_trained(key)

    def is_scored(self, key: RunKey) -> bool:
        return key.model != SALIENCY_NET

    def parse_key(self, settings, model: str, variant: str, seed: int) -> RunKey:
        if model == SALIENCY_NET:
            return self.saliency_key(settings, variant or SALIENCY[0])
        return super().parse_key(settings, model, variant, seed)

    def saliency_key(self, settings: JcrnetSettings, name: str) -> RunKey:
        """The run that trains the network which reads a saliency set: on streets, or on ECSSD."""
        trained_on = name if name == SALIENCY[0] else "ecssd"
        return RunKey(self.name, trained_on, settings.profile, SALIENCY_NET)

    def experiment(self, key: RunKey, settings: JcrnetSettings) -> Experiment:
        if key.model != SALIENCY_NET:
            return super().experiment(key, settings)
        return saliency_experiment(key, self.build(key, settings), settings)

    def saliency_recognizer(self, settings: JcrnetSettings, name: str) -> tuple[Recognizer, str]:
        """The frozen network that reads a saliency set, and the hash of its weights."""
        if settings.saliency_model == "vst":
            path = project_root() / settings.saliency_weights
            recognizer = create_recognizer("vst", frozen=False)
            recognizer.load_released_weights(path)
            return recognizer.freeze(), file_hash(path)
        key = self.saliency_key(settings, name)
        path = self.fit(key, settings).weights_path
        recognizer = self.build(key, settings)
        load_weights(recognizer, path)
        return recognizer.freeze(), file_hash(path)

    def saliency_rows(self, settings: JcrnetSettings) -> list[RunKey]:
        """The rows of Table IX: some baselines, other programs', JCRNet, and the scene by day."""
        wanted = {*SALIENCY_ROWS, *self.external_folders(settings)}
        rows = [key for key in self.rows(settings) if key.method in wanted]
        return [*rows, self.key(settings, "original")]

    def saliency_scores(self, settings: JcrnetSettings, device=None) -> list[Score]:
        """The six measures of Table IX, of every saliency set and row; each score names its set."""
        scores = []
        for name, data in saliency_sets(settings)[0].items():
            recognizer, weights = self.saliency_recognizer(settings, name)
            for key in self.saliency_rows(settings):
                scores += self._saliency_of(key, settings, name, data, recognizer, weights, device)
        return scores

    def _saliency_of(self, key, settings, name, data, recognizer, weights, device) -> list[Score]:
        """One row on one saliency set, read back if nothing changed."""
        data = self.further_row_data(key, settings, name, data)
        if data is None or (key.model == "original" and "target" not in data[0]):
            return []
        batches = DataLoader(data, batch_size=4, collate_fn=collate)
        bright = key.model == "original"
        scoring = Scoring(
            lambda model, device: read_saliency(
                recognizer.to(device), model, batches, device, bright
            ),
            data=data.describe(),
            test={"recognizer": weights},
            file=f"saliency-{name}",
            code=("llie_core.recipes.jcrnet_saliency", "llie_core.metrics.saliency"),
            about={"dataset": name, "split": "test", "recognizer": settings.saliency_model},
        )
        return self.scored_once(key, settings, scoring, device)


def _resized(settings: JcrnetSettings, name: str, split: str = "test", **options) -> Dataset:
    """A further set at one size; raises Absent."""
    data = open_further(settings, name, split, **options)
    return Resized(data, settings.further_size, quantised=True)


class Cast(Wrapped):
    """Low-light pictures under a green cast: linear light times the gains of CAST, 8 bit."""

    def __init__(self, source: Dataset):
        super().__init__(source, gains=list(CAST))

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        gains = np.array(CAST, np.float32).reshape(3, 1, 1)
        cast = linear_to_srgb(srgb_to_linear(item["image"].numpy()) * gains)
        return item | {"image": torch.from_numpy(quantise(cast))}


def phone_means(scores: list[Score]) -> list[Score]:
    """Table VIII's last columns: the mean over the phones, where all four were scored."""
    groups: dict[tuple, list[Score]] = {}
    for score in scores:
        if score.dataset == VIDEO:
            groups.setdefault((score.run, score.metric), []).append(score)
    return [
        replace(of[0], subset="mean", value=summarise(s.value for s in of).mean,
                n=sum(s.n for s in of))
        for of in groups.values() if len(of) == len(PHONES)
    ]  # fmt: skip
