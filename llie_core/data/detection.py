"""Object detection: COCO and ExDark.

- Lin et al., "Microsoft COCO: common objects in context", ECCV 2014.
- Loh and Chan, "Getting to know low-light images with the Exclusively Dark dataset", CVIU 2019.

Item: image (3, H, W), boxes (N, 4) float32 xyxy in pixels, labels (N,) from 0, ignore (N,) bool
(crowds, boxes without extent), name.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

import torch

from llie_core.data.coco_json import coco_files, frame_of, present, read_coco, xyxy
from llie_core.data.folders import Entry, FileSet, absent, files_in, images_in, match, require
from llie_core.data.images import frame_holding
from llie_core.data.registry import find_folder

# In the order of the official class numbers, 1 to 12.
EXDARK_CLASSES = (
    "Bicycle", "Boat", "Bottle", "Bus", "Car", "Cat", "Chair", "Cup", "Dog", "Motorbike", "People",
    "Table",
)  # fmt: skip
# The same classes' places among COCO's 80: bicycle, boat, bottle, bus, car, cat, chair, cup, dog,
# motorcycle, person, dining table.
EXDARK_IN_COCO = (1, 8, 39, 5, 2, 15, 56, 41, 16, 3, 0, 60)
EXDARK_PARTS = {"train": "1", "val": "2", "test": "3"}


class Coco(FileSet):
    """COCO 2017 detection: SPLIT2017 and annotations/instances_SPLIT2017.json.

    Labels count from 0 to 79 in the order of the category ids, as detectors have them.
    """

    def __init__(self, root, split="val", missing="error"):
        root = Path(root)
        source, folder = coco_files("coco", root, split, "instances")
        images, self._annotations, categories = read_coco("coco", source)
        ids = present("coco", images, folder, missing)
        ordered = sorted(categories, key=lambda category: category["id"])
        self.classes = tuple(category["name"] for category in ordered)
        self._label = {category["id"]: label for label, category in enumerate(ordered)}
        self._ids, self._records = ids, images
        for annotation in (a for found in self._annotations.values() for a in found):
            if annotation["category_id"] not in self._label:
                raise ValueError(f"coco: {source} has no category {annotation['category_id']}")
        here = folder.relative_to(root).as_posix()
        names = [images[i]["file_name"] for i in ids]
        entries = [{"name": name, "image": f"{here}/{name}"} for name in names]
        files = [source.relative_to(root).as_posix()]
        super().__init__("coco", root, split, entries, annotations=files)

    def frame(self, index: int) -> tuple[int, int] | None:
        found = self._annotations.get(self._ids[index], [])
        record = self._records[self._ids[index]]
        return frame_of(record, self.path(index), [annotation["bbox"] for annotation in found])

    def extras(self, index: int) -> dict:
        found = self._annotations.get(self._ids[index], [])
        labels = [self._label[annotation["category_id"]] for annotation in found]
        crowds = [bool(annotation.get("iscrowd")) for annotation in found]
        return _boxes([annotation["bbox"] for annotation in found], labels, crowds)


class ExDark(FileSet):
    """ExDark: CLASS/NAME, ExDark_Annno/CLASS/NAME.txt (bbGt text) or Annotations/NAME.xml (VOC).

    Args:
        split: "train", "val", "test" (of imageclasslist.txt) or "all".
        label_space: "exdark" (0 … 11) or "coco" (the same objects' places among COCO's 80).
        missing: "error", or "skip" to leave out images without an annotation.
    """

    classes = EXDARK_CLASSES

    def __init__(self, root, split="all", label_space="exdark", missing="error"):
        require("exdark", "label_space", label_space, ("exdark", "coco"))
        root = Path(root)
        images = _exdark_images(root)
        if split != "all":
            wanted = _exdark_part(root, split)
            images = {key: path for key, path in images.items() if key in wanted}
        annotations = _exdark_annotations(root)
        keys = [key for key in images if key in annotations]
        if missing == "error":
            found = {key: annotations[key] for key in keys}
            match("exdark", images, found, (root, "its annotations"))
        entries: list[Entry] = [
            {"name": images[k], "image": images[k], "annotation": annotations[k]} for k in keys
        ]
        self._numbers = range(12) if label_space == "exdark" else EXDARK_IN_COCO
        super().__init__("exdark", root, split, entries, {"label_space": label_space})

    def frame(self, index: int) -> tuple[int, int] | None:
        rows, size = _read_annotation(self.path(index, "annotation"))
        return size or frame_holding(self.path(index), xyxy([box for _, box in rows]))

    def extras(self, index: int) -> dict:
        path = self.path(index, "annotation")
        rows, _ = _read_annotation(path)
        for name, _ in rows:
            if name not in EXDARK_CLASSES:
                known = ", ".join(EXDARK_CLASSES)
                raise ValueError(f"exdark: {path} names {name!r}, not one of {known}")
        labels = [self._numbers[EXDARK_CLASSES.index(name)] for name, _ in rows]
        return _boxes([box for _, box in rows], labels, [False] * len(rows))


def _boxes(boxes: list, labels: list[int], crowds: list[bool]) -> dict:
    """Boxes x, y, w, h with labels and crowd flags as an item's tensors."""
    corners = xyxy(boxes)
    empty = (corners[:, 2:] <= corners[:, :2]).any(1)
    return {
        "boxes": corners,
        "labels": torch.tensor(labels, dtype=torch.long),
        "ignore": torch.tensor(crowds, dtype=torch.bool) | empty,
    }


def _exdark_images(root: Path) -> dict[str, str]:
    """Name without folder and suffix → path of the image below the root, over all classes."""
    images = {}
    for name in EXDARK_CLASSES:
        folder = find_folder(root, name, f"ExDark/{name}")
        for file in images_in(folder).values() if folder else ():
            images[Path(file).stem.lower()] = (folder / file).relative_to(root).as_posix()
    if not images:
        raise absent("exdark", f"no image in {root}/{EXDARK_CLASSES[0]} … {EXDARK_CLASSES[-1]}")
    return dict(sorted(images.items()))


def _exdark_part(root: Path, split: str) -> set[str]:
    """Names of the images of an official part: columns name, class, light, place, part."""
    places = (root, root / "Groundtruth", root / "ExDark")
    found = [p / "imageclasslist.txt" for p in places if (p / "imageclasslist.txt").is_file()]
    if not found:
        raise absent("exdark", f"the split {split!r} needs imageclasslist.txt in {root}")
    rows = [line.split() for line in found[0].read_text(encoding="utf-8").splitlines()[1:]]
    number = EXDARK_PARTS[split]
    return {Path(row[0]).stem.lower() for row in rows if len(row) == 5 and row[4] == number}


def _exdark_annotations(root: Path) -> dict[str, str]:
    """Name without folder and suffixes → path of the annotation below the root."""
    folder = find_folder(root, "ExDark_Annno", "ExDark_Anno", "Annotations")
    if folder is None:
        raise absent("exdark", f"no folder ExDark_Annno (or Annotations) in {root}")
    files = [
        path for path in files_in(folder, deep=True) if path.suffix.lower() in (".txt", ".xml")
    ]
    # 2015_00001.png.txt belongs to 2015_00001.png
    return {path.name.split(".")[0].lower(): path.relative_to(root).as_posix() for path in files}


Rows = list[tuple[str, list[float]]]  # class and box x, y, w, h of each object


def _read_annotation(path: Path) -> tuple[Rows, tuple[int, int] | None]:
    """The objects of an annotation file, and (W, H) of its image where it names them."""
    return _read_voc(path) if path.suffix.lower() == ".xml" else (_read_bbgt(path), None)


def _read_bbgt(path: Path) -> Rows:
    """Class and box x, y, w, h of each line "Class x y w h …" after the header "% bbGt"."""
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        rows = [line.split() for line in lines if line.strip() and not line.startswith("%")]
        for row in (row for row in rows if len(row) < 5):
            raise ValueError(f"line {' '.join(row)!r} has no class and four numbers")
        return [(row[0], [float(value) for value in row[1:5]]) for row in rows]
    except ValueError as error:
        raise ValueError(f"exdark: {path} is not bbGt text ({error})") from error


def _read_voc(path: Path) -> tuple[Rows, tuple[int, int] | None]:
    """The objects of a VOC annotation and the (W, H) in it, None where it has none or zeros."""
    try:
        root, rows = ET.parse(path).getroot(), []
        for entry in root.iter("object"):
            box = [float(entry.findtext(f"bndbox/{e}")) for e in ("xmin", "ymin", "xmax", "ymax")]
            corner, extent = box[:2], [box[2] - box[0], box[3] - box[1]]
            rows.append((entry.findtext("name"), corner + extent))
        width, height = (int(float(root.findtext(f"size/{s}") or 0)) for s in ("width", "height"))
        return rows, (width, height) if width and height else None
    except (ET.ParseError, TypeError, ValueError) as error:
        raise ValueError(f"exdark: {path} is no VOC annotation ({error})") from error
