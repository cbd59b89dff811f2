"""Modules of the project that a step's code reaches, followed through the text of their imports.

Only modules below given folders are read; installed packages count by their version. What cannot be followed (a module
imported by a computed name, ``exec``) makes every module below these folders count: more, never less.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING, Any

from cellway import fingerprint

if TYPE_CHECKING:
    import ast

    from cellway.planning.files import Files
    from cellway.records import Code

_SUFFIXES = tuple(dict.fromkeys((".py", *EXTENSION_SUFFIXES, ".so", ".pyd", ".pyc")))
_FROM = re.compile(r"\bfrom\s+(\.*[\w.]*)\s+import\s+(\([^)]*\)|[^\n;#]+)")
_IMPORT_CALL = re.compile(r"\b(?:import_module|__import__)\s*\(\s*(?:(['\"])(\.*[\w.]+)\1\s*[,)])?")
_DYNAMIC_TEXT = re.compile(
    r"\b(?:walk_packages|iter_modules|spec_from_file_location|SourceFileLoader|run_path|run_module)\b"
    r"|(?<![.\w])(?:exec|eval)\s*\(|^\s*%(?:run|load)\b",
    re.MULTILINE,
)
_RUNNERS = ("exec", "eval", "run_path", "run_module")
_DYNAMIC_CALLS = frozenset((*_RUNNERS, "walk_packages", "iter_modules", "spec_from_file_location", "SourceFileLoader"))
OWN = frozenset({"cellway", "cellway_magics", "__main__", "__future__"})
"""Never part of a key: what cellway brings along does not change what a step computes."""

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Imports:
    """What a piece of code imports.

    Attributes:
        names: ``(module, names)`` of each import; a leading dot is relative; names of ``from module import a, b`` may
            be submodules, ``*`` may be all of them.
        dynamic: whether it may import what its text does not tell.
        folders: absolute, that it puts on ``sys.path``.
    """

    names: tuple[tuple[str, tuple[str, ...]], ...]
    dynamic: bool = False
    folders: tuple[str, ...] = ()


@dataclass(slots=True)
class Reached:
    """What some code reaches.

    Attributes:
        modules: dotted name → absolute path, of modules below the folders that were searched.
        digests: dotted name → digest.
        outside: first names of modules that are not there.
    """

    modules: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)


def of_code(code: Code) -> Imports:
    """What a cell or symbol imports, by the analysis and by a look at its text.

    The text is searched rather than parsed: it may hold magics, and what is found in a comment does no harm.
    """
    text = code.source
    names: list[tuple[str, tuple[str, ...]]] = [(module, ()) for module in code.modules]
    if "from" in text:
        names += [(match[1], tuple(re.findall(r"[\w*]+", match[2]))) for match in _FROM.finditer(text)]
    dynamic = _DYNAMIC_TEXT.search(text) is not None
    if "import_module" in text or "__import__" in text:
        for match in _IMPORT_CALL.finditer(text):
            if match[2]:
                names.append((match[2], ()))
            else:
                dynamic = True
    return Imports(tuple(name for name in names if not name[0].startswith(".")), dynamic)


class Modules:
    """Finds modules and their digests.

    Args:
        files: reads files, and remembers what was in them.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def reach(
        self, imports: Iterable[Imports], folders: Sequence[str], elsewhere: Mapping[str, Sequence[str]]
    ) -> Reached:
        """Modules that code reaches, and theirs, and so on.

        Args:
            imports: of the code.
            folders: absolute, in the order in which Python searches them.
            elsewhere: first name → more folders in which only this name is looked for.
        """
        walk = _Walk(self._files, folders, elsewhere)
        for each in imports:
            walk.follow(each, "", is_package=False)
        walk.finish()
        return walk.reached


class _Walk:
    def __init__(self, files: Files, folders: Sequence[str], elsewhere: Mapping[str, Sequence[str]]) -> None:
        self.reached = Reached()
        self._files = files
        self._folders = folders
        self._elsewhere = elsewhere
        self._found: dict[str, tuple[str, ...] | None] = {}
        self._queue: list[tuple[str, str, bool]] = []
        self._everything = False

    def follow(self, imports: Imports, module: str, *, is_package: bool) -> None:
        """Visit what ``module`` imports."""
        if imports.dynamic and not self._everything:
            self._everything = True
            for folder in self._folders:
                for dotted in _modules_below(folder, self._files.looked_at):
                    self._visit(dotted)
        for target, names in imports.names:
            base = _absolute(target, module, is_package)
            if base is None:
                continue
            found = not base or self._visit(base)
            for name in names if found else ():
                if name == "*":
                    self._visit_all(base)
                elif base:
                    self._visit(f"{base}.{name}", optional=True)

    def finish(self) -> None:
        """Read what was found, until nothing new is found."""
        while self._queue:
            dotted, path, is_package = self._queue.pop()
            if path.endswith(".py"):
                known = json.loads(self._files.derived(_KIND, path, _scan) or _GONE)
                self.reached.digests[dotted] = known["digest"]
                names = tuple((target, tuple(names)) for target, names in known["imports"])
                self.follow(Imports(names, known["dynamic"]), dotted, is_package=is_package)
            else:
                self.reached.digests[dotted] = self._files.digest(path)

    def _visit(self, dotted: str, *, optional: bool = False) -> bool:
        """Find a module and the packages around it; whether it is below the folders."""
        parts = dotted.split(".")
        if parts[0] in OWN:
            return False
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[:count])
            if name not in self._found:
                self._found[name] = self._locate(name)
            if self._found[name] is None:
                if count == 1 and not optional:
                    self.reached.outside.add(name)
                return False
        return True

    def _visit_all(self, package: str) -> None:
        for folder in self._found.get(package) or ():
            for name in _names_in(folder):
                self._visit(f"{package}.{name}")

    def _locate(self, dotted: str) -> tuple[str, ...] | None:
        """The folders in which its submodules are looked for, or ``None`` if there is no such module."""
        package, _, name = dotted.rpartition(".")
        folders = self._found[package] if package else (*self._folders, *self._elsewhere.get(name, ()))
        portions = []
        self._files.looked_at.update(folders or ())
        for folder in folders or ():
            inner = os.path.join(folder, name)
            for suffix in _SUFFIXES:
                if os.path.isfile(path := os.path.join(inner, "__init__" + suffix)):
                    self._add(dotted, path, is_package=True)
                    return (inner,)
            for suffix in _SUFFIXES:
                if os.path.isfile(path := inner + suffix):
                    self._add(dotted, path, is_package=False)
                    return ()
            if os.path.isdir(inner):
                portions.append(inner)
        if not portions:
            return None
        if not package:
            # A folder without __init__.py counts only if no installed package has its name.
            self.reached.outside.add(name)
        return tuple(portions)

    def _add(self, dotted: str, path: str, *, is_package: bool) -> None:
        self.reached.modules[dotted] = path
        self._queue.append((dotted, path, is_package))


_GONE = '{"digest": "missing", "imports": [], "dynamic": false}'
# The digest of a syntax tree depends on the Python that parses it.
_KIND = f"module-{'.'.join(map(str, __import__('sys').version_info[:2]))}"


def _scan(path: str) -> str:
    """Digest and imports of a Python file, as JSON."""
    import ast

    with open(path, "rb") as file:
        source = file.read()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # Importing it will fail, until it is mended.
        return json.dumps({"digest": fingerprint.digest("module", source), "imports": [], "dynamic": False})
    names: list[tuple[str, list[str]]] = []
    dynamic = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(("." * node.level + (node.module or ""), [alias.name for alias in node.names]))
        elif isinstance(node, ast.Call):
            called, target = _called(node)
            if called in _DYNAMIC_CALLS or (called in {"import_module", "__import__"} and target is None):
                dynamic = True
            elif called in {"import_module", "__import__"} and target is not None:
                names.append((target, []))
    return json.dumps({"digest": fingerprint.tree(tree), "imports": names, "dynamic": dynamic})


def _called(node: ast.Call) -> tuple[str, str | None]:
    """Name of the called function, and its first argument if that is a literal text."""
    function: Any = node.func
    name = getattr(function, "id", "")
    if not name:
        name = getattr(function, "attr", "")
        if name in {"exec", "eval"}:
            return "", None  # DataFrame.eval and its like
    first = getattr(node.args[0], "value", None) if node.args else None
    return name, first if isinstance(first, str) else None


def _absolute(target: str, module: str, is_package: bool) -> str | None:
    """``..a.b`` as imported in ``module``, or ``None`` if it leads out of everything."""
    name = target.lstrip(".")
    level = len(target) - len(name)
    if level == 0:
        return name
    base = module.split(".") if is_package else module.split(".")[:-1]
    if level > 1:
        if level - 1 > len(base):
            return None
        base = base[: len(base) - (level - 1)]
    return ".".join([*base, name] if name else base)


def _names_in(folder: str) -> Iterator[str]:
    """Names of modules and packages right in a folder."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        name, dot, _ = entry.name.partition(".")
        if (
            name.isidentifier()
            and name != "__init__"
            and name not in _SKIPPED
            and (entry.is_dir() if not dot else entry.name.endswith(_SUFFIXES))
        ):
            yield name


def _modules_below(folder: str, looked_at: set[str]) -> Iterator[str]:
    """Dotted names of all modules below a folder; virtual environments in it are left out."""
    looked_at.add(folder)
    for name in _names_in(folder):
        inner = os.path.join(folder, name)
        if not os.path.isdir(inner):
            yield name
        elif not os.path.exists(os.path.join(inner, "pyvenv.cfg")):
            yield name
            for below in _modules_below(inner, looked_at):
                yield f"{name}.{below}"
