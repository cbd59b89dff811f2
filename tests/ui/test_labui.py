"""What a user sees of cellway in JupyterLab."""

import platform
import re
from collections.abc import Callable

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    ("Which flowers are which?", "markdown", []),
    ("%%setup\nimport pandas as pd\npd.options.display.precision = 2", "code", []),
    ("strength = 10.0  # of the fit\nseed: int = 7", "code", ["parameters"]),
    ("%%step load\nfrom sklearn.datasets import load_iris\n\niris = load_iris(as_frame=True).frame", "code", []),
    ("iris.head()", "code", []),
    (
        "%%step train --retries 2\nfrom sklearn.svm import SVC\n\nX, y = iris.drop(columns='target'), iris['target']",
        "code",
        [],
    ),
    ("model = SVC(C=strength, random_state=seed).fit(X, y)", "code", ["step:train", "after:load"]),
    ("%%test train\nassert model.score(X, y) > 0.9", "code", []),
    ("%%skip\nmodel.get_params()", "code", []),
    ("%%step\nprint(model)", "code", []),
    ("report = str(model)", "code", ["step:<b>report</b>"]),
]

HEADERS = {
    1: "setup",
    2: "parameters",
    3: "step load",
    5: "step train 1 of 2",
    6: "step train 2 of 2 · after load",
    7: "test train",
    8: "skip",
    9: "unclear %%step: name the step",
    10: "unclear step:<b>report</b>: no name for a step",
}


@pytest.fixture
def notebook(lab: Lab) -> str:
    """A notebook with every kind of tagged cell."""
    content = nbformat.v4.new_notebook()
    for source, kind, tags in CELLS:
        metadata = {"tags": tags} if tags else {}
        new_cell = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        content.cells.append(new_cell(source, metadata=metadata))
    content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    content.metadata.language_info = {"name": "python", "version": platform.python_version()}
    nbformat.write(content, lab.folder / "flowers.ipynb")
    return "flowers.ipynb"


def open_notebook(page: Page, lab: Lab, name: str, theme: str = "JupyterLab Light") -> Locator:
    """Opens a notebook and hands back its cells once the first header shows."""
    lab.set("apputils-extension:themes", theme=theme)
    page.goto(lab.notebook_url(name))
    cells = page.locator(".jp-Notebook .jp-Cell")
    expect(cells.nth(1).locator(".cw-Badge")).to_be_visible()
    return cells


def header_of(cell: Locator) -> Locator:
    return cell.locator(".cw-Badge")


def words(label: str) -> re.Pattern[str]:
    return re.compile(rf"^cellway {re.escape(label)}$")


def test_every_tagged_cell_has_its_header_and_no_other(page: Page, lab: Lab, notebook: str) -> None:
    cells = open_notebook(page, lab, notebook)
    for index in range(len(CELLS)):
        cells.nth(index).scroll_into_view_if_needed()
        if index in HEADERS:
            expect(header_of(cells.nth(index))).to_have_count(1)
            expect(header_of(cells.nth(index))).to_have_attribute("aria-label", words(HEADERS[index]))
        else:
            expect(header_of(cells.nth(index))).to_have_count(0)
    # Notebook text is text: a step's name that looks like markup makes no element.
    expect(header_of(cells.nth(10)).locator("b")).to_have_count(0)


def test_header_stands_over_the_editor_and_takes_little_room(page: Page, lab: Lab, notebook: str) -> None:
    cells = open_notebook(page, lab, notebook)
    header, editor = header_of(cells.nth(3)), cells.nth(3).locator(".jp-InputArea-editor")
    expect(header).to_be_in_viewport()
    above, below = header.bounding_box(), editor.bounding_box()
    assert above is not None
    assert below is not None
    assert above["y"] + above["height"] <= below["y"] + 1
    assert abs(above["x"] - below["x"]) <= 2
    assert above["height"] <= 24


def test_header_follows_the_magic_while_it_is_edited(page: Page, lab: Lab, notebook: str) -> None:
    cells = open_notebook(page, lab, notebook)
    load = cells.nth(3)
    expect(header_of(load)).to_have_attribute("aria-label", words("step load"))

    load.locator(".cm-line").first.click()
    page.keyboard.press("End")
    page.keyboard.type("_flowers --after train")
    expect(header_of(load)).to_have_attribute("aria-label", words("step load_flowers after train"))

    page.keyboard.press("Shift+Home")
    page.keyboard.press("Delete")
    expect(header_of(load)).to_have_count(0)

    page.keyboard.type("%%skip")
    expect(header_of(load)).to_have_attribute("aria-label", words("skip"))


def test_headers_follow_cells_that_are_deleted_and_moved(page: Page, lab: Lab, notebook: str) -> None:
    cells = open_notebook(page, lab, notebook)
    expect(header_of(cells.nth(5))).to_have_attribute("aria-label", words("step train 1 of 2"))
    cells.nth(5).locator(".jp-InputPrompt").click()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Shift+ArrowUp")  # above the exploration cell
    expect(header_of(cells.nth(4))).to_have_attribute("aria-label", words("step train 1 of 2"))
    expect(header_of(cells.nth(5))).to_have_count(0)
    page.keyboard.press("d")
    page.keyboard.press("d")
    expect(header_of(cells.nth(5))).to_have_attribute("aria-label", words("step train after load"))


def test_header_follows_a_tag_added_in_the_property_inspector(page: Page, lab: Lab, notebook: str) -> None:
    cells = open_notebook(page, lab, notebook)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()  # the inspector draws its form anew then
    cells.nth(4).locator(".jp-InputPrompt").click()
    page.get_by_role("tab", name="Property Inspector").click()
    page.get_by_role("heading", name="Common Tools").or_(page.get_by_text("Common Tools")).first.click()
    add = page.locator(".jp-CellTags-Add")
    add.click()
    add.fill("step:look")
    add.press("Enter")
    expect(header_of(cells.nth(4))).to_have_attribute("aria-label", words("step look"))


def test_headers_are_never_saved(page: Page, lab: Lab, notebook: str) -> None:
    file = lab.folder / notebook
    before = nbformat.read(file, as_version=4)
    cells = open_notebook(page, lab, notebook)
    cells.nth(4).locator(".cm-line").first.click()
    page.keyboard.press("End")
    page.keyboard.type("  # saved")
    page.keyboard.press("Control+s")
    expect(page.locator(".lm-DockPanel-tabBar .jp-mod-dirty")).to_have_count(0)
    after = nbformat.read(file, as_version=4)
    before.cells[4].source += "  # saved"
    assert after.cells == before.cells


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_picture(page: Page, lab: Lab, notebook: str, theme: str, screenshot: Callable[[str], None]) -> None:
    cells = open_notebook(page, lab, notebook, theme)
    light = "false" if theme.endswith("Dark") else "true"
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", light)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()  # colours come with the kernel
    name = theme.removeprefix("JupyterLab ").lower()
    screenshot(f"badges-{name}-top")
    cells.nth(len(CELLS) - 1).scroll_into_view_if_needed()
    expect(header_of(cells.nth(10))).to_be_in_viewport()
    screenshot(f"badges-{name}-bottom")
