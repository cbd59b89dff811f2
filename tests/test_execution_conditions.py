"""``--when``: what a condition can say, against Python itself as the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellway.errors import UsageError
from cellway.execution import conditions

VALUES: dict[str, Any] = {"n": 7, "x": 0.5, "mode": "full", "flags": [1, 2, 3], "table": {"a": {"b": 2}}, "no": None}

UNDERSTOOD = [
    "n > 3",
    "3 < n <= 7",
    "mode == 'full' and not n % 2",
    "mode in ['full', 'fast'] or x",
    "flags[-1] == 3",
    "flags[1:] == [2, 3]",
    "len(flags) // 2 == 1",
    "no is None",
    "'z' not in mode",
    "(n, x) == (7, 0.5)",
    "-n + 8 == +1",
    "True",
    "''",
]

REFUSED = {
    "__import__('os')": "more than a condition can do",
    "n.real": "more than a condition can do",
    "open('f')": "more than a condition can do",
    "[i for i in flags]": "more than a condition can do",
    "(lambda: 1)()": "more than a condition can do",
    "n := 3": "not a Python expression",
    "missing > 1": "neither a parameter nor an input",
    "n >": "not a Python expression",
    "flags[9] > 1": "IndexError",
    "n / 0": "ZeroDivisionError",
    "mode > 1": "TypeError",
    "2 ** 10 ** 10": "more than a condition can do",
    "'a' * 10 ** 9": "more than a condition can do",
    "'a' * 1000000000": "very long",
    "'%s' % n": "text formatting",
    "len(x=1)": "more than a condition can do",
    "f'{n}'": "more than a condition can do",
}


@pytest.mark.parametrize("expression", UNDERSTOOD)
def test_it_means_what_python_means(expression: str) -> None:
    assert conditions.holds(expression, VALUES, "s") is bool(eval(expression, {}, VALUES))


@pytest.mark.parametrize("expression", REFUSED)
def test_what_it_cannot_do_is_refused_with_the_step_and_a_fix(expression: str) -> None:
    with pytest.raises(UsageError, match=REFUSED[expression]) as caught:
        conditions.holds(expression, VALUES, "train")
    assert "step train" in str(caught.value)
    assert "--when" in caught.value.fix


def test_the_names_that_it_uses() -> None:
    assert conditions.names("n > 1 and len(flags) > x['k']", "s") == {"n", "flags", "x"}


numbers = st.integers(-9, 9) | st.floats(-9, 9, allow_nan=False) | st.booleans()
leaves = st.sampled_from(["n", "x", "mode", "flags", "len(flags)", "flags[0]", "'full'", "None"]) | numbers.map(repr)


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = ["+", "-", "*", "/", "//", "%", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "and", "or"]
    return st.tuples(inner, st.sampled_from(signs), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})") | inner.map(
        lambda e: f"(not {e})"
    )


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@given(st.recursive(leaves, compound, max_leaves=6))
def test_any_expression_means_what_python_means_or_is_refused(expression: str) -> None:
    try:
        expected: bool | None = bool(eval(expression, {}, VALUES))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        expected = None
    try:
        found: bool | None = conditions.holds(expression, VALUES, "s")
    except UsageError as error:
        if "text formatting" in str(error) or "`is` is for" in str(error):
            return
        found = None
    assert found is expected
