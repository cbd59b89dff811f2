"""Keeping a project in order: what can be deleted, and what is missing or broken."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellway.errors import CellwayError
from cellway.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellway.project import Project

_SETTLING = 3600.0
"""Seconds for which a blob that no run refers to is left alone: a run may be about to record it."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What ``cellway gc`` deleted, or would delete.

    Attributes:
        blobs, bytes: stored values and their size.
        step_runs: executed step runs whose results are gone, so that their steps run again.
        folders: left-over working folders and executed notebooks of runs that nobody needs.
    """

    blobs: int
    bytes: int
    step_runs: int
    folders: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``cellway doctor``.

    Attributes:
        level: ``ok``, ``note``, ``warning`` or ``error``.
        fix: what to do, for anything but ``ok``.
    """

    level: str
    what: str
    detail: str
    fix: str = ""


def collect(project: Project, older_than: float | None, max_size: int | None, dry_run: bool) -> Collected:
    """Delete blobs that nothing refers to; of the others, the ones not used for longest, as far as asked."""
    now = time.time()
    used = dict(project.ledger.live_blobs())
    present = {digest: (size, modified) for digest, size, modified in project.store.list()}
    doomed = {digest for digest, (_, modified) in present.items() if digest not in used and now - modified > _SETTLING}
    if older_than is not None:
        doomed |= {digest for digest in present if digest in used and now - used[digest] > older_than}
    if max_size is not None:
        kept = sorted((digest for digest in present if digest not in doomed), key=lambda d: used.get(d, now))
        total = sum(present[digest][0] for digest in kept)
        for digest in kept:
            if total <= max_size:
                break
            if digest in used:
                doomed.add(digest)
                total -= present[digest][0]
    lost = {
        produced.step_run
        for produced in project.ledger.artifacts(limit=sys.maxsize >> 1)
        if produced.artifact.digest in doomed
    }
    folders = _left_overs(project, now)
    freed = sum(present[digest][0] for digest in doomed)
    if not dry_run:
        # First the record, then the bytes: a run in between computes again rather than miss a blob.
        project.ledger.forget(*sorted(lost))
        for digest in doomed:
            project.store.delete(digest)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    return Collected(len(doomed), freed, len(lost), len(folders))


def _left_overs(project: Project, now: float) -> list[Path]:
    """Working folders of step runs that are long over (a killed process leaves one behind)."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        running = {run.id for run in project.ledger.runs(1000, 0, Status.RUNNING)}
        old = (f for f in (project.state / "tmp").iterdir() if now - f.stat().st_mtime > _SETTLING)
        found.extend(folder for folder in old if not running)
    return found


def examine(project: Project) -> tuple[Finding, ...]:
    """Look at interpreter, kernels, project folder, ledger, store and runs."""
    return (
        Finding("ok", "python", f"{sys.version.split()[0]} at {sys.executable}"),
        *_packages(),
        *_kernels(project),
        *_folder(project),
        *_record(project),
    )


def _packages() -> list[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("papermill", "ipykernel", "nbclient", "pyarrow", "cloudpickle", "blake3"):
        try:
            found.append(Finding("ok", name, version(name)))
        except PackageNotFoundError:
            found.append(Finding("error", name, "not installed", f"pip install {name}"))
    return found


def _kernels(project: Project) -> list[Finding]:
    from jupyter_client.kernelspec import KernelSpecManager

    from cellway.planning import environment

    wanted = project.settings.kernel
    specs = KernelSpecManager().find_kernel_specs()
    if wanted not in specs:
        fix = f"python -m ipykernel install --user --name {wanted}"
        return [Finding("error", "kernel", f"there is no kernel {wanted}; installed: {', '.join(specs)}", fix)]
    try:
        return [Finding("ok", "kernel", f"{wanted}: {environment.interpreter(wanted)}")]
    except CellwayError as error:
        return [Finding("error", "kernel", f"{wanted}: {error.message}", error.fix)]


def _folder(project: Project) -> list[Finding]:
    if not project.state.is_dir():
        return [Finding("note", "project", f"{project.root} (nothing was run here yet)", "cellway run NOTEBOOK")]
    found = [Finding("ok", "project", str(project.root))]
    if not os.access(project.state, os.W_OK):
        found.append(Finding("error", "project", f"{project.state} is not writable", "check its permissions"))
    free = shutil.disk_usage(project.state).free
    level = "ok" if free > 1 << 30 else "warning"
    found.append(Finding(level, "disk", f"{free / 2**30:.1f} GiB free", "" if level == "ok" else "cellway gc"))
    return found


def _damaged(project: Project, digests: Iterable[str]) -> list[str]:
    """Paths of stored values whose bytes are not those that were written."""
    verify = getattr(project.store, "verify", None)
    if verify is None:
        return []
    found = []
    for digest in digests:
        try:
            verify(digest)
        except CellwayError:
            with contextlib.suppress(CellwayError):  # gone in between
                found.append(os.path.relpath(project.store.path(digest), os.getcwd()))
    return found


def _record(project: Project) -> list[Finding]:
    try:
        runs = project.ledger.runs(1000)
        used = project.ledger.live_blobs()
    except CellwayError as error:
        return [Finding("error", "ledger", error.message, error.fix)]
    if not runs:
        return []
    found = [Finding("ok", "ledger", f"{len(runs)} runs")]
    stored = {digest: size for digest, size, _ in project.store.list()}
    missing = [digest for digest in used if digest not in stored]
    size = sum(stored.values()) / 2**20
    if missing:
        fix = "nothing to do: their steps run again when needed"
        found.append(Finding("warning", "store", f"{len(missing)} stored values are missing", fix))
    damaged = _damaged(project, stored)
    if damaged:
        what = "stored value is" if len(damaged) == 1 else "stored values are"
        fix = f"rm {' '.join(damaged)}"
        found.append(Finding("error", "store", f"{len(damaged)} {what} damaged: the steps run again without", fix))
    found.append(Finding("ok", "store", f"{len(stored)} values, {size:.1f} MiB"))
    interrupted = [run.id for run in runs if run.status is Status.CANCELLED and run.ended is None]
    if interrupted:
        detail = f"run {interrupted[0]} was interrupted" + (
            f" ({len(interrupted)} in all)" if len(interrupted) > 1 else ""
        )
        found.append(Finding("note", "runs", detail, f"cellway run --resume {interrupted[0]}"))
    return found
