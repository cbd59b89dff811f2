"""How long the analysis takes: 1,000 cells of nine lines without a cache, and with everything cached.

Run it by itself (``python tests/benchmarks/bench_analysis.py``) or through :func:`measure`. Goal: 0.5 ms per cell.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cellway import analysis, notebook

CELLS = 1_000
_CELL = """\
features_{i} = table.query("size > {i}").assign(ratio=lambda t: t.a / t.b)
scores_{i} = {{}}
for name, group in features_{i}.groupby("kind"):
    scores_{i}[name] = group["ratio"].mean() + offset
def rescale_{i}(frame, factor=1.5):
    frame["scaled"] = frame["ratio"] * factor
    return frame[frame["scaled"] > threshold]
model_{i} = make_model(depth={i}, seed=seed).fit(rescale_{i}(features_{i}), scores_{i})
print(f"model {{model_{i}}}: {{len(features_{i})}} rows, {{[round(s, 2) for s in scores_{i}.values()]}}")
"""


class _Memory:
    """A cache in a dictionary."""

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}

    def get_many(self, digests: Sequence[str], /) -> Mapping[str, bytes]:
        return {digest: self.items[digest] for digest in digests if digest in self.items}

    def put_many(self, items: Mapping[str, bytes], /) -> None:
        self.items.update(items)


def measure() -> dict[str, float]:
    """Milliseconds per cell, without a cache and with a full one (best of three)."""
    cells = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {},
            "source": _CELL.format(i=i),
            "outputs": [],
            "execution_count": None,
        }
        for i in range(CELLS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.ipynb"
        path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}))
        read = notebook.read(path)
    cache = _Memory()
    analysis.analyse(read, cache)
    return {
        "analysis_cold_ms_per_cell": min(_seconds(lambda: analysis.analyse(read)) for _ in range(3)) * 1000 / CELLS,
        "analysis_cached_ms_per_cell": min(_seconds(lambda: analysis.analyse(read, cache)) for _ in range(3))
        * 1000
        / CELLS,
    }


def _seconds(work: object) -> float:
    assert callable(work)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name}: {value:.3f}")
