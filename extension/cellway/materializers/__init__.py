"""Value ↔ bytes: the first materializer that promises an exact round trip writes the value.

``json`` (plain values), ``arrow`` (tables), ``array`` (numpy), ``figure`` (matplotlib), ``pickle`` (everything else),
in this order. This package runs in the user's kernel: importing it costs a few milliseconds, and a library such as
pandas is looked at only where the user's code has imported it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

from cellway.errors import CannotStore, CellwayError, PluginError, StoreError
from cellway.fingerprint import blob_hasher
from cellway.fingerprint import digest as digest_of
from cellway.fingerprint import file as file_digest
from cellway.materializers.pickled import TooLarge

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@runtime_checkable
class Materializer(Protocol):
    """One way to write values.

    Attributes:
        name: stands in the ledger for each artifact, so it never changes its meaning.
        suffix: ending of a file's name, with the dot.
        executes: whether reading runs code that the writer chose (pickle): such blobs are signed where they are shared.
    """

    name: str
    suffix: str
    executes: bool

    def accepts(self, value: Any) -> bool:
        """Whether :meth:`read` will give back exactly this value: type, dtypes, flags, order. Looks at no data."""

    def write(self, value: Any, file: BinaryIO) -> None:
        """Write the value; equal values should give equal bytes.

        Raises:
            CannotStore: it cannot be written after all.
        """

    def read(self, path: str) -> Any:
        """The value, such that user code may change it while the file stays as it is; mapped where possible."""

    def describe(self, value: Any) -> dict[str, Any]:
        """JSON-like sidecar (:class:`cellway.records.Artifact`): what is shown without loading the value."""


class Blob(NamedTuple):
    """A finished file.

    Attributes:
        digest: of the bytes, as :func:`cellway.fingerprint.file` gives it.
        size: in bytes.
    """

    path: str
    digest: str
    size: int
    materializer: str


def built_in() -> tuple[Materializer, ...]:
    """The materializers of cellway, in the order in which they are asked."""
    global _built_in  # noqa: PLW0603
    if not _built_in:
        from cellway.materializers.array import Array
        from cellway.materializers.arrow import Arrow
        from cellway.materializers.figure import Figure
        from cellway.materializers.pickled import Pickled
        from cellway.materializers.plain import Plain

        _built_in = (Plain(), Arrow(), Array(), Figure(), Pickled())
    return _built_in


_built_in: tuple[Materializer, ...] = ()


def by_name(name: str, extra: Sequence[Materializer] = ()) -> Materializer:
    """The materializer that wrote a blob.

    Raises:
        PluginError: there is none of that name.
    """
    for materializer in (*extra, *built_in()):
        if materializer.name == name:
            return materializer
    known = ", ".join(each.name for each in (*extra, *built_in()))
    raise PluginError(
        f"a stored value was written by the materializer {name!r}, which is not installed here (there are {known})",
        name=name,
        fix="install the package that provides it in the kernel's environment",
    )


def write(value: Any, folder: str, extra: Sequence[Materializer] = (), limit: int | None = None) -> Blob:
    """Write a value with the first materializer that accepts it.

    Args:
        folder: an existing folder; the file appears there under its digest once it is complete.
        extra: materializers that are asked before the built-in ones.
        limit: give up above that many bytes.

    Raises:
        CannotStore: no materializer can, or the value is larger than the limit.
        StoreError: the disk is full or cannot be written; nothing is half-written.
    """
    refused: Exception | None = None
    for materializer in (*extra, *built_in()):
        if not materializer.accepts(value):
            continue
        try:
            return write_with(materializer, value, folder, limit)
        except (StoreError, TooLarge):
            raise
        except (MemoryError, RecursionError, CellwayError) as error:
            refused = error
        except Exception as error:  # noqa: BLE001 (a promise broken by a library: the next in line is asked)
            refused = error
    if isinstance(refused, CannotStore):
        raise refused
    raise CannotStore(str(refused) or type(refused).__name__) from refused


def write_with(materializer: Materializer, value: Any, folder: str, limit: int | None = None) -> Blob:
    """Write a value with one materializer: temporary name, digest while writing, sync, rename.

    Raises:
        CannotStore: the materializer cannot write this value.
        StoreError: the disk is full or cannot be written.
    """
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")
    file: _Hashing | None = None
    try:
        with open(temporary, "xb", buffering=1 << 18) as raw:
            file = _Hashing(raw, limit)
            materializer.write(value, file)  # type: ignore[arg-type]
            raw.flush()
            os.fsync(raw.fileno())
        path = os.path.join(folder, file.digest() + materializer.suffix)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        # Libraries wrap an error of the file they write to; the file remembers it.
        cause = (file.failure if file is not None else None) or error
        if isinstance(cause, OSError) and (cause is not error or isinstance(error, OSError)):
            raise _translated(cause, folder) from error
        raise
    return Blob(path, file.digest(), file.size, materializer.name)


def probe(value: Any, extra: Sequence[Materializer] = ()) -> tuple[str, str]:
    """What :func:`write` would give; nothing is written.

    Returns:
        Name of the materializer, digest of the bytes.

    Raises:
        CannotStore: no materializer can write the value.
    """
    for materializer in (*extra, *built_in()):
        if materializer.accepts(value):
            file = _Hashing(None)
            try:
                materializer.write(value, file)  # type: ignore[arg-type]
            except CannotStore:
                raise
            except Exception:  # noqa: BLE001, S112 (as in `write`: the next in line is asked)
                continue
            return materializer.name, file.digest()
    raise CannotStore("no materializer accepts it")


def artifact_fingerprint(materializer: str, digest: str, member: str | None) -> str:
    """Fingerprint of an artifact: equal fingerprints, equal values."""
    return digest_of("artifact", materializer, digest, member)


def sign(key: str, digest: str) -> str:
    """Signature of a blob that executes code when it is read.

    Args:
        key: the project's key, hexadecimal.
        digest: of the blob.

    Returns:
        HMAC-SHA256, hexadecimal.
    """
    return hmac.new(bytes.fromhex(key), b"cellway blob:" + digest.encode(), hashlib.sha256).hexdigest()


def check_signature(key: str, digest: str, signature: str | None, path: str, name: str) -> None:
    """Refuse a blob whose bytes were not written with the project's key.

    Raises:
        StoreError: no signature, another key, or bytes that are not the signed ones.
    """
    if not signature:
        problem = "is not signed"
    elif not hmac.compare_digest(signature, sign(key, digest)):
        problem = "was signed with another key"
    elif file_digest(path) != digest:
        problem = "has changed since it was signed"
    else:
        return
    raise StoreError(
        f"`{name}` {problem}: loading it could run code that somebody else put into the shared store",
        name=name,
        fix="run the step that makes it with this project's key, or use a store that only you can write",
    )


class _Hashing:
    """A file for writing that keeps the digest of what went through; without a file, the digest alone."""

    closed = False

    def __init__(self, file: BinaryIO | None, limit: int | None = None) -> None:
        self._file = file
        self.limit = limit
        self._state = blob_hasher()
        self.size = 0
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if self.limit is not None and self.size + size > self.limit:
            raise TooLarge(self.limit)
        if size:
            self._state.update(data)
            if self._file is not None:
                try:
                    self._file.write(data)
                except OSError as error:
                    self.failure = error
                    raise
            self.size += size
        return size

    def digest(self) -> str:
        return self._state.hexdigest()

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing to do: the file is flushed and synced once, at the end."""

    def close(self) -> None:
        """Libraries close what they wrote to; this file is closed by the one who opened it."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def _translated(error: OSError, folder: str) -> StoreError:
    if error.errno in _FULL:
        return StoreError(
            f"no space left on the disk of {folder}",
            fix="free some space (`cellway gc` removes values of old runs) and run the step again",
        )
    return StoreError(f"{folder} cannot be written: {error.strerror}", fix="check the permissions of the folder")
