"""Paper 3's saliency (Table IX): which pictures, which network reads them, which numbers.

Neither the dark pictures, chosen by hand, nor the network's weights are here, so drawn streets by
night stand in, read by a small network that is trained on them by day; ECSSD, darkened, where a
copy is given, is read by one that is trained on its other part. VST reads with its released file.
"""

from functools import lru_cache

import torch
from torch.utils.data import Dataset

from llie_core.data import open_dataset
from llie_core.data.darkening import DarkeningRange
from llie_core.data.wrappers import Augmented, Cached, Darkened, Resized
from llie_core.losses.task_driven import TaskLoss
from llie_core.metrics import psnr
from llie_core.metrics.protocols import load_protocols
from llie_core.metrics.saliency import SaliencyScores
from llie_core.recipes.base import Measured
from llie_core.recipes.further import open_further, opened
from llie_core.recipes.paired_scores import MAIN
from llie_core.recipes.recognizer_training import recognizer_experiment
from llie_core.recognizers import Recognizer
from llie_core.runs import RunKey
from llie_core.training import Experiment

SALIENCY = (
    "builtin-streets", "ecssd", "saliency-rgb-low-light", "saliency-rgbd-low-light",
    "saliency-rgbt-low-light",
)  # fmt: skip
SALIENCY_NET, SALIENCY_ROWS = "saliency_net", ("identity", "gamma", "clahe", "jcrnet")
# Measure of Table IX → protocol; which E-measure is meant the paper does not say.
MEASURES = {
    "mae": "sal-mae",
    "max_f": "sal-max-f",
    "avg_f": "sal-avg-f",
    "weighted_f": "sal-weighted-f",
    "s_measure": "sal-s",
    "e_measure": "sal-max-e",
}


def saliency_experiment(key: RunKey, recognizer: Recognizer, settings) -> Experiment:
    """The training of the network that reads, on pictures by day."""
    data = Augmented(_by_day(settings, key.dataset), flips="horizontal")
    code = ("llie_core.recognizers.saliency_net", "llie_core.losses.task_driven",
            "llie_core.synthetic.streets", "llie_core.data.transforms")  # fmt: skip
    objective = TaskLoss(recognizer, saliency_masks)
    return recognizer_experiment(key, recognizer, objective, data, settings, "saliency", code)


def _by_day(settings, name: str) -> Dataset:
    if name == SALIENCY[0]:
        return _streets("train", "day", settings.saliency_size, settings.saliency_train)
    return _at_size(settings, name, "train")


def saliency_sets(settings) -> tuple[dict[str, Dataset], dict[str, str]]:
    """The dark test sets of Table IX that there are, and why the others are not."""
    return opened(settings.saliency, lambda name: _dark_set(settings, name))


def _dark_set(settings, name: str) -> Dataset:
    if name == SALIENCY[0]:
        return _streets("test", "night", settings.saliency_size, settings.saliency_test)
    if settings.saliency_model == SALIENCY_NET:
        open_further(settings, "ecssd", "train")  # what the network is trained on
    data = _at_size(settings, name, "test")
    return Darkened(data, DarkeningRange()) if name == "ecssd" else data


def _at_size(settings, name: str, split: str) -> Dataset:
    return Resized(open_further(settings, name, split), settings.saliency_size, quantised=True)


def saliency_masks(batch: dict) -> torch.Tensor:
    """The targets of a saliency network."""
    return batch["mask"]


def read_saliency(recognizer, model, batches, device, bright: bool):
    """The six measures of what a network finds in enhanced pictures, and each picture's own.

    bright: the scene by day is read in place of the dark picture.
    """
    whole, quality, images = SaliencyScores(), [], []
    for batch in batches:
        source = batch["target" if bright else "image"]
        output = model.enhance(source.to(device))
        found, masks = recognizer.predict(output), batch["mask"].to(device)
        whole.update(found, masks)
        if "target" in batch and not bright:
            quality += psnr(output, batch["target"].to(device)).tolist()
        images += [
            {"name": name, "salient": f"{f.mean():.5f}", "mask": f"{m.mean():.5f}"}
            for name, f, m in zip(batch["name"], found, masks, strict=True)
        ]
    computed, n = whole.compute(), len(images)
    errors = whole.per_image()["mae"].tolist()
    images = [{**row, "mae": f"{e:.5f}"} for row, e in zip(images, errors, strict=True)]
    scores = []
    for metric, protocol in MEASURES.items():
        p = load_protocols()[protocol]
        scores.append(Measured(metric, "all", computed[p.metric], p.unit, p.direction, n, protocol))
    if quality:
        scores.append(Measured("psnr", "all", sum(quality) / n, "dB", "higher", n, MAIN["psnr"]))
    return scores, images


# A report reads the same streets for every row, so they stay in memory.
@lru_cache(maxsize=2)
def _streets(split: str, light: str, size: tuple[int, int], count: int) -> Dataset:
    about = {"size": size, "count": count, "light": light, "task": "saliency"}
    return Cached(open_dataset(SALIENCY[0], split, **about))
