"""What several rooms ask of images alike: input checks, luma, sRGB, ImageNet statistics, SSIM.

Images are tensors (B, 3, H, W) of float RGB in [0, 1] unless said otherwise.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LUMA = (0.299, 0.587, 0.114)  # BT.601 weights of R, G, B
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOLERANCE = 1e-4  # by which rounding may leave [0, 1]
SSIM_SIDE, SSIM_SIGMA = 11, 1.5  # Gaussian window in pixels
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2

# Checks ----------------------------------------------------------------------------------------


class TooSmall(ValueError):
    """An image has fewer pixels than what it is asked for needs."""


def check_shapes(where: str, smallest: int = 1, **images: Tensor) -> None:
    """Refuse what is no batch of images, in one line that names the caller and the argument.

    Reads no values, so a GPU is not waited for.

    Args:
        where: who was called, for the message ("psnr", "ZeroDCE.enhance").
        smallest: least height and width in pixels.
        images: by the argument's name, (B, 3, H, W) float tensors of one shape on one device.

    Raises:
        TypeError: not a tensor, or not of a floating type.
        ValueError: another shape, an empty batch, too few pixels, or shapes or devices that differ.
    """
    for name, x in images.items():
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            hint = "; divide 8-bit values by 255" if isinstance(x, Tensor) else ""
            raise TypeError(f"{where}: {name} must be a float tensor in [0, 1], not {kind}{hint}")
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"{where}: {name} must be (B, 3, H, W), not {tuple(x.shape)}")
        if len(x) == 0:
            raise ValueError(f"{where}: {name} is an empty batch; give at least one image")
        if min(x.shape[-2:]) < smallest:
            size = f"{x.shape[-2]}×{x.shape[-1]}"
            raise TooSmall(f"{where}: {name} is {size}; both sides must be at least {smallest}")
    (first, a), *others = images.items()
    for name, b in others:
        if a.shape != b.shape:
            raise ValueError(
                f"{where}: {first} is {tuple(a.shape)} but {name} is {tuple(b.shape)}; "
                "they must have one shape"
            )
        if a.device != b.device:
            raise ValueError(f"{where}: {first} is on {a.device} but {name} is on {b.device}")


def check_images(
    where: str, smallest: int = 1, most: float = 1.0, bounded: bool = True, **images: Tensor
) -> None:
    """`check_shapes`, and refuse values that are not finite or outside [0, most].

    Args:
        most: largest value.
        bounded: False checks for NaN and Inf only.

    Raises:
        TypeError, ValueError: as `check_shapes`; also NaN, Inf, or values out of range.
    """
    check_shapes(where, smallest, **images)
    for name, x in images.items():
        if x.is_meta:  # no values: the cost of a model is being counted
            continue
        low, high = torch.stack(x.detach().aminmax()).tolist()  # waits for a GPU once
        if not (math.isfinite(low) and math.isfinite(high)):  # with a NaN, both are NaN
            raise ValueError(f"{where}: {name} holds NaN or Inf")
        if bounded and (low < -TOLERANCE or high > most + TOLERANCE):
            raise ValueError(
                f"{where}: {name} must lie in [0, {most:g}] but holds {low:.4g} to {high:.4g}; "
                "clamp it, or divide 8-bit values by 255"
            )


def check_alike(where: str, prediction: Tensor, target: Tensor) -> None:
    """ValueError unless both have one shape: broadcasting would compare all with all."""
    if prediction.shape != target.shape:
        shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise ValueError(f"{where}: prediction and target must have one shape, got {shapes}")


# Values ----------------------------------------------------------------------------------------


def full_precision(x: Tensor) -> Tensor:
    """The tensor in at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """These numbers, (N,), with the type and device of another tensor; copied there once, since a
    GPU is waited for at every copy. Not to be changed in place."""
    return made_constant(values, like.dtype, like.device)


@cache
def made_constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # made in it, a tensor could not serve a training later
        return torch.tensor(values, dtype=dtype, device=device)


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Inside, autocast casts no operation on the device of `x` to bfloat16."""
    kind = x.device.type  # "meta", on which work is counted, has no autocast
    if torch.amp.is_autocast_available(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """layer(x) in the precision of the layer's weights, under autocast, too.

    For the layer that makes an image, a map or a gain: bfloat16 has fewer levels than an 8-bit
    image.
    """
    with without_autocast(x):
        return layer(x.to(next(layer.parameters()).dtype))


def luma(rgb: Tensor) -> Tensor:
    """BT.601 luma of encoded RGB: (…, 3, H, W) → (…, 1, H, W)."""
    return (rgb * constant(LUMA, rgb).view(3, 1, 1)).sum(dim=-3, keepdim=True)


def srgb_to_linear(encoded):
    """IEC 61966-2-1 decoding of an array or a tensor in [0, 1]; finite slopes."""
    where = torch.where if isinstance(encoded, Tensor) else np.where
    return where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1 encoding of an array in [0, 1]."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


# Structural similarity -------------------------------------------------------------------------


def gaussian_window(side: int, like: Tensor) -> Tensor:
    """SSIM's window along one axis, (side,) with sum 1, of the type and device of `like`; not to be
    changed in place."""
    return made_window(side, like.dtype, like.device)


@cache
def made_window(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        offsets = torch.arange(side, dtype=dtype, device=device) - (side - 1) / 2
        weights = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
        return weights / weights.sum()


def window_means(x: Tensor) -> Tensor:
    """Means under the window where it lies inside: (B, C, H, W) → (B, C, H − 10, W − 10).

    Images narrower than the window get one of their own size.
    """
    for axis in (2, 3):
        side = min(SSIM_SIDE, x.shape[axis])
        shape = [1, 1, 1, 1]
        shape[axis] = side
        kernel = gaussian_window(side, x).view(shape).expand(x.shape[1], 1, *shape[2:])
        with without_autocast(x):
            x = F.conv2d(x, kernel, groups=x.shape[1])
    return x


def ssim_map(x: Tensor, y: Tensor, means: Callable[[Tensor], Tensor] = window_means) -> Tensor:
    r"""Structural similarity at every position of the window, channel by channel, differentiable.

    .. math:: \frac{(2 \mu_x \mu_y + C_1)(2 \sigma_{xy} + C_2)}
        {(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 + \sigma_y^2 + C_2)}

    Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image Quality Assessment: From Error
    Visibility to Structural Similarity", IEEE TIP 13(4), 2004, Eq. (13), K1 0.01, K2 0.03, range 1.

    Args:
        x, y: (B, C, H, W), any values.
        means: weighted means of an image around each position.
    """
    mean_x, mean_y = means(x), means(y)
    var_x = means(x * x) - mean_x.square()
    var_y = means(y * y) - mean_y.square()
    covariance = means(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + SSIM_C1) * (2 * covariance + SSIM_C2)
    luminance = mean_x.square() + mean_y.square() + SSIM_C1
    return similarity / (luminance * (var_x + var_y + SSIM_C2))
