"""The vocabulary: what the stages hand to each other.

Frozen dataclasses without behaviour. A word has one meaning in code, docs and panel (docs/concepts.md):
a :class:`Step` is what the notebook says, a :class:`StepRun` is what happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

RANDOM = "__random__"
"""Name under which the state of the global random generators is handed from step to step (design §5.6)."""


# --- notebook --------------------------------------------------------------------------------------------------


class Role(StrEnum):
    """What a cell is for, by its magic or tag."""

    PARAMETERS = "parameters"
    SETUP = "setup"
    STEP = "step"
    TEST = "test"
    SKIP = "skip"
    EXPLORATION = "exploration"
    """An untagged code cell: left out, but its symbols are carried where a step uses them."""
    TEXT = "text"
    """A markdown or raw cell."""


@dataclass(frozen=True, slots=True)
class StepOptions:
    """Options of ``%%step`` (docs/reference/options.md has one heading for each)."""

    after: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    kind: str | None = None
    each: str | None = None
    when: str | None = None
    retries: int = 0
    timeout: float | None = None
    """Seconds for the whole step."""
    cpus: float | None = None
    memory: int | None = None
    """Bytes."""
    gpus: int | None = None
    backend: str | None = None
    kernel: str | None = None
    seed: int | str | None = None
    """An integer, or ``"own"``: seeded from the pipeline's seed and the step's name."""
    no_cache: bool = False
    cache_version: str | None = None
    reads: tuple[str, ...] = ()
    """Files and globs, relative to the notebook."""


@dataclass(frozen=True, slots=True)
class Cell:
    r"""One cell of a notebook as read.

    Attributes:
        index: position among all cells, from 0.
        id: the cell's id in the file, or one made from its position and content.
        kind: ``code``, ``markdown`` or ``raw``.
        source: text as in the file, lines joined by ``\n``.
        body: ``source`` without cellway's own magic line: what the author wrote, what is executed.
        offset: lines of ``source`` above ``body``; add it to a line of the body to get the line the author sees.
        step: the step of a ``STEP`` cell, the tested step of a ``TEST`` cell.
    """

    index: int
    id: str
    kind: str
    source: str
    body: str
    offset: int
    role: Role
    step: str | None = None
    options: StepOptions = StepOptions()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook file as read.

    Attributes:
        path: absolute path of the file.
        kernel: name of the kernelspec, ``None`` if the file names none.
        language: ``python`` unless the file says otherwise.
        digest: fingerprint of the file's text.
        warnings: what the reader noticed and did not refuse (old format, duplicate ids mended, ...).
    """

    path: str
    cells: tuple[Cell, ...]
    kernel: str | None
    language: str
    digest: str
    warnings: tuple[str, ...] = ()


# --- analysis --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reference:
    """A name at a line of a cell's body (from 1)."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Call:
    """A call by plain name, with the names handed over: what it takes to apply a :class:`Function`'s summary.

    Attributes:
        function: the called name (``add`` in ``add(df, k=x)``).
        arguments: ``("0", "df")``, ``("k", "x")``: position or keyword, and the root name of the argument.
    """

    function: str
    line: int
    arguments: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """Summary of a top-level function of the notebook: what a call does to the caller's names.

    Attributes:
        parameters: names in call order (positional first, then keyword-only; ``*args`` as ``*args``).
        changes: parameters that the body definitely changes in place.
        reads: free names the body reads when called.
        global_binds: names bound through ``global``.
        global_changes: free names that the body definitely changes in place.
        global_may_change: free names that it may change.
        calls: calls by plain name in the body, with arguments that are parameters or free names.
        stateful: what the function remembers from call to call on itself (a mutable default that it changes, an
        attribute
            of its own), in words; else "".
    """

    name: str
    parameters: tuple[str, ...]
    changes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    global_binds: tuple[str, ...] = ()
    global_changes: tuple[str, ...] = ()
    global_may_change: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    stateful: str = ""


class StatementKind(StrEnum):
    """What a top-level statement is, as far as carrying it goes."""

    IMPORT = "import"
    FUNCTION = "function"
    CLASS = "class"
    CONSTANT = "constant"
    """An assignment whose value depends on nothing but literals, imports, and other constants, without side effects."""
    AMBIENT = "ambient"
    """Changes process-wide state only (``pd.set_option``, ``plt.style.use``, ``np.random.seed``, ``%matplotlib``)."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Statement:
    """Names of one top-level statement of a cell.

    Attributes:
        line, end_line: lines of the cell's body, from 1.
        source: the statement's text, verbatim (decorators and the comment block right above a def included).
        fingerprint: digest of the normalised syntax tree; comments and layout do not count.
        binds: names bound on every path through the statement.
        may_bind: names bound on some paths only (``if``, loop bodies, ``try``, ``except``).
        reads: names read when the statement runs, not bound before in the same statement.
        deferred: names read when a function, lambda or class method made here is called later.
        changes: names whose object is definitely changed in place (design §5.2), aliases made in the same
            statement resolved (``for d in [a, b]: d["k"] = 1`` changes a and b).
        may_change: names whose object may be changed, kept or handed on: everything read that is not provably
            only looked at. ``changes`` is not repeated here.
        deletes: names deleted by ``del``.
        aliases: ``(new, old)`` for ``new = old``, ``new = [old, …]``, loops over such displays: a definite change of
            ``new`` later in the step is one of ``old``.
        calls: calls by plain name.
        modules: imported modules as written (``a.b.c``; relative ones with leading dots).
        ambient: kinds of process-wide state that it changes: ``seed``, ``chdir``, ``environ``, ``sys.path``,
            ``options`` (display, plotting, warnings, logging), ``module`` (attribute of a module).
        mutable: for a CONSTANT, whether the value can be changed in place.
        opaque: why the statement cannot be followed (``exec``, star import, unknown cell magic), else "".
        mentions: names in texts which a library may look up among the variables (``df.query("a > @limit")``, SQL).
    """

    line: int
    end_line: int
    source: str
    fingerprint: str
    kind: StatementKind = StatementKind.OTHER
    binds: tuple[str, ...] = ()
    may_bind: tuple[str, ...] = ()
    reads: tuple[Reference, ...] = ()
    deferred: tuple[Reference, ...] = ()
    changes: tuple[Reference, ...] = ()
    may_change: tuple[Reference, ...] = ()
    deletes: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    calls: tuple[Call, ...] = ()
    modules: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
    mutable: bool = False
    opaque: str = ""
    function: Function | None = None
    mentions: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """What a cell binds, reads and may change, statement by statement.

    Attributes:
        fingerprint: digest of the normalised cell (comments and layout do not count, magics do).
        statements: in order; empty for markdown cells and empty cells.
        error: ``(message, line)`` if the body is not Python.
    """

    fingerprint: str
    statements: tuple[Statement, ...] = ()
    error: tuple[str, int] | None = None


# --- pipeline --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that a run can set.

    Attributes:
        type: ``int``, ``float``, ``str``, ``bool``, ``list``, ``dict`` or ``None`` (anything of these).
        default: a JSON-like value.
        help: the trailing comment.
        source: the assignment as written.
        choices: values allowed by a ``Literal[...]`` annotation, else empty.
        optional: whether ``None`` is allowed (``int | None``).
    """

    name: str
    type: str | None
    default: Any
    help: str = ""
    source: str = ""
    cell: int = 0
    line: int = 0
    choices: tuple[Any, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """A piece of code that a step runs.

    Attributes:
        role: ``symbol`` (a carried statement), ``setup`` (a whole ``%%setup`` cell) or ``cell`` (a cell of the step).
        name: its name in the key: the bound names of a symbol, ``setup 1``, ``cell 1`` (counted within the step, so
        that
            moving cells about elsewhere changes nothing).
        binds: names that it binds.
        source: verbatim.
        fingerprint: of the normalised syntax tree.
        cell, line: where it stands in the notebook (cell from 0; line as the author sees it, from 1).
        modules: modules that it imports.
        mutable: a constant whose value can be changed in place.
    """

    role: str
    name: str
    binds: tuple[str, ...]
    source: str
    fingerprint: str
    cell: int
    line: int
    cell_id: str = ""
    modules: tuple[str, ...] = ()
    mutable: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Tagged cells with what flows in and out, as the notebook says it.

    Attributes:
        cells: the step's own code, in order.
        carried: setup cells and symbols it needs, in notebook order; run before the inputs are loaded.
        parameters: names of parameters that it can reach.
        reads: names that it takes from an earlier step, if one provides them: its free names, mutable carried
            constants among them.
        writes: names that it binds or definitely changes (they are provided by it from here on).
        may_change: names among ``reads`` whose object it changes or may change; watched when it runs.
        later: names that later steps and tests read (a change of these matters).
        inputs: ``name → step`` by the static rules, before facts of earlier runs are known.
        outputs: names that must be stored: ``writes`` that a later step reads, ``--out`` and ``--metrics``.
        optional: names bound here that no later step reads; kept when small and storable.
        deletes: names it deletes and does not bind again.
        after: steps that must have ended before, by data, ``--after`` or ambient order.
        draws: whether the generators' state is to be handed over (a seeded notebook, no ``--seed``).
        chain: which stretch of the notebook it belongs to, as far as generators go: an untagged or ``%%setup`` cell
        that
            seeds begins a new one, and state is handed over only between steps of one chain.
        position: place in the pipeline, from 0.
    """

    name: str
    position: int
    cells: tuple[Code, ...]
    carried: tuple[Code, ...] = ()
    parameters: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    may_change: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    options: StepOptions = StepOptions()
    draws: bool = False
    chain: int = 0


@dataclass(frozen=True, slots=True)
class Test:
    """A ``%%test`` cell: assertions about a step's outputs."""

    step: str
    code: Code


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something ``cellway check`` says about a notebook.

    Attributes:
        level: ``error`` (a refusal), ``warning`` or ``note``.
        code: short stable word, e.g. ``untagged-provider`` (docs/reference/errors.md has a heading for each).
    """

    level: str
    code: str
    message: str
    cell: int | None = None
    line: int | None = None
    name: str | None = None
    step: str | None = None
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps in notebook order, their parameters and kernel.

    Attributes:
        name: from the file's name.
        source: path of the notebook (or the folder written by ``convert``).
        seeded: whether anything in the notebook seeds the global generators.
        modules: every module that any piece of code imports.
    """

    name: str
    source: str
    kernel: str | None
    language: str
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...] = ()
    tests: tuple[Test, ...] = ()
    seeded: bool = False
    modules: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


# --- values ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Artifact:
    """A named, stored output.

    Attributes:
        fingerprint: digest of materializer, blob and member: equal fingerprints, equal values.
        digest: address of the blob in the store.
        materializer: name of the materializer that wrote the blob.
        member: name inside the blob, if several names were stored as one bundle (design §5.4).
        size: bytes of the blob.
        type: fully qualified type of the value, e.g. ``pandas.DataFrame``.
        sidecar: JSON-like: ``schema``, ``shape``, ``preview`` (first rows), ``summary``, ``text`` (short repr),
            ``picture`` (data URI of a small PNG) – whichever apply.
    """

    name: str
    fingerprint: str
    digest: str
    materializer: str
    size: int
    type: str
    member: str | None = None
    sidecar: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file that a step opened for reading (or wrote: :attr:`StepRun.written`).

    Attributes:
        path: relative to the project if inside it, else absolute.
        digest: of its content, ``""`` if it did not exist.
        declared: named by ``--reads``.
    """

    path: str
    digest: str
    declared: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What earlier executions of the same code showed and analysis could not know.

    Attributes:
        changed: names whose object the step changed, or that share objects with its outputs.
        draws: whether it used the global generators; ``None`` if not known yet.
        wrote: files that it made, changed or removed, as paths like those of :class:`FileRead`; one with ``/`` at its
            end stands for everything below that folder.
        read: files that it opened for reading, modules that it imported among them; spelled like ``wrote``.
    """

    changed: tuple[str, ...] = ()
    draws: bool | None = None
    wrote: tuple[str, ...] = ()
    read: tuple[str, ...] = ()


# --- plan ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """The named fingerprints that decide reuse, and their digest.

    ``parts`` maps a name such as ``code/cell 1``, ``code/normalise``, ``parameters/lr``, ``inputs/df``,
    ``modules/helpers``, ``files/data.csv``, ``environment/pandas``, ``options/seed`` to a digest or short value.
    """

    digest: str
    parts: Mapping[str, str]


class Status(StrEnum):
    """State of a run or step run."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    CACHED = "cached"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Change:
    """One reason why a step runs: a part of its key that differs from the last step run.

    Attributes:
        part: name of the key's part.
        what: ``added``, ``removed`` or ``changed``.
        text: in words, e.g. "helper `normalise` changed".
        diff: unified diff of the code, if it is code.
    """

    part: str
    what: str
    text: str
    diff: str = ""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """What a run would do with one step, and why.

    Attributes:
        status: ``CACHED``, ``PENDING`` (will run, or depends on what will run) or ``SKIPPED`` (``--only`` etc.).
        reason: one line in words.
        step_run: id of the executed step run whose results are reused.
        key: ``None`` as long as an input is not known.
        seconds: time of the last execution, if known.
    """

    step: str
    status: Status
    reason: str
    changes: tuple[Change, ...] = ()
    key: Key | None = None
    step_run: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The step runs that a run would make, each with its reason."""

    pipeline: str
    steps: tuple[PlannedStep, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


# --- runs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepRun:
    """What happened to one step in one run.

    Attributes:
        id: unique; sorts by time.
        code: digest over the step's code parts, under which facts are kept.
        inputs: name → fingerprint of the artifact that it started from.
        providers: name → step that provided it.
        producer: for ``CACHED``: id of the executed step run whose artifacts are used.
        started, ended: seconds since the epoch, UTC.
        notebook: path of the executed notebook, relative to the project's ``.cellway``.
        error: JSON-like ``{kind, message, ename, evalue, traceback, cell, line, name, fix}`` where it failed.
        hermetic: what it touched beyond files: ``network``, ``subprocess``.
        environment: distribution → version, of what the step's imports reached.
        watched: names of whom it is known whether the step changed them (``request.json``'s ``watch``); a name that a
            later step begins to read, and that was not watched, makes the step run again.
        written: files that it made, changed or removed, with digests at its end (``""``: it is gone).
    """

    id: str
    run: str
    step: str
    status: Status
    key: Key | None = None
    code: str = ""
    reason: str = ""
    changes: tuple[Change, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    files: tuple[FileRead, ...] = ()
    facts: Facts = Facts()
    producer: str | None = None
    attempt: int = 1
    started: float | None = None
    ended: float | None = None
    notebook: str | None = None
    error: Mapping[str, Any] | None = None
    touched: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    watched: tuple[str, ...] = ()
    written: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a pipeline.

    Attributes:
        options: how it was called (``jobs``, ``only`` …), so that ``--resume`` continues it in the same way.
        host, pid: the process that runs it; a ``RUNNING`` run whose process is gone can be resumed.
    """

    id: str
    pipeline: str
    source: str
    status: Status
    parameters: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    started: float = 0.0
    ended: float | None = None
    host: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run, as :func:`cellway.execution.run` yields it.

    Attributes:
        kind: ``run-started``, ``step-waiting`` (another run computes it, or an earlier step may still
            write the file that it failed without), ``step-started``, ``cell`` (progress within a
            step: ``data = {"cell": i, "cells": n}``), ``output`` (``data = {"stream": "stdout", "text": …}``),
            ``step-retry``,
            ``step-finished``, ``step-outdated`` (started from a value that another step then changed; it runs again),
            ``run-finished``.
    """

    kind: str
    time: float
    run: Run
    step: str | None = None
    step_run: StepRun | None = None
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
