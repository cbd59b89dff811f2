"""One step between :func:`~cellway_magics.artifacts.begin` and :func:`~cellway_magics.artifacts.save`."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cellway.errors import CannotStore, CellwayError, PluginError, StoreError
from cellway.materializers import Blob, Materializer, artifact_fingerprint, by_name, check_signature, probe, sign
from cellway.materializers.pickled import essence
from cellway.materializers.sidecar import type_name
from cellway_magics.ambient import Generators
from cellway_magics.ending import Ending, Loaded, as_json
from cellway_magics.environment import distributions
from cellway_magics.folder import RANDOM, Entry, PlainFolder, Request, RequestFolder
from cellway_magics.imports import forget
from cellway_magics.readers import is_lazy
from cellway_magics.watching import Recorder

_PICKLES = frozenset({"pickle", "figure"})


class Session:
    """The state of a running step.

    Args:
        folder: where inputs come from and results go.
        request: what is asked.
        recorder: watches files; ``None`` where nobody asks (plain form).
    """

    def __init__(self, folder: RequestFolder | PlainFolder, request: Request, recorder: Recorder | None) -> None:
        self.folder = folder
        self.request = request
        self._recorder = recorder
        self.extra = tuple(map(_plugin, request.materializers))
        self._bundles: dict[str, dict[str, Any]] = {}
        self.inputs: dict[str, Loaded] = {}
        self.companions: dict[str, Loaded] = {}
        self._generators: Generators | None = None
        self._ready = False

    # --- start ---

    def begin(self) -> None:
        """Set the generators."""
        request = self.request
        with self._unseen():
            state = None if request.random is None else self._read(RANDOM, request.random)
        if request.seed is not None or state is not None or request.draws:
            self._generators = Generators(request.seed, state)
            self._generators.begin()

    def close(self) -> None:
        """Watch no more."""
        if self._recorder is not None:
            self._recorder.stop()
        forget()

    # --- inputs ---

    def load(self, names: Sequence[str], namespace: Mapping[str, Any]) -> Any:
        """Load inputs, see :func:`cellway_magics.artifacts.load`."""
        still = contextlib.nullcontext() if self._generators is None else self._generators.undisturbed()
        with self._unseen(), still:
            values = [self._input(name) for name in names]
            for name in self.request.watch:
                if name not in names and name not in self.inputs and name in namespace:
                    self.inputs[name] = Loaded(namespace[name], None, self.essence(namespace[name]))
        if not self._ready:
            self._ready = True
            if self._generators is not None:
                self._generators.restore()
        if not names:
            return None
        return values[0] if len(values) == 1 else tuple(values)

    def _input(self, name: str) -> Any:
        entry = self.request.inputs.get(name)
        if entry is None:
            raise StoreError(
                f"step {self.request.step} needs `{name}`, and no value of it is in {self.folder.path}",
                name=name,
                fix=f"run the step that makes `{name}` first",
            )
        value = self._read(name, entry)
        if self._recorder is not None:
            for path in (entry.get("sidecar") or {}).get("files", ()):
                self._recorder.note_read(path)
        self.inputs[name] = Loaded(value, entry)
        self.companions.pop(name, None)
        return value

    def _read(self, name: str, entry: Entry) -> Any:
        """A value; the members of a bundle come out of one reading of it."""
        member, digest = entry.get("member"), entry["digest"]
        if member is None:
            return self.read_blob(name, entry)
        if digest not in self._bundles:
            self._bundles[digest] = self.read_blob(name, entry)
            for other, value in self._bundles[digest].items():
                companion = {**entry, "name": other, "member": other}
                companion["fingerprint"] = artifact_fingerprint(entry["materializer"], digest, other)
                if other not in self.inputs and self._is_current(companion):
                    self.companions[other] = Loaded(value, companion)
        return self._bundles[digest][member]

    def _is_current(self, entry: Entry) -> bool:
        """Whether a member that nobody asked for still is what its name means: it may have been bound anew since."""
        name = entry["name"]
        if name in self.request.inputs:
            return bool(self.request.inputs[name]["fingerprint"] == entry["fingerprint"])
        if self.request.current is not None:
            return bool(self.request.current.get(name) == entry["fingerprint"])
        return True

    def read_blob(self, name: str, entry: Entry) -> Any:
        """Read a whole blob anew.

        Raises:
            StoreError: it is missing, damaged, or not signed though it has to be.
        """
        path, key = entry["path"], self.request.sign_key
        materializer = by_name(entry["materializer"], self.extra)
        if key and getattr(materializer, "executes", True):
            signature = (entry.get("sidecar") or {}).get("signature")
            check_signature(key, entry["digest"], signature, path, name)
        try:
            return materializer.read(path)
        except FileNotFoundError as error:
            raise StoreError(
                f"the stored value of `{name}` is missing: {path}", name=name, fix="run the step that makes it again"
            ) from error
        except CellwayError as error:
            error.name = error.name or name
            raise
        except Exception as error:
            raise StoreError(
                f"the stored value of `{name}` cannot be read from {path}: {error}",
                name=name,
                fix="delete the file and run the step that makes it again",
            ) from error

    def probe(self, value: Any) -> tuple[str, str] | None:
        """Materializer and digest that storing a value would give; ``None`` if it cannot be stored."""
        try:
            return probe(value, self.extra)
        except CannotStore:
            return None

    def essence(self, value: Any) -> tuple[str, str] | None:
        """As :meth:`probe`, but a pickle that differs in nothing but its texts' identities is the same."""
        try:
            found = probe(value, self.extra)
            return (found[0], essence(value)) if found[0] in _PICKLES else found
        except CannotStore:
            return None

    def sidecar(self, value: Any, blob: Blob) -> dict[str, Any]:
        """Sidecar of a value, with the signature of its blob where the project signs."""
        materializer = by_name(blob.materializer, self.extra)
        found = described(materializer, value)
        if self._recorder is not None and is_lazy(value):
            # Whoever asks it for its rows reads these, in native code and long after they were named.
            found["files"] = sorted({*self._recorder.read, *self._recorder.written})
        if self.request.sign_key and getattr(materializer, "executes", True):
            found["signature"] = sign(self.request.sign_key, blob.digest)
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
        reached = distributions(namespace)
        with self._unseen():
            ending = Ending(self, namespace, tuple(dict.fromkeys((*names, *self.request.outputs))))
            try:
                ending.required()
                ending.optional()
                if drew and self.request.draws:
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
                "error": None if ending.error is None else as_json(ending.error),
            }
            if self._recorder is not None:
                self._recorder.stop()
                _flush(namespace)
                result["files"] = self._recorder.files(self.request.declared, self.request.workdir or os.getcwd())
                result["imported"] = self._recorder.imported()
                result["written"] = self._recorder.results()
                result["touched"] = sorted(self._recorder.touched)
            self.folder.finish(result, [entry for entry in ending.artifacts if entry["path"] is not None])
        if ending.error is not None:
            raise ending.error


def _flush(namespace: Mapping[str, Any]) -> None:
    """Write out what open files hold back: it would reach them when the kernel ends, and later steps read them."""
    for value in list(namespace.values()):
        if isinstance(value, io.IOBase):
            with contextlib.suppress(OSError, ValueError):
                value.flush()


def _plugin(target: str) -> Materializer:
    module, _, attribute = target.partition(":")
    try:
        made: Materializer = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        raise PluginError(
            f"the materializer {target} cannot be loaded: {error}",
            name=target,
            fix="install the package that provides it in the kernel's environment",
        ) from error
    return made


def described(materializer: Materializer, value: Any) -> dict[str, Any]:
    """The sidecar of a value; an error in making it is no reason to lose the value."""
    try:
        found = materializer.describe(value)
        json.dumps(found, allow_nan=False).encode()
    except Exception as error:  # noqa: BLE001 (a repr, a plotting library, anything of the user's)
        return {"text": f"<{type_name(value)}> (no preview: {type(error).__name__})"}
    return found
