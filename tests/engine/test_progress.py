"""How far a training is: by its records, at every moment of its life."""

import os

import pytest

from llie_core.engine import progress
from llie_core.engine.progress import Progress, clock, logged_steps, progress_of
from llie_core.engine.records import write_progress
from llie_core.engine.runs import Run
from llie_core.files import locked


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    return Run("paper", "toy", "smoke", "tiny", "0123abcd", 0)


def begun(run, steps=40, rows=10, saved=0):
    """The records of a training with `rows` steps done, `saved` of them at the checkpoint."""
    run.write_json("settings.json", {"experiment": {"E": {"settings": {"S": {"steps": steps}}}}})
    run.log_path.write_text("step,lr,total\n" + "".join(f"{i},1,2\n" for i in range(rows)))
    write_progress(run.progress_path, saved, 2.0 * saved)
    now = run.progress_path.stat().st_mtime
    os.utime(run.log_path, (now, now + 2.0 * (rows - saved)))  # two seconds a step


def test_a_training_that_was_not_begun_waits(run):
    assert progress_of(run) == Progress("waiting")


@pytest.mark.parametrize("saved", [0, 6])
def test_the_time_left_follows_from_the_speed_so_far(run, saved):
    begun(run, saved=saved)
    with locked(run.lock_path, "the run"):
        found = progress_of(run)
    assert (found.state, found.steps, found.planned) == ("running", 10, 40)
    assert found.seconds == pytest.approx(20, abs=0.1) and found.left == pytest.approx(60, abs=0.3)
    assert str(found) == "10 of 40 steps in 0:20, 1:00 left"


def test_an_unlocked_training_is_interrupted_or_failed(run):
    begun(run, saved=10)
    assert progress_of(run) == Progress("interrupted", 10, 40, 20.0)
    write_progress(run.progress_path, 10, 20.0, "exposure is nan at step 10")
    assert progress_of(run).state == "failed"
    assert str(progress_of(run)) == "10 of 40 steps in 0:20, exposure is nan at step 10"


def test_a_damaged_record_of_progress_stops_nothing(run):
    begun(run)
    run.progress_path.write_text("{")
    assert progress_of(run).state == "interrupted"


@pytest.mark.parametrize("name", ["stamp.json", "settings.json"])
def test_a_damaged_record_is_a_state_that_names_the_file(run, name):
    begun(run)
    (run.directory / name).write_text("{")
    found = progress_of(run)
    assert found.state == "damaged"
    assert name in str(found) and "delete it and run again" in str(found)


def test_a_finished_training_of_earlier_code_is_outdated(run, monkeypatch):
    begun(run)
    run.write_json("stamp.json", {"code": {}, "steps_done": 40, "seconds": 80.0})
    assert progress_of(run) == Progress("finished", 40, 40, 80.0)
    monkeypatch.setattr(progress, "changed_since", lambda code: ["llie_core.losses.reconstruction"])
    assert progress_of(run).state == "outdated"


@pytest.mark.parametrize(
    ("text", "steps"),
    [("", 0), ("step,lr\n", 0), ("step,lr\n0,1\n", 1), ("step,lr\n0,1\n1,2\n2,", 2)],
)
def test_a_step_counts_once_its_line_is_whole(run, text, steps):
    run.directory.mkdir(parents=True)
    run.log_path.write_text(text)
    assert logged_steps(run) == steps


@pytest.mark.parametrize("cut", ["2,", "2,1", "2,1,0.", "2,1,0.5"])
def test_a_line_of_the_log_is_read_once_it_is_whole(run, cut):
    run.directory.mkdir(parents=True)
    run.log_path.write_text("step,lr,total\n0,1,2\n1,1,0.7\n" + cut)
    assert [row["total"] for row in run.read_log()] == [2.0, 0.7]


def test_seconds_are_read_as_a_clock():
    assert [clock(s) for s in (0, 42.4, 307, 7507)] == ["0:00", "0:42", "5:07", "2:05:07"]
