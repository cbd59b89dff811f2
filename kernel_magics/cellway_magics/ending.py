"""What is stored when a step ends: its outputs, what it changed besides, and what shares objects with those."""

from __future__ import annotations

import os
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cellway.errors import CannotStore, CellwayError, StoreError
from cellway.fingerprint import APART
from cellway.materializers import Blob, Materializer, artifact_fingerprint, by_name, probe, write, write_with
from cellway.materializers.sidecar import type_name
from cellway_magics.folder import Entry, PlainFolder, Request, RequestFolder
from cellway_magics.sharing import Graph, groups

_TRIED = 1 << 20
"""Bytes up to which a pickle is loaded for a trial when it has been written."""


@dataclass
class Loaded:
    """A value as it was when the step's own cells began.

    Attributes:
        entry: the artifact that it came from; ``None`` for a carried constant.
        digest: for a carried constant: its essence.
    """

    value: Any
    entry: Entry | None
    digest: tuple[str, str] | None = None


class Origin(Protocol):
    """What an ending needs to know of the session: where values came from, and where they go."""

    folder: RequestFolder | PlainFolder
    request: Request
    extra: tuple[Materializer, ...]
    inputs: dict[str, Loaded]
    companions: dict[str, Loaded]

    def probe(self, value: Any) -> tuple[str, str] | None:
        """Materializer and digest that storing a value would give; ``None`` if it cannot be stored."""

    def essence(self, value: Any) -> tuple[str, str] | None:
        """Materializer and digest of what a value is, equal before and after a round trip."""

    def read_blob(self, name: str, entry: Entry) -> Any:
        """Read a whole blob anew."""

    def sidecar(self, value: Any, blob: Blob) -> dict[str, Any]:
        """Sidecar of a value."""


class Ending:
    """Works through what a step leaves behind.

    Args:
        session: where values came from.
        namespace: the notebook's.
        outputs: names that must be stored.

    Attributes:
        artifacts: what was stored, or passes through unchanged (``path`` is ``None`` then: it is in the store).
        changed: names beyond the outputs that had to be stored anew.
        skipped: optional names that were not stored, with the reason.
        error: the first required value that could not be stored.
    """

    def __init__(self, session: Origin, namespace: Mapping[str, Any], outputs: Sequence[str]) -> None:
        self._session = session
        self._request = session.request
        self._namespace = namespace
        self._outputs = outputs
        self.artifacts: list[Entry] = []
        self.changed: list[str] = []
        self.skipped: list[dict[str, str]] = []
        self.error: CellwayError | None = None

    def fail(self, error: CellwayError) -> None:
        """Remember the first error; the rest is stored all the same."""
        if self.error is None:
            self.error = error

    def required(self) -> None:
        """Outputs, watched names that changed, and what shares objects with them."""
        values: dict[str, Any] = {}
        for name in self._outputs:
            if name in self._namespace:
                values[name] = self._namespace[name]
            elif name not in self._request.perhaps:
                self.fail(_unbound(name, self._request.step))
        for name in self._request.watch:
            if name in self._namespace:
                values.setdefault(name, self._namespace[name])
        for name, loaded in self._session.inputs.items():
            # Whoever reads from an iterator moves it, and be it by `for` or `list()`.
            moves = name in self._request.later and hasattr(type(loaded.value), "__next__")
            if moves and self._namespace.get(name) is loaded.value:
                values.setdefault(name, loaded.value)
        for name, loaded in self._session.companions.items():
            if name in self._request.perhaps and name not in self._namespace:
                values.setdefault(name, loaded.value)
        kept = {name for name in values if self._unchanged(name, values[name])}
        graphs = {name: Graph(value) for name, value in values.items()}
        if any(not graph.inert for name, graph in graphs.items() if name not in kept):
            for name, value in self._bystanders().items():
                if name not in values:
                    values[name] = value
                    graphs[name] = Graph(value)
                    kept.add(name)
        for group in groups(graphs):
            self._store_group(group, values, graphs, kept)

    def _store_group(self, group: list[str], values: dict[str, Any], graphs: dict[str, Graph], kept: set[str]) -> None:
        if kept.issuperset(group):
            self.artifacts += [self._as_before(name) for name in group if name in self._outputs]
            return
        group = sorted(group)
        if len(group) > 1:
            try:
                self._write(group, {name: values[name] for name in group})
            except CannotStore:
                # One of them is the reason. The others are kept, as far as they go together.
                sound = []
                for name in group:
                    try:
                        probe(values[name], self._session.extra)
                        sound.append(name)
                    except CannotStore as error:
                        self._cannot(name, values[name], graphs[name], error)
                if sound and len(sound) < len(group):
                    for rest in groups({name: graphs[name] for name in sound}):
                        self._store_group(rest, values, graphs, kept)
                elif sound:
                    raise
            else:
                self.changed += [name for name in group if name not in self._outputs]
            return
        (name,) = group
        try:
            self.write_one(name, values[name])
        except CannotStore as error:
            self._cannot(name, values[name], graphs[name], error)
        else:
            self.changed += [name] if name not in self._outputs else []

    def optional(self) -> None:
        """Small values that no later step needs, to look at; never a reason to fail."""
        single: dict[str, Entry] = {}
        for name in self._request.optional:
            if (
                name in self._outputs
                or name not in self._namespace
                or any(entry["name"] == name for entry in self.artifacts)
            ):
                continue
            value = self._namespace[name]
            if isinstance(value, (types.ModuleType, types.FunctionType, type)) or _is_axes(value):
                continue
            try:
                self.write_one(name, value, self._request.optional_limit)
            except CannotStore as error:
                self.skipped.append({"name": name, "why": error.message})
            else:
                single[name] = self.artifacts[-1]
        for name in self._shared(single):
            single[name]["fingerprint"] += APART

    def _shared(self, names: Iterable[str]) -> list[str]:
        """Those of the names whose value shares objects with another one that a step may start from."""
        graphs = {name: Graph(self._namespace[name]) for name in names}
        graphs = {name: graph for name, graph in graphs.items() if not graph.inert}
        if not graphs:
            return []
        others: dict[str, Any] = {name: self._namespace[name] for name in self._outputs if name in self._namespace}
        for name, loaded in (*self._session.inputs.items(), *self._session.companions.items()):
            others.setdefault(f"{name} (before)" if name in graphs else name, loaded.value)
        graphs |= {name: Graph(value) for name, value in others.items() if name not in graphs}
        return [name for group in groups(graphs) if len(group) > 1 for name in group if name in names]

    def write_one(self, name: str, value: Any, limit: int | None = None) -> None:
        """Store a value by itself."""
        if isinstance(value, types.ModuleType):
            raise CannotStore("a module")
        session = self._session
        blob = write(value, session.folder.out, session.extra, limit)
        self._try(blob)
        self._enter([name], {name: value}, blob, bundle=False)

    def _write(self, group: list[str], values: dict[str, Any]) -> None:
        """Store values as a bundle: one pickle of a dictionary, in which an alias stays an alias."""
        pickled = by_name("pickle")
        blob = write_with(pickled, values, self._session.folder.out)
        self._try(blob)
        self._enter(group, values, blob, bundle=True)

    def _try(self, blob: Blob) -> None:
        """Load a small pickle once: some objects (exceptions with arguments of their own) come apart but not together.

        Raises:
            CannotStore: it could be written, but not be read.
        """
        if blob.materializer != "pickle" or blob.size > _TRIED:
            return
        try:
            by_name("pickle").read(blob.path)
        except Exception as error:
            os.unlink(blob.path)
            raise CannotStore(f"loading it again fails: {error}") from error

    def _enter(self, names: list[str], values: dict[str, Any], blob: Blob, *, bundle: bool) -> None:
        session = self._session
        path = session.folder.name_blob(blob.path, names, blob.digest)
        for name in names:
            member = name if bundle else None
            self.artifacts.append({
                "name": name,
                "fingerprint": artifact_fingerprint(blob.materializer, blob.digest, member),
                "digest": blob.digest,
                "materializer": blob.materializer,
                "size": blob.size,
                "type": type_name(values[name]),
                "member": member,
                "sidecar": session.sidecar(values[name], blob),
                "path": path,
            })  # fmt: skip

    def _as_before(self, name: str) -> Entry:
        """The artifact of an input that passes through unchanged: its blob is in the store already."""
        entry = self._session.inputs[name].entry
        assert entry is not None
        return {**entry, "name": name, "path": None}

    def _unchanged(self, name: str, value: Any) -> bool:
        """Whether a name still has the value that it was loaded with."""
        loaded = self._session.inputs.get(name)
        if loaded is None:
            return False
        if loaded.entry is None:
            now = self._session.essence(value)
            return now is not None and now == loaded.digest and name not in self._outputs
        entry = loaded.entry
        member = entry.get("member")
        if member is None and self._session.probe(value) == (entry["materializer"], entry["digest"]):
            return True
        # The bytes may differ though the value does not (an estimator after a round trip): what is the original here?
        try:
            original = self._session.read_blob(name, entry)
        except StoreError:
            return False
        before = self._session.essence(original if member is None else original[member])
        return before is not None and self._session.essence(value) == before

    def _bystanders(self) -> dict[str, Any]:
        """Values that came in and are still what their name means.

        Not only those that later steps read: a step may be added that does.
        """
        session, found = self._session, {}
        for name, loaded in (*session.inputs.items(), *session.companions.items()):
            if name not in self._namespace or self._namespace[name] is loaded.value:
                found[name] = loaded.value
        return found

    def _cannot(self, name: str, value: Any, graph: Graph, error: CannotStore) -> None:
        self.fail(_cannot_store(name, value, graph, error, self._request.step))


def _is_axes(value: Any) -> bool:
    """Whether it is a part of a matplotlib figure, which would bring the whole figure along once more."""
    return type(value).__module__.startswith("matplotlib.axes")


def _unbound(name: str, step: str) -> CannotStore:
    return CannotStore(
        f"`{name}` is not bound at the end of step {step}, and a later step reads it",
        name=name,
        fix=f"assign `{name}` on every path through the step, or `del` it nowhere",
    )


_WAYS_OUT = (
    ("module", "import it in the steps that use it: imports at the top of a cell are carried along"),
    ("generator", "make a list of it, or make it in the step that goes through it"),
    ("open file", "keep the path, and open the file in the step that reads it"),
    ("_io.", "keep the path, and open the file in the step that reads it"),
    ("onnection", "keep what it takes to connect, and connect in the step that uses it"),
    ("ursor", "fetch the rows into a table, or query in the step that uses them"),
    ("socket", "keep the address, and connect in the step that uses it"),
    ("lock", "make it in the step that uses it"),
    ("Thread", "wait for it, and keep its result"),
    ("cloudpickle", "install cloudpickle in the kernel's environment"),
)


def _cannot_store(name: str, value: Any, graph: Graph, error: CannotStore, step: str) -> CannotStore:
    kind = type_name(value)
    inner = next((culprit for culprit in graph.culprits if culprit not in {kind, "function", "code"}), "")
    what = f"it is a {kind}" if not inner else f"it is a {kind} that holds a {inner}"
    if isinstance(value, types.ModuleType):
        what = "it is a module"
    clue = f"{what} {inner} {error.message}"
    fix = error.fix or next((way for word, way in _WAYS_OUT if word in clue), "")
    fix = fix or f"make `{name}` in the step that uses it, or store what it is made of instead"
    return CannotStore(
        f"`{name}` cannot be stored at the end of step {step}: {what} ({error.message})", name=name, fix=fix
    )


def as_json(error: CellwayError) -> dict[str, str]:
    """An error as ``result.json`` has it."""
    return {"kind": type(error).__name__, "name": error.name or "", "message": error.message, "fix": error.fix}
