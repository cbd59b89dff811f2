"""Rows of the ledger ↔ records."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cellway.records import Artifact, Run, StepRun

RUN_COLUMNS = "r.id, r.pipeline, r.source, s.status, r.parameters, r.options, r.started, s.time, s.host, s.pid, s.born"
STEP_RUN_COLUMNS = (
    "p.id, r.id, p.step, p.status, e.key, e.code, p.reason, p.producer, p.attempt, p.started, p.ended, e.files, "
    "e.environment, e.watched, e.detail, e.id, e.number, e.draws, e.written"
)
"""Of ``p`` the step run, ``e`` the executed one that it stands for (itself, or its producer), ``r`` the run."""

STEP_RUN_TABLES = (
    "step_runs AS p JOIN runs AS r ON r.number = p.run JOIN step_runs AS e ON e.number = coalesce(p.producer, p.number)"
)
ARTIFACT_COLUMNS = "a.name, a.fingerprint, a.digest, a.materializer, a.member, a.size, a.type, c.body"
ARTIFACT_TABLES = "artifacts AS a LEFT JOIN sidecars AS c ON c.fingerprint = a.fingerprint"


def dump(value: Any) -> str:
    """JSON as the ledger keeps it. In ASCII, since names of files need not be Unicode."""
    if isinstance(value, dict) and not value:
        return "{}"
    import json

    return json.dumps(value, separators=(",", ":"), default=_plain)


def text(value: str) -> str:
    """A text that SQLite takes: a notebook may hold half a surrogate pair."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _plain(value: Any) -> Any:
    from collections.abc import Mapping

    if isinstance(value, Mapping):
        return dict(value)
    # What a run was called with is kept to be looked at: a value that JSON does not know stays readable.
    return repr(value)


def detail(step_run: StepRun) -> str:
    """What has no column of its own."""
    full = {
        "parts": dict(step_run.key.parts) if step_run.key is not None else None,
        "changes": [[change.part, change.what, change.text, change.diff] for change in step_run.changes],
        "inputs": dict(step_run.inputs),
        "providers": dict(step_run.providers),
        "changed": step_run.facts.changed,
        "notebook": step_run.notebook,
        "error": dict(step_run.error) if step_run.error is not None else None,
        "touched": step_run.touched,
        "wrote": step_run.facts.wrote,
        "read": step_run.facts.read,
    }
    return dump({name: value for name, value in full.items() if value not in (None, {}, [], ())})


def run(row: Sequence[Any], status: str | None = None) -> Run:
    """Of ``RUN_COLUMNS``; ``status`` overrides the recorded one."""
    import json

    from cellway.records import Run, Status

    state = Status(row[3])
    return Run(
        id=row[0],
        pipeline=row[1],
        source=row[2],
        status=Status(status) if status is not None else state,
        parameters=json.loads(row[4]),
        options=json.loads(row[5]),
        started=row[6],
        ended=None if state in {Status.RUNNING, Status.PENDING} else row[7],
        host=row[8],
        pid=row[9],
    )


def artifact(row: Sequence[Any]) -> Artifact:
    """Of ``ARTIFACT_COLUMNS``."""
    import json

    from cellway.records import Artifact

    name, fingerprint, digest, materializer, member, size, type_, sidecar = row
    body = json.loads(sidecar) if sidecar is not None else {}
    return Artifact(name, fingerprint, digest, materializer, size, type_, member, body)


def step_run(row: Sequence[Any], artifacts: Sequence[Artifact]) -> StepRun:
    """Of ``STEP_RUN_COLUMNS``. A cached one shows what it reused: key, inputs, files and facts of its producer."""
    import json

    from cellway.records import Change, Facts, FileRead, Key, Status, StepRun

    id_, run_id, step, status, key, code, reason, producer, attempt, started, ended = row[:11]
    files, environment, watched, rest, executed = row[11:16]
    more = json.loads(rest) if rest is not None else {}
    own = producer is None
    return StepRun(
        id=id_,
        run=run_id,
        step=step,
        status=Status(status),
        key=Key(key, more.get("parts", {})) if key is not None else None,
        code=code,
        reason=reason,
        changes=tuple(Change(*change) for change in more.get("changes", ())) if own else (),
        inputs=more.get("inputs", {}),
        providers=more.get("providers", {}),
        artifacts=tuple(artifacts),
        files=tuple(FileRead(path, digest, declared) for path, digest, declared in json.loads(files or "[]")),
        facts=Facts(
            tuple(more.get("changed", ())),
            bool(row[17]) if row[17] is not None else None,
            tuple(more.get("wrote", ())),
            tuple(more.get("read", ())),
        ),
        producer=None if own else executed,
        attempt=attempt,
        started=started,
        ended=ended,
        notebook=more.get("notebook"),
        error=more.get("error") if own else None,
        touched=tuple(more.get("touched", ())),
        environment=json.loads(environment or "{}"),
        watched=tuple(json.loads(watched or "[]")),
        written=tuple(FileRead(path, digest) for path, digest in json.loads(row[18] or "[]")),
    )
