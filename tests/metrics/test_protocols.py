"""Protocols as data, their evaluation on tensors, and the side-by-side score of files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from llie_core.metrics import (
    brisque,
    evaluate,
    fsim,
    load_protocols,
    mean_defined,
    psnr,
    score_pairs,
    ssim,
    why_undefined,
)
from llie_core.metrics.protocols import Protocol
from llie_core.metrics.quality import GT_MEAN_DEFINITIONS, gt_mean, to_uint8_levels
from llie_core.weights import weights_table

PROTOCOLS = load_protocols()
ENTRY = {
    "id": "x",
    "metric": "psnr",
    "inputs": "pair",
    "unit": "dB",
    "direction": "higher",
    "decimals": 2,
    "description": "a test",
}


def read(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return torch.from_numpy(pixels / 255.0).float().permute(2, 0, 1)


def write(path: Path, image: torch.Tensor) -> None:
    path.parent.mkdir(exist_ok=True)
    pixels = (image[0].permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(path)


def pair(height: int = 48, width: int = 65, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 3, height, width, generator=g)
    return x, (0.7 * x + 0.1 * torch.rand(x.shape, generator=g)).clamp(0, 1)


@pytest.fixture
def no_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path / "none"))


def test_the_table_is_complete():
    expected = {"psnr-rgb-float", "psnr-rgb-uint8", "psnr-y", "ssim-valid-gaussian",
                "ssim-padded-gaussian", "ssim-2009-downsampled", "ssim-3d", "niqe-live",
                "brisque-live", "sseq-live", "lpips-alex", "lpips-vgg", "face-ap-wider",
                "face-ap-height", "face-recall", "face-fp-per-image",
                "loe-imresize", "loe-local-max", "dists-vgg", "ms-ssim-torchmetrics"}  # fmt: skip
    assert expected <= PROTOCOLS.keys()
    for definition in GT_MEAN_DEFINITIONS:
        for base in ("psnr-rgb-float", "ssim-valid-gaussian"):
            protocol = PROTOCOLS[f"{base}-gtmean-{definition}"]
            assert protocol.gt_mean == definition
            assert replace(protocol, gt_mean="none", id="", description="") == replace(
                PROTOCOLS[base], id="", description=""
            )


def test_gt_mean_and_backbone_show_in_the_id():
    for name, protocol in PROTOCOLS.items():
        assert ("gtmean" in name) == (protocol.gt_mean != "none")
        own_size = name.removesuffix(f"-{protocol.resize}")
        assert (own_size != name) == (protocol.resize != "none")
        assert protocol.backbone == "none" or own_size.endswith(protocol.backbone)
        assert (protocol.metric == "ssim") == (protocol.window != "none")


def test_a_protocol_refuses_what_it_does_not_know():
    assert Protocol.from_entry(ENTRY).rounding == "float"
    for change, message in [
        ({"windw": "valid"}, "unknown key windw"),
        ({"direction": "up"}, "higher, lower"),
        ({"gt_mean": "grey"}, "grey-8bit"),
        ({"colour": "lab"}, "rgb, y, grey"),
        ({"crop": -1}, "negative"),
    ]:
        with pytest.raises(ValueError, match=message):
            Protocol.from_entry(ENTRY | change)
    with pytest.raises(TypeError, match="decimals must be int, not str"):
        Protocol.from_entry(ENTRY | {"decimals": "2"})
    with pytest.raises(ValueError, match="unit is missing"):
        Protocol.from_entry({k: v for k, v in ENTRY.items() if k != "unit"})


def test_evaluate_applies_what_the_protocol_says():
    x, y = pair(385, 390)  # large enough for the 2009 family to pool
    eight = to_uint8_levels(x), to_uint8_levels(y)
    expected = {
        "psnr-rgb-float": psnr(x, y),
        "psnr-rgb-uint8": psnr(*eight),
        "ssim-valid-gaussian": ssim(x, y),
        "ssim-padded-gaussian": ssim(x, y, "padded"),
        "ssim-2009-downsampled": ssim(x, y, "downsampled"),
        "ssim-3d": ssim(x, y, "3d"),
        "fsim-yiq-luma": fsim(x, y),
        "fsimc-yiq": fsim(x, y, chromatic=True),
        "psnr-rgb-float-gtmean-grey-8bit": psnr(gt_mean(x, y, "grey-8bit"), y),
    }
    values = {name: evaluate(name, x, y) for name in expected}
    for name, value in values.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)
    assert len({round(v.item(), 7) for v in values.values()}) == len(values)  # none is another


def test_psnr_on_luma_is_that_of_scikit_image():
    from skimage.color import rgb2ycbcr
    from skimage.metrics import peak_signal_noise_ratio

    x, y = pair()
    luma = [
        rgb2ycbcr(to_uint8_levels(t)[0].double().permute(1, 2, 0).numpy())[..., 0] for t in (x, y)
    ]
    expected = peak_signal_noise_ratio(*luma, data_range=255)
    assert evaluate("psnr-y", x, y).item() == pytest.approx(expected, abs=1e-4)  # float32 luma


def test_ssim_on_grey_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    x, y = (t.double() for t in pair())
    grey = [(t[0] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0).numpy()
            for t in (x, y)]  # fmt: skip
    expected = structural_similarity(*grey, data_range=1.0, gaussian_weights=True, sigma=1.5,
                                     use_sample_covariance=False)  # fmt: skip
    assert evaluate("ssim-grey-valid-gaussian", x, y).item() == pytest.approx(expected, abs=1e-6)


def test_crop_cuts_the_border():
    x, y = pair()
    cropped = Protocol.from_entry(ENTRY | {"crop": 4})
    inside = psnr(x[..., 4:-4, 4:-4], y[..., 4:-4, 4:-4])
    assert torch.equal(evaluate(cropped, x, y), inside)
    with pytest.raises(ValueError, match="at least 1"):
        evaluate(Protocol.from_entry(ENTRY | {"crop": 24}), x, y)


@pytest.mark.parametrize("definition", GT_MEAN_DEFINITIONS)
def test_every_gt_mean_protocol_runs(definition):
    x, y = pair()
    value = evaluate(f"psnr-rgb-float-gtmean-{definition}", y, x)
    plain = psnr(y, x)
    # The ratio of illumination was the network's input: nothing is done to its output.
    assert torch.equal(value, plain) if definition == "illumination-ratio" else value > plain
    assert torch.isfinite(evaluate(f"ssim-valid-gaussian-gtmean-{definition}", y, x)).all()


def test_no_reference_protocols_take_the_prediction_alone(shared_data, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    x, y = pair()
    assert torch.equal(evaluate("brisque-live", x), brisque(x))
    assert torch.equal(evaluate("brisque-live", x, y), brisque(x))


def test_evaluate_names_what_is_wrong():
    x, y = pair()
    with pytest.raises(ValueError, match="no protocol 'psnr'"):
        evaluate("psnr", x, y)
    with pytest.raises(ValueError, match="needs a reference"):
        evaluate("psnr-y", x)
    with pytest.raises(ValueError, match="scores faces, not images"):
        evaluate("face-ap-wider", x, y)
    with pytest.raises(ValueError, match=r"psnr-y: prediction is .* but reference is"):
        evaluate("psnr-y", x, y[..., 1:])
    with pytest.raises(ValueError, match="divide 8-bit values"):
        evaluate("psnr-rgb-uint8", x * 255, y)


def test_two_files_side_by_side(tmp_path, no_weights):
    x, y = pair()
    write(tmp_path / "out.png", x)
    write(tmp_path / "truth.png", y)
    found, problems = score_pairs([(tmp_path / "out.png", tmp_path / "truth.png")], read)
    rows = {row.protocol: row for row in found}
    assert problems == []
    assert set(rows) == {n for n, p in PROTOCOLS.items() if p.by_default}
    x, y = to_uint8_levels(x), to_uint8_levels(y)
    for name in ("psnr-rgb-float", "psnr-y", "ssim-3d", "fsim-yiq-luma"):
        assert rows[name].value == pytest.approx(evaluate(name, x, y).item(), abs=1e-6)
        assert (rows[name].n, rows[name].note) == (1, "")
    for name, note in [
        ("lpips-alex", "not available: weights not fetched: alexnet"),
        ("brisque-live", "llie weights fetch brisque"),
        ("niqe-live", "at least 96"),
        ("psnr-rgb-float-gtmean-illumination-ratio", "input of the network"),
    ]:
        assert rows[name].value is None
        assert rows[name].n == 0
        assert note in rows[name].note


def test_protocols_of_the_image_before_enhancement_need_its_file(tmp_path, no_weights):
    output, truth = pair(60, 64)
    low = output * 0.3
    files = [tmp_path / name for name in ("out.png", "truth.png", "low.png", "small.png")]
    for path, image in zip(files, (output, truth, low, low[..., :50]), strict=True):
        write(path, image)
    out, reference, before, small = files

    def scored(**given):
        (row,), _ = score_pairs([(out, reference)], read, ["loe-imresize"], **given)
        return row

    assert scored().n == 0 and "before enhancement was not given" in scored().note
    expected = evaluate("loe-imresize", read(out)[None], read(before)[None]).item()
    assert scored(low_light={out: before}).value == expected
    assert "one shape" in scored(low_light={out: small}).note


def test_the_mean_is_over_the_pairs_that_can_be_scored(tmp_path, no_weights):
    a, b = tmp_path / "a", tmp_path / "b"
    values = []
    for seed in (1, 2):
        x, y = pair(seed=seed)
        write(a / f"{seed}.png", x)
        write(b / f"{seed}.png", y)
        values.append(evaluate("psnr-rgb-uint8", x, y).item())
    write(a / "turned.png", y)
    write(b / "turned.png", y.mT)
    (a / "broken.png").write_bytes(b"no image")
    write(b / "broken.png", y)
    pairs = [(a / f"{name}.png", b / f"{name}.png") for name in ("1", "2", "turned", "broken")]
    (row,), problems = score_pairs(pairs, read, ["psnr-rgb-uint8"])
    assert row.value == pytest.approx(np.mean(values), abs=1e-9)
    assert (row.n, row.note) == (2, "")
    turned, broken = problems
    assert turned == f"{a / 'turned.png'} is 65×48 but {b / 'turned.png'} is 48×65"
    assert str(a / "broken.png") in broken


def test_some_images_of_a_folder_cannot_be_scored(tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    for name, size in (("big", (96, 192)), ("small", (48, 65))):
        x, y = pair(*size)
        write(tmp_path / "a" / f"{name}.png", x)
        write(tmp_path / "b" / f"{name}.png", y)
    flat = torch.full((1, 3, 96, 192), 0.5)
    write(tmp_path / "a" / "flat.png", flat)
    write(tmp_path / "b" / "flat.png", flat)
    names = ("big.png", "small.png", "flat.png")
    pairs = [(tmp_path / "a" / name, tmp_path / "b" / name) for name in names]
    (niqe_row, psnr_row), _ = score_pairs(pairs, read, ["niqe-live", "psnr-rgb-float"])
    assert niqe_row.n == 1
    assert niqe_row.value > 0
    assert niqe_row.note.startswith("2 of 3: ")
    assert "no structure" in niqe_row.note
    assert "at least 96" in niqe_row.note
    assert psnr_row.n == 2 and 0 < psnr_row.value < 100
    assert "; niqe of flat.png: undefined: the image has no structure" in niqe_row.note
    assert psnr_row.note == "1 of 3: psnr of flat.png: undefined: the two images are identical"


def test_of_many_images_without_a_value_three_are_named(tmp_path):
    for name in "abcde":
        write(tmp_path / f"{name}.png", torch.full((1, 3, 8, 8), 0.5))
    write(tmp_path / "other.png", torch.full((1, 3, 8, 8), 0.25))
    pairs = [(tmp_path / f"{name}.png", tmp_path / f"{name}.png") for name in "abcde"]
    pairs.append((tmp_path / "other.png", tmp_path / "a.png"))
    (row,), _ = score_pairs(pairs, read, ["psnr-rgb-float"])
    why = "undefined: the two images are identical"
    assert row.note == f"5 of 6: psnr of a.png, b.png, c.png and 2 more: {why}"
    (row,), _ = score_pairs(pairs[:1], read, ["psnr-rgb-float"])
    assert row.note == f"psnr of a.png: {why}"


def test_a_mean_is_that_of_the_defined_values():
    assert mean_defined([1.0, float("inf"), 2.0, float("nan"), None]) == (1.5, 2, 3)
    assert mean_defined([float("nan"), float("-inf")]) == (None, 0, 2)
    assert mean_defined([]) == (None, 0, 0)
    reasons = [why_undefined(value) for value in (0.5, float("inf"), float("nan"))]
    assert reasons == [
        "",
        "undefined: the two images are identical",
        "undefined: the image has no structure",
    ]


def test_protocols_name_the_weights_they_need(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    needed = {name: protocol.weights for name, protocol in PROTOCOLS.items() if protocol.weights}
    assert needed == {
        "niqe-live": ("niqe",),
        "brisque-live": ("brisque", "brisque-range"),
        "sseq-live": ("sseq",),
        "lpips-alex": ("lpips-alex",),
        "lpips-vgg": ("lpips-vgg",),
        "dists-vgg": ("lpips-vgg",),
        "niqe-live-384-bilinear": ("niqe",),
        "brisque-live-384-bilinear": ("brisque", "brisque-range"),
        "lpips-alex-384-bilinear": ("lpips-alex",),
    }
    for name, protocol in PROTOCOLS.items():
        missing = protocol.missing_weights()
        expected = f"not available: llie weights fetch {needed[name][0]}" if name in needed else ""
        assert missing == expected
    assert set().union(*needed.values()) <= set(weights_table())


def test_protocols_find_their_weights(shared_data, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    assert PROTOCOLS["brisque-live"].missing_weights() == ""


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match="no protocol 'ssim'"):
        score_pairs([], read, ["ssim"])
