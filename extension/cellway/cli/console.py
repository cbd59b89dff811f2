"""Plain text on a terminal, in a pipe, in a file: colours, tables, marks, errors.

Honours ``NO_COLOR``, ``FORCE_COLOR``, the terminal's width and its character set. No library: this is what a fully
cached run prints with.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence

TYPE_CHECKING = False  # typing itself is not imported on the path of a fully cached run
if TYPE_CHECKING:
    from typing import Any, TextIO

    from cellway.errors import CellwayError

STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}

WORDS: Mapping[str, tuple[str, str, str]] = {
    "pending": ("○", "to run", "cyan"),
    "running": ("◐", "running", "yellow"),
    "completed": ("✓", "ran", "green"),
    "cached": ("●", "reused", "blue"),
    "failed": ("✗", "failed", "red"),
    "cancelled": ("◌", "cancelled", "yellow"),
    "skipped": ("◌", "skipped", "dim"),
}
"""Status → mark, word and style."""

ASCII = str.maketrans(
    {
        **dict.fromkeys("●✓", "*"),
        **dict.fromkeys("○◌", "o"),
        "◐": "~",
        "✗": "x",
        "│": "|",
        "─": "-",
        **dict.fromkeys("├┼┴┬┤╭╮╰╯└┐┌┘", "+"),
        "·": "-",
        "…": "...",
        "←": "<-",
        "→": "->",
        "–": "-",
        "—": "-",
        "≤": "<=",
        "×": "x",
        **dict.fromkeys("’‘", "'"),
        **dict.fromkeys("“”", '"'),
    }
)


class Console:
    """Where a command prints.

    Args:
        out: for what was asked for.
        err: for errors and notes.
        environment: ``os.environ``.
    """

    def __init__(
        self, out: TextIO | None = None, err: TextIO | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        # Python has no stream where whoever started it closed it (a daemon, `>&-`).
        self.out = out or sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        self.err = err or sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        self._environment = os.environ if environment is None else environment
        self.json = False
        self.debug = False

    # --- what the terminal can do ------------------------------------------------------------------------------------

    def is_terminal(self, stream: TextIO | None = None) -> bool:
        """Whether people are looking."""
        try:
            return (stream or self.out).isatty()
        except ValueError:  # closed
            return False

    def colours(self, stream: TextIO | None = None) -> bool:
        """Whether to send colours. See https://no-color.org; ``FORCE_COLOR`` asks for them in a pipe."""
        if self._environment.get("NO_COLOR"):
            return False
        if self._environment.get("FORCE_COLOR"):
            return True
        return self.is_terminal(stream) and self._environment.get("TERM") != "dumb"

    def moves(self) -> bool:
        """Whether what was printed can be drawn anew, as a live view does."""
        return self.is_terminal() and self._environment.get("TERM", "") not in {"", "dumb"}

    def unicode(self, stream: TextIO | None = None) -> bool:
        """Whether the stream's encoding has the marks and lines."""
        encoding = getattr(stream or self.out, "encoding", None) or "utf-8"
        try:
            "●✓◐│├←…".encode(encoding)
        except (UnicodeError, LookupError):
            return False
        return True

    @property
    def width(self) -> int:
        """Columns; where nobody looks, as many as a long line may have."""
        return self.room or 100

    @property
    def room(self) -> int:
        """Columns at which lines are cut; 0 where nobody looks and a program may read on: nothing is cut then."""
        columns = self._environment.get("COLUMNS", "")
        if columns.isdigit() and int(columns) > 0:
            return int(columns)
        try:
            return os.get_terminal_size(self.out.fileno()).columns or 80
        except (OSError, ValueError, AttributeError):
            return 0

    def terminals(self) -> list[TextIO]:
        """Those of the two streams at which people look."""
        return [stream for stream in (self.out, self.err) if self.is_terminal(stream)]

    # --- printing ----------------------------------------------------------------------------------------------------

    def style(self, text: str, *names: str, stream: TextIO | None = None) -> str:
        """Text in a style, where the stream takes styles."""
        codes = ";".join(STYLES[name] for name in names if name)
        return f"\x1b[{codes}m{text}\x1b[0m" if codes and text and self.colours(stream) else text

    def print(self, text: str = "", *, stream: TextIO | None = None, end: str = "\n") -> None:
        """One text and the end of its line. A reader that left (``| head``) raises ``BrokenPipeError``."""
        stream = stream or self.out
        stream.write(self._encodable(harmless(text, colours=self.colours(stream)), stream) + end)

    def writable(self, text: str, stream: TextIO | None = None) -> str:
        """A text as the stream can have it: no sequences of a terminal, and plain characters for marks and arrows."""
        return self._encodable(harmless(text), stream or self.out)

    def _encodable(self, text: str, stream: TextIO) -> str:
        if text.isascii() or self.unicode(stream):
            return text
        encoding = getattr(stream, "encoding", None) or "utf-8"
        return text.translate(ASCII).encode(encoding, "replace").decode(encoding)

    def fit(self, text: str, width: int) -> str:
        """A text in one line of so many columns, as the terminal can show it."""
        return fit(self.writable(text), width, "…" if self.unicode() else "...")

    def note(self, text: str) -> None:
        """Something to know that was not asked for; on the error stream, so that output can be piped on."""
        self.print(self.style("note: ", "yellow", stream=self.err) + text, stream=self.err)

    def data(self, value: Any, *, line: bool = False) -> None:
        """A value as JSON: indented, or as one line of a stream."""
        import json

        text = json.dumps(plain(value), ensure_ascii=not self.unicode(), indent=None if line else 2)
        if not _has_text(text):  # the name of a file in another encoding, say
            text = json.dumps(plain(value), indent=None if line else 2)
        self.out.write(text + "\n")
        self.out.flush()

    def table(
        self, rows: Sequence[Sequence[str]], head: Sequence[str] = (), *, styles: Sequence[str] = (), wide: int = -1
    ) -> None:
        """Columns beside each other, as wide as they need.

        Args:
            rows: texts without styles.
            head: above them, in capitals as given.
            styles: one per column.
            wide: the column that is cut where the terminal ends.
        """
        if not rows:
            return
        given = [head, *rows] if head else rows
        shown = [[self.writable(cell) for cell in row] for row in given]
        columns = len(shown[0])
        widths = [max(cells(row[i]) for row in shown) for i in range(columns)]
        wide %= columns
        if self.room:
            room = self.room - sum(widths) - 2 * (columns - 1) + widths[wide]
            widths[wide] = min(widths[wide], max(room, 12))
            narrowed(widths, self.room - 2 * (columns - 1))
        for number, row in enumerate(shown):
            parts = []
            for i, cell in enumerate(row):
                text = self.fit(cell, widths[i])
                space = " " * (widths[i] - cells(text)) if i < columns - 1 else ""
                style = "dim" if head and number == 0 else styles[i] if i < len(styles) else ""
                style = style or _MARK_STYLES.get(given[number][i], "")
                parts.append(self.style(text, style) + space)
            self.print("  ".join(parts).rstrip())

    def diff(self, text: str, *, limit: int | None = None, indent: str = "") -> None:
        """A unified diff, coloured; its file names are left out.

        Args:
            limit: lines to show at most; how many more there are is said.
        """
        lines = [line for line in text.splitlines() if not line.startswith(("---", "+++", "@@"))]
        colours = {"+": "green", "-": "red"}
        if limit is not None and len(lines) > limit:
            changed = next((i for i, line in enumerate(lines) if line[:1] in colours), 0)
            lines = lines[max(0, changed - 1) :]
        for line in lines[:limit]:
            text = self.fit(line, self.room - len(indent)) if self.room else line
            self.print(indent + self.style(text, colours.get(line[:1], "dim")))
        if limit is not None and len(lines) > limit:
            self.print(indent + self.style(f"… {len(lines) - limit} more lines: --diff shows them", "dim"))

    # --- errors ------------------------------------------------------------------------------------------------------

    def error(self, error: CellwayError) -> None:
        """An error: what, where, and the fix."""
        if self.json:
            import json

            self.err.write(json.dumps({"error": described(error)}) + "\n")
            return
        place = str(error.place) if error.place is not None else ""
        head = self.style("error: ", "red", "bold", stream=self.err)
        self.print(head + (f"{place}: " if place else "") + error.message, stream=self.err)
        if error.fix:
            self.print("  " + self.style("fix: ", "green", "bold", stream=self.err) + error.fix, stream=self.err)


_MARK_STYLES = {mark: style for mark, _, style in WORDS.values()}


def described(error: CellwayError) -> dict[str, Any]:
    """An error as plain data: what ``--json`` prints."""
    place = error.place
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "fix": error.fix,
        "name": error.name,
        "place": None
        if place is None
        else {"cell": place.cell, "line": place.line, "excerpt": place.excerpt, "step": place.step},
        "exit_code": error.exit_code,
    }


def plain(value: Any) -> Any:
    """Records and other values as what JSON has. Numbers that JSON does not have become ``null``."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        return [plain(item) for item in value]
    return str(value)


# --- texts -----------------------------------------------------------------------------------------------------------


def cells(text: str) -> int:
    """Columns that a text takes on a terminal: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """A text in one line of so many columns, cut with an ellipsis."""
    text = text.replace("\n", " ").replace("\t", " ")
    if cells(text) <= width:
        return text
    while text and cells(text) > width - len(ellipsis):
        text = text[:-1]
    return text.rstrip() + ellipsis


def narrowed(widths: list[int], room: int) -> None:
    """Take columns from the widest until all fit, down to eight each."""
    while sum(widths) > room and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1


def seconds(value: float | None) -> str:
    """A time span for people: ``8 ms``, ``3.4 s``, ``2 min 5 s``, ``1 h 20 min``."""
    if value is None:
        return ""
    if value < 0.0995:
        return f"{max(value, 0) * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size(value: float) -> str:
    """An amount of bytes for people, in powers of 1000: ``812 B``, ``3.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def when(value: float | None) -> str:
    """A point in time in local time: ``2026-01-14 09:31:05``."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value)) if value else ""


def shown_path(path: str) -> str:
    """A path as it is typed from here."""
    import os

    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def summary(console: Console, numbers: Mapping[str, int], elapsed: float, saved: float) -> str:
    """``7 steps: 2 ran, 5 reused · 3.4 s (saved 12.1 s)``.

    Args:
        numbers: status → steps; those that are 0 are left out.
        elapsed: seconds that the run took.
        saved: seconds that the reused steps took when they ran.
    """
    total = sum(numbers.values())
    parts = []
    for status in ("failed", "completed", "cached", "cancelled", "skipped", "pending", "running"):
        if numbers.get(status):
            _, word, style = WORDS[status]
            word = {"pending": "not run", "running": "unfinished"}.get(status, word)
            parts.append(console.style(f"{numbers[status]} {word}", style))
    text = f"{count(total, 'step')}: {', '.join(parts) or 'nothing to do'} · {seconds(elapsed)}"
    return text + (console.style(f" (saved {seconds(saved)})", "dim") if saved >= 0.05 else "")


def count(number: int, noun: str, many: str = "") -> str:
    """``1 step``, ``3 steps``."""
    return f"{number} {noun if number == 1 else many or noun + 's'}"


_SEQUENCES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])"
"""What a terminal takes as a command: control sequences, titles and links, and those of two or three characters."""

_CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069]"
"""Characters that move the cursor or turn the direction of the text. What joins characters is left alone."""


def without_styles(text: str) -> str:
    """A text without the escape sequences of a terminal."""
    import re

    return re.sub(_SEQUENCES, "", text) if "\x1b" in text else text


def harmless(text: str, *, colours: bool = False) -> str:
    """A text that commands no terminal, wherever it comes from: a file name, a value, what a cell printed.

    Args:
        text: may have several lines, and tabs.
        colours: keep those in it; they end with the text.
    """
    # The common cases go without `re`, which a run in which nothing runs does not import.
    if _is_plain(text) or (colours and _is_styled(text)):
        return text
    import re

    def kept(found: re.Match[str]) -> str:
        return found[0] if colours and re.fullmatch(r"\x1b\[[0-9;:]*m", found[0]) else ""

    pieces = re.split(f"({_SEQUENCES})", text.replace("\r\n", "\n"))
    pieces[1::2] = [re.sub(_SEQUENCES, kept, sequence) for sequence in pieces[1::2]]
    pieces[::2] = [re.sub("[\ud800-\udfff]", "?", re.sub(_CONTROLS, "", piece)) for piece in pieces[::2]]
    last = next((sequence for sequence in reversed(pieces[1::2]) if sequence), "")
    return "".join(pieces) + ("\x1b[0m" if last not in {"", "\x1b[0m", "\x1b[m"} else "")


def _is_plain(text: str) -> bool:
    return text.replace("\n", "").replace("\t", "").isprintable()


def _is_styled(text: str) -> bool:
    """Whether it is plain but for styles, as :meth:`Console.style` sets them; the last one ends them."""
    first, *styled = text.split("\x1b[")
    codes = "0"
    for piece in styled:
        codes, end, rest = piece.partition("m")
        if not end or not codes.replace(";", "").isdigit() or not _is_plain(rest):
            return False
    return codes == "0" and _is_plain(first)


def _has_text(text: str) -> bool:
    """Whether every character is one: file names that are not UTF-8 have halves of some."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
