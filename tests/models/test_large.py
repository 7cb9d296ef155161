"""Images of any size: tiles against the whole, maps from a small copy, memory."""

import pytest
import torch
import torch.nn.functional as F
from seeded import trained

from llie_core.metrics.memory import peak_memory
from llie_core.models import MODELS, base, create_enhancer, large, zero_dce
from llie_core.models.base import Enhancer
from llie_core.models.large import in_tiles, of_whole_image, rows_at_size, tile_side


def scene(height, width, seed=0):
    """Smooth light with texture and an edge, dark: (1, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    light = F.interpolate(torch.rand(1, 3, 4, 5, generator=generator), (height, width),
                          mode="bicubic").clamp(0, 1)  # fmt: skip
    light[..., width // 2 :] *= 0.5
    return (0.25 * light + 0.03 * torch.rand(1, 3, height, width, generator=generator)).clamp(0, 1)


# Largest difference between tiles and the whole, in levels of 8 bits: (largest, mean).
LIMITS = {
    "zero_dce": (0.01, 0.001), "zero_dce_pp": (0.01, 0.001), "ec_zero_dce": (0.01, 0.001),
    "gem_pam": (0.5, 0.1), "curve_refine": (0.5, 0.1), "ialm": (0.5, 0.1), "neid": (0.5, 0.1),
    "lw_drgn": (0.5, 0.1), "drgn": (0.5, 0.1), "jcrnet": (0.5, 0.1),
}  # fmt: skip
TILED = [name for name in MODELS if create_enhancer(name).margin is not None]


def test_every_network_of_the_papers_goes_through_in_tiles():
    assert set(LIMITS) <= set(TILED)


@pytest.mark.parametrize(
    "name, options", [*((name, {}) for name in LIMITS), ("neid", {"norm": "group"})]
)
def test_tiles_agree_with_the_whole(name, options, monkeypatch):
    model, condition = trained(name, **options), {"exposure": 0.1} if name == "ec_zero_dce" else {}
    # The slow ones on a narrow image, longer than their tiles.
    x = scene(*{"jcrnet": (68, 700), "drgn": (36, 900)}.get(name, (300, 340)))
    whole = model.enhance(x, **condition)
    monkeypatch.setattr(base, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(zero_dce, "TILE_SIDE", 96)
    monkeypatch.setattr(large, "TILE_MEMORY", 0)  # the smallest tiles
    calls = []
    forward = type(model).forward
    monkeypatch.setattr(
        type(model), "forward", lambda self, x, **c: calls.append(x.shape) or forward(self, x, **c)
    )
    tiled = model.enhance(x, **condition)
    # Zero-DCE and Zero-DCE++ have tiles of their own.
    narrower = [shape for shape in calls if shape[-1] < x.shape[-1]]
    assert name.startswith("zero_dce") or len(narrower) > 1
    difference = (tiled - whole).abs() * 255
    largest, mean = LIMITS[name]
    assert difference.max() <= largest and difference.mean() <= mean, (
        difference.max(),
        difference.mean(),
    )


class Exposing(Enhancer):
    """Brings the mean to ½: a value of the whole image."""

    margin, multiple = 3, 2

    def forward(self, x):
        return x * of_whole_image(lambda: 0.5 / x.mean(dim=(1, 2, 3), keepdim=True))


def test_tiles_share_the_values_of_the_whole_image(monkeypatch):
    x = torch.cat([scene(150, 200), 0.3 * scene(150, 200, seed=1)])
    model = Exposing()
    whole = model.enhance(x)
    monkeypatch.setattr(base, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(large, "TILE_MEMORY", 0)
    torch.testing.assert_close(model.enhance(x), whole)
    monkeypatch.setattr(large, "STATISTICS_PIXELS", 100 * 100)
    # The mean of the small copy is that of the image within half a percent.
    torch.testing.assert_close(model.enhance(x), whole, rtol=0, atol=2 / 255)


@pytest.mark.parametrize("feather", [0, 1, 16])
@pytest.mark.parametrize("size", [(1, 1), (63, 65), (130, 67), (200, 129)])
def test_tiles_of_the_identity_are_the_image(size, feather):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    windows = []
    y = in_tiles(lambda w: windows.append(w.shape) or w, x, 80, 5, 4, feather, pools=False)
    torch.testing.assert_close(y, x)
    assert all(side <= 64 + 2 * 16 + 4 for shape in windows for side in shape[-2:])


def test_windows_start_on_the_grid():
    x = torch.arange(150.0).expand(1, 3, 100, 150)
    starts = set()
    in_tiles(lambda w: starts.add(int(w[0, 0, 0, 0])) or w, x, 90, 10, 16, pools=False)
    assert len(starts) > 1 and all(start % 16 == 0 for start in starts)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(50, 33), (7, 5), (8, 90)])
def test_rows_are_those_of_the_interpolated_whole(size, align_corners):
    maps = torch.rand(2, 4, 7, 5, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(maps, size, mode="bilinear", align_corners=align_corners)
    for part in (slice(0, 1), slice(2, size[0]), slice(size[0] - 1, size[0])):
        rows = rows_at_size(maps, part, size, align_corners)
        torch.testing.assert_close(rows, whole[..., part, :])


@pytest.mark.parametrize("name", ["zero_dce", "zero_dce_pp"])
@pytest.mark.parametrize("curve", ["released", "thesis"])
@pytest.mark.parametrize("scale", [1, 12])
def test_the_fused_curve_is_the_curve(name, curve, scale, monkeypatch):
    model = trained(name, curve=curve)
    for parameter in model.parameters():
        parameter.data.mul_(2)
    x = scene(97, 133)
    if scale == 1:
        expected = model.training_outputs(x)["image"]
    else:
        maps, size = model.small_maps(x, scale)
        maps = F.interpolate(maps, size, mode="bilinear", align_corners=True)[..., :97, :133]
        expected = model.brighten(x, maps)
        model.scale_factor = scale
    monkeypatch.setattr(zero_dce, "STRIP_VALUES", 5000)
    monkeypatch.setattr(zero_dce, "TILE_SIDE", 90)
    torch.testing.assert_close(model.enhance(x), expected.clamp(0, 1).detach(), rtol=0, atol=1e-5)
    assert (expected - x).abs().mean() > 0.003


@pytest.mark.parametrize("name", ["zero_dce", "zero_dce_pp"])
def test_maps_of_large_images_come_from_a_small_copy(name, monkeypatch):
    model, x = trained(name), scene(240, 330)
    whole = model.enhance(x)
    monkeypatch.setattr(zero_dce, "WHOLE_PIXELS", 200 * 200)
    monkeypatch.setattr(zero_dce, "SMALL_PIXELS", 100 * 100)
    seen = []
    estimate = model.estimate
    monkeypatch.setattr(model, "estimate", lambda x: seen.append(x.shape) or estimate(x))
    small = model.enhance(x)
    assert seen == [(1, 3, 80, 110)]
    # Random weights on an image of noise and a sharp edge: they differ at the edge.
    assert 0 < (small - whole).abs().mean() <= (whole - x).abs().mean() / 8


@pytest.mark.parametrize("name", ["mf", "lime", "npe"])
def test_gains_of_large_images_come_from_a_small_copy(name, monkeypatch):
    from llie_core.models import classical

    model, x = create_enhancer(name), scene(240, 330)
    whole = model.enhance(x)
    monkeypatch.setattr(classical, "WHOLE_PIXELS", 200 * 200)
    monkeypatch.setattr(large, "SMALL_PIXELS", 120 * 165)
    small = model.enhance(x)
    # The copy has less of the noise; of what the method changes, an eighth at most differs.
    assert (small - whole).abs().mean() <= (whole - x).abs().mean() / 8
    assert (whole - x).abs().mean() > 20 / 255
    flat = torch.full((1, 3, 240, 330), 0.1)
    torch.testing.assert_close(model.enhance(flat), model.enhance(flat[..., :50, :50])[
        ..., :1, :1].expand_as(flat), rtol=0, atol=1e-3)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in TILED if name not in ("ec_zero_dce",)])
def test_the_memory_that_a_network_states_covers_what_is_counted(name):
    model = create_enhancer(name)
    few, many = (peak_memory(model, (side, side)) for side in (256, 512))
    assert (many - few) / (512**2 - 256**2) <= model.bytes_per_pixel


def test_out_of_memory_leads_to_smaller_tiles(monkeypatch):
    model, x = Exposing(), scene(200, 260)
    expected, sizes = model.enhance(x), []
    forward = Exposing.forward

    def scarce(self, x):
        sizes.append(x.shape[-1] * x.shape[-2])
        if sizes[-1] > 150 * 150:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …")
        return forward(self, x)

    monkeypatch.setattr(Exposing, "forward", scarce)
    monkeypatch.setattr(large, "STATISTICS_PIXELS", 100 * 100)
    torch.testing.assert_close(model.enhance(x), expected, rtol=0, atol=2 / 255)
    assert sizes[0] == 200 * 260 and sizes[-1] <= 150 * 150
    monkeypatch.setattr(
        Exposing, "forward", lambda self, x: (_ for _ in ()).throw(RuntimeError("another"))
    )
    with pytest.raises(RuntimeError, match="another"):
        model.enhance(x)


def test_the_pass_over_the_small_copy_fits_its_memory(monkeypatch):
    monkeypatch.setattr(large, "STATISTICS_MEMORY", 5000 * 1000)
    seen = []
    x = torch.rand(1, 3, 100, 200)
    in_tiles(lambda w: seen.append(w.shape) or w, x, 300, 0, bytes_per_pixel=1000)
    assert seen[0] == (1, 3, 50, 100) and seen[1] == (1, 3, 100, 200)


def test_tiles_fit_a_quarter_of_the_free_memory():
    assert tile_side(1000, 1, 2**40) ** 2 * 1000 <= 2**30
    assert tile_side(1000, 1, 2**28) ** 2 * 1000 <= 2**26
    assert tile_side(1000, 4, 2**40) ** 2 * 4000 <= 2**30
    assert tile_side(1e9, 1, 0) == large.LEAST_SIDE


def test_values_of_the_whole_image_come_from_a_smaller_copy_where_memory_ends(monkeypatch):
    x, sizes = scene(300, 340), []

    def run(window):
        sizes.append(window.shape[-2] * window.shape[-1])
        if sizes[-1] > 40_000:
            raise torch.OutOfMemoryError("out of memory")
        return window * of_whole_image(lambda: window.mean())

    monkeypatch.setattr(large, "STATISTICS_PIXELS", 100_000)
    large.in_tiles(run, x, 128, 0)
    assert sizes[0] > 40_000 >= sizes[1] > 20_000
    with pytest.raises(RuntimeError, match="another fault"):
        large.in_tiles(lambda _: (_ for _ in ()).throw(RuntimeError("another fault")), x, 128, 0)
