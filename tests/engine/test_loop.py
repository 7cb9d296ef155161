"""The training loop on a tiny regression: resume, reuse, guards, hashes, processes."""

import dataclasses
import json
import os
import random
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from llie_core.devices import precision_on
from llie_core.engine import fit as fitting
from llie_core.engine import loop
from llie_core.engine.distributed import launch
from llie_core.engine.fit import fit, train_hash
from llie_core.engine.loop import Experiment, TrainSettings
from llie_core.engine.records import TrainingLog, TrainingStopped, read_checkpoint, write_checkpoint
from llie_core.engine.runs import Run
from llie_core.engine.sampling import BatchDraws, seed_everything
from llie_core.files import locked
from llie_core.tensors import load_weights

EVERY_STEP = 0.0  # seconds between two checkpoints


class Images(Dataset):
    """Eight small images whose target is 0.9 minus the image."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(index))
        return {"image": image, "target": 0.9 - image}


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def training_outputs(self, x):
        # Noise that depends on the step's random numbers, so that resuming has to restore them.
        return {"image": self.conv(x) + 0.01 * torch.randn(3, 1, 1)}


class Killed(RuntimeError):
    pass


class SquaredError:
    """The objective; it dies after some calls, without being another objective for that."""

    def __init__(self, calls=10**9):
        self._left = calls

    def __call__(self, outputs, batch):
        self._left -= 1
        if self._left < 0:
            raise Killed
        error = (outputs["image"] - batch["target"]).square().mean()
        return {"total": error, "mse": error}


squared_error = SquaredError()


def stack(items):
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def experiment(steps=8, seed=0, objective=None, model=None, workers=0, **settings):
    given = {"steps": steps, "batch_size": 4, "lr": 0.05, "checkpoint_seconds": EVERY_STEP}
    settings = TrainSettings(**given | settings)
    objective = objective or SquaredError()
    return Experiment(model or Tiny(), objective, Images(), stack, settings, seed, workers=workers)


def run_of(label="tiny", seed=0):
    return Run("paper", "toy", "smoke", label, "hash", seed)


def trained(made=None, device="cpu", seed=0):
    """The finished run of an experiment."""
    run = run_of(seed=seed)
    fit(made or experiment(seed=seed), run, device)
    return run


def weights_of(run):
    model = Tiny()
    load_weights(model, run.weights_path)
    return model.state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_loss_falls_and_every_term_is_logged():
    run = trained(experiment(steps=60))
    log = run.read_log()
    assert [row["step"] for row in log] == list(range(60))
    assert set(log[0]) == {"step", "lr", "total", "mse"}
    clipped = trained(experiment(steps=60, grad_clip=0.01))
    assert set(clipped.read_log()[0]) == {"step", "lr", "total", "mse", "grad_norm"}
    assert log[-1]["total"] < 0.2 * log[0]["total"]


def test_finished_run_is_reused_and_another_hash_retrains():
    stamp = trained().directory / "stamp.json"
    written = stamp.stat().st_mtime_ns
    trained()
    assert stamp.stat().st_mtime_ns == written
    trained(experiment(lr=0.04))
    assert stamp.stat().st_mtime_ns > written


@pytest.mark.parametrize(
    ("step", "settings", "objective"),
    [
        *((step, {}, SquaredError) for step in (1, 3, 5, 7)),
        *((2, {"ema": 0.9, "steps": steps}, SquaredError) for steps in (3, 8)),
        (2, {"precision": "mixed"}, SquaredError), (2, {"accumulate": 2}, SquaredError),
        (5, {}, lambda calls=1000: Duel(calls)),
    ],
)  # fmt: skip
def test_killed_run_resumes_to_the_same_weights_bit_for_bit(
    step, settings, objective, tmp_path, monkeypatch
):
    whole = weights_of(trained(experiment(objective=objective(), **settings)))
    log = run_of().log_path.read_bytes()
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "again"))
    calls = step * settings.get("accumulate", 1)
    with pytest.raises(Killed):
        trained(experiment(objective=objective(calls), **settings))
    run = trained(experiment(objective=objective(), **settings))
    assert run.read_stamp()["resumed_at"] == step
    assert same(whole, weights_of(run))
    assert run.log_path.read_bytes() == log and b"\r" not in log


@pytest.mark.parametrize("writes", [True, False])
def test_the_first_process_alone_cuts_the_log_on_resume(writes):
    path = run_of().log_path
    path.parent.mkdir(parents=True)
    path.write_text("step,lr,total\n0,1,2\n1,1,2\n")
    TrainingLog(run_of(), torch.device("cpu"), writes).restart(1)
    assert path.read_text() == "step,lr,total\n0,1,2\n" + "1,1,2\n" * (not writes)


def test_a_half_written_log_row_is_dropped_on_resume():
    with pytest.raises(Killed):
        trained(experiment(objective=SquaredError(5)))
    log = run_of().log_path
    log.write_text(log.read_text() + "5,0.05,0.1")
    run = trained()
    assert [row["step"] for row in run.read_log()] == list(range(8))


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_is_not_finite_stops_with_step_and_term_and_keeps_the_checkpoint(value):
    def spoiled(outputs, batch):
        terms = squared_error(outputs, batch)
        spoiled.calls += 1
        if spoiled.calls == 6:
            terms["mse"] = terms["mse"] * float(value)
            terms["total"] = terms["total"] + terms["mse"]  # which is not named
        return terms

    spoiled.calls = 0
    reason = rf": mse is {value} at step 5.*after 5 steps is kept"
    with pytest.raises(TrainingStopped, match=reason):
        trained(experiment(objective=spoiled))
    run = run_of()
    assert read_checkpoint(run.checkpoint_path, torch.device("cpu"))["step"] == 5
    assert not run.weights_path.exists()


class Exploding(SquaredError):
    """A finite loss whose gradient is infinite from some call on."""

    def __call__(self, outputs, batch):
        terms = squared_error(outputs, batch)
        self._left -= 1
        if self._left < 0:
            image = outputs["image"]
            terms["total"] = terms["total"] + (image - image.detach()).sum() * 1e38 * 1e3
        return terms


def test_an_infinite_gradient_leaves_the_checkpoint_before_it():
    reason = r"a weight is not finite at step 2; .* after 2 steps is kept"
    with pytest.raises(TrainingStopped, match=reason):
        trained(experiment(objective=Exploding(2)))
    assert read_checkpoint(run_of().checkpoint_path, torch.device("cpu"))["step"] == 2
    with pytest.raises(TrainingStopped, match=r"grad_norm is \w+ at step 2"):
        trained(experiment(objective=Exploding(2), grad_clip=1.0))


def test_the_hash_covers_what_decides_the_weights_and_nothing_else():
    base = train_hash(experiment())
    assert base == train_hash(experiment(workers=1, checkpoint_seconds=5.0, planned_steps=100))
    assert base == train_hash(experiment(precision="auto"), precision="float32")
    changed = [experiment(steps=9), experiment(seed=1), experiment(lr=0.04), experiment(ema=0.9),
               experiment(precision="mixed"), experiment(accumulate=2), experiment(max_minutes=1.0),
               experiment(objective=quiet_squared_error), experiment(model=Quiet())]  # fmt: skip
    hashes = [train_hash(one) for one in changed]
    assert len({base, *hashes}) == 1 + len(hashes)


def test_worker_processes_give_the_same_weights(tmp_path, monkeypatch):
    alone = weights_of(trained())
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "workers"))
    assert same(alone, weights_of(trained(experiment(workers=1))))


def test_cosine_schedule_ends_at_its_final_rate():
    settings = TrainSettings(steps=11, batch_size=1, lr=1.0, lr_final=0.2, schedule="cosine")
    assert settings.lr_at(0) == 1.0
    assert settings.lr_at(5) == pytest.approx(0.6)
    assert settings.lr_at(10) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "bad",
    [
        {"schedule": "linear"},
        {"precision": "float64"},
        {"steps": 0},
        {"batch_size": 0},
        {"accumulate": 0},
        {"ema": 1.0},
        {"max_minutes": -1.0},
    ],
)
def test_bad_settings_raise(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        TrainSettings(**{"steps": 1, "batch_size": 1, **bad})


def draws(length=8, steps=6, seed=0, **options):
    return list(BatchDraws(length, 4, steps, seed, **options))


def test_draws_cover_each_epoch_once_and_split_over_processes():
    everything = draws()
    for epoch in range(3):
        indices = [draw for batch in everything[2 * epoch : 2 * epoch + 2] for draw in batch]
        assert sorted(draw % 8 for draw in indices) == list(range(8))
        assert all(draw // 8 == epoch for draw in indices)
    assert draws(start=4) == everything[4:]
    halves = [draws(rank=r, world_size=2) for r in range(2)]
    assert [sorted(a + b) for a, b in zip(*halves, strict=True)] == [sorted(x) for x in everything]
    with pytest.raises(ValueError, match="empty"):
        draws(length=0)


def test_the_seed_decides_the_order_of_the_data():
    assert draws(seed=0) == draws(seed=0) != draws(seed=1)
    orders = [[draw % 8 for batch in draws()[2 * e : 2 * e + 2] for draw in batch] for e in (0, 1)]
    assert orders[0] != orders[1]  # shuffled anew every epoch


def test_each_step_has_random_numbers_of_its_own_by_seed():
    def numbers(*place):
        seed_everything(*place)
        return (torch.rand(()).item(), float(np.random.rand()), random.random())

    places = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 0, 1)]
    for kind in zip(*(numbers(*place) for place in places), strict=True):
        assert len(set(kind)) == len(places)
    assert numbers(0, 1) == numbers(0, 1)


def test_a_training_of_another_seed_ends_elsewhere_though_it_starts_alike():
    assert not same(weights_of(trained()), weights_of(trained(seed=1)))


def test_objective_is_prepared_once_with_the_untrained_model():
    class Prepared:
        calls = 0

        def prepare(self, model, batches):
            Prepared.calls += 1
            self.scale = squared_error(model.training_outputs(batches[0]["image"]), batches[0])

        def __call__(self, outputs, batch):
            return squared_error(outputs, batch)

    trained(experiment(objective=Prepared()))
    assert Prepared.calls == 1


def test_stamp_tells_what_ran():
    planned = experiment(planned_steps=100)
    run = trained(planned)
    stamp = run.read_stamp()
    assert (stamp["steps_done"], stamp["steps_planned"]) == (8, 100)
    assert stamp["train_hash"] == train_hash(planned, settings_hash=run.settings_hash)
    assert stamp["torch"] == torch.__version__
    settings = json.loads((run.directory / "settings.json").read_text())
    assert "0.05" in json.dumps(settings["experiment"])
    assert not run.checkpoint_path.exists()


def quiet_squared_error(outputs, batch):
    return squared_error({"image": outputs["image"]}, batch)


class Quiet(Tiny):
    """Without noise: two processes draw different noise than one."""

    def training_outputs(self, x):
        return {"image": self.conv(x)}


def ddp_job():
    """Module level, so that spawned processes find it."""
    fit(experiment(objective=quiet_squared_error, model=Quiet()), run_of(), "cpu")
    return run_of().read_stamp()["world_size"]


def test_two_processes_follow_the_loss_curve_of_one():
    assert launch(ddp_job, processes=2) == 2
    curve = [row["total"] for row in run_of().read_log()]
    assert ddp_job() == 2  # a finished run counts, however many processes trained it
    (run_of().directory / "stamp.json").unlink()
    assert ddp_job() == 1
    assert curve == pytest.approx([row["total"] for row in run_of().read_log()], rel=1e-5)


def test_processes_that_find_another_training_of_the_run_wait_together(capfd, tmp_path):
    launch(ddp_job, processes=2)
    run, finished = run_of(), tmp_path / "finished"
    log = run.log_path.read_bytes()
    run.directory.rename(finished)
    said = []

    def first():
        """Holds the run until the other says that it waits, then leaves what was trained."""
        with locked(run.lock_path, "the first"):
            holds.set()
            until = time.monotonic() + 300
            while "waiting" not in "".join(said) and time.monotonic() < until:
                said.append(capfd.readouterr().err)
                time.sleep(0.05)
            for path in finished.glob("[!.]*"):
                path.replace(run.directory / path.name)

    holds, thread = threading.Event(), threading.Thread(target=first)
    thread.start()
    holds.wait(10)
    assert launch(ddp_job, processes=2) == 2
    thread.join()
    assert "".join(said).count("another process is at work on it") == 1
    assert run.log_path.read_bytes() == log and not run.checkpoint_path.exists()


def test_batch_must_divide_over_processes(monkeypatch):
    monkeypatch.setattr(fitting, "join_process_group", lambda: (0, 3))
    with pytest.raises(ValueError, match="does not divide over 3 processes"):
        trained()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="does not divide over 1 processes, accumulate 3"):
        trained(experiment(accumulate=3))


# Precision, averages, parts, time --------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_mixed_precision_trains_close_to_float32(device):
    def log(precision):
        made = experiment(20, objective=quiet_squared_error, model=Quiet(), precision=precision)
        run = trained(made, device)
        assert run.read_stamp()["precision"] == precision
        return [row["total"] for row in run.read_log()]

    mixed, full = log("mixed"), log("float32")
    assert mixed != full and mixed == pytest.approx(full, rel=0.05)


def test_the_network_runs_in_bfloat16_and_the_loss_in_float32():
    class Watched(Quiet):
        def training_outputs(self, x):
            image = self.conv(x)
            self.types = {image.dtype, self.conv.weight.dtype}
            return {"image": image}

    def objective(outputs, batch):
        terms = squared_error(outputs, batch)
        assert terms["total"].dtype == outputs["image"].dtype == torch.float32
        return terms

    model = Watched()
    trained(experiment(model=model, objective=objective, precision="mixed"))
    assert model.types == {torch.bfloat16, torch.float32}


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_mixed_where_the_processor_multiplies_bfloat16(native, monkeypatch):
    abilities = {"avx512_bf16": native, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert precision_on("cpu") == ("mixed" if native else "float32")
    assert trained(experiment(precision="auto")).read_stamp()["precision"] == precision_on("cpu")


def test_auto_does_not_train_anew_what_another_machine_finished(monkeypatch):
    written = {}
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda n=native: {"avx512_bf16": n})
        stamp = trained(experiment(precision="auto")).directory / "stamp.json"
        written[stamp.stat().st_mtime_ns] = json.loads(stamp.read_text())["precision"]
    assert list(written.values()) == ["mixed"]
    assert trained(experiment(precision="float32")).read_stamp()["precision"] == "float32"


def test_the_average_of_the_weights_is_kept_and_validated():
    plain = []

    class Seen(SquaredError):
        def __call__(self, outputs, batch):
            plain.append(model.conv.weight.detach().clone())
            return super().__call__(outputs, batch)

    model = Tiny()
    kept = weights_of(trained(experiment(objective=Seen(), model=model, ema=0.7)))["conv.weight"]
    last = weights_of(trained(experiment()))["conv.weight"]
    average = plain[0]
    for step, weight in enumerate([*plain[1:], last]):
        decay = min(0.7, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert torch.allclose(kept, average, atol=1e-6) and not torch.allclose(kept, last, atol=1e-4)

    validate = Validation(1.0, 2.0, 3.0, 4.0)
    made = validating(validate)
    made = dataclasses.replace(made, settings=dataclasses.replace(made.settings, ema=0.7))
    assert same(weights_of(trained(made)), validate._states[-1])
    assert torch.equal(validate._states[-1]["conv.weight"], kept)


def test_parts_of_a_batch_add_up_to_its_gradient():
    def log(parts):
        made = experiment(objective=quiet_squared_error, model=Quiet(), accumulate=parts)
        return [row["total"] for row in trained(made).read_log()]

    assert log(2) == pytest.approx(log(1), rel=1e-5)
    assert log(4) == pytest.approx(log(1), rel=1e-5)
    with pytest.raises(ValueError, match="accumulate: an adversary moves once for a whole batch"):
        trained(experiment(objective=Duel(), accumulate=2))


def test_a_time_limit_ends_a_training_with_its_schedule(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(clock)))
    made = experiment(1000, lr_final=0.0, schedule="cosine", max_minutes=1.0)
    run = trained(made)
    stamp, log = run.read_stamp(), run.read_log()
    assert (stamp["steps_done"], stamp["steps_planned"]) == (len(log), 1000)
    assert 10 < len(log) < 60  # of 60 seconds, several a step
    assert log[0]["lr"] == pytest.approx(0.05, rel=0.01) and log[-1]["lr"] < 0.002
    assert trained(made).read_stamp() == stamp


def test_a_training_resumed_past_its_time_limit_steps_at_the_final_rate():
    options = {"lr_final": 0.001, "schedule": "cosine", "max_minutes": 1.0}
    with pytest.raises(Killed):
        trained(experiment(100, objective=SquaredError(3), **options))
    path = run_of().checkpoint_path
    write_checkpoint(path, read_checkpoint(path, "cpu") | {"seconds": 90.0})
    run = trained(experiment(100, **options))
    assert [row["lr"] for row in run.read_log()[3:]] == [pytest.approx(0.001)]


# Steps of the learning rate, validation, adversaries -------------------------------------------


def test_learning_rate_falls_at_each_milestone():
    settings = TrainSettings(
        steps=9, batch_size=1, lr=1.0, schedule="step", milestones=(3, 6), decay=0.1
    )
    rates = [settings.lr_at(step) for step in range(9)]
    assert rates == pytest.approx([1] * 3 + [0.1] * 3 + [0.01] * 3)
    with pytest.raises(ValueError, match="schedule: choose one of constant, cosine, step"):
        TrainSettings(steps=1, batch_size=1, schedule="linear")


class Validation:
    """validate(model): the next of `values`; keeps the weights that it was shown."""

    def __init__(self, *values):
        self._values, self._states = iter(values), []

    def __call__(self, model):
        assert not model.training
        self._states.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(self._values)


def validating(validate, objective=None):
    made = experiment(objective=objective)
    settings = dataclasses.replace(made.settings, validate_every=2)
    return dataclasses.replace(made, settings=settings, validate=validate)


def test_the_weights_that_validate_best_are_kept():
    validate = Validation(1.0, 3.0, 2.0, 2.5)
    run = trained(validating(validate))
    assert same(weights_of(run), validate._states[1])
    assert run.read_stamp()["selected_step"] == 4
    lines = (run.directory / "validation.csv").read_text().split()
    assert lines == ["step,value", "2,1", "4,3", "6,2", "8,2.5"]


def test_the_best_weights_survive_a_kill():
    validate = Validation(1.0, 3.0)
    with pytest.raises(Killed):
        trained(validating(validate, SquaredError(5)))
    later = Validation(2.0, 2.5)
    run = trained(validating(later))
    assert run.read_stamp()["resumed_at"] == 5
    assert same(weights_of(run), validate._states[1]) and len(later._states) == 2
    lines = (run.directory / "validation.csv").read_text().split()
    assert lines == ["step,value", "2,1", "4,3", "6,2", "8,2.5"]


def test_validation_needs_both_its_parts():
    with pytest.raises(ValueError, match="validate and validate_every go together"):
        dataclasses.replace(experiment(), validate=Validation(1.0))


class Duel:
    """An objective with an adversary: one number that tells images apart by their mean."""

    def __init__(self, calls=1000):
        torch.manual_seed(5)
        self.adversary = nn.Linear(1, 1)
        self._seen = []
        self._left = iter(range(calls))

    def logits(self, images):
        return self.adversary(images.mean((1, 2, 3))[:, None])

    def adversary_loss(self, outputs, batch):
        assert not outputs["image"].requires_grad
        loss = nn.functional.softplus(self.logits(outputs["image"])).mean()
        loss = loss + nn.functional.softplus(-self.logits(batch["target"])).mean()
        return {"total": loss}

    def __call__(self, outputs, batch):
        if next(self._left, None) is None:
            raise Killed
        assert not any(p.requires_grad for p in self.adversary.parameters())
        self._seen.append(self.adversary.weight.item())
        loss = nn.functional.softplus(-self.logits(outputs["image"])).mean()
        return {"total": loss}


def test_the_adversary_moves_before_every_step_of_the_model():
    duel = Duel()
    before = duel.adversary.weight.item()
    run = trained(experiment(objective=duel))
    assert len(set(duel._seen)) == 8 and before not in duel._seen
    assert {"total", "adversary_total"} < set(run.read_log()[0])


def test_modules_of_the_objective_follow_the_model():
    class Frozen:
        def __init__(self):
            self.recognizer = nn.Linear(2, 2)
            self.modules = (self.recognizer,)

        def __call__(self, outputs, batch):
            assert self.recognizer.weight.device == outputs["image"].device
            return squared_error(outputs, batch)

    trained(experiment(objective=Frozen()))


# Damage ----------------------------------------------------------------------------------------


def interrupted():
    with pytest.raises(Killed):
        trained(experiment(objective=SquaredError(5)))
    return run_of()


@pytest.mark.parametrize("content", [b"", b"garbage", "flipped", "other"])
def test_a_damaged_checkpoint_is_set_aside_and_training_starts_anew(content, capsys, tmp_path):
    whole = weights_of(trained())
    (run_of().directory / "stamp.json").unlink()
    path = interrupted().checkpoint_path
    if content == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
    elif content == "other":
        torch.save(["no state"], path)
        content = path.read_bytes()
    path.write_bytes(content)
    assert same(whole, weights_of(trained()))
    assert run_of().read_stamp()["resumed_at"] == 0
    assert "checkpoint.bin: not a whole checkpoint" in capsys.readouterr().err


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 255
    path.write_bytes(content)


def changed(path):
    text = path.read_text().replace("8", "9", 1)
    assert text != path.read_text()
    path.write_text(text)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("weights.safetensors", flip, "damaged .*; delete the folder"),
        (
            "stamp.json",
            lambda path: path.write_text('{"train_hash": '),
            "damaged record .*; delete it",
        ),
        ("stamp.json", changed, r"damaged record \(changed since it was wr"),
        ("log.csv", changed, "damaged .*; delete the folder and run again"),
        ("log.csv", Path.unlink, "damaged .*; delete the folder and run again"),
    ],
)
def test_a_damaged_file_of_a_finished_run_is_named_and_not_used(name, damage, words):
    damage(trained().directory / name)
    with pytest.raises(ValueError, match=f"{re.escape(name)}: {words}"):
        trained()


def test_a_checkpoint_that_a_kill_left_beside_finished_weights_is_removed(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(run_of().checkpoint_path), "unlink", killed)
        with pytest.raises(Killed):
            trained()
    run = run_of()
    assert run.read_stamp() and run.checkpoint_path.exists()
    assert trained().read_log() and not run.checkpoint_path.exists()


def killed(path, missing_ok=False):
    """Stands for `unlink`: a kill at the removal of a checkpoint."""
    if path.name == "checkpoint.bin" and path.exists():
        raise Killed
    if path.exists():
        os.remove(path)  # noqa: PTH107


@pytest.mark.parametrize("name", ["log.csv", "validation.csv"])
def test_an_empty_record_is_no_record(name):
    run = interrupted()
    (run.directory / name).write_text("")
    assert len(trained().read_log()) in (3, 8)


def test_labels_that_look_alike_have_folders_of_their_own():
    labels = ["my method", "my_method", "my-method", "zero_dce_pp+2:1", "zero_dce_pp+2-1", "a/b"]
    folders = [run_of(label).directory for label in labels]
    assert len(set(folders)) == len(labels)
    assert len({len(folder.parts) for folder in folders}) == 1
