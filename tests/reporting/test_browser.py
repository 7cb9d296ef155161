"""Pages in a real browser: every control by mouse and keyboard, both widths, no fault of access.

Skipped with the reason where no Chromium is installed.
"""

import shutil

import nbformat
import pytest
import torch

from llie_core.before_after import Compared, Finding, Version, page
from llie_core.reporting.page import page_html
from llie_core.reporting.provenance import Provenance, Training
from llie_core.reporting.tables import VERDICTS, Table

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (apt install chromium)"),
]
SIZES = {"desktop": (1280, 900), "phone": (390, 800)}


def captured(monkeypatch, call):
    """The outputs that a call displays."""
    shown = []
    monkeypatch.setattr("llie_core.reporting.figures.display", lambda one, **_: shown.append(one))
    call()
    return "".join(one._repr_html_() for one in shown)


def tables():
    """Claims, verdicts, a wide table, published beside measured numbers, and runs."""
    claims = [
        [f"5.{i:02d}", f"§{i % 3}, p. {i}", "It is better than the others.",
         "holds on lol (quick, 3 seeds)" if i % 2 else "not run (needs the row neid+LE)",
         f"measured: {i}.5 dB"] for i in range(1, 15)
    ]  # fmt: skip
    wide = ["NEID", *(f"{i}.123 ± 0.004" for i in range(14))]
    header = ["", *(f"psnr-rgb-float-gtmean-{i}, builtin-photos" for i in range(14))]
    stamp = {
        "run": {"label": "neid", "seed": 0, "dataset": "lol"}, "steps_done": 5,
        "steps_planned": 9, "seconds": 3.4, "device": "CPU", "torch": "2.14", "commit": "abc",
        "train_hash": "0123456789abcdef",
    }  # fmt: skip
    runs = Provenance([Training("NEID", stamp, {"lr": 1}, (2.0, 1.0), "llie fit neid " + "x" * 99)])
    return [
        Table("Claims", ["claim", "place", "says", "verdict", "evidence"], claims,
              filters=["place", "verdict"], groups=["verdict"]),
        Table("Verdicts", ["paper", "data set", "claims", *VERDICTS],
              [["recognition", "builtin-streets-pose", "51", *["–"] * len(VERDICTS)]]),
        Table("Wide", header, [wide, ["gamma", *wide[1:]], ["CLAHE", *wide[1:]]], "A note. " * 40),
        Table("Table I", ["", "PSNR, published", "PSNR, here"],
              [["NEID", "22.83", "17.3"], ["A", "1.0", "9.5"], ["B", "2.0", "100.2"],
               ["KinD", "20.87", "not run"]]),
        runs,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    """A report with every kind of part, wide tables and long names among them."""
    from llie_core.reporting import figures

    shades = {"input": 0.1, "gamma 1/2.2": 0.4, "NEID": 0.6, "ground truth": 0.8}
    panels = [figures.Panel(name, torch.full((3, 24, 32), x)) for name, x in shades.items()]
    with pytest.MonkeyPatch.context() as patch:
        compared = captured(patch, lambda: figures.compare(panels, "Test image 1"))
    cell = nbformat.v4.new_code_cell
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": t._repr_html_()}) for t in tables()
    ]
    pixel = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
             "RU5ErkJggg==")  # fmt: skip
    outputs.append(nbformat.v4.new_output(
        "display_data", {"image/png": pixel}, metadata={"image/png": {"alt": "A chart"}}
    ))  # fmt: skip
    featured = cell("3", outputs=[nbformat.v4.new_output("display_data", {"text/html": compared})])
    featured.metadata["tags"] = ["featured"]
    notebook = nbformat.v4.new_notebook(metadata={"title": "A report"}, cells=[
        nbformat.v4.new_markdown_cell("# A report\n\nInline $a_1$ is inline.\n\n"
                                        f"$${' + '.join(['a_1'] * 40)} \\tag{{1}}$$"),
        nbformat.v4.new_markdown_cell("## What was found"), cell("1"),
        nbformat.v4.new_markdown_cell("## Results"), cell("2", outputs=outputs), featured,
    ])  # fmt: skip
    path = tmp_path_factory.mktemp("pages") / "a.html"
    path.write_text(page_html(notebook, "a"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, page_path):
    """open(size, scheme): the page, or that of `path`, offline; any word on its console fails the
    test."""
    contexts, said = [], []

    def use(size="desktop", scheme="light", script=True, path=page_path):
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True,
            java_script_enabled=script,
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield use
    for context in contexts:
        context.close()
    assert said == []


def column(page, caption, place):
    cells = page.locator(f"table:has(caption:has-text('{caption}')) tbody tr td:nth-child({place})")
    return cells.all_inner_texts()


def test_a_column_is_sorted_by_number_with_mouse_and_keyboard(opened):
    page = opened()
    header = page.locator("table:has(caption:has-text('Table I')) th").nth(1)
    header.click()
    page.wait_for_function("document.querySelector('th[aria-sort=descending]')")
    page.wait_for_timeout(50)
    assert [text.split()[0] for text in column(page, "Table I", 2)] == ["100.2", "17.3", "9.5"]
    header.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('th[aria-sort=ascending]')")
    page.wait_for_timeout(50)
    assert [text.split()[0] for text in column(page, "Table I", 2)] == ["9.5", "17.3", "100.2"]


def test_claims_are_filtered_by_verdict_and_by_words(opened):
    page = opened()
    bar = page.locator(".filters").filter(has=page.get_by_label("verdict"))
    bar.get_by_label("verdict").select_option("holds")
    assert bar.get_by_role("status").inner_text() == "7 of 14 rows"
    assert page.locator("summary:visible", has_text="not run: 7").count() == 0
    bar.get_by_label("contains").fill("5.03")
    assert bar.get_by_role("status").inner_text() == "1 of 14 rows"
    assert page.locator("tr:visible", has_text="holds on lol").count() == 1
    bar.get_by_label("contains").fill("")
    bar.get_by_label("verdict").select_option("all")
    assert page.locator("tr:visible", has_text="holds on lol").count() == 0  # folded again
    assert page.locator("summary:visible").filter(has_text="not run: 7").count() == 1


def test_folded_claims_are_sorted_and_open_by_keyboard(opened):
    page = opened()
    line = page.locator("summary", has_text="holds: 7")
    line.focus()
    page.keyboard.press("Enter")
    table = page.locator("details.folded:has(summary:has-text('holds: 7')) table")
    first = table.locator("tbody td:first-child").first
    assert first.is_visible() and first.inner_text() == "5.01"
    table.locator("th").first.click()
    page.wait_for_timeout(50)
    assert first.inner_text() == "5.13"


@pytest.mark.parametrize("script", [True, False])
def test_what_is_folded_is_printed(opened, script):
    """By the browser's own print, which emulating the medium alone does not begin."""
    page = opened(script=script)
    page.emulate_media(media="print")
    if script:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for number in ("5.01", "5.14"):
        row = page.locator(".groups tr", has_text=number)
        assert row.bounding_box()["height"] > 0
    if script:
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details[open]").count() == 0


def test_the_slider_moves_by_keyboard_and_rows_change_place(opened):
    page = opened()
    slider = page.locator("img-comparison-slider")
    before = slider.evaluate("one => one.value")
    slider.focus()
    page.keyboard.down("ArrowRight")
    page.wait_for_timeout(300)
    page.keyboard.up("ArrowRight")
    assert slider.evaluate("one => one.value") > before
    assert "NEID" in slider.locator("[slot=second]").get_attribute("alt")
    page.get_by_label("right").select_option(label="ground truth")
    assert "ground truth" in slider.locator("[slot=second]").get_attribute("alt")


@pytest.mark.parametrize("key", ["", "Enter", " "])
def test_an_image_is_enlarged_by_mouse_and_keyboard_and_closed_by_escape(opened, key):
    page = opened()
    image = page.locator("img[alt='A chart']").first
    if key:
        image.focus()
        page.keyboard.press(key)
    else:
        image.click()
    assert page.locator("dialog img").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog img").is_visible()


def test_a_row_leads_to_its_run(opened):
    page = opened()
    page.locator("table:has(caption:has-text('Table I')) a", has_text="NEID").click()
    assert page.locator("details.run").get_attribute("open") is not None
    assert page.get_by_text("llie fit neid").is_visible()


@pytest.mark.parametrize("size", list(SIZES))
def test_nothing_is_wider_than_the_page(opened, size):
    page = opened(size)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    tables = page.locator(".table").all()
    assert not any(t.evaluate("one => one.scrollWidth > one.clientWidth + 1") for t in tables)


def test_the_verdict_table_breaks_no_word(opened):
    region = ".table:has(caption:has-text('Verdicts'))"
    classes = opened().locator(region).get_attribute("class").split()
    assert "broken" not in classes and "wide" not in classes
    phone = opened("phone").locator(f"{region} tbody td")
    assert phone.locator("visible=true").all_inner_texts() == [
        "recognition", "builtin-streets-pose", "51",
    ]  # fmt: skip


def test_sections_and_featured_images_come_first(opened):
    page = opened()
    assert page.locator("nav li").all_inner_texts() == ["What was found", "Results"]
    compared, results = (page.locator(one).first for one in (".compare", "#Results"))
    assert compared.bounding_box()["y"] < results.bounding_box()["y"]
    equation = page.locator("img.equation").first
    assert equation.evaluate("one => getComputedStyle(one).display") == "inline"


def test_without_scripts_everything_is_there(opened):
    page = opened(script=False)
    assert page.locator(".compare .grid img:visible").count() == 4
    page.locator("summary", has_text="not run: 7").click()
    assert page.locator("tr:visible", has_text="not run (needs").count() == 7


@pytest.mark.parametrize("size", list(SIZES))
def test_the_page_of_a_photograph(opened, size, tmp_path):
    tall = torch.full((3, 64, 40), 0.1)
    found = Finding("1 face, best 0.90", torch.tensor([[4.0, 4, 20, 30]]), torch.tensor([0.9]))
    versions = [Version(name, tall, 1.0, "", {"mtcnn": found}) for name in ("identity", "gamma")]
    path = tmp_path / "photo.html"
    path.write_text(page([Compared("night.jpg", (64, 40), 0.7, versions)]), encoding="utf-8")
    shown = opened(size, path=path)
    assert shown.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    slider = shown.locator("img-comparison-slider")
    assert slider.bounding_box()["height"] <= 641  # a tall one as well
    box = slider.bounding_box()
    ends = [{"x": box["width"] * share, "y": box["height"] / 2} for share in (0.5, 0.8)]
    slider.drag_to(slider, source_position=ends[0], target_position=ends[1])
    assert slider.evaluate("one => one.value") == pytest.approx(80, abs=2)
    assert shown.get_by_text("1 face, best 0.90").count() == 2
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    assert serious_faults(axe, shown) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_no_serious_fault_of_access(opened, size, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    assert serious_faults(axe, opened(size, scheme)) == []


def serious_faults(axe, shown):
    found = axe.Axe().run(shown).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found
            if one["impact"] in ("serious", "critical")]  # fmt: skip
