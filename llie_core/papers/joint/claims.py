"""Verdicts on the thesis's claims, by each detector, and the properties that are measured."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn

from llie_core.devices import wait_for
from llie_core.engine.distributed import default_device
from llie_core.engine.loop import Experiment, to_device
from llie_core.engine.sampling import Drawn
from llie_core.models.zero_dce import ITERATIONS, RGBCurves, ZeroDCEPlusPlus, light_curve
from llie_core.names import title_of
from llie_core.papers import judging
from llie_core.papers.joint.faces import face_measurements
from llie_core.papers.joint.report import map_statistics
from llie_core.papers.joint.study import (
    ALONE,
    BUILTIN,
    GROUPS,
    JOINT,
    MAPS,
    MODEL,
    SMOOTH,
    JointStudy,
    read_by,
)
from llie_core.papers.study import one_timing
from llie_core.reporting.claims import NUMBERS, Context, Measured, Verdict, judge
from llie_core.reporting.scores import Score, mean_of, select
from llie_core.reporting.tables import Table

LIMIT = 0.02  # of a mean difference between images, below which they are called alike
IMAGES = 8  # test images by which properties of the trained network are measured
LEAST_SPREAD = 0.01  # of a map's values, below which the map is one constant
MAPS_ALIKE = 0.05  # standard deviation over the eight maps (of [−1, 1]) up to which they are alike
AS_GOOD = 0.005  # of AP, up to which one map is as good as eight
ROUNDS = 5  # of a step of each training


def verdicts(study: JointStudy, scores: Sequence[Score]) -> list[Verdict]:
    """The verdict on every claim by the reference run and this one, each by its main detector."""
    measured = measurements(study, read_by(scores, study.settings.recognizer))
    return judging.verdicts(study, scores, measured, partial(judged, ""))


def judged(
    reader: str, study: JointStudy, scores: Sequence[Score], context: Context, measured: Mapping
) -> list[Verdict]:
    """By what one detector, "" for the run's main one, finds; the thesis has one detector only."""
    reader = reader or study.settings.recognizer
    own = context.papers_own and reader == study.settings.recognizer
    of = read_by(select(scores, dataset=context.dataset), reader)
    return judge("joint", of, replace(context, papers_own=own), measured)


def verdicts_by_detector(study: JointStudy, scores: Sequence[Score]) -> Table:
    """The claims that AP decides, and what each detector's numbers say of them, in every run."""
    found = {
        reader: judging.verdicts(study, scores, {}, partial(judged, reader))
        for reader in study.settings.readers
    }
    rows = [
        [same[0].claim.id, same[0].claim.says, *(v.verdict for v in same)]
        for same in zip(*found.values(), strict=True)
        if same[0].claim.kind in NUMBERS
    ]
    return Table(
        "Claims decided by AP, by detector", ["claim", "says", *map(title_of, found)], rows
    )


def measurements(study: JointStudy, scores: Sequence[Score]) -> dict[str, Measured]:
    """Properties that claims state, measured."""
    return {
        "curve_monotone": curve_is_monotone(),
        "maps_equal": maps_are_alike(study),
        "one_map_enough": one_map_is_enough(study, scores),
        **properties_of_the_network(study),
        **face_measurements(study, scores),
        "quality_not_detection": quality_is_not_detection(study, scores),
        "joint_step_slower": joint_step_is_slower(study),
    }


def curve_is_monotone() -> tuple[bool, str]:
    """Claim 2.05: the eightfold curve rises on [0, 1] and keeps 0 and 1, for A in [−1, 1]."""
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    worst = {}
    for curve in ("released", "thesis"):
        maps = [(torch.full_like(x, a),) * 8 for a in torch.linspace(-1, 1, 41).tolist()]
        results = [light_curve(x, map8, curve) for map8 in maps]
        ends = all(abs(y[0]) < 1e-12 and abs(y[-1] - 1) < 1e-12 for y in results)
        worst[curve] = min(y.diff().min().item() for y in results) if ends else float("-inf")
    evidence = "; ".join(f"{k}: smallest step {v:.1e} of 1001 points" for k, v in worst.items())
    return worst["released"] > -1e-12, evidence


def maps_are_alike(study: JointStudy) -> Measured:
    """Claim 2.06: the eight maps of the trained Zero-DCE with 24 maps, against one another."""
    label = f"{MODEL}+{ALONE}~{MAPS}"
    row = next((row for row in study.first_seed() if row.label == label), None)
    if row is None:
        return None, f"needs the ratio {ALONE}~{MAPS}"
    model = study.load_as(RGBCurves, row, "cpu")
    deviations = []
    for image in _images(study):
        maps = model.training_outputs(image[None])["curve_maps"][0].unflatten(0, (ITERATIONS, 3))
        deviations.append(maps.std(0, correction=0).mean())
    apart = torch.stack(deviations).mean().item()
    return apart < MAPS_ALIKE, f"standard deviation over the eight {apart:.4f} (limit {MAPS_ALIKE})"


def one_map_is_enough(study: JointStudy, scores: Sequence[Score]) -> Measured:
    """Claim 2.07: AP on hard faces with one map used eight times, and with eight maps, both trained
    under W3 = 200."""
    ratios = f"{ALONE}~{SMOOTH}", f"{ALONE}~{MAPS}"
    one, eight = (
        mean_of(scores, label=label, metric="ap", subset="hard")
        for label in (f"{MODEL}+{ratio}" for ratio in ratios)
    )
    if not (one.seeds and eight.seeds):
        return None, f"needs the ratios {' and '.join(ratios)}"
    words = f"AP on hard faces {one:.3f} with one map, {eight:.3f} with eight (limit {AS_GOOD})"
    return one.mean > eight.mean - AS_GOOD, words


def properties_of_the_network(study: JointStudy) -> dict[str, Measured]:
    """Claims 2.08 and 2.09, of Zero-DCE++ alone: images at half the size, maps at 1/12.

    A map that is one constant is the same at any size, so then nothing is measured.
    """
    names = ("size_insensitive", "scale_factor")
    if study.settings.dataset != BUILTIN:
        return dict.fromkeys(names, (None, "measured on built-in images of one size only"))
    row = next((row for row in study.first_seed() if row.label == GROUPS[1]), None)
    if row is None:
        return dict.fromkeys(names, (None, f"needs the ratio {ALONE}"))
    model, images = study.load_as(ZeroDCEPlusPlus, row, "cpu"), _images(study)
    within, _ = map_statistics(model.training_outputs(x[None])["curve_maps"] for x in images)
    if within < LEAST_SPREAD:
        why = f"the maps are constants (deviation within an image {within:.1e})"
        return dict.fromkeys(names, (None, why))
    model.scale_factor = 1
    whole, halves = model.enhance(images), model.enhance(_half(images))
    size = (halves - _half(whole)).abs().mean().item()
    model.scale_factor = 12
    scale = (model.enhance(images) - whole).abs().mean().item()
    return {
        "size_insensitive": (
            size < LIMIT, f"mean |difference| at half the size {size:.4f} (limit {LIMIT})"
        ),
        "scale_factor": (
            scale < LIMIT, f"mean |difference|, map at 1/12: {scale:.4f} (limit {LIMIT})"
        ),
    }  # fmt: skip


def _images(study: JointStudy) -> torch.Tensor:
    """The first test images, (B, 3, H, W) where they are of one size."""
    data = study.data(study.main_set)
    return torch.stack([data[i]["image"] for i in range(min(IMAGES, len(data)))])


def _half(images: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(images, scale_factor=0.5, mode="area")


def quality_is_not_detection(study: JointStudy, scores: Sequence[Score]) -> tuple[bool, str]:
    """Claim 2.21: some row is better by PSNR than another and is detected worse (AP, hard)."""
    names = study.titles
    values = {
        label: tuple(
            mean_of(scores, label=label, metric=m, subset=subset).mean
            for m, subset in (("psnr", "all"), ("ap", "hard"))
        )
        for label in dict.fromkeys(s.label for s in select(scores, metric="psnr"))
    }
    for a, (psnr_a, ap_a) in values.items():
        for b, (psnr_b, ap_b) in values.items():
            if psnr_a > psnr_b + 0.5 and ap_a < ap_b - 0.005:
                numbers = f"PSNR {psnr_a:.2f} > {psnr_b:.2f} dB, AP {ap_a:.3f} < {ap_b:.3f}"
                return True, f"{title_of(a, names)} against {title_of(b, names)}: {numbers}"
    return False, "no pair of rows with better PSNR (by 0.5 dB) and lower AP (by 0.005)"


def joint_step_is_slower(study: JointStudy) -> Measured:
    """Claim 2.44: a step of the joint training against one of Zero-DCE++ alone, timed in turn."""
    rows = {row.label: row for row in study.first_seed()}
    steps = {}
    for ratio, label in ((ALONE, GROUPS[1]), (JOINT, study.main_row().label)):
        if label not in rows:
            return None, f"needs the ratio {ratio}"
        steps[ratio] = timed_step(study.experiment(rows[label]))
    with one_timing(study.paper):
        # The first round warms up.
        rounds = [{ratio: step() for ratio, step in steps.items()} for _ in range(ROUNDS + 1)][1:]
    longer = [one[JOINT] - one[ALONE] for one in rounds]
    words = ", ".join(f"{ratio}: {median(one[ratio] for one in rounds):.3f} s" for ratio in steps)
    words += f" a step (median of {ROUNDS} rounds, load average {os.getloadavg()[0]:.1f})"
    if min(longer) < 0 < max(longer):
        return None, f"the rounds disagree: {words}"
    return min(longer) > 0, words


def timed_step(experiment: Experiment) -> Callable[[], float]:
    """A function that runs model and objective forwards and backwards on one batch of a training,
    and returns the seconds."""
    device, data = default_device(), Drawn(experiment.data)
    model: Any = experiment.model.to(device).train()
    objective: Any = experiment.objective
    for module in objective.modules:
        module.to(device)
    items = [data[draw] for draw in range(experiment.settings.batch_size)]
    batch = to_device(experiment.collate(items), torch.device(device))

    def step() -> float:
        wait_for(device)
        began = time.perf_counter()
        objective(model.training_outputs(batch["image"]), batch)["total"].backward()
        wait_for(device)
        return time.perf_counter() - began

    return step
