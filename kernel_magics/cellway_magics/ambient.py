"""State of the process that belongs to no name: working folder, module path, random generators (design §5.5, §5.6)."""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Iterator
from typing import Any

from cellway_magics.imports import after

State = dict[str, Any]
"""Generator (``random``, ``numpy``, ``torch``) → its state, in tuples, numbers, texts and bytes."""


def enter(folder: str) -> None:
    """Make the notebook's folder the working folder, and its modules importable, as in Jupyter.

    Raises:
        OSError: the folder is not there.
    """
    os.chdir(folder)
    if sys.path[:1] != [""]:
        sys.path[:] = ["", *(entry for entry in sys.path if entry)]


class Generators:
    """The global generators of ``random``, numpy and torch: set, and asked whether anything drew from them.

    A library that the step imports later gets its state when it is imported.

    Args:
        seed: for generators that no state is handed over for; ``None`` leaves them as they are.
        state: handed over by the step before.
    """

    def __init__(self, seed: int | None, state: State | None) -> None:
        self._seed = seed
        self._given = dict(state or {})
        self._start: State = {}

    def begin(self) -> None:
        """Set what is imported, now and later."""
        self._set("random")
        after("numpy.random", lambda _: self._set("numpy"))
        after("torch", lambda _: self._set("torch"))

    def restore(self) -> None:
        """Set the handed-over state again, ``%%setup`` having run; from here on it counts who draws."""
        for name in _present():
            if name in self._given:
                _write(name, self._given[name])
            self._start[name] = _read(name)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """What happens here leaves the generators as they were.

        Loading a value imports the libraries that it needs, and some of them draw while they are imported (rich does,
        and scikit-learn imports it). In the notebook that happened long before.
        """
        before = {name: _read(name) for name in _present()}
        try:
            yield
        finally:
            for name in _present():
                if name not in before:
                    self._set(name)
                elif _read(name) != before[name]:
                    _write(name, before[name])

    def end(self) -> tuple[State, bool]:
        """The state now, generators not imported here included, and whether anything drew."""
        now = {name: _read(name) for name in _present()}
        return {**self._given, **now}, any(self._start.get(name) != state for name, state in now.items())

    def _set(self, name: str) -> None:
        if name in self._given:
            _write(name, self._given[name])
        elif self._seed is not None:
            _seed(name, self._seed)
        self._start[name] = _read(name)


def _present() -> list[str]:
    homes = {"random": "random", "numpy": "numpy.random", "torch": "torch"}
    return [name for name, home in homes.items() if home in sys.modules]


def _seed(name: str, seed: int) -> None:
    if name == "random":
        random.seed(seed)
    elif name == "numpy":
        sys.modules["numpy.random"].seed(seed % 2**32)
    else:
        sys.modules["torch"].manual_seed(seed % 2**63)


def _read(name: str) -> Any:
    if name == "random":
        return random.getstate()
    if name == "numpy":
        state = sys.modules["numpy.random"].get_state(legacy=False)
        return _frozen(state)
    torch = sys.modules["torch"]
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return (torch.get_rng_state().numpy().tobytes(), *(device.cpu().numpy().tobytes() for device in devices))


def _write(name: str, state: Any) -> None:
    if name == "random":
        random.setstate(state)
    elif name == "numpy":
        sys.modules["numpy.random"].set_state(_thawed(state))
    else:
        import numpy as np

        torch = sys.modules["torch"]
        first, *devices = (torch.from_numpy(np.frombuffer(bytearray(part), np.uint8)) for part in state)
        torch.set_rng_state(first)
        if devices and torch.cuda.is_initialized():
            torch.cuda.set_rng_state_all(devices)


def _frozen(state: Any) -> Any:
    """numpy's description of a bit generator in plain values, arrays as ``("array", dtype, bytes)``."""
    if isinstance(state, dict):
        return tuple((key, _frozen(item)) for key, item in state.items())
    if hasattr(state, "dtype"):
        return ("array", state.dtype.str, state.tobytes()) if state.ndim else state.item()
    return state


def _thawed(state: Any) -> Any:
    if not isinstance(state, tuple):
        return state
    if len(state) == 3 and state[0] == "array":
        import numpy as np

        return np.frombuffer(state[2], state[1]).copy()
    return {key: _thawed(item) for key, item in state}
