"""Videos in and out through PyAV: `pip install llie-core[video]`.

A video is read twice: for what must be known of all frames before the first is written, then to
write. Kept: audio (copied), size, rotation, frame times, pixel format, colour matrix, range,
primaries and transfer, sample aspect ratio, metadata. The images are encoded anew, by the same
codec where the file's kind takes it. Not kept: subtitles, transparency.
"""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llie_core.files import atomic

# Suffix → the kind of file that is written.
KINDS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
READ = (*KINDS, ".avi", ".3gp", ".mts", ".m2ts", ".mpg", ".wmv")
# Codec → its encoder and a quality at which what is encoded twice is hard to tell.
ENCODERS = {
    "h264": ("libx264", {"crf": "17"}),
    "hevc": ("libx265", {"crf": "19", "x265-params": "log-level=error"}),
    "vp8": ("libvpx", {"crf": "6", "b": "20M"}),
    "vp9": ("libvpx-vp9", {"crf": "20", "b": "0"}),
    "av1": ("libsvtav1", {"crf": "22"}),
    "mpeg4": ("mpeg4", {"qmin": "2", "qmax": "3"}),
    "mjpeg": ("mjpeg", {"qmin": "2", "qmax": "2"}),
    "prores": ("prores_ks", {}),
    "ffv1": ("ffv1", {}),
}
SHORT = 0.9  # share of the stated duration below which a file is cut short


@dataclass(frozen=True)
class Frame:
    """image: (1, 3, H, W) float32 RGB in [0, 1], not rotated. seconds: when it is shown."""

    image: Tensor
    seconds: float


def is_video(path: Path) -> bool:
    """Whether a file's suffix is that of a video."""
    return path.suffix.lower() in READ


def written_name(name: str) -> str:
    """A file's name in the kind that its result is written in."""
    return name if Path(name).suffix.lower() in KINDS else f"{name}.mkv"


def can_read_videos() -> bool:
    """Whether PyAV is installed."""
    return bool(importlib.util.find_spec("av"))


def read_frames(path: Path, pixels: int) -> Iterator[Frame]:
    """The frames of a video as copies of at most about so many pixels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: PyAV is not installed, the file is damaged or cut short, or holds no video.
    """
    with _opened(path) as (source, stream):
        stated = (source.duration or 0) / 1e6 + max(source.start_time or 0, 0) / 1e6
        end = 0.0
        for packet, frames in _contents(path, source, stream):
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            for frame in frames:
                scale = min(1.0, (pixels / (frame.width * frame.height)) ** 0.5)
                size = [max(1, round(side * scale)) for side in (frame.width, frame.height)]
                yield Frame(image_of(frame, *size), frame.time or 0.0)
        if end < SHORT * stated:
            raise ValueError(f"{path}: cut short: it ends at {end:.1f} s of {stated:.1f}")


def frame_count(path: Path) -> int | None:
    """Number of frames as the file states it, None where it does not."""
    with _opened(path) as (source, stream):
        seconds = (source.duration or 0) / 1e6
        return stream.frames or round(seconds * float(stream.average_rate or 0)) or None


def rewrite_video(source: Path, target: Path, change: Callable[[Frame], Tensor]) -> str:
    """Write a video anew with other images, atomically.

    Args:
        change: frame → its new image, (1, 3, H, W).

    Returns:
        What could not be kept, or "".

    Raises:
        ValueError: damaged, without frames, or the target's kind takes no such audio.
    """
    with _opened(source) as (file, stream):
        first = next(f for _, frames in _contents(source, file, stream) for f in frames)
    import av

    kind = KINDS[target.suffix.lower()]
    options = {"movflags": "+faststart"} if kind in ("mp4", "mov") else {}
    with (
        _opened(source) as (file, stream),
        atomic(target) as temporary,
        av.open(str(temporary), "w", format=kind, options=options) as written,
    ):
        written.metadata.update(file.metadata)
        video, lost = _video_stream(written, stream, first)
        copied = {}
        for audio in file.streams.audio:
            name = audio.codec_context.codec.canonical_name
            if name not in written.supported_codecs:
                problem = f"audio of the kind {name} cannot be copied into {target.suffix}"
                raise ValueError(f"{target}: {problem}; name a file that ends with .mkv")
            copied[audio.index] = written.add_stream_from_template(audio)
        for packet, frames in _contents(source, file, stream):
            for frame in frames:
                image = change(Frame(image_of(frame), frame.time or 0.0))
                written.mux(video.encode(encodable(image, frame, video.pix_fmt)))
            if packet.stream is not stream and packet.dts is not None:
                packet.stream = copied[packet.stream.index]
                written.mux(packet)
        written.mux(video.encode(None))
    return lost


@contextmanager
def _opened(path: Path):
    """A file's container and its video stream."""
    if not can_read_videos():
        need = "install it with: pip install 'llie-core[video]'"
        raise ValueError(f"{path}: {path.suffix} needs the package av; {need}")
    import av

    if not path.is_file():
        raise FileNotFoundError(f"video not found: {path}")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise ValueError(f"cannot read video {path}: {error.strerror}") from error
    with container:
        if not container.streams.video:
            raise ValueError(f"{path}: holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _contents(path: Path, container, stream) -> Iterator[tuple]:
    """The packets of the video and of all audio in their order, each with the frames that are
    decoded then; damaged ones, and a file without frames, are refused."""
    import av

    packets = container.demux(stream, *container.streams.audio)
    at, count = 0.0, 0
    while True:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet and packet.stream is stream else []
        except av.FFmpegError as error:
            raise ValueError(f"{path}: damaged after {at:.1f} s: {error.strerror}") from error
        if packet is None:
            if not count:
                raise ValueError(f"{path}: holds no frame that can be read")
            return
        for frame in frames:
            if frame.pts is None or container.format.name == "avi":  # AVI has no times of frames
                frame.pts = round(count / (stream.average_rate * stream.time_base))
            at, count = frame.time or 0.0, count + 1
            if frame.is_corrupt:
                raise ValueError(f"{path}: damaged at {at:.1f} s")
        yield packet, frames


def _exact() -> int:
    """swscale's slower conversions, which come back to the same value within one level; its
    defaults are off by up to three."""
    from av.video.reformatter import Interpolation as Flag

    return Flag.BICUBIC | Flag.ACCURATE_RND | Flag.FULL_CHR_H_INT | Flag.FULL_CHR_H_INP


def _is_deep(frame) -> bool:
    return any(component.bits > 8 for component in frame.format.components)


def image_of(frame, width: int | None = None, height: int | None = None) -> Tensor:
    """(1, 3, H, W) float32 RGB in [0, 1], by the frame's own colour matrix and range."""
    kind, top = ("rgb48le", 65535) if _is_deep(frame) else ("rgb24", 255)
    pixels = frame.reformat(width, height, format=kind, interpolation=_exact()).to_ndarray()
    image = torch.from_numpy(pixels.astype(np.float32) / np.float32(top))
    return image.permute(2, 0, 1)[None].contiguous()


def encodable(image: Tensor, like, pix_fmt: str):
    """An image as a frame of a pixel format, with the colours and the time of another frame."""
    import av

    kind, top, dtype = ("rgb48le", 65535, np.uint16) if _is_deep(like) else ("rgb24", 255, np.uint8)
    pixels = image[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy()
    levels = np.ascontiguousarray(np.rint(pixels * np.float32(top)).astype(dtype))
    colours = {} if like.format.is_rgb else {
        "dst_colorspace": like.colorspace, "dst_color_range": like.color_range
    }  # fmt: skip
    frame = av.VideoFrame.from_ndarray(levels, format=kind)
    frame = frame.reformat(format=pix_fmt, interpolation=_exact(), **colours)
    for name in ("pts", "time_base", "duration", "colorspace", "color_range", "color_primaries",
                 "color_trc"):  # fmt: skip
        setattr(frame, name, getattr(like, name))
    return frame


def _video_stream(written, stream, first):
    """The new video stream like another one, and what of it could not be kept, or ""."""
    from av.codec import Codec
    from av.codec.codec import find_best_pix_fmt_of_list

    context, lost = stream.codec_context, []
    codec = context.codec.canonical_name
    if codec not in ENCODERS or codec not in written.supported_codecs:
        lost.append(codec)
        codec = Codec(written.default_video_codec, "w").canonical_name
    encoder, options = ENCODERS[codec]
    formats = [known.name for known in Codec(encoder, "w").video_formats or ()]
    pix_fmt = first.format.name
    if formats and pix_fmt not in formats:
        lost.append(pix_fmt)
        pix_fmt = find_best_pix_fmt_of_list(formats, pix_fmt)[0].name
    new = written.add_stream(encoder, rate=stream.average_rate or 30, options=options)
    new.width, new.height, new.pix_fmt = first.width, first.height, pix_fmt
    new.codec_context.time_base = new.time_base = stream.time_base
    if stream.sample_aspect_ratio:
        new.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio
    for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
        setattr(new.codec_context, name, getattr(first, name))
    if codec == "hevc" and written.format.name in ("mp4", "mov"):
        new.codec_context.codec_tag = "hvc1"  # the one that Apple's players take
    matrix = first.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        new.set_display_matrix(np.frombuffer(bytes(matrix), np.int32).tolist())
    new.metadata.update(stream.metadata)
    return new, f"{', '.join(lost)} written as {codec}, {pix_fmt}" if lost else ""
