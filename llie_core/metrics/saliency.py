r"""Saliency maps against masks: MAE, F-measure, weighted F-measure, S-measure and E-measure.

- MAE: Perazzi et al., "Saliency filters", CVPR 2012.
- F-measure: Achanta et al., "Frequency-tuned salient region detection", CVPR 2009.
- Weighted F-measure: Margolin et al., "How to evaluate foreground maps?", CVPR 2014.
- S-measure: Fan et al., "Structure-measure: a new way to evaluate foreground maps", ICCV 2017.
- E-measure: Fan et al., "Enhanced-alignment measure for binary foreground map evaluation",
  IJCAI 2018.

Protocol (that of pysodmetrics 1.6.2, which published tables use). The published evaluation reads
8-bit files, so float maps are rounded to 8 bits first. A mask is true above 128. Each prediction
is stretched to its own minimum and maximum; a constant one stays as it is. F and E are curves over
256 thresholds, averaged over the images before their maximum (``max_``) or mean (``avg_``) is
taken; ``adaptive_`` binarises each image at min(2 * mean, 1).

All measures but the weighted F follow from how often each grey value occurs inside and outside the
mask in each of four quadrants. So one count per batch, on its device, replaces every pass over
pixels, and the arithmetic after it is float64 on a few hundred numbers per image.
"""

import numpy as np
import torch
from torch import Tensor

from llie_core.metrics.resampling import OF_SETS, drawn_counts

EPS = np.spacing(1.0)
GREYS = np.arange(256)


class SaliencyScores:
    """Scores saliency maps over batches, whose images may differ in size from batch to batch.

    ``update`` takes predictions and masks ``(B, 1, H, W)``: float in [0, 1], uint8 in 0..255, or
    bool. ``compute`` gives the scores of all images so far; ``per_image`` their parts.
    """

    def __init__(self) -> None:
        self._parts: list[dict[str, np.ndarray]] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch; ValueError or TypeError where the two do not fit or are out of range."""
        _check_pair(prediction, target)
        grey = _as_8bit(prediction, "prediction").squeeze(1)  # (B, H, W)
        mask = _as_mask(target).squeeze(1)  # (B, H, W)
        counts = _quadrant_counts(grey, mask)  # (B, 4, 2, 256)
        low, span, value = _stretch(counts.sum((1, 2)))
        parts = _threshold_scores(counts.sum(1), value)
        parts["s"] = _s_measure(counts, value, low, span)
        maps = np.take_along_axis(value, grey.flatten(1).long().cpu().numpy(), axis=1)
        maps = maps.reshape(grey.shape)
        masks = mask.cpu().numpy()
        parts["weighted_f"] = np.array(
            [weighted_f_measure(*pair) for pair in zip(maps, masks, strict=True)]
        )
        self._parts.append(parts)

    def compute(self) -> dict[str, float]:
        """Return mae (lower is better) and max_f, avg_f, adaptive_f, weighted_f, s, max_e, avg_e,
        adaptive_e (higher is better), as fractions, over all images; ValueError without any."""
        count = len(self._joined()["mae"])
        return {name: float(of[0]) for name, of in self._means(np.ones((1, count))).items()}

    def drawn(self) -> dict[str, np.ndarray]:
        """Each score of `compute` in each draw of images, (draws,)."""
        return self._means(drawn_counts(len(self._joined()["mae"]), OF_SETS))

    def per_image(self) -> dict[str, Tensor]:
        """Return what averages to the set's scores, one float64 value an image, ``(N,)`` each.

        max_f and max_e are absent: they are maxima of a mean curve, not means over images.
        """
        parts = self._joined()
        parts["avg_f"] = parts.pop("f_curve").mean(1)
        parts["avg_e"] = parts.pop("e_curve").mean(1)
        return {name: torch.from_numpy(values) for name, values in parts.items()}

    def _means(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """The scores (draws,) of images taken so often in each draw: counts (draws, N)."""
        weights = counts / counts.sum(1, keepdims=True)
        scores = {name: weights @ values for name, values in self._joined().items()}
        for name in ("f", "e"):
            curves = scores.pop(f"{name}_curve")  # (draws, 256)
            scores |= {f"max_{name}": curves.max(1), f"avg_{name}": curves.mean(1)}
        return scores

    def _joined(self) -> dict[str, np.ndarray]:
        if not self._parts:
            raise ValueError("saliency scores need at least one image: call update first")
        return {name: np.concatenate([p[name] for p in self._parts]) for name in self._parts[0]}


def weighted_f_measure(value: np.ndarray, mask: np.ndarray, beta2: float = 1.0) -> float:
    r"""Return the weighted F-measure of Margolin et al. of one map.

    An error inside the mask counts for no more than its 7x7 Gaussian surroundings (sigma 5), where
    a background pixel stands for the nearest mask pixel; an error outside weighs
    :math:`2 - 0.5^{d/5}` at the distance :math:`d` from the mask.

    Args:
        value: ``(H, W)`` float64 in [0, 1], already stretched. mask: ``(H, W)`` bool.

    Returns:
        A fraction, 0 for an empty mask.
    """
    from scipy.ndimage import correlate1d, distance_transform_edt

    if not mask.any():
        return 0.0
    distance, nearest = distance_transform_edt(~mask, return_indices=True)
    error = np.abs(value - mask)
    gaussian = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 5.0**2))
    gaussian /= gaussian.sum()
    smooth = error[tuple(nearest)]
    for axis in (0, 1):
        smooth = correlate1d(smooth, gaussian, axis, mode="constant")
    missed = np.minimum(error, smooth)[mask]
    true_positive = missed.size - missed.sum()
    false_positive = (error * (2 - 0.5 ** (distance / 5)))[~mask].sum()
    recall = true_positive / missed.size
    precision = true_positive / (true_positive + false_positive + EPS)
    return float((1 + beta2) * recall * precision / (recall + beta2 * precision + EPS))


def _quadrant_counts(grey: Tensor, mask: Tensor) -> np.ndarray:
    """Count grey values ``(B, H, W)`` by quadrant about the mask's centroid and by mask:
    ``(B, 4, 2, 256)`` float64."""
    batch, height, width = grey.shape
    place = torch.arange(batch, device=grey.device).view(-1, 1, 1) * 2
    for size, other in ((height, 2), (width, 1)):
        axis = torch.arange(size, device=grey.device)
        total = (mask.sum(other) * axis).sum(1).double()
        centre = (total / mask.sum((1, 2)).clamp(min=1)).round()  # half to even, as the reference
        beyond = (axis > centre[:, None]).long()  # (B, H) or (B, W)
        place = (place + beyond.unsqueeze(other)) * 2
    place = (place + mask) * 256 + grey  # (B, H, W)
    counts = torch.bincount(place.flatten(), minlength=batch * 2048)
    return counts.view(batch, 4, 2, 256).cpu().numpy().astype(np.float64)


def _stretch(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lowest grey ``(B, 1)``, span ``(B, 1)`` and the stretched value of each grey value
    ``(B, 256)``, from the counts of the grey values ``(B, 256)``."""
    present = counts > 0
    low = present.argmax(1)[:, None]
    high = 255 - present[:, ::-1].argmax(1)[:, None]
    constant = low == high
    low, high = np.where(constant, 0, low), np.where(constant, 255, high)
    # Divided by 255 before the subtraction, as the reference does: the thresholds below truncate
    # 255 * value, so the last bit decides where a grey value falls.
    return low, high - low, (GREYS / 255 - low / 255) / (high / 255 - low / 255)


def _threshold_scores(counts: np.ndarray, value: np.ndarray) -> dict[str, np.ndarray]:
    """Return MAE, adaptive F and E ``(B,)``, the curves of F and E ``(B, 256)``, from counts
    ``(B, 2, 256)`` of the grey values outside and inside the mask."""
    background, foreground = (counts * value[:, None]).sum(2).T  # (B,) each
    outside, inside = counts.sum(2).T
    size = outside + inside
    level = np.floor(255 * value)
    reached = level[:, :, None] >= GREYS  # (B, grey, threshold)
    false_positive, true_positive = (counts @ reached.astype(float)).swapaxes(0, 1)  # (B, 256)
    adaptive = np.minimum(2 * (background + foreground) / size, 1)
    above = value >= adaptive[:, None]  # (B, 256)
    adaptive_fp, adaptive_tp = (counts * above[:, None]).sum(2).T
    return {
        "mae": (background + inside - foreground) / size,
        "adaptive_f": _f_measure(adaptive_tp, adaptive_fp, inside),
        "adaptive_e": _e_measure(adaptive_tp, adaptive_fp, inside, size),
        "f_curve": _f_measure(true_positive, false_positive, inside[:, None]),
        "e_curve": _e_measure(true_positive, false_positive, inside[:, None], size[:, None]),
    }


def _f_measure(tp: np.ndarray, fp: np.ndarray, inside: np.ndarray, beta2: float = 0.3):
    """(1 + b2) P R / (b2 P + R) with P and R written out; 0 where nothing is hit."""
    return (1 + beta2) * tp / np.maximum(beta2 * inside + tp + fp, EPS)


def _e_measure(tp: np.ndarray, fp: np.ndarray, inside: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Mean of the enhanced alignment of two binary maps, summed over the four kinds of pixel.

    The mean divides by size - 1 as the authors do, so a perfect map scores size / (size - 1).
    """
    fn, tn = inside - tp, size - inside - fp
    on, inside_mean = (tp + fp) / size, inside / size
    total = 0
    for count, p, g in ((tp, 1, 1), (fp, 1, 0), (fn, 0, 1), (tn, 0, 0)):
        a, b = p - on, g - inside_mean
        total = total + count * (1 + 2 * a * b / (a * a + b * b + EPS)) ** 2 / 4
    total = np.where(inside == 0, tn, np.where(inside == size, tp, total))
    return total / np.maximum(size - 1, 1)


def _s_measure(
    counts: np.ndarray, value: np.ndarray, low: np.ndarray, span: np.ndarray, alpha: float = 0.5
) -> np.ndarray:
    """S-measure ``(B,)`` from the counts ``(B, 4, 2, 256)``."""
    outside, inside = counts.sum((1, 3)).T  # (B,)
    share = inside / (outside + inside)
    mean = (counts.sum((1, 2)) * value).sum(1) / (outside + inside)
    by_mask = counts.sum(1)  # (B, 2, 256)
    like_object = share * _s_object(by_mask[:, 1], value)
    like_object = like_object + (1 - share) * _s_object(by_mask[:, 0], 1 - value)
    mixed = np.maximum(alpha * like_object + (1 - alpha) * _s_region(counts, low, span), 0)
    return np.where(share == 0, 1 - mean, np.where(share == 1, mean, mixed))


def _s_object(counts: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Object similarity of one region ``(B,)``: high for a large and even value."""
    size = counts.sum(1)
    mean = (counts * value).sum(1) / np.maximum(size, 1)
    variance = (counts * (value - mean[:, None]) ** 2).sum(1) / np.maximum(size - 1, 1)
    return 2 * mean / (mean**2 + 1 + np.sqrt(variance) + EPS)


def _s_region(counts: np.ndarray, low: np.ndarray, span: np.ndarray) -> np.ndarray:
    """SSIM of four quadrants, weighted by their areas ``(B,)``.

    Moments are taken of the whole grey values: so a constant quadrant has a variance of exactly 0,
    on which the two special cases hang.
    """
    area = counts.sum((2, 3))  # (B, 4)
    size = np.maximum(area, 1)
    centre = (counts.sum(2) * GREYS).sum(2) / size
    x, y = (centre - low) / span, counts[:, :, 1].sum(2) / size
    deviation = (GREYS - centre[:, :, None]) / span[:, :, None]  # (B, 4, 256)
    var_x = (counts.sum(2) * deviation**2).sum(2) / size  # n or n - 1 cancels below
    var_y = y * (1 - y)
    inner, outer = ((counts[:, :, m] * deviation).sum(2) for m in (1, 0))
    covariance = (inner * (1 - y) - outer * y) / size
    above, below = 4 * x * y * covariance, (x**2 + y**2) * (var_x + var_y)
    ssim = np.where(above != 0, above / (below + EPS), below == 0)
    return (ssim * area).sum(1) / area.sum(1)


def _check_pair(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and mask {tuple(target.shape)} differ in shape: "
            "resize the prediction to the mask first"
        )
    if prediction.dim() != 4 or prediction.shape[1] != 1 or prediction.numel() == 0:
        raise ValueError(
            f"saliency maps must be (B, 1, H, W) and not empty, got {tuple(prediction.shape)}"
        )
    if prediction.device != target.device:
        raise ValueError(f"prediction is on {prediction.device}, the mask on {target.device}")


def _as_8bit(image: Tensor, name: str) -> Tensor:
    """Return the uint8 image that a PNG file would hold."""
    if image.dtype == torch.uint8:
        return image
    if image.dtype == torch.bool:
        return image.to(torch.uint8) * 255
    if not image.is_floating_point():
        raise TypeError(f"{name} must be float in [0, 1], uint8 or bool, got {image.dtype}")
    image = image.detach().float()
    low, high = (bound.item() for bound in image.aminmax())
    if not (low >= -1e-4 and high <= 1 + 1e-4):  # also false for NaN
        raise ValueError(f"{name} must lie in [0, 1] without NaN, got [{low:g}, {high:g}]")
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _as_mask(target: Tensor) -> Tensor:
    if target.dtype == torch.uint8 and target.max() == 1:
        raise ValueError("the uint8 mask holds 0 and 1 only: pass it as bool, or scaled to 0..255")
    return _as_8bit(target, "mask") > 128
