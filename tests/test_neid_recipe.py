"""The recipe of paper 5: rows, the published schedule, what retrains, smoke runs, the report."""

import shutil

import pytest
import torch
from dataset_trees import lol, picture, save
from torch import Tensor

from llie_core.published import table as published_table
from llie_core.recipes import get_recipe, neid, neid_report, paired_report, paired_scores
from llie_core.recipes.neid import SEQUENCE, UNET, BrightenThenEnlarge
from llie_core.reporting.claims import judge, load_claims
from llie_core.reporting.scores import select
from llie_core.runs import Run

ROWS = ("neid", f"neid+{UNET}", "neid+LE", f"neid+{SEQUENCE}")
TINY = {
    "baselines": ("identity", "gamma"), "models": ROWS, "size": 16, "train_count": 2,
    "test_size": 24, "cost_size": (16, 24), "protocols": ("psnr-rgb-float", "ssim-valid-gaussian"),
}  # fmt: skip


def settings_of(**overrides):
    return get_recipe("neid").settings("smoke", **{**TINY, **overrides})


@pytest.fixture(scope="module")
def recipe():
    return get_recipe("neid")


# Settings and rows -----------------------------------------------------------------------------


def test_paper_profile_has_the_published_schedule(recipe):
    settings = recipe.settings("paper")
    how = recipe.train_settings(recipe.parse_key(settings, "", "", 0), settings)
    assert (settings.dataset, settings.size, settings.turns) == ("lol", 256, "all")
    assert (how.batch_size, settings.init, settings.baselines[-7:]) == (8, "paper", neid.CLASSICAL)
    epoch = (485 - settings.val_count) / 8
    assert how.steps == settings.planned_steps == 2000 * epoch
    changes = (0, 500 * epoch - 1, 500 * epoch, 1000 * epoch - 1, 1000 * epoch, how.steps - 1)
    rates = [how.lr_at(int(step)) for step in changes]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])
    assert (settings.hue, settings.detail_target) == ("printed", "image")


def test_rows_of_both_tables_can_be_run(recipe):
    learned_elsewhere = {"retinexnet", "glad", "kind"}
    named = {cell.method for cell in published_table("neid", "1")}
    quick = {key.method for key in recipe.rows(recipe.settings("quick"))}
    assert named - quick == learned_elsewhere
    assert {"identity", "gamma", "clahe"} <= quick
    ablations = {f"{c.method}+{c.variant}".rstrip("+") for c in published_table("neid", "2")}
    assert {k.method for k in recipe.rows(recipe.settings("paper"))} >= ablations
    assert ablations | {f"neid+{SEQUENCE}"} == set(recipe.trained_rows)


def test_rows_come_in_order_with_one_run_a_seed(recipe):
    rows = recipe.rows(settings_of(models=["neid+LE", "neid"], seeds=[0, 2]))
    assert [(k.method, k.seed) for k in rows] == [
        ("identity", 0), ("gamma", 0), ("neid", 0), ("neid", 2), ("neid+LE", 0), ("neid+LE", 2),
    ]  # fmt: skip
    assert recipe.parse_key(settings_of(), "neid", "LE + DR", 1).method == "neid+LE + DR"
    with pytest.raises(ValueError, match=r"neid trains neid, .* not 'drgn'"):
        recipe.parse_key(settings_of(), "drgn", "", 0)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"hue": "round"}, "hue: choose one of printed, circular"),
        ({"detail_target": "both"}, "detail_target: choose one of image, target"),
        ({"init": "zeros"}, "init: choose one of paper, pytorch"),
        ({"models": ["neid", f"neid+{SEQUENCE}"]}, rf"models: neid\+{SEQUENCE} needs neid\+U-net"),
        ({"protocols": ["psnr-best"]}, "protocols: 'psnr-best' is no entry"),
    ],
)
def test_wrong_settings_are_named(overrides, words):
    with pytest.raises(ValueError, match=words):
        settings_of(**overrides)


@pytest.mark.parametrize(
    "change",
    [{"delta": 0.2}, {"hue": "circular"}, {"detail_target": "target"}, {"init": "paper"},
     {"val_count": 1}, {"turns": "none"}, {"lr": 2e-3}],
)  # fmt: skip
def test_what_decides_the_weights_retrains(recipe, change):
    def train_hash(**overrides):
        settings = settings_of(**overrides)
        return recipe.experiment(recipe.parse_key(settings, "", "", 0), settings).train_hash()

    assert train_hash(**change) != train_hash()
    assert train_hash(cost_size=[32, 32], no_reference="elsewhere") == train_hash()


def test_literal_eq_3_compares_details_with_the_ground_truth(recipe):
    batch = {"image": torch.rand(2, 3, 8, 8) / 9, "target": torch.rand(2, 3, 8, 8)}
    outputs = {"image": batch["target"], "detail": torch.rand(2, 3, 8, 8)}
    key = recipe.parse_key(settings_of(), "", "", 0)
    for target in ("image", "target"):
        objective = recipe.objective(key, settings_of(detail_target=target))
        error = (outputs["detail"] - batch[target]).square().mean()
        torch.testing.assert_close(objective(outputs, batch)["mse"], error)


# Enhancement, then super-resolution --------------------------------------------------------------


def test_super_resolution_is_trained_on_bright_pictures(recipe):
    settings = settings_of()
    experiment = recipe.experiment(recipe.key(settings, "neid", SEQUENCE), settings)
    item = experiment.data[0]
    assert torch.equal(item["image"], item["target"]) and item["image"].shape == (3, 16, 16)

    class Given:  # a network that returns its input, so the validation input is its target
        def parameters(self):
            return iter([torch.zeros(1)])

        def enhance(self, x: Tensor) -> Tensor:
            return x

    assert experiment.validate(Given()) == float("inf")
    ours = recipe.experiment(recipe.key(settings, "neid"), settings)
    assert ours.validate(Given()) < 40
    assert experiment.train_hash() != ours.train_hash()


@pytest.mark.parametrize("size", [(24, 24), (17, 31)])
def test_a_sequence_keeps_the_size_and_passes_the_bright_half_on(recipe, size):
    settings = settings_of()
    brighten = recipe.build(recipe.key(settings, "neid", UNET), settings)
    enlarge = recipe.build(recipe.key(settings, "neid", SEQUENCE), settings)
    x = torch.rand(1, 3, *size)
    output = BrightenThenEnlarge(brighten, enlarge).enhance(x)
    assert output.shape == x.shape and output.min() >= 0 and output.max() <= 1
    with torch.no_grad():
        for weight in brighten.parameters():
            weight.zero_()
        black = torch.zeros(1, 3, *(-(-n // 2) for n in size))
        expected = enlarge.forward_half(black)[..., : size[0], : size[1]].clamp(0, 1)
    torch.testing.assert_close(BrightenThenEnlarge(brighten, enlarge).enhance(x), expected)


# Runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(recipe, tmp_path_factory):
    """All rows run once on tiny pictures: (results folder, scores)."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        scores = recipe.reproduce(settings_of(), "cpu")
    yield folder, scores
    shutil.rmtree(folder)  # the weights of four networks


@pytest.fixture
def folder(done, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(done[0]))
    return done[0]


def test_every_row_has_its_numbers_under_named_protocols(done):
    scores = done[1]
    labels = {"identity", "gamma", *ROWS}
    for metric, protocol in (("psnr", "psnr-rgb-float"), ("ssim", "ssim-valid-gaussian")):
        found = select(scores, metric=metric)
        assert {s.label for s in found} == labels
        assert {s.protocol for s in found} == {protocol} and {s.n for s in found} == {2}
    trained = select(scores, label="neid", metric="psnr")[0]
    assert (trained.steps_done, trained.steps_planned) == (2, 117_500)
    work = {s.label: s.value for s in select(scores, metric="macs")}
    assert set(work) == set(ROWS)
    assert work["neid+LE"] < work["neid"] < min(work[f"neid+{UNET}"], work[f"neid+{SEQUENCE}"])


def test_a_second_run_trains_and_scores_nothing(recipe, folder, monkeypatch):
    def fail(*_arguments, **_options):
        raise AssertionError("measured again")

    monkeypatch.setattr(neid.NeidRecipe, "measure", fail)
    assert {s.label for s in recipe.reproduce(settings_of(), "cpu")} >= set(ROWS)


def test_the_sequence_is_scored_anew_when_its_first_network_changes(recipe, folder, tmp_path):
    settings = settings_of()
    key = recipe.key(settings, "neid", SEQUENCE)
    before = recipe.row_data(key, settings)[1]
    weights = Run(recipe.key(settings, "neid", UNET)).weights_path
    assert before["first"] == neid.file_hash(weights)
    assert "first" not in recipe.row_data(recipe.key(settings, "neid"), settings)[1]
    assert isinstance(recipe.load(key, settings, "cpu"), BrightenThenEnlarge)


def test_protocols_without_weights_are_left_out_and_told(recipe, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(tmp_path))
    asked = settings_of(protocols=["psnr-rgb-float", "niqe-live", "brisque-live"])
    assert recipe.protocols(asked) == ("psnr-rgb-float",)
    everything = recipe.protocols(settings_of(protocols=[]))
    assert "ssim-3d" in everything and "lpips-alex" not in everything
    assert not any("illumination-ratio" in name for name in everything)
    assert paired_scores.lacking_weights("niqe-live") == "not available: llie weights fetch niqe"
    table = paired_report.protocol_table(recipe, asked, recipe.key(asked, "gamma"))
    values = {row[0]: row[2] for row in table.rows}
    assert float(values["psnr-rgb-float"]) > 0
    assert values["brisque-live"] == "not available: llie weights fetch brisque"
    assert values["psnr-rgb-float-gtmean-illumination-ratio"] == "–"


# Pictures without ground truth -------------------------------------------------------------------


@pytest.fixture
def unpaired(tmp_path):
    """LIME with three pictures and DICM with two; NPE is absent."""
    for name, count in (("LIME", 3), ("DICM", 2)):
        for i in range(count):
            save(tmp_path / "pictures" / name / f"{i}.png", picture(i, (192, 98)) // 4)
    return tmp_path / "pictures"


def test_sets_without_ground_truth_are_found_or_told(recipe, unpaired):
    settings = settings_of(no_reference=str(unpaired), no_reference_count=2)
    found, lacking = recipe.no_reference_data(settings)
    assert {name: len(data) for name, data in found.items()} == {"lime": 2, "dicm": 2}
    assert found["lime"].names == ["0.png", "2.png"]
    assert list(lacking) == ["npe"] and "get it from" in lacking["npe"]
    found, lacking = recipe.no_reference_data(settings_of())
    assert not found and set(lacking.values()) == {"no folder given (setting no_reference)"}
    assert not recipe.no_reference_scores(settings_of())
    table = paired_report.no_reference_table(recipe, settings_of(), [])
    assert table.rows[0] == ["lime", "not run", "no folder given (setting no_reference)"]


def test_a_flat_folder_of_pictures_is_not_taken_for_every_set(recipe, unpaired):
    save(unpaired / "a.png", picture(0, (40, 30)))
    found, lacking = recipe.no_reference_data(settings_of(no_reference=str(unpaired)))
    assert list(found) == ["lime", "dicm"] and lacking["npe"].startswith("no folder NPE in")
    # The folder of one set alone is that set and no other.
    found, lacking = recipe.no_reference_data(settings_of(no_reference=str(unpaired / "LIME")))
    assert list(found) == ["lime"] and set(lacking) == {"npe", "dicm"}


def test_rows_are_scored_on_them(recipe, folder, unpaired, shared_data, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    settings = settings_of(
        no_reference=str(unpaired), models=["neid"], baselines=["identity", "gamma"]
    )
    scores = recipe.no_reference_scores(settings, "cpu")
    assert {(s.dataset, s.n) for s in scores} == {("lime", 3), ("dicm", 2)}
    assert {s.label for s in scores} == {"identity", "gamma", "neid"}
    assert {(s.metric, s.protocol) for s in scores} == {
        ("niqe", "niqe-live"), ("brisque", "brisque-live"),
    }  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(paired_scores, "evaluate", lambda *_: 1 / 0)
        assert recipe.no_reference_scores(settings, "cpu") == scores  # read back
    table = paired_report.no_reference_table(recipe, settings, scores)
    assert table.header == ["", "lime, niqe", "lime, brisque", "dicm, niqe", "dicm, brisque"]
    assert [row[0] for row in table.rows] == ["identity", "gamma", "neid"]
    assert all(float(cell) for row in table.rows for cell in row[1:])
    assert "npe: not run" in table.note


def test_a_picture_too_small_for_a_metric_is_left_out_of_its_mean(
    recipe, folder, unpaired, shared_data, monkeypatch
):
    monkeypatch.setenv("LLIE_WEIGHTS", str(shared_data / "metric_weights"))
    save(unpaired / "LIME" / "small.png", picture(9, (50, 40)))
    settings = settings_of(no_reference=str(unpaired))
    data = recipe.no_reference_data(settings)[0]["lime"]
    key = recipe.key(settings, "gamma")
    scores = recipe.evaluate_on(key, settings, "lime", data, ["niqe-live", "brisque-live"], "cpu")
    assert {s.metric: s.n for s in scores} == {"niqe": 3, "brisque": 4}
    lines = (key.directory / "per_image-lime.csv").read_text().split()
    assert lines[0] == "name,niqe-live,brisque-live" and lines[-1].startswith("small.png,,")


def test_without_weights_the_table_says_how_to_get_them(recipe, folder, unpaired, monkeypatch):
    monkeypatch.setenv("LLIE_WEIGHTS", str(unpaired))
    settings = settings_of(no_reference=str(unpaired))
    assert not recipe.no_reference_scores(settings, "cpu")
    table = paired_report.no_reference_table(recipe, settings, [])
    assert table.rows[0][1:3] == [
        "not available: llie weights fetch niqe", "not available: llie weights fetch brisque",
    ]  # fmt: skip
    lines = neid_report.no_reference_lines(recipe, settings)
    assert [title[:8] for title in lines] == ["Fig. 6: ", "Fig. 8: "]
    labels = [panel.label for panel in next(iter(lines.values()))[0]]
    assert labels == ["identity", "gamma", *ROWS]


def test_other_programs_pictures_become_rows(recipe, folder, unpaired, tmp_path):
    data = recipe.test_data(settings_of())[0]
    for i in range(2):
        pixels = (data[i]["target"].permute(1, 2, 0).numpy() * 255).round()
        save(tmp_path / f"external/kind/builtin-photos/{data[i]['name']}.png", pixels)
    settings = settings_of(
        external=str(tmp_path / "external"), models=["neid"], no_reference=str(unpaired)
    )
    key = next(k for k in recipe.rows(settings) if k.model == "kind")
    scores = recipe.evaluate(key, settings, "cpu")
    assert select(scores, metric="ssim")[0].value == pytest.approx(1)
    assert {s.weights for s in scores} == {"external"}
    keys = paired_report.shown_keys(recipe, settings, ("gamma", "kind"))
    (one,) = paired_report.examples(recipe, settings, keys, 1)
    assert torch.equal(one.outputs["kind"], one.target)
    lime = recipe.no_reference_data(settings)[0]["lime"]
    (one,) = paired_report.examples(recipe, settings, keys, 1, "lime", lime)
    assert list(one.outputs) == ["gamma"] and one.target is None
    assert recipe.evaluate_on(key, settings, "lime", lime, ["brisque-live"], "cpu") == []
    save(tmp_path / "external/kind/lime/0.png", picture(0, (192, 98)))
    (one,) = paired_report.examples(recipe, settings, keys, 1, "lime", lime)
    assert list(one.outputs) == ["gamma", "kind"] and one.outputs["kind"].mean() > 0.4
    assert recipe.further_row_data(key, settings, "lime", lime).describe()["external"]


def test_cost_is_taken_once_and_of_rows_without_a_seed_too(recipe, folder):
    settings = settings_of(seeds=[3], models=["neid"])
    assert recipe.test_identity(settings)["cost_seed"] == 3
    model = recipe.build(recipe.key(settings, "gamma"), settings)
    scores, _ = recipe.measure(recipe.key(settings, "gamma"), settings, model, "cpu")
    assert select(scores, metric="latency")
    scores, _ = recipe.measure(recipe.key(settings, "neid", seed=4), settings, model, "cpu")
    assert not select(scores, metric="latency")


# The report ------------------------------------------------------------------------------------


def test_figures_show_the_rows_and_their_parts(recipe, folder):
    settings = settings_of()
    keys = paired_report.shown_keys(recipe, settings)
    found = paired_report.examples(recipe, settings, keys, 2)
    assert [list(one.outputs) for one in found] == [["identity", "gamma", *ROWS]] * 2
    assert found[0].name != found[1].name
    sent, ours, part, truth = neid_report.teaser(found[0])
    assert sent.image.shape == (3, 12, 12) and ours.image.shape == (3, 24, 24)
    assert part.image.shape == truth.image.shape == (3, 6, 6)
    lines = neid_report.detail_lines(recipe, settings, 2)
    labels = ["gamma", "neid", f"neid+{UNET}", "ground truth"]
    assert [[panel.label for panel in line] for line in lines] == [labels] * 2


def test_audit_holds_the_parameters_and_the_work():
    table = neid_report.audit()
    assert [row[0] for row in table.rows] == [
        "U-net architecture", "LE", "LE + DR", "LE + DR + FF",
    ]  # fmt: skip
    assert table.rows[-1][1:] == ["11,127,704", "8,076,396", "128×128", "3.091"]
    assert table.rows[1][2] == table.rows[2][2]  # what does not fuse is dropped whole


def test_cost_is_a_quarter_of_the_u_nets(recipe):
    table = neid_report.cost_against_unet(settings_of(cost_size=[64, 96]))
    sizes = [row[0] for row in table.rows]
    assert sizes == ["96×64"] * 3 + ["3840×2160"] * 3
    unet, _, ours = (dict(zip(table.header, row, strict=True)) for row in table.rows[3:])
    assert unet["GMAC"].endswith("(1.00)") and ours["GMAC"].endswith("(0.26)")
    assert ours["peak memory, MiB"].endswith("(0.27)")
    assert ours["latency, ms"] == "not run (set time_4k)"
    assert "(" in table.rows[2][5] and float(table.rows[2][5].split()[0]) > 0


def test_data_and_validation_are_shown(recipe, folder):
    table = paired_report.data_table(recipe, settings_of())
    assert [row[:3] for row in table.rows] == [
        ["train", "2", "16×16"], ["val", "2", "24×24"], ["test", "2", "24×24"],
    ]  # fmt: skip
    assert all(float(row[3]) < float(row[4]) for row in table.rows)
    curves = paired_report.validation_curves(recipe, settings_of())
    assert list(curves) == list(ROWS) and all(curve[-1][0] == 2 for curve in curves.values())


def test_every_claim_gets_a_verdict(recipe, folder, done):
    settings, scores = settings_of(), done[1]
    measured = neid_report.measurements(recipe, settings, scores)
    names = {c.check["name"] for c in load_claims("neid") if c.kind == "measured"}
    assert set(measured) == names
    assert all(holds is not None for holds, _ in measured.values()), measured
    verdicts = judge("neid", scores, recipe.context(settings), measured)
    assert all(v.verdict for v in verdicts)
    assert not any(v.verdict.startswith(("reproduced", "not reproduced")) for v in verdicts)
    by_id = {v.claim.id: v.verdict for v in verdicts}
    assert by_id["5.05"].startswith("holds on builtin-photos")
    assert by_id["5.15"] == "contradicted by the paper's own table"


def test_claims_say_which_row_they_lack(recipe, folder, done):
    settings = settings_of(models=["neid"])
    scores = [s for s in done[1] if s.variant == ""]
    measured = neid_report.measurements(recipe, settings, scores)
    lacking = {name: why for name, (holds, why) in measured.items() if holds is None}
    assert set(lacking) == set(measured) - {"detail_branch_free"}
    assert lacking["joint_beats_sequence"] == (
        f"needs the row neid+{SEQUENCE}, a variant to ask for"
    )
    assert "of the memory at 4K" in lacking["no_extra_memory"]


def test_a_claim_that_needs_better_pictures_fails_with_worse_ones(done):
    scores = [s for s in done[1] if s.metric == "psnr"]
    better = [s for s in scores if s.label != "neid"]
    best = max(s.value for s in better)
    ours = next(s for s in scores if s.label == "neid")
    for value, expected in ((best + 1, True), (best - 99, False)):
        holds, evidence = neid_report.joint_beats_sequence(
            [*better, type(ours)(**{**vars(ours), "value": value})]
        )
        assert holds is expected and f"{value:.2f} dB" in evidence


def test_unevenness_is_the_spread_of_the_brightness_error():
    target = torch.rand(1, 3, 16, 16) / 2
    assert neid_report._unevenness(target + 0.2, target).item() == pytest.approx(0, abs=1e-6)
    left = torch.zeros(1, 1, 16, 16)
    left[..., :8] = 0.4
    halves = torch.tensor([0.4] * 32 + [0.0] * 32).std().item()
    assert neid_report._unevenness(target + left, target).item() == pytest.approx(halves)
    assert neid_report._gradient_error(target + 0.2, target).item() == pytest.approx(0, abs=1e-6)


# Copies on disk ----------------------------------------------------------------------------------


def test_lol_and_fivek_layouts_run_end_to_end(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    lol(tmp_path / "LOL", train=4, test=2)
    for part, count in (("train", 4), ("test", 2)):
        for i in range(count):
            save(tmp_path / f"FiveK/{part}/input/{i}.png", picture(i, (30, 20)) // 4)
            save(tmp_path / f"FiveK/{part}/expertC/{i}.png", picture(i, (30, 20)))
    for dataset in ("lol", "mit-adobe-fivek"):
        settings = settings_of(
            dataset=dataset, data=str(tmp_path), models=["neid"], val_count=1, size=8
        )
        scores = recipe.reproduce(settings, "cpu")
        assert {s.n for s in select(scores, metric="psnr")} == {2}
        assert recipe.context(settings).papers_own is False
        (one,) = paired_report.examples(recipe, settings, recipe.rows(settings), 1)
        assert one.outputs["neid"].shape == one.target.shape


def test_only_the_published_run_on_lol_can_reproduce(recipe):
    assert recipe.context(recipe.settings("paper")).papers_own
    assert not recipe.context(recipe.settings("reference")).papers_own
    assert not recipe.context(recipe.settings("quick")).papers_own


def test_an_absent_copy_is_named_with_where_to_get_it(recipe):
    settings = settings_of(dataset="lol", data="/nowhere")
    with pytest.raises(FileNotFoundError, match=r"lol: .*get it from"):
        recipe.reproduce(settings, "cpu")
