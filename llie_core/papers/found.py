"""What the kept runs of all papers found, for docs/RESULTS.md."""

import importlib

from llie_core.papers import list_papers, open_study
from llie_core.reporting.scores import OF_PAPERS, kept_folders, kept_scores
from llie_core.reporting.tables import Table


def kept_findings() -> dict[tuple[str, str], Table]:
    """(Paper, data set) → the findings table of its reference runs."""
    found = {}
    for paper in list_papers():
        report = importlib.import_module(f"{__package__}.{paper}.report")
        for dataset, profile in (folder.parts[-2:] for folder in kept_folders(paper)):
            if profile in OF_PAPERS:
                study = open_study(paper, profile, dataset)
                found[paper, dataset] = report.findings(study, kept_scores(paper, dataset))
    return found


def kept_titles() -> dict[tuple[str, str, str], dict[str, str]]:
    """(Paper, data set, profile) → the titles of the rows of what is kept, by label."""
    found = {}
    for folder in (one for paper in list_papers() for one in kept_folders(paper)):
        paper, dataset, profile = folder.parts[-3:]
        found[paper, dataset, profile] = open_study(paper, profile, dataset).row_titles
    return found
