"""Paper 4: DRGN and LW-DRGN, degradation learned first, then refinement.

Two trainings a row. The first (DeG, a run of its own: "drgn_degradation") learns what darkness did
to a picture; the second loads it, freezes it, and trains the refinement on the given pairs and on
pairs that the first one makes from normal-light pictures of another set. Rows:

    identity, gamma, clahe      nothing learned; an external folder: the paper's rivals
    drgn, lw_drgn               the paper's losses as printed
    drgn+w/o DL-DA … w/o SSIM   Table 1; "w/o SSIM" shares the first training of the whole model
    drgn+anchored, lw_…         ours: the first training also holds I_L − I_D to the normal-light
                                picture, for the printed loss alone lets I_D collapse to a constant

Every row is then scored on what of the paper's other sets the folder `no_reference` holds, and
before a frozen object detector (drgn_detection.py).

Differs from the paper:
- crops are of random place, not the cells of a 96×96 grid; "scaling" is a factor of 1 to 1.25;
- both trainings start with the full learning rate;
- the reference pictures, whose set is not named, are normal-light photographs that come with the
  environment, or those of a folder (`reference`);
- weights are chosen by validation pairs; the paper does not say how its epoch was.
"""

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from llie_core.data import collate, open_dataset
from llie_core.data.dark_faces import Darkener
from llie_core.data.darkening import quantise
from llie_core.data.unpaired import ImageFolder
from llie_core.data.wrappers import Augmented, Cached, WithReference
from llie_core.files import project_root
from llie_core.losses.degradation import (
    SSIM_WEIGHT,
    DegradationObjective,
    RefinementObjective,
)
from llie_core.losses.paired import structural_similarity
from llie_core.models import create_enhancer
from llie_core.models.drgn import VARIANTS, Discriminators, TwoStep
from llie_core.recipes.base import Scoring
from llie_core.recipes.drgn_detection import (
    DETECTOR,
    DetectionSet,
    detect,
    detection_sets,
    detector_experiment,
    detector_of,
)
from llie_core.recipes.further import open_further, opened
from llie_core.recipes.paired import QUICK_PROTOCOLS, PairedRecipe, PairedSettings
from llie_core.recipes.paired_scores import MAIN
from llie_core.reporting.scores import Score, select, summarise
from llie_core.runs import Run, RunKey, file_hash
from llie_core.training import Experiment, load_weights

DEGRADATION = "_degradation"  # ends the model's name in the key of a first training
ANCHORED, ANCHOR_WEIGHT = "anchored", 1.0
ABLATIONS = tuple(f"drgn+{variant}" for variant in VARIANTS if variant)  # of Table 1
PAIRS = ("test148", "lol1000", "voc144")  # of Table 2
REAL = ("dicm", "mef")  # the two public sets of which Table 3 has 63 pictures, not listed
REAL_NAME = "dicm+mef"
# 480 pairs of 400×600 hold 24 patches of 96×96 each: 720 steps of 16 an epoch, 20 and 40 epochs.
DEGRADATION_STEPS, REFINEMENT_STEPS, DECAY_EVERY = 20 * 720, 40 * 720, 6000


@dataclass(frozen=True)
class DrgnSettings(PairedSettings):
    """Settings of DRGN.

    degradation_steps: of the first training, `steps` being those of the second; reference:
    "builtin-photos" or a folder of normal-light pictures, I_ref; scale: range of a random factor on
    the training pictures' sides; val_size: side of the crops by which weights are chosen, 0 for
    whole pictures; lol_parts: "official" or "480/20", the paper's numbers of pairs; no_reference:
    folder of all further test sets.
    street_size (H, W), street_train, street_test: drawn streets; detector_*: training of the
    detector on them; detection_data: folder that holds COCO and ExDark; yolov4_weights: the
    authors' yolov4.weights, without which nothing is detected in those; detection_size: (H, W) to
    which their pictures are brought; detection_count: how many of each, 0 for all.
    """

    models: tuple[str, ...] = ("drgn", "lw_drgn", "lw_drgn+anchored")
    planned_steps: int = REFINEMENT_STEPS
    degradation_steps: int = 100
    turns: str = "horizontal"
    reference: str = "builtin-photos"
    scale: tuple[float, ...] = (1.0, 1.25)
    val_size: int = 0
    lol_parts: str = "official"
    cost_size: tuple[int, ...] = (384, 384)
    street_size: tuple[int, ...] = (96, 192)
    street_train: int = 128
    street_test: int = 16
    detector_steps: int = 300
    detector_batch: int = 4
    detector_lr: float = 3e-3
    detection_data: str = ""
    yolov4_weights: str = ""
    detection_size: tuple[int, ...] = (480, 640)
    detection_count: int = 0

    def __post_init__(self):
        super().__post_init__()
        for name in ("scale", "street_size", "detection_size"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name}: give two values")
        if self.dataset == "builtin-photos" and self.lol_parts != "official":
            raise ValueError("lol_parts: the built-in pairs have one split only")


_QUICK = DrgnSettings(
    "builtin-photos", "quick", size=32, batch_size=4, degradation_steps=80, steps=120, lr=1e-3,
    lr_final=1e-5, validate_every=40, val_count=4, val_size=96, test_count=8, test_size=128,
    protocols=(*QUICK_PROTOCOLS, MAIN["fsim"]),
)  # fmt: skip
_LOL = replace(
    _QUICK, dataset="lol", protocols=(), val_count=15, street_size=(128, 256), street_train=512,
    street_test=64, detector_steps=1500, detector_batch=8,
)  # fmt: skip
PROFILES = {
    "smoke": replace(
        _QUICK, profile="smoke", size=16, train_count=4, val_count=2, val_size=16, test_count=2,
        test_size=48, steps=2, degradation_steps=2, batch_size=2, validate_every=2,
        protocols=QUICK_PROTOCOLS, cost_size=(32, 48), street_size=(32, 64), street_train=2,
        street_test=2, detector_steps=2, detector_batch=2,
    ),
    "quick": _QUICK,
    "reference": replace(
        _LOL, profile="reference", models=("drgn", "lw_drgn"), size=64,
        degradation_steps=300, steps=600, lr=5e-4, validate_every=100, val_size=128,
    ),
    "paper": replace(
        _LOL, profile="paper", models=("drgn", "lw_drgn", *ABLATIONS, "drgn+anchored"), size=96,
        lol_parts="480/20", batch_size=16, degradation_steps=DEGRADATION_STEPS,
        steps=REFINEMENT_STEPS, lr=5e-4, schedule="step", decay=0.9,
        milestones=tuple(range(DECAY_EVERY, REFINEMENT_STEPS, DECAY_EVERY)), validate_every=1440,
        workers=8,
    ),
}  # fmt: skip


class DrgnRecipe(PairedRecipe):
    name = "drgn"
    title = "DRGN: learn the degradation, take it off, refine"
    profiles = PROFILES
    datasets = ("builtin-photos", "lol")
    trained_rows = ("drgn", "lw_drgn", *ABLATIONS, "drgn+anchored", "lw_drgn+anchored")
    loss_code = ("llie_core.losses.degradation", "llie_core.data.wrappers")
    stands_for = "lol1000"
    no_reference_sets = REAL
    no_reference_protocols = ("niqe-live", "sseq-live")

    def network(self, model: str, variant: str, settings: DrgnSettings) -> TwoStep:
        options = {"variant": "" if variant == ANCHORED else variant} if model == "drgn" else {}
        return create_enhancer(model, **options)

    def build(self, key: RunKey, settings: DrgnSettings) -> nn.Module:
        torch.manual_seed(key.seed)
        if key.model == DETECTOR:
            return detector_of(settings, frozen=False)
        if key.model.endswith(DEGRADATION):
            model = key.model.removesuffix(DEGRADATION)
            return self.network(model, key.variant, settings).degradation_stage()
        return super().build(key, settings)

    # Keys --------------------------------------------------------------------------------------

    def degradation_key(self, key: RunKey) -> RunKey | None:
        """The first training that a row builds on; "w/o DL-DA" has none."""
        if key.variant == "w/o DL-DA":
            return None
        # SSIM belongs to the second training.
        variant = "" if key.variant == "w/o SSIM" else key.variant
        return replace(key, model=key.model + DEGRADATION, variant=variant)

    def detector_key(self, settings: DrgnSettings) -> RunKey:
        """The run that trains the detector on drawn streets by day, shared by all rows."""
        return RunKey(self.name, "builtin-streets", settings.profile, DETECTOR)

    def parse_key(self, settings, model: str, variant: str, seed: int) -> RunKey:
        if model == DETECTOR:
            return self.detector_key(settings)
        if not model.endswith(DEGRADATION):
            return super().parse_key(settings, model, variant, seed)
        row = super().parse_key(settings, model.removesuffix(DEGRADATION), variant, seed)
        key = self.degradation_key(row)
        if key is None:
            raise ValueError(f"drgn: {row.method} learns no degradation")
        return key

    def is_trained(self, key: RunKey) -> bool:
        return not self.is_scored(key) or super().is_trained(key)

    def is_scored(self, key: RunKey) -> bool:
        return key.model != DETECTOR and not key.model.endswith(DEGRADATION)

    def is_papers_own(self, settings: DrgnSettings) -> bool:
        # Its tables have no numbers on LOL itself; the sets that they are of are judged apart.
        return False

    # Data --------------------------------------------------------------------------------------

    def pairs(self, settings: DrgnSettings, split: str) -> Dataset:
        if settings.dataset == "lol":
            data = _lol(settings.lol_parts, split, settings.data, settings.val_count)
        else:
            data = super().pairs(settings, split)
        return Augmented(data, settings.val_size) if split == "val" and settings.val_size else data

    def references(self, settings: DrgnSettings) -> Dataset:
        """Normal-light pictures I_ref, of none of the training pairs."""
        if settings.reference != "builtin-photos":
            return ImageFolder(project_root() / settings.reference)
        # As large as the built-in pairs, which show half a photograph; larger beside real ones.
        size = settings.size if settings.dataset == "builtin-photos" else 256
        return _references(size, settings.train_count)

    def train_data(self, settings: DrgnSettings) -> Dataset:
        pairs = Augmented(
            self.pairs(settings, "train"), settings.size, settings.turns, settings.scale
        )
        return WithReference(pairs, self.references(settings), settings.turns)

    # Training ----------------------------------------------------------------------------------

    def experiment(self, key: RunKey, settings: DrgnSettings) -> Experiment:
        if key.model == DETECTOR:
            return detector_experiment(key, self.build(key, settings), settings)
        if key.model.endswith(DEGRADATION):
            return self._degradation_experiment(key, settings)
        experiment = replace(super().experiment(key, settings), collate=collate_references)
        first = self.degradation_key(key)
        if first is not None:
            model = experiment.model
            load_weights(model.degradation_stage(), Run(first).weights_path)
            model.g_de.requires_grad_(False)
            # The synthetic pairs pass through the network that is being trained.
            experiment.objective.drgn = model
        return experiment

    def objective(self, key: RunKey, settings: DrgnSettings) -> RefinementObjective:
        without = key.variant == "w/o SSIM"
        ssim, weight = (None, 0.0) if without else (structural_similarity, SSIM_WEIGHT)
        return RefinementObjective(ssim, ssim_weight=weight)

    def loss_identity(self, key: RunKey, settings: DrgnSettings) -> dict:
        """The network, the SSIM weight, the hash of the first training's weights (trained now if
        need be), and the pairs that choose the weights."""
        first = self.degradation_key(key)
        return {
            "network": key.method,
            "ssim_weight": 0.0 if key.variant == "w/o SSIM" else SSIM_WEIGHT,
            "degradation": file_hash(self.fit(first, settings).weights_path) if first else "",
            "validation": self.pairs(settings, "val").describe(),
        }

    def _degradation_experiment(self, key: RunKey, settings: DrgnSettings) -> Experiment:
        stage, data = self.build(key, settings), self.train_data(settings)
        torch.manual_seed(key.seed)
        weights = {
            "kl_weight": 0.0 if key.variant == "w/o KL" else 1.0,
            "anchor_weight": ANCHOR_WEIGHT if key.variant == ANCHORED else 0.0,
        }
        steps = settings.degradation_steps
        return Experiment(
            key=key,
            model=stage,
            objective=DegradationObjective(stage.g_de, Discriminators(), **weights),
            data=data,
            collate=collate_references,
            settings=replace(self.train_settings(key, settings), steps=steps, validate_every=0),
            identity={"data": data.describe(), "network": key.method, **weights},
            code=("llie_core.models.drgn", *self.loss_code, "llie_core.data.transforms"),
            planned_steps=DEGRADATION_STEPS,
        )

    # Further test sets -------------------------------------------------------------------------

    def further_sets(self, settings: DrgnSettings) -> tuple[dict[str, Dataset], dict[str, str]]:
        """The sets of Tables 2 and 3 that the folder holds, and why the others are not there."""
        found, lacking = self.no_reference_data(settings)
        pairs, absent = opened(PAIRS, partial(open_further, settings))
        return found | pairs, lacking | absent

    def further_scores(self, settings: DrgnSettings, device=None) -> list[Score]:
        """Every row on every further set; each score names its set, DICM and MEF also as one."""
        scores = self.no_reference_scores(settings, device)
        for name, data in self.further_sets(settings)[0].items():
            for key in self.rows(settings) if name in PAIRS else ():
                scores += self.evaluate_on(
                    key, settings, name, data, self.protocols(settings), device
                )
        return scores + _pooled(scores)

    # Detection ---------------------------------------------------------------------------------

    def detector(self, settings: DrgnSettings, name: str) -> tuple[nn.Module, str]:
        """A frozen detector and the hash of its weights; ours is trained first if need be."""
        if name == DETECTOR:
            path = self.fit(self.detector_key(settings), settings).weights_path
            detector = detector_of(settings, frozen=False)
            load_weights(detector, path)
            return detector.freeze(), file_hash(path)
        path = project_root() / settings.yolov4_weights
        detector = detector_of(settings, frozen=False, name=name)
        detector.load_darknet_weights(path)
        return detector.freeze(), file_hash(path)

    def detection_scores(self, settings: DrgnSettings, device=None) -> list[Score]:
        """Table 4's numbers of every row, and of the scene by day, on each detection set."""
        scores = []
        keys = [*self.rows(settings), self.key(settings, "original")]
        for one in detection_sets(settings)[0]:
            detector, weights = None, ""
            if one.detector:
                detector, weights = self.detector(settings, one.detector)
            for key in keys:
                if key.model != "original" or one.paired:
                    scores += self._detected(key, settings, one, detector, weights, device)
        return scores

    def _detected(self, key, settings, one: DetectionSet, detector, weights, device):
        """One row on one detection set, read back if nothing changed."""
        data = self.further_row_data(key, settings, one.name, one.data)
        if data is None:
            return []
        by_day = key.model == "original"
        scoring = Scoring(
            lambda model, device: detect(model, detector, data, one.protocols, device, by_day),
            data=data.describe(),
            test={"detector": weights, "protocols": list(one.protocols)},
            file=f"detection-{one.name}",
            code=(__name__, "llie_core.recipes.drgn_detection", "llie_core.metrics.detection"),
            about={"dataset": one.name, "split": "test", "recognizer": one.detector},
        )
        return self.scored_once(key, settings, scoring, device)

    def headline(self, scores: list[Score]) -> str:
        parts = []
        for row in ("drgn", "lw_drgn", "gamma", "identity"):
            psnrs = [s.value for s in select(scores, label=row, metric="psnr")]
            if psnrs:
                parts.append(f"{row} {summarise(psnrs):.2f}")
        return f"PSNR, dB: {', '.join(parts)}" if parts else "nothing was scored"


# The generator as a tool -----------------------------------------------------------------------


def degradation_darkener(
    model: TwoStep, lows: Dataset, strength: tuple[float, float] = (0.5, 1.5)
) -> Darkener:
    """Darkening by a trained DRGN or LW-DRGN, for `write_pairs`: pairs without end (Sec. 2.3).

    Args:
        model: on the CPU, trained.
        lows: low-light pictures (items with `image` and `name`) whose degradations are taken.
        strength: range from which each picture's is drawn; (1, 1) is as learned.
    """
    if not 0 <= strength[0] <= strength[1]:
        raise ValueError(f"strength {strength}: give a rising range from 0 up")

    def apply(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
        low = lows[int(rng.integers(len(lows)))]
        amount, place = round(float(rng.uniform(*strength)), 4), int(rng.integers(2**31))
        dark = model.darken(
            torch.from_numpy(image)[None], low["image"][None], amount,
            torch.Generator().manual_seed(place),
        )[0]  # fmt: skip
        about = {"degradation_of": low["name"], "strength": amount, "seed": place}
        return quantise(dark.numpy()), about

    return apply


def collate_references(items: list[dict]) -> dict[str, Tensor]:
    """`collate`, with the reference pictures stacked too."""
    batch = collate(items)
    return batch | {"reference": torch.stack(batch["reference"])}


def _pooled(scores: list[Score]) -> list[Score]:
    """The mean over the pictures of DICM and MEF together, where a row was scored on both."""
    groups: dict[tuple, list[Score]] = {}
    for score in scores:
        if score.dataset in REAL:
            groups.setdefault((score.run, score.metric), []).append(score)
    pooled = []
    for of in groups.values():
        n = sum(score.n for score in of)
        value = sum(score.n * score.value for score in of) / n
        if len(of) == len(REAL):
            pooled.append(replace(of[0], dataset=REAL_NAME, value=value, n=n))
    return pooled


@lru_cache(maxsize=3)
def _lol(parts: str, split: str, root: str, val: int) -> Dataset:
    return Cached(open_dataset("lol", split, root, protocol=parts, val=val))


@lru_cache(maxsize=2)
def _references(size: int, count: int) -> Dataset:
    # Another seed than that of the training pairs: other parts of the photographs.
    return Cached(open_dataset("builtin-photos", "train", size=size, count=count, seed=1))
