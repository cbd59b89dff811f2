"""Receipt of a run after which nothing was left to do: why the next one can be answered in milliseconds.

A receipt holds the stat of everything that decided the keys (notebook, modules, data files, settings, the folders that
packages are installed in, the stored blobs). As long as none of it moved, and the question is the same, every step is
cached, without reading the notebook. Size, both times, inode and device are compared: writing to a file moves its
ctime,
which no program can set back. In any doubt there is no receipt, and the keys are computed as usual.

Standard library only, and no records: this is the path of a run in which nothing runs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cellway import fingerprint

FORMAT = 1
_RACY_NS = 50_000_000
"""A file changed this shortly before its stat was taken may change again within one tick of the clock."""

Stat = list[int] | None


def question(**asked: Any) -> str:
    """Digest of what a run was asked to do: source, parameters, selection, interpreter, version."""
    return fingerprint.digest("question", FORMAT, asked)


def stat(path: str) -> Stat:
    """What identifies the state of a file or folder; ``None`` if it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def read(folder: str, asked: str) -> Mapping[str, Any] | None:
    """The receipt for a question, if everything it rests on is as it was.

    Returns:
        ``{"steps": [[step, id of the executed step run, seconds], …], "pipeline": …, …}``, or ``None``.
    """
    try:
        with open(_path(folder, asked), encoding="utf-8") as stream:
            found: dict[str, Any] = json.load(stream)
    except (OSError, ValueError):
        return None
    if found.get("format") != FORMAT or found.get("question") != asked:
        return None
    if any(stat(path) != known for path, known in found["stats"]):
        return None
    if not all(os.path.exists(path) for path in found["blobs"]):
        return None
    return found


def write(
    folder: str,
    asked: str,
    *,
    paths: Iterable[str],
    blobs: Iterable[str],
    steps: Sequence[tuple[str, str, float]],
    started: float,
    **more: Any,
) -> bool:
    """Keep a receipt, unless something it would rest on moved while or just before the run looked at it.

    Args:
        paths: files and folders that decided the keys; those that do not exist count as missing.
        blobs: paths of the stored blobs; they are content-addressed, so that being there is enough.
        steps: ``(step, id of the executed step run, seconds that it took)`` in order.
        started: when the run began to look, seconds since the epoch.

    Returns:
        Whether it was kept.
    """
    limit = int(started * 1e9) - _RACY_NS
    stats = []
    for path in sorted(set(paths)):
        found = stat(path)
        if found is not None and max(found[1], found[2]) > limit:
            return False
        stats.append([path, found])
    text = json.dumps(
        {
            "format": FORMAT,
            "question": asked,
            "stats": stats,
            "blobs": sorted(set(blobs)),
            "steps": [list(step) for step in steps],
            "written": time.time(),
            **more,
        }
    )
    os.makedirs(folder, exist_ok=True)
    target = _path(folder, asked)
    temporary = f"{target}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(temporary, target)
    except OSError:
        # A receipt only saves time: without room for it the next run computes its keys.
        if os.path.exists(temporary):
            os.unlink(temporary)
        return False
    return True


def _path(folder: str, asked: str) -> str:
    return os.path.join(folder, asked[:32] + ".json")
