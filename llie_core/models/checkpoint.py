"""Any network that spandrel (MIT) recognises from its checkpoint: RetinexFormer, HVI-CIDNet,
NAFNet, Uformer, SwinIR, SCUNet and some thirty others. The file says which one, and of what size.

Tensors only are read, whatever the file's suffix. What spandrel does not recognise, such as
Restormer, is compared by its images (setting `external`).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from llie_core.devices import free_memory
from llie_core.models.base import Enhancer
from llie_core.tensors import read_tensors


class Checkpoint(Enhancer):
    """A network built from its checkpoint by `load_released_weights`; it evaluates only, without
    gradients.

    architecture: as spandrel names it, "" before a file is read.
    """

    pools = False
    bytes_per_pixel = 3072  # RetinexFormer, counted at 512×512 (metrics/memory.py)
    exports = "networks of checkpoints are not checked"
    architecture = ""

    @property
    def learned(self) -> bool:
        return True

    def load_released_weights(self, path: str | Path) -> None:
        """Build the network of a checkpoint.

        Args:
            path: a file of torch.save or safetensors.

        Raises:
            FileNotFoundError: no such file.
            ImportError: spandrel is not installed.
            ValueError: not tensors only, no network that spandrel recognises, or one that does not
                map RGB images to RGB images of the same size; one line.
        """
        tensors = read_tensors(path)
        try:
            import spandrel
        except ImportError as error:
            raise ImportError(
                "a checkpoint's network is built by spandrel, which is not installed: "
                "pip install 'llie-core[spandrel]'"
            ) from error
        try:
            found = spandrel.ModelLoader().load_from_state_dict(tensors)
        except spandrel.UnsupportedModelError as error:
            raise ValueError(f"{path}: no network that spandrel recognises") from error
        # Names that look like a network's, with other tensors among them.
        except Exception as error:
            raise ValueError(
                f"{path}: not a network as spandrel builds it ({type(error).__name__})"
            ) from error
        channels = (found.input_channels, found.output_channels)
        if found.purpose != "Restoration" or channels != (3, 3):
            raise ValueError(
                f"{path}: {found.architecture.name} ({found.purpose}, channels {channels[0]} to "
                f"{channels[1]}) does not map RGB images to RGB images of the same size"
            )
        self.architecture = found.architecture.name
        self.multiple = found.size_requirements.multiple_of
        # Where the authors advise against tiles, the network takes much from the whole image.
        self.margin = 64 if found.tiling is spandrel.ModelTiling.SUPPORTED else None
        self.network = found.model
        self._run = found  # pads to the least size, and calls each network as its authors do

    def forward(self, x: Tensor) -> Tensor:
        if not self.architecture:
            raise ValueError("checkpoint: no file was read, so there is no network")
        height, width = x.shape[-2:]
        right, bottom = self._run.size_requirements.get_padding(width, height)
        x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        # One image a call, as spandrel asks; the copies are ordinary tensors again.
        y = torch.cat([self._run(one).clone() for one in x.split(1)])
        return y[..., :height, :width]

    def any_size(self, x: Tensor, **condition) -> Tensor:
        needed, free = x[0, 0].numel() * self.bytes_per_pixel, free_memory(x.device)
        if self.margin is None and needed > free:
            raise MemoryError(
                f"{self.architecture} takes an image whole: {needed / 2**30:.0f} GiB for "
                f"{x.shape[-1]}×{x.shape[-2]}, {free / 2**30:.0f} are free; make the image smaller"
            )
        return super().any_size(x, **condition)
