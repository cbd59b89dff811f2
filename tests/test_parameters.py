from __future__ import annotations

from typing import Any

import pytest
from planning_world import pipeline

from cellway import parameters
from cellway.errors import UsageError
from cellway.records import Parameter


def one(type_: str | None, default: Any = None, **more: Any) -> Parameter:
    return Parameter("p", type_, default, **more)


@pytest.mark.parametrize(
    ("parameter", "given", "expected"),
    [
        (one("int"), 3, 3),
        (one("int"), "3", 3),
        (one("int"), "-1_000", -1000),
        (one("float"), 3, 3.0),
        (one("float"), "3", 3.0),
        (one("float"), "1e-3", 0.001),
        (one("str"), "3", "3"),
        (one("str", optional=True), "none", "none"),
        (one("bool"), True, True),
        (one("bool"), "yes", True),
        (one("bool"), "Off", False),
        (one("list"), "[1, 2]", [1, 2]),
        (one("list"), "[a, b]", ["a", "b"]),
        (one("list"), [1, "x"], [1, "x"]),
        (one("dict"), '{"a": 1}', {"a": 1}),
        (one("dict"), "{a: 1}", {"a": 1}),
        (one("int", optional=True), None, None),
        (one("int", optional=True), "none", None),
        (one("float", optional=True), "null", None),
        (one(None), 5, 5),
        (one(None), "5", "5"),
        (one(None), None, None),
        (one("str", choices=("a", "b")), "b", "b"),
        (one("int", choices=(1, 2)), "2", 2),
        (one("int", choices=(1, 2), optional=True), "none", None),
    ],
)
def test_values_that_are_taken(parameter: Parameter, given: Any, expected: Any) -> None:
    found = parameters.check(pipeline(parameters=[parameter]), {"p": given})
    assert repr(found) == repr({"p": expected})


@pytest.mark.parametrize(
    ("given", "expected"), [("5", 5), ("[1]", [1]), ("True", True), ("none", None), ("a b", "a b")]
)
def test_a_typed_text_without_a_type_is_what_it_looks_like(given: str, expected: Any) -> None:
    assert parameters.check(pipeline(parameters=[one(None)]), {"p": given}, texts=True) == {"p": expected}


@pytest.mark.parametrize(
    ("parameter", "given", "message"),
    [
        (one("float"), "abc", "parameter p: expected a float, got 'abc'"),
        (one("int"), 1.5, "parameter p: expected an int, got 1.5"),
        (one("int"), "1.5", "parameter p: expected an int, got '1.5'"),
        (one("int"), True, "parameter p: expected an int, got True"),
        (one("int"), None, "parameter p: expected an int, got None"),
        (one("int", optional=True), "x", "parameter p: expected an int or None, got 'x'"),
        (one("str"), 3, "parameter p: expected a text, got 3"),
        (one("bool"), "maybe", "parameter p: expected a bool (true or false), got 'maybe'"),
        (one("bool"), 1, "parameter p: expected a bool (true or false), got 1"),
        (one("list"), "{a: 1}", "parameter p: expected a list such as [1, 2], got '{a: 1}'"),
        (one("dict"), "[1", "parameter p: expected a dict such as {\"a\": 1}, got '[1'"),
        (one("str", choices=("a", "b")), "c", "parameter p: expected one of 'a', 'b', got 'c'"),
        (one("list"), "[2020-01-01]", "parameter p: '[2020-01-01]' cannot be written into a notebook"),
        (one(None), object, "parameter p: <class 'object'> cannot be written into a notebook"),
    ],
)
def test_values_that_are_refused(parameter: Parameter, given: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parameters.check(pipeline(parameters=[parameter]), {"p": given})
    assert (caught.value.message, caught.value.name) == (message, "p")


def test_defaults_fill_in_and_unknown_names_are_refused() -> None:
    pipe = pipeline(parameters=[Parameter("lr", "float", 0.1), Parameter("n_trees", "int", 5)])
    assert parameters.check(pipe, {"n_trees": 7}) == {"lr": 0.1, "n_trees": 7}
    with pytest.raises(UsageError, match="no parameter n_tree") as caught:
        parameters.check(pipe, {"n_tree": 7})
    assert caught.value.fix == "did you mean n_trees?"
    with pytest.raises(UsageError) as caught:
        parameters.check(pipe, {"zzz": 7})
    assert caught.value.fix == "the parameters are: lr, n_trees"
    with pytest.raises(UsageError) as caught:
        parameters.check(pipeline(), {"zzz": 7})
    assert "%%parameters" in caught.value.fix
