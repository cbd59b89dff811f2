"""IPython syntax as tables, and IPython's own transformer as the oracle for which lines are its own."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellway.analysis import magics
from cellway.analysis.ipython import Magic, needs, transform


@dataclass(frozen=True)
class Row:
    """A body, the Python expected of it, and what is expected of its magics (in order; only the fields given)."""

    body: str
    python: str
    magics: tuple[dict[str, object], ...] = ({},)


ROWS = (
    # settings, folders, environment, installing
    Row("%matplotlib inline", "__magic__(0)", ({"ambient": ("options",), "text": "%matplotlib inline"},)),
    Row("%load_ext autoreload\n%autoreload 2", "__magic__(0)\n__magic__(1)", ({"line": 1}, {"line": 2})),
    Row("%cd {folder}", "__magic__(0)", ({"ambient": ("chdir",), "reads": ("folder",)},)),
    Row("%env TOKEN=$token", "__magic__(0)", ({"ambient": ("environ",), "reads": ("token",), "pure": False},)),
    Row("%env", "__magic__(0)", ({"ambient": (), "pure": True},)),
    Row("%set_env A 1", "__magic__(0)", ({"ambient": ("environ",)},)),
    Row("%pip install -q polars", "__magic__(0)", ({"ambient": ("install",)},)),
    Row("%pip list", "__magic__(0)", ({"ambient": ()},)),
    Row("!pip install polars", "__magic__(0)", ({"ambient": ("install",)},)),
    Row("!{sys.executable} -m pip install x", "__magic__(0)", ({"ambient": ("install",), "reads": ("sys",)},)),
    Row("!pip list", "__magic__(0)", ({"ambient": (), "pure": True},)),
    # commands
    Row("files = !ls {folder}/*.csv", "files = __magic__(0)", ({"reads": ("folder",)},)),
    Row("!!cat $path.txt", "__magic__(0)", ({"reads": ("path",)},)),
    Row("!cp {a[0].name} {b if c else d}", "__magic__(0)", ({"reads": ("a", "c", "b", "d"), "pure": False},)),
    Row("!awk '{print $1}' $HOME/x $$pid", "__magic__(0)", ({"reads": ("HOME",)},)),
    Row("!echo {", "__magic__(0)", ({"reads": ()},)),
    Row("!tar x \\\n  {y} \\\n  z\na = 1", "__magic__(0)\n\n\na = 1", ({"reads": ("y",)},)),
    Row("%sc out = ls", "out = __magic__(0)", ({"binds": ("out",)},)),
    # Python inside
    Row("%time x = f(y)", "__magic__(0); x = f(y)"),
    Row("x = %time f(y)  # slow", "x = __magic__(0) or (f(y))"),
    Row("x = %time y = f(z)", "x = __magic__(0); y = f(z)"),
    Row("%time for a in b: f(a)", "for a in b: f(a)"),
    Row("%time !ls {d}", "__magic__(0); __magic__(1)", ({}, {"reads": ("d",)})),
    Row("%timeit -n 10 -r3 x = f(y)", "if __magic__(0): x = f(y)"),
    Row("r = %timeit -o f(y)", "r = __magic__(0) and (f(y))"),
    Row("%prun -s cumulative -l10 f(x)", "__magic__(0); f(x)", ({"text": "%prun -s cumulative -l10"},)),
    Row("%lprun -f helper f(x)", "__magic__(0); f(x)", ({"reads": ("helper",)},)),
    Row("%xdel big", "__magic__(0); del big"),
    Row("%aimport a.b, -c, d as e", "__magic__(0); import a.b; import d as e"),
    Row("if a:\n    %time f(b)\nelse:\n    !ls", "if a:\n    __magic__(0); f(b)\nelse:\n    __magic__(1)", ({}, {})),
    # cell magics over Python
    Row("%%time\nx = 1\ny = 2", "__magic__(0)\nx = 1\ny = 2"),
    Row(
        "\n\n%%capture out\nprint(1)",
        "\n\nout = __magic__(0)\nprint(1)",
        ({"binds": ("out",), "line": 3, "reads": ()},),
    ),
    Row("%%capture out\nprint(out)", "out = __magic__(0)\nprint(out)", ({"binds": ("out",), "reads": ("out",)},)),
    Row("%%capture --no-stderr\n%%time\n%cd x", "__magic__(0)\n__magic__(1)\n__magic__(2)", ({}, {}, {"line": 3})),
    Row("%%timeit\nx = f(y)\nz = x", "if __magic__(0):\n x = f(y)\n z = x"),
    Row("%%timeit\n# nothing", "__magic__(0)\n# nothing"),
    Row(
        "%%timeit import numpy as np; a = f(b)\nnp.sum(a)",
        "if __magic__(0) and [f, b, (a := 0), (np := 0)]:\n np.sum(a)",
    ),
    # cell magics in other languages
    Row("%%bash --out text --err=errors\nls {x}\n\npwd", "text = errors = __magic__(0)\n\n\n", ({"reads": ()},)),
    Row("%%script {shell} --no-raise-error\nls", "__magic__(0)\n", ({"reads": ("shell",), "opaque": ""},)),
    Row("%%html\n<b>x?</b>\n%time", "__magic__(0)\n\n", ({"pure": True},)),
    Row("%%writefile {name}.py\nx = 1", "__magic__(0)\n", ({"reads": ("name",), "opaque": ""},)),
    Row("%%!\nls {x}", "__magic__(0)\n", ({"reads": ("x",)},)),
    # help
    Row("df?", "__magic__(0)", ({"reads": ("df",), "pure": True},)),
    Row("df.head??", "__magic__(0)", ({"reads": ("df",)},)),
    Row("?np.linalg.norm", "__magic__(0)", ({"reads": ("np",), "pure": True},)),
    Row("np.*load*?", "__magic__(0)", ({"reads": ("np",)},)),
    Row("*Error?", "__magic__(0)", ({"reads": ()},)),
    Row("%time?", "__magic__(0)", ({"reads": (), "pure": True},)),
    Row("%%time?", "__magic__(0)", ({"reads": (), "pure": True},)),
    Row("%pinfo df", "__magic__(0)", ({"reads": ("df",), "pure": True},)),
    # without a sign: a cell of one line
    Row("pip install x", "__magic__(0)", ({"ambient": ("install",)},)),
    Row("cd data", "__magic__(0)", ({"ambient": ("chdir",)},)),
    Row("cd /tmp", "__magic__(0)", ({"ambient": ("chdir",)},)),
    # pasted sessions, indented cells
    Row(">>> for i in x:\n...     f(i)\n... \n>>> %pwd", "for i in x:\n    f(i)\n\n__magic__(0)", ({"line": 4},)),
    Row("In [3]: x = 1\n   ...: y = 2", "x = 1\ny = 2", ()),
    Row("    x = 1\n    %pwd", "x = 1\n__magic__(0)", ({"line": 2},)),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.body)
def test_syntax(row: Row) -> None:
    assert needs(row.body)
    python, found = transform(row.body)
    assert python == row.python
    ast.parse(python)
    assert len(found) == len(row.magics)
    for magic, expected in zip(found, row.magics, strict=True):
        assert {name: getattr(magic, name) for name in expected} == expected


OPAQUE = (
    "%run other.ipynb",
    "%load snippet.py",
    "%store -r x",
    "%macro m 1-3",
    "%edit",
    "%reset -f",
    "%pylab",
    "%frobnicate x",
    "x = %frobnicate",
    "%%frobnicate\nx = 1",
    "%%cython\ncdef int f(): return 1",
    "%%sql\nselect 1",
    "%%R -i df -o out\nout <- df",
    "/f x",
    ",f a b",
    ";f a b",
    "x = 1\n%%time\ny = 2",
    "%timeit with a as b: f(b)",
    "names = %who_ls",
)


@pytest.mark.parametrize("body", OPAQUE)
def test_what_cannot_be_followed_says_so(body: str) -> None:
    assert needs(body)
    python, found = transform(body)
    ast.parse(python)
    assert any(magic.opaque for magic in found)


PLAIN = (
    "x = (1\n% 3)",
    "x = [1\n, 2\n]",
    "x = a \\\n% b",
    "x = '''\n%foo\n!ls\ny?\n'''",
    'f("""\n%%time\n""")',
    "if a != b: pass",
    "x != y",
    "x = '!ls'  # !ls",
    "# what?",
    "x = 1  # %time y?",
    "print('why?')",
    "def f():\n    '''Example.\n\n    >>> f()\n    1\n    '''",
    "ls = 1",
    "time(x)",
    "page.text",
    "history",
    "x = y % z",
    "x %= 3\ny /= 2",
    "f'{x!r} {y % 2}'",
    "",
    "\n\n",
    "# only a comment",
)


@pytest.mark.parametrize("body", PLAIN)
def test_python_stays_as_it_is(body: str) -> None:
    assert transform(body) == (body, ())


BROKEN = (
    "x = (",
    "'''",
    "%",
    "!",
    "?",
    "%%",
    "x =",
    "x = %",
    "x = !",
    "\\",
    "%time \\",
    "x???",
    "?\n?",
    "%%timeit x = (\ny",
)


@pytest.mark.parametrize("body", BROKEN)
def test_broken_text_is_survived(body: str) -> None:
    python, _ = transform(body)
    assert python.count("\n") == body.count("\n")


# --- IPython as the oracle -----------------------------------------------------------------------------------------

LINES = (
    "x = 1",
    "x = a % b",
    "x = (a\n% b)",
    "y = [\n1\n, 2]",
    "s = '''\n%ls\n!ls\n'''",
    's = """it\'s?\n"""  # it\'s',
    "s = '%ls' + \"!ls\"",
    "# %ls",
    "",
    "if a:\n    x = 2",
    "if a:\n    %ls x\n    y = %pwd",
    "for b in c:\n    !echo {b} \\\n  $c\n    b?",
    "def f():\n    '''Docs: what?'''\n    return !x",
    "x != y",
    "x %= 2",
    "x /= 2",
    "x = y \\\n  % z",
    "f(a=1, b=2)",
    "f(\n  a\n)?",
    "%ls",
    "%cd a  b",
    "% ls",
    "%time x = f(y)",
    "%matplotlib inline  # really?",
    "%%time",
    "!ls 'a b' \"c",
    "! ls",
    "!ls \\\n  -l",
    "!!ls",
    "!ls foo?",
    "!echo 'why?'",
    "x = !ls",
    "x = ! ls {y}",
    "x = %pwd",
    "x = % pwd",
    "x, y = %sx ls",
    "x: list = !ls",
    "x[\n0\n] = !ls",
    "x = y = !ls",
    "x == 1",
    "d['a=b'] = %pwd",
    "f(a='=')",
    "x?",
    "x.y??",
    "x[0].y?",
    "x = y?",
    "x ?",
    "?x",
    "??x.y",
    "?",
    "%time?",
    "print('x')?",
    "lambda a=1: a",
    "x = 1; y?",
    "f'{x!r}'",
    "f'{a[\"b\"]}'",
    "\tx = 1",
)


def _ours(body: str) -> tuple[list[str], bool]:
    """What each magic is, shortly; and whether what remains is Python."""
    python, found = transform(body)
    return [_shortly(magic.text) for magic in found], magics_parse(python)


def magics_parse(python: str) -> bool:
    try:
        ast.parse(python)
    except SyntaxError:
        return False
    return True


def _shortly(text: str) -> str:
    if text.endswith("?") and "# really" not in text:
        return "help"
    if text.startswith("?"):
        return "help"
    sign = re.match(r"%%|%|!!?", text)
    assert sign is not None, text
    return sign[0] + (
        text[len(sign[0]) :].split("\n", maxsplit=1)[0].split(" ", maxsplit=1)[0] if "%" in sign[0] else ""
    )


_CALL = re.compile(r"get_ipython\(\)\.(run_line_magic|run_cell_magic|system|getoutput|show_usage)\((?:'([^']*)')?")


def _theirs(body: str) -> tuple[list[str], bool]:
    from IPython.core.inputtransformer2 import TransformerManager

    start = body.lstrip()
    if start.startswith("%%time\n"):  # which runs what follows as a cell
        found, is_python = _theirs(start.partition("\n")[2])
        return ["%%time", *found], is_python
    python = TransformerManager().transform_cell(body)
    found = []
    for verb, first in _CALL.findall(python):
        if verb == "run_line_magic":
            found.append("help" if first.startswith(("pinfo", "psearch")) else f"%{first}")
        elif verb == "run_cell_magic":
            found.append(f"%%{first}")
        else:
            found.append({"system": "!", "getoutput": "!!", "show_usage": "help"}[verb])
    return found, magics_parse(python)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=6).map("\n".join))
def test_ipython_agrees(body: str) -> None:
    """The same lines are magics for IPython and for us, and what remains is Python for both or for none."""
    assert not re.search(r"get_ipython", body)
    expected, is_python = _theirs(body)
    found, ours_is_python = _ours(body)
    assert ours_is_python == is_python
    if is_python:  # IPython stops at the first line that it cannot make sense of
        # `x = !ls` and `!!ls` are the same call in IPython's output.
        assert [kind.replace("!!", "!") for kind in found] == [kind.replace("!!", "!") for kind in expected]
    if found:
        assert needs(body)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="%!?=xy \n\\'\"#([{}])$,;/.:1", max_size=60))
def test_any_text_is_survived_line_by_line(body: str) -> None:
    python, found = transform(body)
    assert python.count("\n") == body.count("\n")
    assert found or needs(body) or python.split() == body.split()
    for number, magic in enumerate(found):
        assert f"__magic__({number})" in python or magic.text.startswith("%time")
        assert 1 <= magic.line <= body.count("\n") + 1
        assert all(name.isidentifier() for name in (*magic.reads, *magic.binds))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([line for line in LINES if not re.search(r"^\s*[%!?]|= ?[%!]|\?$", line, re.MULTILINE)]),
        min_size=1,
        max_size=6,
    ).map("\n".join)
)
def test_python_is_never_touched(body: str) -> None:
    if magics_parse(body):
        assert transform(body) == (body, ())


def test_magics_know_every_magic_of_ipython() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    known = InteractiveShell().magics_manager.lsmagic()
    asked = [magics.line_magic(name, "", f"%{name}", 1) for name in known["line"]]
    assert [magic.text for magic in asked if magic.opaque.startswith("nothing is known")] == []
    python = {*magics.CODE, magics.TIMEIT, magics.CAPTURE, "code_wrap"}
    asked = [magics.cell_magic(name, "", "", f"%%{name}", 1) for name in known["cell"] if name not in python]
    assert [magic.text for magic in asked if magic.opaque] == []


def test_magic_is_a_plain_record() -> None:
    assert Magic("%pwd", 1) == Magic("%pwd", 1, (), (), (), "", False)
