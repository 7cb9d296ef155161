"""Fixtures shared by every test file."""

import os
import signal
from pathlib import Path

import pytest
import torch

# The workers of pytest -n share the cores, and so do the processes that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests send signals, which a suite in the background of a script inherits as ignored.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)

SHARED_DATA = Path(
    os.environ.get("LLIE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")
).resolve()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of small real data sets in their official layouts; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(
            f"real sample images are not here (looked in {SHARED_DATA}; set LLIE_TEST_DATA)"
        )
    return SHARED_DATA


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device on this machine")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
