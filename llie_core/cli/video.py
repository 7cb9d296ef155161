"""`llie enhance` on one video: a pass that finds its scenes, a pass that writes it."""

import sys
from pathlib import Path

SURVEY_PIXELS = 2**17  # of the copies that scenes and strengths are found on


def enhance_video(
    model, device: str, source: Path, target: Path, strength: float, gate: bool, title: str
) -> str:
    """Enhance a video.

    Args:
        strength, gate: as of `gate.enhance_gated`, here for each scene.
        title: of the method, for what is said of it.

    Returns:
        What to say of it: frames, flicker, lowered strengths, what could not be kept.
    """
    import torch
    from tqdm import tqdm

    from llie_core.data.videos import frame_count, read_frames, rewrite_video
    from llie_core.models.video import Flicker, Steady, Survey

    survey, quiet = Survey(model, strength, gate), not sys.stderr.isatty()
    for frame in tqdm(
        read_frames(source, SURVEY_PIXELS), "finding scenes", frame_count(source),
        disable=quiet, unit="frame", leave=False,
    ):  # fmt: skip
        survey.see(frame.image.to(device), frame.seconds)
    starts = {scene.first: scene for scene in survey.scenes}
    steady, before, after = Steady(model), Flicker(), Flicker()
    scene, number = survey.scenes[0], 0

    with tqdm(desc=source.name, total=survey.frames, disable=quiet, unit="frame") as progress:

        def change(frame):
            nonlocal scene, number
            begins = number in starts
            scene = starts.get(number, scene)
            x = frame.image.to(device)
            y = steady(x, frame.seconds, begins).to(x.dtype)
            y = torch.lerp(x, y, scene.strength) if scene.strength < 1 else y
            before.see(x, begins)
            after.see(y, begins)
            number += 1
            progress.update()
            return y

        lost = rewrite_video(source, target, change)
    said = [
        f"{number} frames",
        f"change of mean luma a frame {before.change:.5f} before, {after.change:.5f} after "
        f"({_share(before)} and {_share(after)} of it)",
        *(
            f"strength {one.strength:.2f} from {one.seconds:.1f} s: {one.reason}"
            for one in survey.scenes
            if one.reason
        ),
    ]
    if not steady.smooths:
        why = f"{title} estimates nothing to smooth"
        said.append(f"frame by frame, flicker is not held down: {why}")
    return "; ".join([*said, lost] if lost else said)


def _share(flicker) -> str:
    return f"{flicker.change / max(flicker.light, 1e-6):.2%}"
