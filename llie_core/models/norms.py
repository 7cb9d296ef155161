"""Normalisation by statistics of the image itself, which large images compute in tiles."""

import torch
from torch import Tensor, nn

from llie_core.models.large import in_tile, of_whole_image


class GroupNorm(nn.GroupNorm):
    """Group normalisation; a tile of an image gets the statistics of the whole image.

    As many groups as channels make it instance normalisation, also of a single pixel, which
    `nn.InstanceNorm2d` refuses.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        if not in_tile():
            # Not by its layer, which refuses groups of a single value.
            return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        groups = x.unflatten(1, (self.num_groups, -1))  # (B, G, C/G, H, W)
        variance, mean = of_whole_image(
            lambda: torch.var_mean(groups, dim=(2, 3, 4), correction=0, keepdim=True)
        )
        y = ((groups - mean) * (variance + self.eps).rsqrt()).flatten(1, 2)
        return y * self.weight[:, None, None] + self.bias[:, None, None]
