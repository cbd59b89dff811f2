"""What it costs to hand large frames over: store and load against a raw write and read of the same bytes.

Every load is measured in a process of its own, because its memory counts. ``bench_values.py`` measures more kinds.
"""

from __future__ import annotations

import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from common import PYTHON, Report, Row, environment, middle, ms

FRAMES = {
    "1 GB of numbers": "pandas.DataFrame(rng.random((6_500_000, 20)), columns=[f'c{i}' for i in range(20)])",
    "250 MB of texts": (
        "pandas.DataFrame({name: pandas.Series(rng.integers(10**11, 10**12, 4_000_000).astype(str), dtype='str') "
        "for name in 'abc'})"
    ),
}
"""6.5 million rows of 20 float64; 4 million rows of 3 texts of 12 characters."""

STORE = """
    import json, os, sys, time
    import numpy, pandas
    from cellway import materializers
    rng = numpy.random.default_rng(0)
    value = {make}
    kept = materializers.write(value, {folder!r})
    with open(kept.path, "rb") as stream:
        data = stream.read()
    stored, raw = [], []
    for _ in range({times}):
        start = time.perf_counter()
        again = materializers.write(value, {folder!r})
        stored.append(time.perf_counter() - start)
        path = os.path.join({folder!r}, "raw")
        start = time.perf_counter()
        with open(path, "wb", buffering=0) as stream:
            rest = memoryview(data)
            while rest:
                rest = rest[stream.write(rest):]
            os.fsync(stream.fileno())
        raw.append(time.perf_counter() - start)
        os.unlink(path)
    print(json.dumps([kept.path, kept.materializer, kept.size, stored, raw]))
"""

LOAD = """
    import json, time
    import numpy, pandas, pyarrow
    from cellway import materializers
    def memory():
        text = open("/proc/self/status").read().split()
        return sum(int(text[text.index(key) + 1]) for key in ("RssAnon:", "RssFile:", "RssShmem:")) / 1000
    if {warm}:
        small = materializers.write(pandas.DataFrame({{"a": [1.0]}}), {folder!r})
        materializers.by_name({kind!r}).read(small.path)
    before, start = memory(), time.perf_counter()
    value = materializers.by_name({kind!r}).read({path!r})
    took, extra = time.perf_counter() - start, memory() - before
    start = time.perf_counter()
    value.max()
    print(json.dumps([took, extra, time.perf_counter() - start]))
"""

READ = """
    import json, time
    start = time.perf_counter()
    with open({path!r}, "rb", buffering=0) as stream:
        data = stream.read()
    print(json.dumps([time.perf_counter() - start]))
"""


def report(folder: Path, times: int = 5) -> Report:
    """Measure in an empty folder on the disk that is to be measured."""
    rows = []
    for name, make in FRAMES.items():
        path, kind, size, stored, raw = _run(STORE, make=make, folder=str(folder), times=times)
        first, later, read = [], [], []
        for _ in range(times):
            first.append(_run(LOAD, kind=kind, path=path, folder=str(folder), warm=False))
            later.append(_run(LOAD, kind=kind, path=path, folder=str(folder), warm=True))
            read.append(_run(READ, path=path)[0])
        Path(path).unlink()
        what = f"{name} ({size / 1e6:.0f} MB, {kind})"
        written = middle([one / two for one, two in zip(stored, raw, strict=True)])
        rows.append(Row(f"{what}: store", "", ms(middle(stored)), ms(middle(raw)), f"{written:.2f}×"))
        rows += _loads(what, first, later, read, goal=name == "1 GB of numbers")
    return Report(
        "Large frames",
        "Store: a frame written with digest, sync and rename, against the same bytes written and synced, in turn, "
        f"{times} times in one process. Load: in a fresh process that has imported pandas and pyarrow, the file in the "
        "page cache, against reading the file's bytes in another fresh process, in turn; *first* is the first load of "
        "a process and includes what cellway imports for it. Memory is what the process holds more than before "
        "(anonymous, file and shared pages), before the data are touched. Medians.",
        rows,
    )


def _loads(what: str, first: list[Any], later: list[Any], read: list[float], *, goal: bool) -> list[Row]:
    rows = []
    for name, took in (("first load", first), ("later load", later)):
        seconds, extra = middle([one[0] for one in took]), middle([one[1] for one in took])
        ratio = middle([one[0] / two for one, two in zip(took, read, strict=True)])
        met = goal and name == "first load"
        rows.append(
            Row(f"{what}: {name}", "≤ 50 ms" if met else "", ms(seconds), ms(middle(read)), f"{ratio:.3f}×",
                seconds <= 0.05 if met else None)
        )  # fmt: skip
        rows.append(
            Row(f"{what}: memory of a {name}", "≤ 50 MB" if met else "", f"{extra:.1f} MB", "", "",
                extra <= 50 if met else None)
        )  # fmt: skip
    touched = [one[0] + one[2] for one in later]
    ratio = middle([one / two for one, two in zip(touched, read, strict=True)])
    rows.append(Row(f"{what}: load, then `max()` of all", "", ms(middle(touched)), ms(middle(read)), f"{ratio:.2f}×"))
    return rows


def _run(program: str, **values: object) -> Any:
    text = textwrap.dedent(program).format(**values)
    done = subprocess.run([PYTHON, "-c", text], capture_output=True, text=True, check=True, env=environment())
    return json.loads(done.stdout)
