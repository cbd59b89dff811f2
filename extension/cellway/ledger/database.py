"""The ledger's file: schema, opening, transactions, and SQLite's errors in the user's words.

Write-ahead logging with ``synchronous = NORMAL``: a killed process loses nothing that was committed; only a power cut
may take the last commits with it, and never the file. Several processes may append at once; they wait for each other.
"""

from __future__ import annotations

import _thread
import os
import sqlite3
import time

from cellway.errors import LedgerError

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Literal

VERSION = 2
"""Format of the file, kept in ``PRAGMA user_version``. Raise it together with a new entry of ``_MIGRATIONS``."""

BUSY_SECONDS = 30.0
"""How long a write waits for other processes' writes."""

_SCHEMA_1 = """
-- What was asked for. What became of it are rows of run_states: nothing is ever overwritten.
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pipeline TEXT NOT NULL, source TEXT NOT NULL,
    parameters TEXT NOT NULL, options TEXT NOT NULL, started REAL NOT NULL);

-- The newest row of a run is its state; a resumed run has a second 'running' row, with its new process.
CREATE TABLE run_states (
    number INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, status TEXT NOT NULL, time REAL NOT NULL,
    host TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL);
CREATE INDEX run_states_by_run ON run_states (run);

-- An executed step run carries everything; a cached one only points at its producer.
CREATE TABLE step_runs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, run INTEGER NOT NULL REFERENCES runs, step TEXT NOT NULL,
    status TEXT NOT NULL, key TEXT, code TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
    producer INTEGER REFERENCES step_runs, attempt INTEGER NOT NULL DEFAULT 1, started REAL, ended REAL,
    draws INTEGER, files TEXT, environment TEXT, watched TEXT, detail TEXT);
CREATE INDEX step_runs_by_key ON step_runs (key) WHERE producer IS NULL AND status = 'completed';
CREATE INDEX step_runs_by_run ON step_runs (run, step);

CREATE TABLE artifacts (
    number INTEGER PRIMARY KEY, step_run INTEGER NOT NULL REFERENCES step_runs, name TEXT NOT NULL,
    fingerprint TEXT NOT NULL, digest TEXT NOT NULL, materializer TEXT NOT NULL, member TEXT, size INTEGER NOT NULL,
    type TEXT NOT NULL);
CREATE INDEX artifacts_by_step_run ON artifacts (step_run);
CREATE INDEX artifacts_by_fingerprint ON artifacts (fingerprint);
CREATE INDEX artifacts_by_name ON artifacts (name);

-- Kept once per value: a picture would otherwise be repeated by every run that gives the same.
CREATE TABLE sidecars (fingerprint TEXT PRIMARY KEY, body TEXT NOT NULL);

-- Lineage between executed step runs; a cached step run has the edges of its producer.
CREATE TABLE edges (
    step_run INTEGER NOT NULL REFERENCES step_runs, name TEXT NOT NULL, fingerprint TEXT NOT NULL,
    producer INTEGER REFERENCES step_runs, PRIMARY KEY (step_run, name)) WITHOUT ROWID;
CREATE INDEX edges_by_producer ON edges (producer);
CREATE INDEX edges_by_fingerprint ON edges (fingerprint);

-- 'ran', 'draws', 'still' (ran to its end without drawing), 'changed NAME', 'wrote PATH', 'read PATH', by code digest.
CREATE TABLE facts (code TEXT NOT NULL, fact TEXT NOT NULL, PRIMARY KEY (code, fact)) WITHOUT ROWID;

-- Step runs whose blobs were deleted.
CREATE TABLE forgotten (step_run INTEGER PRIMARY KEY REFERENCES step_runs, time REAL NOT NULL);

CREATE TABLE sources (fingerprint TEXT PRIMARY KEY, body TEXT NOT NULL);

-- From here on: derived, may be rebuilt or emptied at any time.
CREATE TABLE latest (
    source TEXT NOT NULL, step TEXT NOT NULL, step_run INTEGER NOT NULL REFERENCES step_runs,
    completed INTEGER REFERENCES step_runs, PRIMARY KEY (source, step)) WITHOUT ROWID;
CREATE TABLE analyses (number INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE file_stats (
    kind TEXT NOT NULL, path TEXT NOT NULL, stat TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (kind, path)) WITHOUT ROWID;
"""

_SCHEMA_2 = """
-- Files that a step made, changed or removed. Facts 'wrote PATH' and 'read PATH' came at the same time.
ALTER TABLE step_runs ADD COLUMN written TEXT;
"""

# Entry i takes a file of format i to format i + 1.
_MIGRATIONS = (_SCHEMA_1, _SCHEMA_2)


class Database:
    """One ledger file, opened on first use; safe to share between threads.

    Args:
        path: of the file. Reading a file that is not there gives nothing and creates nothing; the first write
            creates it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        # What `threading.Lock` is, without the milliseconds that importing the module takes.
        self._lock = _thread.allocate_lock()

    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT; none if the file does not exist yet.

        Raises:
            LedgerError: the file is damaged, locked, newer than this cellway, or cannot be read.
        """
        # Called for every step of a run in which nothing runs: no context manager of our own here.
        with self._lock:
            try:
                if self._connection is None and not os.path.exists(self.path):
                    return []
                return (self._connection or self._open()).execute(sql, arguments).fetchall()
            except (sqlite3.Error, OSError) as error:
                raise self._explained(error, "read") from error

    def query_many(self, sql: str, values: Iterable[str], *before: Any) -> Iterator[tuple[Any, ...]]:
        """Rows of ``sql`` for many values, some hundreds at a time.

        Args:
            sql: has ``{}`` where the list of place holders goes, after those for ``before``.
            values: what to look for.
            before: arguments that come first.
        """
        wanted = list(values)
        for start in range(0, len(wanted), 500):
            chunk = wanted[start : start + 500]
            yield from self.query(sql.format(",".join("?" * len(chunk))), (*before, *chunk))

    def transaction(self) -> Transaction:
        """All or nothing: commits at the end, rolls back on any exception.

        Raises:
            LedgerError: as :meth:`query`, or the disk is full or read-only.
        """
        return Transaction(self)

    def begin(self) -> sqlite3.Connection:
        """Start a transaction; no other thread comes in before :meth:`end`."""
        self._lock.acquire()
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self._lock.release()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise self._explained(error, "write") from error
            raise
        return connection

    def end(self, error: BaseException | None) -> None:
        """End a transaction: all of it counts, or after an error nothing."""
        try:
            connection = self._open()
            try:
                if error is None:
                    connection.execute("COMMIT")
            finally:
                # SQLite may have rolled back by itself, after a full disk for one.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as failure:
            error = failure
        finally:
            self._lock.release()
        if isinstance(error, (sqlite3.Error, OSError)):
            raise self._explained(error, "write") from error

    def close(self) -> None:
        """Close the file; it is opened again on the next use."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            version = _version(connection)
            if version > VERSION:
                raise LedgerError(
                    f"{self.path} was written by a newer cellway (format {version}; this one knows up to {VERSION})",
                    fix="upgrade cellway, or use the newer one for this project",
                )
            if version < VERSION:
                _migrate(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _explained(self, error: sqlite3.Error | OSError, action: str) -> Exception:
        if isinstance(error, sqlite3.ProgrammingError):
            return error  # a defect of cellway, and no word about the file
        if isinstance(error, sqlite3.Error):
            return _explain(error, self.path, action)
        return LedgerError(
            f"cannot {action} the ledger {self.path}: {error.strerror or error}",
            fix="check that the project's .cellway folder may be read and written",
        )


class Transaction:
    """What :meth:`Database.transaction` gives to ``with``."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        return self._database.begin()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> Literal[False]:
        self._database.end(error)
        return False


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    """Take the file to the current format; several processes may try at once."""
    _use_write_ahead_log(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in _MIGRATIONS[_version(connection) :]:
            # executescript() would commit first: the format must change in one piece.
            text = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
            for statement in text.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # Switching the mode does not wait for other processes as other statements do.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _explain(error: sqlite3.Error, path: str, action: str) -> LedgerError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return LedgerError(
            f"another process has kept the ledger {path} locked for more than {BUSY_SECONDS:.0f} seconds",
            fix="wait for the other run, or end the process that holds the file",
        )
    if "full" in text:
        return LedgerError(
            f"the disk is full: cannot write the ledger {path}",
            fix="free some space (`cellway gc` deletes old results) and repeat the command; nothing was half-written",
        )
    if isinstance(error, sqlite3.OperationalError) and ("readonly" in text or "unable to open" in text):
        return LedgerError(
            f"cannot {action} the ledger {path}: {text}",
            fix="check that the project's .cellway folder may be read and written",
        )
    if "disk I/O" in text:
        # Most often there is no room for the file that SQLite shares between processes: nothing is damaged.
        return LedgerError(
            f"cannot {action} the ledger {path}: {text}",
            fix="make room on its disk, or see to it that the disk is reachable, and repeat the command; "
            "nothing is lost",
        )
    if isinstance(error, sqlite3.OperationalError | sqlite3.IntegrityError):
        return LedgerError(f"cannot {action} the ledger {path}: {text}")
    return LedgerError(
        f"the ledger {path} is damaged: {text}",
        fix="move the file away and run again: stored results stay in the store, but everything is computed once more",
    )
