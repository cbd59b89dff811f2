"""What planning needs to know about the world: project, cache, interpreter, parameter values, selection."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cellway.planning.files import Files, Stats
from cellway.planning.modules import Modules

if TYPE_CHECKING:
    from cellway.planning.environment import Environment
    from cellway.records import Facts, StepRun


class Candidate(Protocol):
    """As much of an executed step run as it takes to see whether it can be reused."""

    @property
    def id(self) -> str:
        """Of the step run."""

    @property
    def artifacts(self) -> Sequence[tuple[str, str, str]]:
        """``(name, fingerprint, digest)`` of each."""

    @property
    def files(self) -> Sequence[Sequence[Any]]:
        """``(path, digest, declared)`` of each file that it read."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Distribution → version, as seen when it ran."""

    @property
    def watched(self) -> Sequence[str]:
        """Names of whom it is known whether it changed them."""

    @property
    def draws(self) -> bool | None:
        """Whether it used the global random generators."""

    @property
    def seconds(self) -> float | None:
        """How long it took."""

    @property
    def written(self) -> Sequence[Sequence[str]]:
        """``(path, digest)`` of each file that it made, changed or removed."""


class Cache(Stats, Protocol):
    """What planning asks of the ledger."""

    def lookup(self, key_digest: str, /) -> Sequence[Candidate]:
        """Executed, completed step runs with this key, newest first."""

    def facts(self, code_digests: Sequence[str], /) -> Mapping[str, Facts]:
        """What executions of these codes showed; no entry for a code that was never executed."""

    def last(self, source: str, steps: Iterable[str], /) -> Mapping[str, StepRun]:
        """The step run that each step of a notebook showed last."""

    def source(self, fingerprint: str, /) -> str | None:
        """Text of a piece of code of an earlier run."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which steps a run is about; all of them if nothing is said.

    Attributes:
        only: exactly these.
        from_: these, and what comes after them by data or ``--after``.
        until: these, and what comes before them.
        force: these run again, whatever the cache has; ``"*"`` stands for all.
    """

    only: tuple[str, ...] = ()
    from_: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    force: tuple[str, ...] = ()


@dataclass(slots=True)
class Context:
    """The world in which a pipeline is planned; made once per run.

    Attributes:
        root: the project's folder, absolute.
        source: path of the notebook, under which the ledger keeps its runs.
        cache: the ledger.
        has: whether the store has a blob.
        parameters: value of every parameter, as :func:`cellway.parameters.check` gives them.
        kernel: name of the pipeline's kernelspec.
        language: of the pipeline.
        seed: the pipeline's seed.
        selection: which steps.
        home: the project's ``.cellway`` folder (``None``: below ``root``); what is known of interpreters is kept there.
        interpreter: path of the Python that runs the steps; found through the kernelspec if it is ``None``.
        workdir: folder where relative paths begin, absolute; that of the source if it is ``None``.
        modules_first: folder of modules that steps find before all others (those that travel with a converted folder).
    """

    root: str
    source: str
    cache: Cache
    has: Callable[[str], bool]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    kernel: str | None = None
    language: str = "python"
    seed: int = 0
    selection: Selection = Selection()
    home: str | None = None
    interpreter: str | None = None
    workdir: str | None = None
    modules_first: str | None = None
    files: Files = field(init=False)
    modules: Modules = field(init=False)
    environments: dict[str | None, Environment] = field(init=False, default_factory=dict)
    memo: dict[Any, Any] = field(init=False, default_factory=dict)
    """What was worked out since the last :meth:`refresh`."""

    def __post_init__(self) -> None:
        self.root = os.path.abspath(self.root)
        if self.home is None:
            self.home = os.path.join(self.root, ".cellway")
        self.files = Files(self.cache, self.root, self.folder)
        self.modules = Modules(self.files)

    @property
    def folder(self) -> str:
        """Of the notebook: where its relative paths begin, and where its kernel starts."""
        return self.workdir or os.path.dirname(os.path.join(self.root, self.source))

    @property
    def module_folders(self) -> tuple[str, ...]:
        """Folders whose modules belong to the project, in the order in which steps search them."""
        first = (self.modules_first,) if self.modules_first else ()
        return tuple(dict.fromkeys((*first, self.folder, self.root)))

    def environment(self, kernel: str | None) -> Environment:
        """Of the interpreter that a kernelspec starts.

        Raises:
            UsageError: there is no such kernelspec, or its interpreter does not start.
        """
        if kernel not in self.environments:
            from cellway.planning import environment

            python = self.interpreter if self.interpreter and kernel == self.kernel else None
            found = python or environment.interpreter(kernel)
            self.environments[kernel] = environment.load(found, os.path.join(str(self.home), "cache"))
        return self.environments[kernel]

    def refresh(self) -> None:
        """Look at files anew: a step that ran meanwhile may have written some."""
        self.memo.clear()
        self.files.refresh()

    def looked_at(self) -> set[str]:
        """Files and folders that decided what was planned: as long as none of them moves, the plan stays the same."""
        from cellway.planning.environment import specifications

        found = {self.folder, self.root, *self.files.looked_at}
        # A new file beside a module may be found before it.
        found.update(os.path.dirname(path) for path in self.files.looked_at if path.endswith(".py"))
        for kernel, installed in self.environments.items():
            found.update(installed.paths, specifications(kernel))
        return found

    def close(self) -> None:
        """Keep the digests of files that were read, so that the next plan need not read them."""
        self.files.flush()
