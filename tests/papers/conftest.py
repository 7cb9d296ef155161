"""One tiny run of a paper's study for all tests of its folder."""

from importlib import import_module

import pytest


def tiny_of(paper):
    """tiny(**changes) of the tests of a paper's study."""
    return import_module(f"test_{paper}_study").tiny


@pytest.fixture(scope="session")
def run_once(tmp_path_factory):
    """run_once(paper): results folder and scores of its tiny study."""
    done = {}

    def run(paper):
        if paper == "joint":  # MTCNN reads
            pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
        if paper not in done:
            folder = tmp_path_factory.mktemp(paper)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LLIE_RESULTS", str(folder))
                study = tiny_of(paper)()
                study.train(quiet=True)
                done[paper] = folder, study.evaluate()
        return done[paper]

    return run


@pytest.fixture
def finished(request, run_once):
    """Results folder and scores of the tiny study of the test's folder."""
    return run_once(request.path.parent.name)


@pytest.fixture
def results(request, finished, monkeypatch):
    """results(**changes): the finished study, opened anew in its results folder."""
    monkeypatch.setenv("LLIE_RESULTS", str(finished[0]))
    return tiny_of(request.path.parent.name)


@pytest.fixture
def scores(finished):
    """Scores of the finished study."""
    return finished[1]
