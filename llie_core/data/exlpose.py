"""ExLPose: S. Lee et al., "Human pose estimation in extremely low-light conditions", CVPR 2023.

<root>/Annotations/ExLPose_{train_LL,test_LL-A,test_LL-N,test_LL-H,test_LL-E}.json
<root>/ExLPose/{dark,bright}/NAME.png        (anywhere below the root)
"""

import contextlib
import re
from pathlib import Path

from llie_core.data.coco_json import read_coco
from llie_core.data.folders import Entry, absent, files_in, require
from llie_core.data.pose import Persons, persons_of
from llie_core.data.registry import dataset_spec, find_folder

EXLPOSE_JOINTS = (
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "neck",
)  # fmt: skip
SUBSETS = ("LL-N", "LL-H", "LL-E")


class ExLPose(Persons):
    """ExLPose, 14 joints. Low-light and well-lit images are paired by what their names share.

    Args:
        split: "train" or "test".
        subset: of the test: "LL-A" (all), "LL-N", "LL-H", "LL-E" (normal, hard, extreme).
        light: "low" or "well": which of the two is the image.
        paired: low light only: add the well-lit crop as `target`.
        missing: "error", or "skip" to use the images that are present.
    """

    def __init__(
        self, root, split="test", subset="LL-A", light="low", paired=False, missing="error"
    ):
        require("exlpose", "subset", subset, ("LL-A", *SUBSETS))
        require("exlpose", "light", light, ("low", "well"))
        root = Path(root)
        source = _exlpose_json(root, split, subset if split == "test" else "LL-A")
        images, annotations, _ = read_coco("exlpose", source)
        pairs, ids = _exlpose_pairs(root, images, light, paired, missing)
        persons = persons_of(images, annotations, ids)
        lists, marks = _subsets(root) if split == "test" else ([], {})
        for person in persons:
            person["subset"] = marks.get(_key(images[person["image_id"]]["file_name"]), "")
        entries = [
            pairs[p["image_id"]] | {"name": f"{pairs[p['image_id']]['name']}#{p['id']}"}
            for p in persons
        ]
        options = {"subset": subset, "light": light, "paired": paired}
        files = {path.relative_to(root).as_posix() for path in (source, *lists)}
        super().__init__(
            "exlpose", root, split, entries, options,
            annotations=files, persons=persons, records=images,
        )  # fmt: skip


def _key(name: str) -> str:
    """What the names of the two images of a scene share: all but folder, light and gain."""
    stem = re.sub(r"_(bright|dark)_", "_", Path(name).stem)
    return re.sub(r"_gain_[-\d.]+", "", stem)


def _exlpose_json(root: Path, split: str, subset: str) -> Path:
    folders = ("Annotations", "Annotations/ExLPose", "annotations/ExLPose", "ExLPose/Annotations")
    long = {"LL-A": "LL-All", "LL-N": "LL-Normal", "LL-H": "LL-Hard", "LL-E": "LL-Extreme"}
    kinds = (subset, long[subset]) if split == "test" else ("LL",)
    names = [f"ExLPose_{split}_{kind}.json" for kind in kinds]
    if subset == "LL-A":
        names += [f"{split}_exlpose.json"]
    places = [find_folder(root, folder) for folder in folders] + [root]
    found = [p / n for p in places if p for n in names if (p / n).is_file()]
    if not found:
        raise absent("exlpose", f"no {names[0]} in {root / folders[0]}")
    return found[0]


def _subsets(root: Path) -> tuple[list[Path], dict[str, str]]:
    """The lists of LL-N, LL-H and LL-E that are there, and scene → the one of these it is in."""
    lists: list[Path] = []
    marks: dict[str, str] = {}
    for subset in SUBSETS:
        with contextlib.suppress(FileNotFoundError):
            lists.append(_exlpose_json(root, "test", subset))
            images = read_coco("exlpose", lists[-1])[0]
            marks |= {_key(image["file_name"]): subset for image in images.values()}
    return lists, marks


def _exlpose_pairs(root, images, light, paired, missing) -> tuple[dict[int, Entry], list[int]]:
    """Image id → entry, and the ids whose files are all there; else FileNotFoundError."""
    found = [path for path in files_in(root, deep=True) if path.suffix.lower() == ".png"]
    files = [path.relative_to(root).as_posix() for path in found]
    lit = {
        kind: {_key(name): name for name in files if f"_{kind}_" in Path(name).name}
        for kind in ("dark", "bright")
    }
    wanted = {"image": "dark" if light == "low" else "bright"}
    if paired:
        wanted["target"] = "bright"
    pairs, missed = {}, []
    for i in sorted(images):
        key = _key(images[i]["file_name"])
        if all(key in lit[kind] for kind in wanted.values()):
            entry = {role: lit[kind][key] for role, kind in wanted.items()}
            pairs[i] = {"name": Path(entry["image"]).name, **entry}
        else:
            missed.append(images[i]["file_name"])
    if not pairs or (missed and missing == "error"):
        count = f"{len(missed)} of {len(images)} scenes have no {' and '.join(wanted.values())}"
        raise FileNotFoundError(
            f"exlpose: {count} image below {root} (first: {(*missed, 'any')[0]}); "
            f'pass missing="skip" to use the others; {dataset_spec("exlpose").where()}'
        )
    return pairs, list(pairs)
