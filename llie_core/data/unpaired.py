"""Images without reference: flat folders, and the phones' video frames."""

from pathlib import Path

from llie_core.data.folders import SUFFIXES, FileSet, absent, images_in, require
from llie_core.data.registry import find_folder
from llie_core.data.splits import held_out, split_names


class UnpairedFolder(FileSet):
    """Images without reference, all in one folder.

    Splits: test: every image; train and val: all but, and only, the `val` images held out.

    Args:
        inner: folders below the root in which the images may lie instead.
    """

    def __init__(self, root, split="test", name="", inner=(), val=0, seed=0):
        folder = find_folder(root, *inner) or Path(root)
        found = images_in(folder)
        if not found:
            raise absent(name, f"no image ({', '.join(SUFFIXES)}) in {folder}")
        parts = split_names(found, val=val, seed=seed)
        keys = list(found) if split == "test" else held_out(name, parts, split)
        entries = [{"name": found[key], "image": found[key]} for key in keys]
        super().__init__(name, folder, split, entries, {"val": val, "seed": seed}, (), len(found))


class ImageFolder(FileSet):
    """Any folder of images, subfolders too, under no registered name: for darkening, say."""

    def __init__(self, root):
        found = images_in(Path(root), deep=True) if Path(root).is_dir() else {}
        if not found:
            raise FileNotFoundError(f"no image ({', '.join(SUFFIXES)}) in {root}")
        entries = [{"name": file, "image": file} for file in found.values()]
        super().__init__("images", root, "", entries)


# Paper 3's Table VIII; folder names are compared by their letters and digits.
PHONES = ("huawei-mate-20-pro", "lg-m322", "oppo-r17", "xiaomi-mi-mix-3")


class PhoneVideo(FileSet):
    """Frames of the four phones of paper 3's Table VIII; items carry `subset`, the phone.

    Args:
        subset: one of PHONES, or "all".
    """

    def __init__(self, root, split="test", subset="all"):
        require("phone-video", "subset", subset, ("all", *PHONES))
        wanted = PHONES if subset == "all" else (subset,)
        folders = {phone: _phone_folder(Path(root), phone) for phone in wanted}
        missing = [phone for phone, folder in folders.items() if folder is None]
        if missing:
            raise absent("phone-video", f"no folder of frames for {', '.join(missing)} in {root}")
        entries = [
            {"name": f"{phone}/{Path(file).name}", "image": f"{folder.relative_to(root)}/{file}"}
            for phone, folder in folders.items()
            for file in images_in(folder, deep=True).values()
        ]
        if not entries:
            raise absent("phone-video", f"no frame in {', '.join(map(str, folders.values()))}")
        super().__init__("phone-video", root, split, entries, {"subset": subset})

    def extras(self, index: int) -> dict:
        return {"subset": self.entries[index]["name"].split("/")[0]}


def _phone_folder(root: Path, phone: str) -> Path | None:
    wanted = _plain(phone)
    folders = sorted(path for path in root.rglob("*") if path.is_dir())
    return next((path for path in folders if wanted in _plain(path.name)), None)


def _plain(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
