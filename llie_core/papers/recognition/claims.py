"""Paper 1's measured claims, and its question of §5: does what suits one recognizer suit another?

An enhancer trained for one of the two built-in tasks is read by the recognizer of the other. That
takes the runs of both reports; nothing is trained here.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from scipy.stats import rankdata
from torch import Tensor

from llie_core.data import collate
from llie_core.engine.distributed import default_device
from llie_core.models import Enhancer, create_enhancer
from llie_core.papers.recognition.report import row_summary, test_items
from llie_core.papers.recognition.study import NIGHT, RecognitionStudy
from llie_core.papers.rows import Row
from llie_core.reporting.claims import Measured
from llie_core.reporting.scores import Score, mean_of, select, summarise
from llie_core.reporting.tables import NOT_RUN, Table

AS_GOOD = 0.01  # of mIoU or AP, up to which two rows are called alike
CAST = 0.05  # of a channel's share, from which casts differ
BUILTIN = {"segmentation": "builtin-streets", "pose": "builtin-streets-pose"}


def both_tasks(study: RecognitionStudy) -> dict[str, RecognitionStudy]:
    """Task → study on its built-in set, in the profile and with the seeds of this one; empty on
    data that only one task has."""
    settings = study.settings
    if settings.dataset not in BUILTIN.values():
        return {}
    seeds = list(settings.seeds)
    return {
        kind: study
        if settings.dataset == name
        else type(study).open(settings.profile, name, seeds=seeds)
        for kind, name in BUILTIN.items()
    }


def missing_for_crossing(studies: Mapping[str, RecognitionStudy]) -> str:
    """Why the cross table cannot be made now, or nothing. It trains nothing."""
    if not studies:
        return "the other task has no data set of drawn streets"
    for study in studies.values():
        for row in (study.recognizer_row, *_ours(study)):
            if not study.is_finished(row):
                return (
                    f"needs {study.run(row)} by the profile's settings and this code; of two "
                    "reports that are made in turn (make reproduce PAPER=recognition), the last "
                    "one has it"
                )
    return ""


def _ours(study: RecognitionStudy) -> list[Row]:
    return [study.trained_row("gem_pam", seed) for seed in study.settings.seeds]


@lru_cache(maxsize=2)  # the table and the claim read the same numbers
def _cross_scores(*studies: RecognitionStudy) -> dict[tuple[str, str], list[float]]:
    """(task that the enhancer was trained for, task that reads) → the task's number, one a seed;
    "none" is no enhancement."""
    device = default_device()
    models: dict[str, list[Enhancer]] = {"none": [create_enhancer("identity")]}
    for study in studies:
        models[study.downstream.kind] = [
            study.load_as(Enhancer, row, device) for row in _ours(study)
        ]
    found: dict[tuple[str, str], list[float]] = {}
    for study in studies:
        own, data = study.downstream, study.images("test", NIGHT)
        task = own.task(study.recognizer(device))
        for trained_for, of_seeds in models.items():
            for model in of_seeds:
                measured, _ = task.measure(model, data, torch.device(device))
                (value,) = (
                    m.value for m in measured if (m.metric, m.subset) == (own.metric, own.whole)
                )
                found.setdefault((trained_for, own.kind), []).append(value)
    return found


def cross_table(studies: Mapping[str, RecognitionStudy]) -> Table:
    """§5: the enhancer trained for one recognizer, read by the other. studies: `both_tasks`."""
    header = ["GEM+PAM trained for", "segmentation: mIoU", "pose: AP"]
    caption = "Enhancers across recognizers (§5)"
    if reason := missing_for_crossing(studies):
        return Table(caption, header, [["–", NOT_RUN, NOT_RUN]], f"Not run: {reason}.")
    found = _cross_scores(*studies.values())
    rows = [
        [row, *(f"{summarise(found[row, reader]):.3f}" for reader in BUILTIN)]
        for row in ("none", *BUILTIN)
    ]
    settings = studies["pose"].settings
    note = f"Built-in streets, profile {settings.profile}, seeds {list(settings.seeds)}."
    return Table(caption, header, rows, note)


def cast_table(studies: Mapping[str, RecognitionStudy]) -> Table:
    """§5: the mean colour that each enhancer gives to the same images."""
    header = ["images", "red / mean", "green / mean", "blue / mean", "brightness"]
    if reason := missing_for_crossing(studies):
        return Table("Colour casts (§5)", header, [["–", *[NOT_RUN] * 4]], f"Not run: {reason}.")
    rows = [
        [title, *(f"{c:.3f}" for c in cast[:3].tolist()), f"{cast[3]:.3f}"]
        for title, cast in casts(studies).items()
    ]
    note = "Over the night images of the segmentation test set, mean over seeds."
    return Table("Colour casts (§5)", header, rows, note)


def casts(studies: Mapping[str, RecognitionStudy]) -> dict[str, Tensor]:
    """Title → mean R, G, B over their mean, and the mean, of the same night images; mean over
    seeds."""
    data = studies["segmentation"].images("test", NIGHT)
    images = torch.stack([data[i]["image"] for i in range(min(16, len(data)))])
    models = {"input": [create_enhancer("identity")]}
    for kind, study in studies.items():
        models[f"GEM+PAM for {kind}"] = [study.load_as(Enhancer, r, "cpu") for r in _ours(study)]
    found = {}
    for title, of_seeds in models.items():
        channels = torch.stack([one.enhance(images).mean((0, 2, 3)) for one in of_seeds]).mean(0)
        mean = channels.mean()
        found[title] = torch.cat([channels / mean.clamp(min=1e-6), mean[None]])
    return found


# Measured claims -------------------------------------------------------------------------------


def measurements(
    study: RecognitionStudy, scores: Sequence[Score], studies: Mapping[str, RecognitionStudy]
) -> dict[str, Measured]:
    """Properties that claims state, measured. studies: `both_tasks`."""
    return {
        "recognizer_unchanged": recognizer_unchanged(study),
        "gem_input_size": gem_input_size(study, scores),
        "deeper_pam": deeper_pam(study, scores),
        "quality_not_recognition": quality_not_recognition(study, scores),
        "casts_differ": casts_differ(studies),
        **tints(studies),
    }


def recognizer_unchanged(study: RecognitionStudy) -> Measured:
    """Claim 1.02: one training step through the frozen recognizer leaves all its tensors alone."""
    recognizer = study.recognizer()
    before = {name: value.clone() for name, value in recognizer.state_dict().items()}
    batch = collate(test_items(study, 2))
    model = create_enhancer("gem_pam").train()
    image = model.training_outputs(batch["image"])["image"]
    recognizer.loss(image, study.downstream.targets(batch))["total"].backward()
    changed = [n for n, v in recognizer.state_dict().items() if not torch.equal(v, before[n])]
    taught = [n for n, p in recognizer.named_parameters() if p.grad is not None]
    evidence = f"{len(before)} tensors, {len(changed)} changed, {len(taught)} with a gradient"
    return not changed and not taught, evidence


def gem_input_size(study: RecognitionStudy, scores: Sequence[Score]) -> Measured:
    """Claim 1.09: a GEM that sees 128×128 pixels is no better than one that sees 32×32."""
    small, large = (row_summary(study, scores, x) for x in ("gem_pam", "gem_pam+GEM 128"))
    if not (small.seeds and large.seeds):
        return None, "needs the rows gem_pam and gem_pam+GEM 128"
    words = f"{study.downstream.title} {small:.3f} with 32×32 pixels, {large:.3f} with 128×128"
    return large.mean - small.mean < AS_GOOD, f"{words} (limit {AS_GOOD})"


def deeper_pam(study: RecognitionStudy, scores: Sequence[Score]) -> Measured:
    """Claim 1.40: PAM alone is worse than GEM+PAM, and as good with twice the convolutions down."""
    labels = ("gem_pam", "gem_pam+w/o GEM", "gem_pam+w/o GEM, deep PAM")
    both, alone, deep = found = [row_summary(study, scores, label) for label in labels]
    if not all(row.seeds for row in found):
        return None, f"needs the rows {', '.join(labels)}"
    words = f"{study.downstream.title} {both:.3f}; PAM alone {alone:.3f}, deeper {deep:.3f}"
    return alone.mean < both.mean < deep.mean + AS_GOOD, f"{words} (limit {AS_GOOD})"


def quality_not_recognition(study: RecognitionStudy, scores: Sequence[Score]) -> Measured:
    """Claim 1.44: rank correlation of PSNR (against normal light) and recognition, by row."""
    quality = select(scores, metric="psnr")
    pairs = [
        (mean_of(quality, label=label).mean, row_summary(study, scores, label).mean)
        for label in dict.fromkeys(s.label for s in quality)
    ]
    if len(pairs) < 4:
        return None, "no normal-light image of the same scene to take the quality from"
    ranks = torch.from_numpy(rankdata(pairs, axis=0))  # the mean rank for ties
    correlation = round(torch.corrcoef(ranks.T)[0, 1].item(), 6)  # .49999999 is .5
    what = f"rank correlation of PSNR and {study.downstream.title} over {len(pairs)} rows"
    return correlation < 0.5, f"{what}: {correlation:+.2f} (limit 0.5)"


def casts_differ(studies: Mapping[str, RecognitionStudy]) -> Measured:
    """Claim 1.47: casts differ between recognizers, and an enhancer helps its own one most."""
    if reason := missing_for_crossing(studies):
        return None, reason
    colours = list(casts(studies).values())
    apart = (colours[1][:3] - colours[2][:3]).abs().max().item()
    helped, gains = helps_its_own(_cross_scores(*studies.values()))
    words = f"largest difference of a channel's share {apart:.3f} (limit {CAST})"
    return apart > CAST and helped, f"{words}; {gains}"


def tints(studies: Mapping[str, RecognitionStudy]) -> dict[str, Measured]:
    """Claims 1.45 and 1.46, by the cast of whole images: trained for pose they have less of green
    than of red and of blue (purple), trained for segmentation more, each against the input."""
    names = ("purple_of_pose", "green_of_segmentation")
    if reason := missing_for_crossing(studies):
        return dict.fromkeys(names, (None, reason))
    before, *after = (cast[:3] for cast in casts(studies).values())
    red_blue = torch.tensor([True, False, True])
    by_task = dict(zip(studies, ((cast / before) for cast in after), strict=True))
    pose, segmentation = by_task["pose"], by_task["segmentation"]
    less = (pose[red_blue].min() - pose[1]).item()
    more = (segmentation[1] - segmentation[red_blue].max()).item()
    words = f"of red and blue, against the input (limit {CAST}; whole images)"
    return {
        names[0]: (less > CAST, f"share of green {less:+.3f} below the lower {words}"),
        names[1]: (more > CAST, f"share of green {more:+.3f} above the higher {words}"),
    }


def helps_its_own(found: Mapping[tuple[str, str], Sequence[float]]) -> tuple[bool, str]:
    """Whether each enhancer helps the recognizer it is trained for, and more than the other does.

    found: (task that the enhancer was trained for or "none", task that reads) → numbers by seed.
    """
    gains = {}
    for reader, other in (("segmentation", "pose"), ("pose", "segmentation")):
        none = found["none", reader][0]
        gains[reader] = tuple(summarise(found[t, reader]).mean - none for t in (reader, other))
    words = [f"{r}: own {own:+.3f}, foreign {far:+.3f}" for r, (own, far) in gains.items()]
    return all(own > max(far, 0) for own, far in gains.values()), "; ".join(words)
