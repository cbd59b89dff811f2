"""A notebook's file: read whole, replaced whole."""

from __future__ import annotations

import os
from pathlib import Path

from cellway.errors import UnreadableNotebook, UsageError


def absolute(path: str | os.PathLike[str]) -> str:
    """The path from the root on, ``..`` resolved and links kept: a notebook is where its author sees it."""
    return os.path.abspath(path)  # Path.resolve() would follow links


def load(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Text of a file (byte order mark and line ends as they are), and the file's absolute path.

    Raises:
        UsageError: there is no such file, or it cannot be opened.
        UnreadableNotebook: it is not UTF-8.
    """
    full, said = absolute(path), os.fspath(path)
    try:
        data = Path(full).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {said}", name=said) from None
    except IsADirectoryError:
        raise UsageError(f"{said} is a folder, not a notebook", name=said) from None
    except OSError as problem:
        raise UsageError(f"{said} cannot be read: {problem.strerror or problem}", name=said) from None
    try:
        return data.decode("utf-8"), full
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise UnreadableNotebook(
            f"line {line}: the file is not text in UTF-8", name=said, fix="save it in UTF-8"
        ) from None


def replace(path: str, text: str) -> None:
    """Put a new text in place of a file: whole or not at all, its mode and any link to it kept.

    Raises:
        UsageError: it cannot be written; the file is as it was.
    """
    import tempfile

    temporary: Path | None = None
    try:
        real = Path(path).resolve(strict=True)
        if not os.access(real, os.W_OK):
            raise PermissionError(13, "the file is write-protected")
        handle, name = tempfile.mkstemp(prefix=".cellway-", dir=real.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(real.stat().st_mode & 0o7777)
        temporary.replace(real)
        temporary = None
    except OSError as problem:
        raise UsageError(f"{path} cannot be written: {problem.strerror or problem}", name=path) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
