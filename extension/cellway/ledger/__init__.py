# ruff: noqa: S608 - the pieces of SQL are written in this file; values are always bound.
"""StepRuns → append-only record (design §2, §7).

One SQLite file per project. The cache is a query on it: a step is reused when an executed step run with the same key is
found. Imported on every fully cached run, hence light: the records are imported only where they are made.
"""

from __future__ import annotations

import os
import time

from cellway.errors import UsageError
from cellway.ledger import rows, writing
from cellway.ledger.database import Database

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeVar

    from cellway.ledger.found import Candidate as Candidate
    from cellway.ledger.found import Produced as Produced
    from cellway.records import Artifact, Event, Facts, Run, StepRun

    T = TypeVar("T")

__all__ = ["Candidate", "Ledger", "Produced"]

_ANALYSES_KEPT = 20_000
_EXECUTED = "p.producer IS NULL AND p.status = 'completed'"


def __getattr__(name: str) -> Any:
    if name not in {"Candidate", "Produced"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cellway.ledger import found

    return getattr(found, name)


class Ledger:
    """The record of all runs of a project.

    Rows about runs are only ever added. Safe to share between threads, and between processes through the file. Reading
    before anything was written gives nothing and creates no file.

    Args:
        path: the file, usually ``.cellway/ledger.sqlite``.

    Raises:
        LedgerError: (by every method) the file is damaged, locked for long, written by a newer cellway, or cannot be
            read or written. What was being appended is then not there at all.
    """

    def __init__(self, path: str) -> None:
        self._database = Database(str(path))

    @property
    def path(self) -> str:
        """Of the file."""
        return self._database.path

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._database.close()

    # --- writing -----------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Record ``run-started``, ``step-finished`` and ``run-finished``; other events are passed over.

        A second ``run-started`` of a known run is its resumption.
        """
        if event.kind == "run-started":
            with self._database.transaction() as connection:
                writing.add_run(connection, event.run)
                writing.add_state(connection, event.run, "running", event.time)
        elif event.kind == "run-finished":
            with self._database.transaction() as connection:
                writing.add_run(connection, event.run)
                ended = event.run.ended if event.run.ended is not None else event.time
                writing.add_state(connection, event.run, event.run.status.value, ended)
        elif event.kind == "step-finished" and event.step_run is not None:
            with self._database.transaction() as connection:
                writing.add_run(connection, event.run)
                writing.add_step_run(connection, event.run, event.step_run)

    def append_cached_run(
        self,
        run: Run,
        reused: Iterable[tuple[str, str]],
        reason: str = "nothing changed",
        *,
        parameters: str | None = None,
    ) -> None:
        """Record a run in which nothing ran, with one pointer per step.

        Args:
            run: with ``started`` and ``ended``.
            reused: ``(step, id of the executed step run)`` in order.
            reason: of each step.
            parameters: of the run as JSON, where that is known: it then need not have them otherwise.

        Raises:
            UsageError: an id that the ledger does not know.
        """
        ended = run.ended if run.ended is not None else time.time()
        pairs = list(reused)
        with self._database.transaction() as connection:
            number = writing.add_run(connection, run, parameters)
            writing.add_state(connection, run, run.status.value, ended)
            added = connection.executemany(
                "INSERT INTO step_runs (id, run, step, status, reason, producer, started, ended) "
                "SELECT ?, ?, ?, 'cached', ?, coalesce(producer, number), ?, ? FROM step_runs WHERE id = ?",
                [
                    (f"{run.id}.{position:05d}", number, step, reason, run.started, ended, producer)
                    for position, (step, producer) in enumerate(pairs)
                ],
            ).rowcount
            if added != len(pairs):
                raise UsageError(f"cannot record run {run.id}: it reuses a step run that this ledger does not have")
            connection.execute(
                "INSERT INTO latest (source, step, step_run, completed) SELECT ?, step, producer, producer "
                "FROM step_runs WHERE run = ? ORDER BY number "
                "ON CONFLICT (source, step) DO UPDATE SET step_run = excluded.step_run, completed = excluded.completed "
                "WHERE step_run <> excluded.step_run OR completed IS NOT excluded.completed",
                (run.source, number),
            )

    def forget(self, *step_runs: str) -> None:
        """Mark step runs whose blobs are deleted: they are no longer candidates, and stay in the record."""
        if not step_runs:
            return
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO forgotten (step_run, time) SELECT number, ? FROM step_runs WHERE id = ?",
                [(time.time(), id_) for id_ in step_runs],
            )

    def put_sources(self, sources: Mapping[str, str]) -> None:
        """Keep texts by fingerprint, so that a change can be shown as a diff."""
        known = {row[0] for row in self._database.query_many(_SOURCES_KNOWN, sources)}
        new = [(fingerprint, rows.text(body)) for fingerprint, body in sources.items() if fingerprint not in known]
        if new:
            with self._database.transaction() as connection:
                connection.executemany("INSERT OR IGNORE INTO sources VALUES (?, ?)", new)

    # --- reuse -------------------------------------------------------------------------------------------------

    def lookup(self, key_digest: str) -> tuple[Candidate, ...]:
        """Executed, completed step runs with this key that were not forgotten, newest first, in short form."""
        import json

        from cellway.ledger.found import Candidate

        found: dict[str, Candidate] = {}
        for id_, files, environment, watched, draws, started, ended, written, *artifact in self._database.query(
            _LOOKUP, (key_digest,)
        ):
            if id_ not in found:
                found[id_] = Candidate(
                    id_,
                    [],
                    json.loads(files) if files else (),
                    json.loads(environment) if environment else {},
                    json.loads(watched) if watched else (),
                    bool(draws) if draws is not None else None,
                    ended,
                    ended - started if ended is not None and started is not None else None,
                    json.loads(written) if written else (),
                )
            if artifact[0] is not None:
                found[id_].artifacts.append((artifact[0], artifact[1], artifact[2]))
        return tuple(found.values())

    def candidates(self, key_digest: str) -> tuple[StepRun, ...]:
        """As :meth:`lookup`, as full records."""
        where = f"p.key = ? AND {_EXECUTED} AND NOT EXISTS (SELECT 1 FROM forgotten WHERE step_run = p.number)"
        return self._step_runs(f"{where} ORDER BY p.number DESC", key_digest)

    def facts(self, code_digests: Sequence[str]) -> Mapping[str, Facts]:
        """What executions of these codes showed, whatever their parameters and inputs were.

        Returns:
            An entry per code that was ever executed. ``changed``, ``wrote`` and ``read`` are unions over all
            executions; ``draws`` is True if any drew, False if one ran to its end and none drew, else ``None``.
        """
        from cellway.records import Facts

        seen: dict[str, set[str]] = {}
        for code, fact in self._database.query_many(_FACTS, dict.fromkeys(code_digests)):
            seen.setdefault(code, set()).add(fact)
        return {
            code: Facts(
                _named(known, "changed "),
                True if "draws" in known else False if "still" in known else None,
                _named(known, "wrote "),
                _named(known, "read "),
            )
            for code, known in seen.items()
        }

    def last(self, source: str, steps: Iterable[str]) -> Mapping[str, StepRun]:
        """The step run that each step of a notebook showed last: what a new plan is compared with.

        Completed and failed ones count. Where the last run reused an older step run, that one is given.
        """
        numbers = {row[0]: row[1] for row in self._database.query_many(_LATEST, steps, source)}
        found = {number: step_run for step_run, number in self._step_runs_in("p.number", numbers.values())}
        return {step: found[number] for step, number in numbers.items() if number in found}

    def source(self, fingerprint: str) -> str | None:
        """Text that was kept under a fingerprint."""
        found = self._database.query("SELECT body FROM sources WHERE fingerprint = ?", (fingerprint,))
        return found[0][0] if found else None

    # --- looking -----------------------------------------------------------------------------------------------

    def runs(
        self, limit: int = 50, offset: int = 0, status: str | None = None, pipeline: str | None = None
    ) -> tuple[Run, ...]:
        """Runs, newest first.

        A run that is recorded as running and whose process is gone is given as ``CANCELLED`` without an end
        (``ended is None``): it was interrupted, and can be resumed.

        Args:
            limit: how many at most.
            offset: how many to leave out first.
            status: only runs of this status.
            pipeline: only runs of the pipeline of this name, or of the notebook with this path.
        """
        where, arguments = "1", []
        if pipeline is not None:
            where, arguments = "(r.pipeline = ? OR r.source = ?)", [pipeline, pipeline]
        if status is None:
            return self._runs(f"{where} ORDER BY r.number DESC LIMIT ? OFFSET ?", *arguments, limit, offset)
        # Whether a run was interrupted is seen only at its process, hence not by SQL.
        wanted = [str(status)] if status not in {"running", "cancelled"} else ["running", "cancelled"]
        where += f" AND s.status IN ({','.join('?' * len(wanted))})"
        found = self._runs(f"{where} ORDER BY r.number DESC", *arguments, *wanted)
        return tuple(run for run in found if run.status == status)[offset : offset + limit]

    def run(self, ref: str) -> Run:
        """One run.

        Args:
            ref: its id, a unique beginning of it, or ``last``.

        Raises:
            UsageError: no such run, or several begin like that.
        """
        if ref == "last":
            found = self._runs("1 ORDER BY r.number DESC LIMIT 1")
            if not found:
                raise UsageError(
                    f"nothing was run yet in {os.path.dirname(os.path.dirname(os.path.abspath(self.path)))}",
                    name=ref,
                    fix="`cellway run NOTEBOOK`; with --project DIR, the runs of another folder are meant",
                )
        else:
            found = self._runs("r.id = ?", ref) or self._runs("r.id > ? AND r.id < ? LIMIT 10", ref, _after(ref))
        return _only(found, ref, "run", [run.id for run in found], "`cellway runs` lists them")

    def step_runs(self, run_id: str) -> tuple[StepRun, ...]:
        """What happened to each step of a run, in the order in which they ended. A cached one shows what it reused."""
        return self._step_runs("p.run = (SELECT number FROM runs WHERE id = ?) ORDER BY p.number", run_id)

    def step_run(self, ref: str) -> StepRun:
        """One step run, by its id or a unique beginning of it.

        Raises:
            UsageError: no such step run, or several begin like that.
        """
        found = self._step_runs("p.id = ?", ref) or self._step_runs("p.id > ? AND p.id < ? LIMIT 10", ref, _after(ref))
        return _only(found, ref, "step run", [step_run.id for step_run in found], "")

    def artifacts(
        self, run: str | None = None, name: str | None = None, step: str | None = None, limit: int = 1000
    ) -> tuple[Produced, ...]:
        """Artifacts, newest first.

        Args:
            run: only those of this run, the reused ones among them.
            name: only those of this name.
            step: only those of steps of this name.
            limit: how many at most.
        """
        where, arguments = [], []
        for column, value in (("a.name", name), ("p.step", step)):
            if value is not None:
                where.append(f"{column} = ?")
                arguments.append(value)
        if run is not None:
            # A step that had started from an old value ran once more: what it gave first is no result of the run.
            where.append(
                "p.number IN (SELECT max(number) FROM step_runs "
                "WHERE run = (SELECT number FROM runs WHERE id = ?) GROUP BY step)"
            )
            arguments.append(self.run(run).id)
        else:
            where.append("p.producer IS NULL")
        order = "ORDER BY p.number DESC, a.number LIMIT ?"
        return self._produced(f"{' AND '.join(where)} {order}", *arguments, limit, reused=run is not None)

    def artifact(self, ref: str) -> Produced:
        """One artifact.

        Args:
            ref: ``name``, ``step.name``, ``run:step.name``, ``run:name``, or the beginning of a fingerprint. Without a
                run, it is what the step gave last.

        Raises:
            UsageError: no such artifact, or several; the choices are listed.
        """
        run, _, rest = ref.rpartition(":")
        step, _, name = rest.rpartition(".")
        found = self.artifacts(run, name, step or None) if run else self._latest_artifacts(name, step or None)
        if not found and not run and not step and len(ref) >= 4 and set(ref) <= set("0123456789abcdef"):
            found = self._produced(
                f"a.fingerprint >= ? AND a.fingerprint < ? AND {_EXECUTED} ORDER BY p.number DESC", ref, _after(ref)
            )
            found = tuple({item.artifact.fingerprint: item for item in reversed(found)}.values())
            choices = [item.artifact.fingerprint for item in found]
        else:
            # One notebook run as itself and as its converted folder left both: the newest, as without the folder.
            found = tuple(
                {(item.source, item.step, item.run if run else ""): item for item in reversed(found)}.values()
            )
            found = found[::-1]
            several = len({item.source for item in found}) > 1
            choices = [f"{f'{i.run}:' if several or run else ''}{i.step}.{i.artifact.name}" for i in found]
        return _only(found, ref, "artifact", choices, "`cellway artifacts` lists them")

    def live_blobs(self) -> Mapping[str, float]:
        """Digests of the blobs that step runs refer to, unless forgotten, with the time of their last use.

        A reuse counts as a use.
        """
        return dict(self._database.query(_LIVE))

    # --- caches of other stages -------------------------------------------------------------------------------

    def get_many(self, digests: Iterable[str]) -> Mapping[str, bytes]:
        """What :meth:`put_many` kept for these digests; unknown ones are left out (the analysis of cells)."""
        return dict(self._database.query_many("SELECT digest, body FROM analyses WHERE digest IN ({})", digests))

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """Keep bytes by digest. The oldest of very many are dropped."""
        if not items:
            return
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO analyses (digest, body) VALUES (?, ?)", items.items())
            connection.execute(
                "DELETE FROM analyses WHERE number <= (SELECT max(number) FROM analyses) - ?", (_ANALYSES_KEPT,)
            )

    def stats(self, kind: str, paths: Iterable[str]) -> Mapping[str, tuple[str, str]]:
        """``path → (stat, value)`` as kept by :meth:`put_stats`."""
        sql = "SELECT path, stat, value FROM file_stats WHERE kind = ? AND path IN ({})"
        return {path: (stat, value) for path, stat, value in self._database.query_many(sql, paths, kind)}

    def put_stats(self, kind: str, items: Mapping[str, tuple[str, str]]) -> None:
        """Keep what was derived from a file (its digest, say), together with the stat at which that was true."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO file_stats VALUES (?, ?, ?, ?)",
                [(kind, path, stat, value) for path, (stat, value) in items.items()],
            )

    # --- rows --------------------------------------------------------------------------------------------------

    def _runs(self, where: str, *arguments: Any) -> tuple[Run, ...]:
        from cellway.ledger.processes import alive

        found = []
        for row in self._database.query(f"SELECT {rows.RUN_COLUMNS} FROM {_RUN_TABLES} WHERE {where}", arguments):
            gone = row[3] == "running" and not alive(row[8], row[9], row[10])
            found.append(rows.run(row, "cancelled" if gone else None))
        return tuple(found)

    def _step_runs(self, where: str, *arguments: Any) -> tuple[StepRun, ...]:
        sql = f"SELECT {rows.STEP_RUN_COLUMNS} FROM {rows.STEP_RUN_TABLES} WHERE {where}"
        return tuple(step_run for step_run, _ in self._with_artifacts(self._database.query(sql, arguments)))

    def _step_runs_in(self, column: str, values: Iterable[Any]) -> list[tuple[StepRun, int]]:
        sql = f"SELECT {rows.STEP_RUN_COLUMNS} FROM {rows.STEP_RUN_TABLES} WHERE {column} IN ({{}})"
        return self._with_artifacts(list(self._database.query_many(sql, values)))

    def _with_artifacts(self, found: list[tuple[Any, ...]]) -> list[tuple[StepRun, int]]:
        artifacts: dict[int, list[Artifact]] = {}
        sql = (
            f"SELECT {rows.ARTIFACT_COLUMNS}, a.step_run FROM {rows.ARTIFACT_TABLES} "
            "WHERE a.step_run IN ({}) ORDER BY a.number"
        )
        for row in self._database.query_many(sql, {row[16] for row in found}):
            artifacts.setdefault(row[8], []).append(rows.artifact(row[:8]))
        return [(rows.step_run(row, artifacts.get(row[16], ())), row[16]) for row in found]

    def _produced(self, where: str, *arguments: Any, reused: bool = False) -> tuple[Produced, ...]:
        # From the step runs of one run down to what they reused, or from artifacts up to who made them: with one form
        # for both, the second would look at every step run there is.
        executed = "coalesce(p.producer, p.number)" if reused else "p.number"
        sql = (
            f"SELECT {rows.ARTIFACT_COLUMNS}, p.step, r.id, e.id, r.source, e.ended "
            f"FROM step_runs AS p JOIN step_runs AS e ON e.number = {executed} JOIN runs AS r ON r.number = p.run "
            "JOIN artifacts AS a ON a.step_run = e.number LEFT JOIN sidecars AS c ON c.fingerprint = a.fingerprint "
            f"WHERE {where}"
        )
        from cellway.ledger.found import Produced

        return tuple(Produced(rows.artifact(row[:8]), *row[8:]) for row in self._database.query(sql, arguments))

    def _latest_artifacts(self, name: str, step: str | None) -> tuple[Produced, ...]:
        where = "p.number IN (SELECT completed FROM latest) AND a.name = ? AND (? IS NULL OR p.step = ?)"
        return self._produced(f"{where} ORDER BY p.number DESC", name, step, step)


_RUN_TABLES = (
    "runs AS r JOIN run_states AS s ON s.number = (SELECT max(number) FROM run_states WHERE run_states.run = r.number)"
)
_LOOKUP = (
    "SELECT s.id, s.files, s.environment, s.watched, s.draws, s.started, s.ended, s.written, "
    "a.name, a.fingerprint, a.digest "
    "FROM (SELECT * FROM step_runs WHERE key = ? AND producer IS NULL AND status = 'completed' "
    "AND NOT EXISTS (SELECT 1 FROM forgotten WHERE step_run = step_runs.number) ORDER BY number DESC LIMIT 20) AS s "
    "LEFT JOIN artifacts AS a ON a.step_run = s.number ORDER BY s.number DESC, a.number"
)
_FACTS = "SELECT code, fact FROM facts WHERE code IN ({})"
_LATEST = "SELECT step, step_run FROM latest WHERE source = ? AND step IN ({})"
_SOURCES_KNOWN = "SELECT fingerprint FROM sources WHERE fingerprint IN ({})"
_LIVE = (
    "SELECT a.digest, max(coalesce(p.ended, p.started, 0)) FROM step_runs AS p "
    "JOIN artifacts AS a ON a.step_run = coalesce(p.producer, p.number) "
    "WHERE NOT EXISTS (SELECT 1 FROM forgotten AS f WHERE f.step_run = a.step_run) GROUP BY a.digest"
)


def _named(facts: Iterable[str], kind: str) -> tuple[str, ...]:
    return tuple(sorted(fact.removeprefix(kind) for fact in facts if fact.startswith(kind)))


def _after(prefix: str) -> str:
    """The least text greater than all texts that begin like this."""
    return prefix + "\U0010ffff"


def _only(found: Sequence[T], ref: str, what: str, choices: list[str], hint: str) -> T:
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no {what} {ref!r}", name=ref, fix=hint)
    raise UsageError(f"{ref!r} could be several {what}s: {', '.join(choices[:10])}", name=ref, fix="say which")
