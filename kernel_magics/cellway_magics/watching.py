"""Which files a step reads and writes, and whether it reaches beyond files: an audit hook, and wrappers where no event
is raised.

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
from types import FrameType
from typing import Any

from cellway_magics import listing

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NETWORK = frozenset({"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"})
_EVENTS = ("socket.", "sub", "os.", "sqlite3.c", "pty.", "shutil.rmtree", *listing.EVENTS[2:])
_MOVING = {"os.rename": (2, 3), "os.link": (2, 3), "os.remove": (1,), "os.truncate": (), "shutil.rmtree": (1,)}
"""Events by which files come, go or change without being opened; where their arguments name an open folder."""
_PROCESSES = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty", "pty.spawn"}
)

_ENOUGH = 10_000
"""Files of a moved or removed folder that are noted one by one."""

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
        self.written: dict[str, Identity] = {}
        """Files opened for writing, moved or removed, with what was there before."""
        self._added: set[str] = set()
        """Those that were not emptied first."""
        self._seen: dict[str, str] = {}
        """Digests of files read, taken right before the step itself changed them."""
        self._looks: dict[listing.Look, str] = {}
        """Looks into folders, with what was there."""
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
        if place is not None and place not in self.read and place not in self.written and not os.path.isdir(place):
            self.read[place] = identity(place)

    def note_write(self, path: Any, *, kept: bool = False) -> None:
        """A file is opened for writing: what is read from it later came from this step.

        Args:
            path: of the file.
            kept: something is added to what is in it.
        """
        place = self._place(path)
        if place is not None:
            self._will_change(place)
            if kept:
                self._added.add(place)
            elif identity(place) is not None:
                self._added.discard(place)

    def note_update(self, path: Any) -> None:
        """A file is opened for reading and writing, without being emptied."""
        place = self._place(path)
        if place is not None and place not in self.written:
            if place not in self.read and (found := identity(place)) is not None:
                self.read[place] = found
            self._will_change(place)
            self._added.add(place)

    def note_gone(self, path: Any) -> None:
        """A file, or a folder with all that is in it, is about to be removed or moved away."""
        for place in _below(path):
            self.note_write(place)

    def note_moved(self, source: Any, target: Any) -> None:
        """A file or folder is about to be moved, or to be linked to."""
        origin = os.fsdecode(source)
        for place in _below(origin):
            self.note_write(os.path.join(os.fsdecode(target), os.path.relpath(place, origin)).removesuffix("/."))

    def note_look(self, found: listing.Look) -> None:
        """The step looks which files are in a folder; only the first time counts."""
        if found not in self._looks and self._place(os.path.join(found.folder, "file")) is not None:
            from cellway.fingerprint import listing as listed

            self._looks[found] = ""
            with self.paused():
                self._looks[found] = listed(*found)

    def event(self, name: str, args: tuple[Any, ...], frame: FrameType) -> None:
        """One audit event, and the frame that raised it."""
        if getattr(self._quiet, "on", False):
            return
        if name == "open":
            path, _, flags = args
            if type(path) is not int:
                self._opened(path, flags)
        elif name == "sqlite3.connect":
            if not str(args[0]).startswith(":memory:"):
                self.note_update(str(args[0]).removeprefix("file:").partition("?")[0])
        elif name in _MOVING:
            with self.paused():  # our own look into the folder
                self._moving(name, args)
        elif name.startswith(listing.EVENTS):
            found = listing.look(name, args, frame)
            if found is not None:
                self.note_look(found)
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
            ``{"path", "digest", "declared"}`` each; of a folder that it looked into, a path that ends with a separator
            and the :func:`~cellway.fingerprint.listing`. The digest is empty for a file that was not there, and for
            one that has changed since it was opened: nobody can say what the step saw.
        """
        patterns = [os.path.join(workdir, pattern) for pattern in declared]
        modules = _module_files()
        found = []
        for path, before in sorted(self.read.items()):
            if path in modules or os.path.isdir(path) or (before is None and path in self.written):
                continue
            found.append({"path": path, "digest": self._digest(path), "declared": _named(path, patterns)})
        for look, digest in sorted(self._looks.items()):
            found.append({"path": os.path.join(look.folder, ""), "digest": digest, "declared": False})
        return found

    def imported(self) -> list[dict[str, Any]]:
        """``{"path", "digest"}`` of the modules among the files read: the key has their content, not their place."""
        modules = sorted(_module_files().intersection(self.read))
        return [{"path": path, "digest": self._digest(path)} for path in modules]

    def results(self) -> list[dict[str, Any]]:
        """The files that are other than before.

        Returns:
            ``{"path", "digest", "added"}`` each; the digest of a file that is gone is empty, ``added`` says that its
            former content was kept. Left out is what is as it was, and what was made and removed again.
        """
        changed = {path for path, before in self.written.items() if identity(path) != before}
        for folder in [path for path in self.written if os.path.isdir(path)]:
            # Written as a whole by a library; what was in it before was noted file by file.
            changed.discard(folder)
            changed.update(path for path in _below(folder) if path not in self.written)
        return [{"path": path, "digest": _digest(path), "added": path in self._added} for path in sorted(changed)]

    def _digest(self, path: str) -> str:
        """Of a file as the step saw it; empty if it was not there, or if nobody can say."""
        before = self.read[path]
        if path in self._seen:
            return self._seen[path]
        if before is None or identity(path) != before:
            return ""
        digest = _digest(path)
        return digest if identity(path) == before else ""

    def _will_change(self, place: str) -> None:
        before = self.read.get(place)
        if before is not None and place not in self.written and identity(place) == before:
            with self.paused():
                self._seen[place] = _digest(place)
        self.written.setdefault(place, identity(place))

    def _moving(self, name: str, args: tuple[Any, ...]) -> None:
        if any(args[index] != -1 for index in _MOVING[name] if index < len(args) and args[index] is not None):
            return  # relative to an open folder: a tree that is being removed, and was noted as a whole
        if name in {"os.rename", "os.link"}:
            self.note_moved(args[0], args[1])
        if name == "os.truncate":
            self.note_update(args[0])
        elif name != "os.link":
            self.note_gone(args[0])

    def _opened(self, path: Any, flags: int) -> None:
        if flags & _WRITING == 0:
            self.note_read(path)
        elif flags & os.O_TRUNC or not flags & os.O_RDWR:
            self.note_write(path, kept=bool(flags & os.O_APPEND))
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


def _digest(path: str) -> str:
    from cellway.fingerprint import file

    try:
        return file(path)
    except OSError:
        return ""


def _below(path: Any) -> Iterator[str]:
    """A file, or the files in a folder."""
    text = os.fsdecode(path)
    if not os.path.isdir(text) or os.path.islink(text):
        yield text
        return
    for count, place in enumerate(os.path.join(parent, name) for parent, _, names in os.walk(text) for name in names):
        if count >= _ENOUGH:
            return
        yield place


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
    if recorder is None or (name != "open" and not name.startswith(_EVENTS)):
        return
    # An exception here would surface in the user's open() call.
    with contextlib.suppress(Exception):
        recorder.event(name, args, sys._getframe(1))  # noqa: SLF001 - the way to ask who calls


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
    places += getattr(sys.modules.get("cellway"), "__path__", ())
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
