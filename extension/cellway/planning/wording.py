"""Differences between keys in the words of the notebook's author."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cellway.planning import dataflow
from cellway.planning.keys import MISSING
from cellway.records import RANDOM, Change, Code, Step

_ORDER = ("code", "parameters", "inputs", "modules", "files", "environment", "options")
_VERBS = {"changed": "changed", "added": "is new", "removed": "is gone"}


def changes(
    step: Step,
    now: Mapping[str, str],
    then: Mapping[str, str],
    *,
    providers: Mapping[str, str],
    unknown: Sequence[str] = (),
    source: Callable[[str], str | None],
    path: Callable[[str], str | None],
) -> tuple[Change, ...]:
    """Every difference between two keys of a step, the author's own doing first.

    Args:
        step: as it is now.
        now: parts of its key.
        then: parts of the key of the step run to compare with.
        providers: name → step from which an input comes.
        unknown: inputs whose values are not known yet; they are left out.
        source: text of a piece of code by fingerprint.
        path: file of a project module.
    """
    left_out = {f"inputs/{name}" for name in unknown}
    differing = [name for name in {**now, **then} if now.get(name) != then.get(name) and name not in left_out]
    differing.sort(key=lambda part: _ORDER.index(part.partition("/")[0]) if part.partition("/")[0] in _ORDER else 99)
    if any(part.startswith("code/") and (part not in now or part not in then) for part in differing):
        # Where something came or went, that the rest stands in another order says nothing more.
        differing = [part for part in differing if part != "code/order"]
    if len(differing) > 1 and f"inputs/{RANDOM}" not in now:
        # Of new code nobody knows yet whether it draws.
        differing = [part for part in differing if part != f"inputs/{RANDOM}"]
    codes = dataflow.code_parts(step)
    found = []
    for part in differing:
        old, new = then.get(part), now.get(part)
        what = "added" if old is None else "removed" if new is None else "changed"
        before = source(old) if old is not None and part.startswith(("code/", "modules/")) else None
        text = _text(part, what, old or "", new or "", codes.get(part), before, providers)
        found.append(Change(part, what, text, _diff(part, before, codes.get(part), path)))
    return tuple(found)


def summary(found: Sequence[Change]) -> str:
    """One line for a list of changes."""
    texts = [change.text for change in found]
    more = len(texts) - 3
    return ", ".join(texts) if more <= 0 else f"{', '.join(texts[:3])}, and {more} more change{'s' * (more > 1)}"


def _text(
    part: str, what: str, old: str, new: str, code: Code | None, before: str | None, providers: Mapping[str, str]
) -> str:
    group, _, name = part.partition("/")
    if group == "code":
        return _code_text(name, what, code.source if code is not None else before)
    if group == "inputs":
        subject = "the state of the random generators" if name == RANDOM else f"input `{name}`"
        origin = f" (from {providers[name]})" if name in providers else ""
        return f"{subject} {_VERBS[what]}{origin}"
    if group == "modules":
        return f"module {name} {_VERBS[what]}"
    if group == "files":
        return file_text(name, old, new)
    if group == "environment":
        return _environment_text(name, what, old, new)
    subject = f"parameter {name}" if group == "parameters" else name.replace("-", " ")
    if what != "changed":
        return f"{subject} {_VERBS[what]}"
    if group == "parameters" and "#" in {old[:1], new[:1]}:
        return f"{subject} changed"
    return f"{subject}: {old} → {new}"


def file_text(name: str, old: str, new: str) -> str:
    """How a file differs; ``MISSING`` and ``""`` stand for no file."""
    if new in {"", MISSING}:
        return f"file {name} is missing"
    return f"file {name} {'is new' if old in {'', MISSING} else 'changed'}"


def _code_text(name: str, what: str, text: str | None) -> str:
    verb = {"changed": "changed", "added": "is new", "removed": "is no longer used"}[what]
    if name == "order":
        return "the order of shared definitions changed"
    kind, _, number = name.partition(" ")
    if kind == "cell" and number.isdigit():
        return f"{name} {'is gone' if what == 'removed' else verb}"
    if kind == "setup" and number.isdigit():
        return f"setup cell {number} {'is gone' if what == 'removed' else verb}"
    return f"{_kind(text)}`{name}` {verb}"


def _kind(text: str | None) -> str:
    """What a symbol is, by its first line that is neither comment nor decorator."""
    if text is None:
        return ""
    for line in text.splitlines():
        if line.startswith(("import ", "from ")):
            return "import "
        if line.startswith(("def ", "async def ", "class ")):
            return "class " if line.startswith("class ") else "helper "
        if line and not line.startswith(("#", "@", " ", ")")):
            return "constant "
    return ""


def _environment_text(name: str, what: str, old: str, new: str) -> str:
    if name == "python":
        return f"Python {old.rpartition(' ')[2]} → {new.rpartition(' ')[2]}" if what == "changed" else "Python is new"
    return f"{name} {old} → {new}" if what == "changed" else f"package {name} {_VERBS[what]}"


def _diff(part: str, before: str | None, code: Code | None, path: Callable[[str], str | None]) -> str:
    if before is None:
        return ""
    after = code.source if code is not None else None
    group, _, name = part.partition("/")
    if group == "modules":
        file = path(name)
        try:
            with open(file or "", encoding="utf-8", errors="replace") as stream:
                after = stream.read()
        except OSError:
            after = None
    import difflib

    lines = difflib.unified_diff(
        before.splitlines(), (after or "").splitlines(), f"{name} (last run)", f"{name} (now)", lineterm=""
    )
    return "\n".join(lines)
