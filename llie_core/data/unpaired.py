"""Images without reference: of a set, of any folder, and the phones' video frames."""

from pathlib import Path

from llie_core.data.folders import (
    FileSet,
    absent,
    folders_in,
    images_in,
    no_image,
    not_read,
    require,
)
from llie_core.data.registry import find_folder
from llie_core.data.splits import held_out


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
            raise absent(name, no_image(folder))
        options = {"val": val, "seed": seed}
        keys = list(found) if split == "test" else held_out(name, split, found, **options)
        entries = [{"name": found[key], "image": found[key]} for key in keys]
        super().__init__(name, folder, split, entries, options, (), len(found))


class ImageFolder(FileSet):
    """Any folder of images, subfolders too, under no registered name: for darkening, say.

    Args:
        without: a folder below `root` whose files are left out: what was made of the others.

    Attributes:
        not_read: what lies there in a format that is not read, in words, or "".

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: `without` is the folder itself.
    """

    def __init__(self, root, without: Path | None = None):
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder")
        if without and Path(without).resolve() == root.resolve():
            raise ValueError(f"{root} is the source; name another folder for what is made of it")
        found = images_in(root, deep=True)
        if without and Path(without).resolve() not in root.resolve().parents:
            made = Path(without).resolve()
            found = {k: f for k, f in found.items() if made not in (root / f).resolve().parents}
        if not found:
            raise FileNotFoundError(no_image(root, deep=True))
        entries = [{"name": file, "image": file} for file in found.values()]
        super().__init__("images", root, "", entries)
        self.not_read = not_read(root, deep=True)


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
    folders = folders_in(root, deep=True)
    return next((path for path in folders if wanted in _plain(path.name)), None)


def _plain(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
