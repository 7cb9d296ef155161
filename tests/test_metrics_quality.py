"""PSNR, SSIM, FSIM, LPIPS and GT-mean against known answers, libraries and closed forms."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from llie_core.metrics import fsim, gt_mean, lpips, psnr, ssim
from llie_core.metrics.quality import SSIM_FAMILIES, lpips_network
from llie_core.weights import WeightsNotAvailable


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """8-bit (H, W, 3) → float32 (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image / 255.0).float().permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def coffee_pair() -> tuple[torch.Tensor, torch.Tensor]:
    from skimage import data

    coffee = data.coffee()
    dark = np.round(255 * (coffee / 255.0) ** 2.2).astype(np.uint8)
    return to_tensor(coffee), to_tensor(dark)


def seeded_images() -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(0)
    a = r.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + r.integers(-20, 21, a.shape), 0, 255).astype(np.uint8)
    return a, b


def random_pair(height: int, width: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(height * width)
    x = torch.rand(batch, 3, height, width, generator=g)
    y = (x + 0.2 * torch.randn(x.shape, generator=g)).clamp(0, 1)
    return x, y


def random_lpips(backbone: str) -> torch.nn.Module:
    """The LPIPS network with a seeded random backbone: the trained one is never downloaded."""
    shapes = {
        "alex": {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3),
                 10: (256, 256, 3)},
        "vgg": {0: (64, 3, 3), 2: (64, 64, 3), 5: (128, 64, 3), 7: (128, 128, 3),
                10: (256, 128, 3), 12: (256, 256, 3), 14: (256, 256, 3), 17: (512, 256, 3),
                19: (512, 512, 3), 21: (512, 512, 3), 24: (512, 512, 3), 26: (512, 512, 3),
                28: (512, 512, 3)},
    }  # fmt: skip
    g = torch.Generator().manual_seed(0)
    state = {}
    for index, (outward, inward, side) in shapes[backbone].items():
        scale = (2 / (inward * side * side)) ** 0.5
        weight = torch.randn(outward, inward, side, side, generator=g) * scale
        state |= {
            f"features.{index}.weight": weight,
            f"features.{index}.bias": torch.zeros(outward),
        }
    return lpips_network(backbone, state)


@pytest.fixture(scope="module")
def alex() -> torch.nn.Module:
    return random_lpips("alex")


# Known answers. The printed ones come from float32 libraries, so SSIM is held to 2e-6 of them;
# the float64 runs of the same libraries are held to 1e-9 below.


def test_psnr_known_answers(coffee_pair):
    assert psnr(*coffee_pair).item() == pytest.approx(14.305843, abs=1e-6)
    assert psnr(*map(to_tensor, seeded_images())).item() == pytest.approx(26.829731, abs=1e-6)


@pytest.mark.parametrize(
    ("family", "known"),
    [("valid", 0.525909), ("padded", 0.525547), ("downsampled", 0.538127), ("3d", 0.642632)],
)
def test_ssim_known_answers(coffee_pair, family, known):
    assert ssim(*coffee_pair, family=family).item() == pytest.approx(known, abs=2e-6)


def test_ssim_known_answer_of_seeded_pair():
    assert ssim(*map(to_tensor, seeded_images())).item() == pytest.approx(0.987220, abs=1e-6)


def test_fsim_known_answers(coffee_pair):
    assert fsim(*coffee_pair).item() == pytest.approx(0.927349, abs=1e-6)
    assert fsim(*coffee_pair, chromatic=True).item() == pytest.approx(0.918694, abs=1e-6)
    pair = [to_tensor(image) for image in seeded_images()]
    assert fsim(*pair).item() == pytest.approx(0.988843, abs=1e-6)
    assert fsim(*pair, chromatic=True).item() == pytest.approx(0.984714, abs=1e-6)


# Libraries, on odd sizes, in float64.


@pytest.mark.parametrize("size", [(11, 11), (37, 53), (64, 41)])
def test_psnr_and_valid_ssim_are_those_of_scikit_image(size):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    x, y = (t.double() for t in random_pair(*size))
    a, b = (t[0].permute(1, 2, 0).numpy() for t in (x, y))
    expected = structural_similarity(
        a, b, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(x, y).item() == pytest.approx(expected, abs=1e-9)
    expected = peak_signal_noise_ratio(a, b, data_range=1.0)
    assert psnr(x, y).item() == pytest.approx(expected, abs=1e-9)


def test_padded_ssim_is_that_of_torchmetrics():
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = (t.double() for t in random_pair(37, 53))
    expected = structural_similarity_index_measure(x, y, data_range=1.0).item()
    assert ssim(x, y, "padded").item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", [(37, 53), (385, 400)])  # 385 is the least size that is pooled
def test_downsampled_ssim_is_that_of_piq(size):
    import piq

    x, y = (t.double() for t in random_pair(*size))
    expected = piq.ssim(x, y, data_range=1.0).item()
    assert ssim(x, y, "downsampled").item() == pytest.approx(expected, abs=1e-9)


def test_3d_ssim_is_a_plain_convolution_with_replicated_borders():
    from scipy.ndimage import correlate1d

    x, y = (t.double() for t in random_pair(23, 31))
    taps = np.exp(-(np.arange(-5.0, 6) ** 2) / 4.5)
    taps /= taps.sum()

    def blur(volume: np.ndarray) -> np.ndarray:
        for axis in range(3):
            volume = correlate1d(volume, taps, axis=axis, mode="nearest")
        return volume

    a, b = x[0].numpy(), y[0].numpy()
    mean_a, mean_b = blur(a), blur(b)
    va, vb = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 1e-4) * (2 * cov + 9e-4)
    expected = (top / ((mean_a**2 + mean_b**2 + 1e-4) * (va + vb + 9e-4))).mean()
    assert ssim(x, y, "3d").item() == pytest.approx(expected, abs=1e-9)


# Closed forms.


def test_psnr_of_a_constant_error():
    x = torch.full((1, 3, 1, 5), 0.5)
    assert psnr(x, x + 0.1).item() == pytest.approx(20, abs=1e-5)  # error² = 0.01


@pytest.mark.parametrize("family", SSIM_FAMILIES)
def test_ssim_of_two_constants_is_the_luminance_term(family):
    x, y = torch.full((1, 3, 16, 16), 0.25), torch.full((1, 3, 16, 16), 0.75)
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert ssim(x, y, family).item() == pytest.approx(expected, abs=1e-9)


def constant_image(*colour: float) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 4, 4)


def test_gt_mean_definitions_in_closed_form():
    # 8-bit levels: x = (51, 102, 153), y = (102, 102, 204)
    x, y = constant_image(0.2, 0.4, 0.6), constant_image(0.4, 0.4, 0.8)
    grey_x, grey_y = 0.299 * 51 + 0.587 * 102 + 0.114 * 153, 0.299 * 102 + 0.587 * 102 + 0.114 * 204
    ratios = {
        "grey-8bit": round(grey_y) / round(grey_x),
        "rgb-output-unclamped": grey_y / 102,
        "bgr-weights": (0.114 * 102 + 0.587 * 102 + 0.299 * 204)
        / (0.114 * 51 + 0.587 * 102 + 0.299 * 153),
        "all-channels-unclamped": 136 / 102,
    }
    assert len(set(ratios.values())) == 4
    for definition, ratio in ratios.items():
        torch.testing.assert_close(gt_mean(x, y, definition), x * ratio, rtol=0, atol=1e-9)


def test_gt_mean_clips_by_definition_only():
    x, y = constant_image(0.1, 0.1, 0.9), constant_image(0.5, 0.5, 0.5)
    for definition in ("grey-8bit", "bgr-weights"):
        assert gt_mean(x, y, definition).max() == 1
    for definition in ("rgb-output-unclamped", "all-channels-unclamped"):
        adjusted = gt_mean(x, y, definition)
        assert adjusted.max() > 1
        with pytest.raises(ValueError, match="0, 1"):
            psnr(adjusted, y)
        assert torch.isfinite(psnr(adjusted, y, bounded=False)).all()
        assert torch.isfinite(ssim(*(t.repeat(1, 1, 3, 3) for t in (adjusted, y)), bounded=False))


def test_gt_mean_of_a_black_prediction_stays_black():
    x, y = constant_image(0, 0, 0), constant_image(0.5, 0.5, 0.5)
    assert gt_mean(x, y).abs().max() == 0


def test_gt_mean_by_illumination_ratio_is_no_image_operation():
    x, y = random_pair(8, 8)
    with pytest.raises(ValueError, match="input of the network"):
        gt_mean(x, y, "illumination-ratio")
    with pytest.raises(ValueError, match="grey-8bit"):
        gt_mean(x, y, "grey")


# Properties.

METRICS = {
    "psnr": psnr,
    **{f"ssim-{f}": lambda x, y, f=f: ssim(x, y, f) for f in SSIM_FAMILIES},
    "fsim": fsim,
    "fsimc": lambda x, y: fsim(x, y, chromatic=True),
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_identity_symmetry_and_monotony(metric, coffee_pair):
    x = coffee_pair[0][..., 100:196, 200:296]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    noisy = [(x + s * noise).clamp(0, 1) for s in (0.02, 0.05, 0.1, 0.2)]
    same = metric(x, x).item()
    assert same == float("inf") or same == pytest.approx(1, abs=1e-9)
    values = [same] + [metric(x, y).item() for y in noisy]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 5
    assert metric(x, noisy[1]).item() == pytest.approx(metric(noisy[1], x).item(), abs=1e-9)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_batch_is_its_singles_in_any_dtype(metric):
    x, y = random_pair(33, 47, batch=3)
    values = metric(x, y)
    assert values.shape == (3,)
    assert values.dtype == torch.float64
    singles = torch.cat([metric(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(values, singles, rtol=0, atol=1e-12)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        low, other = x.to(dtype), y.to(dtype)
        torch.testing.assert_close(metric(low, other), metric(low.double(), other.double()))


def test_large_batches_are_worked_on_in_parts(monkeypatch):
    from llie_core.metrics import quality

    x, y = random_pair(16, 16, batch=5)
    whole = ssim(x, y)
    monkeypatch.setitem(quality._CHUNK_PIXELS, "cpu", 2 * 16 * 16)
    assert torch.equal(ssim(x, y), whole)


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_values_on_the_gpu_are_those_on_the_cpu(metric):
    x, y = random_pair(65, 97, batch=2)
    values = metric(x.cuda(), y.cuda())
    assert values.device.type == "cuda"
    torch.testing.assert_close(values.cpu(), metric(x, y), rtol=0, atol=1e-7)


# LPIPS with a random backbone.


def test_lpips_of_a_random_backbone(alex):
    x, y = random_pair(35, 50, batch=2)
    values = lpips(x, y, network=alex)
    assert values.shape == (2,)
    assert values.dtype == torch.float64
    assert (values > 0).all()
    assert lpips(x, x, network=alex).abs().max() == 0
    torch.testing.assert_close(lpips(y, x, network=alex), values, rtol=1e-5, atol=0)
    singles = torch.cat([lpips(x[i : i + 1], y[i : i + 1], network=alex) for i in range(2)])
    torch.testing.assert_close(singles, values, rtol=1e-4, atol=0)


def test_lpips_scales_images_as_the_package_asks(alex):
    x, y = random_pair(32, 32)
    expected = alex(2 * x - 1, 2 * y - 1).item()
    assert lpips(x, y, network=alex).item() == pytest.approx(expected, rel=1e-5)


def test_lpips_vgg_takes_its_own_backbone():
    x, y = random_pair(32, 32)
    assert lpips(x, y, network=random_lpips("vgg")).item() > 0


def test_lpips_network_refuses_a_state_that_does_not_fit_and_spares_the_seed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"features\.0\.weight \(64, 3, 11, 11\)"):
        lpips_network("alex", {})
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="alex or vgg"):
        lpips_network("squeeze", {})


def test_lpips_without_weights_says_what_to_do_and_downloads_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    x, y = random_pair(32, 32)
    for backbone in ("alex", "vgg"):
        with pytest.raises(WeightsNotAvailable, match=f"llie weights fetch lpips-{backbone}"):
            lpips(x, y, backbone=backbone)
    with pytest.raises(ValueError, match="alex or vgg"):
        lpips(x, y, backbone="resnet")
    assert not list(tmp_path.iterdir())


# Bad input.


@pytest.mark.parametrize("metric", [psnr, ssim, fsim, lpips, gt_mean])
def test_bad_input_is_named(metric):
    x, y = random_pair(40, 40)
    nan = x.clone()
    nan[0, 0, 0, 0] = torch.nan
    for first, second, message in [
        (x, y[..., :39], r"\(1, 3, 40, 40\) but reference is \(1, 3, 40, 39\)"),
        (nan, y, "NaN"),
        (x, nan, "reference holds NaN"),
        (x[:0], y[:0], "empty batch"),
        (x[0], y[0], r"must be \(B, 3, H, W\)"),
        (x[:, :1], y[:, :1], r"must be \(B, 3, H, W\)"),
        (x * 255, y * 255, "divide 8-bit values by 255"),
        (x - 0.5, y, "clamp"),
    ]:
        with pytest.raises(ValueError, match=message):
            metric(first, second)
    with pytest.raises(TypeError, match="uint8"):
        metric((x * 255).to(torch.uint8), y)
    with pytest.raises(TypeError, match="ndarray"):
        metric(x.numpy(), y)


@pytest.mark.parametrize(("metric", "least"), [(ssim, 11), (fsim, 16), (lpips, 32)])
def test_small_images_are_named(metric, least):
    x, y = random_pair(least - 1, 64)
    with pytest.raises(ValueError, match=f"at least {least}"):
        metric(x, y)


def test_unknown_ssim_family():
    with pytest.raises(ValueError, match="valid, padded, downsampled, 3d"):
        ssim(*random_pair(16, 16), family="gaussian")


def test_the_room_is_lazy():
    code = (
        "import sys, llie_core.metrics as m; assert 'psnr' in dir(m); "
        "assert not {'torch', 'llie_core.metrics.quality'} & set(sys.modules); m.psnr, m.niqe; "
        "heavy = {'piq', 'lpips', 'scipy', 'skimage', 'torchvision', 'torchmetrics'}; "
        "assert 'llie_core.metrics.quality' in sys.modules and not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name_of_the_room():
    import llie_core.metrics

    with pytest.raises(AttributeError, match="psnrr"):
        llie_core.metrics.psnrr  # noqa: B018
