"""What the generated cells of a step notebook call: where the step starts, its inputs, its outputs.

    from cellway_magics import artifacts

    artifacts.begin(handover, step="train")
    features = artifacts.load("features")
    ...
    artifacts.save(globals(), "model")

Self-contained: this module, its neighbours, ``cellway.materializers``, ``fingerprint``, ``records`` and ``errors``
are all that an exported pipeline needs. Importing it takes milliseconds; pandas and the like are never imported for
their own sake.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cellway.errors import CellwayError, UsageError
from cellway_magics.ambient import enter
from cellway_magics.folder import Request, open_folder
from cellway_magics.imports import always_from_source
from cellway_magics.parent import follow
from cellway_magics.watching import Recorder

_session: Any = None


def begin(
    handover: str | os.PathLike[str],
    *,
    step: str,
    watch: Sequence[str] = (),
    later: Sequence[str] = (),
    optional: Sequence[str] = (),
    seed: int | None = None,
    draws: bool = False,
) -> None:
    """Start a step: working folder, module path, seeds, and a watch on the files that it reads.

    Args:
        handover: folder from which inputs are read and to which outputs are written.
        step: name of the step.
        watch: names that the step may change without binding them.
        later: names that steps after this one read.
        optional: names that are kept if they are small and can be stored.
        seed: seed of the global generators, in a notebook that seeds nothing itself.
        draws: whether the state of the global generators is handed on from step to step.

    In a folder with a ``request.json`` (``cellway run``), the request says all that.

    Raises:
        CellwayError: the folder cannot be used.
    """
    global _session  # noqa: PLW0603
    try:
        if _session is not None:
            _session.close()
        folder = open_folder(os.fspath(handover))
        asked = Request(step, watch=tuple(watch), later=tuple(later), optional=tuple(optional), seed=seed, draws=draws)
        request = folder.request(asked)
        recorder = None
        if request.workdir is not None:
            follow()
            enter(request.workdir)
            if request.project_modules:
                always_from_source(request.project_modules)
            recorder = _watch(request, folder.path)

        from cellway_magics.session import Session

        _session = Session(folder, request, recorder)
        _session.begin()
    except CellwayError as error:
        raise _quiet(error) from None


def load(*names: str) -> Any:
    """The inputs of the step: one value for one name, a tuple for several, ``None`` for none.

    Values are writable, and writing to them changes no file. Values that shared objects when they were stored share
    them here.

    Raises:
        CellwayError: a value is missing, damaged, or not signed.
    """
    try:
        return _current().load(names, sys._getframe(1).f_globals)  # noqa: SLF001 (the notebook's namespace)
    except CellwayError as error:
        raise _quiet(error) from None


def save(namespace: Mapping[str, Any], *names: str) -> None:
    """Store the outputs of the step, and whatever else it changed that later steps read.

    Args:
        namespace: ``globals()`` of the notebook.
        names: outputs that must be there.

    Raises:
        CannotStore: an output is not bound or cannot be stored; everything else is stored all the same.
        StoreError: the disk is full.
    """
    global _session  # noqa: PLW0603
    session = _current()
    try:
        session.save(namespace, names)
    except CellwayError as error:
        raise _quiet(error) from None
    finally:
        session.close()
        _session = None


def _current() -> Any:
    if _session is None:
        raise UsageError("the step has not been started", fix="run the cell with `artifacts.begin(...)` first")
    return _session


def _watch(request: Request, folder: str) -> Recorder:
    from cellway_magics.readers import watch_readers

    tracked = [place for place in (request.root, request.workdir) if place]
    recorder = Recorder(tracked, [folder])
    watch_readers()
    recorder.start()
    return recorder


def _quiet(error: CellwayError) -> CellwayError:
    """An error whose traceback in the notebook is its message: the frames are cellway's, not the author's."""
    text = f"{type(error).__name__}: {error}"
    error._render_traceback_ = lambda *_: text.splitlines()  # type: ignore[attr-defined]
    return error.with_traceback(None)
