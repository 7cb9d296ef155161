"""No-reference naturalness: NIQE, BRISQUE, SSEQ as their authors' own code computes them.

NIQE: Mittal, Soundararajan, Bovik, IEEE Signal Processing Letters 20(3), 2013.
BRISQUE: Mittal, Moorthy, Bovik, IEEE TIP 21(12), 2012.
SSEQ: Liu, Liu, Huang, Bovik, Signal Processing: Image Communication 29(8), 2014.

All take `(B, 3, H, W)` float RGB in [0, 1], which is rounded to 8 bits and to 8-bit grey first, and
return `(B,)` float64; lower is better. Parameters are the authors' (`llie weights fetch niqe`, …).
The authors' code is MATLAB; what other ports get wrong is marked "MATLAB:" below, or in matlab.py.

An image of one grey level has no structure and no score: NaN. (The authors' code gives NaN, too,
or for some levels a number that only the rounding of the local mean decides.) In exactly flat
regions of an image their NIQE and BRISQUE depend on the sign of such rounding errors. So the window
is summed here product by product in float64, row by row, which every device rounds alike, rather
than by a faster convolution (0.02 apart on a dark image).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
import torch.nn.functional as F

from llie_core.imaging import TooSmall, check_images
from llie_core.metrics.matlab import grey_levels, imresize, read_mat, to_tensor
from llie_core.metrics.quality import by_chunks
from llie_core.metrics.svm import (
    Classifier,
    Regressor,
    classifier_from_mat,
    ranges_from_text,
    regressor_from_mat,
    regressor_from_text,
    scale,
)
from llie_core.weights import find

_BLOCK = 96  # NIQE's blocks, in pixels
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # neighbours: right, below, both diagonals
_FLAT = 1e-9  # cosine coefficients below this are rounding errors of an exact zero


@torch.no_grad()
def niqe(
    images: torch.Tensor, parameters: tuple[torch.Tensor, torch.Tensor] | None = None
) -> torch.Tensor:
    r"""Natural image quality evaluator: distance of the image's statistics from pristine ones.

    .. math:: \sqrt{(\nu - \mu)^T \left(\tfrac{1}{2}(\Sigma_\nu + \Sigma)\right)^+ (\nu - \mu)}

    Args:
        images: `(B, 3, H, W)` float RGB in [0, 1], at least two whole blocks of 96 × 96; the
            remainder to the right and below is dropped, as the authors do.
        parameters: μ `(36,)` and Σ `(36, 36)`; the authors' from the weights folder by default.

    Returns:
        `(B,)` float64 ≥ 0, lower is more natural; NaN with fewer than two structured blocks.

    Raises:
        WeightsNotAvailable: no parameters given and none in the weights folder.
    """
    features = niqe_features(images)  # (B, n, 36)
    mean, covariance = (p.to(features) for p in parameters or _niqe_parameters())
    whole = ~features.isnan().any(dim=-1, keepdim=True)  # (B, n, 1)
    # MATLAB: nanmean drops single values, nancov drops whole rows.
    center = features.nanmean(dim=1)  # (B, 36)
    count = whole.sum(dim=1, keepdim=True)  # (B, 1, 1)
    kept = torch.where(whole, features, 0.0)
    deviation = torch.where(whole, kept - kept.sum(dim=1, keepdim=True) / count, 0.0)
    spread = deviation.mT @ deviation / (count - 1)  # (B, 36, 36)
    scored = (count[:, 0, 0] > 1) & ~center.isnan().any(dim=-1)
    spread = torch.where(scored[:, None, None], spread, 0.0)
    inverse = torch.linalg.pinv((covariance + spread) / 2, hermitian=True)
    distance = torch.einsum("bi,bij,bj->b", center - mean, inverse, center - mean)
    return torch.where(scored, distance.clamp(min=0).sqrt(), torch.nan)


@torch.no_grad()
def brisque(images: torch.Tensor) -> torch.Tensor:
    """Blind/referenceless image spatial quality: support vector regression on 36 statistics.

    Args:
        images: `(B, 3, H, W)` float RGB in [0, 1], both sides at least 16.

    Returns:
        `(B,)` float64, about 0 (best) to 100; NaN for an image without structure.

    Raises:
        WeightsNotAvailable: the model or its ranges are not in the weights folder.
    """
    model, ranges = _brisque_model(str(find("brisque")), str(find("brisque-range")))
    features = brisque_features(images)
    scaled = scale(features, *ranges)
    return model.predict(scaled.cpu()).to(features.device)


@torch.no_grad()
def sseq(images: torch.Tensor) -> torch.Tensor:
    """Spatial-spectral entropy-based quality: a classifier of five distortions weighs five scores.

    Args:
        images: `(B, 3, H, W)` float RGB in [0, 1], both sides at least 33.

    Returns:
        `(B,)` float64, about 0 (best) to 100; NaN for an image without structure.

    Raises:
        WeightsNotAvailable: the model is not in the weights folder.
    """
    model = _sseq_model(str(find("sseq")))
    features = sseq_features(images)
    scaled = scale(features, model.lowest, model.highest).cpu()
    scores = torch.stack([part.predict(scaled) for part in model.regressors], dim=-1)  # (B, 5)
    quality = (model.classifier.probabilities(scaled) * scores).sum(dim=-1)
    return (quality * 50 + 50).to(features.device)


def niqe_features(images: torch.Tensor) -> torch.Tensor:
    """The 36 statistics of each block: `(B, n, 36)`, 18 at full and 18 at half size."""
    check_images("niqe", _BLOCK, images=images)
    rows, columns = (side // _BLOCK for side in images.shape[-2:])
    if rows * columns < 2:
        size = f"{images.shape[-2]}×{images.shape[-1]}"
        raise TooSmall(f"niqe: images are {size}; two whole blocks of 96×96 are needed")

    def features(part: torch.Tensor) -> torch.Tensor:
        grey = grey_levels(part)[:, : rows * _BLOCK, : columns * _BLOCK]
        scales = []
        for side in (_BLOCK, _BLOCK // 2):
            normalised = normalise(grey, border="replicate")
            blocks = normalised.unflatten(2, (columns, side)).unflatten(1, (rows, side))
            blocks = blocks.transpose(2, 3).flatten(1, 2)  # (B, n, side, side)
            scales.append(_niqe_statistics(blocks))
            grey = imresize(grey, 0.5)
        return _nan_where_constant(torch.cat(scales, dim=-1), part)

    return by_chunks(features, images)


def brisque_features(images: torch.Tensor) -> torch.Tensor:
    """The 36 statistics of each image: `(B, 36)`, 18 at full and 18 at half size."""
    check_images("brisque", 16, images=images)

    def features(part: torch.Tensor) -> torch.Tensor:
        grey = grey_levels(part)
        scales = []
        for _ in range(2):
            # MATLAB: filter2 pads with zeros, so the border looks like an edge of the image.
            scales.append(_brisque_statistics(normalise(grey, border="constant")))
            grey = imresize(grey, 0.5)
        return _nan_where_constant(torch.cat(scales, dim=-1), part)

    return by_chunks(features, images)


def sseq_features(images: torch.Tensor) -> torch.Tensor:
    """The 12 entropy statistics of each image: `(B, 12)`, four at each of three sizes."""
    check_images("sseq", 33, images=images)

    def features(part: torch.Tensor) -> torch.Tensor:
        grey = grey_levels(part)
        statistics = []
        for _ in range(3):
            height, width = grey.shape[-2:]
            # MATLAB: blkproc fills incomplete blocks with zeros.
            padded = F.pad(grey, (0, -width % 8, 0, -height % 8))
            blocks = padded.unfold(1, 8, 8).unfold(2, 8, 8).flatten(1, 2)  # (B, n, 8, 8)
            for entropy in (_spatial_entropy(blocks), _spectral_entropy(blocks)):
                statistics += _middle_mean_and_skewness(entropy)
            # MATLAB: the image is uint8, so each smaller one is rounded and clipped (once, after
            # both directions: rounding between them misses the authors' features by 0.02).
            grey = (imresize(grey, 0.5) + 0.5).floor().clamp(0, 255)
        return _nan_where_constant(torch.stack(statistics, dim=-1), part)

    return by_chunks(features, images)


def _nan_where_constant(features: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Features (B, …) of images (B, 3, H, W), NaN for an image of one 8-bit grey level."""
    grey = grey_levels(images).flatten(1)
    constant = grey.amin(dim=1) == grey.amax(dim=1)
    return torch.where(constant.view(-1, *[1] * (features.ndim - 1)), torch.nan, features)


def normalise(grey: torch.Tensor, border: str) -> torch.Tensor:
    r"""Mean-subtracted contrast-normalised coefficients, :math:`(I - \mu) / (\sigma + 1)`.

    Args:
        grey: `(B, H, W)` float64, 0 to 255.
        border: "replicate" (NIQE) or "constant" (zeros, BRISQUE).

    Returns:
        `(B, H, W)`, with μ and σ under a 7×7 Gaussian of standard deviation 7/6.
    """
    mean = _blur(grey, border)
    deviation = (_blur(grey * grey, border) - mean * mean).abs().sqrt()
    return (grey - mean) / (deviation + 1)


def _blur(x: torch.Tensor, border: str) -> torch.Tensor:
    height, width = x.shape[-2:]
    padded = F.pad(x[:, None], (3, 3, 3, 3), mode=border)[:, 0]
    total = torch.zeros_like(x)
    for i, row in enumerate(_gaussian_window()):
        for j, weight in enumerate(row):
            # A product and a sum of their own: a fused multiply-add would round otherwise.
            total += padded[:, i : i + height, j : j + width] * weight
    return total


@cache
def _gaussian_window() -> list[list[float]]:
    # math.exp, not torch.exp, whose last bit depends on the processor.
    offsets, variance = range(-3, 4), (7 / 6) ** 2
    window = [[math.exp(-(x * x + y * y) / (2 * variance)) for x in offsets] for y in offsets]
    total = math.fsum(weight for row in window for weight in row)
    return [[weight / total for weight in row] for row in window]


def _niqe_statistics(blocks: torch.Tensor) -> torch.Tensor:
    """18 statistics of `(..., h, w)` coefficients: shape, scale, and those of four products."""
    shape, left, right = _fit_aggd(blocks.flatten(-2))
    to_scale = _scale_over_deviation(shape)
    statistics = [shape, (left + right) / 2 * to_scale]
    for shape, left, right in _fitted_products(blocks):
        to_scale = _scale_over_deviation(shape)
        mean = _aggd_mean(shape, left, right)
        statistics += [shape, mean, left * to_scale, right * to_scale]
    return torch.stack(statistics, dim=-1)


def _brisque_statistics(coefficients: torch.Tensor) -> torch.Tensor:
    """18 statistics of `(B, H, W)` coefficients: shape, variance, and those of four products."""
    statistics = [*_fit_ggd(coefficients.flatten(-2))]
    for shape, left, right in _fitted_products(coefficients):
        statistics += [shape, _aggd_mean(shape, left, right), left.square(), right.square()]
    return torch.stack(statistics, dim=-1)


def _fitted_products(x: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    for shift in _SHIFTS:  # MATLAB: circshift, so the last column meets the first
        yield _fit_aggd((x * x.roll(shift, dims=(-2, -1))).flatten(-2))


def _fit_aggd(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Asymmetric generalised Gaussian of `(..., N)` by moments: shape, left and right deviation."""
    squares = x.square()
    negative, positive = x < 0, x > 0
    # MATLAB: the mean of no values is NaN, here 0/0.
    left = ((squares * negative).sum(-1) / negative.sum(-1)).sqrt()
    right = ((squares * positive).sum(-1) / positive.sum(-1)).sqrt()
    ratio = left / right
    generalised = x.abs().mean(-1).square() / squares.mean(-1)
    normalised = generalised * (ratio**3 + 1) * (ratio + 1) / (ratio.square() + 1).square()
    return _nearest_shape(normalised, inverse=False), left, right


def _fit_ggd(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised Gaussian of `(..., N)` by moments: shape and variance."""
    variance = x.square().mean(-1)
    return _nearest_shape(variance / x.abs().mean(-1).square(), inverse=True), variance


def _nearest_shape(ratio: torch.Tensor, inverse: bool) -> torch.Tensor:
    """The shape 0.2, 0.201, …, 10 whose moment ratio (or its inverse) is nearest to `ratio`."""
    shapes, table = _shape_table()
    shapes, table = shapes.to(ratio.device), table.to(ratio.device)
    if inverse:
        shapes, table = shapes.flip(0), 1 / table.flip(0)  # searchsorted wants it ascending
    above = torch.searchsorted(table, ratio.contiguous()).clamp(1, len(table) - 1)
    nearer = torch.where(ratio - table[above - 1] <= table[above] - ratio, above - 1, above)
    # MATLAB: the nearest of NaN or Inf is the first of the list.
    return torch.where(ratio.isfinite(), shapes[nearer], 0.2)


@cache
def _shape_table() -> tuple[torch.Tensor, torch.Tensor]:
    shapes = 0.2 + 0.001 * torch.arange(9801, dtype=torch.float64)
    log_ratio = 2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes)
    return shapes, log_ratio.exp()


def _scale_over_deviation(shape: torch.Tensor) -> torch.Tensor:
    return ((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2).exp()


def _aggd_mean(shape: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    gammas = (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp()
    return (right - left) * _scale_over_deviation(shape) * gammas


def _spatial_entropy(blocks: torch.Tensor) -> torch.Tensor:
    """Entropy in bits of the grey levels of `(B, n, 8, 8)` blocks: `(B, n)`."""
    levels = blocks.flatten(2).long()  # (B, n, 64)
    owner = torch.arange(levels[..., 0].numel(), device=levels.device).view(*levels.shape[:2], 1)
    counts = torch.bincount((owner * 256 + levels).flatten(), minlength=owner.numel() * 256)
    share = counts.view(*levels.shape[:2], 256).double() / 64
    return -torch.xlogy(share, share).sum(dim=-1) / math.log(2)


def _spectral_entropy(blocks: torch.Tensor) -> torch.Tensor:
    """Entropy in bits of the cosine spectrum, without its mean, of `(B, n, 8, 8)`: `(B, n)`."""
    basis = _cosine_basis().to(blocks)
    spectrum = basis @ blocks @ basis.mT
    spectrum = torch.where(spectrum.abs() < _FLAT, 0.0, spectrum)
    spectrum[..., 0, 0] = 1e-8
    power = spectrum.square()
    share = power / power.sum(dim=(-2, -1), keepdim=True)
    share = torch.where(share == 0, 1e-8, share)
    return -(share * share.log2()).sum(dim=(-2, -1))


@cache
def _cosine_basis() -> torch.Tensor:
    k = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi * k[:, None] * (2 * k + 1) / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def _middle_mean_and_skewness(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of the middle 60 % of `(B, n)`, and the skewness of all of it."""
    ordered, count = values.sort(dim=-1).values, values.shape[-1]
    middle = ordered[:, math.ceil(count * 0.2) - 1 : math.ceil(count * 0.8)].mean(dim=-1)
    deviation = values - values.mean(dim=-1, keepdim=True)
    # An even field leaves only rounding errors, whose skewness means nothing.
    deviation = torch.where(deviation.abs() < _FLAT, 0.0, deviation)
    skewness = (deviation**3).mean(dim=-1) / deviation.square().mean(dim=-1) ** 1.5
    return middle, skewness


def _niqe_parameters() -> tuple[torch.Tensor, torch.Tensor]:
    content = read_mat(str(find("niqe")))
    return to_tensor(content["mu_prisparam"]).reshape(-1), to_tensor(content["cov_prisparam"])


@lru_cache(maxsize=2)
def _brisque_model(model: str, ranges: str) -> tuple[Regressor, tuple[torch.Tensor, torch.Tensor]]:
    return regressor_from_text(model, dimensions=36), ranges_from_text(ranges)


@dataclass(frozen=True)
class _SseqModel:
    lowest: torch.Tensor  # (12,)
    highest: torch.Tensor  # (12,)
    classifier: Classifier
    regressors: list[Regressor]


@lru_cache(maxsize=2)
def _sseq_model(path: str) -> _SseqModel:
    content = read_mat(path)
    classifier = classifier_from_mat(content["svmmodel"])
    regressors = [regressor_from_mat(cell) for cell in content["svrmodel"].ravel()]
    lowest, highest = (to_tensor(content[key]).reshape(-1) for key in ("fmin", "fmax"))
    return _SseqModel(lowest, highest, classifier, regressors)
