"""Records → rows: what one event adds to the ledger. Called within a transaction."""

from __future__ import annotations

from cellway.errors import UsageError
from cellway.ledger import rows

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from cellway.records import Artifact, Run, StepRun


def add_run(connection: sqlite3.Connection, run: Run, parameters: str | None = None) -> int:
    """Number of the run's row, which is made if it is not there yet; its parameters may be given as JSON."""
    given = rows.dump(run.parameters) if parameters is None else parameters
    connection.execute(
        "INSERT OR IGNORE INTO runs (id, pipeline, source, parameters, options, started) VALUES (?, ?, ?, ?, ?, ?)",
        (run.id, run.pipeline, run.source, given, rows.dump(run.options), run.started),
    )
    return int(connection.execute("SELECT number FROM runs WHERE id = ?", (run.id,)).fetchone()[0])


def add_state(connection: sqlite3.Connection, run: Run, status: str, when: float) -> None:
    """What has become of a run."""
    from cellway.ledger.processes import born, host

    mark = born(run.pid) if status == "running" and run.host == host() else ""
    connection.execute(
        "INSERT INTO run_states (run, status, time, host, pid, born) "
        "SELECT number, ?, ?, ?, ?, ? FROM runs WHERE id = ?",
        (status, when, run.host, run.pid, mark, run.id),
    )


def add_step_run(connection: sqlite3.Connection, run: Run, step_run: StepRun) -> None:
    """A step run with all that belongs to it.

    Raises:
        UsageError: it reuses a step run that is not there.
    """
    producer = None
    if step_run.producer is not None:
        known = connection.execute(
            "SELECT coalesce(producer, number) FROM step_runs WHERE id = ?", (step_run.producer,)
        ).fetchone()
        if known is None:
            raise UsageError(f"step {step_run.step} reuses step run {step_run.producer}, which is not in the ledger")
        producer = known[0]
    files = [[file.path, file.digest, file.declared] for file in step_run.files]
    written = [[file.path, file.digest] for file in step_run.written]
    own = producer is None
    number = connection.execute(
        "INSERT INTO step_runs (id, run, step, status, key, code, reason, producer, attempt, started, ended, "
        "draws, files, environment, watched, detail, written) "
        "SELECT ?, number, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM runs WHERE id = ?",
        (
            step_run.id,
            step_run.step,
            step_run.status.value,
            step_run.key.digest if own and step_run.key is not None else None,
            step_run.code if own else "",
            rows.text(step_run.reason),
            producer,
            step_run.attempt,
            step_run.started,
            step_run.ended,
            step_run.facts.draws if own else None,
            rows.dump(files) if own and files else None,
            rows.dump(step_run.environment) if own and step_run.environment else None,
            rows.dump(step_run.watched) if own and step_run.watched else None,
            rows.detail(step_run) if own else None,
            rows.dump(written) if own and written else None,
            run.id,
        ),
    ).lastrowid
    if own:
        _add_artifacts(connection, number, step_run.artifacts)
        _add_edges(connection, number, run, step_run)
        _add_facts(connection, step_run)
    _set_latest(connection, run, step_run, number if own else producer)


def _add_artifacts(connection: sqlite3.Connection, number: int | None, artifacts: Sequence[Artifact]) -> None:
    connection.executemany(
        "INSERT INTO artifacts (step_run, name, fingerprint, digest, materializer, member, size, type) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(number, a.name, a.fingerprint, a.digest, a.materializer, a.member, a.size, a.type) for a in artifacts],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO sidecars VALUES (?, ?)",
        [(a.fingerprint, rows.dump(a.sidecar)) for a in artifacts if a.sidecar],
    )


def _add_edges(connection: sqlite3.Connection, number: int | None, run: Run, step_run: StepRun) -> None:
    for name, fingerprint in step_run.inputs.items():
        # The provider's step run of this run; if it was not part of it (`--only`), whoever last made that value.
        producer = (
            connection.execute(
                "SELECT coalesce(producer, number) FROM step_runs "
                "WHERE run = (SELECT number FROM runs WHERE id = ?) AND step = ? "
                "AND EXISTS (SELECT 1 FROM artifacts AS a WHERE a.fingerprint = ? "
                "AND a.step_run = coalesce(producer, step_runs.number)) ORDER BY number DESC LIMIT 1",
                (run.id, step_run.providers.get(name, ""), fingerprint),
            ).fetchone()
            or connection.execute(
                "SELECT step_run FROM artifacts WHERE fingerprint = ? ORDER BY number DESC LIMIT 1", (fingerprint,)
            ).fetchone()
        )
        connection.execute(
            "INSERT INTO edges (step_run, name, fingerprint, producer) VALUES (?, ?, ?, ?)",
            (number, name, fingerprint, producer[0] if producer is not None else None),
        )


def _add_facts(connection: sqlite3.Connection, step_run: StepRun) -> None:
    status = step_run.status.value
    if not step_run.code or status not in {"completed", "failed"}:
        return
    found = step_run.facts
    facts = ["ran", *(f"changed {name}" for name in found.changed)]
    facts += [rows.text(f"wrote {path}") for path in found.wrote] + [rows.text(f"read {path}") for path in found.read]
    if step_run.facts.draws:
        facts.append("draws")
    elif step_run.facts.draws is False and status == "completed":
        # A failed one may have stopped before it would have drawn.
        facts.append("still")
    connection.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", [(step_run.code, fact) for fact in facts])


def _set_latest(connection: sqlite3.Connection, run: Run, step_run: StepRun, number: int | None) -> None:
    status = step_run.status.value
    if status not in {"completed", "cached", "failed"} or (status == "failed" and step_run.key is None):
        return
    connection.execute(
        "INSERT INTO latest (source, step, step_run, completed) VALUES (?, ?, ?, ?) ON CONFLICT (source, step) "
        "DO UPDATE SET step_run = excluded.step_run, completed = coalesce(excluded.completed, completed)",
        (run.source, step_run.step, number, number if status != "failed" else None),
    )
