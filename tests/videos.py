"""Tiny videos, written and read by PyAV itself."""

from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="the extra video is not installed")

MILLISECONDS = Fraction(1, 1000)


def scene(number, count=12, size=(64, 48)):
    """Frames (H, W, 3) uint8 of one still, dark scene; of each number another one."""
    width, height = size
    generator = np.random.default_rng(number)
    coarse = generator.integers(4, 60, (4, 4, 3)).repeat(height // 4, 0).repeat(width // 4, 1)
    slope = np.linspace(0, 20, width)[None, :, None]
    return [(coarse + slope).astype(np.uint8)] * count


def make(path, frames, codec="libx264", pix_fmt="yuv420p", times=None, matrix=None, colours=(1, 1),
         sound=False):  # fmt: skip
    """Write a video.

    times: of the frames in ms. matrix: a rotation in degrees. colours: matrix, primaries and
    transfer by one number of H.273, and the range (1 limited, 2 full). sound: with a tone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    colour, full = colours
    with av.open(str(path), "w") as file:
        options = {"crf": "8", "x265-params": "log-level=error"} if "x26" in codec else {}
        video = file.add_stream(codec, rate=25, options=options)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, context = pix_fmt, video.codec_context
        constant = codec == "mpeg4" or path.suffix == ".avi"
        context.time_base = Fraction(1, 25) if constant else MILLISECONDS
        context.colorspace = context.color_primaries = context.color_trc = colour
        context.color_range = full
        if matrix is not None:
            video.set_display_rotation(matrix)
        if sound:
            audio = file.add_stream("aac", rate=16000)
            audio.layout = "mono"
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=pix_fmt, dst_colorspace=colour, dst_color_range=full
            )
            at = times[i] if times else 40 * i
            frame.pts = i if constant else at
            frame.time_base = context.time_base
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if sound:
            for start in range(0, 640 * len(frames), 1024):
                tone = np.sin(np.arange(start, start + 1024) / 10) * 8000
                part = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], "s16", "mono")
                part.sample_rate, part.pts = 16000, start
                part.time_base = Fraction(1, 16000)
                file.mux(audio.encode(part))
            file.mux(audio.encode(None))
    return path


def images(path):
    """The frames as RGB arrays (H, W, 3) uint8."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def about(path):
    """What must be kept: codec, format, size, rotation, colours, times in ms."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        one, codec = frames[0], file.streams.video[0].codec_context.codec.canonical_name
        return {
            "codec": codec, "format": one.format.name, "size": (one.width, one.height),
            "rotation": one.rotation, "matrix": one.colorspace, "range": one.color_range,
            "primaries": one.color_primaries, "transfer": one.color_trc,
            "times": [round(1000 * frame.time) for frame in frames],
        }  # fmt: skip


def sound(path):
    """The bytes of the audio's packets and the time of the first, in ms."""
    with av.open(str(path)) as file:
        packets = [p for p in file.demux(audio=0) if p.dts is not None]
        return b"".join(map(bytes, packets)), round(1000 * packets[0].pts * packets[0].time_base)
