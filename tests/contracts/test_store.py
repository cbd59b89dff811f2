"""What every store promises. A plug-in's tests derive from :class:`StoreContract` and say how to make a store."""

from __future__ import annotations

import multiprocessing
import os
import pathlib

import pytest

from cellway import fingerprint
from cellway.errors import StoreError
from cellway.stores import Store
from cellway.stores.local import LocalStore


class StoreContract:
    """Derive, and override :meth:`make`."""

    def make(self, folder: pathlib.Path) -> Store:
        """A new store that keeps its bytes in ``folder``, or an empty remote one."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: pathlib.Path) -> Store:
        return self.make(tmp_path / "store")

    @pytest.fixture
    def blob(self, tmp_path: pathlib.Path) -> tuple[str, str]:
        return finished(tmp_path, b"some bytes")

    def test_it_is_a_store(self, store: Store) -> None:
        assert isinstance(store, Store)

    def test_empty(self, store: Store) -> None:
        assert list(store.list()) == []
        assert not store.has("ab" * 32)
        assert store.delete("ab" * 32) == 0

    def test_adopt(self, store: Store, blob: tuple[str, str]) -> None:
        path, digest = blob
        store.adopt(path, digest)
        assert store.has(digest)
        assert pathlib.Path(store.path(digest)).read_bytes() == b"some bytes"
        assert not os.path.exists(path)
        [(listed, size, when)] = store.list()
        assert (listed, size) == (digest, 10)
        assert when > 0

    def test_adopting_twice(self, store: Store, tmp_path: pathlib.Path) -> None:
        for _ in range(2):
            path, digest = finished(tmp_path, b"same")
            store.adopt(path, digest)
            assert not os.path.exists(path)
        assert len(list(store.list())) == 1

    def test_an_empty_blob(self, store: Store, tmp_path: pathlib.Path) -> None:
        path, digest = finished(tmp_path, b"")
        store.adopt(path, digest)
        assert pathlib.Path(store.path(digest)).read_bytes() == b""

    def test_delete(self, store: Store, blob: tuple[str, str]) -> None:
        store.adopt(*blob)
        assert store.delete(blob[1]) == 10
        assert not store.has(blob[1])
        assert store.delete(blob[1]) == 0

    def test_missing_blob(self, store: Store) -> None:
        with pytest.raises(StoreError, match="missing") as caught:
            store.path("ab" * 32)
        assert caught.value.fix

    def test_missing_file(self, store: Store, tmp_path: pathlib.Path) -> None:
        with pytest.raises(StoreError) as caught:
            store.adopt(str(tmp_path / "nothing"), "ab" * 32)
        assert caught.value.fix
        assert list(store.list()) == []

    @pytest.mark.parametrize("digest", ["", "..", "../../etc/passwd", "ab/cd" * 8, "Z" * 64, "ab"])
    def test_what_is_no_digest(self, digest: str, store: Store, blob: tuple[str, str]) -> None:
        with pytest.raises(StoreError, match="not a digest"):
            store.adopt(blob[0], digest)
        assert os.path.exists(blob[0])

    def test_many_at_once(self, tmp_path: pathlib.Path) -> None:
        """Several processes adopt the same blobs: each is there once, nobody fails."""
        context = multiprocessing.get_context("spawn")
        running = [context.Process(target=_adopt_all, args=(self, tmp_path, number)) for number in range(3)]
        for process in running:
            process.start()
        for process in running:
            process.join()
        assert [process.exitcode for process in running] == [0, 0, 0]
        store = self.make(tmp_path / "store")
        assert len(list(store.list())) == 20
        for digest, _, _ in store.list():
            assert fingerprint.file(store.path(digest)) == digest


def _adopt_all(contract: StoreContract, folder: pathlib.Path, number: int) -> None:
    own = folder / str(number)
    own.mkdir()
    store = contract.make(folder / "store")
    for content in range(20):
        store.adopt(*finished(own, b"%d" % content * 1000))


def finished(folder: pathlib.Path, content: bytes) -> tuple[str, str]:
    """A finished file and its digest."""
    path = folder / "finished"
    path.write_bytes(content)
    return str(path), fingerprint.file(str(path))


class TestLocalStore(StoreContract):
    def make(self, folder: pathlib.Path) -> Store:
        return LocalStore(folder)
