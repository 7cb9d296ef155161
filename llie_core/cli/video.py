"""`llie enhance` on one video: a pass that finds its scenes, a pass that writes it."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from llie_core.data.videos import Frame, frame_count, read_frames, rewrite_video
from llie_core.models import Enhancer
from llie_core.models.video import Flicker, Scene, Steady, Survey

SURVEY_PIXELS = 2**17  # of the copies that scenes and strengths are found on


def enhance_video(
    model: Enhancer, device: str, source: Path, target: Path, strength: float, gate: bool,
    title: str,
) -> str:  # fmt: skip
    """Enhance a video.

    Args:
        strength, gate: as of `gate.enhance_gated`, here for each scene.
        title: of the method, for what is said of it.

    Returns:
        What to say of it: frames, flicker, lowered strengths, what could not be kept.

    Raises:
        ValueError: as of `rewrite_video`.
    """
    survey, quiet = Survey(model, strength, gate), not sys.stderr.isatty()
    for frame in tqdm(
        read_frames(source, SURVEY_PIXELS), "finding scenes", frame_count(source),
        disable=quiet, unit="frame", leave=False,
    ):  # fmt: skip
        survey.see(frame.image.to(device), frame.seconds)
    second = _SecondPass(model, device, survey.scenes)
    with tqdm(desc=source.name, total=survey.frames, disable=quiet, unit="frame") as progress:

        def change(frame: Frame) -> Tensor:
            progress.update()
            return second(frame)

        lost = rewrite_video(source, target, change)
    return "; ".join(filter(None, [*second.said(title), lost]))


class _SecondPass:
    """Frame → its enhanced image (1, 3, H, W), in the frames' order; measures flicker."""

    def __init__(self, model: Enhancer, device: str, scenes: Sequence[Scene]):
        self.device, self.scenes, self.number = device, scenes, 0
        self.starts = {scene.first: scene for scene in scenes}
        self.strength = scenes[0].strength
        self.steady, self.before, self.after = Steady(model), Flicker(), Flicker()

    def __call__(self, frame: Frame) -> Tensor:
        begins = self.number in self.starts
        if begins:
            self.strength = self.starts[self.number].strength
        x = frame.image.to(self.device)
        y = self.steady(x, frame.seconds, begins).to(x.dtype)
        y = torch.lerp(x, y, self.strength) if self.strength < 1 else y
        self.before.see(x, begins)
        self.after.see(y, begins)
        self.number += 1
        return y

    def said(self, title: str) -> list[str]:
        """Frames, flicker, the strengths that were lowered, and whether flicker is held down."""
        before, after = self.before, self.after
        lines = [
            f"{self.number} frames",
            f"change of mean luma a frame {before.change:.5f} before, {after.change:.5f} after "
            f"({_share(before)} and {_share(after)} of it)",
        ]
        lines += [
            f"strength {scene.strength:.2f} from {scene.seconds:.1f} s: {scene.reason}"
            for scene in self.scenes
            if scene.reason
        ]
        if not self.steady.smooths:
            why = f"{title} estimates nothing to smooth"
            lines.append(f"frame by frame, flicker is not held down: {why}")
        return lines


def _share(flicker: Flicker) -> str:
    return f"{flicker.change / max(flicker.light, 1e-6):.2%}"
