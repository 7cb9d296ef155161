"""What the trial of faults counts, printed at its end."""

from collections import Counter

import pytest

COUNTS: Counter[str] = Counter()


@pytest.fixture(scope="session")
def counts():
    """What happened → how often."""
    return COUNTS


def pytest_terminal_summary(terminalreporter):
    if COUNTS:
        terminalreporter.section("what was done")
        for what, times in COUNTS.items():
            terminalreporter.write_line(f"{times:5d}  {what}")
