"""The study of paper 5: rows, the published schedule, what retrains, the sequence of networks."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from llie_core.data import collate
from llie_core.data.wrappers import NormalLight
from llie_core.engine.fit import train_hash
from llie_core.models.neid import BrightenThenEnlarge
from llie_core.papers import judging, open_study
from llie_core.papers.neid.study import (
    ABLATIONS,
    CLASSICAL,
    SEQUENCE,
    UNET,
    NeidStudy,
)
from llie_core.papers.paired import OTHER_NETWORKS
from llie_core.reporting.published import table as published_table
from llie_core.reporting.scores import select

TINY = {"baselines": ["identity", "gamma"], "pairs": {"size": 16, "test_size": 24}}


# Settings and rows -----------------------------------------------------------------------------


def test_paper_profile_has_the_published_schedule():
    settings = open_study("neid", "paper").settings
    pairs, train = settings.pairs, settings.train
    assert (settings.dataset, pairs.size, pairs.flips) == ("lol", 256, "all")
    assert (train.batch_size, settings.init, settings.norm) == (8, "paper", "none")
    assert settings.baselines[-7:] == CLASSICAL
    epoch = (485 - pairs.val_count) / 8
    assert train.steps == train.planned_steps == 2000 * epoch
    changes = (0, 500 * epoch - 1, 500 * epoch, 1000 * epoch - 1, 1000 * epoch, train.steps - 1)
    rates = [train.lr_at(int(step)) for step in changes]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])
    loss = settings.loss
    assert (loss.hue, loss.detail_target, settings.bias) == ("printed", "image", 0.1)
    assert (loss.lambda_mse, loss.lambda_colour) == (0.1, 0.1)


def test_rows_of_both_tables_can_be_run():
    trained_elsewhere = {"retinexnet", "glad", "kind"}
    named = {cell.label for cell in published_table("neid", "1")}
    study = open_study("neid", "quick")
    assert named - {row.label for row in study.rows()} == trained_elsewhere
    ablations = {cell.label for cell in published_table("neid", "2")}
    trained = ablations | {f"neid+{SEQUENCE}", "neid+ours"}
    assert {row.label for row in open_study("neid", "paper").rows()} >= trained
    assert trained == {row.label for row in study.possible_rows()} - {*OTHER_NETWORKS}
    assert ablations == {"neid", *ABLATIONS}


def test_rows_come_in_the_order_of_the_tables_with_one_run_a_seed(open_tiny):
    study = open_tiny(rows=["neid+LE", "neid"], seeds=[0, 2])
    assert [(row.label, row.seed) for row in study.rows()] == [
        ("identity", 0), ("gamma", 0), ("neid", 0), ("neid", 2), ("neid+LE", 0), ("neid+LE", 2),
    ]  # fmt: skip
    assert study.main_row() == study.row("neid", 0)
    titles = [study.row(f"neid+{v}").shown for v in ("LE", UNET, SEQUENCE)]
    assert titles == ["NEID, LE alone", "U-net at full size", SEQUENCE]
    with pytest.raises(ValueError, match=r"no row 'neid\+FF'"):
        open_tiny(rows=["neid+FF"]).rows()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"loss": {"hue": "round"}}, "hue='round': choose one of 'printed', 'circular'"),
        ({"loss": {"detail_target": "both"}}, "detail_target='both': choose one of 'image'"),
        ({"loss": {"lambda_colour": -0.1}}, "lambda_mse and lambda_colour not below"),
        ({"loss": {"delta": 0.0}}, "delta must be above 0"),
        ({"init": "zeros"}, "init='zeros': choose one of 'paper', 'pytorch'"),
        ({"norm": "batch"}, "norm='batch': choose one of 'none', 'group'"),
    ],
)
def test_wrong_settings_are_named(open_tiny, changes, words):
    with pytest.raises(ValueError, match=words):
        open_tiny(**changes)


@pytest.mark.parametrize(
    "change",
    [{"loss": {"delta": 0.2}}, {"loss": {"hue": "circular"}}, {"init": "paper"}, {"norm": "group"},
     {"loss": {"lambda_mse": 1.0}}, {"loss": {"lambda_colour": 0.0}},
     {"loss": {"detail_target": "target"}}, {"pairs": {"size": 16, "flips": "none"}}],
)  # fmt: skip
def test_what_decides_the_weights_retrains(change):
    def hash_of(**changes):
        study = open_study("neid", "smoke", **{**TINY, **changes})
        row = study.row("neid")
        return row.settings_hash, train_hash(study.experiment(row))

    assert all(a != b for a, b in zip(hash_of(**change), hash_of(), strict=True))
    assert hash_of(evaluation={"cost_size": [32, 32], "sets": "elsewhere"}) == hash_of()


def test_printed_eq_3_compares_details_with_the_ground_truth(open_tiny):
    batch = {"image": torch.rand(2, 3, 8, 8) / 9, "target": torch.rand(2, 3, 8, 8)}
    outputs = {"image": batch["target"], "detail": torch.rand(2, 3, 8, 8)}
    for target in ("image", "target"):
        study = open_tiny(loss={"detail_target": target})
        terms = study.objective(study.row("neid"))(outputs, batch)
        torch.testing.assert_close(
            terms["mse"], (outputs["detail"] - batch[target]).square().mean()
        )


def test_the_weights_of_the_loss_are_settings(open_tiny):
    batch = {"image": torch.rand(2, 3, 8, 8) / 9, "target": torch.rand(2, 3, 8, 8)}
    outputs = {"image": torch.rand(2, 3, 8, 8), "detail": torch.rand(2, 3, 8, 8)}
    study = open_tiny(loss={"lambda_mse": 3.0, "lambda_colour": 0.5})
    terms = study.objective(study.row("neid"))(outputs, batch)
    expected = terms["huber"] + 3 * terms["mse"] + 0.5 * terms["colour"]
    torch.testing.assert_close(terms["total"], expected)


def test_the_bias_of_the_published_start_retrains(open_tiny):
    studies = open_tiny(init="paper"), open_tiny(init="paper", bias=0.0)
    ours, zero = (train_hash(study.experiment(study.row("neid"))) for study in studies)
    assert ours != zero


def test_our_loss_is_a_row_beside_the_printed_one(open_tiny):
    study = open_tiny(rows=["neid", "neid+ours"])
    printed, ours = (study.row(label) for label in ("neid", "neid+ours"))
    assert (printed.options, printed.shown, ours.shown) == (ours.options, "NEID", "NEID, our loss")
    assert printed.settings_hash != ours.settings_hash
    kept = study.objective(ours).keywords
    assert kept == {"delta": 1.0, "hue": "circular", "lambda_mse": 10.0, "lambda_colour": 0.01,
                    "detail_target": "image"}  # fmt: skip
    assert study.objective(printed).keywords["delta"] == 0.1


def test_the_details_of_our_loss_move_the_shared_encoder(open_tiny):
    """At the start their gradient is over a tenth of Huber's; λ₁ = 0.1 gives a hundredth of it."""
    study = open_tiny(rows=["neid", "neid+ours"])
    row = study.row("neid+ours")
    model, batch = row.build(), collate([study.train_pairs[0], study.train_pairs[1]])
    terms = study.objective(row)(model.training_outputs(batch["image"]), batch)
    norms = [
        torch.cat([g.flatten() for g in torch.autograd.grad(
            term, model.encoder.parameters(), retain_graph=True)]).norm()
        for term in (terms["huber"], 10 * terms["mse"])
    ]  # fmt: skip
    assert norms[1] > 0.1 * norms[0]


# Enhancement, then super-resolution --------------------------------------------------------------


class Unchanged(torch.nn.Module):
    """Returns its input, so that a validation of normal-light images is perfect."""

    def parameters(self, recurse=True):
        return iter([torch.zeros(1)])

    def enhance(self, x: Tensor) -> Tensor:
        return x


def test_super_resolution_is_trained_on_normal_light_images(study):
    experiment = study.experiment(study.row(f"neid+{SEQUENCE}"))
    item = experiment.data[0]
    assert torch.equal(item["image"], item["target"]) and item["image"].shape == (3, 16, 16)
    assert experiment.validate(Unchanged()) == float("inf")
    ours = study.experiment(study.row("neid"))
    assert ours.validate(Unchanged()) < 40
    assert train_hash(experiment) != train_hash(ours)
    item = NormalLight(study.test_pairs)[0]
    assert torch.equal(item["image"], study.test_pairs[0]["target"])


@pytest.mark.parametrize("size", [(24, 24), (17, 31)])
def test_a_sequence_keeps_the_size_and_passes_the_bright_half_on(study, size):
    brighten = study.row(f"neid+{UNET}").build()
    enlarge = study.row(f"neid+{SEQUENCE}").build()
    x = torch.rand(1, 3, *size)
    output = BrightenThenEnlarge(brighten, enlarge).enhance(x)
    assert output.shape == x.shape and output.min() >= 0 and output.max() <= 1
    with torch.no_grad():
        for weight in brighten.parameters():
            weight.zero_()
        black = torch.zeros(1, 3, *(-(-n // 2) for n in size))
        expected = enlarge.forward_half(black)[..., : size[0], : size[1]].clamp(0, 1)
    torch.testing.assert_close(BrightenThenEnlarge(brighten, enlarge).enhance(x), expected)


def test_the_sequence_is_evaluated_anew_when_its_first_network_changes(study, done):
    row, unet = study.row(f"neid+{SEQUENCE}"), study.row(f"neid+{UNET}")
    assert row.needs == (unet,) and isinstance(study.load(row, "cpu"), BrightenThenEnlarge)
    (before,) = select(done[1], label=row.label, metric="psnr")
    path = study.run(unet).weights_path
    original = path.read_bytes()
    zeros = {name: torch.zeros_like(value) for name, value in load_file(path).items()}
    try:
        save_file(zeros, path)
        with pytest.raises(ValueError, match="damaged"):
            study.evaluate(row, device="cpu")
    finally:
        path.write_bytes(original)
    assert select(study.evaluate(row, device="cpu"), metric="psnr") == [before]


# Runs ------------------------------------------------------------------------------------------


def test_every_row_has_its_numbers_under_named_protocols(done, study):
    scores = done[1]
    labels = {row.label for row in study.rows()}
    for metric, protocol in (("psnr", "psnr-rgb-float"), ("ssim", "ssim-valid-gaussian")):
        found = select(scores, metric=metric)
        assert {s.label for s in found} == labels
        assert {s.protocol for s in found} == {protocol} and {s.n for s in found} == {2}
    trained = select(scores, label="neid", metric="psnr")[0]
    assert (trained.steps_done, trained.steps_planned) == (2, 117_500)
    work = {s.label: s.value for s in select(scores, metric="macs")}
    assert set(work) == labels - {"identity", "gamma"}
    assert work["neid+LE"] < work["neid"] < min(work[f"neid+{UNET}"], work[f"neid+{SEQUENCE}"])
    assert study.headline(scores).startswith("PSNR, dB: NEID ")


def test_only_lol_is_the_papers_own_data_set():
    own = {name: open_study("neid", "paper", name).is_papers_own() for name in NeidStudy.datasets}
    assert [name for name, is_own in own.items() if is_own] == ["lol"]
    assert {"builtin-photos", "mit-adobe-fivek", "lol-v2-real"} < set(own)
    assert not judging.context(open_study("neid", "reference")).papers_own
