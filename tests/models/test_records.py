"""Records of weights and measurements: what the default is, what the page says."""

import pytest
import torch

from llie_core import choice
from llie_core.files import project_root
from llie_core.models import MODELS, create_enhancer, records
from llie_core.models.records import (
    PARTS,
    Measured,
    default_enhancer,
    measured,
    reference_run,
    spoiling,
)

SHIPPED = [spec for spec in MODELS.values() if spec.reference]


def test_the_default_meets_what_is_asked_of_it_on_images_that_chose_nothing():
    name, weights = default_enhancer()
    row = measured(name, weights or "")
    assert row.psnr >= 17 and row.change >= 24 and row.clipped <= 0.05
    assert row.normal_clipped <= 0.05 and row.niqe < measured("identity", "").niqe
    assert row.pairs == 15 and row.low >= 20 and row.normal >= 80
    assert not row.spoils


def one(model, psnr, change=30.0, weights="", part="choose", hue=0.0):
    return Measured(model, weights, part, psnr, 4.0, 0.0, change, 0.0, change, hue, 1, 1, 1)


def test_a_method_spoils_photographs_that_does_so_on_either_part(monkeypatch):
    rows = [one(name, 15.0, part=part) for name in "abc" for part in PARTS]
    rows[1], rows[2] = one("a", 15.0, change=23.9, part="report"), one("b", 15.0, hue=5.1)
    monkeypatch.setattr(records, "measurements", lambda: rows)
    assert [spoiling(name, "") for name in "abc"] == [
        "normal-light ones keep a PSNR of 23.9 dB to themselves", "hues change by 5.1°", "",
    ]  # fmt: skip


def test_the_default_is_the_best_of_those_that_spoil_nothing(monkeypatch):
    rows = (one("a", 15.0), one("b", 16.0), one("c", 19.0, change=23.9), one("e", 9, part="report"),
            one("d", 20.0, weights="released"), one("f", 15.5, weights="reference"),
            one("h", 18.0, hue=5.1))  # fmt: skip
    monkeypatch.setattr(records, "measurements", lambda: rows)
    assert default_enhancer() == ("b", None)
    monkeypatch.setattr(
        records, "measurements", lambda: (*rows, one("g", 17.0, weights="reference"))
    )
    assert default_enhancer() == ("g", "reference")


def test_the_page_shows_what_was_measured():
    page = (project_root() / "docs" / "DEFAULT.md").read_text(encoding="utf-8")
    assert page == choice.page()


def test_a_change_of_hue_is_counted_in_degrees_of_coloured_pixels():
    red, orange = ([1.0, 0.0, 0.0], [1.0, 0.5, 0.0])
    x = torch.tensor([red, [0.5, 0.5, 0.45]]).T.reshape(1, 3, 1, 2)  # the second is nearly grey
    y = torch.tensor([orange, [0.1, 0.9, 0.1]]).T.reshape(1, 3, 1, 2)
    assert choice.hue_change(x, y) == pytest.approx([30], abs=1e-4)
    pink = torch.tensor([1.0, 0.0, 0.1]).reshape(1, 3, 1, 1)  # on the other side of red: 354°
    assert choice.hue_change(pink, x[..., :1]) == pytest.approx([6], abs=1e-4)
    assert choice.hue_change(x[..., 1:], y[..., 1:]) == []


@pytest.mark.parametrize(("name", "message"), [("mff", "mf"), ("neid", "neid: no weights are")])
def test_methods_that_cannot_be_measured_are_refused(name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        choice.update(tmp_path, [name])


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda spec: spec.name)
def test_shipped_weights_have_a_record_and_load(spec):
    run = reference_run(spec.reference)
    assert run.path.is_file() and 0 < run.steps <= run.planned
    assert run.run.startswith("results/reference/") and run.commit
    model = create_enhancer(spec.name, weights="reference")
    torch.manual_seed(0)
    fresh = create_enhancer(spec.name)
    pairs = zip(model.parameters(), fresh.parameters(), strict=True)
    assert not model.training and any(not torch.equal(a, b) for a, b in pairs)


def test_the_registry_names_every_set_of_the_shipped_default():
    from llie_core.papers import open_study

    study = open_study("neid", "photographs")
    assert MODELS["curve_refine"].reference_also == study.settings.pairs.photographs
    run = reference_run(MODELS["curve_refine"].reference)
    assert run.dataset not in study.settings.pairs.photographs


def test_weights_that_are_not_there_are_named(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"no reference weights of neid are known \(known: "):
        create_enhancer("neid", weights="reference")
    monkeypatch.setattr(records, "project_root", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match="they come with a checkout of the project"):
        create_enhancer(SHIPPED[0].name, weights="reference")


def test_weights_without_a_line_in_their_record_are_named(monkeypatch, tmp_path):
    folder = tmp_path / "results" / "reference" / "neid" / "lol" / "reference"
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "neid-seed0.safetensors").touch()
    (folder / "runs.csv").write_text("label,seed\nneid,1\n")
    monkeypatch.setattr(records, "project_root", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"runs\.csv: no line of neid, seed 0"):
        reference_run("neid/lol/reference/weights/neid-seed0.safetensors")
