"""One step between :func:`~cellway_magics.artifacts.begin` and :func:`~cellway_magics.artifacts.save`."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellway import materializers
from cellway.errors import CannotStore, CellwayError, PluginError, StoreError
from cellway.materializers.sidecar import type_name
from cellway_magics.folder import RANDOM
from cellway_magics import environment, imports
from cellway_magics.ambient import Generators
from cellway_magics.folder import Entry, PlainFolder, Request, RequestFolder
from cellway_magics.sharing import Graph, groups
from cellway_magics.watching import Recorder


@dataclass
class Loaded:
    """A value as it was loaded.

    Attributes:
        entry: the artifact that it came from; ``None`` for a carried constant.
        digest: for a carried constant: what would have been written of it before the step's own cells ran.
    """

    value: Any
    entry: Entry | None
    digest: tuple[str, str] | None = None


class Session:
    """The state of a running step.

    Args:
        folder: where inputs come from and results go.
        request: what is asked.
        recorder: watches files; ``None`` where nobody asks (plain form).
    """

    def __init__(self, folder: RequestFolder | PlainFolder, request: Request, recorder: Recorder | None) -> None:
        self._folder = folder
        self._request = request
        self._recorder = recorder
        self._extra = tuple(map(_plugin, request.materializers))
        self._bundles: dict[str, dict[str, Any]] = {}
        self._inputs: dict[str, Loaded] = {}
        self._companions: dict[str, Loaded] = {}
        self._generators: Generators | None = None
        self._ready = False

    # --- start ---

    def begin(self) -> None:
        """Set the generators."""
        request = self._request
        with self._unseen():
            state = None if request.random is None else self._read(RANDOM, request.random)
        if request.seed is not None or state is not None or request.draws:
            self._generators = Generators(request.seed, state)
            self._generators.begin()

    def close(self) -> None:
        """Watch no more."""
        if self._recorder is not None:
            self._recorder.stop()
        imports.forget()

    # --- inputs ---

    def load(self, names: Sequence[str], namespace: Mapping[str, Any]) -> Any:
        """Load inputs, see :func:`cellway_magics.artifacts.load`."""
        with self._unseen():
            if not self._ready:
                self._ready = True
                if self._generators is not None:
                    self._generators.restore()
            values = [self._input(name) for name in names]
            for name in self._request.watch:
                if name not in names and name not in self._inputs and name in namespace:
                    self._inputs[name] = Loaded(namespace[name], None, self._probe(namespace[name]))
        if not names:
            return None
        return values[0] if len(values) == 1 else tuple(values)

    def _input(self, name: str) -> Any:
        entry = self._request.inputs.get(name)
        if entry is None:
            raise StoreError(
                f"step {self._request.step} needs `{name}`, and no value of it is in {self._folder.path}",
                name=name,
                fix=f"run the step that makes `{name}` first",
            )
        value = self._read(name, entry)
        self._inputs[name] = Loaded(value, entry)
        self._companions.pop(name, None)
        return value

    def _read(self, name: str, entry: Entry) -> Any:
        """A value; the members of a bundle come out of one reading of it."""
        member, digest = entry.get("member"), entry["digest"]
        if member is None:
            return self._read_blob(name, entry)
        if digest not in self._bundles:
            self._bundles[digest] = self._read_blob(name, entry)
            for other, value in self._bundles[digest].items():
                companion = {**entry, "name": other, "member": other}
                companion["fingerprint"] = materializers.artifact_fingerprint(entry["materializer"], digest, other)
                if other not in self._inputs and self._is_current(companion):
                    self._companions[other] = Loaded(value, companion)
        return self._bundles[digest][member]

    def _is_current(self, entry: Entry) -> bool:
        """Whether a member that nobody asked for still is what its name means: it may have been bound anew since."""
        name = entry["name"]
        if name in self._request.inputs:
            return bool(self._request.inputs[name]["fingerprint"] == entry["fingerprint"])
        if self._request.current is not None:
            return self._request.current.get(name) == entry["fingerprint"]
        return True

    def _read_blob(self, name: str, entry: Entry) -> Any:
        path, key = entry["path"], self._request.sign_key
        materializer = materializers.by_name(entry["materializer"], self._extra)
        if key and getattr(materializer, "executes", True):
            signature = (entry.get("sidecar") or {}).get("signature")
            materializers.check_signature(key, entry["digest"], signature, path, name)
        try:
            return materializer.read(path)
        except FileNotFoundError as error:
            raise StoreError(
                f"the stored value of `{name}` is missing: {path}", name=name, fix="run the step that makes it again"
            ) from error
        except CellwayError as error:
            error.name = error.name or name
            raise
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise StoreError(
                f"the stored value of `{name}` cannot be read from {path}: {error}",
                name=name,
                fix="delete the file and run the step that makes it again",
            ) from error

    def _probe(self, value: Any) -> tuple[str, str] | None:
        try:
            return materializers.probe(value, self._extra)
        except CannotStore:
            return None

    def _sidecar(self, value: Any, blob: materializers.Blob) -> dict[str, Any]:
        materializer = materializers.by_name(blob.materializer, self._extra)
        found = sidecar(materializer, value)
        if self._request.sign_key and getattr(materializer, "executes", True):
            found["signature"] = materializers.sign(self._request.sign_key, blob.digest)
        return found

    @contextlib.contextmanager
    def _unseen(self) -> Iterator[None]:
        if self._recorder is None:
            yield
        else:
            with self._recorder.paused():
                yield

    # --- outputs ---

    def save(self, namespace: Mapping[str, Any], names: Sequence[str]) -> None:
        """Store outputs, see :func:`cellway_magics.artifacts.save`."""
        # First of all what our own work would disturb: the generators, and the list of imports.
        state, drew = ({}, False) if self._generators is None else self._generators.end()
        reached = environment.distributions(namespace)
        with self._unseen():
            ending = _Ending(self, self._request, namespace, tuple(dict.fromkeys((*names, *self._request.outputs))))
            try:
                ending.required()
                ending.optional()
                if drew and self._request.draws:
                    ending.write_one(RANDOM, state)
            except StoreError as error:
                ending.fail(error)
            result: dict[str, Any] = {
                "format": 1,
                "artifacts": ending.artifacts,
                "changed": ending.changed,
                "drew": drew,
                "files": [],
                "touched": [],
                "environment": reached,
                "skipped": ending.skipped,
                "error": None if ending.error is None else _as_json(ending.error),
            }
            if self._recorder is not None:
                self._recorder.stop()
                result["files"] = self._recorder.files(self._request.declared, self._request.workdir or os.getcwd())
                result["touched"] = sorted(self._recorder.touched)
            self._folder.finish(result, [entry for entry in ending.artifacts if entry["path"] is not None])
        if ending.error is not None:
            raise ending.error


class _Ending:
    """What is stored at the end of a step, and how."""

    def __init__(self, session: Session, request: Request, namespace: Mapping[str, Any], outputs: Sequence[str]) -> None:
        self._session = session
        self._request = request
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
            else:
                self.fail(_unbound(name, self._request.step))
        for name in self._request.watch:
            if name in self._namespace:
                values.setdefault(name, self._namespace[name])
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
                        materializers.probe(values[name], self._session._extra)
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
        for name in self._request.optional:
            if name in self._outputs or name not in self._namespace or any(entry["name"] == name for entry in self.artifacts):
                continue
            value = self._namespace[name]
            if isinstance(value, (types.ModuleType, types.FunctionType, type)):
                continue
            try:
                self.write_one(name, value, self._request.optional_limit)
            except CannotStore as error:
                self.skipped.append({"name": name, "why": error.message})

    def write_one(self, name: str, value: Any, limit: int | None = None) -> None:
        """Store a value by itself."""
        if isinstance(value, types.ModuleType):
            raise CannotStore("a module")
        session = self._session
        blob = materializers.write(value, session._folder.out, session._extra, limit)
        self._enter([name], {name: value}, blob, bundle=False)

    def _write(self, group: list[str], values: dict[str, Any]) -> None:
        """Store values as a bundle: one pickle of a dictionary, in which an alias stays an alias."""
        pickled = materializers.by_name("pickle")
        blob = materializers.write_with(pickled, values, self._session._folder.out)
        self._enter(group, values, blob, bundle=True)

    def _enter(self, names: list[str], values: dict[str, Any], blob: materializers.Blob, *, bundle: bool) -> None:
        session = self._session
        path = session._folder.name_blob(blob.path, names, blob.digest)
        for name in names:
            member = name if bundle else None
            self.artifacts.append({
                "name": name,
                "fingerprint": materializers.artifact_fingerprint(blob.materializer, blob.digest, member),
                "digest": blob.digest,
                "materializer": blob.materializer,
                "size": blob.size,
                "type": type_name(values[name]),
                "member": member,
                "sidecar": session._sidecar(values[name], blob),
                "path": path,
            })  # fmt: skip

    def _as_before(self, name: str) -> Entry:
        """The artifact of an input that passes through unchanged: its blob is in the store already."""
        entry = self._session._inputs[name].entry
        assert entry is not None
        return {**entry, "name": name, "path": None}

    def _unchanged(self, name: str, value: Any) -> bool:
        """Whether a name still has the value that it was loaded with."""
        loaded = self._session._inputs.get(name)
        if loaded is None:
            return False
        now = self._session._probe(value)
        if loaded.entry is None:
            return now is not None and now == loaded.digest and name not in self._outputs
        entry = loaded.entry
        if now is None:
            return False
        if entry.get("member") is None and now == (entry["materializer"], entry["digest"]):
            return True
        # The bytes may differ though the value does not (estimators after a round trip): what would the original give here?
        try:
            original = self._session._read_blob(name, entry)
        except StoreError:
            return False
        member = entry.get("member")
        return self._session._probe(original if member is None else original[member]) == now

    def _bystanders(self) -> dict[str, Any]:
        """Values that came in, that later steps read, and that are still what their name means."""
        session, found = self._session, {}
        for name, loaded in (*session._inputs.items(), *session._companions.items()):
            if name in self._request.later and (name not in self._namespace or self._namespace[name] is loaded.value):
                found[name] = loaded.value
        return found

    def _cannot(self, name: str, value: Any, graph: Graph, error: CannotStore) -> None:
        self.fail(_cannot_store(name, value, graph, error, self._request.step))


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


def _as_json(error: CellwayError) -> dict[str, str]:
    return {"kind": type(error).__name__, "name": error.name or "", "message": error.message, "fix": error.fix}


def _plugin(target: str) -> materializers.Materializer:
    module, _, attribute = target.partition(":")
    try:
        made: materializers.Materializer = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        raise PluginError(
            f"the materializer {target} cannot be loaded: {error}",
            name=target,
            fix="install the package that provides it in the kernel's environment",
        ) from error
    return made


def sidecar(materializer: materializers.Materializer, value: Any) -> dict[str, Any]:
    """The sidecar of a value; an error in making it is no reason to lose the value."""
    try:
        found = materializer.describe(value)
        json.dumps(found, allow_nan=False).encode()
    except Exception as error:  # noqa: BLE001 (a repr, a plotting library, anything of the user's)
        return {"text": f"<{type_name(value)}> (no preview: {type(error).__name__})"}
    return found
