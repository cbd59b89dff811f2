"""What every materializer promises. A plug-in's tests derive from :class:`MaterializerContract`."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import value_table

from cellway import fingerprint, materializers
from cellway.materializers import Materializer


class MaterializerContract:
    """Derive, and say which values to accept and to refuse.

    Attributes:
        materializer: the one under test.
        accepted: name → makes a value that must come back.
        refused: name → makes a value that must not be accepted.
        deterministic: whether equal values have equal bytes.
    """

    materializer: Materializer
    accepted: Mapping[str, Callable[[], Any]] = {}
    refused: Mapping[str, Callable[[], Any]] = {}
    deterministic = True

    def differences(self, one: Any, other: Any, name: str) -> str:
        """The first difference between a value and what came back, or ``""``."""
        return value_table.check(name, other)

    def test_it_is_a_materializer(self) -> None:
        assert isinstance(self.materializer, Materializer)
        assert self.materializer.name
        assert self.materializer.suffix.startswith(".")

    def test_accepts(self) -> None:
        assert [name for name, make in self.accepted.items() if not self.materializer.accepts(make())] == []

    def test_refuses(self) -> None:
        assert [name for name, make in self.refused.items() if self.materializer.accepts(make())] == []

    def test_round_trip(self, tmp_path: pathlib.Path) -> None:
        for name, make in self.accepted.items():
            value = make()
            assert self.materializer.accepts(value)
            blob = materializers.write_with(self.materializer, value, str(tmp_path))
            assert blob.digest == fingerprint.file(blob.path)
            assert self.differences(value, self.materializer.read(blob.path), name) == "", name
            assert self.differences(value, value, name) == "", f"{name}: writing must not change the value"

    def test_the_same_bytes(self, tmp_path: pathlib.Path) -> None:
        if self.deterministic:
            for name, make in self.accepted.items():
                digests = {materializers.write_with(self.materializer, make(), str(tmp_path)).digest for _ in range(2)}
                assert len(digests) == 1, name

    def test_sidecars(self) -> None:
        for name, make in self.accepted.items():
            sidecar = self.materializer.describe(make())
            assert sidecar, name
            json.dumps(sidecar, allow_nan=False)
            assert sidecar.keys() <= {"schema", "shape", "rows", "preview", "summary", "text", "picture"}
            assert len(sidecar.get("text", "")) <= 2_000
            assert len(sidecar.get("picture", "")) <= 60_000


def others(name: str) -> dict[str, Callable[[], Any]]:
    """The values of the table that some other materializer is for."""
    tables = value_table.BY_MATERIALIZER
    return {key: make for kind, table in tables.items() if kind != name for key, make in table.items()}


class TestPlain(MaterializerContract):
    materializer = materializers.by_name("json")
    accepted, refused = value_table.PLAIN, others("json")


class TestArrow(MaterializerContract):
    materializer = materializers.by_name("arrow")
    accepted, refused = value_table.ARROW, others("arrow")


class TestArray(MaterializerContract):
    materializer = materializers.by_name("array")
    accepted, refused = value_table.ARRAY, others("array")


class TestFigure(MaterializerContract):
    materializer = materializers.by_name("figure")
    accepted, refused = value_table.FIGURE, others("figure")
    deterministic = False


class TestPickled(MaterializerContract):
    materializer = materializers.by_name("pickle")
    accepted = value_table.VALUES
    # polars pickles the chunks it happens to have, and a frame's blocks may stand in any order of creation.
    deterministic = False


def test_each_value_has_one_place() -> None:
    names = [name for table in value_table.BY_MATERIALIZER.values() for name in table]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", value_table.BY_MATERIALIZER)
def test_the_contract_covers_every_materializer(name: str) -> None:
    assert any(kind.materializer.name == name for kind in MaterializerContract.__subclasses__())
