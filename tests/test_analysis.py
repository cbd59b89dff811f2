"""What the analysis says of statements, as tables: source in, names out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cellway import analysis, notebook
from cellway.records import Function, Names, Statement, StatementKind

K = StatementKind


def words(text: str | None) -> set[str] | None:
    return None if text is None else set(text.split())


@dataclass(frozen=True)
class Row:
    """A cell, and what is expected of all its statements together; names separated by blanks, ``None``: not compared.

    Attributes:
        may_change: names that must be among the possible changes (there may be more: that costs a comparison).
        spared: names that must not be among changes and possible changes.
    """

    source: str
    binds: str | None = ""
    reads: str | None = None
    may_bind: str = ""
    deferred: str | None = ""
    changes: str = ""
    may_change: str = ""
    spared: str = ""
    deletes: str = ""
    kinds: tuple[StatementKind, ...] = ()
    ambient: str | None = ""
    modules: str | None = None
    opaque: bool = False


BINDING = (
    Row("x = 1", "x", ""),
    Row("x = y = z", "x y", "z"),
    Row("a, (b, *c) = d", "a b c", "d", may_change="d"),
    Row("x: int = y", "x", "int y"),
    Row("x: int", "", "int"),
    Row("x += y", "x", "x y", changes="x"),
    Row("(n := f(a))", "n", "f a", may_change="a"),
    Row("import numpy as np, os.path", "np os", "", modules="numpy os.path"),
    Row("from a.b import c as d", "d", "", modules="a.b a.b.c"),
    Row("from . import helpers", "helpers", "", modules=". .helpers"),
    Row("def f(): pass", "f", ""),
    Row("class C: pass", "C", ""),
    Row("async def f(): pass", "f", ""),
    Row("with open(p) as g: t = g.read()", "g t", "open p"),
    Row("del x", "", "x", deletes="x"),
    Row("x = 1\ndel x", None, None, deletes="x"),
    Row("if a:\n    x = 1", "", "a", "x"),
    Row("if a:\n    x = 1\nelse:\n    x = 2", "x", "a"),
    Row("if a:\n    x = 1\nelse:\n    raise E", "x", "a E"),
    Row("if a:\n    x = 1\nelif b:\n    x = 2", "", "a b", "x"),
    Row("for i in a:\n    x = i", "", "a", "i x"),
    Row("while a:\n    x = 1", "", "a", "x"),
    Row("while True:\n    x = 1\n    break", "x", ""),
    Row("try:\n    x = 1\nexcept E:\n    y = 2", "", "E", "x y"),
    Row("try:\n    x = 1\nexcept E:\n    x = 2", "x", "E"),
    Row("try:\n    x = 1\nexcept E as e:\n    raise\nfinally:\n    y = 1", "x y", "E"),
    Row("match a:\n    case [x, *y]:\n        z = 1\n    case _:\n        z = 2", "z", "a", "x y", may_change="a"),
    Row("[x for x in y if z]", "", "y z"),
    Row("[(w := x) for x in y]", None, "y"),
    Row("{k: v for k, v in d.items()}", "", "d"),
)
READING = (
    Row("f'{a} {b!r:{c}}'", "", "a b c", spared="a b c"),
    Row("def f(x, k=D):\n    return x + g", "f", "D", deferred="g", may_change="D"),
    Row("class C(B):\n    y = q\n    def m(self):\n        return w", "C", "B q", deferred="w", may_change="q"),
    Row("f = lambda a: a + b", "f", "", deferred="b"),
    Row("out = df.apply(lambda r: r + k)", "out", "df k", deferred="k"),
    Row("@dec(a)\ndef f(): return b", "f", "dec a", deferred="b"),
    Row("def f():\n    def g():\n        return z\n    return g", "f", "", deferred="z"),
    Row("def f():\n    x = 1\n    return x", "f", ""),
    Row("x = 1\ny = x", "x y", "x"),
    Row("if a:\n    x = 1\n    print(x)", "", "a print", "x"),
    Row("await f(x)", "", "f x", may_change="x"),
)
CHANGING = (
    Row("x[k] = v", "", "x k v", changes="x", ambient=None),
    Row("x.a.b[c] = 1", "", "x c", changes="x", ambient=None),
    Row("del x['k']", "", "x", changes="x", ambient=None),
    Row("x['k'] += 1", "", "x", changes="x", ambient=None),
    Row("x.append(y)", "", "x y", changes="x", may_change="y"),
    Row("df.sort_values('a', inplace=True)", "", "df", changes="df"),
    Row("df = df.sort_values('a')", "df", "df", spared="df"),
    Row("model.fit(X, y)", "", "model X y", changes="model"),
    Row("random.shuffle(x)", "", None, changes="x"),
    Row("np.add(a, b, out=c)", "", None, changes="np c"),
    Row("for t in [a, b]:\n    t['k'] = 1", "", "a b", "t", changes="a b", ambient=None),
    Row("for k, v in d.items():\n    v.append(k)", "", "d", "k v", changes="d"),
    Row("for x in [y for y in a]:\n    x.append(1)", "", "a", "x", changes="a"),
    Row("(a + b)[0].append(1)", "", "a b", changes="a b"),
    Row("d = df\nd['x'] = 1", "d", None, changes="d", ambient=None),  # the alias is for the pipeline to follow
    Row("x = a.copy()", "x", "a", may_change="a"),  # of a list of lists, a copy shares the inner ones
    Row("x = copy.deepcopy(a)", "x", "copy a", spared="a"),
    Row("mystery(x)", "", "mystery x", may_change="x"),
    Row("x.mystery()", "", "x", may_change="x"),
    Row("view = df.values", "view", "df", may_change="df"),
    Row("print(x, len(y), z.mean(), a == b, a + b, -c)", "", None, spared="x y z a b c"),
    Row("x = a + 1.5", "x", "a", spared="a"),
    Row("class Box:\n    items = a", "Box", "a", may_change="a"),
)
KINDS = (
    Row("import a", "a", kinds=(K.IMPORT,)),
    Row("try:\n    import a\nexcept ImportError:\n    a = None", "a", kinds=(K.IMPORT,)),
    Row("def f(): pass", "f", kinds=(K.FUNCTION,)),
    Row("f = lambda x: x", "f", kinds=(K.FUNCTION,)),
    Row("class C: pass", "C", kinds=(K.CLASS,)),
    Row("A = [1, B * 2]", "A", kinds=(K.CONSTANT,)),
    Row("ROOT = Path('x') / 'y'", "ROOT", kinds=(K.CONSTANT,)),
    Row("df = pd.read_csv(p)", "df", kinds=(K.OTHER,)),
    Row("x.append(1)", kinds=(K.OTHER,), changes="x"),
    Row("np.random.seed(1)", kinds=(K.AMBIENT,), ambient="seed"),
    Row("torch.manual_seed(1)", kinds=(K.AMBIENT,), ambient="seed"),
    Row("os.environ['A'] = 'b'", kinds=(K.AMBIENT,), ambient="environ", changes="os"),
    Row("os.chdir('x')", kinds=(K.AMBIENT,), ambient="chdir"),
    Row("sys.path.insert(0, 'x')", kinds=(K.AMBIENT,), ambient="sys.path", changes="sys"),
    Row("pd.set_option('a', 1)", kinds=(K.AMBIENT,), ambient="options"),
    Row("plt.style.use('x')", kinds=(K.AMBIENT,), ambient="options"),
    Row("%matplotlib inline", kinds=(K.AMBIENT,), ambient="options"),
    Row("%cd data", kinds=(K.AMBIENT,), ambient="chdir"),
    Row("%env A=b", kinds=(K.AMBIENT,), ambient="environ"),
)
OPAQUE = (
    Row("from x import *", kinds=(K.IMPORT,), opaque=True),
    Row("exec(s)", opaque=True, may_change="s"),
    Row("globals()['x'] = 1", opaque=True, ambient=None),
    Row("%run other.ipynb", opaque=True),
    Row("%%cython\nx", opaque=True),
    Row("get_ipython().run_line_magic('run', 'x')", opaque=True),
)
MAGICS = (
    Row("%time x = f(y)", "x", "f y", may_change="y"),
    Row("x = %time f(y)", "x", "f y", may_change="y"),
    Row("%%time\nx = 1", "x", ""),
    Row("%timeit x = f(y)", "", "f y", "x", may_change="y"),
    Row("%%timeit\nx = f(y)", "", "f y", "x", may_change="y"),
    Row("%%capture out\nx = 1", "out x", ""),
    Row("%%bash --out text\nls {x}", "text", ""),
    Row("files = !ls {folder}", "files", "folder", spared="folder"),
    Row("df?", "", "df", spared="df"),
)


@pytest.mark.parametrize(
    "row", [*BINDING, *READING, *CHANGING, *KINDS, *OPAQUE, *MAGICS], ids=lambda row: row.source.replace("\n", " | ")
)
def test_names(row: Row) -> None:
    names = analysis.analyse_source(row.source)
    assert names.error is None
    found = names.statements

    def together(attribute: str) -> set[str]:
        return {getattr(item, "name", item) for statement in found for item in getattr(statement, attribute)}

    for attribute in ("binds", "reads", "may_bind", "deferred", "changes", "deletes", "ambient", "modules"):
        expected = words(getattr(row, attribute))
        assert expected is None or together(attribute) == expected, attribute
    touched = together("changes") | together("may_change")
    assert set(row.may_change.split()) <= together("may_change")
    assert not set(row.spared.split()) & touched
    assert any(statement.opaque for statement in found) is row.opaque
    assert not row.kinds or tuple(statement.kind for statement in found) == row.kinds


@dataclass(frozen=True)
class Summary:
    """A definition, and what a call of it does."""

    source: str
    parameters: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    global_binds: tuple[str, ...] = ()
    global_changes: tuple[str, ...] = ()
    global_may_change: tuple[str, ...] = ()
    calls: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)


SUMMARIES = (
    Summary("def f(a, b=1, *c, d, **e): pass", ("a", "b", "*c", "d", "**e")),
    Summary("def f(x):\n    x['k'] = 1", ("x",), ("x",)),
    Summary("def f(x):\n    y = x\n    y.append(1)", ("x",), ("x",)),
    Summary("def f(x):\n    for y in x:\n        y['k'] = 1", ("x",), ("x",)),
    Summary("def f(x):\n    x = x.assign(a=1)\n    return x", ("x",)),
    Summary("def f(x):\n    return x.mean() / FACTOR", ("x",), (), ("FACTOR",)),
    Summary("def f():\n    global g\n    g = 1", global_binds=("g",)),
    Summary("def f(x):\n    cache[x] = 1", ("x",), (), ("cache",), global_changes=("cache",)),
    Summary("def f():\n    other(state)", (), (), ("other", "state"), (), (), ("state",), {"other": (("0", "state"),)}),
    Summary("def f(x):\n    g(x, k=y)", ("x",), (), ("g", "y"), (), (), ("y",), {"g": (("0", "x"), ("k", "y"))}),
    Summary("f = lambda x: x.append(1)", ("x",), ("x",)),
)


@pytest.mark.parametrize("row", SUMMARIES, ids=lambda row: row.source.replace("\n", " | "))
def test_functions(row: Summary) -> None:
    (statement,) = analysis.analyse_source(row.source).statements
    function = statement.function
    assert isinstance(function, Function)
    assert function.name == "f"
    for name in ("parameters", "changes", "reads", "global_binds", "global_changes", "global_may_change"):
        assert getattr(function, name) == getattr(row, name), name
    for name, arguments in row.calls.items():
        assert arguments in [call.arguments for call in function.calls if call.function == name]


# --- text, lines, fingerprints ---------------------------------------------------------------------------------


def statements(source: str) -> tuple[Statement, ...]:
    return analysis.analyse_source(source).statements


def test_statements_keep_their_text_and_lines() -> None:
    source = "x = 1  # one\n\n# why\n@dec\ndef f():\n    return 1\ny = 2; z = 3\n%time w = 4"
    found = statements(source)
    assert [(s.line, s.end_line) for s in found][:4] == [(1, 1), (4, 6), (7, 7), (7, 7)]
    assert [s.source for s in found][:4] == [
        "x = 1  # one",
        "# why\n@dec\ndef f():\n    return 1",
        "y = 2",
        "z = 3",
    ]
    assert found[-1].source == "%time w = 4"


def test_a_continued_magic_keeps_its_text() -> None:
    (first, second) = statements("!tar cf x.tar \\\n  a \\\n  b\ny = 1")
    assert first.source == "!tar cf x.tar \\\n  a \\\n  b"
    assert second.source == "y = 1"
    (only,) = statements("%%bash\nls\n\npwd")
    assert only.source == "%%bash\nls\n\npwd"


def test_layout_does_not_count_and_magics_do() -> None:
    def digest(source: str) -> str:
        return analysis.analyse_source(source).fingerprint

    assert digest("x = 1 # a") == digest("x  =  1\n")
    assert digest("x = 1") != digest("x = 2")
    assert digest("x = 1\ny = 2") != digest("y = 2\nx = 1")
    assert digest("!ls a") != digest("!ls b")
    assert digest("%%bash\nls") != digest("%%bash\npwd")
    assert digest("x = (") != digest("y = (")


def test_what_is_not_python_is_an_error_with_its_line() -> None:
    names = analysis.analyse_source("x = 1\ny = (")
    assert names.statements == ()
    assert names.error is not None
    assert names.error[1] == 2


@pytest.mark.parametrize("source", ["", "\n\n", "# only a comment"])
def test_empty_cells(source: str) -> None:
    assert analysis.analyse_source(source).statements == ()


# --- whole notebooks and the cache -----------------------------------------------------------------------------


class Memory:
    """A cache in a dictionary."""

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}
        self.asked = 0

    def get_many(self, digests: list[str], /) -> dict[str, bytes]:
        self.asked += len(digests)
        return {digest: self.items[digest] for digest in digests if digest in self.items}

    def put_many(self, items: dict[str, bytes], /) -> None:
        self.items.update(items)


def read(folder: Path, *cells: str) -> notebook.Notebook:
    path = folder / "n.ipynb"
    made = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": s, "outputs": [], "execution_count": None}
        for i, s in enumerate(cells)
    ]
    text = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "x = 1"}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [*made, text]}))
    return notebook.read(path)


def test_a_cache_changes_nothing(tmp_path: Path) -> None:
    made, cache = read(tmp_path, "%%step a\nx = 1", "def f(x): x.append(1)", "f(x)\n%cd y"), Memory()
    plain = analysis.analyse(made)
    assert len(plain) == 4
    assert plain[3].statements == ()  # markdown has no names
    assert analysis.analyse(made, cache) == plain
    assert len(cache.items) == 3
    kept = dict(cache.items)
    assert analysis.analyse(made, cache) == plain
    assert cache.items == kept


def test_damaged_entries_are_made_anew(tmp_path: Path) -> None:
    made, cache = read(tmp_path, "x = 1"), Memory()
    plain = analysis.analyse(made, cache)
    for digest in list(cache.items):
        cache.items[digest] = b"damaged"
    assert analysis.analyse(made, cache) == plain
    assert b"damaged" not in cache.items.values()


def test_methods_of_the_notebook_are_not_taken_for_known_ones(tmp_path: Path) -> None:
    """``x.mean()`` only looks, unless a class of the notebook has a method ``mean``."""
    owned = read(tmp_path, "class C:\n    def mean(self):\n        self.n = 1", "x.mean()")
    plain = read(tmp_path, "x.mean()")

    def possible(names: Names) -> set[str]:
        return {reference.name for statement in names.statements for reference in statement.may_change}

    assert possible(analysis.analyse(owned)[1]) == {"x"}
    assert possible(analysis.analyse(plain)[0]) == set()
