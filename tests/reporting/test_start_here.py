"""notebooks/start_here.ipynb in JupyterLab, in a real browser: upload, compare, move the slider.

Skipped with the reason where no Chromium is installed.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from PIL import Image
from test_browser import CHROMIUM, browser  # noqa: F401 (a fixture)

from llie_core.reporting.chooser import UPLOAD

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (apt install chromium)"),
]
PATIENCE = 300_000  # milliseconds, on a machine with other work


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """JupyterLab on a copy of the notebook, as `make lab` starts it, at a port of its own."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "notebooks" / "start_here.ipynb", folder)
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    (settings,) = re.findall(r"--ServerApp\.tornado_settings='([^']+)'", recipe)
    homes = {name: str(folder / f".{name.lower()}") for name in
             ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
              "LLIE_RESULTS", "LLIE_REPORTS", "IPYTHONDIR")}  # fmt: skip
    log = (folder / "log.txt").open("w+")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--ServerApp.port=0",
         "--IdentityProvider.token=", "--ServerApp.ip=127.0.0.1",
         f"--ServerApp.tornado_settings={settings}", str(folder)],
        env=os.environ | homes | {"PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"},
        stdout=log, stderr=log, cwd=folder,
    )  # fmt: skip
    try:
        yield _ready(server, folder / "log.txt")
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def _ready(server, log) -> str:
    """The address that the server prints, once it answers."""
    for _ in range(240):
        found = re.findall(r"http://127\.0\.0\.1:\d+/", log.read_text(encoding="utf-8"))
        if found:
            with urlopen(f"{found[0]}api", timeout=30):
                return found[0]
        assert server.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.5)
    raise AssertionError(log.read_text(encoding="utf-8"))


@pytest.fixture
def lab(browser, address):  # noqa: F811
    """The notebook, opened and run, with a list of the addresses asked for elsewhere."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.elsewhere = []
    page.on("request", lambda r: r.url.startswith(("http:", "https:", "ws:", "wss:"))
            and "//127.0.0.1:" not in r.url and page.elsewhere.append(r.url))  # fmt: skip
    page.goto(f"{address}lab/tree/start_here.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.get_by_role("button", name="Compare", exact=True).wait_for()
    yield page
    context.close()


def upload(page, path):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a photograph").click()
    chooser.value.set_files(path)


def test_upload_compare_move_the_slider_and_read(lab, tmp_path):
    night = tmp_path / "night.png"
    Image.effect_noise((4200, 3000), 60).convert("RGB").point(lambda v: v // 4).save(night)
    assert night.stat().st_size > 10 * 2**20 and ".png" in UPLOAD  # more than JupyterLab's default
    upload(lab, night)
    lab.get_by_text("night.png is chosen; press Compare").wait_for()
    lab.get_by_role("button", name="Compare", exact=True).click()
    frame = lab.frame_locator(".jupyter-widgets iframe.before-after").last
    frame.get_by_text("night.png", exact=True).wait_for()
    assert frame.get_by_role("cell", name="CurveRefine").is_visible()
    assert re.search(r"\d+%", frame.locator("tbody").inner_text())
    assert "4200×3000" in frame.locator(".note").inner_text()

    slider = frame.locator("img-comparison-slider")
    before, box = slider.evaluate("one => one.value"), slider.bounding_box()
    places = [{"x": box["width"] * share, "y": box["height"] / 2} for share in (0.5, 0.8)]
    slider.drag_to(slider, source_position=places[0], target_position=places[1])
    assert slider.evaluate("one => one.value") > before + 20
    frame.get_by_label("right").select_option(label="CurveRefine")
    assert "CurveRefine" in slider.locator("[slot=second]").get_attribute("alt")
    lab.screenshot(path=os.environ.get("LLIE_SCREENSHOT", tmp_path / "lab.png"))
    assert lab.elsewhere == []


def test_an_unreadable_upload_is_named(lab, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    upload(lab, bad)
    said = lab.get_by_text("cannot read image bad.jpg")
    said.wait_for()
    assert said.is_visible()
