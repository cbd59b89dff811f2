"""What it costs to hand values over: time to write and load, memory that loading takes, and the fixed cost of a step.

    python tests/benchmarks/bench_values.py [--megabytes 1040]

Prints a table. Each load is measured in a fresh process, once with the file in the page cache.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import textwrap

MAKE = {
    "numeric frame": "pd.DataFrame(rng.random((rows, 20)), columns=[f'c{i}' for i in range(20)])",
    "float32, booleans, times": (
        "pd.DataFrame({'f': rng.random(rows * 10).astype('f4'), 'b': rng.random(rows * 10) > 0.5, "
        "'t': pd.date_range('2020', periods=rows * 10, freq='s')})"
    ),
    "texts": "pd.DataFrame({'s': rng.integers(0, 10**9, rows).astype(str)})",
    "polars frame": "pl.DataFrame({f'c{i}': rng.random(rows) for i in range(20)})",
    "array": "rng.random((rows, 20))",
    "dict of arrays": "{'a': rng.random((rows, 10)), 'b': rng.random((rows, 10))}",
    "list of dicts": "[{'i': i, 's': 'x' * 20, 'f': i / 3} for i in range(rows // 20)]",
}

WRITE = """
    import json, sys, time, numpy as np, pandas as pd, polars as pl
    from cellway import materializers
    rng, rows = np.random.default_rng(0), {rows}
    value = {make}
    times = []
    for _ in range(2):
        start = time.perf_counter()
        blob = materializers.write(value, {folder!r})
        times.append(time.perf_counter() - start)
    print(json.dumps([blob.materializer, blob.path, blob.size, min(times)]))
"""

READ = """
    import json, time, numpy, pandas, pandas.api.internals, polars, pyarrow
    from cellway import materializers
    def memory():
        text = open("/proc/self/status").read().split()
        return sum(int(text[text.index(key) + 1]) for key in ("RssAnon:", "RssFile:", "RssShmem:"))
    reader = materializers.by_name({name!r})
    reader.read(materializers.write_with(reader, {small}, {folder!r}).path)
    before = memory()
    start = time.perf_counter()
    value = reader.read({path!r})
    print(json.dumps([time.perf_counter() - start, (memory() - before) / 1024]))
"""

SMALL = {"arrow": "pandas.DataFrame({'a': [1.0]})", "array": "numpy.zeros(3)", "pickle": "(1,)", "json": "1"}

STEP = """
    import sys, time
    import {imports}
    start = time.perf_counter()
    from cellway_magics import artifacts
    artifacts.begin({folder!r}, step="s")
    artifacts.load()
    begun = time.perf_counter()
    x, y = 1, [1, "a"]
    artifacts.save(globals(), "x", "y")
    print((begun - start) * 1000, (time.perf_counter() - begun) * 1000)
"""


def run(code: str, **values: object) -> str:
    """Output of a fresh interpreter."""
    text = textwrap.dedent(code).format(**values)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1040, help="size of the large values")
    arguments = parser.parse_args()
    rows = arguments.megabytes * 1_000_000 // 160
    print(f"{'value':26} {'written by':10} {'MB':>7} {'write s':>8} {'load ms':>8} {'extra MB':>9}")
    with tempfile.TemporaryDirectory(dir=pathlib.Path.cwd()) as folder:
        for name, make in MAKE.items():
            kind, path, size, write = json.loads(run(WRITE, rows=rows, make=make, folder=folder))
            measured = [json.loads(run(READ, name=kind, path=path, folder=folder, small=SMALL[kind])) for _ in range(3)]
            load, extra = min(entry[0] for entry in measured), min(entry[1] for entry in measured)
            print(f"{name:26} {kind:10} {size / 1e6:7.0f} {write:8.2f} {load * 1000:8.1f} {extra:9.1f}")
            pathlib.Path(path).unlink()
        print()
        print(f"{'fixed cost of a step with':26} {'begin + load ms':>16} {'save ms':>9}")
        for imports in ("json", "pandas", "pandas, sklearn.linear_model, polars"):
            times = [run(STEP, imports=imports, folder=f"{folder}/step").split() for _ in range(5)]
            begin, save = (min(float(entry[place]) for entry in times) for place in (0, 1))
            print(f"{imports:26} {begin:16.1f} {save:9.1f}")


if __name__ == "__main__":
    main()
