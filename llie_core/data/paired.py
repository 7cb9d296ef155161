"""Pairs of a low-light and a normal-light image, matched by file name."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch

from llie_core.data.folders import (
    Entry,
    FileSet,
    absent,
    images_in,
    matched_entries,
    needed_folder,
    require,
)
from llie_core.data.images import image_size
from llie_core.data.registry import find_folder
from llie_core.data.splits import held_out, same_content

LOW = ("low", "input", "lq", "dark")
HIGH = ("high", "expertC", "expert_c", "C", "normal", "target", "gt")
PARTS = {"train": "train", "val": "val", "test": "test"}


class PairedFolder(FileSet):
    """`low/NAME` and `high/NAME`, below the root or below a folder for each split.

    Item: image (3, H, W), target (3, H, W), name.

    Args:
        split: "train", "val" or "test". Where a split has no folder of its own, it is held out of
            all the pairs; without `test=N` the split "test" is all of them.
        val, test: pairs held out; seed: of the choice, None for the last by name. Pairs that share
            their normal-light image stay on one side (485 LOL pairs have 399 such images).
        missing: "error", or "skip" to use only the pairs that are whole.
    """

    parts = PARTS

    def __init__(self, root, split, name, val=0, test=0, seed=0, missing="error"):
        root = Path(root)
        own = {part: find_folder(root, folder) for part, folder in self.parts.items()}
        base = own[split] or (own["train"] if split == "val" else None) or root
        pairs = self._pairs(name, root, base, missing)
        options = {"val": 0 if own["val"] else val, "test": 0 if own["test"] else test}
        whole = (own[split] and split != "train") or (split == "test" and not test)
        keys = list(pairs)
        if not whole:
            references = {key: pair["target"] for key, pair in pairs.items()}
            together = same_content(root, references) if any(options.values()) else None
            keys = held_out(name, split, keys, **options, seed=seed, together=together)
        entries = [pairs[key] for key in keys]
        found = len(keys) if split == "test" else len(pairs) - options["test"]
        super().__init__(name, root, split, entries, {**options, "seed": seed}, (), found)

    def _pairs(self, name: str, root: Path, base: Path, missing: str) -> dict[str, Entry]:
        return read_pairs(name, root, base, missing)

    def frame(self, index: int) -> tuple[int, int]:
        """(W, H) of the pair: the image's, unless only EXIF rotates it away from the target's."""
        (size, orientation), (target, _) = map(image_size, self.image_files(index))
        return target if orientation > 4 and size == target[::-1] else size


def read_pairs(
    name: str, root: Path, base: Path, missing: str = "error", prefixes: Sequence[str] = ("", "")
) -> dict[str, Entry]:
    """Key → entry of every pair in `base`, sorted; FileNotFoundError naming missing partners.

    prefixes: what the keys of the low-light and of the normal-light files begin with; cut off.
    """
    low, high = find_folder(base, *LOW), find_folder(base, *HIGH)
    if low is None or high is None:
        what = [role for role, folder in (("low", low), ("high", high)) if folder is None]
        raise absent(name, f"no folder {' nor '.join(what)} in {base}")
    lows, highs = (
        {key.removeprefix(prefix): file for key, file in images_in(folder, deep=True).items()}
        for folder, prefix in zip((low, high), prefixes, strict=True)
    )
    pairs = matched_entries(name, root, (low, high), lows, highs, "target", missing)
    if not pairs:
        raise absent(name, f"no image in {low} with a partner in {high}")
    return pairs


class PairsIn(PairedFolder):
    """Any folder of pairs, under no registered name: to compare methods on, say."""

    def __init__(self, root):
        root = Path(root)
        name = root.resolve().name
        FileSet.__init__(self, name, root, "", list(read_pairs(name, root, root).values()))


class Lol(PairedFolder):
    """LOL (v1): Wei et al., "Deep Retinex decomposition for low-light enhancement", BMVC 2018.

    Args:
        protocol: "official": train on our485, test on eval15. "400/100" (JCRNet) and "480/20"
            (DRGN): all 500 pairs, of which 100 or 20 are the test. Those papers do not list
            theirs: here a seeded choice, recorded; names then begin with our485/ or eval15/.
        val: pairs held out of the training part for model selection, so never seen in training.
    """

    parts = {"train": "our485", "val": "val", "test": "eval15"}
    tests = {"400/100": 100, "480/20": 20}

    def __init__(self, root, split, protocol="official", val=15, seed=0, missing="error"):
        require("lol", "protocol", protocol, ("official", *self.tests))
        self.protocol = protocol
        if protocol != "official":
            self.parts = {part: f"{part} of {protocol}" for part in PARTS}  # no folder has it
        else:
            needed_folder("lol", root, self.parts["test" if split == "test" else "train"])
        test = self.tests.get(protocol, 0)
        super().__init__(root, split, "lol", val, test, seed, missing)
        self.options["protocol"] = protocol

    def _pairs(self, name, root, base, missing) -> dict[str, Entry]:
        if self.protocol == "official":
            return read_pairs(name, root, base, missing)
        pooled = {}
        for folder in ("our485", "eval15"):
            part = find_folder(root, folder)
            if part is None:
                raise absent(name, f"protocol {self.protocol} needs {folder} in {root}")
            for key, entry in read_pairs(name, root, part, missing).items():
                pooled[f"{folder}/{key}"] = entry | {"name": f"{folder}/{entry['name']}"}
        return pooled


class FiveK(PairedFolder):
    """MIT-Adobe FiveK: `input` and expert C. describe() says what the exported files carry.

    Test: the last 500 by name. Embedded profiles are recorded, not applied.
    """

    def __init__(self, root, split, val=0, test=500, missing="error"):
        super().__init__(root, split, "mit-adobe-fivek", val, test, None, missing)
        roles = ("image", "target")
        self.options["export"] = {role: export_of(self.path(0, role)) for role in roles}


def export_of(path: Path) -> str:
    """An image file's kind, mode and embedded colour profile in words."""
    from PIL import Image, ImageCms

    with Image.open(path) as image:
        kind, profile = f"{image.format} {image.mode}", image.info.get("icc_profile")
    if not profile:
        return f"{kind}, no profile embedded"
    try:
        named = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return f"{kind}, unreadable profile"
    return f"{kind}, profile {named.strip()}"


SETTINGS, RECORDS = "darkening.json", "pairs.jsonl"


class GeneratedPairs(PairedFolder):
    """A folder that synthesis.py wrote, or any low/high folder in its place.

    Item: as PairedFolder; with the record also `darkening` (dict of parameters) and what the
    source set knew: boxes (N, 4) xyxy in pixels, labels, ignore, keep.
    """

    def __init__(self, root, split, name, **options):
        self._records: dict[str, dict] = {}
        super().__init__(root, split, name, **options)
        if self._records:  # boxes belong to the items' identity
            base = self.path(0).parents[len(Path(self.entries[0]["record"]).parts)]
            self.annotations = [(base / RECORDS).relative_to(self.root).as_posix()]

    def _pairs(self, name, root, base, missing) -> dict[str, Entry]:
        pairs = read_pairs(name, root, base, missing)
        if not (base / SETTINGS).is_file():
            return pairs
        lines = {record["name"]: record for record in read_records(base / RECORDS)}
        self._records = {record["file"]: record for record in lines.values() if "file" in record}
        count = read_settings(base / SETTINGS)["count"]
        if len(lines) < count and missing == "error":
            raise FileNotFoundError(
                f"{name}: {base} is incomplete, {len(self._records)} of {count} pairs are "
                "written; run the same generator again, it goes on where it stopped"
            )
        records = self._records
        return {
            key: {**pair, "name": records[key]["name"], "record": key}
            for key, pair in pairs.items()
            if key in records
        }

    def files(self) -> dict[str, list[str]]:
        return {role: paths for role, paths in super().files().items() if role != "record"}

    def extras(self, index: int) -> dict:
        record = self._records.get(self.entries[index].get("record", ""), {})
        known = {"darkening": record["darkening"]} if record else {}
        return super().extras(index) | known | boxes_from(record)


def read_settings(path: Path) -> dict:
    """What a folder of generated pairs was asked for; ValueError naming a damaged file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it and make the pairs again, those that are "
            "there stay"
        ) from None


def read_records(path: Path) -> list[dict]:
    """The lines of a JSON-lines file; a last line cut short by a kill is left out.

    Raises:
        ValueError: another line is damaged; the message names it.
    """
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8").split("\n")[:-1]
    records = []
    for number, line in enumerate(whole, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ValueError(
                f"{path}: line {number} is damaged ({error}); delete the line and make the pairs "
                "again: only what it stood for is made anew"
            ) from None
    return records


def boxes_from(record: dict) -> dict:
    """The boxes of a record as tensors; empty where it has none."""
    if "boxes" not in record:
        return {}
    boxes = torch.tensor(record["boxes"], dtype=torch.float32).reshape(-1, 4)
    found = {"boxes": boxes}
    if "labels" in record:
        found["labels"] = torch.tensor(record["labels"], dtype=torch.long)
    if "ignore" in record:
        found["ignore"] = torch.tensor(record["ignore"], dtype=torch.bool)
    if "keep" in record:
        keep = record["keep"].items()
        found["keep"] = {level: torch.tensor(mask, dtype=torch.bool) for level, mask in keep}
    return found
