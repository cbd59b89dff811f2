"""``make bench``: every workload against its baseline, measured in the same run; written to docs/benchmarks.md.

    python tests/benchmarks/run.py [noop] [analysis] [frames] [--quick] [--print]

With names, only these are measured, and nothing is written (as with ``--print``). Nothing is asserted: the tests assert
what makes these figures (modules imported, statements sent), this measures them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import bench_analysis
import bench_frames
import bench_noop
from common import Report, Row, load, machine

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BENCHES = {"noop": bench_noop.report, "analysis": bench_analysis.report, "frames": bench_frames.report}
QUICK = {"noop": 5, "analysis": 3, "frames": 2}

_HEAD = """\
# Benchmarks

Written by `make bench` (`tests/benchmarks/run.py`); do not edit. Every figure is measured against its baseline in the
same run, in turn with it, so that what else the machine did meets both; the ratios are what to look at. The goals are
the project's own.

"""


def main(words: list[str]) -> int:
    """Measure, print, write the page."""
    chosen = [word for word in words if word in BENCHES]
    quick = "--quick" in words
    before, reports = load(), []
    with tempfile.TemporaryDirectory(prefix="cellway-bench-") as folder:
        for name in chosen or BENCHES:
            place = Path(folder, name)
            place.mkdir()
            reports.append(BENCHES[name](place, *([QUICK[name]] if quick else [])))
            print(shown(reports[-1]), flush=True)
    where = (
        f"Machine: {machine()}. Load averages {before} at the start and {load()} at the end. "
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC.\n\n"
    )
    print(where)
    if not chosen and "--print" not in words:
        PAGE.write_text(_HEAD + where + "\n".join(map(shown, reports)), encoding="utf-8")
        print(f"written: {PAGE}")
    return 0


def shown(report: Report) -> str:
    """A report as Markdown."""
    head = Row("what", "goal", "measured", "baseline", "ratio")
    lines = [_line(head, ""), "|---|---|---|---|---|---|"]
    lines += [_line(row, "" if row.met is None else "met" if row.met else "**missed**") for row in report.rows]
    return f"## {report.title}\n\n{report.how}\n\n" + "\n".join(lines) + "\n"


def _line(row: Row, met: str) -> str:
    return f"| {row.what} | {row.goal} | {row.measured} | {row.baseline} | {row.ratio} | {met} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
