"""Training images that show a scene in full or in part, all of one size."""

from llie_core.data.transforms import resize
from llie_core.data.wrappers import Augmented, Drawn
from llie_core.dataset import SizedDataset


class Scenes(Drawn):
    """A random part of each image, brought to one size.

    The whole shows a network how bright a scene is, a small part its noise and details as they are
    in an image of full size; both cost as much.

    Args:
        size: (H, W) of what is returned.
        part: range of the share of height and width that is taken.
        flips, context: see `Augmented`.
    """

    def __init__(
        self, source: SizedDataset, size: tuple[int, int], part: tuple[float, float],
        flips: str = "none", context: int = 0,
    ):  # fmt: skip
        parts = Augmented(source, flips=flips, part=part, context=context)
        super().__init__(parts, size=list(size))
        self.parts, self.size = parts, tuple(size)

    def sample(self, index: int, draw: int) -> dict:
        return resize(self.parts.sample(index, draw), self.size)
