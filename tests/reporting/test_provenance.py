"""Where numbers come from: a line a training, its curve, settings and command."""

from llie_core.reporting.provenance import Provenance, Training

STAMP = {
    "run": {"label": "neid+LE", "seed": 2, "dataset": "lol"}, "steps_done": 5, "steps_planned": 9,
    "seconds": 3.4, "device": "CPU", "torch": "2.14", "commit": "abc", "train_hash": "0f",
}  # fmt: skip


def training(stamp=STAMP, losses=(2.0, 1.0), title="NEID, LE alone", command="llie fit neid"):
    return Training(title, stamp, {"lr": "<b>"}, losses, command)


def test_a_line_a_training():
    (row,) = Provenance([training()]).table().rows
    assert row == [
        "NEID, LE alone, seed 2", "lol", "5 of 9", "–", "–", "3 s", "CPU", "torch 2.14, abc", "0f",
    ]  # fmt: skip


def test_pixels_are_counted_and_the_selected_step_is_named():
    """1,600 steps of 4 crops of 64² against 35,000 of 10 of 256²: 4.57 % of the steps."""
    counted = {"pixels_done": 1600 * 4 * 64**2, "pixels_planned": 35_000 * 10 * 256**2}
    table = Provenance([training(STAMP | counted | {"selected_step": 800})]).table()
    cells = dict(zip(table.header, table.rows[0], strict=True))
    assert (cells["pixels of planned"], cells["weights of step"]) == ("0.114 %", "800")


def test_a_training_shows_curve_settings_and_command_escaped():
    page = Provenance([training(command="llie fit neid --set 'a<b'")])._repr_html_()
    assert "loss 2 at the first step, 1 at the last" in page and page.count("<polyline") == 1
    assert "&quot;lr&quot;: &quot;&lt;b&gt;&quot;" in page and "--set &#x27;a&lt;b&#x27;" in page
    assert "<svg" not in Provenance([training(losses=())])._repr_html_()


def test_tables_link_to_one_training_of_a_row():
    other = STAMP | {"run": {**STAMP["run"], "seed": 3}}
    page = Provenance([training(), training(other)])._repr_html_()
    assert page.count('id="run-NEID, LE alone"') == 1
