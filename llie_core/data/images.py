"""Reading and writing image files: every kind a user may have becomes (3, H, W) RGB in [0, 1]."""

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llie_core.files import atomic, reading

# Pillow's names. It would cut the samples of other kinds, such as JPEG 2000, to 8 bits unasked.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PPM_HEADER = re.compile(rb"P([2356])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")
# TIFF's tags, and EXIF's orientation.
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _ORIENTATION = 256, 257, 258, 262, 339, 274


def read_image(path: str | os.PathLike, frame: tuple[int, int] | None = None) -> Tensor:
    """Read one image file as RGB.

    Handled: grey and 1-bit (repeated over the channels), palette, CMYK, YCbCr, PNG, TIFF and PPM
    with up to 16 bits a sample (all are used), EXIF rotation (applied), several frames (the
    first), .npy arrays of 8 bits (H, W, 3) in the order B, G, R, as LLIE code saves them.
    Transparent pixels are composited over black: no light comes from them. Embedded colour profiles
    are not applied.

    Args:
        path: the file.
        frame: (W, H) that the image's annotation names. An image that only EXIF rotates away
            from this size is left as it is stored, so that boxes, joints and masks fit.

    Returns:
        float32 tensor (3, H, W), range [0, 1].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable, truncated or of a kind not handled; the message is one
            line that names it.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return as_tensor(_array(path)[..., ::-1] / np.float32(255))
    with _opened(path) as image:
        orientation = _orientation(image)
        pixels = _pixels(image, path, orientation)
        height, width = pixels.shape[:2]
        if orientation > 4 and frame == (height, width) != (width, height):
            pixels = _turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))
    return as_tensor(pixels)


def as_tensor(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) → (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def image_size(path: str | os.PathLike) -> tuple[tuple[int, int], int]:
    """Upright (W, H) of an image file and its EXIF orientation (1 to 8), from the header alone.

    Raises:
        FileNotFoundError, ValueError: as read_image.
    """
    if Path(path).suffix == ".npy":
        height, width = _array(Path(path)).shape[:2]
        return (width, height), 1
    with _opened(Path(path)) as image:
        orientation = _orientation(image)
        if image.format == "TIFF":  # versions of Pillow differ in which size they give
            width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        else:
            width, height = image.size
        return (height, width) if orientation > 4 else (width, height), orientation


def _array(path: Path) -> np.ndarray:
    """The array (H, W, 3) uint8 of a .npy file, mapped: only what is used is read."""
    try:
        levels = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(f"{path} is no array that can be read: {error}") from None
    if levels.ndim != 3 or levels.shape[2] != 3 or levels.dtype != np.uint8:
        raise ValueError(f"{path} holds {levels.dtype} {levels.shape}, not 8 bits (H, W, 3)")
    return levels


def frame_holding(path: str | os.PathLike, boxes: Tensor) -> tuple[int, int] | None:
    """(W, H) of the frame that boxes (N, 4) xyxy are in, where their annotation names no size.

    None (upright) unless EXIF swaps the image's sides and the boxes all lie in the image as it is
    stored, but not in the upright one.
    """
    (width, height), orientation = image_size(path)
    if orientation < 5 or not len(boxes):
        return None
    right, bottom = boxes[:, 2:].amax(0).tolist()
    upright, stored = (right <= w and bottom <= h for w, h in ((width, height), (height, width)))
    return (height, width) if stored and not upright else None


def write_image(path: str | os.PathLike, image: Tensor) -> None:
    """Write an image as an 8-bit RGB PNG, atomically (a kill leaves the old file or the new).

    Args:
        path: target, with the suffix `.png`; missing folders are made.
        image: (3, H, W) float RGB; values are clamped to [0, 1] and rounded to the nearest of
            256 levels.

    Raises:
        ValueError: another shape or suffix, or values that are not finite.
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"images are written as PNG; give {path.name!r} the suffix .png")
    levels = levels_of(image, path)
    with atomic(path) as temporary:
        Image.fromarray(levels).save(temporary, format="PNG")


def levels_of(image: Tensor, path: Path, top: int = 255) -> np.ndarray:
    """An image (3, H, W), to be written to `path`, as levels (H, W, 3): 8 bits, or 16 up to 65535.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise ValueError(
            f"expected a float image (3, H, W), got {image.dtype} {tuple(image.shape)} for {path}"
        )
    pixels = image.detach().to("cpu", torch.float32).permute(1, 2, 0).numpy()
    if not np.isfinite(pixels).all():
        raise ValueError(f"image for {path} holds values that are not finite")
    levels = np.rint(pixels.clip(0, 1) * np.float32(top))
    return np.ascontiguousarray(levels.astype(np.uint8 if top == 255 else np.uint16))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator:
    """The Pillow image of a file, undecoded; what goes wrong inside becomes one line."""
    from PIL import Image, UnidentifiedImageError

    with reading(path, "image"):
        try:
            image = Image.open(path, formats=FORMATS)
        except UnidentifiedImageError as error:
            if _is_float_tiff(path):  # of several channels, which Pillow does not know
                raise _no_range() from error
            raise ValueError(f"damaged, or not one of {', '.join(FORMATS)}") from error
        with image:
            yield image


def _is_float_tiff(path: Path) -> bool:
    with contextlib.suppress(Exception):  # no TIFF, a damaged one, or no package to read it
        from tifffile import TiffFile

        with TiffFile(path) as file:
            return file.pages.first.dtype.kind == "f"
    return False


def _orientation(image) -> int:
    """EXIF orientation, 1 to 8; to be asked before the image is decoded, which a TIFF forgets."""
    if image.format == "TIFF":
        found = image.tag_v2.get(_ORIENTATION, 1)
    elif image.format == "PNG" and not {"exif", "XML:com.adobe.xmp"} & set(image.info):
        return 1  # getexif() would decode the pixels to see whether one follows them
    else:
        found = image.getexif().get(_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _pixels(image, path: Path, orientation: int) -> np.ndarray:
    """(H, W, 3) float32 RGB in [0, 1], upright, transparency over black."""
    if image.format == "PNG" and sample_bits(image, path) > 8:
        return _turned(_read_16_bit_png(path), orientation)
    if image.format == "TIFF" and sample_bits(image, path) > 8:
        return _deep_tiff(image, path, orientation)
    if image.format == "PPM" and (deep := _deep_ppm(path)) is not None:
        return deep
    return shallow_pixels(image)


def shallow_pixels(image) -> np.ndarray:
    """Pixels (H, W, 3) float32 RGB in [0, 1] of an image that Pillow has opened, of 8 bits a sample
    or less; upright, transparency over black."""
    from PIL import ImageOps

    image.load()
    image = ImageOps.exif_transpose(image)
    if has_alpha(image):
        return _as_rgb(np.asarray(image.convert("RGBA"), dtype=np.float32) / 255)
    if image.mode == "F" or image.mode.startswith("I"):
        raise _no_range()
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def has_alpha(image) -> bool:
    """Whether an image that Pillow has opened may be transparent."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _no_range() -> ValueError:
    return ValueError(
        "floating-point, signed and 32-bit samples have no fixed range; save it as 8- or 16-bit"
    )


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (H, W, C) made upright."""
    if orientation in (2, 4, 5, 7):
        pixels = pixels[:, ::-1]
    quarters = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    return np.rot90(pixels, quarters)


def _as_rgb(values: np.ndarray, straight: bool = True) -> np.ndarray:
    """(H, W, C) in [0, 1], C = 1 to 4 (grey or RGB, then alpha) → (H, W, 3) over black.

    straight: colours are not multiplied by alpha yet.
    """
    colours = 1 if values.shape[2] < 3 else 3
    rgb = np.broadcast_to(values[..., :colours], (*values.shape[:2], 3))
    if values.shape[2] == colours or not straight:
        return np.array(rgb)
    return rgb * values[..., colours:]


def sample_bits(image, path: Path) -> int:
    """Bits a sample of a file that Pillow has opened; of PPM and PGM 8 or 16."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(_BITS, (1,)))
    with path.open("rb") as file:
        head = file.read(1024)
    if image.format == "PNG":
        return head[24]  # IHDR's bit depth
    header = _PPM_HEADER.match(head) if image.format == "PPM" else None
    return 16 if header and int(header[4]) > 255 else 8


def _read_16_bit_png(path: Path) -> np.ndarray:
    """All sixteen bits of a PNG as stored, which Pillow would cut to eight in colour images."""
    from torchvision.io import decode_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 points to TorchCodec
        try:
            samples = decode_image(str(path))  # (C, H, W) uint16
        except RuntimeError as error:  # which names a line of libpng's caller
            raise ValueError("damaged or truncated") from error
    return _as_rgb(samples.numpy().transpose(1, 2, 0).astype(np.float32) / 65535)


def _deep_tiff(image, path: Path, orientation: int) -> np.ndarray:
    """A TIFF of 9 to 16 bits a sample; Pillow would cut those in colour to eight."""
    bits, kind = image.tag_v2[_BITS], image.tag_v2.get(_PHOTOMETRIC)
    if max(bits) > 16 or set(image.tag_v2.get(_SAMPLE_FORMAT, (1,))) != {1}:
        raise _no_range()
    if len(bits) == 1:
        image.load()  # which makes it upright
        stored, straight, orientation = np.asarray(image)[..., None], True, 1
    else:
        stored, straight = _tiff_samples(path)
    if kind not in (0, 1, 2):
        raise ValueError(f"16-bit TIFF of photometric kind {kind}; save it as RGB")
    values = stored.astype(np.float32) / np.float32(2 ** max(bits) - 1)
    if kind == 0:  # white is 0
        values[..., 0] = 1 - values[..., 0]
    return _turned(_as_rgb(values, straight), orientation)


def _tiff_samples(path: Path) -> tuple[np.ndarray, bool]:
    """The samples (H, W, C) of a TIFF's first page as stored, and whether alpha is straight."""
    try:
        from tifffile import TiffFile  # comes with scikit-image
    except ImportError as error:
        raise ValueError("16-bit colour TIFF needs the package tifffile") from error

    with TiffFile(path) as file:
        page = file.pages.first
        try:
            samples = page.asarray()
        except ValueError as error:  # a compression, say, that needs another package
            raise ValueError(f"{error}; save it uncompressed, or as PNG") from error
        extra = [int(one) for one in page.extrasamples]
        if page.planarconfig == 2:  # one plane a channel
            samples = np.moveaxis(samples, 0, -1)
    colours = samples.shape[-1] - len(extra)
    if extra and extra[0] in (1, 2):
        colours += 1
    return samples[..., :colours], extra[:1] != [1]


def _deep_ppm(path: Path) -> np.ndarray | None:
    """A PGM or PPM of more than 8 bits a sample, None for others; Pillow would cut it to eight."""
    content = path.read_bytes()
    header = _PPM_HEADER.match(content)
    if header is None or (peak := int(header[4])) < 256:
        return None
    if header[1] in b"23":
        raise ValueError("16-bit samples in plain text; save it as binary PPM or PNG")
    shape = (int(header[3]), int(header[2]), 1 if header[1] == b"5" else 3)
    samples = np.frombuffer(content, ">u2", int(np.prod(shape)), header.end()).reshape(shape)
    return _as_rgb(np.minimum(samples, peak).astype(np.float32) / np.float32(peak))
