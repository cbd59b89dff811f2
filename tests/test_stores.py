"""The local store: what goes beyond the contract of all stores (``contracts/test_store.py``)."""

from __future__ import annotations

import errno
import os
import pathlib
import stat

import pytest

from cellway import fingerprint
from cellway.errors import StoreError
from cellway.stores.local import LocalStore


@pytest.fixture
def store(tmp_path: pathlib.Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def finished(folder: pathlib.Path, content: bytes = b"some bytes") -> tuple[str, str]:
    path = folder / "finished"
    path.write_bytes(content)
    return str(path), fingerprint.file(str(path))


def test_place_and_permissions(store: LocalStore, tmp_path: pathlib.Path) -> None:
    path, digest = finished(tmp_path)
    store.adopt(path, digest)
    place = pathlib.Path(store.path(digest))
    assert place == tmp_path / "store" / "objects" / digest[:2] / digest
    assert stat.S_IMODE(place.stat().st_mode) == 0o444


def test_nothing_is_made_before_something_is_stored(store: LocalStore, tmp_path: pathlib.Path) -> None:
    assert list(store.list()) == []
    assert not (tmp_path / "store").exists()


def test_from_another_file_system(store: LocalStore, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, digest = finished(tmp_path)
    replace = os.replace

    def across(source: str, target: str) -> None:
        # What the system says of a rename between two disks.
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", across)
    store.adopt(path, digest)
    assert not os.path.exists(path)
    store.verify(digest)
    assert os.listdir(os.path.dirname(store.path(digest))) == [digest]


def test_a_full_disk_leaves_nothing_behind(
    store: LocalStore, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    import signal

    path, digest = finished(tmp_path, b"x" * 100_000)
    replace = os.replace

    def across(source: str, target: str) -> None:
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", across)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        with pytest.raises(StoreError, match="no space left for a value of 100,000 bytes") as caught:
            store.adopt(path, digest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "cellway gc" in caught.value.fix
    assert os.path.exists(path), "the finished file is still there"
    assert list(store.list()) == []
    assert os.listdir(tmp_path / "store" / "objects" / digest[:2]) == []


def test_verify(store: LocalStore, tmp_path: pathlib.Path) -> None:
    path, digest = finished(tmp_path)
    store.adopt(path, digest)
    store.verify(digest)
    place = pathlib.Path(store.path(digest))
    place.chmod(0o644)
    place.write_bytes(b"other bytes")
    with pytest.raises(StoreError, match="damaged") as caught:
        store.verify(digest)
    assert str(place) in str(caught.value)
    place.unlink()
    with pytest.raises(StoreError, match="missing"):
        store.verify(digest)


def test_a_mapped_blob_survives_its_deletion(store: LocalStore, tmp_path: pathlib.Path) -> None:
    if os.name != "posix":
        pytest.skip("a mapped file cannot be removed there")
    from cellway.materializers.mapping import private

    path, digest = finished(tmp_path)
    store.adopt(path, digest)
    mapping = private(store.path(digest))
    store.delete(digest)
    assert bytes(mapping) == b"some bytes"


def test_half_written_copies_are_not_listed(store: LocalStore, tmp_path: pathlib.Path) -> None:
    path, digest = finished(tmp_path)
    store.adopt(path, digest)
    (pathlib.Path(store.path(digest)).parent / ".rest-of-a-killed-process").write_bytes(b"x")
    assert [entry[0] for entry in store.list()] == [digest]
