"""Seeded tensors, images and models that tests of several rooms use."""

import torch
from torch import Tensor, nn


def seeded(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform values in [0, 1)."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dark_images(batch: int = 2, size: tuple[int, int] = (32, 48)) -> Tensor:
    """Dark images (B, 3, H, W): noise on a slope, in [0, 0.6]."""
    noise = seeded(batch, 3, *size, seed=1)
    return 0.1 + 0.4 * torch.linspace(0, 1, size[1]) * noise + 0.1 * noise


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers, to be compared later."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Names of the parameters and buffers that are not what they were."""
    return {n for n, value in module.state_dict().items() if not torch.equal(before[n], value)}


def trained(name: str, **options) -> nn.Module:
    """An enhancer whose layers all take part, as after training."""
    from llie_core.models import create_enhancer

    torch.manual_seed(0)
    model = create_enhancer(name, **options)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model.eval()


class Touches:
    """A pickle that creates a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)
