"""The hand-over folder, in its two forms.

``request.json`` is there: ``cellway run`` started the step, says where the inputs are, and takes the results from
``out/`` and ``result.json``. It is not: a person, papermill or another scheduler runs the notebook, and
``index.json`` has the latest value of each name.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cellway.errors import StoreError, UsageError

RANDOM = "__random__"
"""As in :mod:`cellway.records`, whose import would cost every step some twenty milliseconds."""

Entry = dict[str, Any]
"""An artifact as JSON: the fields of :class:`cellway.records.Artifact`, and ``path`` of its blob."""


@dataclass
class Request:
    """What a step is asked to do; the fields of ``request.json``, or what ``begin`` was called with."""

    step: str
    root: str | None = None
    workdir: str | None = None
    inputs: dict[str, Entry] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()
    """Outputs that are there only if something that the step reads shares objects with them."""
    optional: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    seed: int | None = None
    random: Entry | None = None
    draws: bool = False
    optional_limit: int = 32 << 20
    project_modules: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    sign_key: str | None = None
    materializers: tuple[str, ...] = ()
    """Plug-ins as ``module:attribute``, asked before the built-in materializers."""
    current: dict[str, str] | None = None
    """Fingerprint of the value that each name has when the step starts, where it has one."""


class RequestFolder:
    """The folder of a step that ``cellway run`` started."""

    def __init__(self, path: str, content: Mapping[str, Any]) -> None:
        self.path = path
        self.out = os.path.join(path, "out")
        os.makedirs(self.out, exist_ok=True)
        self._content = content

    def request(self, _: Request) -> Request:
        """The request; what stands in the notebook does not count."""
        content = self._content
        if content.get("format") != 1:
            raise StoreError(
                f"{self.path} was written by another version of cellway",
                fix="use the same version of cellway in the kernel and on the command line",
            )
        random = content.get("random") or {}
        lists = ("outputs", "perhaps", "optional", "watch", "later", "project_modules", "declared", "materializers")
        return Request(
            step=content["step"],
            root=content.get("root"),
            workdir=content.get("workdir"),
            inputs=dict(content.get("inputs") or {}),
            seed=random.get("seed"),
            random=random.get("input"),
            draws=bool(content.get("draws")),
            optional_limit=int(content.get("optional_limit", 32 << 20)),
            sign_key=content.get("sign_key"),
            current=content.get("current"),
            **{name: tuple(content.get(name) or ()) for name in lists},
        )

    def name_blob(self, path: str, _: Sequence[str], __: str) -> str:
        """Blobs keep the name of their digest."""
        return os.path.join("out", os.path.basename(path))

    def finish(self, result: Mapping[str, Any], _: Sequence[Entry]) -> None:
        """Write ``result.json``, last and in one piece."""
        _write(os.path.join(self.path, "result.json"), result)


class PlainFolder:
    """The folder of notebooks that are run by hand or by another scheduler."""

    def __init__(self, path: str) -> None:
        self.path = path
        # Of its own: two steps at once may write equal bytes, and each moves its file away.
        self.out = os.path.join(path, f".new-{os.getpid()}")
        try:
            os.makedirs(self.out, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the folder {path!r} for inputs and outputs cannot be made: {error.strerror}",
                name="handover",
                fix="set the parameter `handover` to a folder that can be written",
            ) from error

    def request(self, asked: Request) -> Request:
        """What ``begin`` was called with, and the latest value of each name as inputs."""
        index = self._index()
        inputs = {name: {**entry, "path": os.path.join(self.path, entry["path"])} for name, entry in index.items()}
        asked.random = inputs.pop(RANDOM, None) if asked.draws else None
        asked.inputs = inputs
        asked.current = {name: entry["fingerprint"] for name, entry in inputs.items()}
        return asked

    def name_blob(self, path: str, names: Sequence[str], digest: str) -> str:
        """``features-0123456789ab.arrow``: a person looks into this folder."""
        suffix = os.path.splitext(path)[1]
        name = f"{'+'.join(names)[:80]}-{digest[:12]}{suffix}"
        os.replace(path, os.path.join(self.path, name))
        return name

    def finish(self, _: Mapping[str, Any], artifacts: Sequence[Entry]) -> None:
        """Enter the new values into the index, and remove the files that nothing refers to any more."""
        shutil.rmtree(self.out, ignore_errors=True)
        with _locked(os.path.join(self.path, ".lock")):
            index = self._index()
            before = {entry["path"] for entry in index.values()}
            for entry in artifacts:
                index[entry["name"]] = {
                    **entry,
                    "path": os.path.relpath(os.path.join(self.path, entry["path"]), self.path),
                }
            _write(os.path.join(self.path, "index.json"), index)
            for path in before - {entry["path"] for entry in index.values()}:
                with contextlib.suppress(OSError):  # Windows: still mapped by a kernel
                    os.unlink(os.path.join(self.path, path))

    def _index(self) -> dict[str, Entry]:
        path = os.path.join(self.path, "index.json")
        try:
            with open(path, encoding="utf-8") as file:
                index = json.load(file)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise StoreError(f"{path} is damaged: {error}", fix="delete the folder and run the steps again") from error
        return dict(index)


def open_folder(path: str) -> RequestFolder | PlainFolder:
    """The hand-over folder at a path, in the form that it has."""
    path = os.path.abspath(path)
    try:
        with open(os.path.join(path, "request.json"), encoding="utf-8") as file:
            return RequestFolder(path, json.load(file))
    except FileNotFoundError:
        return PlainFolder(path)


def _write(path: str, content: Any) -> None:
    temporary = f"{path}.{secrets.token_hex(6)}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise StoreError(
                f"{path} cannot be written: {error.strerror}", fix="free some space or check the permissions"
            ) from error
        raise


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """One writer of the index at a time: a scheduler may run two steps side by side."""
    with open(path, "a+b") as file:
        try:
            import fcntl
        except ImportError:
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back
