"""Retinex enhancers by filtering: MSR and NPE.

Both divide the image by an estimate of its illumination that one filter gives: Gaussians for MSR,
the bright-pass filter for NPE. Those that minimise a functional instead stand in variational.py.
"""

import numpy as np

from llie_core.models.classical import ArrayEnhancer, GainEnhancer


def gaussian_surround(image: np.ndarray, scale: float) -> np.ndarray:
    """Convolution with K·exp(−r²/c²), the image mirrored at its borders: (H, W, C) → the same.

    A mirrored image is diagonal in the cosine basis, so any scale costs the same.
    """
    from scipy.fft import dctn, idctn

    down, across = (np.pi * np.arange(n) / n for n in image.shape[:2])
    # exp(−r²/c²) has the spectrum exp(−c²ω²/4).
    gain = np.exp(-((scale / 2) ** 2) * (down[:, None] ** 2 + across**2))  # (H, W)
    return idctn(dctn(image, axes=(0, 1)) * gain[..., None], axes=(0, 1))


class MultiScaleRetinex(ArrayEnhancer):
    r"""MSR: the logarithm of each channel against its surround, at three scales, colour restored.

    D. J. Jobson, Z. Rahman, G. A. Woodell, "A Multiscale Retinex for Bridging the Gap Between
    Color Images and the Human Observation of Scenes", IEEE TIP 6(7), 1997.

    .. math:: R_i = \sum_n \tfrac{1}{N} (\log I_i - \log(F_n * I_i)), \quad
        F_n \propto e^{-r^2 / c_n^2}; \qquad
        C_i = \log(\alpha I_i) - \log \sum_j I_j; \qquad \text{result} \propto C_i R_i

    Args:
        scales: c_n in pixels. The paper's 15, 80, 250.
        alpha: strength of the colour restoration C. The paper's 125.
        clipped: share of the pixels that the last step clips at either end of each channel.

    Differs from the paper:
    - Its last step is a fixed gain and offset (192, −30), printed without the unit they apply in.
      Here each channel is stretched linearly so that 1 % of its pixels clip at either end, as
      A. B. Petro, C. Sbert, J.-M. Morel, "Multiscale Retinex", IPOL 2014, propose. The paper's
      factor β = 46 of C and the base of the logarithms cancel in that.
    - I is on the scale 1 … 256, so that black has a logarithm.
    - A constant channel has no surround to differ from; it is returned as it is.
    """

    def __init__(
        self,
        scales: tuple[float, ...] = (15, 80, 250),
        alpha: float = 125.0,
        clipped: float = 0.01,
    ):
        super().__init__()
        if not (scales and all(scale > 0 for scale in scales)):
            raise ValueError(f"scales={scales}: expected numbers of pixels above 0")
        if not 0 <= clipped < 0.5:
            raise ValueError(f"clipped={clipped}: expected a share in [0, 0.5)")
        self.scales, self.alpha, self.clipped = tuple(scales), alpha, clipped

    def enhance_array(self, image: np.ndarray) -> np.ndarray:
        intensity = 1 + 255 * image  # (H, W, 3)
        surrounds = [gaussian_surround(intensity, scale) for scale in self.scales]
        # The blur keeps to the image's range; rounding may leave it by a hair.
        logs = [np.log(surround.clip(1, 256)) for surround in surrounds]
        retinex = np.log(intensity) - np.mean(logs, axis=0)
        restoration = np.log(self.alpha * intensity / intensity.sum(axis=2, keepdims=True))
        result = restoration * retinex
        low, high = np.quantile(result, (self.clipped, 1 - self.clipped), axis=(0, 1))
        flat = high - low < 1e-6
        return np.where(flat, image, (result - low) / np.where(flat, 1, high - low))


class NaturalnessPreserved(GainEnhancer):
    r"""NPE: bright-pass decomposition, bi-log mapping of the illumination.

    S. Wang, J. Zheng, H.-M. Hu, B. Li, "Naturalness Preserved Enhancement Algorithm for
    Non-Uniform Illumination Images", IEEE TIP 22(9), 2013.

    1. L = max(R, G, B), on 256 levels. Q(k, l) is the share of neighbours of level l among all
       neighbours of pixels of level k; Q' its mean over 2·win + 1 levels around l, with win a
       1/32 of the range of L.
    2. Bright-pass filter: L_r is the mean of the neighbours in a window that are at least as
       bright as the pixel, weighted by Q'. So L_r ≥ L and the reflectance I/L_r stays in [0, 1].
    3. Bi-log: the histogram of L_r, each pixel weighted by log(L_r + 1), is matched to the shape
       log(z + 1) over the levels z; the result is I/L_r times the matched L_r.

    Args:
        window: side of the bright-pass window in pixels, odd.

    Differs from the paper: the window's side is not known to us from it; 15 is ours (7 to 31
    differ by 0.05 dB on LOL). Neighbours in Q are the eight around a pixel. Outside the image the
    nearest pixel stands in. Mean PSNR on LOL's eval15: 15.48 dB; paper 5 prints 16.97.
    """

    def __init__(self, window: int = 15):
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window={window}: expected an odd number of pixels")
        self.window = window

    def gain(self, image: np.ndarray) -> np.ndarray:
        levels = (image.max(axis=2) * 255).round().astype(np.int32)  # (H, W)
        illumination = bright_pass(levels, self.window)
        mapped = bi_log(illumination)
        return mapped / np.maximum(illumination, 1)


def neighbour_shares(levels: np.ndarray) -> np.ndarray:
    """Q'(k, l) of (H, W) integer levels → (256, 256) float32; rows of absent levels are zero."""
    from scipy.ndimage import uniform_filter1d

    height, width = levels.shape
    counts = np.zeros(256 * 256)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = levels[: height - down, max(-right, 0) : width - max(right, 0)]
        there = levels[down:, max(right, 0) : width - max(-right, 0)]
        for one, other in ((here, there), (there, here)):
            counts += np.bincount((one * 256 + other).ravel(), minlength=256 * 256)
    counts = counts.reshape(256, 256)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # Q
    win = (levels.max() - levels.min()) // 32
    return uniform_filter1d(shares, 2 * win + 1, axis=1, mode="constant").astype(np.float32)


def bright_pass(levels: np.ndarray, window: int) -> np.ndarray:
    """L_r: (H, W) int32 levels → (H, W) float64, at least the level itself."""
    height, width = levels.shape
    # One look-up a neighbour: the weight is Q' where it is at least as bright, else zero.
    weights = np.triu(neighbour_shares(levels)).ravel()
    padded = np.pad(levels, window // 2, mode="edge")
    row = levels * 256
    total = np.zeros((height, width), np.float32)
    weighted = np.zeros((height, width), np.float32)
    for top in range(window):
        for left in range(window):
            neighbour = padded[top : top + height, left : left + width]
            weight = weights.take(row + neighbour)
            total += weight
            weighted += weight * neighbour
    filtered = np.where(total > 0, weighted / np.maximum(total, 1e-12), levels)
    return np.maximum(filtered, levels).astype(np.float64)


def bi_log(illumination: np.ndarray) -> np.ndarray:
    """Match (H, W) in 0 … 255, weighted by log(L + 1), to the shape log(z + 1): the same range."""
    weight = np.log1p(illumination)
    if weight.sum() == 0:  # black
        return illumination
    levels = illumination.round().astype(np.int64)
    counts = np.bincount(levels.ravel(), weight.ravel(), minlength=256)
    cdf = counts.cumsum() / counts.sum()
    shape = np.log1p(np.arange(256)).cumsum()
    return np.interp(cdf, shape / shape[-1], np.arange(256))[levels]
