"""Data sets over data sets: random crops for training, one size, several as one, kept in memory."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from llie_core.data.darkening import Darkening, DarkeningRange, darken, quantise
from llie_core.data.synthesis import generator
from llie_core.data.transforms import flip, random_crop, random_part, resize
from llie_core.dataset import SizedDataset
from llie_core.imaging import linear_to_srgb, luma, srgb_to_linear
from llie_core.names import check_choice

# Name of an augmentation → the kinds of `flip` it draws from.
FLIPS = {"none": (0,), "horizontal": (0, 4), "all": tuple(range(8))}


class Wrapped(Dataset):
    """A data set over another one; `change` is recorded beside the source's own description."""

    def __init__(self, source: SizedDataset, **change: object):
        self.source, self.change = source, change

    def __len__(self) -> int:
        return len(self.source)

    @property
    def names(self) -> list[str]:
        """Names of the items, where the source knows them without reading any."""
        return self.source.names

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        return {"source": self.source.describe(), type(self).__name__: self.change}


class Drawn(Wrapped):
    """Random parts for training: `sample(index, draw)` depends on seed and draw alone."""

    def __getitem__(self, index: int) -> dict:
        return self.sample(index, index)


def _flipped(item: dict, flips: str, rng: np.random.Generator) -> dict:
    """The item under one of the symmetries of FLIPS[flips]."""
    kinds = FLIPS[flips]
    return flip(item, kinds[int(rng.integers(len(kinds)))])


class Augmented(Drawn):
    """Random scales, crops and flips.

    Args:
        size: side of the square crop in pixels, None for whole images.
        flips: "none", "horizontal" (mirrored half of the time) or "all" (eight symmetries).
        scale: range of a random factor on height and width. With a size only the crop is resized.
        part: range of the share of height and width that is cut out first and taken for the image.
        context: side of `context`, that image made small (means over areas), which goes with the
            crop for networks that estimate of the whole; 0 for none.
    """

    def __init__(
        self, source: SizedDataset, size: int | None = None, flips: str = "none",
        scale: tuple[float, float] = (1.0, 1.0), seed: int = 0,
        part: tuple[float, float] = (1.0, 1.0), context: int = 0,
    ):  # fmt: skip
        check_choice(FLIPS, flips=flips)
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale {scale} must be a rising range of positive factors")
        if not 0 < part[0] <= part[1] <= 1:
            raise ValueError(f"part {part} must be a rising range of shares, at most 1")
        small: dict[str, object] = {"context": context} if context else {}
        small |= {"part": list(part)} if part != (1.0, 1.0) else {}
        super().__init__(source, size=size, flips=flips, scale=list(scale), seed=seed, **small)
        self.size, self.flips, self.scale, self.seed = size, flips, scale, seed
        self.part, self.context = part, context

    def sample(self, index: int, draw: int) -> dict:
        rng = np.random.default_rng([self.seed, draw])
        item = _stored(self.source, index)
        if self.part != (1.0, 1.0):
            share = rng.uniform(*self.part)
            item = random_part(item, tuple(round(n * share) for n in item["image"].shape[1:]), rng)
        if self.context:
            whole = _unpack(item)["image"]
            item = item | {"context": F.adaptive_avg_pool2d(whole, self.context)}
        factor = rng.uniform(*self.scale) if self.scale != (1.0, 1.0) else 1.0
        if self.size is None:
            size = tuple(round(n * factor) for n in item["image"].shape[1:])
        else:
            size, part = (self.size, self.size), max(1, round(self.size / factor))
            item = random_crop(item, (part, part), rng)
        item = _unpack(item)
        if item["image"].shape[1:] != size:
            item = resize(item, size)
        return _flipped(item, self.flips, rng)


class WithReference(Drawn):
    """Training pairs, each with `reference`: a normal-light crop of another set, as large.

    Which image, where it is cut and how it is flipped depends on seed and draw alone, as in
    `Augmented`, but on a stream of its own.

    Args:
        source: crops, such as those of `Augmented`; of a set without `sample` the items.
        references: a set of normal-light images; of a paired one the targets are taken.
        flips: see `Augmented`.
    """

    _stream = 1  # apart from the draws of `Augmented`

    def __init__(
        self, source: SizedDataset, references: SizedDataset, flips: str = "none", seed: int = 0
    ):
        check_choice(FLIPS, flips=flips)
        super().__init__(source, references=references.describe(), flips=flips, seed=seed)
        self.references, self.flips, self.seed = references, flips, seed

    def sample(self, index: int, draw: int) -> dict:
        drawn = hasattr(self.source, "sample")
        item = self.source.sample(index, draw) if drawn else self.source[index]
        rng = np.random.default_rng([self._stream, self.seed, draw])
        other = _stored(self.references, int(rng.integers(len(self.references))))
        other = {"image": other.get("target", other["image"])}
        other = _unpack(random_crop(other, tuple(item["image"].shape[-2:]), rng))
        return item | {"reference": _flipped(other, self.flips, rng)["image"]}


class Darkened(Wrapped):
    """Normal-light images darkened by the physical model; `target` is the image before.

    How an item is darkened depends on seed and its name alone; its boxes and masks stay.
    """

    def __init__(self, source: SizedDataset, ranges: DarkeningRange, seed: int = 0):
        super().__init__(source, ranges=asdict(ranges), seed=seed)
        self.ranges, self.seed = ranges, seed

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        target = quantise(item["image"].numpy())
        parameters = self.ranges.draw(generator(self.seed, item["name"]))
        dark = torch.from_numpy(darken(target, parameters))
        about = {"target": torch.from_numpy(target), "darkening": parameters.as_dict()}
        return item | {"image": dark} | about


class DarkenedTo(Wrapped):
    """Images that exposure brings to a mean intensity: darker ones stay as they are.

    By the physical model, with noise between the ends of `DarkeningRange`, drawn by seed and name.

    Args:
        mean: of an image's three channels together, of 255, before the noise.
    """

    photons, read = 4000.0, 0.0005

    def __init__(self, source: SizedDataset, mean: float, seed: int = 0):
        super().__init__(source, mean=mean, photons=self.photons, read=self.read, seed=seed)
        self.mean, self.seed = mean, seed

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        image = item["image"].numpy()
        if image.mean() * 255 <= self.mean:
            return item
        exposure = self._exposure(image)
        noise = int(generator(self.seed, item["name"]).integers(2**31))
        parameters = Darkening(exposure, photons=self.photons, read=self.read, seed=noise)
        return item | {"image": torch.from_numpy(darken(image, parameters))}

    def _exposure(self, image: np.ndarray) -> float:
        """By bisection of its logarithm, to a part in 10,000."""
        low, high = 1e-6, 1.0
        while high / low > 1.0001:
            middle = (low * high) ** 0.5
            mean = linear_to_srgb(srgb_to_linear(image) * np.float32(middle)).mean() * 255
            low, high = (low, middle) if mean > self.mean else (middle, high)
        return high


# Shares of what `ForPhotographs` draws, and the ranges of what it darkens: as LOL's images are, and
# a little.
SHARES = {"pair": 0.55, "dark": 0.12, "normal": 0.15, "mild": 0.18}
MILD = DarkeningRange(
    exposure=(0.12, 0.6), gamma=(1.0, 1.1), white_balance=(0.85, 1.15), photons=(1000.0, 6000.0),
    read=(0.0003, 0.001),
)  # fmt: skip
NORMAL_MEANS = (0.25, 0.75)  # mean of an image that passes for one in normal light
SATURATION = (0.6, 2.5)  # factors on the difference of normal-light images from their luma


class ForPhotographs(Drawn):
    """Training pairs of an enhancer that is to be put before any photograph.

    A sample is a pair of low and normal light as it is; or a normal-light image, darkened as LOL's
    images are or a little; or one as it is, to be left as it is (`SHARES`). Which depends on seed
    and draw alone, on a stream of its own.

    LOL's scenes have few saturated colours: so that a network learns no hue of theirs, the channels
    of every sample are permuted at random, and the normal-light images' saturation is changed.

    Args:
        source: crops of pairs, such as those of `Augmented`.
        normal: crops of images alike. They are drawn from the images whose mean, over the whole
            image and before the crop, is in `NORMAL_MEANS`: those pass for normal-light ones.
        dark: how images are darkened as LOL's are.

    Raises (when the first normal-light image is drawn):
        ValueError: no image of `normal` has such a mean.
    """

    _stream = 3  # apart from the draws of `Augmented`, `WithReference` and `DarkReference`

    def __init__(self, source: Augmented, normal: Augmented, dark: DarkeningRange, seed: int = 0):
        self.normal, self.ranges, self.seed = normal, {"dark": dark, "mild": MILD}, seed
        ranges = {kind: asdict(one) for kind, one in self.ranges.items()}
        super().__init__(
            source, normal=normal.describe(), shares=SHARES, means=NORMAL_MEANS, ranges=ranges,
            saturation=SATURATION, permuted=True, seed=seed,
        )  # fmt: skip

    @cached_property
    def _chosen(self) -> list[int]:
        """Indices of the images in normal light."""
        (low, high), images = NORMAL_MEANS, self.normal.source
        chosen = [i for i in range(len(images)) if low <= images[i]["image"].mean() <= high]
        if not chosen:
            raise ValueError(
                f"{', '.join(_sets_in(images.describe()))}: no image has a mean in {low} … {high}, "
                "as normal-light images have; give other photographs"
            )
        return chosen

    def sample(self, index: int, draw: int) -> dict:
        """Item `index` with the crop of `draw`, or what is drawn in its place."""
        rng = np.random.default_rng([self._stream, self.seed, draw])
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        if kind == "pair":
            item = self.source.sample(index, draw)
        else:
            item = self._normal(kind, draw, rng)
        order = torch.from_numpy(rng.permutation(3))
        return item | {k: item[k][order] for k in ("image", "target", "context") if k in item}

    def _normal(self, kind: str, draw: int, rng: np.random.Generator) -> dict:
        """A normal-light image as target, and it or what darkening makes of it as image."""
        item = self.normal.sample(self._chosen[int(rng.integers(len(self._chosen)))], draw)
        factor = float(rng.uniform(*SATURATION))
        small = {k: _saturated(item[k], factor) for k in ("image", "context") if k in item}
        item = {"name": item["name"], "target": small["image"], **small}
        if kind in self.ranges:
            noisy = self.ranges[kind].draw(rng)
            # The context is a mean over areas, in which the image's noise is averaged away.
            used = {"image": noisy, "context": replace(noisy, photons=0.0, read=0.0)}
            item |= {k: torch.from_numpy(darken(v.numpy(), used[k])) for k, v in small.items()}
        return item


def _saturated(image: Tensor, factor: float) -> Tensor:
    grey = luma(image)
    return (grey + factor * (image - grey)).clamp(0, 1)


def _sets_in(about: Mapping) -> Iterator[str]:
    """The names of the data sets in a description, below those that wrap and join them."""
    if "name" in about:
        yield about["name"]
    for inner in (*about.get("joined", ()), *filter(None, [about.get("source")])):
        yield from _sets_in(inner)


class DarkReference(Drawn):
    """Training pairs with a reference, and `reference_low`: the reference darkened by hand.

    By the physical model, depending on seed and draw alone.
    """

    _stream = 2  # apart from the draws of `Augmented` and of `WithReference`

    def __init__(self, source: WithReference, ranges: DarkeningRange, seed: int = 0):
        super().__init__(source, ranges=asdict(ranges), seed=seed)
        self.ranges, self.seed = ranges, seed

    def sample(self, index: int, draw: int) -> dict:
        item = self.source.sample(index, draw)
        rng = np.random.default_rng([self._stream, self.seed, draw])
        dark = darken(item["reference"].numpy(), self.ranges.draw(rng))
        return item | {"reference_low": torch.from_numpy(dark)}


class Relabelled(Wrapped):
    """Objects with coarser labels, such as persons and vehicles: label k becomes labels[k]."""

    def __init__(self, source: SizedDataset, labels: tuple[int, ...]):
        super().__init__(source, labels=list(labels))
        self._labels = torch.tensor(labels)

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        return item | {"labels": self._labels[item["labels"]]}


class OneClass(Wrapped):
    """Objects of one class alone, which is then class 0; the images keep their places."""

    def __init__(self, source: SizedDataset, label: int):
        super().__init__(source, label=label)
        self._label = label

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        kept = item["labels"] == self._label
        own = {name: item[name][kept] for name in ("boxes", "ignore")}
        return item | own | {"labels": torch.zeros(int(kept.sum()), dtype=torch.long)}


class NormalLight(Wrapped):
    """The normal-light images of a paired set, as input and target."""

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        return item | {"image": item["target"]}


class Resized(Wrapped):
    """Every item at one size (H, W), such as the 384 × 384 at which JCRNet scores photographs.

    quantised: images are rounded to 8 bits, as if the resized ones had been saved; antialias: False
    for plain bilinear interpolation.
    """

    def __init__(
        self, source: SizedDataset, size: tuple[int, int], quantised: bool = False,
        antialias: bool = True,
    ):  # fmt: skip
        other = {"quantised": True} if quantised else {}
        other |= {} if antialias else {"antialias": False}
        super().__init__(source, size=list(size), **other)
        self.size, self.quantised, self.antialias = tuple(size), quantised, antialias

    def __getitem__(self, index: int) -> dict:
        item = resize(self.source[index], self.size, self.antialias)
        if self.quantised:
            item |= {k: (item[k] * 255).round() / 255 for k in ("image", "target") if k in item}
        return item


class Bounded(Wrapped):
    """Items whose longer side is at most `side` pixels: larger ones are made smaller."""

    def __init__(self, source: SizedDataset, side: int):
        super().__init__(source, side=side)
        self.side = side

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        height, width = item["image"].shape[1:]
        scale = min(1.0, self.side / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        return resize(item, size) if scale < 1 else item


class MeanScaled(Wrapped):
    """Persons' crops whose channels are scaled as if the whole image's had a mean of 0.4.

    S. Lee et al., "Human pose estimation in extremely low-light conditions", CVPR 2023, scale
    their low-light input so. They do not clip; here values end at 2, since an image that is
    brighter would be taken for one in 0 … 255.
    """

    level, limit = 0.4, 2.0

    def __init__(self, source: SizedDataset):
        super().__init__(source, level=self.level, limit=self.limit)

    def __getitem__(self, index: int) -> dict:
        item = self.source[index]
        gain = self.level / item["mean"].clamp(min=1e-4)
        return item | {"image": (item["image"] * gain[:, None, None]).clamp(max=self.limit)}


def at_most(data: SizedDataset, count: int) -> SizedDataset:
    """`count` items of a data set, evenly over it; all where there are no more, or for 0."""
    return Spread(data, count) if 0 < count < len(data) else data


class Spread(Wrapped):
    """`count` items of a data set, evenly over it."""

    def __init__(self, source: SizedDataset, count: int):
        super().__init__(source, count=count)
        self.indices = spread(len(source), count)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def names(self) -> list[str]:
        """Names of the items."""
        names = super().names
        return [names[index] for index in self.indices]

    def __getitem__(self, index: int) -> dict:
        return self.source[self.indices[index]]


def spread(length: int, count: int) -> list[int]:
    """`count` indices, evenly over a set of that length."""
    return torch.linspace(0, length - 1, min(count, length)).round().long().unique().tolist()


class Joined(Dataset):
    """Several sets as one, such as JCRNet's 400 LOL pairs and 1,000 synthetic ones."""

    def __init__(self, *sources: SizedDataset):
        self.sources = sources
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict:
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self.sources[which][index - int(self._ends[which]) + len(self.sources[which])]

    def describe(self) -> dict:
        """What identifies the items, for hashes and records."""
        return {"joined": [source.describe() for source in self.sources]}


class Cached(Wrapped):
    """Every item in memory, decoded once, images as 8 bits: for small sets read over and over.

    A LOL pair, some 22 ms to decode, comes out of it in some 4 ms. Filled by threads when the
    first item is asked for, so that to open and to describe it costs nothing; read one item before
    loader processes start, and they share it. ValueError for images of more than 8 bits.
    """

    @cached_property
    def _items(self) -> list[dict]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda i: _pack(self.source[i]), range(len(self.source))))

    def describe(self) -> dict:
        """The source's own: the items are the same."""
        return self.source.describe()

    def packed(self, index: int) -> dict:
        """An item with its images as 8 bits, to be cut before it is converted."""
        return self._items[index]

    def __getitem__(self, index: int) -> dict:
        return _unpack(self.packed(index))


def _pack(item: dict) -> dict:
    packed = dict(item)
    for key in ("image", "target"):
        if key in item:
            levels = (item[key] * 255).round()
            if not torch.equal(levels / 255, item[key]):
                raise ValueError(f"{item['name']}: {key} has more than 8 bits; do not cache it")
            packed[key] = levels.to(torch.uint8)
    return packed


def _unpack(item: dict) -> dict:
    """The images that are 8-bit as floats in [0, 1]."""
    packed = {k: item[k] for k in ("image", "target") if k in item}
    levels = {k: v.float() / 255 for k, v in packed.items() if v.dtype == torch.uint8}
    return item | levels


def _stored(source: SizedDataset, index: int) -> dict:
    """An item as its set keeps it: of a `Cached` one the images are 8-bit."""
    return source.packed(index) if isinstance(source, Cached) else source[index]
