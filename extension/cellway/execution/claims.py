"""Claims: two runs that need the same step compute it once (design §8).

A claim is a lock on a file named after the key. The operating system drops the lock when its owner dies, however it
dies, so that no claim has to be judged stale.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from cellway.errors import StoreError

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Claim:
    """The right to compute one key, until :meth:`release` or the end of this process."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    def release(self) -> None:
        """Give it up; a second call does nothing."""
        handle, self._handle = self._handle, -1
        if handle < 0:
            return
        # Windows removes no open file; on POSIX the order keeps others from locking a file that is about to vanish
        # (who does all the same sees in `take` that the name is gone, and tries again).
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(handle)
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                self._path.unlink()


def take(folder: Path, key: str) -> Claim | None:
    """Claim a key.

    Args:
        folder: where the claims of all runs of the project are kept.
        key: digest of the key.

    Returns:
        The claim; ``None`` if another run has it.

    Raises:
        StoreError: the folder cannot be written.
    """
    path = folder / key
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as error:
            raise StoreError(
                f"no claim can be written: {error.strerror or error}",
                name=str(path),
                fix="make room on the disk (cellway gc), or look at the folder's permissions",
            ) from error
        try:
            _lock(handle)
        except OSError:
            os.close(handle)
            return None
        # The owner before us may have removed the file between our opening and locking it: then our lock is on a file
        # without a name, which nobody else will ever see.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return Claim(path, handle)
        os.close(handle)
