"""Which files a step reads, and whether it reaches beyond files: an audit hook, and wrappers where no event is raised.

The hook sees every file that Python itself opens. Libraries that open files in native code (pyarrow, polars, duckdb,
h5py) get thin wrappers, see :mod:`cellway_magics.readers`. What is read by child processes is not seen; that there
were some is.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NETWORK = frozenset({"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"})
_PROCESSES = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty", "pty.spawn"}
)

Identity = tuple[int, int, int] | None
"""Size, time of change in ns and inode of a file; ``None`` where there was none."""


class Recorder:
    """What one step touched.

    Args:
        tracked: folders whose files count (project, notebook).
        ignored: folders whose files do not, beyond interpreter, packages, system and caches. The longest one decides.
    """

    def __init__(self, tracked: Sequence[str], ignored: Sequence[str]) -> None:
        self.read: dict[str, Identity] = {}
        self.written: set[str] = set()
        self.touched: set[str] = set()
        self._rules = _rules(tracked, ignored)
        self._quiet = threading.local()

    def start(self) -> None:
        """Record from now on."""
        global _active, _hooked  # noqa: PLW0603
        if not _hooked:
            _hooked = True
            sys.addaudithook(_hook)  # cannot be taken away again: it looks at the active recorder
        _active = self

    def stop(self) -> None:
        """Record no more."""
        global _active  # noqa: PLW0603
        if _active is self:
            _active = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """cellway's own reading and writing does not count."""
        before = getattr(self._quiet, "on", False)
        self._quiet.on = True
        try:
            yield
        finally:
            self._quiet.on = before

    def note_read(self, path: Any) -> None:
        """A file was, or is about to be, opened for reading; only the first time counts."""
        place = self._place(path)
        if place is not None and place not in self.read and place not in self.written:
            self.read[place] = identity(place)

    def note_write(self, path: Any) -> None:
        """A file is opened for writing: what is read from it later came from this step."""
        place = self._place(path)
        if place is not None:
            self.written.add(place)

    def note_update(self, path: Any) -> None:
        """A file is opened for reading and writing, without being emptied."""
        place = self._place(path)
        if place is not None and place not in self.written:
            if place not in self.read and (found := identity(place)) is not None:
                self.read[place] = found
            self.written.add(place)

    def event(self, name: str, args: tuple[Any, ...]) -> None:
        """One audit event."""
        if getattr(self._quiet, "on", False):
            return
        if name == "open":
            path, _, flags = args
            if type(path) is not int:
                self._opened(path, flags)
        elif name == "sqlite3.connect":
            if not str(args[0]).startswith(":memory:"):
                self.note_update(str(args[0]).removeprefix("file:").partition("?")[0])
        elif name in _NETWORK:
            # A connection within the machine by a file name (a UNIX socket) is the kernel's own business.
            if name != "socket.connect" or not isinstance(args[1], (str, bytes)):
                self.touched.add("network")
        elif name in _PROCESSES:
            self.touched.add("subprocess")

    def files(self, declared: Sequence[str], workdir: str) -> list[dict[str, Any]]:
        """The files read, with digests of their content now.

        Args:
            declared: paths and globs relative to ``workdir`` that the author named.

        Returns:
            ``{"path", "digest", "declared"}`` each. The digest is empty for a file that was not there, and for one that
            has changed since it was opened: nobody can say what the step saw.
        """
        from cellway.fingerprint import file as file_digest

        patterns = [os.path.join(workdir, pattern) for pattern in declared]
        modules = _module_files()
        found = []
        for path, before in sorted(self.read.items()):
            if path in modules or os.path.isdir(path) or (before is None and path in self.written):
                continue
            digest = ""
            if before is not None and identity(path) == before:
                with contextlib.suppress(OSError):
                    digest = file_digest(path)
                if identity(path) != before:
                    digest = ""
            elif before is None and os.path.exists(path):
                digest = ""
            found.append({"path": path, "digest": digest, "declared": _named(path, patterns)})
        return found

    def _opened(self, path: Any, flags: int) -> None:
        if flags & _WRITING == 0:
            self.note_read(path)
        elif flags & os.O_TRUNC or not flags & os.O_RDWR:
            self.note_write(path)
        else:
            self.note_update(path)

    def _place(self, path: Any) -> str | None:
        """Absolute path of a file that counts."""
        try:
            place = os.path.abspath(os.fsdecode(path))
        except (TypeError, ValueError, OSError):
            return None
        if place.endswith((".pyc", ".so", ".pyd", ".dll", ".dylib")) or f"{os.sep}.cellway{os.sep}" in place:
            return None
        for folder, counts in self._rules:
            if place.startswith(folder):
                return place if counts else None
        return place


def identity(path: str) -> Identity:
    """What tells whether a file has been changed or exchanged."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


_active: Recorder | None = None
_hooked = False


def active() -> Recorder | None:
    """The recorder of the running step."""
    return _active


def _hook(name: str, args: tuple[Any, ...]) -> None:
    recorder = _active
    if recorder is None or (name != "open" and not name.startswith(("socket.", "sub", "os.", "sqlite3.c", "pty."))):
        return
    # An exception here would surface in the user's open() call.
    with contextlib.suppress(Exception):
        recorder.event(name, args)


def _rules(tracked: Iterable[str], ignored: Iterable[str]) -> list[tuple[str, bool]]:
    """Folders with whether their files count, the longest first: a venv within the project wins over the project."""
    home = os.path.expanduser("~")
    system = [
        "/proc",
        "/sys",
        "/dev",
        "/etc",
        "/run",
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
        "/var/lib",
        "/var/cache",
        "/System",
        "/Library",
    ]
    personal = [".cache", ".config", ".fonts", ".ipython", ".jupyter", ".matplotlib", ".local/share", "Library"]
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages(), site.getusersitepackages()]
    places += [*sysconfig.get_paths().values(), tempfile.gettempdir(), os.path.dirname(os.path.dirname(__file__))]
    places += [*system, *(os.path.join(home, folder) for folder in personal), *ignored]
    for variable in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"):
        if os.environ.get(variable):
            places.append(os.environ[variable])
    rules = {os.path.join(place, ""): False for each in places for place in _spellings(each)}
    for folder in (place for each in tracked for place in _spellings(each)):
        rules[os.path.join(folder, "")] = True
        for inner in (".git", "__pycache__", ".ipynb_checkpoints"):
            rules[os.path.join(folder, inner, "")] = False
    return sorted(rules.items(), key=lambda rule: (-len(rule[0]), rule[1]))


def _spellings(folder: str) -> set[str]:
    """A folder as it was named, and where its links lead: the working folder is always the latter."""
    return {os.path.abspath(folder), os.path.realpath(folder)}


def _module_files() -> set[str]:
    """Sources of imported modules: they are the key's ``modules``, not its ``files``."""
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            found.add(os.path.abspath(path))
    return found


def _named(path: str, patterns: list[str]) -> bool:
    if not patterns:
        return False
    import glob

    return any(
        path == os.path.normpath(pattern) or path in map(os.path.normpath, glob.glob(pattern, recursive=True))
        for pattern in patterns
    )
