"""Paired sets in the layouts they are released in: LOL-v2, LSRW, UHD-LL, SICE, SID and SMID."""

from pathlib import Path

from llie_core.data.folders import (
    Entry,
    FileSet,
    absent,
    files_in,
    folders_in,
    images_in,
    match,
    needed_folder,
    require,
)
from llie_core.data.paired import PairedFolder, read_pairs
from llie_core.data.registry import find_folder
from llie_core.data.splits import held_out


class OfficialPairs(PairedFolder):
    """Pairs whose training and test parts lie in folders of their own.

    Item: image (3, H, W), target (3, H, W), name.

    Args:
        parts: "train" and "test" → the folder; inside: the folder that holds them, where `root` is
            the one above; prefixes: what the names of the low-light and of the normal-light files
            begin with; cameras: folders of each part whose pairs are joined.
        val, seed: pairs held out of the training part for model selection.
        missing: "error", or "skip" to use only the pairs that are whole.
    """

    def __init__(
        self, root, split, name, parts, inside="", prefixes=("", ""), cameras=("",), val=0, seed=0,
        missing="error",
    ):  # fmt: skip
        root = (inside and find_folder(root, inside)) or root
        wanted = parts["test" if split == "test" else "train"]
        needed_folder(name, root, wanted)
        self.parts, self.prefixes, self.cameras = {"val": "val", **parts}, prefixes, cameras
        super().__init__(root, split, name, val, 0, seed, missing)

    def _pairs(self, name: str, root: Path, base: Path, missing: str) -> dict[str, Entry]:
        pairs = {}
        for camera in self.cameras:
            folder = needed_folder(name, base, camera) if camera else base
            found = read_pairs(name, root, folder, missing, self.prefixes)
            before = f"{camera}/" if camera else ""
            for key, entry in found.items():
                pairs[before + key] = entry | {"name": before + entry["name"]}
        return pairs


class Sice(FileSet):
    """SICE: multi-exposure sequences, each with one reference (Cai, Gu, Zhang, IEEE TIP 27(4),
    2018): Dataset_Part1/SCENE/K.JPG and Dataset_Part1/Label/SCENE.JPG; Part 2 is the test.

    Item: image (3, H, W), target (3, H, W), name ("SCENE/K.JPG").

    Args:
        exposures: "under": of each sequence the first ⌊n/2⌋ by number, which are darker than its
            middle; "all": every exposure.
        val: sequences held out of Part 1.
    """

    parts = {"train": "Dataset_Part1", "test": "Dataset_Part2"}

    def __init__(self, root, split, exposures="under", val=0, seed=0, missing="error"):
        require("sice", "exposures", exposures, ("under", "all"))
        root, part = Path(root), self.parts["test" if split == "test" else "train"]
        base = needed_folder("sice", root, part)
        labels = needed_folder("sice", base, "Label")
        scenes = {path.name: path.name for path in folders_in(base) if path != labels}
        references = images_in(labels)
        keys = match("sice", scenes, references, (base, labels), missing)
        if split != "test":
            keys = held_out("sice", split, keys, val=val, seed=seed)
        where = base.relative_to(root).as_posix()
        entries = [
            {"name": f"{scene}/{file}", "image": f"{where}/{scene}/{file}",
             "target": f"{where}/{labels.name}/{references[scene]}"}
            for scene in keys
            for file in _exposures(base / scene, exposures)
        ]  # fmt: skip
        options = {"exposures": exposures, "val": 0 if split == "test" else val, "seed": seed}
        super().__init__("sice", root, split, entries, options)


def _exposures(folder: Path, which: str) -> list[str]:
    """Files of a sequence by number, the darkest first."""
    found = images_in(folder)
    ranked = [found[key] for key in sorted(found, key=lambda key: (len(key), key))]
    return ranked if which == "all" else ranked[: len(ranked) // 2]


class ArrayPairs(FileSet):
    """SID (Sony) and SMID in sRGB, as X. Xu's SNR-Aware release has them: SCENE/NAME.npy, arrays of
    8 bits (H, W, 3) in the order B, G, R; the first long exposure of a scene is the reference of
    all its short ones.

    Item: image (3, H, W), target (3, H, W), name ("SCENE/NAME.npy").

    Args:
        folders: of the short and of the long exposures.
        digit: the scenes whose name begins with it are the test (SID: "1"); "": those that
            test_list.txt names, beside the folder of long exposures or in it (SMID).
        val: scenes held out of the training part.
    """

    def __init__(self, root, split, name, folders, digit="", val=0, seed=0, missing="error"):
        root = Path(root)
        short, long = (find_folder(root, folder) for folder in folders)
        if short is None or long is None:
            raise absent(name, f"no folders {' and '.join(folders)} in {root}")
        scenes = [{path.name: path.name for path in folders_in(side)} for side in (short, long)]
        keys = match(name, *scenes, (short, long), missing)
        tests = _listed(name, long) if not digit else {k for k in keys if k.startswith(digit)}
        keys = [key for key in keys if (key in tests) == (split == "test")]
        if split != "test" and keys:
            keys = held_out(name, split, keys, val=val, seed=seed)
        entries = []
        for scene in keys:
            references = _arrays(long / scene)
            if not references:
                raise absent(name, f"no long exposure in {long / scene}")
            target = references[0].relative_to(root).as_posix()
            entries += [
                {"name": f"{scene}/{path.name}", "image": path.relative_to(root).as_posix(),
                 "target": target}
                for path in _arrays(short / scene)
            ]  # fmt: skip
        options = {"val": 0 if split == "test" else val, "seed": seed}
        super().__init__(name, root, split, entries, options)


def _arrays(folder: Path) -> list[Path]:
    """The arrays of a scene; those at half size, which SMID's release holds too, are left out."""
    return [p for p in files_in(folder) if p.suffix == ".npy" and "half" not in p.stem]


def _listed(name: str, long: Path) -> set[str]:
    """The scenes that test_list.txt names."""
    for folder in (long.parent, long):
        path = folder / "test_list.txt"
        if path.is_file():
            return set(path.read_text(encoding="utf-8").split())
    raise absent(name, f"no file test_list.txt in {long.parent} or {long}")
