"""Files → digests, read again only when their stat says so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

from cellway import fingerprint

_SETTLED_NS = 2_000_000_000
"""A file written less than this before it was read may be written again without a new stat: clocks of file systems
tick slowly (FAT: 2 s, ext4: some milliseconds)."""


class Stats(Protocol):
    """Where what is known of files is kept from plan to plan."""

    def stats(self, kind: str, paths: Iterable[str], /) -> Mapping[str, tuple[str, str]]:
        """``path → (stat, value)`` for those that are known."""

    def put_stats(self, kind: str, items: Mapping[str, tuple[str, str]], /) -> None:
        """Keep ``path → (stat, value)``."""


class Files:
    """Digests of files below and outside the project.

    The change time (``ctime``) is part of the stat: restoring a file's size and modification time hides no change.

    Args:
        cache: keeps digests from plan to plan.
        root: the project's folder; paths below it are shown relative to it.
        folder: where relative patterns begin.
    """

    def __init__(self, cache: Stats, root: str, folder: str) -> None:
        self._cache = cache
        self._root = root
        self._folder = folder
        self._known: dict[tuple[str, str], tuple[str, str]] = {}
        self._fresh: dict[str, str | None] = {}
        self._new: dict[str, dict[str, tuple[str, str]]] = {}
        self.looked_at: set[str] = set()
        """Every file that was asked for, there or not."""

    def refresh(self) -> None:
        """Take a new stat of every file from here on."""
        self._fresh.clear()

    def flush(self) -> None:
        """Hand what was found out to the cache."""
        new, self._new = self._new, {}
        for kind, items in new.items():
            self._cache.put_stats(kind, items)

    def shown(self, path: str) -> str:
        """As users and keys know it: relative to the project if it is inside, with forward slashes."""
        if path.startswith(self._root + os.sep):
            path = path[len(self._root) + 1 :]
        return path.replace(os.sep, "/")

    def located(self, shown: str) -> str:
        """The absolute path of a shown one."""
        return os.path.normpath(os.path.join(self._root, shown))

    def expand(self, pattern: str) -> list[str]:
        """Absolute paths of the files that a ``--reads`` pattern names; a folder stands for all files in it."""
        path = os.path.normpath(os.path.join(self._folder, os.path.expanduser(pattern)))
        if not any(character in pattern for character in "*?["):
            found = [path]
        else:
            import glob

            found = sorted(glob.glob(path, recursive=True))
        return [file for item in found for file in (self._inside(item) if os.path.isdir(item) else (item,))]

    def folders(self, texts: Iterable[str]) -> list[str]:
        """Those texts that name folders, as absolute paths."""
        paths = [os.path.normpath(os.path.join(self._folder, os.path.expanduser(text))) for text in texts]
        self.looked_at.update(paths)
        return [path for path in paths if os.path.isdir(path)]

    def holding(self, module: str) -> list[str]:
        """Folders of the project in which a module or package of this name lies; virtual environments are left out."""
        found = []
        for folder, folders, files in os.walk(self._root):
            self.looked_at.add(folder)
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".")
                and name not in {"node_modules", "__pycache__", "site-packages"}
                and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
            )
            if module in folders or any(name.partition(".")[0] == module and name.endswith(".py") for name in files):
                found.append(folder)
        return found

    def digest(self, path: str, like: str = "") -> str:
        """Digest of a file's content; ``""`` if it is not there, or is no file.

        Args:
            path: absolute.
            like: a digest to compare with: where it was made without BLAKE3, this one is made without, too.
        """
        if like.startswith("2b"):
            return self.derived("content-2b", path, _without_blake3) or ""
        return self.derived("content", path, fingerprint.file) or ""

    def listing(self, folder: str, pattern: str, recursive: bool, without: Collection[str] = ()) -> str:
        """Which files match a pattern, see :func:`cellway.fingerprint.listing`."""
        self.looked_at.add(folder)
        if "/" in pattern or recursive:
            self.looked_at.update(parent for parent, _, _ in os.walk(folder))
        return fingerprint.listing(folder, pattern, recursive, without)

    def prefetch(self, paths: Iterable[str]) -> None:
        """Ask the cache for the digests of many files at once."""
        spelled = {_spelled(path): path for path in paths if ("content", path) not in self._known}
        for path, known in self._cache.stats("content", spelled).items():
            self._known["content", spelled[path]] = known

    def derived(self, kind: str, path: str, make: Callable[[str], str]) -> str | None:
        """What ``make(path)`` gives, from the cache where the file is as it was; ``None`` if it cannot be read."""
        if path not in self._fresh:
            self.looked_at.add(path)
            self._fresh[path] = _stat(path)
        stat = self._fresh[path]
        if stat is None:
            return None
        known = self._known.get((kind, path)) or self._cache.stats(kind, (_spelled(path),)).get(_spelled(path))
        if known is not None and known[0] == stat:
            self._known[kind, path] = known
            return known[1]
        return self._make(kind, path, make)

    def _inside(self, folder: str) -> Iterator[str]:
        for parent, folders, files in os.walk(folder):
            self.looked_at.add(parent)
            folders.sort()
            for name in sorted(files):
                yield os.path.join(parent, name)

    def _make(self, kind: str, path: str, make: Callable[[str], str]) -> str | None:
        # Twice if it is being written right now; what is read then is not kept.
        for _ in range(2):
            now = time.time_ns()
            before = _stat(path)
            if before is None:
                return None
            try:
                value = make(path)
            except OSError:
                return None
            if _stat(path) == before:
                self._fresh[path] = before
                if _settled(before, now):
                    self._known[kind, path] = (before, value)
                    self._new.setdefault(kind, {})[_spelled(path)] = (before, value)
                break
        return value


def _stat(path: str) -> str | None:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    if stat.st_mode & 0o170000 != 0o100000:
        return None
    return f"{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_size}:{stat.st_ino}:{stat.st_dev}"


def _spelled(path: str) -> str:
    """A path that the cache takes: names of files need not be Unicode."""
    return path if path.isascii() else path.encode("utf-8", "backslashreplace").decode()


def _settled(stat: str, now: int) -> bool:
    modified, changed = stat.split(":")[:2]
    return now - max(int(modified), int(changed)) > _SETTLED_NS


def _without_blake3(path: str) -> str:
    import hashlib

    with open(path, "rb") as file:
        state = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
    return "2b" + state.hexdigest()
