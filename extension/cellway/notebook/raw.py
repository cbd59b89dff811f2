"""What every file format is read into before tags are looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawCell:
    """A cell as it stands in the file, its tags not yet understood.

    Attributes:
        kind: ``code``, ``markdown`` or ``raw``.
        source: lines joined by newlines.
        id: as in the file, ``None`` if it has none.
        tags: of its metadata, as written.
    """

    kind: str
    source: str
    id: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawNotebook:
    """Cells of a file in order, with what its metadata says about the kernel."""

    cells: tuple[RawCell, ...]
    kernel: str | None
    language: str
    warnings: tuple[str, ...] = ()


def unix(text: str) -> str:
    """Text with newlines line ends, whatever they were."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
