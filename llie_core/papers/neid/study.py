"""Paper 5: NEID, light and detail from a quarter of the pixels.

Z. Jiang, C. Liu, Y. Wang, K. Li, A. Men, H. Wang, H. Luo, "Bridge the Vision Gap from Field to
Command: A Deep Learning Network Enhancing Illumination and Details", 2021.

Rows: the input, gamma, CLAHE; the methods of Table 1 without training; NEID, trained by the printed
loss, and "neid+ours", the same network trained by `OURS`; by name the ablations of Table 2, and
`SEQUENCE`, which Sec. 2.2 argues against: a U-net that brightens the half-size image, then a
super-resolution network, trained on normal-light images only.

Details (Fig. 9) are shown on MIT-Adobe FiveK, of expert C's photographs, where the folder of the
data holds it, on built-in photographs otherwise.

The profile `photographs` is not of the paper: it trains the network that `llie enhance` puts before
any photograph, CurveRefine (models/curve_refine.py), on LOL's pairs and on normal-light images,
darkened or to be left as they are. It stands here since this study is the plainest of those on LOL.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any

from torch import nn

from llie_core.data import open_dataset
from llie_core.data.registry import Absent
from llie_core.data.wrappers import Bounded, NormalLight
from llie_core.engine.loop import Experiment, Objective, TrainSettings
from llie_core.engine.settings import Section, override
from llie_core.losses.colour import DETAIL_TARGETS, HUES, neid_loss
from llie_core.models.neid import BIAS, INITS, NEID, NORMS, BrightenThenEnlarge
from llie_core.names import check_choice, split_label
from llie_core.papers.paired import (
    BUILTIN,
    QUICK_PROTOCOLS,
    SCENES,
    WHOLE,
    EvaluationSettings,
    PairedSettings,
    PairedStudy,
    PairSettings,
    open_other,
)
from llie_core.papers.rows import BASELINES, Row
from llie_core.papers.study import TestSet, enhanced
from llie_core.tasks.quality import MAIN, ImageQuality

CLASSICAL = ("bimef", "crm", "dong", "lime", "mf", "msr", "npe")  # of Table 1
UNET = "U-net architecture"
ABLATIONS = (f"neid+{UNET}", "neid+LE", "neid+LE + DR")  # of Table 2
SEQUENCE = "U-net, then super-resolution"
OWN_LOSS = "ours"  # the variant that is trained by `OURS`
FIVEK, LONG_SIDE = "mit-adobe-fivek", 1536  # of Fig. 9, whose images have up to 24 MP
TITLES = {UNET: "U-net at full size", "LE": "NEID, LE alone", "LE + DR": "NEID, LE + DR",
          SEQUENCE: SEQUENCE, OWN_LOSS: "NEID, our loss"}  # fmt: skip
PHOTOGRAPH_PROTOCOLS = (*QUICK_PROTOCOLS, MAIN["niqe"], "burnt_share")
PAIRS, BATCH = 470, 8  # LOL's 485 pairs less the 15 that weights are chosen by
PLANNED_STEPS = 2000 * PAIRS // BATCH  # 2000 epochs
MILESTONES = (500 * PAIRS // BATCH, 1000 * PAIRS // BATCH)


@dataclass(frozen=True)
class LossSettings(Section):
    """Of losses/colour.py.

    delta: of the Huber loss; lambda_mse: λ₁, of the details; lambda_colour: λ₂; hue: "printed" or
    "circular"; detail_target: "image", the full-size low-light crop, or "target", Eq. (3) as
    printed.
    """

    delta: float = 0.1
    lambda_mse: float = 0.1
    lambda_colour: float = 0.1
    hue: str = "printed"
    detail_target: str = "image"

    def __post_init__(self):
        super().__post_init__()
        check_choice(HUES, hue=self.hue)
        check_choice(DETAIL_TARGETS, detail_target=self.detail_target)
        if not (self.delta > 0 and min(self.lambda_mse, self.lambda_colour) >= 0):
            raise ValueError("delta must be above 0, lambda_mse and lambda_colour not below")


# Differs from the paper: the printed hue has red at 0 and at 1, so that reds come out orange; with
# λ₁ = λ₂ = 0.1, colour's gradient at a trained network is twice Huber's, the details' .3 % of it.
# With these, the details' gradient in the shared encoder is .69, .06, .24, .43 of Huber's at steps
# 0, 20, 60, 120, colour's 1.0, .01, .08, .04 (LOL, 64² crops, batch 4, Adam 1e-3, PyTorch's start).
# δ 1 is TensorFlow's default.
OURS: dict[str, Any] = {"delta": 1.0, "hue": "circular", "lambda_mse": 10.0, "lambda_colour": 0.01}


@dataclass(frozen=True)
class NeidSettings(PairedSettings):
    """Settings of NEID.

    loss: of all rows but "neid+ours"; init: "paper", N(0, 0.02²) with biases of `bias`, or
    "pytorch", with which short trainings converge; norm: "none", as printed, or "group", with which
    brightness is learned from whole scenes, not from crops (models/neid.py);
    time_4k: take the latency at 3840×2160 on a CPU too, half a minute a call and 7 GB.
    """

    rows: tuple[str, ...] = ("neid", f"neid+{OWN_LOSS}")
    baselines: tuple[str, ...] = (*BASELINES, *CLASSICAL)
    loss: LossSettings = LossSettings()
    init: str = "pytorch"
    bias: float = BIAS
    norm: str = "none"
    time_4k: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_choice(INITS, init=self.init)
        check_choice(NORMS, norm=self.norm)


def quick(dataset: str) -> NeidSettings:
    # The rate stays high for long: under a cosine, so few steps end in a grey plateau.
    train = TrainSettings(
        steps=360, planned_steps=PLANNED_STEPS, schedule="step", milestones=(300,),
        validate_every=60,
    )  # fmt: skip
    return NeidSettings(
        dataset, "quick", pairs=PairSettings(train_count=256), train=train,
        evaluation=EvaluationSettings(cost_size=(400, 600), count=2),
    )  # fmt: skip


def smoke(dataset: str) -> NeidSettings:
    return override(quick(dataset), {
        "profile": "smoke",
        "baselines": ("identity", "gamma", "clahe", "msr"),
        "pairs": {"size": 32, "train_count": 8, "val_count": 2, "test_count": 2, "test_size": 48},
        "train": {"steps": 2, "batch_size": 2, "schedule": "cosine", "milestones": (),
                  "validate_every": 2},
        "evaluation": {"cost_size": (64, 96), "count": 1},
    })  # fmt: skip


def reference(dataset: str) -> NeidSettings:
    return override(quick(dataset), {
        "profile": "reference",
        "seeds": (0, 1, 2),
        "rows": ("neid", *ABLATIONS, f"neid+{OWN_LOSS}"),
        "pairs": {**SCENES, "val_count": 15},
        "train": {"steps": 1000, "batch_size": 2, "schedule": "cosine", "milestones": (),
                  "ema": 0.99, "validate_every": 100, "precision": "auto"},
        "evaluation": {"protocols": (), "count": 50},
        "norm": "group",
        "time_4k": True,
    })  # fmt: skip


def paper(dataset: str) -> NeidSettings:
    return override(reference(dataset), {
        "profile": "paper",
        "seeds": (0,),
        "rows": ("neid", *ABLATIONS, f"neid+{SEQUENCE}", f"neid+{OWN_LOSS}"),
        "pairs": {"size": 256, "resize": (0, 0), "part": WHOLE, "flips": "all"},
        "train": {"steps": PLANNED_STEPS, "batch_size": BATCH, "lr": 1e-4, "schedule": "step",
                  "milestones": MILESTONES, "ema": 0.0,
                  "validate_every": 20 * PAIRS // BATCH},
        "evaluation": {"count": 0},
        "workers": 8,
        "init": "paper",
        "norm": "none",
    })  # fmt: skip


def photographs(dataset: str) -> NeidSettings:
    return override(quick(dataset), {
        "profile": "photographs",
        "rows": ("curve_refine",),
        "baselines": (*BASELINES, "lime", "mf"),
        # Of LOL's 485 pairs, 45 hold scenes enough to choose the weights by.
        "pairs": {"size": 96, "part": (0.4, 1.0), "val_count": 45,
                  "photographs": ("zero-dce-train", "camvid")},
        "train": {"steps": 6000, "planned_steps": 0, "batch_size": 4, "lr": 2e-3,
                  "lr_final": 2e-5, "schedule": "cosine", "milestones": (), "grad_clip": 1.0,
                  "validate_every": 1000, "precision": "auto"},
        "evaluation": {"protocols": PHOTOGRAPH_PROTOCOLS, "count": 50},
    })  # fmt: skip


class NeidStudy(PairedStudy):
    title = "NEID: light and detail from a quarter of the pixels"
    question = "Is a quarter of the pixels enough, and does the detail branch help?"
    profiles = {
        "smoke": smoke, "quick": quick, "reference": reference, "paper": paper,
        "photographs": photographs,
    }  # fmt: skip
    trained_labels = ("neid", *ABLATIONS, f"neid+{SEQUENCE}", f"neid+{OWN_LOSS}")
    unpaired_sets = ("lime", "npe", "dicm")  # Figs. 6, 7, 8
    settings: NeidSettings

    def at_use(self, model: nn.Module) -> nn.Module:
        return model.deploy() if isinstance(model, NEID) else model  # without the DR decoder

    def trained_row(self, label: str, seed: int) -> Row:
        _, variant = split_label(label)
        settings, title = self.settings, TITLES.get(variant, "")
        loss = settings.loss
        if variant == OWN_LOSS:
            variant, loss = "", replace(loss, **OURS)
        options = {"variant": variant} | {n: getattr(settings, n) for n in ("init", "bias", "norm")}
        if variant != SEQUENCE:
            return Row(label, "neid", options, self.trained(loss=loss), seed, title=title)
        # Super-resolution is what the light branch does, given a bright image.
        options |= {"variant": "LE"}
        trained = self.trained(self.sequence_experiment, loss=loss)
        unet = self.trained_row(f"neid+{UNET}", seed)
        return Row(label, "neid", options, trained, seed, (unet,), sequence, title=title)

    def objective(self, row: Row, *needed: nn.Module) -> Objective:
        return partial(neid_loss, **asdict(row.given["loss"]))

    @cached_property
    def detail_set(self) -> tuple[TestSet, str]:
        """Images of Fig. 9, and why they are not FiveK's; "" where they are."""
        why = ""
        try:
            data = open_other(self.settings, FIVEK)
        except Absent as error:
            data, why = open_dataset(BUILTIN, "test", size=256, count=8), str(error)
        data = Bounded(data, LONG_SIDE)
        name = BUILTIN if why else FIVEK
        return TestSet(name, data, partial(ImageQuality, ()), kind="details", rows=enhanced), why

    def sequence_experiment(self, row: Row, _unet: nn.Module) -> Experiment:
        """The super-resolution network is trained on normal-light images only."""
        experiment = self.paired_experiment(row)
        validate = experiment.validate and self.validation(NormalLight(self.val_pairs))
        data = self.crops_of(NormalLight(self.train_pairs))
        return replace(experiment, data=data, validate=validate)


def sequence(enlarge: NEID, brighten: NEID) -> BrightenThenEnlarge:
    """Both networks as they are used, one after the other."""
    return BrightenThenEnlarge(brighten, enlarge)
