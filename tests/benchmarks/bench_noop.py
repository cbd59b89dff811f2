"""What a run costs in which nothing has to run: whole processes, as typed in a shell, against ``python -c pass``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from common import PYTHON, Report, Row, Took, alternate, long_notebook, middle, ms, ratio, run_here, spawn

GOALS = {10: 4.0, 500: 6.0}
"""Steps → how many times bare Python at most."""

_BARE = "`python -c pass`"
_SCRIPT = "`cellway run`"
_MODULE = "`python -m cellway run`"
_COMPUTED = "`cellway run`, keys computed"


def report(folder: Path, times: int = 21) -> Report:
    """Measure in an empty folder."""
    rows = []
    for steps, goal in GOALS.items():
        quick, slow = measure(folder / str(steps), steps, times)
        for name, took in ((_SCRIPT, quick), (_MODULE, quick), (_COMPUTED, slow)):
            measured = ratio(took, name, _BARE)
            limited = name == _SCRIPT
            rows.append(
                Row(
                    f"{steps} steps: {name}",
                    f"≤ {goal:.0f}×" if limited else "",
                    _shown(took[name]),
                    _shown(took[_BARE]),
                    f"{measured:.2f}× (processor {ratio(took, name, _BARE, 'cpu'):.2f}×)",
                    measured <= goal if limited else None,
                )
            )
    return Report(
        "A run in which nothing runs",
        f"Whole processes, in turn with `python -c pass`; {times} rounds after one that does not count; medians, and "
        "the median of the ratios of each round; processor time in parentheses. The notebook has two outputs per step, "
        "a module that imports another, and a data file for every fifth step. The first two lines of each length "
        "answer from the receipt of the run before; for *keys computed* it is deleted each time, so that the notebook "
        "is read, all keys are computed and looked up, and a new receipt is written. The steps were executed without "
        "kernels beforehand, which changes nothing of what is measured here.",
        rows,
    )


def measure(folder: Path, steps: int, times: int) -> tuple[dict[str, list[Took]], dict[str, list[Took]]]:
    """Wall and processor time of each command for one notebook: those with a receipt, and those without."""
    source = long_notebook(folder, steps)
    run_here(source)
    run = ["run", source.name]
    script = str(Path(PYTHON).with_name("cellway"))

    def bare() -> Took:
        return spawn([PYTHON, "-c", "pass"], folder)

    quick: dict[str, Callable[[], Took]] = {
        _BARE: bare,
        _SCRIPT: lambda: spawn([script, *run], folder),
        _MODULE: lambda: spawn([PYTHON, "-m", "cellway", *run], folder),
    }
    slow = {_BARE: bare, _COMPUTED: lambda: _without_receipt(script, run, folder)}
    return alternate(quick, times), alternate(slow, max(3, times // 3))


def _without_receipt(script: str, run: list[str], folder: Path) -> Took:
    shutil.rmtree(folder / ".cellway" / "receipts", ignore_errors=True)
    return spawn([script, *run], folder)


def _shown(took: list[Took]) -> str:
    return f"{ms(middle([one.wall for one in took]))} ({ms(middle([one.cpu for one in took]))})"
