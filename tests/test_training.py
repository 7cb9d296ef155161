"""The training loop on a tiny regression: resume, reuse, guards, hashes, processes."""

import dataclasses
import json

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from llie_core import training
from llie_core.runs import Run, RunKey, code_fingerprint
from llie_core.training import (
    BatchDraws,
    Experiment,
    TrainingStopped,
    TrainSettings,
    fit,
    launch,
    load_weights,
)


class Pictures(Dataset):
    """Eight small pictures whose target is 0.9 minus the picture."""

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


def squared_error(outputs, batch):
    error = (outputs["image"] - batch["target"]).square().mean()
    return {"total": error, "mse": error}


def stack(items):
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    return tmp_path


def experiment(steps=8, seed=0, objective=squared_error, **settings):
    settings = TrainSettings(
        **{"steps": steps, "batch_size": 4, "lr": 0.05, "checkpoint_every": 2, **settings}
    )
    key = RunKey("joint", "toy", "smoke", "tiny", seed=seed)
    return Experiment(key, Tiny(), objective, Pictures(), stack, settings)


def weights_of(run):
    model = Tiny()
    load_weights(model, run.weights_path)
    return model.state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_loss_falls_and_every_term_is_logged():
    run = fit(experiment(steps=60), "cpu")
    log = run.read_log()
    assert [row["step"] for row in log] == list(range(60))
    assert set(log[0]) == {"step", "lr", "total", "mse", "grad_norm"}
    assert log[-1]["total"] < 0.2 * log[0]["total"]


def test_finished_run_is_reused_and_another_hash_retrains():
    first = fit(experiment(), "cpu")
    stamp = (first.directory / "stamp.json").stat().st_mtime_ns
    fit(experiment(), "cpu")
    assert (first.directory / "stamp.json").stat().st_mtime_ns == stamp
    fit(experiment(lr=0.04), "cpu")
    assert (first.directory / "stamp.json").stat().st_mtime_ns > stamp


class Killed(RuntimeError):
    pass


def killed_after(calls):
    """The objective of an experiment that dies in the given step."""
    count = iter(range(calls))

    def objective(outputs, batch):
        if next(count, None) is None:
            raise Killed
        return squared_error(outputs, batch)

    return objective


@pytest.mark.parametrize("step", [1, 3, 5, 7])
def test_killed_run_resumes_to_the_same_weights_bit_for_bit(step, tmp_path, monkeypatch):
    whole = weights_of(fit(experiment(), "cpu"))
    log = Run(experiment().key).read_log()
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "again"))
    with pytest.raises(Killed):
        fit(experiment(objective=killed_after(step)), "cpu")
    run = fit(experiment(), "cpu")
    assert run.read_stamp()["resumed_at"] == step - step % 2
    assert same(whole, weights_of(run))
    assert run.read_log() == log


def test_a_half_written_log_row_is_dropped_on_resume():
    with pytest.raises(Killed):
        fit(experiment(objective=killed_after(5)), "cpu")
    log = Run(experiment().key).log_path
    log.write_text(log.read_text() + "5,0.05,0.1")
    run = fit(experiment(), "cpu")
    assert [row["step"] for row in run.read_log()] == list(range(8))


def test_nan_stops_with_step_and_term_and_keeps_the_checkpoint():
    def spoiled(outputs, batch):
        terms = squared_error(outputs, batch)
        spoiled.calls += 1
        if spoiled.calls == 6:
            terms["mse"] = terms["mse"] * float("nan")
        return terms

    spoiled.calls = 0
    with pytest.raises(TrainingStopped, match=r"mse is nan at step 5.*after 4 steps is kept"):
        fit(experiment(objective=spoiled), "cpu")
    run = Run(experiment().key)
    assert torch.load(run.checkpoint_path, weights_only=True)["step"] == 4
    assert not run.weights_path.exists()


def test_infinite_gradient_stops_too():
    def explosive(outputs, batch):
        total = outputs["image"].abs().clamp(min=1e-30).pow(0.5).mean() * 0
        return {"total": total + (outputs["image"] - outputs["image"].detach()).sum() * 1e38 * 1e3}

    with pytest.raises(TrainingStopped, match="at step 0"):
        fit(experiment(objective=explosive), "cpu")


def test_seed_changes_the_result_and_workers_do_not():
    base = weights_of(fit(experiment(), "cpu"))
    other = fit(experiment(seed=1), "cpu")
    assert not same(base, weights_of(other))
    a = experiment().train_hash()
    assert a == experiment(workers=1, checkpoint_every=5).train_hash()
    assert a != experiment(steps=9).train_hash() != experiment(seed=1).train_hash()
    assert a != experiment().train_hash(world_size=2)


def test_worker_processes_give_the_same_weights(tmp_path, monkeypatch):
    alone = weights_of(fit(experiment(), "cpu"))
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "workers"))
    assert same(alone, weights_of(fit(experiment(workers=1), "cpu")))


def test_cosine_schedule_ends_at_its_final_rate():
    settings = TrainSettings(steps=11, batch_size=1, lr=1.0, lr_final=0.2, schedule="cosine")
    assert settings.lr_at(0) == 1.0
    assert settings.lr_at(5) == pytest.approx(0.6)
    assert settings.lr_at(10) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "bad", [{"schedule": "linear"}, {"precision": "float64"}, {"steps": 0}, {"batch_size": 0}]
)
def test_bad_settings_raise(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        TrainSettings(**{"steps": 1, "batch_size": 1, **bad})


def test_draws_cover_each_epoch_once_and_split_over_processes():
    settings = TrainSettings(steps=6, batch_size=4)
    everything = list(BatchDraws(8, settings, seed=0))
    for epoch in range(3):
        indices = [draw for batch in everything[2 * epoch : 2 * epoch + 2] for draw in batch]
        assert sorted(draw % 8 for draw in indices) == list(range(8))
        assert all(draw // 8 == epoch for draw in indices)
    resumed = list(BatchDraws(8, settings, seed=0, start_step=4))
    assert resumed == everything[4:]
    halves = [list(BatchDraws(8, settings, 0, rank=r, world_size=2)) for r in range(2)]
    assert [sorted(a + b) for a, b in zip(*halves, strict=True)] == [sorted(x) for x in everything]
    with pytest.raises(ValueError, match="empty"):
        BatchDraws(0, settings, seed=0)


def test_objective_is_prepared_once_with_the_untrained_model():
    class Prepared:
        calls = 0

        def prepare(self, model, batches):
            Prepared.calls += 1
            self.scale = squared_error(model.training_outputs(batches[0]["image"]), batches[0])

        def __call__(self, outputs, batch):
            return squared_error(outputs, batch)

    fit(experiment(objective=Prepared()), "cpu")
    assert Prepared.calls == 1


def test_foreign_weights_are_refused(tmp_path):
    run = fit(experiment(), "cpu")
    with pytest.raises(ValueError, match="'weight' is missing"):
        load_weights(nn.Conv2d(3, 3, 1), run.weights_path)
    wide = Tiny()
    wide.conv = nn.Conv2d(3, 4, 3)
    with pytest.raises(ValueError, match=r"conv.weight.*shape \(3, 3, 3, 3\)"):
        load_weights(wide, run.weights_path)
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"\x80\x04not tensors")
    with pytest.raises(ValueError, match=r"garbage\.safetensors: not a readable"):
        load_weights(Tiny(), garbage)


def test_stamp_tells_what_ran():
    planned = dataclasses.replace(experiment(), planned_steps=100)
    stamp = fit(planned, "cpu").read_stamp()
    assert (stamp["steps_done"], stamp["steps_planned"]) == (8, 100)
    assert stamp["train_hash"] == planned.train_hash()
    assert stamp["torch"] == torch.__version__
    assert json.loads((Run(planned.key).directory / "settings.json").read_text())["train"]["lr"]


def quiet_squared_error(outputs, batch):
    return squared_error({"image": outputs["image"]}, batch)


class Quiet(Tiny):
    """Without noise: two processes draw different noise than one."""

    def training_outputs(self, x):
        return {"image": self.conv(x)}


def ddp_job():
    """Module level, so that spawned processes find it."""
    job = experiment(objective=quiet_squared_error)
    job.model = Quiet()
    return fit(job, "cpu")


def test_two_processes_follow_the_loss_curve_of_one():
    together = launch(ddp_job, processes=2)
    assert together.read_stamp()["world_size"] == 2
    curve = [row["total"] for row in together.read_log()]
    alone = ddp_job()  # another hash, so it trains anew
    assert alone.read_stamp()["world_size"] == 1
    assert curve == pytest.approx([row["total"] for row in alone.read_log()], rel=1e-5)


def test_batch_must_divide_over_processes(monkeypatch):
    monkeypatch.setattr(training, "_join_process_group", lambda: (0, 3))
    with pytest.raises(ValueError, match="does not divide over 3"):
        fit(experiment(), "cpu")


def test_code_fingerprint_ignores_comments_and_docstrings(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def fingerprint(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return code_fingerprint(name)

    # Names enter the hash, so compare digests of files with one name in turn.
    from llie_core.runs import _module_digest

    plain = fingerprint("toy_module", 'def f(x):\n    """Doc."""\n    return x + 1\n')
    _module_digest.cache_clear()
    commented = fingerprint("toy_module", "def f(x):  # why\n    return x + 1\n")
    _module_digest.cache_clear()
    changed = fingerprint("toy_module", "def f(x):\n    return x + 2\n")
    assert plain == commented != changed


@pytest.mark.gpu
def test_mixed_precision_on_gpu_trains_close_to_float32():
    job = experiment(steps=20, precision="mixed", objective=quiet_squared_error)
    job.model = Quiet()
    mixed = fit(job, "cuda").read_log()[-1]["total"]
    (Run(job.key).directory / "stamp.json").unlink()
    job = experiment(steps=20, objective=quiet_squared_error)
    job.model = Quiet()
    assert mixed == pytest.approx(fit(job, "cuda").read_log()[-1]["total"], rel=0.1)


# Steps of the learning rate, validation, adversaries -------------------------------------------


def test_learning_rate_falls_at_each_milestone():
    settings = TrainSettings(
        steps=9, batch_size=1, lr=1.0, schedule="step", milestones=(3, 6), decay=0.1
    )
    rates = [settings.lr_at(step) for step in range(9)]
    assert rates == pytest.approx([1] * 3 + [0.1] * 3 + [0.01] * 3)
    with pytest.raises(ValueError, match="'constant', 'cosine' and 'step'"):
        TrainSettings(steps=1, batch_size=1, schedule="linear")


class Validation:
    """validate(model): the next of `values`; keeps the weights that it was shown."""

    def __init__(self, *values):
        self.values, self.states = iter(values), []

    def __call__(self, model):
        assert not model.training
        self.states.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(self.values)


def validating(validate, objective=squared_error):
    made = experiment(objective=objective)
    settings = dataclasses.replace(made.settings, validate_every=2)
    return dataclasses.replace(made, settings=settings, validate=validate)


def test_the_weights_that_validate_best_are_kept():
    validate = Validation(1.0, 3.0, 2.0, 2.5)
    run = fit(validating(validate), "cpu")
    assert same(weights_of(run), validate.states[1])
    assert run.read_stamp()["selected_step"] == 4
    lines = (run.directory / "validation.csv").read_text().split()
    assert lines == ["step,value", "2,1", "4,3", "6,2", "8,2.5"]


def test_the_best_weights_survive_a_kill():
    validate = Validation(1.0, 3.0)
    with pytest.raises(Killed):
        fit(validating(validate, killed_after(5)), "cpu")
    later = Validation(2.0, 2.5)
    run = fit(validating(later), "cpu")
    assert run.read_stamp()["resumed_at"] == 4
    assert same(weights_of(run), validate.states[1]) and len(later.states) == 2
    lines = (run.directory / "validation.csv").read_text().split()
    assert lines == ["step,value", "2,1", "4,3", "6,2", "8,2.5"]


def test_validation_needs_both_its_parts():
    with pytest.raises(ValueError, match="validate and validate_every go together"):
        dataclasses.replace(experiment(), validate=Validation(1.0))


class Duel:
    """An objective with an adversary: one number that tells pictures apart by their mean."""

    def __init__(self, calls=1000):
        torch.manual_seed(5)
        self.adversary = nn.Linear(1, 1)
        self.seen = []
        self.left = iter(range(calls))

    def logits(self, images):
        return self.adversary(images.mean((1, 2, 3))[:, None])

    def adversary_loss(self, outputs, batch):
        assert not outputs["image"].requires_grad
        loss = nn.functional.softplus(self.logits(outputs["image"])).mean()
        loss = loss + nn.functional.softplus(-self.logits(batch["target"])).mean()
        return {"total": loss}

    def __call__(self, outputs, batch):
        if next(self.left, None) is None:
            raise Killed
        assert not any(p.requires_grad for p in self.adversary.parameters())
        self.seen.append(self.adversary.weight.item())
        loss = nn.functional.softplus(-self.logits(outputs["image"])).mean()
        return {"total": loss}


def test_the_adversary_moves_before_every_step_of_the_model():
    duel = Duel()
    before = duel.adversary.weight.item()
    run = fit(experiment(objective=duel), "cpu")
    assert len(set(duel.seen)) == 8 and before not in duel.seen
    assert {"total", "adversary_total", "grad_norm"} < set(run.read_log()[0])


def test_the_adversary_resumes_with_the_model():
    whole = weights_of(fit(experiment(objective=Duel()), "cpu"))
    for path in (run := fit(experiment(objective=Duel()), "cpu")).directory.iterdir():
        if path.is_file():
            path.unlink()
    with pytest.raises(Killed):
        fit(experiment(objective=Duel(5)), "cpu")
    resumed = fit(experiment(objective=Duel()), "cpu")
    assert resumed.directory == run.directory and resumed.read_stamp()["resumed_at"] == 4
    assert same(weights_of(resumed), whole)


def test_modules_of_the_objective_follow_the_model():
    class Frozen:
        def __init__(self):
            self.recognizer = nn.Linear(2, 2).to(torch.float64)

        def __call__(self, outputs, batch):
            assert self.recognizer.weight.device == outputs["image"].device
            return squared_error(outputs, batch)

    fit(experiment(objective=Frozen()), "cpu")
