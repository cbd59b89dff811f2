"""Receipt of a run after which nothing was left to do: why the next one can be answered in milliseconds.

A receipt holds the stat of everything that decided the keys (notebook, modules, data files, settings, the folders that
packages are installed in, the interpreters) and the stored blobs. As long as none of it moved, and the question is the
same, every step is cached, without reading the notebook. Size, both times, inode and device are compared: writing to a
file moves its ctime, which no program can set back (Windows has no such time: there, a file of the same size whose
modification time was set back on purpose goes unseen). In any doubt there is no receipt, and the keys are computed as
usual.

This is the path of a run in which nothing runs: no records, and neither ``json`` nor ``hashlib``, which take longer to
import than a receipt to read. It is lines of text; a field that would need quoting means that none is kept.
"""

from __future__ import annotations

import binascii
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

_HEAD = "cellway receipt 2"
_END = "end"
_RACY_NS = 50_000_000
"""A file changed this shortly before its stat was taken may change again within one tick of the clock."""
_RACY_COARSE_NS = 2_000_000_000
"""The same where the file system counts whole seconds (FAT: two)."""
_MISSING = "-"


class Receipt:
    """What a run in which nothing was left to do had found.

    Attributes:
        pipeline: name of the pipeline.
        parameters: their values, as JSON.
        steps: ``(step, id of the executed step run, seconds that it took)`` in order.
    """

    __slots__ = ("parameters", "pipeline", "steps")

    def __init__(self, pipeline: str, parameters: str, steps: Sequence[tuple[str, str, float]]) -> None:
        self.pipeline = pipeline
        self.parameters = parameters
        self.steps = steps


def question(**asked: Any) -> str | None:
    """One line that says exactly what a run was asked to do: source, parameters, interpreter, version.

    Returns:
        ``None`` if a value has no exact text (it is not of JSON's types): such a run has no receipt.
    """
    try:
        return _exact(asked)
    except (TypeError, ValueError, RecursionError):  # an integer of more digits than Python writes; a loop
        return None


def stat(path: str) -> str:
    """What identifies the state of a file or folder: size, both times, inode, device; ``-`` if it does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return _MISSING
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {found.st_dev}"


def read(folder: str, asked: str) -> Receipt | None:
    """The receipt for a question, if everything it rests on is as it was."""
    try:
        with open(_path(folder, asked), encoding="utf-8", errors="surrogatepass", newline="\n") as stream:
            lines = stream.read().split("\n")
    except (OSError, ValueError):
        return None
    if len(lines) < 5 or lines[0] != _HEAD or lines[1] != asked or lines[-1] != _END:
        return None
    try:
        return _read(lines)
    except ValueError:  # damaged
        return None


def _read(lines: Sequence[str]) -> Receipt | None:
    steps = []
    for line in lines[4:-1]:
        kind, first, second, *rest = line.split("\t")
        if kind == "stat":
            if stat(first) != second:
                return None
        elif kind == "blobs":
            # A folder that did not move has lost nothing; in one that did, each blob is looked for.
            if stat(first) != second and not all(os.path.exists(os.path.join(first, name)) for name in rest):
                return None
        else:
            steps.append((first, second, float("".join(rest))))
    return Receipt(lines[2], lines[3], steps)


def write(
    folder: str,
    asked: str,
    receipt: Receipt,
    *,
    paths: Iterable[str],
    blobs: Iterable[str],
    started: float,
) -> bool:
    """Keep a receipt, unless something it would rest on moved while or just before the run looked at it.

    Args:
        folder: of receipts.
        asked: the :func:`question`.
        receipt: what was found.
        paths: files and folders that decided the keys; those that do not exist count as missing.
        blobs: paths of the stored blobs; they are content-addressed, so that being there is enough.
        started: when the run began to look, seconds since the epoch.

    Returns:
        Whether it was kept.
    """
    lines = [[_HEAD], [asked], [receipt.pipeline], [receipt.parameters]]
    for path in sorted(set(paths)):
        found = stat(path)
        if not _settled(found, started):
            return False
        lines.append(["stat", path, found])
    for place, names in _by_folder(blobs).items():
        # Its stat is taken before its blobs are looked for: one that goes in between moves the folder.
        found = stat(place)
        if not all(os.path.exists(os.path.join(place, name)) for name in names):
            return False
        lines.append(["blobs", place, found if _settled(found, time.time()) else _MISSING, *names])
    lines += [["step", step, producer, repr(seconds)] for step, producer, seconds in receipt.steps]
    if any("\n" in field or "\t" in field for line in lines for field in line):
        return False
    return _keep(folder, _path(folder, asked), "\n".join(["\t".join(line) for line in lines] + [_END]))


def _keep(folder: str, target: str, text: str) -> bool:
    temporary = f"{target}.{os.getpid()}"
    try:
        os.makedirs(folder, exist_ok=True)
        with open(temporary, "w", encoding="utf-8", errors="surrogatepass", newline="\n") as stream:
            stream.write(text)
        os.replace(temporary, target)
    except OSError:
        # A receipt only saves time: without room for it the next run computes its keys.
        if os.path.exists(temporary):
            os.unlink(temporary)
        return False
    return True


def _path(folder: str, asked: str) -> str:
    # The checksum only spreads the questions over files: the whole question is compared.
    return os.path.join(folder, f"{binascii.crc32(asked.encode('utf-8', 'surrogatepass')):08x}.txt")


def _settled(found: str, started: float) -> bool:
    """Whether something last moved clearly before the run began to look."""
    if found == _MISSING:
        return True
    modified, changed = (int(number) for number in found.split(" ")[1:3])
    coarse = modified % 1_000_000_000 == 0 and changed % 1_000_000_000 == 0
    return max(modified, changed) <= int(started * 1e9) - (_RACY_COARSE_NS if coarse else _RACY_NS)


def _by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(set(paths)):
        folder, name = os.path.split(path)
        found.setdefault(folder, []).append(name)
    return found


def _exact(value: Any) -> str:
    """A text that no other value has."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return repr(value)
    if kind is list or kind is tuple:
        return f"[{', '.join([_exact(item) for item in value])}]"
    if kind is dict:
        return f"{{{', '.join(sorted([f'{_exact(key)}: {_exact(item)}' for key, item in value.items()]))}}}"
    raise TypeError(kind.__name__)
