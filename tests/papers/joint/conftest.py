"""One tiny run of paper 2's study for all tests of the paper."""

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Results folder and scores of one tiny run of the study."""
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed")
    from test_joint_study import tiny

    folder = tmp_path_factory.mktemp("joint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        study = tiny()
        study.train()
        return folder, study.evaluate()


@pytest.fixture
def results(finished, monkeypatch):
    """results(**changes): the finished study, opened anew in its results folder."""
    from test_joint_study import tiny

    monkeypatch.setenv("LLIE_RESULTS", str(finished[0]))
    return tiny


@pytest.fixture
def scores(finished):
    """Scores of the finished study."""
    return finished[1]
