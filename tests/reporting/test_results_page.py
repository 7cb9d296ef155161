"""docs/RESULTS.md: written from the reference runs, and current."""

from statistics import median

import pytest

from llie_core.files import project_root
from llie_core.papers import list_papers, study_of
from llie_core.papers.found import kept_findings, kept_titles
from llie_core.reporting import results_page, sources
from llie_core.reporting import scores as scores_module
from llie_core.reporting.intervals import intervals
from llie_core.reporting.results_page import results_markdown
from llie_core.reporting.scores import mean_of, read_scores, reference_scores, select

TITLES = {paper: study_of(paper).title for paper in list_papers()}


def page_now():
    return results_markdown(TITLES, kept_findings(), kept_titles())


@pytest.fixture(scope="module")
def page():
    return page_now()


def test_the_page_in_docs_is_current(page):
    text = (project_root() / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    assert text == page, "run `llie results`"


def test_every_kept_data_set_has_its_tables_and_trainings(page):
    for path in (project_root() / "results" / "reference").glob("*/*/*/scores.csv"):
        paper, dataset, profile = path.parts[-4:-1]
        number = list_papers().index(paper) + 1
        own = page.split(f"\n## Paper {number}: ")[1].split("\n## ")[0]
        section = own.split(f"### {dataset}, profile `{profile}`")[1].split("\n### ")[0]
        scores = read_scores(path)
        for name in {score.dataset for score in scores}:
            assert f"Test set {name}" in section
        assert "Trainings:" in section and "seconds a training" in section


def test_numbers_are_means_with_their_protocol_count_and_seeds(page):
    table = page.split("Test set camvid, read by DeepLabV3+:")[1].split("Trainings:")[0]
    path = project_root() / "results/reference/recognition/camvid/reference/scores.csv"
    found = select(read_scores(path), label="gem_pam", metric="miou", subset="all")
    mean = mean_of(found)
    (row,) = [line for line in table.splitlines() if line.startswith("| GEM+PAM |")]
    assert f"| {mean:.3f} |" in row and mean.seeds == 3
    (day,) = select(read_scores(path), metric="miou", subset="day")
    assert f"| input | {day.value:.3f} |" in table
    assert f"n = {day.n} to {found[0].n}; seeds 0, 1, 2; protocols seg-miou" in table


def test_every_table_says_how_much_other_images_could_move_its_means(page):
    """Half the 95 % interval over images, the median of the rows, of quality and of recognizers."""
    own = page.split("\n## Paper 5: ")[1].split("Test set lol:")[1].split("Trainings:")[0]
    kept = select(reference_scores("neid", "lol"), protocol="psnr-rgb-float")
    ends = intervals(kept).values()
    half = median((high - low) / 2 for low, high in ends)
    assert len(ends) > 5 and 1 < half < 3
    assert f"95 % intervals over images, median of the rows: PSNR ± {half:.2g}, SSIM ± " in own
    assert "PSNR after GT-mean ± " in own
    camvid = page.split("Test set camvid, read by DeepLabV3+:")[1].split("Trainings:")[0]
    assert "median of the rows: mIoU, normal light ± 0.0" in camvid
    assert ", mIoU an image ± 0.0" in camvid


def test_the_page_begins_with_what_was_found(page):
    found = page.split("## What was found\n")[1].split("\n## Paper 1: ")[0]
    assert found.count("### Paper ") == 5 and found.count("On lol.") == 3
    said = kept_findings()["joint", "wider-val-a"].rows[0]
    assert (
        f"| {' | '.join(said)} |" in found.split("On wider-val-a.")[1].split("On wider-val-b.")[0]
    )
    assert said[0] == "Does joint training help RetinaFace?"


def test_findings_say_how_far_and_how_often_their_rows_were_trained(page):
    found = page.split("## What was found\n")[1].split("\n## Paper 1: ")[0]
    of_jcrnet = found.split("### Paper 3: ")[1].split("\n|")[0]
    assert (
        "On lol. Trained for 1200 of 35000 steps (0.0795 % of the pixels), 1 seed; an order of "
        "trained rows takes 3.\n" in of_jcrnet
    )
    assert "Trained for 120 of 322000 steps, 3 seeds." in found.split("On wider-val-a.")[1]
    of_drgn = found.split("### Paper 4: ")[1].split("\n|")[0]
    assert "1 or 3 seeds; an order of trained rows takes 3." in of_drgn  # the ablations have one


def test_runs_that_decide_no_claim_say_so(monkeypatch):
    doubts = {"camvid": "the kept runs come from earlier code: llie_core.losses.paired"}
    monkeypatch.setattr(sources, "reference_doubt", lambda _, name: doubts.get(name, ""))
    page = page_now()
    said = "These numbers decide no claim: the kept runs come from earlier code.\n"
    assert (
        page.count("These numbers decide no claim") == 2
    )  # before what was found, and before the numbers
    assert page.split("### camvid, profile `reference`\n\n")[1].startswith(said)


def test_a_half_written_reference_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(scores_module, "project_root", lambda: tmp_path)
    root = tmp_path / "results" / "reference" / "neid" / "lol"
    for name in (".reference.new", "reference", "photographs"):
        (root / name).mkdir(parents=True)
        (root / name / "scores.csv").touch()
    found = scores_module.kept_folders("neid")
    assert [folder.name for folder in found] == ["reference", "photographs"]


def test_no_reference_no_section(tmp_path, monkeypatch):
    monkeypatch.setattr(scores_module, "project_root", lambda: tmp_path)
    assert page_now() == results_page.HEAD
