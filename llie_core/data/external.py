"""Images that some other program made for a data set: <root>/<method>/<dataset>/NAME.png.

They are matched to the set's items by name, so that any method becomes a row of a table under the
same protocol as the ones that run here.
"""

from collections import Counter
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from llie_core.data.folders import bare, folders_in, images_in, not_read, require, size_of
from llie_core.data.images import read_image
from llie_core.dataset import SizedDataset, names_of
from llie_core.hashing import hashes_in
from llie_core.names import listed


def external_methods(root: str | Path, dataset: str) -> dict[str, Path]:
    """Method → folder of its images for a data set, for every method that has one."""
    folder = Path(root)
    methods = folders_in(folder) if folder.is_dir() else []
    return {path.name: path / dataset for path in methods if (path / dataset).is_dir()}


class ExternalOutputs(Dataset):
    """The items of `source` with another program's output in place of their image.

    An image matches an item whose name, suffix aside, is its path below the folder, or its file
    name alone where only one item has that ("EVENT/NAME" may lie in the folder as NAME.png).

    Item: the source's, its image being the output; the source's own as `input`.

    Args:
        folder: the method's images for this data set.
        source: the data set, opened.
        missing: "error", or "skip" to keep the items that have an image.

    Attributes:
        missing: names of items without an image. superfluous: images without an item.

    Raises:
        FileNotFoundError: no such folder, no image that matches, or (missing="error") items
            without an image; the message lists them.
        ValueError: on access, an image that is not of its item's size.
    """

    def __init__(self, folder: str | Path, source: SizedDataset, missing: str = "error"):
        self.folder, self.source = Path(folder), source
        require("external", "missing", missing, ("error", "skip"))
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"no folder {self.folder}; put the method's images there, one per image of the "
                "data set, named alike (METHOD/DATASET/NAME.png)"
            )
        found = images_in(self.folder, deep=True)
        names = names_of(source)
        paths = _matched(names, found)
        self.missing = [name for name in names if name not in paths]
        self.superfluous = sorted(set(found.values()) - set(paths.values()))
        if not paths or (self.missing and missing == "error"):
            raise FileNotFoundError(f"{self.folder}: {self.report()}")
        self._chosen = [(i, name, paths[name]) for i, name in enumerate(names) if name in paths]

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def names(self) -> list[str]:
        """Names of the items that have an image."""
        return [name for _, name, _ in self._chosen]

    def describe(self) -> dict:
        """What identifies the items, for hashes and records: the source, the images' contents."""
        files = hashes_in(self.folder, (file for _, _, file in self._chosen))
        return {"source": self.source.describe(), "external": files}

    def output(self, index: int, frame: tuple[int, int] | None = None) -> Tensor:
        """The image (3, H, W) in [0, 1] alone; the source is not read. frame: see read_image."""
        return read_image(self.folder / self._chosen[index][2], frame)

    def __getitem__(self, index: int) -> dict:
        place, name, file = self._chosen[index]
        item = self.source[place]
        output = self.output(index, size_of(item["image"]))
        if output.shape != item["image"].shape:
            sizes = [" × ".join(map(str, image.shape[1:])) for image in (output, item["image"])]
            raise ValueError(f"{self.folder / file} is {sizes[0]}, but {name} is {sizes[1]}")
        return {**item, "image": output, "input": item["image"]}

    def report(self) -> str:
        """What is missing, superfluous or in a format that is not read, in one line."""
        named = {"without an image": self.missing, "images of no item": self.superfluous}
        parts = [f"{len(n)} {what}: {listed(n, 8)}" for what, n in named.items() if n]
        parts += filter(None, [not_read(self.folder, deep=True)])
        return "; ".join(parts) or "every item has an image"


def _matched(names: list[str], found: dict[str, str]) -> dict[str, str]:
    """Item name → path of its image below the folder."""
    last = {name: Path(bare(name)).name for name in names}
    times = Counter(last.values())
    paths = {}
    for name in names:
        alone = found.get(last[name]) if times[last[name]] == 1 else None
        path = found.get(bare(name), alone)
        if path is not None:
            paths[name] = path
    return paths
