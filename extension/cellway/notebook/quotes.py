"""Which lines of Python source lie inside a string."""

from __future__ import annotations


class Quotes:
    """Follows Python source line by line and knows whether the next line starts inside a triple-quoted string."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open = ""

    @property
    def inside(self) -> bool:
        """Whether the next line starts inside a string."""
        return bool(self._open)

    def feed(self, line: str) -> None:
        """Take the next line, without its line end."""
        position, single = 0, ""
        while position < len(line):
            char = line[position]
            if char == "\\":
                position += 2  # an escaped character ends nothing, inside a string or out of it
                continue
            if self._open:
                if line.startswith(self._open, position):
                    position += 3
                    self._open = ""
                    continue
            elif single:
                if char == single:
                    single = ""
            elif char == "#":
                return
            elif char in "\"'":
                if line.startswith(char * 3, position):
                    self._open = char * 3
                    position += 3
                    continue
                single = char
            position += 1
