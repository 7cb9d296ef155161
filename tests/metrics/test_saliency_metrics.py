"""Saliency measures: known answers, a plain oracle, properties, degenerate maps, bad input."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from llie_core.metrics.resampling import OF_SETS, drawn_counts
from llie_core.metrics.saliency import SaliencyScores, weighted_f_measure


def scores(*pairs):
    meter = SaliencyScores()
    for prediction, target in pairs:
        meter.update(prediction, target)
    return meter.compute()


def blobs(count, height, width, seed=0):
    """Smooth float maps in [0, 1] and masks of which they are a noisy view: (B, 1, H, W)."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.standard_normal((count, height, width)), (0, 4, 4))
    mask = field > np.quantile(field, 0.7, axis=(1, 2), keepdims=True)
    noisy = field / field.std() + 0.3 * rng.standard_normal(field.shape)
    prediction = (noisy - noisy.min()) / (noisy.max() - noisy.min())
    return torch.from_numpy(prediction.astype(np.float32))[:, None], torch.from_numpy(mask)[:, None]


def test_known_answer():
    g = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    g[..., 2:6, 3:7] = 255
    p = torch.zeros_like(g)
    p[..., 2:6, 2:6] = 200
    p[..., 3:5, 3:5] = 255
    p[..., 0, 0] = 60
    expected = {
        "mae": 0.142157,
        "max_f": 0.75,
        "avg_f": 0.706008,
        "weighted_f": 0.785773,
        "s": 0.735002,
        "max_e": 0.893968,
        "avg_e": 0.804343,
    }
    measured = scores((p, g))
    assert {k: measured[k] for k in expected} == pytest.approx(expected, abs=1e-6)
    # Threshold min(2 * mean, 1) = .497 keeps 16 pixels, 12 of them right: P = R = .75.
    assert measured["adaptive_f"] == pytest.approx(0.75, abs=1e-12)


def alignment(binary, mask):
    """E-measure of two binary maps by its definition, pixel by pixel."""
    a, b = binary - binary.mean(), mask - mask.mean()
    return ((1 + 2 * a * b / (a * a + b * b)) ** 2 / 4).sum() / (mask.size - 1)


def f_measure(binary, mask):
    if not (binary & mask).any():
        return 0.0
    precision, recall = mask[binary].mean(), binary[mask].mean()
    return 1.3 * precision * recall / (0.3 * precision + recall)


def structure(value, mask):
    """S-measure of one map from slices of the image."""

    def evenness(x):
        return 2 * x.mean() / (x.mean() ** 2 + 1 + x.std(ddof=1))

    share = mask.mean()
    as_object = share * evenness(value[mask]) + (1 - share) * evenness(1 - value[~mask])
    row, column = (int(c) + 1 for c in np.round(np.argwhere(mask).mean(0)))
    region = 0
    for rows in (slice(None, row), slice(row, None)):
        for columns in (slice(None, column), slice(column, None)):
            x, y = value[rows, columns].ravel(), mask[rows, columns].ravel()
            (xx, xy), (_, yy) = np.cov(x, y)
            ssim = 4 * x.mean() * y.mean() * xy / ((x.mean() ** 2 + y.mean() ** 2) * (xx + yy))
            region += ssim * x.size / value.size
    return (as_object + region) / 2


def test_agrees_with_the_definitions_applied_pixel_by_pixel():
    prediction, target = blobs(3, 37, 52)
    meter = SaliencyScores()
    meter.update(prediction, target)
    single = meter.per_image()
    f_curves, e_curves = [], []
    for i in range(3):
        mask = target[i, 0].numpy()
        grey = np.round(prediction[i, 0].numpy() * 255).astype(np.float64) / 255
        value = (grey - grey.min()) / (grey.max() - grey.min())
        level = (value * 255).astype(np.uint8)
        f_curves.append([f_measure(level >= t, mask) for t in range(256)])
        e_curves.append([alignment(level >= t, mask) for t in range(256)])
        bold = value >= min(2 * value.mean(), 1)
        expected = {
            "mae": np.abs(value - mask).mean(),
            "s": structure(value, mask),
            "adaptive_f": f_measure(bold, mask),
            "adaptive_e": alignment(bold, mask),
            "avg_f": np.mean(f_curves[i]),
            "avg_e": np.mean(e_curves[i]),
        }
        assert {k: single[k][i].item() for k in expected} == pytest.approx(expected, abs=1e-9)
    whole = meter.compute()
    assert whole["max_f"] == pytest.approx(np.mean(f_curves, 0).max(), abs=1e-9)
    assert whole["max_e"] == pytest.approx(np.mean(e_curves, 0).max(), abs=1e-9)


def test_weighted_f_of_a_half_plane():
    """There the nearest mask pixel and its distance are known: the last column of the mask."""
    edge = 7
    value = np.random.default_rng(0).random((15, 20))
    mask = np.zeros_like(value, dtype=bool)
    mask[:, : edge + 1] = True
    error = np.abs(value - mask)
    spread = error[:, np.minimum(np.arange(20), edge)]
    y, x = np.mgrid[-3:4, -3:4]
    kernel = np.exp(-(x**2 + y**2) / 50)
    kernel, spread = (torch.from_numpy(a)[None, None] for a in (kernel / kernel.sum(), spread))
    smooth = torch.nn.functional.conv2d(spread, kernel, padding=3)[0, 0].numpy()
    missed = np.minimum(error, smooth)[mask]
    distance = np.arange(20) - edge
    wrong = (error * (2 - np.exp(np.log(0.5) / 5 * distance)))[~mask].sum()
    recall = 1 - missed.mean()
    precision = (missed.size - missed.sum()) / (missed.size - missed.sum() + wrong)
    expected = 2 * precision * recall / (precision + recall)
    assert weighted_f_measure(value, mask) == pytest.approx(expected, abs=1e-12)


def test_batch_equals_singles_in_any_order():
    prediction, target = blobs(5, 33, 47)
    batch = scores((prediction, target))
    singles = [(prediction[i : i + 1], target[i : i + 1]) for i in (3, 0, 4, 2, 1)]
    assert scores(*singles) == pytest.approx(batch, abs=1e-12)


def test_images_of_different_sizes_weigh_the_same():
    small, large = blobs(1, 20, 30), blobs(1, 90, 64, seed=1)
    both, first, second = scores(small, large), scores(small), scores(large)
    for name in ("mae", "s", "weighted_f", "adaptive_f", "avg_f", "avg_e", "adaptive_e"):
        assert both[name] == pytest.approx((first[name] + second[name]) / 2, abs=1e-12)
    # The maximum is taken of the mean curve, so it cannot pass the mean of the maxima.
    assert both["max_f"] <= (first["max_f"] + second["max_f"]) / 2 + 1e-12


def test_float_and_8_bit_input_agree():
    prediction, target = blobs(2, 30, 30)
    as_file = (prediction * 255).round().to(torch.uint8)
    mask_file = target.to(torch.uint8) * 255
    assert scores((prediction, target)) == scores((as_file, mask_file))
    assert scores((prediction.double(), target.float())) == scores((as_file, target))


def test_prediction_is_stretched_to_its_own_range():
    _, target = blobs(1, 30, 30)
    faint = target.to(torch.uint8) * 10 + 100
    assert scores((faint, target)) == pytest.approx(scores((target, target)), abs=1e-12)


def test_mask_is_true_above_128():
    prediction, _ = blobs(1, 16, 16)
    target = torch.full((1, 1, 16, 16), 128, dtype=torch.uint8)
    target[..., :8] = 129
    expected = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    expected[..., :8] = True
    assert scores((prediction, target)) == scores((prediction, expected))


@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
def test_masks_without_contrast(full):
    target = torch.full((1, 1, 12, 10), full)
    right, wrong = scores((target, target)), scores((~target, target))
    # Constant predictions of 0 and 1: S is the agreement of the means, MAE its complement.
    assert (right["s"], right["mae"], wrong["s"], wrong["mae"]) == pytest.approx((1, 0, 0, 1))
    assert right["weighted_f"] == pytest.approx(float(full))
    assert right["max_e"] == pytest.approx(120 / 119)
    if not full:
        assert right["max_f"] == wrong["max_f"] == 0
    assert all(np.isfinite([*right.values(), *wrong.values()]))


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_constant_prediction_is_left_as_it_is(grey):
    _, target = blobs(1, 24, 36)
    share, value = target.double().mean().item(), grey / 255
    constant = scores((torch.full((1, 1, 24, 36), grey, dtype=torch.uint8), target))
    assert constant["mae"] == pytest.approx(share * (1 - value) + (1 - share) * value, abs=1e-12)
    assert constant["max_f"] == pytest.approx(1.3 * share / (0.3 * share + 1), abs=1e-12)
    assert all(np.isfinite(list(constant.values())))


def test_mask_of_one_corner_pixel():
    """Three quadrants are empty and one region has a single pixel: no 0 / 0."""
    target = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    target[..., 8, 8] = True
    perfect = scores((target, target))
    assert all(np.isfinite(list(perfect.values())))
    assert perfect["s"] == pytest.approx(1, abs=1e-9)


def test_image_of_one_pixel():
    one = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    assert all(np.isfinite(list(scores((one, one)).values())))


def test_no_images():
    meter = SaliencyScores()
    with pytest.raises(ValueError, match="at least one image"):
        meter.compute()
    with pytest.raises(ValueError, match="at least one image"):
        meter.per_image()


@pytest.mark.parametrize(
    ("prediction", "target", "error", "words"),
    [
        (torch.rand(1, 1, 8, 8), torch.zeros(1, 1, 8, 9), ValueError, "differ in shape"),
        (torch.rand(2, 8, 8), torch.zeros(2, 8, 8), ValueError, r"\(B, 1, H, W\)"),
        (torch.rand(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), ValueError, r"\(B, 1, H, W\)"),
        (torch.rand(0, 1, 8, 8), torch.zeros(0, 1, 8, 8), ValueError, "not empty"),
        (torch.full((1, 1, 8, 8), torch.nan), torch.zeros(1, 1, 8, 8), ValueError, "NaN"),
        (torch.full((1, 1, 8, 8), 255.0), torch.zeros(1, 1, 8, 8), ValueError, r"\[0, 1\]"),
        (torch.rand(1, 1, 8, 8), torch.full((1, 1, 8, 8), torch.nan), ValueError, "mask"),
        (torch.zeros(1, 1, 8, 8).long(), torch.zeros(1, 1, 8, 8), TypeError, "int64"),
        (torch.rand(1, 1, 8, 8), torch.ones(1, 1, 8, 8).byte(), ValueError, "0 and 1 only"),
    ],
)
def test_bad_input(prediction, target, error, words):
    with pytest.raises(error, match=words):
        SaliencyScores().update(prediction, target)


def test_two_devices():
    with pytest.raises(ValueError, match="prediction is on cpu, the mask on meta"):
        SaliencyScores().update(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4, device="meta"))


@pytest.mark.gpu
def test_cuda_equals_cpu():
    prediction, target = blobs(3, 50, 40)
    assert scores((prediction.cuda(), target.cuda())) == pytest.approx(
        scores((prediction, target)), abs=1e-12
    )


def test_each_draw_has_the_scores_of_its_images():
    prediction, mask = blobs(4, 24, 32)
    meter = SaliencyScores()
    meter.update(prediction, mask)
    drawn = {name: [] for name in meter.compute()}
    for counts in drawn_counts(4, OF_SETS)[:100].astype(int):
        again = torch.arange(4).repeat_interleave(torch.from_numpy(counts))
        for name, value in scores((prediction[again], mask[again])).items():
            drawn[name].append(value)
    for name, found in meter.drawn().items():
        np.testing.assert_allclose(found[:100], drawn[name], atol=1e-9)
        assert found.min() < meter.compute()[name] < found.max()
