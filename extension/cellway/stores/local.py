"""Blobs as read-only files in a folder: ``objects/ab/<digest>``.

A blob appears by a rename within the folder, so a reader sees all of it or nothing, and two writers of one digest are
the same as one. Files are 0444: a blob may be mapped into several kernels at once, and none of them may change it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import string
from collections.abc import Iterator

from cellway import fingerprint
from cellway.errors import StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LETTERS = frozenset(string.hexdigits.lower())


def open_store(state: str | os.PathLike[str]) -> LocalStore:
    """The store of a project.

    Args:
        state: the project's folder ``.cellway``; what every store's entry point is called with.
    """
    return LocalStore(os.path.join(os.fspath(state), "store"))


class LocalStore:
    """A store on this machine's disk.

    Args:
        root: folder of the store; made when the first blob arrives.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self._objects = os.path.join(self.root, "objects")

    def has(self, digest: str) -> bool:
        """Whether a blob of that digest is here; a file without bytes is none, whatever made it so."""
        try:
            return os.stat(self._place(digest)).st_size > 0
        except OSError:
            return False

    def path(self, digest: str) -> str:
        """Absolute path of the blob.

        Raises:
            StoreError: the blob is missing.
        """
        place = self._place(digest)
        if not os.path.isfile(place):
            raise StoreError(
                f"the stored value {digest[:12]} is missing: {place} is gone",
                name=digest,
                fix="run the pipeline again: the step that makes it is not reused without it",
            )
        return place

    def adopt(self, path: str, digest: str) -> None:
        """Take a finished file over by rename, or by copy where it lies on another file system.

        Raises:
            StoreError: the file is missing, or the store cannot be written; nothing is half-written.
        """
        place = self._place(digest)
        try:
            if os.path.isfile(place):
                # Equal digests, equal bytes. The one that may be mapped already stays.
                _discard(path)
                return
            os.makedirs(os.path.dirname(place), exist_ok=True)
            try:
                _seal(path)
                os.replace(path, place)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(path, place)
                _discard(path)
            _sync_folder(os.path.dirname(place))
        except OSError as error:
            if os.path.isfile(place) and not os.path.exists(path):
                return  # another process adopted the same file in between
            raise _translated(error, path, place) from error

    def delete(self, digest: str) -> int:
        """Remove a blob; a kernel that has it mapped keeps its pages. Returns the bytes freed."""
        place = self._place(digest)
        try:
            size = os.stat(place).st_size
            _discard(place)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StoreError(
                f"the stored value {digest[:12]} cannot be removed: {error.strerror}",
                name=digest,
                fix=f"close the kernels that use it, or check the permissions of {os.path.dirname(place)}",
            ) from error
        return size

    def list(self) -> Iterator[tuple[str, int, float]]:
        """Digest, size in bytes and time of adoption of each blob."""
        try:
            folders = [entry.path for entry in os.scandir(self._objects) if entry.is_dir()]
        except FileNotFoundError:
            return
        for folder in folders:
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        facts = entry.stat()
                        yield entry.name, facts.st_size, facts.st_mtime

    def verify(self, digest: str) -> None:
        """Read the whole blob and compare it with its digest.

        Raises:
            StoreError: the blob is missing or damaged.
        """
        place = self.path(digest)
        try:
            found = fingerprint.file(place)
        except OSError as error:
            raise StoreError(
                f"the stored value {digest[:12]} cannot be read: {error.strerror}", name=digest, fix=f"check {place}"
            ) from error
        if found != digest:
            raise StoreError(
                f"the stored value {digest[:12]} is damaged: the bytes of {place} are not the ones that were written",
                name=digest,
                fix="delete the file and run the pipeline again",
            )

    def _place(self, digest: str) -> str:
        # A digest becomes a path: anything but hexadecimal digits (``../``) is refused.
        if len(digest) < 16 or not _LETTERS.issuperset(digest):
            raise StoreError(f"{digest!r} is not a digest", name=digest, fix="the record of runs is damaged")
        return os.path.join(self._objects, digest[:2], digest)

    def _copy(self, path: str, place: str) -> None:
        temporary = os.path.join(os.path.dirname(place), f".{os.path.basename(place)[:16]}-{secrets.token_hex(6)}")
        try:
            with open(path, "rb") as source, open(temporary, "xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
            os.chmod(temporary, 0o444)
            os.replace(temporary, place)
        except BaseException:
            with contextlib.suppress(OSError):
                _discard(temporary)
            raise


def _seal(path: str) -> None:
    """Bytes on disk, file read-only. What wrote the file may have synced it already; then this costs nothing."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # Windows: fsync needs a writable descriptor, and the writer synced
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.chmod(path, 0o444)


def _discard(path: str) -> None:
    try:
        os.unlink(path)
    except PermissionError:
        os.chmod(path, 0o644)  # Windows does not remove read-only files
        os.unlink(path)


def _sync_folder(folder: str) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _translated(error: OSError, path: str, place: str) -> StoreError:
    folder = os.path.dirname(place)
    if error.errno in _FULL:
        return StoreError(
            f"no space left for a value of {_size(path)} in {folder}",
            fix="free some space (`cellway gc` removes values of old runs), or put the store on another disk",
        )
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{path} is gone before it could be stored", fix="run the step again")
    return StoreError(
        f"{folder} cannot be written: {error.strerror}", fix="check the permissions of the .cellway folder"
    )


def _size(path: str) -> str:
    try:
        return f"{os.stat(path).st_size:,} bytes"
    except OSError:
        return "unknown size"
