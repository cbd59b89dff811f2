"""How long the analysis takes: 1,000 cells of nine lines without a cache, and with everything cached.

Run it by itself (``python tests/benchmarks/bench_analysis.py``) or through ``run.py``.
"""

from __future__ import annotations

import ast
import gc
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from common import Report, Row, Took, alternate, middle, ratio

from cellway import analysis, notebook
from cellway.records import Notebook

CELLS = 1_000
GOAL = 0.0005
"""Seconds per cell."""
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


def measure(times: int = 7) -> dict[str, list[Took]]:
    """Seconds for all cells together: parsed only, analysed without a cache, analysed with a full one."""
    read = _notebook()
    cache = _Memory()
    analysis.analyse(read, cache)
    bodies = [cell.body for cell in read.cells]
    return alternate(
        {
            "parse": lambda: _timed(lambda: _parse(bodies)),
            "cold": lambda: _timed(lambda: analysis.analyse(read)),
            "cached": lambda: _timed(lambda: analysis.analyse(read, cache)),
        },
        times,
    )


def report(folder: Path, times: int = 7) -> Report:
    """Measure; nothing is written to the folder."""
    del folder
    took = measure(times)
    rows = []
    for name, what in (("cold", "without a cache"), ("cached", "from the cache")):
        each = _each(took[name])
        limited = name == "cold"
        rows.append(
            Row(
                what,
                f"≤ {GOAL * 1000:.1f} ms a cell" if limited else "",
                f"{_shown(took[name])} a cell",
                _shown(took["parse"]),
                f"{ratio(took, name, 'parse'):.2f}×",
                each <= GOAL if limited else None,
            )
        )
    return Report(
        "Analysis of 1,000 cells",
        "1,000 different cells of nine lines (150 nodes of syntax each), in one process, in turn with `ast.parse` of "
        f"the same cells, which every analysis has to do as well; {times} rounds after one that does not count; "
        "medians; processor time in parentheses.",
        rows,
    )


def _notebook() -> Notebook:
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
        return notebook.read(path)


def _parse(bodies: Sequence[str]) -> None:
    gc.disable()  # as the analysis does
    for body in bodies:
        ast.parse(body)
    gc.enable()


def _timed(work: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    took = Took(time.perf_counter() - wall, time.process_time() - cpu)
    del result  # freeing what was made is not the analysis
    return took


def _each(took: list[Took]) -> float:
    return middle([one.wall for one in took]) / CELLS


def _shown(took: list[Took]) -> str:
    return f"{_each(took) * 1000:.3f} ms ({middle([one.cpu for one in took]) / CELLS * 1000:.3f})"


if __name__ == "__main__":
    for name, took in measure().items():
        print(f"{name}: {_shown(took)} a cell")
