"""Full-reference image quality: PSNR, four families of SSIM, MS-SSIM, FSIM, LPIPS, DISTS, GT-mean.

All take `(prediction, reference)`, `(B, 3, H, W)` float RGB in [0, 1], and return `(B,)`, one value
an image; the mean over a set is the caller's (`protocols.mean_defined`). PSNR and SSIM are computed
in float64 on the tensor's device (on the CPU where the device has no float64) and held to
scikit-image, torchmetrics and piq in the tests; FSIM is piq's, LPIPS and DISTS are torchmetrics'.

SSIM: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13(4), 2004. FSIM: Zhang, Zhang, Mou, Zhang,
IEEE TIP 20(8), 2011. LPIPS: Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018. MS-SSIM: Wang,
Simoncelli, Bovik, Asilomar 2003. DISTS: Ding, Ma, Wang, Simoncelli, IEEE TPAMI 44(5), 2022.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
import torch.nn.functional as F

from llie_core.imaging import SSIM_C2, SSIM_SIDE, check_images, gaussian_window, luma, ssim_map
from llie_core.names import check_choice

SSIM_FAMILIES = ("valid", "padded", "downsampled", "3d")
GT_MEAN_DEFINITIONS = (
    "grey-8bit",
    "rgb-output-unclamped",
    "bgr-weights",
    "all-channels-unclamped",
    "illumination-ratio",
)
LPIPS_BACKBONES = ("alex", "vgg")
_RADIUS = SSIM_SIDE // 2
_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_MS_SSIM_SIDE = SSIM_SIDE * 16  # a window at the fifth scale
# Images worked on at once hold about this many pixels: bounds the memory, and on a CPU the maps of
# one ordinary image just fit its cache.
CHUNK_PIXELS = {"cpu": 2**18, "cuda": 2**22}


def in_float64(x: torch.Tensor) -> torch.Tensor:
    """The tensor in float64; moved to the CPU first where its device has none (Apple's mps)."""
    return (x.cpu() if x.device.type == "mps" else x).to(torch.float64)


def by_chunks(function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
    """`function` over parts of the batch, joined: the same values, a bounded memory."""
    height, width = tensors[0].shape[-2:]
    pixels = CHUNK_PIXELS.get(tensors[0].device.type, CHUNK_PIXELS["cpu"])
    count = max(1, pixels // (height * width))
    parts = zip(*(x.split(count) for x in tensors), strict=True)
    return torch.cat([function(*part) for part in parts])


@torch.no_grad()
def psnr(
    prediction: torch.Tensor, reference: torch.Tensor, *, bounded: bool = True
) -> torch.Tensor:
    r"""Peak signal-to-noise ratio of each image, peak 1.

    .. math:: 10 \log_{10} \frac{1}{\operatorname{mean}((x - y)^2)}

    Args:
        prediction, reference: `(B, 3, H, W)` float RGB in [0, 1].
        bounded: False admits values outside [0, 1] (an image that GT-mean left unclamped).

    Returns:
        `(B,)` float64 in dB; infinity for identical images.
    """
    check_images("psnr", bounded=bounded, prediction=prediction, reference=reference)
    error = in_float64(prediction) - in_float64(reference)  # (B, 3, H, W)
    return -10 * torch.log10(error.square().mean(dim=(1, 2, 3)))


@torch.no_grad()
def ssim(
    prediction: torch.Tensor,
    reference: torch.Tensor,
    family: str = "valid",
    *,
    bounded: bool = True,
) -> torch.Tensor:
    r"""Structural similarity of each image: 11×11 Gaussian window, σ 1.5, K1 0.01, K2 0.03.

    Four families are in use, and their numbers differ; name the one you print:

    - `valid`: mean over the pixels whose whole window lies inside (the 2004 paper; scikit-image
      with Gaussian weights and population covariance).
    - `padded`: mean over all pixels of the image padded by reflection (torchmetrics ≥ 1.5).
    - `downsampled`: average-pooled first so that the short side is about 256 (the authors' code of
      2009 as piq computes it), then as `valid`.
    - `3d`: the window runs over the three channels too, all borders replicated (common in
      low-light code; about 0.1 higher).

    Args:
        prediction, reference: `(B, 3, H, W)` float RGB in [0, 1], both sides at least 11 (after
            the pooling, for `downsampled`).
        family: one of SSIM_FAMILIES.
        bounded: False admits values outside [0, 1] (an image that GT-mean left unclamped).

    Returns:
        `(B,)` float64, at most 1; the channels' mean.
    """
    check_choice(SSIM_FAMILIES, family=family)
    check_images("ssim", SSIM_SIDE, bounded=bounded, prediction=prediction, reference=reference)
    blur = {"padded": _blur_padded, "3d": _blur_3d}.get(family, _blur_valid)

    def values(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x, y = in_float64(x), in_float64(y)
        if family == "downsampled":
            step = max(1, round(min(x.shape[-2:]) / 256))
            x, y = F.avg_pool2d(x, step), F.avg_pool2d(y, step)
        return ssim_map(x, y, blur).mean(dim=(1, 2, 3))

    return by_chunks(values, prediction, reference)


@lru_cache
def _window() -> tuple[float, ...]:
    return tuple(gaussian_window(SSIM_SIDE, torch.empty(0, dtype=torch.float64)).tolist())


def _blur_valid(x: torch.Tensor) -> torch.Tensor:
    # A convolution, as for losses, takes three times as long in float64 on a CPU.
    for dim in (-2, -1):  # the Gaussian is separable
        length = x.shape[dim] - 2 * _RADIUS
        total = torch.zeros_like(x.narrow(dim, 0, length))
        for i, weight in enumerate(_window()):
            total.add_(x.narrow(dim, i, length), alpha=weight)
        x = total
    return x


def _blur_padded(x: torch.Tensor) -> torch.Tensor:
    return _blur_valid(F.pad(x, (_RADIUS,) * 4, mode="reflect"))


def _blur_3d(x: torch.Tensor) -> torch.Tensor:
    x = _blur_valid(F.pad(x, (_RADIUS,) * 4, mode="replicate"))
    mix = x.new_zeros(3, 3)  # the window over three channels, the outer two replicated outwards
    for channel in range(3):
        for offset, weight in zip(range(-_RADIUS, _RADIUS + 1), _window(), strict=True):
            mix[channel, min(max(channel + offset, 0), 2)] += weight
    return torch.einsum("oc,bchw->bohw", mix, x)


@torch.no_grad()
def ms_ssim(prediction: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Multi-scale SSIM of each image, as torchmetrics has it: five scales, halved by 2 × 2 means.

    Contrast and structure are means over whole windows of all channels, and luminance joins them at
    the last scale, where the borders are reflected. A negative mean counts as 0.

    Args:
        prediction, reference: `(B, 3, H, W)` float RGB in [0, 1], both sides at least 176.

    Returns:
        `(B,)` float64 in [0, 1].
    """
    check_images("ms_ssim", _MS_SSIM_SIDE, prediction=prediction, reference=reference)

    def values(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x, y = in_float64(x), in_float64(y)
        found = torch.ones(len(x), dtype=x.dtype, device=x.device)
        for weight in _MS_SSIM_WEIGHTS[:-1]:
            found *= _contrast(x, y).mean(dim=(1, 2, 3)).clamp(min=0) ** weight
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        last = ssim_map(x, y, _blur_padded).mean(dim=(1, 2, 3))
        return found * last.clamp(min=0) ** _MS_SSIM_WEIGHTS[-1]

    return by_chunks(values, prediction, reference)


def _contrast(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """SSIM without its luminance, over whole windows: (B, 3, H − 10, W − 10)."""
    mean_x, mean_y = _blur_valid(x), _blur_valid(y)
    var_x = _blur_valid(x * x) - mean_x.square()
    var_y = _blur_valid(y * y) - mean_y.square()
    covariance = _blur_valid(x * y) - mean_x * mean_y
    return (2 * covariance + SSIM_C2) / (var_x + var_y + SSIM_C2)


@torch.no_grad()
def fsim(
    prediction: torch.Tensor, reference: torch.Tensor, chromatic: bool = False
) -> torch.Tensor:
    """Feature similarity (phase congruency and gradient) of each image, by piq.

    Args:
        prediction, reference: `(B, 3, H, W)` float RGB in [0, 1], both sides at least 16.
        chromatic: True gives FSIMc, which adds the I and Q channels (piq's own default).

    Returns:
        `(B,)` float64 in (0, 1].
    """
    import piq

    check_images("fsim", 16, prediction=prediction, reference=reference)

    def values(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x, y = in_float64(x).clamp(0, 1), in_float64(y).clamp(0, 1)
        return piq.fsim(x, y, reduction="none", chromatic=chromatic)

    return by_chunks(values, prediction, reference)


@torch.no_grad()
def lpips(
    prediction: torch.Tensor,
    reference: torch.Tensor,
    backbone: str = "alex",
    network: torch.nn.Module | None = None,
) -> torch.Tensor:
    """Learned perceptual distance of each image (version 0.1, the authors' linear heads).

    Nothing is downloaded: the ImageNet backbone is read from the weights folder.

    Args:
        prediction, reference: `(B, 3, H, W)` float RGB in [0, 1], both sides at least 32.
        backbone: "alex" or "vgg".
        network: from `lpips_network`; overrides `backbone` and the weights folder.

    Returns:
        `(B,)` float64 ≥ 0; 0 for identical images.

    Raises:
        WeightsNotAvailable: the backbone is not in the weights folder.
    """
    check_images("lpips", 32, prediction=prediction, reference=reference)
    check_choice(LPIPS_BACKBONES, backbone=backbone)
    network = (network or _stored_network(backbone)).to(prediction.device)

    def values(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return network(x.float(), y.float(), normalize=True).flatten().cpu().double()

    return by_chunks(values, prediction, reference).to(in_float64(prediction[:1]).device)


def lpips_network(backbone: str, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """torchmetrics' LPIPS network with `state` as backbone, a torchvision state dict.

    Args:
        backbone: "alex" (torchvision's alexnet) or "vgg" (vgg16).
        state: at least the `features.*` tensors of that model.

    Raises:
        ValueError: unknown backbone, or a tensor that is missing or of another shape.
    """
    check_choice(LPIPS_BACKBONES, backbone=backbone)
    # The library's public class would download the backbone.
    from torchmetrics.functional.image.lpips import _LPIPS

    with torch.random.fork_rng(devices=[]):
        network = _LPIPS(net=backbone, pnet_rand=True)
    for name, parameter in network.net.named_parameters():  # "slice2.3.weight" is features.3.weight
        key = "features." + name.split(".", 1)[1]
        if key not in state or state[key].shape != parameter.shape:
            raise ValueError(f"lpips: the {backbone} backbone needs {key} {tuple(parameter.shape)}")
        parameter.data.copy_(state[key])
    return network.requires_grad_(False).eval()


@torch.no_grad()
def dists(
    prediction: torch.Tensor, reference: torch.Tensor, network: torch.nn.Module | None = None
) -> torch.Tensor:
    """Deep image structure and texture similarity of each image: a distance on VGG16's features.

    The 2,950 weights of the features come with torchmetrics; the ImageNet backbone is LPIPS', read
    from the weights folder. Nothing is downloaded. The image is not resized (the authors' code
    shrinks a short side above 256 to 256 unless told otherwise).

    Args:
        prediction, reference: `(B, 3, H, W)` float RGB in [0, 1], both sides at least 32.
        network: from `dists_network`; overrides the weights folder.

    Returns:
        `(B,)` float64; 0 for identical images, up to rounding.

    Raises:
        WeightsNotAvailable: the backbone (lpips-vgg) is not in the weights folder.
    """
    check_images("dists", 32, prediction=prediction, reference=reference)
    network = (network or _stored_network("vgg", of_dists=True)).to(prediction.device)

    def values(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return network(x.float(), y.float()).reshape(len(x)).cpu().double()

    return by_chunks(values, prediction, reference).to(in_float64(prediction[:1]).device)


def dists_network(state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """torchmetrics' DISTS network with `state` as backbone, a state dict of torchvision's vgg16.

    Raises:
        ValueError: a tensor that is missing or of another shape.
    """
    from unittest.mock import patch

    from torchmetrics.functional.image import dists as library
    from torchvision.models import vgg16

    with torch.device("meta"):
        empty = vgg16()
    with torch.random.fork_rng(devices=[]), patch.object(library, "vgg16", lambda **_: empty):
        network = library.DISTSNetwork()  # itself it would download the backbone
    filled = {}
    for name, parameter in network.named_parameters():  # "stage2.5.weight" is features.5.weight
        if name.startswith("stage"):
            key = "features." + name.split(".", 1)[1]
            if key not in state or state[key].shape != parameter.shape:
                raise ValueError(f"dists: the backbone needs {key} {tuple(parameter.shape)}")
            filled[name] = state[key]
    network.load_state_dict(filled, strict=False, assign=True)
    return network.requires_grad_(False).eval()


def _stored_network(backbone: str, of_dists: bool = False) -> torch.nn.Module:
    """The network of LPIPS or DISTS with a backbone of the weights folder."""
    from llie_core.weights import find

    return _loaded_network(backbone, of_dists, str(find(f"lpips-{backbone}")))


@lru_cache(maxsize=3)
def _loaded_network(backbone: str, of_dists: bool, path: str) -> torch.nn.Module:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return dists_network(state) if of_dists else lpips_network(backbone, state)


@torch.no_grad()
def gt_mean(
    prediction: torch.Tensor, reference: torch.Tensor, definition: str = "grey-8bit"
) -> torch.Tensor:
    """The prediction scaled to the reference's mean brightness, by one of five definitions.

    GT-mean lets a method see the answer's brightness and adds 2–5 dB on LOL; published code holds
    five definitions, so a score names the one it used:

    - `grey-8bit`: mean grey over mean grey, both of 8-bit images (grey too is rounded); clipped.
    - `rgb-output-unclamped`: the reference's grey mean over the prediction's mean of all channels;
      not clipped.
    - `bgr-weights`: mean grey over mean grey with the weights of R and B swapped; clipped.
    - `all-channels-unclamped`: mean of all channels over mean of all channels; not clipped.
    - `illumination-ratio`: no operation on images: the run gives the network the true ratio of
      brightness as an input, and its protocol says so. Asked for here it raises ValueError.

    Args:
        prediction, reference: `(B, 3, H, W)` float RGB in [0, 1].
        definition: one of GT_MEAN_DEFINITIONS.

    Returns:
        `(B, 3, H, W)` in the prediction's dtype. An all-black prediction stays black.
    """
    check_choice(GT_MEAN_DEFINITIONS, definition=definition)
    if definition == "illumination-ratio":
        raise ValueError(
            "gt_mean: 'illumination-ratio' is an input of the network, not an operation on its "
            "output; run the model with the ratio and score that under its protocol"
        )
    check_images("gt_mean", prediction=prediction, reference=reference)
    x, y = in_float64(prediction), in_float64(reference)
    if definition == "grey-8bit":
        x, y = to_uint8_levels(x), to_uint8_levels(y)
        ratio = _ratio(to_uint8_levels(luma(y)), to_uint8_levels(luma(x)))
    elif definition == "bgr-weights":
        ratio = _ratio(luma(y.flip(1)), luma(x.flip(1)))
    elif definition == "rgb-output-unclamped":
        ratio = _ratio(luma(y), x)
    else:
        ratio = _ratio(y, x)
    adjusted = x * ratio
    adjusted = adjusted if definition.endswith("unclamped") else adjusted.clamp(0, 1)
    return adjusted.to(prediction)


def _ratio(reference: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    numerator = reference.mean(dim=(1, 2, 3), keepdim=True)
    denominator = prediction.mean(dim=(1, 2, 3), keepdim=True)
    return torch.where(denominator > 0, numerator / denominator, 1.0)  # (B, 1, 1, 1)


def to_uint8_levels(x: torch.Tensor) -> torch.Tensor:
    """Clamp to [0, 1] and round to the 256 levels that an 8-bit file keeps."""
    return (x.clamp(0, 1) * 255).round() / 255
