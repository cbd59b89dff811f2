"""Where the bytes are: a store keeps finished files under their digest.

A :class:`Store` knows bytes and digests, nothing of names, steps or types: those are the ledger's. Blobs never change
once they are in, so two writers of one digest cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class Store(Protocol):
    """Bytes by digest.

    A digest is the text that :func:`cellway.fingerprint.file` gives for the content. Every method may be called from
    several processes at once.
    """

    def has(self, digest: str) -> bool:
        """Whether a blob of that digest is here."""

    def path(self, digest: str) -> str:
        """Absolute path of a local, readable file with the blob's bytes.

        Raises:
            StoreError: the blob is missing.
        """

    def adopt(self, path: str, digest: str) -> None:
        """Take a finished local file over; afterwards ``path`` is gone and the blob is here. Doing it twice is fine.

        Raises:
            StoreError: the file is missing, or the disk is full; nothing is half-written.
        """

    def delete(self, digest: str) -> int:
        """Remove a blob; the number of bytes that became free, 0 if there was none."""

    def list(self) -> Iterator[tuple[str, int, float]]:
        """Digest, size in bytes and time of adoption (seconds since the epoch) of each blob, in no order."""
