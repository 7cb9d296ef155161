"""Which runs and recognizers can decide a claim, and that the reference run is judged first."""

import json
from dataclasses import replace

import dataset_trees as trees
import pytest
from made import a_score

from llie_core.engine import reuse
from llie_core.engine.loop import Training
from llie_core.engine.runs import Run
from llie_core.engine.settings import override
from llie_core.files import write_rows
from llie_core.papers import judging, open_study
from llie_core.papers.neid.study import NeidStudy, smoke
from llie_core.papers.recognition.study import RecognitionStudy
from llie_core.papers.study import TestSet
from llie_core.reporting import scores as kept_files
from llie_core.reporting.scores import Score, write_scores

# A published schedule that a test can train: two steps, planned and done.
PRESET = {
    "profile": "paper", "baselines": ["identity", "gamma"], "rows": ["neid"],
    "pairs": {"size": 8, "val_count": 1},
    "train": {"steps": 2, "planned_steps": 2, "batch_size": 1},
    "evaluation": {"cost_size": [8, 8], "protocols": ["psnr-rgb-float"]},
}  # fmt: skip
FREE = "5.05"  # the claim that the detail branch costs nothing in use
MEASURED = {"detail_branch_free": (True, "images the same")}
OTHER_SETTINGS = "settings differ from the paper's preset"


def psnr(label, value, seed=0, dataset="lol", profile="reference") -> Score:
    """A score of a trained row on the test pairs."""
    own = {"dataset": dataset, "profile": profile, "steps_done": 5, "steps_planned": 10}
    return a_score(label=label, value=value, seed=seed, n=15, commit="c0ffee", **own)


def verdict_of(study, claim, scores=(), measured=None):
    return {v.claim.id: v.verdict for v in judging.verdicts(study, scores, measured)}[claim]


# The paper's own run -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Number of test pairs → a copy of LOL, of noise, with as many; the official one has 15."""
    root = tmp_path_factory.mktemp("lol")
    return {test: str(trees.lol(root / str(test), train=3, test=test)) for test in (15, 7)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, copies):
    """Results of the whole preset."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        as_published(patch)
        open_study("neid", "paper", "lol", data=copies[15]).train(device="cpu", quiet=True)
    return folder


def as_published(patch):
    """Let the preset be the paper's profile."""
    profiles = {**NeidStudy.profiles, "paper": lambda name: override(smoke(name), PRESET)}
    patch.setattr(NeidStudy, "profiles", profiles)


@pytest.fixture
def opened(trained, copies, monkeypatch):
    """opened(test pairs, **changes): the study in the paper's profile, after its training."""
    monkeypatch.setenv("LLIE_RESULTS", str(trained))
    as_published(monkeypatch)
    return lambda test=15, **changes: open_study(
        "neid", "paper", "lol", data=copies[test], **changes
    )


def test_the_whole_preset_on_the_whole_test_set_reproduces(opened):
    study = opened(workers=1)  # which decides no number
    assert judging.reservations(study) == [] and judging.context(study).papers_own
    assert verdict_of(study, FREE, measured=MEASURED) == "reproduced"
    failed = {"detail_branch_free": (False, "images differ")}
    assert verdict_of(study, FREE, measured=failed) == "not reproduced"


def falls_back(study, *reasons):
    """Whether the study's verdicts name the run, for these reasons and no others."""
    assert judging.reservations(study) == list(reasons)
    return verdict_of(study, FREE, measured=MEASURED) == "holds on lol (paper, 1 seed)"


def test_half_a_test_set_falls_back(opened):
    assert falls_back(opened(7), "lol: 7 of 15 test images")


@pytest.mark.parametrize(
    "changes", [{"evaluation": {"cost_size": [16, 16]}}, {"baselines": ["identity"]}]
)
def test_a_changed_setting_falls_back(opened, changes):
    assert falls_back(opened(**changes), OTHER_SETTINGS)


def test_one_step_on_noise_falls_back(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    study = opened(train={"steps": 1})
    short = "neid/lol/paper/neid/seed0: {} of {} steps trained"
    assert falls_back(study, OTHER_SETTINGS, short.format(0, "all"))
    study.train(device="cpu", quiet=True)
    assert falls_back(study, OTHER_SETTINGS, short.format(1, 2))


def test_a_run_that_stopped_short_falls_back(opened, monkeypatch):
    found = Run.read_stamp
    monkeypatch.setattr(Run, "read_stamp", lambda run: found(run) | {"steps_done": 1})
    assert falls_back(opened(), "neid/lol/paper/neid/seed0: 1 of 2 steps trained")


def test_another_data_set_or_profile_falls_back(opened):
    elsewhere = open_study("neid", "paper", "builtin-photos")
    assert judging.reservations(elsewhere)[-1] == "data set or recognizer is not the paper's"
    words = verdict_of(elsewhere, FREE, measured=MEASURED)
    assert words == "holds on builtin-photos (paper, 1 seed)"
    assert judging.reservations(open_study("neid", "quick"))[0] == "profile quick"


def test_another_backbone_falls_back(tmp_path, monkeypatch):
    for split in ("train", "val"):
        trees.street_pair(tmp_path, split, ["a_1", "b_2"])

    def reservations(**changes):
        study = open_study("recognition", "paper", "nightcity", data=str(tmp_path), **changes)
        return judging.reservations(study)

    whole = {"steps_done": 9, "steps_planned": 9}
    monkeypatch.setattr(Run, "read_stamp", lambda _run: whole)
    monkeypatch.setattr(RecognitionStudy, "official_count", lambda *_: 2)
    # The paper's recognizer is a pretrained one, ours is trained here.
    assert reservations() == ["data set or recognizer is not the paper's"]
    monkeypatch.setattr(RecognitionStudy, "is_papers_own", lambda _study: True)
    assert reservations() == []
    assert reservations(recognizer={"backbone": "resnet50"}) == [OTHER_SETTINGS]


def test_the_official_count_is_that_of_the_split_that_is_used():
    counts = {
        (paper, parts): open_study(paper, "paper", "lol", pairs={"parts": parts}).official_count(
            TestSet("lol", None, None)
        )
        for paper, parts in (("neid", "official"), ("drgn", "480/20"), ("jcrnet", "400/100"))
    }
    assert list(counts.values()) == [15, 20, 100]


# Blind recognizers -------------------------------------------------------------------------------


def test_by_default_no_recognizer_is_blind():
    assert open_study("neid", "smoke").blind_readers([psnr("neid", 20.0)]) == {}


@pytest.mark.parametrize(
    ("dataset", "metric", "reader", "least"),
    [
        ("builtin-streets", "miou", "deeplabv3plus", 0.1),
        ("builtin-streets-pose", "ap", "cpn", 0.2),
    ],
)
def test_a_recognizer_near_chance_in_normal_light_decides_nothing(dataset, metric, reader, least):
    study = open_study("recognition", "smoke", dataset)
    protocol = {"miou": "seg-miou", "ap": "pose-oks-ap-exlpose"}[metric]
    day, low = (
        replace(psnr("identity", 0, dataset=dataset), recognizer=reader, metric=metric,
                subset=subset, protocol=protocol, value=least - 0.01)
        for subset in ("day", study.downstream.whole)
    )  # fmt: skip
    assert list(study.blind_readers([day, low])) == [reader]
    assert judging.context(study, [day, low]).blind[reader].startswith("near chance: ")
    assert study.blind_readers([replace(day, value=least), low]) == {}
    assert study.blind_readers([low]) == {}
    if metric == "miou":  # a claim of segmentation
        better = replace(low, label="gem_pam", value=0.5, weights="none", steps_planned=0)
        scores = [day, replace(low, steps_planned=0), better]
        assert verdict_of(study, "1.01", scores).endswith(
            f"not run ({judging.context(study, scores).blind[reader]})"
        )


@pytest.mark.parametrize(
    ("normal", "dark", "blind"),
    [(0.9, 0.5, False), (0.34, 0.29, False), (0.6, 0.79, True), (0.19, 0.1, True)],
)
def test_a_detector_worse_in_normal_light_decides_nothing(normal, dark, blind):
    study = open_study("joint", "smoke")
    scores = [
        replace(psnr(label, value, dataset="builtin-faces"), recognizer=reader, metric="ap",
                subset="hard", protocol="face-ap-height")
        for reader, of in (("tinaface", (normal, dark)), ("mtcnn", (0.9, 0.5)))
        for label, value in zip(("original", "identity"), of, strict=True)
    ]  # fmt: skip
    assert list(study.blind_readers(scores)) == ["tinaface"] * blind
    elsewhere = [replace(score, dataset="wider-face") for score in scores]
    assert study.blind_readers(elsewhere) == {}


@pytest.mark.parametrize(("best", "blind"), [(0.05, False), (0.04, True)])
def test_a_detector_that_finds_too_little_decides_nothing(best, blind):
    study = open_study("drgn", "smoke")
    scores = [
        replace(psnr(label, value, dataset="builtin-streets"), recognizer="light_detector",
                metric="map_50", protocol="det-map50-coco")
        for label, value in (("drgn", best), ("identity", 0.01), ("original", 0.9))
    ]  # fmt: skip
    assert list(study.blind_readers(scores)) == ["light_detector"] * blind
    assert study.blind_readers([]) == {}


# The reference run first -------------------------------------------------------------------------

GAIN = "5.13"  # LE + DR over LE


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """keep(scores): let these be the reference run of a paper, by default the fifth's on LOL."""
    monkeypatch.setattr(kept_files, "project_root", lambda: tmp_path)

    def write(scores, paper="neid", dataset="lol"):
        folder = tmp_path / "results" / "reference" / paper / dataset / "reference"
        write_scores(folder / "scores.csv", scores)
        by_present_code = {"label": "neid", "code": json.dumps(reuse.trees(Training))}
        write_rows(folder / "runs.csv", [by_present_code])

    return write


def gains(values, dataset="lol", profile="reference"):
    """Scores of both rows, a seed a value; the value is what is gained."""
    return [
        psnr(label, 20 + value * (label == "neid+LE + DR"), seed, dataset, profile)
        for label in ("neid+LE", "neid+LE + DR")
        for seed, value in enumerate(values)
    ]


def test_the_reference_is_judged_first_then_the_run(keep):
    study = open_study("neid", "quick")
    here = gains([0.5], "builtin-photos", "quick")
    few = "inconclusive (1 seed; an ordering takes 3)"
    assert verdict_of(study, GAIN, here) == few  # none is kept
    keep(gains([0.9, 1.0, 1.1]))
    kept = "holds on lol (reference, 3 seeds)"
    assert verdict_of(study, GAIN, here) == f"{kept}; this run: {few}"
    (found,) = [v for v in judging.verdicts(study, here) if v.claim.id == GAIN]
    assert found.evidence == (
        "printed: PSNR +0.9500; measured by the reference: PSNR +1.0000 ± 0.1000; "
        "this run: PSNR +0.5000"
    )
    keep(gains([1.0]))  # which decides nothing by itself
    decided = gains([0.4, 0.5, 0.6], "builtin-photos", "quick")
    assert verdict_of(open_study("neid", "quick", seeds=[0, 1, 2]), GAIN, decided) == (
        f"holds on builtin-photos (quick, 3 seeds); reference: {few} on lol (reference, 1 seed)"
    )


def test_the_papers_own_run_is_not_set_behind_a_reference(opened, keep):
    keep(gains([-0.9, -1.0, -1.1]))
    here = gains([0.9, 1.0, 1.1], profile="paper")
    assert verdict_of(opened(seeds=[0, 1, 2]), GAIN, here).startswith("does not hold on lol")
    assert verdict_of(opened(), GAIN, here) == "reproduced"


@pytest.mark.parametrize(("day", "decides"), [(0.5, True), (0.05, False)])
def test_a_blind_recognizer_of_the_reference_decides_nothing(keep, day, decides):
    about = {"dataset": "builtin-streets", "recognizer": "deeplabv3plus", "metric": "miou",
             "protocol": "seg-miou"}  # fmt: skip
    rows = [psnr(label, value, seed) for label, value in (("identity", 0.3), ("gem_pam", 0.4))
            for seed in range(3)]  # fmt: skip
    scores = [replace(score, **about) for score in [*rows, psnr("identity", day)]]
    scores[-1] = replace(scores[-1], subset="day")
    keep(scores, "recognition", "builtin-streets")
    found = verdict_of(open_study("recognition", "quick"), "1.01")
    assert found.startswith("holds on builtin-streets (reference, 3 seeds)") is decides
