"""Names survive their way through the cache, and damaged bytes are noticed."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellway.analysis import encoding
from cellway.records import Call, Function, Names, Reference, Statement, StatementKind

WORD = st.text(max_size=8)
WORDS = st.lists(WORD, max_size=3).map(tuple)
PAIRS = st.lists(st.tuples(WORD, WORD), max_size=3).map(tuple)
LINE = st.integers(1, 10**6)
REFERENCES = st.lists(st.builds(Reference, WORD, LINE), max_size=3).map(tuple)
CALLS = st.lists(st.builds(Call, WORD, LINE, PAIRS), max_size=3).map(tuple)
FUNCTION = st.builds(
    Function,
    **{f.name: WORDS for f in fields(Function) if f.name not in {"name", "calls", "stateful"}},
    name=WORD,
    stateful=WORD,
    calls=CALLS,
)
STATEMENT = st.builds(
    Statement,
    line=LINE,
    end_line=LINE,
    source=st.text(),
    fingerprint=WORD,
    kind=st.sampled_from(StatementKind),
    **dict.fromkeys(("binds", "may_bind", "deletes", "modules", "ambient"), WORDS),
    **dict.fromkeys(("reads", "deferred", "changes", "may_change", "mentions"), REFERENCES),
    aliases=PAIRS,
    calls=CALLS,
    mutable=st.booleans(),
    opaque=st.text(max_size=20),
    function=st.none() | FUNCTION,
)
NAMES = st.builds(
    Names,
    WORD,
    st.lists(STATEMENT, max_size=4).map(tuple),
    st.none() | st.tuples(st.text(max_size=20), LINE),
)
EXAMPLE = Names("f", (Statement(1, 2, "x = 1", "g", StatementKind.CONSTANT, ("x",), reads=(Reference("y", 1),)),))


@settings(max_examples=200, deadline=None)
@given(NAMES)
def test_round_trip(names: Names) -> None:
    again = encoding.load(encoding.dump(names))
    assert again == names
    assert repr(again) == repr(names)  # also the types: an enum stays an enum, a tuple a tuple


def test_every_field_is_generated() -> None:
    """A new field of a record must show up in the property above."""
    assert {f.name for f in fields(Statement)} == {
        *("line", "end_line", "source", "fingerprint", "kind", "binds", "may_bind", "reads", "deferred", "changes"),
        *(
            "may_change",
            "deletes",
            "aliases",
            "calls",
            "modules",
            "ambient",
            "mutable",
            "opaque",
            "function",
            "mentions",
        ),
    }
    assert {f.name for f in fields(Names)} == {"fingerprint", "statements", "error"}
    assert {f.name for f in fields(Call)} == {"function", "line", "arguments"}
    assert {f.name for f in fields(Reference)} == {"name", "line"}


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    good = encoding.dump(EXAMPLE)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    with pytest.raises(ValueError, match="stored analysis"):
        encoding.load(bad)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, -1])
def test_a_cut_is_noticed(size: int) -> None:
    with pytest.raises(ValueError, match="stored analysis"):
        encoding.load(encoding.dump(EXAMPLE)[:size])


@given(st.binary(max_size=100))
def test_other_bytes_are_noticed(data: bytes) -> None:
    with pytest.raises(ValueError, match="stored analysis"):
        encoding.load(data)


def test_another_version_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoding.dump(EXAMPLE)
    monkeypatch.setattr(encoding, "_SHAPE", "of another time")
    with pytest.raises(ValueError, match="another version"):
        encoding.load(data)


def test_the_shape_follows_the_field_names() -> None:
    """What stands in the bytes depends on names and order of the fields, so moving one makes old bytes unreadable."""
    from cellway import fingerprint

    shape = [[kind.__name__, *(f.name for f in fields(kind))] for kind in (Names, Statement, Function, Call, Reference)]
    assert fingerprint.digest("names", shape).startswith(encoding._SHAPE)
    shape[1][3], shape[1][4] = shape[1][4], shape[1][3]
    assert not fingerprint.digest("names", shape).startswith(encoding._SHAPE)
