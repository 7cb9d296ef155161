"""What the tests of the command share: a results folder of their own, refusals in one line."""

import pytest

from llie_core.cli import main


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("LLIE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLIE_REPORTS", str(tmp_path / "reports"))
    return tmp_path / "results"


@pytest.fixture
def refused(capsys):
    """refused(arguments, expected): exit code 2 and one line on stderr with `expected` in it."""

    def check(arguments, *expected):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("llie: ") and said.err.count("\n") == 1, said.err
        for text in expected:
            assert text in said.err
        return said.err

    return check
