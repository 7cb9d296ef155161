"""The two tasks of paper 1: which data, which recognizer, which number.

A task hands the recipe data sets (`light` "day" or "night"), the recognizer, its targets, and the
scores of an enhancer before the frozen recognizer.
"""

from abc import ABC, abstractmethod
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from llie_core.data import collate, open_dataset
from llie_core.data.pose import to_image
from llie_core.data.wrappers import Augmented, Cached, MeanScaled, Resized
from llie_core.losses.task_driven import TaskLoss
from llie_core.metrics import psnr
from llie_core.metrics.pose import KeypointAP
from llie_core.metrics.segmentation import SegmentationIoU
from llie_core.recipes.base import Measured
from llie_core.recognizers import Recognizer, create_recognizer

SUBSETS = ("LL-N", "LL-H", "LL-E")
# Validation frames are carved from train and stay unused here: nothing is selected by them.
SPLITS = {"nightcity": {"test": "val"}, "cityscapes": {"test": "val"}}


class Task(ABC):
    """What a recognition task is made of; `settings` are the recipe's."""

    name: str
    metric: str  # the number that its tables print
    code: tuple[str, ...]  # modules that decide a training, the enhancer's aside

    def augmented(self, data: Dataset) -> Dataset:
        """A training set as batches are drawn from it."""
        return data

    @abstractmethod
    def recognizer(self, settings, frozen: bool = True) -> Recognizer:
        """The untrained recognizer."""

    @abstractmethod
    def recognizer_objective(self, recognizer: Recognizer):
        """The objective of the recognizer's own training."""

    @abstractmethod
    def recognizer_data(self, settings) -> Dataset:
        """What the recognizer is trained on."""

    @abstractmethod
    def targets(self, batch: dict) -> object:
        """The recognizer's targets in a batch."""

    @abstractmethod
    def score(self, recognizer, model, batches, device, light="night") -> tuple[list, list]:
        """Numbers of `model` before `recognizer` on test batches, and what stands behind them."""

    @abstractmethod
    def data(self, settings, split: str, light: str) -> Dataset:
        """One split by day or by night, as it is scored."""


class Segmentation(Task):
    """DeepLabV3+ trained by day (Cityscapes), tested at night (NightCity); mIoU."""

    name, metric = "segmentation", "miou"
    code = ("llie_core.recognizers.deeplabv3plus",)

    def recognizer(self, settings, frozen: bool = True) -> Recognizer:
        classes = len(class_names(settings.dataset))
        return create_recognizer(
            settings.recognizer, frozen=frozen, classes=classes, encoder=settings.backbone
        )

    def recognizer_objective(self, recognizer: Recognizer) -> TaskLoss:
        return TaskLoss(recognizer, self.targets)

    def recognizer_data(self, settings) -> Dataset:
        return self.augmented(self.data(settings, "train", "day"))

    def augmented(self, data: Dataset) -> Dataset:
        return Augmented(data, flips="horizontal")

    def targets(self, batch: dict) -> Tensor:
        return batch["mask"]

    def data(self, settings, split: str, light: str) -> Dataset:
        if settings.dataset == "builtin-streets":
            count = settings.train_count if split == "train" else settings.test_count
            return _streets("builtin-streets", split, light, settings.size, count)
        if settings.dataset == "camvid":
            subset = "day" if light == "day" else "dusk"
            return _camvid(settings.data, split, subset, settings.size)
        name, root = "nightcity", settings.data
        if light == "day":
            name, root = "cityscapes", settings.day_data
        official = SPLITS[name].get(split, split)
        return Resized(open_dataset(name, official, root), settings.size)

    def score(self, recognizer, model, batches, device, light="night"):
        names = class_names_of(recognizer)
        whole, rows, brightness, quality = SegmentationIoU(recognizer.classes), [], [], []
        for batch in batches:
            source = batch["target"] if light == "original" else batch["image"]
            output = model.enhance(source.to(device))
            predicted, masks = recognizer.predict(output), batch["mask"].to(device)
            whole.update(predicted, masks)
            brightness += output.mean((1, 2, 3)).tolist()
            if "target" in batch and light != "original":
                quality += psnr(output, batch["target"].to(device)).tolist()
            rows += [
                _image_row(*one, recognizer.classes)
                for one in zip(batch["name"], predicted, masks, strict=True)
            ]
        n, found = len(rows), whole.compute()
        subset = "day" if light == "day" else "all"
        scores = [Measured("miou", subset, found["miou"], "fraction", "higher", n, "seg-miou")]
        scores += [
            Measured("iou", name, value, "fraction", "higher", n, "seg-iou-class")
            for name, value in zip(names, found["per_class"].tolist(), strict=True)
            if value == value and light != "day"  # NaN: neither in the truth nor predicted
        ]
        return scores + _picture_scores(brightness, quality, light), rows


class Pose(Task):
    """The cascaded pyramid network of Lee et al. on ExLPose, both lights; OKS AP by darkness."""

    name, metric = "pose", "ap"
    code = ("llie_core.recognizers.cpn",)

    def recognizer(self, settings, frozen: bool = True) -> Recognizer:
        return create_recognizer(
            settings.recognizer, frozen=frozen, joints=14, backbone=settings.backbone
        )

    def recognizer_objective(self, recognizer: Recognizer) -> "BothLights":
        return BothLights(recognizer, self.targets)

    def recognizer_data(self, settings) -> Dataset:
        return self.data(settings, "train", "night")  # with the well-lit crop as its target

    def targets(self, batch: dict) -> dict[str, Tensor]:
        return {"joints": batch["joints"]}

    def data(self, settings, split: str, light: str) -> Dataset:
        if settings.dataset == "builtin-streets-pose":
            count = settings.train_count if split == "train" else settings.test_count
            data = _streets("builtin-streets-pose", split, light, settings.size, count)
        else:
            lit = {"light": "low", "paired": True} if light == "night" else {"light": "well"}
            data = open_dataset("exlpose", split, settings.data, missing=settings.missing, **lit)
        return MeanScaled(data) if settings.scale_input and light == "night" else data

    def score(self, recognizer, model, batches, device, light="night"):
        gathered, rows, brightness, quality = KeypointAP("exlpose"), [], [], []
        images: dict = {}
        bright = light in ("day", "original")
        for batch in batches:
            source = batch["target"] if light == "original" else batch["image"]
            output = model.enhance(source.to(device))
            found = recognizer.predict(output, light="well" if bright else "low")
            joints, size = found["joints"].cpu(), output.shape[-2:]
            places = to_image(joints, batch["region"], size)
            truth = to_image(batch["joints"], batch["region"], size)
            ids, scores = batch["image_id"], found["scores"].cpu()
            gathered.update(
                {"image_ids": ids, "joints": places, "scores": scores},
                {"image_ids": ids, "joints": truth, "boxes": torch.stack(batch["boxes"])},
            )
            images |= dict(zip(ids, batch["subset"], strict=True))
            brightness += output.mean((1, 2, 3)).tolist()
            if "target" in batch and light != "original":
                quality += psnr(output, batch["target"].to(device)).tolist()
            rows += [
                {"name": name, "subset": subset, "confidence": f"{score:.4f}"}
                for name, subset, score in zip(batch["name"], batch["subset"], scores, strict=True)
            ]
        measured = []
        for subset in ("LL-A", *SUBSETS):
            chosen = [i for i, s in images.items() if subset in ("LL-A", s)]
            if chosen and not (light == "day" and subset != "LL-A"):
                ap, n = gathered.compute(chosen)["ap"], len(chosen)
                label = "day" if light == "day" else subset
                protocol = "pose-oks-ap-exlpose"
                measured.append(Measured("ap", label, ap, "fraction", "higher", n, protocol))
        return measured + _picture_scores(brightness, quality, light), rows


TASKS: dict[str, Task] = {
    "builtin-streets": Segmentation(),
    "camvid": Segmentation(),
    "nightcity": Segmentation(),
    "builtin-streets-pose": Pose(),
    "exlpose": Pose(),
}


class BothLights:
    """The pose recognizer's own objective: its loss in low light and in good light, summed.

    Each light passes through its own batch norm (Lee et al.'s light-specific batch norm).
    """

    def __init__(self, recognizer: Recognizer, targets):
        self.recognizer, self.targets = recognizer, targets

    def __call__(self, outputs: dict, batch: dict) -> dict[str, Tensor]:
        targets = self.targets(batch)
        low = self.recognizer.loss(outputs["image"], targets, light="low")
        well = self.recognizer.loss(batch["target"], targets, light="well")
        return {
            "total": low["total"] + well["total"],
            "low_light": low["total"],
            "well_lit": well["total"],
        }


class Pipeline(nn.Module):
    """Enhancer and recognizer as one network, for their cost."""

    def __init__(self, enhancer: nn.Module, recognizer: Recognizer):
        super().__init__()
        self.enhancer, self.recognizer = enhancer, recognizer

    def forward(self, x: Tensor) -> object:
        return self.recognizer.predict(self.enhancer(x))


def class_names(dataset: str) -> tuple[str, ...]:
    """The classes of a segmentation set, by id."""
    from llie_core.data.camvid import CAMVID_CLASSES
    from llie_core.data.segmentation import CITYSCAPES_CLASSES

    return CAMVID_CLASSES if dataset == "camvid" else CITYSCAPES_CLASSES


def class_names_of(recognizer: Recognizer) -> tuple[str, ...]:
    """The classes that a recognizer of this size tells apart."""
    return class_names("camvid" if recognizer.classes == 11 else "cityscapes")


def test_batches(data: Dataset, batch_size: int, workers: int) -> DataLoader:
    return DataLoader(data, batch_size=batch_size, collate_fn=collate, num_workers=workers)


def _image_row(name: str, predicted: Tensor, mask: Tensor, classes: int) -> dict:
    """One picture's own mIoU, over the classes that occur in it; empty without labelled pixels."""
    one = SegmentationIoU(classes)
    one.update(predicted[None], mask[None])
    labelled = bool((mask != one.ignore_index).any())
    return {"name": name, "miou": f"{one.compute()['miou']:.4f}" if labelled else ""}


def _picture_scores(brightness: list[float], quality: list[float], light: str) -> list[Measured]:
    """Mean brightness of what the recognizer saw, and PSNR where the scene by day is known."""
    if light == "day":
        return []
    n = len(brightness)
    mean = sum(brightness) / n
    scores = [Measured("brightness", "all", mean, "fraction", "higher", n, "brightness")]
    if quality:
        mean = sum(quality) / len(quality)
        scores.append(Measured("psnr", "all", mean, "dB", "higher", n, "psnr-rgb-float"))
    return scores


# Small sets stay in memory: every row of a report reads the same pictures.
@lru_cache(maxsize=6)
def _streets(name: str, split: str, light: str, size: tuple, count: int) -> Dataset:
    data = open_dataset(name, split, size=size, count=count, light=light)
    # Crops of persons are resized, so they have to be rounded before they are kept as 8 bits.
    return Cached(data if name == "builtin-streets" else Resized(data, size, quantised=True))


@lru_cache(maxsize=6)
def _camvid(root: str, split: str, subset: str, size: tuple) -> Dataset:
    return Cached(Resized(open_dataset("camvid", split, root, subset=subset), size, quantised=True))
