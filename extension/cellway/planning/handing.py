"""Which files steps hand to each other: what must wait for what, and whose files must still be as they were.

No name stands for a file, so that its way from step to step is not seen in the code. What a step wrote and read is kept
as facts about its code when it runs. Before that, two steps that name the same file are kept in order if one of them
looks as if it wrote files; where that misses, execution finds out (``cellway.execution.meeting``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping

from cellway.records import Facts, Pipeline, Step

_NOTHING = Facts()
_NAMED = re.compile(r"""[^'"\s/\\:*?<>|{}()=,]*\w\.[A-Za-z]\w{0,9}(?=['"])""")
"""The last part of a path at the end of a text."""
_WRITEFILE = re.compile(r"^\s*%%(?:writefile|file)\s+(?:-a\s+)?(?:\S*/)?([^\s/]+)", re.MULTILINE)
_WRITING = re.compile(
    r"\.(?:to|sink)_(?:csv|parquet|feather|json|ndjson|ipc|excel|pickle|hdf|sql|html|xml|stata|markdown|latex|orc|file)"
    r"|write|dump|save|(?i:\bcopy\b.*\bto\b)|['\"](?:[wax]b?t?\+?b?|rb?\+b?)['\"]|^\s*%%(?:writefile|file)\b|^\s*!|sqlite|duckdb"
    r"|\b(?:rename|remove|unlink|rmtree|move|copyfile|copytree|copy2|touch|extractall|urlretrieve|truncate)\(",
    re.MULTILINE,
)


_LISTING = re.compile(r"glob|listdir|iterdir|scandir|\bwalk\(|\*\.\w|dataset\(")
"""Looks into a folder: which files it takes from there is not said."""


class Handed:
    """The files that the steps of a pipeline write and read.

    Args:
        pipeline: steps in notebook order.
        facts: by step.
    """

    def __init__(self, pipeline: Pipeline, facts: Mapping[str, Facts]) -> None:
        self._steps = pipeline.steps
        self._place = {step.name: index for index, step in enumerate(pipeline.steps)}
        self._facts = [facts.get(step.name, _NOTHING) for step in pipeline.steps]
        self._any = any(each.wrote for each in self._facts)
        self._before: dict[str, dict[str, str]] = {}
        self._sources: dict[str, dict[str, str]] = {}
        self._guessed: dict[str, frozenset[str]] | None = None

    def before(self, step: str) -> Mapping[str, str]:
        """Earlier steps that a step has to wait for, each with a file that is the reason.

        It reads or changes what they wrote, or it writes what they read.
        """
        if not self._any:
            return {}
        if step not in self._before:
            place = self._place[step]
            found = {self._steps[index].name: self._kept(index, place) for index in range(place)}
            self._before[step] = {
                **{name: path for name, path in found.items() if path is not None},
                **self.sources(step),
            }
        return self._before[step]

    def sources(self, step: str) -> Mapping[str, str]:
        """Earlier steps which write what a step reads or changes, each with such a file."""
        if not self._any:
            return {}
        if step not in self._sources:
            place = self._place[step]
            found = {self._steps[index].name: self._given(index, place) for index in range(place)}
            self._sources[step] = {name: path for name, path in found.items() if path is not None}
        return self._sources[step]

    def guessed(self, step: str) -> frozenset[str]:
        """Earlier steps that it is better to wait for, although nobody knows.

        The code of both names the same file, or the later one looks into folders, and one looks as if it wrote files.
        """
        if self._guessed is None:
            self._guessed = self._guess()
        return self._guessed.get(step, frozenset())

    def compared(self, step: str, path: str) -> bool:
        """Whether a file that a step wrote has to be as it left it: a later step reads it, and none writes it anew."""
        place = self._place[step]
        return self._matters(place, path) and not any(covers(each.wrote, path) for each in self._facts[place + 1 :])

    def is_read(self, step: str, path: str) -> bool:
        """Whether a step after this one is known to read a file."""
        return any(covers(each.read, path) for each in self._facts[self._place[step] + 1 :])

    def last(self, path: str) -> str | None:
        """The last step that writes a file."""
        return next((name for name in reversed(self._writers(path))), None)

    def earlier(self, step: str, path: str) -> list[str]:
        """The steps before this one that write a file, the nearest first."""
        place = self._place[step]
        return [name for name in reversed(self._writers(path)) if self._place[name] < place]

    def rewritten(self, step: str, path: str) -> bool:
        """Whether this step or a later one writes a file, so that what is there now is not what the step would see."""
        last = self.last(path)
        return last is not None and self._place[last] >= self._place[step]

    def written_from(self, step: str) -> set[str]:
        """The files that a step and those after it write."""
        return {path for each in self._facts[self._place[step] :] for path in each.wrote}

    def _writers(self, path: str) -> list[str]:
        if not self._any:
            return []
        return [step.name for step, each in zip(self._steps, self._facts, strict=True) if covers(each.wrote, path)]

    def _matters(self, place: int, path: str) -> bool:
        """Whether a step after this place reads a file, or may read it: it never came to its end."""
        return any(each.draws is None or covers(each.read, path) for each in self._facts[place + 1 :])

    def _given(self, first: int, second: int) -> str | None:
        one, two = self._facts[first], self._facts[second]
        if not one.wrote:
            return None
        # Who only adds to a log that nobody reads may do so at any time.
        rewritten = (path for path in shared(one.wrote, two.wrote) if self._matters(first, path))
        return next(iter(shared(one.wrote, two.read)), None) or next(rewritten, None)

    def _kept(self, first: int, second: int) -> str | None:
        return next(iter(shared(self._facts[first].read, self._facts[second].wrote)), None)

    def _guess(self) -> dict[str, frozenset[str]]:
        if all(each.draws is not None for each in self._facts):
            return {}
        named = [_mentioned(step) for step in self._steps]
        writes = [any(_writes(code.source) for code in (*step.carried, *step.cells)) for step in self._steps]
        lists = [any(_lists(code.source) for code in step.cells) for step in self._steps]
        found: dict[str, frozenset[str]] = {}
        for second, step in enumerate(self._steps):
            found[step.name] = frozenset(
                self._steps[first].name
                for first in range(second)
                if (self._facts[first].draws is None or self._facts[second].draws is None)
                and (
                    (writes[first] and lists[second])
                    or ((writes[first] or writes[second]) and not named[first].isdisjoint(named[second]))
                )
            )
        return found


def covers(entries: Iterable[str], path: str) -> bool:
    """Whether a path is among these; one that ends with ``/`` stands for all below it."""
    return any(entry == path or _holds(entry, path) or _holds(path, entry) for entry in entries)


def shared(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """Paths that both name."""
    others = frozenset(other)
    entries = list(one)
    folders = [entry for entry in others if entry.endswith("/")]
    return sorted(
        entry
        for entry in entries
        if entry in others
        or any(_holds(folder, entry) for folder in folders)
        or (entry.endswith("/") and any(_holds(entry, path) for path in others))
    )


def _holds(folder: str, path: str) -> bool:
    return folder.endswith("/") and path.startswith(folder)


@functools.cache
def _writes(source: str) -> bool:
    return _WRITING.search(source) is not None


@functools.cache
def _lists(source: str) -> bool:
    return _LISTING.search(source) is not None


@functools.cache
def _files_in(source: str) -> frozenset[str]:
    return frozenset((*_NAMED.findall(source), *_WRITEFILE.findall(source)))


def _mentioned(step: Step) -> frozenset[str]:
    """Names of files in the code of a step, without folders; modules among them."""
    found: set[str] = set()
    for code in (*step.carried, *step.cells):
        found.update(_files_in(code.source))
        found.update(f"{part}.py" for module in code.modules for part in module.split("."))
    return frozenset(found)
