"""The report of paper 5: findings, figures, audit, cost, measured claims."""

from dataclasses import replace

import pytest
import torch
from dataset_trees import noise_image, save
from made import a_score

from llie_core.files import is_locked
from llie_core.papers import judging
from llie_core.papers.images import examples
from llie_core.papers.neid import report
from llie_core.papers.neid.study import SEQUENCE, UNET
from llie_core.reporting.claims import load_claims
from llie_core.reporting.scores import select


def test_findings_answer_the_question_and_name_what_is_absent(study, done):
    table = report.findings(study, done[1])
    pixels, branch, fusing, loss, classical, apart = (row[1] for row in table.rows)
    assert loss == "NEID, our loss: not evaluated (setting rows)."
    psnr = {s.label: s.value for s in select(done[1], metric="psnr")}
    assert pixels == (
        "NEID needs 0.25 of the multiply-adds of the U-net at full size; "
        f"{psnr['neid']:.2f} dB against {psnr[f'neid+{UNET}']:.2f} dB of U-net at full size."
    )
    assert branch == "Without fusing NEID, LE + DR: not evaluated (setting rows)."
    assert fusing == "NEID, LE + DR: not evaluated (setting rows)."
    assert classical.endswith(f"{psnr['gamma']:.2f} dB of gamma 1/2.2, the best of 1.")
    assert "]: NEID over U-net at full size " in apart and "unpaired" not in apart
    assert "builtin-photos (test split); profile smoke" in table.note


def test_findings_stand_without_the_papers_row_and_without_methods(study, done):
    others = [s for s in done[1] if s.label not in ("neid", "gamma")]
    answers = [row[1] for row in report.findings(study, others).rows]
    assert answers[0] == (
        "NEID needs 0.25 of the multiply-adds of the U-net at full size; "
        "NEID: not evaluated (setting rows)."
    )
    assert answers[2] == "NEID: not evaluated (setting rows)."
    assert answers[4] == "none was evaluated (setting baselines)."


def test_the_detail_branch_is_what_le_and_dr_differ_in(study):
    """Not LE against the whole of NEID, which fuses as well."""
    psnr = {"neid": 17.4, "neid+LE": 16.9, "neid+LE + DR": 17.5}
    scores = [a_score(label=x, value=v) for x, v in psnr.items()]
    _, branch, fusing, *_ = (row[1] for row in report.findings(study, scores).rows)
    assert branch == "Without fusing 17.50 dB against 16.90 dB of NEID, LE alone."
    assert fusing == "17.40 dB against 17.50 dB of NEID, LE + DR."


def test_figures_show_what_is_sent_and_the_details(study):
    (one,) = examples(study, study.first_seed(), 1)
    sent, ours, detail, truth = report.teaser(one, study.main_row())
    assert (sent.label, ours.label) == ("(b) low light, half the size", "(a) NEID")
    assert sent.image.shape == (3, 12, 12) and ours.image.shape == (3, 24, 24)
    assert detail.image.shape == truth.image.shape == (3, 6, 6)
    assert report.unpaired_lines(study) == {}


def test_fig_1_is_of_the_row_that_was_trained(study, open_tiny):
    """Its input is shown halved where the network reads it so."""
    sent = {f"neid+{UNET}": "(b) low light", "neid+LE": "(b) low light, half the size"}
    for label, title in sent.items():
        chosen = open_tiny(rows=[label])
        row = chosen.main_row()
        (one,) = examples(chosen, [row], 1)
        labels = [panel.label for panel in report.teaser(one, row)]
        assert labels[:2] == [title, f"(a) {row.shown}"] and row.label == label
    with pytest.raises(ValueError, match=r"Fig\. 1 needs the row neid \(setting rows\)"):
        report.teaser(one, study.main_row())


def test_details_are_of_experts_photographs_where_they_are_at_hand(study, open_tiny, tmp_path):
    labels = ["gamma 1/2.2", "NEID", "U-net at full size", "ground truth"]
    lines, title = report.detail_lines(study, 2)
    assert [[panel.label for panel in line] for line in lines] == [labels] * 2
    assert title.endswith(
        "builtin-photos, which stand in for MIT-Adobe FiveK "
        "(no folder given (DATA, or setting evaluation.sets))"
    )
    for side in ("input", "expertC"):  # larger than Fig. 9's images are made
        save(tmp_path / "FiveK" / "test" / side / "1.png", noise_image(3, (1600, 40)))
    with_fivek = open_tiny(data=str(tmp_path))
    lines, title = report.detail_lines(with_fivek, 2)
    assert title.endswith("images of mit-adobe-fivek, ground truth of expert C")
    assert [panel.label for panel in lines[0]] == labels
    assert with_fivek.detail_set[0].data[0]["image"].shape == (3, 38, 1536)


def test_both_losses_stand_side_by_side(study, open_tiny):
    both = open_tiny(rows=["neid", "neid+ours"])
    both.train(quiet=True, device="cpu")
    scores = both.evaluate(test_sets=[both.main_set], device="cpu")
    table = report.loss_table(both, scores)
    printed, ours = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert [printed[key] for key in ("row", "δ", "hue", "λ₁", "λ₂")] == [
        "NEID", "0.1", "printed", "0.1", "0.1",
    ]  # fmt: skip
    assert [ours[key] for key in ("row", "δ", "hue", "λ₁", "λ₂")] == [
        "NEID, our loss", "1", "circular", "10", "0.01",
    ]  # fmt: skip
    psnr = {s.label: s.value for s in select(scores, metric="psnr")}
    assert (printed["PSNR, dB"], ours["PSNR, dB"]) == (
        f"{psnr['neid']:.2f}", f"{psnr['neid+ours']:.2f}",
    )  # fmt: skip
    # The enlargement knows nothing of either training.
    assert printed["bicubic, dB"] == ours["bicubic, dB"] and float(ours["bicubic, dB"]) > 20
    question, answer = report.findings(both, scores).rows[3]
    assert question.startswith("What does the printed loss") and "NEID, our loss" in answer


def test_reds_are_kept_where_the_hue_stays_within_30_degrees():
    target = torch.full((1, 3, 1, 4), 0.1)
    target[0, 0, 0, :3] = 0.9  # three reds and a grey
    output = target.clone()
    assert report.reds_kept(output, target) == 1
    output[0, 1, 0, 0] = 0.6  # orange: a hue of 37.5°
    output[0, 2, 0, 1] = 0.3  # towards violet: −15°
    assert report.reds_kept(output, target).item() == pytest.approx(2 / 3)
    assert report.reds_kept(output, torch.full_like(target, 0.5)).isnan()


def test_the_size_of_a_row_is_that_at_use(done):
    (size,) = select(done[1], label="neid", metric="parameters")
    assert size.value == 8_076_396  # without the DR decoder


def test_audit_holds_the_parameters_and_the_work():
    table = report.audit()
    cells = {row[0]: dict(zip(table.header[1:], row[1:], strict=True)) for row in table.rows}
    assert list(cells) == ["U-net architecture", "LE", "LE + DR", "LE + DR + FF"]
    *_, here, _, work = table.rows[-1]
    assert (cells["LE + DR + FF"]["parameters in training"], here, work) == (
        "11,127,704", "8,076,396", "3.091",
    )  # fmt: skip
    assert cells["U-net architecture"]["input"] == "256×256"
    assert table.rows[1][4] == table.rows[2][4]  # what does not fuse is dropped whole


def test_cost_is_a_quarter_of_the_u_nets(open_tiny):
    table = report.cost_against_unet(open_tiny(evaluation={"cost_size": [64, 96]}))
    assert [row[0] for row in table.rows] == ["96×64"] * 3 + ["3840×2160"] * 3
    unet, _, ours = (dict(zip(table.header, row, strict=True)) for row in table.rows[3:])
    assert unet["GMAC"].endswith("(1.00)") and ours["GMAC"].endswith("(0.26)")
    assert ours["peak memory, MiB"].endswith("(0.27)")
    assert ours["latency, ms"] == "not run (set time_4k)"
    assert float(table.rows[2][5].split()[0]) > 0


def test_costs_are_counted_at_every_size_and_timed_where_asked():
    models = {"wide": torch.nn.Conv2d(3, 4, 1), "thin": torch.nn.Conv2d(3, 1, 1)}
    found = report.costs(models, ((8, 8), (16, 16)), "cpu", timed=((8, 8),))
    assert [(c.title, c.size, c.macs) for c in found] == [
        ("wide", (8, 8), 12 * 64), ("thin", (8, 8), 3 * 64),
        ("wide", (16, 16), 12 * 256), ("thin", (16, 16), 3 * 256),
    ]  # fmt: skip
    assert [c.milliseconds is None for c in found] == [False, False, True, True]
    assert found[1].milliseconds > 0 and found[1].parameters == 4
    assert found[1].memory == 4 * (4 + 3 * 64 + 64)


def test_costs_are_timed_one_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    seen = []

    def timed(networks, size, device, **how):
        seen.append(is_locked(tmp_path / ".timing.lock"))
        return latencies(networks, size, device, **how)

    latencies = report.latencies
    monkeypatch.setattr(report, "latencies", timed)
    report.costs({"thin": torch.nn.Conv2d(3, 1, 1)}, ((8, 8), (16, 16)), "cpu", timed=((8, 8),))
    assert seen == [True] and not is_locked(tmp_path / ".timing.lock")


def test_ratios_are_to_the_network_named_at_the_same_size():
    cost = report.NetworkCost
    found = [
        cost("full", (4, 6), 2_000_000, 8_000_000_000, 2**22, 10.0),
        cost("half", (4, 6), 3_000_000, 2_000_000_000, 2**20, 4.0),
        cost("full", (8, 6), 2_000_000, 16_000_000_000, 2**23, None),
    ]
    table = report.cost_table(found, "full", "not run (why)", "cpu")
    assert table.rows == [
        ["6×4", "full", "2.00 (1.00)", "8.0 (1.00)", "4 (1.00)", "10 (1.00)"],
        ["6×4", "half", "3.00 (1.50)", "2.0 (0.25)", "1 (0.25)", "4 (0.40)"],
        ["6×8", "full", "2.00 (1.00)", "16.0 (1.00)", "8 (1.00)", "not run (why)"],
    ]
    assert all(len(row) == len(table.header) for row in table.rows)


# Claims ----------------------------------------------------------------------------------------


def test_every_claim_gets_a_verdict(study, done):
    measured = report.measurements(study, done[1])
    assert set(measured) == {c.check["name"] for c in load_claims("neid") if c.kind == "measured"}
    assert all(holds is not None for holds, _ in measured.values()), measured
    verdicts = {v.claim.id: v.verdict for v in judging.verdicts(study, done[1], measured)}
    assert all(verdicts.values())
    assert not any(v.startswith(("reproduced", "not reproduced")) for v in verdicts.values())
    assert verdicts["5.05"].startswith("holds on builtin-photos")
    assert verdicts["5.15"] == "contradicted by the paper's own table"


def test_claims_say_which_row_they_need(study, open_tiny, done):
    alone = open_tiny(rows=["neid"])
    measured = report.measurements(alone, [s for s in done[1] if "+" not in s.label])
    why = {name: words for name, (holds, words) in measured.items() if holds is None}
    assert set(why) == set(measured) - {"detail_branch_free"}
    assert why["joint_beats_sequence"] == f"needs the row neid+{SEQUENCE} (setting rows)"
    assert "of the memory at 4K" in why["no_extra_memory"]


def test_claims_say_that_the_papers_row_is_needed(open_tiny, done):
    without = open_tiny(rows=["neid+LE", f"neid+{UNET}"])
    scores = [s for s in done[1] if s.label != "neid"]
    measured = report.measurements(without, scores)
    needed = "needs the row neid (setting rows)"
    assert measured["joint_beats_sequence"] == measured["detail_branch_free"] == (None, needed)
    assert measured["brightness_even"] == (None, needed)
    for name in ("half_size_cheaper", "no_extra_memory", "details_at_little_cost"):
        holds, why = measured[name]
        assert holds is None and why.startswith(f"{needed}; ")


def test_equal_psnr_is_as_good_and_not_better(done):
    """Claim 5.07 asks for "as good or better", 5.09 and 5.10 for better."""
    (neid,) = select(done[1], metric="psnr", label="neid")
    tie = [neid, replace(neid, label=f"neid+{UNET}")]
    assert report.with_psnr(tie, UNET, as_good=True)[0] is True
    assert report.with_psnr(tie, UNET)[0] is False
    assert report.with_psnr(tie, UNET, holds=False, as_good=True)[0] is False


@pytest.mark.parametrize("better", [True, False])
def test_a_claim_that_needs_better_images_fails_with_worse_ones(study, done, better):
    scores = select(done[1], metric="psnr")
    best = max(s.value for s in scores if s.label != "neid")
    value = best + 1 if better else best - 9
    scores = [replace(s, value=value) if s.label == "neid" else s for s in scores]
    holds, evidence = report.measurements(study, scores)["joint_beats_sequence"]
    assert holds is better and f"{value:.2f} dB" in evidence


def test_unevenness_is_the_spread_of_the_brightness_error():
    target = torch.rand(1, 3, 16, 16) / 2
    assert report.unevenness(target + 0.2, target).item() == pytest.approx(0, abs=1e-6)
    left = torch.zeros(1, 1, 16, 16)
    left[..., :8] = 0.4
    halves = torch.tensor([0.4] * 32 + [0.0] * 32).std().item()
    assert report.unevenness(target + left, target).item() == pytest.approx(halves)
    assert report.gradient_error(target + 0.2, target).item() == pytest.approx(0, abs=1e-6)
