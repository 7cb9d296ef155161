"""Photographs in and out: what is kept of a file besides its pixels, and in which format."""

import struct

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, features

from llie_core.data import photos
from llie_core.data.images import read_image
from llie_core.data.photos import KINDS, Photo, read_photo, write_photo

DEEP = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
RGB = (DEEP // 257).astype(np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, MODEL, ORIENTATION, TIME, EXPOSURE, GPS = 271, 272, 274, 306, 0x8769, 0x8825
SOFTWARE = 305


def as_tensor(pixels):
    peak = 65535 if pixels.dtype == np.uint16 else 255
    return torch.from_numpy(pixels.astype(np.float32) / peak).permute(2, 0, 1)


def exif(orientation=1):
    block = Image.Exif()
    block[MAKE], block[MODEL], block[TIME] = "Maker", "One", "2026:01:02 03:04:05"
    block[ORIENTATION] = orientation
    block[EXPOSURE] = {33434: 0.5, 34855: 3200}  # seconds, ISO
    block[GPS] = {1: "N", 2: (47.0, 30.0, 0.0)}
    return block


@pytest.mark.parametrize("suffix", KINDS)
def test_a_photograph_keeps_profile_and_exif(suffix, tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", icc_profile=PROFILE, exif=exif(6))
    photo = read_photo(tmp_path / "a.png")
    assert torch.equal(photo.image, torch.rot90(as_tensor(RGB), -1, (1, 2))) and not photo.deep
    path = tmp_path / f"b{suffix}"
    write_photo(path, photo.image, photo)
    with Image.open(path) as written:
        assert written.format == KINDS[suffix] and written.mode == "RGB"
        assert written.info["icc_profile"] == PROFILE
        about = written.getexif()
        assert (about[MAKE], about[MODEL]) == ("Maker", "One") and about.get(ORIENTATION, 1) == 1
        assert about.get_ifd(EXPOSURE)[34855] == 3200 and about.get_ifd(GPS)[1] == "N"
    again = read_image(path)
    assert again.shape == photo.image.shape  # upright, and not turned a second time
    if KINDS[suffix] in ("PNG", "TIFF"):
        assert torch.equal(again, photo.image)


@pytest.mark.parametrize("source", ["png", "tif", "ppm"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_in_are_16_bits_out(source, suffix, tmp_path):
    first = tmp_path / f"a.{source}"
    if source == "png":
        write_photo(first, as_tensor(DEEP), Photo(as_tensor(DEEP), deep=True))
    elif source == "tif":
        tifffile.imwrite(first, DEEP, photometric="rgb", extratags=[(MAKE, "s", 0, "Maker", True)])
    else:
        first.write_bytes(b"P6\n# made by hand\n7 9\n65535\n" + DEEP.astype(">u2").tobytes())
    photo = read_photo(first)
    assert photo.deep and torch.equal(photo.image, as_tensor(DEEP))
    write_photo(tmp_path / f"b{suffix}", photo.image, photo)
    assert torch.equal(read_image(tmp_path / f"b{suffix}"), as_tensor(DEEP))
    assert read_photo(tmp_path / f"b{suffix}").deep


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_keep_profile_and_camera(suffix, tmp_path):
    block = exif()
    photo = Photo(as_tensor(DEEP), True, PROFILE, block.tobytes())
    write_photo(tmp_path / f"a{suffix}", photo.image, photo)
    again = read_photo(tmp_path / f"a{suffix}")
    assert again.profile == PROFILE
    found = Image.Exif()
    found.load(again.exif)
    assert found[MAKE] == "Maker" and found[TIME] == "2026:01:02 03:04:05"
    if suffix == ".png":
        assert found.get_ifd(GPS)[1] == "N"


def test_16_bits_go_into_jpeg_as_eight(tmp_path):
    write_photo(tmp_path / "a.jpg", torch.full((3, 16, 16), 0.5), Photo(as_tensor(DEEP), True))
    assert (read_image(tmp_path / "a.jpg") - 0.5).abs().max() <= 1 / 255


def test_profiles_of_other_spaces_are_dropped(tmp_path):
    grey = bytearray(PROFILE)
    grey[16:20] = b"GRAY"
    Image.fromarray(RGB[..., 0]).save(tmp_path / "a.png", icc_profile=bytes(grey))
    assert read_photo(tmp_path / "a.png").profile is None


def test_a_tiff_gives_its_texts_and_no_layout(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.tif", exif=exif().tobytes())
    photo = read_photo(tmp_path / "a.tif")
    found = Image.Exif()
    found.load(photo.exif)
    assert found[MAKE] == "Maker" and not {256, 257, 259, 273} & set(found)
    write_photo(tmp_path / "b.jpg", photo.image, photo)
    assert Image.open(tmp_path / "b.jpg").getexif()[MODEL] == "One"


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("a.gif", torch.zeros(3, 2, 2), "a.gif: written are .png, .jpg"),
        ("a", torch.zeros(3, 2, 2), "give it one of these suffixes"),
        ("a.jpg", torch.full((3, 2, 2), torch.nan), "not finite"),
        ("a.jpg", torch.zeros(1, 3, 2, 2), r"\(3, H, W\)"),
        ("a.jpg", torch.zeros(3, 2, 2, dtype=torch.uint8), "float image"),
    ],
)
def test_what_cannot_be_written_is_one_line(name, image, words, tmp_path):
    with pytest.raises(ValueError, match=words) as error:
        write_photo(tmp_path / name, image)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "module", "extra"), [(".heic", "pillow_heif", "heic"), (".NEF", "rawpy", "raw")]
)
def test_heic_and_raw_name_the_package_that_they_need(suffix, module, extra, tmp_path, monkeypatch):
    (tmp_path / f"a{suffix}").write_bytes(b"content")
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda name: None)
    assert suffix.lower() not in photos.readable()
    with pytest.raises(ValueError, match=rf"needs the package {module}.*'llie-core\[{extra}\]'"):
        read_photo(tmp_path / f"a{suffix}")


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(tmp_path):
    pixels = np.full((48, 64, 4), (40, 90, 20, 255), np.uint8)
    pixels[:, :8, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.avif", icc_profile=PROFILE, exif=exif(), quality=95)
    photo = read_photo(tmp_path / "a.avif")
    assert photo.profile == PROFILE and photo.left_out == "its transparency over black"
    assert photo.image[:, :, :4].max() <= 3 / 255  # transparent, over black
    assert (photo.image[:, :, 16:] - as_tensor(pixels[:, 16:, :3])).abs().max() <= 3 / 255
    assert ".avif" in photos.readable()
    (tmp_path / "b.avif").write_bytes((tmp_path / "a.avif").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cannot read image .*b\.avif: "):
        read_photo(tmp_path / "b.avif")


def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    heif.register_heif_opener()
    pixels = np.full((64, 48, 3), (40, 90, 20), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.heic", exif=exif(), icc_profile=PROFILE, quality=95)
    photo = read_photo(tmp_path / "a.heic")
    assert photo.image.shape == (3, 64, 48) and photo.profile == PROFILE
    assert (photo.image - as_tensor(pixels)).abs().max() <= 3 / 255
    found = Image.Exif()
    found.load(photo.exif)
    assert found[MAKE] == "Maker" and ".heic" in photos.readable()
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cannot read image .*b\.heic: "):
        read_photo(tmp_path / "b.heic")


def dng(path, mosaic):
    """A small raw file: a 12-bit mosaic (H, W) under the pattern RGGB."""
    rational = lambda *values: [(round(v * 10000), 10000) for v in values]  # noqa: E731
    flat = [part for pair in rational(1, 0, 0, 0, 1, 0, 0, 0, 1) for part in pair]
    neutral = [part for pair in rational(1, 1, 1) for part in pair]
    tags = [
        (271, "s", 0, "Maker", True), (272, "s", 0, "One", True), (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True), (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Maker One", True), (50714, "H", 1, 0, True), (50717, "H", 1, 4095, True),
        (50721, "2i", 9, flat, True), (50728, "2I", 3, neutral, True), (50778, "H", 1, 21, True),
    ]  # fmt: skip
    tifffile.imwrite(path, mosaic, photometric=32803, extratags=tags, metadata=None)


def test_raw(tmp_path):
    pytest.importorskip("rawpy", reason="the extra raw is not installed")
    dark, bright = tmp_path / "dark.dng", tmp_path / "bright.dng"
    for path, level in ((dark, 200), (bright, 3000)):
        dng(path, np.full((64, 96), level, np.uint16))
    photo = read_photo(dark)
    assert photo.deep and photo.image.shape == (3, 64, 96)
    # As exposed, not brightened to fill the range.
    assert 0 < photo.image.mean() < 0.4 < read_photo(bright).image.mean()
    write_photo(tmp_path / "a.png", photo.image, photo)
    assert struct.unpack(">B", (tmp_path / "a.png").read_bytes()[24:25]) == (16,)
    dark.write_bytes(b"no raw")
    with pytest.raises(ValueError, match=r"cannot read image .*dark\.dng: "):
        read_photo(dark)


@pytest.mark.parametrize("named", [True, False])
def test_a_16_bit_tiff_keeps_the_software_and_invents_none(named, tmp_path, caplog):
    block = exif()
    if named:
        block[SOFTWARE] = "Darkroom 3"
    photo = Photo(as_tensor(DEEP), True, None, block.tobytes())
    write_photo(tmp_path / "a.tif", photo.image, photo)
    with Image.open(tmp_path / "a.tif") as written:
        assert written.getexif().get(SOFTWARE, "") == ("Darkroom 3" if named else "")
    assert not caplog.records  # tifffile logs what it does not write
