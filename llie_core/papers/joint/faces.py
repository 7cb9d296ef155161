"""Claims on single faces: which are found, and with what score, from the values of each image.

A face is found where a detection overlaps it by half and scores at least the detector's operating
point. The bars of "little" and "far" are ours. A claim on trained rows has to come out alike in
every seed.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from llie_core.papers.joint.study import GROUPS, JointStudy
from llie_core.reporting.claims import Measured
from llie_core.reporting.scores import Score

SMALL, LARGE = 32.0, 48.0  # px; faces below are small ones, faces from it on are large
LITTLE, FAR = 0.1, 0.2  # of a score

# Of one seed: scores (F,) of all faces by group (low light, alone, joint, normal light), heights.
Faces = dict[str, Tensor]
DARK, ALONE, JOINT, NORMAL = "dark", "alone", "joint", "normal"


def face_measurements(study: JointStudy, scores: Sequence[Score]) -> dict[str, Measured]:
    """Name of a claim's check → whether it holds, of the main detector."""
    reader = study.settings.recognizer
    if reader in (blind := study.blind_readers(scores)):
        return dict.fromkeys(CHECKS, (None, blind[reader]))
    seeds = [_faces(study, seed) for seed in study.settings.seeds]
    return {name: over_seeds(check, seeds, study) for name, check in CHECKS.items()}


def over_seeds(check: Callable, seeds: Sequence[Faces], study: JointStudy) -> Measured:
    least = study.least_score
    try:
        found = [check(faces, least) for faces in seeds]
    except KeyError as error:
        return None, f"needs the row of {error.args[0]}"
    words = "; ".join(dict.fromkeys(words for _, words in found))
    answers = {holds for holds, _ in found}
    if answers == {None} or len(answers) > 1:
        return None, words if answers == {None} else f"the seeds disagree: {words}"
    return answers.pop(), words


def _faces(study: JointStudy, seed: int) -> Faces:
    rows = {row.label: row for row in study.rows() if row.seed == seed or not row.is_trained}
    labels = {DARK: GROUPS[0], ALONE: GROUPS[1], JOINT: study.main_row().label, NORMAL: GROUPS[3]}
    found: Faces = {}
    for name, label in labels.items():
        if label not in rows:
            continue
        lines = study.per_image(rows[label], study.main_set)
        found[name] = _numbers(line[f"scores_{study.settings.recognizer}"] for line in lines)
        found["height"] = _numbers(line["heights"] for line in lines)
    return found


def _numbers(cells: Iterable[str]) -> Tensor:
    values = [float(word) for cell in cells for word in cell.split()]
    return torch.tensor(values, dtype=torch.float64)


def _missed(faces: Faces, least: float, before: str, after: str, small: bool = False) -> Tensor:
    """Faces that are found in `after` but missed in `before`."""
    chosen = (faces[before] < least) & (faces[after] >= least)
    return chosen & (faces["height"] < SMALL) if small else chosen


def _count(mask: Tensor) -> int:
    return int(mask.sum())


def some_are_missed(faces: Faces, least: float) -> Measured:
    """Claim 2.02."""
    found, missed = _count(faces[DARK] >= least), _count(_missed(faces, least, DARK, NORMAL))
    words = f"in low light {found} faces found, {missed} missed that normal light shows"
    return found > 0 and missed > 0, words


def joint_scores_higher(faces: Faces, least: float) -> Measured:
    """Claim 2.03: on faces that both find, and faces that only one of them finds."""
    both = (faces[ALONE] >= least) & (faces[JOINT] >= least)
    if not both.any():
        return None, "no face that both find"
    gain = (faces[JOINT] - faces[ALONE])[both].mean().item()
    more, fewer = (_count(_missed(faces, least, *p)) for p in ((ALONE, JOINT), (JOINT, ALONE)))
    words = f"score {gain:+.3f} on {_count(both)} faces; {more} found again, {fewer} lost"
    return gain > 0 and more > 0, words


def large_lose_little(faces: Faces, least: float) -> Measured:
    """Claim 2.11."""
    large = (faces["height"] >= LARGE) & (faces[NORMAL] >= least)
    if not large.any():
        return None, "no large face"
    loss = (faces[NORMAL] - faces[DARK])[large].mean().item()
    return loss < LITTLE, f"large faces lose {loss:.3f} of their score (limit {LITTLE})"


def joint_is_nearest(faces: Faces, least: float) -> Measured:
    """Claim 2.12: mean distance to the scores in normal light, of the faces found there."""
    seen = faces[NORMAL] >= least
    if not seen.any():
        return None, "no face is found in normal light"
    away = {
        name: (faces[name] - faces[NORMAL])[seen].abs().mean().item()
        for name in (DARK, ALONE, JOINT)
    }
    words = ", ".join(f"{name} {value:.3f}" for name, value in away.items())
    return away[JOINT] < min(away[DARK], away[ALONE]), f"mean distance of scores: {words}"


def small_are_missed(faces: Faces, least: float) -> Measured:
    """Claim 2.16."""
    missed = _count(_missed(faces, least, DARK, NORMAL, small=True))
    return missed > 0, f"{missed} small faces missed in low light that normal light shows"


def small_score_far_below(faces: Faces, least: float) -> Measured:
    """Claim 2.17: of small faces that get any score in low light."""
    small = (faces["height"] < SMALL) & (faces[DARK] > 0) & (faces[NORMAL] >= least)
    if not small.any():
        return None, "no small face is found in low light"
    loss = (faces[NORMAL] - faces[DARK])[small].mean().item()
    return loss > FAR, f"{_count(small)} small faces lose {loss:.3f} of their score (limit {FAR})"


def small_come_back(faces: Faces, least: float) -> Measured:
    """Claim 2.18."""
    counts = {
        name: _count(_missed(faces, least, DARK, name, small=True)) for name in (ALONE, JOINT)
    }
    words = ", ".join(f"{name} {count}" for name, count in counts.items())
    return min(counts.values()) > 0, f"small faces found again: {words}"


def alone_loses(faces: Faces, least: float) -> Measured:
    """Claim 2.20."""
    lost = _count(_missed(faces, least, ALONE, DARK))
    return lost > 0, f"{lost} faces of the low-light image lost by Zero-DCE++ alone"


def joint_finds_the_lost(faces: Faces, least: float) -> Measured:
    """Claim 2.22: faces that Zero-DCE++ alone loses, found by joint training with a higher score
    than in low light."""
    lost = _missed(faces, least, ALONE, DARK)
    if not lost.any():
        return None, "Zero-DCE++ alone loses no face"
    again = lost & (faces[JOINT] >= least)
    if not again.any():
        return False, f"none of {_count(lost)} lost faces is found again"
    gain = (faces[JOINT] - faces[DARK])[again].mean().item()
    return gain > 0, f"{_count(again)} of {_count(lost)} found again, score {gain:+.3f}"


CHECKS: dict[str, Callable[[Faces, float], Measured]] = {
    check.__name__: check
    for check in (
        some_are_missed, joint_scores_higher, large_lose_little, joint_is_nearest,
        small_are_missed, small_score_far_below, small_come_back, alone_loses,
        joint_finds_the_lost,
    )
}  # fmt: skip
