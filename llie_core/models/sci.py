r"""SCI: an illumination from three convolutions, learned by calibrated stages that share weights.

"Toward Fast, Flexible, and Robust Low-Light Image Enhancement", L. Ma, T. Ma, R. Liu, X. Fan,
Z. Luo, CVPR 2022, arXiv:2204.10137.

.. math:: x^t = v^t + H(v^t), \quad z^t = x / x^t, \quad s^t = K(z^t), \quad v^{t+1} = x + s^t

H estimates the illumination; the calibration network K brings every stage's input close to the
first one's, so that for use one stage suffices: 258 parameters (`stages=1`). Both networks are the
same in all stages.

Differs from the paper, as the released network does: the calibration is s = z − K(z); H has one
residual block, and illuminations are clamped to [1e-4, 1].
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from llie_core.imaging import in_float32
from llie_core.models.base import Enhancer
from llie_core.tensors import read_released

LEAST = 1e-4
STAGES = 3  # in training


def conv_norm(inputs: int, outputs: int) -> list[nn.Module]:
    """3×3 convolution, batch norm, ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


class Illumination(nn.Module):
    """H and the input: (B, 3, H, W) → the illumination, (B, 3, H, W) in [1e-4, 1]."""

    def __init__(self, width: int = 3):
        super().__init__()
        self.in_conv = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.conv = nn.Sequential(*conv_norm(width, width))
        self.out_conv = nn.Sequential(nn.Conv2d(width, 3, 3, padding=1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        features = self.in_conv(x)
        features = features + self.conv(features)
        return (in_float32(self.out_conv, features) + x).clamp(LEAST, 1.0)


class Calibration(nn.Module):
    """s = z − K(z), (B, 3, H, W); its residual block is used three times."""

    def __init__(self, width: int = 16, blocks: int = 3):
        super().__init__()
        self.in_conv = nn.Sequential(*conv_norm(3, width))
        self.convs = nn.Sequential(*conv_norm(width, width), *conv_norm(width, width))
        self.out_conv = nn.Sequential(nn.Conv2d(width, 3, 3, padding=1), nn.Sigmoid())
        self.blocks = blocks

    def forward(self, z: Tensor) -> Tensor:
        features = self.in_conv(z)
        for _ in range(self.blocks):
            features = features + self.convs(features)
        return z - in_float32(self.out_conv, features)


class SCI(Enhancer):
    """SCI; layers bear the released names.

    Args:
        stages: 1 for use, or more, with the calibration between, to train
            (losses/illumination.py).
    """

    def __init__(self, stages: int = 1):
        super().__init__()
        if stages < 1:
            raise ValueError(f"stages={stages}: at least 1")
        self.stages = stages
        self.enhance_net = Illumination()
        self.calibrate = Calibration() if stages > 1 else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return (x / self.enhance_net(x)).clamp(0, 1)

    def training_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """`image` of the first stage; `stage_input` and `illumination` of all stages, the first
        ones first, (B · stages, 3, H, W)."""
        inputs, illuminations, images = [x], [], []
        for stage in range(self.stages):
            illuminations.append(self.enhance_net(inputs[-1]))
            images.append((x / illuminations[-1]).clamp(0, 1))
            if self.calibrate is not None and stage + 1 < self.stages:
                inputs.append(x + self.calibrate(images[-1]))
        return {
            "image": images[0],
            "stage_input": torch.cat(inputs),
            "illumination": torch.cat(illuminations),
        }

    def load_released_weights(self, path: str | Path) -> None:
        """Load the authors' checkpoint; of one stage without the calibration network.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tensors-only checkpoint, or other names or shapes.
        """
        whole = SCI(STAGES).state_dict()
        # Released, `enhance` is the network, and the blocks that share weights are listed again.
        names = {name: name.replace("enhance_net.", "enhance.") for name in whole}
        expected = {names[name]: tensor for name, tensor in whole.items()}
        for shared, blocks, count in (
            ("enhance.conv", "enhance.blocks", 1), ("calibrate.convs", "calibrate.blocks", 3),
        ):  # fmt: skip
            for name in [name for name in expected if name.startswith(f"{shared}.")]:
                for block in range(count):
                    expected[name.replace(shared, f"{blocks}.{block}")] = expected[name]
        state = read_released(path, expected)
        self.load_state_dict({name: state[names[name]] for name in self.state_dict()})
