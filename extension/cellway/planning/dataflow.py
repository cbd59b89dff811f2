"""Which step provides which name, once the facts of earlier runs are known (design §5.1-5.3, §5.6)."""

from __future__ import annotations

from collections.abc import Mapping

from cellway import fingerprint
from cellway.records import RANDOM, Code, Facts, Pipeline, Step

_NOTHING = Facts()


def resolve(pipeline: Pipeline, facts: Mapping[str, Facts]) -> Mapping[str, Mapping[str, str]]:
    """The provider of each name that a step reads.

    Args:
        pipeline: steps in notebook order.
        facts: by step; of steps that never ran nothing needs to be known.

    Returns:
        ``step → name → providing step``: the nearest earlier one that binds or changes the name, or is known to change
        it. Names without a provider are parameters or carried. The state of the random generators is the name
        ``RANDOM``: from step to step among those of one chain that are known to draw, in a seeded notebook.
    """
    resolution: dict[str, Mapping[str, str]] = {}
    providers: dict[str, str] = {}
    drew: dict[int, str] = {}
    for step in pipeline.steps:
        known = facts.get(step.name, _NOTHING)
        found = {name: providers[name] for name in step.reads if name in providers}
        if step.draws and known.draws:
            if step.chain in drew:
                found[RANDOM] = drew[step.chain]
            drew[step.chain] = step.name
        resolution[step.name] = found
        for name in step.deletes:
            providers.pop(name, None)
        for names in (step.writes, known.changed):
            for name in names:
                providers[name] = step.name
    return resolution


def outputs(pipeline: Pipeline, resolution: Mapping[str, Mapping[str, str]]) -> Mapping[str, tuple[str, ...]]:
    """Names that each step must store: what the notebook says, and what a later step takes from it."""
    found = {step.name: dict.fromkeys(step.outputs) for step in pipeline.steps}
    for providers in resolution.values():
        for name, provider in providers.items():
            found[provider][name] = None
    return {step: tuple(names) for step, names in found.items()}


def watch(step: Step) -> tuple[str, ...]:
    """Names of which must be known whether the step changes them.

    Whether later steps read them does not matter: what they read may hold the same object under another name.
    """
    return step.may_change if step.later else ()


def code_parts(step: Step) -> dict[str, Code]:
    """Part of the key → code, of everything that the step runs, in order."""
    found: dict[str, Code] = {}
    for code in (*step.carried, *step.cells):
        part = "code/" + code.name
        count = 1
        while part in found:
            # A constant that is bound twice is two symbols of one name.
            count += 1
            part = f"code/{code.name} ({count})"
        found[part] = code
    return found


def order(step: Step, parts: dict[str, Code]) -> str:
    """Digest of the order of the carried code, where it can matter; else ``""``.

    Imports, plain functions and constants may be moved about in the notebook. What is bound twice, registers itself
    through a decorator, or changes process-wide state may not.
    """
    bound: set[str] = set()
    count = 0
    matters = False
    for code in step.carried:
        matters = matters or code.role == "setup" or not code.binds or "@" in code.source
        bound.update(code.binds)
        count += len(code.binds)
    if len(step.carried) < 2 or not (matters or len(bound) < count):
        return ""
    moving = [part for part, code in parts.items() if code.role != "cell" and not _is_import(code.source)]
    return fingerprint.digest("order", moving)


def code_digest(step: Step) -> str:
    """Digest over the step's code, under which facts are kept; parameters, inputs and files have no part in it."""
    parts = code_parts(step)
    pieces = sorted([f"{part}\0{code.fingerprint}" for part, code in parts.items()])
    return fingerprint.text("code", "\n".join([*pieces, order(step, parts)]))


def _is_import(source: str) -> bool:
    return source.startswith(("import ", "from "))
