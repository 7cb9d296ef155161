"""One tiny run of paper 1's study on each built-in set for all tests of the paper."""

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Results folder, and data set → scores of a tiny run."""
    from test_recognition_study import SETS, tiny

    folder, scores = tmp_path_factory.mktemp("recognition"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLIE_RESULTS", str(folder))
        for dataset in SETS:
            study = tiny(dataset)
            study.train()
            scores[dataset] = study.evaluate()
    return folder, scores


@pytest.fixture
def results(finished, monkeypatch):
    """Data set → scores; studies opened in the test find the finished runs."""
    monkeypatch.setenv("LLIE_RESULTS", str(finished[0]))
    return finished[1]
