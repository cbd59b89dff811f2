"""Digests are pinned: a test that fails here says that every cache would be empty after an update."""

from __future__ import annotations

import ast
import collections
import hashlib
import math
import pathlib
import struct
import sys
from enum import StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellway import fingerprint
from cellway.records import Key

PINNED = (
    (("parameter",), "914c5ca78a0911d8043dcb8f27f76b3d15d2e7a44b9409bf67d5ef4b80565f6c"),
    (("parameter", None), "844ca57fd3c34264eaf27ab84129a6822f0997412f248626f926a55a6ededa79"),
    (("parameter", True), "5e396fb12636a8f8487661eabc0ef59f04c241d061ca641b4c1db89e3d43ccf2"),
    (("parameter", 1), "acf49a5e1ab6922e3bfe9d3eda574f2db4ee63e367598856074c29d16ecde824"),
    (("parameter", 1.0), "5fffdc8476798e4e75e387892381bab53a00e13d12a47bac3d8c9f49fddf338e"),
    (("parameter", "1"), "e211ce3f2288d62d2cc8bed60f25e142883f5d0b02ebfab7b1abeab4f3bec8ab"),
    (("parameter", b"1"), "9f1109265d732b4ca0480aa8b37a9caa083653271fb9e206d0bc888694b9b4fa"),
    (("parameter", "ä\ud800"), "aabf0ea8a8a6598a99ef7cf94c007538c8c57f6c2856ed5b6ceafcf348fa2502"),
    (("parameter", ["ab"]), "93c87f231181636e8d006241a129b2784098d322d3e5638ebde27c570948febf"),
    (("parameter", ["a", "b"]), "80d1ae34e8783f1e078db7900b227de5c71b6f4ec1c19f28520ab81d4a99ff94"),
    (("parameter", ("a", "b")), "642c023375757ce92ab176cd1015492e1c5a2e9404681960ded1e888c4bff403"),
    (("parameter", "a", "b"), "6bf63d4df2f4fb376d14ca8e65e62020eab12739f32376fa3ab4cec8091c79bb"),
    (("parameter", {"b": [1, {}], "a": None}), "878a35396d571ca75e2dac24b3ac000a9129b2b3f5578d2309757c2034e982e2"),
    (("parameter", 10**30, -1, 0.0, -0.0), "e6ffcd3bed1ef0c54535d9c3b6b9e90d9ccd61f077ee99b5170a41420db41c36"),
    (("other", 1), "9220ac9a1d131f359945eb9234c93f05a49994cc8ec0eacc56b1d2d7adbc5e03"),
)


@pytest.mark.parametrize(("values", "expected"), PINNED)
def test_digests_are_pinned(values: tuple[object, ...], expected: str) -> None:
    record, *rest = values
    assert fingerprint.digest(str(record), *rest) == expected


def test_pinned_digests_differ() -> None:
    assert len({expected for _, expected in PINNED}) == len(PINNED)


def test_texts_are_pinned() -> None:
    assert fingerprint.text("cell", "x = 1") == "1ddddf8c1f3774398cc3a41cd86571f0ec84fd414f84c827405fa6f63c36a0a8"
    assert fingerprint.text("cell", "x = 1") != fingerprint.text("cel", "lx = 1")
    assert fingerprint.text("cell", "\ud800") != fingerprint.text("cell", "?")


def test_keys_are_pinned() -> None:
    key = fingerprint.key({"inputs": "1", "code": "2"})
    assert key == Key("77ac20fc18884c9acc9d9d9d92d4c5b05a727cb5b38c4161df8677d42db4c4b6", {"code": "2", "inputs": "1"})
    assert list(key.parts) == ["code", "inputs"]
    assert fingerprint.key({"code": "2", "inputs": "1"}).digest == key.digest
    assert fingerprint.key({"code": "1", "inputs": "2"}).digest != key.digest


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="fields of the tree depend on the Python version")
def test_trees_are_pinned() -> None:
    assert (
        fingerprint.tree(ast.parse("def f(a, *, b=1):\n    '''Doc.'''\n    return a[b:2] + 1j, ..."))
        == "f1d5e54dc07b0a04873b55af53449a568dca713fc8d33c230355ef01f8031b34"
    )


def test_files_are_pinned(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"cellway" * 500_000)  # more than one chunk
    state = fingerprint.blob_hasher()
    state.update(path.read_bytes())
    assert fingerprint.file(str(path)) == state.hexdigest()
    path.write_bytes(b"")
    # The digest of nothing, as BLAKE3's authors give it.
    assert fingerprint.file(str(path)) == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    with pytest.raises(OSError, match="nothing"):
        fingerprint.file(str(tmp_path / "nothing"))


def test_without_blake3_the_digests_are_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)
    state = fingerprint.blob_hasher()
    state.update(b"abc")
    assert state.hexdigest() == "2b" + hashlib.blake2b(b"abc", digest_size=32).hexdigest()


# --- injectivity -----------------------------------------------------------------------------------------------

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | st.sampled_from([0.0, -0.0, 1.0])
    | st.text(alphabet="ab1:,sn", max_size=4)
    | st.binary(max_size=4)
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(alphabet="ab", max_size=2) | st.integers(0, 2), inner, max_size=3)
    ),
    max_leaves=8,
)


def typed(value: object) -> object:
    """A value that is equal to another one's just if both are the same, types and signs of zero included."""
    if isinstance(value, float):
        return "float", struct.pack(">d", value)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, tuple(typed(item) for item in value)
    if isinstance(value, dict):
        return "dict", frozenset((typed(key), typed(item)) for key, item in value.items())
    return type(value).__name__, value


@settings(max_examples=500, deadline=None)
@given(VALUES, VALUES)
def test_equal_digest_means_equal_value(one: object, other: object) -> None:
    same = typed(one) == typed(other)
    assert (fingerprint.digest("value", one) == fingerprint.digest("value", other)) is same


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_arguments_do_not_run_into_each_other(one: list[object], other: list[object]) -> None:
    same = typed(one) == typed(other)
    assert (fingerprint.digest("value", *one) == fingerprint.digest("value", *other)) is same


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=5))
def test_order_of_a_mapping_does_not_count(mapping: dict[str, int]) -> None:
    turned = dict(reversed(mapping.items()))
    assert fingerprint.digest("value", mapping) == fingerprint.digest("value", turned)
    assert fingerprint.digest("value", mapping) == fingerprint.digest("value", collections.OrderedDict(mapping))


def test_a_string_enum_is_its_text() -> None:
    class Colour(StrEnum):
        RED = "red"

    assert fingerprint.digest("value", Colour.RED) == fingerprint.digest("value", "red")


class Number(int):
    """Not an ``int`` for a fingerprint: it may mean more."""


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 1j, Number(1), len, range(3), [object()], {"a": {1}}, {(1, 2j): 1}]
)
def test_unknown_types_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot fingerprint a"):
        fingerprint.digest("value", value)


# --- trees -----------------------------------------------------------------------------------------------------

SAME = (
    ("x = 1", "x   =  1  # one"),
    ("x = 'a'", 'x = "a"'),
    ("x = 'a'", "x = u'a'"),
    ("x = 'ab'", "x = 'a' 'b'"),
    ("x = (a + b)", "x = a + b"),
    ("f(a, b)", "f(\n    a,\n    b,\n)"),
    ("x = 1; y = 2", "x = 1\n\n\ny = 2"),
    ("if a:\n    b", "if a:\n  # why\n  b"),
    ("x = 16", "x = 0x10"),
    ("x = 1000", "x = 1_000"),
    ("x = (1, 2)", "x = 1, 2"),
    ("def f():\n    'Doc.'", 'def f():\n    """Doc."""'),
    ("x = 1", "x = 1  # type: ignore"),
)
DIFFERENT = (
    ("x = 1", "x = 2"),
    ("x = 1", "x = 1.0"),
    ("x = 1", "x = True"),
    ("x = 0.0", "x = -0.0"),
    ("x = 'a'", "x = b'a'"),
    ("x = None", "x = ..."),
    ("x = None", "x = 'None'"),
    ("return_ = None", "return_ = False"),
    ("x = 1j", "x = 1.0"),
    ("x = a", "y = a"),
    ("x = a + b", "x = b + a"),
    ("a - b - c", "a - (b - c)"),
    ("x = a[0]", "x = a.b"),
    ("f(a)", "f(*a)"),
    ("f(a=1)", "f(b=1)"),
    ("def f(a): pass", "def f(*, a): pass"),
    ("def f(a, /): pass", "def f(a): pass"),
    ("def f():\n    'Doc.'", "def f():\n    'Other.'"),
    ("def f():\n    'Doc.'\n    return 1", "def f():\n    return 1"),
    ("def f():\n    return", "def f():\n    return None"),
    ("def f(): pass", "async def f(): pass"),
    ("import a", "import a as b"),
    ("from . import a", "from .. import a"),
    ("x = [a, b]", "x = (a, b)"),
    ("x: int = 1", "x = 1"),
    ("f'{a}'", "f'{a!r}'"),
    ("f'{a:3}'", "f'{a}3'"),
    ("if a:\n    b\n    c", "if a:\n    b\nc"),
    ("{**a, 'b': 1}", "{'b': 1, **a}"),
    ("[x for x in y if x]", "[x for x in y]"),
)


def tree(source: str) -> str:
    return fingerprint.tree(ast.parse(source))


@pytest.mark.parametrize(("one", "other"), SAME)
def test_layout_does_not_count(one: str, other: str) -> None:
    assert tree(one) == tree(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_meaning_counts(one: str, other: str) -> None:
    assert tree(one) != tree(other)


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "1", "1.0", "True", "None", "...", "'a'", "b'a'", "2j", "-0.0"]),
    lambda e: st.one_of(
        st.tuples(e, st.sampled_from(["+", "-", "and", "or", "<", "is", "**"]), e).map(lambda t: f"({' '.join(t)})"),
        st.lists(e, max_size=3).map(lambda es: f"[{', '.join(es)}]"),
        st.tuples(e, e).map(lambda t: f"f({t[0]}, k={t[1]})"),
        st.tuples(e, e).map(lambda t: f"({t[0]})[{t[1]}]"),
        st.tuples(e, e, e).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(e, e).map(lambda t: f"{{{t[0]}: {t[1]}}}"),
        e.map(lambda x: f"(lambda a: {x})"),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(EXPRESSIONS, EXPRESSIONS)
def test_trees_differ_where_python_sees_a_difference(one: str, other: str) -> None:
    same = ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    assert (tree(one) == tree(other)) is same
    assert tree(one) == tree(ast.unparse(ast.parse(one)))


def test_not_a_number_is_one_value() -> None:
    assert fingerprint.digest("value", math.nan) == fingerprint.digest("value", float("nan"))
