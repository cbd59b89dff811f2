"""``cellway gc`` and ``doctor``: keep house."""

from __future__ import annotations

from cellway.cli.console import Console, count, plain, size
from cellway.cli.parsing import Call
from cellway.errors import UsageError

_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SIZES = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
          "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip
_MARKS = {"ok": ("✓", "green"), "note": ("●", "cyan"), "warning": ("○", "yellow"), "error": ("✗", "red")}


def gc(console: Console, call: Call) -> int:
    """``cellway gc``."""
    from cellway.cli.places import project_here

    older, most = call.text("--older-than"), call.text("--max-size")
    dry = call.flag("--dry-run")
    collected = project_here(console, call).gc(
        older_than=None if older is None else _time(older), max_size=None if most is None else _size(most), dry_run=dry
    )
    if console.json:
        console.data({**plain(collected), "dry_run": dry})
        return 0
    verb = "would go" if dry else "deleted"
    folders = f", {count(collected.folders, 'left-over folder')}" if collected.folders else ""
    console.print(f"{verb}: {count(collected.blobs, 'stored value')}, {size(collected.bytes)}{folders}")
    if collected.step_runs:
        many = f"{count(collected.step_runs, 'step run')} can no longer be reused; the record of them stays"
        console.print(console.style(many, "dim"))
    return 0


def _time(text: str) -> float:
    number, unit = text[:-1], text[-1:].lower()
    try:
        if unit in _TIMES and float(number) >= 0:
            return float(number) * _TIMES[unit]
    except ValueError:
        pass
    raise UsageError(
        f"`--older-than {text}`: a time is meant", name="--older-than", fix="for example `12h`, `30d` or `8w`"
    )


def _size(text: str) -> int:
    number = text.rstrip("BbKkMmGgTtIi ")
    unit = text[len(number) :].strip().upper()
    try:
        if float(number) >= 0:
            return int(float(number) * _SIZES[unit])
    except (ValueError, KeyError):
        pass
    raise UsageError(
        f"`--max-size {text}`: an amount is meant", name="--max-size", fix="for example `500MB`, `10GB` or `2GiB`"
    )


def doctor(console: Console, call: Call) -> int:
    """``cellway doctor``; the exit code is 1 if something is broken."""
    from cellway.cli.places import project_here

    found = project_here(console, call).doctor()
    broken = any(finding.level == "error" for finding in found)
    if console.json:
        console.data({"ok": not broken, "findings": found})
        return 1 if broken else 0
    width = max((len(finding.what) for finding in found), default=0)
    for finding in found:
        mark, style = _MARKS.get(finding.level, ("●", ""))
        console.print(
            f"{console.style(mark, style)} {console.style(finding.what.ljust(width), 'bold')}  {finding.detail}"
        )
        if finding.fix:
            console.print(f"  {' ' * width}  {console.style('fix:', 'green')} {finding.fix}")
    return 1 if broken else 0
