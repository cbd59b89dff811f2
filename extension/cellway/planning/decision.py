"""Whether a step's results can be reused, and if not, why not.

Two levels, as in a compiler cache: the key, known before anything runs, leads to the step runs that had the same one;
of each of these is then checked what was only seen while it ran (files that it opened, distributions that it imported).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cellway import fingerprint
from cellway.planning import dataflow, handing, keys, wording
from cellway.records import RANDOM, Artifact, Change, Key, PlannedStep, Status, Step

if TYPE_CHECKING:
    from cellway.planning.context import Candidate, Context
    from cellway.planning.handing import Handed
    from cellway.records import StepRun

UNCHANGED = "nothing changed"


def decide(
    step: Step,
    context: Context,
    inputs: Mapping[str, Artifact],
    *,
    outputs: Sequence[str] | None = None,
    providers: Mapping[str, str] | None = None,
    handed: Handed | None = None,
) -> PlannedStep:
    """Whether to run a step, now that all its inputs are there.

    Args:
        step: of the pipeline.
        context: the world; files are looked at anew.
        inputs: what it starts from, by name.
        outputs: names that must be there afterwards (:func:`~cellway.planning.outputs`); by default ``step.outputs``.
        providers: name → step, for the reason; by default ``step.inputs``.
        handed: the files that steps hand to each other.

    Returns:
        ``CACHED`` with the step run to reuse, or ``PENDING``; always with the key. Selection is not looked at, apart
        from what it forces to run.
    """
    context.refresh()
    fingerprints = {name: artifact.fingerprint for name, artifact in inputs.items()}
    needed = outputs if outputs is not None else step.outputs
    return judge(step, context, fingerprints, needed, providers, handed=handed)[0]


def judge(
    step: Step,
    context: Context,
    inputs: Mapping[str, str],
    outputs: Sequence[str],
    providers: Mapping[str, str] | None = None,
    *,
    forced: bool = True,
    handed: Handed | None = None,
    coming: Sequence[str] = (),
) -> tuple[PlannedStep, Candidate | None]:
    """As :func:`decide`, from fingerprints; with the candidate that is reused.

    ``coming`` are files which a step that runs before this one is to write: what is there now says nothing.
    """
    key = fingerprint.key(keys.parts(step, context, inputs))
    forced = forced and ("*" in context.selection.force or step.name in context.selection.force)
    if forced or step.options.no_cache:
        last = last_run(step, context)
        reason = "run again on request" if forced else "always runs (--no-cache)"
        return PlannedStep(step.name, Status.PENDING, reason, key=key, seconds=seconds(last)), None
    objection: Change | None = None
    for candidate in context.cache.lookup(key.digest):
        found = object_to(candidate, step, context, outputs, handed, coming)
        if found is None:
            reused = PlannedStep(step.name, Status.CACHED, UNCHANGED, (), key, candidate.id, candidate.seconds)
            return reused, candidate
        objection = objection or found
    return _missed(step, context, key, objection, providers if providers is not None else step.inputs), None


def object_to(
    candidate: Candidate,
    step: Step,
    context: Context,
    outputs: Sequence[str],
    handed: Handed | None = None,
    coming: Sequence[str] = (),
) -> Change | None:
    """Why a step run of the same key cannot be reused, if so."""
    names = {artifact[0] for artifact in candidate.artifacts if not artifact[1].endswith(fingerprint.APART)}
    for name in outputs:
        if name not in names and not _left_alone(name, candidate, step):
            return Change(f"outputs/{name}", "added", f"`{name}` is needed now, and the last run did not keep it")
    for name in dataflow.watch(step):
        if name not in candidate.watched:
            return Change(f"outputs/{name}", "added", f"a later step reads `{name}` now, and this step may change it")
    moved = _moved_file(candidate, step, context, handed, coming)
    if moved is not None:
        return moved
    if candidate.environment:
        installed = context.environment(step.options.kernel or context.kernel)
        for name, version in candidate.environment.items():
            present = installed.version(name)
            if present != version and name not in {"cellway", "python"}:
                text = f"{name} {version} → {present}" if present is not None else f"package {name} is gone"
                return Change(f"environment/{name}", "changed" if present is not None else "removed", text)
    for name, _, digest in candidate.artifacts:
        if not context.has(digest):
            return Change(f"outputs/{name}", "removed", f"artifact `{name}` is no longer in the store")
    return None


def _moved_file(
    candidate: Candidate, step: Step, context: Context, handed: Handed | None, coming: Sequence[str]
) -> Change | None:
    """A file that is not as the step found it, or as it left it for later steps."""
    own = {written[0]: written[1] for written in candidate.written}
    for path, digest, declared in candidate.files:
        if declared or handing.covers(coming, path):
            continue
        if (sought := fingerprint.listed(digest)) is not None:
            if not _same_listing(step, path, digest, sought, context, handed, own):
                text = f"{path}{sought[0]}: a file was added or removed"
                return Change(f"files/{path}", "changed", text)
            continue
        if handed is not None and (path in own or handed.rewritten(step.name, path)):
            now = _found_by(step, path, digest, context, handed, own.get(path))
        else:
            now = context.files.digest(context.files.located(path), digest)
        if now != digest:
            what = "removed" if not now else "changed" if digest else "added"
            return Change(f"files/{path}", what, wording.file_text(path, digest, now))
    for path, digest in candidate.written:
        if handed is None or handing.covers(coming, path) or not handed.compared(step.name, path):
            continue
        now = context.files.digest(context.files.located(path), digest)
        if now != digest:
            verb = "was changed" if now and digest else "is gone" if digest else "is there again"
            what = "changed" if now else "removed"
            return Change(f"files/{path}", what, f"file `{path}`, which this step writes, {verb}")
    return None


def _same_listing(
    step: Step,
    path: str,
    digest: str,
    sought: tuple[str, bool],
    context: Context,
    handed: Handed | None,
    own: Mapping[str, str],
) -> bool:
    """Whether a step would find the same files in a folder, be it before or after it and later steps wrote theirs."""
    folder = context.files.located(path)
    if context.files.listing(folder, *sought) == digest:
        return True
    written = {*own, *(handed.written_from(step.name) if handed is not None else ())}
    mine = {context.files.located(each) for each in written}
    return bool(mine) and context.files.listing(folder, *sought, mine) == digest


def _found_by(step: Step, path: str, digest: str, context: Context, handed: Handed, own: str | None) -> str:
    """What a step would find in a file that it (then to ``own``), or a later step, has rewritten since."""
    for name in handed.earlier(step.name, path):
        left = _left(name, path, context)
        if left is not None:
            return left
    now = context.files.digest(context.files.located(path), digest)
    # What the last of them left there is no change of anybody else's: then it was as this step found it.
    return digest if now in {own, _left(handed.last(path), path, context)} else now


def _left(name: str | None, path: str, context: Context) -> str | None:
    """Digest of a file as a step left it the last time; ``None`` if it did not write it then."""
    known: Mapping[str, StepRun] = context.memo.get("last", {})
    if name is None:
        return None
    last = known[name] if name in known else context.cache.last(context.source, (name,)).get(name)
    return next((file.digest for file in last.written if file.path == path), None) if last is not None else None


def _left_alone(name: str, candidate: Candidate, step: Step) -> bool:
    """Whether a name is wanted only since another run of this code changed it, and this one is known not to have."""
    if name == RANDOM:
        return candidate.draws is False
    if name in step.writes or name in step.outputs:
        return False
    return name in candidate.watched or name not in step.reads


def last_run(step: Step, context: Context) -> StepRun | None:
    """What the step showed last in this notebook."""
    known: Mapping[str, StepRun] = context.memo.get("last", {})
    if step.name in known:
        return known[step.name]
    return context.cache.last(context.source, (step.name,)).get(step.name)


def seconds(step_run: StepRun | None) -> float | None:
    """How long a step run took."""
    if step_run is None or step_run.started is None or step_run.ended is None:
        return None
    return step_run.ended - step_run.started


def differences(
    step: Step,
    context: Context,
    parts: Mapping[str, str],
    last: StepRun,
    providers: Mapping[str, str],
    unknown: Sequence[str] = (),
) -> tuple[Change, ...]:
    """What differs between the step now and its last step run."""
    then = last.key.parts if last.key is not None else {}
    reached = keys.reached(step, context).modules if any(part.startswith("modules/") for part in parts) else {}
    return wording.changes(
        step, parts, then, providers=providers, unknown=unknown, source=context.cache.source, path=reached.get
    )


def _missed(
    step: Step, context: Context, key: Key, objection: Change | None, providers: Mapping[str, str]
) -> PlannedStep:
    last = last_run(step, context)
    if last is None:
        return PlannedStep(step.name, Status.PENDING, never(step, context, objection), key=key)
    found = differences(step, context, key.parts, last, providers)
    if not found:
        if objection is not None:
            found, reason = (objection,), objection.text
        elif last.status is Status.FAILED:
            reason = "failed the last time"
        else:
            reason = "its results were deleted"
    else:
        reason = wording.summary(found)
    return PlannedStep(step.name, Status.PENDING, reason, found, key, seconds=seconds(last))


def never(step: Step, context: Context, objection: Change | None = None) -> str:
    """The reason for a step that this notebook never ran."""
    if objection is not None:
        return objection.text
    code = dataflow.code_digest(step)
    return "never run under this name" if code in context.cache.facts((code,)) else "never run"
