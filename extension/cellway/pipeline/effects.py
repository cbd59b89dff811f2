"""What a statement does to names once the notebook's own functions and aliases are taken into account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cellway.records import Call, Function, Reference, Statement

Lookup = Callable[[str], Function | None]
"""Name → summary of the notebook function that it means here."""


@dataclass(slots=True)
class Effect:
    """Effect of calling a function: positions or names of changed parameters, and globals."""

    changed: set[str] = field(default_factory=set)
    global_changes: set[str] = field(default_factory=set)
    global_may_change: set[str] = field(default_factory=set)
    global_binds: set[str] = field(default_factory=set)


def of_function(function: Function, lookup: Lookup, _active: frozenset[str] = frozenset()) -> Effect:
    """Effect of a function with those of the functions it calls (recursion adds nothing new)."""
    effect = Effect(
        set(function.changes),
        set(function.global_changes),
        set(function.global_may_change),
        set(function.global_binds),
    )
    if function.name in _active:
        return effect
    active = _active | {function.name}
    own = {name.lstrip("*") for name in function.parameters}
    for call in function.calls:
        callee = lookup(call.function)
        if callee is None:
            if call.function not in own:
                effect.global_may_change.add(call.function)
            continue
        inner = of_function(callee, lookup, active)
        effect.global_binds |= inner.global_binds
        effect.global_changes |= inner.global_changes
        effect.global_may_change |= inner.global_may_change
        for name in changed_arguments(call, callee, inner):
            (effect.changed if name in own else effect.global_changes).add(name)
    return effect


def changed_arguments(call: Call, function: Function, effect: Effect) -> set[str]:
    """Names of the caller that a call changes, given the effect on the parameters."""
    if not effect.changed:
        return set()
    positional = [name for name in function.parameters if not name.startswith("**")]
    changed = set()
    for slot, name in call.arguments:
        if slot.isdigit():
            index = int(slot)
            star = next((i for i, p in enumerate(positional) if p.startswith("*")), None)
            if star is not None and index >= star:
                parameter = positional[star].lstrip("*")
            elif index < len(positional):
                parameter = positional[index]
            else:
                continue
        else:
            parameter = slot
        if parameter in effect.changed:
            changed.add(name)
    return changed


@dataclass(slots=True)
class Outcome:
    """Names that one statement changes, may change, or binds through ``global``."""

    changes: dict[str, int] = field(default_factory=dict)
    may_change: dict[str, int] = field(default_factory=dict)
    binds: dict[str, int] = field(default_factory=dict)


def of_statement(statement: Statement, lookup: Lookup, aliases: Mapping[str, set[str]]) -> Outcome:
    """Effects of a statement, with line of the body for each name.

    Args:
        lookup: the notebook functions visible here.
        aliases: name → names whose object it may share, from earlier statements of the same step.
    """
    outcome = Outcome()
    for reference in statement.changes:
        outcome.changes.setdefault(reference.name, reference.line)
    for reference in statement.may_change:
        outcome.may_change.setdefault(reference.name, reference.line)
    for call in statement.calls:
        # ``g = f`` and then ``g(x)``: what the name is an alias of may be what is called.
        for name in (call.function, *sorted(aliased(call.function, aliases))):
            function = lookup(name)
            if function is None:
                _note(outcome.may_change, (name,), call.line)  # an object that is called may remember it
                continue
            effect = of_function(function, lookup)
            _note(outcome.changes, effect.global_changes | changed_arguments(call, function, effect), call.line)
            _note(outcome.may_change, effect.global_may_change, call.line)
            _note(outcome.binds, effect.global_binds, call.line)
    for found in (outcome.changes, outcome.may_change):
        for name, line in list(found.items()):
            _note(found, aliased(name, aliases), line)
    return outcome


def aliased(name: str, aliases: Mapping[str, set[str]]) -> set[str]:
    """Everything that a name may be an alias of, transitively."""
    found: set[str] = set()
    waiting = list(aliases.get(name, ()))
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting.extend(aliases.get(other, ()))
    return found


def follow_aliases(statement: Statement, aliases: dict[str, set[str]]) -> None:
    """Update the aliases after a statement: a rebound name points elsewhere."""
    for name in statement.binds:
        aliases.pop(name, None)
    for new, old in statement.aliases:
        if new != old:
            aliases.setdefault(new, set()).add(old)


def referenced(references: Iterable[Reference]) -> dict[str, int]:
    """Name → first line."""
    lines: dict[str, int] = {}
    for reference in references:
        lines.setdefault(reference.name, reference.line)
    return lines


def _note(lines: dict[str, int], names: Iterable[str], line: int) -> None:
    for name in names:
        lines.setdefault(name, line)
