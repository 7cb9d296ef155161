"""Second forward passes of released networks: their layers by the authors' names."""

import csv
from pathlib import Path
from types import ModuleType

import torch.nn.functional as F
from torch import Tensor


def released_table(module: ModuleType) -> list[dict[str, str]]:
    """The rows of <module>_released.csv, which lists the tensors of a released file."""
    path = Path(module.__file__)
    with path.with_name(f"{path.stem}_released.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Layers:
    """Layers of a state dict, by name; read: the names of the tensors that they used."""

    def __init__(self, state: dict[str, Tensor]):
        self.state, self.read = state, set()

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(name)
        return self.state[name]

    def get(self, name: str) -> Tensor | None:
        return self[name] if name in self.state else None

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self[f"{name}.weight"]
        groups = x.shape[1] // weight.shape[1]
        padding = weight.shape[-1] // 2
        return F.conv2d(x, weight, self.get(f"{name}.bias"), stride, padding, groups=groups)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self[f"{name}.weight"], self.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Batch norm by its statistics; without any, group norm of 32 groups."""
        affine = self[f"{name}.weight"], self[f"{name}.bias"]
        if f"{name}.running_mean" not in self.state:
            return F.group_norm(x, 32, *affine)
        return F.batch_norm(x, self[f"{name}.running_mean"], self[f"{name}.running_var"], *affine)


class ResNet50(Layers):
    """norms: what its norms are called, without their numbers."""

    norms = "bn"

    def middle(self, name: str, x: Tensor, stride: int) -> Tensor:
        return self.conv(name, x, stride)

    def bottleneck(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        y = self.norm(f"{name}.{self.norms}1", self.conv(f"{name}.conv1", x)).relu()
        y = self.norm(f"{name}.{self.norms}2", self.middle(f"{name}.conv2", y, stride)).relu()
        y = self.norm(f"{name}.{self.norms}3", self.conv(f"{name}.conv3", y))
        if f"{name}.downsample.0.weight" in self.state:
            x = self.norm(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, stride))
        return (x + y).relu()

    def resnet(self, name: str, x: Tensor) -> list[Tensor]:
        """Features at 1/4, 1/8, 1/16 and 1/32."""
        x = self.norm(f"{name}.{self.norms}1", self.conv(f"{name}.conv1", x, 2)).relu()
        x, features = F.max_pool2d(x, 3, 2, 1), []
        for layer, blocks in enumerate((3, 4, 6, 3), start=1):
            for block in range(blocks):
                stride = 2 if layer > 1 and block == 0 else 1
                x = self.bottleneck(f"{name}.layer{layer}.{block}", x, stride)
            features.append(x)
        return features
