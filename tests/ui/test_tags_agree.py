"""The headers in JupyterLab and the reader of notebooks understand tags and magics alike: one table for both.

The reader checks more than a header can show. Rows with `"reader": "refuses"` are those.
"""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from cellway import notebook
from cellway.errors import TagError

CASES = json.loads((Path(__file__).parents[2] / "labui" / "src" / "tags.cases.json").read_text())


def read_last_cell(case: dict[str, Any]) -> Any:
    """Reads the cell as the last one of a notebook that has the steps it refers to."""
    role = case["role"] or {}
    content = nbformat.v4.new_notebook()
    names = [*role.get("after", []), role.get("step", "")] if role["kind"] != "unclear" else []
    for name in filter(None, names):
        content.cells.append(nbformat.v4.new_code_cell("pass", metadata={"tags": [f"step:{name}"]}))
    content.cells.append(nbformat.v4.new_code_cell(case["source"], metadata={"tags": case["tags"]}))
    return notebook.read_text(nbformat.writes(content), "notebook.ipynb").cells[-1]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["what"])
def test_header_says_what_the_reader_understands(case: dict[str, Any]) -> None:
    case = {**case, "role": case["role"] or {"kind": "exploration"}}
    role = case["role"]
    if role["kind"] == "unclear" or case.get("reader") == "refuses":
        with pytest.raises(TagError):
            read_last_cell(case)
        return
    cell = read_last_cell(case)
    assert cell.role == role["kind"]
    assert cell.step == role.get("name", role.get("step"))
    assert list(cell.options.after) == role.get("after", [])
