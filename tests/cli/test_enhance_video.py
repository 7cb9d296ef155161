"""`llie enhance` on videos: one, those of a folder, flicker, strengths, what fails."""

import re

import numpy as np
import pytest

from llie_core.cli import main

videos = pytest.importorskip("videos", reason="the extra video is not installed")
make, scene = videos.make, videos.scene


def blinking(count=30):
    """A still scene with a lamp in a corner that blinks."""
    frames = [frame.copy() for frame in scene(0, count)]
    for frame in frames[::3]:
        frame[:12, :12] = 255
    return frames


def flicker(said):
    """(before, after) as the command prints them."""
    return tuple(map(float, re.search(r"a frame ([\d.]+) before, ([\d.]+) after", said).groups()))


def luma_changes(path):
    luma = [frame @ (0.299, 0.587, 0.114) / 255 for frame in videos.images(path)]
    return np.abs(np.diff([frame.mean() for frame in luma])).mean()


def test_a_video_is_enhanced_with_its_sound_and_its_flicker_is_printed(tmp_path, capsys):
    source, target = make(tmp_path / "night.mp4", blinking(), sound=True), tmp_path / "day.mp4"
    assert main(["enhance", str(source), str(target), "--model", "mf"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{target}: MF, 30 frames; change of mean luma a frame")
    assert said.err == "" and said.out.count("\n") == 1
    assert videos.about(target) == videos.about(source)
    assert videos.sound(target) == videos.sound(source)
    before, after = flicker(said.out)
    assert before == pytest.approx(luma_changes(source), abs=1e-3)
    assert after == pytest.approx(luma_changes(target), abs=2e-3)
    dark, light = (np.mean(videos.images(path)) for path in (source, target))
    assert light > 1.3 * dark


def test_beside_the_source_and_frame_by_frame(tmp_path, capsys):
    source = make(tmp_path / "night.mkv", scene(0))
    assert main(["enhance", str(source), "--model", "clahe"]) == 0
    assert (tmp_path / "night-enhanced.mkv").is_file()
    line = "frame by frame, flicker is not held down: CLAHE estimates nothing to smooth"
    assert line in capsys.readouterr().out


def test_a_scene_has_one_strength_in_the_file(tmp_path, capsys):
    bright = [np.full((48, 64, 3), 140, np.uint8)] * 12  # mean luma .55: the gate lowers it
    source = make(tmp_path / "a.mp4", scene(0) + bright)
    target = tmp_path / "b.mp4"
    assert main(["enhance", str(source), str(target), "--model", "gamma"]) == 0
    said = capsys.readouterr().out
    (strength,) = re.findall(r"strength ([\d.]+) from 0\.5 s: bright already, mean luma 0.55", said)
    before, after = (np.stack(videos.images(p)).astype(float) for p in (source, target))
    full = 255 * (before[:12] / 255) ** (1 / 2.2)
    assert np.abs(after[:12] - full).mean() < 4  # all of it before the cut
    lifted = (255 * (140 / 255) ** (1 / 2.2) - 140) * float(strength)
    assert (after[12:] - before[12:]).mean() == pytest.approx(lifted, abs=1.5)
    asked = tmp_path / "half.mp4"
    assert main(["enhance", str(source), str(asked), "--model", "gamma", "--strength", "0.5",
                 "--no-gate"]) == 0  # fmt: skip
    half = np.stack(videos.images(asked)).astype(float)[:12]
    assert np.abs(half - (full + before[:12]) / 2).mean() < 3


def test_videos_of_a_folder_stand_beside_its_images(tmp_path, capsys):
    from PIL import Image

    source, out = tmp_path / "in", tmp_path / "out"
    make(source / "a.mp4", scene(0))
    make(source / "event" / "b.mkv", scene(1))
    (source / "broken.mp4").write_bytes(b"no video")
    Image.new("RGB", (8, 8), (20, 20, 20)).save(source / "a.jpg")
    command = ["enhance", str(source), str(out), "--model", "gamma"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"llie: cannot read video {source / 'broken.mp4'}: ")
    assert said.err.count("\n") == 1
    assert "3 of 4 images and videos written" in said.out and "event/b.mkv: 12 frames" in said.out
    written = {p.relative_to(out).as_posix() for p in out.rglob("*.*") if p.name[0] != "."}
    assert written == {"a.png", "a.mp4", "event/b.mkv"}
    assert main(command) == 1
    assert ", 3 of them before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("b.png", "a.mp4 is a video; written are .mp4, .m4v, .mov, .mkv, .webm"),
        ("b.avi", "a.mp4 is a video; written are .mp4"),
        ("a.mp4", "the result would replace"),
    ],
)
def test_targets_that_cannot_be(target, expected, tmp_path, refused):
    source = make(tmp_path / "a.mp4", scene(0))
    refused(["enhance", str(source), str(tmp_path / target)], expected)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_damage_is_found_before_anything_is_written(tmp_path, refused):
    content = make(tmp_path / "a.mkv", scene(0, 100)).read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: len(content) // 2])
    command = ["enhance", str(tmp_path / "a.mkv"), str(tmp_path / "out" / "b.mkv")]
    refused([*command, "--model", "gamma"], "a.mkv: cut short: it ends at")
    assert not (tmp_path / "out").exists()
