"""Full-reference image quality: PSNR, four families of SSIM, FSIM, LPIPS, and GT-mean.

All take `(prediction, reference)`, `(B, 3, H, W)` float RGB in [0, 1], and return `(B,)`, one value
an image; the mean over a set is the caller's. PSNR and SSIM are computed in float64 on the
tensor's device (on the CPU where the device has no float64) and held to scikit-image, torchmetrics
and piq in the tests; FSIM is piq's, LPIPS the lpips package's.

SSIM: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13(4), 2004. FSIM: Zhang, Zhang, Mou, Zhang,
IEEE TIP 20(8), 2011. LPIPS: Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
import torch.nn.functional as F

SSIM_FAMILIES = ("valid", "padded", "downsampled", "3d")
GT_MEAN_DEFINITIONS = (
    "grey-8bit",
    "rgb-output-unclamped",
    "bgr-weights",
    "all-channels-unclamped",
    "illumination-ratio",
)
LPIPS_BACKBONES = ("alex", "vgg")
GREY = (0.299, 0.587, 0.114)  # BT.601 luma weights of R, G, B
_RADIUS = 5  # of SSIM's 11×11 window
# Images worked on at once hold about this many pixels: bounds the memory, and on a CPU the maps of
# one ordinary image just fit its cache.
_CHUNK_PIXELS = {"cpu": 2**18, "cuda": 2**22}


def check_images(metric: str, smallest: int, bounded: bool = True, **images: torch.Tensor) -> None:
    """Refuse what no metric can score, in one line that names the metric and the argument.

    `images` are `(B, 3, H, W)` float tensors of one shape on one device, B ≥ 1, H and W ≥
    `smallest`, finite, and in [0, 1] where `bounded`. Raises TypeError or ValueError.
    """
    for name, x in images.items():
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
            raise TypeError(f"{metric}: {name} must be a float tensor in [0, 1], not {kind}")
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"{metric}: {name} must be (B, 3, H, W), not {tuple(x.shape)}")
        if len(x) == 0:
            raise ValueError(f"{metric}: {name} is an empty batch; give at least one image")
        if min(x.shape[-2:]) < smallest:
            size = f"{x.shape[-2]}×{x.shape[-1]}"
            raise ValueError(f"{metric}: {name} is {size}; both sides must be at least {smallest}")
        _check_values(metric, name, x, bounded)
    _check_alike(metric, images)


def _check_values(metric: str, name: str, x: torch.Tensor, bounded: bool) -> None:
    if not torch.isfinite(x).all():
        raise ValueError(f"{metric}: {name} holds NaN or Inf; no score can be given")
    if bounded and (x.min() < -1e-4 or x.max() > 1 + 1e-4):
        found = f"{x.min().item():.4g} to {x.max().item():.4g}"
        raise ValueError(
            f"{metric}: {name} must lie in [0, 1] but holds {found}; "
            "clamp it, or divide 8-bit values by 255"
        )


def _check_alike(metric: str, images: Mapping[str, torch.Tensor]) -> None:
    (first, a), *others = images.items()
    for name, b in others:
        if a.shape != b.shape:
            raise ValueError(
                f"{metric}: {first} is {tuple(a.shape)} but {name} is {tuple(b.shape)}; "
                "they must have one shape"
            )
        if a.device != b.device:
            raise ValueError(f"{metric}: {first} is on {a.device} but {name} is on {b.device}")


def in_float64(x: torch.Tensor) -> torch.Tensor:
    """The tensor in float64; moved to the CPU first where its device has none (Apple's mps)."""
    return (x.cpu() if x.device.type == "mps" else x).to(torch.float64)


def by_chunks(function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
    """`function` over parts of the batch, joined: the same values, a bounded memory."""
    height, width = tensors[0].shape[-2:]
    pixels = _CHUNK_PIXELS.get(tensors[0].device.type, _CHUNK_PIXELS["cpu"])
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
    check_images("psnr", 1, bounded, prediction=prediction, reference=reference)
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
    if family not in SSIM_FAMILIES:
        raise ValueError(f"ssim: no family {family!r}; choose one of {', '.join(SSIM_FAMILIES)}")
    smallest = 2 * _RADIUS + 1
    check_images("ssim", smallest, bounded, prediction=prediction, reference=reference)
    blur = {"padded": _blur_padded, "3d": _blur_3d}.get(family, _blur_valid)

    def values(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x, y = in_float64(x), in_float64(y)
        if family == "downsampled":
            step = max(1, round(min(x.shape[-2:]) / 256))
            x, y = F.avg_pool2d(x, step), F.avg_pool2d(y, step)
        return _ssim_map(x, y, blur).mean(dim=(1, 2, 3))

    return by_chunks(values, prediction, reference)


def _ssim_map(x: torch.Tensor, y: torch.Tensor, blur: Callable) -> torch.Tensor:
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = blur(x), blur(y)  # (B, 3, H', W')
    product = mean_x * mean_y
    squares = mean_x.square().add_(mean_y.square())
    variances = blur(x * x + y * y).sub_(squares)  # σx² + σy²: only their sum is needed
    covariance = blur(x * y).sub_(product)
    # Eq. (13) of the 2004 paper
    numerator = (2 * product + c1) * (2 * covariance + c2)
    return numerator / ((squares + c1) * (variances + c2))


@lru_cache
def _window() -> tuple[float, ...]:
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-offsets.square() / (2 * 1.5**2))
    return tuple((weights / weights.sum()).tolist())


def _blur_valid(x: torch.Tensor) -> torch.Tensor:
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
    """Learned perceptual distance of each image (version 0.1, the package's own linear heads).

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
    network = network or _stored_lpips_network(backbone)
    network = network.to(prediction.device)

    def values(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return network(x.float(), y.float(), normalize=True).flatten().cpu().double()

    return by_chunks(values, prediction, reference).to(in_float64(prediction[:1]).device)


def lpips_network(backbone: str, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The lpips package's network with `state` as backbone, a torchvision state dict.

    Args:
        backbone: "alex" (torchvision's alexnet) or "vgg" (vgg16).
        state: at least the `features.*` tensors of that model.

    Raises:
        ValueError: unknown backbone, or a tensor that is missing or of another shape.
    """
    if backbone not in LPIPS_BACKBONES:
        raise ValueError(f"lpips: no backbone {backbone!r}; choose alex or vgg")
    from lpips import LPIPS

    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # lpips still calls torchvision by its older arguments
        network = LPIPS(net=backbone, pnet_rand=True, verbose=False)
    for name, parameter in network.net.named_parameters():  # "slice2.3.weight" is features.3.weight
        key = "features." + name.split(".", 1)[1]
        if key not in state or state[key].shape != parameter.shape:
            raise ValueError(f"lpips: the {backbone} backbone needs {key} {tuple(parameter.shape)}")
        parameter.data.copy_(state[key])
    return network.requires_grad_(False).eval()


def _stored_lpips_network(backbone: str) -> torch.nn.Module:
    from llie_core.weights import find

    if backbone not in LPIPS_BACKBONES:
        raise ValueError(f"lpips: no backbone {backbone!r}; choose alex or vgg")
    return _load_lpips_network(backbone, str(find(f"lpips-{backbone}")))


@lru_cache(maxsize=2)
def _load_lpips_network(backbone: str, path: str) -> torch.nn.Module:
    return lpips_network(backbone, torch.load(path, map_location="cpu", weights_only=True))


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
    if definition not in GT_MEAN_DEFINITIONS:
        names = ", ".join(GT_MEAN_DEFINITIONS)
        raise ValueError(f"gt_mean: no definition {definition!r}; choose one of {names}")
    if definition == "illumination-ratio":
        raise ValueError(
            "gt_mean: 'illumination-ratio' is an input of the network, not an operation on its "
            "output; run the model with the ratio and score that under its protocol"
        )
    check_images("gt_mean", 1, prediction=prediction, reference=reference)
    x, y = in_float64(prediction), in_float64(reference)
    if definition == "grey-8bit":
        x, y = to_uint8_levels(x), to_uint8_levels(y)
        ratio = _ratio(to_uint8_levels(_grey(y)), to_uint8_levels(_grey(x)))
    elif definition == "bgr-weights":
        ratio = _ratio(_grey(y.flip(1)), _grey(x.flip(1)))
    elif definition == "rgb-output-unclamped":
        ratio = _ratio(_grey(y), x)
    else:
        ratio = _ratio(y, x)
    adjusted = x * ratio
    adjusted = adjusted if definition.endswith("unclamped") else adjusted.clamp(0, 1)
    return adjusted.to(prediction)


def _ratio(reference: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    numerator = reference.mean(dim=(1, 2, 3), keepdim=True)
    denominator = prediction.mean(dim=(1, 2, 3), keepdim=True)
    return torch.where(denominator > 0, numerator / denominator, 1.0)  # (B, 1, 1, 1)


def _grey(x: torch.Tensor) -> torch.Tensor:
    weights = x.new_tensor(GREY).view(1, 3, 1, 1)
    return (x * weights).sum(dim=1, keepdim=True)


def to_uint8_levels(x: torch.Tensor) -> torch.Tensor:
    """Clamp to [0, 1] and round to the 256 levels that an 8-bit file keeps."""
    return (x.clamp(0, 1) * 255).round() / 255
