"""The folder through which a step's kernel is told (``request.json``) and tells back (``out/``, ``result.json``).

The other side is ``cellway_magics.artifacts``. The kernel writes ``result.json`` last and atomically: when it is there,
all it names is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cellway import fingerprint
from cellway.errors import StepError, StoreError
from cellway.ledger import processes
from cellway.records import Artifact, Facts, FileRead

FORMAT = 1
OPTIONAL_LIMIT = 32 << 20
"""Bytes up to which an output that no later step reads is kept."""

_ARTIFACT = ("name", "fingerprint", "digest", "materializer", "size", "type", "member", "sidecar")

_MANY = 100
"""Files of one folder beyond which a fact names the folder."""

_ABANDONED = 3600.0
"""Seconds after which a hand-over folder without a request is nobody's."""


class Store(Protocol):
    """What execution needs of a store (:mod:`cellway.stores`)."""

    def has(self, digest: str, /) -> bool:
        """Whether a blob is there."""

    def path(self, digest: str, /) -> str:
        """A readable local file with a blob."""

    def adopt(self, path: str, digest: str, /) -> None:
        """Take a finished file over as a blob."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a step's kernel is told; ``request.json`` with the same names.

    Attributes:
        inputs: name → artifact to load.
        outputs: names that must be stored.
        perhaps: outputs that the step does not name: it changed them once, through what it reads.
        optional: names that are stored if they are small.
        watch: names whose change is looked for at the end.
        later: names that later steps read.
        random: ``{"seed": int}``, ``{"input": artifact}`` or ``None``: leave the generators as the code sets them.
        draws: whether the generators' state at the end is an output, if they were used.
        project_modules: folders whose modules belong to the project.
        declared: files and globs of ``--reads``.
        sign_key: key with which pickles are signed, in hexadecimal.
        materializers: plug-ins as ``module:attribute``, asked before the built-in ones.
        current: fingerprint of the value that each name has when the step starts.
    """

    step: str
    run: str
    step_run: str
    root: str
    workdir: str
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    random: Mapping[str, Any] | None = None
    draws: bool = False
    project_modules: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    sign_key: str | None = None
    materializers: tuple[str, ...] = ()
    current: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What a step's kernel told at its end.

    Attributes:
        artifacts: by name, all of them in the store by now.
        error: ``{kind, name, message, fix}`` if an output could not be stored.
        skipped: ``{name, why}`` of optional outputs that were not kept.
        written: files that it made, changed or removed.
        added: paths among ``written`` whose former content was kept.
        imported: project modules that it imported.
    """

    artifacts: tuple[Artifact, ...]
    facts: Facts
    files: tuple[FileRead, ...] = ()
    touched: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[Mapping[str, str], ...] = ()
    error: Mapping[str, Any] | None = None
    written: tuple[FileRead, ...] = ()
    imported: tuple[FileRead, ...] = ()
    added: frozenset[str] = frozenset()


def write(folder: Path, request: Request, store: Store) -> None:
    """Make the hand-over folder of one step run.

    Raises:
        StoreError: an input is missing from the store, or the folder cannot be written.
    """
    random = request.random
    if random is not None and "input" in random:
        random = {**random, "input": _with_path(random["input"], store)}
    said = {
        "format": FORMAT,
        "step": request.step,
        "run": request.run,
        "step_run": request.step_run,
        "root": request.root,
        "workdir": request.workdir,
        "inputs": {name: _with_path(artifact, store) for name, artifact in request.inputs.items()},
        "outputs": list(request.outputs),
        "perhaps": list(request.perhaps),
        "optional": list(request.optional),
        "watch": list(request.watch),
        "later": list(request.later),
        "random": random,
        "draws": request.draws,
        "optional_limit": OPTIONAL_LIMIT,
        "project_modules": list(request.project_modules),
        "declared": list(request.declared),
        "sign_key": request.sign_key,
        "materializers": list(request.materializers),
        "current": dict(request.current),
        "owner": [processes.host(), os.getpid(), processes.born(os.getpid())],
    }
    try:
        folder.mkdir(parents=True, mode=0o700)
        (folder / "out").mkdir()
        (folder / "request.json").write_text(json.dumps(said, ensure_ascii=True), "utf-8")
    except OSError as error:
        raise cannot_write(folder, error) from error


def read(folder: Path, root: Path, store: Store) -> Result | None:
    """What the kernel left, with its blobs moved into the store.

    Args:
        folder: the hand-over folder.
        root: of the project; files inside it are recorded relative to it.
        store: where the blobs go.

    Returns:
        ``None`` if the kernel did not come so far as to write a result.

    Raises:
        StepError: the result is of a format that this cellway does not know.
        StoreError: a blob cannot be taken over.
    """
    try:
        said = json.loads((folder / "result.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StepError(f"the step's result cannot be read: {error}") from error
    if said.get("format") != FORMAT:
        raise StepError(
            f"the step's kernel handed over format {said.get('format')!r}, not {FORMAT}",
            fix="install the same version of cellway in the kernel's environment",
        )
    blobs = {artifact["digest"]: artifact["path"] for artifact in said.get("artifacts", ()) if artifact.get("path")}
    for digest, path in blobs.items():
        store.adopt(str(folder / path), digest)
    files, imported, written = (_files(said.get(kind, ()), root) for kind in ("files", "imported", "written"))
    return Result(
        artifacts=tuple(
            Artifact(**{key: artifact[key] for key in _ARTIFACT if key in artifact})
            for artifact in said.get("artifacts", ())
        ),
        facts=Facts(
            changed=tuple(said.get("changed", ())),
            draws=said.get("drew"),
            wrote=_condensed(written),
            read=_condensed((*files, *imported)),
        ),
        files=files,
        touched=tuple(said.get("touched", ())),
        environment=said.get("environment", {}),
        skipped=tuple(said.get("skipped", ())),
        error=said.get("error"),
        written=written,
        imported=imported,
        added=frozenset(relative(file["path"], root) for file in said.get("written", ()) if file.get("added")),
    )


def _files(said: Iterable[Mapping[str, Any]], root: Path) -> tuple[FileRead, ...]:
    return tuple(
        FileRead(
            relative(file["path"], root) + ("/" if fingerprint.listed(file["digest"]) else ""),
            file["digest"],
            bool(file.get("declared")),
        )
        for file in said
    )


def _condensed(files: Iterable[FileRead]) -> tuple[str, ...]:
    """Paths as facts: of a folder from which there are very many, the folder."""
    folders: dict[str, list[str]] = {}
    for file in files:
        folders.setdefault(file.path.rpartition("/")[0], []).append(file.path)
    found: list[str] = []
    for folder, paths in folders.items():
        found += [f"{folder}/"] if folder and len(paths) > _MANY else paths
    return tuple(sorted(dict.fromkeys(found)))


def sweep(folder: Path) -> None:
    """Remove hand-over folders that were left behind by processes which were killed."""
    with contextlib.suppress(OSError):
        for left in list(folder.iterdir()):
            try:
                owner = json.loads((left / "request.json").read_text("utf-8"))["owner"]
                dead = not processes.alive(*owner)
            except (OSError, ValueError, KeyError, TypeError):
                # Its maker is just about to write the request, or was killed before it could.
                dead = time.time() - left.stat().st_mtime > _ABANDONED
            if dead:
                shutil.rmtree(left, ignore_errors=True)


def relative(path: str, root: Path) -> str:
    """A path relative to the project if it lies inside, with ``/`` on every system; else as it is."""
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        pass
    inside = os.path.realpath(path).removeprefix(os.path.realpath(root) + os.sep)
    return path if os.path.isabs(inside) else Path(inside).as_posix()


def cannot_write(path: Path, error: OSError) -> StoreError:
    """Words for a folder of the project that cannot be written."""
    return StoreError(
        f"{path.name} cannot be written: {error.strerror or error}",
        name=str(path),
        fix="make room on the disk (cellway gc), or look at the folder's permissions",
    )


def _with_path(artifact: Artifact, store: Store) -> dict[str, Any]:
    said: dict[str, Any] = {key: getattr(artifact, key) for key in _ARTIFACT}
    said["sidecar"] = dict(artifact.sidecar)
    said["path"] = store.path(artifact.digest)
    return said


def missing(names: Sequence[str], result: Result) -> tuple[str, ...]:
    """Names that were asked for and are not among the artifacts."""
    there = {artifact.name for artifact in result.artifacts}
    return tuple(name for name in names if name not in there)
