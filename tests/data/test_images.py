"""Odd kinds of image files, and the PNG writer."""

import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from llie_core.data.images import image_size, read_image, write_image

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def as_tensor(pixels, peak=255):
    return torch.from_numpy(np.asarray(pixels).astype(np.float32) / peak).permute(2, 0, 1)


def save(tmp_path, image, name="a.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def write_png_16(path, samples, colour_type, chunks=b""):
    """A 16-bit PNG by hand: samples (H, W, C) uint16, filter 0 on every row."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    body = chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    return path


def test_rgb_is_exact_float32_in_channel_order(tmp_path):
    image = read_image(save(tmp_path, Image.fromarray(RGB)))
    assert image.dtype == torch.float32 and image.shape == (3, 5, 7) and image.is_contiguous()
    assert torch.equal(image, as_tensor(RGB))


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_repeats_over_the_channels(tmp_path, mode):
    grey = Image.fromarray(RGB[..., 0]).convert(mode)
    image = read_image(save(tmp_path, grey))
    assert torch.equal(image[0], as_tensor(np.asarray(grey.convert("L"))[..., None])[0])
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])


def test_palette_without_and_with_a_transparent_colour(tmp_path):
    palette = Image.fromarray(RGB).quantize(8)
    colours = as_tensor(np.asarray(palette.convert("RGB")))
    assert torch.equal(read_image(save(tmp_path, palette)), colours)
    clear = np.asarray(palette) == 3
    assert clear.any()
    image = read_image(save(tmp_path, palette, transparency=3))
    assert torch.equal(image, torch.where(torch.from_numpy(clear), torch.zeros(()), colours))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_over_black(tmp_path, mode):
    alpha = np.random.default_rng(1).integers(0, 256, (5, 7), dtype=np.uint8)
    colour = Image.fromarray(RGB) if mode == "RGBA" else Image.fromarray(RGB[..., 0])
    colour.putalpha(Image.fromarray(alpha))
    assert colour.mode == mode
    expected = as_tensor(np.asarray(colour.convert("RGBA"))[..., :3]) * as_tensor(alpha[..., None])
    torch.testing.assert_close(read_image(save(tmp_path, colour)), expected)


def test_cmyk_jpeg(tmp_path):
    flat = Image.new("CMYK", (16, 8), (255, 0, 0, 0))  # pure cyan
    image = read_image(save(tmp_path, flat, "a.jpg", quality=100))
    torch.testing.assert_close(image.mean((1, 2)), torch.tensor([0.0, 1.0, 1.0]), atol=0.02, rtol=0)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_keeps_all_bits(tmp_path, colour_type, channels):
    samples = np.random.default_rng(2).integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    image = read_image(write_png_16(tmp_path / "a.png", samples, colour_type))
    values = samples.astype(np.float64) / 65535
    colour = values if channels % 2 else values[..., :-1] * values[..., -1:]
    expected = np.broadcast_to(colour, (5, 7, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(image.numpy(), expected, atol=2e-7)


def test_a_truncated_16_bit_png_is_one_plain_line(tmp_path):
    path = write_png_16(tmp_path / "a.png", np.ones((9, 9, 3), np.uint16), 2)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"^cannot read image .*a\.png: damaged or truncated$"):
        read_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_no_missing_file(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match=r"a\.png: no regular file$"):
        read_image(tmp_path / "a.png")


def test_16_bit_grey_tiff(tmp_path):
    samples = np.array([[0, 1, 65535], [256, 32768, 9]], dtype=np.uint16)
    image = read_image(save(tmp_path, Image.fromarray(samples), "a.tif"))
    np.testing.assert_allclose(image[1].numpy(), samples / 65535, atol=1e-7)


DARK = np.random.default_rng(6).integers(0, 640, (8, 10, 3), dtype=np.uint16)  # below 1 % of 65535
PLANES = np.moveaxis(DARK, -1, 0).copy()
ALPHA = np.linspace(0, 65535, 80).astype(np.uint16).reshape(8, 10, 1)


@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (DARK, {}),
        (PLANES, {"planarconfig": "separate"}),
        (DARK, {"byteorder": ">"}),
        (DARK, {"compression": "zlib", "predictor": 2}),
        (DARK, {"tile": (16, 16)}),
        (DARK, {"bigtiff": True}),
        (np.dstack([DARK, ALPHA]), {"extrasamples": ["unspecified"]}),
    ],
    ids=["rgb", "planar", "big-endian", "deflate", "tiled", "bigtiff", "extra"],
)
def test_16_bit_colour_tiff_keeps_all_bits(tmp_path, samples, options):
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", **options)
    assert torch.equal(read_image(tmp_path / "a.tif"), as_tensor(DARK, 65535))


@pytest.mark.parametrize(("kind", "factor"), [("unassalpha", ALPHA / 65535), ("assocalpha", 1.0)])
def test_alpha_of_a_16_bit_tiff(tmp_path, kind, factor):
    samples = np.dstack([DARK, ALPHA])
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=[kind])
    torch.testing.assert_close(read_image(tmp_path / "a.tif"), as_tensor(DARK * factor, 65535))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [8, 16])
def test_every_orientation_of_a_tiff(tmp_path, orientation, depth):
    samples = DARK if depth == 16 else (DARK // 3).astype(np.uint8)
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extratags=tag)
    # EXIF 2.32, tag 274: where the stored first row and column stand in the upright image.
    upright = {
        1: samples, 2: samples[:, ::-1], 3: samples[::-1, ::-1], 4: samples[::-1],
        5: samples.swapaxes(0, 1), 6: samples[::-1].swapaxes(0, 1),
        7: samples[::-1, ::-1].swapaxes(0, 1), 8: samples.swapaxes(0, 1)[::-1],
    }[orientation]  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert torch.equal(image, as_tensor(upright, 2**depth - 1))
    assert image_size(tmp_path / "a.tif") == (upright.shape[1::-1], orientation)
    stored = read_image(tmp_path / "a.tif", frame=(10, 8))
    assert torch.equal(stored, as_tensor(samples if orientation > 4 else upright, 2**depth - 1))


def write_tiff(path, width, bits, photometric, body):
    """A grey TIFF of one row by hand."""
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 134), (277, 1),
            (278, 1), (279, len(body))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(head.ljust(134, b"\0") + body)
    return path


def test_12_bit_grey_tiff_has_its_own_white(tmp_path):
    path = write_tiff(tmp_path / "a.tif", 2, 12, 1, bytes([0xFF, 0xF0, 0x64]))  # 4095, 100
    np.testing.assert_allclose(read_image(path)[0, 0], [1, 100 / 4095], atol=1e-7)


def test_16_bit_tiff_whose_white_is_zero(tmp_path):
    path = write_tiff(tmp_path / "a.tif", 2, 16, 0, struct.pack("<HH", 0, 65535 - 9))
    np.testing.assert_allclose(read_image(path)[0, 0], [1, 9 / 65535], atol=1e-7)


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (DARK.astype(np.uint32)[..., 0], {}, "no fixed range"),
        (DARK.astype(np.int16)[..., 0], {}, "no fixed range"),
        (np.dstack([DARK, ALPHA]), {"photometric": "separated"}, "save it as RGB"),
    ],
    ids=["32-bit", "signed", "cmyk"],
)
def test_tiffs_that_cannot_be_read_right_are_refused(tmp_path, samples, options, message):
    tifffile.imwrite(tmp_path / "a.tif", samples, **options)
    with pytest.raises(ValueError, match=rf"cannot read image .*a\.tif: .*{message}"):
        read_image(tmp_path / "a.tif")


def test_a_compression_of_16_bit_tiff_that_is_not_read_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", DARK, photometric="rgb")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    at = content.index(struct.pack("<HHI", 259, 3, 1))
    content[at + 8] = 5  # LZW, says the header
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tif: .*LZW.* save it uncompressed, or as PNG"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("peak", [1023, 65535])
@pytest.mark.parametrize(("magic", "channels"), [("P5", 1), ("P6", 3)])
def test_deep_ppm_keeps_all_levels(tmp_path, magic, channels, peak):
    samples = DARK[..., :channels]
    header = f"{magic}\n# made by hand\n10 8\n{peak}\n".encode()
    (tmp_path / "a.ppm").write_bytes(header + samples.astype(">u2").tobytes())
    expected = as_tensor(np.broadcast_to(samples, (8, 10, 3)), peak)
    assert torch.equal(read_image(tmp_path / "a.ppm"), expected)
    (tmp_path / "a.ppm").write_bytes(header + samples.astype(">u2").tobytes()[:-2])
    with pytest.raises(ValueError, match=r"cannot read image .*a\.ppm"):
        read_image(tmp_path / "a.ppm")


def test_8_bit_ppm(tmp_path):
    assert torch.equal(read_image(save(tmp_path, Image.fromarray(RGB), "a.ppm")), as_tensor(RGB))


def test_kinds_that_would_lose_bits_are_refused(tmp_path):
    path = save(tmp_path, Image.fromarray(RGB), "a.jp2")
    with pytest.raises(ValueError, match=r"a\.jp2: damaged, or not one of PNG, JPEG, TIFF"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_exif_orientation_is_applied(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    options = {"lossless": True} if name == "a.webp" else {}
    path = save(tmp_path, Image.fromarray(RGB), name, exif=exif, **options)
    assert torch.equal(read_image(path), torch.rot90(as_tensor(RGB), -1, (1, 2)))
    assert image_size(path) == ((5, 7), 6)
    assert torch.equal(read_image(path, frame=(7, 5)), as_tensor(RGB))
    assert torch.equal(read_image(path, frame=(9, 9)), read_image(path))


def test_exif_orientation_of_a_16_bit_png(tmp_path):
    samples = np.random.default_rng(3).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + body))
    image = read_image(write_png_16(tmp_path / "a.png", samples, 2, chunk))
    torch.testing.assert_close(image, torch.rot90(as_tensor(samples, 65535), -1, (1, 2)))


def test_one_pixel(tmp_path):
    path = save(tmp_path, Image.fromarray(RGB[:1, :1]))
    assert torch.equal(read_image(path), as_tensor(RGB[:1, :1]))


def test_first_frame_of_a_gif(tmp_path):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    path = save(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert torch.equal(read_image(path)[:, 0, 0], torch.tensor([1.0, 0.0, 0.0]))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.bmp", "a.tif", "a.webp"])
def test_truncated_file_is_named_in_one_line(tmp_path, name):
    big = np.random.default_rng(4).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(big), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"cannot read image .*{name}") as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_truncated_16_bit_png_is_named(tmp_path):
    samples = np.random.default_rng(5).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    path = write_png_16(tmp_path / "a.png", samples, 2)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ValueError, match=r"cannot read image .*a\.png"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 60])
def test_garbage_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read image .*broken\.png"):
        read_image(path)


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 3)])
def test_float_tiff_is_refused_and_absent_file_is_named(tmp_path, shape):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="no fixed range"):
        read_image(tmp_path / "a.tif")
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        read_image(tmp_path / "absent.png")


def test_write_then_read_is_within_half_a_level(tmp_path):
    image = torch.rand(3, 9, 4, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "new folder" / "a.png"
    write_image(path, image)
    assert Image.open(path).mode == "RGB"
    assert (read_image(path) - image).abs().max() <= 0.5 / 255 + 1e-6
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_names_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / f"{'ä' * 125}x.png"  # 255 bytes
    write_image(path, torch.zeros(3, 2, 2))
    assert read_image(path).shape == (3, 2, 2) and list(tmp_path.iterdir()) == [path]


def test_write_clamps_and_rounds(tmp_path):
    image = torch.tensor([-0.2, 0.5, 1.7]).reshape(3, 1, 1).requires_grad_()
    write_image(tmp_path / "a.png", image)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[[0, 128, 255]]]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_image(path, torch.zeros(3, 2, 2))
    before = path.read_bytes()

    def full_disk(self, target, **options):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="disk full"):
        write_image(path, torch.ones(3, 2, 2))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("name", "image", "match"),
    [
        ("a.jpg", torch.zeros(3, 2, 2), "suffix .png"),
        ("a.png", torch.zeros(1, 3, 2, 2), r"\(3, H, W\)"),
        ("a.png", torch.zeros(3, 2, 2, dtype=torch.uint8), "float image"),
        ("a.png", torch.full((3, 2, 2), torch.nan), "not finite"),
    ],
)
def test_write_refuses(tmp_path, name, image, match):
    with pytest.raises(ValueError, match=match):
        write_image(tmp_path / name, image)
