"""Scores of a row on any test set: measured once, read back while nothing of it changes."""

import json
from dataclasses import replace

import pytest

from llie_core import runs
from llie_core.recipes import get_recipe
from llie_core.recipes.base import Measured, Scoring
from llie_core.reporting.scores import read_scores


@pytest.fixture
def once(tmp_path, monkeypatch):
    """once(**changes): scores of the row "gamma"; `once.calls` counts the measurements."""
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    recipe = get_recipe("neid")
    settings = recipe.settings("smoke")
    key = recipe.key(settings, "gamma")

    def measure(model, device):
        once.calls += 1
        found = Measured("psnr", "all", 10.0 + once.calls, "dB", "higher", 2, "psnr-rgb-float")
        return [found], [{"name": "a", "psnr": 11}]

    plain = Scoring(measure, data={"set": "a"}, test={"threshold": 1})

    def once(**changes):
        return recipe.scored_once(key, settings, replace(plain, **changes), "cpu")

    once.calls, once.folder = 0, key.directory
    return once


def test_what_did_not_change_is_read_back(once):
    first = once()
    assert once() == first and once.calls == 1
    assert (first[0].value, first[0].dataset, first[0].method) == (11.0, "builtin-photos", "gamma")
    assert read_scores(once.folder / "scores.csv") == first
    assert (once.folder / "per_image.csv").read_text().split() == ["name,psnr", "a,11"]
    record = json.loads((once.folder / "scores.json").read_text())
    assert record["threshold"] == 1 and record["eval_hash"]


@pytest.mark.parametrize(
    "change",
    [{"data": {"set": "b"}}, {"test": {"threshold": 2}}, {"code": ("llie_core.metrics.saliency",)}],
    ids=str,
)
def test_what_decides_a_score_measures_anew(once, change):
    once()
    assert once(**change)[0].value == 12.0 and once.calls == 2


def test_named_code_decides(once, monkeypatch):
    once(code=("llie_core.metrics.saliency",))
    original = runs._module_digest

    def edited(name):
        value, imported = original(name)
        return (f"{value} changed" if name == "llie_core.metrics.saliency" else value), imported

    monkeypatch.setattr(runs, "_module_digest", edited)
    once(code=("llie_core.metrics.saliency",))
    assert once.calls == 2


def test_lost_scores_are_measured_anew(once):
    once()
    (once.folder / "scores.csv").unlink()
    once()
    assert once.calls == 2


def test_each_test_set_has_files_of_its_own(once):
    own = once()
    other = once(file="lime", about={"dataset": "lime", "recognizer": "vst"})
    assert (other[0].dataset, other[0].recognizer) == ("lime", "vst") and once.calls == 2
    assert once() == own and once.calls == 2
    names = {path.name for path in once.folder.iterdir() if path.suffix in (".csv", ".json")}
    assert names == {
        "scores.csv", "scores.json", "per_image.csv",
        "scores-lime.csv", "scores-lime.json", "per_image-lime.csv",
    }  # fmt: skip
