"""The first promise: a pipeline gives what running the notebook from top to bottom gives.

Each row is a small trap in up to three steps (``make``, ``change``, ``look``). All rows go into one notebook, whose
steps run in real kernels; the oracle runs the same cells in one process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cellway import Project
from cellway.records import Status


@dataclass(frozen=True)
class Row:
    """A trap. ``@`` in front of a name stands for the row's own prefix.

    Attributes:
        shared: untagged code above all steps.
        make, change: code of the first two steps.
        look: expression of the third step; its ``repr`` is compared.
    """

    name: str
    make: str
    change: str
    look: str
    shared: str = ""


ROWS = (
    Row("list by method", "@x = [1]", "@x.append(2)", "@x"),
    Row("dict by operator", "@x = {}", "@x['k'] = 1", "@x"),
    Row("set by operator", "@x = {1}", "@x |= {2}", "@x"),
    Row("frame by column", "@x = pd.DataFrame({'a': [1]})", "@x['b'] = 2", "@x.to_dict()"),
    Row("frame in place", "@x = pd.DataFrame({'a': [1.0, None]})", "@x.dropna(inplace=True)", "len(@x)"),
    Row("loop over frames", "@x, @y = pd.DataFrame({'a': [1]}), pd.DataFrame({'a': [2]})",
        "for @d in [@x, @y]:\n    @d['b'] = @d['a'] * 2", "(@x.b.tolist(), @y.b.tolist())"),
    Row("array through a view", "@x = np.arange(4)\n@v = @x[1:3]", "@v[0] = 9", "(@x.tolist(), @v.tolist())"),
    Row("array under a frame", "@x = np.arange(4.0)\n@f = pd.DataFrame(@x.reshape(2, 2), copy=False)",
        "@x[0] = 9", "@f.values.tolist()"),
    Row("alias", "@x = [1]\n@y = @x", "@y.append(2)", "(@x, @y, @x is @y)"),
    Row("alias that only the change names", "@x = [1]\n@y = {'k': @x}", "@x.append(2)", "@y"),
    Row("changed where nobody can see it", "@x = [3, 1]\n@y = [@x]", "functools.partial(list.sort)(@x)", "@y",
        "import functools"),
    Row("object in a frame", "@l = [1]\n@x = pd.DataFrame({'o': [@l]})", "@l.append(2)", "@x.o[0]"),
    Row("by a helper", "@x = []", "@add(@x)", "@x", "def @add(l):\n    l.append(1)"),
    Row("by a helper's helper", "@x = []", "@outer(@x)", "@x",
        "def @inner(l):\n    l.append(1)\ndef @outer(l):\n    @inner(l)"),
    Row("by a library, handed a function", "@x = [5]", "list(map(@x.append, [6]))", "@x"),
    Row("attribute", "@p = @P()", "@p.k = 2", "(@p.k, isinstance(@p, @P))", "class @P:\n    k = 1"),
    Row("method of a notebook class", "@p = @P()", "@p.add(3)", "@p.items",
        "class @P:\n    def __init__(self):\n        self.items = []\n"
        "    def add(self, x):\n        self.items.append(x)"),
    Row("method with an innocent name", "@p = @P()", "@n = @p.head()", "(@p.n, @n)",
        "class @P:\n    n = 0\n    def head(self):\n        self.n += 1\n        return self.n"),
    Row("estimator fitted later", "@m = LinearRegression()", "@m.fit([[1], [2]], [1, 2])",
        "round(float(@m.predict([[3]])[0]), 9)", "from sklearn.linear_model import LinearRegression"),
    Row("part of an estimator", "@s = StandardScaler()\n@m = make_pipeline(@s)", "@m.fit([[1.0], [2.0]])",
        "hasattr(@s, 'mean_')",
        "from sklearn.preprocessing import StandardScaler\nfrom sklearn.pipeline import make_pipeline"),
    Row("iterator consumed", "@i = iter([1, 2, 3])", "@f = next(@i)", "(@f, list(@i))"),
    Row("iterator gone through", "@i = iter([1, 2, 3])", "for @f in @i:\n    break", "list(@i)"),
    Row("closure that counts", "@c = @make()\n@f = @c()", "@g = @c()", "(@f, @g, @c())",
        "def @make():\n    n = 0\n    def count():\n        nonlocal n\n        n += 1\n        return n\n"
        "    return count"),
    Row("a table named in SQL", "@t = pd.DataFrame({'a': [1, 2]})",
        "@s = duckdb.sql('select sum(a) from @t').fetchall()", "int(@s[0][0])", "import duckdb"),
    Row("generator object", "@r = np.random.default_rng(0)", "@a = @r.random()", "(@a, @r.random())"),
    Row("rebound", "@x = [1, 2]", "@x = [v * 2 for v in @x]", "@x"),
    Row("deleted and bound again", "@x = 1", "del @x\n@x = 5", "@x"),
    Row("conditional", "@x = 1", "if @x > 5:\n    @x = 9", "@x"),
    Row("loop variable", "for @i in range(3):\n    pass", "pass", "@i"),
    Row("walrus in a comprehension", "@r = [@y := i for i in range(3)]", "pass", "(@r, @y)"),
    Row("swap", "@x, @y = [1], [2]", "@x, @y = @y, @x\n@x.append(9)", "(@x, @y)"),
    Row("global counter", "@inc()", "@inc()", "@count", "@count = 0\ndef @inc():\n    global @count\n    @count += 1"),
    Row("constant used as a cache", "@f(1)", "@f(2)", "sorted(@seen)",
        "@seen = {}\ndef @f(x):\n    return @seen.setdefault(x, x)"),
    Row("one constant by two names", "@b.append(2)", "pass", "(@a, @b)", "@a = [1]\n@b = @a"),
    Row("definitions that enter themselves", "@n = len(@table)", "pass", "(@n, sorted(k for k in @table))",
        "@table = {}\ndef @enter(f):\n    @table[f.__name__[-3:]] = f\n    return f\n"
        "@enter\ndef @one():\n    return 1"),
    Row("closure", "@g = @make(3)", "pass", "@g(4)",
        "def @make(n):\n    def g(x):\n        return x + n\n    return g"),
    Row("lambda that reads a global", "@k = 2\n@f = lambda x: x * @k", "@k = 5", "@f(3)"),
    Row("function that reads a value", "@m = [1]\ndef @total():\n    return max(@m)", "@m.append(9)", "@total()"),
    Row("class in a step", "class @Q:\n    def f(self):\n        return 1\n@q = @Q()", "@q.k = 1",
        "(@q.f(), @q.k, isinstance(@q, @Q))"),
    Row("enum in a dataclass", "@d = @D(@C.R)", "pass", "(@d.c is @C.R, @d == @D(@C.R))",
        "from enum import Enum\nfrom dataclasses import dataclass\n"
        "class @C(Enum):\n    R = 1\n@dataclass\nclass @D:\n    c: @C"),
    Row("namedtuple", "@p = @Point(1, 2)", "pass", "(tuple(@p), isinstance(@p, @Point))",
        "from collections import namedtuple\n@Point = namedtuple('@Point', 'x y')"),
    Row("shadowed builtin", "@x = 1\nsum = lambda v: 42", "pass", "sum([1])"),
    Row("awkward values", "@x = [(1, 2), float('nan'), -0.0, {1: 'a', None: 2}, 10**30, b'b']",
        "pass", "@x"),
    Row("recursive", "@x = [1]\n@x.append(@x)", "pass", "@x[1] is @x"),
    Row("None", "@x = None", "pass", "@x"),
    Row("dtypes",
        "@d = pd.date_range('2020', periods=2, freq='D')\n"
        "@x = pd.DataFrame({'c': pd.Categorical(['a', 'b']), 't': @d.tz_localize('UTC'), "
        "'i': pd.array([1, None], dtype='Int64'), 'b': [True, False]}, index=@d)",
        "pass", "(@x.dtypes.astype(str).tolist(), @x.index.freqstr)"),
    Row("unicode", "@größe = 'é'", "pass", "@größe"),
)  # fmt: skip


def notebook(seed: bool) -> list[str]:
    """Cells of the notebook with all rows."""
    shared, make, change, look = ["import numpy as np\nimport pandas as pd"], [], [], []
    if seed:
        shared.append("np.random.seed(0)")
        make.append("drawn = [np.random.rand()]")
        change.append("drawn.append(np.random.rand())")
    for number, row in enumerate(ROWS):
        prefix = f"r{number}_"
        if row.shared:
            shared.append(row.shared.replace("@dataclass", "\0").replace("@enter\n", "\1"))
            shared[-1] = shared[-1].replace("@", prefix).replace("\0", "@dataclass").replace("\1", f"@{prefix}enter\n")
        make.append(row.make.replace("@", prefix))
        change.append(row.change.replace("@", prefix))
        look.append(f"out[{number}] = repr({row.look.replace('@', prefix)})")
    if seed:
        look.append("out[-1] = repr((drawn, np.random.rand()))")
    steps = {"make": make, "change": change, "look": ["out = {}", *look]}
    return [*shared, *(f"%%step {name}\n" + "\n".join(code) for name, code in steps.items())]


def write(path: Path, cells: list[str]) -> Path:
    """Write a notebook of code cells."""
    code = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": c, "outputs": [], "execution_count": None}
        for i, c in enumerate(cells)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": code}), "utf-8")
    return path


def run_all(cells: list[str], folder: Path) -> dict[str, str]:
    """What the notebook gives from top to bottom in one process."""
    bodies = [cell.partition("\n")[2] if cell.startswith("%%") else cell for cell in cells]
    script = folder / "run_all.py"
    script.write_text("\n".join([*bodies, "import json", "print(json.dumps(out))"]), "utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, encoding="utf-8")
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("seed", [False, True], ids=["plain", "seeded"])
def test_pipeline_gives_what_the_notebook_gives(seed: bool, tmp_path: Path) -> None:
    cells = notebook(seed)
    path = write(tmp_path / "traps.ipynb", cells)
    project = Project(tmp_path)
    finished = [event.step_run for event in project.run(path) if event.kind == "step-finished"]
    errors = [step_run.error for step_run in finished if step_run and step_run.status is Status.FAILED]
    assert errors == []
    expected = run_all(cells, tmp_path)
    given = {str(key): value for key, value in project.value("look.out").items()}
    names = {str(number): row.name for number, row in enumerate(ROWS)} | {"-1": "generators"}
    wrong = {names[key]: (expected[key], given[key]) for key in expected if given[key] != expected[key]}
    assert wrong == {}
    assert [planned.status for planned in project.plan(path).steps] == [Status.CACHED] * 3


GROWING = {
    "an alias that nobody needed": (
        ["x = [1]\ny = {'k': x}", "x.append(2)", "out = repr(x)"],
        ["out = repr((x, y, y['k'] is x))"],
    ),
    "a part of a bundle that nobody needed any more": (
        ["x = [1]\ny = {'k': x}", "out = repr(y)", "x.append(2)", "out = repr(x)"],
        ["out = repr((x, y, y['k'] is x))"],
    ),
    "another name for an input": (
        ["x = [1]", "z = x\nv = {'z': [z]}", "out = repr(x)"],
        ["z.append(3)", "out = repr((x, z, v))"],
    ),
    "an object of two results": (
        ["part = [1]\none = {'p': part}\nmore = {'p': part}", "out = len(one)"],
        ["one['p'].append(2)", "out = repr((one, more))"],
    ),
}


@pytest.mark.parametrize("name", GROWING)
def test_a_notebook_that_grows(name: str, tmp_path: Path) -> None:
    """What ran before a step was added must do for the step, or run again."""
    first, then = GROWING[name]
    project, path = Project(tmp_path), tmp_path / "growing.ipynb"
    for bodies in (first, [*first, *then]):
        cells = [f"%%step s{number}\n{body}" for number, body in enumerate(bodies)]
        finished = [event.step_run for event in project.run(write(path, cells)) if event.kind == "step-finished"]
        assert {step_run.status for step_run in finished if step_run} <= {Status.COMPLETED, Status.CACHED}
        namespace: dict[str, object] = {}
        exec("\n".join(bodies), namespace)  # the oracle
        assert project.value(f"s{len(bodies) - 1}.out") == namespace["out"]
        assert {planned.status for planned in project.plan(path).steps} == {Status.CACHED}


def test_what_is_shared_once_is_not_asked_of_a_step_for_ever(tmp_path: Path) -> None:
    # `scale` and `fitted` share an object that `more` changes: that once it hands `fitted` on, which it does not name.
    shared = "%%parameters\nn = 1"
    cells = [
        "%%step make\nscale = [0]\nfitted = {'s': scale if n < 3 else 0}",
        "%%step more\nscale.append(n)",
        "%%step look\nout = repr((scale, fitted))",
    ]
    project, path = Project(tmp_path), write(tmp_path / "shared.ipynb", [shared, *cells])
    for n, expected in ((1, "([0, 1], {'s': [0, 1]})"), (2, "([0, 2], {'s': [0, 2]})"), (3, "([0, 3], {'s': 0})")):
        finished = [e.step_run for e in project.run(path, parameters={"n": n}) if e.kind == "step-finished"]
        assert {step_run.status for step_run in finished if step_run} <= {Status.COMPLETED, Status.CACHED}
        assert project.value("look.out") == expected


def test_a_file_that_comes_into_a_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "1.csv").write_text("a\n1\n")
    cells = [
        "import glob\nimport os\nimport pandas as pd\nfrom pathlib import Path",
        "%%step frame\nout = pd.concat([pd.read_csv(f) for f in sorted(glob.glob('data/*.csv'))]).a.tolist()",
        "%%step names\nout = sorted(os.listdir('data'))",
        "%%step paths\nout = sorted(p.name for p in Path('data').glob('*.csv'))",
        "%%step other\nout = len(list(Path('data').glob('*.json')))\nPath('data/own.json').write_text('1')",
    ]
    project, path = Project(tmp_path), write(tmp_path / "folder.ipynb", cells)
    list(project.run(path))
    assert {planned.status for planned in project.plan(path).steps} == {Status.CACHED}
    (data / "2.csv").write_text("a\n2\n")
    reasons = {planned.step: planned.reason for planned in project.plan(path).steps}
    assert reasons["frame"] == reasons["paths"] == "data/*.csv: a file was added or removed"
    assert reasons["names"] == "data/*: a file was added or removed"
    assert reasons["other"] == "nothing changed"
    list(project.run(path))
    assert project.value("frame.out") == [1, 2]
    assert project.value("paths.out") == ["1.csv", "2.csv"]


def test_a_table_that_is_read_late(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    cells = [
        "import polars as pl\nimport pyarrow.dataset as ds",
        "%%step plan\nlazy = pl.scan_csv('a.csv')\nfiles = ds.dataset('a.csv', format='csv')",
        "%%step read\nout = (lazy.collect()['a'].to_list(), files.to_table()['a'].to_pylist())",
    ]
    project, path = Project(tmp_path), write(tmp_path / "lazy.ipynb", cells)
    list(project.run(path))
    (tmp_path / "a.csv").write_text("a\n7\n")
    list(project.run(path))
    assert project.value("read.out") == ([7], [7])
