"""What a look into the ledger gives, beside the records themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cellway.records import Artifact


class Candidate(NamedTuple):
    """As much of an executed step run as it takes to see whether it can be reused.

    Attributes:
        id: of the step run.
        artifacts: ``(name, fingerprint, digest)`` of each.
        files: ``(path, digest, declared)`` of each file that it read.
        environment: distribution → version.
        watched: see :class:`~cellway.records.StepRun`.
        draws: whether it used the global random generators.
        ended: seconds since the epoch.
        seconds: how long it took.
        written: ``(path, digest)`` of each file that it made, changed or removed.
    """

    id: str
    artifacts: list[tuple[str, str, str]]
    files: Sequence[Sequence[Any]]
    environment: Mapping[str, str]
    watched: Sequence[str]
    draws: bool | None
    ended: float | None
    seconds: float | None
    written: Sequence[Sequence[str]] = ()


class Produced(NamedTuple):
    """An artifact, and where it comes from.

    Attributes:
        step_run: id of the executed step run.
        run: id of the run that was asked for, or of the run that executed the step.
        source: path of the notebook.
        time: when it was made, seconds since the epoch.
    """

    artifact: Artifact
    step: str
    run: str
    step_run: str
    source: str
    time: float
