"""What every study keeps to, tried on all papers at the smallest size."""

import dataclasses
import inspect
import math
import re
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import TINY

from llie_core.engine import fit as fitting
from llie_core.engine import loop, reuse, sampling
from llie_core.engine.fit import train_hash
from llie_core.engine.reuse import identity, modules_behind
from llie_core.engine.sampling import Drawn
from llie_core.hashing import content_hash, file_hash
from llie_core.papers import judging, list_papers, open_study, study_of
from llie_core.papers import study as studies
from llie_core.papers.rows import Released, Row
from llie_core.tasks.base import Task

papers = pytest.mark.parametrize("paper", list_papers())


def tiny(paper, **changes):
    return open_study(paper, "smoke", **{**TINY.get(paper, {}), **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """finished(paper): the results folder in which its smoke study was run once, and its scores."""
    done = {}

    def run(paper):
        if paper not in done:
            folder = tmp_path_factory.mktemp(paper)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LLIE_RESULTS", str(folder))
                study = tiny(paper)
                study.train()
                done[paper] = folder, study.evaluate()
        return done[paper]

    return run


@pytest.fixture
def results(finished, monkeypatch):
    """results(paper): the finished study, opened anew in its results folder."""

    def use(paper, **changes):
        monkeypatch.setenv("LLIE_RESULTS", str(finished(paper)[0]))
        return tiny(paper, **changes)

    return use


# Settings and names


@papers
def test_profiles_carry_their_name_and_a_known_data_set(paper):
    study = study_of(paper)
    assert {"smoke", "quick", "paper"} <= set(study.profiles)
    for profile in study.profiles:
        settings = study.open(profile).settings
        assert settings.profile == profile and settings.dataset in study.datasets
    assert study.default_datasets("quick")[0] == study.datasets[0]


@papers
def test_a_folder_that_is_not_there_is_named_with_built_in_images_too(paper, tmp_path):
    assert open_study(paper, "smoke", data=str(tmp_path)).settings.data == str(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data: no folder .*/nowhere"):
        open_study(paper, "smoke", data=str(tmp_path / "nowhere"))


@papers
def test_unknown_names_are_refused_with_the_known_ones(paper):
    with pytest.raises(ValueError, match=r"no profile 'quik'; did you mean 'quick'\?"):
        open_study(paper, "quik")
    with pytest.raises(ValueError, match=rf"no data set of {paper} 'nowhere' \(known: "):
        open_study(paper, "smoke", "nowhere")
    with pytest.raises(ValueError, match=r"unknown setting 'stepz'"):
        open_study(paper, "smoke", stepz=1)
    with pytest.raises(ValueError, match=r"setting 'lr' is now train\.lr"):
        open_study(paper, "smoke", lr=1e-3)
    with pytest.raises(ValueError, match=r"no row 'no_such_row'"):
        tiny(paper).row("no_such_row")
    with pytest.raises(ValueError, match="no paper 'x'"):
        open_study("x")


@papers
def test_rows_differ_in_label_or_seed(paper):
    study = tiny(paper, seeds=[0, 3])
    rows = study.rows()
    assert len({(row.label, row.seed) for row in rows}) == len(rows)
    assert {row.seed for row in rows if row.is_trained} == {0, 3}
    folders = [study.run(row).directory for row in rows]
    assert len(set(folders)) == len(rows)
    for row in rows:
        assert study.row(row.label, row.seed) == row
        assert all(needed.is_trained for needed in row.needs)


@papers
def test_baselines_are_the_input_a_gamma_curve_and_clahe(paper):
    labels = {row.label for row in open_study(paper, "quick").rows()}
    assert {"identity", "gamma", "clahe"} <= labels


# A network without weights is never evaluated


def test_a_row_with_parameters_needs_weights():
    with pytest.raises(ValueError, match="zero_dce has parameters and needs weights"):
        Row("zero_dce", "zero_dce")
    assert Row("gamma", "gamma").source == "none"
    assert Row("zero_dce", "zero_dce", weights=Released("a.pth")).source == "released"


def test_a_method_of_the_papers_tables_is_not_trained_by_another_loss():
    """Claims would compare it as the paper's own numbers of it."""
    for settings in ({"methods": ["zero_dce"]}, {"rows": ["jcrnet", "zero_dce"]}):
        with pytest.raises(ValueError, match="zero_dce: the paper's tables have it"):
            open_study("jcrnet", "smoke", **settings).rows()
    with pytest.raises(ValueError, match="zero_dce_pp: its rows are named by the setting"):
        open_study("joint", "smoke").row("zero_dce_pp")
    assert open_study("drgn", "smoke").row("zero_dce").is_trained  # by its own losses there


@pytest.mark.parametrize("paper", ["jcrnet", "drgn", "neid"])
def test_an_untrained_network_among_the_baselines_is_refused(paper):
    with pytest.raises(ValueError, match="zero_dce has parameters and needs weights"):
        tiny(paper, baselines=["identity", "zero_dce"]).rows()


# Describing never trains


@papers
def test_describing_trains_nothing_and_writes_nothing(paper, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    monkeypatch.setattr(loop.Training, "train", forbidden)
    monkeypatch.setattr(Task, "measure", forbidden)
    study = tiny(paper)
    for row in [*study.rows(), *study.possible_rows()]:
        assert row.settings_hash and str(row) and row.shown
        assert str(study.run(row)).startswith(f"{paper}/")
    assert all(test_set.key for test_set in study.test_sets())
    study.absent()
    judging.context(study)
    assert not list(tmp_path.rglob("*.*"))


@papers
def test_what_is_not_trained_yet_is_named(paper, tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path))
    study = tiny(paper)
    with pytest.raises(FileNotFoundError, match="not trained yet"):
        study.load(study.main_row())


def forbidden(*_arguments, **_options):
    raise AssertionError("trained or measured again")


# Runs, scores, reuse


@papers
def test_every_row_has_scores_that_say_what_they_are(paper, finished, results):
    scores, study = finished(paper)[1], results(paper)
    evaluated = {score.label for score in scores}
    assert {row.label for row in study.rows()} == evaluated
    for score in scores:
        assert score.n > 0 and score.unit and score.direction in ("higher", "lower", "none")
        row = study.row(score.label, score.seed)
        assert score.weights == row.source and score.profile == "smoke"
        assert (score.steps_done > 0) is row.is_trained


@papers
def test_a_second_run_trains_and_measures_nothing(paper, finished, results, monkeypatch):
    scores = finished(paper)[1]
    study = results(paper)
    monkeypatch.setattr(loop.Training, "train", forbidden)
    monkeypatch.setattr(Task, "measure", forbidden)
    study.train()
    again = study.evaluate()
    assert [content_hash(vars(s)) for s in again] == [content_hash(vars(s)) for s in scores]


@papers
def test_reading_a_finished_study_takes_no_lock(paper, results, monkeypatch):
    study = results(paper)
    monkeypatch.setattr(fitting, "locked", forbidden)
    monkeypatch.setattr(studies, "locked", forbidden)
    assert study.train() == [study.run(row) for row in study.rows() if row.is_trained]
    assert study.evaluate()


@papers
def test_two_settings_of_one_row_have_two_folders(paper, results):
    study = results(paper)
    other = results(paper, train={"lr": 0.123})
    row, changed = study.main_row(), other.main_row()
    assert study.run(row).directory != other.run(changed).directory
    assert study.run(row).label == other.run(changed).label


@pytest.mark.parametrize("folder", ["scores", "per_image"])
def test_scores_that_were_edited_are_named(folder, results):
    study = results("neid")
    (path,) = study.run(study.row("gamma")).directory.glob(f"{folder}/quality-*.csv")
    text = path.read_text()
    path.write_text(text.replace("1", "2", 1))
    try:
        with pytest.raises(ValueError, match="changed since it was written; delete it"):
            study.evaluate(study.row("gamma"))
    finally:
        path.write_text(text)


@papers
def test_other_weights_are_evaluated_anew(paper, finished, tmp_path, monkeypatch):
    """As a change of the training's code leaves them, in the folder of the earlier ones."""
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    shutil.copytree(finished(paper)[0], tmp_path / "results")
    study = tiny(paper)
    row = study.main_row()
    run, test_set = study.run(row), study.test_sets()[0]
    before = [score.value for score in study.evaluate(row, test_sets=[test_set])]
    changed = {k: v * 0.9 if v.is_floating_point() else v
               for k, v in load_file(run.weights_path).items()}  # fmt: skip
    save_file(changed, run.weights_path)
    stamp = run.read_stamp() | {"weights_sha256": file_hash(run.weights_path)}
    run.write_json("stamp.json", stamp)
    after = [score.value for score in tiny(paper).evaluate(row, test_sets=[test_set])]
    assert len(after) == len(before) and after != before


def test_a_training_by_others_between_fit_and_evaluation_is_noticed(results, monkeypatch):
    study = results("neid")
    row = study.main_row()
    monkeypatch.setattr(studies, "fit", lambda *_a, **_k: "another hash")
    with pytest.raises(ValueError, match="another process has trained it anew"):
        study.train(row)


# What a hash covers


@pytest.fixture
def edited(monkeypatch):
    """edited(module): from now on that module's code counts as changed."""
    original = reuse.module_tree

    def edit(*changed):
        monkeypatch.setattr(
            reuse, "module_tree", lambda name: f"{'edited' * (name in changed)}{original(name)}"
        )

    return edit


def executed_modules(call):
    """The llie_core modules of which functions ran during a call."""
    seen = set()

    def profile(frame, event, _argument):
        if event == "call":
            seen.add(frame.f_globals.get("__name__", ""))

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return {name for name in seen if name.startswith("llie_core.")}


def deciding(modules):
    """Those of some modules whose code decides numbers; records, files and names do not."""
    return {name for name in modules if name.split(".")[1] in reuse.DECIDING}


def one_step(experiment):
    """Data, model, objective and validation of a training, once, on the CPU."""
    data = Drawn(experiment.data)
    batch = experiment.collate([data[0], data[1]])
    model = experiment.model.train()
    if isinstance(experiment.objective, loop.Prepared):
        experiment.objective.prepare(model, [batch])
    if isinstance(experiment.objective, loop.RunsModel):
        outputs = experiment.objective.outputs(model, batch)
    else:
        outputs = model.training_outputs(batch["image"])
    if isinstance(experiment.objective, loop.Adversarial):
        experiment.objective.adversary_loss(outputs, batch)
    experiment.objective(outputs, batch)["total"].backward()
    if experiment.validate is not None:
        experiment.validate(model.eval())


def all_experiments(study):
    rows = [row for row in study.rows() if row.is_trained]
    rows += [needed for test_set in study.test_sets() for needed in test_set.needs]
    rows += [needed for row in rows for needed in row.needs]
    return [study.experiment(row) for row in {(r.label, r.seed): r for r in rows}.values()]


@papers
def test_every_module_that_runs_in_a_training_is_in_its_hash(paper, results, edited):
    study = results(paper)
    for experiment in all_experiments(study):
        objects = (experiment, loop.Training, sampling.BatchDraws)
        covered = modules_behind(*objects)
        ran = deciding(executed_modules(lambda made=experiment: one_step(made)))
        assert ran <= set(covered) | {n for n in ran if is_package(n)}
        before = train_hash(experiment)
        for module in covered:
            edited(module)
            assert train_hash(experiment) != before, module
        edited()
        assert train_hash(experiment) == before


def is_package(name):
    return hasattr(sys.modules[name], "__path__")


@papers
def test_every_module_that_runs_in_an_evaluation_is_in_its_hash(paper, results, edited):
    study, cpu = results(paper), torch.device("cpu")
    row = study.main_row()
    for test_set in study.test_sets():
        task, model = study.task(test_set), study.load(row, "cpu")
        data = None if test_set.data is None else study.data(test_set)
        ran = deciding(executed_modules(lambda t=task, d=data, m=model: t.measure(m, d, cpu)))
        covered = set(modules_behind(model, row.compose, data, task))
        assert ran <= covered | {n for n in ran if is_package(n)}, test_set.key


@papers
def test_settings_that_change_no_weights_keep_the_train_hash(paper, results):
    study = results(paper)
    other = results(paper, workers=1, seeds=[0, 1], external="")
    row = study.main_row()
    assert train_hash(study.experiment(row)) == train_hash(other.experiment(other.main_row()))
    changed = results(paper, train={"lr": 0.0011})
    other_row = changed.main_row()
    for needed in other_row.needs:
        changed.train(needed, quiet=True)
    assert train_hash(changed.experiment(other_row)) != train_hash(study.experiment(row))


@papers
def test_the_seed_decides_the_start_and_the_hash(paper, results):
    study = results(paper)
    row = study.main_row()
    other = dataclasses.replace(row, seed=7)
    first, again, seventh = (r.build().state_dict() for r in (row, row, other))
    assert all(torch.equal(first[name], again[name]) for name in first)
    floating = [n for n, v in first.items() if v.is_floating_point() and v.numel() > 1]
    assert any(not torch.equal(first[name], seventh[name]) for name in floating)
    assert train_hash(study.experiment(row)) != train_hash(
        dataclasses.replace(study.experiment(row), seed=7)
    )


@papers
def test_a_frozen_recognizer_is_left_as_it_was_by_a_training(paper, results):
    study = results(paper)
    for experiment in all_experiments(study):
        modules = getattr(experiment.objective, "modules", ())
        frozen = [m for m in modules if not any(p.requires_grad for p in m.parameters())]
        before = content_hash(identity(frozen))
        one_step(experiment)
        assert content_hash(identity(frozen)) == before


# Other programs' images


@papers
def test_another_programs_images_are_a_row_under_the_same_protocol(
    paper, results, tmp_path, monkeypatch
):
    from llie_core.data.images import write_image

    study = results(paper)
    test_set = study.test_sets()[0]
    folder = tmp_path / "external" / "theirs" / test_set.name
    for index in range(len(test_set.data)):
        item = test_set.data[index]
        name = f"{str(item['name']).rsplit('.', 1)[0]}.png"
        write_image(folder / name, item["image"] * 0 + 0.5)
    monkeypatch.setattr(studies, "project_root", lambda: tmp_path)
    study = results(paper, external="external")
    row = study.row("theirs")
    assert row.source == "external"
    scores = study.evaluate(row, test_sets=[test_set])
    ours = study.evaluate(study.row("gamma"), test_sets=[test_set])
    assert {(s.metric, s.protocol) for s in scores} == {(s.metric, s.protocol) for s in ours}
    (image,) = list(folder.rglob("*.png"))[:1]
    before = [s.value for s in scores]
    write_image(image, torch.full_like(test_set.data[0]["image"], 0.25))
    again = results(paper, external="external").evaluate(row, test_sets=[test_set])
    assert [s.value for s in again] != before  # replaced images are noticed


def test_another_programs_folder_cannot_bear_the_label_of_a_row(results, tmp_path, monkeypatch):
    folders = [tmp_path / "external" / name / "builtin-photos" for name in ("lime", "gamma")]
    folders[0].mkdir(parents=True)
    monkeypatch.setattr(studies, "project_root", lambda: tmp_path)
    # The smoke study has no row lime: its authors' own images may stand there.
    assert results("neid", external="external").row("lime").source == "external"
    for folder, label in ((folders[1], "gamma"), (folders[0], "lime")):
        folder.mkdir(parents=True, exist_ok=True)
        with pytest.raises(ValueError, match=f"{label} is a row of this study; rename its folder"):
            results("neid", external="external", baselines=["identity", label]).rows()
    with pytest.raises(FileNotFoundError, match=r"no METHOD/builtin-photos/ folder"):
        results("neid", external="elsewhere").rows()


@pytest.mark.parametrize(
    ("paper", "label"), [("neid", "gamma"), ("joint", "zero_dce_pp+2:1"), ("drgn", "original")]
)
def test_a_checkpoint_cannot_bear_the_label_of_a_row(paper, label):
    study = open_study(paper, "smoke", released={label: "a.pth"})
    with pytest.raises(ValueError, match=f"released: {re.escape(label)} is a row of this study"):
        study.rows()


def test_a_baseline_named_twice_is_one_row():
    rows = open_study("neid", "smoke", baselines=["gamma", "gamma"]).rows()
    assert [row.label for row in rows if not row.is_trained] == ["gamma"]


def test_no_study_asks_what_a_row_is_called():
    """What a row is decided by is in the row, not in comparisons of its label."""
    for paper in list_papers():
        source = inspect.getsource(sys.modules[study_of(paper).__module__])
        assert "row.label ==" not in source and "row.label.endswith" not in source, paper


@papers
@pytest.mark.parametrize("rate", [{"lr": -1.0}, {"lr": math.nan}, {"weight_decay": -0.1}])
def test_a_wrong_rate_is_refused_by_its_setting(paper, rate):
    (name,) = rate
    with pytest.raises(ValueError, match=rf"train\.{name}: give a number from 0"):
        tiny(paper, train=rate)
    if paper == "recognition":
        with pytest.raises(ValueError, match=rf"recognizer\.train\.{name}: give"):
            tiny(paper, recognizer={"train": rate})
