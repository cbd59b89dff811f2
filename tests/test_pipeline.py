"""Pipelines as tables of notebooks: cells in, steps or refusals out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cellway import analysis, errors, notebook, pipeline
from cellway.records import Pipeline


def build(folder: Path, *cells: str, tags: dict[int, list[str]] | None = None) -> Pipeline:
    """Build the pipeline of a notebook of code cells."""
    path = folder / "case.ipynb"
    path.write_text(
        json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
                "cells": [
                    {
                        "cell_type": "code",
                        "id": f"c{i}",
                        "metadata": {"tags": (tags or {}).get(i, [])},
                        "source": source,
                        "outputs": [],
                        "execution_count": None,
                    }
                    for i, source in enumerate(cells)
                ],
            }
        )
    )
    read = notebook.read(path)
    return pipeline.build(read, analysis.analyse(read))


@dataclass(frozen=True)
class Flow:
    """Expected edges: step → name → provider; and other expectations where given."""

    name: str
    cells: tuple[str, ...]
    inputs: dict[str, dict[str, str]]
    parameters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    carried: dict[str, tuple[str, ...]] = field(default_factory=dict)
    outputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    may_change: dict[str, tuple[str, ...]] = field(default_factory=dict)


FLOWS = (
    Flow("one cell is a pipeline", ("%%step a\nx = 1",), {"a": {}}),
    Flow(
        "nearest provider",
        ("%%step a\nx = 1", "%%step b\nx = 2", "%%step c\ny = x"),
        {"b": {}, "c": {"x": "b"}},
        outputs={"a": (), "b": ("x",)},
    ),
    Flow(
        "a definite change is a write",
        ("%%step a\nd = {}", "%%step b\nd['k'] = 1", "%%step c\nprint(d)"),
        {"b": {"d": "a"}, "c": {"d": "b"}},
    ),
    Flow(
        "through an alias made in the step",
        ("%%step a\nd = {}\ne = {}", "%%step b\nfor x in [d, e]:\n    x['k'] = 1", "%%step c\nprint(d, e)"),
        {"b": {"d": "a", "e": "a"}, "c": {"d": "b", "e": "b"}},
    ),
    Flow(
        "through an alias of an earlier line",
        ("%%step a\nd = {}", "%%step b\nx = d\nx['k'] = 1", "%%step c\nprint(d)"),
        {"b": {"d": "a"}, "c": {"d": "b"}},
    ),
    Flow(
        "by a helper that changes its argument",
        ("def add(d):\n    d['k'] = 1", "%%step a\nd = {}", "%%step b\nadd(d)", "%%step c\nprint(d)"),
        {"b": {"d": "a"}, "c": {"d": "b"}},
        carried={"a": (), "b": ("add",), "c": ()},
    ),
    Flow(
        "by a helper's helper",
        (
            "def inner(x):\n    x.append(1)",
            "def outer(y):\n    inner(y)",
            "%%step a\nd = []",
            "%%step b\nouter(d)",
            "%%step c\nprint(d)",
        ),
        {"b": {"d": "a"}, "c": {"d": "b"}},
        carried={"b": ("inner", "outer")},
    ),
    Flow(
        "a possible change is watched",
        ("%%step a\nd = make()", "%%step b\nd.mystery()", "%%step c\nprint(d)", "def make():\n    return []"),
        {},
    ),
    Flow(
        "symbols are carried where they are used, with what they need",
        (
            "import numpy as np\nimport os\nSCALE = 2\ndef helper(x):\n    return np.sqrt(x) * SCALE",
            "def other():\n    return os",
            "%%step a\ny = helper(4)",
            "%%step b\nz = y + 1",
        ),
        {"b": {"y": "a"}},
        carried={"a": ("np", "SCALE", "helper"), "b": ()},
    ),
    Flow(
        "definitions of a step cell are carried, not stored",
        ("%%step a\nimport math\ndef f(x):\n    return math.sqrt(x)\ny = f(4)", "%%step b\nz = f(y)"),
        {"b": {"y": "a"}},
        carried={"b": ("math", "f")},
        outputs={"a": ("y",)},
    ),
    Flow(
        "names in texts that a library looks up",
        (
            "import duckdb\nimport numpy as np\ndef make():\n    pass\ndef fit(f):\n    pass",
            "%%parameters\nlimit = 3",
            "%%step a\ndf = make()\nother = 1",
            "x = df",
            "%%step b\nz = df.query('x > @limit and x < @other')",
            "def rows():\n    return duckdb.sql(f'select * from df join z using (x)')",
            "%%step c\nrows()",
            "%%step d\nfit('y ~ np.log(x)')",
        ),
        {"b": {"df": "a", "other": "a"}, "c": {"df": "a", "z": "b"}, "d": {}},
        parameters={"b": ("limit",)},
        carried={"d": ("np", "fit")},
    ),
    Flow(
        "another name for an input",
        ("%%step a\nx = [1]", "%%step b\nz = x", "%%step c\nprint(x, z)"),
        {"b": {"x": "a"}, "c": {"x": "a", "z": "b"}},
        may_change={"b": ("x",)},
    ),
    Flow(
        "what is called may change itself",
        ("def make():\n    return abs", "%%step a\nf = make()", "%%step b\ny = f()", "%%step c\nprint(f, y)"),
        {"b": {"f": "a"}},
        may_change={"b": ("f",)},
    ),
    Flow(
        "classes whose objects keep their own",
        (
            (
                "class C:\n    n = 0\n    items = []\n    def __init__(self):\n        self.items = []\n"
                "        self.n += 1\n    def add(self, x):\n        self.items.append(x)"
            ),
            "%%step a\nu = C(); u.add(1)",
            "%%step b\nv = C(); v.add(2)",
        ),
        {"b": {}},
    ),
    Flow(
        "a helper that reads what a step makes",
        ("def predict(x):\n    return model + x", "%%step a\nmodel = 1", "%%step b\ny = predict(2)"),
        {"b": {"model": "a"}},
        carried={"b": ("predict",)},
    ),
    Flow(
        "the definition nearest above counts",
        ("def f():\n    return 1", "%%step a\nx = f()", "def f():\n    return 2", "%%step b\ny = f() + x"),
        {"b": {"x": "a"}},
    ),
    Flow(
        "parameters only where they are reached",
        (
            "%%parameters\nlr: float = 0.1  # rate\nn = 3",
            "def g():\n    return n",
            "%%step a\nx = lr",
            "%%step b\ny = g() + x",
        ),
        {"b": {"x": "a"}},
        parameters={"a": ("lr",), "b": ("n",)},
    ),
    Flow(
        "a parameter that a step reassigns is its output from there on",
        ("%%parameters\nn = 1", "%%step a\nn = n + 1", "%%step b\ny = n"),
        {"a": {}, "b": {"n": "a"}},
        parameters={"a": ("n",), "b": ()},
    ),
    Flow(
        "a constant computed from a parameter",
        ("%%parameters\nn = 1", "m = n * 2", "%%step a\nx = m"),
        {"a": {}},
        parameters={"a": ("n",)},
        carried={"a": ("m",)},
    ),
    Flow(
        "a conditional binding also reads",
        ("%%step a\nx = 1", "%%step b\nimport os\nif os.environ.get('T'):\n    x = 2", "%%step c\ny = x"),
        {"b": {"x": "a"}, "c": {"x": "b"}},
    ),
    Flow(
        "loop variables that nobody needs make no edge",
        ("%%step a\nfor i in range(3):\n    s = i", "%%step b\nfor i in range(3):\n    t = i"),
        {"b": {}},
    ),
    Flow(
        "classes come along with the values",
        (
            "class Model:\n    def __init__(self):\n        self.k = 1",
            "%%step a\nm = Model()",
            "%%step b\nprint(m.k)",
        ),
        {"b": {"m": "a"}},
        carried={"b": ("Model",)},
    ),
    Flow(
        "a mutable constant is watched",
        (
            "CACHE = {}\ndef remember(k):\n    CACHE[k] = 1",
            "%%step a\nremember('x')",
            "%%step b\nprint(CACHE)",
        ),
        {"b": {"CACHE": "a"}},
    ),
    Flow(
        "several cells of one step",
        ("%%step a\nx = 1", "%%step a\ny = x + 1", "%%step b\nz = y"),
        {"a": {}, "b": {"y": "a"}},
    ),
    Flow(
        "one constant by two names",
        ("BASE = [1]\nOTHER = BASE", "%%step a\nOTHER.append(2)", "%%step b\nz = (BASE, OTHER)"),
        {"b": {"BASE": "a", "OTHER": "a"}},
    ),
    Flow(
        "a constant that holds one that a step changes",
        ("BASE = [1]\nOTHER = BASE", "%%step a\nBASE.append(2)", "%%step b\ny = OTHER"),
        {"b": {"OTHER": "a"}},
        carried={"a": ("BASE", "OTHER")},
    ),
    Flow(
        "an attribute of a module is set in later steps, too",
        ("import string", "%%step a\nstring.extra = 3\nx = 1", "%%step b\ny = string.extra"),
        {"b": {}},
        carried={"b": ("string", "string.extra")},
    ),
    Flow(
        "definitions that enter themselves into a table come with it",
        (
            "TABLE = {}\ndef enter(n):\n    def mark(f):\n        TABLE[n] = f\n        return f\n    return mark",
            "@enter('one')\ndef one():\n    return 1",
            "%%step a\ny = {k: f() for k, f in TABLE.items()}",
        ),
        {"a": {}},
        carried={"a": ("TABLE", "enter", "one")},
    ),
    Flow("skip is invisible", ("x = 1", "%%skip\nx = 2", "%%step a\ny = x"), {"a": {}}, carried={"a": ("x",)}),
    Flow(
        "after orders without data",
        ("%%step a\nx = 1", "%%step b --after a\ny = 1"),
        {"b": {}},
    ),
)


@pytest.mark.parametrize("case", FLOWS, ids=lambda case: case.name)
def test_flow(case: Flow, tmp_path: Path) -> None:
    built = build(tmp_path, *case.cells)
    steps = {step.name: step for step in built.steps}
    if case.name == "a possible change is watched":
        assert any(d.code == "undefined" for d in built.diagnostics), "make() is bound only below"
        return
    assert [d for d in built.diagnostics if d.level == "error"] == []
    for name, inputs in case.inputs.items():
        assert dict(steps[name].inputs) == inputs, name
    for name, parameters in case.parameters.items():
        assert steps[name].parameters == parameters, name
    for name, carried in case.carried.items():
        assert tuple(code.name for code in steps[name].carried) == carried, name
    for name, outputs in case.outputs.items():
        assert steps[name].outputs == outputs, name


def test_possible_changes_are_watched(tmp_path: Path) -> None:
    built = build(
        tmp_path,
        "import lib",
        "%%step a\nd = [1]\nk = 2",
        "%%step b\nlib.process(d)\nprint(k)",
        "%%step c\nprint(d, k)",
    )
    assert built.steps[1].may_change == ("d",)
    assert {"d", "k"} <= set(built.steps[1].later)


@dataclass(frozen=True)
class Refused:
    """Expected refusal: code, cell (from 0), line, name, and words of message or fix."""

    name: str
    cells: tuple[str, ...]
    code: str
    cell: int
    line: int
    variable: str | None
    words: str


REFUSED = (
    Refused("no steps", ("x = 1",), "no-steps", -1, -1, None, "%%step"),
    Refused("undefined", ("%%step a\ny = missing",), "undefined", 0, 2, "missing", "no cell above binds"),
    Refused("typo", ("%%step a\nvalues = 1", "%%step b\ny = valuse"), "undefined", 1, 2, "valuse", "values"),
    Refused("bound below", ("%%step a\ny = x", "%%step b\nx = 1"), "undefined", 0, 2, "x", "further down, in cell 2"),
    Refused("only skipped", ("%%skip\nx = 1", "%%step a\n\ny = x"), "undefined", 1, 3, "x", "%%skip"),
    Refused(
        "untagged provider",
        ("import pandas as pd", "df = pd.read_csv('x.csv')", "%%step a\ny = df"),
        "untagged",
        2,
        2,
        "df",
        "tag cell 2",
    ),
    Refused(
        "untagged rebinding",
        ("%%step a\ndf = [1]", "df = df[:1] + list(df)", "%%step b\ny = df"),
        "untagged",
        2,
        2,
        "df",
        "binds it anew",
    ),
    Refused(
        "untagged change",
        ("%%step a\nd = []", "d.append(1)", "%%step b\ny = d"),
        "untagged",
        2,
        2,
        "d",
        "changes it",
    ),
    Refused(
        "untagged change of a constant",
        ("COLS = []", "COLS.append('a')", "%%step a\ny = COLS"),
        "untagged",
        2,
        2,
        "COLS",
        "changes it",
    ),
    Refused("history", ("%%step a\ny = Out[3]",), "history", 0, 2, "Out", "give the value a name"),
    Refused("deleted", ("%%step a\nx = 1", "%%step b\ndel x", "%%step c\ny = x"), "deleted", 2, 2, "x", "deletes"),
    Refused(
        "setup reads a step",
        ("%%step a\nx = 1", "%%setup\nprint(x)", "%%step b\ny = x"),
        "setup-reads-step",
        1,
        2,
        "x",
        "before every step",
    ),
    Refused(
        "class attribute",
        ("class C:\n    k = 1", "%%step a\nC.k = 2", "%%step b\ny = C.k"),
        "definition-changed",
        1,
        2,
        "C",
        "cell 1",
    ),
    Refused(
        "interleaved",
        ("%%step a\nx = 1", "%%step b\ny = x", "%%step a\nx = 2"),
        "interleaved",
        2,
        2,
        "x",
        "step name of its own",
    ),
    Refused("computed parameter", ("%%parameters\nn = len('abc')", "%%step a\ny = n"), "bad-parameter", 0, 2, "n", ""),
    Refused("syntax", ("%%step a\nx = = 1",), "not-python", 0, 2, None, "not Python"),
    Refused("each", ("%%step a\nxs = [1]", "%%step b --each xs\ny = xs"), "each", 1, 1, "each", "loop"),
    Refused(
        "chdir to a value of a step",
        ("import os", "%%step a\nwhere = str(1)\nos.chdir(where)", "%%step b\ny = where"),
        "ambient",
        1,
        3,
        None,
        "%%setup",
    ),
    Refused(
        "a default that remembers calls",
        (
            "def f(x, seen=[]):\n    seen.append(x)\n    return list(seen)",
            "%%step a\nu = f(1)",
            "%%step b\nv = f(2)",
        ),
        "function-state",
        0,
        1,
        "f",
        "start anew",
    ),
    Refused(
        "a function's own attribute",
        ("def f():\n    f.n = getattr(f, 'n', 0) + 1\n    return f.n", "%%step a\nu = f()", "%%step b\nv = f()"),
        "function-state",
        0,
        1,
        "f",
        "start anew",
    ),
    *(
        Refused(
            f"a class that remembers: {name}",
            (f"class C:\n{body}", "%%step a\nu = C(); u.go()", "%%step b\nv = C(); v.go()"),
            "function-state",
            0,
            1,
            "C",
            "start anew",
        )
        for name, body in {
            "type(self)": "    n = 0\n    def go(self):\n        type(self).n += 1",
            "__class__": "    n = 0\n    def go(self):\n        self.__class__.n = 1",
            "classmethod": "    n = 0\n    @classmethod\n    def go(cls):\n        cls.n += 1",
            "list of the class": "    items = []\n    def go(self):\n        self.items.append(1)",
            "registry": "    known = {}\n    def __init_subclass__(cls):\n        C.known[cls.__name__] = cls",
        }.items()
    ),
    Refused(
        "attribute of a module, by an untagged cell",
        ("import string", "%%step a\nk = str(1)", "string.extra = k", "%%step b\ny = string.extra"),
        "untagged",
        3,
        2,
        "string",
        "changes it",
    ),
    Refused(
        "attribute of a module by a value of a step",
        ("import string", "%%step a\nk = str(1)\nstring.extra = k", "%%step b\ny = k"),
        "ambient",
        1,
        3,
        None,
        "%%setup",
    ),
    Refused(
        "two classes of one name",
        (
            "class M:\n    k = 1",
            "%%step a\nm = M()",
            "class M:\n    k = 2",
            "%%step b\nprint(m, M())",
        ),
        "class-redefined",
        2,
        1,
        "M",
        "another name",
    ),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refusal_names_cell_line_variable_and_fix(case: Refused, tmp_path: Path) -> None:
    built = build(tmp_path, *case.cells)
    found = [d for d in built.diagnostics if d.level == "error"]
    assert [d.code for d in found][:1] == [case.code], found
    first = found[0]
    if case.cell >= 0:
        assert (first.cell, first.line, first.name) == (case.cell, case.line, case.variable)
    assert case.words in first.message + first.fix
    assert first.fix
    with pytest.raises(errors.Refusal) as refusal:
        pipeline.require(built)
    assert first.message in str(refusal.value)


def test_generator_chains_begin_at_seeds_outside_steps(tmp_path: Path) -> None:
    built = build(
        tmp_path,
        "import numpy as np\nnp.random.seed(0)",
        "%%step a\nx = np.random.rand()",
        "np.random.seed(1)",
        "%%step b\ny = np.random.rand()",
        "%%step c --seed 3\nz = np.random.rand()",
    )
    assert built.seeded
    assert [(step.draws, step.chain) for step in built.steps] == [(True, 1), (True, 2), (False, 2)]
    assert [code.source for code in built.steps[1].carried if "seed" in code.source] == [
        "np.random.seed(0)",
        "np.random.seed(1)",
    ]


def test_parameters(tmp_path: Path) -> None:
    built = build(
        tmp_path,
        "%%parameters\n"
        "from typing import Literal\n"
        "lr: float = 1  # learning rate\n"
        "names: list[str] = ['a']\n"
        "mode: Literal['fast', 'good'] = 'fast'\n"
        "limit: int | None = None\n"
        "hour = 60 * 60\n",
        "%%step a\nx = lr, names, mode, limit, hour",
    )
    assert built.diagnostics == ()
    assert [(p.name, p.type, p.default, p.help, p.choices, p.optional) for p in built.parameters] == [
        ("lr", "float", 1, "learning rate", (), False),
        ("names", "list", ["a"], "", (), False),
        ("mode", "str", "fast", "", ("fast", "good"), False),
        ("limit", "int", None, "", (), True),
        ("hour", "int", 3600, "", (), False),
    ]
    assert built.steps[0].parameters == ("lr", "names", "mode", "limit", "hour")
