"""What ``cellway init`` proposes for plain notebooks."""

import contextlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellway import notebook, pipeline
from cellway.analysis import analyse
from cellway.errors import UsageError
from cellway.notebook.grammar import find_magic
from cellway.proposal import propose
from cellway.records import Role

BINDER = Path(__file__).parents[1] / "binder"


def make(*sources):
    """A notebook; a source that begins with ``#`` and a blank is markdown."""
    cells = []
    for source in sources:
        text = source.startswith("#") and " " in source.split("\n")[0] and source.lstrip("#").startswith(" ")
        kind = {"cell_type": "markdown"} if text else {"cell_type": "code", "outputs": [], "execution_count": None}
        cells.append({**kind, "metadata": {}, "source": source})
    return notebook.read_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}), "a.ipynb"
    )


def tags(*sources):
    made = make(*sources)
    found = {p.cell: p.step or str(p.role) for p in propose(made, analyse(made))}
    return [found.get(cell.index, "") for cell in made.cells if cell.kind == "code"]


@dataclass
class Row:
    name: str
    cells: list[str]
    expected: list[str]


TABLE = [
    Row("one", ["x = sum(range(3))\nprint(x)"], ["x"]),
    Row(
        "headings",
        [
            "# Title",
            "import csv",
            "## Load the data",
            "rows = list(open('a'))",
            "## 2. Clean",
            "rows = rows[1:]",
            "n = len(rows)",
        ],
        ["", "load_the_data", "clean", "clean"],
    ),
    Row(
        "parameters-and-setup",
        [
            "import random\nimport pandas as pd",
            "random.seed(1)",
            "n = 3\nname = 'a'",
            "x = random.random() * n",
            "print(x)",
        ],
        ["", "setup", "parameters", "x", ""],
    ),
    Row(
        "constants-of-many",
        ["COLOURS = {'a': 1}", "import math", "x = math.sqrt(COLOURS['a'])", "y = open('a').read() + str(x)"],
        ["", "", "load", "load"],
    ),
    Row(
        "a-constant-from-a-parameter",
        ["n = 3", "m = n * 2", "rows = list(open('a'))[:m]"],
        ["parameters", "load", "load"],
    ),
    Row(
        "a-parameter-has-one-default",
        ["n = 3", "n = 4", "m = 1\nm = 2", "x = open('a')"],
        ["parameters", "n", "", "load"],
    ),
    Row(
        "imports-that-only-look-changed",
        [
            "import numpy as np\nimport matplotlib.pyplot as plt\nplt.rcParams['figure.dpi'] = 80\nnp.random.seed(1)",
            "x = np.append(np.random.rand(3), 1)",
            "plt.step(x, x)",
            "y = np.sort(x)",
        ],
        ["", "x", "", "x"],
    ),
    Row(
        "a-second-step-of-one-topic-is-named-after-what-it-makes",
        [
            "from sklearn.decomposition import PCA\nfrom sklearn.svm import SVC",
            "raw = open('a').read()",
            "parts = PCA().fit_transform(raw)",
            "score = parts.sum()\nmodel = SVC().fit(parts)",
            "print(model, open('b', 'w').write(score))",
        ],
        ["", "load", "train", "train", "load_2"],
    ),
    Row("not-a-parameter-below-a-step", ["x = input()", "n = 3", "y = x * n"], ["x", "", "x"]),
    Row(
        "looking-is-left-out",
        [
            "import pandas as pd\nimport matplotlib.pyplot as plt",
            "df = pd.read_csv('a.csv')",
            "df.head()",
            "print(df.shape)",
            "fig, ax = plt.subplots()\nax.scatter(df.x, df.y)\nax.set_title('t')\nplt.show()",
            "counts = df.x.value_counts()\ncounts.plot()",
            "df = df.dropna()",
        ],
        ["", "load", "", "", "", "", "clean"],
    ),
    Row(
        "changing-is-not-looking",
        [
            "import pandas as pd",
            "df = pd.read_csv('a')",
            "df.dropna(inplace=True)",
            "df['y'] = 1",
            "df.pop('x')",
            "z = df.sum()",
        ],
        ["", "load", "clean", "clean", "clean", "clean"],
    ),
    Row(
        "a-figure-that-is-saved",
        ["import matplotlib.pyplot as plt", "x = list(open('a'))", "plt.plot(x)\nplt.savefig('a.png')"],
        ["", "load", "save"],
    ),
    Row(
        "a-plot-that-defines",
        ["import matplotlib.pyplot as plt", "x = list(open('a'))", "n = len(x)\nplt.plot(x)", "y = n + len(x)"],
        ["", "load", "load", "load"],
    ),
    Row(
        "a-function-reads-a-table",
        ["t = input()", "def f():\n    return t", "t.upper()", "y = open(f())"],
        ["t", "", "", "load"],
    ),
    Row(
        "magics",
        ["%matplotlib inline", "%load_ext cellway", "x = input()", "!ls", "%%time\ny = x * 2", "z = y"],
        ["setup", "", "x", "x", "x", "x"],
    ),
    Row("not-python", ["x = input()", "this is no Python", "y = x + x"], ["x", "", "x"]),
    Row(
        "same-heading-twice",
        ["## A", "x = input()", "## B", "y = x + input()", "## A", "z = y + input()"],
        ["a", "b", "a_2"],
    ),
    Row(
        "odd-headings",
        ["## 1", "x = input()", "## Größe & *Maß*", "y = x + input()", "## [Link](http://x)", "z = y"],
        ["step", "grosse_mass", "link"],
    ),
    Row(
        "reseeded-below",
        ["import random", "x = random.random()", "random.seed(2)", "y = random.random() + x"],
        ["", "x", "x", "x"],
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_table(row):
    assert tags(*row.cells) == row.expected


def test_topics_cut_a_notebook_without_headings():
    cells = [
        "import pandas as pd\nfrom sklearn.linear_model import Ridge",
        "df = pd.read_csv('a.csv')",
        "df = df.dropna()\ndf = df.rename(columns=str.lower)",
        "df.describe()",
        "from sklearn.model_selection import train_test_split\ntrain, test = train_test_split(df)",
        "model = Ridge()\nmodel.fit(train[['x']], train['y'])",
        "score = model.score(test[['x']], test['y'])\nscore",
        "df.to_csv('out.csv')",
    ]
    assert tags(*cells) == ["", "load", "clean", "", "split", "train", "evaluate", "save"]


@pytest.mark.parametrize(
    "cells", [[], ["# Title"], ["import os"], ["import os", "def f():\n    return 1"], ["n = 1"], ["1 + 1"]]
)
def test_nothing_to_propose(cells):
    made = make(*cells)
    with pytest.raises(UsageError, match="no cell computes"):
        propose(made, analyse(made))


def test_a_tagged_notebook_is_left_alone():
    made = make("x = input()", "%%step a\ny = 1")
    with pytest.raises(UsageError, match="cell 2 is tagged already"):
        propose(made, analyse(made))


@pytest.mark.parametrize("name", ["diabetes", "digits", "tumours"])
def test_the_demonstrations_without_their_tags_become_valid_pipelines(name, tmp_path):
    data = json.loads((BINDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    for cell in data["cells"]:
        cell["metadata"].pop("tags", None)
        cell["source"] = "".join(cell["source"])
        found = find_magic(cell["source"]) if cell["cell_type"] == "code" else None
        if found:
            cell["source"] = "\n".join(cell["source"].split("\n")[found.line + 1 :])
    path = tmp_path / f"{name}.ipynb"
    path.write_text(json.dumps(data), encoding="utf-8")
    plain = notebook.read(path)
    proposals = propose(plain, analyse(plain))
    assert len({proposal.step for proposal in proposals if proposal.step}) >= 5
    assert {Role.PARAMETERS, Role.SETUP, Role.STEP} == {proposal.role for proposal in proposals}
    read = notebook.write_tags(path, [(p.cell, p.role, p.step, None) for p in proposals])
    made = pipeline.build(read, analyse(read))
    assert [diagnostic for diagnostic in made.diagnostics if diagnostic.level == "error"] == []


# --- what is left out is never needed ---------------------------------------------------------

STATEMENTS = st.sampled_from(
    [
        *("a = 1", "b = [1, 2]", "c = {'k': 1}", "a = len(b)", "b = list(c)", "b = b + [a]", "c = dict(k=a)", "a += 1"),
        *(
            "b.append(a)",
            "c['k'] = a",
            "b[0] = 7",
            "del b[0]",
            "d = b",
            "d.append(3)",
            "for a in b: c[a] = 1",
            "c.update(z=2)",
        ),
        *(
            "print(a)",
            "b",
            "c.get('k')",
            "len(b)",
            "sorted(c)",
            "print(f())",
            "def f(): return len(b)",
            "def g(x): x.append(1)",
        ),
        *(
            "g(b)",
            "import math",
            "a = math.floor(a)",
            "if a > 2: b = [a]",
            "a, d = 1, b",
            "e = [x for x in b if x]",
            "b.sort()",
        ),
        *(
            "# Part one",
            "## Part two",
            "class K: n = a",
            "a = K.n",
            "with_b = lambda: b.append(9)",
            "with_b()",
            "d = (b, c)",
        ),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STATEMENTS, min_size=2, max_size=9))
def test_the_tagged_cells_alone_give_what_the_notebook_gives(tail):
    head = ["import os", "a = 3", "b = list('ab')", "c = dict(k=1)", "d = e = 0", "class K: n = 1", "def f(): return 1"]
    sources = [*head, "def g(x): x", "with_b = print", *tail, "result = repr((a, b, c, d, e))"]
    made = make(*sources)
    names = analyse(made)
    found = {p.cell: p for p in propose(made, names)}
    whole: dict[str, object] = {}
    parts: dict[str, object] = {}
    carried = {"import", "function", "class", "constant"}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in made.cells:
            if cell.kind != "code":
                continue
            try:
                exec(cell.body, whole)
            except Exception:  # noqa: BLE001 - whatever it is, this is not a notebook that works
                return
        for cell, statements in zip(made.cells, names, strict=True):
            tagged = cell.index in found
            for statement in statements.statements:
                if tagged or statement.kind in carried:
                    exec(statement.source, parts)
    assert parts["result"] == whole["result"]
    tagged_cells = tuple(
        replace(cell, role=found[cell.index].role, step=found[cell.index].step) if cell.index in found else cell
        for cell in made.cells
    )
    diagnostics = pipeline.build(replace(made, cells=tagged_cells), names).diagnostics
    # A class that is defined twice is refused whatever the tags are.
    errors = [found for found in diagnostics if found.level == "error" and found.code != "class-redefined"]
    assert errors == []
