"""The environment as a text that pip reads: ``environment.lock``, ``requirements.txt``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cellway.records import Pipeline

LOCK = "environment.lock"
REQUIREMENTS = "requirements.txt"

RUNNER = ("papermill", "ipykernel", "pyarrow", "cloudpickle", "blake3")
"""What a standalone folder needs beside the notebook's own imports: to run the notebooks and to hand values over."""

_VERSION = re.compile(r"[0-9][0-9A-Za-z.!+_-]*")


def text(pipeline: Pipeline, lock: Mapping[str, str], python: str, *, runner: bool = False) -> str:
    """One ``name==version`` per distribution, in the order of the names.

    Args:
        pipeline: for the header.
        lock: distribution → version. What is no plain version (``0.1 @ file:///…``, ``editable``) belongs to a local
            package, which no index has: it becomes a comment.
        python: version of the kernel's Python, ``""`` if it is not known.
        runner: add what it takes to run a standalone folder.
    """
    lines = [f"# Distributions that the imports of {pipeline.name} reach" + (f", Python {python}." if python else ".")]
    local = {name: version for name, version in lock.items() if not _VERSION.fullmatch(version)}
    lines += [f"{name}=={lock[name]}" for name in sorted(lock, key=str.lower) if name not in local]
    if runner:
        missing = [name for name in RUNNER if _normal(name) not in {_normal(known) for known in lock}]
        if missing:
            lines += ["# To run the notebooks and to hand values over.", *missing]
    if local:
        lines.append("# Local packages: no index has them, install them from their folders.")
        lines += [f"# {name} {' '.join(local[name].split())}".rstrip() for name in sorted(local, key=str.lower)]
    return "\n".join(lines) + "\n"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
