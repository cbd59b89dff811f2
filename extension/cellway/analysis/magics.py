"""What each magic command does to names and to the state of the process, as far as its text tells.

The names are those of IPython 8 and 9, of ipykernel, and of the extensions seen most in notebooks. A magic that is not
listed here may do anything, and says so (``opaque``).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from string import Formatter


@dataclass(frozen=True, slots=True)
class Magic:
    """One piece of IPython syntax.

    Attributes:
        text: as written, joined to one line where it was continued; goes into the fingerprint.
        line: where it stands in the cell's body, from 1.
        reads: names that it interpolates (``{df.shape}``, ``$path``) or looks at (``df?``, ``%store df``). Names of the
            shell (``$HOME``) are among them: text alone does not tell them apart.
        binds: names that it binds (``%%capture out``, ``%%bash --out text``).
        ambient: kinds of process-wide state that it changes, as in :class:`cellway.records.Statement`, and ``install``.
        opaque: why its effect cannot be known, else "".
        pure: it shows something, and changes nothing.
    """

    text: str
    line: int
    reads: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
    opaque: str = ""
    pure: bool = False


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CODE = frozenset({"time", "prun", "memit", "mprun", "lprun", "snakeviz", "pyinstrument", "heat", "scalene", "debug"})
"""Magics that run Python in the notebook's namespace."""

TIMEIT = "timeit"
"""Runs Python too, but what it binds stays inside."""

CAPTURE = "capture"

# Options of the magics above which take a value (`%prun -s cumulative f()`), by their letter or long name.
_VALUED = {
    "timeit": frozenset("nrp"),
    "prun": frozenset("DlsT"),
    "memit": frozenset("rti"),
    "mprun": frozenset("Tf"),
    "lprun": frozenset("fmDTuz"),
    "snakeviz": frozenset("f") | {"filename"},
    "debug": frozenset("b") | {"breakpoint"},
    "pyinstrument": frozenset({"interval", "render", "timeline"}),
}
_OPTION = re.compile(r"\s*(?:--(?P<long>[A-Za-z][\w-]*)(?P<equals>=\S*)?|-(?P<short>[A-Za-z])(?P<glued>\S*))(?=\s|$)")

_SHOWS = _words(
    "cat clear cls connect_info dhist dirs hist history killbgscripts ldir less lf lk ll logstate ls lsmagic lx magic "
    "man more notebook page pastebin pdef pdoc pfile pinfo pinfo2 psearch psource pwd pycat qtconsole quickref recall "
    "tb tensorboard watermark who who_ls whos"
)
_LOOKS = _words("page pdef pdoc pfile pinfo pinfo2 psource")
_SETTINGS = _words(
    "alias alias_magic autoawait autocall automagic autoreload autosave bookmark cellway colors config doctest_mode "
    "gui load_ext logoff logon logstart logstop matplotlib pdb pprint precision rehashx reload_ext unalias unload_ext "
    "xmode"
)
_FOLDERS = frozenset({"cd", "pushd", "popd"})
_INSTALLERS = frozenset({"pip", "conda", "mamba", "micromamba", "uv"})
_FILES = frozenset({"mkdir", "cp", "mv", "rm", "rmdir", "save", "rmagic"})
_OPAQUE = {
    "run": "%run executes another file in this namespace",
    "load": "%load replaces the cell by a file",
    "loadpy": "%loadpy replaces the cell by a file",
    "macro": "%macro makes code out of the session's history",
    "edit": "%edit runs what is typed in an editor",
    "ed": "%ed runs what is typed in an editor",
    "rep": "%rep takes its text from the session's history",
    "rerun": "%rerun runs the session's history again",
    "reset": "%reset deletes every name",
    "reset_selective": "%reset_selective deletes names by pattern",
    "pylab": "%pylab imports unknown names",
    "code_wrap": "%code_wrap changes how later cells run",
}
_SHELLS = frozenset({"sx", "system", "sc", "!"})

_SCRIPTS = _words("script bash sh zsh fish cmd powershell pwsh perl ruby node python python2 python3 pypy")
"""Cell magics that hand their body to another process; what it prints can be bound by options."""
_DISPLAYS = _words("html HTML javascript js latex markdown svg SVG mermaid")
_WRITES = frozenset({"writefile", "file"})
_LANGUAGES = {
    "R": "%%R keeps variables in an R session that steps do not share",
    "cython": "%%cython binds what the compiled code defines",
    "sql": "%%sql works on a connection outside the notebook",
}

AUTOMAGIC = _SHOWS | _SETTINGS | _FOLDERS | _INSTALLERS | _FILES | _OPAQUE.keys() | {"env", "set_env", "store", "xdel"}
"""Line magics that IPython also knows without ``%`` where the cell is this one line, and no variable has the name."""

_INSTALL = re.compile(
    r"\b(?:pip3?|conda|mamba|micromamba|uv|pipenv|poetry|apt|apt-get|npm)\b.*\b(?:install|uninstall|add|remove|sync|update|upgrade)\b"
)
_PLAIN_SHELL = re.compile(
    r"\s*(?:ls|ll|dir|cat|head|tail|pwd|echo|wc|file|which|date|whoami|uname|free|df|du|tree|nvidia-smi|nproc|lscpu"
    r"|pip3? (?:list|show|freeze)|conda (?:list|info)|python3? --version)\b[^|;&>`]*"
)
_DOLLAR = re.compile(r"\$(\$?)([A-Za-z_]\w*)")
_SCRIPT_OPTION = re.compile(r"--(out|err|proc)(?:=|\s+)([A-Za-z_]\w*)")
_ROOT = re.compile(r"[^\W\d]\w*(?![\w*])")


def line_magic(name: str, rest: str, text: str, line: int) -> Magic:
    """The magic ``%name rest`` (one which runs no Python of the notebook)."""
    reads = interpolated(rest)
    if name in _OPAQUE:
        return Magic(text, line, reads, opaque=_OPAQUE[name])
    if name in _SHOWS:
        return Magic(text, line, (*reads, *roots(rest)) if name in _LOOKS else reads, pure=True)
    if name in _SETTINGS:
        return Magic(text, line, reads, ambient=("options",))
    if name in _FOLDERS:
        return Magic(text, line, reads, ambient=("chdir",))
    if name in _INSTALLERS:
        command = f"{name} {rest}"
        return Magic(text, line, reads, ambient=("install",) if _INSTALL.search(command) else (), pure=False)
    if name in {"env", "set_env", "dotenv"}:
        sets = name != "env" or "=" in rest or len(rest.split(None, 1)) > 1
        return Magic(text, line, reads, ambient=("environ",) if sets else (), pure=not sets)
    if name in _FILES or name in CODE or name in {TIMEIT, "aimport", "xdel"}:
        return Magic(text, line, reads)
    if name == "store":
        return _store(rest, text, line, reads)
    if name == "sc":
        target = re.match(r"\s*(?:-\w+\s+)*([A-Za-z_]\w*)\s*=", rest)
        return Magic(text, line, reads, binds=(target[1],) if target else ())
    if name in _SHELLS:
        return shell(rest, text, line)
    return Magic(
        text, line, reads, opaque=f"nothing is known about the magic %{name}" if name else "a magic without a name"
    )


def cell_magic(name: str, rest: str, body: str, text: str, line: int) -> Magic:
    """The cell magic ``%%name rest`` over a body that is not Python of this namespace."""
    reads = interpolated(rest)
    if name in _SCRIPTS:
        return Magic(text, line, reads, tuple(dict.fromkeys(m[2] for m in _SCRIPT_OPTION.finditer(rest))))
    if name in _DISPLAYS:
        return Magic(text, line, reads, pure=True)
    if name in _WRITES:
        return Magic(text, line, reads)
    if name in _SHELLS:  # `%%!` and its other names: unlike %%bash, the body itself is interpolated
        return shell(f"{rest}\n{body}", text, line)
    if name == "R":
        reads = (*reads, *_listed(rest, "i", "input"))
        return Magic(text, line, reads, _listed(rest, "o", "output"), opaque=_LANGUAGES[name])
    return Magic(text, line, reads, opaque=_LANGUAGES.get(name, f"nothing is known about the magic %%{name}"))


def shell(command: str, text: str, line: int) -> Magic:
    """The command of a ``!`` line."""
    ambient = ("install",) if _INSTALL.search(command) else ()
    return Magic(text, line, interpolated(command), (), ambient, pure=_PLAIN_SHELL.fullmatch(command) is not None)


def help_on(target: str, text: str, line: int) -> Magic:
    """``target?`` or ``?target``: looks at an object (or at a magic, or at whatever matches a pattern)."""
    return Magic(text, line, roots(target), pure=True)


def split_options(name: str, rest: str) -> tuple[str, str]:
    """Options and code of ``%timeit -n 10 f(x)`` and its like."""
    valued: frozenset[str] = _VALUED.get(name, frozenset())
    position = 0
    while found := _OPTION.match(rest, position):
        position = found.end()
        option = found["long"] or found["short"]
        if option in valued and not found["equals"] and not found["glued"]:
            value = re.compile(r"\s+\S+").match(rest, position)
            position = value.end() if value else position
    return rest[:position].strip(), rest[position:].strip()


def roots(text: str) -> tuple[str, ...]:
    """The variable in ``np.linalg.norm``, if a pattern (``np.*load*``) does not hide it."""
    found = _ROOT.match(text.strip().lstrip("?").strip())
    return (found[0],) if found else ()


def interpolated(text: str) -> tuple[str, ...]:
    """Names in the ``{expressions}`` and ``$names`` of a command."""
    if "{" not in text and "$" not in text:
        return ()
    found = [m[2] for m in _DOLLAR.finditer(text) if not m[1]]
    try:
        fields = [(field, spec) for _, field, spec, _ in Formatter().parse(text)]
    except ValueError:  # unbalanced braces: IPython then interpolates nothing, not even $names
        return ()
    for field, spec in fields:
        if field:
            found += names_of(field)
        if spec and "{" in spec:
            found += interpolated(spec)
    return tuple(dict.fromkeys(found))


def names_of(code: str) -> list[str]:
    """Names that a piece of Python reads; none if it is not Python."""
    try:
        tree = ast.parse(code.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]


def _store(rest: str, text: str, line: int, reads: tuple[str, ...]) -> Magic:
    words = rest.split()
    if words and words[0] == "-r":
        return Magic(text, line, reads, opaque="%store -r brings back names of another session")
    if not words or words[0] in {"-d", "-z"}:
        return Magic(text, line, reads, pure=not words)
    stop = next((i for i, word in enumerate(words) if word.startswith(">")), len(words))
    return Magic(text, line, (*reads, *(word for word in words[:stop] if word.isidentifier())))


def _listed(rest: str, short: str, long: str) -> tuple[str, ...]:
    """Names in ``-i a,b`` or ``--input=a,b``."""
    found = re.findall(rf"(?:-{short}\s*|--{long}[=\s]+)([\w,.]+)", rest)
    return tuple(dict.fromkeys(name.split(".")[0] for part in found for name in part.split(",") if name))
