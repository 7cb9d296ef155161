"""Photographs in and out: the pixels of `read_image`, with what a file says about them.

Kept: sRGB or other RGB profiles (ICC), EXIF (camera, time, place; the orientation is applied and
set to upright, thumbnails are dropped), 16 bits a sample where the output format has them. HEIC
(with the package pillow-heif) and AVIF (where Pillow has it) are read as 8 bits; camera RAW needs
the package rawpy, and its EXIF is not read: `pip install llie-core[heic,raw]`.
"""

import importlib.util
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from llie_core.data.folders import SUFFIXES
from llie_core.data.images import (
    as_tensor,
    has_alpha,
    levels_of,
    read_image,
    sample_bits,
    shallow_pixels,
)
from llie_core.files import atomic, reading

HEIC = (".heic", ".heif")
AVIF = ".avif"
RAW = (".dng", ".arw", ".cr2", ".cr3", ".nef", ".orf", ".raf", ".rw2", ".pef", ".srw")
EXTRAS = {"heic": ("pillow_heif", HEIC), "raw": ("rawpy", RAW)}  # extra → its module, its suffixes
KINDS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF",
    ".tiff": "TIFF",
}  # fmt: skip
QUALITY = 95  # of JPEG, without chroma subsampling, and of WebP
# What EXIF's main directory may say of the new file, too: description, camera, resolution,
# software, time, artist, copyright; the directories of the exposure and of the place.
EXIF_KEPT = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, 34665, 34853)
EXIF_TEXTS, EXIF_SOFTWARE = (270, 271, 272, 306, 315, 33432), 305


@dataclass(frozen=True)
class Photo:
    """A photograph. image: (3, H, W) float32 RGB in [0, 1], upright. deep: more than 8 bits.

    profile: its ICC profile. exif: its EXIF block. None where there is none. left_out: what of the
    file the image does not show, in words.
    """

    image: Tensor
    deep: bool = False
    profile: bytes | None = None
    exif: bytes | None = None
    left_out: str = ""


def readable() -> tuple[str, ...]:
    """Suffixes of the files that `read_photo` reads with the packages that are installed."""
    from PIL import features

    extra = [suffixes for module, suffixes in EXTRAS.values() if importlib.util.find_spec(module)]
    extra += [(AVIF,)] if features.check("avif") else []
    return (*SUFFIXES, ".gif", *(suffix for suffixes in extra for suffix in suffixes))


def read_photo(path: str | os.PathLike) -> Photo:
    """Read a photograph of any kind of `read_image`, HEIC, AVIF or RAW.

    RAW is developed with the camera's white balance, in sRGB, without automatic brightening.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unreadable, or of a kind that needs a package which is not installed.
    """
    path = Path(path)
    for extra, (module, suffixes) in EXTRAS.items():
        if path.suffix.lower() in suffixes:
            if not importlib.util.find_spec(module):
                need = f"install it with: pip install 'llie-core[{extra}]'"
                raise ValueError(f"{path}: {path.suffix} needs the package {module}; {need}")
            return _read_heic(path) if extra == "heic" else _read_raw(path)
    if path.suffix.lower() == AVIF:
        return _read_shallow(path, "AVIF")
    image = read_image(path)  # first: its errors are the better ones
    from PIL import Image

    with Image.open(path) as file:
        deep = file.mode.startswith("I") or sample_bits(file, path) > 8
        return Photo(image, deep, _profile(file), _exif(file), _left_out(file))


def _left_out(file) -> str:
    """Of a file that Pillow has opened: further frames, and transparency."""
    # A phone's JPEG holds previews as further frames.
    frames = 1 if file.format in ("JPEG", "MPO") else getattr(file, "n_frames", 1)
    parts = [f"the first of {frames} frames"] if frames > 1 else []
    if has_alpha(file) and file.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        parts.append("its transparency over black")
    return ", ".join(parts)


def _profile(file) -> bytes | None:
    """The ICC profile, unless it is one of grey or CMYK values: the result is RGB."""
    profile = file.info.get("icc_profile")
    return profile if profile and profile[16:20] == b"RGB " else None


def _exif(file) -> bytes | None:
    exif = file.getexif()
    for tag in set(exif) - set(EXIF_KEPT):
        del exif[tag]
    return exif.tobytes() if len(exif) else None


def _read_heic(path: Path) -> Photo:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return _read_shallow(path, "HEIF")


def _read_shallow(path: Path, kind: str) -> Photo:
    """A file of a format that Pillow decodes to 8 bits."""
    from PIL import Image

    with reading(path, "image"), Image.open(path, formats=[kind]) as file:
        left_out = _left_out(file)
        return Photo(as_tensor(shallow_pixels(file)), False, _profile(file), _exif(file), left_out)


def _read_raw(path: Path) -> Photo:
    import rawpy

    with reading(path, "image"), rawpy.imread(str(path)) as raw:
        pixels = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16)
    return Photo(as_tensor(pixels.astype(np.float32) / 65535), deep=True)


def write_photo(path: str | os.PathLike, image: Tensor, like: Photo | None = None) -> None:
    """Write an image as its suffix says (`KINDS`), atomically, with what `like` holds besides.

    Args:
        path: target; missing folders are made.
        image: (3, H, W) float RGB, clamped to [0, 1] and rounded: to 65,536 levels in PNG and TIFF
            where `like` is deep, else to 256. A 16-bit TIFF gets EXIF's texts (camera, time, …)
            alone.
        like: the photograph that the image was made of.

    Raises:
        ValueError: another shape or suffix, or values that are not finite.
    """
    path, like = Path(path), like or Photo(image)
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path}: written are {', '.join(KINDS)}; give it one of these suffixes")
    deep = like.deep and kind in ("PNG", "TIFF")
    levels = levels_of(image, path, 65535 if deep else 255)
    with atomic(path) as temporary:
        if not deep:
            _write_shallow(temporary, levels, kind, like)
        elif kind == "PNG":
            temporary.write_bytes(_deep_png(levels, like))
        else:
            _write_deep_tiff(temporary, levels, like)


def _write_shallow(path: Path, levels: np.ndarray, kind: str, like: Photo) -> None:
    from PIL import Image

    # TIFF stays uncompressed: Pillow writes the directories of EXIF into no other.
    options = {"JPEG": {"quality": QUALITY, "subsampling": 0}, "WEBP": {"quality": QUALITY}}
    about = {"icc_profile": like.profile, "exif": like.exif}
    about = options.get(kind, {}) | {name: value for name, value in about.items() if value}
    Image.fromarray(levels).save(path, format=kind, **about)


def _deep_png(levels: np.ndarray, like: Photo) -> bytes:
    """A 16-bit RGB PNG, which Pillow does not write: levels (H, W, 3) uint16."""
    height, width = levels.shape[:2]
    rows = np.ascontiguousarray(levels.astype(">u2")).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 1  # each byte minus that of the pixel to the left, six bytes before
    filtered[:, 1:7] = rows[:, :6]
    filtered[:, 7:] = rows[:, 6:] - rows[:, :-6]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))]
    if like.profile:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(like.profile)))
    if like.exif:
        chunks.append((b"eXIf", like.exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b"")]
    content = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(content)


def _write_deep_tiff(path: Path, levels: np.ndarray, like: Photo) -> None:
    """A 16-bit RGB TIFF, which Pillow does not write."""
    import tifffile
    from PIL import Image

    exif = Image.Exif()
    exif.load(like.exif or b"")
    texts = [(tag, "s", 0, str(exif[tag]), True) for tag in EXIF_TEXTS if tag in exif]
    software = str(exif[EXIF_SOFTWARE]) if EXIF_SOFTWARE in exif else False
    tifffile.imwrite(path, levels, photometric="rgb", compression="zlib", predictor=True,
                     metadata=None, software=software, iccprofile=like.profile,
                     extratags=texts)  # fmt: skip
