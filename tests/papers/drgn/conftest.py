"""One tiny run of paper 4's study for all tests of the paper."""

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Results folder and scores of one tiny run of the study."""
    from test_drgn_study import tiny

    folder = tmp_path_factory.mktemp("drgn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        study = tiny()
        study.train(quiet=True)
        return folder, study.evaluate()


@pytest.fixture
def results(finished, monkeypatch):
    """results(**changes): the finished study, opened anew in its results folder."""
    from test_drgn_study import tiny

    monkeypatch.setenv("LLIE_RESULTS", str(finished[0]))
    return tiny


@pytest.fixture
def scores(finished):
    """Scores of the finished study."""
    return finished[1]
