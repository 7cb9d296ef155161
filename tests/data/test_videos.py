"""Videos in and out: what is kept, and what is refused."""

import numpy as np
import pytest

from llie_core.data import videos
from llie_core.data.videos import read_frames, rewrite_video

make_video = pytest.importorskip("videos", reason="the extra video is not installed")
av, make, scene = make_video.av, make_video.make, make_video.scene


def copied(source, target):
    """`source` written anew with its own images; what could not be kept."""
    return rewrite_video(source, target, lambda frame: frame.image)


VARYING = [0, 20, 90, 110, 180, 200, 240, 320, 330, 400, 410, 500]
CASES = {
    "varying.mp4": {"times": VARYING, "sound": True},
    "rotated.mp4": {"matrix": 90},
    "mirrored.mov": {"matrix": 180, "colours": (5, 1)},
    "full.mov": {"pix_fmt": "yuvj444p", "colours": (6, 2)},
    "ten.mkv": {"pix_fmt": "yuv422p10le", "colours": (9, 1), "sound": True},
    "hevc.mp4": {"codec": "libx265"},
    "web.webm": {"codec": "libvpx-vp9"},
    "old.mkv": {"codec": "mpeg4"},
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_video_says_of_itself_is_kept(name, tmp_path):
    source, target = make(tmp_path / name, scene(0), **CASES[name]), tmp_path / f"new-{name}"
    assert copied(source, target) == ""
    assert make_video.about(target) == make_video.about(source)
    if CASES[name].get("sound"):
        assert make_video.sound(target) == make_video.sound(source)
    before, after = (np.stack(make_video.images(path)).astype(float) for path in (source, target))
    assert 10 * np.log10(255**2 / np.square(before - after).mean()) > 40


@pytest.mark.parametrize("colours", [(1, 1), (1, 2), (5, 1), (9, 1)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
def test_colours_come_back_within_a_level_of_8_bits(colours, pix_fmt):
    """swscale's default conversions are off by up to three."""
    generator = np.random.default_rng(0)
    deep = pix_fmt.endswith("10le")
    for _ in range(20):
        frame = av.VideoFrame(16, 16, pix_fmt)
        levels = [int(v) for v in generator.integers((60, 114, 114), (190, 142, 142))]
        levels = [level * 4 if deep else level for level in levels]
        for plane, level in zip(frame.planes, levels, strict=True):
            value = level.to_bytes(2, "little") if deep else bytes([level])
            plane.update(value * (plane.buffer_size // len(value)))
        frame.colorspace, frame.color_range = colours
        frame.pts, frame.time_base = 0, make_video.MILLISECONDS
        back = videos.encodable(videos.image_of(frame), frame, pix_fmt)
        dtype = np.uint16 if deep else np.uint8
        found = [int(np.frombuffer(bytes(plane), dtype)[0]) for plane in back.planes]
        assert np.abs(np.subtract(found, levels)).max() <= (2 if deep else 1)
        assert (back.colorspace, back.color_range) == colours


def test_the_matrix_and_the_range_are_the_frame_s_own():
    frame = av.VideoFrame(16, 16, "yuv420p")
    for plane, level in zip(frame.planes, (126, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    frame.color_range = 1  # grey: (126 − 16) / 219
    assert videos.image_of(frame).mean().item() == pytest.approx(110 / 219, abs=1 / 255)
    frame.color_range = 2
    assert videos.image_of(frame).mean().item() == pytest.approx(126 / 255, abs=1 / 255)


def test_small_copies_have_at_most_about_the_pixels_asked_for(tmp_path):
    source = make(tmp_path / "a.mp4", scene(0, 3, (160, 120)))
    frames = list(read_frames(source, 1200))
    assert [frame.image.shape for frame in frames] == [(1, 3, 30, 40)] * 3
    assert [round(frame.seconds, 3) for frame in frames] == [0, 0.04, 0.08]
    assert videos.frame_count(source) == 3


def test_avi_has_no_times_of_frames_and_becomes_mkv(tmp_path):
    source = make(tmp_path / "a.avi", scene(0), codec="libx264")  # B-frames, times of decoding
    assert videos.written_name("a.avi") == "a.avi.mkv" and videos.written_name("b.MP4") == "b.MP4"
    assert copied(source, tmp_path / "a.mkv") == ""
    assert make_video.about(tmp_path / "a.mkv")["times"] == [40 * i for i in range(12)]


def test_what_a_kind_does_not_take_is_said_or_refused(tmp_path):
    source = make(tmp_path / "a.mp4", scene(0), sound=True)
    with pytest.raises(ValueError, match=r"audio of the kind aac cannot be copied into \.webm"):
        copied(source, tmp_path / "a.webm")
    silent = make(tmp_path / "b.mp4", scene(0), pix_fmt="yuvj420p", colours=(1, 2))
    assert copied(silent, tmp_path / "b.webm") == "h264, yuvj420p written as vp9, yuv420p"
    assert [path.name for path in tmp_path.iterdir() if "webm" in path.name] == ["b.webm"]


def damaged(tmp_path):
    """Files with what is said of each."""
    whole = make(tmp_path / "whole.mkv", scene(0, 100), sound=True).read_bytes()
    moov_last = make(tmp_path / "whole.mp4", scene(0, 100), sound=True).read_bytes()
    at = moov_last.index(b"mdat")
    rng = np.random.default_rng(0)
    return {
        "cut.mkv": (whole[: len(whole) // 2], "cut short: it ends at"),
        "cut.mp4": (moov_last[: len(moov_last) // 2], "cannot read video"),
        "overwritten.mp4": (
            moov_last[: at + 1500] + rng.bytes(600) + moov_last[at + 2100 :], "damaged",
        ),
        "empty.mp4": (b"", "cannot read video"),
        "words.mp4": (b"no video\n" * 50, "cannot read video"),
    }  # fmt: skip


def test_damaged_files_are_refused_in_one_line(tmp_path):
    for name, (content, expected) in damaged(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=expected) as raised:
            list(read_frames(tmp_path / name, 2**20))
        assert name in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(read_frames(tmp_path / "nowhere.mp4", 2**20))


def test_sound_alone_is_no_video(tmp_path):
    source = make(tmp_path / "a.mp4", scene(0), sound=True)
    with av.open(str(source)) as file, av.open(str(tmp_path / "b.mp4"), "w") as alone:
        audio = alone.add_stream_from_template(file.streams.audio[0])
        for packet in file.demux(audio=0):
            if packet.dts is not None:
                packet.stream = audio
                alone.mux(packet)
    with pytest.raises(ValueError, match=r"b\.mp4: holds no video"):
        list(read_frames(tmp_path / "b.mp4", 2**20))


def test_a_video_without_frames_is_refused(tmp_path):
    source, empty = make(tmp_path / "a.mkv", scene(0), sound=True), tmp_path / "b.mkv"
    with av.open(str(source)) as file, av.open(str(empty), "w") as written:
        new = {stream.index: written.add_stream_from_template(stream) for stream in file.streams}
        for packet in file.demux(audio=0):
            if packet.dts is not None:
                packet.stream = new[packet.stream.index]
                written.mux(packet)
    for reading in (lambda: list(read_frames(empty, 100)), lambda: copied(empty, source)):
        with pytest.raises(ValueError, match=r"b\.mkv: holds no frame that can be read"):
            reading()


def test_a_failure_leaves_no_file_and_the_earlier_one(tmp_path):
    source, target = make(tmp_path / "a.mp4", scene(0)), tmp_path / "out" / "b.mp4"
    target.parent.mkdir()
    target.write_bytes(b"earlier")
    taken = []

    def interrupted(frame):
        taken.append(frame)
        if len(taken) > 5:
            raise KeyboardInterrupt
        return frame.image

    with pytest.raises(KeyboardInterrupt):
        rewrite_video(source, target, interrupted)
    assert [path.name for path in target.parent.iterdir()] == ["b.mp4"]
    assert target.read_bytes() == b"earlier"
