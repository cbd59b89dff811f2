"""Random programs are executed, and what really happened must have been foreseen by the analysis.

A program has two steps. The first makes lists, dictionaries, an object and helper functions; the second is random. Its
statements run one by one in a namespace that notes which names are read and bound. Foreseen means: a name that is read
is among the reads; a name that is bound among the binds; and each object of the first step that differs at the end of
the second belongs to a name among the second's changes, possible changes (watched when a step runs) or binds.
"""

from __future__ import annotations

import ast
import builtins
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellway import analysis
from cellway.pipeline import effects
from cellway.records import Function, Names

FIRST = """
import contextlib, copy, functools
a = [[1], [2]]
b = [[3], [4, 5]]
c = [[[6]], [[7]]]
d = {'k': [[1]], 'j': [[2]]}
e = {'k': [[3]], 'j': {'k': [4]}}
registry = []
n = 1
class Hold:
    def __init__(self, x):
        self.x = x
    def poke(self):
        self.x.append(1)
    def __repr__(self):
        return f"Hold({self.x})"
o = Hold([[1]])
def same(x):
    return x
def first(x):
    return x[0]
def add(x):
    x.append(9)
def add_to(x, k=None, *more, **named):
    k[0].append(x)
    for y in more:
        y.append(1)
    for y in named.values():
        y.append(2)
def through(z):
    add(z)
def through_local(z):
    y = z[0]
    y.append(3)
def change_global():
    a.append(5)
def change_global_inside():
    for y in b:
        change_item(y)
def change_item(y):
    y.append(6)
def register(x):
    registry.append(x)
def poke_registry():
    registry[-1].append(1)
def bind_global():
    global fresh
    fresh = a[0]
def ask(f, x):
    return f(x)
def make(x):
    def inner():
        x.append(8)
    return inner
@contextlib.contextmanager
def lent(x):
    yield x
"""

NAMES = st.sampled_from(["a", "b", "c", "d", "e", "o", "registry", "t", "u", "v"])
TARGETS = st.sampled_from(["t", "u", "v", "a", "d"])
HELPERS = st.sampled_from(
    ["add", "through", "through_local", "register", "first", "same", "add_to", "t.append", "change_item", "f", "K"]
)


def _fill(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda values: template.format(*values))


def _expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    one = (
        "{0}[0]", "{0}['k']", "{0}[-1]", "{0}[1:]", "{0}.x", "list({0})", "tuple({0})", "[{0}]", "{{'k': {0}}}",
        "[x for x in {0}]", "[x[0] for x in {0} if x]", "{{'k': x for x in {0}}}", "list(x for x in {0})",
        "sorted({0}, key=str)", "max({0}, key=str)", "{0}.copy()", "copy.copy({0})", "copy.deepcopy({0})",
        "list({0}.values())", "{0}.get('k')", "{0}.setdefault('k', [])", "same({0})", "first({0})", "Hold({0})",
        "getattr({0}, 'x')", "(lambda q: q)({0})", "next(iter({0}))", "list(map(same, {0}))", "list(filter(None, {0}))",
        "sum({0}, [])", "[*{0}]", "dict({0})", "{{**{0}}}", "{0} * 2", "[y for x in {0} for y in x]",
        "functools.reduce(lambda x, y: x, {0})", "ask(same, {0})", "vars({0})['x']", "{0}.pop()", "(t := {0})",
        "[q for q in [{0}] if q]", "len({0})", "str({0})", "make({0})", "functools.partial(add, {0})", "iter({0})",
        "next({0})", "lambda: {0}", "lambda z={0}: z.append(1)", "{0}()", "list(reversed({0}))",
        "list({0}.items())[0][1]",
    )  # fmt: skip
    two = (
        "{0} + {1}", "[{0}, {1}]", "({0} if n else {1})", "({0} or {1})", "({0} and {1})", "list(zip({0}, {1}))[0][0]",
        "{{'k': {0}, 'j': {1}}}", "{0}.get('z', {1})", "{0} | {1}", "{0} == {1}", "{0} in {1}",
        "[x + y for x, y in zip({0}, {1})]", "max({0}, {1}, key=str)", "ask({0}, {1})",
        "functools.reduce(lambda x, y: y, {0}, {1})",
    )  # fmt: skip
    return st.one_of(
        st.one_of([_fill(template, inner) for template in one]),
        st.one_of([_fill(template, inner, inner) for template in two]),
    )


EXPRESSION = st.recursive(NAMES, _expressions, max_leaves=4)


def _simple(e: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        _fill("{} = {}", TARGETS, e),
        _fill("{} = {} = {}", TARGETS, TARGETS, e),
        _fill("{}, {} = {}, {}", TARGETS, TARGETS, e, e),
        _fill("{}, *{} = {}", TARGETS, TARGETS, e),
        _fill("({}, {}), {} = {}, {}", TARGETS, TARGETS, TARGETS, e, e),
        _fill("{} += {}", TARGETS, e),
        _fill("{}: list = {}", TARGETS, e),
        _fill("{}.append(n)", e),
        _fill("{}.append({})", e, e),
        _fill("{}.extend({})", e, e),
        _fill("{}[0] = {}", e, e),
        _fill("{}['k'] = {}", e, e),
        _fill("{}[:] = {}", e, e),
        _fill("{}[0] += {}", e, e),
        _fill("{}.x = {}", e, e),
        _fill("{}.update(k={})", e, e),
        _fill("del {}[0]", e),
        _fill("del {}", TARGETS),
        _fill("{}.sort(key=str)", e),
        _fill("{}.poke()", e),
        _fill("{}({})", HELPERS, e),
        _fill("{}({}, {})", HELPERS, e, e),
        _fill("{}({}, k={})", HELPERS, e, e),
        _fill("add_to(0, {}, {}, m={})", e, e, e),
        _fill("add_to(*{})", e),
        _fill(
            "{}()", st.sampled_from(["change_global", "change_global_inside", "poke_registry", "bind_global", "t", "f"])
        ),
        _fill("{} = {}", TARGETS, HELPERS),
        _fill("list(map({}, {}))", HELPERS, e),
        _fill("ask({}, {})", HELPERS, e),
        _fill("[x.append(1) for x in {}]", e),
        _fill("[{}(x) for x in {}]", HELPERS, e),
        _fill("print({})", e),
        _fill("assert {}", e),
        _fill("{}", e),
        _fill("import copy as {}", TARGETS),
    )


def _indented(block: str) -> str:
    return "\n".join(f"    {line}" for line in block.split("\n"))


def _compound(inner: st.SearchStrategy[str], e: st.SearchStrategy[str] = EXPRESSION) -> st.SearchStrategy[str]:
    block = inner.map(_indented)
    return st.one_of(
        _fill("if {}:\n{}\nelse:\n{}", e, block, block),
        _fill("if n > 5:\n{}", block),
        _fill("for t in {}:\n{}", e, block),
        _fill("for x in {}:\n    x.append(1)\n{}", e, block),
        _fill("for t, u in zip({}, {}):\n{}", e, e, block),
        _fill("for t in list({}):\n{}\n    break\nelse:\n{}", e, block, block),
        _fill("while True:\n{}\n    break", block),
        _fill("try:\n{}\nexcept Exception as error:\n{}\nfinally:\n{}", block, block, block),
        _fill("try:\n{}\nexcept Exception:\n    pass\nelse:\n{}", block, block),
        _fill("with lent({}) as t:\n{}", e, block),
        _fill("def f(t=None, u=None):\n{}", block),
        _fill("def f(*t):\n    global v\n{}", block),
        _fill("def f(t):\n    def g():\n    {}\n    g()", block.map(lambda text: text.replace("\n", "\n    "))),
        _fill("class K:\n    x = {}\n    def poke(self):\n        self.x.append(1)", e),
        _fill("class K:\n{}", block),
        _fill("match {}:\n    case [t, *u]:\n        t.append(1)\n    case {{'k': u}}:\n        u.append(1)", e),
        _fill("{}\n{}", inner, inner),
    )


STATEMENT = st.recursive(_simple(EXPRESSION), _compound, max_leaves=3)
PROGRAM = st.lists(STATEMENT, min_size=1, max_size=4).map("\n".join)

# Shorter lines over nested lists alone: less variety, but most of them run to their end.
LISTS = st.sampled_from(["a", "b", "c", "t", "u"])
SHORT = st.one_of(LISTS, _expressions(LISTS))
SHORT_STATEMENT = st.one_of(_simple(SHORT), _compound(_simple(SHORT), SHORT))
SHORT_PROGRAM = st.lists(SHORT_STATEMENT, min_size=2, max_size=5).map("\n".join)


class Space(dict[str, Any]):
    """A namespace that notes what is read and bound (also from within functions)."""

    def __init__(self) -> None:
        super().__init__(__builtins__=builtins, __name__="notebook")
        self.read: set[str] = set()
        self.bound: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        if name not in self.bound and not hasattr(builtins, name):
            self.read.add(name)
        return super().__getitem__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.bound.add(name)
        super().__setitem__(name, value)


class Foreseen:
    """What the analysis says of a step, statement by statement."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.aliases: dict[str, set[str]] = {}
        self.reads: set[str] = set()
        self.touched: set[str] = set()

    def statement(self, names: Names) -> tuple[set[str], set[str]]:
        """Names read and names bound by one statement."""
        (found,) = names.statements
        if found.function is not None:
            self.functions[found.function.name] = found.function
        outcome = effects.of_statement(found, self.functions.get, self.aliases)
        effects.follow_aliases(found, self.aliases)
        binds = {*found.binds, *found.may_bind, *outcome.binds, *found.deletes}
        self.reads |= {reference.name for reference in (*found.reads, *found.deferred)}
        self.touched |= {*outcome.changes, *outcome.may_change, *binds}
        return set(self.reads), binds


_FIRST = compile(FIRST, "<first>", "exec")
_FUNCTIONS = {
    statement.function.name: statement.function
    for statement in analysis.analyse_source(FIRST).statements
    if statement.function is not None
}


def check(program: str) -> None:
    """Run a program as the second step and compare."""
    space, foreseen = Space(), Foreseen()
    exec(_FIRST, space)
    foreseen.functions = dict(_FUNCTIONS)
    objects = {name: value for name, value in space.items() if not name.startswith("__")}
    before = {name: _state(value) for name, value in objects.items()}
    body = ast.parse(program).body
    whole = analysis.analyse_source(program)
    assert len(whole.statements) == len(body)
    carried = {name for function in foreseen.functions.values() for name in function.reads}
    for node, found in zip(body, whole.statements, strict=True):
        space.read, space.bound = set(), set()
        reads, binds = foreseen.statement(Names("", (found,)))
        ended = _run(node, space)
        # What helpers of the first step read is carried with them. Where `try` lets an exception through, `finally` may
        # read names that the rest had no time to bind; the step has failed then.
        if ended or not any(isinstance(part, ast.Try) for part in ast.walk(node)):
            missed = space.read - reads - carried
            assert not missed, f"read, not foreseen: {missed}"
        bound = space.bound - {"__annotations__", "error"}  # `except … as error` lasts as long as its handler
        assert bound <= binds, f"bound, not foreseen: {bound - binds}"
        if ended:
            assert set(found.binds) <= set(space), f"not bound, though foreseen: {set(found.binds) - set(space)}"
    changed = {name for name, value in objects.items() if _state(value) != before[name]}
    assert changed <= foreseen.touched, f"changed, not foreseen: {changed - foreseen.touched}"


def _state(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """What an object is made of, to be compared with what it is made of later."""
    if id(value) in inside:
        return inside.index(id(value))
    inside = (*inside, id(value))
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(_state(item, inside) for item in value)]
    if isinstance(value, dict):
        return [(_state(key, inside), _state(item, inside)) for key, item in value.items()]
    if isinstance(value, type):
        return [(key, _state(item, inside)) for key, item in vars(value).items() if not key.startswith("__")]
    if type(value).__name__ == "Hold":
        return _state(vars(value), inside)
    return repr(value)


class _TooLong(BaseException):
    """A loop that feeds itself (``for x in a: a.append(x)``)."""


def _run(node: ast.stmt, space: Space) -> bool:
    """Run a statement; ``False`` if it raised, which ends a statement but not the program."""
    lines = 0

    def count(*_: object) -> Any:
        nonlocal lines
        lines += 1
        if lines % 60 == 0 or any(len(value) > 200 for value in space.values() if isinstance(value, list)):
            raise _TooLong
        return count

    code = compile(ast.Module([node], []), "<second>", "exec")
    tracing = sys.gettrace()
    sys.settrace(count)
    try:
        exec(code, space)
    except (Exception, _TooLong):  # noqa: BLE001 - most random programs fail somewhere
        return False
    finally:
        sys.settrace(tracing)
    return True


EXAMPLES = (
    "t = a\nt.append(1)",
    "for t in [x for x in a]:\n    t.append(1)",
    "for t in a + b:\n    t.append(1)",
    "(a + b)[0].append(1)",
    "a.copy()[0].append(1)",
    "t = copy.copy(a)\nt[0].append(1)",
    "list(map(add, a))",
    "ask(f, a)\nf = 1",
    "t = change_global\nt()",
    "ask(lambda x: change_global(), a)",
    "t = make(a)\nt()",
    "register(a)\npoke_registry()",
    "with lent(a) as t:\n    t.append(1)",
    "class K:\n    x = a\nK.x.append(1)",
    "class K:\n    x = a\n    def poke(self):\n        self.x.append(1)\nK().poke()",
    "def f(t=a):\n    t.append(1)\nf()",
    "sum([a, b], [])[0].append(1)",
    "t = iter(a)\nnext(t).append(1)",
    "o.poke()",
    "add_to(*(t := c))",
    "t = [a]\nnext(t)[0] += (t := a)",
)


@pytest.mark.parametrize("program", EXAMPLES)
def test_known_cases(program: str) -> None:
    check(program)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(PROGRAM, SHORT_PROGRAM))
def test_nothing_happens_unforeseen(program: str) -> None:
    try:
        compile(program, "<second>", "exec")
    except SyntaxError:
        return
    check(program)
