"""Small notebooks for tests: write one, make it a pipeline, run it as a whole."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cellway import analysis, conversion, notebook, pipeline
from cellway.records import Pipeline

SMALL = [
    "import math\nimport json\n\n\nCOLOURS = {'a': 1}\n\n\ndef half(x):\n    return x / 2",
    "%%setup\njson.dumps({})",
    "%%parameters\nn: int = 4  # how many\nname: str = 'x'",
    "%%step load\nvalues = [half(i) for i in range(n)]\nlabels = list(name)",
    "values",
    "%%step train\n%%time\nmodel = {'sum': math.fsum(values), 'label': labels[0]}",
    "%%step report --out text\ntext = f\"{model['label']}: {model['sum']} of {n}\"\nprint(text)",
    "%%test report\nassert text.startswith(name)",
]


MOVING = [
    "import random\nCONFIG = {'seen': 0}\n\n\ndef count(what, by):\n    what['seen'] = what.get('seen', 0) + by\n",
    "%%parameters\nn: int = 3",
    "%%setup\nrandom.seed(5)",
    "%%step load\nvalues = [random.random() for _ in range(n)]\ntable = {'seen': 1}\nalias = table",
    "%%step change\nCONFIG.update(seen=n)\ncount(table, 2)\nvalues.append(random.random())",
    "%%step end\nalias['more'] = True\nresult = [CONFIG['seen'], table, len(values), random.random(), n]",
]


def write(
    path: Path, cells: list[str], ids: list[str] | None = None, kernel: str = "python3", language: str = "python"
) -> Path:
    """A notebook file of code cells."""
    said = {
        "cells": [
            {
                "cell_type": "code",
                "execution_count": None,
                "id": ids[number] if ids else f"c{number}",
                "metadata": {},
                "outputs": [],
                "source": source.splitlines(keepends=True),
            }
            for number, source in enumerate(cells)
        ],
        "metadata": {
            "kernelspec": {"name": kernel, "display_name": kernel, "language": language},
            "language_info": {"name": language},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(said))
    return path


def build(path: Path) -> Pipeline:
    book = notebook.read(path)
    made = pipeline.build(book, analysis.analyse(book, None))
    pipeline.require(made, book)
    return made


def read(folder: Path) -> Pipeline:
    return conversion.read_folder(folder, analyse=lambda book: analysis.analyse(book, None), build=pipeline.build)


def truth(path: Path, names: list[str], workdir: Path) -> dict:
    """Plain values after running every cell in one kernel."""
    import nbclient
    import nbformat

    book = nbformat.read(path, as_version=4)
    kept = [cell for cell in book.cells if not cell.source.startswith(("%%test", "%%skip"))]
    for cell in kept:
        cell.source = re.sub(r"^%%(setup|parameters|step).*\n", "", cell.source)
    show = f"import json as _json; print(_json.dumps({{k: v for k, v in globals().items() if k in {names!r}}}))"
    kept.append(nbformat.v4.new_code_cell(show))
    book.cells = kept
    nbclient.NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": str(workdir)}}).execute()
    return json.loads(book.cells[-1].outputs[-1].text)
