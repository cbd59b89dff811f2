"""Pipeline + parameters + cache → Plan: what a run would do with each step, and why (design §5, §6).

:func:`plan` looks ahead without running anything; :func:`decide` is asked once more during the run, step by step, since
the key of a step contains the content of its inputs, and these may not exist before. The other public names are the
rules that planning and execution share: who provides what, what must be stored, what has to be watched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cellway.errors import UsageError
from cellway.planning import decision, keys, wording
from cellway.planning.context import Cache, Candidate, Context, Selection
from cellway.planning.dataflow import code_digest, code_parts, outputs, resolve, watch
from cellway.planning.decision import decide
from cellway.planning.handing import Handed
from cellway.planning.keys import distributions, key, seed
from cellway.records import RANDOM, Facts, Pipeline, Plan, PlannedStep, Status, Step

if TYPE_CHECKING:
    from cellway.records import StepRun

__all__ = [
    "Cache",
    "Candidate",
    "Context",
    "Handed",
    "Selection",
    "code_digest",
    "decide",
    "distributions",
    "facts",
    "key",
    "outputs",
    "plan",
    "project_modules",
    "resolve",
    "seed",
    "select",
    "sources",
    "watch",
]


def plan(pipeline: Pipeline, context: Context) -> Plan:
    """What a run would do with each step, and why.

    A step whose inputs come from steps that will run is ``PENDING`` without a key: it is decided when they are there. A
    ``SKIPPED`` step names the step run whose results the selected ones would start from, if there is one.

    Raises:
        UsageError: the selection names a step that does not exist, a parameter has no value, a kernel is unknown.
    """
    context.refresh()
    known = dict(facts(pipeline, context.cache, context.source))
    resolution = resolve(pipeline, known)
    handed = Handed(pipeline, known)
    needed = outputs(pipeline, resolution)
    selected = select(pipeline, context.selection, resolution, handed)
    context.files.prefetch({path for step in pipeline.steps for path in keys.declared(step, context)})
    found: dict[str, PlannedStep] = {}
    made: dict[str, Mapping[str, str]] = {}
    for step in pipeline.steps:
        providers = resolution[step.name]
        skipped = step.name not in selected
        unknown = [name for name, provider in providers.items() if name not in made.get(provider, ())]
        if unknown:
            _look_back(pipeline, context)
            planned = _waiting(step, context, providers, unknown, made, found)
        else:
            inputs = {name: made[provider][name] for name, provider in providers.items()}
            coming = {
                path: earlier
                for earlier, path in handed.sources(step.name).items()
                if found[earlier].status is Status.PENDING and not skipped
            }
            planned, candidate = decision.judge(
                step,
                context,
                inputs,
                needed[step.name],
                providers,
                forced=not skipped,
                handed=handed,
                coming=_coming(coming.values(), known),
            )
            if candidate is not None and coming:
                planned = _waiting_for_file(planned, *next(iter(coming.items())))
            elif candidate is not None:
                made[step.name] = {name: fingerprint for name, fingerprint, _ in candidate.artifacts}
                shown = _shown(known[step.name], made[step.name])
                if shown != known[step.name]:
                    known[step.name] = shown
                    resolution = resolve(pipeline, known)
                    needed = outputs(pipeline, resolution)
            elif "last" not in context.memo:
                _look_back(pipeline, context)
        found[step.name] = _skipped(planned) if skipped else planned
    context.close()
    return Plan(pipeline.name, tuple(found.values()), dict(context.parameters))


def facts(pipeline: Pipeline, cache: Cache, source: str | None = None) -> Mapping[str, Facts]:
    """What earlier executions of each step's code showed, by step.

    Args:
        pipeline: whose steps.
        cache: the ledger.
        source: path of the notebook. If it is given, a step whose code is new is taken to write and read the files that
            it did as it was before: whoever edits a step rarely moves its files.
    """
    codes = {step.name: code_digest(step) for step in pipeline.steps}
    known = cache.facts(list(codes.values()))
    new = [step for step, code in codes.items() if code not in known] if source is not None and known else []
    before = cache.last(source, new) if source is not None and new else {}
    shown = {step: Facts(wrote=last.facts.wrote, read=last.facts.read) for step, last in before.items()}
    return {step: known.get(code) or shown.get(step, Facts()) for step, code in codes.items()}


def select(
    pipeline: Pipeline,
    selection: Selection,
    resolution: Mapping[str, Mapping[str, str]],
    handed: Handed | None = None,
) -> frozenset[str]:
    """Names of the steps that a run is about.

    Raises:
        UsageError: a step that does not exist, or no step is left.
    """
    names = [step.name for step in pipeline.steps]
    for name in (*selection.only, *selection.from_, *selection.until, *selection.force):
        if name not in names and name != "*":
            raise _no_such_step(name, names)
    before = {step.name: {*step.after, *resolution[step.name].values()} for step in pipeline.steps}
    if handed is not None:
        for name, earlier in before.items():
            earlier.update(handed.before(name))
    chosen = set(selection.only or names)
    if selection.from_:
        later = set(selection.from_)
        for name in names:
            if before[name] & later:
                later.add(name)
        chosen &= later
    if selection.until:
        earlier = set(selection.until)
        for name in reversed(names):
            if name in earlier:
                earlier |= before[name]
        chosen &= earlier
    if not chosen and names:
        raise _nothing_selected(selection)
    return frozenset(chosen)


def _nothing_selected(selection: Selection) -> UsageError:
    given = {"--only": selection.only, "--from": selection.from_, "--until": selection.until}
    *words, last = [f"{option} {','.join(steps)}" for option, steps in given.items() if steps]
    return UsageError(
        f"{', '.join(words)} and {last} have no step in common",
        name=last.split()[0],
        fix="a step has to be meant by each of these options; leave one out",
    )


def sources(step: Step, context: Context) -> Mapping[str, str]:
    """Texts of the code that a step runs, by fingerprint: kept with its step run, a later change is shown as a diff."""
    found = {code.fingerprint: code.source for code in code_parts(step).values()}
    reached = keys.reached(step, context)
    for dotted, path in reached.modules.items():
        if path.endswith(".py"):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    found[reached.digests[dotted]] = file.read()
            except OSError:
                continue  # deleted meanwhile: then there is no text to show
    return found


def project_modules(step: Step, context: Context) -> Mapping[str, str]:
    """The project's own modules that a step reaches: path relative to where Python searches → absolute path."""
    found = {}
    for dotted, path in keys.reached(step, context).modules.items():
        parts = dotted.split(".")
        name = os.path.basename(path)
        inside = parts if name.startswith("__init__.") else parts[:-1]
        found["/".join((*inside, name))] = path
    return found


def _shown(known: Facts, artifacts: Mapping[str, str]) -> Facts:
    """Of what a step is known to change, what it did change this time; the rest is provided by earlier steps."""
    if known.changed or known.draws:
        changed = tuple(name for name in known.changed if name in artifacts)
        return replace(known, changed=changed, draws=known.draws and RANDOM in artifacts)
    return known


def _coming(steps: Iterable[str], known: Mapping[str, Facts]) -> tuple[str, ...]:
    """Files of steps that are to run."""
    return tuple(path for step in steps for path in known[step].wrote)


def _waiting_for_file(planned: PlannedStep, path: str, writer: str) -> PlannedStep:
    reason = f"{writer} runs first; reused if it writes the same file `{path}`"
    return replace(planned, status=Status.PENDING, reason=reason, step_run=None)


def _look_back(pipeline: Pipeline, context: Context) -> None:
    """Read the last step run of all steps at once, as soon as one is needed."""
    if "last" not in context.memo:
        context.memo["last"] = context.cache.last(context.source, [step.name for step in pipeline.steps])


def _waiting(
    step: Step,
    context: Context,
    providers: Mapping[str, str],
    unknown: Sequence[str],
    made: Mapping[str, Mapping[str, str]],
    found: Mapping[str, PlannedStep],
) -> PlannedStep:
    """A step whose inputs are not all known."""
    last: StepRun | None = decision.last_run(step, context)
    seconds = decision.seconds(last)
    absent = [name for name in unknown if found[providers[name]].status is Status.SKIPPED]
    if absent:
        provider = providers[absent[0]]
        reason = f"{_input(absent[0])} is not there: {provider} is not selected, and has no results to start from"
        return PlannedStep(step.name, Status.PENDING, reason, seconds=seconds)
    if step.name in context.selection.force or "*" in context.selection.force:
        return PlannedStep(step.name, Status.PENDING, "run again on request", seconds=seconds)
    if step.options.no_cache:
        return PlannedStep(step.name, Status.PENDING, "always runs (--no-cache)", seconds=seconds)
    if last is None:
        return PlannedStep(step.name, Status.PENDING, decision.never(step, context))
    inputs = {name: made[provider][name] for name, provider in providers.items() if name not in unknown}
    parts = keys.parts(step, context, inputs)
    changes = decision.differences(step, context, parts, last, providers, unknown)
    if changes:
        return PlannedStep(step.name, Status.PENDING, wording.summary(changes), changes, seconds=seconds)
    provider = providers[unknown[0]]
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    reason = f"{provider} runs first; reused if it gives the same {_value(unknown[0])}{more}"
    return PlannedStep(step.name, Status.PENDING, reason, seconds=seconds)


def _value(name: str) -> str:
    return "state of the random generators" if name == RANDOM else f"`{name}`"


def _input(name: str) -> str:
    return "the state of the random generators" if name == RANDOM else f"input `{name}`"


def _skipped(planned: PlannedStep) -> PlannedStep:
    return PlannedStep(planned.step, Status.SKIPPED, "not selected", (), planned.key, planned.step_run, planned.seconds)


def _no_such_step(name: str, names: Sequence[str]) -> UsageError:
    import difflib

    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]}?" if close else f"the steps are: {', '.join(names)}"
    return UsageError(f"there is no step {name}", name=name, fix=hint)
