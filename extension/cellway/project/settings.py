"""Settings of a project: ``cellway.toml``, or ``[tool.cellway]`` in ``pyproject.toml``.

Every default can be overridden, none has to be (docs/reference/settings.md has one heading for each).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

from cellway.errors import UsageError

FILES = ("cellway.toml", "pyproject.toml")
MARKER = "[tool.cellway"


@dataclass(frozen=True, slots=True)
class Settings:
    """Choices that hold for every run of the project.

    Attributes:
        jobs: steps side by side; 0 for one per core, at most 4.
        seed: from which the steps of a notebook that seeds nothing are seeded.
        backend: where steps run.
        store: where bytes are kept.
        keep_going: go on with independent steps after a failure.
        kernel: kernelspec for notebooks that name none.
    """

    jobs: int = 0
    seed: int = 0
    backend: str = "local"
    store: str = "local"
    keep_going: bool = False
    kernel: str = "python3"


def load(root: str) -> Settings:
    """Settings of the project in a folder.

    Raises:
        UsageError: the file is not TOML, or a setting is unknown or of the wrong type.
    """
    for name in FILES:
        path = os.path.join(root, name)
        table = _table(path)
        if table is not None:
            return _checked(table, path)
    return Settings()


def _table(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    own = path.endswith(FILES[0])
    if not own and MARKER not in text:
        return None
    import tomllib

    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}", fix="mend the file") from error
    return content if own else content.get("tool", {}).get("cellway", {})


def _checked(table: dict[str, Any], path: str) -> Settings:
    known = {field.name: field for field in fields(Settings)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known).replace('_', '-')}"
            raise UsageError(f"{path}: unknown setting {key!r}", name=key, fix=hint)
        expected = type(known[name].default)
        if type(value) is not expected:
            raise UsageError(
                f"{path}: setting {key!r} must be of type {expected.__name__}, not {type(value).__name__}",
                name=key,
                fix=f"for example {key} = {_example(known[name].default)}",
            )
        values[name] = value
    if values.get("jobs", 0) < 0:
        raise UsageError(f"{path}: jobs must be 0 or more", name="jobs", fix="0 stands for one per core")
    return Settings(**values)


def _example(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
