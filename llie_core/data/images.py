"""Reading and writing image files: every kind a user may have becomes (3, H, W) RGB in [0, 1]."""

import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llie_core.files import atomic

# What Pillow raises on files that are no images, cut short, damaged or absurdly large.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError)


def read_image(path: str | os.PathLike) -> Tensor:
    """Read one image file as RGB.

    Handled: grey and 1-bit (repeated over the channels), palette, CMYK, YCbCr, 16-bit PNG (all
    sixteen bits are used) and 16-bit grey TIFF, EXIF rotation (applied), several frames (the
    first). Transparent pixels are composited over black: no light comes from them. Embedded
    colour profiles are not applied.

    Args:
        path: the file.

    Returns:
        float32 tensor (3, H, W), range [0, 1].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable, truncated or of a kind not handled; the message is one
            line that names it.
    """
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"image not found: {path}")
    try:
        if _is_16_bit_png(path):
            pixels = _read_16_bit_png(path)
        else:
            with Image.open(path) as image:
                pixels = _to_float(image)
    except (*_DAMAGED, RuntimeError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read image {path}: {reason}") from error
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))  # (3, H, W)


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
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise ValueError(
            f"expected a float image (3, H, W), got {image.dtype} {tuple(image.shape)} for {path}"
        )
    pixels = image.detach().to("cpu", torch.float32)
    if not torch.isfinite(pixels).all():
        raise ValueError(f"image for {path} holds values that are not finite")
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)  # (H, W, 3)
    with atomic(path) as temporary:
        Image.fromarray(levels.contiguous().numpy()).save(temporary, format="PNG")


def _to_float(image) -> np.ndarray:
    """A Pillow image as (H, W, 3) float32 RGB in [0, 1], upright, transparency over black."""
    from PIL import ImageOps

    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return _grey_to_rgb(np.asarray(image), image.mode)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _over_black(np.asarray(image.convert("RGBA"), dtype=np.float32) / 255)
    if image.mode == "F":
        raise ValueError("floating-point images have no fixed range; save it as 8- or 16-bit")
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def _grey_to_rgb(values: np.ndarray, mode: str) -> np.ndarray:
    """16-bit grey levels (H, W) as (H, W, 3) float32; Pillow may hold them as 32-bit "I"."""
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError(f"mode {mode} with values beyond 16 bits")
    return np.repeat((values / 65535).astype(np.float32)[..., None], 3, axis=2)


def _over_black(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4) with straight alpha → (H, W, 3) composited over black."""
    return rgba[..., :3] * rgba[..., 3:]


def _is_16_bit_png(path: Path) -> bool:
    """Whether the file's PNG header says 16 bits a sample (byte 24 is IHDR's bit depth)."""
    with path.open("rb") as file:
        head = file.read(25)
    return len(head) == 25 and head.startswith(b"\x89PNG\r\n\x1a\n") and head[24] == 16


def _read_16_bit_png(path: Path) -> np.ndarray:
    """All sixteen bits of a PNG, which Pillow would cut to eight in colour images."""
    from torchvision.io import decode_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 points to TorchCodec
        samples = decode_image(str(path), apply_exif_orientation=True)  # (C, H, W) uint16
    values = samples.numpy().transpose(1, 2, 0).astype(np.float32) / 65535  # (H, W, C)
    colour, alpha = (values, None) if values.shape[2] % 2 else (values[..., :-1], values[..., -1:])
    colour = np.broadcast_to(colour, (*colour.shape[:2], 3))  # grey repeats over the channels
    return np.array(colour) if alpha is None else _over_black(np.dstack([colour, alpha]))
