"""Making paired sets: normal-light images in, `low/NAME.png` and `high/NAME.png` out.

    <target>/low/NAME.png, <target>/high/NAME.png
    <target>/darkening.json     what was asked for: darkener, seed, source, number of pairs
    <target>/pairs.jsonl        a line a pair: its parameters, and the boxes its source knew

Every file is written atomically and a pair's line after its files, so a killed run goes on where
it stopped. What becomes of an image depends on seed and name alone. An image that fails is passed
over; its line says why, and a later call tries it again.

The papers do not publish how theirs were made (DRGN's COCO1000 and COCO24700, JCRNet's 959 COCO
pairs): PRESETS states ranges of ours for the physical model of darkening.py. Sets made from them
are like the papers', not equal to them.
"""

import contextlib
import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from llie_core.data.darkening import Darkener, DarkeningRange, physical_darkener, quantise
from llie_core.data.folders import bare
from llie_core.data.images import write_image
from llie_core.data.paired import RECORDS, SETTINGS, read_records, read_settings
from llie_core.data.registry import Absent, open_dataset
from llie_core.data.splits import shuffled
from llie_core.data.transforms import crop, resize
from llie_core.data.unpaired import ImageFolder
from llie_core.dataset import SizedDataset, names_of
from llie_core.files import appended, locked, problem_of, write_text
from llie_core.hashing import content_hash
from llie_core.names import unknown

# On COCO val2017's sample the input's PSNR comes out at 11.6 dB; DRGN prints 11.58 for COCO1000.
COCO_STYLE = DarkeningRange(
    exposure=(0.08, 0.6), gamma=(1.0, 1.2), white_balance=(0.85, 1.15), photons=(500.0, 4000.0),
    read=(0.0005, 0.002),
)  # fmt: skip
# Exposure and white balance are the 5th to 95th percentiles of low over high in linear light,
# measured over 64 LOL pairs (0.008 to 0.128; 0.65 to 1.33 red, 0.61 to 1.22 blue).
LOL_STYLE = DarkeningRange(
    exposure=(0.008, 0.128), gamma=(1.0, 1.0), white_balance=(0.63, 1.28),
    photons=(1000.0, 6000.0), read=(0.0003, 0.001),
)  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """How one of the registry's synthetic sets is made.

    count: images taken (0: all); size: (H, W) that images are cut and resized to, or None;
    folder: below the target, where the set has parts; coco: the split of COCO it is made from, ""
    for any images.
    """

    ranges: DarkeningRange
    count: int
    size: tuple[int, int] | None = None
    folder: str = "."
    coco: str = ""


PRESETS = {
    "coco-low-light": Preset(COCO_STYLE, 959, coco="val"),
    "coco1000": Preset(COCO_STYLE, 1000, coco="val"),
    "coco24700": Preset(COCO_STYLE, 24700, folder="train", coco="train"),
    "lol-style": Preset(LOL_STYLE, 0, size=(400, 600), folder="train"),
}


@dataclass(frozen=True)
class Written:
    """What a call wrote. folder: the set's root, for open_dataset; pairs: how many are new;
    unreadable: name → why, of the images passed over."""

    folder: Path
    pairs: int
    unreadable: dict[str, str]


def write_preset(
    name: str, source: SizedDataset, target: str | Path, seed: int = 0, count: int | None = None
) -> Written:
    """Write one of PRESETS from normal-light images (see `preset_source`).

    Takes a seeded choice of `count` images (default: the preset's; fewer where the source holds
    fewer). Raises as write_pairs, and ValueError for an unknown preset.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    preset = PRESETS[name]
    settings = {"preset": name, "ranges": asdict(preset.ranges)}
    wanted = preset.count if count is None else count
    written = write_pairs(
        source, physical_darkener(preset.ranges), Path(target) / preset.folder, settings, seed,
        wanted or None, preset.size,
    )  # fmt: skip
    return replace(written, folder=Path(target))


def preset_source(name: str, folder: Path, target: Path) -> SizedDataset:
    """What one of PRESETS is made from: COCO's images with their boxes where `folder` is a copy of
    it, else any images in it but those in `target`."""
    if name in PRESETS and PRESETS[name].coco:
        with contextlib.suppress(Absent):
            return open_dataset("coco", PRESETS[name].coco, folder)
    return ImageFolder(folder, without=target)


def write_pairs(
    source: SizedDataset, darkener: Darkener, target: str | Path, settings: dict, seed: int = 0,
    count: int | None = None, size: tuple[int, int] | None = None, threads: int | None = None,
) -> Written:  # fmt: skip
    """Darken a set's images into a folder of pairs; go on where an earlier call was stopped.

    Args:
        source: items with image and name; boxes, labels, ignore and keep are recorded where known.
        darkener: see darkening.Darkener; called from several threads.
        target: folder to write.
        settings: what the darkener is (JSON-able), for the record.
        count: take a seeded choice of so many images; None takes all.
        size: (H, W) to cut (about the centre) and resize to.

    Raises:
        ValueError: the folder holds pairs made otherwise, or two images go by one name.
    """
    target, names = Path(target), _names(source)
    chosen = sorted(shuffled(names, seed)[:count])
    asked = {
        "darkener": settings, "seed": seed, "size": list(size) if size else None,
        "source": content_hash(source.describe()), "count": len(chosen),
    }  # fmt: skip
    with locked(target / ".lock", f"{target}"):
        _claim(target / SETTINGS, asked)
        drop_torn_line(target / RECORDS)
        records = {record["name"]: record for record in read_records(target / RECORDS)}
        left = [name for name in chosen if "file" not in records.get(name, {})]
        job = _Job(source, darkener, target, seed, size, records)
        with ThreadPoolExecutor(threads) as pool:
            made = list(pool.map(lambda name: job.write(names[name], name), left))
        unreadable = {r["name"]: r["unreadable"] for r in made if "unreadable" in r}
    return Written(target, len(left) - len(unreadable), unreadable)


class _Job:
    """Writes pairs from several threads; the record's lines one at a time."""

    def __init__(self, source, darkener, target, seed, size, records):
        self.source, self.darkener, self.target = source, darkener, target
        self.seed, self.size, self.records, self.lock = seed, size, records, threading.Lock()

    def write(self, index: int, name: str) -> dict:
        """Write a pair, unless its image fails; returns the record."""
        try:
            return self._record(self._made(index, name))
        except Exception as error:  # decoders and darkeners raise anything on odd images
            return self._record({"name": name, "unreadable": problem_of(name, error)})

    def _made(self, index: int, name: str) -> dict:
        item = dict(self.source[index])
        if self.size:
            item = centre_fit(item, self.size)
        high = quantise(item["image"].numpy())
        low, parameters = self.darkener(high, generator(self.seed, name))
        file = bare(name)
        write_image(self.target / "high" / f"{file}.png", torch.from_numpy(high))
        write_image(self.target / "low" / f"{file}.png", torch.from_numpy(low))
        return {"name": name, "file": file, "darkening": parameters, **_known(item)}

    def _record(self, record: dict) -> dict:
        if record != self.records.get(record["name"]):  # an image may be unreadable once more
            with self.lock, appended(self.target / RECORDS) as lines:
                lines.write(json.dumps(record) + "\n")
        return record


def generator(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one image: a function of seed and name."""
    return np.random.default_rng([seed, *hashlib.sha256(os.fsencode(name)).digest()])


def centre_fit(item: dict, size: tuple[int, int]) -> dict:
    """Cut to the shape of (H, W) about the centre and resize to it."""
    _, height, width = item["image"].shape
    scale = min(height / size[0], width / size[1])
    part = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    return resize(crop(item, (width - part[1]) // 2, (height - part[0]) // 2, part), size)


def _names(source: SizedDataset) -> dict[str, int]:
    """Item name → index; ValueError where two items share a name."""
    names = {name: index for index, name in enumerate(names_of(source))}
    if len({bare(name) for name in names}) < len(source):
        raise ValueError("two images of the source go by one name; pairs need one each")
    return names


def _known(item: dict) -> dict:
    """The boxes of an item as lists, for JSON."""
    known = {key: item[key].tolist() for key in ("boxes", "labels", "ignore") if key in item}
    if item.get("keep"):
        known["keep"] = {level: mask.tolist() for level, mask in item["keep"].items()}
    return known


def _claim(path: Path, asked: dict) -> None:
    """Write the settings, or see that those in the folder are the same."""
    asked = json.loads(json.dumps(asked))  # as they are read back: lists for tuples
    if path.is_file():
        held = read_settings(path)
        other = [key for key in asked if held.get(key) != asked[key]]
        if other:
            raise ValueError(
                f"{path.parent} holds pairs with another {', '.join(other)}; take another folder"
            )
    write_text(path, json.dumps(asked, indent=2, sort_keys=True) + "\n")


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a kill left unfinished, so that the next one starts afresh."""
    if path.is_file() and not (text := path.read_text(encoding="utf-8")).endswith("\n"):
        write_text(path, text[: text.rfind("\n") + 1])
